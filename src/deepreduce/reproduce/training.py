"""Trainings of a table, described without a scale or a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..reduce.elements.settings import Linearize
from ..reduce.prune_channels import ChannelPruning

Setting = tuple[str, object]


@dataclass(frozen=True)
class Training:
    """One network trained one way: ``point`` of the built-in ``network`` on ``data``.

    ``teacher`` distills, ``start`` gives the weights to begin with (see `deepreduce.jobs.spec.JobSpec`). ``recipe`` is
    None for the scale's own; ``settings`` change single fields of it, by name. ``prune``
    takes channels from ``start``, whose network it is, before training goes on. Where ``relus`` says how many ReLUs
    are left, counted at full scale, single elements are removed as ``elements`` says.
    """

    network: str = "resnet18"
    point: str = "full"
    data: str = "cifar100"
    teacher: Training | None = None
    start: Training | None = None
    recipe: str | None = None
    settings: tuple[Setting, ...] = ()
    front_padding: bool = False
    prune: ChannelPruning | None = None
    relus: int | None = None
    elements: Linearize | None = None

    @property
    def kd(self) -> bool:
        """Whether it is distilled."""
        return self.teacher is not None

    def distilled(self, teacher: Training | None = None) -> Training:
        """Return the same network distilled from ``teacher`` (default: the full ResNet18 on the same data;
        section 4).
        """
        return replace(self, teacher=teacher or Training(data=self.data))

    def __str__(self) -> str:
        parts = [self.network, self.point, "with KD" if self.kd else "without KD"]
        if self.prune is not None:
            parts.append(f"pruned by {self.prune.criterion} to {self.prune.macs:.2g} of the MACs")
        if self.elements is not None:
            parts.append(f"{self.relus} ReLUs at full scale by {self.elements.method}")
        if self.start is not None and self.prune is None:
            parts.append(f"from {self.start.point}")
        return "; ".join([*parts, *(f"{name}={value}" for name, value in self.settings)])
