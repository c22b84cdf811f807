"""Budgets of ReLUs met to the element: coarse (whole layers), fine (single elements), and coarse then fine.

Coarse is what the search trained anyway. Fine removes elements from the whole network without its stem's ReLUs. Coarse
then fine removes them from a network that the search found. Both begin with trained weights and distill from the
teacher.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import SettingError
from ..networks.layout import Layout
from ..networks.point import Point, full_point, parse_point
from ..reduce.build import reduce_to
from ..reduce.elements.settings import Linearize
from ..units import COUNT, parse_quantity
from .frontier import TrainedNetwork
from .planner import Trainings

FINE, BOTH = "fine", "coarse-then-fine"
KINDS = ("coarse", FINE, BOTH)
BASE_FACTOR = 4  # a coarse network has at most so many times the budget for elements to be removed from it


@dataclass(frozen=True)
class Budgets:
    """The numbers of ReLUs to meet, the largest first, and how elements are removed."""

    relus: tuple[int, ...] = ()
    elements: Linearize = field(default_factory=Linearize)


@dataclass(frozen=True)
class Refinement:
    """A network to be trained: ``step`` is how it comes to be, ``start`` the job that its weights begin with."""

    step: str
    point: Point
    start: str


def parse_budgets(texts: str | Iterable[int | str]) -> tuple[int, ...]:
    """Budgets from ``100k,12.5k,7000`` or from several such, the largest first. Raises `SettingError`."""
    texts = texts.split(",") if isinstance(texts, str) else texts
    return tuple(sorted({_parse(str(text).strip()) for text in texts}, reverse=True))


def _parse(text: str) -> int:
    hint = "write numbers of ReLUs, as 100k,12.5k,7000"
    try:
        value = parse_quantity(text, COUNT)
    except ValueError:
        raise SettingError(f"budget {text!r} cannot be read", hint) from None
    if not 1 <= value < 1e15 or abs(value - round(value)) > 1e-6:
        raise SettingError(f"budget {text!r} is not a whole number of ReLUs above 0", hint)
    return round(value)


def refinements(
    budgets: Sequence[int], layout: Layout, whole_relus: int, networks: Sequence[TrainedNetwork], teacher: str
) -> tuple[list[Refinement], list[str]]:
    """Return what to train for ``budgets``, and sentences about what there is not.

    ``whole_relus`` are those of the network without its stem's, ``networks`` the coarse ones, ``teacher`` a job. Coarse
    then fine begins with the most accurate of them that has more ReLUs than the budget, and at most `BASE_FACTOR` times
    as many; of equals, the one with the fewest.
    """
    found, notices = [], []
    whole = full_point(layout.ranked_stages)
    coarse = [n for n in networks if n.kd]
    for budget in budgets:
        if budget >= whole_relus:
            notices.append(f"the network without its stem's ReLUs has {whole_relus:,}: none to remove for {budget:,}")
            continue
        found.append(Refinement(FINE, replace(whole, relus=budget), teacher))
        above = [n for n in coarse if budget < n.relus <= BASE_FACTOR * budget]
        if not above:
            notices.append(
                f"no coarse network has more than {budget:,} and at most {BASE_FACTOR * budget:,} ReLUs: no coarse "
                "then fine for that budget"
            )
            continue
        base = max(above, key=lambda n: (n.validation_accuracy, -n.relus))
        point = replace(parse_point(base.name, layout.stages), relus=budget)
        found.append(Refinement(BOTH, point, base.job))
    return found, notices


def refine(trainings: Trainings, budgets: Budgets) -> None:
    """Remove single elements from what was trained until each budget is met."""
    full, coarse = trainings.method.full, trainings.outcomes()
    teacher = next(network.job for network in coarse if network.role == "teacher")
    whole = reduce_to(full, full_point(full.layout.ranked_stages)).relus
    found, notices = refinements(budgets.relus, full.layout, whole, coarse, teacher)
    for text in notices:
        trainings.notice(text)
    trainings.expect(len(trainings.entries) + len(found))
    trainings.observer.phase("single elements, to meet the budgets")
    planned = []
    for wanted in found:
        spec = trainings.method.spec(wanted.point, teacher, start=wanted.start, elements=budgets.elements)
        planned.append(trainings.plan("candidate", wanted.step, wanted.point, spec))
    trainings.run(planned)
    trainings.expect(len(trainings.entries))


def kind_of(network: TrainedNetwork) -> str:
    """Return which of `KINDS` it is."""
    return network.step if network.step in (FINE, BOTH) else "coarse"


def bests(budgets: Sequence[int], networks: Sequence[TrainedNetwork]) -> list[dict[str, Any]]:
    """Return for ``frontier.json`` the job of the best network under each budget, of each kind and of all.

    The best has the highest validation accuracy of those with at most that many ReLUs; of equals, the fewest ReLUs.
    """
    rows = []
    for budget in budgets:
        within = [n for n in networks if n.relus <= budget]
        row: dict[str, Any] = {"relus": budget}
        for kind in KINDS:
            row[kind] = _best([n for n in within if kind_of(n) == kind])
        rows.append({**row, "choice": _best(within)})
    return rows


def _best(networks: Sequence[TrainedNetwork]) -> str | None:
    best = max(networks, key=lambda n: (n.validation_accuracy, -n.relus), default=None)
    return None if best is None else best.job
