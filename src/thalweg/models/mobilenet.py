"""MobileNetV2: inverted residuals of depthwise convolutions, for small machines."""

from __future__ import annotations

from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.models.registry import register
from thalweg.nn.layers import positive

__all__ = ["InvertedResidual", "MobileNetV2"]

PAPER: Final = (
    "M. Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks (2018), "
    "arXiv:1801.04381"
)
# expansion, channels, blocks, stride of the first block: table 2 of the paper
STAGES: Final = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
FIRST, LAST = 32, 1280


def _divisible(channels: float) -> int:
    """Return the nearest multiple of 8, but at least 8 and at least 90 % of ``channels``.

    >>> _divisible(32 * 0.35), _divisible(24 * 0.35)
    (16, 8)
    """
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def _unit(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(before, after, size, stride=stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after), nn.ReLU6(),
    )  # fmt: skip


class InvertedResidual(nn.Module):
    """A 1 x 1 convolution to more channels, a depthwise 3 x 3 one, and a linear 1 x 1 one back.

    Args:
        before, after: channels of input and output.
        stride: of the depthwise convolution.
        expansion: how many times as many channels the middle has.

    Shape:
        ``(batch, height, width, before)`` to ``(batch, height / stride, width / stride, after)``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.mobilenet import InvertedResidual
        >>> InvertedResidual(4, 8, stride=2, expansion=6)(tw.zeros((2, 6, 6, 4))).shape
        (2, 3, 3, 8)

    M. Sandler et al., arXiv:1801.04381.
    """

    def __init__(self, before: int, after: int, stride: int = 1, expansion: int = 6) -> None:
        self.before, self.after, self.stride, self.expansion = before, after, stride, expansion
        middle = before * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_unit(before, middle, 1)]
        self.conv = nn.Sequential(
            *layers, _unit(middle, middle, 3, stride, groups=middle),
            nn.Conv2d(middle, after, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        """Return the block's output, added to the input where the shape stays."""
        y = self.conv(x)
        return x + y if self.stride == 1 and self.before == self.after else y


@register(
    "mobilenet_v2", paper=PAPER, parameters=3_504_872, flops=601_548_544, inputs=((224, 224, 3),),
    small={"classes": 4, "width": 0.1, "dropout": 0.0}, small_inputs=((32, 32, 3),),
)  # fmt: skip
class MobileNetV2(nn.Module):
    """MobileNetV2, with 3,504,872 parameters at 1000 classes.

    Paths of parameters are torchvision's.

    Args:
        classes: outputs.
        channels: of the images.
        width: multiplies the channels of all layers, rounded to multiples of 8.
        dropout: probability of dropping a feature before the last layer.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, classes)``.

    Raises:
        ArgumentError: a size is not from 1 on, or ``width`` not above 0.
        ShapeError: the images have other channels.

    Example:
        >>> import thalweg as tw
        >>> tw.models.MobileNetV2(classes=4, width=0.1)(tw.zeros((2, 32, 32, 3))).shape
        (2, 4)

    M. Sandler et al., arXiv:1801.04381.
    """

    def __init__(
        self,
        classes: int = 1000,
        channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        positive("MobileNetV2", classes=classes, channels=channels)
        if not width > 0:
            raise ArgumentError(f"MobileNetV2: width must be above 0, got {width!r}. {where()}")
        self.classes, self.channels, self.width = classes, channels, width
        self.dropout = dropout
        before = _divisible(FIRST * width)
        layers: list[nn.Module] = [_unit(channels, before, 3, 2)]
        for expansion, planes, blocks, stride in STAGES:
            after = _divisible(planes * width)
            for place in range(blocks):
                layers.append(
                    InvertedResidual(before, after, 1 if place else stride, expansion)
                )
                before = after
        last = _divisible(LAST * max(1.0, width))
        self.features = nn.Sequential(*layers, _unit(before, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes))

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        return self.classifier(tw.mean(self.features(x), axis=(1, 2)))
