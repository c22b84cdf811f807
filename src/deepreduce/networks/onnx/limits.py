"""Bounds on the size of what an ONNX file asks for, checked before it is made: a short file can ask for any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    import onnx

Array: TypeAlias = NDArray[Any]
MAX_VALUES = 2**24  # of one image's tensor, as in plans
MAX_CONSTANT = 2**26  # of all constants together that others make
LARGEST_SIDE = 2**20  # of an image, a padding, a kernel

_ELEMENTWISE = {
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Div", "Equal", "Erf", "Exp", "Floor", "Greater", "Identity", "Less",
    "Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round", "Sigmoid",
    "Sign", "Sqrt", "Sub", "Sum", "Tanh", "Where",
}  # fmt: skip
_SMALLER = {
    "DequantizeLinear", "Flatten", "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip


def folded_size(node: onnx.NodeProto, inputs: Sequence[Array]) -> int | None:
    """Return an upper bound of the values that a node of constants makes; None if no bound is known.

    Raises `ValueError`, `LookupError`, `TypeError` for inputs that ONNX does not know.
    """
    if node.op_type in _ELEMENTWISE:
        return _broadcast(*(array.shape for array in inputs))
    if node.op_type in _SMALLER:
        return max(int(inputs[0].size), inputs[0].ndim)
    known = _SIZES.get(node.op_type)
    return None if known is None else known(inputs)


def _broadcast(*shapes: tuple[int, ...]) -> int:
    return prod(map(int, np.broadcast_shapes(*shapes)))


def _gathered(inputs: Sequence[Array]) -> int:
    data, indices = inputs
    return data.size * indices.size  # at any axis, and more than it can be


def _product(inputs: Sequence[Array]) -> int:
    a, b = inputs[:2]
    shared: int = max(1, min(a.shape[-1], b.shape[0]))
    return a.size * b.size // shared


_SIZES: Mapping[str, Callable[[Sequence[Array]], int]] = {
    "Concat": lambda inputs: sum(array.size for array in inputs),
    "Constant": lambda inputs: 0,  # as large as the file says
    "ConstantOfShape": lambda inputs: prod(map(int, inputs[0])),
    "Expand": lambda inputs: _broadcast(inputs[0].shape, tuple(map(int, inputs[1]))),
    "Gather": _gathered,
    "MatMul": _product,
    "Range": lambda inputs: int(abs(float(inputs[1]) - float(inputs[0])) / max(1e-300, abs(float(inputs[2])))) + 1,
    "Tile": lambda inputs: inputs[0].size * prod(map(int, inputs[1])),
}


def module_size(module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> int:
    """Return an upper bound of the values that a module makes of operands of these shapes."""
    operand = shapes[0]
    if isinstance(module, nn.ZeroPad2d):
        left, right, top, bottom = module.padding
        return prod(operand[:-2]) * (operand[-2] + top + bottom) * (operand[-1] + left + right)
    if isinstance(module, nn.Conv2d) and not isinstance(module.padding, str):
        sides = [
            (side + 2 * padding) // max(1, stride) + 1
            for side, padding, stride in zip(operand[-2:], module.padding, module.stride, strict=True)
        ]
        return int(module.out_channels) * prod(sides)
    if isinstance(module, nn.Linear):
        return int(module.out_features)
    return prod(operand)
