"""What layers and losses accept: conversion to nodes, and errors that name who complains."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, ShapeError, where
from thalweg.graph.dtype import DType, float32, int32
from thalweg.graph.node import Node, scopes
from thalweg.ops import elementwise as e
from thalweg.ops import indexing
from thalweg.ops.creation import IOTA
from thalweg.ops.record import cast_node, to_node
from thalweg.tensor.context import context
from thalweg.tensor.recorder import plain
from thalweg.tensor.tensor import lift


def label(layer: object) -> str:
    """Return how an error calls a layer that runs: its type, and its path where it has one."""
    path = ".".join(scopes)
    return type(layer).__name__ + (f" (layer {path})" if len(scopes) > 1 else "")


def node_of(value: Any, who: str) -> Node:
    """Return the node of a tensor, array or number.

    Raises:
        DTypeError: the value is none of these.
    """
    lifted = lift(value)
    if isinstance(lifted, (list, tuple)) or not isinstance(lifted, (Node, bool, int, float)):
        raise DTypeError(
            f"{who}: got {type(value).__name__}, wanted a tensor or a NumPy array; "
            f"convert it with thalweg.tensor first. {where()}"
        )
    return to_node(lifted, who)


def check_dtype(who: str, x: Node, dtype: DType, holder: str = "weight") -> None:
    """Raise a DTypeError unless an input has the dtype of the parameters."""
    if x.dtype is not dtype:
        raise DTypeError(
            f"{who}: the input is {x.dtype.name} and the {holder} {dtype.name}; convert the input "
            f"with .astype({dtype.name!r}), or the model with model.astype(...). {where()}"
        )


def check_last_axis(who: str, x: Node, size: int, name: str) -> None:
    """Raise a ShapeError unless the last axis of an input has the wanted size."""
    if x.rank and x.shape[-1] == size:
        return
    got = f"its last axis has {x.shape[-1]} elements" if x.rank else "it has no axes"
    remedy = "reshape it (nn.Flatten() joins all axes after the batch)" if x.rank > 2 else (
        f"change {name} of the layer to {x.shape[-1]}, or reshape the input"
        if x.rank else "give it a batch axis and a feature axis"
    )  # fmt: skip
    raise ShapeError(
        f"{who}: got an input of shape {x.shape}, wanted (..., {size}): {got}, "
        f"{name} is {size}; {remedy}. {where()}"
    )


def rows_of_table(indices: Node, rows: int) -> Node:
    """Return whole numbers that a gather from a table of so many rows refuses if they are below 0.

    A gather takes negative numbers as counted from the end, which no token or position is.
    """
    if indices.dtype.bits < 32:  # the number of rows may not exist in the type of the indices
        indices = cast_node(indices, int32)
    if indices.dtype.kind == "uint":
        return indices
    return e.where(e.less(indices, 0), rows, indices)


def lengths_of(who: str, lengths: Any, batch: int, least: int, most: int) -> Node:
    """Return how many elements of each sequence of a batch count, checked.

    A compiled program that is given lengths out of range finds out when it runs, and raises an
    IndexError.

    Raises:
        ShapeError: not one whole number for each sequence.
        ArgumentError: a length that is not from ``least`` to ``most``.
    """
    if isinstance(lengths, (list, tuple)):
        lengths = np.asarray(plain(lengths))
        if not lengths.size:
            lengths = lengths.astype(np.int64)  # an empty list has no type of its own
    count = node_of(lengths, who)
    if count.shape != (batch,) or not count.dtype.is_integer:
        raise ShapeError(
            f"{who}: got lengths of {count.dtype.name} and shape {count.shape}, wanted a whole "
            f"number for each of the {batch} sequences. {where()}"
        )
    known = count.value
    if known is not None and known.size and not least <= known.min() <= known.max() <= most:
        raise ArgumentError(
            f"{who}: got lengths from {known.min()} to {known.max()}; they must be from {least} to "
            f"{most}, the size of the axis. {where()}"
        )
    if context.recorder is None:
        return count
    # The native gather reports an index out of range, which a comparison could not.
    rows = rows_of_table(count, most + 1)
    if least:
        rows = e.where(e.less(rows, least), most + 1, rows)
    return indexing.take(IOTA(size=most + 1, dtype=int32), rows, 0)


def widened(x: Node) -> Node:
    """Return 16-bit floating numbers as float32, in which sums over many are exact enough."""
    return cast_node(x, float32) if x.dtype.is_float and x.dtype.bits == 16 else x
