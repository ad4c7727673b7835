"""Code for operations that are neither element-wise nor contractions: gathers, scans, sorting."""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from thalweg.backends.llvm.codegen.emitter import Emitter, Share, counted
from thalweg.backends.llvm.codegen.loop_kernel import inner_bounds, outer_position, vector_loop
from thalweg.backends.llvm.codegen.machine import I64, Value, register_type
from thalweg.backends.llvm.loops import Affine, Index, Kernel, identity_index, linear
from thalweg.graph.dtype import int64
from thalweg.graph.node import Node


def _widened(index: Index, more: int) -> Index:
    """Return an index with further loop variables that it does not use."""
    return tuple(Affine(a.base, a.factors + (0,) * more) for a in index)


def _loop(position: int, count: int) -> Affine:
    return Affine(0, tuple(int(i == position) for i in range(count)))


def _anchor(kernel: Kernel) -> Node:
    assert kernel.anchor is not None
    return kernel.anchor


def _start(emitter: Emitter, count: int) -> None:
    emitter.loops = [I64(0)] * count
    emitter.leave_vector()


def emit_fill(emitter: Emitter, kernel: Kernel, share: Share) -> None:
    """Fill a buffer with the value of a pad, but for the block that its input will fill."""
    node, buffer = kernel.stores[0]
    b, a, shape = emitter.builder, node.attrs, node.shape
    value = emitter.machine.number(a["value"], node.dtype)

    def row(start: ir.Value, count: ir.Value) -> None:
        """Fill elements that lie side by side."""
        lanes = emitter.lanes
        whole = b.mul(b.udiv(count, I64(lanes)), I64(lanes))
        _start(emitter, 1)
        emitter.vector = 0
        with counted(b, I64(0), whole, lanes, "fill") as i:
            emitter.loops = [b.add(start, i)]
            emitter.store(buffer, Affine(0, (1,)), value)
        emitter.vector = None
        with counted(b, whole, count, 1, "rest") as i:
            emitter.loops = [b.add(start, i)]
            emitter.store(buffer, Affine(0, (1,)), value)

    def block(axis: int, start: ir.Value, low: ir.Value, high: ir.Value) -> None:
        """Fill what the input leaves of ``[low, high)`` of an axis, for one outer position."""
        inner = I64(math.prod(shape[axis + 1 :]))
        gaps = range(axis, node.rank) if not any(a["interior"]) else ()
        if not any(a["low"][d] or a["high"][d] for d in gaps):
            if gaps:
                return
            row(b.add(start, b.mul(low, inner)), b.mul(b.sub(high, low), inner))
            return
        first, last = a["low"][axis], shape[axis] - a["high"][axis]
        with counted(b, low, high, 1, "axis") as i:
            at = b.add(start, b.mul(i, inner))
            inside = b.and_(b.icmp_signed(">=", i, I64(first)), b.icmp_signed("<", i, I64(last)))
            if axis == node.rank - 1:
                with b.if_then(b.not_(inside)):
                    row(at, inner)
                return
            with b.if_else(inside) as (then, other):
                with then:
                    block(axis + 1, at, I64(0), I64(shape[axis + 1]))
                with other:
                    row(at, inner)

    if node.rank == 0:
        row(I64(0), I64(1))
        return
    low, high = share(shape[0])
    block(0, I64(0), low, high)


def _inner(emitter: Emitter, axis: int, size: int, body: Callable[[], None]) -> None:
    whole, tail = inner_bounds(size, emitter.lanes)
    if size == 1:
        emitter.forget()
        body()
    else:
        vector_loop(emitter, axis, I64(0), I64(whole), tail, body)


def emit_take(emitter: Emitter, kernel: Kernel, share: Share) -> None:
    """Copy slices: the picked position is one more loop variable."""
    node = _anchor(kernel)
    x, i = node.inputs
    axis, buffer = node.attrs["axis"], kernel.stores[0][1]
    rank = node.rank
    loops = rank + 1
    index = _widened(identity_index(node.shape), 1) if rank else ()
    at = index[axis : axis + i.rank]
    source = (*index[:axis], _loop(rank, loops), *index[axis + i.rank :])
    contiguous = axis + i.rank < rank
    outer = node.shape[:-1] if contiguous else node.shape
    b = emitter.builder
    low, high = share(math.prod(outer))
    with counted(b, low, high, 1, "slice") as number:
        _start(emitter, loops)
        if outer:
            outer_position(emitter, number, outer, list(range(len(outer))))
        emitter.loops[rank] = emitter.machine.cast(emitter.value(i, _some(at, loops)), int64).ir

        def body() -> None:
            emitter.store(buffer, linear(index, node.shape, loops), emitter.value(x, source))

        if contiguous:
            _inner(emitter, rank - 1, node.shape[-1], body)
        else:
            emitter.forget()
            emitter.store(
                buffer, _place(index, node, loops), emitter.value(x, source)
            )


def _some(index: Index, loops: int) -> Index:
    return index if index else ()


def _place(index: Index, node: Node, loops: int) -> Affine:
    return linear(index, node.shape, loops)


def emit_scatter_add(emitter: Emitter, kernel: Kernel, share: Share) -> None:
    """Copy the target, then add slice by slice, in the order of the indices.

    Threads share the axes that are not indexed: each adds to elements of its own. Where the last
    axis is one of them, vectors run along it, and the table is walked row by row.
    """
    node = _anchor(kernel)
    x, i, u = node.inputs
    axis, buffer = node.attrs["axis"], kernel.stores[0][1]
    loops = u.rank + 2
    place_axis, fill_axis = u.rank, u.rank + 1
    updates = _widened(identity_index(u.shape), 2) if u.rank else ()
    at = updates[axis : axis + i.rank]
    around = [*updates[:axis], _loop(place_axis, loops), *updates[axis + i.rank :]]
    every = [*updates[:axis], _loop(fill_axis, loops), *updates[axis + i.rank :]]
    indexed = list(range(axis, axis + i.rank))
    rest = [d for d in range(u.rank) if d not in indexed]
    b, m = emitter.builder, emitter.machine
    along = bool(rest) and rest[-1] == u.rank - 1

    def copy() -> None:
        place = linear(tuple(every), x.shape, loops)
        emitter.store(buffer, place, emitter.value(x, tuple(every)))

    def add() -> None:
        place = linear(tuple(around), x.shape, loops)
        total = m.call("add", emitter.load(buffer, place), emitter.value(u, updates))
        emitter.store(buffer, place, m.rounded(total))

    outer = rest[:-1] if along else rest
    numbers, columns = _shared_columns(
        emitter, share, [u.shape[d] for d in outer], u.rank - 1, u.shape[-1] if along else 0
    )
    with counted(b, *numbers, 1, "lane") as number:
        _start(emitter, loops)
        outer_position(emitter, number, [u.shape[d] for d in outer], outer) if outer else None
        with counted(b, I64(0), I64(x.shape[axis]), 1, "fill") as f:
            emitter.loops[fill_axis] = f
            columns(copy)
        with counted(b, I64(0), I64(math.prod(i.shape)), 1, "update") as number2:
            if indexed:
                outer_position(emitter, number2, list(i.shape), indexed)
            emitter.forget()
            emitter.loops[place_axis] = m.cast(emitter.value(i, _some(at, loops)), int64).ir
            columns(add)


def _shared_columns(
    emitter: Emitter, share: Share, outer: list[int], axis: int, size: int
) -> tuple[tuple[ir.Value, ir.Value], Callable[[Callable[[], None]], None]]:
    """Return this thread's outer positions, and what emits a body for its part of an axis.

    ``size``: of the axis, 0 if the body is for single elements. Threads share the vectors of the
    axis if there are more of them than outer positions.
    """
    b, lanes, count = emitter.builder, emitter.lanes, math.prod(outer)
    whole, tail = inner_bounds(size, lanes)
    chunks = -(-size // lanes)

    def one(body: Callable[[], None]) -> None:
        emitter.forget()
        body()

    def all_vectors(body: Callable[[], None]) -> None:
        vector_loop(emitter, axis, I64(0), I64(whole), tail, body)

    if size < 2 or chunks <= count:
        return share(count), all_vectors if size > 1 else one
    low, high = share(chunks)
    start, end = b.mul(low, I64(lanes)), b.mul(high, I64(lanes))
    stop = b.select(b.icmp_signed("<", end, I64(whole)), end, I64(whole))

    def own_vectors(body: Callable[[], None]) -> None:
        vector_loop(emitter, axis, start, stop, 0, body)
        if tail:
            with b.if_then(b.icmp_signed("==", high, I64(chunks))):
                vector_loop(emitter, axis, I64(whole), I64(whole), tail, body)

    return (I64(0), I64(count)), own_vectors


def emit_take_along(emitter: Emitter, kernel: Kernel, share: Share) -> None:
    """Pick element by element."""
    node = _anchor(kernel)
    x, i = node.inputs
    axis, buffer = node.attrs["axis"], kernel.stores[0][1]
    rank = node.rank
    loops = rank + 1
    index = _widened(identity_index(node.shape), 1)
    source = (*index[:axis], _loop(rank, loops), *index[axis + 1 :])
    low, high = share(math.prod(node.shape))
    with counted(emitter.builder, low, high, 1, "i") as number:
        _start(emitter, loops)
        outer_position(emitter, number, node.shape, list(range(rank)))
        picked = emitter.machine.cast(emitter.value(i, index), int64)
        emitter.loops[rank] = picked.ir
        emitter.forget()
        emitter.store(buffer, linear(index, node.shape, loops), emitter.value(x, source))


def emit_add_along(emitter: Emitter, kernel: Kernel, share: Share) -> None:
    """Copy the target row by row, then add the updates of the row in order."""
    node = _anchor(kernel)
    x, i, u = node.inputs
    axis, buffer = node.attrs["axis"], kernel.stores[0][1]
    rank, m, b = node.rank, emitter.machine, emitter.builder
    loops = rank + 1
    index = _widened(identity_index(node.shape), 1)
    target = (*index[:axis], _loop(rank, loops), *index[axis + 1 :])
    rest = [d for d in range(rank) if d != axis]
    low, high = share(math.prod(node.shape[d] for d in rest))
    with counted(b, low, high, 1, "row") as number:
        _start(emitter, loops)
        if rest:
            outer_position(emitter, number, [node.shape[d] for d in rest], rest)
        with counted(b, I64(0), I64(node.shape[axis]), 1, "copy") as k:
            emitter.loops[axis] = k
            emitter.forget()
            emitter.store(buffer, linear(index, x.shape, loops), emitter.value(x, index))
        with counted(b, I64(0), I64(i.shape[axis]), 1, "update") as k:
            emitter.loops[axis] = k
            emitter.forget()
            picked = m.cast(emitter.value(i, index), int64)
            emitter.loops[rank] = picked.ir
            emitter.forget()
            place = linear(target, x.shape, loops)
            total = m.call("add", emitter.load(buffer, place), emitter.value(u, index))
            emitter.store(buffer, place, m.rounded(total))


def emit_cumulative_sum(emitter: Emitter, kernel: Kernel, share: Share) -> None:
    """Add up along one axis, the others shared by threads."""
    node = _anchor(kernel)
    x = node.inputs[0]
    axis, buffer = node.attrs["axis"], kernel.stores[0][1]
    rank, m, b = node.rank, emitter.machine, emitter.builder
    index = identity_index(node.shape)
    rest = [d for d in range(rank) if d != axis]
    kind = register_type(node.dtype)
    with b.goto_block(b.function.entry_basic_block):
        cell = b.alloca(kind)
    low, high = share(math.prod(node.shape[d] for d in rest))
    with counted(b, low, high, 1, "row") as number:
        _start(emitter, rank)
        if rest:
            outer_position(emitter, number, [node.shape[d] for d in rest], rest)
        b.store(m.number(0, node.dtype).ir, cell)
        with counted(b, I64(0), I64(node.shape[axis]), 1, "k") as k:
            emitter.loops[axis] = k
            emitter.forget()
            before = Value(b.load(cell, typ=kind), node.dtype)
            total = m.call("add", before, emitter.value(x, index))
            b.store(total.ir, cell)
            emitter.store(buffer, linear(index, node.shape, rank), total)


def _is_less(emitter: Emitter, a: Value, b: Value) -> ir.Value:
    """Return whether a comes before b; NaN comes after every number."""
    m = emitter.machine
    less = m.call("less", a, b)
    if not a.dtype.is_float:
        return less.ir
    tail = m.call("logical_and", m.call("isnan", b), m.call("logical_not", m.call("isnan", a)))
    return m.call("logical_or", less, tail).ir


def _extreme_position(largest: bool) -> Callable[[Emitter, Kernel, Share], None]:
    def emit(emitter: Emitter, kernel: Kernel, share: Share) -> None:
        node = _anchor(kernel)
        x = node.inputs[0]
        axis, buffer = node.attrs["axis"], kernel.stores[0][1]
        rank, m, b = x.rank, emitter.machine, emitter.builder
        index = identity_index(x.shape)
        kept = tuple(a for d, a in enumerate(index) if d != axis)
        rest = [d for d in range(rank) if d != axis]
        kind = register_type(x.dtype)
        with b.goto_block(b.function.entry_basic_block):
            best, where = b.alloca(kind), b.alloca(I64)
        low, high = share(math.prod(x.shape[d] for d in rest))
        with counted(b, low, high, 1, "row") as number:
            _start(emitter, rank)
            if rest:
                outer_position(emitter, number, [x.shape[d] for d in rest], rest)
            b.store(emitter.value(x, index).ir, best)
            b.store(I64(0), where)
            with counted(b, I64(1), I64(x.shape[axis]), 1, "k") as k:
                emitter.loops[axis] = k
                emitter.forget()
                now = emitter.value(x, index)
                old = Value(b.load(best, typ=kind), x.dtype)
                better = m.call("greater" if largest else "less", now, old)
                if x.dtype.is_float:  # the first NaN wins
                    nan = m.call("logical_and", m.call("isnan", now),
                                 m.call("logical_not", m.call("isnan", old)))  # fmt: skip
                    better = m.call("logical_or", better, nan)
                b.store(b.select(better.ir, now.ir, old.ir), best)
                b.store(b.select(better.ir, k, b.load(where, typ=I64)), where)
            emitter.loops[axis] = I64(0)
            emitter.forget()
            place = linear(kept, node.shape, rank) if kept else Affine(0, (0,) * rank)
            emitter.store(buffer, place, Value(b.load(where, typ=I64), int64))

    return emit


def emit_argsort(emitter: Emitter, kernel: Kernel, share: Share) -> None:
    """Sort positions by merging runs of doubling length: stable, n log n comparisons."""
    node = _anchor(kernel)
    x = node.inputs[0]
    axis, buffer = node.attrs["axis"], kernel.stores[0][1]
    n, rank, b = node.shape[axis], node.rank, emitter.builder
    index = identity_index(node.shape)
    rest = [d for d in range(rank) if d != axis]
    low, high = share(math.prod(node.shape[d] for d in rest))
    with b.goto_block(b.function.entry_basic_block):
        size = b.mul(I64(8 * max(n, 1)), I64(1))
    malloc, free = _memory_functions(b)
    one = b.call(malloc, [size])
    two = b.call(malloc, [size])
    with counted(b, low, high, 1, "row") as number:
        _start(emitter, rank)
        if rest:
            outer_position(emitter, number, [node.shape[d] for d in rest], rest)
        outer = list(emitter.loops)
        with counted(b, I64(0), I64(n), 1, "k") as k:
            b.store(k, b.gep(one, [k], source_etype=I64))

        def element(position: ir.Value) -> Value:
            emitter.loops = list(outer)
            emitter.loops[axis] = position
            emitter.forget()
            return emitter.value(x, index)

        source, target = one, two
        width = 1
        while width < n:
            _merge_round(emitter, source, target, n, width, element)
            source, target = target, source
            width *= 2
        with counted(b, I64(0), I64(n), 1, "k") as k:
            emitter.loops = list(outer)
            emitter.loops[axis] = k
            emitter.forget()
            value = b.load(b.gep(source, [k], source_etype=I64), typ=I64)
            emitter.store(buffer, linear(index, node.shape, rank), Value(value, int64))
    b.call(free, [one])
    b.call(free, [two])


def _memory_functions(b: ir.IRBuilder) -> tuple[ir.Function, ir.Function]:
    pointer, void = ir.PointerType(), ir.VoidType()
    found = []
    for name, kind in (("malloc", ir.FunctionType(pointer, [I64])),
                       ("free", ir.FunctionType(void, [pointer]))):  # fmt: skip
        known = b.module.globals.get(name)
        found.append(known if known is not None else ir.Function(b.module, kind, name))
    return found[0], found[1]


def _merge_round(
    emitter: Emitter, source: ir.Value, target: ir.Value, n: int, width: int,
    element: Callable[[ir.Value], Value],
) -> None:  # fmt: skip
    """Merge neighbouring sorted runs of ``width`` positions."""
    b = emitter.builder
    at = lambda array, i: b.gep(array, [i], source_etype=I64)  # noqa: E731
    with b.goto_block(b.function.entry_basic_block):
        left, right = b.alloca(I64), b.alloca(I64)
    with counted(b, I64(0), I64(n), 2 * width, "run") as start:
        bound = lambda k: b.select(  # noqa: E731
            b.icmp_signed("<", b.add(start, I64(k)), I64(n)), b.add(start, I64(k)), I64(n)
        )
        middle, end = bound(width), bound(2 * width)
        b.store(start, left)
        b.store(middle, right)
        with counted(b, start, end, 1, "out") as out:
            i, j = b.load(left, typ=I64), b.load(right, typ=I64)
            more_left = b.icmp_signed("<", i, middle)
            more_right = b.icmp_signed("<", j, end)
            safe_i = b.select(more_left, i, start)
            safe_j = b.select(more_right, j, start)
            p = b.load(at(source, safe_i), typ=I64)
            q = b.load(at(source, safe_j), typ=I64)
            before = _is_less(emitter, element(q), element(p))
            from_right = b.and_(more_right, b.or_(b.not_(more_left), before))
            b.store(b.select(from_right, q, p), at(target, out))
            b.store(b.select(from_right, i, b.add(i, I64(1))), left)
            b.store(b.select(from_right, b.add(j, I64(1)), j), right)


EMIT: dict[str, Callable[[Emitter, Kernel, Share], None]] = {
    "add_along_axis": emit_add_along,
    "argmax": _extreme_position(True),
    "argmin": _extreme_position(False),
    "argsort": emit_argsort,
    "cumulative_sum": emit_cumulative_sum,
    "fill": emit_fill,
    "scatter_add": emit_scatter_add,
    "take": emit_take,
    "take_along_axis": emit_take_along,
}

__all__ = ["EMIT"]
