"""Products of many small matrices that lie side by side, as in a depthwise convolution."""

from __future__ import annotations

import math

from thalweg.backends.llvm.schedule.footprints import NEAR_CACHE
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite
from thalweg.ops import elementwise as e
from thalweg.ops.contraction import roles, sizes
from thalweg.ops.record import OPS

FEWEST = 8  # products side by side that fill a vector well enough
NARROW = 4  # columns, or rows, up to which a tile would leave most of its lanes empty


def lanes_over_batch(graph: Graph) -> Graph:
    """Compute them as sums of products of vectors that run along the batch.

    A tile of the contraction kernel fills its lanes with the columns of one product. A depthwise
    convolution has one column for each channel, and the channels lie side by side in both operands
    and in the result (Howard et al., arXiv:1704.04861, use them for most of a network).
    """

    def rule(node: Node) -> Node:
        if node.op.name != "contract" or not node.dtype.is_float:
            return node
        a, b = node.inputs
        spec = node.attrs["spec"]
        la, lb, out = spec
        batch, rows, columns, summed = roles(spec)
        size = sizes(a, b, spec)
        last = out[-1:]
        if not last or last not in batch or {la[-1], lb[-1]} != {last} or size[last] < FEWEST:
            return node
        narrow = min(math.prod(size[c] for c in some) for some in (rows, columns))
        if narrow > NARROW:
            return node
        around = summed[:1] if _read_again(node, size, rows + columns, summed) else ""
        labels = around + out[:-1] + summed[len(around) :] + last
        total = e.multiply(_spread(a, la, labels), _spread(b, lb, labels))
        if len(summed) > len(around):
            axes = tuple(i for i, c in enumerate(labels) if c in summed and c not in around)
            total = OPS["sum"](total, axes=axes, keepdims=False)
        return OPS["sum"](total, axes=(0,), keepdims=False) if around else total

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _read_again(node: Node, size: dict[str, int], kept: str, summed: str) -> bool:
    """Whether the outermost sum should be the last: the operands are large, the result is small.

    A gradient of weights reads them once for each position of the window, image by image from a
    near cache.
    """
    several = len(summed) > 1 and math.prod(size[c] for c in kept) > 1
    itemsize = node.dtype.itemsize
    far = min(x.size for x in node.inputs) * itemsize > NEAR_CACHE
    return several and far and size[summed[0]] * node.size * itemsize <= NEAR_CACHE // 4


def _spread(x: Node, own: str, labels: str) -> Node:
    """Return an operand with its axes in the order of the labels, and axes of 1 for the others."""
    order = sorted(range(len(own)), key=lambda i: labels.index(own[i]))
    if order != list(range(len(own))):
        x = OPS["transpose"](x, axes=tuple(order))
    given = iter(x.shape)
    shape = tuple(next(given) if c in own else 1 for c in labels)
    return x if shape == x.shape else OPS["reshape"](x, shape=shape)
