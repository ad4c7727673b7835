"""Where values lie: rewriting so that fewer of them are written and read again."""

from __future__ import annotations

from thalweg.backends.llvm.loops import identity_index, reshape_index
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite, topological, users, with_inputs
from thalweg.ops import movement as mv
from thalweg.ops.record import OPS


def merge_later(graph: Graph) -> Graph:
    """Do element-wise work before axes are joined, not after.

    Reading a tensor whose axes were joined takes divisions, so it would be stored first; reading
    one whose axes are split does not.
    """

    def rule(node: Node) -> Node:
        if node.op.kind == "reduction" and _joins(node.inputs[0]):
            return _reduced_before(node)
        if node.op.kind != "elementwise" or not node.inputs:
            return node
        candidates = [i for i in node.inputs if i.shape == node.shape and _joins(i)]
        joined = max(candidates, key=lambda i: i.inputs[0].rank, default=None)  # the finest
        if joined is None:
            return node
        inner = joined.inputs[0].shape
        inputs = [
            i.inputs[0] if i is joined else
            i if i.size == 1 and not i.rank else
            mv.reshape(mv.broadcast_to(i, node.shape), inner)
            for i in node.inputs
        ]  # fmt: skip
        made = node.op(*inputs, **node.attrs)
        made.scope, made.origin = node.scope, node.origin
        return mv.reshape(made, node.shape)

    return Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _reduced_before(node: Node) -> Node:
    """Reduce over the axes that were joined."""
    joined = node.inputs[0]
    source = joined.inputs[0]
    axes, at = [], 0
    for d, n in enumerate(joined.shape):
        size, group = 1, []
        while at < source.rank and (size < n or (size == n and source.shape[at] == 1)):
            size *= source.shape[at]
            group.append(at)
            at += 1
        if d in node.attrs["axes"]:
            axes += group
    return mv.reshape(node.op(source, axes=tuple(axes), keepdims=False), node.shape)


def _joins(node: Node) -> bool:
    """Whether a node is a reshape that cannot be read through."""
    if node.op.name != "reshape" or not node.size:
        return False
    source = node.inputs[0]
    if source.op.name == "concatenate":  # lies in memory anyway, in the same order
        return False
    return (
        reshape_index(source.shape, node.shape, identity_index(node.shape)) is None
        and reshape_index(node.shape, source.shape, identity_index(source.shape)) is not None
    )


def read_padded(graph: Graph) -> Graph:
    """Let everyone read a value from its padded copy, so that only that copy is written."""
    order = topological(graph.outputs)
    readers = users(order)
    kept = {id(o) for o in graph.outputs}
    pads: dict[int, Node] = {}
    for node in order:
        if node.op.name == "pad" and node.inputs[0].op.kind == "elementwise":
            source, a = node.inputs[0], node.attrs
            plain = not any(a["interior"]) and min(a["low"] + a["high"], default=0) >= 0
            if plain and id(source) not in kept and len(readers[id(source)]) > 1:
                known = pads.get(id(source))
                if known is None or known.size < node.size:
                    pads[id(source)] = node
    new: dict[int, Node] = {}

    def padded(pad: Node) -> Node:
        if id(pad) not in new:
            new[id(pad)] = with_inputs(pad, (new[id(pad.inputs[0])],))
        return new[id(pad)]

    for node in order:
        if id(node) in new:
            continue
        inputs = []
        for i in node.inputs:
            pad = pads.get(id(i))
            if pad is None or pad is node:
                inputs.append(new[id(i)])
                continue
            low = pad.attrs["low"]
            stops = tuple(a + n for a, n in zip(low, i.shape, strict=True))
            ones = (1,) * i.rank
            inputs.append(OPS["slice"](padded(pad), starts=low, stops=stops, steps=ones))
        new[id(node)] = with_inputs(node, tuple(inputs))
    return Graph(graph.inputs, [new[id(o)] for o in graph.outputs], graph.aliases)
