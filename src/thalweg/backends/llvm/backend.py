"""The native backend: programs, their cached machine code, and calls of them."""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thalweg.backends.base import Array, Backend, Bound, Program, Repeated
from thalweg.backends.llvm.loops import Buffer, Schedule, Step
from thalweg.backends.llvm.obtain import obtain
from thalweg.backends.llvm.runtime.barrier import STATE_BYTES
from thalweg.backends.llvm.runtime.library import Library, assembly, build
from thalweg.backends.llvm.runtime.results import result
from thalweg.backends.llvm.runtime.target import host
from thalweg.backends.llvm.runtime.team import team
from thalweg.backends.memory import address, aligned, moved, shaped
from thalweg.errors import where
from thalweg.graph.node import Graph
from thalweg.graph.printer import print_graph
from thalweg.settings import settings

HEADER, PER_INPUT, PER_OUTPUT = 3, 4, 2  # as codegen/program.py lays the table out
SMALL = 4096  # bytes of an argument or a result up to which it is copied at each call


class NativeProgram(Program):
    """A graph as machine code."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.target = host()
        self.code = obtain(graph, self.target, settings.team_size())
        self.memory: tuple[Array, int] | None = None
        self.lock = threading.Lock()
        self.outputs = [
            (o.shape, o.dtype.numpy) for i, o in enumerate(graph.outputs) if i not in graph.aliases
        ]

    def arena(self) -> int:
        """Return the address of the program's working memory, taken at the first call."""
        if self.memory is None:
            self.memory = aligned(max(self.code.arena, 1))
        return self.memory[1]

    def bind(self, states: dict[int, Array]) -> Bound:
        """Fix some inputs to arrays that are updated in place."""
        return NativeBound(self, states)

    def fail(self, site: int) -> None:
        """Raise the error for an index out of range."""
        from thalweg.backends.llvm.schedule.simplify import sites

        node = sites(self.graph)[site - 1]
        axis = node.attrs["axis"]
        size = node.inputs[0].shape[axis]
        layer = f" in layer {'.'.join(node.scope)}" if node.scope else ""
        raise IndexError(
            f"{node.op.name}{layer}: an index (a label, a token, a row number) is out of range "
            f"for axis {axis} of size {size}; it must be from {-size} to {size - 1}. Nothing was "
            f"updated in this step. {where(node.origin)}"
        )

    def explain(self, arrays: Sequence[Array] | None = None) -> str:
        """Return graph, schedule, IR, machine code, and with inputs the time of each kernel."""
        from thalweg.backends.llvm.compile import describe_schedule, lower

        made = lower(self.graph, self.target, settings.team_size())
        text = made.program.text
        parts = {
            "graph": print_graph(self.graph),
            "simplified graph": print_graph(made.schedule.graph),
            "schedule": describe_schedule(made.schedule),
            "llvm ir": text,
            "machine code": assembly(text, self.target),
        }
        if arrays is not None:
            parts["time per kernel, one thread"] = _times(self, made, text, arrays)
        return "\n\n".join(f"== {title} ==\n{body}" for title, body in parts.items())


class NativeBound(Bound):
    """A native program with its state: a table of addresses and one call."""

    def __init__(self, program: NativeProgram, states: dict[int, Array]) -> None:
        self.program = program
        graph = program.graph
        inputs, outputs = len(graph.inputs), len(program.outputs)
        self.table = np.zeros(HEADER + PER_INPUT * inputs + PER_OUTPUT * outputs, np.uint64)
        self.fault = np.zeros(1, np.int64)
        self.fault_seen = self.fault.data
        self.table[:HEADER] = (program.arena(), address(self.fault), 1)
        self.kept: list[Array] = []
        updated = set(graph.aliases.values())
        for i, array in states.items():
            if not array.flags.c_contiguous:
                assert i not in updated, "state that is updated must be contiguous"
                array = np.ascontiguousarray(array)
            self.kept.append(array)
            self.table[HEADER + PER_INPUT * i] = address(array)
        self.free = [
            (HEADER + PER_INPUT * i, n.dtype.numpy, _home(n.shape, n.dtype.numpy))
            for i, n in enumerate(graph.inputs) if i not in states
        ]  # fmt: skip
        self.results = [
            (HEADER + PER_INPUT * inputs + PER_OUTPUT * i, shape, kind, _home(shape, kind))
            for i, (shape, kind) in enumerate(program.outputs)
        ]
        self.memory = self.table.data
        self._settle()
        self.pointer = address(self.table)
        self.entry = program.code.library.address("run")
        self.barrier = aligned(STATE_BYTES)
        if program.code.threads == 1:
            # The arguments are made once: to convert them would take as long as the call itself.
            self.alone = ctypes.CFUNCTYPE(None)(self.entry)
            self.arguments = (ctypes.c_void_p(self.pointer), ctypes.c_int64(0),
                              ctypes.c_int64(1), ctypes.c_void_p(self.barrier[1]))  # fmt: skip

    def _settle(self) -> None:
        """Write the addresses that stay into the table; the others are written at each call."""
        for place, _, home in self.free:
            self.table[place : place + PER_INPUT] = 0
            self.table[place] = 0 if home is None else address(home)
        for place, _, _, home in self.results:
            self.table[place] = 0 if home is None else address(home)

    def _run(self) -> None:
        threads = self.program.code.threads
        if threads == 1:
            self.alone(*self.arguments)
        else:
            team(threads).run(self.entry, self.pointer)
        site = self.fault_seen[0]
        if site:
            self.fault[0] = 0
            self.program.fail(site)

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Run once: write the addresses into the table, call, hand out the results."""
        table = self.memory
        with self.program.lock:
            held, outputs = [], []
            for (place, kind, home), array in zip(self.free, arrays, strict=True):
                if home is not None:
                    home[...] = array
                    continue
                if array.dtype != kind or not array.flags.c_contiguous:
                    array = np.ascontiguousarray(array, dtype=kind)
                    held.append(array)
                table[place] = address(array)
            for place, shape, kind, home in self.results:
                if home is None:
                    outputs.append(result(shape, kind))
                    table[place] = address(outputs[-1])
                else:
                    outputs.append(home)
            self._run()
            return [o.copy() if o.nbytes <= SMALL else o for o in outputs]

    def _vary(self, place: int, kind: np.dtype[Any], given: Array | Repeated) -> list[Any]:
        """Write down where an input lies and how it changes; return what must live meanwhile."""
        table = self.table
        array = given.array if isinstance(given, Repeated) else given
        array = np.ascontiguousarray(array, dtype=kind)
        table[place : place + PER_INPUT] = 0
        table[place] = address(array)
        if not isinstance(given, Repeated):
            return [array]
        row = array.nbytes // max(len(array), 1)
        if given.rows is None:
            table[place + 1] = row
            return [array]
        memory, target = aligned(row * given.rows.shape[1])
        table[place + 2], table[place + 3] = address(given.rows), target
        return [array, memory, given.rows]

    def repeat(self, steps: int, arrays: Sequence[Array | Repeated]) -> list[Array]:
        """Run many steps in one call."""
        table = self.table
        outputs = [result((steps, *shape), kind) for shape, kind in self.program.outputs]
        held: list[Any] = []
        with self.program.lock:
            try:
                for (place, kind, _), given in zip(self.free, arrays, strict=True):
                    held += self._vary(place, kind, given)
                for (place, *_), output in zip(self.results, outputs, strict=True):
                    table[place] = address(output)
                    table[place + 1] = output.nbytes // max(steps, 1)
                table[2] = steps
                self._run()
            finally:
                table[2] = 1
                self._settle()
        return outputs


def _home(shape: tuple[int, ...], kind: np.dtype[Any]) -> Array | None:
    """Return memory for a small array that stays: a copy is faster than to look for an address."""
    size = math.prod(shape) * kind.itemsize
    return shaped(aligned(size)[0], shape, kind) if size <= SMALL else None


def _constant_address(buffer: Buffer) -> int:
    assert buffer.data is not None
    return address(buffer.data)


def _times(program: NativeProgram, made: Any, text: str, arrays: Sequence[Array]) -> str:
    """Return the median time of each kernel, run alone on one thread on these inputs."""
    from concurrent.futures import ThreadPoolExecutor

    from thalweg.backends.llvm.codegen.program import flush_module

    library = Library.from_object(build(text, program.target))
    given = [moved(a) for a in arrays]
    results = [np.zeros(shape, kind) for shape, kind in program.outputs]
    lines: list[str] = []
    flush = Library.from_object(build(flush_module(program.target.triple), program.target))

    def work() -> float:
        ctypes.CFUNCTYPE(None)(flush.address("flush"))()  # as the program does it
        return _measure(made.schedule, made.program.kernels, library, given, results, lines, 1)

    with ThreadPoolExecutor(1) as pool:  # a thread of its own: it takes subnormal numbers for 0
        whole = pool.submit(work).result()
    return "\n".join([*lines, f"{whole:9.1f} us together (calls from Python included)"])


def _measure(
    schedule: Schedule, names: dict[int, str], library: Library, given: list[Array],
    results: list[Array], lines: list[str], times: int, entered: int = 1,
) -> float:  # fmt: skip
    """Add a line for each kernel of a schedule that runs so many times, and return the sum.

    ``entered``: how often a loop begins, and what is done once in front of it.
    """
    memory, arena = aligned(max(schedule.arena_size, 1))
    memory[:] = 0
    kept = {id(b): aligned(b.nbytes) for s in schedule.steps for b in s.writes if b.slice_bytes}
    fault = np.zeros(1, np.int64)
    whole = 0.0
    for step in schedule.before + schedule.steps:
        if step.loop is not None:
            inner = step.loop.schedule
            zeros = [np.zeros(n.shape, n.dtype.numpy) for n in inner.graph.inputs]
            made = [np.zeros(o.shape, o.dtype.numpy) for o in inner.outputs]
            count = times * step.loop.length
            whole += _measure(inner, names, library, zeros, made, lines, count, times)
            continue
        often = entered if any(step is s for s in schedule.before) else times
        buffers = list({id(b): b for b in step.reads + step.writes}.values())
        begin: dict[str, Callable[[Buffer], int]] = {
            "input": lambda b: address(given[b.number]),
            "output": lambda b: address(results[b.number]),
            "constant": _constant_address,
            "arena": lambda b: kept[id(b)][1] if id(b) in kept else arena + b.offset,
        }
        args = [begin[b.place](b) for b in buffers] + [address(fault), 0, 1]
        kinds = [ctypes.c_void_p] * (len(buffers) + 1) + [ctypes.c_int64] * 2
        function = ctypes.CFUNCTYPE(None, *kinds)(library.address(names[id(step)]))
        spent = []
        for _ in range(15):
            start = time.perf_counter()
            function(*args)
            spent.append(time.perf_counter() - start)
        middle = sorted(spent)[len(spent) // 2] * 1e6
        whole += middle * often
        lines.append(_time_line(step, names[id(step)], middle, buffers, often))
    return whole


def _time_line(step: Step, name: str, middle: float, buffers: list[Buffer], times: int) -> str:
    flops = 0 if step.plan is None or step.packs else 2 * math.prod(
        x.size for x in step.plan.loops
    )
    nbytes = sum(b.nbytes for b in buffers)
    rate = f"{flops / middle / 1e3:7.1f} GFLOP/s" if flops else " " * 15
    often = f"  {times} times" if times > 1 else ""
    return f"{middle:9.1f} us {rate} {nbytes / 1e3:9.1f} kB  {name}{often}"


class LLVMBackend(Backend):
    """Machine code of our own making."""

    name = "llvm"

    def compile(self, graph: Graph) -> Program:
        """Return the graph as a native program."""
        return NativeProgram(graph)
