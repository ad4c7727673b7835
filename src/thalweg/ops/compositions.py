"""Element-wise functions composed of simpler operations, safe where the plain formula is not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import ml_dtypes

from thalweg.graph.dtype import float32, float64
from thalweg.graph.node import Node
from thalweg.ops.elementwise import (
    abs,
    add,
    divide,
    equal,
    exp,
    isfinite,
    isinf,
    isnan,
    less_equal,
    log1p,
    logical_and,
    logical_or,
    maximum,
    minimum,
    multiply,
    negative,
    sigmoid,
    sqrt,
    square,
    subtract,
    where,
)
from thalweg.ops.identity import custom
from thalweg.ops.record import Operand, as_float, cast_node, operands, to_node


def logaddexp(a: Operand, b: Operand) -> Node:
    """log(exp(a) + exp(b)), without overflow."""
    left, right = (as_float(x, "logaddexp") for x in operands(a, b, name="logaddexp"))
    top = maximum(left, right)
    value = add(top, log1p(exp(negative(abs(subtract(left, right))))))
    value = where(isfinite(top), value, top)

    def rule(g: Node, left: Node, right: Node) -> Sequence[Node | None]:
        share = sigmoid(subtract(left, right))
        return multiply(g, share), multiply(g, subtract(1, share))

    return custom(value, [left, right], rule)


def hypot(a: Operand, b: Operand) -> Node:
    """sqrt(a * a + b * b), without overflow."""
    left, right = (abs(as_float(x, "hypot")) for x in operands(a, b, name="hypot"))
    long, short = maximum(left, right), minimum(left, right)
    safe = where(equal(long, 0), 1, long)
    value = multiply(long, sqrt(add(square(divide(short, safe)), 1)))
    return where(logical_or(isinf(left), isinf(right)), math.inf, value)


def nan_to_num(
    x: Operand, nan: Operand = 0.0, posinf: Operand | None = None, neginf: Operand | None = None
) -> Node:
    """NaN and infinities replaced by numbers, infinities by the largest ones of the dtype."""
    node = to_node(x, "nan_to_num")
    if not node.dtype.is_float:
        return node
    largest = float(ml_dtypes.finfo(node.dtype.numpy).max)  # type: ignore[no-untyped-call]
    node = where(equal(node, math.inf), largest if posinf is None else posinf, node)
    node = where(equal(node, -math.inf), -largest if neginf is None else neginf, node)
    return where(isnan(node), nan, node)


def isclose(
    a: Operand, b: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Node:
    """Whether abs(a - b) <= atol + rtol * abs(b); equal infinities are close."""
    left, right = operands(a, b, name="isclose")
    exact = equal(left, right)
    kind = float64 if left.dtype.bits > 16 else float32
    left, right = cast_node(left, kind), cast_node(right, kind)
    near = less_equal(abs(subtract(left, right)), add(multiply(abs(right), rtol), atol))
    close = logical_or(exact, logical_and(near, isfinite(right)))
    return logical_or(close, logical_and(isnan(left), isnan(right))) if equal_nan else close
