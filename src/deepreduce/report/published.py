"""Published results of other papers: ReLUs and accuracies with their sources, from ``published.json``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from ..files import parse_json
from .reading.json_fields import Fields

FORMAT = 1


@dataclass(frozen=True)
class PublishedPoint:
    """One network of a paper: top-1 ``accuracy`` on the test images of ``data``, in percent.

    The count is from ``relus[0]`` to ``relus[1]``: where our notes of the paper have a range only, they differ.
    """

    data: str
    network: str
    relus: tuple[int, int]
    accuracy: float
    source: str

    @property
    def place(self) -> float:
        """Position on a logarithmic axis."""
        return math.sqrt(self.relus[0] * self.relus[1])

    @property
    def is_range(self) -> bool:
        """Whether the exact count is not known."""
        return self.relus[0] != self.relus[1]


@dataclass(frozen=True)
class PublishedMethod:
    """A paper and its points. ``picked_on_test``: whether the epoch was chosen by test accuracy; None is unknown."""

    name: str
    title: str
    venue: str
    year: int
    url: str
    picked_on_test: bool | None
    points: tuple[PublishedPoint, ...]

    @property
    def picked(self) -> str:
        """Choice of the epoch, in words."""
        return {True: "yes", False: "no", None: "unknown"}[self.picked_on_test]


@dataclass(frozen=True)
class FullSize:
    """The data set as the papers use it: (channels, height, width) and the number of training images."""

    input_shape: tuple[int, ...]
    train: int


@cache
def published() -> tuple[PublishedMethod, ...]:
    """Return every method, with all of its points."""
    return _file().objects("methods", _method)


def published_on(data: str) -> tuple[PublishedMethod, ...]:
    """Return the methods that have points on the data set ``data``, with these only, from few ReLUs to many."""
    found = []
    for method in published():
        points = sorted((p for p in method.points if p.data == data), key=lambda p: (p.place, p.accuracy))
        if points:
            found.append(replace(method, points=tuple(points)))
    return tuple(found)


def full_size(data: str) -> FullSize | None:
    """Return what the papers train on; None for a data set that none of them has."""
    sizes = _file().child("data")
    if not sizes.has(data):
        return None
    size = sizes.child(data)
    return FullSize(size.counts("input_shape"), size.count("train"))


def data_sets() -> tuple[str, ...]:
    """Return the data sets that something is published on."""
    return tuple(dict.fromkeys(point.data for method in published() for point in method.points))


@cache
def _file() -> Fields:
    text = (resources.files(__package__) / "published.json").read_text(encoding="utf-8")
    fields = Fields(parse_json(text), "published.json")
    assert fields.raw("format") == FORMAT
    return fields


def _method(f: Fields) -> PublishedMethod:
    picked = f.raw("picked_on_test")
    return PublishedMethod(
        name=f.text("name"),
        title=f.text("title"),
        venue=f.text("venue"),
        year=f.count("year"),
        url=f.text("url"),
        picked_on_test=None if picked is None else f.flag("picked_on_test"),
        points=f.objects("points", _point),
    )


def _point(f: Fields) -> PublishedPoint:
    low, high = f.counts("relus")
    return PublishedPoint(f.text("data"), f.text("network"), (low, high), f.number("accuracy"), f.text("source"))
