"""The ordered list of passes from a graph to machine code, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from thalweg.backends.llvm.codegen.program import Known, Program, ProgramWriter, Ready
from thalweg.backends.llvm.loops import Schedule, Step
from thalweg.backends.llvm.runtime.barrier import emit_barrier
from thalweg.backends.llvm.runtime.target import Target
from thalweg.backends.llvm.schedule import (
    convolutions,
    depthwise,
    halves,
    layout,
    narrow,
    scans,
    simplify,
    winograd,
)
from thalweg.backends.llvm.schedule.contractions import describe
from thalweg.backends.llvm.schedule.footprints import FAR_LINE, LINE
from thalweg.backends.llvm.schedule.fuse import COSTLY
from thalweg.backends.llvm.schedule.plan import Scheduler
from thalweg.graph.node import Graph

GraphPass = Callable[[Graph], Graph]


def passes(lanes: int) -> list[tuple[GraphPass, str]]:
    """Return the passes, each with why it is there."""
    return [
        (simplify.check_indices, "an index out of range is reported, never read or written"),
        (simplify.empty, "loops over nothing need no code"),
        (simplify.drop_identities, "stop_gradient and custom rules mean nothing once derived"),
        (halves.widen_contractions, "16-bit operands are converted once, not at each use"),
        (halves.cast_sources, "an element is converted once, not in each window that shows it"),
        (simplify.short_gathers, "one element a row is cheaper as a masked sum, which fuses"),
        (convolutions.gather_windows, "sums over windows are contractions too, read not scattered"),
        (narrow.join_positions(lanes), "few channels would leave most lanes of a vector empty"),
        (convolutions.join_pads, "gradients of parts lie side by side: they need no sum"),
        (simplify.small_constants, "an array of equal numbers is a number"),
        (simplify.fold, "known values, neutral operations and repeated work go"),
        (simplify.turn_results, "what is only read transposed is better written so"),
        (layout.merge_later, "a tensor is read through split axes, but not through joined ones"),
        (simplify.fold, "what was folded makes more of it visible"),
        (layout.read_padded, "a value and its padded copy need not both be written"),
        (winograd.fewer_products, "sums of few products cost less than many products"),
        (depthwise.lanes_over_batch, "one column for each channel would fill one lane of a tile"),
        (simplify.matrix_times_vector, "a single column would leave most lanes of a tile empty"),
        (simplify.split_contractions, "weights should be read by the core that updated them"),
        (simplify.split_reductions, "threads can share a reduction only along axes that stay"),
    ]


def simplified(graph: Graph, lanes: int) -> Graph:
    """Return the graph, and the bodies of its loops, after all passes."""
    first, *rest = passes(lanes)
    graph = first[0](graph)

    def inner(body: Graph) -> Graph:
        body = scans.prune(body)
        for step, _ in rest:
            body = step(body)
        return scans.prune(scans.in_bodies(body, inner))  # simpler bodies have equal results

    return inner(graph)


@dataclass
class Compilation:
    """The stages of one compiled graph, kept for ``explain``."""

    graph: Graph
    schedule: Schedule
    program: Program


def vector_registers(target: Target) -> int:
    """Return how many vector registers a tile may use."""
    return 32 if target.vector_bits == 512 or target.triple.startswith("aarch64") else 16


def lower(
    graph: Graph, target: Target, threads: int, ready: Ready | None = None,
    known: Known = lambda name: False,
) -> Compilation:  # fmt: skip
    """Run every stage up to LLVM IR, which ``ready`` is given in pieces, but for what is known."""
    lanes = target.vector_bits // 32
    schedule = Scheduler(simplified(graph, lanes), lanes, vector_registers(target), threads).run()
    fused = target.vector_bits > 128 or target.triple.startswith("aarch64")
    writer = ProgramWriter(schedule, lanes, fused, target.triple, emit_barrier, ready, known)
    program = writer.write()
    return Compilation(graph, schedule, program)


def describe_schedule(schedule: Schedule) -> str:
    """Return the schedule as text: one line a kernel, levels separated by barriers."""
    return "\n".join([*_lines(schedule.steps), f"  arena: {schedule.arena_size:,} bytes"])


def _lines(steps: list[Step]) -> list[str]:
    lines: list[str] = []
    level = 0
    for number, step in enumerate(steps):
        if step.level != level:
            lines.append("  -- barrier --")
            level = step.level
        if step.loop is not None:
            lines += [f"      {line}  (once)" for line in _lines(step.loop.schedule.before)]
            lines.append(f"  {number:3d} {step.loop.length} times:")
            lines += ["      " + line for line in _lines(step.loop.schedule.steps)]
            lines.append("        -- barrier --")
            continue
        if step.packs:
            assert step.plan is not None
            lines.append(f"  {number:3d} pack {step.reads} -> {step.packed}")
        else:
            plan = f" | {describe(step.plan)}" if step.plan else ""
            sliced = f" in chain {step.chain} of {step.slices} slices" if step.chain else ""
            lines.append(f"  {number:3d} {step.kernel!r}{plan}{sliced}")
    return lines


def worthwhile_threads(schedule: Schedule, threads: int) -> int:
    """Return how many threads gain from sharing the program: one if it is over in a moment."""
    return threads if _work(schedule) > 150_000 else 1


SLOW = COSTLY - {"divide", "sqrt", "rsqrt"}  # functions of many instructions
SLOW_VECTOR, ONE_BY_ONE = 12, 6  # cycles of a vector of such a function, of a number by itself
BY_VECTORS = ("take", "scatter_add")  # of what is neither element-wise nor a product
FAR = 1 << 19  # bytes of one step that come from, or go to, memory beyond the second cache


def _work(schedule: Schedule) -> float:
    """Return a rough number of cycles."""
    work = 0.0
    for step in schedule.steps:
        if step.loop is not None:
            work += step.loop.length * _work(step.loop.schedule)
            continue
        if step.plan is not None and not step.packs:
            loops = step.plan.loops
            work += 2.0 * math.prod(x.size for x in loops) / 64  # multiply-adds of vectors a cycle
        work += _element_work(step)
    return work


def _element_work(step: Step) -> float:
    """Return the cycles of what is not multiply-adds: functions, and moving numbers."""
    kind, members = step.kernel.kind, step.kernel.members
    picks = kind in ("take", "take_along_axis")  # of a table only some rows
    moved = sum(b.nbytes for b in (step.writes if picks else step.reads) + step.writes)
    elements = moved / 4
    slow = sum(m.op.name in SLOW for m in members) * math.prod(step.kernel.space)
    work = elements * len(members) / 16 + slow * SLOW_VECTOR / 16
    if moved > FAR:
        work += moved / LINE * FAR_LINE
    one_by_one = members and members[0].op.kind == "structured" and kind not in BY_VECTORS
    return work + elements * ONE_BY_ONE if one_by_one else work
