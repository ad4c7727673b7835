"""The table of all operations, and the helpers with which records are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, where
from thalweg.graph.dtype import (
    DEFAULT_FLOAT,
    DEFAULT_INT,
    DType,
    as_dtype,
    bool_,
    float64,
    int64,
    promote,
    promote_scalar,
    to_float,
)
from thalweg.graph.node import GradientRule, Infer, Meaning, Node, Op
from thalweg.graph.shape import Shape, broadcast

OPS: dict[str, Op] = {}
Scalar = bool | int | float
Operand = Node | Scalar


def define(
    name: str,
    kind: str,
    doc: str,
    infer: Infer,
    meaning: Meaning,
    gradient: GradientRule | None = None,
    formula: Callable[..., Any] | None = None,
    domain: tuple[str, ...] = ("real",),
    paper: str = "",
) -> Op:
    """Enter an operation into the table and return it."""
    if name in OPS:
        raise ArgumentError(f"the operation {name!r} is defined twice")
    OPS[name] = Op(name, kind, doc, infer, meaning, gradient, formula, domain, paper)
    return OPS[name]


# --- leaves ------------------------------------------------------------------------------------


def _leaf_value(xp: Any, **attrs: Any) -> Any:
    raise ArgumentError("an input has no value of its own; give it one")


INPUT = define(
    "input", "leaf", "A placeholder: an argument, state, or a value computed before.",
    lambda *, shape, dtype, **_: (shape, dtype), _leaf_value, lambda node, g: (),
    domain=(),
)  # fmt: skip

FULL = define(
    "full", "leaf", "A tensor filled with one number.",
    lambda *, value, shape, dtype: (shape, dtype),
    lambda xp, *, value, shape, dtype: xp.full(shape, value, dtype=dtype.numpy),
    lambda node, g: (), domain=(),
)  # fmt: skip

CONSTANT = define(
    "constant", "leaf", "A small array written down in the program.",
    lambda *, value: (value.shape, as_dtype(value.dtype)),
    lambda xp, *, value: xp.asarray(value), lambda node, g: (), domain=(),
)  # fmt: skip


_NOWHERE = ("", 0)  # a given value has no line of its own, and looking for one takes time


def leaf(value: np.ndarray[Any, Any]) -> Node:
    """Return an input node that already has its value."""
    shape, dtype = tuple(value.shape), as_dtype(value.dtype)
    return Node(INPUT, (), {"shape": shape, "dtype": dtype}, shape, dtype, value, _NOWHERE, ())


def placeholder(shape: Shape, dtype: DType, weak: bool = False) -> Node:
    """Return an input node without a value; ``weak`` marks a Python number."""
    node = INPUT(shape=shape, dtype=dtype)
    node.weak = weak
    return node


def full(shape: Shape, value: Scalar, dtype: DType | None = None) -> Node:
    """Return a node filled with one number."""
    if dtype is None:
        dtype = as_dtype(type(value))
    try:
        with np.errstate(over="ignore"):  # 1e9 is infinity in float16, as NumPy has it
            number = dtype.numpy.type(value).item()
    except (OverflowError, ValueError):  # infinity and NaN are no whole numbers
        raise ArgumentError(
            f"the number {value} does not exist in dtype {dtype.name}; "
            f"convert the tensor that it meets with .astype(...) first. {where()}"
        ) from None
    return FULL(value=number, shape=tuple(shape), dtype=dtype)


def constant_of(node: Node) -> Scalar | None:
    """Return the number that a node is filled with everywhere, if that is known, else None."""
    while node.op.name in ("broadcast_to", "reshape", "cast"):
        node = node.inputs[0]
    return node.attrs["value"] if node.op is FULL else None


# --- operands ----------------------------------------------------------------------------------


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """Whether a value is a Python number, whose dtype gives way to that of a tensor."""
    return isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)


def to_node(value: Operand, name: str = "operation") -> Node:
    """Return a node for an operand."""
    if isinstance(value, Node):
        return value
    if is_scalar(value):
        return full((), value)
    raise DTypeError(
        f"{name}: {value!r} of type {type(value).__name__} is not a tensor or a number. {where()}"
    )


def cast_node(x: Node, dtype: DType) -> Node:
    """Return ``x`` as ``dtype``, itself where it already is."""
    if x.dtype is dtype:
        return x
    if x.op is FULL:
        return full(x.shape, x.attrs["value"], dtype)
    return OPS["cast"](x, dtype=dtype)


def _weak_type(value: Operand) -> type | None:
    if isinstance(value, Node):
        if not value.weak:
            return None
        return float if value.dtype.is_float else int
    return type(value)


def operands(*values: Operand, name: str) -> tuple[Node, ...]:
    """Return nodes of one common dtype; Python numbers take that of the tensors."""
    weak = [_weak_type(v) for v in values]
    strong = [
        v.dtype  # type: ignore[union-attr]
        for v, w in zip(values, weak, strict=True)
        if w is None
    ]
    if not strong:
        kinds = {w for w in weak if w is not None}
        dtype = DEFAULT_FLOAT if float in kinds else DEFAULT_INT if int in kinds else bool_
    else:
        dtype = strong[0]
        for other in strong[1:]:
            dtype = promote(dtype, other)
        for w in weak:
            if w is not None:
                dtype = promote_scalar(dtype, w)
    # A number goes to the common dtype at once: by way of float32 it would lose digits.
    return tuple(
        full((), v, dtype) if is_scalar(v) else cast_node(to_node(v, name), dtype) for v in values
    )


def require(node: Node, condition: bool, name: str, wanted: str) -> None:
    """Raise a DTypeError unless a node's dtype is as wanted."""
    if not condition:
        raise DTypeError(
            f"{name}: got dtype {node.dtype.name}, wanted {wanted}; "
            f"convert with .astype(...) first. {where()}"
        )


# --- result types of element-wise operations ---------------------------------------------------


def elementwise_infer(name: str, result: str) -> Infer:
    """Return the shape and dtype rule of an element-wise operation.

    ``result``: ``"same"`` dtype as the inputs, ``"bool"``, or the name of the needed kind
    (``"float"``, ``"integer"``, ``"number"``) which is also the result's.
    """
    checks: dict[str, tuple[Callable[[DType], bool], str]] = {
        "float": (lambda d: d.is_float, "a floating type"),
        "integer": (lambda d: not d.is_float, "a whole number or bool type"),
        "number": (lambda d: d is not bool_, "a number type, not bool"),
    }

    def infer(*inputs: Node, **_: Any) -> tuple[Shape, DType]:
        shape = broadcast(*(i.shape for i in inputs), name=name)
        if result in checks:
            check, wanted = checks[result]
            for i in inputs:
                require(i, check(i.dtype), name, wanted)
        return shape, bool_ if result == "bool" else inputs[-1].dtype

    return infer


def as_float(x: Operand, name: str) -> Node:
    """Return an operand in a floating type; whole numbers become the default one."""
    node = operands(x, name=name)[0]
    return cast_node(node, to_float(node.dtype))


__all__ = [
    "CONSTANT", "FULL", "INPUT", "OPS", "Operand", "Scalar", "as_float", "cast_node",
    "constant_of", "define", "elementwise_infer", "float64", "full", "int64", "is_scalar", "leaf",
    "operands", "placeholder", "require", "to_node",
]  # fmt: skip
