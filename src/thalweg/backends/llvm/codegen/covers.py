"""Lanes over several short axes: where the last one would leave most of a vector empty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from thalweg.graph.shape import Shape


@dataclass(frozen=True)
class Cover:
    """All of some last axes, and ``step`` positions of the ``axis`` before them, in one vector.

    With images of 6 channels and 16 lanes: two points side by side.
    """

    axis: int
    step: int
    whole: tuple[int, ...]
    sizes: Shape  # of the whole axes

    @property
    def width(self) -> int:
        """Lanes of one position of the axis."""
        return math.prod(self.sizes)

    def lanes(self, positions: int) -> dict[int, tuple[int, ...]]:
        """Return what each lane adds to the loop variables of the axes."""
        rows = list(product(range(positions), *map(range, self.sizes)))
        return dict(zip((self.axis, *self.whole), zip(*rows, strict=True), strict=True))


def covering(
    space: Shape, allowed: Sequence[int], lanes: int, divides: bool = False
) -> Cover | None:
    """Return how to fill the lanes from a short last axis, None where it fills them alone.

    ``allowed``: the axes before it that may join. With ``divides`` the step divides its axis.
    """
    last = len(space) - 1
    if last < 1 or space[last] * 2 > lanes:
        return None
    whole, width = [last], space[last]
    for axis in range(last - 1, -1, -1):
        most = lanes // width
        if axis not in allowed:
            return None
        if space[axis] > most or axis == 0 or axis - 1 not in allowed:
            step = min(most, space[axis])
            while divides and space[axis] % step:
                step -= 1
            sizes = tuple(space[d] for d in whole)
            return Cover(axis, step, tuple(whole), sizes) if step * width > space[last] else None
        whole.insert(0, axis)
        width *= space[axis]
    return None


__all__ = ["Cover", "covering"]
