"""Every function of ``ops`` lifted to tensors: the NumPy-like functions and methods."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from thalweg.graph.node import Node
from thalweg.ops import (
    activations,
    contraction,
    creation,
    elementwise,
    identity,
    indexing,
    movement,
    reductions,
    sorting,
)
from thalweg.tensor.tensor import Tensor, finish, lift

Function = Callable[..., Any]


def wrap(result: Any) -> Any:
    """Return the tensors for a function's nodes."""
    if isinstance(result, Node):
        return finish(result)
    if isinstance(result, (list, tuple)):
        return type(result)(wrap(r) for r in result)
    return result


def lifted(function: Callable[..., Any]) -> Function:
    """Return a function of tensors for a function of nodes."""

    @functools.wraps(function)
    def on_tensors(*args: Any, **kwargs: Any) -> Any:
        nodes = [lift(a) for a in args]
        named = {k: lift(v) for k, v in kwargs.items()}
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
    reductions: "all any argmax argmin logsumexp max mean min prod std sum var",
    movement: (
        "broadcast_to concatenate expand_dims flatten flip matrix_transpose moveaxis pad "
        "permute_dims repeat reshape roll split squeeze stack swapaxes tile transpose"
    ),
    contraction: "einsum matmul outer tensordot vecdot",
    indexing: "one_hot scatter_add take take_along_axis",
    sorting: "argsort cumsum cumulative_sum sort top_k",
    creation: "arange eye full full_like linspace ones ones_like tril triu zeros zeros_like",
    activations: (
        "elu gelu hard_sigmoid hard_swish hard_tanh leaky_relu log_sigmoid log_softmax mish relu6 "
        "selu silu softmax softplus softsign step"
    ),
    identity: "stop_gradient",
}  # fmt: skip
FUNCTIONS: dict[str, Function] = {
    name: lifted(getattr(module, name)) for module, names in _SOURCES.items()
    for name in names.split()
}  # fmt: skip
FUNCTIONS["concat"] = FUNCTIONS["concatenate"]
FUNCTIONS["pow"] = FUNCTIONS["power"]

METHODS = (
    "abs all any argmax argmin argsort astype clip cos cumsum cumulative_sum exp expand_dims "
    "flatten flip log max mean min moveaxis permute_dims prod relu repeat reshape round rsqrt "
    "sigmoid sin softmax log_softmax sort split sqrt square squeeze std sum swapaxes tanh tile "
    "top_k transpose var broadcast_to take logsumexp matmul"
).split()
for _name in METHODS:
    setattr(Tensor, _name, FUNCTIONS[_name])
