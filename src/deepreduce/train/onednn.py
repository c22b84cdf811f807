"""A bug of oneDNN kept away: on CPUs, training narrow strided 1x1 convolutions in channels-last writes out of bounds.

The weight gradient of such a convolution overruns its workspace when it has fewer input channels than the vector unit
has lanes (uxlfoundation/oneDNN issue 6035; seen with torch 2.13 as heap corruption). Taking every stride-th pixel first
and convolving with stride 1 is the same function by another kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

LANES = 16  # of float32 in AVX-512


@contextmanager
def safe_strided_convolutions(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within the block, the affected convolutions of ``model`` on a CPU subsample before they convolve."""
    affected = [m for m in model.modules() if device.type == "cpu" and isinstance(m, nn.Conv2d) and _is_affected(m)]
    for module in affected:
        module.forward = partial(_subsampled, module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in affected:
            del module.forward


def has_functional_convolutions(model: nn.Module) -> bool:
    """Return whether convolutions are called as functions somewhere in ``model``, where they cannot be replaced."""
    graphs = [m.graph for m in model.modules() if isinstance(m, fx.GraphModule)]
    return any(node.target in {F.conv2d, torch.conv2d} for graph in graphs for node in graph.nodes)


def _is_affected(module: nn.Conv2d) -> bool:
    pointwise = module.kernel_size == (1, 1) and module.padding in {(0, 0), "valid"} and module.stride != (1, 1)
    return pointwise and module.in_channels // module.groups < LANES


def _subsampled(module: nn.Conv2d, x: Tensor) -> Tensor:
    chosen = F.avg_pool2d(x, 1, module.stride)  # the mean of one pixel; its gradient is cheaper than a slice's
    return F.conv2d(chosen, module.weight, module.bias, groups=module.groups)
