"""Code for the one contraction building block: register tiles and fused epilogue."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from llvmlite import ir

from thalweg.backends.llvm.codegen.emitter import (
    Emitter,
    Share,
    aligned,
    always,
    counted,
    fixed_mask,
)
from thalweg.backends.llvm.codegen.machine import (
    I32,
    I64,
    POINTER,
    Machine,
    Value,
    memory_type,
    register_type,
)
from thalweg.backends.llvm.loops import (
    Axis,
    Buffer,
    Kernel,
    Plan,
    identity_index,
    linear,
)
from thalweg.graph.dtype import DType

SHORT = 8  # steps of k that need no loop


class Tiles:
    """Makes the tile functions of one module; equal tiles are made once."""

    def __init__(self, module: ir.Module, fused: bool) -> None:
        self.module = module
        self.fused = fused  # whether the processor multiplies and adds in one instruction
        self._made: dict[object, ir.Function] = {}

    def get(self, plan: Plan, dtype: DType, rows: int, columns: int, depth: int) -> ir.Function:
        """Return ``void tile(ptr a, ptr b, ptr scratch)`` for a tile of rows and columns.

        ``depth`` elements of k are summed; of a sum in parts, onto what the scratch holds.
        """
        step = plan.width if plan.packed else plan.k.b
        taps = tuple((t.size, t.a, t.b) for t in plan.taps)
        masked = 0 if plan.packed else columns % plan.lanes
        vectors = -(-columns // plan.lanes)
        inner = plan.k.size * plan.width  # of a packed tap
        key = (dtype, rows, vectors, masked, plan.lanes, plan.width, plan.m.a, depth, plan.k.a,
               step, taps, plan.packed and (not taps or inner), plan.parts > 1)  # fmt: skip
        if key not in self._made:
            self._made[key] = self._make(plan, dtype, rows, vectors, masked, step, depth)
        return self._made[key]

    def _make(
        self, plan: Plan, dtype: DType, rows: int, vectors: int, masked: int, step: int,
        depth: int,
    ) -> ir.Function:  # fmt: skip
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * 3)
        function = ir.Function(self.module, kind, f"tile{len(self._made)}_{rows}x{vectors}")
        function.linkage = "internal"
        for attribute in ("noinline", "nounwind"):
            function.attributes.add(attribute)
        for arg in function.args:
            arg.add_attribute("noalias")
        b = ir.IRBuilder(function.append_basic_block("entry"))
        body = _TileBody(b, plan, dtype, rows, vectors, masked, step, self.fused, depth)
        sums = body.summed(function.args[0], function.args[1], body.start(function.args[2]))
        body.finish(function.args[2], sums)
        b.ret_void()
        return function


class _TileBody:
    """Emits the loops over taps and k around one register tile."""

    def __init__(
        self, b: ir.IRBuilder, plan: Plan, dtype: DType, rows: int, vectors: int, masked: int,
        step: int, fused: bool, depth: int,
    ) -> None:  # fmt: skip
        self.depth = depth
        self.b, self.plan, self.dtype, self.step, self.fused = b, plan, dtype, step, fused
        self.rows, self.vectors, self.masked = rows, vectors, masked
        self.machine = Machine(b)
        self.stored = memory_type(dtype)
        self.vector = ir.VectorType(register_type(dtype), plan.lanes)
        self.zero = ir.Constant(self.vector, None)

    def start(self, scratch: ir.Value) -> list[ir.Value]:
        """Return the sums before this part: none, or what the scratch holds."""
        if self.plan.parts == 1:
            return [self.zero] * (self.rows * self.vectors)
        return [
            self.b.load(self._place(scratch, i, j), align=self.dtype.itemsize, typ=self.vector)
            for i in range(self.rows) for j in range(self.vectors)
        ]  # fmt: skip

    def summed(self, a: ir.Value, b: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        """Return the sums after all taps."""
        return self._tap(list(self.plan.taps), a, b, sums)

    def _tap(
        self, taps: list[Axis], a: ir.Value, b: ir.Value, sums: list[ir.Value]
    ) -> list[ir.Value]:
        if not taps:
            return self._k_loop(a, b, sums)
        tap, rest = taps[0], taps[1:]
        inner = math.prod(t.size for t in rest) * self.plan.k.size * self.plan.width
        step_b = inner if self.plan.packed else tap.b

        def body(x: ir.Value, y: ir.Value, s: list[ir.Value]) -> list[ir.Value]:
            return self._tap(rest, x, y, s)

        return self._loop(tap.size, 1, tap.a, step_b, a, b, sums, body)

    def _k_loop(self, a: ir.Value, b: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        size = self.depth
        wanted = (1,) if self.rows * self.vectors >= 12 else (4, 2, 1)  # short bodies only
        wanted = (size,) if size <= SHORT else wanted
        unroll = next(u for u in wanted if size % u == 0)

        def body(x: ir.Value, y: ir.Value, s: list[ir.Value]) -> list[ir.Value]:
            for u in range(unroll):
                s = self._step(x, y, u, s)
            return s

        return self._loop(
            size // unroll, unroll, self.plan.k.a, self.step, a, b, sums, body
        )

    def _loop(
        self, count: int, unroll: int, step_a: int, step_b: int, a: ir.Value, b: ir.Value,
        sums: list[ir.Value],
        body: Callable[[ir.Value, ir.Value, list[ir.Value]], list[ir.Value]],
    ) -> list[ir.Value]:  # fmt: skip
        """Emit a loop with the running sums in registers."""
        if count == 0:
            return sums
        if count == 1:
            return body(a, b, sums)
        builder = self.b
        before, loop = builder.block, builder.append_basic_block("k")
        builder.branch(loop)
        builder.position_at_end(loop)
        i, x, y = builder.phi(I64), builder.phi(POINTER), builder.phi(POINTER)
        phis = [builder.phi(self.vector) for _ in sums]
        after = body(x, y, list(phis))
        x2 = builder.gep(x, [I64(step_a * unroll)], source_etype=self.stored)
        y2 = builder.gep(y, [I64(step_b * unroll)], source_etype=self.stored)
        i2 = builder.add(i, I64(1))
        end = builder.block
        for phi, first, second in ((i, I64(0), i2), (x, a, x2), (y, b, y2)):
            phi.add_incoming(first, before)
            phi.add_incoming(second, end)
        for phi, first, second in zip(phis, sums, after, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(second, end)
        done = builder.append_basic_block("k.end")
        builder.cbranch(builder.icmp_signed("<", i2, I64(count)), loop, done)
        builder.position_at_end(done)
        return after

    def _step(self, a: ir.Value, b: ir.Value, u: int, sums: list[ir.Value]) -> list[ir.Value]:
        """Emit one multiply-add of the whole tile."""
        columns = [self._vector(b, u, j) for j in range(self.vectors)]
        new = list(sums)
        for i in range(self.rows):
            place = i * self.plan.m.a + u * self.plan.k.a
            pointer = self.b.gep(a, [I64(place)], source_etype=self.stored)
            scalar = self.machine.unpack(self.b.load(pointer, typ=self.stored), self.dtype)
            x = self.machine.splat(scalar, self.plan.lanes).ir
            for j in range(self.vectors):
                at = i * self.vectors + j
                new[at] = self._multiply_add(x, columns[j], sums[at])
        return new

    def _multiply_add(self, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        if not self.dtype.is_float:
            return self.b.add(total, self.b.mul(x, y))
        if self.fused:
            return self.machine.intrinsic("fma", x, y, total)
        return self.b.fadd(total, self.b.fmul(x, y))

    def _vector(self, b: ir.Value, u: int, j: int) -> ir.Value:
        place = u * self.step + j * self.plan.lanes
        pointer = self.b.gep(b, [I64(place)], source_etype=self.stored)
        kind = ir.VectorType(self.stored, self.plan.lanes)
        align = self.dtype.itemsize
        if self.masked and j == self.vectors - 1:
            mask = fixed_mask(self.plan.lanes, self.masked)
            loaded = masked_load(self.b, kind, pointer, align, mask)
        else:
            loaded = self.b.load(pointer, align=align, typ=kind)
        return self.machine.unpack(loaded, self.dtype).ir

    def finish(self, scratch: ir.Value, sums: list[ir.Value]) -> None:
        """Leave the sums in the scratch tile, row by row."""
        for i in range(self.rows):
            for j in range(self.vectors):
                pointer = self._place(scratch, i, j)
                self.b.store(sums[i * self.vectors + j], pointer, align=self.dtype.itemsize)

    def _place(self, scratch: ir.Value, i: int, j: int) -> ir.Value:
        place = I64(i * self.plan.width + j * self.plan.lanes)
        return self.b.gep(scratch, [place], source_etype=self.vector.element)


def masked_load(
    b: ir.IRBuilder, kind: ir.VectorType, pointer: ir.Value, align: int, mask: ir.Value
) -> ir.Value:
    """Return a vector of which only some lanes are read; the others are 0."""
    from thalweg.backends.llvm.codegen.machine import suffix

    element = {"float": "f32", "double": "f64", "half": "f16"}.get(str(kind.element))
    name = f"llvm.masked.load.v{kind.count}{element or suffix(kind.element)}.p0"
    function = b.module.globals.get(name)
    if function is None:
        types = [POINTER, mask.type, kind]
        function = ir.Function(b.module, ir.FunctionType(kind, types), name)
    rest = ir.Constant(kind, None)
    return aligned(b.call(function, [pointer, mask, rest]), 0, align)


# --- the kernel around the tiles ---------------------------------------------------------------


def emit_contraction(
    emitter: Emitter, kernel: Kernel, plan: Plan, tiles: Tiles, share: Share,
    packed: Buffer | None, sums: Buffer | None,
) -> None:  # fmt: skip
    """Emit the loops over tiles, and after each tile the fused element-wise work."""
    b = emitter.builder
    low, high = share(plan.tiles)
    if sums is None:
        with b.goto_block(b.function.entry_basic_block):
            count = plan.rows * plan.width
            scratch = b.alloca(ir.ArrayType(_sum_type(kernel), count))
            scratch.align = 64
        with counted(b, low, high, 1, "tile") as number:
            _emit_tile(emitter, kernel, plan, tiles, number, packed, scratch, None)
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
        _emit_tile(emitter, kernel, plan, tiles, number, packed, scratch, part)


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
    packed: Buffer | None, scratch: ir.Value, part: ir.Value | None,
) -> None:  # fmt: skip
    """Emit one part of one tile, and after its last part what is fused with it."""
    b, anchor = emitter.builder, kernel.anchor
    assert anchor is not None
    block, panel, around = _tile_numbers(b, plan, number)
    loops = _outer_loops(b, plan.outer, around)
    row, column = b.mul(block, I64(plan.rows)), b.mul(panel, I64(plan.width))
    a = _operand(emitter, plan, loops, row, "a")
    if packed is None:
        right = _operand(emitter, plan, loops, column, "b")
    else:
        right = _packed_panel(emitter, plan, loops, panel, packed)
    if part is not None:
        a, right = _moved(b, plan, part, a, right, packed is not None)
    if part is None:
        _prefetch(emitter, kernel, plan, loops, row, column)
    with contextlib.ExitStack() as stack:
        _run_tile(emitter, plan, tiles, anchor.dtype, (block, panel), (a, right, scratch), part)
        if part is not None:
            stack.enter_context(b.if_then(b.icmp_signed("==", part, I64(plan.parts - 1))))
        _epilogue(emitter, kernel, plan, loops, (block, panel), (row, column), scratch)


def _tile_numbers(
    b: ir.IRBuilder, plan: Plan, number: ir.Value
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return block, panel and outer position of a running number."""
    blocks, panels = I64(plan.blocks), I64(plan.panels)
    if plan.order == "outer":
        outer = I64(math.prod(x.size for x in plan.outer))
        rest = b.udiv(number, blocks)
        return b.urem(number, blocks), b.udiv(rest, outer), b.urem(rest, outer)
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


LINE, LARGE = 64, 1 << 19  # bytes of a cache line; of a buffer that no near cache holds


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
    if not updated or plan.n.c != 1:
        return
    kind = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, I32])
    name = "llvm.prefetch.p0"
    fetch = b.module.globals.get(name) or ir.Function(b.module, kind, name)
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
                b.call(fetch, [at, I32(1), I32(3), I32(1)])


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
    axis = plan.m if which == "a" else plan.n
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
    numbers: tuple[ir.Value, ir.Value], args: tuple[ir.Value, ir.Value, ir.Value],
    part: ir.Value | None,
) -> None:  # fmt: skip
    """Call the tile function for the sizes of this tile."""
    b = emitter.builder
    block, panel = numbers
    rows = _cases(plan.rows, plan.m.size % plan.rows, block, plan.blocks)
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
    position = lambda axis: labels.index(axis.labels[-1]) if axis.labels else None  # noqa: E731
    variables: list[ir.Value] = [I64(0)] * len(labels)
    for loop, x in zip(loops, plan.outer, strict=True):
        variables[labels.index(x.labels[-1])] = loop
    at_m, at_n = position(plan.m), position(plan.n)
    index = identity_index(kernel.space)
    space = len(labels)
    rows = left_at_most(b, plan.m.size, starts[0], plan.rows)
    ragged = plan.n.size % plan.lanes
    full = left_at_most(b, plan.n.size - ragged, starts[1], plan.width)
    one, light = plan.n.size == 1, len(kernel.members) <= 4
    with counted(b, I64(0), rows, 1, "row") as i:
        emitter.loops = list(variables)
        if at_m is not None:
            emitter.loops[at_m] = b.add(starts[0], i)
        emitter.forget()

        def body(j: ir.Value) -> None:
            if at_n is not None:
                emitter.loops[at_n] = b.add(starts[1], j)
            place = b.add(b.mul(i, I64(plan.width)), j)
            loaded = _from_scratch(b, plan, scratch, place, anchor.dtype)
            emitter.given[id(anchor)] = always(emitter.machine.rounded(loaded))
            for node, buffer in kernel.stores:
                at = linear(index, node.shape, space)
                emitter.store(buffer, at, emitter.value(node, index))

        if one:
            body(I64(0))
            return_to_scalar(emitter)
        elif plan.n.size % plan.width == 0 and plan.vectors <= (4 if light else 2):
            emitter.vector = at_n
            for j in range(0, plan.width, plan.lanes):
                emitter.forget(fixed=False)
                body(I64(j))
            return_to_scalar(emitter)
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
            return_to_scalar(emitter)
    emitter.given.pop(id(anchor), None)


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


def return_to_scalar(emitter: Emitter) -> None:
    """Leave the vector loop."""
    emitter.vector = emitter.mask = emitter.prelude = None
    emitter.forget()


__all__ = ["Tiles", "emit_contraction", "left_at_most", "masked_load"]
