"""The page: its sections in order, its style inside, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

from thalweg.app.report.card import card_section
from thalweg.app.report.classes import calibration_section, confusion_section
from thalweg.app.report.data import data_section
from thalweg.app.report.facts import Facts
from thalweg.app.report.figures import figures_section, learning_section
from thalweg.app.report.forecast import forecast_section, samples_section
from thalweg.app.report.headline import headline, title
from thalweg.app.report.inputs import importance_section
from thalweg.app.report.markup import Markup, element, join, paragraph
from thalweg.app.report.residuals import residuals_section
from thalweg.app.report.worst import worst_section
from thalweg.tasks.folder import RunFolder

__all__ = ["render", "write_report"]

_SECTIONS: Final[tuple[tuple[str, str, Callable[[Facts], Markup]], ...]] = (
    ("data", "The data", data_section),
    ("figures", "Figures", figures_section),
    ("learning", "Learning", learning_section),
    ("confusion", "Which class is taken for which", confusion_section),
    ("calibration", "How far to trust its probabilities", calibration_section),
    ("errors", "Predicted and true", residuals_section),
    ("forecast", "Forecast", forecast_section),
    ("samples", "What it writes", samples_section),
    ("importance", "What it looks at", importance_section),
    ("worst", "The worst errors", worst_section),
    ("card", "Model card", card_section),
)
# What a section raises when results are of another form than it knows.
_UNKNOWN: Final = (AttributeError, ArithmeticError, IndexError, KeyError, TypeError, ValueError)
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(place: Path) -> Path:
    """Write the report of a run folder beside its files, and return where.

    The page needs no program, no network and no other file: drawings and pictures are inside. A
    section is left out when the results tell nothing for it; one that they tell in a form that is
    unknown is named at the end.

    Raises:
        FormatError: it is no run folder, or its results are missing or damaged.
        OSError: the page cannot be written.

    Example: ``write_report(Path("runs/prices"))`` writes ``runs/prices/report.html``.

    >>> write_report(Path("nowhere"))
    Traceback (most recent call last):
    ...
    thalweg.errors.FormatError: 'nowhere' is no run folder: model.safetensors is not in it...
    """
    folder = RunFolder.existing(place)
    folder.write_text(folder.report, render(Facts.read(folder.place)))
    return folder.report


def render(facts: Facts) -> str:
    """Return the page as text.

    >>> render(Facts({})).startswith("<!doctype html>")
    True
    """
    made, unknown = [], []
    for name, heading, section in _SECTIONS:
        try:
            body = section(facts)
        except _UNKNOWN:
            unknown.append(heading)
            continue
        if body:
            made.append((name, heading, body))
    try:
        top, called = headline(facts), title(facts)
    except _UNKNOWN:
        top, called = Markup(""), "A run"
        unknown.insert(0, "The headline")
    links = [element("a", heading, href=f"#{name}") for name, heading, _ in made]
    main = [
        element("section", element("h2", heading, id=f"{name}-heading"), body, id=name,
                aria_labelledby=f"{name}-heading")
        for name, heading, body in made
    ]  # fmt: skip
    if unknown:
        main.append(paragraph(
            f"Left out, as results.json tells it in an unknown form: {', '.join(unknown)}.",
            class_="quiet",
        ))  # fmt: skip
    body = element(
        "body", element("header", element("p", "Report of a trained network", class_="above"),
                        element("h1", called), top),
        element("nav", *links, aria_label="Sections"), element("main", *main),
        element("footer", f"Made by Thalweg from {facts.place.name or 'a run folder'}."),
    )  # fmt: skip
    style = Markup(files("thalweg.app.report").joinpath("style.css").read_text(encoding="utf-8"))
    head = element(
        "head", element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"{called} – report"), element("style", style),
    )  # fmt: skip
    return "<!doctype html>\n" + element("html", join([head, "\n", body]), lang="en") + "\n"
