"""Every function of ``ops`` lifted to tensors: the NumPy-like functions and methods."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.graph.node import Node
from thalweg.ops import (
    activations,
    attention,
    compositions,
    contraction,
    convolution,
    creation,
    elementwise,
    identity,
    indexing,
    movement,
    pooling,
    reductions,
    sorting,
)
from thalweg.ops.record import to_node
from thalweg.tensor.context import context
from thalweg.tensor.conversion import tensor
from thalweg.tensor.recorder import plain
from thalweg.tensor.tensor import Tensor, finish, lift

Function = Callable[..., Any]


def wrap(result: Any) -> Any:
    """Return the tensors for a function's nodes."""
    if isinstance(result, Node):
        return finish(result)
    if isinstance(result, (list, tuple)):
        return type(result)(wrap(r) for r in result)
    return result


def _tensor_parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], set[str], bool]:
    """Return positional parameters, those that take tensors, and whether the rest are tensors."""
    code, kinds = function.__code__, function.__annotations__
    names = code.co_varnames[: code.co_argcount]
    takes = {n for n, kind in kinds.items() if "Node" in str(kind) or "Operand" in str(kind)}
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if code.co_flags & 4 else ""
    return names, takes - {"return"}, rest in takes


def lifted(function: Callable[..., Any]) -> Function:
    """Return a function of tensors for a function of nodes.

    Parameters that are not tensors (axes, shapes) get plain Python numbers.
    """
    names, takes, rest = _tensor_parameters(function)
    who = function.__name__

    def lift_node(value: Any) -> Node:
        return to_node(lift(value), who)

    kinds = function.__annotations__
    by_name = {n: lift_node if kinds[n] == "Node" else lift for n in takes}
    converters = [by_name.get(n, plain) for n in names]
    last = lift if rest else plain

    @functools.wraps(function)
    def on_tensors(*args: Any, **kwargs: Any) -> Any:
        pairs = itertools.zip_longest(args, converters[: len(args)], fillvalue=last)
        nodes = [convert(a) for a, convert in pairs]
        named = {k: by_name.get(k, plain)(v) for k, v in kwargs.items()}
        return wrap(function(*nodes, **named))

    on_tensors.__module__ = "thalweg"
    return on_tensors


_SOURCES = {
    elementwise: (
        "abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_invert "
        "bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor ceil clip cos cosh divide "
        "equal erf exp expm1 floor floor_divide greater greater_equal isfinite isinf isnan less "
        "less_equal log log10 log1p log2 logical_and logical_not logical_or logical_xor maximum "
        "minimum multiply negative not_equal power reciprocal relu remainder round rsqrt sigmoid "
        "sign sin sinh sqrt square subtract tan tanh trunc where astype"
    ),
    reductions: "all any argmax argmin count_nonzero logsumexp max mean min prod std sum var",
    movement: (
        "broadcast_to concatenate diagonal expand_dims flatten flip matrix_transpose meshgrid "
        "moveaxis pad permute_dims repeat reshape roll split squeeze stack swapaxes tile trace "
        "transpose unstack"
    ),
    contraction: "einsum matmul outer tensordot vecdot",
    convolution: "conv conv_transpose",
    pooling: (
        "adaptive_avg_pool adaptive_max_pool avg_pool max_pool pixel_shuffle pixel_unshuffle resize"
    ),
    indexing: "one_hot scatter_add take take_along_axis",
    sorting: "argsort cumsum cumulative_sum diff sort top_k",
    creation: "arange eye full full_like linspace ones ones_like tril triu zeros zeros_like",
    compositions: "hypot isclose logaddexp nan_to_num",
    activations: (
        "elu gelu hard_sigmoid hard_swish hard_tanh leaky_relu log_sigmoid log_softmax mish relu6 "
        "selu silu softmax softplus softsign step"
    ),
    attention: "scaled_dot_product_attention",
    identity: "stop_gradient",
}  # fmt: skip
FUNCTIONS: dict[str, Function] = {
    name: lifted(getattr(module, name)) for module, names in _SOURCES.items()
    for name in names.split()
}  # fmt: skip
FUNCTIONS["concat"] = FUNCTIONS["concatenate"]
FUNCTIONS["pow"] = FUNCTIONS["power"]


def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool | Tensor:
    """Whether all elements are close; a Python bool, inside of ``compile`` a tensor.

    >>> allclose(tensor([1.0]), 1.0 + 1e-9)
    True
    """
    close = FUNCTIONS["all"](FUNCTIONS["isclose"](a, b, rtol, atol, equal_nan))
    return close if context.recorder is not None else bool(close)


def nonzero(x: Any) -> tuple[Tensor, ...]:
    """Positions of the elements that are not 0, one tensor for each axis.

    How many there are depends on the numbers, so it cannot be captured by ``compile``.
    """
    value = tensor(x)._value("nonzero()")
    return tuple(tensor(places) for places in np.nonzero(np.atleast_1d(value)))


FUNCTIONS["allclose"] = allclose
FUNCTIONS["nonzero"] = nonzero

_METHODS = (
    "abs all any argmax argmin argsort astype clip cos cumsum cumulative_sum exp expand_dims "
    "flatten flip log max mean min moveaxis permute_dims prod relu repeat reshape round rsqrt "
    "sigmoid sin softmax log_softmax sort split sqrt square squeeze std sum swapaxes tanh tile "
    "top_k transpose var broadcast_to take logsumexp matmul"
)
METHODS = tuple(_METHODS.split())
for _name in METHODS:
    setattr(Tensor, _name, FUNCTIONS[_name])
