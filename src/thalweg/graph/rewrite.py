"""Walking and rewriting graphs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from operator import is_

from thalweg.graph.node import Graph, Node


def topological(outputs: Iterable[Node], ends: Container[int] = ()) -> list[Node]:
    """Return every node that the outputs need, each after its inputs.

    The walk does not go behind nodes whose ``id`` is in ``ends``. Without recursion: a graph may be
    deeper than Python's stack.
    """
    order: list[Node] = []
    done: set[int] = set()
    begun: set[int] = set()
    stack = list(outputs)[::-1]
    while stack:
        node = stack[-1]
        key = id(node)
        if key in done:
            stack.pop()
        elif key in begun or not node.inputs or key in ends:
            stack.pop()
            done.add(key)
            order.append(node)
        else:
            begun.add(key)
            stack.extend([i for i in node.inputs[::-1] if id(i) not in done])
    return order


def users(nodes: Iterable[Node]) -> dict[int, list[Node]]:
    """Return, by ``id`` of a node, the nodes that read it."""
    found: dict[int, list[Node]] = {}
    for node in nodes:
        for i in node.inputs:
            found.setdefault(id(i), []).append(node)
    return found


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """Return the same operation applied to other inputs of the same shapes."""
    if len(inputs) == len(node.inputs) and all(map(is_, inputs, node.inputs)):
        return node
    return Node(
        node.op, inputs, node.attrs, node.shape, node.dtype, None, node.origin, node.scope
    )


def rewrite(outputs: list[Node], rule: Callable[[Node], Node]) -> list[Node]:
    """Rebuild a graph from its inputs upwards, passing each rebuilt node through ``rule``.

    ``rule`` returns its argument or a node that stands for it.
    """
    new: dict[int, Node] = {}
    for node in topological(outputs):
        rebuilt = with_inputs(node, tuple([new[id(i)] for i in node.inputs]))
        new[id(node)] = rule(rebuilt)
    return [new[id(n)] for n in outputs]


def substitute(outputs: list[Node], replacements: dict[int, Node]) -> list[Node]:
    """Rebuild a graph with some nodes (by ``id``) replaced."""
    new: dict[int, Node] = dict(replacements)
    for node in topological(outputs, ends=replacements):
        if id(node) not in new:
            new[id(node)] = with_inputs(node, tuple([new[id(i)] for i in node.inputs]))
    return [new[id(n)] for n in outputs]


def rewrite_graph(graph: Graph, rule: Callable[[Node], Node]) -> Graph:
    """Apply ``rewrite`` to the outputs of a graph, keeping its inputs and aliases."""
    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)
