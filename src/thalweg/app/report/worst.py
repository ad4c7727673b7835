"""The test rows that went most wrong: as pictures, texts or columns."""

from __future__ import annotations

from typing import Any, Final

from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join, paragraph, table
from thalweg.app.report.pictures import picture
from thalweg.app.report.wording import number, share

__all__ = ["worst_section"]

_MOST: Final = 24  # rows shown
_COLUMNS: Final = 6  # columns of a row that are shown
_TEXT: Final = 600  # characters of a text that are shown


def worst_section(facts: Facts) -> Markup:
    """Return the worst errors; nothing if there are none."""
    told = [entry for entry in (facts.results.get("worst") or [])[:_MOST]
            if "truth" in entry or "loss" in entry]  # fmt: skip
    if not told:
        return Markup("")
    lines = [
        "Look whether these rows are labelled wrongly, damaged, or of a kind that the training "
        "rows hardly have."
    ]
    shown: list[dict[str, Any]] = [
        entry["shown"] if isinstance(entry.get("shown"), dict) else {} for entry in told
    ]
    if any("image" in row for row in shown):
        cards = [_card(facts, e, row) for e, row in zip(told, shown, strict=True)]
        made = element("div", *cards, class_="cards")
    elif all("text" in row and len(row) <= 2 for row in shown):
        cards = [_quotation(facts, e, row) for e, row in zip(told, shown, strict=True)]
        made = element("div", *cards)
    else:
        names = _columns(facts, shown)
        made = element("div", _rows(facts, told, shown, names), class_="short")
        every = {name for row in shown for name in row if name not in facts.targets}
        if len(every) > len(names):
            lines.append(f"The {len(names)} most important of {len(every):,} columns are shown.")
    return join([paragraph(" ".join(lines), class_="quiet"), made])


def _values(facts: Facts, value: Any) -> str:
    """Return a truth or prediction in words: a class, or one or several numbers."""
    if facts.kind == "classes":
        return cut(facts.name_of(value), 60)
    values = value if isinstance(value, list) else [value]
    text = ", ".join(number(v) for v in values[:4])
    return text + (f", … ({len(values)})" if len(values) > 4 else "")


def _sure(entry: dict[str, Any]) -> str:
    told = entry.get("probability")
    return "" if told is None else share(told)


def _place(facts: Facts, entry: dict[str, Any]) -> str:
    """Return where a row came from, without the path of the source, which is told elsewhere."""
    source = str(facts.results.get("source", ""))
    place = str(entry.get("place", ""))
    if source and place.startswith(source):
        place = place[len(source) :].lstrip(":/\\ ") or place
    return cut(place, 80)


def _card(facts: Facts, entry: dict[str, Any], row: dict[str, Any]) -> Markup:
    truth, told = _values(facts, entry["truth"]), _values(facts, entry.get("prediction"))
    sure = _sure(entry)
    image: Markup | str = ""
    if "image" in row:
        try:
            image = picture(row["image"], f"{_place(facts, entry)}: {truth}, told as {told}")
        except (TypeError, ValueError):
            image = element("span", "no picture")
    lines = [element("b", truth), " told as ", element("b", told)]
    if sure:
        lines += [element("br"), f"{sure} for the truth"]
    lines += [element("br"), element("small", _place(facts, entry))]
    return element("figure", image, element("figcaption", *lines))


def _quotation(facts: Facts, entry: dict[str, Any], row: dict[str, Any]) -> Markup:
    sure, place = _sure(entry), _place(facts, entry)
    if "truth" not in entry:  # a text that was to be continued
        head = [f"{place} · loss {number(entry['loss'])} a token"]
    else:
        head = [element("b", _values(facts, entry["truth"])), " told as ",
                element("b", _values(facts, entry.get("prediction"))),
                f" · {sure} for the truth" if sure else "", f" · {place}"]  # fmt: skip
    return element("figure", element("blockquote", cut(row["text"], _TEXT)),
                   element("figcaption", *head), class_="quotation")  # fmt: skip


def _columns(facts: Facts, shown: list[dict[str, Any]]) -> list[str]:
    """Return the columns that are shown, the most important first."""
    there = {name: None for row in shown for name in row if name not in facts.targets}
    ranked = [str(e.get("name")) for e in facts.results.get("importance") or []]
    order = [name for name in ranked if name in there]
    first = set(order)
    return (order + [name for name in there if name not in first])[:_COLUMNS]


def _rows(
    facts: Facts, told: list[dict[str, Any]], shown: list[dict[str, Any]], names: list[str]
) -> Markup:
    sure = any(_sure(entry) for entry in told)
    numbers = facts.kind != "classes"
    heads = ["row", "truth", "told" if not numbers else "predicted"]
    heads += ["sure of the truth"] if sure else []
    rows = [
        [_place(facts, entry), element("b", _values(facts, entry["truth"])),
         element("b", _values(facts, entry.get("prediction"))), *([_sure(entry)] if sure else []),
         *(_cell(row.get(name)) for name in names)]
        for entry, row in zip(told, shown, strict=True)
    ]  # fmt: skip
    right = [1, 2] * numbers + [3] * sure
    right += [
        len(heads) + i for i, name in enumerate(names)
        if all(isinstance(row.get(name), (int, float, type(None))) for row in shown)
    ]  # fmt: skip
    return table([*heads, *(cut(n, 40) for n in names)], rows, caption="The worst errors",
                 numbers=right)  # fmt: skip


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "missing"
    return number(value, 6) if isinstance(value, (int, float)) else cut(value, 60)
