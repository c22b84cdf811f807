"""The public scales of a plan, which are book-keeping: what they tell of the weights is as little as can be.

The rules of plans want fractional bits that add up; the true scale of an inner value is not needed. All values
that ops other than linear ones connect have exponents with fixed differences, so one constant for each such class
turns exponents into fractional bits. The classes of the image and of the answer have none: the client needs the truth.
Others are placed so that activations keep the fractional bits that they came with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...plan import INPUT, Conv, Linear, Op, Relu, Rescale


def with_fractions(ops: tuple[Op, ...], exponent: Mapping[str, int], weight_bits: int, output: str) -> tuple[Op, ...]:
    """``ops`` with the ``weight_fraction`` of every linear op filled in; ``exponent`` by name, "input" included."""
    classes = _classes(ops)
    first_shift: dict[str, str] = {}
    for op in ops:
        if isinstance(op, Relu | Rescale) and op.shift >= 0:
            first_shift.setdefault(classes[op.name], op.name)
    constant = {classes[INPUT]: 0, classes[output]: 0}
    result: list[Op] = []
    for op in ops:
        if isinstance(op, Conv | Linear):
            source, home = op.inputs[0], classes[op.name]
            before = exponent[source] + constant[classes[source]]
            if home not in constant:
                shifted = first_shift.get(home)
                reference = exponent[op.name] - (weight_bits - 1) if shifted is None else exponent[shifted]
                constant[home] = before - reference
            op = replace(op, weight_fraction=exponent[op.name] + constant[home] - before)
        result.append(op)
    return tuple(result)


def _classes(ops: tuple[Op, ...]) -> dict[str, str]:
    """Return every value's class, named by one of its values."""
    parents = {INPUT: INPUT} | {op.name: op.name for op in ops}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    for op in ops:
        if not isinstance(op, Conv | Linear):
            for name in op.inputs:
                parents[root(name)] = root(op.name)
    return {name: root(name) for name in parents}
