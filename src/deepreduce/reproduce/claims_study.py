"""The paper's claims as something that can be reproduced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .claims import CLAIMS, judge
from .claims_page import write_claims
from .study import Context
from .training import Training


@dataclass(frozen=True)
class ClaimsStudy:
    """``results/claims/SCALE/claims.json``, ``.md`` and ``.svg``."""

    name: str = "claims"
    title: str = "What the paper claims, confirmed or refuted over at least five seeds"

    @property
    def trainings(self) -> tuple[Training, ...]:
        """What the claims compare."""
        return tuple(dict.fromkeys(training for claim in CLAIMS for training in claim.trainings))

    def write(self, results: Path, context: Context) -> list[Path]:
        """Judge by what is recorded, and write."""
        verdicts = judge(context.lookup, context.seeds)
        folder, scale = results / self.name / context.lab.scale.name, context.lab.scale
        return write_claims(
            folder,
            scale,
            verdicts,
            context.lookup,
            context.seeds,
            context.command,
            context.date,
            figures=context.figures,
        )


CLAIMS_STUDY = ClaimsStudy()
