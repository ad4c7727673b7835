"""What networks make: a forecast beside what came, and texts that were generated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from thalweg.app.report.axes import finite
from thalweg.app.report.charts import line_chart
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join, paragraph
from thalweg.app.report.wording import counted

__all__ = ["forecast_section", "samples_section"]

_MOST: Final = 8  # targets that are drawn
_TEXT: Final = 2000  # characters of a sample
_LINES: Final = ("truth", "prediction", "naive")


def forecast_section(facts: Facts) -> Markup:
    """Return a drawing for each target: truth, prediction and naive answer over the steps.

    ``results["forecast"]``: a dict of target and lines, a list of such lines with ``"target"``, or
    one dict of lines whose values have one number, or a list of one for each target, a step. A line
    ``"past"`` is what came before the forecast.
    """
    told = facts.results.get("forecast")
    if not told:
        return Markup("")
    drawn = [_drawing(name, lines) for name, lines in _targets(told, facts.targets)]
    drawn = [d for d in drawn if d][:_MOST]
    if not drawn:
        return Markup("")
    season = facts.results.get("season")
    text = "The last steps of the test part: what came, what was forecast from the steps before, "
    text += "and the naive answer"
    season = counted(season, "step") if isinstance(season, int) else cut(season, 80)
    text += f" (season: {season})." if facts.results.get("season") else "."
    return join([paragraph(text, class_="quiet"), element("div", *drawn, class_="beside")])


def _targets(told: Any, targets: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(told, list):
        for i, lines in enumerate(told):
            known = targets[i] if i < len(targets) else f"output {i + 1}"
            yield str(lines.get("target", lines.get("name", known))), lines
    elif "truth" not in told:
        dates = told.get("dates")
        for name, lines in told.items():
            if isinstance(lines, dict):
                yield str(name), {"dates": dates, **lines}
    elif all(isinstance(step, list) for step in told["truth"]):
        for i in range(len(told["truth"][0])):
            lines = {k: [step[i] for step in told[k]] for k in _LINES if told.get(k)}
            yield targets[i] if i < len(targets) else f"output {i + 1}", {**told, **lines}
    else:
        yield targets[0] if targets else "output", told


def _drawing(name: str, lines: dict[str, Any]) -> Markup:
    curves = {kind: lines.get(kind) or [] for kind in _LINES}
    steps = max(len(c) for c in curves.values())
    if not any(finite(c) for c in curves.values()):
        return Markup("")
    dates = [str(d)[:16].replace("T", " ") for d in lines.get("dates") or []]
    marks = None
    if len(dates) == steps > 1:
        marks = {float(i + 1): _date(dates[i]) for i in (0, steps // 2)}
    past = list(lines.get("past") or [])[-2 * steps :]  # so that the eye sees what went on
    if past:
        marks = {1.0: marks[1.0]} if marks else None
        curves["truth"] = [*past, *curves["truth"]]
        for kind in ("prediction", "naive"):
            curves[kind] = [None] * len(past) + list(curves[kind]) if curves[kind] else []
    made = line_chart(
        curves, f"Forecast of {name} over {counted(steps, 'step')}", "step", cut(name, 40),
        first=1 - len(past), marked=1 if past else None, mark="forecast from here", log=False,
        names=marks,
    )  # fmt: skip
    keys = [
        element("span", kind, class_=f"key {style}")
        for kind, style in zip(_LINES, ("first", "second", "third"), strict=True) if curves[kind]
    ]  # fmt: skip
    spaced = [part for key in keys for part in (key, " ")]
    return element("figure", made, element("figcaption", *spaced))


def _date(text: str) -> str:
    """Return a date without a time of midnight.

    >>> _date("2020-01-02 00:00")
    '2020-01-02'
    """
    return text.removesuffix(" 00:00").removesuffix(" 00")


def samples_section(facts: Facts) -> Markup:
    """Return texts that the network made."""
    told = facts.results.get("samples")
    if not isinstance(told, list) or not told:
        return Markup("")
    made = []
    for sample in told[:6]:
        prompt, text = "", sample
        if isinstance(sample, dict):
            prompt = str(sample.get("prompt") or "")
            text = sample.get("text", sample.get("continuation", ""))
        shown = str(text)[:_TEXT]
        if prompt and shown.startswith(prompt):
            shown = shown[len(prompt) :]
        made.append(element("blockquote", element("b", prompt), shown, class_="sample"))
    return join([
        paragraph("Continued by the network itself, not taken from the text. It writes what is "
                  "likely, not what is true.", class_="quiet"), *made,
    ])  # fmt: skip
