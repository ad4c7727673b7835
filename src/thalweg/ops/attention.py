"""Scaled dot-product attention: weighted means of values, the weights from queries and keys."""

from __future__ import annotations

import math

from thalweg.errors import ArgumentError, DTypeError, ShapeError
from thalweg.errors import where as at
from thalweg.graph.dtype import bool_, float32, int32
from thalweg.graph.node import Node
from thalweg.graph.shape import broadcast
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import random
from thalweg.ops import reductions as r
from thalweg.ops.activations import softmax_of
from thalweg.ops.attention_blocks import BLOCK, in_blocks
from thalweg.ops.contraction import contract
from thalweg.ops.creation import IOTA
from thalweg.ops.identity import stop_gradient
from thalweg.ops.record import cast_node, operands, require

_NAME = "scaled_dot_product_attention"


def scaled_dot_product_attention(
    query: Node, key: Node, value: Node, mask: Node | None = None, causal: bool = False,
    scale: float | None = None, dropout: float = 0.0, dropout_key: Node | None = None,
    dropout_stream: int | Node = 0,
) -> Node:  # fmt: skip
    r"""Means of the values, weighted by the softmax of the products of queries and keys.

    .. math:: y_i = \sum_j \mathrm{softmax}_j(s \, q_i \cdot k_j + m_{ij}) \, v_j

    Args:
        query: ``(batch, queries, heads, head_dim)``: the heads stand beside their features, as a
            linear layer gives them, and not before the length as in PyTorch.
        key: ``(batch, keys, kv_heads, head_dim)``. ``heads`` is a multiple of ``kv_heads``: query
            head ``h`` reads key head ``h // (heads // kv_heads)`` (grouped-query attention).
        value: ``(batch, keys, kv_heads, value_dim)``.
        mask: bool, true where a query may attend to a key; or a floating type, added to the scaled
            products. Its shape broadcasts to ``(batch, heads, queries, keys)``: lengths become
            ``(batch, 1, 1, keys)``.
        causal: each query attends to no later key. The last query stands at the last key, so that
            fewer queries than keys continue a sequence whose first keys came before.
        scale: the factor of the products, ``1 / sqrt(head_dim)`` if left out.
        dropout: probability of dropping a weight; the others are divided by ``1 - dropout``.
        dropout_key: a key of ``thalweg.random``, which chooses the weights to drop.
        dropout_stream: a number; another one chooses others for the same key.

    A query that may attend to no key gives zeros, and so do its gradients. In 16-bit types the
    softmax is computed in float32. With many keys the scores are computed block by block, again in
    the gradient, and never stored all together (unless there is dropout or an added mask).

    Returns ``(batch, queries, heads, value_dim)``.

    Raises:
        ShapeError: shapes that do not fit together.
        DTypeError: a type that is not a floating one, or a mask of whole numbers.
        ArgumentError: dropout without a key, or not from 0 to 1.

    >>> import thalweg as tw
    >>> q = tw.zeros((1, 2, 1, 4))
    >>> v = tw.reshape(tw.tensor([1.0, 3.0]), (1, 2, 1, 1))
    >>> tw.scaled_dot_product_attention(q, q, v, causal=True).tolist()
    [[[[1.0]], [[2.0]]]]

    A. Vaswani et al., arXiv:1706.03762; grouped queries: J. Ainslie et al., arXiv:2305.13245.
    """
    query, key, value = operands(query, key, value, name=_NAME)
    _check(query, key, value, dropout, dropout_key)
    batch, queries, heads, head_dim = query.shape
    keys, kv_heads = key.shape[1], key.shape[2]
    groups = heads // kv_heads
    factor = 1 / math.sqrt(head_dim) if scale is None else scale
    split = mv.reshape(e.multiply(query, factor), (batch, queries, kv_heads, groups, head_dim))
    plain = mask is None or mask.dtype is bool_  # no gradient flows into the mask
    if keys > BLOCK and plain and not dropout and query.dtype.bits != 16:
        own = None
        if mask is not None:
            own = _grouped(mask, (batch, heads, queries, keys), kv_heads)
        y = in_blocks(split, key, value, own, causal)
        return mv.reshape(y, (batch, queries, heads, value.shape[3]))
    scores = contract(split, key, ("bqhgd", "bkhd", "bhgqk"))
    if scores.dtype.bits == 16:
        scores = cast_node(scores, float32)
    weights = _softmax(_masked(scores, mask, causal))
    if dropout:
        assert dropout_key is not None
        shape = (batch, heads, queries, keys)  # the drawn bits do not depend on the grouping
        words = mv.reshape(random.bits(dropout_key, shape, dropout_stream), weights.shape)
        kept = e.greater_equal(words, min(round(dropout * 2**32), 2**32 - 1))
        weights = e.where(kept, e.multiply(weights, 1 / (1 - dropout) if dropout < 1 else 0.0), 0)
    y = contract(cast_node(weights, value.dtype), value, ("bhgqk", "bkhd", "bqhgd"))
    return mv.reshape(y, (batch, queries, heads, value.shape[3]))


def _softmax(scores: Node) -> Node:
    """Softmax along the last axis, in which a row of minus infinities gives zeros."""
    top = stop_gradient(r.max(scores, -1, keepdims=True))
    top = e.where(e.equal(top, -math.inf), 0, top)
    powers = e.exp(e.subtract(scores, top))
    total = r.sum(powers, -1, keepdims=True)
    value = e.divide(powers, e.where(e.equal(total, 0), 1, total))
    return softmax_of(value, scores, -1)


def _masked(scores: Node, mask: Node | None, causal: bool) -> Node:
    """Return scores (batch, kv_heads, groups, queries, keys) with a mask and causality applied."""
    batch, kv_heads, groups, queries, keys = scores.shape
    allowed: Node | None = None
    if causal and queries > 1:
        rows = e.add(mv.expand_dims(IOTA(size=queries, dtype=int32), 1), keys - queries)
        allowed = e.less_equal(IOTA(size=keys, dtype=int32), rows)
    if mask is not None:
        wanted = (batch, kv_heads * groups, queries, keys)
        grouped = _grouped(mask, wanted, kv_heads)
        if mask.dtype is bool_:
            allowed = grouped if allowed is None else e.logical_and(allowed, grouped)
        else:
            scores = e.add(scores, cast_node(grouped, scores.dtype))
    return scores if allowed is None else e.where(allowed, scores, -math.inf)


def _grouped(mask: Node, wanted: tuple[int, ...], kv_heads: int) -> Node:
    """Return a mask that broadcasts to (batch, heads, queries, keys) with its heads in groups."""
    require(mask, mask.dtype is bool_ or mask.dtype.is_float, f"{_NAME}: mask",
            "bool (true where a query may attend) or a floating type (added)")  # fmt: skip
    fits = mask.rank <= 4 and all(
        m in (1, n) for m, n in zip(mask.shape[::-1], wanted[::-1], strict=False)
    )
    if not fits or broadcast(mask.shape, wanted, name=_NAME) != wanted:
        raise ShapeError(
            f"{_NAME}: got a mask of shape {mask.shape}, wanted one that broadcasts to (batch, "
            f"heads, queries, keys) = {wanted}; give it axes of size 1 where it is the same for "
            f"all, such as mask[:, None, None, :] for one row of keys an example. {at()}"
        )
    full = (1,) * (4 - mask.rank) + mask.shape
    heads = (1, 1) if full[1] == 1 else (kv_heads, full[1] // kv_heads)
    return mv.reshape(mask, (full[0], *heads, *full[2:]))


def _check(query: Node, key: Node, value: Node, dropout: float, dropout_key: Node | None) -> None:
    shapes = f"query {query.shape}, key {key.shape} and value {value.shape}"
    layout = "(batch, length, heads, head_dim)"
    if not query.dtype.is_float:
        raise DTypeError(
            f"{_NAME}: got {query.dtype.name}, wanted a floating type; convert with "
            f".astype('float32'). {at()}"
        )
    if not query.rank == key.rank == value.rank == 4:
        raise ShapeError(f"{_NAME}: got {shapes}, wanted four axes each: {layout}. {at()}")
    if key.shape[:3] != value.shape[:3] or query.shape[0] != key.shape[0]:
        raise ShapeError(
            f"{_NAME}: got {shapes}, wanted {layout} with one batch, and as many keys as values "
            f"in as many heads. {at()}"
        )
    if query.shape[3] != key.shape[3] or not query.shape[3]:
        raise ShapeError(
            f"{_NAME}: got {shapes}; queries and keys must have one head_dim, the last axis, from "
            f"1 on. {at()}"
        )
    if not key.shape[1] or not key.shape[2] or query.shape[2] % key.shape[2]:
        raise ShapeError(
            f"{_NAME}: got {shapes}, wanted {layout} with at least one key, and as many query "
            f"heads as a multiple of the key heads; if the heads stand before the length, as in "
            f"PyTorch, use swapaxes(1, 2). {at()}"
        )
    if not 0 <= dropout <= 1:
        raise ArgumentError(
            f"{_NAME}: dropout must be a probability from 0 to 1, got {dropout!r}. {at()}"
        )
    if dropout and dropout_key is None:
        raise ArgumentError(
            f"{_NAME}: dropout={dropout} needs random numbers; pass "
            f"dropout_key=thalweg.random.key(seed), another one at each call. {at()}"
        )
