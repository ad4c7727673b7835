"""Operations that hand their first input on: they mark where differentiation does other things."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from thalweg.graph.node import Node
from thalweg.graph.rewrite import substitute
from thalweg.ops.record import define

BackwardRule = Callable[..., "Sequence[Node | None]"]
_serial = itertools.count()


def _same(x: Node, *_: Node, **__: Any) -> tuple[Any, Any]:
    return x.shape, x.dtype


def _first(xp: Any, x: Any, *_: Any, **__: Any) -> Any:
    return x


STOP = define(
    "stop_gradient", "identity", "The same value, through which no gradient flows.",
    _same, _first, lambda node, g: (None,),
)  # fmt: skip
BARRIER = define(
    "barrier", "identity",
    "The same value, that is not shared with its source: what follows is computed anew.",
    _same, _first, lambda node, g: (g,),
)  # fmt: skip
CUSTOM = define(
    "custom_gradient", "identity", "The first input, whose gradient the user's rule gives.",
    _same, _first,
    lambda node, g: (None, *node.attrs["_backward"](g, *node.inputs[1:])),
)  # fmt: skip


def stop_gradient(x: Node) -> Node:
    """The same value, through which no gradient flows."""
    return STOP(x)


def custom(y: Node, inputs: Sequence[Node], backward: BackwardRule) -> Node:
    """``y`` with the gradients that ``backward(g, *inputs)`` gives for each of the inputs."""
    return CUSTOM(STOP(y), *inputs, _backward=backward)


def _frontier(y: Node, since: int) -> list[Node]:
    """Return the inputs and the older nodes that the nodes made after ``since`` read."""
    found: list[Node] = []
    seen: set[int] = set()
    stack = [y]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.serial < since or node.op.name == "input":
            found.append(node)
        else:
            stack.extend(node.inputs)
    return found


def checkpoint(
    y: Node, since: int,
    differentiate: Callable[[Node, Node, Sequence[Node]], Sequence[Node | None]],
) -> Node:  # fmt: skip
    """``y`` whose gradient computes the nodes that were made after the serial ``since`` again.

    Chen et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174.
    """
    inside = _frontier(y, since)

    def backward(g: Node, *given: Node) -> Sequence[Node | None]:
        fresh = [BARRIER(n, serial=next(_serial)) for n in given]
        again = substitute([y], {id(n): f for n, f in zip(inside, fresh, strict=True)})[0]
        return differentiate(again, g, fresh)

    return custom(y, inside, backward)
