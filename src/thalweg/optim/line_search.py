"""Line searches: how far to go along a direction, by Armijo's or Wolfe's conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
SUFFICIENT = 1e-4  # Armijo's constant, and Wolfe's: Nocedal and Wright, chapter 3.1
CURVATURE = 0.9
SHRINK, GROW = 0.5, 10.0
LIMIT = 25  # evaluations of one search


class Point(NamedTuple):
    """A place on the line: the step to it, the loss, the slope along the line, the gradient."""

    step: float
    loss: float
    slope: float
    gradient: Array


Line = Callable[[float], Point]


def cubic_minimum(a: Point, b: Point) -> float:
    """Return the step of the minimum of the cubic through two points with their slopes.

    It lies between them; where the cubic has no minimum there, it is their middle.

    >>> none = np.zeros(0)
    >>> cubic_minimum(Point(0.0, 1.0, -2.0, none), Point(3.0, 4.0, 4.0, none))
    1.0
    """
    low, high = min(a.step, b.step), max(a.step, b.step)
    middle = (low + high) / 2
    if a.step == b.step or not all(map(math.isfinite, (a.loss, b.loss, a.slope, b.slope))):
        return middle
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if square < 0:
        return middle
    d2 = math.copysign(math.sqrt(square), b.step - a.step)
    bottom = b.slope - a.slope + 2 * d2
    if bottom == 0:
        return middle
    found = b.step - (b.step - a.step) * (b.slope + d2 - d1) / bottom
    return min(max(found, low), high)


def armijo(line: Line, start: Point, first: float) -> Point:
    """Return the first of ever smaller steps that lowers the loss enough.

    If none does, the start is returned. Armijo, "Minimization of functions having Lipschitz
    continuous first partial derivatives" (1966).

    >>> none = np.zeros(0)
    >>> line = lambda t: Point(t, (t - 1) ** 2, 2 * (t - 1), none)
    >>> armijo(line, line(0.0), 4.0).step
    1.0
    """
    step = first
    for _ in range(LIMIT):
        point = line(step)
        if _falls_enough(point, start):
            return point
        step *= SHRINK
    return start


def strong_wolfe(line: Line, start: Point, first: float) -> Point:
    """Return a step that lowers the loss enough and flattens the slope enough.

    Brackets such a step, then narrows the bracket by cubic interpolation: algorithms 3.5 and 3.6 of
    Nocedal and Wright, "Numerical optimization" (2006). The best point seen is returned if the
    evaluations run out.

    >>> none = np.zeros(0)
    >>> line = lambda t: Point(t, (t - 1) ** 2, 2 * (t - 1), none)
    >>> strong_wolfe(line, line(0.0), 4.0).step
    1.0
    """
    before, step = start, first
    for used in range(1, LIMIT):
        point = line(step)
        if not _falls_enough(point, start) or (used > 1 and point.loss >= before.loss):
            return _narrowed(line, start, before, point, LIMIT - used)
        if abs(point.slope) <= -CURVATURE * start.slope:
            return point
        if point.slope >= 0:
            return _narrowed(line, start, point, before, LIMIT - used)
        step = _extrapolated(before, point)
        before = point
    return before


def _extrapolated(before: Point, point: Point) -> float:
    """Return a step further on, from a little more to ten times as far."""
    least = point.step + 0.01 * (point.step - before.step)
    beyond = Point(point.step * GROW, math.inf, 0.0, point.gradient)
    return max(least, cubic_minimum(point, beyond) if point.step else beyond.step)


def _narrowed(line: Line, start: Point, low: Point, high: Point, evaluations: int) -> Point:
    """Return a point between two, of which ``low`` has the smaller loss so far."""
    for _ in range(evaluations):
        width = abs(high.step - low.step)
        if width * max(abs(low.slope), 1e-30) < 1e-12 * max(abs(low.loss), 1e-30):
            break  # the loss cannot tell the points apart any more
        edge = 0.1 * width  # a step too near to an end would hardly narrow the bracket
        inner = min(low.step, high.step) + edge, max(low.step, high.step) - edge
        point = line(min(max(cubic_minimum(low, high), inner[0]), inner[1]))
        if not _falls_enough(point, start) or point.loss >= low.loss:
            high = point
            continue
        if abs(point.slope) <= -CURVATURE * start.slope:
            return point
        if point.slope * (high.step - low.step) >= 0:
            high = low
        low = point
    return low


def _falls_enough(point: Point, start: Point) -> bool:
    return point.loss <= start.loss + SUFFICIENT * point.step * start.slope  # False for NaN


SEARCHES: dict[str, Callable[[Line, Point, float], Point]] = {
    "armijo": armijo, "strong_wolfe": strong_wolfe,
}  # fmt: skip
