"""Placement of rescales, which bring an accumulator back to an activation's scale."""

from __future__ import annotations

from dataclasses import replace

from ...lowering.ir import Lowered
from ...plan import Add, Conv, Linear, Op, Relu, Rescale


def with_rescales(lowered: Lowered) -> Lowered:
    """Return a Rescale behind each accumulator (a linear op's value, or a sum with one) that more than ReLU and Add
    read.

    All but a ReLU then read the rescaled value, so that a shortcut and its block share one Rescale.
    """
    readers: dict[str, list[Op]] = {}
    for op in lowered.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)
    taken, wide, now = {op.name for op in lowered.ops}, set[str](), dict[str, str]()
    result: list[Op] = []
    for op in lowered.ops:
        inputs = op.inputs if isinstance(op, Relu) else tuple(now.get(name, name) for name in op.inputs)
        result.append(replace(op, inputs=inputs))
        if isinstance(op, Conv | Linear) or (isinstance(op, Add) and any(name in wide for name in inputs)):
            wide.add(op.name)
            if any(not isinstance(reader, Relu | Add) for reader in readers.get(op.name, ())):
                name = f"{op.name}.rescale"
                while name in taken:
                    name += "_"
                taken.add(name)
                now[op.name] = name
                result.append(Rescale(name, (op.name,), 0, 0))
    return replace(lowered, ops=tuple(result))
