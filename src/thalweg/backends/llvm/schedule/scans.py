"""Loops in time before they are scheduled: what no one takes is not computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite, substitute, topological
from thalweg.ops import movement as mv
from thalweg.ops.identity import BARRIER
from thalweg.ops.scan import PART, part


def scans(graph: Graph) -> Iterator[Node]:
    """Yield the loops of a graph."""
    return (n for n in topological(graph.outputs) if n.op.name == "scan")


def with_body(node: Node, body: Graph, inputs: tuple[Node, ...] | None = None, **new: int) -> Node:
    """Return a loop with another body."""
    attrs = node.attrs | {"body": body} | new
    given = node.inputs if inputs is None else inputs
    return Node(node.op, given, attrs, node.shape, node.dtype, None, node.origin, node.scope)


def in_bodies(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """Apply a pass to the bodies of all loops."""
    def rule(node: Node) -> Node:
        return with_body(node, change(node.attrs["body"])) if node.op.name == "scan" else node

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def prune(graph: Graph) -> Graph:
    """Leave out results that no one takes, and then inputs that nothing needs."""
    done: set[int] = set()
    while True:  # from the last loop to the first: one that goes needs no results of another
        order = topological(graph.outputs)
        todo = [n for n in order if n.op.name == "scan" and id(n) not in done]
        if not todo:
            return graph
        node = todo[-1]
        taken = [n for n in order if n.op is PART and n.inputs[0] is node]
        slim, kept = _slim(node, {n.attrs["index"] for n in taken})
        done.add(id(slim))
        parts: dict[int, Node] = {}  # each result is taken once
        new = {id(n): _result(slim, kept, n, parts) for n in taken}
        graph = Graph(graph.inputs, substitute(graph.outputs, new), graph.aliases)
        done |= {id(n) for n in scans(graph) if n.attrs["body"] is slim.attrs["body"]}


def _slim(node: Node, taken: set[int]) -> tuple[Node, dict[int, int]]:
    """Return a loop with the results that are taken, and where each old result is found in it."""
    body, carries, xs = node.attrs["body"], node.attrs["carries"], node.attrs["xs"]
    outputs: list[Node] = []
    for row in body.outputs[:carries]:  # two carries that are equal still need a place each
        outputs.append(BARRIER(row, serial=len(outputs)) if row in outputs else row)
    kept = {i: i for i in range(carries)}
    places: dict[int, int] = {}
    for i, row in enumerate(body.outputs[carries:], carries):
        if i in taken:
            if id(row) not in places:
                places[id(row)] = len(outputs)
                outputs.append(row)
            kept[i] = places[id(row)]
    needed = {id(n) for n in topological(outputs)}
    stays = [i for i, n in enumerate(body.inputs) if i < carries or id(n) in needed]
    inner = Graph([body.inputs[i] for i in stays], outputs)
    rows = sum(carries <= i < carries + xs for i in stays)
    return with_body(node, inner, tuple(node.inputs[i] for i in stays), xs=rows), kept


def _result(node: Node, kept: dict[int, int], old: Node, parts: dict[int, Node]) -> Node:
    """Return what stands for a result: a last carry that is also stacked is the last row."""
    index, carries = old.attrs["index"], node.attrs["carries"]

    def result(i: int) -> Node:
        if i not in parts:
            parts[i] = part(node, i)
        return parts[i]

    if index < carries:
        follower = follows(node.attrs["body"], carries, index)
        if follower is not None:
            stack = result(follower)
            last = 0 if node.attrs["reverse"] else node.attrs["length"] - 1
            return mv.reshape(mv.narrow(stack, 0, last, 1), old.shape)
    return result(kept[index])


def follows(body: Graph, carries: int, index: int) -> int | None:
    """Return the stacked result that holds a carry too, if there is one."""
    for i, row in enumerate(body.outputs[carries:], carries):
        if row is body.outputs[index]:
            return i
    return None
