"""The frontier as it is drawn: which points, in which role, and which of them have room for their name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .records import Network


@dataclass(frozen=True)
class FrontierView:
    """Every network that can be drawn, from few ReLUs to many.

    ``named`` are the frontier points (by job) with room for their name, and the corner it is written at.
    """

    frontier: tuple[Network, ...]
    dominated: tuple[Network, ...]
    profiled: tuple[Network, ...]
    teacher: Network | None
    named: Mapping[str, str]

    @property
    def drawn(self) -> tuple[Network, ...]:
        """All points of the picture."""
        rest = (*self.frontier, *self.dominated, *self.profiled)
        return rest if self.teacher is None or self.teacher in rest else (*rest, self.teacher)

    @property
    def ticks(self) -> tuple[int, ...]:
        """Ticks of the log axis: 1, 2 and 5 times each power of ten, from below the first point to above the last."""
        low, high = min(n.relus for n in self.drawn), max(n.relus for n in self.drawn)
        values = (digit * 10**power for power in range(len(str(high)) + 1) for digit in (1, 2, 5))
        return tuple(value for value in values if low / 3 <= value <= high * 3)


def drawable(network: Network) -> bool:
    """Whether the network has a place in the picture: an accuracy, and a ReLU count that a log axis can show."""
    return network.validation_accuracy is not None and network.relus > 0


def accuracy(network: Network) -> float:
    """The validation accuracy of a `drawable` network."""
    assert network.validation_accuracy is not None
    return network.validation_accuracy


def compute_frontier(networks: Sequence[Network]) -> FrontierView:
    """Sort the networks into the layers of the picture."""
    points = sorted(filter(drawable, networks), key=lambda n: (n.relus, accuracy(n), n.name))
    frontier = tuple(n for n in points if n.on_frontier)
    below = tuple(n for n in points if not n.on_frontier and n.role != "teacher")
    return FrontierView(
        frontier=frontier,
        dominated=tuple(n for n in below if n.role == "candidate"),
        profiled=tuple(n for n in below if n.role == "profile"),
        teacher=next((n for n in points if n.role == "teacher"), None),
        named=_with_room(frontier, points),
    )


def _with_room(frontier: Sequence[Network], points: Sequence[Network]) -> dict[str, str]:
    """The frontier points (by job) whose name hits no other name and no other point, and the corner it goes to.

    Above left and below right of a frontier point the frontier itself never passes. The picture is taken as 100
    characters wide and 26 lines high, which holds for both renderers; the most accurate points are asked first, being
    the ones a reader looks for.
    """
    if not points:
        return {}
    x_low, x_high = math.log(points[0].relus), math.log(points[-1].relus)
    y_low, y_high = min(map(accuracy, points)), max(map(accuracy, points))

    def place(network: Network) -> tuple[float, float]:
        x = (math.log(network.relus) - x_low) / ((x_high - x_low) or 1)
        y = (accuracy(network) - y_low) / ((y_high - y_low) or 1)
        return 100 * x, 26 * y

    taken = [(x - 0.5, x + 0.5, y - 0.4, y + 0.4) for x, y in map(place, points)]
    named: dict[str, str] = {}
    for network in reversed(frontier):
        x, y = place(network)
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
