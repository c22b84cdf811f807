"""Settings of removing single elements during a training, as one frozen value: part of a job's digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Literal, get_args

from ...errors import SettingError, nearest

Scoring = Literal["taylor2", "taylor1", "gates"]
METHODS: tuple[Scoring, ...] = get_args(Scoring)


@dataclass(frozen=True)
class Linearize:
    """Elements of ReLU layers removed in ``rounds`` over the first ``share`` of all training steps; then tuning.

    The number that is left falls geometrically, from what the network has to the budget in its name. ``method`` says by
    what elements are chosen (docs/guide/elements.md): ``taylor1`` and ``taylor2`` by the loss that removing them would
    cost, to first and second order, over the batches since the last removal; ``gates`` by learned gates (Selective
    Network Linearization, Cho et al. 2022), all at once at the end of the last round.

    The rest is for ``gates`` alone. ``penalty`` is the weight of their L1 norm in the loss; after every round it is
    multiplied by ``growth`` if more gates than that round allows are above ``threshold``. ``gate_rate`` is the step
    size of Adam, which they learn by. Rate, threshold and first penalty are those of that paper's code; its growth is
    1.1 an epoch, for up to 2000 epochs: here it has one training.
    """

    method: Scoring = "taylor2"
    rounds: int = 20
    share: float = 0.5
    penalty: float = 1e-5
    growth: float = 1.5
    gate_rate: float = 1e-3
    threshold: float = 1e-2

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingError(f"unknown elements method {self.method!r}", nearest(str(self.method), METHODS))
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingError(f"{name} {value:g} is not in [{low:g}, {high:g}]")

    def schedule(self, steps: int, present: int, budget: int) -> dict[int, int]:
        """Step (from 1, of ``steps``) -> elements that are left after it, for each removal, in order.

        The last is ``budget``, at step ``ceil(share * steps)``. Rounds that fall on one step are one.
        """
        fall = budget / max(present, 1)
        found: dict[int, int] = {}
        for done in range(1, self.rounds + 1):
            left = budget if done == self.rounds else round(present * fall ** (done / self.rounds))
            found[max(1, ceil(round(steps * self.share * done / self.rounds, 6)))] = max(budget, left)
        return found


def make_linearize(method: str | None = None, changes: Mapping[str, str] | None = None) -> Linearize:
    """Return the defaults with another method, and other fields changed by text as typed. Raises `SettingError`."""
    defaults: dict[str, Any] = {field.name: field.default for field in fields(Linearize) if field.name != "method"}
    converted: dict[str, Any] = {} if method is None else {"method": method}
    for name, text in (changes or {}).items():
        if name not in defaults:
            raise SettingError(f"unknown elements setting {name!r}", nearest(name, defaults))
        kind = type(defaults[name])
        try:
            converted[name] = kind(text)
        except ValueError:
            raise SettingError(f"{name}={text!r} is not a {kind.__name__}") from None
    return Linearize(**converted)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("rounds", 1, 10_000),
    ("share", 1e-6, 1),
    ("penalty", 0, 1e3),
    ("growth", 1, 1e3),
    ("gate_rate", 1e-9, 1e3),
    ("threshold", 0, 1),
)
