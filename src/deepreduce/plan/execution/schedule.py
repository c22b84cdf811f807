"""Dependency schedule: online rounds and offline waves of homomorphic products."""

from __future__ import annotations

from typing import NamedTuple

from ..schema import INPUT, Conv, Linear, MaxPool, Op, Plan, Relu, Rescale
from ..shapes import Shape, shapes
from .maxpool import pairs_per_level


class Step(NamedTuple):
    """One exchange of one op: a MaxPool has one per level of its tournament, counted from 0; other ops have one."""

    op: str
    sublevel: int


def online_levels(plan: Plan) -> list[list[Step]]:
    """Return the steps of each round, as early as their operands allow; what shares a round has no order."""
    found = shapes(plan)
    levels: list[list[Step]] = []
    done = {INPUT: 0}  # rounds after which the value is there
    for op in plan.ops:
        start = max(done[name] for name in op.inputs)
        needed = rounds(op, found[op.inputs[0]])
        for sublevel in range(needed):
            if start + sublevel == len(levels):
                levels.append([])
            levels[start + sublevel].append(Step(op.name, sublevel))
        done[op.name] = start + needed
    return levels


def offline_waves(plan: Plan) -> list[list[str]]:
    """Conv and Linear ops by wave. The masks that a wave's ops take are known once the waves before it are answered.

    The client can send its mask of a re-shared value at once, for it is fresh; between re-sharings its share is
    whatever the op before left it with.
    """
    waves: list[list[str]] = []
    depth = {INPUT: 0}  # linear ops since the last fresh mask
    for op in plan.ops:
        depth[op.name] = max(depth[name] for name in op.inputs)
        if isinstance(op, Conv | Linear):
            if depth[op.name] == len(waves):
                waves.append([])
            waves[depth[op.name]].append(op.name)
            depth[op.name] += 1
        elif reshares(op):
            depth[op.name] = 0
    return waves


def rounds(op: Op, operand: Shape) -> int:
    """Round trips that ``op`` takes online."""
    match op:
        case Relu():
            return 1
        case Rescale():
            return int(op.shift > 0)
        case MaxPool():
            return len(pairs_per_level(op, operand))
        case _:
            return 0


def reshares(op: Op) -> bool:
    """Return whether the client's share of the result is a fresh mask, whatever its share of the operand.

    Not so where an operand is part of the result: a Relu's removed elements at shift 0, a MaxPool's a + relu(b - a).
    """
    match op:
        case Relu():
            return op.kept is None or op.shift > 0
        case Rescale():
            return op.shift > 0
        case _:
            return False
