"""Code for reductions over leading axes: vector lanes are columns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from llvmlite import ir

from thalweg.backends.llvm.codegen.constants import anything
from thalweg.backends.llvm.codegen.covers import Cover, covering
from thalweg.backends.llvm.codegen.emitter import Emitter, Memory, always, counted, fixed_mask
from thalweg.backends.llvm.codegen.loop_kernel import (
    Cells,
    combine,
    cover_lanes,
    inner_bounds,
    outer_position,
    start_value,
)
from thalweg.backends.llvm.codegen.machine import I32, I64, Machine, Value
from thalweg.backends.llvm.loops import Affine, Index, Kernel, identity_index, linear
from thalweg.graph.node import Node
from thalweg.graph.shape import Shape


def column_index(node: Node, index: Index, axes: Sequence[int]) -> Index:
    """Return, of an index into the input of a reduction, that of a result of its kernel."""
    if node.rank == len(index):
        zero = Affine(0, (0,) * len(index[0].factors))
        return tuple(zero if d in axes else a for d, a in enumerate(index))
    return tuple(a for d, a in enumerate(index) if d not in axes)


def _masked_at_end(
    emitter: Emitter, block: ir.Value, blocks: int, bounds: tuple[int, int],
    body: Callable[[], None],
) -> None:  # fmt: skip
    """Emit ``body`` for a block of lanes; in the last one only those of the tail may exist."""
    b, (whole, tail) = emitter.builder, bounds
    if not tail:
        body()
        return
    with b.if_else(b.icmp_signed("==", block, I64(blocks - 1))) as (last, before):
        with last:
            emitter.mask = fixed_mask(emitter.lanes, tail)
            body()
            emitter.mask = None
        with before:
            if whole:
                body()


def emit_columns(
    emitter: Emitter, kernel: Kernel, share: Callable[[int], tuple[ir.Value, ir.Value]]
) -> None:
    """Emit a reduction over leading axes: lanes are columns; what follows is done per column."""
    _Columns(emitter, kernel).emit(share)


class _Columns:
    """The reductions of one kernel, over the same columns, and what is computed from them."""

    def __init__(self, emitter: Emitter, kernel: Kernel) -> None:
        anchor = kernel.anchor
        assert anchor is not None
        self.emitter, self.kernel = emitter, kernel
        self.space, self.reduced = anchor.inputs[0].shape, anchor.attrs["axes"]
        rank, lanes = len(self.space), emitter.lanes
        self.kept = [d for d in range(rank) if d not in self.reduced]
        self.last = self.kept[-1]
        columns = self.space[self.last]
        # several vectors side by side, so that their sums need not wait for each other
        self.wide = next(v for v in (4, 3, 2, 1) if v == 1 or columns % (v * lanes) == 0)
        self.blocks = -(-columns // (self.wide * lanes))
        self.index = identity_index(self.space)
        self.anchors = [n for n in kernel.members if n.op.kind == "reduction"]
        self.starts = [start_value(emitter.machine, n, lanes) for n in self.anchors]
        alone = self.last == rank - 1
        self.cover = covering(self.space, self.reduced, lanes, divides=True) if alone else None

    def emit(self, share: Callable[[int], tuple[ir.Value, ir.Value]]) -> None:
        """Emit this thread's blocks of columns."""
        emitter, b = self.emitter, self.emitter.builder
        outer, space = self.kept[:-1], self.space
        low, high = share(math.prod(space[d] for d in outer) * self.blocks)
        cells = Cells(emitter, b.function.entry_basic_block)
        self.sums = [[cells.new(s.ir.type) for s in self.starts] for _ in range(self.wide)]
        bounds = inner_bounds(space[self.last], emitter.lanes)
        with counted(b, low, high, 1, "block") as unit:
            emitter.loops = [I64(0)] * len(space)
            emitter.prelude = None
            block = b.urem(unit, I64(self.blocks)) if outer else unit
            if outer:
                row = b.udiv(unit, I64(self.blocks))
                outer_position(emitter, row, [space[d] for d in outer], outer)
            first = b.mul(block, I64(self.wide * emitter.lanes))
            _masked_at_end(emitter, block, self.blocks, bounds, lambda: self._block(first))

    def _block(self, first: ir.Value) -> None:
        """Emit the columns of some vectors side by side."""
        emitter, b = self.emitter, self.emitter.builder
        emitter.vector = self.last
        places = [b.add(first, I64(v * emitter.lanes)) for v in range(self.wide)]
        for row in self.sums:
            for cell, start in zip(row, self.starts, strict=True):
                b.store(start.ir, cell)
        mask = emitter.mask
        self._add_all(places)
        emitter.across, emitter.mask = {}, mask
        for d in self.reduced:
            emitter.loops[d] = I64(0)
        for row, place in zip(self.sums, places, strict=True):
            emitter.loops[self.last] = place
            emitter.forget()
            self._follow(row)
        emitter.vector = None

    def _add_all(self, places: list[ir.Value]) -> None:
        """Combine all rows, each onto the sums of its columns."""
        emitter, m = self.emitter, self.emitter.machine
        memories: list[Memory] = [({}, {}) for _ in places]

        def body(recalls: bool) -> None:
            for row, place, memory in zip(self.sums, places, memories, strict=True):
                emitter.loops[self.last] = place
                emitter.forget()
                if recalls:
                    emitter.recall(memory, self.reduced)
                for i, node in enumerate(self.anchors):
                    x = m.splat(emitter.value(node.inputs[0], self.index), emitter.lanes)
                    emitter.builder.store(combine(m, node, self._total(row, i), x).ir, row[i])

        _rows_below(emitter, self.kernel, self.space, self.reduced, self.cover, body)

    def _follow(self, row: list[ir.Value]) -> None:
        """Emit what is computed from the finished sums, and the stores."""
        emitter, rank = self.emitter, len(self.space)
        for i, node in enumerate(self.anchors):
            total = self._total(row, i)
            if self.cover is not None:
                total = _fold_cover(emitter.machine, node, total, self.cover)
            emitter.given[id(node)] = always(emitter.machine.rounded(total))
        stores = self.kernel.stores
        places = [(n, buf, column_index(n, self.index, self.reduced)) for n, buf in stores]
        emitter.store_all(
            (buf, linear(at, n.shape, rank), emitter.value(n, at)) for n, buf, at in places
        )
        for node in self.anchors:
            del emitter.given[id(node)]

    def _total(self, cells: list[ir.Value], number: int) -> Value:
        loaded = self.emitter.builder.load(cells[number], typ=self.starts[number].ir.type)
        return Value(loaded, self.anchors[number].dtype)


UNROLLED, WRITTEN = 16, 64  # rows that need no loop, and nodes that are written down for them


def _rows_below(
    emitter: Emitter, kernel: Kernel, space: Shape, reduced: Sequence[int], cover: Cover | None,
    body: Callable[[bool], None],
) -> None:  # fmt: skip
    """Emit a body for each row of a column; with a cover, several rows at a time.

    The body is told whether what it computed for the last row is at hand for the next one.
    """
    b = emitter.builder
    steps = {} if cover is None else {cover.axis: cover.step}
    axes = [d for d in reduced if cover is None or d not in cover.whole]
    sizes = [space[d] // steps.get(d, 1) for d in axes]

    def row(recalls: bool) -> None:
        if cover is not None:
            emitter.loops[cover.axis] = b.mul(emitter.loops[cover.axis], I64(cover.step))
            cover_lanes(emitter, cover, cover.step)
        body(recalls)

    def nested(depth: int) -> None:
        if depth == len(axes):
            row(False)
            return
        with counted(b, I64(0), I64(sizes[depth]), 1, "reduced") as i:
            emitter.loops[axes[depth]] = i
            nested(depth + 1)

    count = math.prod(sizes)
    if count > UNROLLED or count * len(kernel.members) > WRITTEN:
        nested(0)
        return
    for position in itertools.product(*map(range, sizes)):
        for axis, i in zip(axes, position, strict=True):
            emitter.loops[axis] = I64(i)
        row(cover is None)


def _fold_cover(machine: Machine, node: Node, x: Value, cover: Cover) -> Value:
    """Combine the rows that lie side by side in a vector, one after the other."""
    b, lanes, columns = machine.builder, x.lanes, cover.sizes[-1]
    nothing = anything(x.ir.type)
    result = x
    for row in range(1, cover.step * cover.width // columns):
        order = [row * columns + i if i < columns else 0 for i in range(lanes)]
        moved = b.shuffle_vector(x.ir, nothing, ir.Constant(ir.VectorType(I32, lanes), order))
        result = combine(machine, node, result, Value(moved, x.dtype))
    return result


__all__ = ["emit_columns"]
