"""Elements removed while a network is trained (`deepreduce.train.gradual.Gradual`), until exactly a budget is left."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import PointError
from ...networks.masked_relu import MaskedReLU
from .linearize import gates_of
from .scores import Order, Scores
from .settings import Linearize


def removal(settings: Linearize, budget: int) -> Removal:
    """Return what removes elements by ``settings`` until ``budget`` of them are left."""
    return LearnedRemoval(settings, budget) if settings.method == "gates" else ScoredRemoval(settings, budget)


class Removal:
    """The course that all methods share: a count of steps, and removals where the schedule has them."""

    def __init__(self, settings: Linearize, budget: int) -> None:
        self.settings, self.budget = settings, budget
        self.step = 0
        self.schedule: dict[int, int] = {}
        self.gates: list[MaskedReLU] = []
        self.present: list[Tensor] = []

    @property
    def last_step(self) -> int:
        """The step (from 1) after which the kept set is final."""
        return max(self.schedule)

    def begin(self, model: nn.Module, steps: int) -> None:
        """Take up a network with gates, on its device. Raises `PointError` if it has fewer elements than the budget."""
        self.gates = list(gates_of(model).values())
        self.present = [gate.kept for gate in self.gates]
        count = sum(int(mask.sum()) for mask in self.present)
        if count < self.budget:
            raise PointError(f"the network has {count} ReLUs: {self.budget} cannot be kept")
        self.schedule = self.settings.schedule(steps, count, self.budget)

    def loss(self, loss: Tensor) -> Tensor:
        """Return the loss as it is."""
        return loss

    @torch.no_grad()
    def stepped(self, average: nn.Module | None) -> None:
        """Count the step, remove what is due, and give averaged weights the same gates: they are no weights."""
        self.step += 1
        self._learn()
        if self.step in self.schedule:
            self._round(self.schedule[self.step])
        if self.step == self.last_step:
            self._settle()
        if average is not None:
            for own, theirs in zip(self.gates, gates_of(average).values(), strict=True):
                theirs.gate.copy_(own.gate)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the step that ``state`` was taken at."""
        self.step = state["step"]
        if self.step >= self.last_step:
            self._settle()

    def _learn(self) -> None:
        """Learn from a step's gradients."""

    def _round(self, left: int) -> None:
        """Remove elements until ``left`` remain."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Stop looking: the kept set is final."""
        raise NotImplementedError

    def _keep(self, values: list[Tensor], among: list[Tensor], left: int) -> None:
        """Keep the ``left`` elements of ``among`` with the highest values; of equals the first (site, then place).

        ``values`` are float64 on the CPU, ``among`` bool, one tensor for each layer.
        """
        allowed = torch.cat([mask.cpu().flatten() for mask in among])
        flat = torch.cat([value.flatten() for value in values]).nan_to_num(nan=0.0)
        order = torch.argsort(flat.masked_fill(~allowed, -torch.inf), descending=True, stable=True)
        chosen = torch.zeros_like(allowed)
        chosen[order[:left]] = True
        parts = torch.split(chosen, [gate.gate.numel() for gate in self.gates])
        for gate, part in zip(self.gates, parts, strict=True):
            gate.gate.copy_(part.view(gate.gate.shape))


class ScoredRemoval(Removal):
    """Removal, in every round, of the elements that cost least by the batches since the last round (`Scores`)."""

    def begin(self, model: nn.Module, steps: int) -> None:
        """Watch the gated layers."""
        super().begin(model, steps)
        order: Order = "taylor1" if self.settings.method == "taylor1" else "taylor2"
        self.scores = [Scores(gate.gate.shape, order, gate.gate.device) for gate in self.gates]
        for gate, scores in zip(self.gates, self.scores, strict=True):
            gate.watch = scores.watch

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as well."""
        sums, images = [scores.sums for scores in self.scores], [scores.images for scores in self.scores]
        return {**super().state_dict(), "sums": sums, "images": images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The sums as well."""
        super().load_state_dict(state)
        for scores, sums, images in zip(self.scores, state["sums"], state["images"], strict=True):
            scores.sums.copy_(sums)
            scores.images = images

    def _round(self, left: int) -> None:
        self._keep([scores.mean() for scores in self.scores], [gate.kept for gate in self.gates], left)
        for scores in self.scores:
            scores.clear()

    def _settle(self) -> None:
        for gate in self.gates:
            gate.watch = None


class LearnedRemoval(Removal):
    """Gates learn with the weights under an L1 penalty that grows; at the end the largest are kept (SNL, Algorithm 1).

    Where SNL trains until few enough gates are above the threshold, here the training has an end: those above are
    counted in every round, the penalty grows while they are too many, and the budget is cut out exactly at the end.
    """

    def begin(self, model: nn.Module, steps: int) -> None:
        """Let the gates learn."""
        super().begin(model, steps)
        self.penalty = self.settings.penalty
        for gate in self.gates:
            gate.learned = True
            gate.gate.requires_grad_(True)
        self.optimizer = torch.optim.Adam([gate.gate for gate in self.gates], self.settings.gate_rate)

    def loss(self, loss: Tensor) -> Tensor:
        """Return the loss and the gates' weighted L1 norm."""
        if self.step >= self.last_step:
            return loss
        norm = torch.stack([gate.gate.abs().sum() for gate in self.gates]).sum()
        return loss + self.penalty * norm

    def state_dict(self) -> dict[str, Any]:
        """Return the penalty and the gates' optimizer as well."""
        return {**super().state_dict(), "penalty": self.penalty, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The penalty and the gates' optimizer as well."""
        super().load_state_dict(state)
        self.penalty = state["penalty"]
        self.optimizer.load_state_dict(state["optimizer"])

    def _learn(self) -> None:
        if self.step > self.last_step:
            return
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for gate, present in zip(self.gates, self.present, strict=True):
            gate.gate.clamp_(0, 1).mul_(present)  # between identity and ReLU; what was gone before stays so

    def _round(self, left: int) -> None:
        if self.step == self.last_step:
            values = [gate.gate.to("cpu", torch.float64) for gate in self.gates]
            self._keep(values, self.present, self.budget)
            return
        above = sum(int((gate.gate > self.settings.threshold).sum()) for gate in self.gates)
        if above > left:
            self.penalty *= self.settings.growth

    def _settle(self) -> None:
        for gate in self.gates:
            gate.learned = False
            gate.gate.requires_grad_(False)
            gate.gate.grad = None
