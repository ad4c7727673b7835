"""Multi-head attention, and the cache of keys and values with which a sequence is continued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.graph.dtype import as_dtype, int32
from thalweg.graph.node import Node
from thalweg.nn import initializers
from thalweg.nn.dropout import Dropout
from thalweg.nn.inputs import check_dtype, check_last_axis, label, lengths_of, node_of
from thalweg.nn.keys import Key, derived_key
from thalweg.nn.layers import Linear, new_parameter, positive
from thalweg.nn.module import Module
from thalweg.nn.positions import RotaryEmbedding, position_numbers
from thalweg.ops import elementwise as e
from thalweg.ops import indexing
from thalweg.ops import movement as mv
from thalweg.ops.attention import scaled_dot_product_attention
from thalweg.ops.contraction import matmul
from thalweg.ops.creation import IOTA
from thalweg.ops.record import cast_node
from thalweg.tensor.context import context
from thalweg.tensor.tensor import Tensor, constant_tensor, finish, lift

Array = np.ndarray[Any, Any]


def length_mask(who: str, lengths: Any, batch: int, keys: int) -> Node:
    """Return which keys count, (batch, 1, 1, keys), for how many of each sequence do.

    Raises:
        ShapeError: not one whole number for each sequence.
        ArgumentError: a length below 0 or above the number of keys (compiled, an IndexError).
    """
    count = lengths_of(who, lengths, batch, 0, keys)
    wide = mv.reshape(cast_node(count, int32), (batch, 1, 1, 1))
    return e.less(IOTA(size=keys, dtype=int32), wide)


class KVCache:
    """Keys and values of the elements of a sequence that one attention layer has seen.

    Its sizes are fixed, and the position is a number inside of the running program: a compiled
    step that continues a sequence is compiled once. All sequences of a batch are equally long.

    Args:
        batch: sequences.
        capacity: the longest sequence.
        kv_heads, head_dim: as in the layer; ``MultiHeadAttention.new_cache`` knows them.
        dtype: type of the keys and values.

    Attributes:
        keys, values: ``(batch, capacity, kv_heads, head_dim)``.
        position: how many elements of the sequence are held, a tensor without axes.

    Example:
        >>> from thalweg import nn
        >>> cache = nn.KVCache(batch=1, capacity=8, kv_heads=2, head_dim=4)
        >>> cache.keys.shape, cache.position.item()
        ((1, 8, 2, 4), 0)
    """

    def __init__(
        self, batch: int, capacity: int, kv_heads: int, head_dim: int, *, dtype: Any = "float32"
    ) -> None:
        positive("KVCache", batch=batch, capacity=capacity, kv_heads=kv_heads, head_dim=head_dim)
        shape, kind = (batch, capacity, kv_heads, head_dim), as_dtype(dtype).numpy
        self.keys = constant_tensor(np.zeros(shape, kind))
        self.values = constant_tensor(np.zeros(shape, kind))
        self.position = constant_tensor(np.zeros((), np.int32))

    @property
    def capacity(self) -> int:
        """How many elements there is room for."""
        return self.keys.shape[1]

    def reset(self) -> None:
        """Forget all elements."""
        self.position.assign(np.zeros((), np.int32))

    def update(self, who: str, keys: Node, values: Node) -> tuple[Node, Node, Node]:
        """Take in the next elements; return all keys, all values, and the first new position.

        Raises:
            ShapeError: keys of another batch or other heads, or no room left. A compiled program
                finds out when it runs, leaves the cache as it was, and raises an IndexError.
        """
        length, wanted = keys.shape[1], self.keys.shape
        if (keys.shape[0], *keys.shape[2:]) != (wanted[0], *wanted[2:]):
            raise ShapeError(
                f"{who}: got keys of shape {keys.shape} for a cache of shape {wanted}; batch, "
                f"heads and head_dim must be equal. Make the cache with new_cache(batch, "
                f"capacity). {where()}"
            )
        start: Node = lift(self.position)
        known = start.value if context.recorder is None else None
        if length > self.capacity or (known is not None and int(known) + length > self.capacity):
            held = "" if known is None else f", which holds {int(known)}"
            raise ShapeError(
                f"{who}: got {length} more elements for a cache with room for {self.capacity}"
                f"{held}; make the cache with a larger capacity, or reset() it. {where()}"
            )
        # The native gather reports an index out of range, which a comparison could not.
        last = indexing.take(
            IOTA(size=self.capacity, dtype=int32), e.add(start, length - 1), 0
        )
        made = [self._written(t, n, start) for t, n in ((self.keys, keys), (self.values, values))]
        self.position.assign(finish(e.add(last, 1)))
        return made[0], made[1], start

    def _written(self, held: Tensor, new: Node, start: Node) -> Node:
        length = new.shape[1]
        places = e.subtract(IOTA(size=self.capacity, dtype=int32), start)
        rows = new
        if length > 1:
            rows = indexing.take(new, e.clip(places, 0, length - 1), 1)
        inside = e.logical_and(e.greater_equal(places, 0), e.less(places, length))
        inside = mv.reshape(inside, (1, self.capacity, 1, 1))
        held.assign(finish(e.where(inside, cast_node(rows, held.dtype), lift(held))))
        node: Node = lift(held)
        return node


class MultiHeadAttention(Module):
    r"""Attention of several heads, each on its own projection of queries, keys and values.

    .. math::
        \mathrm{head}_h = \mathrm{softmax}(Q_h K_h^\top / \sqrt{d}) V_h, \quad
        y = [\mathrm{head}_1, \ldots, \mathrm{head}_n] W_o + b_o

    Called with one input it is self-attention; with a second one, the keys' (and values')
    sequence, it is cross-attention. The projections are packed in one weight of shape
    ``(embed_dim, embed_dim + 2 * kv_heads * head_dim)``, queries first: the transpose of
    PyTorch's.

    Args:
        embed_dim: features of the inputs and the output.
        heads: heads of the queries; they divide ``embed_dim``.
        kv_heads: heads of keys and values, which divide ``heads``: as many if left out, 1 for
            multi-query attention.
        dropout: probability of dropping an attention weight in training.
        bias: whether the projections add biases.
        causal: whether an element attends to no later one.
        rotary: whether queries and keys are turned by their positions; or the RotaryEmbedding.
        weight_init: initialiser of the packed projection; Glorot uniform if left out.
        out_init: initialiser of the last projection; Glorot uniform if left out.
        dtype: type of the parameters.

    Shape:
        ``(batch, queries, embed_dim)`` and maybe ``(batch, keys, embed_dim)`` to
        ``(batch, queries, embed_dim)``.

    Raises:
        ArgumentError: heads that do not divide; cross-attention with rotary positions.
        ShapeError: other axes or features; a mask that does not fit; a cache that is full.
        DTypeError: an input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> attention = nn.MultiHeadAttention(8, 2, causal=True)
        >>> attention(tw.ones((3, 5, 8))).shape
        (3, 5, 8)
        >>> attention(tw.ones((3, 5, 8)), lengths=[5, 2, 1]).shape
        (3, 5, 8)

    A. Vaswani et al., arXiv:1706.03762; multi-query: N. Shazeer, arXiv:1911.02150.
    """

    def __init__(
        self, embed_dim: int, heads: int, kv_heads: int | None = None, dropout: float = 0.0,
        bias: bool = True, causal: bool = False, rotary: bool | RotaryEmbedding = False, *,
        weight_init: initializers.Like | None = None, out_init: initializers.Like | None = None,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        kv_heads = heads if kv_heads is None else kv_heads
        positive("MultiHeadAttention", embed_dim=embed_dim, heads=heads, kv_heads=kv_heads)
        if embed_dim % heads or heads % kv_heads:
            raise ArgumentError(
                f"MultiHeadAttention: heads must divide embed_dim, and kv_heads must divide heads; "
                f"got embed_dim={embed_dim}, heads={heads}, kv_heads={kv_heads}. {where()}"
            )
        self.embed_dim, self.heads, self.kv_heads = int(embed_dim), int(heads), int(kv_heads)
        self.head_dim = self.embed_dim // self.heads
        self.bias, self.causal, self.dropout = bool(bias), bool(causal), dropout
        self.rotary = RotaryEmbedding(self.head_dim) if rotary is True else rotary or None
        self.weight_init, self.out_init = weight_init, out_init
        wide = self.embed_dim + 2 * self.kv_heads * self.head_dim
        self.in_proj_weight = new_parameter((self.embed_dim, wide), dtype)
        self.in_proj_bias = new_parameter((wide,), dtype) if bias else None
        self.out_proj = Linear(self.embed_dim, self.embed_dim, bias, weight_init=out_init,
                               dtype=dtype)  # fmt: skip
        self.drop = Dropout(dropout)
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Draw the packed projection; its biases are 0."""
        weight = self.in_proj_weight
        initializer = initializers.get(
            "glorot_uniform" if self.weight_init is None else self.weight_init
        )
        weight.assign(initializer(derived_key(key, "in_proj_weight"), weight.shape, weight.dtype))
        if self.in_proj_bias is not None:
            self.in_proj_bias.assign(np.zeros(self.in_proj_bias.shape, weight.dtype.numpy))

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """Return an empty cache for this layer; see ``KVCache``."""
        return KVCache(batch, capacity, self.kv_heads, self.head_dim,
                       dtype=self.in_proj_weight.dtype)  # fmt: skip

    def forward(
        self, query: Any, key: Any = None, value: Any = None, mask: Any = None,
        lengths: Any = None, cache: KVCache | None = None,
    ) -> Tensor:  # fmt: skip
        """Return what the queries gather from the values.

        ``key``, ``value``: the sequence attended to; the queries' own if left out, and the values
        are the keys' sequence. ``mask``: as for ``thalweg.scaled_dot_product_attention``.
        ``lengths`` (batch,): how many keys of each sequence count. ``cache``: the earlier elements
        of the sequence, to which these are added; they attend to all earlier ones.
        """
        who = label(self)
        x = self._checked(who, query, "query")
        own = key is None or (key is query and value is None)
        if own:
            if value is not None:
                raise ArgumentError(f"{who}: got a value without a key; give both. {where()}")
            q, k, v = self._split(self._projected(x, 0, 3), 0, 3)
        else:
            q, k, v = self._cross(who, x, key, value, cache)
        start: Node | None = None
        if self.rotary is not None:
            offset = None if cache is None else cache.position
            numbers = position_numbers(who, x.shape[1], offset)
            q, k = self.rotary.turn(q, numbers), self.rotary.turn(k, numbers)
        if cache is not None:
            k, v, start = cache.update(who, k, v)
        keep = self._mask(who, mask, lengths, k, x.shape[1], start)
        y = scaled_dot_product_attention(
            q, k, v, keep, causal=self.causal and start is None, **self._dropout()
        )
        return self.out_proj(finish(mv.reshape(y, x.shape)))  # type: ignore[no-any-return]

    def _dropout(self) -> dict[str, Any]:
        """Return the arguments that drop weights, and count the call."""
        if not self.training or not self.dropout:
            return {}
        stream = lift(self.drop.count)
        self.drop.count.assign(self.drop.count + 1)
        return {"dropout": float(self.dropout), "dropout_key": lift(self.drop.key),
                "dropout_stream": stream}  # fmt: skip

    def _checked(self, who: str, x: Any, name: str) -> Node:
        node = node_of(x, f"{who}, {name}")
        if node.rank != 3:
            raise ShapeError(
                f"{who}: got a {name} of shape {node.shape}, wanted (batch, length, "
                f"{self.embed_dim}); give a single sequence a batch axis of size 1. {where()}"
            )
        check_last_axis(f"{who}, {name}", node, self.embed_dim, "embed_dim")
        check_dtype(who, node, self.in_proj_weight.dtype, "in_proj_weight")
        return node

    def _bounds(self) -> tuple[int, int, int, int]:
        """Return where queries, keys and values begin and end in the packed projection."""
        small = self.kv_heads * self.head_dim
        return 0, self.embed_dim, self.embed_dim + small, self.embed_dim + 2 * small

    def _projected(self, x: Node, first: int, last: int) -> Node:
        """Return some of the three projections side by side."""
        begin, end = self._bounds()[first], self._bounds()[last]
        y = matmul(x, mv.narrow(lift(self.in_proj_weight), 1, begin, end - begin))
        if self.in_proj_bias is not None:
            y = e.add(y, mv.narrow(lift(self.in_proj_bias), 0, begin, end - begin))
        return y

    def _split(self, packed: Node, first: int, last: int) -> list[Node]:
        """Return each of some projections in heads, (batch, length, heads, head_dim)."""
        bounds, parts = self._bounds(), []
        for i in range(first, last):
            size = bounds[i + 1] - bounds[i]
            part = mv.narrow(packed, 2, bounds[i] - bounds[first], size)
            shape = (*packed.shape[:2], size // self.head_dim, self.head_dim)
            parts.append(mv.reshape(part, shape))
        return parts

    def _cross(self, who: str, x: Node, key: Any, value: Any, cache: KVCache | None) -> list[Node]:
        """Return queries, keys and values of two or three sequences."""
        if self.rotary is not None or cache is not None:
            what = "rotary positions" if self.rotary is not None else "a cache"
            raise ArgumentError(
                f"{who}: {what} belong to self-attention, and a key was given; leave one of them "
                f"out. {where()}"
            )
        memory = self._checked(who, key, "key")
        held = memory if value is None or value is key else self._checked(who, value, "value")
        if memory.shape[0] != x.shape[0] or memory.shape != held.shape:
            raise ShapeError(
                f"{who}: got queries of shape {x.shape}, keys of {memory.shape} and values of "
                f"{held.shape}; all need one batch, and keys and values one length. {where()}"
            )
        q = self._split(self._projected(x, 0, 1), 0, 1)
        if held is memory:
            return q + self._split(self._projected(memory, 1, 3), 1, 3)
        k = self._split(self._projected(memory, 1, 2), 1, 2)
        return q + k + self._split(self._projected(held, 2, 3), 2, 3)

    def _mask(
        self, who: str, mask: Any, lengths: Any, keys: Node, queries: int, start: Node | None
    ) -> Node | None:
        """Return the mask of all reasons together."""
        found = None if mask is None else node_of(mask, f"{who}, mask")
        reasons: list[Node] = []
        if lengths is not None:
            reasons.append(length_mask(who, lengths, keys.shape[0], keys.shape[1]))
        if start is not None:  # the cache has room for later elements, which are not there yet
            numbers = IOTA(size=queries, dtype=int32)
            last = e.add(numbers if self.causal else queries - 1, start)
            last = mv.expand_dims(last, -1) if self.causal else last
            reasons.append(e.less_equal(IOTA(size=keys.shape[1], dtype=int32), last))
        for reason in reasons:
            if found is None:
                found = reason
            elif found.dtype.is_float:
                found = e.add(found, e.where(reason, 0.0, -np.inf))
            else:
                found = e.logical_and(found, reason)
        return found

    def to_torch_state(self) -> dict[str, Array]:
        """Return the parameters as ``torch.nn.MultiheadAttention`` names and lays them out.

        Grouped keys and values have no counterpart there; the same layout is used.
        """
        return {k: np.ascontiguousarray(p.numpy().T) for k, p in self.parameters().items()}

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take the parameters of ``torch.nn.MultiheadAttention``."""
        for name, parameter in self.parameters().items():
            parameter.assign(np.ascontiguousarray(np.asarray(state[name]).T))

    def arguments(self) -> str:
        """Return the sizes and what differs from the defaults."""
        shown = [f"{self.embed_dim}, {self.heads}"]
        for name, usual in (("kv_heads", self.heads), ("dropout", 0.0), ("bias", True),
                            ("causal", False)):  # fmt: skip
            if getattr(self, name) != usual:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown + (["rotary=True"] if self.rotary is not None else []))
