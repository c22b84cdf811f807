"""A network of your own: functional ReLUs, an in-place one, two branches that are concatenated, a shortcut.

deepreduce inspect examples/my_network.py:build
deepreduce search examples/my_network.py:build --data digits --epochs 3 --out mine
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Branches(nn.Module):
    """3x3 and 1x1 branches side by side, concatenated, added to a projected shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(before, after // 2, 3, stride, 1)
        self.narrow = nn.Conv2d(before, after // 2, 1, stride)
        self.mix = nn.Conv2d(after, after, 3, padding=1)
        self.norm = nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([F.relu(self.wide(x)), torch.relu(self.narrow(x))], dim=1)
        out = self.norm(self.mix(both))
        out += self.shortcut(x)
        return out.relu_()


class MyNetwork(nn.Module):
    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.stages = nn.ModuleList([Branches(8, 16, 1), Branches(16, 32, 2), Branches(32, 64, 2)])
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for stage in self.stages:
            x = stage(x)
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


def build(in_channels: int = 3, num_classes: int = 10) -> nn.Module:
    """Called by name; the arguments it declares are filled in from the data."""
    return MyNetwork(in_channels, num_classes)
