"""What all losses share: pairs of predictions and targets, checks of values, and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, DataError, DTypeError, ShapeError, nearest, where
from thalweg.graph.node import Node
from thalweg.nn.inputs import node_of, widened
from thalweg.ops import reductions as r
from thalweg.ops.record import cast_node
from thalweg.tensor.context import context
from thalweg.tensor.tensor import Tensor, finish

Array = np.ndarray[Any, Any]


def known(node: Node) -> Array | None:
    """Return the value of a node, None while a function is being captured."""
    if context.recorder is not None:
        return None
    if node.value is None:
        finish(node)
    return node.value


def predicted(name: str, predictions: Any) -> Node:
    """Return the node of predictions, which must be floating-point numbers."""
    x = node_of(predictions, name)
    if not x.dtype.is_float:
        raise DTypeError(
            f"{name}: the predictions are {x.dtype.name}, wanted a floating type; "
            f"are predictions and targets in this order? {where()}"
        )
    return widened(x)


def same_shape(name: str, x: Node, t: Node) -> None:
    """Raise a ShapeError unless predictions and targets have one shape."""
    if x.shape == t.shape:
        return
    hint = "they must be equal"
    if x.shape[:-1] == t.shape and x.shape[-1:] == (1,):
        hint = "use predictions.squeeze(-1), or targets.expand_dims(-1)"
    elif t.shape[:-1] == x.shape and t.shape[-1:] == (1,):
        hint = "use targets.squeeze(-1), or predictions.expand_dims(-1)"
    raise ShapeError(
        f"{name}: the predictions have shape {x.shape} and the targets {t.shape}; {hint}. "
        f"They are not broadcast, since that would compare each with all. {where()}"
    )


def pair(name: str, predictions: Any, targets: Any) -> tuple[Node, Node]:
    """Return nodes of predictions and of targets of the same shape and floating type."""
    x = predicted(name, predictions)
    t = node_of(targets, name)
    same_shape(name, x, t)
    return x, cast_node(t, x.dtype)


def reduced(name: str, rows: Node, reduction: str) -> Tensor:
    """Return losses as they are, or their mean or sum."""
    if reduction == "mean":
        return finish(r.mean(rows))
    if reduction == "sum":
        return finish(r.sum(rows))
    if reduction == "none":
        return finish(rows)
    raise ArgumentError(
        f"{name}: reduction={reduction!r}; {nearest(reduction, ('mean', 'sum', 'none'))}. {where()}"
    )


def check_unit_range(name: str, node: Node, what: str) -> None:
    """Refuse numbers outside of 0 to 1, where they are known."""
    values = known(node)
    if values is not None and values.size:
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise DataError(
                f"{name}: {what} must be from 0 to 1, got {low:g} to {high:g}"
                + ("; for logits use binary_cross_entropy_with_logits"
                   if what == "predictions" else "") + f". {where()}"
            )  # fmt: skip
