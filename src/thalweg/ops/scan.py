"""Loops in time: one graph applied again and again, with values carried from step to step.

A ``scan`` has several results; a ``part`` node stands for each. The body is a graph of its own, so
a thousand steps are one node, and a backend runs them as a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.errors import GradientError, where
from thalweg.graph.dtype import float32
from thalweg.graph.node import Graph, Node, Op
from thalweg.graph.rewrite import substitute, topological
from thalweg.graph.shape import Shape
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.contraction import contract
from thalweg.ops.record import cast_node, define, full, placeholder
from thalweg.ops.reductions import sum as sum_

# Inputs of the node, and of the body: ``carries`` values that are carried, ``xs`` tensors of which
# step t sees row t, then what all steps share. Results of the body: the carries of the next step,
# and the rows that this step adds to the stacked results.

Differentiate = Callable[[Sequence[Node], Sequence[Node], Sequence[Node]], list[Node | None]]
Get = Callable[[int], Node]  # a result of the loop that goes back, by its number
Sum = Callable[[Get, Get], Node]  # a sum over all steps, from stacked results and sums of the loop
KEPT = frozenset(
    ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "erfc", "power", "sqrt", "rsqrt",
     "divide", "sin", "cos", "part"]
)  # fmt: skip


def _run(body: Graph, arrays: Sequence[Any], xp: Any) -> list[Any]:
    values = {id(n): a for n, a in zip(body.inputs, arrays, strict=True)}
    for node in topological(body.outputs):
        if id(node) not in values:
            value = node.op.meaning(xp, *(values[id(i)] for i in node.inputs), **node.attrs)
            if xp is np and not isinstance(value, tuple):
                value = np.asarray(value, dtype=node.dtype.numpy)
            values[id(node)] = value
    return [values[id(o)] for o in body.outputs]


def _meaning(
    xp: Any, *arrays: Any, body: Graph, carries: int, xs: int, length: int, reverse: bool, **_: Any
) -> tuple[Any, ...]:
    state, rows, shared = arrays[:carries], arrays[carries : carries + xs], arrays[carries + xs :]
    stacked: list[list[Any]] = [[] for _ in body.outputs[carries:]]
    order = range(length - 1, -1, -1) if reverse else range(length)
    for t in order:
        made = _run(body, [*state, *(r[t] for r in rows), *shared], xp)
        state = tuple(made[:carries])
        for put, y in zip(stacked, made[carries:], strict=True):
            put.append(y)
    return (*state, *(xp.stack(s[::-1] if reverse else s) for s in stacked))


def _gradient(node: Node, parts: Mapping[int, Node]) -> Sequence[Node | None]:
    if node.attrs["_differentiate"] is None:
        raise GradientError(
            "this loop keeps nothing for gradients: it is itself part of a gradient (attention to "
            f"many keys has no second one) or was made outside of a gradient function. {where()}"
        )
    return _Backward(node, parts).inputs()


SCAN: Op = define(
    "scan", "loop", "A graph applied step after step, with values carried along; many results.",
    lambda *_, **__: ((), float32), _meaning, _gradient,  # type: ignore[arg-type]
    domain=(),
)  # fmt: skip
PART: Op = define(
    "part", "loop", "One of the results of a loop.",
    lambda _, *, index, shape, dtype: (shape, dtype),
    lambda xp, results, *, index, **_: results[index],
    lambda node, g: (g,), domain=(),
)  # fmt: skip


def part(node: Node, index: int) -> Node:
    """One result of a scan: a carry after the last step, or the stacked rows of all steps."""
    body, carries = node.attrs["body"], node.attrs["carries"]
    row = body.outputs[index]
    shape: Shape = row.shape if index < carries else (node.attrs["length"], *row.shape)
    return PART(node, index=index, shape=shape, dtype=row.dtype)


def residuals(body: Graph) -> list[Node]:
    """Return what the way back may need of each step: the carries, and what is dear to compute."""
    inputs = {id(i) for i in body.inputs}
    found = list(body.inputs)
    for node in topological(body.outputs):
        dear = node.op.kind in ("contraction", "reduction", "structured") or node.op.name in KEPT
        if dear and id(node) not in inputs:
            found.append(node)
    return found


def scan_node(
    body: Graph, carries: int, xs: int, inputs: Sequence[Node], length: int, reverse: bool,
    differentiate: Differentiate | None,
) -> Node:  # fmt: skip
    """Return a scan; with ``differentiate`` it also keeps what its gradient needs.

    ``differentiate(outputs, seeds, sources)`` gives vector-Jacobian products. What no one takes in
    the end is not computed by backends that compile.
    """
    if differentiate is not None:
        kept = residuals(body)
        kept = kept[:carries] + kept[len(body.inputs) :]
        body = Graph(body.inputs, [*body.outputs, *kept], {})
    return SCAN(*inputs, body=body, carries=carries, xs=xs, length=length, reverse=reverse,
                _differentiate=differentiate)  # fmt: skip


class _Backward:
    """The loop that goes back over a scan, and what is summed over all steps outside of it."""

    def __init__(self, node: Node, parts: Mapping[int, Node]) -> None:
        self.node, self.parts = node, parts
        a = node.attrs
        self.body, self.carries, self.xs = a["body"], a["carries"], a["xs"]
        self.length, self.differentiate = a["length"], a["_differentiate"]
        self.stacks: list[Node] = []  # rows that the loop reads
        self.rows: list[Node] = []  # and their placeholders inside of it
        self.row_of: dict[int, int] = {}  # id of a placeholder or node of the body -> row
        self.results: list[Node] = []  # rows that the loop adds to its results
        self.sums: list[Node] = []  # what is added up in the loop

    def inputs(self) -> list[Node | None]:
        """Return the gradient of each input of the scan."""
        body, n, m = self.body, self.carries, self.xs
        floats = [i for i, x in enumerate(body.inputs) if x.dtype.is_float]
        outputs, seeds, backs, carried = [], [], [], []
        for i, out in enumerate(body.outputs):
            if not out.dtype.is_float or (i >= n and i not in self.parts):
                continue
            seed = placeholder(out.shape, out.dtype)
            outputs.append(out)
            seeds.append(seed)
            if i < n:
                backs.append(i)
                carried.append(seed)
            else:
                self._row(seed, self.parts[i])
        found = self._cut(self.differentiate(outputs, seeds, [body.inputs[i] for i in floats]))
        grads = dict(zip(floats, found, strict=True))
        nexts = []
        for i in backs:
            x, g = body.inputs[i], grads.get(i)
            nexts.append(full(x.shape, 0, x.dtype) if g is None else g)
        plans: list[Any] = [None] * len(body.inputs)
        for i, g in grads.items():
            if g is not None and i >= n:
                plans[i] = self._summed(g) if i >= n + m else self._result(g)
        return self._loop(backs, carried, nexts, plans)

    def _cut(self, grads: Sequence[Node | None]) -> list[Node | None]:
        """Replace what the way forth has kept by rows that the loop reads."""
        n, m, body = self.carries, self.xs, self.body
        kept = {id(o): i for i, o in reversed(list(enumerate(body.outputs))) if i >= n}
        for j in range(n, n + m):
            kept.pop(id(body.inputs[j]), None)
        replace: dict[int, Node] = {}
        real = [g for g in grads if g is not None]
        for node in topological(real, ends=kept):
            if id(node) in kept:
                row = placeholder(node.shape, node.dtype)
                self._row(row, part(self.node, kept[id(node)]))
                replace[id(node)] = row
        for j in range(n, n + m):
            self._row(body.inputs[j], self.node.inputs[j])
        made = iter(substitute(real, replace))
        return [None if g is None else next(made) for g in grads]

    def _row(self, inside: Node, stack: Node) -> None:
        self.row_of[id(inside)] = len(self.rows)
        self.rows.append(inside)
        self.stacks.append(stack)

    def _result(self, node: Node) -> int:
        """Have the loop stack a node's value, and return which result that is."""
        for i, known in enumerate(self.results):
            if known is node:
                return i
        self.results.append(node)
        return len(self.results) - 1

    def _summed(self, node: Node) -> Sum:
        """Plan the sum of a node over all steps: outside of the loop where one operation can.

        Sums of products over all steps are one large contraction of stacked rows.
        """
        stack = self._stack
        name = node.op.name
        if name == "contract":
            a, b = (stack(i) for i in node.inputs)
            la, lb, out = node.attrs["spec"]
            t = next(c for c in "TUVWXYZtuvwxyz" if c not in la + lb)
            if a is not None and b is not None:
                return lambda ys, sums: contract(a(ys), b(ys), (t + la, t + lb, out))
        if name == "add" and all(i.shape == node.shape for i in node.inputs):
            one, two = (self._summed(i) for i in node.inputs)
            return lambda ys, sums: e.add(one(ys, sums), two(ys, sums))
        if name == "sum":
            rows = stack(node.inputs[0])
            if rows is not None:
                axes = (0, *(a + 1 for a in node.attrs["axes"]))
                return lambda ys, sums: mv.reshape(sum_(rows(ys), axis=axes), node.shape)
        if name in ("reshape", "transpose", "cast"):
            inner = self._summed(node.inputs[0])
            return lambda ys, sums: node.op(inner(ys, sums), **node.attrs)
        self.sums.append(node)
        place = len(self.sums) - 1
        return lambda ys, sums: sums(place)

    def _stack(self, node: Node) -> Callable[[Get], Node] | None:
        """Return how to get a node's values of all steps; None for what all steps share."""
        if id(node) in self.row_of:
            stack = self.stacks[self.row_of[id(node)]]
            return lambda ys: stack
        if node.op.name == "transpose":
            inner, axes = self._stack(node.inputs[0]), (0, *(a + 1 for a in node.attrs["axes"]))
            return None if inner is None else lambda ys: mv.permute_dims(inner(ys), axes)
        if not node.inputs:
            return None
        place = self._result(node)
        return lambda ys: ys(place)

    def _loop(
        self, backs: list[int], carried: list[Node], nexts: list[Node], plans: list[Any]
    ) -> list[Node | None]:
        node, body, n, m = self.node, self.body, self.carries, self.xs
        totals = [placeholder(s.shape, s.dtype) for s in self.sums]
        added = [e.add(t, s) for t, s in zip(totals, self.sums, strict=True)]
        shared = body.inputs[n + m :]
        inner = Graph([*carried, *totals, *self.rows, *shared], [*nexts, *added, *self.results])
        starts = [
            self.parts.get(i, full(body.inputs[i].shape, 0, body.inputs[i].dtype)) for i in backs
        ]
        starts = [cast_node(s, body.inputs[i].dtype) for s, i in zip(starts, backs, strict=True)]
        zeros = [full(s.shape, 0, s.dtype) for s in self.sums]
        back = scan_node(
            inner, len(backs) + len(totals), len(self.rows),
            [*starts, *zeros, *self.stacks, *node.inputs[n + m :]], self.length,
            not node.attrs["reverse"], self.differentiate,
        )  # fmt: skip

        def ys(i: int) -> Node:
            return part(back, len(backs) + len(totals) + i)

        def sums(i: int) -> Node:
            return part(back, len(backs) + i)

        out: list[Node | None] = [None] * len(body.inputs)
        for k, i in enumerate(backs):
            out[i] = part(back, k)
        for i, plan in enumerate(plans):
            if plan is not None:
                out[i] = ys(plan) if i < n + m else plan(ys, sums)
        return out
