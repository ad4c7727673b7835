"""Colours: brightness, contrast, saturation and hue changed by random amounts."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.data.augment.arguments import span
from thalweg.data.augment.augmentation import Augmentation, floating, like
from thalweg.data.augment.draws import Draws
from thalweg.errors import ShapeError, where
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import reductions

Span = float | tuple[float, float]
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def _color(who: str, x: Node) -> tuple[Node, Node, Node]:
    """Return red, green and blue, (batch, height, width, 1) each, as floating numbers."""
    if x.shape[-1] != 3:
        raise ShapeError(
            f"{who}: got {x.shape[-1]} channels, wanted 3 (red, green, blue) or 1; leave it out "
            f"for other images. {where()}"
        )
    red, green, blue = (floating(mv.narrow(x, 3, i, 1)) for i in range(3))
    return red, green, blue


@dataclass(frozen=True)
class _Factor(Augmentation):
    strength: Span = 0.2

    def __post_init__(self) -> None:
        self._span()

    def _span(self) -> tuple[float, float]:
        return span(type(self).__name__, "strength", self.strength, low=0, centre=1)

    def _factor(self, draws: Draws, wide: Node) -> Node:
        return e.astype(draws.uniform(*self._span()), wide.dtype)


@dataclass(frozen=True)
class Brightness(_Factor):
    r"""Each image is multiplied by a random factor.

    .. math:: x' = f x, \quad f \sim U(1 - strength, 1 + strength)

    Args:
        strength: largest distance of the factor from 1; or a pair (smallest, largest factor).

    Shape:
        (batch, height, width, channels) to the same.

    Raises:
        ArgumentError: ``strength`` is negative or no number or pair.

    Example:
        >>> import thalweg as tw
        >>> Brightness((2.0, 2.0))(tw.random.key(0), tw.ones((1, 1, 1, 1)))[0].item()
        2.0

    A. G. Howard, "Some improvements on deep convolutional neural network based image
    classification", arXiv:1312.5402.
    """

    def _change(self, draws: Draws, x: Node) -> Node:
        wide = floating(x)
        return like(e.multiply(wide, self._factor(draws, wide)), x)


@dataclass(frozen=True)
class Contrast(_Factor):
    r"""The distance of each image from its mean is multiplied by a random factor.

    .. math:: x' = m + f (x - m), \quad f \sim U(1 - strength, 1 + strength)

    ``m`` is the mean of all numbers of the image, so that brightness stays.

    Args:
        strength: largest distance of the factor from 1; or a pair (smallest, largest factor).

    Shape:
        (batch, height, width, channels) to the same.

    Raises:
        ArgumentError: ``strength`` is negative or no number or pair.

    Example:
        >>> import thalweg as tw
        >>> x, _ = Contrast((2.0, 2.0))(tw.random.key(0), tw.tensor([[[[1.0], [3.0]]]]))
        >>> x.reshape(-1).tolist()
        [0.0, 4.0]

    A. G. Howard, "Some improvements on deep convolutional neural network based image
    classification", arXiv:1312.5402.
    """

    def _change(self, draws: Draws, x: Node) -> Node:
        wide = floating(x)
        mean = reductions.mean(wide, axis=(1, 2, 3), keepdims=True)
        away = e.multiply(e.subtract(wide, mean), self._factor(draws, wide))
        return like(e.add(mean, away), x)


@dataclass(frozen=True)
class Saturation(_Factor):
    r"""The distance of each pixel from grey is multiplied by a random factor.

    .. math:: x' = g + f (x - g), \quad g = 0.299 r + 0.587 g + 0.114 b

    Images of one channel are grey already and stay as they are.

    Args:
        strength: largest distance of the factor from 1; or a pair (smallest, largest factor).

    Shape:
        (batch, height, width, 3 or 1) to the same.

    Raises:
        ArgumentError: ``strength`` is negative or no number or pair.
        ShapeError: another number of channels.

    Example:
        >>> import thalweg as tw
        >>> x, _ = Saturation((0.0, 0.0))(tw.random.key(0), tw.tensor([[[[1.0, 0.0, 0.0]]]]))
        >>> [round(v, 3) for v in x.reshape(-1).tolist()]
        [0.299, 0.299, 0.299]

    A. G. Howard, "Some improvements on deep convolutional neural network based image
    classification", arXiv:1312.5402.
    """

    def _change(self, draws: Draws, x: Node) -> Node:
        if x.shape[-1] == 1:
            return x
        red, green, blue = _color("Saturation", x)
        grey = e.add(
            e.add(e.multiply(red, _LUMA[0]), e.multiply(green, _LUMA[1])),
            e.multiply(blue, _LUMA[2]),
        )
        wide = floating(x)
        away = e.multiply(e.subtract(wide, grey), self._factor(draws, wide))
        return like(e.add(grey, away), x)


@dataclass(frozen=True)
class Hue(Augmentation):
    r"""The hue of each image is turned by a random share of the circle.

    .. math:: x'_c = v - (v - u) \max(0, \min(k, 4 - k, 1)), \quad k = (n_c + 6 (h + d)) \bmod 6

    with ``v`` and ``u`` the largest and smallest channel of a pixel, ``h`` its hue from 0 to 1,
    ``d`` the turn, and ``n`` = 5, 3, 1. Images of one channel have no hue and stay as they are.

    Args:
        strength: largest turn to either side, up to 0.5, the opposite colour; or a pair
            (smallest, largest).

    Shape:
        (batch, height, width, 3 or 1) to the same.

    Raises:
        ArgumentError: ``strength`` is not within -0.5 to 0.5.
        ShapeError: another number of channels.

    Example:
        >>> import thalweg as tw
        >>> third = Hue((1 / 3, 1 / 3))
        >>> x, _ = third(tw.random.key(0), tw.tensor([[[[1.0, 0.0, 0.0]]]]))
        >>> [round(abs(v), 3) for v in x.reshape(-1).tolist()]
        [0.0, 1.0, 0.0]

    A. R. Smith, "Color gamut transform pairs", SIGGRAPH 1978.
    """

    strength: Span = 0.1

    def __post_init__(self) -> None:
        self._span()

    def _span(self) -> tuple[float, float]:
        return span("Hue", "strength", self.strength, low=-0.5, high=0.5)

    def _change(self, draws: Draws, x: Node) -> Node:
        if x.shape[-1] == 1:
            return x
        red, green, blue = _color("Hue", x)
        value = e.maximum(e.maximum(red, green), blue)
        chroma = e.subtract(value, e.minimum(e.minimum(red, green), blue))
        share = e.divide(1.0, e.where(e.equal(chroma, 0), 1.0, chroma))
        hue = e.where(
            e.equal(value, red), e.multiply(e.subtract(green, blue), share),
            e.where(e.equal(value, green), e.add(e.multiply(e.subtract(blue, red), share), 2.0),
                    e.add(e.multiply(e.subtract(red, green), share), 4.0)),
        )  # fmt: skip
        turn = e.astype(e.multiply(draws.uniform(*self._span()), 6.0), hue.dtype)
        # hue -1 to 5, turn -3 to 3: adding 5, 3, 1 and 6 makes all positive before the remainder.
        hue = e.add(e.add(hue, turn), 6.0)
        channels = []
        for n in (5.0, 3.0, 1.0):
            k = e.add(hue, n)
            k = e.subtract(k, e.multiply(e.floor(e.multiply(k, 1 / 6)), 6.0))
            tent = e.clip(e.minimum(k, e.subtract(4.0, k)), 0.0, 1.0)
            channels.append(e.subtract(value, e.multiply(chroma, tent)))
        return like(mv.concatenate(channels, axis=3), x)
