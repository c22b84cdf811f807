"""MobileNetV1 and V2 in their usual CIFAR variants: stride 1 in the stem (V2: also in its second group).

Resolutions at 32x32 input are 32, 16, 8, 4, 2 (V1) and 32, 16, 8, 4 (V2). The paper's appendix counts other numbers of
ReLUs per stage; they follow from a downsampling that it does not state, so these are counted for what they are.
"""

from __future__ import annotations

from torch import Tensor, nn

from .resnet import scaled

# (output channels, stride) of each depthwise-separable block
V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# (expansion, output channels, blocks, stride of the first)
V2_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution without bias, padded to keep the size, and its batch normalization."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels)]


class Pooled(nn.Module):
    """Features, global average pooling and a linear classifier."""

    def __init__(self, features: nn.Sequential, channels: int, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] -> logits [n, num_classes]."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]  # modules answer Any


def mobilenet_v1(*, width: float, in_channels: int, num_classes: int) -> Pooled:
    """MobileNetV1 (Howard et al. 2017) with ReLU after every depthwise and pointwise convolution."""
    before = scaled(32, width)
    layers: list[nn.Module] = [*conv_bn(in_channels, before, 3), nn.ReLU(inplace=True)]
    for channels, stride in V1_BLOCKS:
        after = scaled(channels, width)
        layers += [*conv_bn(before, before, 3, stride, groups=before), nn.ReLU(inplace=True)]
        layers += [*conv_bn(before, after, 1), nn.ReLU(inplace=True)]
        before = after
    return Pooled(nn.Sequential(*layers), before, num_classes)


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; a shortcut (1x1 where channels change) wherever the stride is 1."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = nn.Sequential(*conv_bn(in_channels, hidden, 1), nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(*conv_bn(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(inplace=True))
        self.project = nn.Sequential(*conv_bn(hidden, out_channels, 1))
        self.shortcut: nn.Module | None = None
        if stride == 1:
            same = in_channels == out_channels
            self.shortcut = nn.Identity() if same else nn.Sequential(*conv_bn(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[n, in, h, w] -> [n, out, h/stride, w/stride]."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out if self.shortcut is None else out + self.shortcut(x)


def mobilenet_v2(*, width: float, in_channels: int, num_classes: int) -> Pooled:
    """MobileNetV2 (Sandler et al. 2018) with ReLU6, of which each counts as two ReLUs under encryption."""
    before = scaled(32, width)
    layers: list[nn.Module] = [*conv_bn(in_channels, before, 3), nn.ReLU6(inplace=True)]
    for expansion, channels, blocks, first_stride in V2_GROUPS:
        after = scaled(channels, width)
        for index in range(blocks):
            layers.append(InvertedResidual(before, after, first_stride if index == 0 else 1, expansion))
            before = after
    last = scaled(1280, width)
    layers += [*conv_bn(before, last, 1), nn.ReLU6(inplace=True)]
    return Pooled(nn.Sequential(*layers), last, num_classes)
