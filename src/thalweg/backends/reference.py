"""The reference backend: every node's meaning, evaluated by NumPy, one node after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from thalweg.backends.base import Array, Backend, Bound, Program, Repeated
from thalweg.graph.node import Graph, Node
from thalweg.graph.printer import print_graph
from thalweg.graph.rewrite import topological

Watcher = Callable[[Node, Array], None]


def compute(node: Node, inputs: Sequence[Array], xp: Any = np) -> Array:
    """Return the value of one node for the values of its inputs."""
    with np.errstate(all="ignore"):  # NaN and infinity are values; debug_nans looks for them
        value = node.op.meaning(xp, *inputs, **node.attrs)
    if isinstance(value, tuple):  # of a loop, whose parts are nodes of their own
        return value  # type: ignore[return-value]
    if xp is np and (not isinstance(value, np.ndarray) or value.dtype != node.dtype.numpy):
        value = np.asarray(value, dtype=node.dtype.numpy)
    return value  # type: ignore[no-any-return]


def evaluate(outputs: Sequence[Node], watch: Watcher | None = None) -> list[Array]:
    """Return the values of nodes, and keep each value that was computed on the way in its node.

    The walk ends where a value is known: an eager loop that keeps its graph stays linear.
    """
    stack = [n for n in outputs if n.value is None]
    while stack:
        node = stack[-1]
        if node.value is not None:
            stack.pop()
            continue
        missing = [i for i in node.inputs if i.value is None]
        if missing:
            stack.extend(reversed(missing))
            continue
        node.value = compute(node, [i.value for i in node.inputs])  # type: ignore[misc]
        stack.pop()
        if watch is not None and node.op.name != "scan":
            watch(node, node.value)
    return [n.value for n in outputs]  # type: ignore[misc]


def run(
    graph: Graph, arrays: Sequence[Array], watch: Watcher | None = None, xp: Any = np
) -> list[Array]:
    """Return the outputs of a graph for given inputs, forgetting values when no one needs them."""
    order = topological(graph.outputs)
    values: dict[int, Array] = {
        id(n): a for n, a in zip(graph.inputs, arrays, strict=True)
    }
    last: dict[int, Node] = {}
    for node in order:
        for i in node.inputs:
            last[id(i)] = node
    keep = {id(o) for o in graph.outputs}
    for node in order:
        if id(node) in values:
            continue
        values[id(node)] = compute(node, [values[id(i)] for i in node.inputs], xp)
        if watch is not None and node.op.name != "scan":
            watch(node, values[id(node)])
        for i in _distinct(node.inputs):
            if last[id(i)] is node and id(i) not in keep:
                values.pop(id(i), None)
    return [values[id(o)] for o in graph.outputs]


def _distinct(nodes: Iterable[Node]) -> list[Node]:
    return list({id(n): n for n in nodes}.values())


class ReferenceBound(Bound):
    """A graph with some inputs fixed, run by NumPy."""

    def __init__(self, graph: Graph, states: dict[int, Array], watch: Watcher | None) -> None:
        self._graph, self._states, self._watch = graph, states, watch

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Run once; state is replaced only after every output is known."""
        rest = iter(arrays)
        inputs = [
            self._states[i] if i in self._states else next(rest)
            for i in range(len(self._graph.inputs))
        ]
        outputs = run(self._graph, inputs, self._watch)
        results = [  # a result must not change with the state that it may be a view of
            np.array(o) for i, o in enumerate(outputs) if i not in self._graph.aliases
        ]
        kept = [(i, np.array(outputs[o])) for o, i in self._graph.aliases.items()]
        for i, value in kept:
            np.copyto(inputs[i], value)
        return results

    def repeat(self, steps: int, arrays: Sequence[Array | Repeated]) -> list[Array]:
        """Run step by step in Python."""
        collected: list[list[Array]] = []
        for s in range(steps):
            now = [_at_step(a, s) for a in arrays]
            collected.append(self(now))
        if not steps:
            outputs = [o for i, o in enumerate(self._graph.outputs) if i not in self._graph.aliases]
            return [np.zeros((0, *o.shape), o.dtype.numpy) for o in outputs]
        return [np.stack(column) for column in zip(*collected, strict=True)]


def _at_step(given: Array | Repeated, step: int) -> Array:
    if not isinstance(given, Repeated):
        return given
    if given.rows is None:
        return np.asarray(given.array[step])
    return np.asarray(given.array[given.rows[step]])


class ReferenceProgram(Program):
    """A graph that NumPy evaluates."""

    def __init__(self, graph: Graph, watch: Watcher | None = None) -> None:
        self._graph, self._watch = graph, watch

    def bind(self, states: dict[int, Array]) -> Bound:
        """Fix some inputs to arrays."""
        return ReferenceBound(self._graph, states, self._watch)

    def explain(self, arrays: Sequence[Array] | None = None) -> str:
        """Return the graph."""
        return "== graph ==\n" + print_graph(self._graph)


class ReferenceBackend(Backend):
    """NumPy, node by node."""

    name = "reference"

    def compile(self, graph: Graph) -> Program:
        """Return the graph itself as a program."""
        return ReferenceProgram(graph)
