"""What a kernel reads from memory, and how its loops index it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from thalweg.backends.llvm.loops import (
    Affine,
    Index,
    Kernel,
    identity_index,
    linear,
    source_index,
)
from thalweg.backends.llvm.schedule.contractions import resolve
from thalweg.backends.llvm.schedule.fuse import row_level
from thalweg.graph.node import Node


def kernel_reads(
    kernel: Kernel, is_stored: Callable[[Node, Kernel], bool]
) -> Iterator[tuple[Node, Affine | None]]:
    """Yield the stored nodes that a kernel reads, and the place that its loops read in each.

    None where no loops of the kernel's space say so, as for the operands of a contraction.
    """
    loops = len(kernel.space)

    def stored(node: Node) -> bool:
        return is_stored(node, kernel)

    seen: set[tuple[int, Index | None]] = set()
    stack: list[tuple[Node, Index | None]] = []
    for member in kernel.members:
        if kernel.kind == "contraction" and member is kernel.anchor:
            for i in member.inputs:
                found = resolve(i, identity_index(i.shape), stored)
                assert found is not None, i
                yield found[0], None
        elif kernel.kind == "scan":
            for i in member.inputs if member is kernel.anchor else ():
                yield i, None
        elif kernel.kind == "fill":
            continue
        elif stored(member) and id(member) not in kernel.inside:  # a copy
            yield member, linear(identity_index(member.shape), member.shape, loops)
        elif member.op.kind == "structured":
            for i in member.inputs:
                if i.op.name == "full" and not stored(i):
                    continue
                found = resolve(i, identity_index(i.shape), stored)
                assert found is not None, i
                yield found[0], None
        else:
            stack.append((member, member_index(kernel, member)))
    while stack:
        node, index = stack.pop()
        if (id(node), index) in seen:
            continue
        seen.add((id(node), index))
        for position, source in enumerate(node.inputs):
            if node is kernel.anchor and kernel.kind == "contraction":
                continue
            at = _moved(kernel, node, index, position)
            behind = source
            if node.op.name == "reshape" and at is None:
                while behind.op.name == "reshape" and not stored(behind):
                    behind = behind.inputs[0]
            if not stored(behind):
                stack.append((behind, at))
            elif at is not None:
                yield behind, linear(at, behind.shape, loops)
            elif node.op.name == "reshape" and index is not None:  # in the same order
                yield behind, linear(index, node.shape, loops)
            else:
                yield behind, None


def _moved(kernel: Kernel, node: Node, index: Index | None, position: int) -> Index | None:
    if node.op.kind == "reduction":
        return identity_index(node.inputs[0].shape) if kernel.kind != "columns" else None
    return source_index(node, index, position) if index is not None else None


def member_index(kernel: Kernel, node: Node) -> Index | None:
    """Return how a kernel's loops index a member."""
    if node.shape == kernel.space:
        return identity_index(kernel.space)
    if kernel.kind == "rows":
        return row_level(kernel, node.shape)
    return identity_index(node.shape)
