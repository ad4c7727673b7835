"""Loops in time: a function applied step after step, captured once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from thalweg import autodiff, trees
from thalweg.errors import ArgumentError, ShapeError, TraceError, where
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import substitute
from thalweg.ops.record import full, leaf, placeholder, to_node
from thalweg.ops.scan import part, scan_node
from thalweg.tensor.context import context
from thalweg.tensor.recorder import Recorder
from thalweg.tensor.tensor import Tensor, finish, lift


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None,
    length: int | None = None, reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Apply ``carry, y = body(carry, x)`` to each row of ``xs``, and stack the ``y``.

    ``init``, ``xs`` and what the body returns are trees of tensors (tuples, lists, dicts, None).
    Returns the carry after the last step and the stacked rows. Compiled, it is a loop in the
    program: the body is captured and compiled once, however many steps there are. Gradients flow
    through it: what they need of each step is kept. With ``reverse`` the last row comes first; the
    result's rows keep the places of those of ``xs``.

    Raises:
        ArgumentError: no ``xs`` and no ``length``, or the carry changes its structure.
        ShapeError: rows of different number, or the carry changes shape or dtype.
        TraceError: the body assigns to a tensor from outside; carry it instead.

    >>> import thalweg as tw
    >>> tw.scan(lambda total, x: (total + x, total + x), tw.tensor(0.0), tw.tensor([1.0, 2.0, 3.0]))
    (Tensor(6., dtype=float32), Tensor([1., 3., 6.], dtype=float32))
    """
    starts, carry_tree = trees.flatten(init)
    rows, xs_tree = trees.flatten(xs)
    starts = [to_node(lift(s), "scan") for s in starts]
    stacks = [to_node(lift(r), "scan") for r in rows]
    steps = _length(stacks, length)
    if steps == 0:
        raise ArgumentError(f"scan: there are no steps to make: the length is 0. {where()}")
    carried = [placeholder(n.shape, n.dtype) for n in starts]
    seen = [placeholder(n.shape[1:], n.dtype) for n in stacks]
    since = full((), 0).serial
    with _capturing() as recorder:
        carry = trees.unflatten(carry_tree, [Tensor(n) for n in carried])
        x = trees.unflatten(xs_tree, [Tensor(n) for n in seen])
        before = set(recorder.written)
        result = body(carry, x)
        if len(result) != 2:
            raise ArgumentError(
                f"scan: the body must return a pair (carry, y), got {len(result)} values. {where()}"
            )
        if set(recorder.written) - before:
            raise TraceError(
                "scan: the body assigns to a tensor from outside of it, which would happen once "
                f"and not at each step; carry the value instead. {where()}"
            )
        nexts, next_tree = trees.flatten(result[0])
        outs, out_tree = trees.flatten(result[1])
        if next_tree != carry_tree:
            raise ArgumentError(
                "scan: the carry that the body returns has another structure than the one it "
                f"got. {where()}"
            )
        ends = [to_node(lift(n), "scan") for n in nexts]
        ys = [to_node(lift(o), "scan") for o in outs]
    _check_carries(starts, ends)
    shared, given = _shared([*ends, *ys], [*carried, *seen], since, recorder)
    inside = [placeholder(n.shape, n.dtype) for n in shared]
    made = substitute([*ends, *ys], {id(s): i for s, i in zip(shared, inside, strict=True)})
    keeps = context.recorder is not None or context.gradient_depth > 0
    node = scan_node(
        Graph([*carried, *seen, *inside], made), len(carried), len(seen),
        [*starts, *stacks, *given], steps, reverse,
        autodiff.vector_jacobian if keeps else None,
    )  # fmt: skip
    results = [finish(part(node, i)) for i in range(len(made))]
    count = len(carried)
    return trees.unflatten(carry_tree, results[:count]), trees.unflatten(out_tree, results[count:])


def _length(stacks: Sequence[Node], length: int | None) -> int:
    """Return the number of steps."""
    counts = {n.shape[0] if n.rank else -1 for n in stacks}
    if length is not None:
        counts.add(length)
    if not counts:
        raise ArgumentError(f"scan: give xs or a length: how many steps are there? {where()}")
    if len(counts) != 1 or -1 in counts:
        got = ", ".join(str(n.shape) for n in stacks)
        raise ShapeError(
            f"scan: the tensors of xs must have one number of rows, got shapes {got}"
            f"{'' if length is None else f' and length {length}'}. {where()}"
        )
    return counts.pop()


@contextmanager
def _capturing() -> Iterator[Recorder]:
    """Capture what the body does: with the recorder that is at work, or one for this purpose."""
    if context.recorder is not None:
        yield context.recorder
        return
    context.recorder = Recorder()
    try:
        yield context.recorder
    finally:
        context.recorder = None


def _check_carries(starts: Sequence[Node], ends: Sequence[Node]) -> None:
    for i, (a, b) in enumerate(zip(starts, ends, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ShapeError(
                f"scan: carry {i} begins as {a.dtype.name} of shape {a.shape} and leaves the body "
                f"as {b.dtype.name} of shape {b.shape}; both must be the same. {where()}"
            )


def _shared(
    outputs: Sequence[Node], own: Sequence[Node], since: int, recorder: Recorder
) -> tuple[list[Node], list[Node]]:
    """Return the nodes from outside that the body reads, and what stands for each outside."""
    mine = {id(n) for n in own}
    outside: dict[int, Node] = {}
    if recorder is not context.recorder:  # the one of this purpose: its inputs stand for tensors
        outside = {id(node): t._node for t, node in recorder.states.values()}
        outside |= {id(node): leaf(a) for a, node in recorder.arrays.values()}
    found: list[Node] = []
    seen: set[int] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if id(node) in seen or id(node) in mine:
            continue
        seen.add(id(node))
        if id(node) in outside or node.serial < since or node.op.name == "input":
            found.append(node)
        else:
            stack.extend(node.inputs)
    return found, [outside.get(id(n), n) for n in found]
