"""Zeros around an operand: the terms of a sum that meet only them are left out.

A convolution with padding reads rows of zeros at the edges of each image: a sixth of all rows of
four with a kernel of three. The buffer holds them, so that every tile has one form. What is left
out counts as nothing, even where the other operand is infinite or no number.
"""

from __future__ import annotations

from thalweg.backends.llvm.loops import Axis, Border, Plan
from thalweg.graph.node import Node
from thalweg.graph.shape import contiguous_strides


def border(plan: Plan) -> Border | None:
    """Return where sums of a plan meet rows of zeros, None if they do not, or not so simply."""
    if not _padded(plan.a):
        return None
    for d in range(1, plan.a.rank - 1):
        found = _along(plan, d)
        if found is not None and _worthwhile(plan, found):
            return found
    return None


def _along(plan: Plan, d: int) -> Border | None:
    """Return the border along one axis of A, if one outer and one summed loop walk along it."""
    a, strides = plan.a, contiguous_strides(plan.a.shape)
    low, high = a.attrs["low"][d], a.shape[d] - a.attrs["high"][d]
    stride, above = strides[d], strides[d - 1]
    walking = [x for x in plan.loops if _moves_along(x, stride, above)]
    summed = [x for x in plan.all_taps if _moves_along(x, stride, above)]
    outer = [i for i, x in enumerate(plan.outer) if _moves_along(x, stride, above)]
    if (low, high) == (0, a.shape[d]) or len(walking) != 2 or not _alone(plan, stride, above):
        return None
    if len(summed) != 1 or len(outer) != 1:
        return None
    step = plan.outer[outer[0]].a // stride
    start = plan.a_base // stride % a.shape[d]
    last = start + sum((x.size - 1) * x.a // stride for x in walking)
    if last >= a.shape[d]:
        return None
    return Border(outer[0], summed[0], start, step, summed[0].a // stride, low, high)


def _padded(a: Node) -> bool:
    attrs = a.attrs
    return a.op.name == "pad" and attrs["value"] == 0 and not any(attrs["interior"]) and (
        min(attrs["low"] + attrs["high"]) >= 0
    )


def _moves_along(x: Axis, stride: int, above: int) -> bool:
    """Whether a loop walks along the rows of a dimension, and along nothing else."""
    return x.size > 1 and x.a > 0 and x.a % stride == 0 and (x.size - 1) * x.a < above


def _alone(plan: Plan, stride: int, above: int) -> bool:
    """Whether all loops inside of a row stay in it, and no other one changes the row."""
    others = [x for x in plan.loops if not _moves_along(x, stride, above)]
    if any(x.a < 0 or (x.a >= stride and x.a % above) for x in others):
        return False
    inside = [x for x in others if 0 < x.a < stride]
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
