"""Affine maps: images turned, moved, scaled and sheared by random amounts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from thalweg.data.augment.arguments import number, span
from thalweg.data.augment.augmentation import Augmentation, floating, like
from thalweg.data.augment.draws import Draws
from thalweg.data.augment.sampling import bilinear, positions
from thalweg.errors import ArgumentError, where
from thalweg.graph.dtype import float32
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e

Span = float | tuple[float, float]


@dataclass(frozen=True)
class Affine(Augmentation):
    r"""Each image is sheared, scaled, turned and moved about its centre by random amounts.

    .. math:: p' = s R(\theta) \begin{pmatrix} 1 & \tan\phi \\ 0 & 1 \end{pmatrix} p + t

    with ``p`` = (x, y) counted from the centre. Pixels are interpolated bilinearly.

    Args:
        degrees: angle counter-clockwise, a pair (smallest, largest); a number: from minus to plus.
        translate: largest move along height and along width, as a share of them: a number.
        scale: pair (smallest, largest) of the factor of size.
        shear: angle in degrees by which columns lean, as ``degrees``; between -90 and 90.
        fill: value of what lies outside of the image, in the units of the input.

    Shape:
        (batch, height, width, channels) to the same.

    Raises:
        ArgumentError: an argument is outside of its legal values.

    Example:
        >>> import thalweg as tw
        >>> Affine(10, 0.1, (0.9, 1.1))(tw.random.key(0), tw.zeros((2, 8, 8, 1)))[0].shape
        (2, 8, 8, 1)

    P. Y. Simard et al., "Best practices for convolutional neural networks applied to visual
    document analysis", ICDAR 2003.
    """

    degrees: Span = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: Span = 0.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        who = type(self).__name__
        span(who, "degrees", self.degrees)
        number(who, "translate", self.translate, 0, 1)
        if span(who, "scale", self.scale, low=0, centre=1)[0] <= 0:
            raise ArgumentError(f"{who}: scale must be above 0, got {self.scale!r}. {where()}")
        span(who, "shear", self.shear, low=-89, high=89)
        number(who, "fill", self.fill, -math.inf)

    def _change(self, draws: Draws, x: Node) -> Node:
        _, height, width, _ = x.shape
        who = type(self).__name__
        angle = draws.uniform(*span(who, "degrees", self.degrees))
        size = draws.uniform(*span(who, "scale", self.scale, low=0, centre=1))
        lean = draws.uniform(*span(who, "shear", self.shear))
        up, along = (draws.uniform(-self.translate, self.translate) for _ in range(2))
        middle = (height - 1) / 2, (width - 1) / 2
        # The source of each new pixel: the map is undone from its end to its beginning.
        b = e.subtract(positions(height, 1, 4, float32), middle[0])
        a = e.subtract(positions(width, 2, 4, float32), middle[1])
        b = e.subtract(b, e.multiply(up, float(height)))
        a = e.subtract(a, e.multiply(along, float(width)))
        turn = e.multiply(angle, math.pi / 180)
        cos, sin = e.divide(e.cos(turn), size), e.divide(e.sin(turn), size)
        lean = e.tan(e.multiply(lean, math.pi / 180))
        below = e.add(e.multiply(a, sin), e.multiply(b, cos))
        across = e.subtract(
            e.multiply(a, e.subtract(cos, e.multiply(lean, sin))),
            e.multiply(b, e.add(sin, e.multiply(lean, cos))),
        )
        row, column = e.add(below, middle[0]), e.add(across, middle[1])
        return like(bilinear(floating(x), row, column, self.fill), x)


@dataclass(frozen=True)
class Rotation(Augmentation):
    """Each image is turned about its centre by a random angle, interpolated bilinearly.

    Args:
        degrees: angle counter-clockwise, a pair (smallest, largest); a number: from minus to plus.
        fill: value of what lies outside of the image, in the units of the input.

    Shape:
        (batch, height, width, channels) to the same.

    Raises:
        ArgumentError: an argument is outside of its legal values.

    Example:
        >>> import thalweg as tw
        >>> image = tw.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape((1, 2, 2, 1))
        >>> x, _ = Rotation((90, 90))(tw.random.key(0), image)
        >>> x.reshape(-1).round().tolist()
        [2.0, 4.0, 1.0, 3.0]

    P. Y. Simard et al., "Best practices for convolutional neural networks applied to visual
    document analysis", ICDAR 2003.
    """

    degrees: Span = 15.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        span("Rotation", "degrees", self.degrees)
        number("Rotation", "fill", self.fill, -math.inf)

    def _change(self, draws: Draws, x: Node) -> Node:
        return Affine(self.degrees, fill=self.fill)._change(draws, x)
