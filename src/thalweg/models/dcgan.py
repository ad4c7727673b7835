"""DCGAN: a generator that draws images and a discriminator that tells them from real ones."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.models.images import check_image, with_channel_axis
from thalweg.models.registry import register
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["DCGANDiscriminator", "DCGANGenerator"]

PAPER: Final = (
    "A. Radford, L. Metz and S. Chintala, Unsupervised representation learning with deep "
    "convolutional generative adversarial networks (2015), arXiv:1511.06434"
)
STARTS: Final = {28: (7, 2), 32: (4, 3), 64: (4, 4)}  # first side, and how often it is doubled
SPREAD: Final = 0.02  # standard deviation of all initial weights: section 4 of the paper

_weights = partial(nn.initializers.normal, std=SPREAD)


def _start(who: str, size: int) -> tuple[int, int]:
    if size not in STARTS:
        raise ArgumentError(
            f"{who}: images have a side of {', '.join(map(str, STARTS))} pixels, got {size!r}; "
            f"scale them. {where()}"
        )
    return STARTS[size]


class DCGANGenerator(nn.Module):
    """Images from random codes: transposed convolutions that double the side, ReLU, tanh.

    At 64 pixels and three channels it has 3,576,704 parameters, and the paths of parameters are
    those of PyTorch's DCGAN example.

    Args:
        size: height and width of the images: 28, 32 or 64.
        channels: of the images.
        code: random numbers that an image is made of.
        width: channels before the last layer; each layer before has twice those of the next.

    Shape:
        ``(batch, code)`` to ``(batch, size, size, channels)``, with values from -1 to 1.

    Raises:
        ArgumentError: another size.
        ShapeError: codes of another shape.

    Example:
        >>> import thalweg as tw
        >>> tw.models.DCGANGenerator(28, 1, code=5, width=4)(tw.zeros((2, 5))).shape
        (2, 28, 28, 1)

    A. Radford, L. Metz and S. Chintala, arXiv:1511.06434.
    """

    def __init__(
        self, size: int = 64, channels: int = 3, code: int = 100, width: int = 64
    ) -> None:
        positive("DCGANGenerator", channels=channels, code=code, width=width)
        self.size, self.channels, self.code, self.width = size, channels, code, width
        side, doublings = _start("DCGANGenerator", size)
        before = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(code, before, side, bias=False, weight_init=_weights),
            nn.BatchNorm2d(before), nn.ReLU(),
        ]  # fmt: skip
        while before > width:
            layers += [
                nn.ConvTranspose2d(before, before // 2, 4, stride=2, padding=1, bias=False,
                                   weight_init=_weights),
                nn.BatchNorm2d(before // 2), nn.ReLU(),
            ]  # fmt: skip
            before //= 2
        last = nn.ConvTranspose2d(before, channels, 4, stride=2, padding=1, bias=False,
                                  weight_init=_weights)  # fmt: skip
        self.main = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, x: Any) -> Any:
        """Return the images for codes."""
        x = tw.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.code:
            raise ShapeError(
                f"DCGANGenerator: got codes of shape {tuple(x.shape)}, wanted (batch, "
                f"{self.code}); draw them with tw.random.normal((batch, {self.code})). {where()}"
            )
        return self.main(tw.reshape(x, (x.shape[0], 1, 1, self.code)))


class DCGANDiscriminator(nn.Module):
    """One number for each image, above 0 for real: convolutions that halve the side, leaky ReLU.

    At 64 pixels and three channels it has 2,765,568 parameters, and the paths of parameters are
    those of PyTorch's DCGAN example. There is no sigmoid: the number is a logit, or the score of a
    Wasserstein critic.

    Args:
        size: height and width of the images: 28, 32 or 64.
        channels: of the images.
        width: channels after the first layer; each layer has twice those of the one before.
        batch_norm: whether to normalise after all but the first and the last convolution. A
            gradient penalty needs False: it is for each image, and batch normalisation mixes them.
        spectral_norm: whether to divide each weight by its largest singular value (T. Miyato et
            al., arXiv:1802.05957).

    Shape:
        ``(batch, size, size, channels)`` to ``(batch, 1)``.

    Raises:
        ArgumentError: another size.
        ShapeError: images of another shape.

    Example:
        >>> import thalweg as tw
        >>> tw.models.DCGANDiscriminator(28, 1, width=4)(tw.zeros((2, 28, 28, 1))).shape
        (2, 1)

    A. Radford, L. Metz and S. Chintala, arXiv:1511.06434.
    """

    def __init__(
        self,
        size: int = 64,
        channels: int = 3,
        width: int = 64,
        batch_norm: bool = True,
        spectral_norm: bool = False,
    ) -> None:
        positive("DCGANDiscriminator", channels=channels, width=width)
        self.size, self.channels, self.width = size, channels, width
        self.batch_norm, self.spectral_norm = batch_norm, spectral_norm
        side, halvings = _start("DCGANDiscriminator", size)
        layers: list[nn.Module] = [
            self._conv(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)
        ]  # fmt: skip
        before = width
        for _ in range(halvings - 1):
            layers.append(self._conv(before, 2 * before, 4, stride=2, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(2 * before))
            layers.append(nn.LeakyReLU(0.2))
            before *= 2
        self.main = nn.Sequential(*layers, self._conv(before, 1, side))

    def _conv(self, before: int, after: int, size: int, **options: Any) -> nn.Module:
        layer = nn.Conv2d(before, after, size, bias=False, weight_init=_weights, **options)
        return nn.SpectralNorm(layer) if self.spectral_norm else layer

    def forward(self, x: Any) -> Tensor:
        """Return the logits or scores."""
        x = with_channel_axis(x)
        check_image("DCGANDiscriminator", x, (self.size, self.size, self.channels))
        scores: Tensor = tw.reshape(self.main(x), (x.shape[0], 1))
        return scores


# size: channels; parameters and FLOPs of the generator, then of the discriminator
_SIZES: Final = {
    28: (1, 759_680, 14_500_864, 138_624, 13_259_008),
    32: (3, 1_068_928, 35_946_496, 663_296, 35_135_488),
    64: (3, 3_576_704, 209_256_448, 2_765_568, 207_634_432),
}
for _size, (_channels, _drawing, _drawing_flops, _telling, _telling_flops) in _SIZES.items():
    register(
        f"dcgan{_size}_generator", paper=PAPER, parameters=_drawing, flops=_drawing_flops,
        inputs=((100,),), task="generation", small={"code": 5, "width": 4}, small_inputs=((5,),),
    )(partial(DCGANGenerator, _size, _channels))  # fmt: skip
    register(
        f"dcgan{_size}_discriminator", paper=PAPER, parameters=_telling, flops=_telling_flops,
        inputs=((_size, _size, _channels),), task="discrimination", small={"width": 4},
    )(partial(DCGANDiscriminator, _size, _channels))  # fmt: skip
