"""Claims and the ablation as things that can be reproduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..comparison import Lookup
from ..scale import SCALES, Scale
from ..study import Context
from ..training import Training
from .ablation import ablate, needed
from .ablation_page import write_ablation
from .claims import CLAIMS, STAGE_CLAIMS, Claim, find_claim, judge
from .claims_page import write_claims
from .element_claims import QUESTIONS


@dataclass(frozen=True)
class ClaimsStudy:
    """``results/NAME/SCALE/NAME.json``, ``.md`` and ``.svg``."""

    claims: tuple[Claim, ...]
    name: str
    title: str
    heading: str

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Trainings that the claims compare."""
        return tuple(dict.fromkeys(training for claim in self.claims for training in claim.trainings))

    def write(self, results: Path, context: Context) -> list[Path]:
        """Return all files, made before the first is written."""
        scale, found = context.lab.scale, context.lookup
        return write_claims(
            results / self.name / scale.name,
            scale,
            judge(found, context.seeds, self.claims),
            found,
            context.seeds,
            context.command,
            context.date,
            context.figures,
            self.name,
            self.heading,
        )


CLAIMS_STUDY = ClaimsStudy(
    CLAIMS,
    "claims",
    "What the paper claims: confirmed, refuted or undecided over at least five seeds",
    "The paper's claims",
)
#: The claims that cost least to test: 15 trainings a seed, teacher included. Their order is that of the queue.
STAGES_STUDY = ClaimsStudy(
    tuple(find_claim(name) for name in STAGE_CLAIMS),
    "stages",
    "The paper's claims about stages: criticality, distillation, thinning",
    "The paper's claims about stages",
)
ELEMENTS_STUDY = ClaimsStudy(
    QUESTIONS,
    "elements",
    "Whole layers removed, single elements, or first the one and then the other, at equal ReLUs",
    "Whole layers or single elements",
)


@dataclass(frozen=True)
class AblationStudy:
    """``results/ablation/SCALE/ablation.json``, ``.md`` and ``.svg``."""

    name: str = "ablation"
    title: str = "The ingredients of the strong recipe, each alone and each left out"

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The base and every ingredient of any scale; one that changes nothing at a scale is the base's own job."""
        alone = [training for scale in SCALES.values() for training, _ in needed(scale, lambda *_: None, [0])]
        return tuple(dict.fromkeys(alone))

    def then(self, scale: Scale, lookup: Lookup, seeds: Sequence[int]) -> tuple[Training, ...]:
        """Return what is to be run once these are recorded: the ingredients that were kept, together."""
        return tuple(dict.fromkeys(training for training, _ in needed(scale, lookup, seeds)))

    def write(self, results: Path, context: Context) -> list[Path]:
        """Return all files, made before the first is written."""
        scale, found = context.lab.scale, context.lookup
        return write_ablation(
            results / self.name / scale.name,
            scale,
            ablate(scale, found, context.seeds),
            found,
            context.seeds,
            context.command,
            context.date,
            context.figures,
        )
