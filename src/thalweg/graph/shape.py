"""Shapes: broadcasting, axes and the arithmetic of reshapes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

from thalweg.errors import ArgumentError, ShapeError, where

Shape = tuple[int, ...]


def broadcast(*shapes: Shape, name: str = "operation") -> Shape:
    """Return the common shape of several operands.

    Raises:
        ShapeError: two sizes differ and neither is 1.

    >>> broadcast((3, 1), (4,))
    (3, 4)
    """
    rank = max((len(s) for s in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, size in enumerate(shape, rank - len(shape)):
            if size == 1 or size == result[i]:
                continue
            if result[i] != 1:
                got = " and ".join(str(s) for s in shapes)
                raise ShapeError(
                    f"{name}: the shapes {got} do not broadcast: axis {i - rank} has sizes "
                    f"{result[i]} and {size}. Sizes must be equal, or one of them 1; "
                    f"reshape or slice an operand. {where()}"
                )
            result[i] = size
    return tuple(result)


def normalize_axis(axis: int, rank: int, name: str = "operation") -> int:
    """Return an axis counted from the front.

    >>> normalize_axis(-1, 3)
    2
    """
    try:
        number = operator.index(axis)
    except TypeError:
        raise ArgumentError(
            f"{name}: axis must be a whole number, got {axis!r}. {where()}"
        ) from None
    if not -rank <= number < rank:
        raise ShapeError(
            f"{name}: axis {number} does not exist in a tensor of {rank} axes; "
            f"give {f'{-rank} to {rank - 1}' if rank else 'none'}. {where()}"
        )
    return number % rank


def normalize_axes(
    axes: int | Sequence[int] | None, rank: int, name: str = "operation"
) -> tuple[int, ...]:
    """Return axes counted from the front, sorted; ``None`` stands for all of them.

    >>> normalize_axes((-1, 0), 3)
    (0, 2)
    """
    if axes is None:
        return tuple(range(rank))
    given = tuple(axes) if isinstance(axes, (tuple, list)) else (axes,)
    found = sorted(normalize_axis(a, rank, name) for a in given)
    if len(set(found)) != len(found):
        raise ShapeError(f"{name}: an axis is named twice in {given}. {where()}")
    return tuple(found)


def reduced(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """Return the shape that is left of ``shape`` when ``axes`` are reduced."""
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def resolve_reshape(shape: Shape, wanted: Sequence[int]) -> Shape:
    """Return the new shape of a reshape, with a single -1 worked out.

    >>> resolve_reshape((2, 6), (3, -1))
    (3, 4)
    """
    new = [operator.index(n) for n in wanted]
    size = math.prod(shape)
    unknown = [i for i, n in enumerate(new) if n == -1]
    known = math.prod(n for n in new if n != -1)
    if len(unknown) == 1 and known and size % known == 0:
        new[unknown[0]] = size // known
    if any(n < 0 for n in new) or math.prod(new) != size:
        raise ShapeError(
            f"reshape: {shape} has {size} elements and cannot take the shape {tuple(wanted)}; "
            f"the product of the new sizes must be {size}, with at most one -1. {where()}"
        )
    return tuple(new)


def contiguous_strides(shape: Shape) -> tuple[int, ...]:
    """Return the strides, in elements, of a row-major array.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
