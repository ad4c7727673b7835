"""Reverse-mode differentiation: one walk over the graph, from the result back to the inputs.

A. Griewank and A. Walther, "Evaluating derivatives" (2008). Each operation's record gives, for the
gradient of its result, the gradient of each input, as nodes of the same graph; so gradients can be
differentiated again, and compiled with everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.graph.node import Node
from thalweg.graph.rewrite import topological
from thalweg.ops.elementwise import add
from thalweg.ops.movement import sum_to
from thalweg.ops.record import cast_node


def _reach(order: Sequence[Node], sources: Sequence[Node]) -> set[int]:
    """Return the ids of the nodes through which a source can change the result."""
    reached = {id(s) for s in sources}
    for node in order:
        if node.dtype.is_float and any(id(i) in reached for i in node.inputs):
            reached.add(id(node))
    return reached


def gradients(
    output: Node, seed: Node, sources: Sequence[Node], closed: bool = False
) -> list[Node | None]:
    """Return the gradient of ``output`` with respect to each source, None where there is none.

    ``seed`` is the gradient of the final result with respect to ``output``: the vector of the
    vector-Jacobian product, of the same shape. ``closed``: no source lies behind another one, so
    that there is nothing to see behind them.
    """
    return vector_jacobian([output], [seed], sources, closed)


def vector_jacobian(
    outputs: Sequence[Node], seeds: Sequence[Node], sources: Sequence[Node], closed: bool = False
) -> list[Node | None]:
    """Return the same for several outputs at once: the sum of their gradients."""
    order = topological(outputs, ends={id(s) for s in sources} if closed else ())
    reached = _reach(order, sources)
    wanted = {id(s) for s in sources}
    found: dict[int, Any] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        if id(output) in reached:
            known = found.get(id(output))
            found[id(output)] = seed if known is None else add(known, seed)
    for node in reversed(order):
        g = found.get(id(node))
        if g is not None and node.op.name == "part":  # of several results, each has its own
            results = found.setdefault(id(node.inputs[0]), {})
            index = node.attrs["index"]
            results[index] = add(results[index], g) if index in results else g
            continue
        if g is None or not node.inputs or (id(node) in wanted and not _above(node, reached)):
            continue
        assert node.op.gradient is not None, node.op
        for source, part in zip(node.inputs, node.op.gradient(node, g), strict=True):
            if part is None or id(source) not in reached:
                continue
            part = cast_node(sum_to(part, source.shape), source.dtype)
            known = found.get(id(source))
            found[id(source)] = part if known is None else add(known, part)
    return [found.get(id(s)) for s in sources]


def _above(node: Node, reached: set[int]) -> bool:
    """Whether another source lies behind this one."""
    return any(id(i) in reached for i in node.inputs)
