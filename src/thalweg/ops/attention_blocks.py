"""Attention over long sequences, block of keys by block of keys: not all scores are ever stored.

T. Dao et al., "FlashAttention", arXiv:2205.14135; the running maximum and sum are those of
M. Milakov and N. Gimelshein, arXiv:1805.02867.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from thalweg.graph.dtype import int32
from thalweg.graph.node import Graph, Node
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import reductions as r
from thalweg.ops.contraction import contract
from thalweg.ops.creation import IOTA
from thalweg.ops.identity import custom
from thalweg.ops.record import full, placeholder
from thalweg.ops.scan import part, scan_node

BLOCK = 512  # keys whose scores exist at one time; up to so many all at once


class _Blocks:
    """Keys, values and masks cut into blocks, and the loops over them."""

    def __init__(self, keys: int, mask: Node | None, causal: bool) -> None:
        self.keys, self.mask, self.causal = keys, mask, causal
        self.count = -(-keys // BLOCK)

    def rows(self, x: Node, axis: int) -> Node:
        """Return a tensor cut into blocks along an axis, the blocks first."""
        missing = self.count * BLOCK - x.shape[axis]
        x = mv.pad(x, [(0, missing if d == axis else 0) for d in range(x.rank)])
        shape = (*x.shape[:axis], self.count, BLOCK, *x.shape[axis + 1 :])
        return mv.moveaxis(mv.reshape(x, shape), axis, 0)

    def stacks(self, key: Node, value: Node) -> list[Node]:
        """Return what each step reads a block of: keys, values, the first key, maybe the mask."""
        first = e.multiply(IOTA(size=self.count, dtype=int32), BLOCK)
        found = [self.rows(key, 1), self.rows(value, 1), first]
        if self.mask is not None and self.mask.shape[-1] != 1:
            found.append(self.rows(self.mask, self.mask.rank - 1))
        return found

    def scores(self, query: Node, key: Node, first: Node, mask: Node | None) -> Node:
        """Return the scores (b, h, g, q, block) of one block, minus infinity where not allowed."""
        scores = contract(query, key, ("bqhgd", "bkhd", "bhgqk"))
        numbers = e.add(IOTA(size=BLOCK, dtype=int32), first)
        allowed = e.less(numbers, self.keys)
        queries = query.shape[1]
        if self.causal and queries > 1:
            own = e.add(IOTA(size=queries, dtype=int32), self.keys - queries)
            allowed = e.logical_and(allowed, e.less_equal(numbers, mv.expand_dims(own, 1)))
        if mask is not None:
            allowed = e.logical_and(allowed, mask)
        return e.where(allowed, scores, -math.inf)

    def loop(
        self, carried: list[Node], starts: list[Node], stacks: list[Node], shared: list[Node],
        step: Callable[[list[Node], list[Node], list[Node]], list[Node]],
    ) -> Node:  # fmt: skip
        """Return a loop over the blocks; ``step`` makes its results from placeholders."""
        rows = [placeholder(s.shape[1:], s.dtype) for s in stacks]
        same = [placeholder(s.shape, s.dtype) for s in shared]
        body = Graph([*carried, *rows, *same], step(carried, rows, same))
        return scan_node(body, len(carried), len(rows), [*starts, *stacks, *shared], self.count,
                         False, None)  # fmt: skip

    def constant_mask(self) -> list[Node]:
        """Return the mask if it is the same for all blocks."""
        return [self.mask] if self.mask is not None and self.mask.shape[-1] == 1 else []


def in_blocks(query: Node, key: Node, value: Node, mask: Node | None, causal: bool) -> Node:
    """Attention of scaled queries (b, q, h, g, d) to keys and values (b, k, h, d).

    The mask is bool, and broadcasts to (b, h, g, q, k). The gradient computes the scores of each
    block again from the logarithm of their sum; it has no gradient itself.
    """
    blocks = _Blocks(key.shape[1], mask, causal)
    result, sums = _forward(blocks, query, key, value)

    def backward(
        g: Node, query: Node, key: Node, value: Node, result: Node, sums: Node, *mask: Node
    ) -> Sequence[Node | None]:
        own = _Blocks(key.shape[1], mask[0] if mask else None, causal)
        found = _backward(own, g, (query, key, value), result, sums)
        return [*found, *([None] * (2 + len(mask)))]

    masks = [] if mask is None else [mask]
    return custom(result, [query, key, value, result, sums, *masks], backward)


def _forward(blocks: _Blocks, query: Node, key: Node, value: Node) -> tuple[Node, Node]:
    """Return the means (b, q, h, g, v), and the logarithm of the sum of powers (b, h, g, q, 1)."""
    batch, queries, heads, groups, _ = query.shape
    one = (batch, heads, groups, queries, 1)
    shapes = [one, one, (*one[:-1], value.shape[3])]
    carried = [placeholder(s, query.dtype) for s in shapes]
    starts = [full(s, -math.inf if i == 0 else 0, query.dtype) for i, s in enumerate(shapes)]

    def step(state: list[Node], rows: list[Node], same: list[Node]) -> list[Node]:
        top, total, mean = state
        mask = rows[3] if len(rows) > 3 else same[1] if len(same) > 1 else None
        scores = blocks.scores(same[0], rows[0], rows[2], mask)
        higher = e.maximum(top, r.max(scores, -1, keepdims=True))
        safe = e.where(e.equal(higher, -math.inf), 0, higher)
        powers, shrink = e.exp(e.subtract(scores, safe)), e.exp(e.subtract(top, safe))
        added = contract(powers, rows[1], ("bhgqk", "bkhv", "bhgqv"))
        total = e.add(e.multiply(total, shrink), r.sum(powers, -1, keepdims=True))
        return [higher, total, e.add(e.multiply(mean, shrink), added)]

    shared = [query, *blocks.constant_mask()]
    made = blocks.loop(carried, starts, blocks.stacks(key, value), shared, step)
    top, total, mean = (part(made, i) for i in range(3))
    some = e.where(e.equal(total, 0), 1, total)
    whole = e.where(e.equal(top, -math.inf), 0, top)
    result = mv.permute_dims(e.divide(mean, some), (0, 3, 1, 2, 4))
    return result, e.add(e.log(some), whole)


def _backward(
    blocks: _Blocks, g: Node, inputs: tuple[Node, Node, Node], result: Node, sums: Node
) -> list[Node | None]:
    query, key, value = inputs
    inner = r.sum(e.multiply(g, result), -1, keepdims=True)  # (b, q, h, g, 1)
    inner = mv.permute_dims(inner, (0, 2, 3, 1, 4))

    def step(state: list[Node], rows: list[Node], same: list[Node]) -> list[Node]:
        query, g, inner, sums = same[:4]
        mask = rows[3] if len(rows) > 3 else same[4] if len(same) > 4 else None
        weights = e.exp(e.subtract(blocks.scores(query, rows[0], rows[2], mask), sums))
        dv = contract(weights, g, ("bhgqk", "bqhgv", "bkhv"))
        dw = contract(g, rows[1], ("bqhgv", "bkhv", "bhgqk"))
        ds = e.multiply(weights, e.subtract(dw, inner))
        dq = e.add(state[0], contract(ds, rows[0], ("bhgqk", "bkhd", "bqhgd")))
        return [dq, contract(ds, query, ("bhgqk", "bqhgd", "bkhd")), dv]

    carried = [placeholder(query.shape, query.dtype)]
    starts = [full(query.shape, 0, query.dtype)]
    shared = [query, g, inner, sums, *blocks.constant_mask()]
    made = blocks.loop(carried, starts, blocks.stacks(key, value), shared, step)

    def whole(stack: Node, like: Node) -> Node:
        joined = mv.moveaxis(stack, 0, 1)
        joined = mv.reshape(joined, (like.shape[0], blocks.count * BLOCK, *like.shape[2:]))
        return mv.narrow(joined, 1, 0, like.shape[1])

    return [part(made, 0), whole(part(made, 1), key), whole(part(made, 2), value)]
