"""Register tiles: the innermost loops of every contraction."""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from thalweg.backends.llvm.codegen.common_functions import CommonFunctions
from thalweg.backends.llvm.codegen.constants import zeros
from thalweg.backends.llvm.codegen.emitter import aligned, fixed_mask
from thalweg.backends.llvm.codegen.machine import (
    I32,
    I64,
    POINTER,
    Machine,
    memory_type,
    register_type,
    suffix,
)
from thalweg.backends.llvm.codegen.sameness import digest
from thalweg.backends.llvm.loops import Axis, Plan
from thalweg.graph.dtype import DType

EACH_ROUND = 4  # steps of k: fewer instructions that only count
SHORT = 8  # steps of k that need no loop
MODEST = 1 << 22  # multiply-adds: below, less code matters more than what a round counts
PER_ROUND = 16  # multiply-adds of vectors in a round of such a product
LINE = 64  # bytes of a cache line
WIDEST = 64  # bytes of a vector of AVX-512
SUMS = 16  # running sums of a tile whose lanes run along k, where vectors are the widest
AHEAD = 24  # steps of k: about what it takes to bring a line from a far cache


class Tiles:
    """Makes the tile functions of one module; equal tiles are made once."""

    def __init__(
        self, module: ir.Module, elsewhere: ir.Module, fused: bool, common: CommonFunctions,
        known: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self.module, self.common = module, common
        self.elsewhere, self.known = elsewhere, known  # where tiles of earlier programs are named
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
               step, taps, plan.packed and (not taps or inner), plan.parts > 1,
               plan.streamed, plan.over and (plan.over.a, plan.m.size),
               self.counted_tap(plan), is_modest(plan),
               plan.dots and (plan.n.b, columns))  # fmt: skip
        if key not in self._made:
            wide = columns if plan.dots else vectors
            what = "brief" if is_modest(plan) else "tile"
            name = f"{what}_{rows}x{wide}_{digest(*key)}"
            self._made[key] = self._make(name, plan, dtype, rows, wide, masked, step, depth)
        return known_here(self.module, self._made[key])

    @staticmethod
    def counted_tap(plan: Plan) -> int | None:
        """Return the tap whose count the caller gives, since some of its terms are zeros."""
        if plan.border is None or plan.border.summed not in plan.taps:
            return None
        return plan.taps.index(plan.border.summed)

    def _make(
        self, name: str, plan: Plan, dtype: DType, rows: int, vectors: int, masked: int,
        step: int, depth: int,
    ) -> ir.Function:  # fmt: skip
        types = [POINTER] * 3 if self.counted_tap(plan) is None else [POINTER] * 3 + [I64]
        kind = ir.FunctionType(ir.VoidType(), types)
        if self.known(name):
            return ir.Function(self.elsewhere, kind, name)
        function = ir.Function(self.module, kind, name)
        for attribute in ("noinline", "nounwind"):
            function.attributes.add(attribute)
        for arg in function.args[:3]:
            arg.add_attribute("noalias")
        b = ir.IRBuilder(function.append_basic_block("entry"))
        if plan.dots:
            dots = _Dots(b, plan, dtype, rows, vectors, 0, step, self.fused, depth)
            dots.emit(*function.args)
            b.ret_void()
            return function
        body = _TileBody(b, plan, dtype, rows, vectors, masked, step, self.fused, depth)
        if len(function.args) > 3:
            body.tap_count = self.counted_tap(plan), function.args[3]
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
        self.zero = zeros(self.vector)
        self.tap_count: tuple[int | None, ir.Value] | None = None  # which tap, how often

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

        def body(xs: list[ir.Value], y: ir.Value, s: list[ir.Value]) -> list[ir.Value]:
            return self._tap(rest, xs[0], y, s)

        count: int | ir.Value = tap.size
        if self.tap_count is not None and len(self.plan.taps) - len(taps) == self.tap_count[0]:
            count = self.tap_count[1]
        return self._loop(count, 1, tap.a, step_b, [a], b, sums, body)

    def _k_loop(self, a: ir.Value, b: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        """Emit the steps of k: some a round, and those that are left."""
        size = self.depth
        unroll = self._steps_a_round()
        rounds, left = divmod(size, unroll) if size else (0, 0)
        pointers = [a]
        if rounds > 1 and self._spreads_itself():
            for _ in range(1, self.vectors):
                pointers.append(self._unknown(pointers[-1]))

        def body(xs: list[ir.Value], y: ir.Value, s: list[ir.Value]) -> list[ir.Value]:
            for u in range(unroll):
                s = self._step(xs, y, u, s)
            return s

        step_a, step_b = self.plan.k.a, self.step
        sums = self._loop(rounds, unroll, step_a, step_b, pointers, b, sums, body)
        for u in range(size - left, size):
            sums = self._step([a], b, u, sums)
        return sums

    def _steps_a_round(self) -> int:
        """Return how many steps of k are written down: LLVM takes 0.1 ms for each multiply-add."""
        most = self.depth if self.depth <= SHORT else EACH_ROUND
        if not is_modest(self.plan):
            return most
        most = min(most, -(-PER_ROUND // (self.rows * self.vectors)))
        return next((n for n in range(most, 1, -1) if self.depth % n == 0), 1)

    def _spreads_itself(self) -> bool:
        """Whether multiply-adds of half the rows read their number and spread it over the lanes.

        AVX-512 can, and so takes in fewer instructions, which counts where another machine shares
        the core; with all rows there would be more reads than two a cycle. LLVM would read equal
        numbers once: so each column has a pointer of its own. Measured with 640 x 768 x 384, beside
        more steps a round: 1.02 times as fast on a quiet machine, 1.1 on a shared one.
        """
        wide = self.plan.lanes * self.dtype.itemsize == WIDEST
        return self.fused and wide and self.dtype.is_float and self.vectors in (2, 3)

    def _unknown(self, pointer: ir.Value) -> ir.Value:
        """Return a pointer, by no instruction, that LLVM takes for another one.

        It would address all rows by one counter, and processors split a multiply-add that reads at
        the sum of two registers into two instructions again. Measured with 16 columns: 1.3 times.
        """
        same = ir.InlineAsm(ir.FunctionType(POINTER, [POINTER]), "", "=r,0", side_effect=True)
        return self.b.call(same, [pointer])

    def _loop(
        self, count: int | ir.Value, unroll: int, step_a: int, step_b: int, a: list[ir.Value],
        b: ir.Value, sums: list[ir.Value],
        body: Callable[[list[ir.Value], ir.Value, list[ir.Value]], list[ir.Value]],
    ) -> list[ir.Value]:  # fmt: skip
        """Emit a loop with the running sums in registers; ``a``: pointers to the same rows."""
        if isinstance(count, int) and count == 0:
            return sums
        if isinstance(count, int) and count == 1:
            return body(a, b, sums)
        builder = self.b
        before, loop = builder.block, builder.append_basic_block("k")
        builder.branch(loop)
        builder.position_at_end(loop)
        i, y = builder.phi(I64), builder.phi(POINTER)
        xs = [builder.phi(POINTER) for _ in a]
        phis = [builder.phi(self.vector) for _ in sums]
        after = body(xs, y, list(phis))
        next_xs = [builder.gep(x, [I64(step_a * unroll)], source_etype=self.stored) for x in xs]
        next_xs = [self._unknown(x) for x in next_xs]
        y2 = builder.gep(y, [I64(step_b * unroll)], source_etype=self.stored)
        i2 = builder.add(i, I64(1))  # up, as LLVM chooses addresses well that rise with a count
        end = builder.block
        for phi, first, second in ((i, I64(0), i2), (y, b, y2), *zip(xs, a, next_xs, strict=True)):
            phi.add_incoming(first, before)
            phi.add_incoming(second, end)
        for phi, first, second in zip(phis, sums, after, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(second, end)
        done = builder.append_basic_block("k.end")
        last = I64(count) if isinstance(count, int) else count
        builder.cbranch(builder.icmp_signed("<", i2, last), loop, done)
        builder.position_at_end(done)
        return after

    def _step(
        self, a: list[ir.Value], b: ir.Value, u: int, sums: list[ir.Value]
    ) -> list[ir.Value]:
        """Emit one multiply-add of the whole tile."""
        columns = [self._vector(b, u, j) for j in range(self.vectors)]
        if self.plan.streamed:
            self._ahead(b, u)
        new = list(sums)
        for i in range(self.rows):
            place = self._row(i) + u * self.plan.k.a
            own = len(a) > 1 and i % 2 == 0
            x = [self._spread(pointer, place) for pointer in (a if own else a[:1])]
            for j in range(self.vectors):
                at = i * self.vectors + j
                new[at] = self._multiply_add(x[j] if own else x[0], columns[j], sums[at])
        return new

    def _spread(self, a: ir.Value, place: int) -> ir.Value:
        """Return a number of A in all lanes."""
        pointer = self._at(a, place)
        scalar = self.machine.unpack(self.b.load(pointer, typ=self.stored), self.dtype)
        return self.machine.splat(scalar, self.plan.lanes).ir

    def _at(self, start: ir.Value, place: int) -> ir.Value:
        return self.b.gep(start, [I64(place)], source_etype=self.stored) if place else start

    def _row(self, i: int) -> int:
        """Return how far a row of the tile lies from its first one."""
        if self.plan.over is None:
            return i * self.plan.m.a
        position, inner = divmod(i, self.plan.m.size)
        return position * self.plan.over.a + inner * self.plan.m.a

    def _ahead(self, b: ir.Value, u: int) -> None:
        """Ask for the line that a later step will read; more than a page away no one else does.

        Measured with ResNet-18 and one image, 44 MB of weights: 4.6 against 5.1 ms.
        """
        size = self.dtype.itemsize
        for j in range(0, self.vectors * self.plan.lanes * size, LINE):
            place = (u + AHEAD) * self.step * size + j
            prefetch(self.b, self.b.gep(b, [I64(place)], source_etype=ir.IntType(8)), False)

    def _multiply_add(self, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
        if not self.dtype.is_float:
            return self.b.add(total, self.b.mul(x, y))
        if self.fused:
            return self.machine.intrinsic("fma", x, y, total)
        return self.b.fadd(total, self.b.fmul(x, y))

    def _vector(self, b: ir.Value, u: int, j: int) -> ir.Value:
        place = u * self.step + j * self.plan.lanes
        return self._loaded(b, place, self.masked if j == self.vectors - 1 else 0)

    def _loaded(self, start: ir.Value, place: int, masked: int) -> ir.Value:
        """Return a vector of stored numbers; with ``masked``, only so many of them."""
        pointer = self._at(start, place)
        kind = ir.VectorType(self.stored, self.plan.lanes)
        align = self.dtype.itemsize
        if masked:
            mask = fixed_mask(self.plan.lanes, masked)
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


class _Dots(_TileBody):
    """A tile whose lanes run along k: a few rows, and a B that is stored column by column.

    ``vectors`` is the number of columns, whose sums are kept in registers some at a time.
    """

    def emit(self, a: ir.Value, b: ir.Value, scratch: ir.Value) -> None:
        """Emit the sums of all columns, and leave them in the scratch tile."""
        wide = self.plan.lanes * self.dtype.itemsize == WIDEST
        columns, most = self.vectors, max(1, (SUMS if wide else SUMS // 2) // self.rows)
        for start in range(0, columns, most):
            self.vectors = min(most, columns - start)
            first = self.b.gep(b, [I64(start * self.plan.n.b)], source_etype=self.stored)
            sums = self._k_loop(a, first, [self.zero] * (self.rows * self.vectors))
            for at, total in enumerate(sums):
                i, j = divmod(at, self.vectors)
                place = I64(i * self.plan.width + start + j)
                pointer = self.b.gep(scratch, [place], source_etype=self.vector.element)
                self.b.store(self._across(total), pointer)

    def _k_loop(self, a: ir.Value, b: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        """Emit the vectors of k, two a round, and what is left."""
        whole, ragged = divmod(self.depth, self.plan.lanes)

        def body(xs: list[ir.Value], y: ir.Value, s: list[ir.Value]) -> list[ir.Value]:
            return self._part(xs[0], y, 1, self._part(xs[0], y, 0, s))

        step = 2 * self.plan.lanes
        sums = self._loop(whole // 2, 1, step, step, [a], b, sums, body)
        if whole % 2:
            sums = self._part(a, b, whole - 1, sums)
        return self._part(a, b, whole, sums, ragged) if ragged else sums

    def _part(
        self, a: ir.Value, b: ir.Value, u: int, sums: list[ir.Value], masked: int = 0
    ) -> list[ir.Value]:
        """Return the sums after one more vector of k."""
        at, new = u * self.plan.lanes, list(sums)
        rows = [self._loaded(a, i * self.plan.m.a + at, masked) for i in range(self.rows)]
        for j in range(self.vectors):
            column = self._loaded(b, j * self.plan.n.b + at, masked)
            for i, row in enumerate(rows):
                place = i * self.vectors + j
                new[place] = self._multiply_add(row, column, sums[place])
        return new

    def _across(self, total: ir.Value) -> ir.Value:
        """Return the sum of the lanes, added in pairs."""
        element = self.vector.element
        name = f"llvm.vector.reduce.fadd.{suffix(self.vector)}"
        kind = ir.FunctionType(element, [element, self.vector])
        function = self.b.module.globals.get(name) or ir.Function(self.b.module, kind, name)
        return self.b.call(function, [element(0.0), total], fastmath=("reassoc",))


def is_modest(plan: Plan) -> bool:
    """Whether a product takes so little time that its code is kept short."""
    return math.prod(x.size for x in plan.loops) <= MODEST


def known_here(module: ir.Module, function: ir.Function) -> ir.Function:
    """Return a function as a module may call it: declared, if another module defines it."""
    if function.module is module:
        return function
    declared = module.globals.get(function.name)
    return declared or ir.Function(module, function.function_type, function.name)


def prefetch(b: ir.IRBuilder, place: ir.Value, write: bool) -> None:
    """Ask for a line of memory, to be read or written soon."""
    kind = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, I32])
    name = "llvm.prefetch.p0"
    fetch = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    b.call(fetch, [place, I32(int(write)), I32(3), I32(1)])


def masked_load(
    b: ir.IRBuilder, kind: ir.VectorType, pointer: ir.Value, align: int, mask: ir.Value
) -> ir.Value:
    """Return a vector of which only some lanes are read; the others are 0."""
    element = {"float": "f32", "double": "f64", "half": "f16"}.get(str(kind.element))
    name = f"llvm.masked.load.v{kind.count}{element or suffix(kind.element)}.p0"
    function = b.module.globals.get(name)
    if function is None:
        types = [POINTER, mask.type, kind]
        function = ir.Function(b.module, ir.FunctionType(kind, types), name)
    rest = zeros(kind)
    return aligned(b.call(function, [pointer, mask, rest]), 0, align)
