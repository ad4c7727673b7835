"""Zeros around an operand: the terms of a sum that meet only them are left out.

A convolution with padding reads rows of zeros at the edges of each image: a sixth of all rows of
four with a kernel of three. The buffer holds them, so that every tile has one form.
"""

from __future__ import annotations

from thalweg.backends.llvm.loops import Axis, Border, Plan
from thalweg.graph.node import Node
from thalweg.graph.shape import contiguous_strides


def border(plan: Plan) -> Border | None:
    """Return where sums of a plan meet rows of zeros, None if they do not, or not so simply."""
    a = plan.a
    if not _padded(a):
        return None
    sizes, strides = a.shape, contiguous_strides(a.shape)
    for d in range(1, a.rank - 1):
        low, high = a.attrs["low"][d], sizes[d] - a.attrs["high"][d]
        if low == 0 and high == sizes[d]:
            continue
        along = lambda x, d=d: _moves_along(x, strides[d], strides[d - 1])  # noqa: E731
        walking = [x for x in plan.loops if along(x)]
        summed = [x for x in plan.all_taps if along(x)]
        outer = [i for i, x in enumerate(plan.outer) if along(x)]
        if len(walking) != 2 or len(summed) != 1 or len(outer) != 1 or not _alone(plan, strides[d]):
            continue
        found = Border(
            outer[0], summed[0], plan.a_base // strides[d] % sizes[d],
            plan.outer[outer[0]].a // strides[d], summed[0].a // strides[d], low, high,
        )  # fmt: skip
        if _worthwhile(plan, found):
            return found
    return None


def _padded(a: Node) -> bool:
    attrs = a.attrs
    return a.op.name == "pad" and attrs["value"] == 0 and not any(attrs["interior"]) and (
        min(attrs["low"] + attrs["high"]) >= 0
    )


def _moves_along(x: Axis, stride: int, above: int) -> bool:
    """Whether a loop walks along the rows of a dimension, and along nothing else."""
    return x.size > 1 and x.a > 0 and x.a % stride == 0 and (x.size - 1) * x.a < above


def _alone(plan: Plan, stride: int) -> bool:
    """Whether all loops inside of a row stay in it, and none walks backwards."""
    if any(x.a < 0 for x in plan.loops):
        return False
    inside = [x for x in plan.loops if 0 < abs(x.a) < stride]
    return plan.a_base % stride + sum((x.size - 1) * x.a for x in inside) < stride


def _worthwhile(plan: Plan, found: Border) -> bool:
    """Whether some terms are left out, and at no position all of them."""
    size, first = found.summed.size, plan.taps and plan.taps[0] is found.summed
    if found.summed in plan.taps and plan.packed and not first:
        return False  # the panels' places assume all terms
    counts = []
    for p in range(plan.outer[found.place].size):
        row = found.start + p * found.step
        counts.append(sum(found.low <= row + t * found.stride < found.high for t in range(size)))
    return 0 < min(counts) < size
