"""Numbers of 16 bits: contracted in float32, and converted where they are fewest."""

from __future__ import annotations

from thalweg.graph.dtype import DType, float32
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite
from thalweg.ops.record import cast_node


def widen_contractions(graph: Graph) -> Graph:
    """Compute contractions of 16-bit numbers in float32, rounding the result once.

    They are defined so; and one conversion of each operand is cheaper than one at each use.
    """

    def rule(node: Node) -> Node:
        if node.op.name != "contract" or not node.dtype.is_float or node.dtype.bits != 16:
            return node
        wide = [cast_node(i, float32) for i in node.inputs]
        made = node.op(*wide, **node.attrs)
        made.scope, made.origin = node.scope, node.origin
        return cast_node(made, node.dtype)

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def cast_sources(graph: Graph) -> Graph:
    """Convert what a view reads, not what it shows.

    The windows of a convolution show each element once for each place of the kernel; a conversion
    between them and the contraction would have to be stored that often.
    """

    def rule(node: Node) -> Node:
        return _cast(node.inputs[0], node.dtype) if node.op.name == "cast" else node

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _cast(x: Node, dtype: DType) -> Node:
    shows = x.op.kind == "movement" and len(x.inputs) == 1 and x.inputs[0].size <= x.size
    if not shows or x.attrs.get("value", 0) != 0:
        return cast_node(x, dtype)
    made = x.op(_cast(x.inputs[0], dtype), **x.attrs)
    made.scope, made.origin = x.scope, x.origin
    return made


def without_casts(node: Node) -> tuple[Node, list[DType]]:
    """Return what was converted from float to float, and to which types in which order."""
    kinds: list[DType] = []
    while node.op.name == "cast" and node.dtype.is_float and node.inputs[0].dtype.is_float:
        kinds.insert(0, node.dtype)
        node = node.inputs[0]
    return node, kinds
