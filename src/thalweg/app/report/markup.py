"""HTML elements made of text: whatever is not markup already is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["Markup", "bar", "cut", "element", "join", "paragraph", "scroller", "svg", "table"]

_EMPTY: Final = {"br", "img", "meta"}  # HTML: they have no end
_DRAWN: Final = {"circle", "line", "rect", "path", "polyline"}  # SVG: they end by a slash
_LONG: Final = 160  # characters of a text from the data that are shown


class Markup(str):
    """Text that is HTML already and is not escaped again.

    Only ``element`` and ``join`` make it of what they have escaped.
    """


def element(tag: str, /, *children: str, **attributes: object) -> Markup:
    """Return an element; children that are no ``Markup``, and all attributes, are escaped.

    An underscore in the name of an attribute stands for a dash, one at its end for nothing; an
    attribute of None or False is left out, one of True has no value.

    >>> element("p", "a < b", element("br"), class_="note")
    '<p class="note">a &lt; b<br></p>'
    """
    told = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _EMPTY:
        return Markup(f"<{tag}{told}>")
    if tag in _DRAWN:
        return Markup(f"<{tag}{told}/>")
    return Markup(f"<{tag}{told}>{join(children)}</{tag}>")


def join(parts: Iterable[str]) -> Markup:
    """Return parts one after the other, escaped unless they are markup.

    >>> join(["<", element("b", "x")])
    '&lt;<b>x</b>'
    """
    return Markup("".join(p if isinstance(p, Markup) else html.escape(_clean(p)) for p in parts))


def paragraph(*children: str, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return element("p", *children, class_=class_)


def svg(width: float, height: float, label: str, *children: str, class_: str = "chart") -> Markup:
    """Return a drawing that scales with its place and has a name for those who cannot see it.

    Raises:
        ValueError: the name is empty.
    """
    if not label:
        raise ValueError("a drawing without a name cannot be understood without eyes")
    return element(
        "svg", *children, viewBox=f"0 0 {width:g} {height:g}", width=f"{width:g}",
        height=f"{height:g}", role="img", aria_label=label, class_=class_,
    )  # fmt: skip


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str,
    numbers: Iterable[int] = (), stacked: bool = False,
) -> Markup:  # fmt: skip
    """Return a table: ``heads`` over ``rows``, whose first cell names the row.

    ``numbers``: the columns that are set to the right, so that digits stand under digits.
    ``stacked``: where there is little room, the cells of a row stand below each other, each with
    its head. The caption is for those who listen; it is not drawn.

    >>> '<td class="number">1</td>' in table(["a", "b"], [["x", "1"]], caption="c", numbers=[1])
    True
    """
    right = set(numbers)

    def classes(column: int) -> str | None:
        return "number" if column in right else None

    head = [element("th", h, scope="col", class_=classes(i)) for i, h in enumerate(heads)]
    body = [
        element("tr", *[
            element("th", cell, scope="row", class_=classes(i)) if i == 0
            else element("td", cell, class_=classes(i), data_head=heads[i] if stacked else None)
            for i, cell in enumerate(row)
        ])
        for row in rows
    ]  # fmt: skip
    made = element(
        "table", element("caption", caption, class_="unseen"),
        element("thead", element("tr", *head)), element("tbody", *body),
        class_="stacked" if stacked else None,
    )  # fmt: skip
    return scroller(made, caption)


def scroller(wide: Markup, label: str) -> Markup:
    """Return something wide in a frame that scrolls sideways, by keyboard too."""
    return element("div", wide, class_="scroller", role="region", aria_label=label, tabindex="0")


def cut(text: object, most: int = _LONG) -> str:
    """Return a text on one line, cut if it is very long.

    >>> cut("ab  c", 3), cut("abcdef", 4)
    ('ab…', 'abc…')
    """
    line = " ".join(str(text)[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _clean(text: str) -> str:
    """Return a text without what HTML or UTF-8 has no place for: controls, halves of characters."""
    return "".join(
        c if c in "\n\t" or c.isprintable() or (ord(c) >= 160 and not "\ud800" <= c <= "\udfff")
        else "\ufffd"
        for c in text
    )  # fmt: skip


def bar(share: float) -> Markup:
    """Return a bar that fills a share of its place.

    >>> "width:50.0%" in bar(0.5)
    True
    """
    width = f"width:{100 * min(max(share, 0.0), 1.0):.1f}%"
    return element("span", element("span", class_="fill", style=width), class_="track",
                   aria_hidden="true")  # fmt: skip
