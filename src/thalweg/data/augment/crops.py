"""Crops: a window at a random place of the padded image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from thalweg.data.augment.arguments import number, whole
from thalweg.data.augment.augmentation import Augmentation
from thalweg.data.augment.draws import Draws
from thalweg.data.augment.sampling import (
    check_within,
    padded,
    pixels,
    positions,
    reflected,
    whole_below,
)
from thalweg.errors import ArgumentError, where
from thalweg.graph.dtype import int32
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Each image is padded on all sides, and a window at a random place of that is cut out.

    Args:
        size: height and width of the window, a number or a pair; None: those of the image.
        padding: pixels that are put on each side.
        mode: ``"constant"`` pads with ``fill``, ``"reflect"`` with the image mirrored at its
            border, the border pixel itself not repeated.
        fill: the value of padding, in the units of the input.

    Shape:
        (batch, height, width, channels) to the same, or with the height and width of ``size``.

    Raises:
        ArgumentError: an argument is outside of its legal values.
        ShapeError: the window is larger than the padded image, or the padding does not fit.

    Example:
        >>> import thalweg as tw
        >>> RandomCrop(24)(tw.random.key(0), tw.zeros((2, 32, 32, 3)))[0].shape
        (2, 24, 24, 3)

    K. He et al., "Deep residual learning for image recognition", arXiv:1512.03385, section 4.2.
    """

    size: int | tuple[int, int] | None = None
    padding: int = 4
    mode: str = "constant"
    fill: float = 0.0

    def __post_init__(self) -> None:
        whole("RandomCrop", "padding", self.padding, 0)
        number("RandomCrop", "fill", self.fill, -math.inf)
        if self.mode not in ("constant", "reflect"):
            raise ArgumentError(
                f"RandomCrop: mode must be 'constant' or 'reflect', got {self.mode!r}. {where()}"
            )
        if self.size is not None:
            self._window(self.size)

    def _window(self, size: Any) -> tuple[int, int]:
        pair = size if isinstance(size, (tuple, list)) else (size, size)
        if len(pair) != 2:
            raise ArgumentError(
                f"RandomCrop: size must be a number or a pair (height, width), got {size!r}. "
                f"{where()}"
            )
        return whole("RandomCrop", "size", pair[0], 1), whole("RandomCrop", "size", pair[1], 1)

    def _change(self, draws: Draws, x: Node) -> Node:
        sizes = x.shape[1:3]
        window = tuple(sizes) if self.size is None else self._window(self.size)
        check_within("RandomCrop", "the window is", window, [s + 2 * self.padding for s in sizes])
        if self.mode == "reflect":
            check_within("RandomCrop", "reflected padding is", (self.padding,) * 2,
                         [s - 1 for s in sizes])  # fmt: skip
        places = []
        for axis, (own, cut) in enumerate(zip(sizes, window, strict=True), start=1):
            offset = whole_below(draws.uniform(), own + 2 * self.padding - cut + 1)
            start = e.subtract(e.astype(offset, int32), self.padding)
            places.append(e.add(positions(cut, axis, 4), start))
        row, column = places
        if self.mode == "constant":
            return padded(x, row, column, self.fill)
        return pixels(x, reflected(row, sizes[0]), reflected(column, sizes[1]))
