"""Lowered ops in real numbers: what they compute, beside the network that they come from."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from deepreduce.plan import Add, AvgPool, Concat, Conv, Flatten, Linear, MaxPool, Relu, Rescale, kept_mask


def run(lowered, images):
    """The result [B, ...] for images [B, C, H, W], in float64."""
    return evaluate(lowered, images)[lowered.ops[-1].name]


def evaluate(lowered, images):
    """Every value by name; a Rescale without a shift is the identity."""
    values = {"input": torch.as_tensor(images, dtype=torch.float64)}
    for op in lowered.ops:
        x, *others = (values[name] for name in op.inputs)
        if isinstance(op, Conv | Linear):
            weight, bias = map(torch.from_numpy, lowered.weights[op.name])
            assert op.bias or not bias.any()
        if isinstance(op, Conv | AvgPool | MaxPool):
            top, bottom, left, right = op.padding
            border = -torch.inf if isinstance(op, MaxPool) else 0
            x = F.pad(x, (left, right, top, bottom), value=border)
        match op:
            case Conv():
                y = F.conv2d(x, weight, bias, op.stride, groups=op.groups)
            case Linear():
                y = F.linear(x, weight, bias)
            case Add():
                y = sum(others, x)
            case Concat():
                y = torch.cat([x, *others], 1)
            case AvgPool():
                y = F.avg_pool2d(x, op.kernel, op.stride) * np.prod(op.kernel)
            case MaxPool():
                y = F.max_pool2d(x, op.kernel, op.stride)
            case Relu():
                kept = torch.from_numpy(kept_mask(op, x[0].numel())).view(x[0].shape)
                y = torch.where(kept, x.relu(), x)
            case Rescale():
                y = x
            case Flatten():
                y = x.flatten(1)
        values[op.name] = y
    return values


def randomized(network):
    """Batch normalization as after training, not the identity that it starts as."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
            for values in (module.bias.data, module.running_mean):
                values.copy_(torch.randn(values.shape, generator=generator))
    return network.eval().double()


def assert_same(network, lowered):
    """To float64's rounding; every pixel counts, as random weights read them all."""
    images = torch.randn(2, *lowered.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = network.body(images)
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(run(lowered, images), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
