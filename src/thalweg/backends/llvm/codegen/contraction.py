"""Code for the one contraction building block: loops around register tiles, fused epilogue."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from llvmlite import ir

from thalweg.backends.llvm.codegen.emitter import (
    Emitter,
    Share,
    always,
    counted,
    fixed_mask,
    lane_mask,
)
from thalweg.backends.llvm.codegen.machine import (
    I64,
    POINTER,
    Value,
    memory_type,
    register_type,
)
from thalweg.backends.llvm.codegen.tiles import LINE, Tiles, masked_load, prefetch
from thalweg.backends.llvm.loops import Axis, Border, Buffer, Kernel, Plan, identity_index
from thalweg.graph.dtype import DType
from thalweg.graph.shape import Shape


def emit_contraction(
    emitter: Emitter, kernel: Kernel, plan: Plan, tiles: Tiles, share: Share,
    packed: Buffer | None, sums: Buffer | None,
) -> None:  # fmt: skip
    """Emit the loops over tiles, and after each tile the fused element-wise work."""
    b = emitter.builder
    low, high = share(plan.tiles)
    rows = _RowCopy(b, plan, low) if plan.copied else None
    if sums is None:
        with b.goto_block(b.function.entry_basic_block):
            count = plan.rows * plan.width
            scratch = b.alloca(ir.ArrayType(_sum_type(kernel), count))
            scratch.align = 64
        with counted(b, low, high, 1, "tile") as number:
            _emit_tile(emitter, kernel, plan, tiles, number, packed, scratch, None, rows)
        return
    kind, size = _sum_type(kernel), plan.rows * plan.width
    start = b.gep(emitter.pointers(sums), [b.mul(low, I64(size))], source_etype=kind)
    _clear(b, start, b.mul(b.sub(high, low), I64(size * sums.dtype.itemsize)))
    with (
        counted(b, I64(0), I64(plan.parts), 1, "part") as part,
        counted(b, low, high, 1, "tile") as number,
    ):
        place = b.mul(number, I64(size))
        scratch = b.gep(emitter.pointers(sums), [place], source_etype=kind)
        _emit_tile(emitter, kernel, plan, tiles, number, packed, scratch, part, rows)


def _sum_type(kernel: Kernel) -> ir.Type:
    assert kernel.anchor is not None
    return register_type(kernel.anchor.dtype)


def _clear(b: ir.IRBuilder, start: ir.Value, size: ir.Value) -> None:
    name = "llvm.memset.p0.i64"
    kind = ir.FunctionType(ir.VoidType(), [POINTER, ir.IntType(8), I64, ir.IntType(1)])
    function = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    b.call(function, [start, ir.IntType(8)(0), size, ir.IntType(1)(0)])


def _emit_tile(
    emitter: Emitter, kernel: Kernel, plan: Plan, tiles: Tiles, number: ir.Value,
    packed: Buffer | None, scratch: ir.Value, part: ir.Value | None, rows: _RowCopy | None,
) -> None:  # fmt: skip
    """Emit one part of one tile, and after its last part what is fused with it."""
    b, anchor = emitter.builder, kernel.anchor
    assert anchor is not None
    block, panel, around = _tile_numbers(b, plan, number)
    loops = _outer_loops(b, plan.outer, around)
    row, column = b.mul(block, I64(plan.row_step)), b.mul(panel, I64(plan.width))
    a = _operand(emitter, plan, loops, row, "a")
    if packed is None:
        right = _operand(emitter, plan, loops, column, "b")
    else:
        right = _packed_panel(emitter, plan, loops, panel, packed)
    if part is not None:
        a, right = _moved(b, plan, part, a, right, packed is not None)
    if part is None:
        _prefetch(emitter, kernel, plan, loops, row, column)
    read, terms = plan, None
    if plan.border is not None:
        terms = _terms(b, plan.border, loops)
    if rows is not None:
        a, read = rows.of_block(a, number, block, panel, part), rows.plan
    with contextlib.ExitStack() as stack:
        run = lambda *args: _run_tile(  # noqa: E731
            emitter, read, tiles, anchor.dtype, (block, panel), args, part
        )
        if terms is None:
            run(a, right, scratch)
        elif tiles.counted_tap(plan) is None:
            with b.if_then(_part_has_terms(b, plan, part, terms)):
                run(a, right, scratch)
        else:
            a, right = _at_first_term(b, plan, a, right, terms[0], packed is not None)
            run(a, right, scratch, b.sub(terms[1], terms[0]))
        if part is not None:
            stack.enter_context(b.if_then(b.icmp_signed("==", part, I64(plan.parts - 1))))
        _epilogue(emitter, kernel, plan, loops, (block, panel), (row, column), scratch)


class _RowCopy:
    """The rows of A that tiles side by side read, copied to the stack: [k][row]."""

    def __init__(self, b: ir.IRBuilder, plan: Plan, low: ir.Value) -> None:
        self.b, self.source, self.low = b, plan, low
        m, k = plan.m, plan.k
        self.plan = replace(
            plan, m=Axis(m.labels, m.size, 1, m.b, m.c),
            k=Axis(k.labels, k.size, plan.rows, k.b, k.c),
        )  # fmt: skip
        self.kind = memory_type(plan.a.dtype)
        self.depth = plan.block or plan.k.size
        with b.goto_block(b.function.entry_basic_block):
            size = self.depth * plan.rows + plan.lanes  # whole vectors are stored
            self.place = b.alloca(ir.ArrayType(self.kind, size))
            self.place.align, self.place.type = 64, POINTER

    def of_block(
        self, a: ir.Value, number: ir.Value, block: ir.Value, panel: ir.Value,
        part: ir.Value | None,
    ) -> ir.Value:  # fmt: skip
        """Return where the rows lie; the first tile that a thread has of them copies them."""
        b, plan = self.b, self.source
        first = b.or_(b.icmp_signed("==", panel, I64(0)), b.icmp_signed("==", number, self.low))
        vector = ir.VectorType(self.kind, plan.lanes)
        count: ir.Value = I64(self.depth)
        if part is not None:
            done = b.mul(b.urem(part, I64(plan.k_parts)), I64(self.depth))
            count = left_at_most(b, plan.k.size, done, self.depth)
        with b.if_then(first):
            rows = left_at_most(b, plan.m.size, b.mul(block, I64(plan.rows)), plan.rows)
            starts = range(0, plan.rows, plan.lanes)
            none = I64(0)
            masks = []
            for j in starts:
                left = b.sub(rows, I64(j))
                left = b.select(b.icmp_signed("<", left, none), none, left)
                masks.append(lane_mask(b, plan.lanes, left))
            with counted(b, none, count, 1, "copy") as k:
                line = b.gep(a, [b.mul(k, I64(plan.k.a))], source_etype=self.kind)
                put = b.gep(self.place, [b.mul(k, I64(plan.rows))], source_etype=self.kind)
                for j, mask in zip(starts, masks, strict=True):
                    source = b.gep(line, [I64(j)], source_etype=self.kind)
                    loaded = masked_load(b, vector, source, plan.align, mask)
                    b.store(loaded, b.gep(put, [I64(j)], source_etype=self.kind),
                            align=plan.align)  # fmt: skip
        return self.place


def _tile_numbers(
    b: ir.IRBuilder, plan: Plan, number: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return block, panel and outer position of a running number."""
    blocks, panels = I64(plan.blocks), I64(plan.panels)
    if plan.order == "outer":
        outer = I64(math.prod(x.size for x in plan.outer))
        rest = b.udiv(number, blocks)
        return b.urem(number, blocks), b.udiv(rest, outer), b.urem(rest, outer)
    if plan.group and plan.group < plan.blocks:
        tiles = I64(plan.blocks * plan.panels)
        rest, around = b.urem(number, tiles), b.udiv(number, tiles)
        begin = b.mul(b.udiv(rest, I64(plan.group * plan.panels)), I64(plan.group))
        rest = b.urem(rest, I64(plan.group * plan.panels))
        own = left_at_most(b, plan.blocks, begin, plan.group)  # the last group may be smaller
        return b.add(begin, b.urem(rest, own)), b.udiv(rest, own), around
    first, second = (panels, blocks) if plan.order == "panels" else (blocks, panels)
    inner, rest = b.urem(number, first), b.udiv(number, first)
    middle, around = b.urem(rest, second), b.udiv(rest, second)
    return (middle, inner, around) if plan.order == "panels" else (inner, middle, around)


def _moved(
    b: ir.IRBuilder, plan: Plan, part: ir.Value, a: ir.Value, right: ir.Value, packed: bool
) -> tuple[ir.Value, ir.Value]:
    """Return where the operands of one part of the sum start."""
    k = Axis("", plan.k_parts, plan.k.a * plan.block, plan.k.b * plan.block, 0)
    axes = [*plan.chunks, k]
    places = _outer_loops(b, axes, part)
    step = plan.panel_size
    kind = memory_type(plan.a.dtype)
    for place, axis in zip(places, axes, strict=True):
        step = plan.block * plan.width if axis is k else step // axis.size
        a = b.gep(a, [b.mul(place, I64(axis.a))], source_etype=kind)
        right = b.gep(right, [b.mul(place, I64(step if packed else axis.b))], source_etype=kind)
    return a, right


def _terms(
    b: ir.IRBuilder, border: Border, loops: list[ir.Value]
) -> tuple[ir.Value, ir.Value]:
    """Return the first term of the sum that is not zero, and the end of these terms."""
    row = b.add(I64(border.start), b.mul(loops[border.place], I64(border.step)))

    def ceiling(limit: int) -> ir.Value:  # of the distance in terms; none below 0
        rest = b.add(b.sub(I64(limit), row), I64(border.stride - 1))
        rest = b.select(b.icmp_signed("<", rest, I64(0)), I64(0), rest)
        return b.udiv(rest, I64(border.stride))

    end, size = ceiling(border.high), I64(border.summed.size)
    return ceiling(border.low), b.select(b.icmp_signed("<", end, size), end, size)


def _part_has_terms(
    b: ir.IRBuilder, plan: Plan, part: ir.Value | None, terms: tuple[ir.Value, ir.Value]
) -> ir.Value:
    """Return whether a part of the sum, which is one term of the border's loop, is not zero."""
    assert plan.border is not None
    assert part is not None
    axes = [*plan.chunks, Axis("", plan.k_parts, 0, 0, 0)]
    term = _outer_loops(b, axes, part)[plan.chunks.index(plan.border.summed)]
    return b.and_(b.icmp_signed(">=", term, terms[0]), b.icmp_signed("<", term, terms[1]))


def _at_first_term(
    b: ir.IRBuilder, plan: Plan, a: ir.Value, right: ir.Value, first: ir.Value, packed: bool
) -> tuple[ir.Value, ir.Value]:
    """Return where the operands of a tile start when the terms before ``first`` are left out."""
    assert plan.border is not None
    tap = plan.border.summed
    later = plan.taps[plan.taps.index(tap) + 1 :]
    step = plan.k.size * math.prod(t.size for t in later) * plan.width if packed else tap.b
    kind = memory_type(plan.a.dtype)
    a = b.gep(a, [b.mul(first, I64(tap.a))], source_etype=kind)
    return a, b.gep(right, [b.mul(first, I64(step))], source_etype=kind)


LARGE = 1 << 19  # bytes of a buffer that no near cache holds


def _prefetch(
    emitter: Emitter, kernel: Kernel, plan: Plan, loops: list[ir.Value], row: ir.Value,
    column: ir.Value,
) -> None:  # fmt: skip
    """Ask for the state that the epilogue will update while the tile is being computed."""
    b, anchor = emitter.builder, kernel.anchor
    assert anchor is not None
    updated = [
        buffer for node, buffer in kernel.stores
        if buffer.place == "input" and buffer.nbytes >= LARGE and node.shape == kernel.space
    ]  # fmt: skip
    if not updated or plan.n.c != 1 or plan.over is not None:
        return
    start = b.add(b.mul(row, I64(plan.m.c)), b.mul(column, I64(plan.n.c)))
    for loop, x in zip(loops, plan.outer, strict=True):
        start = b.add(start, b.mul(loop, I64(x.c)))
    with counted(b, I64(0), I64(plan.rows), 1, "ahead") as i:
        place = b.add(start, b.mul(i, I64(plan.m.c)))
        for buffer in updated:
            base = b.gep(
                emitter.pointers(buffer), [place], source_etype=memory_type(buffer.dtype)
            )
            for offset in range(0, plan.width * buffer.dtype.itemsize, LINE):
                at = b.gep(base, [I64(offset)], source_etype=ir.IntType(8))
                prefetch(b, at, True)


def _outer_loops(b: ir.IRBuilder, axes: list[Axis], around: ir.Value) -> list[ir.Value]:
    values: list[ir.Value] = []
    for position in reversed(range(len(axes))):
        size = I64(axes[position].size)
        values.insert(0, b.urem(around, size) if position else around)
        around = b.udiv(around, size)
    return values


def _operand(
    emitter: Emitter, plan: Plan, loops: list[ir.Value], at: ir.Value, which: str
) -> ir.Value:
    """Return the address where a tile of an operand starts."""
    b = emitter.builder
    node, base = (plan.a, plan.a_base) if which == "a" else (plan.b, plan.b_base)
    axis = plan.row_axes[0] if which == "a" else plan.n
    total = b.add(I64(base), b.mul(at, I64(getattr(axis, which))))
    for loop, x in zip(loops, plan.outer, strict=True):
        stride = getattr(x, which)
        if stride:
            total = b.add(total, b.mul(loop, I64(stride)))
    buffer = emitter.buffers[id(node)]
    return b.gep(emitter.pointers(buffer), [total], source_etype=memory_type(buffer.dtype))


def _packed_panel(
    emitter: Emitter, plan: Plan, loops: list[ir.Value], panel: ir.Value, packed: Buffer
) -> ir.Value:
    b = emitter.builder
    number: ir.Value = I64(0)
    for loop, x in zip(loops, plan.outer, strict=True):
        if x.b:
            number = b.add(b.mul(number, I64(x.size)), loop)
    number = b.add(b.mul(number, I64(plan.panels)), panel)
    place = b.mul(number, I64(plan.panel_size))
    return b.gep(emitter.pointers(packed), [place], source_etype=memory_type(packed.dtype))


def _cases(full: int, last: int, number: ir.Value, count: int) -> list[tuple[int, bool]]:
    """Return the sizes that a tile can have, and whether each is that of the last one."""
    if last == full or not last:
        return [(full, False)]
    return [(last, True)] if count == 1 else [(full, False), (last, True)]


def _run_tile(
    emitter: Emitter, plan: Plan, tiles: Tiles, dtype: DType,
    numbers: tuple[ir.Value, ir.Value], args: tuple[ir.Value, ...],
    part: ir.Value | None,
) -> None:  # fmt: skip
    """Call the tile function for the sizes of this tile."""
    b = emitter.builder
    block, panel = numbers
    rows = _cases(plan.rows, plan.last_rows, block, plan.blocks)
    columns = _cases(plan.width, plan.n.size % plan.width, panel, plan.panels)

    def choose(cases: list[tuple[int, bool]], number: ir.Value | None, count: int,
               then: Callable[[int], None]) -> None:  # fmt: skip
        if len(cases) == 1:
            then(cases[0][0])
            return
        at_end = b.icmp_signed("==", number, I64(count - 1))
        with b.if_else(at_end) as (end, before):
            with end:
                then(cases[1][0])
            with before:
                then(cases[0][0])

    depth = plan.block or plan.k.size
    depths = _cases(depth, plan.k.size % depth if depth else 0, I64(0), plan.k_parts)
    if part is not None:
        part = b.urem(part, I64(plan.k_parts))

    def with_rows(r: int) -> None:
        choose(columns, panel, plan.panels, lambda c: with_columns(r, c))

    def with_columns(r: int, c: int) -> None:
        choose(depths, part, plan.k_parts, lambda d: call(r, c, d))

    def call(r: int, c: int, d: int) -> None:
        b.call(tiles.get(plan, dtype, r, c, d), list(args))

    choose(rows, block, plan.blocks, with_rows)


def _epilogue(
    emitter: Emitter, kernel: Kernel, plan: Plan, loops: list[ir.Value],
    numbers: tuple[ir.Value, ir.Value], starts: tuple[ir.Value, ir.Value], scratch: ir.Value,
) -> None:  # fmt: skip
    """Emit the element-wise work on the scratch tile, vector by vector, and the stores."""
    b, anchor = emitter.builder, kernel.anchor
    assert anchor is not None
    labels = anchor.attrs["spec"][2]
    variables: list[ir.Value] = [I64(0)] * len(labels)
    for loop, x in zip(loops, plan.outer, strict=True):
        variables[labels.index(x.labels[-1])] = loop
    at_n = labels.index(plan.n.labels[-1]) if plan.n.labels else None
    index = identity_index(kernel.space)
    space = len(labels)
    rows = left_at_most(b, plan.row_axes[0].size, starts[0], plan.row_step)
    if plan.over is not None:
        rows = b.mul(rows, I64(plan.m.size))
    ragged = plan.n.size % plan.lanes
    full = left_at_most(b, plan.n.size - ragged, starts[1], plan.width)
    one, light = plan.n.size == 1, len(kernel.members) <= 4
    across = _columns_across(plan, labels, kernel.space)
    with counted(b, I64(0), rows, 1, "row") as i:
        emitter.loops = list(variables)
        _enter_row(b, emitter, plan, labels, starts[0], i)
        emitter.forget()

        def body(j: ir.Value) -> None:
            if at_n is not None:
                emitter.loops[at_n] = b.add(starts[1], j)
            place = b.add(b.mul(i, I64(plan.width)), j)
            loaded = _from_scratch(b, plan, scratch, place, anchor.dtype)
            emitter.given[id(anchor)] = always(emitter.machine.rounded(loaded))
            emitter.store_all(
                (buffer, kernel.place(node, buffer, index, space), emitter.value(node, index))
                for node, buffer in kernel.stores
            )

        if one:
            body(I64(0))
        elif plan.n.size < plan.lanes or len(across) > 1:
            emitter.vector, emitter.across = at_n, across
            emitter.mask = fixed_mask(plan.lanes, plan.n.size) if ragged else None
            body(I64(0))
        elif plan.n.size % plan.width == 0 and plan.vectors <= (4 if light else 2):
            emitter.vector = at_n
            for j in range(0, plan.width, plan.lanes):
                emitter.forget(fixed=False)
                body(I64(j))
        else:
            emitter.vector = at_n
            emitter.prelude = b.block
            with counted(b, I64(0), full, plan.lanes, "column") as j:
                emitter.forget(fixed=False)
                body(j)
            if ragged:
                last = b.icmp_signed("==", numbers[1], I64(plan.panels - 1))
                with b.if_then(last):
                    emitter.prelude = None
                    emitter.forget()
                    emitter.mask = fixed_mask(plan.lanes, ragged)
                    body(full)
        emitter.leave_vector()
    emitter.given.pop(id(anchor), None)


def _columns_across(plan: Plan, labels: str, space: Shape) -> dict[int, tuple[int, ...]]:
    """Return what lanes add to each of the loops that the columns of a single vector join."""
    if plan.n.size > plan.lanes:
        return {}
    axes = [labels.index(c) for c in plan.n.labels]
    rows = itertools.product(*(range(space[d]) for d in axes))
    return dict(zip(axes, zip(*rows, strict=True), strict=True))


def _enter_row(
    b: ir.IRBuilder, emitter: Emitter, plan: Plan, labels: str, start: ir.Value, i: ir.Value
) -> None:
    """Give the loop variables their values in a row of the tile."""
    first = b.add(start, i)
    if plan.over is not None:
        size = I64(plan.m.size)
        emitter.loops[labels.index(plan.over.labels[-1])] = b.add(start, b.udiv(i, size))
        first = b.urem(i, size)
    if plan.m.labels:
        emitter.loops[labels.index(plan.m.labels[-1])] = first


def left_at_most(b: ir.IRBuilder, size: int, start: ir.Value, most: int) -> ir.Value:
    """Return how many of ``size`` are left from ``start`` on, but never more than ``most``."""
    left = b.sub(I64(size), start)
    return b.select(b.icmp_signed("<", left, I64(most)), left, I64(most))


def _from_scratch(
    b: ir.IRBuilder, plan: Plan, scratch: ir.Value, place: ir.Value, dtype: DType
) -> Value:
    """Return what lies at a place of the scratch tile: a vector, or a number if N is 1."""
    kind = register_type(dtype)
    pointer = b.gep(scratch, [place], source_etype=kind)
    if plan.n.size == 1:
        return Value(b.load(pointer, typ=kind), dtype)
    vector = ir.VectorType(kind, plan.lanes)
    return Value(b.load(pointer, align=dtype.itemsize, typ=vector), dtype)


__all__ = ["emit_contraction", "left_at_most"]
