"""Code for element-wise work and reductions: loops around an explicitly vectorised inner axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from llvmlite import ir

from thalweg.backends.llvm.codegen.constants import anything
from thalweg.backends.llvm.codegen.covers import Cover, covering
from thalweg.backends.llvm.codegen.emitter import Emitter, always, counted, fixed_mask
from thalweg.backends.llvm.codegen.machine import I64, Machine, Value, memory_type, register_type
from thalweg.backends.llvm.loops import (
    Affine,
    Index,
    Kernel,
    identity_index,
    lane_axis,
    linear,
    source_index,
)
from thalweg.graph.dtype import bool_
from thalweg.graph.node import Node
from thalweg.graph.shape import Shape, contiguous_strides

CHUNK = 2048  # elements of a long inner axis that one thread takes at a time
UNROLLED = 4  # vectors of an inner axis that are kept in registers between passes


def inner_bounds(size: int, lanes: int) -> tuple[int, int]:
    """Return how much of an axis whole vectors cover, and what is left."""
    return size - size % lanes, size % lanes


def vector_loop(
    emitter: Emitter, axis: int, start: ir.Value, stop: ir.Value, tail: int,
    body: Callable[[], None], cover: Cover | None = None,
) -> None:  # fmt: skip
    """Emit a body for whole vectors of ``[start, stop)`` and once, masked, for a tail after it.

    With a cover, a vector has some positions of the axis, and the axes after it.
    """
    b, step = emitter.builder, emitter.lanes if cover is None else cover.step
    emitter.vector = axis
    constant = isinstance(start, ir.Constant) and isinstance(stop, ir.Constant)
    if not (constant and start.constant >= stop.constant):
        emitter.prelude = b.block
        with counted(b, start, stop, step, "lane") as i:
            emitter.loops[axis] = i
            emitter.forget(fixed=False)
            if cover is not None:
                cover_lanes(emitter, cover, step)
            body()
    if tail:
        emitter.prelude = None
        emitter.forget()
        emitter.loops[axis] = stop
        emitter.mask = fixed_mask(emitter.lanes, tail)
        if cover is not None:
            cover_lanes(emitter, cover, tail)
        body()
    emitter.leave_vector()


def cover_lanes(emitter: Emitter, cover: Cover, positions: int) -> None:
    """Spread the lanes over the axes of a cover."""
    emitter.across = cover.lanes(positions)
    used = positions * cover.width
    emitter.mask = None if used == emitter.lanes else fixed_mask(emitter.lanes, used)


def outer_position(
    emitter: Emitter, number: ir.Value, sizes: Sequence[int], axes: Sequence[int]
) -> None:
    """Set the outer loop variables from one running number."""
    b = emitter.builder
    rest = number
    for position in reversed(range(len(sizes))):
        if position == 0:
            emitter.loops[axes[0]] = rest
        else:
            size = I64(sizes[position])
            emitter.loops[axes[position]] = b.urem(rest, size)
            rest = b.udiv(rest, size)


# --- element-wise ------------------------------------------------------------------------------


def collapsed(kernel: Kernel, stored: Callable[[Node], bool]) -> int:
    """Return the number of elements if the whole space can run as one axis, else 0.

    It can when every store and load is row-major over the full space, or a single number.
    """
    if kernel.part is not None or kernel.placed:
        return 0
    size = math.prod(kernel.space)
    full = identity_index(kernel.space)
    seen: set[tuple[int, Index]] = set()
    stack = [(n, full) for n, _ in kernel.stores]
    while stack:
        node, index = stack.pop()
        if (id(node), index) in seen:
            continue
        seen.add((id(node), index))
        if not node.inputs or stored(node):
            single = all(not any(a.factors) for a in index)
            if node.op.name != "full" and index != full and not single:
                return 0
            if node.op.name == "iota" and not single and len(kernel.space) > 1:
                return 0
            continue
        for i, source in enumerate(node.inputs):
            at = source_index(node, index, i)
            if at is None or (at != full and any(any(a.factors) for a in at)):
                return 0
            if source.shape != kernel.space and at == full and source.rank:
                return 0
            stack.append((source, at))
    return size


def emit_map(
    emitter: Emitter, kernel: Kernel, share: Callable[[int], tuple[ir.Value, ir.Value]],
    slices: int = 1,
) -> None:  # fmt: skip
    """Emit an element-wise kernel; each of its slices is a whole number of units."""
    flat = collapsed(kernel, emitter.stored)
    space: Shape = kernel.space or (1,)
    if flat:
        space = (slices, flat // slices) if slices > 1 else (flat,)
    rank = len(space)
    real = len(kernel.space)
    axis = lane_axis(space)
    cover = None
    if axis == rank - 1 and not flat:
        cover = _map_cover(kernel, space, emitter.lanes, slices)
    axis, together = (axis, [axis]) if cover is None else (cover.axis, [cover.axis, *cover.whole])
    others = [d for d in range(rank) if d not in together]
    inner, size = space[axis], CHUNK - CHUNK % (cover.step if cover is not None else 1)
    chunks = -(-inner // size)
    low, high = share(math.prod(space[d] for d in others) * chunks)
    b = emitter.builder
    with counted(b, low, high, 1, "unit") as unit:
        emitter.loops = [I64(0)] * rank
        emitter.forget()
        row = b.udiv(unit, I64(chunks)) if chunks > 1 else unit
        chunk = b.urem(unit, I64(chunks)) if chunks > 1 else I64(0)
        outer_position(emitter, row, [space[d] for d in others], others)
        index = identity_index(space)

        def body() -> None:
            if flat:
                place = linear(index, space, rank)
                at = _spread_flat(place, real)
                emitter.store_all((buf, place, emitter.value(n, at)) for n, buf in kernel.stores)
            else:
                at = index[:real] if real else ()
                emitter.store_all(
                    (buf, kernel.place(n, buf, at, rank), emitter.value(n, at))
                    for n, buf in kernel.stores
                )

        _run_inner(emitter, axis, inner, (chunk, chunks, size), body, cover)


def _map_cover(kernel: Kernel, space: Shape, lanes: int, slices: int) -> Cover | None:
    """Return how lanes cover short last axes, if all results then lie side by side."""
    first = next(d for d in range(len(space) + 1) if math.prod(space[:d]) >= slices)
    cover = covering(space, range(first, len(space)), lanes)
    if cover is None:
        return None
    strides, index = contiguous_strides(space), identity_index(space)
    axes = cover.whole if cover.step == 1 else (cover.axis, *cover.whole)
    places = [kernel.place(n, b, index, len(space)) for n, b in kernel.stores]
    beside = all(p.factor(d) == strides[d] for p in places for d in axes)
    return cover if beside else None


def _spread_flat(place: Affine, rank: int) -> Index:
    """Return an index of ``rank`` axes whose row-major position is the given one.

    Only its last axis moves: loads of row-major arrays of the full shape come out right, and axes
    of size 1 elsewhere read 0.
    """
    zero = Affine(0, (0,) * len(place.factors))
    return (zero,) * (rank - 1) + (place,) if rank else ()


def _run_inner(
    emitter: Emitter, axis: int, inner: int, part: tuple[ir.Value, int, int],
    body: Callable[[], None], cover: Cover | None,
) -> None:  # fmt: skip
    b, (chunk, chunks, size) = emitter.builder, part
    whole, tail = inner_bounds(inner, emitter.lanes if cover is None else cover.step)
    if chunks == 1:
        if inner == 1 and cover is None:
            emitter.forget()
            body()
            return
        vector_loop(emitter, axis, I64(0), I64(whole), tail, body, cover)
        return
    start = b.mul(chunk, I64(size))
    end = b.add(start, I64(size))
    last = b.icmp_signed(">", end, I64(whole))
    stop = b.select(last, I64(whole), end)
    vector_loop(emitter, axis, start, stop, 0, body, cover)
    if tail:
        with b.if_then(b.icmp_signed("==", chunk, I64(chunks - 1))):
            vector_loop(emitter, axis, I64(whole), I64(whole), tail, body, cover)


# --- reductions --------------------------------------------------------------------------------

_START = {"sum": 0, "prod": 1, "any": 0, "all": 1}
_COMBINE = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum",
            "any": "logical_or", "all": "logical_and"}  # fmt: skip


def start_value(machine: Machine, node: Node, lanes: int) -> Value:
    """Return what a reduction starts with."""
    name, dtype = node.op.name, node.dtype
    if name in _START:
        return machine.number(_START[name], dtype, lanes)
    if dtype.is_float:
        bound = float("-inf") if name == "max" else float("inf")
        scalar = Value(ir.Constant(register_type(dtype), bound), dtype)
        return machine.splat(scalar, lanes)
    if dtype is bool_:
        return machine.number(name == "min", dtype, lanes)
    bits, signed = register_type(dtype).width, dtype.kind == "int"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return machine.number(low if name == "max" else high, dtype, lanes)


def combine(machine: Machine, node: Node, a: Value, b: Value) -> Value:
    """Return two partial results as one; half types are accumulated in float32."""
    return machine.call(_COMBINE[node.op.name], a, b)


def fold_lanes(machine: Machine, node: Node, x: Value) -> Value:
    """Return all lanes of a vector combined, always in the same order: halves onto halves."""
    b, lanes = machine.builder, x.lanes
    value = x.ir
    while lanes > 1:
        lanes //= 2
        undefined = anything(value.type)
        kind = ir.VectorType(ir.IntType(32), lanes)
        first = ir.Constant(kind, list(range(lanes)))
        second = ir.Constant(kind, list(range(lanes, 2 * lanes)))
        low = b.shuffle_vector(value, undefined, first)
        high = b.shuffle_vector(value, undefined, second)
        value = combine(machine, node, Value(low, x.dtype), Value(high, x.dtype)).ir
    scalar = b.extract_element(value, ir.IntType(32)(0)) if x.lanes > 1 else value
    return Value(scalar, x.dtype)


class Cells:
    """Accumulators in stack memory, that later passes of LLVM turn into registers."""

    def __init__(self, emitter: Emitter, entry: ir.Block) -> None:
        self.emitter, self.entry = emitter, entry

    def new(self, kind: ir.Type) -> ir.Value:
        """Return a cell, made once at the function's entry."""
        with self.emitter.builder.goto_block(self.entry):
            return self.emitter.builder.alloca(kind)


def emit_rows(
    emitter: Emitter, kernel: Kernel, share: Callable[[int], tuple[ir.Value, ir.Value]],
    passes: list[list[Node]],
) -> None:  # fmt: skip
    """Emit a kernel whose reductions run along the last axis, row by row, in several passes."""
    space = kernel.space
    rank, b = len(space), emitter.builder
    kept = [d for d in range(rank) if d not in kernel.reduced]
    entry = b.function.entry_basic_block
    cells = Cells(emitter, entry)
    low, high = share(math.prod(space[d] for d in kept))
    with counted(b, low, high, 1, "row") as row:
        emitter.loops = [I64(0)] * rank
        emitter.forget()
        outer_position(emitter, row, [space[d] for d in kept], kept)
        small = len(kernel.reduced) == 1 and space[-1] <= UNROLLED * emitter.lanes
        for reductions in passes:
            _reduce_pass(emitter, kernel, reductions, cells, small)
        full = [(n, buf) for n, buf in kernel.stores if n.shape == space and not _is_row(n, kernel)]
        index = identity_index(space)

        def body() -> None:
            emitter.store_all(
                (buf, linear(index, n.shape, rank), emitter.value(n, index)) for n, buf in full
            )

        if full:
            _along_reduced(emitter, kernel, body, small)
        emitter.vector, emitter.prelude = None, None
        emitter.forget()
        rest = [(n, buf, row_index(n, kernel)) for n, buf in kernel.stores if (n, buf) not in full]
        emitter.store_all(
            (buf, linear(at, n.shape, rank), emitter.value(n, at)) for n, buf, at in rest
        )


def _is_row(node: Node, kernel: Kernel) -> bool:
    return id(node) in kernel.inside and node.attrs.get("axes") is not None and (
        node.op.kind == "reduction"
    )


def row_index(node: Node, kernel: Kernel) -> Index:
    """Return the index of a row-level node: the kept loops, with or without axes of size 1."""
    full = identity_index(kernel.space)
    if node.rank == len(kernel.space):
        zero = Affine(0, (0,) * len(kernel.space))
        return tuple(zero if d in kernel.reduced else a for d, a in enumerate(full))
    return tuple(a for d, a in enumerate(full) if d not in kernel.reduced)


def _along_reduced(
    emitter: Emitter, kernel: Kernel, body: Callable[[], None], small: bool
) -> None:
    """Run a body over every element of the reduced axes, the last of them in vectors."""
    b, space = emitter.builder, kernel.space
    last = kernel.reduced[-1]
    outer = kernel.reduced[:-1]
    whole, tail = inner_bounds(space[last], emitter.lanes)

    def inner() -> None:
        if small:
            emitter.vector, emitter.prelude = last, None
            for start in range(0, space[last], emitter.lanes):
                emitter.loops[last] = I64(start)
                left = space[last] - start
                emitter.mask = None if left >= emitter.lanes else fixed_mask(emitter.lanes, left)
                emitter.forget()
                body()
            emitter.mask = emitter.vector = None
        else:
            vector_loop(emitter, last, I64(0), I64(whole), tail, body)

    if not outer:
        inner()
        return
    count = math.prod(space[d] for d in outer)
    with counted(b, I64(0), I64(count), 1, "reduced") as number:
        outer_position(emitter, number, [space[d] for d in outer], list(outer))
        emitter.forget()
        inner()


def _reduce_pass(
    emitter: Emitter, kernel: Kernel, reductions: list[Node], cells: Cells, small: bool
) -> None:
    """Reduce a row, and make the results known as values of this row."""
    b, m, rank = emitter.builder, emitter.machine, len(kernel.space)
    index = identity_index(kernel.space)
    accumulators = []
    for node in reductions:
        start = start_value(m, node, emitter.lanes)
        cell = cells.new(start.ir.type)
        b.store(start.ir, cell)
        accumulators.append((node, cell, start))

    def body() -> None:
        for node, cell, start in accumulators:
            x = m.splat(emitter.value(node.inputs[0], index), emitter.lanes)
            before = Value(b.load(cell, typ=start.ir.type), node.dtype)
            after = combine(m, node, before, x)
            if emitter.mask is not None:
                after = Value(b.select(emitter.mask, after.ir, before.ir), node.dtype)
            b.store(after.ir, cell)

    _along_reduced(emitter, kernel, body, small)
    emitter.vector, emitter.prelude = None, None
    emitter.forget()
    for node, cell, start in accumulators:
        total = fold_lanes(m, node, Value(b.load(cell, typ=start.ir.type), node.dtype))
        result = m.rounded(total)
        emitter.given[id(node)] = always(result)
    assert rank


__all__ = ["emit_map", "emit_rows", "memory_type"]
