"""Clipping: gradients held below a largest value or norm."""

from __future__ import annotations

from typing import Any

from thalweg import trees
from thalweg.errors import ArgumentError, where
from thalweg.graph.dtype import float32
from thalweg.optim.hyperparameters import POSITIVE, checked
from thalweg.tensor.conversion import asarray
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

clip, maximum, sqrt, total = (FUNCTIONS[name] for name in ("clip", "maximum", "sqrt", "sum"))


def global_norm(tree: Any) -> Tensor:
    r"""Return the Euclidean norm of all numbers of a tree of tensors together.

    .. math:: \sqrt{\sum_i \sum_j g_{ij}^2}

    16-bit types are squared and summed in float32.

    Raises:
        ArgumentError: the tree holds no tensor.

    >>> import thalweg as tw
    >>> global_norm({"a": tw.tensor([3.0]), "b": tw.tensor([[4.0]])})
    Tensor(5., dtype=float32)
    """
    leaves = [_tensor(x) for x in trees.flatten(tree)[0]]
    if not leaves:
        raise ArgumentError(f"global_norm: the tree holds no tensor. {where()}")
    squares = [_sum_of_squares(x) for x in leaves]
    norm: Tensor = sqrt(sum(squares[1:], squares[0]))
    return norm


def clip_by_value(tree: Any, limit: float) -> Any:
    r"""Hold every number of a tree of tensors between ``-limit`` and ``limit``.

    .. math:: \min(\max(g, -c), c)

    Raises:
        ArgumentError: the limit is not above 0.

    >>> import thalweg as tw
    >>> clip_by_value([tw.tensor([-3.0, 0.5])], 1.0)
    [Tensor([-1. ,  0.5], dtype=float32)]
    """
    c = checked("clip_by_value", "limit", limit, POSITIVE)
    return trees.map_tree(lambda x: clip(_tensor(x), -c, c), tree)


def clip_by_norm(tree: Any, limit: float) -> Any:
    r"""Shorten each tensor of a tree, by itself, to a Euclidean norm of at most ``limit``.

    .. math:: g \cdot \frac{c}{\max(\lVert g \rVert, c)}

    Raises:
        ArgumentError: the limit is not above 0.

    >>> import thalweg as tw
    >>> clip_by_norm([tw.tensor([3.0, 4.0]), tw.tensor([0.5])], 1.0)
    [Tensor([0.6, 0.8], dtype=float32), Tensor([0.5], dtype=float32)]
    """
    c = checked("clip_by_norm", "limit", limit, POSITIVE)
    return trees.map_tree(lambda x: _scaled(_tensor(x), _factor(global_norm(x), c)), tree)


def clip_by_global_norm(tree: Any, limit: float) -> Any:
    r"""Shorten all tensors of a tree by one factor, to a norm together of at most ``limit``.

    .. math:: g_i \cdot \frac{c}{\max(\sqrt{\sum_j \lVert g_j \rVert^2}, c)}

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    arXiv:1211.5063.

    Raises:
        ArgumentError: the limit is not above 0.

    >>> import thalweg as tw
    >>> clip_by_global_norm([tw.tensor([6.0]), tw.tensor([8.0])], 1.0)
    [Tensor([0.6], dtype=float32), Tensor([0.8], dtype=float32)]
    """
    c = checked("clip_by_global_norm", "limit", limit, POSITIVE)
    factor = _factor(global_norm(tree), c)
    return trees.map_tree(lambda x: _scaled(_tensor(x), factor), tree)


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else asarray(x)


def _sum_of_squares(x: Tensor) -> Tensor:
    wide = FUNCTIONS["astype"](x, float32) if x.dtype.bits == 16 else x
    result: Tensor = total(FUNCTIONS["square"](wide))
    return result


def _factor(norm: Tensor, limit: float) -> Tensor:
    """Return 1 for norms up to the limit: no division by a norm of 0, and NaN is handed on."""
    factor: Tensor = limit / maximum(norm, limit)
    return factor


def _scaled(x: Tensor, factor: Tensor) -> Tensor:
    y = x * factor
    kept: Tensor = y if y.dtype is x.dtype else FUNCTIONS["astype"](y, x.dtype)
    return kept
