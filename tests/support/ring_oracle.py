"""The slow and obvious counterparts of the compiled ring arithmetic."""

import contextlib

import numpy as np

from deepreduce import _core

PATHS = _core.cpu_paths()


@contextlib.contextmanager
def on_path(path):
    before = _core.cpu_path()
    _core.select_cpu_path(path)
    try:
        yield
    finally:
        _core.select_cpu_path(before)


def convolution(x, weights, bias, stride, padding, groups, bits):
    """Cross-correlation mod 2**bits, in uint64 arithmetic (which wraps mod 2**64): one product per kernel position."""
    top, bottom, left, right = padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    outputs, group_channels, kh, kw = weights.shape
    height, width = (x.shape[2] - kh) // stride[0] + 1, (x.shape[3] - kw) // stride[1] + 1
    y = np.zeros((len(x), outputs, height, width), np.uint64)
    words = weights.astype(np.int64).astype(np.uint64)
    for group in range(groups):
        inputs = slice(group * group_channels, (group + 1) * group_channels)
        mine = slice(group * outputs // groups, (group + 1) * outputs // groups)
        for i, j in np.ndindex(kh, kw):
            seen = x[:, inputs, i : i + height * stride[0] : stride[0], j : j + width * stride[1] : stride[1]]
            y[:, mine] += np.einsum("bchw,oc->bohw", seen[:, :, :height, :width], words[mine, :, i, j])
    if bias is not None:
        y += bias[None, :, None, None]
    return y & np.uint64(2**bits - 1)
