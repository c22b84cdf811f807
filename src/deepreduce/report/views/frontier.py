"""The frontier as it is drawn: which points, in which role, and which of them have room for their name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..reading.records import ReportedNetwork
from .axis import RELUS, Axis


@dataclass(frozen=True)
class FrontierView:
    """Every network that can be drawn against ``axis``, from few ReLUs (seconds, megabytes) to many.

    ``named`` are the frontier points (by job) with room for their name, and the corner it is written at.
    """

    frontier: tuple[ReportedNetwork, ...]
    dominated: tuple[ReportedNetwork, ...]
    profiled: tuple[ReportedNetwork, ...]
    teacher: ReportedNetwork | None
    named: Mapping[str, str]
    axis: Axis = RELUS

    def x(self, network: ReportedNetwork) -> float:
        """Return the place of a drawn network on the axis."""
        value = self.axis.value(network)
        assert value is not None
        return value

    @property
    def drawn(self) -> tuple[ReportedNetwork, ...]:
        """All points of the picture."""
        rest = (*self.frontier, *self.dominated, *self.profiled)
        return rest if self.teacher is None or self.teacher in rest else (*rest, self.teacher)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Ticks of the log axis: 1, 2 and 5 times each power of ten, from below the first point to above the last."""
        return self.ticks_with(())

    def ticks_with(self, others: Iterable[float]) -> tuple[float, ...]:
        """`ticks` for a picture that holds ``others``, too."""
        places = [*map(self.x, self.drawn), *others]
        low, high = min(places), max(places)
        first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
        values = (digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5))
        least = 0.0 if self.axis.key else 1.0  # half a ReLU is none
        return tuple(value for value in values if max(low / 3, least) <= value <= high * 3)


def drawable(network: ReportedNetwork) -> bool:
    """Return whether the network has a place in the picture: an accuracy, and a ReLU count that a log axis can show."""
    return network.validation_accuracy is not None and network.relus > 0


def accuracy(network: ReportedNetwork) -> float:
    """Return the validation accuracy of a `drawable` network."""
    assert network.validation_accuracy is not None
    return network.validation_accuracy


def compute_frontier(
    networks: Sequence[ReportedNetwork], axis: Axis = RELUS, others: Sequence[tuple[float, float]] = ()
) -> FrontierView:
    """Sort the networks into the layers of the picture. What is dominated in ReLUs need not be so in seconds.

    ``others`` are places (x, accuracy) of the picture that something else is drawn at: names keep clear of them.
    """

    def x(network: ReportedNetwork) -> float:
        return axis.value(network) or 0.0

    points = sorted((n for n in networks if drawable(n) and x(n) > 0), key=lambda n: (x(n), accuracy(n), n.name))
    best = {n.job for n in points if n.on_frontier} if axis == RELUS else _undominated(points, x)
    frontier = tuple(n for n in points if n.job in best)
    below = tuple(n for n in points if n.job not in best and n.role != "teacher")
    view = FrontierView(
        frontier=frontier,
        dominated=tuple(n for n in below if n.role == "candidate"),
        profiled=tuple(n for n in below if n.role == "profile"),
        teacher=next((n for n in points if n.role == "teacher"), None),
        named={},
        axis=axis,
    )
    return replace(view, named=_with_room(view, points, others))


def _undominated(points: Sequence[ReportedNetwork], x: Callable[[ReportedNetwork], float]) -> set[str]:
    """Return the jobs of the points that are more accurate than every point before them; of equals the first stays."""
    best: set[str] = set()
    reached = -math.inf
    for network in sorted(points, key=lambda n: (x(n), -accuracy(n))):
        if accuracy(network) > reached:
            reached = accuracy(network)
            best.add(network.job)
    return best


def _with_room(
    view: FrontierView, points: Sequence[ReportedNetwork], others: Sequence[tuple[float, float]]
) -> dict[str, str]:
    """Return the frontier points (by job) whose name hits no other name and no other point, and the corner it goes to.

    Above left and below right of a frontier point the frontier itself never passes. The picture is taken as 100
    characters wide and 26 lines high, which holds for both renderers; the most accurate points are asked first, being
    the ones a reader looks for.
    """
    if not points:
        return {}
    places = [*((view.x(n), accuracy(n)) for n in points), *others]
    x_low, x_high = math.log(min(x for x, _ in places)), math.log(max(x for x, _ in places))
    y_low, y_high = min(y for _, y in places), max(y for _, y in places)

    def place(at: tuple[float, float]) -> tuple[float, float]:
        x = (math.log(at[0]) - x_low) / ((x_high - x_low) or 1)
        y = (at[1] - y_low) / ((y_high - y_low) or 1)
        return 100 * x, 26 * y

    taken = [(x - 0.5, x + 0.5, y - 0.4, y + 0.4) for x, y in map(place, places)]
    named: dict[str, str] = {}
    for network in reversed(view.frontier):
        x, y = place((view.x(network), accuracy(network)))
        length = len(network.label)
        corners = {
            "top left": (x - 1 - length, x - 1, y + 0.5, y + 1.5),
            "bottom right": (x + 1, x + 1 + length, y - 1.5, y - 0.5),
        }
        for corner, box in corners.items():
            # On either side a name may leave the picture by what the margin of the axis holds.
            if box[0] > -4 and box[1] < 104 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                named[network.job] = corner
                break
    return named


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1] and a[2] <= b[3] and b[2] <= a[3]
