"""The first sentences: what is predicted from what, how well, and against which simple answer."""

from __future__ import annotations

from typing import Any, Final

from thalweg.app.report.axes import finite
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join, paragraph
from thalweg.app.report.wording import HIGHER, counted, figure, listed, share

__all__ = ["headline", "title"]

_MEASURED: Final = 300  # inputs whose importance is measured at most


def title(facts: Facts) -> str:
    """Return what the report is called.

    >>> title(Facts({"targets": ["price"], "source": "a/houses.csv", "kind": "numbers"}))
    'price from houses.csv'
    """
    source = cut(facts.source or "unknown data", 60)
    if facts.kind == "tokens":
        return f"A language model of {source}"
    if facts.task == "series":
        return f"Forecast of {_targets(facts)} from {source}"
    return f"{_targets(facts)} from {source}"


def headline(facts: Facts) -> Markup:
    """Return a paragraph that needs no knowledge of networks, with the most telling figure."""
    parts: list[str] = [paragraph(_what(facts), class_="lead")]
    best = _best(facts)
    if best is not None:
        parts += [paragraph(_how_good(facts, best), class_="lead"), _judgement(best)]
    return element("div", *parts, class_="headline")


def _targets(facts: Facts) -> str:
    if facts.targets:
        return listed([cut(name, 60) for name in facts.targets])
    return "The class" if facts.kind == "classes" else "Numbers"


def _what(facts: Facts) -> str:
    source = cut(facts.source or "the data", 60)
    rows = sum(facts.rows(part) for part in ("training", "validation"))
    learned = f"; it learned that from {counted(rows, facts.sample)} of {source}" if rows else ""
    if facts.kind == "tokens":
        return f"This network continues a text in the way of {source}."
    if facts.task == "series":
        return f"This network forecasts {_targets(facts)} from the values before{learned}."
    inputs = len(facts.results.get("importance") or [])
    given = f", from {counted(inputs, 'input')}" if 0 < inputs < _MEASURED else ""
    one = ("an " if facts.sample[0] in "aeiou" else "a ") + facts.sample
    if facts.kind == "classes":
        names = [cut(name, 30) for name in facts.classes]
        kinds = f", one of {counted(len(names), 'class', 'classes')} ({listed(names)})"
        what = listed([cut(n, 60) for n in facts.targets]) if facts.targets else "class"
        return f"This network tells the {what} of {one}{kinds if names else ''}{given}{learned}."
    given = given.removeprefix(",")
    return f"This network predicts {_targets(facts)} of {one}{given}{learned}."


def _best(facts: Facts) -> dict[str, Any] | None:
    """Return the figure that most people understand, or the first one."""
    told = [f for f in facts.results.get("figures") or [] if isinstance(f, dict) and "name" in f]
    for wanted in ("accuracy", "mae", "bits per character", "perplexity"):
        for entry in told:
            if str(entry["name"]).lower() == wanted:
                return entry
    return told[0] if told else None


def _how_good(facts: Facts, best: dict[str, Any]) -> Markup:
    name, low, high = str(best["name"]), best.get("low"), best.get("high")
    value = element("strong", figure(name, best.get("value")))
    rows = facts.rows("test")
    unseen = f"On {counted(rows, facts.sample)}" if rows else f"On {facts.sample}s"
    unseen += " that it never saw"
    known = len(finite([low, high])) == 2
    interval = f" (95\xa0% interval: {figure(name, low)} to {figure(name, high)})" if known else ""
    if name == "accuracy" and best.get("value") == 1 and rows:
        interval = f" (up to {share(min(1.0, round(3 / rows, 3)))} mistakes would be no surprise)"
    naive = best.get("naive")
    simple = figure(name, naive) if finite([naive]) else ""
    if name == "accuracy":
        parts = [f"{unseen}, it is right in ", value, f" of the cases{interval}"]
        parts.append(f"; always giving the most frequent class is right in {simple}" if simple
                     else "")  # fmt: skip
    elif name == "MAE":
        parts = [f"{unseen}, it is off by ", value, f" on average{interval}"]
        parts.append(f"; the naive answer{_naive(facts)} is off by {simple}" if simple else "")
    else:
        parts = [f"{unseen}, its {name} is ", value, interval]
        parts.append(f"; that of the naive answer is {simple}" if simple else "")
    return join([*parts, _explained(facts) if name == "MAE" else "."])


def _naive(facts: Facts) -> str:
    told = facts.results.get("naive")
    return f" ({cut(told.split(';')[0])})" if isinstance(told, str) and told else ""


def _explained(facts: Facts) -> str:
    for entry in facts.results.get("figures") or []:
        if str(entry.get("name")).lower() == "r2" and finite([entry.get("value")]):
            value = float(entry["value"])
            return f". It tells {share(value)} of the variation (R2)." if value > 0 else "."
    return "."


def _judgement(best: dict[str, Any]) -> Markup:
    """Return what the interval says about the distance to the naive answer."""
    known = finite([best.get("value"), best.get("low"), best.get("high"), best.get("naive")])
    if len(known) < 4:
        return Markup("")
    value, low, high, naive = known
    higher = str(best["name"]).lower() in HIGHER
    meaning = (
        "The interval holds 95\xa0% of what other test rows of the same kind and number would be "
        "likely to give; it says nothing about rows of another kind."
    )
    if low == high:  # a faultless test: its interval has no width and is not shown
        meaning = ""
    if (low > naive) if higher else (high < naive):
        text = "That is clearly better than the naive answer. "
    elif (value > naive) if higher else (value < naive):
        text = "The interval reaches the naive answer: that it is better may be chance. "
    else:
        text = "That is no better than the naive answer: do not use this network. "
    return paragraph(text + meaning, class_="quiet")
