"""Answers for files: each is read when its turn comes, and what is wrong with one costs the others nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeepReduceError, MissingPackageError, PlanError
from .flags import with_flags

if TYPE_CHECKING:
    from ..inference import Classification
    from ..plan import Plan

Answering = Callable[[Iterable[Any]], Iterator["Classification"]]


@dataclass(slots=True)
class FileAnswer:
    """A file with its answer, or with what is wrong."""

    path: Path
    answer: Classification | None = None
    error: str = ""
    hint: str = ""

    @property
    def settled(self) -> bool:
        """Whether it has an answer or an error."""
        return self.answer is not None or bool(self.error)

    def fail(self, message: str, hint: str) -> None:
        """Note what is wrong."""
        self.error, self.hint = with_flags(message), with_flags(hint)


@dataclass(slots=True)
class FileAnswers:
    """The files in their order, and the error after which those without an answer were not asked for."""

    files: list[FileAnswer] = field(default_factory=list)
    broken: DeepReduceError | None = None

    @property
    def answered(self) -> list[FileAnswer]:
        """Those that have an answer."""
        return [one for one in self.files if one.answer is not None]


def answer_files(
    paths: Sequence[Path],
    plan: Plan,
    answering: Answering,
    *,
    array: bool = False,
    resize: bool = False,
    show: Callable[[FileAnswer], None] | None = None,
) -> FileAnswers:
    """Return the answers for files, which ``answering`` gives for inputs [C, h, w]; ``show`` sees each in its order.

    Raises `PlanError`, `MissingPackageError` where no file can be read.
    """
    found, shown = FileAnswers([FileAnswer(path) for path in paths]), 0  # files before ``shown`` are settled and shown

    def inputs() -> Iterator[Any]:
        from ..inference.client import read_input

        for one in found.files:
            try:
                yield read_input(one.path, plan, array=array, resize=resize)
            except (MissingPackageError, PlanError):
                raise
            except DeepReduceError as error:
                one.fail(error.message, error.hint)

    def tell() -> None:
        nonlocal shown
        while shown < len(found.files) and found.files[shown].settled:
            if show is not None:
                show(found.files[shown])
            shown += 1

    try:
        for answer in answering(inputs()):
            next(one for one in islice(found.files, shown, None) if not one.settled).answer = answer
            tell()
    except (MissingPackageError, PlanError):
        raise
    except DeepReduceError as error:
        found.broken = error
        for one in found.files:
            if not one.settled:
                one.fail(f"{one.path}: {error.message}", error.hint)
    if found.broken is None or found.answered:  # else the caller says why, once
        tell()
    return found


def clear_answers(plan: Plan, weights: Mapping[str, Any], inputs: Iterable[Any]) -> Iterator[Classification]:
    """Yield the answer of the plan's integers for each input [C, h, w]: what both parties compute, bit for bit."""
    import numpy as np

    from ..inference import Classification
    from ..inference.client import class_names
    from ..plan import answers, decode_output, encode_input

    names = class_names(plan)
    for one in inputs:
        logits = decode_output(plan, answers(plan, weights, encode_input(plan, np.asarray(one)[None])))
        yield Classification(logits.reshape(-1), names)
