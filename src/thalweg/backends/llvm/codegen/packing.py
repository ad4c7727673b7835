"""Code that copies the second operand of a contraction into panels before its tiles read it."""

from __future__ import annotations

import math

from llvmlite import ir

from thalweg.backends.llvm.codegen.contraction import left_at_most
from thalweg.backends.llvm.codegen.emitter import Emitter, Share, counted, lane_mask
from thalweg.backends.llvm.codegen.loop_kernel import outer_position
from thalweg.backends.llvm.codegen.machine import I32, I64, POINTER, memory_type
from thalweg.backends.llvm.codegen.tiles import Tiles, masked_load
from thalweg.backends.llvm.loops import Axis, Buffer, Plan
from thalweg.graph.dtype import DType

BLOCK = 16  # side of the square that is transposed in registers


def emit_pack(
    emitter: Emitter, plan: Plan, dtype: DType, tiles: Tiles, share: Share, packed: Buffer
) -> None:
    """Copy B into panels [outer][panel][tap][k][column], with zeros beyond its last column."""
    b = emitter.builder
    sizes = [x.size for x in plan.pack_axes] + [plan.panels]
    low, high = share(math.prod(sizes))
    kind = memory_type(dtype)
    source = emitter.buffers[id(plan.b)]
    with counted(b, low, high, 1, "panel") as number:
        emitter.loops = [I64(0)] * len(sizes)
        outer_position(emitter, number, sizes, list(range(len(sizes))))
        panel = emitter.loops[-1]
        start = b.mul(panel, I64(plan.width * plan.n.b))
        for loop, x in zip(emitter.loops, plan.pack_axes, strict=False):
            start = b.add(start, b.mul(loop, I64(x.b)))
        origin = b.gep(
            emitter.pointers(source), [b.add(start, I64(plan.b_base))], source_etype=kind
        )
        target = b.gep(
            emitter.pointers(packed), [b.mul(number, I64(plan.panel_size))], source_etype=kind
        )
        columns = left_at_most(b, plan.n.size, b.mul(panel, I64(plan.width)), plan.width)
        _pack_taps(emitter, plan, kind, origin, target, columns, plan.all_taps, tiles)


def _pack_taps(
    emitter: Emitter, plan: Plan, kind: ir.Type, origin: ir.Value, target: ir.Value,
    columns: ir.Value, taps: list[Axis], tiles: Tiles,
) -> None:  # fmt: skip
    b = emitter.builder
    if taps:
        inner = math.prod(t.size for t in taps[1:]) * plan.k.size * plan.width
        with counted(b, I64(0), I64(taps[0].size), 1, "tap") as t:
            o = b.gep(origin, [b.mul(t, I64(taps[0].b))], source_etype=kind)
            g = b.gep(target, [b.mul(t, I64(inner))], source_etype=kind)
            _pack_taps(emitter, plan, kind, o, g, columns, taps[1:], tiles)
        return
    if plan.k.b == 1 and kind == ir.FloatType() and plan.lanes == BLOCK:
        _pack_transposed(b, plan, kind, origin, target, columns, tiles)
        return
    if plan.n.b == 1:
        _pack_rows(b, plan, kind, origin, target, columns)
        return
    _pack_plain(b, plan, kind, origin, target, columns, I64(0), I64(plan.k.size))


def _pack_rows(
    b: ir.IRBuilder, plan: Plan, kind: ir.Type, origin: ir.Value, target: ir.Value,
    columns: ir.Value,
) -> None:  # fmt: skip
    """Copy rows that lie in memory as they are needed, vector by vector."""
    vector = ir.VectorType(kind, plan.lanes)
    with counted(b, I64(0), I64(plan.k.size), 1, "k") as k:
        source = b.gep(origin, [b.mul(k, I64(plan.k.b))], source_etype=kind)
        put = b.gep(target, [b.mul(k, I64(plan.width))], source_etype=kind)
        for j in range(plan.vectors):
            start = j * plan.lanes
            left = b.sub(columns, I64(start))
            few = b.select(b.icmp_signed("<", left, I64(0)), I64(0), left)
            loaded = masked_load(
                b, vector, b.gep(source, [I64(start)], source_etype=kind),
                plan.align, lane_mask(b, plan.lanes, few),
            )  # fmt: skip
            b.store(loaded, b.gep(put, [I64(start)], source_etype=kind), align=plan.align)


def _pack_plain(
    b: ir.IRBuilder, plan: Plan, kind: ir.Type, origin: ir.Value, target: ir.Value,
    columns: ir.Value, first: ir.Value, last: ir.Value,
) -> None:  # fmt: skip
    """Copy element by element, k by k."""
    with counted(b, first, last, 1, "k") as k, counted(b, I64(0), I64(plan.width), 1, "c") as c:
        inside = b.icmp_signed("<", c, columns)
        column = b.select(inside, c, I64(0))
        place = b.add(b.mul(k, I64(plan.k.b)), b.mul(column, I64(plan.n.b)))
        value = b.load(b.gep(origin, [place], source_etype=kind), typ=kind)
        zero = ir.Constant(kind, 0)
        put = b.add(b.mul(k, I64(plan.width)), c)
        b.store(b.select(inside, value, zero), b.gep(target, [put], source_etype=kind))


def _pack_transposed(
    b: ir.IRBuilder, plan: Plan, kind: ir.Type, origin: ir.Value, target: ir.Value,
    columns: ir.Value, tiles: Tiles,
) -> None:  # fmt: skip
    """Copy squares of 16 by 16, transposed in registers; the rest element by element."""
    whole_k = plan.k.size - plan.k.size % BLOCK
    if whole_k:
        square = tiles.common.get(b.module, "transpose", _emit_transpose)
        with counted(b, I64(0), I64(plan.width), BLOCK, "c") as c:
            left = b.sub(columns, c)
            some = b.icmp_signed(">", left, I64(0))  # else the panel's first column is read
            first = b.select(some, b.mul(c, I64(plan.n.b)), I64(0))
            source = b.gep(origin, [first], source_etype=kind)
            put = b.gep(target, [c], source_etype=kind)
            b.call(square, [source, put, I64(plan.n.b), I64(plan.width), left, I64(whole_k)])
    if whole_k < plan.k.size:
        _pack_plain(b, plan, kind, origin, target, columns, I64(whole_k), I64(plan.k.size))


def _emit_transpose(module: ir.Module) -> ir.Function:
    """Write ``void transpose(source, target, i64 step, i64 width, i64 columns, i64 depth)``.

    Row c of the source, ``step`` further, becomes column c of the target, whose rows are ``width``
    long; there are 16, and those beyond ``columns`` are zeros. One function does for all shapes.
    """
    kinds = [POINTER, POINTER, I64, I64, I64, I64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "transpose")
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    source, target, step, width, columns, depth = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    kind = ir.FloatType()
    vector = ir.VectorType(kind, BLOCK)
    zero = ir.Constant(vector, [0.0] * BLOCK)
    places = []
    for i in range(BLOCK):  # beyond the last column the first is read, then zeroed
        inside = b.icmp_signed("<", I64(i), columns)
        far = b.select(inside, b.mul(step, I64(i)), I64(0))
        places.append((b.gep(source, [far], source_etype=kind), inside))
    with counted(b, I64(0), depth, BLOCK, "k") as k:
        rows = []
        for start, inside in places:
            loaded = b.load(b.gep(start, [k], source_etype=kind), align=4, typ=vector)
            rows.append(b.select(inside, loaded, zero))
        for i, row in enumerate(transposed(b, rows)):
            put = b.mul(b.add(k, I64(i)), width)
            b.store(row, b.gep(target, [put], source_etype=kind), align=4)
    b.ret_void()
    return function


def transposed(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Return a square of n vectors of n lanes transposed, in log2(n) rounds of shuffles."""
    n = len(rows)
    half = n // 2
    while half:
        new = list(rows)
        for i in range(n):
            if i & half:
                continue
            low = [(j if not j & half else n + j - half) for j in range(n)]
            high = [(j + half if not j & half else n + j) for j in range(n)]
            x, y = rows[i], rows[i | half]
            kind = ir.VectorType(I32, n)
            new[i] = b.shuffle_vector(x, y, ir.Constant(kind, low))
            new[i | half] = b.shuffle_vector(x, y, ir.Constant(kind, high))
        rows = new
        half //= 2
    return rows
