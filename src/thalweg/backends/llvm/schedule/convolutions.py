"""Convolutions: gradients with respect to the input become contractions of windows too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite, topological, users, with_inputs
from thalweg.ops import movement as mv
from thalweg.ops.record import OPS, full
from thalweg.ops.windows import OVERLAP_ADD, WINDOWS, expanded, windows

NARROW = 16  # columns that a vector holds
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def gather_windows(graph: Graph) -> Graph:
    """Turn windows that are put back into windows that are read: then they are contractions.

    ``overlap_add(contract(g, w))`` adds each product to many places; the same sums are a
    contraction of windows of the padded ``g`` with the reversed ``w``. Other sums of windows become
    slices and additions.
    """

    def rule(node: Node) -> Node:
        if node.op.name != "overlap_add":
            return node
        made = _as_contraction(node)
        return expanded(node) if made is None else made

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


@dataclass
class _Work:
    """The operands and labels of a contraction while it is rewritten, axis by axis."""

    g: Node
    w: Node
    lg: str
    lw: str
    out: str
    folds: list[tuple[str, str, int, int]] = field(default_factory=list)
    spread: list[tuple[str, int, int]] = field(default_factory=list)
    seen: dict[str, tuple[str, int, int, int]] = field(default_factory=dict)  # windows to come

    def fresh(self) -> str:
        used = self.lg + self.lw + self.out
        return next(c for c in LETTERS if c not in used)

    def look(self) -> None:
        """Read ``g`` through windows along all axes at once."""
        axes = [d for d, c in enumerate(self.lg) if c in self.seen]
        if not axes:
            return
        rows = [self.seen[self.lg[d]] for d in axes]
        widths = [(0, 0)] * self.g.rank
        for d, (_, terms, step, high) in zip(axes, rows, strict=True):
            widths[d] = ((terms - 1) * step, high)
        if any(n for pair in widths for n in pair):
            self.g = mv.pad(self.g, widths)
        self.g = windows(self.g, axes, [r[1] for r in rows], [1] * len(axes), [r[2] for r in rows])
        self.lg = "".join(c + self.seen[c][0] if c in self.seen else c for c in self.lg)


def _as_contraction(node: Node) -> Node | None:
    product, a = node.inputs[0], node.attrs
    order = None
    if product.op.name == "transpose":
        order, product = product.attrs["axes"], product.inputs[0]
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
    count = len(pairs) - (columns < NARROW and a["sizes"][-1] > 1)
    for k in range(count):
        i, j = pairs[k]
        _one_axis(work, i, j, node.shape[a["axes"][k]], a["strides"][k], a["dilations"][k])
    work.look()
    made = OPS["contract"](work.g, work.w, spec=(work.lg, work.lw, work.out))
    made.scope, made.origin = product.scope, product.origin
    made = _unfolded(made, work)
    if count == len(pairs):
        return made
    # So few columns would leave lanes empty: those of the last axis' places join them, and are
    # added up afterwards.
    last = {k: (v[-1],) for k, v in a.items() if k != "shape"}
    return expanded(OVERLAP_ADD(made, shape=node.shape, **last))


def _one_axis(work: _Work, i: str, j: str, n: int, stride: int, dilation: int) -> None:
    """Rewrite for one spatial axis: window numbers ``i`` and places ``j`` become positions."""
    at, axis = work.lw.index(j), work.lg.index(i)
    size, number = work.w.shape[at], work.g.shape[axis]
    if size == 1:
        work.w = mv.squeeze(work.w, at)
        work.lw, work.out = work.lw.replace(j, ""), work.out.replace(j, "")
        if (stride, number) != (1, n):
            work.spread.append((i, stride, n))
        return
    if stride == 1:
        terms, high, step = size, n - number, dilation
        work.w = mv.flip(work.w, at)
    else:
        spread = (size - 1) * dilation + 1
        terms, step = -(-spread // stride), 1
        low, more, between = ([0] * work.w.rank for _ in range(3))
        more[at], between[at] = terms * stride - spread, dilation - 1
        if more[at] or between[at]:
            work.w = OPS["pad"](work.w, low=tuple(low), high=tuple(more), interior=tuple(between),
                                value=0)  # fmt: skip
        shape = work.w.shape[:at] + (terms, stride) + work.w.shape[at + 1 :]
        work.w = mv.flip(mv.reshape(work.w, shape), at)
        phase = work.fresh()
        work.lw = work.lw.replace(j, j + phase)
        work.out = work.out.replace(i, i + phase)
        work.folds.append((i, phase, stride, n))
        high = -(-n // stride) - number
    work.seen[i] = (j, terms, step, high)
    work.out = work.out.replace(j, "")


def _unfolded(y: Node, work: _Work) -> Node:
    """Join positions and phases of strided axes; zeros go between where a kernel has size 1."""
    labels = work.out
    for i, phase, _, n in work.folds:
        at = labels.index(i)
        y = mv.reshape(y, y.shape[:at] + (y.shape[at] * y.shape[at + 1],) + y.shape[at + 2 :])
        labels = labels.replace(phase, "")
        y = mv.narrow(y, at, 0, n)
    if work.spread:
        low, high, between = ([0] * y.rank for _ in range(3))
        for i, stride, n in work.spread:
            at = labels.index(i)
            between[at], high[at] = stride - 1, n - ((y.shape[at] - 1) * stride + 1)
        y = OPS["pad"](y, low=tuple(low), high=tuple(high), interior=tuple(between), value=0)
    return y


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


def narrow_contractions(graph: Graph) -> Graph:
    """Compute only the part of a contraction that its one reader takes.

    The gradient of a padded input is cut to the input; what would be cut off is not computed.
    """
    readers = users(topological(graph.outputs))
    results = {id(o) for o in graph.outputs}

    def alone(node: Node) -> bool:
        return len(readers.get(id(node), ())) == 1 and id(node) not in results

    new: dict[int, Node] = {}
    for node in topological(graph.outputs):
        made = with_inputs(node, tuple(new[id(i)] for i in node.inputs))
        cuts = node.op.name == "slice" and node.inputs[0].op.name == "contract"
        if cuts and alone(node.inputs[0]) and set(node.attrs["steps"]) <= {1}:
            made = _narrowed(made.inputs[0], node)
        new[id(node)] = made
    return Graph(graph.inputs, [new[id(o)] for o in graph.outputs], graph.aliases)


def _narrowed(product: Node, cut: Node) -> Node:
    """Return a part of a contraction as the contraction of parts of its operands."""
    la, lb, out = product.attrs["spec"]
    a, b = product.inputs
    for label, start, stop in zip(out, cut.attrs["starts"], cut.attrs["stops"], strict=True):
        if label in la:
            a = _part(a, la.index(label), start, stop)
        if label in lb:
            b = _part(b, lb.index(label), start, stop)
    return with_inputs(product, (a, b)) if (a, b) == product.inputs else OPS["contract"](
        a, b, spec=product.attrs["spec"]
    )


def _part(x: Node, axis: int, start: int, stop: int) -> Node:
    """Return a part of an axis, taken behind windows and padding where that can be."""
    if (start, stop) == (0, x.shape[axis]):
        return x
    if x.op is WINDOWS:
        a = x.attrs
        source = 0
        at = 0
        while at < axis:  # find the axis of the source that this one comes from
            at += 2 if source in a["axes"] else 1
            source += 1
        if at == axis:
            begin, end = start, stop
            if source in a["axes"]:
                i = a["axes"].index(source)
                begin = start * a["strides"][i]
                end = (stop - 1) * a["strides"][i] + (a["sizes"][i] - 1) * a["dilations"][i] + 1
            return WINDOWS(_part(x.inputs[0], source, begin, end), **a)
    if x.op.name == "pad" and not x.attrs["interior"][axis]:
        low, high = list(x.attrs["low"]), list(x.attrs["high"])
        first, last = start - low[axis], stop - low[axis]
        n = x.inputs[0].shape[axis]
        if first < n and last > 0:
            low[axis], high[axis] = max(0, -first), max(0, last - n)
            inner = mv.narrow(x.inputs[0], axis, max(first, 0), min(last, n) - max(first, 0))
            if not any(low) and not any(high) and not any(x.attrs["interior"]):
                return inner
            return OPS["pad"](inner, **(x.attrs | {"low": tuple(low), "high": tuple(high)}))
    return mv.narrow(x, axis, start, stop - start)
