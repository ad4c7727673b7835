"""Signatures of kernels: those that would be written alike are written once."""

from __future__ import annotations

import hashlib
from dataclasses import fields

from thalweg.backends.llvm.loops import Buffer, Plan, Step
from thalweg.graph.node import Node
from thalweg.graph.signature import describe


def digest(*parts: object) -> str:
    """Return a short text that stands for these, to name a function by what is in it."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def kernel_signature(step: Step, buffers: list[Buffer], stored: dict[int, Buffer]) -> str:
    """Return a text that is equal for two steps only if the same function does both.

    ``buffers``: what the function is called with; ``stored``: where each node in memory lies.
    """
    kernel = step.kernel
    place = {id(b): i for i, b in enumerate(buffers)}
    roots = [*kernel.members, *(n for n, _ in kernel.stores)]
    if kernel.anchor is not None:
        roots.append(kernel.anchor)
    number, lines = _numbered(roots, kernel.inside, stored, place)
    known = lambda node: None if node is None else number[id(node)]  # noqa: E731
    at = lambda buffer: None if buffer is None else place.get(id(buffer))  # noqa: E731
    lines += [
        f"{b.dtype.name}{list(b.shape)}{b.place == 'input'}" for b in buffers
    ]  # fmt: skip
    placed = [(known(m), kernel.placed[id(m)][1]) for m in kernel.members if id(m) in kernel.placed]
    lines.append(
        f"{kernel.kind} {kernel.space} {kernel.reduced} {kernel.part} {known(kernel.anchor)} "
        f"{[known(m) for m in kernel.members]} {[(known(n), at(b)) for n, b in kernel.stores]} "
        f"{placed} {step.slices} {step.packs} {at(step.packed)} {at(step.sums)}"
    )
    if step.plan is not None:
        lines.append(_plan_text(step.plan, number))
    return "\n".join(lines)


def _numbered(
    roots: list[Node], inside: set[int], stored: dict[int, Buffer], place: dict[int, int]
) -> tuple[dict[int, int], list[str]]:
    """Number the nodes that roots are made of, down to what is read from memory."""
    number: dict[int, int] = {}
    lines: list[str] = []
    stack = [(node, False) for node in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if id(node) in number:
            continue
        buffer = stored.get(id(node))
        read = buffer is not None and id(node) not in inside
        if not read and not ready:
            stack.append((node, True))
            stack.extend((i, False) for i in reversed(node.inputs) if id(i) not in number)
            continue
        number[id(node)] = len(number)
        where = "" if buffer is None else f" at {place.get(id(buffer))}"
        what = f"{node.dtype.name}{list(node.shape)}" if read else describe(node, number)
        lines.append(what + where)
    return number, lines


def _plan_text(plan: Plan, number: dict[int, int]) -> str:
    values = [getattr(plan, field.name) for field in fields(plan)]
    return str([number[id(v)] if isinstance(v, Node) else v for v in values])


__all__ = ["digest", "kernel_signature"]
