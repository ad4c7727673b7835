"""Erasing: a random rectangle of random images is filled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from thalweg.data.augment.arguments import number, probability, span
from thalweg.data.augment.augmentation import Augmentation
from thalweg.data.augment.draws import Draws
from thalweg.data.augment.sampling import fill_of, positions, whole_below
from thalweg.errors import ArgumentError, where
from thalweg.graph.dtype import float32
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e


def within(start: Node, length: Node, size: int, axis: int, rank: int) -> Node:
    """Return where positions of an axis are from ``start`` to below ``start + length``."""
    place = positions(size, axis, rank, float32)
    return e.bitwise_and(e.greater_equal(place, start), e.less(place, e.add(start, length)))


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """A rectangle of random size, shape and place is filled, in each image with probability ``p``.

    A side that would be longer than the image is cut to it; the paper draws again.

    Args:
        p: probability from 0 to 1.
        area: pair (smallest, largest) share of the image that is erased.
        aspect: pair (smallest, largest) of height divided by width; its logarithm is uniform.
        fill: value of what is erased, in the units of the input.

    Shape:
        (batch, height, width, channels) to the same.

    Raises:
        ArgumentError: an argument is outside of its legal values.

    Example:
        >>> import thalweg as tw
        >>> x, _ = RandomErasing(1.0)(tw.random.key(0), tw.ones((1, 8, 8, 1)))
        >>> 0 < x.sum().item() < 64
        True

    Z. Zhong et al., "Random erasing data augmentation", arXiv:1708.04896.
    """

    p: float = 0.5
    area: tuple[float, float] = (0.02, 0.33)
    aspect: tuple[float, float] = (0.3, 3.3)
    fill: float = 0.0

    def __post_init__(self) -> None:
        who = "RandomErasing"
        probability(who, self.p)
        number(who, "fill", self.fill, -math.inf)
        for name, pair, high in (("area", self.area, 1.0), ("aspect", self.aspect, math.inf)):
            if len(np.shape(pair)) != 1 or span(who, name, pair, 0, high)[0] <= 0:
                raise ArgumentError(
                    f"{who}: {name} must be a pair (smallest, largest) above 0, got {pair!r}. "
                    f"{where()}"
                )

    def _change(self, draws: Draws, x: Node) -> Node:
        _, height, width, _ = x.shape
        chosen = draws.chosen(self.p)
        area = e.multiply(draws.uniform(*self.area), float(height * width))
        aspect = e.exp(draws.uniform(*(math.log(a) for a in self.aspect)))
        erased = chosen
        for axis, size, ideal in (
            (1, height, e.sqrt(e.multiply(area, aspect))),
            (2, width, e.sqrt(e.divide(area, aspect))),
        ):
            length = e.clip(e.round(ideal), 1.0, float(size))
            start = whole_below(draws.uniform(), e.subtract(size + 1.0, length))
            erased = e.bitwise_and(erased, within(start, length, size, axis, 4))
        return e.where(erased, fill_of(x, self.fill), x)
