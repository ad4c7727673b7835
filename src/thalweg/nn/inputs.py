"""What layers and losses accept: conversion to nodes, and errors that name who complains."""

from __future__ import annotations

from typing import Any

from thalweg.errors import DTypeError, ShapeError, where
from thalweg.graph.dtype import DType, float32
from thalweg.graph.node import Node, scopes
from thalweg.ops.record import cast_node, to_node
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


def widened(x: Node) -> Node:
    """Return 16-bit floating numbers as float32, in which sums over many are exact enough."""
    return cast_node(x, float32) if x.dtype.is_float and x.dtype.bits == 16 else x
