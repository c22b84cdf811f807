"""Merging: which values of a linear segment are computed at all, and which only through their readers.

Greedy, on shapes alone: from every value computed, the elimination that lowers the cost most, until none does. A single
one often costs more before the next one pays, so whole stretches are tried too: a value with an operand of its own, all
that comes before a value or after it, all of the segment. Then the weights of what is left are computed, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Protocol

from .linear_graph import (
    Graph,
    LinearLink,
    Shape,
    Value,
    composed,
    enters_whole,
    reads_inside,
    segments,
    together,
    trimmed,
    vanishes_outside,
)
from .linear_weights import with_weights

MAX_WEIGHTS = 2**26  # of a merged link: half a GiB in float64
WORTHWHILE = 1e-9  # relative; a smaller gain is rounding


class Costs(Protocol):
    """Costs of computing, in any one unit; infinite where impossible."""

    def link(self, link: LinearLink, operand: Value, result: Value) -> float:
        """Return one link of a value that is not merely joined from its operands."""

    def addition(self, shape: Shape) -> float:
        """Adding two maps."""

    def rescale(self, shape: Shape) -> float:
        """Bringing an accumulator of that shape back to an activation's scale."""


def merge(graph: Graph, costs: Costs) -> dict[str, Value]:
    """Return the cheapest graph found that computes the same pinned values: of the others, only those that pay are
    left.

    Sources stay. Links that nothing was merged into keep their weights; merged ones are "weights" in float64.
    """
    tidy = {name: _tidy(value, graph) for name, value in graph.items()}
    search, left = _Elimination(tidy, costs), dict(tidy)
    for members in segments(tidy):
        found = search.cheapest(members)
        for name in members:
            if name in found:
                left[name] = found[name]
            else:
                del left[name]
    return with_weights(tidy, left)


def _tidy(value: Value, graph: Graph) -> Value:
    return replace(value, links=tuple(trimmed(link, graph[link.operand].shape, value.shape) for link in value.links))


@dataclass(frozen=True, slots=True)
class _State:
    """A segment on the way: the values left, in order, and those that have a bias by now."""

    values: Mapping[str, Value]
    biased: frozenset[str]


class _Elimination:
    """Eliminations in the segments of one graph, and what they cost."""

    def __init__(self, graph: Graph, costs: Costs) -> None:
        self.graph, self.costs = graph, costs
        self.prices: dict[tuple[LinearLink, Shape, Shape, bool], float] = {}

    def cheapest(self, members: Iterable[str]) -> Mapping[str, Value]:
        """Return the values of a segment that are left when no elimination pays any more."""
        values = {name: self.graph[name] for name in members}
        state = _State(values, frozenset(name for name, value in values.items() if value.bias is not None))
        price = self._price(state)
        while True:
            tried = [self._without(state, names) for names in dict.fromkeys(_candidates(state.values))]
            # Rounded, so that among equals the first is taken: the one that eliminates least.
            priced = [(float(f"{self._price(found):.9e}"), index) for index, found in enumerate(tried)]
            best, index = min(priced, default=(inf, 0))
            if not best < price * (1 - WORTHWHILE):
                return state.values
            state, price = tried[index], best

    def _without(self, state: _State, names: tuple[str, ...]) -> _State:
        """``state`` after the eliminations of ``names`` that are exact, in the order given."""
        values, biased = dict(state.values), set(state.biased)
        reading = _reading(values)
        for name in names:
            if not self._is_exact(values, name, name in biased, reading[name]):
                continue
            gone = values.pop(name)
            for reader in reading.pop(name):
                values[reader] = self._bypassed(values[reader], name, gone)
                if name in biased:
                    biased.add(reader)
                for link in gone.links:
                    if reader not in reading.setdefault(link.operand, []):
                        reading[link.operand].append(reader)
            for link in gone.links:
                if name in reading[link.operand]:
                    reading[link.operand].remove(name)
        return _State(values, frozenset(biased))

    def _is_exact(self, values: Graph, name: str, biased: bool, reading: list[str]) -> bool:
        value = values[name]
        if vanishes_outside(value, biased, self.graph):
            return True
        return all(
            reads_inside(link, value.shape, values[reader].shape)
            for reader in reading
            for link in values[reader].links
            if link.operand == name
        )

    def _bypassed(self, reader: Value, name: str, gone: Value) -> Value:
        """``reader`` on the operands of ``gone`` instead of ``name``."""
        links: list[LinearLink] = []
        for outer in reader.links:
            if outer.operand != name:
                _join(links, outer, self.graph, reader.shape)
                continue
            for inner in gone.links:
                _join(links, composed(outer, inner), self.graph, reader.shape)
        return replace(reader, links=tuple(links))

    def _price(self, state: _State) -> float:
        """Return the cost of a segment; infinite where a merged link is too large."""
        price, wide, multiplied = 0.0, set[str](), set[str]()
        for name, value in state.values.items():
            whole = [link for link in value.links if enters_whole(link, self.graph[link.operand].shape, value.shape)]
            changed = [link for link in value.links if link not in whole]
            joined = is_concatenation(value, name in state.biased, self.graph)
            if not joined:
                price += sum(self._link_price(link, value) for link in changed)
                price += (len(value.links) - 1) * self.costs.addition(value.shape)
            if any(link.operand in wide for link in whole) or any(
                link.kind in ("weights", "identity") or (link.kind == "embedding" and not joined) for link in changed
            ):
                wide.add(name)
            multiplied.update(link.operand for link in changed)
            if value.multiplied:
                multiplied.add(name)
        return price + sum(self.costs.rescale(state.values[name].shape) for name in wide & multiplied)

    def _link_price(self, link: LinearLink, value: Value) -> float:
        operand = self.graph[link.operand]
        key = link, operand.shape, value.shape, value.vector
        if key not in self.prices:
            weights = value.shape[0] * operand.shape[0] // link.groups * prod(link.kernel)
            merged = link.kind == "weights" and link.weights is None
            fits = not merged or weights <= MAX_WEIGHTS
            self.prices[key] = self.costs.link(link, operand, value) if fits else inf
        return self.prices[key]


def is_concatenation(value: Value, biased: bool, graph: Graph) -> bool:
    """Return whether ``value`` is its operands side by side and nothing else, which costs nothing."""
    extents = {graph[link.operand].shape[1:] for link in value.links}
    return not biased and extents == {value.shape[1:]} and all(link.kind == "embedding" for link in value.links)


def _join(links: list[LinearLink], new: LinearLink, graph: Graph, result: Shape) -> None:
    """Add a link to ``links``: to the one from the same operand with the same stride, if there is one."""
    new = trimmed(new, graph[new.operand].shape, result)
    for index, link in enumerate(links):
        if (link.operand, link.stride) == (new.operand, new.stride):
            links[index] = together(link, new)
            return
    links.append(new)


def _candidates(values: Graph) -> Iterator[tuple[str, ...]]:
    """Names to eliminate together, in order: one, one and an operand, all before or after one, all."""
    free = [name for name, value in values.items() if not value.pinned]
    before: dict[str, set[str]] = {}
    for name, value in values.items():
        inside = [link.operand for link in value.links if link.operand in values]
        before[name] = set(inside).union(*(before[operand] for operand in inside))
        if not value.pinned:
            yield (name,)
            yield from ((operand, name) for operand in inside if not values[operand].pinned)
        for far in (before[name].difference(inside), before[name]):
            if stretch := tuple(other for other in free if other in far):
                yield stretch
    for name in values:
        if after := tuple(other for other in free if name in before[other]):
            yield after
    if free:
        yield tuple(free)


def _reading(values: Graph) -> dict[str, list[str]]:
    """Return which values read each, once each."""
    found: dict[str, list[str]] = {name: [] for name in values}
    for name, value in values.items():
        for operand in dict.fromkeys(link.operand for link in value.links):
            found.setdefault(operand, []).append(name)
    return found
