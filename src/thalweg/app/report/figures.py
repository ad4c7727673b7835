"""Figures beside those of the naive answer, and how training went."""

from __future__ import annotations

from typing import Any, Final

from thalweg.app.advice import TRIES
from thalweg.app.report.axes import finite
from thalweg.app.report.charts import interval_mark, line_chart
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join, paragraph, table
from thalweg.app.report.wording import FIGURES, HIGHER, counted, figure, number, share

__all__ = ["figures_section", "learning_section"]

_MOST: Final = 50  # targets listed
# What helps, said with the flags of ``thalweg train``, for those who write no Python.
def figures_section(facts: Facts) -> Markup:
    """Return a table of the figures on the test rows, each with interval and naive figure."""
    rows = []
    for entry in facts.results.get("figures") or []:
        name, value = str(entry["name"]), entry.get("value")
        low, high, naive = entry.get("low"), entry.get("high"), entry.get("naive")
        known = finite([value, low, high, naive])
        within = (0.0, 1.0) if name.lower() in HIGHER and all(0 <= v <= 1 for v in known) else None
        rows.append([
            join([name, element("small", FIGURES.get(name.lower(), ""), class_="block")]),
            element("strong", figure(name, value)),
            f"{figure(name, low)} to {figure(name, high)}" if len(finite([low, high])) == 2
            else "unknown",
            figure(name, naive) if naive is not None else "none",
            interval_mark(value, low, high, naive, within),
            _better(name),
        ])  # fmt: skip
    if not rows:
        return Markup("")
    made = table(
        ["figure", "network", "95\xa0% interval", "naive", "together", "better"],
        rows, caption="Figures on the test rows", numbers=[1, 2, 3], stacked=True,
    )  # fmt: skip
    return join([made, _key(facts), _perfect(facts), _by_target(facts)])


def _better(name: str) -> str:
    if name.lower() in HIGHER:
        return "higher"
    return "lower" if name.lower() in FIGURES else ""


def _key(facts: Facts) -> Markup:
    naive = facts.results.get("naive")
    told = f"The naive answer is {cut(naive, 300)}." if isinstance(naive, str) and naive else ""
    return paragraph(
        f"{told} Point: the network; thick line: the interval that holds 95\xa0% of bootstrap "
        "samples of the test rows; thin tick: the naive answer.", class_="quiet",
    )  # fmt: skip


def _perfect(facts: Facts) -> Markup:
    """Return how far a faultless test can be trusted: the rule of three."""
    rows = facts.rows("test")
    for entry in facts.results.get("figures") or []:
        if entry["name"] == "accuracy" and entry.get("value") == 1 and rows:
            most = min(1.0, 3 / rows)
            return paragraph(
                f"No mistake in {counted(rows, 'row')} does not mean that there will be none: up "
                f"to {share(round(most, 3))} mistakes would still fit this test (rule of three).",
                class_="quiet",
            )  # fmt: skip
    return Markup("")


def _by_target(facts: Facts) -> Markup:
    """Return the figures of each of several targets, those of the naive answer after them."""
    told = facts.results.get("by_target")
    if not isinstance(told, list) or len(told) < 2:
        return Markup("")
    names = list(told[0]["figures"])
    rows = [
        [cut(entry["target"], 60),
         *(f"{figure(n, entry['figures'][n])} ({figure(n, entry['naive'][n])})" for n in names)]
        for entry in told[:_MOST]
    ]  # fmt: skip
    made = table(["target", *names], rows, caption="Figures of each target, naive in parentheses",
                 numbers=range(1, len(names) + 1))  # fmt: skip
    return join([element("h3", "Each target (naive in parentheses)"), made])


def learning_section(facts: Facts) -> Markup:
    """Return the curves of the losses, the verdict on them and what to try."""
    training = facts.curves.get("loss") or []
    held = facts.curves.get("validation_loss") or []
    curves = {n: c for n, c in (("training", training), ("validation", held)) if finite(c)}
    if not curves:
        return Markup("")
    best = _best_epoch(facts)
    count = max(len(training), len(held))
    about = ", ".join(
        f"{name} from {number(finite(c)[0])} to {number(finite(c)[-1])}"
        for name, c in curves.items()
    )
    drawing = line_chart(
        {"training": training, "validation": held},
        f"Loss over {counted(count, 'epoch')}: {about}"
        + (f"; best epoch {best}" if best else ""),
        "epoch", "loss", marked=best, mark=f"best: epoch {best}",
    )  # fmt: skip
    key = element(
        "figcaption", element("span", "training", class_="key first"), " ",
        element("span", "validation", class_="key second"),
    ) if len(curves) == 2 else element("figcaption", *curves)  # fmt: skip
    return element("div", element("figure", drawing, key), _verdict(facts, count, best),
                   class_="beside")  # fmt: skip


def _best_epoch(facts: Facts) -> int | None:
    history = facts.results.get("history") or {}
    monitor = str(history.get("monitor", "validation_loss"))
    values = facts.curves.get(monitor) or facts.curves.get("validation_loss") or []
    known = finite(values)
    if not known:
        return None
    higher = history.get("higher_is_better")
    if higher is None:
        higher = monitor.removeprefix("validation_") in HIGHER
    return values.index(max(known) if higher else min(known)) + 1


def _verdict(facts: Facts, count: int, best: int | None) -> Markup:
    verdict: dict[str, Any] = facts.results.get("verdict") or {}
    history: dict[str, Any] = facts.results.get("history") or {}
    kind = str(verdict.get("kind", ""))
    lines = str(verdict.get("text", "")).splitlines()
    parts = []
    if kind:
        parts.append(element("h3", "Verdict: ", kind))
    if lines:
        text = lines[0].removeprefix(f"{kind}: ")
        parts.append(paragraph(text[:1].upper() + text[1:] + "."))
    parts.append(paragraph(_ended(history, count, best)))
    noticed = [line.removeprefix("noticed: ") for line in lines if line.startswith("noticed: ")]
    if noticed:
        parts += [element("h4", "Noticed on the way"),
                  element("ul", *[element("li", cut(n, 300)) for n in noticed[:8]])]  # fmt: skip
    tries = TRIES.get(kind, ())
    if tries:
        parts += [element("h4", "What to try"), element("ul", *[element("li", t) for t in tries])]
    return element("div", *parts)


def _ended(history: dict[str, Any], count: int, best: int | None) -> str:
    parts = [f"{counted(count, 'epoch')}"]
    if history.get("interrupted"):
        parts.append("then it was interrupted")
    elif history.get("stopped_early"):
        parts.append("then it was stopped, as the validation did not get better any more")
    if history.get("restored") and best:
        parts.append(f"and the network of epoch {best} was kept")
    return ", ".join(parts) + "."
