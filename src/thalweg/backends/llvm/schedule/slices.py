"""Chains of kernels that go through a batch slice by slice.

The scores of attention, their softmax and the products with the values are kernels over all heads
of all examples. Run one after the other, each would write and read all of it in far memory, and all
threads would wait in between. But the part of one head needs only the same part of the kernel
before it: so a thread takes one head after the other through the whole chain, near its core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from thalweg.backends.llvm.loops import (
    Affine,
    Axis,
    Buffer,
    Kernel,
    Plan,
    Step,
    lane_axis,
)
from thalweg.backends.llvm.schedule.reads import member_index
from thalweg.graph.node import Node

Loops = Sequence[tuple[int, int]]  # size and stride of each
Reads = Sequence[tuple[Node, Affine | None]]  # what a kernel reads, and at which place
SHARED = 1 << 16  # bytes of a weight that each slice may read again
APART = 128  # bytes: processors fetch lines in pairs, so threads would disturb each other
EACH = 4  # slices a thread should have at least, so that no thread waits long


@dataclass
class _Access:
    """How a step walks a buffer: the loops over slices, the others, and where it starts."""

    lead: Loops
    rest: Loops
    base: int

    def stays_in_slice(self, elements: int, slices: int) -> bool:
        """Whether slice i touches only the i-th of so many equal parts of the buffer."""
        part, left = divmod(elements, slices)
        if left:
            return False
        wanted = part
        for size, stride in reversed(self.lead):
            if stride != wanted:
                return False
            wanted *= size
        low = self.base + sum(min(0, (n - 1) * s) for n, s in self.rest)
        high = self.base + sum(max(0, (n - 1) * s) for n, s in self.rest)
        return low >= 0 and high < part


class Slicer:
    """Finds chains and puts the steps of each beside each other."""

    def __init__(
        self, buffers: dict[int, Buffer], reads: Callable[[Kernel], Reads], threads: int
    ) -> None:
        self.buffers, self.reads, self.threads = buffers, reads, threads
        self.known: dict[tuple[int, int], dict[int, list[_Access]] | None] = {}

    def chain(self, steps: list[Step], after: list[set[int]]) -> None:
        """Join steps into chains, and sort all again; ``after``: which ones come first."""
        ahead, readers = _ancestors(after), _readers(steps)
        chains: list[list[int]] = []
        taken: set[int] = set()
        for i in range(len(steps)):
            if i in taken:
                continue
            found: list[int] = []
            count = 0
            for slices in _counts(steps[i], EACH * self.threads):
                longer = self._chain_from(i, slices, steps, after, ahead, taken)
                longer = self._with_sources(longer, slices, steps, after, ahead, readers, taken)
                if len(longer) > max(len(found), 1):
                    found, count = longer, slices
            multiplies = any(steps[j].plan is not None for j in found)
            if multiplies and _levels(after, [*chains, found]) is not None:
                chains.append(found)
                taken.update(found)
                for j in found:
                    steps[j].chain, steps[j].slices = len(chains), count
        if chains:
            _sort(steps, after, chains)

    def _chain_from(
        self, first: int, slices: int, steps: list[Step], after: list[set[int]],
        ahead: list[int], taken: set[int],
    ) -> list[int]:  # fmt: skip
        """Return the longest chain that begins with a step."""
        if self._accesses(steps[first], slices) is None:
            return []
        members, inside = [first], 1 << first
        for j in range(first + 1, len(steps)):
            own = [m for m in members if m in after[j]]
            if not own or j in taken:
                continue
            outside = after[j] - set(own)
            if any(ahead[o] & inside for o in outside):
                continue  # something else stands between
            if all(self._hands_over(steps[m], steps[j], slices) for m in own):
                members.append(j)
                inside |= 1 << j
        return members

    def _with_sources(
        self, members: list[int], slices: int, steps: list[Step], after: list[set[int]],
        ahead: list[int], readers: list[set[int]], taken: set[int],
    ) -> list[int]:  # fmt: skip
        """Add what is made for a chain alone, leave out what is better made elsewhere.

        The last step of a chain may make more than it reads: then that is better made, from the
        same, in the chain that needs it.
        """
        kept = {j for j in members if not _grows(steps[j]) or readers[j] & set(members)}
        inside = sum(1 << j for j in kept)
        to_see = list(kept)
        while to_see:
            for j in after[to_see.pop()] - kept - taken:
                alone = readers[j] and readers[j] <= kept and not ahead[j] & inside
                if alone and all(self._hands_over(steps[j], steps[r], slices) for r in readers[j]):
                    kept.add(j)
                    inside |= 1 << j
                    to_see.append(j)
        return sorted(kept)

    def _hands_over(self, first: Step, second: Step, slices: int) -> bool:
        """Whether each slice of the second step needs only the same slice of the first."""
        one, two = self._accesses(first, slices), self._accesses(second, slices)
        if one is None or two is None:
            return False
        written = {id(b): b for b in first.writes}
        read = {id(b): b for b in second.reads}
        shared = written.keys() & read.keys()
        clash = {id(b) for b in second.writes} & (
            written.keys() | {id(b) for b in first.reads}
        )
        updates = any(b.place == "input" for b in first.writes + second.writes)
        if not shared or clash or updates:
            return False
        for key in shared:
            elements = math.prod(written[key].shape)
            ways = [*one.get(key, ()), *two.get(key, ())]
            ok = written[key].place == "arena" and key in one and key in two
            if not ok or not all(w.stays_in_slice(elements, slices) for w in ways):
                return False
        return True

    def _accesses(self, step: Step, slices: int) -> dict[int, list[_Access]] | None:
        key = (id(step), slices)
        if key not in self.known:
            self.known[key] = self._find_accesses(step, slices)
        return self.known[key]

    def _find_accesses(self, step: Step, slices: int) -> dict[int, list[_Access]] | None:
        """Return how a step walks its buffers if it can be cut into slices."""
        lead = _lead(_outer(step), slices)
        if lead is None or step.checks or step.loop is not None:
            return None
        if step.packs:
            assert step.plan is not None
            assert step.packed is not None
            found = {id(self.buffers[id(step.plan.b)]): [_operand(step.plan, "b", lead)]}
            found[id(step.packed)] = [_whole(step.packed, lead)]
            return found
        return self._of_kernel(step, lead)

    def _shared(self, step: Step, lead: list[Axis]) -> int:
        """Return the bytes of the operand that all slices read."""
        plan = step.plan
        assert plan is not None
        if all(x.a for x in lead):
            return (step.packed or self.buffers[id(plan.b)]).nbytes
        return self.buffers[id(plan.a)].nbytes

    def _of_kernel(self, step: Step, lead: list[Axis]) -> dict[int, list[_Access]] | None:
        kernel, plan = step.kernel, step.plan
        positions = [int(x.labels) for x in lead] if plan is None else []
        if plan is not None:
            assert kernel.anchor is not None
            labels = kernel.anchor.attrs["spec"][2]
            each = all(x.a and x.b for x in lead)
            own = _own_bytes(plan, kernel, lead)
            if not each and self._shared(step, lead) > max(SHARED, own):
                return None  # it is better read once for all slices
            positions = [labels.index(k) for x in lead for k in x.labels]
        found: dict[int, list[_Access]] = {}

        def note(buffer: Buffer, place: Affine) -> None:
            walked = [(n, place.factor(d)) for d, n in enumerate(kernel.space)]
            rest = [w for d, w in enumerate(walked) if d not in positions]
            way = _Access([walked[d] for d in positions], rest, place.base)
            found.setdefault(id(buffer), []).append(way)

        rank = len(kernel.space)
        for node, buffer in kernel.stores:
            index = member_index(kernel, node)
            if index is None:
                return None
            note(buffer, kernel.place(node, buffer, index, rank))
        for node, place in self.reads(kernel):
            if place is not None:
                note(self.buffers[id(node)], place)
            elif plan is None:
                return None
        if plan is not None:
            found.setdefault(id(self.buffers[id(plan.a)]), []).append(_operand(plan, "a", lead))
            if step.packed is None:
                right = id(self.buffers[id(plan.b)])
                found.setdefault(right, []).append(_operand(plan, "b", lead))
            elif all(x.b for x in lead):
                found[id(step.packed)] = [_whole(step.packed, lead)]
            else:  # each slice reads all panels
                every = (math.prod(step.packed.shape), 1)
                found[id(step.packed)] = [_Access([(x.size, 0) for x in lead], [every], 0)]
        return found


def _own_bytes(plan: Plan, kernel: Kernel, lead: list[Axis]) -> int:
    """Return the bytes that a slice of a contraction has: of one operand, and of the result."""
    slices = math.prod(x.size for x in lead)
    which = plan.a if all(x.a for x in lead) else plan.b
    both = which.size * plan.align + math.prod(kernel.space) * plan.align
    return both // slices


def keep_slices(steps: list[Step], before: list[Step], threads: int) -> None:
    """Let each thread keep one slice of what only the kernels of one chain write and read.

    Written as a whole, it would leave the near caches although nobody needs it any more.
    """
    homes: dict[int, set[int]] = {}
    found: dict[int, tuple[Buffer, int]] = {}
    for group, chained in ((before, False), (steps, True)):
        for step in group:
            for b in step.reads + step.writes:
                homes.setdefault(id(b), set()).add(step.chain if chained else 0)
                found[id(b)] = b, step.slices
    for key, (b, slices) in found.items():
        alone = len(homes[key]) == 1 and 0 not in homes[key]
        if alone and b.place == "arena" and slices > threads and b.nbytes % slices == 0:
            b.slice_bytes = b.nbytes // slices
            b.slot_bytes = -(-b.slice_bytes // APART) * APART


def _outer(step: Step) -> list[Axis]:
    """Return the loops of a step from the outermost on, as its threads share them."""
    if step.packs:
        assert step.plan is not None
        return step.plan.pack_axes
    if step.plan is not None:
        return [] if step.plan.order == "outer" else step.plan.outer
    kernel = step.kernel
    if kernel.kind == "map":
        before = kernel.space[: lane_axis(kernel.space)]
        return [Axis(str(d), n, 0, 0, 0) for d, n in enumerate(before)]
    if kernel.kind != "rows":
        return []
    kept = len(kernel.space) - len(kernel.reduced)
    last = tuple(range(kept, len(kernel.space)))
    if tuple(kernel.reduced) != last:
        return []
    return [Axis(str(d), kernel.space[d], 0, 0, 0) for d in range(kept)]


def _counts(step: Step, least: int) -> list[int]:
    """Return into how many slices a contraction, or what may stand in front of one, can be cut."""
    if step.plan is None and not step.kernel.placed:
        return []
    counts, product = [], 1
    for axis in _outer(step):
        product *= axis.size
        counts.append(product)
    return [c for c in counts if c >= least]


def _lead(outer: list[Axis], slices: int) -> list[Axis] | None:
    """Return the first loops, which make so many slices, without those of one step."""
    product, lead = 1, []
    for axis in outer:
        if product == slices:
            break
        product *= axis.size
        if axis.size > 1:
            lead.append(axis)
    return lead if product == slices and slices > 1 else None


def _operand(plan: Plan, which: str, lead: list[Axis]) -> _Access:
    rest = [(x.size, int(getattr(x, which))) for x in plan.loops if x not in lead]
    base = plan.a_base if which == "a" else plan.b_base
    return _Access([(x.size, int(getattr(x, which))) for x in lead], rest, base)


def _whole(packed: Buffer, lead: list[Axis]) -> _Access:
    """Return the access to panels, which lie slice after slice."""
    elements = math.prod(packed.shape)
    strides, loops = elements, []
    for axis in lead:
        strides //= axis.size
        loops.append((axis.size, strides))
    return _Access(loops, [], 0)


def _readers(steps: list[Step]) -> list[set[int]]:
    """Return, for each step, which ones read what it writes."""
    found: dict[int, set[int]] = {}
    for j, step in enumerate(steps):
        for b in step.reads:
            found.setdefault(id(b), set()).add(j)
    return [set().union(*(found.get(id(b), set()) for b in s.writes)) - {i}
            for i, s in enumerate(steps)]  # fmt: skip


def _grows(step: Step) -> bool:
    """Whether a step that may begin a chain writes more than it reads."""
    size = sum(b.nbytes for b in step.writes) - sum(b.nbytes for b in step.reads)
    return bool(step.kernel.placed) and step.plan is None and size > 0


def _ancestors(after: list[set[int]]) -> list[int]:
    """Return, as bits, all steps before each; the steps are sorted."""
    ahead: list[int] = []
    for sources in after:
        bits = 0
        for s in sources:
            bits |= ahead[s] | 1 << s
        ahead.append(bits)
    return ahead


def _homes(count: int, chains: list[list[int]]) -> list[int]:
    """Return, for each step, the first of its chain, or itself."""
    home = list(range(count))
    for chain in chains:
        for i in chain:
            home[i] = chain[0]
    return home


def _levels(after: list[set[int]], chains: list[list[int]]) -> list[int] | None:
    """Return a level for each step, one for a chain; None if two chains wait for each other."""
    home = _homes(len(after), chains)
    before: dict[int, set[int]] = {h: set() for h in home}
    for i, sources in enumerate(after):
        before[home[i]] |= {home[s] for s in sources} - {home[i]}
    later: dict[int, list[int]] = {h: [] for h in before}
    for h, sources in before.items():
        for s in sources:
            later[s].append(h)
    waits = {h: len(sources) for h, sources in before.items()}
    level = dict.fromkeys(before, 0)
    ready = [h for h, n in waits.items() if not n]
    for h in ready:  # grows while it is walked
        for other in later[h]:
            level[other] = max(level[other], level[h] + 1)
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    return [level[h] for h in home] if len(ready) == len(before) else None


def _sort(steps: list[Step], after: list[set[int]], chains: list[list[int]]) -> None:
    """Give the steps of a chain one level, which is after all that any of them needs."""
    home, levels = _homes(len(steps), chains), _levels(after, chains)
    assert levels is not None
    for step, level in zip(steps, levels, strict=True):
        step.level = level
    order = sorted(range(len(steps)), key=lambda i: (levels[i], home[i], i))
    steps[:] = [steps[i] for i in order]
