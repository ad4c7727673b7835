"""The data: its problems first, its parts, its columns and what was done with each."""

from __future__ import annotations

import re
from typing import Final

from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, bar, cut, element, join, paragraph, table
from thalweg.app.report.wording import counted, number, share

__all__ = ["data_section"]

_COLUMN: Final = re.compile(r"^(.+?): (number|category|date|text) \((.*)\)$", re.DOTALL)
_PARTS: Final = (
    ("training", "the network learned from these"),
    ("validation", "told when to stop and which epoch to keep"),
    ("test", "never seen before the figures below were measured"),
)
_CLASSES: Final = 30  # classes that are listed
_MOST: Final = 200  # columns and sentences that are listed


def data_section(facts: Facts) -> Markup:
    """Return notes, rows of each part, rows of each class and columns."""
    return join([_notes(facts), _parts(facts), _classes(facts), _columns(facts)])


def _notes(facts: Facts) -> Markup:
    told = facts.results.get("notes")
    if not isinstance(told, list):
        return Markup("")
    if not told:
        return paragraph("Nothing odd was noticed in the data.", class_="good")
    items = [element("li", _sentence(cut(note, 600))) for note in told[:_MOST]]
    if len(told) > _MOST:
        items.append(element("li", f"and {len(told) - _MOST:,} more"))
    return element("div", element("h3", "Look at this first"), element("ul", *items),
                   class_="warning")  # fmt: skip


def _sentence(text: str) -> str:
    """Return a text that begins like a sentence and ends like one.

    >>> _sentence("the class a is rare")
    'The class a is rare.'
    """
    begun = text[:1].upper() + text[1:]
    return begun if begun.endswith((".", "!", "?", "…", ":")) else begun + "."


def _parts(facts: Facts) -> Markup:
    rows = [(part, facts.rows(part), meaning) for part, meaning in _PARTS if facts.rows(part)]
    whole = sum(count for _, count, _ in rows)
    if not whole:
        return Markup("")
    strips = [
        element("span", class_=f"part {part}", style=f"flex-grow:{count}")
        for part, count, _ in rows
    ]
    made = table(
        ["part", f"{facts.sample}s", "share", "what for"],
        [[part, number(count), share(count / whole, 0), meaning] for part, count, meaning in rows],
        caption="Rows in each part of the data", numbers=[1, 2],
    )  # fmt: skip
    return join([element("div", *strips, class_="parts", aria_hidden="true"), made])


def _classes(facts: Facts) -> Markup:
    """Return how many rows each class has to learn from, the rarest first."""
    counts, names = facts.results.get("counts"), facts.classes
    if not isinstance(counts, list) or len(counts) != len(names) or not sum(counts):
        return Markup("")
    order = sorted(range(len(names)), key=lambda c: (counts[c], names[c]))
    whole = sum(counts)
    rows = [
        [cut(names[c], 60), bar(counts[c] / max(counts)), number(counts[c]),
         share(counts[c] / whole)]
        for c in order[:_CLASSES]
    ]  # fmt: skip
    heads = ["class", "", f"{facts.sample}s to learn from", "share"]
    made = table(heads, rows, caption="Rows of each class in the training part", numbers=[2, 3])
    left = len(names) - len(rows)
    more = paragraph(f"and {left:,} classes that have more") if left else ""
    spread = f"{number(min(counts))} to {number(max(counts))} {facts.sample}s each"
    title = element("summary", f"{counted(len(names), 'class', 'classes')}: {spread}")
    return element("details", title, element("div", made, class_="bars"), more,
                   open=len(names) <= 12)  # fmt: skip


def _columns(facts: Facts) -> Markup:
    """Return a table of columns, made of the sentences in which the run told of them."""
    told = [str(reason) for reason in facts.results.get("reasons") or []]
    kinds = {m[1]: (m[2], m[3]) for m in map(_COLUMN.match, told) if m}
    done: dict[str, list[str]] = {}
    other = []
    known = set(kinds)
    for reason in told:
        if _COLUMN.match(reason):
            continue
        owner = _owner(reason, known)
        if owner is None:
            other.append(reason)
        else:
            done.setdefault(owner, []).append(reason[len(owner) :].strip())
    parts = []
    why = facts.results.get("why")
    if other or why:
        lines = [f"The task is {facts.task}: {cut(why, 300)}"] if why else []
        lines += [cut(reason, 300) for reason in other]
        items = [element("li", _sentence(line)) for line in lines[:_MOST]]
        parts.append(join([element("h3", "What was inferred and chosen"), element("ul", *items)]))
    if kinds:
        rows = [
            [cut(name, 80), kind, cut(_sentence(reason), 200), _done(name, done, facts.targets)]
            for name, (kind, reason) in list(kinds.items())[:_MOST]
        ]
        made = table(["column", "kind", "why", "what was done with it"], rows, caption="Columns",
                     stacked=True)  # fmt: skip
        left = len(kinds) - len(rows)
        parts.append(element(
            "details", element("summary", f"{counted(len(kinds), 'column')}: kind and use of each"),
            made, paragraph(f"and {left:,} more columns") if left > 0 else "",
            open=len(kinds) <= 12, class_="columns",
        ))  # fmt: skip
    return join(parts)


def _done(name: str, done: dict[str, list[str]], targets: list[str]) -> str:
    if name in targets:
        return "It is what is predicted."
    return cut(_sentence(" ".join(done[name])), 240) if name in done else "Not told."


def _owner(reason: str, names: set[str]) -> str | None:
    """Return the longest name of a column that a sentence begins with.

    >>> _owner("a b is standardised", {"a", "a b"})
    'a b'
    """
    place = len(reason)
    while (place := reason.rfind(" ", 0, place)) > 0:
        if reason[:place] in names:
            return reason[:place]
    return None
