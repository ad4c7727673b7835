"""The schedule of a graph: kernels in order, their buffers, and where threads must wait."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from thalweg.backends.llvm.loops import (
    Affine,
    Buffer,
    Kernel,
    Loop,
    Schedule,
    Slot,
    Step,
    identity_index,
    is_view,
)
from thalweg.backends.llvm.schedule.contractions import make_plan
from thalweg.backends.llvm.schedule.fuse import Fusion
from thalweg.backends.llvm.schedule.reads import kernel_reads
from thalweg.backends.llvm.schedule.scans import follows
from thalweg.backends.llvm.schedule.slices import Slicer, keep_slices
from thalweg.backends.memory import ALIGN
from thalweg.graph.dtype import float32, uint8
from thalweg.graph.node import Graph, Node
from thalweg.ops.identity import BARRIER

SMALL = 1 << 14  # bytes of state that may be copied without much thought


class Scheduler:
    """Turns a simplified graph into a schedule."""

    def __init__(
        self, graph: Graph, lanes: int, registers: int, threads: int,
        shared: frozenset[int] = frozenset(),
    ) -> None:  # fmt: skip
        self.shared = shared  # of a loop's body: inputs that are the same at every step
        graph = _with_own_outputs(graph)
        self.graph = graph
        self.lanes, self.registers, self.threads = lanes, registers, threads
        self.buffers: dict[int, Buffer] = {}
        self.outputs: list[Buffer] = []
        self.copied: set[int] = set()  # aliases that need a buffer of their own and a copy
        self.fusion = Fusion(graph)
        self.kernels = self.fusion.run()
        self.reads: dict[int, list[tuple[Node, Affine | None]]] = {}  # by id of the kernel

    def run(self) -> Schedule:
        """Return the schedule; state that cannot be updated in place is copied at the end."""
        while True:
            self.buffers, self.outputs = {}, []
            self._give_inputs()
            self._give_outputs()
            self._give_arena()
            steps = self._steps()
            edges = self._edges(steps)
            if self._order(steps, edges, checks_first=True) is None:
                break
            conflicts = self._order(steps, edges, checks_first=False)
            if conflicts is None:
                break
            self.copied.update(conflicts)
        slicer = Slicer(self.buffers, self._reads, self.threads)
        slicer.chain(steps, self._edges(steps))
        before = self._hoisted(steps)
        rest = [s for s in steps if s not in before]
        _delay(rest, self._edges(rest))
        keep_slices(rest, before, self.threads)
        size = _place(rest, before, self.threads)
        return Schedule(
            self.graph, rest, self.buffers, self.outputs, size, before=before
        )

    def _hoisted(self, steps: list[Step]) -> list[Step]:
        """Return the steps of a loop's body that need nothing that changes from step to step."""
        same = {
            id(self.buffers[id(n)]) for i, n in enumerate(self.graph.inputs) if i in self.shared
        }
        found = []
        for step in steps if same else []:
            private = all(b.place == "arena" for b in step.writes)
            if private and not step.checks and all(id(b) in same for b in step.reads):
                found.append(step)
                same |= {id(b) for b in step.writes}
        return found

    # --- buffers --------------------------------------------------------------------------

    def _give_inputs(self) -> None:
        for i, node in enumerate(self.graph.inputs):
            self.buffers[id(node)] = Buffer(f"in{i}", node.dtype, node.shape, "input", i)
        for i, node in enumerate(n for n in self.fusion.order if n.op.name == "constant"):
            data = np.ascontiguousarray(node.attrs["value"])
            self.buffers[id(node)] = Buffer(
                f"constant{i}", node.dtype, node.shape, "constant", data=data
            )

    def _give_outputs(self) -> None:
        """Give each output its buffer: that of the state it replaces, or one of its own."""
        self.copies: list[tuple[Node, Buffer]] = []
        results = 0
        for i, node in enumerate(self.graph.outputs):
            if i in self.graph.aliases:
                source = self.graph.inputs[self.graph.aliases[i]]
                target = self.buffers[id(source)]
            else:
                target = Buffer(f"out{results}", node.dtype, node.shape, "output", results)
                results += 1
            self.outputs.append(target)
            if id(node) in self.buffers or i in self.copied:
                self.copies.append((node, target))
            else:
                self.buffers[id(node)] = target

    def _give_arena(self) -> None:
        """Give a buffer to every node that another kernel reads from memory."""
        wanted: dict[int, Node] = {}
        for kernel in self.kernels:
            for node, _ in kernel_reads(kernel, self._is_stored_before):
                wanted.setdefault(id(node), node)
        self._leave_to_readers(wanted)
        self.reads = {}
        for node, _ in self.copies:
            wanted.setdefault(id(node), node)
        for key, node in wanted.items():
            if key not in self.buffers:
                self.buffers[key] = Buffer(f"v{len(self.buffers)}", node.dtype, node.shape, "arena")

    def _leave_to_readers(self, wanted: dict[int, Node]) -> None:
        """Do not store what readers can compute from values that are stored anyway."""
        for key, node in list(wanted.items()):
            home = self.fusion.kernel_of.get(key)
            if home is None or node is home.anchor or node.op.kind != "elementwise":
                continue
            if key in self.buffers or key in self.fusion.must_store or len(home.members) < 2:
                continue
            if not self.fusion.is_costly(node) and all(
                self._at_hand(i, wanted) for i in node.inputs
            ):
                del wanted[key], self.fusion.kernel_of[key]
                home.members.remove(node)
                home.inside.discard(key)

    def _at_hand(self, node: Node, wanted: dict[int, Node]) -> bool:
        """Whether a node is a number or in memory anyway, directly or through views."""
        while is_view(node) and id(node) not in wanted:
            node = node.inputs[0]
        return id(node) in wanted or id(node) in self.buffers or node.op.name == "full"

    def _reads(self, kernel: Kernel) -> list[tuple[Node, Affine | None]]:
        if id(kernel) not in self.reads:
            self.reads[id(kernel)] = list(kernel_reads(kernel, self._is_stored_before))
        return self.reads[id(kernel)]

    def _is_stored_before(self, node: Node, kernel: Kernel) -> bool:
        if id(node) in self.fusion.inputs:
            return True
        home = self.fusion.kernel_of.get(id(node))
        return home is not None and (
            home is not kernel or (kernel.part is not None and id(node) not in kernel.inside)
        )

    # --- steps ----------------------------------------------------------------------------

    def _steps(self) -> list[Step]:
        steps: list[Step] = []
        for kernel in self.kernels:
            kernel.stores = self._stores(kernel)
            if 0 in kernel.space:
                continue
            if kernel.kind == "contraction":
                steps += self._multiplied(kernel, len(steps))
                continue
            step = self._step(kernel, [n for n, _ in self._reads(kernel)])
            if kernel.kind == "scan":
                self._nest(step)
            steps.append(step)
        for node, target in self.copies:
            kernel = Kernel("map", node.shape, node, [node], [(node, target)])
            step = Step(kernel, [self.buffers[id(node)]], [target])
            self._note_state(step, [node])
            steps.append(step)
        return steps

    def _step(self, kernel: Kernel, read: list[Node]) -> Step:
        step = Step(
            kernel, _distinct(self.buffers[id(n)] for n in read),
            _distinct(b for _, b in kernel.stores), checks=self._finds_faults(kernel),
        )  # fmt: skip
        self._note_state(step, read)
        return step

    def _multiplied(self, kernel: Kernel, number: int) -> list[Step]:
        """Return the steps of a contraction: the packing of its right operand may be the first."""
        stored = lambda n: self._is_stored_before(n, kernel)  # noqa: E731
        plan = make_plan(kernel, stored, self.lanes, self.registers, self.threads)
        reads = self._reads(kernel)
        if not plan.packed:
            steps = [self._step(kernel, [n for n, _ in reads])]
        else:
            size = (plan.packed_size,)
            panels = Buffer(f"packed{number}", kernel.members[0].dtype, size, "arena")
            pack = Step(kernel, [self.buffers[id(plan.b)]], [panels], plan, panels, packs=True)
            self._note_state(pack, [plan.b])
            own = [n for n, place in reads if place is not None or n is not plan.b or n is plan.a]
            steps = [pack, self._step(kernel, own)]
            steps[1].packed = panels
            steps[1].reads.append(panels)
        steps[-1].plan = plan
        if plan.parts > 1:
            dtype = kernel.members[0].dtype
            dtype = float32 if dtype.bits == 16 else dtype
            size = (plan.tiles * plan.rows * plan.width,)
            steps[-1].sums = Buffer(f"sums{number}", dtype, size, "arena")
            steps[-1].writes.append(steps[-1].sums)
        return steps

    def _nest(self, step: Step) -> None:
        """Schedule the body of a loop, and say where each of its steps finds its values."""
        node = step.kernel.anchor
        assert node is not None
        body, carries, xs = node.attrs["body"], node.attrs["carries"], node.attrs["xs"]
        parts = {p.attrs["index"]: self.buffers[id(p)] for p, _ in step.kernel.stores}
        given = [self.buffers[id(i)] for i in node.inputs]
        distinct = list({id(o): o for o in body.outputs}.values())
        schedule = Scheduler(
            Graph(body.inputs, distinct), self.lanes, self.registers, self.threads,
            frozenset(range(carries + xs, len(body.inputs))),
        ).run()
        arena = Buffer("loop", uint8, (schedule.arena_size,), "arena")
        inputs, outputs = [], {}
        for i, row in enumerate(body.outputs):
            nbytes = row.size * row.dtype.itemsize
            follower = follows(body, carries, i) if i < carries else None
            if i >= carries:
                stack = parts.get(i)
                if stack is None:  # what would have read it was folded away
                    shape = (node.attrs["length"], *row.shape)
                    stack = Buffer("rows", row.dtype, shape, "arena")
                    step.writes.append(stack)
                outputs[id(row)] = Slot("rows", stack, nbytes)
            elif follower is not None:
                inputs.append(Slot("rows", parts[follower], nbytes, given[i]))
            else:
                turns = Buffer("carry", row.dtype, (2, *row.shape), "arena")
                step.writes.append(turns)
                inputs.append(Slot("turns", turns, nbytes, given[i]))
                outputs[id(row)] = Slot("turns", turns, nbytes, None, parts.get(i))
        for i in range(carries, len(given)):
            row = body.inputs[i]
            kind = "rows" if i < carries + xs else "shared"
            inputs.append(Slot(kind, given[i], row.size * row.dtype.itemsize))
        step.loop = Loop(schedule, node.attrs["length"], node.attrs["reverse"], arena, inputs,
                         [outputs[id(o)] for o in distinct])  # fmt: skip
        step.writes.append(arena)
        step.checks = any(s.checks for s in schedule.steps)

    def _note_state(self, step: Step, nodes: list[Node]) -> None:
        """Note which state a step reads as it was, and which as it is after its update."""
        for node in nodes:
            buffer = self.buffers[id(node)]
            if buffer.place == "input":
                (step.old if id(node) in self.fusion.inputs else step.new).add(id(buffer))

    def _stores(self, kernel: Kernel) -> list[tuple[Node, Buffer]]:
        if kernel.part is not None:
            assert kernel.anchor is not None
            return [(kernel.members[0], self.buffers[id(kernel.anchor)])]
        homes = [(m, kernel.placed[id(m)][0] if id(m) in kernel.placed else m)
                 for m in kernel.members]  # fmt: skip
        return [(m, self.buffers[id(home)]) for m, home in homes if id(home) in self.buffers]

    def _finds_faults(self, kernel: Kernel) -> bool:
        stack, seen = list(kernel.members), set()
        while stack:
            node = stack.pop()
            if node.op.name == "checked_index":
                return True
            for i in node.inputs:
                if id(i) not in seen and not self._is_stored_before(i, kernel):
                    seen.add(id(i))
                    stack.append(i)
        return False

    # --- order ----------------------------------------------------------------------------

    def _order(
        self, steps: list[Step], edges: list[set[int]], checks_first: bool
    ) -> list[int] | None:
        """Sort the steps into levels; return outputs whose update in place forbids an order.

        With ``checks_first`` no state is updated before all indices were found to be good.
        """
        after = [set(e) for e in edges]
        for step in steps:
            step.level = 0
        state = {id(self.buffers[id(n)]) for n in self.graph.inputs}
        if checks_first:
            checks = {i for i, s in enumerate(steps) if s.checks}
            for i, step in enumerate(steps):
                if i not in checks and any(id(b) in state for b in step.writes):
                    after[i] |= checks
        count = [len(a) for a in after]
        later: list[list[int]] = [[] for _ in steps]
        for i, sources in enumerate(after):
            for s in sources:
                later[s].append(i)
        ready = [i for i, c in enumerate(count) if not c]
        done = 0
        while ready:
            i = ready.pop()
            done += 1
            for j in later[i]:
                steps[j].level = max(steps[j].level, steps[i].level + 1)
                count[j] -= 1
                if not count[j]:
                    ready.append(j)
        if done == len(steps):
            order = sorted(range(len(steps)), key=lambda i: (steps[i].level, i))
            steps[:] = [steps[i] for i in order]
            return None
        stuck = {id(b) for i in _circles(count, later, after) for b in steps[i].writes}
        candidates = [
            (buffer.nbytes, i) for i, buffer in enumerate(self.outputs)
            if i in self.graph.aliases and i not in self.copied and id(buffer) in stuck
        ]  # fmt: skip
        if candidates:  # a copy of the smallest costs least, and often is all that is needed
            least = min(candidates)[0]
            return [i for size, i in candidates if size == least or size <= SMALL]
        if checks_first:
            return []
        raise AssertionError("the kernels wait for each other")

    def _edges(self, steps: list[Step]) -> list[set[int]]:
        """Return, for each step, the steps that must come first."""
        writers: dict[int, list[int]] = {}
        readers: dict[int, list[int]] = {}
        for i, step in enumerate(steps):
            for b in step.writes:
                writers.setdefault(id(b), []).append(i)
            for b in step.reads:
                readers.setdefault(id(b), []).append(i)
        after: list[set[int]] = [set() for _ in steps]
        state = {id(self.buffers[id(n)]) for n in self.graph.inputs}
        for key, writing in writers.items():
            for first, second in pairwise(writing):
                if not steps[second].fills_part(key):
                    after[second].add(first)
            fills = [w for w in writing if steps[w].kernel.kind == "fill"]
            for w in writing:  # a fill before the parts that go into it; these do not overlap
                after[w] |= {f for f in fills if f < w}
            for r in readers.get(key, ()):
                for w in writing:
                    if key not in state:
                        after[r] |= {w} - {r}
                        continue
                    if key in steps[r].old and w != r:
                        after[w].add(r)
                    if key in steps[r].new and w != r:
                        after[r].add(w)
                    if w == r and not self._reads_in_step(steps[r], key):
                        after[r].add(r)  # never satisfied: the update must not be in place
        return after

    def _reads_in_step(self, step: Step, key: int) -> bool:
        """Whether a kernel that replaces state reads it only where it is about to write."""
        kernel = step.kernel
        if kernel.kind not in ("map", "columns", "contraction", "rows"):
            return False
        target = next(b for b in step.writes if id(b) == key)
        new = next(n for n, b in kernel.stores if b is target)
        if new.shape != kernel.space:
            return False
        if kernel.kind == "rows" and any(m.op.kind == "reduction" for m in kernel.members):
            return False
        loops = len(kernel.space)
        here = kernel.place(new, target, identity_index(kernel.space), loops)
        return all(
            place == here for node, place in self._reads(kernel)
            if self.buffers.get(id(node)) is target
        )  # fmt: skip


def _circles(count: list[int], later: list[list[int]], after: list[set[int]]) -> set[int]:
    """Return the steps that wait for each other, or lie between such steps."""
    stuck = {i for i, c in enumerate(count) if c}
    ahead = {i: len([j for j in later[i] if j in stuck]) for i in stuck}
    ends = [i for i, n in ahead.items() if not n]
    while ends:
        i = ends.pop()
        stuck.discard(i)
        for j in after[i]:
            if j in stuck:
                ahead[j] -= 1
                if not ahead[j]:
                    ends.append(j)
    return stuck


def _with_own_outputs(graph: Graph) -> Graph:
    """Compute every output: one that is an input as it stands becomes a copy of it."""
    inputs = {id(n) for n in graph.inputs}
    outputs = [BARRIER(o) if id(o) in inputs else o for o in graph.outputs]
    return Graph(graph.inputs, outputs, graph.aliases)


def _distinct(buffers: Iterator[Buffer] | list[Buffer]) -> list[Buffer]:
    return list({id(b): b for b in buffers}.values())


# --- memory ------------------------------------------------------------------------------------


def _delay(steps: list[Step], after: list[set[int]]) -> None:
    """Do what takes more memory than it frees in the last level before it is needed.

    Borders of zeros and weights turned round could be made at once, but would lie there meanwhile.
    """
    later: list[list[int]] = [[] for _ in steps]
    for i, sources in enumerate(after):
        for s in sources - {i}:
            later[s].append(i)
    for i in reversed(range(len(steps))):
        step = steps[i]
        private = all(b.place == "arena" for b in step.writes)
        if not private or not later[i] or step.chain or step.checks or step.loop is not None:
            continue
        read = sum(b.nbytes for b in step.reads if b.place == "arena")
        if sum(b.nbytes for b in step.writes) >= read:
            step.level = max(step.level, min(steps[j].level for j in later[i]) - 1)
    steps.sort(key=lambda s: s.level)


def _place(steps: list[Step], before: list[Step], threads: int) -> int:
    """Give every arena buffer an offset, so that those alive at one time do not overlap.

    What is made before a loop stays to its end.
    """
    born: dict[int, int] = {}
    dies: dict[int, int] = {}
    found: dict[int, Buffer] = {}
    for step in steps:
        for b in step.reads + step.writes:
            if b.place == "arena":
                found[id(b)] = b
                born.setdefault(id(b), step.level)
                dies[id(b)] = max(step.level, dies.get(id(b), 0))
    end = max((s.level for s in steps), default=0)
    for step in before:
        for b in step.reads + step.writes:
            if b.place == "arena":
                found[id(b)], born[id(b)], dies[id(b)] = b, 0, end
    placed: list[tuple[int, int, int, int]] = []  # born, dies, and from where to where
    for b in sorted(found.values(), key=lambda b: -b.room(threads)):
        first, last, room, offset = born[id(b)], dies[id(b)], b.room(threads), 0
        taken = [
            (low, high) for begins, ends, low, high in placed if begins <= last and first <= ends
        ]
        for low, high in sorted(taken):
            if offset + room <= low:
                break
            offset = max(offset, -(-high // ALIGN) * ALIGN)
        b.offset = offset
        placed.append((first, last, offset, offset + max(room, 1)))
    return max((b.offset + b.room(threads) for b in found.values()), default=0)
