"""Names of reduced networks in the paper's notation, and back: one grammar for writing and reading.

    S2^RT+S3^RT, alpha=0.5, rho=0.5

lists the stages that keep ReLUs, thinned (``^RT``) or with one block only (``*``, ``*2`` for two), and how the network
was reshaped. ``none`` keeps no ReLU. ``^RT[outer]`` thins in the other phase (see `deepreduce.reduce.thin`). With
``relus=25000`` single elements were removed until that many were left (`deepreduce.reduce.elements.linearize`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import PointError, nearest

Phase = Literal["inner", "outer"]

_TERM = re.compile(r"(?P<stage>[A-Za-z][A-Za-z0-9_]*)(?P<marks>.*)")
_THINNED = re.compile(r"\^\{?RT\}?(\[(?P<phase>inner|outer)\])?", re.IGNORECASE)
_BLOCKS = re.compile(r"\*(?P<blocks>[0-9]{0,9})")


@dataclass(frozen=True)
class Term:
    """A stage that keeps ReLUs. ``phase`` tells which ReLUs thinning dropped, ``blocks`` how many keep theirs."""

    stage: str
    phase: Phase | None = None
    blocks: int | None = None

    def __str__(self) -> str:
        thinned = {None: "", "inner": "^RT", "outer": "^RT[outer]"}[self.phase]
        starred = {None: "", 1: "*"}.get(self.blocks, f"*{self.blocks}")
        return f"{self.stage}{thinned}{starred}"


@dataclass(frozen=True)
class Point:
    """The stages that keep ReLUs, in order, and the scale of channels (alpha) and of each spatial side (rho).

    ``relus`` is how many elements are left where they were removed singly, None where whole layers went only.
    """

    terms: tuple[Term, ...]
    alpha: float = 1.0
    rho: float = 1.0
    relus: int | None = None

    def __str__(self) -> str:
        parts = ["+".join(map(str, self.terms)) or "none"]
        parts += [f"{name}={value:.10g}" for name, value in (("alpha", self.alpha), ("rho", self.rho)) if value != 1]
        parts += [f"relus={self.relus}"] if self.relus is not None else []
        return ", ".join(parts)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that keep ReLUs."""
        return tuple(term.stage for term in self.terms)

    def with_terms(self, terms: Iterable[Term]) -> Point:
        """Return the same reshaping with other stages."""
        return replace(self, terms=tuple(terms))


def full_point(stages: Iterable[str]) -> Point:
    """Return the unreduced network of these stages."""
    return Point(tuple(Term(stage) for stage in stages))


def parse_point(text: str, stages: Iterable[str]) -> Point:
    """Read a point's name for a network with these ``stages``; ``full`` is the unreduced network.

    Spaces are free, terms may stand in any order. Raises `PointError` naming what cannot be read.
    """
    known = tuple(stages)
    stage_part, *options = [part.strip() for part in text.split(",")]
    if stage_part == "full":
        terms = full_point(known).terms
    elif stage_part == "none":
        terms = ()
    else:
        terms = tuple(_parse_term(term.strip(), known) for term in stage_part.split("+"))
    if len({term.stage for term in terms}) != len(terms):
        raise PointError(f"point {text!r} names a stage twice")
    scales = {"alpha": 1.0, "rho": 1.0}
    relus: int | None = None
    for option in options:
        name, _, value = (part.strip() for part in option.partition("="))
        if name == "relus":
            relus = _parse_relus(value, text)
            continue
        if name not in scales:
            raise PointError(
                f"cannot read {option!r} in point {text!r}",
                "only alpha=..., rho=... and relus=... may follow the stages",
            )
        try:
            scales[name] = float(value)
        except ValueError:
            raise PointError(f"{name}={value!r} in point {text!r} is not a number") from None
        if not 0 < scales[name] <= 1:
            raise PointError(f"{name}={value!r} in point {text!r} is not in (0, 1]")
    return Point(tuple(sorted(terms, key=lambda term: known.index(term.stage))), **scales, relus=relus)


def _parse_relus(value: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,15}", value) or int(value) < 1:
        raise PointError(f"relus={value!r} in point {text!r} is not a whole number above 0", "write relus=25000")
    return int(value)


def _parse_term(text: str, stages: tuple[str, ...]) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise PointError(f"cannot read the stage {text!r}", "write points like S2^RT+S3, alpha=0.5, rho=0.5")
    stage, marks = match["stage"], match["marks"].replace(" ", "")
    if stage not in stages:
        raise PointError(f"the network has no stage {stage!r}", nearest(stage, stages))
    phase: Phase | None = None
    blocks: int | None = None
    while marks:
        if phase is None and (thinned := _THINNED.match(marks)):
            phase = "outer" if (thinned["phase"] or "").lower() == "outer" else "inner"
            marks = marks[thinned.end() :]
        elif blocks is None and (starred := _BLOCKS.match(marks)):
            blocks = int(starred["blocks"] or 1)
            marks = marks[starred.end() :]
        else:
            remedy = "put a comma before alpha and rho" if "=" in marks else "^RT thins, * keeps one block"
            raise PointError(f"cannot read {marks!r} after stage {stage}", remedy)
    if blocks == 0:
        raise PointError(f"{text!r} keeps no block", f"leave {stage} out to cull it")
    return Term(stage, phase, blocks)
