"""VGG16 with batch normalization for small images: thirteen 3x3 convolutions, five max-pools, one linear classifier."""

from __future__ import annotations

from torch import Tensor, nn

from .resnet import scaled

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG(nn.Module):
    """Conv-bn-relu runs with a 2x2 max-pool after each; global average pooling makes any input size legal."""

    def __init__(self, width: float, in_channels: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = in_channels
        for stage in VGG16:
            for channels in stage:
                after = scaled(channels, width)
                layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
                layers += [nn.ReLU(inplace=True)]
                before = after
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] -> logits [n, num_classes]."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))  # type: ignore[no-any-return]  # modules answer Any
