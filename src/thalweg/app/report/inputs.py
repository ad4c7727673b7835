"""Which inputs the network leans on: what gets worse when one is shuffled."""

from __future__ import annotations

from typing import Final

from thalweg.app.report.axes import finite
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, bar, cut, element, join, paragraph, table
from thalweg.app.report.wording import counted, number

__all__ = ["importance_section"]

_MOST: Final = 20  # inputs shown


def importance_section(facts: Facts) -> Markup:
    """Return a bar for each input, the most important first."""
    told = [e for e in facts.results.get("importance") or [] if finite([e.get("worse")])]
    if not told:
        return Markup("")
    told.sort(key=lambda entry: -float(entry["worse"]))
    most = max(float(told[0]["worse"]), 1e-300)
    rows = [
        [cut(entry["name"], 60), bar(float(entry["worse"]) / most), number(entry["worse"], 3)]
        for entry in told[:_MOST]
    ]
    loss = "cross-entropy" if facts.kind == "classes" else "squared error"
    made = table(["input", "", "loss gets worse by"], rows, caption="Importance of the inputs",
                 numbers=[2])  # fmt: skip
    left = len(told) - len(rows)
    return join([
        paragraph(f"How much the loss ({loss}) on the test rows gets worse when the values of one "
                  "input are shuffled among the rows. About zero: the network does not need it. "
                  "Inputs that tell the same share their importance; and what helps to predict "
                  "need not be a cause.", class_="quiet"),
        element("div", made, class_="bars"),
        paragraph(f"{counted(left, 'input')} of less importance not shown.", class_="quiet")
        if left else "",
    ])  # fmt: skip

