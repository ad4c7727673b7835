"""Convolutions of few channels: several positions side by side fill the lanes of a vector.

With 6 outputs of 16 lanes, ten would multiply zeros. Two neighbouring positions see windows that
overlap: together they are one window, a little wider, and 12 outputs, whose weights are those of
each position, moved to where it looks and zeros elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import rewrite
from thalweg.ops import movement as mv
from thalweg.ops.record import OPS
from thalweg.ops.windows import windows

WORTH = 0.8  # of the work that is left
PARTS = 8  # independent sums of a gradient: threads share them


@dataclass(frozen=True)
class _Sliding:
    """The last axis along which an operand is read through windows."""

    position: str  # label of the windows' number
    place: str  # and of the place in a window
    size: int
    stride: int


def join_positions(lanes: int) -> Callable[[Graph], Graph]:
    """Return a pass that joins positions where channels leave lanes of so many empty."""

    def rule(node: Node) -> Node:
        if node.op.name != "contract" or not node.dtype.is_float:
            return node
        for number in (0, 1):
            made = _joined(node, number, lanes)
            if made is not None:
                made.scope, made.origin = node.scope, node.origin
                return made
        return node

    return lambda graph: Graph(graph.inputs, rewrite(graph.outputs, rule), graph.aliases)


def _joined(node: Node, number: int, lanes: int) -> Node | None:
    """Return a contraction over joined positions, if operand ``number`` is seen through windows."""
    x, other = node.inputs[number], node.inputs[1 - number]
    lx, lo, out = node.attrs["spec"][number], node.attrs["spec"][1 - number], node.attrs["spec"][2]
    at = _sliding(x, lx)
    own = [c for c in out if c in lo and c not in lx]
    if at is None or len(own) != 1 or not lo.endswith(own[0]) or not out.endswith(own[0]):
        return None
    columns, count = other.shape[-1], x.shape[lx.index(at.position)]
    together = _best(columns, at, count, lanes)
    if together == 1:
        return None
    if at.place in lo and at.position not in lo and out.endswith(at.position + own[0]):
        return _forward(x, lx, other, lo, out, at, together)
    if at.place in out and at.position not in out and lo.endswith(at.position + own[0]):
        return _gradient(x, lx, other, lo, out, at, together)
    return None


def _sliding(x: Node, labels: str) -> _Sliding | None:
    if x.op.name != "windows":
        return None
    a = x.attrs
    if a["dilations"][-1] != 1 or a["sizes"][-1] == 1:
        return None
    d = a["axes"][-1] + len(a["axes"]) - 1
    return _Sliding(labels[d], labels[d + 1], a["sizes"][-1], a["strides"][-1])


def _best(columns: int, at: _Sliding, count: int, lanes: int) -> int:
    """Return how many positions to join: what needs the fewest vectors a position, if far fewer."""

    def work(together: int) -> float:
        vectors = math.ceil(together * columns / lanes)
        return vectors * (at.size + (together - 1) * at.stride) / together

    fits = [p for p in range(2, lanes // columns + 1) if count % p == 0]
    best = min(fits, key=work, default=1)
    return best if work(best) <= WORTH * work(1) else 1


def _wider(x: Node, at: _Sliding, together: int) -> Node:
    """Return the same tensor through the windows of joined positions."""
    a = x.attrs
    size = at.size + (together - 1) * at.stride
    return windows(
        x.inputs[0], a["axes"], (*a["sizes"][:-1], size),
        (*a["strides"][:-1], at.stride * together), a["dilations"],
    )  # fmt: skip


def _unused(labels: str) -> str:
    return next(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                if c not in labels)  # fmt: skip


def _forward(
    x: Node, lx: str, w: Node, lw: str, out: str, at: _Sliding, together: int
) -> Node:  # fmt: skip
    d = lw.index(at.place)
    low = tuple((together - 1) * at.stride if e == d else 0 for e in range(w.rank))
    padded = OPS["pad"](w, low=low, high=low, interior=(0,) * w.rank, value=0)
    size = at.size + (together - 1) * at.stride
    each = [mv.narrow(padded, d, (together - 1 - p) * at.stride, size) for p in range(together)]
    weights = mv.stack(each, w.rank - 1)
    new = _unused(lx + lw)
    result = out[:-1] + new + out[-1]
    made = OPS["contract"](
        _wider(x, at, together), weights, spec=(lx, lw[:-1] + new + lw[-1], result)
    )
    shape = tuple(n for c, n in _sizes(out, (lx, x), (lw, w)))
    return mv.reshape(made, shape)


def _sizes(labels: str, *operands: tuple[str, Node]) -> list[tuple[str, int]]:
    known = {c: n for row, x in operands for c, n in zip(row, x.shape, strict=True)}
    return [(c, known[c]) for c in labels]


def _gradient(
    x: Node, lx: str, g: Node, lg: str, out: str, at: _Sliding, together: int
) -> Node:  # fmt: skip
    """Return the gradient of a weight: what each joined position adds to it."""
    new = _unused(lx + lg)
    wide = _wider(x, at, together)
    g = _split(g, g.rank - 2, together, last=True)
    lg = lg[:-1] + new + lg[-1]
    result = out[:-1] + new + out[-1]
    shared = lx[0] in lg and lx[0] not in out and lx[0] != at.position
    parts = math.gcd(x.shape[0], PARTS) if shared else 1
    if parts > 1:
        label = _unused(lx + lg)
        wide, g = _split(wide, 0, parts), _split(g, lg.index(lx[0]), parts)
        lg = lg.replace(lx[0], label + lx[0])
        lx, result = label + lx, label + result
    made = OPS["contract"](wide, g, spec=(lx, lg, result))
    if parts > 1:
        made = OPS["sum"](made, axes=(0,), keepdims=False)
    d, total = out.index(at.place), None
    for p in range(together):
        own = mv.narrow(made, made.rank - 2, p, 1)
        own = mv.squeeze(mv.narrow(own, d, p * at.stride, at.size), made.rank - 2)
        total = own if total is None else OPS["add"](total, own)
    assert total is not None
    return total


def _split(x: Node, axis: int, parts: int, last: bool = False) -> Node:
    """Return a tensor with one axis as two; ``parts`` is the first of them, or the last."""
    pair = (x.shape[axis] // parts, parts) if last else (parts, x.shape[axis] // parts)
    return mv.reshape(x, (*x.shape[:axis], *pair, *x.shape[axis + 1 :]))


__all__ = ["join_positions"]
