"""Budgets: ``online<0.1s@lan``, ``relus<50k``, and the most accurate network that keeps within them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import DeepReduceError, SettingError, nearest
from ..plan.cost.network_link import parse_link
from ..units import COUNT, SIZE, TIME, parse_quantity, show_bytes, show_seconds
from .frontier import TrainedNetwork

SECONDS = ("online", "offline", "total")
_GRAMMAR = re.compile(r"\s*([a-z]+)\s*(<=?)\s*([^@]+?)\s*(?:@(.+))?")
_UNITS = {"relus": COUNT, "online": TIME, "offline": TIME, "total": TIME, "traffic": SIZE}
QUANTITIES = tuple(_UNITS)
_HINT = (
    "write QUANTITY<VALUE[@NETWORK]: relus<50k, online<100ms@lan, offline<2s, total<3s@wan or traffic<50MB "
    "(MB of both directions and phases)"
)


@dataclass(frozen=True)
class Target:
    """``quantity`` below ``bound`` (``or_equal``: or at it), which is in ReLUs, seconds or bytes, over ``network``."""

    text: str
    quantity: str
    bound: float
    or_equal: bool
    network: str

    def holds(self, value: float) -> bool:
        """Return whether the value is within the bound."""
        return value <= self.bound if self.or_equal else value < self.bound

    def shown(self, value: float) -> str:
        """Return a value with its unit."""
        if self.quantity == "relus":
            return f"{value:,.0f} ReLUs"
        if self.quantity == "traffic":
            return show_bytes(value)
        return show_seconds(value)


def parse_target(text: str) -> Target:
    """Reads ``QUANTITY<VALUE[@NETWORK]``. Raises `SettingError`."""
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise SettingError(f"target {text!r} cannot be read", _HINT)
    quantity, sign, amount, network = match.groups()
    if quantity not in QUANTITIES:
        raise SettingError(f"target {text!r}: {quantity!r} is not a quantity", nearest(quantity, QUANTITIES))
    try:
        bound = parse_quantity(amount, _UNITS[quantity])
    except ValueError as error:
        raise SettingError(f"target {text!r}: {error}", _HINT) from None
    if not bound > 0:
        raise SettingError(f"target {text!r}: nothing is below {amount}", _HINT)
    # Only seconds depend on the network.
    network = re.sub(r"\s+", "", network or "none") if quantity in SECONDS else "none"
    parse_link(network)
    return Target("".join(text.split()), quantity, bound, sign == "<=", network)


@dataclass(frozen=True)
class PredictedNetwork:
    """A network and its predicted values, one for each target."""

    network: TrainedNetwork
    values: tuple[float, ...]

    def excess(self, targets: Sequence[Target]) -> float:
        """Return how far it is beyond the bound that it misses by most, relative to the bound; at most 0 if none."""
        return max(value / target.bound - 1 for value, target in zip(self.values, targets, strict=True))

    def fits(self, targets: Sequence[Target]) -> bool:
        """Return whether every bound is kept."""
        return all(target.holds(value) for value, target in zip(self.values, targets, strict=True))


@dataclass(frozen=True)
class Choice:
    """The most accurate network that fits, or None and the nearest that does not; ``skipped``: (name, why)."""

    chosen: PredictedNetwork | None
    nearest: PredictedNetwork | None
    skipped: tuple[tuple[str, str], ...]


def choose(
    networks: Iterable[TrainedNetwork],
    targets: Sequence[Target],
    predict: Callable[[TrainedNetwork], Sequence[float]],
) -> Choice:
    """Return the network of best validation accuracy whose predicted values keep all targets; the fewer ReLUs of
    equals.

    ``predict`` gives a network's values in the order of ``targets`` and is asked no more than needed; a network for
    which it raises `DeepReduceError` is skipped.
    """
    closest: PredictedNetwork | None = None
    skipped: list[tuple[str, str]] = []
    for network in sorted(networks, key=lambda n: (-n.validation_accuracy, n.relus)):
        try:
            candidate = PredictedNetwork(network, tuple(predict(network)))
        except DeepReduceError as error:
            skipped.append((network.name, str(error)))
            continue
        if candidate.fits(targets):
            return Choice(candidate, None, tuple(skipped))
        if closest is None or candidate.excess(targets) < closest.excess(targets):
            closest = candidate
    return Choice(None, closest, tuple(skipped))
