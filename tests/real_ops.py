"""A lowered network evaluated in real numbers: what quantising is compared with."""

import numpy as np

from deepreduce.plan import INPUT, Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Relu, Rescale


def evaluate(lowered, images):
    """Every value by name for images [B, C, H, W], in float64."""
    values = {INPUT: np.asarray(images, np.float64)}
    for op in lowered.ops:
        values[op.name] = _apply(op, [values[name] for name in op.inputs], lowered.weights)
    return values


def _apply(op, operands, weights):
    x = operands[0]
    match op:
        case Conv():
            weight, bias = weights[op.name]
            windows = _windows(x, op, 0.0)  # [B, C, oh, ow, kh, kw]
            windows = windows.reshape(len(x), op.groups, -1, *windows.shape[2:])
            weight = weight.reshape(op.groups, -1, *weight.shape[1:])
            y = np.einsum("bgchwuv,gocuv->bgohw", windows, weight)
            return y.reshape(len(x), -1, *y.shape[3:]) + bias[:, None, None]
        case Linear():
            weight, bias = weights[op.name]
            return x @ weight.T + bias
        case Add():
            return sum(operands)
        case Concat():
            return np.concatenate(operands, axis=1)
        case AvgPool():
            return _windows(x, op, 0.0).sum(axis=(4, 5))
        case MaxPool():
            return _windows(x, op, -np.inf).max(axis=(4, 5))
        case Relu():
            return np.maximum(x, 0)
        case Rescale():
            return x
        case Flatten():
            return x.reshape(len(x), -1)


def _windows(x, op, fill):
    top, bottom, left, right = op.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, op.kernel, axis=(2, 3))
    return windows[:, :, :: op.stride[0], :: op.stride[1]]
