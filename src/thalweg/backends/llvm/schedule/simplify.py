"""Rewriting of the graph before it is scheduled: each pass is a function from graph to graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from thalweg.backends.llvm.schedule.scans import in_bodies, scans
from thalweg.graph.dtype import bool_, int64
from thalweg.graph.node import Graph, Node, Op
from thalweg.graph.rewrite import rewrite, topological, users, with_inputs
from thalweg.graph.shape import Shape
from thalweg.graph.signature import describe
from thalweg.ops import elementwise as e
from thalweg.ops.creation import IOTA
from thalweg.ops.record import CONSTANT, OPS, full

GATHERS = ("take", "scatter_add", "take_along_axis", "add_along_axis")
ALONG_LIMIT = 4096  # longer rows are gathered, shorter ones compared with the index


def _no_meaning(xp: Any, *args: Any, **attrs: Any) -> Any:
    raise NotImplementedError("checked_index is known to the native backend only")


CHECKED = Op(
    "checked_index", "elementwise", "An index counted from the front, noted if out of range.",
    lambda i, *, size, site: (i.shape, int64), _no_meaning,
)  # fmt: skip


def sites(graph: Graph) -> list[Node]:
    """Return the nodes whose indices are checked, in the order of their numbers (from 1)."""
    inside = [n for scan in scans(graph) for n in sites(scan.attrs["body"])]
    return inside + [n for n in topological(graph.outputs) if n.op.name in GATHERS]


def check_indices(graph: Graph, numbers: dict[int, int] | None = None) -> Graph:
    """Wrap the indices of gathers and scatters in a bounds check that the program reports."""
    if numbers is None:
        numbers = {id(n): i for i, n in enumerate(sites(graph), 1)}
    known = numbers
    graph = in_bodies(graph, lambda body: check_indices(body, known))
    new: dict[int, Node] = {}
    for node in topological(graph.outputs):
        made = with_inputs(node, tuple(new[id(i)] for i in node.inputs))
        if id(node) in numbers:
            x, i, *rest = made.inputs
            size = x.shape[node.attrs["axis"]]
            checked = CHECKED(i, size=size, site=numbers[id(node)])
            made = with_inputs(made, (x, checked, *rest))
        new[id(node)] = made
    return Graph(graph.inputs, [new[id(o)] for o in graph.outputs], graph.aliases)


def short_gathers(graph: Graph) -> Graph:
    """Turn the pick of one element a row into a masked sum, which fuses with what made the row."""

    def rule(node: Node) -> Node:
        if node.op.name == "take_along_axis":
            x, i = node.inputs
            axis = node.attrs["axis"]
            if i.shape[axis] == 1 and 0 < x.shape[axis] <= ALONG_LIMIT and x.dtype is not bool_:
                return OPS["sum"](_masked(x, i, axis, x), axes=(axis,), keepdims=True)
        if node.op.name == "add_along_axis":
            x, i, u = node.inputs
            axis = node.attrs["axis"]
            if i.shape[axis] == 1 and x.shape[axis] <= ALONG_LIMIT and x.op.name == "full":
                picked = _masked(x, i, axis, u)
                return picked if x.attrs["value"] == 0 else e.add(x, picked)
        return node

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _masked(x: Node, i: Node, axis: int, values: Node) -> Node:
    numbers = IOTA(size=x.shape[axis], dtype=int64)
    shape = tuple(n if d == axis else 1 for d, n in enumerate(x.shape))
    numbers = OPS["reshape"](numbers, shape=shape) if shape != numbers.shape else numbers
    hit = e.equal(numbers, i)
    return OPS["where"](hit, values, full((), 0, x.dtype))


def drop_identities(graph: Graph) -> Graph:
    """Leave out what matters to differentiation only; barriers stay until shared work is joined."""

    def rule(node: Node) -> Node:
        keep = node.op.kind != "identity" or node.op.name == "barrier"
        return node if keep else node.inputs[0]

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _fill(node: Node) -> Any:
    """Return the number that a node is filled with, else None."""
    return node.attrs["value"] if node.op.name == "full" else None


def _scalar(node: Node) -> Node:
    return full((), node.attrs["value"], node.dtype) if node.op.name == "full" else node


def _fold_view(node: Node) -> Node:
    source = node.inputs[0]
    if node.op.name in ("reshape", "transpose", "broadcast_to", "slice", "flip", "windows"):
        if _fill(source) is not None:
            return full(node.shape, source.attrs["value"], node.dtype)
        if node.shape == source.shape and node.op.name in ("reshape", "broadcast_to"):
            return source
    if node.op.name == "reshape" and source.op.name == "reshape":
        return _fold_view(with_inputs(node, source.inputs))
    if node.op.name == "transpose" and source.op.name == "transpose":
        axes = tuple(source.attrs["axes"][a] for a in node.attrs["axes"])
        if axes == tuple(range(len(axes))):
            return source.inputs[0]
        return OPS["transpose"](source.inputs[0], axes=axes)
    return node


def _fold_elementwise(node: Node) -> Node:
    name = node.op.name
    if name in ("random_bits", "checked_index") or not node.inputs:
        return node
    fills = [_fill(i) for i in node.inputs]
    if all(f is not None for f in fills):
        scalars = [
            np.asarray(f, dtype=i.dtype.numpy) for f, i in zip(fills, node.inputs, strict=True)
        ]
        with np.errstate(all="ignore"):
            value = node.op.meaning(np, *scalars, **node.attrs)
        return full(node.shape, np.asarray(value).item(), node.dtype)
    if any(f is not None and i.rank for f, i in zip(fills, node.inputs, strict=True)):
        slim = with_inputs(node, tuple(_scalar(i) for i in node.inputs))
        widest = [i.shape for i in slim.inputs]
        if np.broadcast_shapes(*widest) == node.shape:
            node = slim
    return _neutral(node)


def _neutral(node: Node) -> Node:
    name = node.op.name
    if len(node.inputs) != 2:
        return node
    (a, b), (x, y) = node.inputs, (_fill(node.inputs[0]), _fill(node.inputs[1]))
    if name == "multiply" and y == 1 and a.shape == node.shape:
        return a
    if name == "multiply" and x == 1 and b.shape == node.shape:
        return b
    if name in ("add", "subtract") and y == 0 and a.shape == node.shape and not a.dtype.is_float:
        return a
    if name == "divide" and y == 1 and a.shape == node.shape:
        return a
    return node


def _fold_contraction(node: Node) -> Node:
    """Read transposed operands in place, and drop axes of size 1 from nothing else."""
    operands, specs = [], list(node.attrs["spec"])
    for position, operand in enumerate(node.inputs):
        labels = specs[position]
        if operand.op.name == "transpose":
            axes = operand.attrs["axes"]
            inner = [""] * len(axes)
            for label, axis in zip(labels, axes, strict=True):
                inner[axis] = label
            labels, operand = "".join(inner), operand.inputs[0]
        specs[position] = labels
        operands.append(operand)
    if operands == list(node.inputs):
        return node
    return node.op(*operands, spec=tuple(specs))


def turn_results(graph: Graph) -> Graph:
    """Write a product that is only read transposed in that order: its epilogue goes along.

    Not where the columns of the result would be no vectors of an operand: those of a batch, or an
    axis that lies across memory, cost more than to turn the result (up to four times).
    """
    nodes = topological(graph.outputs)
    readers = users(nodes)
    outputs = {id(n) for n in graph.outputs}
    only = {id(n) for n in nodes if len(readers.get(id(n), ())) == 1 and id(n) not in outputs}

    new: dict[int, Node] = {}
    for node in nodes:
        made = with_inputs(node, tuple(new[id(i)] for i in node.inputs))
        if node.op.name == "transpose" and id(node.inputs[0]) in only:
            made = _turned(made)
        new[id(node)] = made
    return Graph(graph.inputs, [new[id(o)] for o in graph.outputs], graph.aliases)


def _turned(node: Node) -> Node:
    """Return a transposed product as a product, if that is as good."""
    source = node.inputs[0]
    if source.op.name != "contract":
        return node
    la, lb, out = source.attrs["spec"]
    labels = "".join(out[axis] for axis in node.attrs["axes"])
    last = labels[-1:]
    if (last in la and last in lb) or last not in (la[-1:], lb[-1:]):
        return node
    made = source.op(*source.inputs, spec=(la, lb, labels))
    made.scope, made.origin = source.scope, source.origin
    return made


def _fold_reduction(node: Node) -> Node:
    source = node.inputs[0]
    count = math.prod(source.shape[a] for a in node.attrs["axes"])
    if count == 1:
        return source if source.shape == node.shape else OPS["reshape"](source, shape=node.shape)
    if _fill(source) is not None and source.size and node.op.name in ("max", "min"):
        return full(node.shape, source.attrs["value"], node.dtype)
    return node


def _folded(node: Node) -> Node:
    if node.op.kind == "movement" and node.op.name not in ("pad", "concatenate"):
        return _fold_view(node)
    if node.op.name == "pad" and not any(node.attrs["low"] + node.attrs["high"]):
        return node if any(node.attrs["interior"]) else node.inputs[0]
    if node.op.kind == "elementwise":
        return _fold_elementwise(node)
    if node.op.name == "contract":
        return _fold_contraction(node)
    return _fold_reduction(node) if node.op.kind == "reduction" else node


def fold(graph: Graph) -> Graph:
    """Compute what is known, leave out what changes nothing, and share equal work."""
    seen: dict[str, Node] = {}
    number = {id(n): i for i, n in enumerate(graph.inputs)}

    def shared(node: Node) -> Node:
        """Return the first node that is equal to this one."""
        if id(node) in number:
            return node
        node = with_inputs(node, tuple(shared(i) for i in node.inputs))
        first = seen.setdefault(describe(node, number), node)
        number.setdefault(id(first), len(number))
        return first

    def rule(node: Node) -> Node:
        return node if id(node) in number else shared(_folded(node))

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


LANES = 16  # fewer elements in the last axis are summed almost one by one


def _middle(shape: Shape) -> int:
    """Return the axis at which a reduction is cut into two stages of like length.

    Sums of very different lengths would lose digits in the longer one.
    """
    def longer(at: int) -> int:
        return max(math.prod(shape[:at]), math.prod(shape[at:]))

    return min(range(len(shape) - 1, 0, -1), key=longer)


def split_reductions(graph: Graph) -> Graph:
    """Reduce everything in two stages: within rows, which threads share, and then over the rows."""

    def rule(node: Node) -> Node:
        if node.op.kind != "reduction" or node.op.name in ("any", "all"):
            return node
        source, axes = node.inputs[0], node.attrs["axes"]
        if len(axes) != source.rank:
            return _split_columns(node)
        if source.size <= (8192 if source.shape[-1] >= LANES else 1024):
            return node
        shape = source.shape
        if source.rank == 1:
            parts = next((p for p in range(256, 1, -1) if shape[0] % p == 0), 1)
            if parts == 1:
                return node
            source = OPS["reshape"](source, shape=(parts, shape[0] // parts))
        at = _middle(source.shape)
        inner = node.op(source, axes=tuple(range(at, source.rank)), keepdims=False)
        outer = node.op(inner, axes=tuple(range(at)), keepdims=False)
        if node.attrs["keepdims"] and node.shape != ():
            return OPS["reshape"](outer, shape=node.shape)
        return outer

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


FEW_COLUMNS, LONG = 256, 1 << 17  # columns that few threads share; elements worth two stages


def _split_columns(node: Node) -> Node:
    """Reduce long columns of a narrow table, such as the sums of channels, part by part."""
    source, axes = node.inputs[0], node.attrs["axes"]
    kept = [n for d, n in enumerate(source.shape) if d not in axes]
    narrow = source.rank - 1 not in axes and math.prod(kept) <= FEW_COLUMNS
    if not narrow or 0 not in axes or source.size < LONG:
        return node
    if node.op.name not in ("sum", "prod", "max", "min"):
        return node
    first, rest = source.shape[0], source.shape[1:]
    parts = next((p for p in range(min(first, 64), 1, -1) if first % p == 0), 1)
    if parts == 1:
        return node
    source = OPS["reshape"](source, shape=(parts, first // parts, *rest))
    inner = node.op(source, axes=tuple(d + 1 for d in axes), keepdims=False)
    outer = node.op(inner, axes=(0,), keepdims=False)
    return OPS["reshape"](outer, shape=node.shape) if node.attrs["keepdims"] else outer


_OF_NOTHING = {"sum": 0, "prod": 1, "any": 0, "all": 1}


def empty(graph: Graph) -> Graph:
    """Replace what has no elements, and what is made of nothing, by constants."""

    def rule(node: Node) -> Node:
        if node.op.kind == "leaf":
            return node
        if not node.size:
            return full(node.shape, 0, node.dtype)
        if all(i.size for i in node.inputs):
            return node
        name = node.op.name
        if name in _OF_NOTHING or name == "contract":
            return full(node.shape, _OF_NOTHING.get(name, 0), node.dtype)
        if name == "pad":
            return full(node.shape, node.attrs["value"], node.dtype)
        if name == "concatenate":
            rest = tuple(i for i in node.inputs if i.size)
            return with_inputs(node, rest) if len(rest) > 1 else rest[0]
        return node.inputs[0] if name in ("scatter_add", "add_along_axis") else node

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def matrix_times_vector(graph: Graph) -> Graph:
    """Compute products with a single column as sums along rows.

    The contraction kernel would fill one lane of its vectors; a row's elements fill them all, and
    what follows is fused row by row.
    """

    def rule(node: Node) -> Node:
        if node.op.name != "contract" or not node.dtype.is_float:
            return node
        a, b = node.inputs
        la, lb, out = node.attrs["spec"]
        size = dict(zip(la + lb, a.shape + b.shape, strict=True))
        summed = [c for c in la if c not in out and size[c] != 1]
        single = all(size[c] == 1 for c in lb if c not in la)
        if not single or len(summed) != 1 or la[-1] != summed[0] or size[summed[0]] < 16:
            return node
        if any(c in lb for c in out if c in la and size[c] != 1) or node.size == 1:
            return node  # batches of vectors, and plain dot products
        vector = OPS["reshape"](b, shape=(size[summed[0]],))
        products = e.multiply(a, vector)
        axes = tuple(i for i, c in enumerate(la) if c not in out)
        total = OPS["sum"](products, axes=axes, keepdims=False)
        kept = [c for c in la if c in out]
        if [c for c in out if c in kept] != kept:
            return node
        return total if total.shape == node.shape else OPS["reshape"](total, shape=node.shape)

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


CHUNKS = 2  # parts of a long sum; a constant, so that the bits do not depend on the threads
CHUNKED = 1 << 17  # bytes of a weight from which this matters


def split_contractions(graph: Graph) -> Graph:
    """Sum long products with updated weights in two halves, each next to the weights it reads.

    Threads share an update by rows of the weight, so each row lies in the cache of the core that
    updated it. A product that sums over these rows is shared by the same rows: moving two partial
    results between cores is far cheaper than moving half of the weight.
    """
    updated = {id(graph.inputs[i]) for i in graph.aliases.values()}

    def rule(node: Node) -> Node:
        if node.op.name != "contract" or not node.dtype.is_float:
            return node
        a, b = node.inputs
        la, lb, out = node.attrs["spec"]
        if id(b) not in updated or not lb or lb[0] in out or lb[0] not in la:
            return node
        label, size = lb[0], b.shape[0]
        rows = node.size // math.prod(n for c, n in zip(lb, b.shape, strict=True) if c in out)
        if b.size * b.dtype.itemsize < CHUNKED or size < 2 * rows or size % CHUNKS:
            return node
        new = next(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                   if c not in la + lb)  # fmt: skip
        parts = [_halved(x, labels, label) for x, labels in ((a, la), (b, lb))]
        spec = (la.replace(label, new + label), lb.replace(label, new + label), new + out)
        partial = node.op(*parts, spec=spec)
        partial.scope, partial.origin = node.scope, node.origin
        return OPS["sum"](partial, axes=(0,), keepdims=False)

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _halved(x: Node, labels: str, label: str) -> Node:
    shape = [
        m for c, n in zip(labels, x.shape, strict=True)
        for m in ((CHUNKS, n // CHUNKS) if c == label else (n,))
    ]  # fmt: skip
    return OPS["reshape"](x, shape=tuple(shape))


def small_constants(graph: Graph) -> Graph:
    """Turn arrays that hold one number everywhere into that number."""

    def rule(node: Node) -> Node:
        if node.op is not CONSTANT or not node.size:
            return node
        value = node.attrs["value"]
        same = (value == value.flat[0]).all()
        return full(node.shape, value.flat[0].item(), node.dtype) if same else node

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)
