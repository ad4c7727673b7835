"""AlexNet: five convolutions and three fully connected layers, as in torchvision."""

from __future__ import annotations

from typing import Any, Final

from thalweg import nn
from thalweg.models.images import flatten_channels_first, scaled
from thalweg.models.registry import register
from thalweg.nn.layers import positive

__all__ = ["AlexNet"]

PAPER: Final = (
    "A. Krizhevsky, One weird trick for parallelizing convolutional neural networks (2014), "
    "arXiv:1404.5997"
)
POOLED: Final = 6  # places along each side that the classifier sees


@register(
    "alexnet", paper=PAPER, parameters=61_100_840, flops=1_428_376_960, inputs=((224, 224, 3),),
    small={"classes": 4, "width": 1 / 16, "hidden": 32}, small_inputs=((64, 64, 3),),
)  # fmt: skip
class AlexNet(nn.Module):
    """AlexNet in the form for one device, with 61,100,840 parameters at 1000 classes.

    The network that won ImageNet 2012 (A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet
    classification with deep convolutional neural networks", 2012), without the split over two
    devices and without local response normalisation. Paths of parameters are torchvision's.

    Args:
        classes: outputs.
        channels: of the images.
        width: multiplies the channels of all convolutions.
        hidden: units of the two hidden fully connected layers.
        dropout: probability of dropping a unit before each of them.

    Shape:
        ``(batch, height, width, channels)``, height and width from 63 on, to ``(batch, classes)``.

    Raises:
        ArgumentError: a size is not from 1 on, or ``width`` not above 0.
        ShapeError: images that are too small or have other channels.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.AlexNet(classes=4, width=0.125, hidden=32)
        >>> model(tw.zeros((2, 64, 64, 3))).shape
        (2, 4)

    A. Krizhevsky, arXiv:1404.5997.
    """

    def __init__(
        self,
        classes: int = 1000,
        channels: int = 3,
        width: float = 1.0,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        positive("AlexNet", classes=classes, channels=channels, hidden=hidden)
        self.classes, self.channels, self.width = classes, channels, width
        self.hidden, self.dropout = hidden, dropout
        a, b, c, d = (scaled("AlexNet", n, width) for n in (64, 192, 384, 256))
        self.features = nn.Sequential(
            nn.Conv2d(channels, a, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1), nn.ReLU(),
            nn.Conv2d(d, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(d * POOLED**2, hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, classes),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        return self.classifier(flatten_channels_first(self.avgpool(self.features(x))))
