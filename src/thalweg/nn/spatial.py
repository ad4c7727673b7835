"""What layers over space share: checks of axes and channels, sizes for each spatial axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.graph.node import Node
from thalweg.nn.inputs import label, node_of
from thalweg.ops import movement as mv
from thalweg.ops.convolution import is_whole

Sizes = int | Sequence[int]
Pairs = tuple[tuple[int, int], ...]
_SPACE = {1: "length", 2: "height, width", 3: "depth, height, width"}


def axes_text(rank: int | None, channels: object, channels_first: bool) -> str:
    """Return how a message writes the shape that a layer wants.

    >>> axes_text(2, 3, False), axes_text(1, "channels", True)
    ('(batch, height, width, 3)', '(batch, channels, length)')
    """
    space = "...spatial" if rank is None else _SPACE[rank]
    return f"(batch, {channels}, {space})" if channels_first else f"(batch, {space}, {channels})"


def per_axis(layer: str, name: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """Return one whole number for each spatial axis.

    Raises:
        ArgumentError: another count of numbers, or one below ``least``.

    >>> per_axis("Conv2d", "stride", 2, 2)
    (2, 2)
    """
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(numbers) != rank or not all(is_whole(n, least) for n in numbers):
        raise ArgumentError(
            f"{layer}: {name} must be a whole number from {least} on"
            + (f", or {rank} of them, one for each spatial axis" if rank > 1 else "")
            + f"; got {value!r}. {where()}"
        )
    return tuple(int(n) for n in numbers)


def padding_of(layer: str, value: Any, rank: int) -> str | Pairs:
    """Return ``"same"`` or ``"valid"`` as it is, numbers as a pair (before, after) for each axis.

    Raises:
        ArgumentError: neither of these.

    >>> padding_of("Conv2d", (1, (0, 2)), 2)
    ((1, 1), (0, 2))
    """
    if value in ("same", "valid"):
        return str(value)
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    pairs = [tuple(p) if isinstance(p, (tuple, list)) else (p, p) for p in given]
    fits = all(is_whole(n, 0) for pair in pairs for n in pair)
    if len(pairs) != rank or not fits or any(len(pair) != 2 for pair in pairs):
        raise ArgumentError(
            f"{layer}: padding must be 'same', 'valid', a whole number from 0 on, or for each of "
            f"the spatial axes ({rank}) a number or a pair (before, after); got {value!r}. "
            f"{where()}"
        )
    return tuple((int(low), int(high)) for low, high in pairs)


def spatial_input(
    layer: object, x: Any, rank: int | None, channels_first: bool, channels: int | None = None,
    name: str = "channels",
) -> tuple[str, Node]:  # fmt: skip
    """Return what errors call the layer, and the checked input with its channels last.

    ``rank``: the number of spatial axes, None for any from 1 on. ``channels``: how many are wanted,
    None for any; ``name``: the layer's argument that said so.

    Raises:
        ShapeError: another number of axes or channels.
    """
    who = label(layer)
    node = node_of(x, who)
    wanted = axes_text(rank, name if channels is None else channels, channels_first)
    if node.rank < 3 or (rank is not None and node.rank != rank + 2):
        remedy = "reshape it"
        if rank is not None and node.rank == rank + 1:
            remedy = "give a single sample a batch axis, x[None]"
            if channels == 1:
                at = ":, None" if channels_first else "..., None"
                remedy = f"give it a channels axis, x[{at}]"
        raise ShapeError(
            f"{who}: got an input of shape {node.shape}, wanted {wanted}; {remedy}. {where()}"
        )
    if channels is not None:
        check_channels(who, node, channels, name, channels_first, wanted)
    return who, (mv.moveaxis(node, 1, -1) if channels_first else node)


def check_channels(
    who: str, x: Node, channels: int, name: str, channels_first: bool, wanted: str | None = None
) -> None:
    """Raise a ShapeError unless the channels axis of an input has the wanted size.

    ``name``: the layer's argument that said so. Channels in the wrong place are recognised where
    the shape shows them.
    """
    got, other = (1, -1) if channels_first else (-1, 1)
    if x.rank > 1 and x.shape[got] == channels:
        return
    if wanted is None:
        wanted = f"(batch, {channels}, ...)" if channels_first else f"(batch, ..., {channels})"
    if x.rank < 2:
        remedy = "give it a batch axis and a channels axis"
    elif x.shape[other] == channels and channels_first:
        remedy = ("the channels seem to come last: make the layer with channels_first=False, or "
                  "move them with thalweg.moveaxis(x, -1, 1)")  # fmt: skip
    elif x.shape[other] == channels:
        remedy = ("the channels seem to come first: make the layer with channels_first=True, or "
                  "move them with thalweg.moveaxis(x, 1, -1)")  # fmt: skip
    else:
        remedy = f"change {name} of the layer to {x.shape[got]}, or the input"
    raise ShapeError(
        f"{who}: got an input of shape {x.shape}, wanted {wanted}; {remedy}. {where()}"
    )


def placed(y: Node, channels_first: bool) -> Node:
    """Return a result whose channels are last in the order of axes that the user gave."""
    return mv.moveaxis(y, -1, 1) if channels_first else y
