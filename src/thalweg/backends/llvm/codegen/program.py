"""The program: kernels in order with barriers between, steps repeated, inputs gathered."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from thalweg.backends.llvm.codegen import structured
from thalweg.backends.llvm.codegen.column_kernel import emit_columns
from thalweg.backends.llvm.codegen.common_functions import CommonFunctions, emit_gather
from thalweg.backends.llvm.codegen.contraction import emit_contraction
from thalweg.backends.llvm.codegen.division import WideModule
from thalweg.backends.llvm.codegen.emitter import Emitter, Share, counted
from thalweg.backends.llvm.codegen.half import PlainModule
from thalweg.backends.llvm.codegen.loop_kernel import emit_map, emit_rows
from thalweg.backends.llvm.codegen.machine import I8, I32, I64, POINTER
from thalweg.backends.llvm.codegen.packing import emit_pack
from thalweg.backends.llvm.codegen.sameness import digest, kernel_signature
from thalweg.backends.llvm.codegen.tiles import Tiles, known_here
from thalweg.backends.llvm.loops import Buffer, Loop, Schedule, Slot, Step, passes_of
from thalweg.graph.node import Node

HEADER = 3  # words before the inputs: arena, fault, number of steps
PER_INPUT, PER_OUTPUT = 4, 2
VOID = ir.VoidType()


MANY = 64  # steps; a program of fewer is compiled well in little time
PIECE = 1 << 17  # characters of IR that are compiled at one time


@dataclass(frozen=True)
class Text:
    """The IR of functions that are compiled together.

    ``what`` they are: kernels of a program of ``few`` or ``many``, ``common`` functions, or the
    ``calls`` of all kernels, which take little of the time of a step, but much of LLVM's. The names
    of kernels and of what they call say what is in them; the calls are of one program.
    """

    ir: str
    what: str
    defines: tuple[str, ...]
    needs: tuple[str, ...]  # what is called, but defined by another text


Ready = Callable[[Text], object]
Known = Callable[[str], bool]


@dataclass
class Program:
    """The emitted IR and the names of its kernels, by ``id`` of their step."""

    text: str
    kernels: dict[int, str]


class _Written(ir.Function):
    """A function whose text is made once; it does not change afterwards."""

    text = ""

    def __str__(self) -> str:
        return self.text or str(super().__str__())


class ProgramWriter:
    """Writes the LLVM module of a schedule.

    With ``ready`` the IR is given away in pieces, so that the first ones are compiled while the
    others are written. What is ``known`` by its name was compiled for an earlier program.
    """

    def __init__(
        self, schedule: Schedule, lanes: int, fused: bool, triple: str,
        emit_barrier: Callable[[ir.Module], ir.Function], ready: Ready | None = None,
        known: Known = lambda name: False,
    ) -> None:  # fmt: skip
        self.ready, self.known = ready, known
        self.schedule, self.lanes, self.emit_barrier = schedule, lanes, emit_barrier
        plain = lanes == 4 and triple.startswith(("x86", "i686"))
        self.kind = WideModule if lanes == 16 else PlainModule if plain else ir.Module
        self.triple = triple
        self.module, self.elsewhere = self._new_module(), self._new_module()
        self.common = CommonFunctions(apart=ready is not None)
        self.tiles = Tiles(self.module, self.elsewhere, fused, self.common, known)
        self.length = 0  # of the texts of this module's kernels
        self.written: dict[str, ir.Function] = {}  # by signature, and by text
        self.made: dict[str, ir.Function] = {}
        self.nodes = schedule.buffers
        self.functions: dict[int, tuple[ir.Function, list[Buffer]]] = {}
        self.constants: dict[int, ir.GlobalVariable] = {}
        self.many = _count(schedule) > MANY

    def write(self) -> Program:
        """Return the module with its kernels and the function ``run``."""
        self._functions(self.schedule)
        if self.ready is not None:
            self._next_piece()
        self._run()
        text = str(self.module)
        if self.ready is not None:
            for name, common in self.common.texts.items():
                if not self.known(name):
                    self.ready(Text(common, "common", (name,), ()))
            self.ready(self._text("calls"))
        return Program(text, {k: f.name for k, (f, _) in self.functions.items()})

    def _new_module(self) -> ir.Module:
        module = self.kind(name="thalweg")
        module.triple = self.triple
        return module

    def _next_piece(self) -> None:
        """Give this module away and begin another one."""
        assert self.ready is not None
        text = self._text("many" if self.many else "few")
        if text.defines:
            self.ready(text)
        self.module = self.tiles.module = self._new_module()
        self.length = 0

    def _text(self, what: str) -> Text:
        functions = [f for f in self.module.functions if not f.name.startswith("llvm.")]
        defines = tuple(f.name for f in functions if not f.is_declaration and f.linkage == "")
        needs = tuple(f.name for f in functions if f.is_declaration)
        return Text(str(self.module), what, defines, needs)

    # --- kernels --------------------------------------------------------------------------

    def _functions(self, schedule: Schedule) -> None:
        """Write the function of every step, those of the bodies of loops too."""
        for step in schedule.before + schedule.steps:
            if step.loop is not None:
                self._functions(step.loop.schedule)
            else:
                self.nodes = schedule.buffers
                self.functions[id(step)] = self._kernel(len(self.functions), step)
                if self.ready is not None and self.length > PIECE:
                    self._next_piece()

    def _kernel(self, number: int, step: Step) -> tuple[ir.Function, list[Buffer]]:
        """Return the function of a step and the buffers that it is called with."""
        buffers = list({id(b): b for b in step.reads + step.writes}.values())
        signature = kernel_signature(step, buffers, self.nodes)
        if signature in self.written:
            return self.written[signature], buffers
        kind = ir.FunctionType(VOID, [POINTER] * (len(buffers) + 1) + [I64, I64])
        name = f"kernel{number}_{step.kernel.kind}"
        if self.ready is not None:
            name = f"kernel_{step.kernel.kind}_{digest(self.many, signature)}"
        if self.known(name):
            function = self.written[signature] = ir.Function(self.elsewhere, kind, name)
            return function, buffers
        function = _Written(self.module, kind, name)
        function.attributes.add("nounwind")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        body = builder.append_basic_block("start")
        place = {id(b): a for b, a in zip(buffers, function.args, strict=False)}
        *_, fault, thread, threads = function.args
        emitter = Emitter(
            builder, lambda b: place[id(b)], self.nodes, step.kernel.inside, self.lanes,
            lambda: fault,
        )  # fmt: skip
        builder.position_at_end(body)
        share = self._share(builder, thread, threads)
        self._emit(emitter, step, share)
        builder.ret_void()
        builder.position_at_end(function.entry_basic_block)
        builder.branch(body)
        self.written[signature] = made = self._deduplicated(function)
        return made, buffers

    def _share(self, b: ir.IRBuilder, thread: ir.Value, threads: ir.Value) -> Share:
        """Return a function that gives this thread's range of so many equal pieces of work."""

        def share(units: int) -> tuple[ir.Value, ir.Value]:
            total = I64(units)
            low = b.udiv(b.mul(total, thread), threads)
            high = b.udiv(b.mul(total, b.add(thread, I64(1))), threads)
            return low, high

        return share

    def _emit(self, emitter: Emitter, step: Step, share: Share) -> None:
        kernel = step.kernel
        if step.packs:
            assert step.plan is not None
            assert step.packed is not None
            emit_pack(emitter, step.plan, step.packed.dtype, self.tiles, share, step.packed)
        elif kernel.kind == "contraction":
            assert step.plan is not None
            emit_contraction(
                emitter, kernel, step.plan, self.tiles, share, step.packed, step.sums
            )
        elif kernel.kind == "map":
            emit_map(emitter, kernel, share, step.slices or 1)
        elif kernel.kind == "rows":
            emit_rows(emitter, kernel, share, passes_of(kernel))
        elif kernel.kind == "columns":
            emit_columns(emitter, kernel, share)
        else:
            structured.EMIT[kernel.kind](emitter, kernel, share)

    def _deduplicated(self, function: _Written) -> ir.Function:
        """Return an equal function that was made before, if there is one."""
        text = function.text = str(function)
        key = hashlib.sha256(text.replace(function.name, "kernel").encode()).hexdigest()
        known = self.made.setdefault(key, function)
        if known is not function:
            del self.module.globals[function.name]
        else:
            self.length += len(text)
        return known

    # --- the program ----------------------------------------------------------------------

    def _run(self) -> None:
        """Write ``void run(ptr table, i64 thread, i64 threads, ptr barrier)``."""
        barrier = self.common.get(self.module, "barrier", self.emit_barrier)
        kind = ir.FunctionType(VOID, [POINTER, I64, I64, POINTER])
        run = ir.Function(self.module, kind, "run")
        table, thread, threads, state = run.args
        b = ir.IRBuilder(run.append_basic_block("entry"))
        word = lambda i, t=I64: b.load(  # noqa: E731
            b.gep(table, [I64(i)], source_etype=I64), typ=t
        )
        arena, fault, steps = word(0, POINTER), word(1, POINTER), word(2)
        restore = flush_subnormals(b)
        with counted(b, I64(0), steps, 1, "step") as step:
            inputs = [
                self._input(b, word, i, n, step, thread, threads)
                for i, n in enumerate(self.schedule.graph.inputs)
            ]
            flags = [flag for _, flag in inputs if flag is not None]
            if flags:
                some = flags[0]
                for flag in flags[1:]:
                    some = b.or_(some, flag)
                with b.if_then(some):
                    b.call(barrier, [state, threads])
            results = [o for o in self.schedule.outputs if o.place == "output"]
            at = HEADER + PER_INPUT * len(inputs)
            outputs = [
                b.gep(word(at + PER_OUTPUT * i, POINTER),
                      [b.mul(step, word(at + PER_OUTPUT * i + 1))], source_etype=I8)
                for i in range(len(results))
            ]  # fmt: skip

            def pointer(buffer: Buffer) -> ir.Value:
                if buffer.place == "input":
                    return inputs[buffer.number][0]
                if buffer.place == "output":
                    return outputs[buffer.number]
                if buffer.place == "constant":
                    return self._constant(buffer)
                return b.gep(arena, [I64(buffer.offset)], source_etype=I8)

            wait = lambda: b.call(barrier, [state, threads])  # noqa: E731
            stop = lambda: self._stop_at_fault(b, fault, wait, restore)  # noqa: E731
            self._levels(b, self.schedule.steps, pointer, (fault, thread, threads), wait, stop)
            wait()
        restore()
        b.ret_void()

    def _levels(
        self, b: ir.IRBuilder, steps: list[Step], pointer: Callable[[Buffer], ir.Value],
        team: tuple[ir.Value, ir.Value, ir.Value], wait: Callable[[], object],
        stop: Callable[[], None],
    ) -> None:  # fmt: skip
        """Call the kernels of some steps, with a barrier between their levels."""
        level, checked = 0, False
        chained: set[int] = set()
        for s in steps:
            if s.level != level:
                wait()
                level = s.level
                if checked:
                    stop()
                    checked = False
            checked = checked or s.checks
            if s.chain:
                if s.chain not in chained:
                    chained.add(s.chain)
                    self._chain(b, [t for t in steps if t.chain == s.chain], pointer, team)
            elif s.loop is not None:
                self._loop(b, s.loop, pointer, team, wait, stop)
            else:
                function, buffers = self.functions[id(s)]
                b.call(known_here(self.module, function), [*map(pointer, buffers), *team])

    def _chain(
        self, b: ir.IRBuilder, steps: list[Step], pointer: Callable[[Buffer], ir.Value],
        team: tuple[ir.Value, ir.Value, ir.Value],
    ) -> None:  # fmt: skip
        """Call the kernels of a chain one after the other for each slice of this thread.

        A kernel that is told to be thread i of as many as there are slices does slice i.
        """
        fault, thread, threads = team
        slices = I64(steps[0].slices)
        calls = []
        for s in steps:
            function, buffers = self.functions[id(s)]
            places = [(pointer(x), x) for x in buffers]
            calls.append((known_here(self.module, function), places))
        low, high = self._share(b, thread, threads)(steps[0].slices)
        with counted(b, low, high, 1, "slice") as i:

            def here(place: ir.Value, buffer: Buffer) -> ir.Value:
                """Return where the whole would begin for slice i to be where the thread has it."""
                if not buffer.slice_bytes:
                    return place
                slot = b.mul(thread, I64(buffer.slot_bytes))
                back = b.sub(slot, b.mul(i, I64(buffer.slice_bytes)))
                return b.gep(place, [back], source_etype=I8)

            for function, places in calls:
                b.call(function, [*(here(*p) for p in places), fault, i, slices])

    def _loop(
        self, b: ir.IRBuilder, loop: Loop, pointer: Callable[[Buffer], ir.Value],
        team: tuple[ir.Value, ir.Value, ir.Value], wait: Callable[[], object],
        stop: Callable[[], None],
    ) -> None:  # fmt: skip
        """Run the schedule of a loop's body step after step."""
        arena = pointer(loop.arena)

        def once(buffer: Buffer) -> ir.Value:
            if buffer.place == "input":
                return pointer(loop.inputs[buffer.number].buffer)
            if buffer.place == "constant":
                return self._constant(buffer)
            return b.gep(arena, [I64(buffer.offset)], source_etype=I8)

        if loop.schedule.before:
            self._levels(b, loop.schedule.before, once, team, wait, stop)
            wait()
        with counted(b, I64(0), I64(loop.length), 1, "time") as number:
            first = b.icmp_unsigned("==", number, I64(0))
            last = b.icmp_unsigned("==", number, I64(loop.length - 1))
            t = b.sub(I64(loop.length - 1), number) if loop.reverse else number
            before = b.add(t, I64(1)) if loop.reverse else b.sub(t, I64(1))
            turn = b.and_(number, I64(1))

            def at(slot: Slot, row: ir.Value, half: ir.Value) -> ir.Value:
                base = pointer(slot.buffer)
                if slot.kind == "shared":
                    return base
                place = row if slot.kind == "rows" else half
                return b.gep(base, [b.mul(place, I64(slot.nbytes))], source_etype=I8)

            inputs = []
            for slot in loop.inputs:
                found = at(slot, t if slot.first is None else before, turn)
                inputs.append(
                    found if slot.first is None else b.select(first, pointer(slot.first), found)
                )
            outputs = []
            for slot in loop.outputs:
                found = at(slot, t, b.xor(turn, I64(1)))
                outputs.append(
                    found if slot.last is None else b.select(last, pointer(slot.last), found)
                )

            def inside(buffer: Buffer) -> ir.Value:
                if buffer.place == "input":
                    return inputs[buffer.number]
                return outputs[buffer.number] if buffer.place == "output" else once(buffer)

            self._levels(b, loop.schedule.steps, inside, team, wait, stop)
            wait()

    def _constant(self, buffer: Buffer) -> ir.Value:
        """Return where an array that is written down in the program lies."""
        known = self.constants.get(id(buffer))
        if known is None:
            assert buffer.data is not None
            content = bytearray(buffer.data.tobytes())
            kind = ir.ArrayType(I8, len(content))
            name = f"constant{len(self.constants)}"
            known = self.constants[id(buffer)] = ir.GlobalVariable(self.module, kind, name)
            known.initializer = ir.Constant(kind, content)
            known.global_constant, known.linkage, known.align = True, "internal", 64
        return known

    def _stop_at_fault(
        self, b: ir.IRBuilder, fault: ir.Value, wait: Callable[[], object],
        restore: Callable[[], None],
    ) -> None:  # fmt: skip
        """Return if a check failed; between two barriers all threads see the same answer."""
        found = b.load(fault, typ=I64)
        wait()
        with b.if_then(b.icmp_unsigned("!=", found, I64(0)), likely=False):
            restore()
            b.ret_void()

    def _input(self, b: ir.IRBuilder, word: Callable[..., ir.Value], number: int, node: Node,
               step: ir.Value, thread: ir.Value,
               threads: ir.Value) -> tuple[ir.Value, ir.Value | None]:  # fmt: skip
        """Return where an input of this step lies; rows picked by an index are gathered first."""
        at = HEADER + PER_INPUT * number
        base = word(at, POINTER)
        plain = b.gep(base, [b.mul(step, word(at + 1))], source_etype=I8)
        batch = node.shape[0] if node.rank else 0
        if not batch or number in self.schedule.graph.aliases.values():
            return plain, None
        rows, target = word(at + 2, POINTER), word(at + 3, POINTER)
        none = ir.Constant(POINTER, None)
        gathered = b.icmp_unsigned("!=", rows, none)
        row_bytes = node.dtype.itemsize * math.prod(node.shape[1:])
        low = b.udiv(b.mul(I64(batch), thread), threads)
        high = b.udiv(b.mul(I64(batch), b.add(thread, I64(1))), threads)
        gather = self.common.get(self.module, "gather", emit_gather)
        with b.if_then(gathered):
            first = b.mul(step, I64(batch))
            b.call(gather, [target, base, rows, first, low, high, I64(row_bytes)])
        return b.select(gathered, target, plain), gathered


def flush_module(triple: str) -> str:
    """Return IR with ``flush()``, after which a thread takes subnormal numbers for 0."""
    module = ir.Module("flush")
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(VOID, []), "flush")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    flush_subnormals(b)
    b.ret_void()
    return str(module)


def _count(schedule: Schedule) -> int:
    inner = (s.loop.schedule for s in schedule.steps if s.loop is not None)
    return len(schedule.before + schedule.steps) + sum(map(_count, inner))


def flush_subnormals(b: ir.IRBuilder) -> Callable[[], None]:
    """Take subnormal numbers for 0 from here on; return what emits the way back.

    Moments of optimisers decay through them, and each costs the processor over a hundred cycles.
    """
    if not b.module.triple.startswith(("x86", "i686")):
        return lambda: None
    kind = ir.FunctionType(VOID, [POINTER])
    functions = []
    for name in ("llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr"):
        known = b.module.globals.get(name)
        functions.append(known if known is not None else ir.Function(b.module, kind, name))
    before, changed = b.alloca(I32), b.alloca(I32)
    b.call(functions[0], [before])
    b.store(b.or_(b.load(before, typ=I32), I32(0x8040)), changed)
    b.call(functions[1], [changed])

    def restore() -> None:
        b.call(functions[1], [before])

    return restore
