"""How much of memory the operands of a contraction take, and what stays near a core."""

from __future__ import annotations

import math

from thalweg.backends.llvm.loops import Axis, Plan

NEAR_CACHE = 1 << 20  # bytes of a core's second cache that operands may fill
LINE, FAR_LINE = 64, 12  # bytes of a line of cache, and cycles to bring one from far memory


def footprint(plan: Plan, which: str, loops: list[Axis]) -> int:
    """Return how many bytes of an operand some loops touch; windows that overlap count once."""
    used = [(x.size, abs(getattr(x, which))) for x in loops if getattr(x, which)]
    extent = 1 + sum((size - 1) * step for size, step in used)
    count = math.prod(size for size, _ in used)
    return int(min(extent, count)) * plan.align


def footprint_of_b(plan: Plan) -> int:
    """Return how many bytes of B the whole contraction reads."""
    loops = [*(x for x in plan.outer if x.b), plan.n, plan.k, *plan.all_taps]
    return footprint(plan, "b", loops)
