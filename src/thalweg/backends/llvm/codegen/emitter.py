"""Evaluates graph nodes inside of loops: loads, views, formulas, at scalar or vector indices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import reduce
from typing import Any

from llvmlite import ir

from thalweg.backends.llvm.codegen.constants import anything, in_all, zeros
from thalweg.backends.llvm.codegen.machine import (
    I1,
    I8,
    I32,
    I64,
    POINTER,
    Machine,
    Value,
    memory_type,
    suffix,
)
from thalweg.backends.llvm.loops import Affine, Buffer, Index, linear, source_index
from thalweg.graph.dtype import DType, int64
from thalweg.graph.node import Node
from thalweg.graph.shape import contiguous_strides

Pointers = Callable[[Buffer], ir.Value]
Given = Callable[[Index], Value]
Memory = tuple[dict[Any, Value], dict[Any, Value]]  # values of vectors, and of single elements
Term = tuple[int, ir.Value]  # so many times a loop variable
Share = Callable[[int], tuple[ir.Value, ir.Value]]  # this thread's range of so many pieces of work


class Emitter:
    """Emits the value of a node at an index, and stores.

    ``loops``: the current value of each loop variable. ``vector``: which loop runs over lanes, if
    any, and ``mask`` which of them exist. Where lanes cover several short axes, ``across`` says for
    each of these what its lanes add to the loop variable. Values that do not depend on the vector
    loop are emitted as scalars at the end of ``prelude``, a block that the inner loop follows.
    """

    def __init__(
        self, builder: ir.IRBuilder, pointers: Pointers, buffers: dict[int, Buffer],
        inside: set[int], lanes: int, fault: Callable[[], ir.Value],
    ) -> None:  # fmt: skip
        self.builder = builder
        self.machine = Machine(builder)
        self.pointers, self.buffers, self.inside = pointers, buffers, inside
        self.lanes = lanes
        self.fault = fault
        self.loops: list[ir.Value] = []
        self.vector: int | None = None
        self.across: dict[int, tuple[int, ...]] = {}
        self.mask: ir.Value | None = None
        self.prelude: ir.Block | None = None
        self.given: dict[int, Given] = {}
        self._memo: dict[Any, Value] = {}
        self._fixed: dict[Any, Value] = {}
        self._sums: dict[tuple[Any, ...], ir.Value] = {}

    def forget(self, fixed: bool = True) -> None:
        """Drop remembered values: those of the inner loop, or with ``fixed`` all."""
        self._memo = {}
        if fixed:
            self._fixed = {}

    def recall(self, memory: Memory, axes: Iterable[int]) -> None:
        """Go on with values remembered before, but for those that change with some loops."""
        for part in memory:
            for key in [k for k in part if any(a.factor(axis) for a in k[1] for axis in axes)]:
                del part[key]
        self._memo, self._fixed = memory

    def leave_vector(self) -> None:
        """Go on with single elements."""
        self.vector = self.mask = self.prelude = None
        self.across = {}
        self.forget()

    @contextmanager
    def outside(self) -> Any:
        """Emit at the end of the prelude meanwhile."""
        if self.prelude is None or self.builder.block is self.prelude:  # or there already
            yield
            return
        with self.builder.goto_block(self.prelude):
            yield

    def depends(self, index: Index) -> bool:
        """Whether an index changes from lane to lane."""
        axes = self.across or (() if self.vector is None else (self.vector,))
        return any(a.factor(axis) for a in index for axis in axes)

    def steps(self, place: Affine) -> tuple[int, ...]:
        """Return what each lane adds to a place; nothing, if it is the same for all."""
        if not self.across:
            factor = place.factor(self.vector)
            return tuple(factor * i for i in range(self.lanes)) if factor else ()
        rows = [[place.factor(axis) * n for n in more] for axis, more in self.across.items()]
        steps = tuple(map(sum, zip(*rows, strict=True)))
        return steps if any(steps) else ()

    # --- values ---------------------------------------------------------------------------

    def value(self, node: Node, index: Index) -> Value:
        """Return the value of a node at an index."""
        key = (id(node), index)
        varying = self.depends(index)
        memory = self._memo if varying else self._fixed
        if key not in memory:
            if varying or self.vector is None:
                memory[key] = self._compute(node, index)
            else:
                with self.outside():
                    memory[key] = self._compute(node, index)
        return memory[key]

    def _compute(self, node: Node, index: Index) -> Value:
        if id(node) in self.given:
            return self.given[id(node)](index)
        if self.stored(node):
            return self.load(self.buffers[id(node)], linear(index, node.shape, len(self.loops)))
        name = node.op.name
        if name == "full":
            return self.machine.number(node.attrs["value"], node.dtype)
        if name == "iota":
            return self._iota(index[0], node.dtype)
        if name == "reshape":
            return self._reshaped(node, index)
        if name == "checked_index":
            return self._checked(node, index)
        if node.op.kind in ("movement", "identity"):
            moved = source_index(node, index)
            assert moved is not None, node
            return self.value(node.inputs[0], moved)
        assert node.op.formula is not None, f"{node.op.name} was not given a value"
        parts = []
        for i, source in enumerate(node.inputs):
            at = source_index(node, index, i)
            assert at is not None
            parts.append(self.value(source, at))
        result = node.op.formula(self.machine, *parts, **node.attrs)
        return self.machine.rounded(result)

    def _reshaped(self, node: Node, index: Index) -> Value:
        source = node.inputs[0]
        while source.op.name == "reshape" and not self.stored(source):
            source = source.inputs[0]
        place = linear(index, node.shape, len(self.loops))
        if self.stored(source):
            return self.load(self.buffers[id(source)], place)
        if source.op.name == "iota":
            return self._iota(place, source.dtype)
        moved = source_index(node, index)
        assert moved is not None, node
        return self.value(node.inputs[0], moved)

    def stored(self, node: Node) -> bool:
        """Whether a node was computed before and is read from memory."""
        return id(node) in self.buffers and id(node) not in self.inside

    def _checked(self, node: Node, index: Index) -> Value:
        """Return an index counted from the front; one out of range is noted and becomes 0."""
        m = self.machine
        at = source_index(node, index)
        assert at is not None
        given = m.cast(self.value(node.inputs[0], at), int64)
        size = m.number(node.attrs["size"], int64)
        zero = m.number(0, int64)
        wrapped = m.select(m.call("less", given, zero), m.call("add", given, size), given)
        bad = m.builder.icmp_unsigned(">=", *(v.ir for v in m.aligned(wrapped, size)))
        self.report(bad, node.attrs["site"])
        return m.select(Value(bad, node.dtype), zero, wrapped)

    def report(self, bad: ir.Value, site: int) -> None:
        """Note the number of a check that failed in any lane, for the caller to raise."""
        b = self.builder
        if isinstance(bad.type, ir.VectorType):
            if self.mask is not None:
                bad = b.and_(bad, self.mask)
            name = f"llvm.vector.reduce.or.{suffix(bad.type)}"
            function = b.module.globals.get(name) or ir.Function(
                b.module, ir.FunctionType(I1, [bad.type]), name
            )
            bad = b.call(function, [bad])
        fault = self.fault()
        old = b.load(fault, typ=I64)
        b.store(b.select(bad, I64(site), old), fault)

    def _iota(self, place: Affine, dtype: DType) -> Value:
        base = self.address(place)
        scalar = self.machine.cast(Value(base, int64), dtype)
        steps = self.steps(place)
        if not steps:
            return scalar
        integer = int64 if dtype.is_float else dtype
        kind = ir.VectorType(I64 if dtype.is_float else scalar.ir.type, self.lanes)
        ramp = Value(ir.Constant(kind, self._filled(steps)), integer)
        start = Value(base, int64) if dtype.is_float else scalar
        together = self.machine.call("add", start, ramp)
        return self.machine.cast(together, dtype)

    # --- memory ---------------------------------------------------------------------------

    def _terms(self, place: Affine) -> tuple[int, list[Term], list[Term]]:
        """Return a place as a number, and the loops that are added, apart those of the lanes."""
        inner = self.across or (() if self.vector is None else (self.vector,))
        base, same, moving = place.base, list[Term](), list[Term]()
        for i, (factor, loop) in enumerate(zip(place.factors, self.loops, strict=False)):
            if factor and isinstance(loop, ir.Constant):
                base += factor * loop.constant
            elif factor:
                (moving if i in inner else same).append((factor, loop))
        return base, same, moving

    def _sum(self, terms: list[Term]) -> ir.Value:
        """Return a sum of multiples, which a block holds once."""
        key = (id(self.builder.block), *((factor, id(loop)) for factor, loop in terms))
        if key not in self._sums:
            b = self.builder
            parts = [loop if n == 1 else b.mul(loop, I64(n)) for n, loop in terms]
            self._sums[key] = reduce(b.add, parts)
        return self._sums[key]

    def _moved(self, pointer: ir.Value, kind: ir.Type, terms: list[Term]) -> ir.Value:
        """Return a pointer so many elements further, which a block holds once."""
        if not terms:
            return pointer
        by = self._sum(terms)
        key = (id(self.builder.block), id(pointer), id(by))
        if key not in self._sums:
            self._sums[key] = self.builder.gep(pointer, [by], source_etype=kind)
        return self._sums[key]

    def address(self, place: Affine) -> ir.Value:
        """Return an affine number as an i64."""
        base, same, moving = self._terms(place)
        if not same and not moving:
            return I64(base)
        total = self._sum(same + moving)
        return self.builder.add(total, I64(base)) if base else total

    def pointer(self, buffer: Buffer, place: Affine) -> ir.Value:
        """Return the address of an element; what lanes do not change is added before their loop.

        Neighbours, as in windows, differ by a number, which a processor adds as it reads.
        """
        kind = memory_type(buffer.dtype)
        base, same, moving = self._terms(place)
        pointer = self.pointers(buffer)
        with self.outside():
            pointer = self._moved(pointer, kind, same)
        pointer = self._moved(pointer, kind, moving)
        return self.builder.gep(pointer, [I64(base)], source_etype=kind) if base else pointer

    def load(self, buffer: Buffer, place: Affine) -> Value:
        """Return what is stored at a place: a scalar, a vector, or scattered lanes."""
        kind = memory_type(buffer.dtype)
        pointer = self.pointer(buffer, place)
        steps = self.steps(place)
        m = self.machine
        if not steps:
            return m.unpack(self.builder.load(pointer, typ=kind), buffer.dtype)
        vector = ir.VectorType(kind, self.lanes)
        align = buffer.dtype.itemsize
        contiguous = _contiguous(steps)
        if contiguous and self.mask is None:
            return m.unpack(self.builder.load(pointer, align=align, typ=vector), buffer.dtype)
        nothing = zeros(vector)
        if contiguous:
            stored = self._masked("load", vector, pointer, align, nothing)
        elif self.across and max(steps) - min(steps) < 2 * self.lanes:
            stored = self._picked(pointer, vector, align, steps)
        else:
            spread = self._spread(pointer, kind, steps)
            stored = self._masked("gather", vector, spread, align, nothing)
        return m.unpack(stored, buffer.dtype)

    def _picked(
        self, pointer: ir.Value, vector: ir.Type, align: int, steps: tuple[int, ...]
    ) -> ir.Value:
        """Return lanes that lie near each other: one or two vectors are read, and shuffled."""
        b, low, lanes = self.builder, min(steps), self.lanes
        touched = {n - low for n in steps}
        parts = []
        for first in (0, lanes):
            here = [first + i in touched for i in range(lanes)]
            mask = ir.Constant(ir.VectorType(I1, lanes), here)
            start = b.gep(pointer, [I64(low + first)], source_etype=vector.element)
            part = zeros(vector)
            if any(n >= first for n in touched):
                part = self._masked("load", vector, start, align, part, mask)
            parts.append(part)
        order = [n - low for n in self._filled(steps)]
        return b.shuffle_vector(*parts, ir.Constant(ir.VectorType(I32, lanes), order))

    def _filled(self, steps: tuple[int, ...]) -> list[int]:
        """Return the steps of all lanes; those that do not exist get one that does."""
        return [*steps, *[steps[0]] * (self.lanes - len(steps))]

    def _spread(self, pointer: ir.Value, kind: ir.Type, steps: tuple[int, ...]) -> ir.Value:
        places = ir.Constant(ir.VectorType(I64, self.lanes), self._filled(steps))
        spread = self.builder.gep(pointer, [places], source_etype=kind)
        spread.type = ir.VectorType(POINTER, self.lanes)  # llvmlite takes it for one pointer
        return spread

    def _all(self) -> ir.Value:
        return self.mask or in_all(I1(1), self.lanes)

    def _masked(
        self, what: str, vector: ir.Type, pointer: ir.Value, align: int, rest: ir.Value,
        mask: ir.Value | None = None,
    ) -> ir.Value:  # fmt: skip
        name = f"llvm.masked.{what}.{_name(vector)}.{_name(pointer.type)}"
        module = self.builder.module
        function = module.globals.get(name)
        mask = self._all() if mask is None else mask
        if function is None:
            kinds = [pointer.type, mask.type, vector]
            function = ir.Function(module, ir.FunctionType(vector, kinds), name)
        return aligned(self.builder.call(function, [pointer, mask, rest]), 0, align)

    def store_all(self, results: Iterable[tuple[Buffer, Affine, Value]]) -> None:
        """Store results, all of which are computed before: one may replace what another reads."""
        for buffer, place, value in list(results):
            self.store(buffer, place, value)

    def store(self, buffer: Buffer, place: Affine, value: Value) -> None:
        """Store a scalar, a vector, or lanes scattered by a stride."""
        m, b = self.machine, self.builder
        steps = self.steps(place)
        pointer = self.pointer(buffer, place)
        align = buffer.dtype.itemsize
        if not steps:
            b.store(m.pack(value), pointer)
            return
        packed = m.pack(m.splat(value, self.lanes))
        contiguous = _contiguous(steps)
        if contiguous and self.mask is None:
            b.store(packed, pointer, align=align)
            return
        bits = isinstance(packed.type.element, ir.IntType)
        if contiguous and bits and _has_one_lane(self.mask):
            b.store(b.extract_element(packed, I32(0)), pointer, align=align)
            return
        what = "store" if contiguous else "scatter"
        if not contiguous:
            pointer = self._spread(pointer, memory_type(buffer.dtype), steps)
        name = f"llvm.masked.{what}.{_name(packed.type)}.{_name(pointer.type)}"
        module = b.module
        function = module.globals.get(name)
        mask = self._all()
        if function is None:
            kinds = [packed.type, pointer.type, mask.type]
            function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        aligned(b.call(function, [packed, pointer, mask]), 1, align)


def _contiguous(steps: tuple[int, ...]) -> bool:
    return steps == tuple(range(len(steps)))


def aligned(call: ir.Value, position: int, align: int) -> ir.Value:
    """Say how an argument of a call is aligned."""
    attributes = ir.values.ArgumentAttributes()
    attributes.align = align
    call.arg_attributes[position] = attributes
    return call


def _name(kind: ir.Type) -> str:
    if isinstance(kind, ir.PointerType):
        return "p0"
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_name(kind.element)}"
    return suffix(kind)


def lane_mask(builder: ir.IRBuilder, lanes: int, remaining: ir.Value) -> ir.Value:
    """Return a mask of the lanes below a number."""
    numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    count = builder.trunc(remaining, I32) if remaining.type != I32 else remaining
    kind = ir.VectorType(I32, lanes)
    one = builder.insert_element(anything(kind), count, I32(0))
    limit = builder.shuffle_vector(one, anything(kind), zeros(kind))
    return builder.icmp_signed("<", numbers, limit)


def fixed_mask(lanes: int, count: int) -> ir.Value:
    """Return a constant mask of the first ``count`` lanes."""
    return ir.Constant(ir.VectorType(I1, lanes), [int(i < count) for i in range(lanes)])


def _has_one_lane(mask: ir.Value) -> bool:
    """Return whether a mask is a constant that has the first lane alone.

    LLVM 22 stores such a lane of a narrowed vector with its old width, over what lies behind it.
    """
    return isinstance(mask, ir.Constant) and [int(x.constant) for x in mask.constant] == [
        int(i == 0) for i in range(len(mask.constant))
    ]


@contextmanager
def counted(builder: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int, name: str) -> Any:
    """Emit a loop ``for i in range(start, stop, step)``; yields ``i``."""
    before = builder.block
    head = builder.append_basic_block(f"{name}.head")
    body = builder.append_basic_block(f"{name}.body")
    end = builder.append_basic_block(f"{name}.end")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(I64, name)
    i.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", i, stop), body, end)
    builder.position_at_end(body)
    yield i
    i.add_incoming(builder.add(i, I64(step), flags=("nsw",)), builder.block)
    builder.branch(head)
    builder.position_at_end(end)


def always(value: Value) -> Given:
    """Return a function that gives this value at every index."""
    return lambda _: value


def strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return row-major strides in elements."""
    return contiguous_strides(shape)


__all__ = [
    "I1", "I8", "POINTER", "Emitter", "Share", "always", "counted", "fixed_mask", "lane_mask",
    "strides_of",
]  # fmt: skip
