"""Predicted numbers: against the truth, and how the errors lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from thalweg.app.report.axes import finite
from thalweg.app.report.charts import histogram, scatter_chart
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join, paragraph
from thalweg.app.report.wording import counted, number

__all__ = ["residuals_section"]

_MOST: Final = 6  # targets that are drawn


def residuals_section(facts: Facts) -> Markup:
    """Return, for each target, truth against prediction and a histogram of the errors."""
    told = facts.results.get("points")
    if not told:
        return Markup("")
    truth, predicted = _columns(told["truth"]), _columns(told["prediction"])
    names = facts.targets
    if len(truth) != len(names):  # such as the steps of a forecast
        names = [f"output {i + 1}" for i in range(len(truth))]
    parts: list[str] = [
        paragraph("Each point is a test row: on the dashed line it is predicted exactly, above it "
                  "too high, below it too low. The bars count rows by their error, predicted "
                  "minus true.", class_="quiet"),
    ]  # fmt: skip
    for name, t, p in list(zip(names, truth, predicted, strict=True))[:_MOST]:
        parts.append(_of_target(cut(name, 60), t, p, alone=len(names) == 1))
    if len(names) > _MOST:
        parts.append(paragraph(f"and {len(names) - _MOST:,} further outputs, not drawn"))
    return join(parts)


def _columns(rows: Sequence[Any]) -> list[list[Any]]:
    """Return values by target: of rows of numbers, or of rows of lists of numbers."""
    flat = [row if isinstance(row, list) else [row] for row in rows]
    return [list(column) for column in zip(*flat, strict=True)]


def _of_target(name: str, truth: list[Any], predicted: list[Any], *, alone: bool) -> Markup:
    errors = [float(p) - float(t) for t, p in zip(truth, predicted, strict=True)
              if len(finite([t, p])) == 2]  # fmt: skip
    if not errors:
        return Markup("")
    middle, near = float(np.mean(errors)), np.quantile(np.abs(errors), [0.5, 0.9])
    words = (
        f"Half of the {counted(len(errors), 'row')} shown are off by at most "
        f"{number(float(near[0]))}, nine in ten by at most {number(float(near[1]))}; on average "
        f"the error is {number(middle, 3)}."
    )
    label = f"{words} Spread of the errors of {name}"
    drawings = element(
        "div",
        element("figure", scatter_chart(truth, predicted, f"Predicted over true {name}", name)),
        element("figure", histogram(errors, label, f"error of {name} (predicted − true)")),
        class_="beside",
    )
    return join([Markup("") if alone else element("h3", name), drawings, paragraph(words)])
