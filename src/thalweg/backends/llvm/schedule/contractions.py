"""Plans for contractions: which operand is broadcast, which is read by vectors, tiles, packing.

Every contraction becomes the batch-reduce matrix product of Georganas et al., arXiv:1906.06440:
C[m, n] = sum over taps and k of A_tap[m, k] * B_tap[k, n], with all sizes and strides static.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from thalweg.backends.llvm.loops import (
    Affine,
    Axis,
    Index,
    Kernel,
    Plan,
    identity_index,
    linear,
    source_index,
)
from thalweg.backends.llvm.schedule.borders import border
from thalweg.backends.llvm.schedule.dots import run_along_sum
from thalweg.backends.llvm.schedule.footprints import (
    FAR_LINE,
    LINE,
    NEAR_CACHE,
    footprint,
    footprint_of_b,
)
from thalweg.graph.node import Node
from thalweg.graph.shape import contiguous_strides
from thalweg.ops.contraction import roles

Stored = Callable[[Node], bool]


def resolve(node: Node, index: Index, stored: Stored) -> tuple[Node, Affine] | None:
    """Return the stored node behind views, and the place read in it; None if there is none."""
    loops = len(index[0].factors) if index else 0
    while not stored(node):
        if node.op.name == "reshape":
            source = node.inputs[0]
            while source.op.name == "reshape" and not stored(source):
                source = source.inputs[0]
            if stored(source):
                return source, linear(index, node.shape, loops)
        if node.op.kind not in ("movement", "identity"):
            return None
        moved = source_index(node, index)
        if moved is None:
            return None
        node, index = node.inputs[0], moved
    return node, linear(index, node.shape, loops)


def _strides(
    operand: Node, labels: str, every: str, stored: Stored
) -> tuple[Node, int, dict[str, int]] | None:
    zero = (0,) * len(every)
    index = tuple(Affine(0, tuple(int(c == o) for o in every)) for c in labels)
    found = resolve(operand, index or (), stored)
    if found is None:
        return None
    base, place = found
    factors = place.factors if index else zero
    return base, place.base, dict(zip(every, (*factors, *zero), strict=False))


def _merged(axes: list[Axis], may_merge: Callable[[str, str], bool]) -> list[Axis]:
    """Join neighbouring loops that all operands walk as one."""
    joined: list[Axis] = []
    for axis in axes:
        if joined:
            p = joined[-1]
            fits = all(x == y * axis.size for x, y in ((p.a, axis.a), (p.b, axis.b), (p.c, axis.c)))
            if fits and may_merge(p.labels[-1], axis.labels):
                joined[-1] = Axis(
                    p.labels + axis.labels, p.size * axis.size, axis.a, axis.b, axis.c
                )
                continue
        joined.append(axis)
    return joined


def mergeable(kernel: Kernel, labels: str, stored: Stored) -> Callable[[str, str], bool]:
    """Return a test whether everything fused after a contraction walks two output axes as one."""
    space = kernel.space
    places = [
        kernel.place(n, b, identity_index(space), len(space))
        for n, b in kernel.stores if id(n) in kernel.placed
    ]  # fmt: skip
    seen: set[tuple[int, Index]] = set()
    start = identity_index(space)
    stack = [(n, start) for n, _ in kernel.stores]
    blocked = False
    while stack:
        node, index = stack.pop()
        if (id(node), index) in seen or node is kernel.anchor:
            continue
        seen.add((id(node), index))
        if stored(node) and id(node) not in kernel.inside:
            places.append(linear(index, node.shape, len(space)))
            continue
        if node.op.name == "iota":
            places.append(index[0])
        for i, source in enumerate(node.inputs):
            at = source_index(node, index, i)
            if at is None:
                blocked = True
            else:
                stack.append((source, at))

    def test(first: str, second: str) -> bool:
        if first not in labels or second not in labels:
            return True
        i, j = labels.index(first), labels.index(second)
        if blocked or j != i + 1:
            return False
        return all(p.factor(i) == p.factor(j) * space[j] for p in places)

    return test


def make_plan(kernel: Kernel, stored: Stored, lanes: int, registers: int, threads: int) -> Plan:
    """Return the plan of a contraction kernel whose operands are stored."""
    anchor = kernel.anchor
    assert anchor is not None
    spec = anchor.attrs["spec"]
    every = "".join(dict.fromkeys(spec[0] + spec[1]))
    left = _strides(anchor.inputs[0], spec[0], every, stored)
    right = _strides(anchor.inputs[1], spec[1], every, stored)
    assert left is not None
    assert right is not None
    a, b = anchor.inputs
    size = dict(zip(spec[0] + spec[1], a.shape + b.shape, strict=True))
    out = dict(zip(spec[2], contiguous_strides(anchor.shape), strict=True))
    batch, rows, columns, summed = roles(spec)
    swap = _better_swapped(left, right, out, size, rows, columns)
    if swap:
        left, right, rows, columns = right, left, columns, rows
    a_steps, b_steps = left[2], right[2]

    def axes(labels: str) -> list[Axis]:
        return [
            Axis(c, size[c], a_steps[c], b_steps[c], out.get(c, 0)) for c in labels if size[c] != 1
        ]

    updates = any(b.place == "input" for _, b in kernel.stores)
    test = mergeable(kernel, spec[2], stored)
    one = Axis("", 1, 0, 0, 0)
    ms, ns = _merged(axes(rows), test), _merged(axes(columns), _always)
    if len(ns) > 1 or (ns and ns[0].size > lanes):  # else each lane of one vector has its place
        ns = _merged(axes(columns), test)
    ks = _merged_sum(sorted(axes(summed), key=lambda x: (-abs(x.b), -abs(x.a))))  # B in its order
    n = _take_lanes(ns) if ns else one
    k = ks.pop() if ks else one

    def plan_with(m: Axis, over: Axis | None = None) -> Plan:
        outer = axes(batch) + [x for x in ms if x is not m and x is not over] + ns
        outer.sort(key=lambda x: -x.c)
        return Plan(left[0], right[0], left[1], right[1], outer, m, n, k, ks, lanes, over=over)

    plans = [plan_with(m) for m in reversed(ms or [one])]
    if anchor.dtype.is_float and not updates:
        plans += [plan_with(m, over) for over, m in itertools.pairwise(ms)
                  if 2 * m.size <= HIGHEST]  # fmt: skip
    plan = _with_best_rows(plans, registers, threads)
    plan.pack_axes = [x for x in plan.outer if x.b]
    plan.updates = updates
    plan.order = _order(plan)
    if anchor.dtype.is_float and not plan.dots:
        if plan.streamed:
            _cut_stream(plan)
        else:
            _cut(plan)
    plan.copied = _worth_copying(plan)
    plan.border = border(plan) if anchor.dtype.is_float else None
    return plan


def _with_best_rows(plans: list[Plan], registers: int, threads: int) -> Plan:
    """Return the plan whose rows fill register tiles best; the first if no other is far better."""
    best: tuple[float, Plan] | None = None
    for plan in plans:
        if run_along_sum(plan):
            return plan
        plan.packed = _worth_packing(plan)
        plan.streamed = _is_streamed(plan)
        cost = _choose_tile(plan, registers, threads)
        if plan.streamed:  # every row of tiles reads all of B from far memory
            passes = plan.blocks * math.prod(x.size for x in plan.outer if not x.b)
            cost += FAR_LINE * passes * footprint_of_b(plan) / LINE / threads
        if best is None or cost < 0.85 * best[0]:
            best = (cost, plan)
    assert best is not None
    return best[1]


SHORTEST = 192  # multiply-adds into a tile that are worth loading and storing it


def _is_streamed(plan: Plan) -> bool:
    """Whether tiles read B itself, from far memory: a large weight meets few examples."""
    rows = plan.height * math.prod(x.size for x in plan.outer if not x.b)
    few = rows <= FEW_ROWS and not plan.packed and plan.n.b == 1
    return few and footprint_of_b(plan) > NEAR_CACHE


FEW = 1 << 19  # bytes of partial sums that cost little
FEW_ROWS = 64  # rows of A; more read parts of B again
SLAB = 1 << 16  # bytes of B that all panels read before the next ones


def _cut_stream(plan: Plan) -> None:
    """Cut the sum so that a large B is read in the order in which it lies in memory.

    Panel by panel, each line would be far from the one before it; so all panels do a few steps of k
    before the next ones, and their partial sums wait: more steps if there are many sums.
    """
    row = plan.n.size * plan.align
    if plan.panels == 1 or plan.height * row > FEW:
        return
    plan.chunks, plan.taps, plan.order = plan.taps, [], "panels"
    plan.block = max(16, SLAB // row // 8 * 8, plan.height // 2)
    if plan.block >= plan.k.size:
        plan.block = 0


def _order(plan: Plan) -> str:
    """Return in which order tiles are computed.

    Tiles that read one panel of B follow each other, so that it stays near. State that the epilogue
    updates is walked row by row. A weight that no near cache holds is read panel by panel for all
    of A, else once for each outer loop.
    """
    summed = [*plan.taps, plan.k]
    shared = bool(plan.outer) and not any(x.b for x in plan.outer) and not plan.updates
    if shared and footprint(plan, "b", [plan.n, *summed]) > NEAR_CACHE:
        return "outer"
    rows_first = plan.updates or _rows_are_far(plan) or plan.height > plan.n.size
    return "panels" if rows_first and not plan.taps else "blocks"


NEAREST = 1 << 15  # bytes of a first cache
COPY = 1 << 16  # bytes of rows of A that are copied at a time


def _cut(plan: Plan) -> None:
    """Cut a long sum into parts, until what the tiles of one part read again stays near.

    If there are few partial sums, the panel that one row of tiles after the other reads should even
    stay in the first cache.
    """
    if plan.order != "outer" and plan.panels * plan.blocks == 1:
        return

    def near(few: bool) -> bool:
        summed = [*plan.taps, plan.k]
        if plan.order == "panels":
            slab = footprint(plan, "b", [plan.n, *summed])
            other = plan.rows * math.prod(x.size for x in summed) * plan.align
            if _rows_are_far(plan) and other > COPY:
                return False
        else:
            inside = [*plan.outer, *plan.row_axes] if plan.order == "outer" else plan.row_axes
            slab = footprint(plan, "a", [*inside, *summed])
            if plan.panels == 1 or footprint(plan, "a", [*inside, plan.k]) > NEAR_CACHE:
                slab = 0  # A is read once, or too large whatever the part
            other = plan.width * math.prod(x.size for x in summed) * plan.align
            if few and plan.blocks > 1 and other > NEAREST:
                return False
        return slab + other <= NEAR_CACHE

    if not near(few=False) and _group_rows(plan):
        return
    few = plan.tiles * plan.rows * plan.width * plan.align <= FEW

    def length() -> int:
        return plan.k.size * math.prod(t.size for t in plan.taps)

    while plan.taps and not near(few) and length() // plan.taps[0].size >= SHORTEST:
        plan.chunks.append(plan.taps.pop(0))
    if plan.taps and not near(few):
        _split_tap(plan, length(), lambda: near(few))
    if plan.taps or near(few) or plan.k.size < 2 * SHORTEST:
        return
    for parts in range(2, plan.k.size // SHORTEST + 1):
        block = -(-plan.k.size // parts)
        whole = plan.k
        plan.k = Axis(whole.labels, block, whole.a, whole.b, whole.c)
        fits = near(few)
        plan.k, plan.block = whole, block
        if fits:
            return


FEWEST_ROWS = 64  # rows of a group that are worth walking all panels again


def _group_rows(plan: Plan) -> bool:
    """Let all panels pass over a group of rows that stays near, instead of cutting the sum.

    Then there are no partial sums, and B is read once for each group.
    """
    if plan.taps or plan.order == "outer" or plan.updates or _rows_are_far(plan):
        return False
    row = plan.k.size * plan.align
    group = (NEAR_CACHE - plan.width * row) // (plan.rows * row)
    if group * plan.rows < FEWEST_ROWS:
        return False
    plan.order, plan.group = "blocks", int(group)
    return True


def _split_tap(plan: Plan, length: int, near: Callable[[], bool]) -> None:
    """Move as much of the outermost tap out of the tiles as is needed and leaves them enough."""
    tap = plan.taps[0]
    inner = length // tap.size
    fit = [r for r in range(1, tap.size) if tap.size % r == 0 and r * inner >= SHORTEST]
    for r in reversed(fit):
        plan.taps[0] = Axis(tap.labels, r, tap.a, tap.b, tap.c)
        if near():
            break
    if fit:
        r = plan.taps[0].size
        plan.chunks.append(Axis(tap.labels, tap.size // r, tap.a * r, tap.b * r, tap.c * r))


def _worth_packing(plan: Plan) -> bool:
    """Whether B is copied into panels first.

    It must be where its lanes do not lie side by side. Where they do, rows that are far apart cost
    misses of caches and address translation each time a tile walks down them; the copy, made once,
    pays if enough rows of A reuse it. Measured with 512 x 512 x 512: 126 against 162 GFLOP/s. If B
    is in far memory it pays for all that have too many rows to stream it: 96 x 2048 x 2048 takes
    2.3 times as long without.
    """
    if plan.n.size == 1:
        return False
    if plan.n.b != 1:
        return True
    far = plan.k.b * plan.align >= 256 and plan.k.size >= 64
    again = plan.height * math.prod(x.size for x in plan.outer if not x.b)
    enough = FEW_ROWS + 1 if footprint_of_b(plan) > NEAR_CACHE else 128
    return far and again >= enough


FEWEST = 4  # tiles side by side that pay for a copy of the rows they read


def _worth_copying(plan: Plan) -> bool:
    """Whether the rows of A that all tiles side by side read are copied to the stack first.

    A transposed operand, such as the inputs in a gradient of weights, has one step of k far from
    the next: each read of a tile is another line and often another page, and lines that are a
    multiple of a power of two apart push each other out. Measured with 1536 x 2048 x 384, the
    update of the weight included: 112 against 142 GFLOP/s.
    """
    depth = plan.block or plan.k.size
    fits = plan.rows * depth * plan.align <= COPY
    return _rows_are_far(plan) and depth >= 32 and fits and plan.order == "panels"


def _rows_are_far(plan: Plan) -> bool:
    """Whether enough tiles read the same rows of A, whose steps of k are far from each other."""
    far = plan.m.a == 1 and plan.over is None and plan.k.a * plan.align >= 1024
    return far and not plan.taps and plan.panels >= FEWEST


def _merged_sum(axes: list[Axis]) -> list[Axis]:
    return _merged(axes, _always)


def _always(first: str, second: str) -> bool:
    return True


def _take_lanes(ns: list[Axis]) -> Axis:
    """Take out the loop that B stores contiguously, else the one that C does."""
    best = max(ns, key=lambda x: (x.b == 1, x.c == 1, x.size))
    ns.remove(best)
    return best


Operand = tuple[Node, int, dict[str, int]]


def _better_swapped(
    left: Operand, right: Operand, out: dict[str, int], size: dict[str, int], rows: str,
    columns: str,
) -> bool:  # fmt: skip
    """Whether the second operand should be the one that is broadcast.

    The lanes run along the columns, where the result is contiguous; only if there are fewer columns
    than rows, and the rows are contiguous in operand and result, is the other way round better.
    """
    wide = [c for c in rows if size[c] != 1]
    narrow = math.prod(size[c] for c in columns)
    if not wide or narrow >= math.prod(size[c] for c in wide):
        return False
    return out[wide[-1]] == 1 and left[2][wide[-1]] == 1


HIGHEST = 28  # rows of a register tile
WAY, WAYS = 1 << 12, 7  # lines this far apart share a set of a first cache, which holds so many


def _rows_that_stay(plan: Plan) -> int:
    """Return how many rows of A may be read side by side, a line of each for many steps of k.

    Rows of 1024 numbers would push each other out of the first cache, which has 8 or 12 ways and
    may be shared. Measured with 1024 x 1024 x 1024: 1.15 times as fast with 6 rows as with 14.
    """
    apart = abs(plan.m.a) * plan.align
    if plan.k.a != 1 or apart < LINE or plan.k.size * plan.align <= LINE:
        return HIGHEST
    return min(HIGHEST, WAYS * (WAY // math.gcd(apart, WAY)))


def _choose_tile(plan: Plan, registers: int, threads: int) -> float:
    """Set the register tile that needs the fewest cycles, and return them: a count of the ports.

    A tile of r rows and v vectors does r * v multiply-adds a step, two a cycle, and r + v loads,
    two a cycle; fewer than 8 running sums wait for each other (latency 4, two a cycle).
    """
    best: tuple[float, int, int] | None = None
    vectors = -(-plan.n.size // plan.lanes)
    heights = range(1, min(plan.m.size, _rows_that_stay(plan)) + 1)
    if plan.over is not None:
        most = min(plan.height, HIGHEST)
        heights = range(plan.m.size, most + 1, plan.m.size)
    widest = 4 if plan.height > 1 else 8  # a single row needs eight running sums
    for v in range(1, min(widest, vectors) + 1):
        for r in heights:
            if r * v + v + 1 > registers:
                break
            cost = _cost(plan.height, vectors, r, v, plan, threads)
            if best is None or (cost, -r * v) < (best[0], -best[1] * best[2]):
                best = (cost, r, v)
    assert best is not None
    plan.rows, plan.vectors = best[1], best[2]
    plan.whole = plan.rows // plan.m.size
    return best[0]


ALONE = 20_000  # cycles that are not worth a second thread
NEAR = 1 << 15  # bytes of a panel that stay in the first cache beside rows of A


def _cost(m: int, vectors: int, r: int, v: int, plan: Plan, threads: int) -> float:
    k = plan.k.size * math.prod(t.size for t in plan.taps)
    far = k * v * plan.lanes * plan.align > NEAR  # the panel comes from the second cache

    def step(rows: int, wide: int) -> float:
        fma, load = rows * wide / 2, (rows + wide * 1.25) / 2
        return max(fma, load, 4.0) + (0.15 + 0.25 * wide if far else 0.15)

    finish = 2.0  # cycles a vector of the result costs besides
    full, last = divmod(m, r)

    def tile(rows: int, wide: int) -> float:
        return k * step(rows, wide) + finish * rows * wide + 20

    def column(wide: int) -> float:
        return full * tile(r, wide) + (tile(last, wide) if last else 0)

    panels, rest = divmod(vectors, v)
    work = panels * column(v) + (column(rest) if rest else 0)
    outer = math.prod(x.size for x in plan.outer)
    tiles = outer * (panels + bool(rest)) * (full + bool(last))
    largest = tile(r, v)
    variants = (1 + bool(last)) * (1 + bool(rest))
    total = work * outer * (0.97 + 0.03 * variants)  # each further tile shape is compiled
    share = math.ceil(tiles / threads) / tiles if total > ALONE else 1.0
    return max(total * share, largest)


def describe(plan: Plan, names: Sequence[str] = ()) -> str:
    """Return a plan as one line for people."""
    loops = " ".join(f"{x.labels}:{x.size}" for x in plan.outer)
    taps = " ".join(f"{x.labels}:{x.size}" for x in plan.all_taps)
    packed = " B packed into panels" if plan.packed else ""
    packed += " rows of A copied" if plan.copied else ""
    packed += " along k" if plan.dots else ""
    packed += f" by {plan.group * plan.rows} rows" if plan.group else ""
    parts = f" in {plan.parts} parts" if plan.parts > 1 else ""
    parts += f" without zeros over {plan.border.summed.labels}" if plan.border else ""
    outer = f"for {loops} " if loops else ""
    height = "*".join(str(x.size) for x in plan.row_axes)
    summed = f" over {taps}" if taps else ""
    return (
        f"{outer}C[{height},{plan.n.size}] = A[{height},{plan.k.size}] "
        f"B[{plan.k.size},{plan.n.size}]{summed}, tile {plan.rows}x{plan.width}{packed}{parts}"
    )
