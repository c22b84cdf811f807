"""Wide residual networks with pre-activation blocks (Zagoruyko and Komodakis 2016).

WRN-22-8 has 1,392,640 ReLUs at 32x32. Papers that count 1,359,872 leave out the last ReLU before pooling.
"""

from __future__ import annotations

from torch import Tensor, nn

from .resnet import scaled


class PreActivationBlock(nn.Module):
    """bn-relu-conv twice; a 1x1 shortcut, taken after the first activation, where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h/stride, w/stride]."""
        activated = self.relu(self.bn1(x))
        identity = x if self.shortcut is None else self.shortcut(activated)
        out = self.conv2(self.relu(self.bn2(self.conv1(activated))))
        return out + identity  # type: ignore[no-any-return]  # modules answer Any


class WideResNet(nn.Module):
    """WRN-``depth``-``widen``: three groups of (depth - 4) / 6 blocks, channels 16 * widen, doubled twice."""

    def __init__(self, depth: int, widen: int, width: float, in_channels: int, num_classes: int) -> None:
        super().__init__()
        before = scaled(16, width)
        self.conv1 = nn.Conv2d(in_channels, before, 3, padding=1, bias=False)
        groups: list[nn.Module] = []
        for index in range(3):
            after = scaled(16 * widen * 2**index, width)
            blocks: list[nn.Module] = []
            for _ in range((depth - 4) // 6):
                blocks.append(PreActivationBlock(before, after, 2 if index > 0 and not blocks else 1))
                before = after
            groups.append(nn.Sequential(*blocks))
        self.layers = nn.Sequential(*groups)
        self.bn = nn.BatchNorm2d(before)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] -> logits [n, num_classes]."""
        x = self.relu(self.bn(self.layers(self.conv1(x))))
        return self.fc(self.flatten(self.avgpool(x)))  # type: ignore[no-any-return]  # modules answer Any
