"""Reading of images at other places: whole pixels by a gather, in between by bilinear weights."""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.errors import ShapeError, where
from thalweg.graph.dtype import float32, int32, int64
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import indexing
from thalweg.ops import movement as mv
from thalweg.ops.creation import IOTA


def positions(size: int, axis: int, rank: int, dtype: object = int32) -> Node:
    """Return 0, 1, ... along an axis of a tensor with ``rank`` axes.

    >>> positions(5, 1, 4).shape
    (1, 5, 1, 1)
    """
    shape = [1] * rank
    shape[axis] = size
    return mv.reshape(IOTA(size=size, dtype=dtype), tuple(shape))


def pixels(x: Node, row: Node, column: Node) -> Node:
    """Return pixels of each image by row and column numbers, which are within the image.

    ``x`` (batch, height, width, channels); ``row`` and ``column`` whole numbers that broadcast to
    (batch, new height, new width, 1). One gather of whole pixels from the flattened batch.
    """
    n, height, width, channels = x.shape
    kind = int32 if n * height * width < 2**31 else int64
    start = e.multiply(positions(n, 0, 4, kind), height * width)
    row, column = e.astype(row, kind), e.astype(column, kind)
    index = e.add(start, e.add(e.multiply(row, width), column))  # (batch, h, w, 1)
    picked = indexing.take(mv.reshape(x, (n * height * width, channels)), index, 0)
    return mv.reshape(picked, (*index.shape[:3], channels))


def _inside(place: Node, size: int) -> Node:
    return e.bitwise_and(e.greater_equal(place, 0), e.less(place, size))


def padded(x: Node, row: Node, column: Node, fill: float) -> Node:
    """Return pixels as ``pixels`` does; those outside of the image are ``fill``."""
    _, height, width, _ = x.shape
    picked = pixels(x, e.clip(row, 0, height - 1), e.clip(column, 0, width - 1))
    inside = e.bitwise_and(_inside(row, height), _inside(column, width))
    return e.where(inside, picked, fill_of(x, fill))


def fill_of(x: Node, fill: float) -> int | float:
    """Return a fill value that keeps the dtype of a batch."""
    return fill if x.dtype.is_float else round(fill)


def reflected(place: Node, size: int) -> Node:
    """Return places within an axis for those up to ``size - 1`` outside of it, mirrored."""
    return e.subtract(size - 1, e.abs(e.subtract(size - 1, e.abs(place))))


def bilinear(x: Node, row: Node, column: Node, fill: float) -> Node:
    """Return images read between pixels; what is outside of an image is ``fill``.

    ``x`` floating (batch, height, width, channels); ``row`` and ``column`` float32
    (batch, height, width, 1). The four neighbours count by the area opposite of them.
    """
    _, height, width, _ = x.shape
    # Beyond the border all is fill: clipping keeps the whole numbers small, whatever was asked.
    row = e.clip(row, -2.0, float(height + 1))
    column = e.clip(column, -2.0, float(width + 1))
    top, left = e.floor(row), e.floor(column)
    down, right = e.subtract(row, top), e.subtract(column, left)
    top, left = e.astype(top, int32), e.astype(left, int32)
    total: Node | None = None
    for i in (0, 1):
        for j in (0, 1):
            weight = e.multiply(
                down if i else e.subtract(1.0, down), right if j else e.subtract(1.0, right)
            )
            part = e.multiply(
                padded(x, e.add(top, i), e.add(left, j), fill), e.astype(weight, x.dtype)
            )
            total = part if total is None else e.add(total, part)
    assert total is not None
    return total


def whole_below(u: Node, count: Node | int) -> Node:
    """Return whole numbers from 0 to ``count - 1`` for uniform numbers below 1, as float32.

    A product of float32 may round up to ``count`` itself, which the minimum takes back.
    """
    many = e.astype(count, float32) if isinstance(count, Node) else float(count)
    return e.minimum(e.floor(e.multiply(u, many)), e.subtract(many, 1.0))


def check_within(who: str, what: str, wanted: Sequence[int], largest: Sequence[int]) -> None:
    """Raise unless sizes are at most those given.

    Raises:
        ShapeError: one is not.
    """
    if any(w > b for w, b in zip(wanted, largest, strict=True)):
        raise ShapeError(
            f"{who}: {what} {tuple(wanted)}, at most {tuple(largest)} fits these images; make it "
            f"smaller. {where()}"
        )
