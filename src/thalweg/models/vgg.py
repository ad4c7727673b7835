"""VGG-11, -13, -16 and -19: stacks of 3 x 3 convolutions, with or without batch normalisation."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.models.images import flatten_channels_first, scaled
from thalweg.models.registry import register
from thalweg.nn.layers import positive

__all__ = ["VGG"]

PAPER: Final = (
    "K. Simonyan and A. Zisserman, Very deep convolutional networks for large-scale image "
    "recognition (2014), arXiv:1409.1556"
)
CHANNELS: Final = (64, 128, 256, 512, 512)  # of each stage; a pooling by 2 ends it
CONVOLUTIONS: Final = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
POOLED: Final = 7  # places along each side that the classifier sees


class VGG(nn.Module):
    """A VGG network; VGG-16 has 138,357,544 parameters at 1000 classes.

    Paths of parameters are torchvision's.

    Args:
        depth: weighted layers: 11, 13, 16 or 19.
        classes: outputs.
        channels: of the images.
        batch_norm: whether to normalise after each convolution.
        width: multiplies the channels of all convolutions.
        hidden: units of the two hidden fully connected layers.
        dropout: probability of dropping a unit after each of them.

    Shape:
        ``(batch, height, width, channels)``, height and width from 32 on, to ``(batch, classes)``.

    Raises:
        ArgumentError: an unknown depth, a size not from 1 on, or ``width`` not above 0.
        ShapeError: images that are too small or have other channels.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.VGG(11, classes=4, width=0.125, hidden=32)
        >>> model(tw.zeros((2, 32, 32, 3))).shape
        (2, 4)

    K. Simonyan and A. Zisserman, arXiv:1409.1556.
    """

    def __init__(
        self,
        depth: int = 16,
        classes: int = 1000,
        channels: int = 3,
        batch_norm: bool = False,
        width: float = 1.0,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        positive("VGG", classes=classes, channels=channels, hidden=hidden)
        if depth not in CONVOLUTIONS:
            raise ArgumentError(
                f"VGG: depth is one of {', '.join(map(str, CONVOLUTIONS))}, got {depth!r}. "
                f"{where()}"
            )
        self.depth, self.classes, self.channels = depth, classes, channels
        self.batch_norm, self.width, self.hidden, self.dropout = batch_norm, width, hidden, dropout
        layers: list[nn.Module] = []
        before = channels
        for count, size in zip(CONVOLUTIONS[depth], CHANNELS, strict=True):
            after = scaled("VGG", size, width)
            for _ in range(count):
                layers.append(nn.Conv2d(before, after, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(after))
                layers.append(nn.ReLU())
                before = after
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        self.classifier = nn.Sequential(
            nn.Linear(before * POOLED**2, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        return self.classifier(flatten_channels_first(self.avgpool(self.features(x))))


# depth: parameters without and with batch normalisation, FLOPs
_PUBLISHED: Final = {
    11: (132_863_336, 132_868_840, 15_218_180_096),
    13: (133_047_848, 133_053_736, 22_616_932_352),
    16: (138_357_544, 138_365_992, 30_940_528_640),
    19: (143_667_240, 143_678_248, 39_264_124_928),
}
for _depth, (_plain, _normed, _flops) in _PUBLISHED.items():
    for _suffix, _parameters in (("", _plain), ("_bn", _normed)):
        register(
            f"vgg{_depth}{_suffix}", paper=PAPER, parameters=_parameters, flops=_flops,
            inputs=((224, 224, 3),), small={"classes": 4, "width": 1 / 16, "hidden": 32},
            small_inputs=((32, 32, 3),),
        )(partial(VGG, _depth, batch_norm=bool(_suffix)))  # fmt: skip
