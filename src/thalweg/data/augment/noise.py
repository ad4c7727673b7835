"""Noise: normal numbers added to all numbers of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thalweg.data.augment.arguments import number
from thalweg.data.augment.augmentation import Augmentation, floating, like
from thalweg.data.augment.draws import Draws
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e


@dataclass(frozen=True)
class GaussianNoise(Augmentation):
    r"""A normal number is added to each number of the input.

    .. math:: x' = x + \sigma n, \quad n \sim N(0, 1)

    Args:
        std: standard deviation, in the units of the input (0 to 255 for uint8).

    Shape:
        (batch, ...) to the same.

    Raises:
        ArgumentError: ``std`` is negative.

    Example:
        >>> import thalweg as tw
        >>> x, _ = GaussianNoise(0.1)(tw.random.key(0), tw.zeros((2, 500)))
        >>> 0.09 < x.std().item() < 0.11
        True

    C. M. Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural
    Computation 7 (1995).
    """

    ranks: ClassVar[tuple[int, ...]] = ()
    layout: ClassVar[str] = "a batch of any axes"
    std: float = 0.05

    def __post_init__(self) -> None:
        number("GaussianNoise", "std", self.std, 0)

    def _change(self, draws: Draws, x: Node) -> Node:
        wide = floating(x)
        noise = e.astype(e.multiply(draws.normal(x), float(self.std)), wide.dtype)
        return like(e.add(wide, noise), x)
