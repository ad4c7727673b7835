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
    anchor = kernel.anchor
    assert anchor is not None
    source = anchor.inputs[0]
    space, reduced = source.shape, anchor.attrs["axes"]
    rank, b, m = len(space), emitter.builder, emitter.machine
    kept = [d for d in range(rank) if d not in reduced]
    last = kept[-1]
    bounds = inner_bounds(space[last], emitter.lanes)
    # several vectors side by side, so that their sums need not wait for each other
    wide = next(v for v in (4, 3, 2, 1) if v == 1 or space[last] % (v * emitter.lanes) == 0)
    blocks = -(-space[last] // (wide * emitter.lanes))
    low, high = share(math.prod(space[d] for d in kept[:-1]) * blocks)
    anchors = [n for n in kernel.members if n.op.kind == "reduction"]
    starts = [start_value(m, n, emitter.lanes) for n in anchors]
    cells = Cells(emitter, b.function.entry_basic_block)
    sums = [[cells.new(s.ir.type) for s in starts] for _ in range(wide)]
    index = identity_index(space)
    cover = covering(space, reduced, emitter.lanes, divides=True) if last == rank - 1 else None

    def total(cells: list[ir.Value], number: int) -> Value:
        return Value(b.load(cells[number], typ=starts[number].ir.type), anchors[number].dtype)

    def add_all(places: list[ir.Value]) -> None:
        """Combine all rows, each onto the sums of its columns."""
        memories: list[Memory] = [({}, {}) for _ in places]

        def body(recalls: bool) -> None:
            for row, place, memory in zip(sums, places, memories, strict=True):
                emitter.loops[last] = place
                emitter.forget()
                if recalls:
                    emitter.recall(memory, reduced)
                for i, node in enumerate(anchors):
                    x = m.splat(emitter.value(node.inputs[0], index), emitter.lanes)
                    b.store(combine(m, node, total(row, i), x).ir, row[i])

        _rows_below(emitter, kernel, space, reduced, cover, body)

    def column(first: ir.Value) -> None:
        emitter.vector = last
        places = [b.add(first, I64(v * emitter.lanes)) for v in range(wide)]
        for row in sums:
            for cell, start in zip(row, starts, strict=True):
                b.store(start.ir, cell)
        mask = emitter.mask
        add_all(places)
        emitter.across, emitter.mask = {}, mask
        for d in reduced:
            emitter.loops[d] = I64(0)
        for row, place in zip(sums, places, strict=True):
            emitter.loops[last] = place
            emitter.forget()
            for i, node in enumerate(anchors):
                sum_ = total(row, i)
                if cover is not None:
                    sum_ = _fold_cover(m, node, sum_, cover)
                emitter.given[id(node)] = always(m.rounded(sum_))
            places_of = [(n, buf, column_index(n, index, reduced)) for n, buf in kernel.stores]
            emitter.store_all(
                (buf, linear(at, n.shape, rank), emitter.value(n, at)) for n, buf, at in places_of
            )
            for node in anchors:
                del emitter.given[id(node)]
        emitter.vector = None

    with counted(b, low, high, 1, "block") as unit:
        emitter.loops = [I64(0)] * rank
        emitter.prelude = None
        block = b.urem(unit, I64(blocks)) if len(kept) > 1 else unit
        if len(kept) > 1:
            row = b.udiv(unit, I64(blocks))
            outer_position(emitter, row, [space[d] for d in kept[:-1]], kept[:-1])
        first = b.mul(block, I64(wide * emitter.lanes))
        _masked_at_end(emitter, block, blocks, bounds, lambda: column(first))


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
