"""Convolutions of 3 x 3 windows with fewer multiplications.

Four outputs side by side see 4 x 4 inputs. Both become 16 numbers a channel by additions alone, and
between these there is one product each instead of 36: F(2 x 2, 3 x 3) of Lavin and Gray, "Fast
algorithms for convolutional neural networks", arXiv:1509.09308, after Winograd, 1980. In the
gradient of the weight 4 x 4 inputs meet 2 x 2 gradients and make 3 x 3 sums: F(3 x 3, 2 x 2).

The sums of products are shorter than those of a plain convolution, and so is the error of rounding.
An input that is not finite spoils all four outputs of its tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.record import OPS

SLICES = 8  # so many parts of a batch keep all threads busy
NEAR = 1 << 19  # numbers that stay near the cores
ROWS = 64  # tiles that one weight should meet at a time

Nodes = list[Node]
Transform = Callable[[Nodes], Nodes]


def fewer_products(graph: Graph) -> Graph:
    """Rewrite the convolutions that gain, and their gradients."""

    def rule(node: Node) -> Node:
        if node.op.name != "contract" or not node.dtype.is_float or node.dtype.bits < 32:
            return node
        for number in (0, 1):
            made = _rewritten(node, number)
            if made is not None:
                made.scope, made.origin = node.scope, node.origin
                return made
        return node

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _rewritten(node: Node, number: int) -> Node | None:
    """Return the same with fewer products, if operand ``number`` is images seen by windows."""
    x, other = node.inputs[number], node.inputs[1 - number]
    lx, lo, out = node.attrs["spec"][number], node.attrs["spec"][1 - number], node.attrs["spec"][2]
    if x.op.name != "windows" or x.rank != 6 or other.rank != 4 or x.attrs["axes"] != (1, 2):
        return None
    if any(x.attrs[k] != (n, n) for k, n in (("sizes", 3), ("strides", 1), ("dilations", 1))):
        return None
    image, row, i, column, j, c = lx
    left = [k for k in lo if k not in lx]
    if len(left) != 1:
        return None
    o = left[0]
    work = _Work(x.inputs[0], (x.shape[0], x.shape[1], x.shape[3]), x.shape[5],
                 other.shape[lo.index(o)])  # fmt: skip
    if set(lo) == {i, j, c, o} and out == image + row + column + o:
        rest = [k for k in lo if k in (c, o)]  # in their order: lanes read what lies side by side
        w = mv.permute_dims(other, [lo.index(k) for k in (i, j, *rest)])
        return work.convolved(w, "co" if rest == [c, o] else "oc")
    if set(lo) == {image, row, column, o} and set(out) == {i, j, c, o}:
        made = work.gradient(mv.permute_dims(other, [lo.index(k) for k in (image, row, column, o)]))
        return made and mv.permute_dims(made, [(i + j + c + o).index(k) for k in out])
    return None


@dataclass(frozen=True)
class _Work:
    """A convolution: padded images, how many there are with which positions, channels, outputs."""

    x: Node
    positions: tuple[int, int, int]
    channels: int
    outputs: int

    @property
    def high(self) -> int:
        """Tiles below each other."""
        return -(-self.positions[1] // 2)

    @property
    def wide(self) -> int:
        """Tiles side by side."""
        return -(-self.positions[2] // 2)

    def gains(self, slices: int, copies: int) -> bool:
        """Whether the products saved are worth more than what is read and written besides.

        In cycles of a core with 16 lanes: 51 operations a cycle; 16 cycles for the numbers of a
        tile and channel, and 24 more if they are too many for near caches and there are no slices;
        16 for those of a weight, of which there are some ``copies``.
        """
        images, high, wide = self.positions
        tiles, ends = images * self.high * self.wide, self.channels + self.outputs
        saved = (18 * images * high * wide - 32 * tiles) * self.channels * self.outputs / 51
        far = slices == 1 and 16 * tiles * ends > NEAR
        spent = 16 * self.channels * self.outputs * copies
        return saved > spent + tiles * ends * (40 if far else 16)

    def front(self, rows: int) -> tuple[int, int]:
        """Return how many slices there are: of the images, and of the rows of tiles of an image.

        A slice goes through all steps near its core; it has at least ``rows`` tiles.
        """
        images = self.positions[0]
        fit = [n for n in range(1, images + 1)
               if images % n == 0 and n * self.high * self.wide >= rows]  # fmt: skip
        if not fit:
            return 1, 1
        together, bands = fit[0], 1
        if together == 1:
            bands = max(n for n in range(1, self.high + 1)
                        if self.high % n == 0 and self.high // n * self.wide >= rows)  # fmt: skip
        slices = images // together * bands
        return (images // together, bands) if slices >= SLICES else (1, 1)

    def convolved(self, w: Node, labels: str) -> Node | None:
        """Return what ``(3, 3, ...)`` weights, ``labels`` their last axes, make of the images."""
        c, o = self.channels, self.outputs
        front = self.front(max(ROWS, c * o // (c + o) // 2))
        if not self.gains(front[0] * front[1], 1):
            return None
        u = mv.stack([mv.squeeze(y, (0, 1)) for y in _square(w, (0, 1), 3, _of_weights)])
        v = self.tiles(self.x, front, 4, _of_inputs)
        m = OPS["contract"](v, u, spec=("XYTNABc", "T" + labels, "XYTNABo"))
        return self.placed(m, front)

    def gradient(self, g: Node) -> Node | None:
        """Return the sums of images times gradients ``g`` of the outputs, for each weight."""
        c, o = self.channels, self.outputs
        front = self.front(max(2 * ROWS, 2 * c * o // (c + o)))
        slices = front[0] * front[1]
        if not self.gains(slices, slices):
            return None
        v = self.tiles(self.x, front, 4, _of_inputs_too)
        z = self.tiles(g, front, 2, _of_gradients)
        u = OPS["contract"](v, z, spec=("XYTNABc", "XYTNABo", "XYTco"))
        u = OPS["sum"](u, axes=(0, 1), keepdims=False) if slices > 1 else u
        made = _square(mv.reshape(u, (4, 4, c, o)), (0, 1), 4, _of_sums)
        rows = [mv.concatenate(made[k : k + 3], 1) for k in (0, 3, 6)]
        return mv.concatenate(rows, 0)

    def tiles(self, x: Node, front: tuple[int, int], size: int, turned: Transform) -> Node:
        """Return ``(slices, slices, 16, images, rows, columns, channels)``: numbers of each tile.

        Tiles of ``size`` x ``size`` lie two apart.
        """
        count = self.high, self.wide
        more = tuple(2 * n + size - 2 - x.shape[d] for d, n in enumerate(count, 1))
        if any(more):
            zero = (0,) * x.rank
            x = OPS["pad"](x, low=zero, high=(0, *more, 0), interior=zero, value=0)

        def pick(y: Node, axis: int, first: int) -> Node:
            starts, stops, steps = [0] * y.rank, list(y.shape), [1] * y.rank
            last = first + 2 * count[axis - 1] - 2
            starts[axis], stops[axis], steps[axis] = first, last + 1, 2
            return mv.slice_(y, starts, stops, steps)

        made = _square(x, (1, 2), size, turned, pick)
        shape = (*front, x.shape[0] // front[0], self.high // front[1], self.wide, x.shape[3])
        return mv.stack([mv.reshape(y, shape) for y in made], 2)

    def placed(self, m: Node, front: tuple[int, int]) -> Node:
        """Return the 2 x 2 outputs of every tile, side by side."""
        images, high, wide = self.positions
        slices, bands = front
        inner = (images // slices, self.high // bands, self.wide, self.outputs)
        made = _square(mv.reshape(m, (*front, 4, 4, *inner)), (2, 3), 4, _of_products)
        # One of ``bands`` and the images of a slice is 1, so their order does not matter.
        apart = (slices, images // slices, bands, self.high // bands, 1, self.wide, 1, self.outputs)
        y = [mv.reshape(y, apart) for y in made]
        both = mv.concatenate([mv.concatenate(y[:2], 6), mv.concatenate(y[2:], 6)], 4)
        whole = mv.reshape(both, (images, 2 * self.high, 2 * self.wide, self.outputs))
        return mv.narrow(mv.narrow(whole, 1, 0, high), 2, 0, wide)


def _one(x: Node, axis: int, place: int) -> Node:
    return mv.narrow(x, axis, place, 1)


def _square(
    x: Node, axes: tuple[int, int], size: int, turned: Transform,
    pick: Callable[[Node, int, int], Node] = _one,
) -> Nodes:  # fmt: skip
    """Transform a tensor along two axes, of which ``pick`` takes one place after the other."""
    rows = turned([pick(x, axes[0], i) for i in range(size)])
    return [y for row in rows for y in turned([pick(row, axes[1], j) for j in range(size)])]


# The matrices of the paper, as sums.


def _of_inputs(r: Nodes) -> Nodes:
    return [e.subtract(r[0], r[2]), e.add(r[1], r[2]), e.subtract(r[2], r[1]),
            e.subtract(r[1], r[3])]  # fmt: skip


def _of_inputs_too(r: Nodes) -> Nodes:
    return [*_of_inputs(r)[:3], e.subtract(r[3], r[1])]


def _of_weights(r: Nodes) -> Nodes:
    ends, middle = e.multiply(e.add(r[0], r[2]), 0.5), e.multiply(r[1], 0.5)
    return [r[0], e.add(ends, middle), e.subtract(ends, middle), r[2]]


def _of_gradients(r: Nodes) -> Nodes:
    one, two = e.multiply(r[0], 0.5), e.multiply(r[1], 0.5)
    return [r[0], e.add(one, two), e.subtract(one, two), r[1]]


def _of_products(r: Nodes) -> Nodes:
    return [e.add(e.add(r[0], r[1]), r[2]), e.subtract(e.subtract(r[1], r[2]), r[3])]


def _of_sums(r: Nodes) -> Nodes:
    both = e.add(r[1], r[2])
    return [e.add(r[0], both), e.subtract(r[1], r[2]), e.add(both, r[3])]


__all__ = ["fewer_products"]
