"""The operators of ONNX files that plans can have, as torch modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn

if TYPE_CHECKING:
    import onnx

    from .builder import Array, Builder


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))


def _conv(net: Builder, node: onnx.NodeProto) -> None:
    weight, bias = net.constant(node, 1), net.constant(node, 2)
    if weight is None or weight.ndim != 4:
        raise net.refused(node, "convolutions must be two-dimensional, with constant weights")
    options = _attributes(node)
    stride, dilation = options.get("strides", [1, 1]), options.get("dilations", [1, 1])
    kernel = weight.shape[2:]
    x, padding = _padded(net, node, kernel, stride, dilation)
    groups = options.get("group", 1)
    conv = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], tuple(kernel), tuple(stride), padding, tuple(dilation), groups,
        bias is not None,
    )  # fmt: skip
    _set(conv, weight, bias)
    net.put(node, net.module(node, conv, x))


def _padded(
    net: Builder, node: onnx.NodeProto, kernel: Any, stride: Any, dilation: Any
) -> tuple[fx.Node, tuple[int, int]]:
    """Return the input, and the padding that is left for the op; zeros that are not the same on both sides come
    before.
    """
    x, options = net.value(node), _attributes(node)
    top, left, bottom, right = options.get("pads", [0, 0, 0, 0])
    auto = options.get("auto_pad", b"NOTSET").decode()
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        sides = []
        for axis in (0, 1):
            size = net.shape(x)[1 + axis]
            reach = dilation[axis] * (kernel[axis] - 1) + 1
            total = max(0, (-(-size // stride[axis]) - 1) * stride[axis] + reach - size)
            sides.append((total // 2, total - total // 2)[:: 1 if auto == "SAME_UPPER" else -1])
        (top, bottom), (left, right) = sides
    if (top, left) == (bottom, right):
        return x, (top, left)
    return net.module(node, nn.ZeroPad2d((left, right, top, bottom)), x), (0, 0)


def _set(module: Any, weight: Array, bias: Array | None) -> None:
    with torch.no_grad():
        module.weight.copy_(_tensor(weight))
        if bias is not None:
            module.bias.copy_(_tensor(bias).reshape(-1).expand(len(module.bias)))


def _linear(net: Builder, node: onnx.NodeProto, weight: Array, bias: Array | None) -> None:
    """``weight`` [features, outputs]."""
    x = net.value(node)
    if x in net.order:
        sorted_weight = np.empty_like(weight)
        sorted_weight[net.order[x]] = weight
        weight = sorted_weight
    if len(net.shape(x)) != 1:
        raise net.refused(node, "matrix products must take one row per image: put a Flatten before")
    linear = nn.Linear(weight.shape[0], weight.shape[1], bias is not None)
    _set(linear, weight.T, bias)
    net.put(node, net.module(node, linear, x))


def _gemm(net: Builder, node: onnx.NodeProto) -> None:
    options = _attributes(node)
    weight, bias = net.constant(node, 1), net.constant(node, 2)
    if options.get("transA") or weight is None:
        raise net.refused(node, "the weights must be constant, and the image's side not transposed")
    weight = options.get("alpha", 1.0) * (weight.T if options.get("transB") else weight)
    _linear(net, node, weight, None if bias is None else options.get("beta", 1.0) * bias)


def _matmul(net: Builder, node: onnx.NodeProto) -> None:
    weight = net.constant(node, 1)
    if weight is None or weight.ndim != 2:
        raise net.refused(node, "the second operand must be a constant matrix")
    _linear(net, node, weight, None)


def _batch_norm(net: Builder, node: onnx.NodeProto) -> None:
    options, x = _attributes(node), net.value(node)
    if options.get("training_mode"):
        raise net.refused(node, "export the network in evaluation mode")
    scale, shift, mean, variance = (net.constant(node, index) for index in (1, 2, 3, 4))
    assert scale is not None and shift is not None and mean is not None and variance is not None
    kind = nn.BatchNorm2d if len(net.shape(x)) == 3 else nn.BatchNorm1d
    norm = kind(len(scale), eps=options.get("epsilon", 1e-5))
    _set(norm, scale, shift)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(_tensor(mean))
    norm.running_var.copy_(_tensor(variance))
    net.put(node, net.module(node, norm, x))


def _relu(net: Builder, node: onnx.NodeProto) -> None:
    net.put(node, net.module(node, nn.ReLU(), net.value(node)), node.input[0] in net.channels_last)


def _clip(net: Builder, node: onnx.NodeProto) -> None:
    options = _attributes(node)
    bounds = [
        options.get(name) if index >= len(node.input) or not node.input[index] else net.constant(node, index)
        for index, name in ((1, "min"), (2, "max"))
    ]
    low, high = (
        None if bound is None or not np.isfinite(bound).all() else np.asarray(bound).item() for bound in bounds
    )
    if high is not None and high > 1e30:
        high = None
    if low != 0 or high not in (None, 6.0):
        raise net.refused(node, f"it clips to {low} .. {high}; plans have 0 .. infinity (ReLU) and 0 .. 6 (ReLU6)")
    net.put(
        node,
        net.module(node, nn.ReLU() if high is None else nn.ReLU6(), net.value(node)),
        node.input[0] in net.channels_last,
    )


def _add(net: Builder, node: onnx.NodeProto) -> None:
    data = [name for name in node.input if name not in net.constants]
    if len(data) == len(node.input):
        total = net.value(node, 0)
        for index in range(1, len(node.input)):
            same = (node.input[index] in net.channels_last) == (node.input[0] in net.channels_last)
            if not same or net.shape(net.value(node, index)) != net.shape(total):
                raise net.refused(node, "both operands must have one shape")
            total = net.call(torch.add, total, net.value(node, index), node=node)
        net.put(node, total, node.input[0] in net.channels_last)
    elif len(node.input) == 2:
        index = list(node.input).index(data[0])
        _affine(net, node, index, None, net.constants[node.input[1 - index]])
    else:
        raise net.refused(node, "add one constant")


def _sub(net: Builder, node: onnx.NodeProto) -> None:
    if node.input[1] in net.constants:
        _affine(net, node, 0, None, -net.constants[node.input[1]])
    elif node.input[0] in net.constants:
        _affine(net, node, 1, np.float32(-1), net.constants[node.input[0]])
    else:
        raise net.refused(node, "subtract constants, or put the minus into the weights and add")


def _mul(net: Builder, node: onnx.NodeProto) -> None:
    constant = [index for index in (0, 1) if node.input[index] in net.constants]
    if not constant:
        raise net.refused(node, "products of two values are not linear: plans multiply by constants only")
    _affine(net, node, 1 - constant[0], net.constants[node.input[constant[0]]], None)


def _div(net: Builder, node: onnx.NodeProto) -> None:
    if node.input[1] not in net.constants:
        raise net.refused(node, "divide by constants")
    with np.errstate(divide="ignore"):
        inverse = 1 / net.constants[node.input[1]].astype(np.float64)
    _affine(net, node, 0, inverse, None)


def _affine(net: Builder, node: onnx.NodeProto, index: int, scale: Any, shift: Any) -> None:
    """x * scale + shift, both constant: in the layer before if nothing else reads that, else a layer of its own."""
    x = net.value(node, index)
    shape, name = net.shape(x), node.input[index]
    scales, shifts = (
        _per_channel(net, node, name, values, shape, neutral) for values, neutral in ((scale, 1.0), (shift, 0.0))
    )
    before = net.root.get_submodule(str(x.target)) if x.op == "call_module" else None
    if isinstance(before, nn.Conv2d | nn.Linear) and net.read_once(x):
        bias = torch.zeros(len(before.weight)) if before.bias is None else before.bias.detach()
        with torch.no_grad():
            before.weight.mul_(_tensor(scales).reshape(-1, *(1,) * (before.weight.ndim - 1)))
        before.bias = nn.Parameter(bias * _tensor(scales) + _tensor(shifts))
        net.put(node, x, name in net.channels_last)
        return
    layer: nn.Conv2d | nn.Linear
    if len(shape) == 3:
        layer = nn.Conv2d(shape[0], shape[0], 1, groups=shape[0], bias=shift is not None)
        _set(layer, scales[:, None, None, None], None if shift is None else shifts)
    else:
        layer = nn.Linear(shape[0], shape[0], bias=shift is not None)
        _set(layer, np.diag(scales), None if shift is None else shifts)
    net.put(node, net.module(node, layer, x), name in net.channels_last)


def _per_channel(
    net: Builder, node: onnx.NodeProto, name: str, values: Any, shape: tuple[int, ...], neutral: float
) -> Array:
    """Return a constant operand as one number per channel [C] of a value of ``shape``."""
    array = np.asarray(neutral if values is None else values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise net.refused(node, "its constant is not finite")
    file_shape = net.file_shape_of(name)
    last = name in net.channels_last
    try:
        full = np.broadcast_to(array, file_shape if array.ndim <= len(file_shape) else (-1,))[0]
    except ValueError:
        raise net.refused(node, f"its constant of shape {array.shape} must have one number per channel") from None
    if len(shape) == 3:
        full = np.moveaxis(full, -1, 0) if last else full
        flat = full.reshape(shape[0], -1)
        if not (flat == flat[:, :1]).all():
            raise net.refused(node, "its constant must have one number per channel")
        return np.array(flat[:, 0])
    return np.array(full.reshape(-1))


def _concat(net: Builder, node: onnx.NodeProto) -> None:
    values = [net.value(node, index) for index in range(len(node.input))]
    rank = len(net.shape(values[0])) + 1
    last = all(name in net.channels_last for name in node.input)
    axis = _attributes(node).get("axis", 1) % rank
    if axis != (3 if last else 1):
        raise net.refused(node, "concatenate along channels")
    net.check_size(node, sum(math.prod(net.shape(value)) for value in values))
    net.put(node, net.call(torch.cat, values, 1, node=node), last)


def _average(net: Builder, node: onnx.NodeProto) -> None:
    options = _attributes(node)
    kernel = options["kernel_shape"]
    stride = options.get("strides", [1, 1])
    if any(side != 1 for side in options.get("dilations", [])):
        raise net.refused(node, "averages must have dilation 1")
    x, padding = _padded(net, node, kernel, stride, [1, 1])
    if (x is not net.value(node) or any(padding)) and not options.get("count_include_pad"):
        raise net.refused(node, "averages must count their padding (count_include_pad=1), or have none")
    pool = nn.AvgPool2d(tuple(kernel), tuple(stride), padding, _ceils(net, node, x, kernel, stride, padding))
    net.put(node, net.module(node, pool, x))


def _ceils(net: Builder, node: onnx.NodeProto, x: fx.Node, kernel: Any, stride: Any, padding: Any) -> bool:
    """Return whether ceil_mode makes a difference: where windows cover a padded map exactly, it does not."""
    rest = (net.shape(x)[1 + axis] + 2 * padding[axis] - kernel[axis] for axis in (0, 1))
    return bool(_attributes(node).get("ceil_mode")) and any(n % s for n, s in zip(rest, stride, strict=True))


def _global_average(net: Builder, node: onnx.NodeProto) -> None:
    net.put(node, net.module(node, nn.AdaptiveAvgPool2d(1), net.value(node)))


def _max_pool(net: Builder, node: onnx.NodeProto) -> None:
    options = _attributes(node)
    kernel, stride = options["kernel_shape"], options.get("strides", [1, 1])
    dilation = options.get("dilations", [1, 1])
    x, padding = _padded(net, node, kernel, stride, dilation)
    before = net.root.get_submodule(str(net.value(node).target)) if net.value(node).op == "call_module" else None
    if x is not net.value(node) and not isinstance(before, nn.ReLU | nn.ReLU6):
        raise net.refused(node, "padding that differs from side to side needs a ReLU before the pool")
    reach = [step * (side - 1) + 1 for side, step in zip(kernel, dilation, strict=True)]
    ceils = _ceils(net, node, x, reach, stride, padding)
    pool = nn.MaxPool2d(tuple(kernel), tuple(stride), padding, tuple(dilation), False, ceils)
    net.put(node, net.module(node, pool, x))


def _mean(net: Builder, node: onnx.NodeProto) -> None:
    options, x = _attributes(node), net.value(node)
    axes = net.constant(node, 1) if len(node.input) > 1 else options.get("axes")
    rank, last = len(net.shape(x)) + 1, node.input[0] in net.channels_last
    found = sorted(int(axis) % rank for axis in (() if axes is None else np.asarray(axes).reshape(-1)))
    if rank != 4 or found != ([1, 2] if last else [2, 3]):
        raise net.refused(node, "means over both sides of a map are known")
    y = net.module(node, nn.AdaptiveAvgPool2d(1), x)
    if not options.get("keepdims", 1):
        y = net.call(torch.flatten, y, 1, node=node)
    net.put(node, y, last and bool(options.get("keepdims", 1)))


def _flatten(net: Builder, node: onnx.NodeProto) -> None:
    """Flatten, Reshape, Squeeze and Unsqueeze: what makes one row of each image's values, or changes nothing."""
    x, shape = net.value(node), net.file_shape_of(node.input[0])
    target = _target(net, node, shape)
    size = int(np.prod(shape))
    if -1 in target:
        target[target.index(-1)] = size // max(1, -int(np.prod(target)))
    if tuple(target) == shape:
        net.alias(node)
    elif target == [1, size]:
        flat = net.call(torch.flatten, x, 1, node=node) if len(shape) == 4 else x
        if node.input[0] in net.channels_last and shape[1:3] != (1, 1):
            channels, height, width = net.shape(x)
            places = np.arange(size).reshape(channels, height, width)
            net.order[flat] = places.transpose(1, 2, 0).reshape(-1)
        net.put(node, flat)
    elif len(shape) == 2 and target in ([1, size, 1, 1], [1, 1, 1, size]) and _is_flattened(net, x):
        net.put(node, x.args[0], target[-1] == size)  # type: ignore[arg-type]  # a flatten's first argument
    else:
        raise net.refused(node, f"{list(shape)} becomes {target}; only flattening each image's values is known")


def _is_flattened(net: Builder, x: fx.Node) -> bool:
    """Return whether it is the row that was made of a map of one place."""
    before = x.args[0] if x.target is torch.flatten else None
    return isinstance(before, fx.Node) and before.op != "placeholder" and net.shape(before)[1:] == (1, 1)


def _target(net: Builder, node: onnx.NodeProto, shape: tuple[int, ...]) -> list[int]:
    """Return the shape that the file's tensor gets, for one image; -1 is what is left."""
    options = _attributes(node)
    if node.op_type == "Flatten":
        axis = options.get("axis", 1)
        return [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))]
    if node.op_type == "Reshape":
        target = net.constant(node, 1)
        wanted = options.get("shape") if target is None else target.tolist()
        sizes = [shape[i] if size == 0 and i < len(shape) else int(size) for i, size in enumerate(wanted or [])]
        # [-1, features], as some tools write it: the images' dimension is what is left
        return [1, *sizes[1:]] if sizes and sizes[0] == -1 and -1 not in sizes[1:] else sizes
    axes = net.constant(node, 1) if len(node.input) > 1 else options.get("axes")
    if node.op_type == "Squeeze":
        wanted = [i for i in range(1, len(shape)) if shape[i] == 1] if axes is None else list(np.asarray(axes))
        gone = {int(axis) % len(shape) for axis in wanted}
        return [size for i, size in enumerate(shape) if i not in gone]
    added = [] if axes is None else [int(axis) for axis in np.asarray(axes)]
    rank = len(shape) + len(added)
    rest = iter(shape)
    places = {axis % rank for axis in added}
    return [1 if i in places else next(rest) for i in range(rank)]


def _transpose(net: Builder, node: onnx.NodeProto) -> None:
    """Between channels first and channels last: a change of name here, where all maps have their channels first."""
    permutation, x = list(_attributes(node).get("perm", [])), net.value(node)
    last = node.input[0] in net.channels_last
    if permutation == list(range(len(permutation))) and permutation:
        net.alias(node)
    elif permutation == ([0, 3, 1, 2] if last else [0, 2, 3, 1]):
        net.put(node, x, not last)
    else:
        raise net.refused(node, f"it permutes by {permutation}; changes between channels first and last are known")


def _pad(net: Builder, node: onnx.NodeProto) -> None:
    options, x = _attributes(node), net.value(node)
    pads = net.constant(node, 1) if len(node.input) > 1 else np.array(options.get("pads", []))
    value = net.constant(node, 2)
    filled = options.get("value", 0.0) if value is None else float(np.asarray(value).reshape(-1)[0])
    axes = net.constant(node, 3)
    rank = len(net.shape(x)) + 1
    if pads is None or options.get("mode", b"constant") != b"constant" or filled or axes is not None or rank != 4:
        raise net.refused(node, "maps are padded with constant zeros, on all four axes at once")
    first, second = np.asarray(pads).reshape(2, 4).astype(int)
    if node.input[0] in net.channels_last:
        first, second = first[[0, 3, 1, 2]], second[[0, 3, 1, 2]]
    if first[:2].any() or second[:2].any():
        raise net.refused(node, "height and width are padded, channels and images are not")
    sides = (int(first[3]), int(second[3]), int(first[2]), int(second[2]))
    net.put(node, net.module(node, nn.ZeroPad2d(sides), x) if any(sides) else x, node.input[0] in net.channels_last)


def _same(net: Builder, node: onnx.NodeProto) -> None:
    net.alias(node)


HANDLERS: dict[str, Callable[[Builder, onnx.NodeProto], None]] = {
    "Add": _add, "AveragePool": _average, "BatchNormalization": _batch_norm, "Clip": _clip, "Concat": _concat,
    "Conv": _conv, "Div": _div, "Dropout": _same, "Flatten": _flatten, "Gemm": _gemm,
    "GlobalAveragePool": _global_average, "Identity": _same, "MatMul": _matmul, "MaxPool": _max_pool, "Mul": _mul,
    "Pad": _pad, "ReduceMean": _mean, "Relu": _relu, "Reshape": _flatten, "Squeeze": _flatten, "Sub": _sub,
    "Sum": _add, "Transpose": _transpose, "Unsqueeze": _flatten,
}  # fmt: skip
