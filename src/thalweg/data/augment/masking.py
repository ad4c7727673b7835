"""Masks of spectrograms: stretches of time, and bands of frequency, are filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from thalweg.data.augment.arguments import number, whole
from thalweg.data.augment.augmentation import SPECTROGRAMS, Augmentation
from thalweg.data.augment.draws import Draws
from thalweg.data.augment.erasing import within
from thalweg.data.augment.sampling import fill_of, whole_below
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e


@dataclass(frozen=True)
class _Mask(Augmentation):
    ranks: ClassVar[tuple[int, ...]] = (3, 4)
    layout: ClassVar[str] = SPECTROGRAMS
    axis: ClassVar[int]
    width: int
    count: int = 1
    fill: float = 0.0

    def __post_init__(self) -> None:
        who = type(self).__name__
        whole(who, "width", self.width, 0)
        whole(who, "count", self.count, 1)
        number(who, "fill", self.fill, -math.inf)

    def _widest(self, size: int) -> int:
        return min(self.width, size)

    def _change(self, draws: Draws, x: Node) -> Node:
        size = x.shape[self.axis]
        masked: Node | None = None
        for _ in range(self.count):
            length = whole_below(draws.uniform(), self._widest(size) + 1)
            start = whole_below(draws.uniform(), e.subtract(size + 1.0, length))
            one = within(start, length, size, self.axis, x.rank)
            masked = one if masked is None else e.bitwise_or(masked, one)
        assert masked is not None
        return e.where(masked, fill_of(x, self.fill), x)


@dataclass(frozen=True)
class TimeMask(_Mask):
    """Stretches of time of random length, 0 to ``width`` frames, are filled.

    Args:
        width: largest number of frames of one mask.
        count: number of masks of each example; they may overlap.
        fill: value of what is masked: 0 is the mean of spectrograms that were normalised.
        share: largest share of all frames that one mask may take.

    Shape:
        (batch, time, bands) or (batch, time, bands, channels) to the same.

    Raises:
        ArgumentError: an argument is outside of its legal values.

    Example:
        >>> import thalweg as tw
        >>> x, _ = TimeMask(8)(tw.random.key(0), tw.ones((4, 20, 5)))
        >>> x.shape, bool((x[:, :, 0] == x[:, :, 4]).all())
        ((4, 20, 5), True)

    D. S. Park et al., "SpecAugment: a simple data augmentation method for automatic speech
    recognition", arXiv:1904.08779.
    """

    axis: ClassVar[int] = 1
    share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("TimeMask", "share", self.share, 0, 1)

    def _widest(self, size: int) -> int:
        return min(self.width, int(self.share * size))


@dataclass(frozen=True)
class FrequencyMask(_Mask):
    """Neighbouring bands, 0 to ``width`` of them, are filled.

    Args:
        width: largest number of bands of one mask.
        count: number of masks of each example; they may overlap.
        fill: value of what is masked: 0 is the mean of spectrograms that were normalised.

    Shape:
        (batch, time, bands) or (batch, time, bands, channels) to the same.

    Raises:
        ArgumentError: an argument is outside of its legal values.

    Example:
        >>> import thalweg as tw
        >>> x, _ = FrequencyMask(3)(tw.random.key(0), tw.ones((4, 20, 5)))
        >>> bool((x[:, 0] == x[:, 19]).all())
        True

    D. S. Park et al., "SpecAugment: a simple data augmentation method for automatic speech
    recognition", arXiv:1904.08779.
    """

    axis: ClassVar[int] = 2
