"""What a target is: a parser of bytes from outside, the bounds that its input is declared to keep, and how it begins.

`check` is the oracle that all targets share; what one knows besides (a round trip, an answer that must be right) its
function asserts itself.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from deepreduce.errors import DeepReduceError

MIB = 1 << 20
LONGEST_MESSAGE = 2000  # characters of an error that a user is shown, besides what it repeats of the input
_ARENA_MAX = (
    -8
)  # mallopt's M_ARENA_MAX: else every new thread reserves 64 MiB of addresses, and the bound means nothing
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")  # whose shadow memory is terabytes of addresses

Mutator = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Target:
    """``run`` may return or raise a `DeepReduceError`, with at most ``memory_mb`` more addresses than before and within
    ``seconds``, for any input of at most ``most_bytes``. ``seeds`` makes well-formed inputs; ``mutate`` keeps the form
    of what has one.
    """

    name: str
    run: Callable[[bytes], None]
    memory_mb: int
    seconds: int
    most_bytes: int
    seeds: Callable[[], Iterable[bytes]]
    mutate: Mutator | None


TARGETS: dict[str, Target] = {}


def target(
    seeds: Callable[[], Iterable[bytes]],
    *,
    memory_mb: int = 64,
    seconds: int = 10,
    most_bytes: int = 4096,
    mutate: Mutator | None = None,
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Adds a function of bytes to `TARGETS`, under its name."""

    def add(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[run.__name__] = Target(run.__name__, run, memory_mb, seconds, most_bytes, seeds, mutate)
        return run

    return add


class ExcessError(Exception):
    """An input took more than its target declares."""


def check(chosen: Target, data: bytes) -> None:
    """Raises unless the target keeps its promises for this input."""
    if len(data) > chosen.most_bytes:
        return
    try:
        with _memory(chosen.memory_mb):
            chosen.run(data)
    except DeepReduceError as error:
        _check_error(chosen, error, LONGEST_MESSAGE + 10 * len(data))
    except MemoryError as error:
        raise ExcessError(f"{chosen.name}: more than {chosen.memory_mb} MiB") from error


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises `ExcessError` in the main thread when the block takes longer."""

    def late(*_: object) -> None:
        raise ExcessError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _check_error(chosen: Target, error: DeepReduceError, longest: int) -> None:
    """One line for a user; and no allocation failed on the way to it, which a larger machine would have made."""
    text = str(error)
    if len(text) > longest or "\n" in text:
        raise AssertionError(f"{chosen.name}: an error of {len(text)} characters, or several lines: {text!r:.300}")
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "can't allocate memory" in str(cause):
            raise ExcessError(f"{chosen.name}: more than {chosen.memory_mb} MiB, told as: {text:.300}") from error
        cause = cause.__cause__ or cause.__context__


@functools.cache
def _one_arena() -> None:
    ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


@contextmanager
def _memory(most_mb: int) -> Iterator[None]:
    """Within the block an allocation that would take the process further fails, whoever makes it."""
    if SANITIZED:
        yield
        return
    _one_arena()
    with open("/proc/self/statm") as file:  # noqa: PTH123  # for each input: no Path
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + most_mb * MIB, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
