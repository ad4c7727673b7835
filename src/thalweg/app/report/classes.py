"""Classes: which are taken for which, and how far the probabilities can be trusted."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thalweg.app.report.charts import calibration_chart
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join, paragraph, scroller, table
from thalweg.app.report.wording import number, share

__all__ = ["calibration_section", "confusion_section"]

Array = np.ndarray[Any, Any]

_MOST: Final = 20  # classes up to which the whole matrix is shown
_PAIRS: Final = 20  # pairs and classes shown of more
_FEW: Final = 10  # test rows of a class below which its figures say little


def confusion_section(facts: Facts) -> Markup:
    """Return the confusion matrix, or the most confused pairs of many classes, and each class."""
    told = facts.results.get("confusion")
    if not told:
        return Markup("")
    counts = np.array(told, np.int64)
    names = facts.classes
    if counts.ndim != 2 or counts.shape != (len(names), len(names)):
        raise ValueError(f"a confusion matrix of shape {counts.shape} for {len(names)} classes")
    first = _matrix(counts, names) if len(names) <= _MOST else _pairs(counts, names)
    return join([first, _each(counts, names)])


def _matrix(counts: Array, names: list[str]) -> Markup:
    share_of = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    short = [cut(name, 24) for name in names]
    longest = max(map(len, short))
    narrow = "upright" if longest > 12 or (len(names) > 6 and longest > 4) else None
    head = element(
        "tr", element("th", "truth ↓ told →", scope="col", class_="corner"),
        *[element("th", element("span", name), scope="col", class_=narrow) for name in short],
    )  # fmt: skip
    body = []
    for i, name in enumerate(short):
        cells = [
            element(
                "td", f"{count:,}" if count else "·",
                class_="right" if i == j else "wrong", style=f"--share:{share_of[i, j]:.3f}",
                title=f"{name}, told as {short[j]}: {share(float(share_of[i, j]))}",
            )
            for j, count in enumerate(counts[i].tolist())
        ]  # fmt: skip
        body.append(element("tr", element("th", name, scope="row"), *cells))
    caption = "Confusion matrix: rows are the true classes, columns what the network told"
    made = element("table", element("caption", caption, class_="unseen"),
                   element("thead", head), element("tbody", *body), class_="heat")  # fmt: skip
    return join([
        paragraph("How many test rows of each true class (line) were told as which class (column). "
                  "A strong colour beside the diagonal is a mistake that is made often.",
                  class_="quiet"),
        scroller(made, caption),
    ])  # fmt: skip


def _pairs(counts: Array, names: list[str]) -> Markup:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    whole = np.maximum(counts.sum(axis=1), 1)
    rows = [
        [cut(names[i], 60), cut(names[j], 60), number(int(wrong[i, j])),
         share(float(wrong[i, j] / whole[i]))]
        for i, j in (divmod(int(k), len(names)) for k in order) if wrong[i, j]
    ]  # fmt: skip
    if not rows:
        return paragraph("No class was taken for another.")
    made = table(["truth", "told as", "test rows", "share of the class"], rows,
                 caption="The pairs of classes that are confused most", numbers=[2, 3])  # fmt: skip
    return join([element("h3", "Confused most"), made])


def _each(counts: Array, names: list[str]) -> Markup:
    rows_of, told_of, right = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    recall = right / np.maximum(rows_of, 1)
    order = np.arange(len(names))
    if len(names) > _MOST:
        order = np.argsort(np.where(rows_of > 0, recall, 2), kind="stable")[:_PAIRS]
    rows = [
        [cut(names[c], 60), number(int(rows_of[c])),
         share(float(recall[c])) if rows_of[c] else "none in the test",
         share(float(right[c] / told_of[c])) if told_of[c] else "never told",
         element("span", "too few rows to say much", class_="note") if rows_of[c] < _FEW else ""]
        for c in order.tolist()
    ]  # fmt: skip
    if not any(row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    heads = ["class", "test rows", "found (recall)", "right when told (precision)", "note"]
    made = table(heads[: len(rows[0])], rows, caption="Figures of each class", numbers=[1, 2, 3])
    which = "Each class" if len(names) <= _MOST else f"The {len(rows)} classes found least often"
    return join([element("h3", which), made])


def calibration_section(facts: Facts) -> Markup:
    """Return whether the network is right as often as it is sure."""
    told = facts.results.get("calibration")
    if not told:
        return Markup("")
    count, sure, right = told["count"], told["sure"], told["right"]
    whole = sum(count)
    error = float(told["error"])
    drawing = calibration_chart(
        count, sure, right,
        f"How often the network is right over how sure it is; mean distance {share(error)}",
    )  # fmt: skip
    lean = sum(c * (s - r) for c, s, r in zip(count, sure, right, strict=True)) / max(whole, 1)
    if error < 0.02:
        words = "The probabilities can be taken at their word."
    elif abs(lean) < error / 2:
        words = "The probabilities are off in both directions."
    elif lean > 0:
        words = "It is surer than it may be: take the probabilities as an upper bound."
    else:
        words = "It is right more often than it claims."
    step = 1 / len(count)
    rows = [
        [f"{share(i * step, 0)} to {share((i + 1) * step, 0)}", number(c), share(s), share(r)]
        for i, (c, s, r) in enumerate(zip(count, sure, right, strict=True)) if c
    ]  # fmt: skip
    made = table(["how sure", "test rows", "sure on average", "right"], rows,
                 caption="Calibration", numbers=[1, 2, 3])  # fmt: skip
    text = element(
        "div",
        paragraph(
            "Of the rows for which the network says 80\xa0%, about 80\xa0% should be right: then "
            "the points lie on the dashed line. Large points and tall bars stand for many rows."),
        paragraph("On average, sureness and truth are ", element("strong", share(error)),
                  f" apart (expected calibration error). {words}"),
        element("details", element("summary", "The same as a table"), made),
    )  # fmt: skip
    return element("div", element("figure", drawing), text, class_="beside")
