"""Claims of the paper, as comparisons of trainings over seeds, and their verdicts on our records.

A claim is a conjunction: it is confirmed if the interval of every comparison lies on the claimed side of zero, refuted
if that of any lies wholly on the other, else undecided. The intervals of one claim hold together with 95 %: each of k
has the level 1 - 0.05/k (Bonferroni). For the conjunction this is stricter than needed; for the refutation, which takes
any one, it is what is needed. Claims are not adjusted for each other: each is a question of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..comparison import ClaimOutcome, Compared, Comparison, Lookup, accuracy, critical, decide, gain
from ..training import Training


@dataclass(frozen=True)
class Claim:
    """``sentence`` is the paper's, in our words; ``source`` where it stands; ``notes`` what a reader must know."""

    name: str
    sentence: str
    source: str
    comparisons: tuple[Comparison, ...]
    notes: str = ""

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Trainings of the claim, without their teachers."""
        return tuple(dict.fromkeys(t for comparison in self.comparisons for t in comparison.trainings))


@dataclass(frozen=True)
class Verdict:
    """A claim decided; ``seeds`` counts those that its least run comparison has."""

    claim: Claim
    outcome: ClaimOutcome
    seeds: int
    compared: tuple[Compared, ...]


def judge(lookup: Lookup, seeds: Iterable[int], claims: Sequence[Claim] | None = None) -> tuple[Verdict, ...]:
    """Decide ``claims`` (default: `CLAIMS`) by the records of ``seeds``."""
    seeds = tuple(seeds)
    return tuple(_judge(claim, lookup, seeds) for claim in (CLAIMS if claims is None else claims))


def needed(seeds: Iterable[int], claims: Sequence[Claim] | None = None) -> list[tuple[Training, int]]:
    """Return every training that ``claims`` (default: `CLAIMS`) compare, at each of ``seeds``; seed by seed, claim by
    claim.

    A run that is stopped early has so compared everything over fewer seeds.
    """
    trainings = dict.fromkeys(t for claim in (CLAIMS if claims is None else claims) for t in claim.trainings)
    return [(training, seed) for seed in dict.fromkeys(seeds) for training in trainings]


def _judge(claim: Claim, lookup: Lookup, seeds: Sequence[int]) -> Verdict:
    together = len(claim.comparisons)
    compared = tuple(decide(comparison, lookup, seeds, together) for comparison in claim.comparisons)
    return Verdict(claim, _all({found.outcome for found in compared}), min(found.seeds for found in compared), compared)


def _all(outcomes: set[ClaimOutcome]) -> ClaimOutcome:
    """Return the verdict of a conjunction, decided by the first of these that occurs."""
    order: tuple[ClaimOutcome, ...] = ("not run", "refuted", "undecided", "confirmed")
    return next(outcome for outcome in order if outcome in outcomes)


def _kd(point: str, network: str = "resnet18") -> Training:
    return Training(network, point).distilled()


def _over(above: Training, below: Training, paper: float) -> Comparison:
    """Return a comparison of two accuracies by name."""
    return Comparison(accuracy(_name(above), above), accuracy(_name(below), below), paper)


def _name(training: Training) -> str:
    if training.network == "resnet18":
        return training.point
    named = training.network.replace("resnet", "ResNet")
    return named if training.point == "full" else f"{named}{training.point.removeprefix('full')}"


STAGES = ("S1", "S2", "S3", "S4")
_ALONE = {stage: _kd(stage) for stage in STAGES}
_C = {stage: critical(stage, _ALONE) for stage in STAGES}
_GAIN = {stage: gain(f"KD gain of {stage}", _ALONE[stage], Training(point=stage)) for stage in STAGES}

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "criticality-order",
        "On CIFAR-100 the stages of ResNet18 are ordered by criticality as S1 < S4 < S2 < S3.",
        "equation 1 on table 1",
        (
            Comparison(_C["S4"], _C["S1"], 2.59),
            Comparison(_C["S2"], _C["S4"], 3.76),
            Comparison(_C["S3"], _C["S2"], 1.15),
        ),
        "C_k is computed for each seed from that seed's four accuracies with KD.",
    ),
    Claim(
        "least-critical",
        "S1's ReLUs are the least critical.",
        "section 2, observation 2; table 1",
        tuple(Comparison(_C[s], _C["S1"], paper) for s, paper in (("S2", 6.35), ("S3", 7.50), ("S4", 2.59))),
        "C of the worst stage is 0 by definition: a seed whose worst stage is another counts against it.",
    ),
    Claim(
        "most-critical",
        "S3's ReLUs are the most critical.",
        "section 2, observation 2; table 1",
        tuple(Comparison(_C["S3"], _C[s], paper) for s, paper in (("S1", 7.50), ("S2", 1.15), ("S4", 4.91))),
    ),
    Claim(
        "thinning-over-channels",
        "With the same number of ReLUs, dropping every other ReLU layer is more accurate than halving the channels.",
        "section 2, observation 4; table 2, with KD",
        (
            _over(_kd("S2^RT+S3^RT+S4^RT"), _kd("S2+S3+S4, alpha=0.5"), 0.94),
            _over(_kd("S2^RT+S3^RT"), _kd("S2+S3, alpha=0.5"), 0.79),
            _over(_kd("S3^RT+S4^RT"), _kd("S3+S4, alpha=0.5"), 0.77),
        ),
    ),
    Claim(
        "kd-gain-by-stage",
        "Distillation gains more where the ReLUs are in deep stages (S3, S4) than in early ones (S1, S2).",
        "section 2, observation 3; table 1",
        (
            Comparison(_GAIN["S4"], _GAIN["S1"], 6.31),
            Comparison(_GAIN["S4"], _GAIN["S2"], 3.10),
            Comparison(_GAIN["S3"], _GAIN["S1"], 4.55),
            Comparison(_GAIN["S3"], _GAIN["S2"], 1.34),
        ),
        "A gain is the accuracy with KD less that without, of one seed.",
    ),
    Claim(
        "depth",
        "A ResNet18 culled and thinned is more accurate than a shallow ResNet with at least as many ReLUs.",
        "section 5.3; table 7, with KD",
        (
            _over(_kd("S2^RT+S3+S4^RT"), _kd("full, alpha=0.5", "resnet10"), 2.3),
            _over(_kd("S2^RT+S3^RT+S4^RT, rho=0.5"), _kd("full, alpha=0.5, rho=0.5", "resnet9"), 2.3),
            _over(_kd("S2^RT+S3^RT, rho=0.5"), _kd("full, alpha=0.5, rho=0.5", "resnet9"), 1.9),
        ),
        "The pairs of that table in which the reduced network has no more ReLUs. Its rows of 24.6K and 28.7K are the "
        "networks with rho=0.5.",
    ),
    Claim(
        "depth-as-labelled",
        "S2^RT+S3^RT, alpha=0.5 is more accurate than ResNet10 with rho=0.5, which has 1.6 times its ReLUs.",
        "table 7, second pair as it is labeled, with KD",
        (_over(_kd("S2^RT+S3^RT, alpha=0.5"), _kd("full, rho=0.5", "resnet10"), 2.9),),
        "The paper contradicts itself: the row has the 47.1K ReLUs and the accuracy of table 9's ResNet6 with rho=0.5 "
        "(fewer ReLUs than 49.2K), while table 9 has ResNet10 with rho=0.5 at 71.86 %, 0.86 points above the reduced "
        "network.",
    ),
    *(
        Claim(
            f"resolution-over-channels-{network}",
            f"At a quarter of {network.replace('resnet', 'ResNet')}'s ReLUs, half the resolution (rho=0.5) is more "
            "accurate than a quarter of the channels (alpha=0.25).",
            "section 3.3; table 9, with KD",
            (
                Comparison(
                    accuracy("rho=0.5", _kd("full, rho=0.5", network)),
                    accuracy("alpha=0.25", _kd("full, alpha=0.25", network)),
                    paper,
                ),
            ),
            "The table's caption says the contrary of its numbers and of the text.",
        )
        for network, paper in (("resnet18", 2.53), ("resnet10", 4.98), ("resnet6", 11.19))
    ),
)

#: Those about stages, in the order in which their trainings are run.
STAGE_CLAIMS = ("criticality-order", "least-critical", "most-critical", "kd-gain-by-stage", "thinning-over-channels")


def find_claim(name: str) -> Claim:
    """Return the claim called ``name``."""
    return next(claim for claim in CLAIMS if claim.name == name)
