"""Scales, ticks and the frame of a drawing, shared by all charts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from thalweg.app.report.markup import Markup, element, join
from thalweg.app.report.wording import number

__all__ = ["HEIGHT", "WIDTH", "Scale", "finite", "frame", "horizontal", "vertical"]

WIDTH: Final = 440.0  # of a chart, in pixels: it stays readable on a telephone without a second one
HEIGHT: Final = 280.0
_RIGHT: Final = 14.0
_TOP: Final = 30.0
_BOTTOM: Final = 44.0
_LARGEST: Final = 1e150  # value up to which differences and products of values are finite
_DIGIT: Final = 6.9  # width of a digit beside an axis, in pixels


@dataclass(frozen=True)
class Scale:
    """A line or logarithm from values to pixels.

    >>> Scale.of([0, 10], 0, 100)(5), Scale.of([1, 100], 0, 100, log=True)(10)
    (50.0, 50.0)
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def of(
        cls, values: Iterable[float], start: float, end: float, *, log: bool = False,
        margin: float = 0.0,
    ) -> Scale:  # fmt: skip
        """Return the scale that shows all finite values; one alone stands in the middle."""
        shown = [min(max(v, -_LARGEST), _LARGEST) for v in finite(values) if v > 0 or not log]
        shown = shown or [1.0 if log else 0.0]
        low, high = (math.log10(min(shown)), math.log10(max(shown))) if log else (
            min(shown), max(shown))  # fmt: skip
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            apart = 0.5 if log else abs(low) / 2 or 0.5
            low, high = low - apart, high + apart
        more = margin * (high - low)
        return cls(low - more, high + more, start, end, log)

    def __call__(self, value: float) -> float:
        """Return the place of a value, at most a little outside of the scale."""
        value = min(max(value, -_LARGEST), _LARGEST)
        place = math.log10(max(value, 1e-300)) if self.log else value
        share = min(max((place - self.low) / (self.high - self.low), -0.05), 1.05)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values in the scale: multiples of 1, 2 or 5 of a power of ten.

        >>> Scale.of([0, 1], 0, 1).ticks(), Scale.of([0.1, 100], 0, 1, log=True).ticks()
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.1, 1.0, 10.0, 100.0])
        """
        span = self.high - self.low
        if self.log and span >= 1:
            by = math.ceil(span / about)
            powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            return [10.0**p for p in powers if p % by == 0]
        if self.log:
            plain = Scale(10**self.low, 10**self.high, self.start, self.end)
            return [t for t in plain.ticks(about) if t > 0]
        rough = span / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(f for f in (1, 2, 5, 10) if f * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        places = max(0, -math.floor(math.log10(step)))
        return [round(i * step, places) for i in range(first, last + 1)]


def finite(values: Iterable[object]) -> list[float]:
    """Return the values that are finite numbers.

    >>> finite([1, None, float("nan"), "x", 2.0])
    [1.0, 2.0]
    """
    return [
        float(v) for v in values
        if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
    ]  # fmt: skip


def horizontal(values: Iterable[float], beside: Scale, margin: float = 0.0) -> Scale:
    """Return the scale along the bottom, with room on its left for the numbers ``beside`` it."""
    longest = max(len(number(tick)) for tick in [*beside.ticks(), 0])
    return Scale.of(values, 14 + _DIGIT * longest, WIDTH - _RIGHT, margin=margin)


def vertical(values: Iterable[float], margin: float = 0.05, *, log: bool = False) -> Scale:
    """Return the scale along the side of a chart."""
    return Scale.of(values, HEIGHT - _BOTTOM, _TOP, log=log, margin=margin)


def frame(
    x: Scale, y: Scale, across: str, up: str, *, whole: bool = False,
    names: dict[float, str] | None = None,
) -> Markup:  # fmt: skip
    """Return grid lines, the numbers beside them, and what the axes show.

    ``whole``: only whole numbers along the bottom. ``names``: words in their place.
    """
    parts = []
    for tick in y.ticks():
        height = f"{y(tick):.1f}"
        parts += [
            element("line", x1=f"{x.start:g}", x2=f"{x.end:g}", y1=height, y2=height,
                    class_="grid"),
            element("text", number(tick), x=f"{x.start - 7:g}", y=height, dy="0.32em",
                    class_="tick", text_anchor="end"),
        ]  # fmt: skip
    marks = names or {t: number(t) for t in x.ticks() if not whole or t == int(t)}
    for tick, word in marks.items():
        parts.append(element("text", word, x=f"{x(tick):.1f}", y=f"{y.start + 17:g}",
                             class_="tick", text_anchor="middle"))  # fmt: skip
    parts += [
        element("line", x1=f"{x.start:g}", x2=f"{x.end:g}", y1=f"{y.start:g}", y2=f"{y.start:g}",
                class_="axis"),
        element("text", across, x=f"{(x.start + x.end) / 2:g}", y=f"{HEIGHT - 6:g}",
                class_="label", text_anchor="middle"),
        element("text", up, x="2", y="14", class_="label"),
    ]  # fmt: skip
    return join(parts)
