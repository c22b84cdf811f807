"""Residual networks for small images (He et al. 2016), with torchvision's attribute names.

The four-stage form (ResNet18/34/10/9/6) has a 3x3 stem of stride 1 and no max-pool, so the first stage keeps the
input's resolution (paper, section 4). The three-stage form (ResNet20/32/56) is He's CIFAR form with widths 16/32/64;
shortcuts that change shape are 1x1 convolutions in both forms, which keeps to one set of operations
at equal ReLU counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def scaled(channels: int, width: float) -> int:
    """``channels`` times alpha, at least one."""
    return max(1, round(channels * width))


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Return the 1x1 shortcut where the shape changes, else None (identity)."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h/stride, w/stride]."""
        identity = x
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)  # type: ignore[no-any-return]  # modules answer Any


class SingleBlock(nn.Module):
    """One 3x3 convolution and a shortcut: ResNet6's blocks and the first block of ResNet9."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h/stride, w/stride]."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn1(self.conv1(x))
        out += identity
        return self.relu(out)  # type: ignore[no-any-return]  # modules answer Any


Block = type[BasicBlock] | type[SingleBlock]


class ResNet(nn.Module):
    """A stem, one `nn.Sequential` of blocks per stage (``layer1`` ...), global average pooling and a classifier.

    ``stages`` lists the block classes of each stage; ``channels`` its channels before scaling by ``width``.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Block]],
        channels: Sequence[int],
        width: float,
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        stem = scaled(channels[0], width)
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.depth = len(stages)
        before = stem
        for index, (blocks, base) in enumerate(zip(stages, channels, strict=True)):
            after = scaled(base, width)
            layers: list[nn.Module] = []
            for block in blocks:
                stride = 2 if index > 0 and not layers else 1
                layers.append(block(before, after, stride))
                before = after
            self.add_module(f"layer{index + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] -> logits [n, num_classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        for index in range(self.depth):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return self.fc(self.flatten(self.avgpool(x)))  # type: ignore[no-any-return]  # modules answer Any


FOUR_STAGES = (64, 128, 256, 512)
THREE_STAGES = (16, 32, 64)


def four_stage(blocks: Sequence[int], *, width: float, in_channels: int, num_classes: int) -> ResNet:
    """ResNet with ``blocks`` basic blocks in each of the four stages."""
    return ResNet([[BasicBlock] * n for n in blocks], FOUR_STAGES, width, in_channels, num_classes)


def three_stage(blocks: int, *, width: float, in_channels: int, num_classes: int) -> ResNet:
    """ResNet of He's CIFAR form, depth 6 * ``blocks`` + 2."""
    return ResNet([[BasicBlock] * blocks] * 3, THREE_STAGES, width, in_channels, num_classes)


def resnet9(*, width: float, in_channels: int, num_classes: int) -> ResNet:
    """ResNet10 with only one convolution in the first stage's block (paper, section 4)."""
    stages: list[list[Block]] = [[SingleBlock], [BasicBlock], [BasicBlock], [BasicBlock]]
    return ResNet(stages, FOUR_STAGES, width, in_channels, num_classes)


def resnet6(*, width: float, in_channels: int, num_classes: int) -> ResNet:
    """Return one single-convolution block per stage (paper, Table 9)."""
    return ResNet([[SingleBlock]] * 4, FOUR_STAGES, width, in_channels, num_classes)
