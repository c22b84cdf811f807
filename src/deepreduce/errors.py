"""Base class of every error that the user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DeepReduceError(Exception):
    """An error with its remedy: shown as one line and a hint, never as a traceback (unless ``--debug``).

    ``message`` names the value and the bound it broke, ``hint`` says what to do about it.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[type[DeepReduceError], tuple[str, str]]:
        # Exception pickles by args, which hold the message alone: a worker's hint must survive the trip home.
        return type(self), (self.message, self.hint)


class ModelError(DeepReduceError):
    """A network that is unknown, cannot be built, traced, counted or rewritten."""


class DataError(DeepReduceError):
    """A data set that is unknown, missing, truncated or foreign."""


class PointError(DeepReduceError):
    """A point (``S2^RT+S3^RT, alpha=0.5``) that cannot be read or does not fit the network."""


class PlanError(DeepReduceError):
    """A plan, or the weights beside it, that cannot be read or breaks a rule of docs/reference/plan-format.md."""


class SessionError(DeepReduceError):
    """A private session that cannot go on: the peer, its version, its messages or its silence."""

    exit_code = 4


class SettingError(DeepReduceError):
    """A setting out of its range, or one that contradicts another."""


class StoreError(DeepReduceError):
    """A folder of a search or of prepared material that cannot be read or written, or that holds something else."""


class TrainingError(DeepReduceError):
    """A training that went wrong (not a number, out of memory)."""

    exit_code = 3


class MissingPackageError(DeepReduceError):
    """An optional package that this command needs is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the known name closest to ``name``, or all of them when none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def one_line(error: BaseException) -> str:
    """Return what an exception says, on one line; its type's name if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
