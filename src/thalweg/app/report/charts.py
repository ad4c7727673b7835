"""The charts of the report, each a drawing (SVG) that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from thalweg.app.report.axes import HEIGHT, WIDTH, Scale, finite, frame, horizontal, vertical
from thalweg.app.report.markup import Markup, element, svg
from thalweg.app.report.wording import number

__all__ = ["calibration_chart", "histogram", "interval_mark", "line_chart", "scatter_chart"]

_WIDE: Final = 100.0  # largest over least value from which on a curve is drawn over its logarithm
_KINDS: Final = ("first", "second", "third")  # classes of lines, in the order of the curves


def line_chart(
    curves: Mapping[str, Sequence[Any]], label: str, across: str, up: str, *,
    first: int = 1, marked: int | None = None, mark: str = "", log: bool = True,
    names: dict[float, str] | None = None,
) -> Markup:  # fmt: skip
    """Return curves over 1, 2, 3...; values that are not finite leave a gap.

    ``marked``: the place of a vertical line, and ``mark`` its word. A positive curve that spans
    more than two powers of ten is drawn over its logarithm if ``log`` allows it.
    """
    values = finite(v for curve in curves.values() for v in curve)
    longest = max((len(c) for c in curves.values()), default=0)
    if not values or not longest:
        return Markup("")
    steep = log and min(values) > 0 and max(values) > _WIDE * min(values)
    y = vertical(values, log=steep)
    x = horizontal([first, first + max(longest - 1, 1)], y)
    parts = [frame(x, y, across, up + (" (logarithmic)" if steep else ""), whole=True, names=names)]
    if marked is not None:
        place = f"{x(marked):.1f}"
        right = x(marked) > (x.start + x.end) / 2
        parts += [
            element("line", x1=place, x2=place, y1=f"{y.start:g}", y2=f"{y.end:g}", class_="mark"),
            element("text", mark, x=f"{x(marked) + (4 if right else -4):.1f}", y=f"{y.end - 4:g}",
                    class_="tick strong", text_anchor="end" if right else "start"),
        ]  # fmt: skip
    for kind, curve in zip(_KINDS, curves.values(), strict=False):
        parts += _line(curve, x, y, first, kind)
    return svg(WIDTH, HEIGHT, label, *parts)


def _line(curve: Sequence[Any], x: Scale, y: Scale, first: int, kind: str) -> list[Markup]:
    runs: list[list[str]] = [[]]
    for i, value in enumerate(curve):
        if finite([value]):
            runs[-1].append(f"{x(i + first):.1f},{y(float(value)):.1f}")
        elif runs[-1]:
            runs.append([])
    made = []
    for run in runs:
        if len(run) == 1:
            cx, cy = run[0].split(",")
            made.append(element("circle", cx=cx, cy=cy, r="2.5", class_=f"dot {kind}"))
        elif run:
            made.append(element("polyline", points=" ".join(run), class_=f"curve {kind}"))
    return made


def scatter_chart(truth: Sequence[Any], predicted: Sequence[Any], label: str, unit: str) -> Markup:
    """Return a point for each row, and the line on which all would lie without error."""
    pairs = [
        (float(t), float(p)) for t, p in zip(truth, predicted, strict=False)
        if len(finite([t, p])) == 2
    ]  # fmt: skip
    if not pairs:
        return Markup("")
    values = [v for pair in pairs for v in pair]
    y = vertical(values, 0.03)
    x = horizontal(values, y, 0.03)
    ends = [max(x.low, y.low), min(x.high, y.high)]
    points = [
        element("circle", cx=f"{x(t):.1f}", cy=f"{y(p):.1f}", r="2.6", class_="point")
        for t, p in pairs
    ]  # fmt: skip
    line = element("line", x1=f"{x(ends[0]):.1f}", y1=f"{y(ends[0]):.1f}", x2=f"{x(ends[1]):.1f}",
                   y2=f"{y(ends[1]):.1f}", class_="guide")  # fmt: skip
    return svg(WIDTH, HEIGHT, label, frame(x, y, f"true {unit}", f"predicted {unit}"), *points,
               line)  # fmt: skip


def histogram(values: Sequence[Any], label: str, across: str) -> Markup:
    """Return how many values lie in each of some bins, with a line at zero.

    The outermost half per cent on each side is counted in the first and last bin, so that a single
    value far away does not squeeze all others into one.
    """
    shown = np.clip(np.array(finite(values)), -1e150, 1e150)  # so that no difference overflows
    if not len(shown):
        return Markup("")
    low, high = (float(q) for q in np.quantile(shown, [0.005, 0.995]))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    bins = int(min(max(math.sqrt(len(shown)), 5), 31))
    counts, edges = np.histogram(np.clip(shown, low, high), bins, (low, high))
    y = vertical([0.0, float(counts.max())], 0.0)
    x = horizontal([low, high], y)
    bars = [
        element("rect", x=f"{x(float(left)) + 0.75:.1f}", y=f"{y(int(count)):.1f}",
                width=f"{max(x(float(right)) - x(float(left)) - 1.5, 0.5):.1f}",
                height=f"{y.start - y(int(count)):.1f}", class_="bar")
        for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]  # fmt: skip
    zero = f"{x(0.0):.1f}"
    line = element("line", x1=zero, x2=zero, y1=f"{y.start:g}", y2=f"{y.end:g}", class_="guide")
    return svg(WIDTH, HEIGHT, label, frame(x, y, across, "rows"), *bars,
               line if low < 0 < high else Markup(""))  # fmt: skip


def calibration_chart(
    count: Sequence[int], sure: Sequence[float], right: Sequence[float], label: str
) -> Markup:
    """Return how often the network is right by how sure it is, over the counts of rows.

    The area of a point, and the bar below it, show how many rows it stands for.
    """
    bins = [(c, s, r) for c, s, r in zip(count, sure, right, strict=True)
            if c and len(finite([s, r])) == 2]  # fmt: skip
    if not bins:
        return Markup("")
    y = vertical([0.0, 1.0], 0.0)
    x = horizontal([0.0, 1.0], y)
    most = max(c for c, _, _ in bins)
    width = (x.end - x.start) / len(count)
    parts = [frame(x, y, "how sure the network is", "how often it is right")]
    for c, s, r in bins:
        height = 0.25 * (y.start - y.end) * c / most
        left = x.start + width * min(int(s * len(count)), len(count) - 1)
        parts += [
            element("rect", x=f"{left + 1:.1f}", y=f"{y.start - height:.1f}",
                    width=f"{width - 2:.1f}", height=f"{height:.1f}", class_="bar faint"),
            element("circle", cx=f"{x(s):.1f}", cy=f"{y(r):.1f}",
                    r=f"{3 + 6 * math.sqrt(c / most):.1f}", class_="dot second"),
        ]  # fmt: skip
    parts.append(element("line", x1=f"{x(0):g}", y1=f"{y(0):g}", x2=f"{x(1):g}", y2=f"{y(1):g}",
                         class_="guide"))  # fmt: skip
    points = [(s, r) for _, s, r in bins]
    path = " ".join(f"{x(s):.1f},{y(r):.1f}" for s, r in points)
    parts.append(element("polyline", points=path, class_="curve second thin"))
    return svg(WIDTH, HEIGHT, label, *parts)


def interval_mark(
    value: Any, low: Any, high: Any, naive: Any, within: tuple[float, float] | None
) -> Markup:
    """Return a figure as a point on its interval, with a tick where the naive answer stands.

    ``within``: the ends of the scale, or None for one from zero to the largest value.
    """
    known = finite([value, low, high, naive])
    if not finite([value]):
        return Markup("")
    ends = within or (min(0.0, *known, 0.0), max(0.0, *known, 0.0))
    x = Scale.of(ends, 8, 152)
    parts = [element("line", x1="8", x2="152", y1="12", y2="12", class_="grid")]
    if finite([naive]):
        at = f"{x(float(naive)):.1f}"
        parts.append(element("line", x1=at, x2=at, y1="4", y2="20", class_="naive"))
    if len(finite([low, high])) == 2:
        parts.append(element("line", x1=f"{x(float(low)):.1f}", x2=f"{x(float(high)):.1f}",
                             y1="12", y2="12", class_="interval"))  # fmt: skip
    parts.append(element("circle", cx=f"{x(float(value)):.1f}", cy="12", r="4.5",
                         class_="dot second"))  # fmt: skip
    label = f"{number(value)} between {number(low)} and {number(high)}, naive {number(naive)}"
    return svg(160, 24, label, *parts, class_="inline")
