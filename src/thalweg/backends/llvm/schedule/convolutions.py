"""Convolutions: gradients with respect to the input become contractions of windows too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from thalweg.backends.llvm.schedule.halves import without_casts
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite, topological, users, with_inputs
from thalweg.graph.shape import Shape
from thalweg.ops import movement as mv
from thalweg.ops.record import OPS, cast_node, full
from thalweg.ops.windows import OVERLAP_ADD, expanded, windows

NARROW = 16  # columns that a vector holds


def gather_windows(graph: Graph) -> Graph:
    """Turn windows that are put back into windows that are read: then they are contractions.

    ``overlap_add(contract(g, w))`` adds each product to many places; the same sums are a
    contraction of windows of the padded ``g`` with the reversed ``w``. Other sums of windows become
    slices and additions. What a single reader cuts off is not computed.
    """
    readers = users(topological(graph.outputs))
    results = {id(o) for o in graph.outputs}
    new: dict[int, Node] = {}
    for node in topological(graph.outputs):
        made = with_inputs(node, tuple(new[id(i)] for i in node.inputs))
        if node.op is OVERLAP_ADD:
            made = _gathered(made, (0,) * node.rank, node.shape)
        elif node.op.name == "slice" and set(node.attrs["steps"]) <= {1}:
            source = node.inputs[0]
            alone = len(readers[id(source)]) == 1 and id(source) not in results
            if source.op is OVERLAP_ADD and alone:
                put = with_inputs(source, (new[id(source.inputs[0])],))
                made = _gathered(put, node.attrs["starts"], node.shape)
        new[id(node)] = made
    return Graph(graph.inputs, [new[id(o)] for o in graph.outputs], graph.aliases)


def _gathered(node: Node, starts: Shape, shape: Shape) -> Node:
    """Return a part of a sum of windows without adding to places."""
    single = _single_window(node, starts, shape)
    if single is not None:
        return single
    made = _as_contraction(node, starts, shape)
    if made is None:
        made, rest = expanded(node), list(range(node.rank))
    else:
        rest = [d for d in range(node.rank) if d not in node.attrs["axes"]]
    for d in rest:
        made = mv.narrow(made, d, starts[d], shape[d])
    return made


def _single_window(node: Node, starts: Shape, shape: Shape) -> Node | None:
    """Put back the windows of the first axis that has only one: it is where its places are.

    Read through windows of padded zeros, each place would meet all others (a network that draws
    images begins so: one position grows to seven times seven).
    """
    g, a = node.inputs[0], node.attrs
    place = next((i for i, d in enumerate(a["axes"]) if g.shape[d + i] == 1), None)
    if place is None:
        return None
    d, dilation = a["axes"][place], a["dilations"][place]
    source = _without(g, d + place)
    rest = {k: tuple(v for i, v in enumerate(a[k]) if i != place)
            for k in ("axes", "sizes", "strides", "dilations")}  # fmt: skip
    if rest["axes"]:
        places = a["sizes"][place]
        inner = tuple(places if e == d else n for e, n in enumerate(node.shape))
        begun = tuple(0 if e == d else n for e, n in enumerate(starts))
        wanted = tuple(places if e == d else n for e, n in enumerate(shape))
        source = _gathered(OVERLAP_ADD(source, shape=inner, **rest), begun, wanted)
    else:
        for e, (first, n) in enumerate(zip(starts, shape, strict=True)):
            source = source if e == d else mv.narrow(source, e, first, n)
    size = (source.shape[d] - 1) * dilation + 1
    high, between = [0] * node.rank, [0] * node.rank
    high[d], between[d] = node.shape[d] - size, dilation - 1
    if any(high + between):
        source = OPS["pad"](source, low=(0,) * node.rank, high=tuple(high),
                            interior=tuple(between), value=0)  # fmt: skip
    return mv.narrow(source, d, starts[d], shape[d])


def _without(g: Node, axis: int) -> Node:
    """Return a tensor without an axis of one element; a contraction then never has it."""
    shape = g.shape[:axis] + g.shape[axis + 1 :]
    if g.op.name != "contract":
        return mv.reshape(g, shape)
    lx, ly, out = g.attrs["spec"]
    label = out[axis]
    sides = []
    for labels, x in zip((lx, ly), g.inputs, strict=True):
        if label in labels:
            at = labels.index(label)
            x = mv.reshape(x, x.shape[:at] + x.shape[at + 1 :])
        sides.append((labels.replace(label, ""), x))
    spec = (sides[0][0], sides[1][0], out.replace(label, ""))
    return OPS["contract"](sides[0][1], sides[1][1], spec=spec)


@dataclass(frozen=True)
class _Work:
    """The operands and labels of a contraction while it is rewritten, axis by axis.

    ``seen``: for a label of ``g`` the label of the places of its windows, how many, how far apart,
    where the first window begins (before 0: zeros), and how many windows there are.
    """

    g: Node
    w: Node
    lg: str
    lw: str
    out: str
    seen: dict[str, tuple[str, int, int, int, int]] = field(default_factory=dict)

    def contracted(self) -> Node:
        """Return the contraction of ``g``, seen through windows along all axes at once."""
        axes = [d for d, c in enumerate(self.lg) if c in self.seen]
        g, lg = self.g, self.lg
        low, high = [0] * g.rank, [0] * g.rank
        for d in axes:
            _, terms, step, first, count = self.seen[lg[d]]
            low[d] = -first
            high[d] = first + count + (terms - 1) * step - g.shape[d]
            g = mv.narrow(g, d, max(first, 0), g.shape[d] - max(first, 0) + min(high[d], 0))
        low, high = [max(n, 0) for n in low], [max(n, 0) for n in high]
        if any(low + high):
            g = OPS["pad"](g, low=tuple(low), high=tuple(high), interior=(0,) * g.rank, value=0)
        rows = [self.seen[lg[d]] for d in axes]
        if axes:
            g = windows(g, axes, [r[1] for r in rows], [1] * len(axes), [r[2] for r in rows])
        lg = "".join(c + self.seen[c][0] if c in self.seen else c for c in lg)
        return OPS["contract"](g, self.w, spec=(lg, self.lw, self.out))


@dataclass(frozen=True)
class _Job:
    """One windowed axis: labels of window and place, and which positions are wanted."""

    window: str
    place: str
    start: int
    count: int
    stride: int
    dilation: int


def _as_contraction(node: Node, starts: Shape, shape: Shape) -> Node | None:
    (product, casts), a = without_casts(node.inputs[0]), node.attrs
    order = None
    if product.op.name == "transpose":
        order, product = product.attrs["axes"], product.inputs[0]
        product, earlier = without_casts(product)
        casts = earlier + casts
    if product.op.name != "contract":
        return None
    x, y = product.inputs
    lx, ly, out = product.attrs["spec"]
    if order is not None:
        out = "".join(out[i] for i in order)
    pairs = [(out[d + i], out[d + i + 1]) for i, d in enumerate(a["axes"])]
    if all(i in lx and i not in ly and j in ly and j not in lx for i, j in pairs):
        work = _Work(x, y, lx, ly, out)
    elif all(i in ly and i not in lx and j in lx and j not in ly for i, j in pairs):
        work = _Work(y, x, ly, lx, out)
    else:
        return None
    columns = math.prod(
        n for c, n in zip(work.lw, work.w.shape, strict=True)
        if c in out and c not in work.lg and all(c != j for _, j in pairs)
    )  # fmt: skip
    jobs = [
        _Job(*pair, starts[d], shape[d], stride, dilation)
        for pair, d, stride, dilation in zip(
            pairs, a["axes"], a["strides"], a["dilations"], strict=True
        )
    ]
    few = columns < NARROW and a["sizes"][-1] > 1
    made = _solved(work, jobs[:-1] if few else jobs)
    for kind in casts:  # a 16-bit product is rounded once more, as a whole
        made = cast_node(made, kind)
    if not few:
        return made
    # So few columns would leave lanes empty: those of the last axis' places join them, and are
    # added up afterwards.
    last = {k: (v[-1],) for k, v in a.items() if k != "shape"}
    d = a["axes"][-1]
    whole = [shape[e] if e in a["axes"][:-1] else n for e, n in enumerate(node.shape)]
    added = expanded(OVERLAP_ADD(made, shape=tuple(whole), **last))
    return mv.narrow(added, d, starts[d], shape[d])


def _solved(work: _Work, jobs: list[_Job]) -> Node:
    """Return the sum for all axes; its labels are those of ``work.out`` without the places.

    Position ``s * q + f`` of an axis with stride ``s`` is reached by every s-th place only, from
    ``f`` on: each ``f`` is a contraction of its own with part of the weight.
    """
    if not jobs:
        return work.contracted()
    job, rest = jobs[0], jobs[1:]
    at, w = work.lw.index(job.place), work.w
    dilation = job.dilation
    if job.stride > 1 and dilation > 1:
        between = tuple(dilation - 1 if d == at else 0 for d in range(w.rank))
        zero = (0,) * w.rank
        w, dilation = OPS["pad"](w, low=zero, high=zero, interior=between, value=0), 1
    size, count = w.shape[at], -(-job.count // job.stride)
    out = work.out.replace(job.place, "")
    parts: list[Node | None] = []
    for phase in range(job.stride):
        later, first = divmod(phase + job.start, job.stride)
        terms = -(-(size - first) // job.stride)
        if terms <= 0:
            parts.append(None)
            continue
        own = w
        if job.stride > 1:
            starts, stops, steps = [0] * w.rank, list(w.shape), [1] * w.rank
            starts[at], steps[at] = first, job.stride
            stops[at] = first + (terms - 1) * job.stride + 1
            own = mv.slice_(w, starts, stops, steps)
        begin = later - (terms - 1) * dilation
        if job.stride == 1:
            begin = job.start - (terms - 1) * dilation
        seen = work.seen | {job.window: (job.place, terms, dilation, begin, count)}
        parts.append(
            _solved(replace(work, w=mv.flip(own, at), out=out, seen=seen), rest)
        )
    axis = [c for c in out if c not in {j.place for j in rest}].index(job.window)
    return _interleaved(parts, axis, job.count)


def _interleaved(parts: list[Node | None], axis: int, count: int) -> Node:
    """Return tensors whose elements along an axis take turns."""
    known = next(p for p in parts if p is not None)
    if len(parts) == 1:
        return known
    nodes = [full(known.shape, 0, known.dtype) if p is None else p for p in parts]
    y = mv.concatenate([mv.expand_dims(p, axis + 1) for p in nodes], axis + 1)
    merged = known.shape[:axis] + (known.shape[axis] * len(parts),) + known.shape[axis + 1 :]
    return mv.narrow(mv.reshape(y, merged), axis, 0, count)


def join_pads(graph: Graph) -> Graph:
    """Write a sum of tensors that zeros keep apart as the tensors side by side.

    Gradients of the parts of a tensor arrive so; a sum would write and read it once a part.
    """
    made: dict[int, tuple[int, list[tuple[int, Node]]]] = {}

    def parts(node: Node) -> tuple[int, list[tuple[int, Node]]] | None:
        if id(node) in made:
            return made[id(node)]
        a = node.attrs
        if node.op.name != "pad" or a["value"] != 0 or any(a["interior"]):
            return None
        axes = [d for d in range(node.rank) if a["low"][d] or a["high"][d]]
        ok = len(axes) == 1 and min(a["low"] + a["high"]) >= 0
        return (axes[0], [(a["low"][axes[0]], node.inputs[0])]) if ok else None

    def rule(node: Node) -> Node:
        if node.op.name != "add" or any(i.shape != node.shape for i in node.inputs):
            return node
        one, two = (parts(i) for i in node.inputs)
        if one is None or two is None or one[0] != two[0]:
            return node
        axis, rows = one[0], sorted(one[1] + two[1], key=lambda r: r[0])
        pieces, at = [], 0
        for low, x in [*rows, (node.shape[axis], None)]:
            if low < at:
                return node
            if low > at:
                shape = (*node.shape[:axis], low - at, *node.shape[axis + 1 :])
                pieces.append(full(shape, 0, node.dtype))
            if x is not None:
                pieces.append(x)
                at = low + x.shape[axis]
        joined = mv.concatenate(pieces, axis)
        made[id(joined)] = (axis, rows)
        return joined

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)
