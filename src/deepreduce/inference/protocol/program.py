"""A plan as a sequence of vectors: what both parties derive from it, identically, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from ...plan import INPUT, Conv, Linear, MaxPool, Op, Plan, Relu, Rescale, kept_mask, tournament
from ...plan.execution.maxpool import Tournament
from ...plan.execution.messages import Protocol, Vector, relu_vector, rescale_vector
from ...plan.execution.schedule import Step, offline_waves, online_levels, reshares
from ...plan.reference import apply, exact_nonlinear
from ...plan.shapes import Shape, shapes
from ...plan.validation import rescale_window
from ..zeroize import wipe

Ring = NDArray[np.uint64]  # elements of Z_2^l
Values = dict[str, Ring]  # one party's shares by op, [batch, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One vector of a step and the elements of an image that it works on (None: all)."""

    vector: Vector
    select: NDArray[np.int64] | None


@dataclass(frozen=True)
class Program:
    """A valid plan, a protocol and a batch size, with all that follows from them."""

    plan: Plan
    protocol: Protocol
    batch: int
    shapes: dict[str, Shape]
    levels: list[list[Step]]
    waves: list[list[str]]
    parts: dict[Step, tuple[Part, ...]]
    tournaments: dict[str, Tournament]
    ops: dict[str, Op]

    @property
    def mask(self) -> np.uint64:
        """The l low bits."""
        return np.uint64(2**self.plan.ring.ring_bits - 1)


def compile_plan(plan: Plan, protocol: Protocol, batch: int) -> Program:
    """Return the program of a valid plan."""
    found = shapes(plan)
    ops = {op.name: op for op in plan.ops}
    games = {op.name: tournament(op, found[op.inputs[0]]) for op in plan.ops if isinstance(op, MaxPool)}
    levels = online_levels(plan)
    parts = {
        step: _parts(ops[step.op], step, found[ops[step.op].inputs[0]], games, plan.ring.ring_bits, protocol, batch)
        for level in levels
        for step in level
    }
    return Program(plan, protocol, batch, found, levels, offline_waves(plan), parts, games, ops)


def _parts(
    op: Op, step: Step, operand: Shape, games: dict[str, Tournament], ring_bits: int, protocol: Protocol, batch: int
) -> tuple[Part, ...]:
    elements = prod(operand)
    match op:
        case MaxPool():
            pairs = len(games[op.name].levels[step.sublevel].winners)
            return (Part(relu_vector(batch * pairs, ring_bits, 0, op.window, protocol), None),)
        case Rescale():
            return (
                Part(
                    rescale_vector(batch * elements, ring_bits, op.shift, rescale_window(op, ring_bits), protocol), None
                ),
            )
        case Relu():
            kept = kept_mask(op, elements)
            if kept.all():
                return (Part(relu_vector(batch * elements, ring_bits, op.shift, op.window, protocol), None),)
            chosen, removed = np.flatnonzero(kept), np.flatnonzero(~kept)
            relus = Part(relu_vector(batch * len(chosen), ring_bits, op.shift, op.window, protocol), chosen)
            if not op.shift:
                return (relus,)
            return relus, Part(rescale_vector(batch * len(removed), ring_bits, op.shift, op.window, protocol), removed)
        case _:
            raise AssertionError(f"{op.name} takes no step")


class Shares:
    """Shares of one party: offline the client's, online the server's.

    Every function here is linear, so the same one serves both parties and the shares keep adding up to the value.
    """

    def __init__(self, program: Program, operand: Ring) -> None:
        self.values: Values = {INPUT: operand}
        self._program = program
        self._pending = list(program.plan.ops)  # what `settle` still has to look at
        self._games: dict[str, Ring] = {}  # the present list of each tournament, [batch, list]

    def settle(self, linear: Callable[[str, Ring], Ring | None]) -> None:
        """Everything that follows from the values so far without the other party; ``linear`` may not know (None)."""
        program = self._program
        waiting, self._pending = self._pending, []
        for op in waiting:
            if any(name not in self.values for name in op.inputs):
                self._pending.append(op)
            elif isinstance(op, Conv | Linear):
                value = linear(op.name, self.values[op.inputs[0]])
                if value is None:
                    self._pending.append(op)
                else:
                    self.values[op.name] = value
            elif Step(op.name, 0) not in program.parts:
                operands = [self.values[name].view(np.int64) for name in op.inputs]
                local = apply(op, operands, {}, program.plan.ring.ring_bits, exact_nonlinear)
                self.values[op.name] = local.view(np.uint64) & program.mask

    def wipe(self) -> None:
        """Overwrite the shares."""
        wipe(*self.values.values(), *self._games.values())

    def has_operand(self, step: Step) -> bool:
        """Return whether the step's vectors can be formed."""
        return self._program.ops[step.op].inputs[0] in self.values and (step.sublevel == 0 or step.op in self._games)

    def operands(self, step: Step) -> list[Ring]:
        """Return the vector [batch * elements] of each part of a step."""
        program, op = self._program, self._program.ops[step.op]
        if isinstance(op, MaxPool):
            games = program.tournaments[op.name]
            if step.sublevel == 0:
                self._games[op.name] = _flat(self.values[op.inputs[0]])[:, games.start]
            now, level = self._games[op.name], games.levels[step.sublevel]
            return [((now[:, level.right] - now[:, level.left]) & program.mask).reshape(-1)]
        flat = _flat(self.values[op.inputs[0]])
        return [_select(flat, part.select) for part in program.parts[step]]

    def results(self, step: Step, results: list[Ring]) -> None:
        """Takes each part's vector of results; after the last step of an op its value is there."""
        program, op = self._program, self._program.ops[step.op]
        shape = (program.batch, *program.shapes[op.name])
        if isinstance(op, MaxPool):
            games = program.tournaments[op.name]
            level = games.levels[step.sublevel]
            now = self._games[op.name][:, level.stays]
            now[:, level.winners] = (now[:, level.winners] + results[0].reshape(program.batch, -1)) & program.mask
            self._games[op.name] = now
            if step.sublevel + 1 == len(games.levels):
                self.values[op.name] = self._games.pop(op.name).reshape(shape)
            return
        parts = program.parts[step]
        if parts[0].select is None:
            self.values[op.name] = results[0].reshape(shape)
            return
        # Removed elements without a part of their own pass unchanged.
        flat = (
            _flat(self.values[op.inputs[0]]).copy()
            if len(parts) == 1
            else np.empty_like(results[0], shape=(shape[0], prod(shape[1:])))
        )
        for part, result in zip(parts, results, strict=True):
            flat[:, part.select] = result.reshape(program.batch, -1)
        self.values[op.name] = flat.reshape(shape)


def fresh_result(program: Program, step: Step) -> bool:
    """Return whether the client knows its share of the step's result before its share of the operand."""
    return reshares(program.ops[step.op])


def _flat(value: Ring) -> Ring:
    return value.reshape(len(value), -1)


def _select(flat: Ring, select: NDArray[np.int64] | None) -> Ring:
    return (flat if select is None else flat[:, select]).reshape(-1)
