"""Walking and rewriting graphs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from thalweg.graph.node import Graph, Node


def topological(outputs: Iterable[Node], ends: Container[int] = ()) -> list[Node]:
    """Return every node that the outputs need, each after its inputs.

    The walk does not go behind nodes whose ``id`` is in ``ends``. Without recursion: a graph may be
    deeper than Python's stack.
    """
    order: list[Node] = []
    done: set[int] = set()
    stack: list[tuple[Node, bool]] = [(n, False) for n in reversed(list(outputs))]
    while stack:
        node, ready = stack.pop()
        if id(node) in done:
            continue
        if ready or not node.inputs or id(node) in ends:
            done.add(id(node))
            order.append(node)
        else:
            stack.append((node, True))
            stack.extend((i, False) for i in reversed(node.inputs) if id(i) not in done)
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
    if len(inputs) == len(node.inputs) and all(
        a is b for a, b in zip(inputs, node.inputs, strict=True)
    ):
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
        rebuilt = with_inputs(node, tuple(new[id(i)] for i in node.inputs))
        new[id(node)] = rule(rebuilt)
    return [new[id(n)] for n in outputs]


def substitute(outputs: list[Node], replacements: dict[int, Node]) -> list[Node]:
    """Rebuild a graph with some nodes (by ``id``) replaced."""
    new: dict[int, Node] = dict(replacements)
    for node in topological(outputs, ends=replacements):
        if id(node) not in new:
            new[id(node)] = with_inputs(node, tuple(new[id(i)] for i in node.inputs))
    return [new[id(n)] for n in outputs]


def rewrite_graph(graph: Graph, rule: Callable[[Node], Node]) -> Graph:
    """Apply ``rewrite`` to the outputs of a graph, keeping its inputs and aliases."""
    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)
