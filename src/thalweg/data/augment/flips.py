"""Flips: random images mirrored left to right, or upside down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thalweg.data.augment.arguments import probability
from thalweg.data.augment.augmentation import Augmentation
from thalweg.data.augment.draws import Draws
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv


@dataclass(frozen=True)
class _Flip(Augmentation):
    axis: ClassVar[int]
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(type(self).__name__, self.p)

    def _change(self, draws: Draws, x: Node) -> Node:
        return e.where(draws.chosen(self.p), mv.flip(x, self.axis), x)


@dataclass(frozen=True)
class HorizontalFlip(_Flip):
    """Each image is mirrored left to right with probability ``p``.

    Args:
        p: probability from 0 to 1.

    Shape:
        (batch, height, width, channels) to the same.

    Raises:
        ArgumentError: ``p`` is not a probability.

    Example:
        >>> import thalweg as tw
        >>> x, _ = HorizontalFlip(1.0)(tw.random.key(0), tw.tensor([[[[1.0], [2.0]]]]))
        >>> x.reshape(-1).tolist()
        [2.0, 1.0]

    A. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks",
    NeurIPS 2012.
    """

    axis: ClassVar[int] = 2


@dataclass(frozen=True)
class VerticalFlip(_Flip):
    """Each image is turned upside down with probability ``p``.

    Args:
        p: probability from 0 to 1.

    Shape:
        (batch, height, width, channels) to the same.

    Raises:
        ArgumentError: ``p`` is not a probability.

    Example:
        >>> import thalweg as tw
        >>> x, _ = VerticalFlip(1.0)(tw.random.key(0), tw.tensor([[[[1.0]], [[2.0]]]]))
        >>> x.reshape(-1).tolist()
        [2.0, 1.0]

    P. Y. Simard et al., "Best practices for convolutional neural networks applied to visual
    document analysis", ICDAR 2003 (transforms that keep the class).
    """

    axis: ClassVar[int] = 1
