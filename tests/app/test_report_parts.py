"""The parts of the report: markup, words for numbers, drawings."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.app.test_report import Page

import thalweg.app.report
from thalweg.app.report.axes import Scale
from thalweg.app.report.charts import histogram, line_chart, scatter_chart
from thalweg.app.report.data import data_section
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join
from thalweg.app.report.wording import number, share

MODULES = [m.name for m in pkgutil.iter_modules(thalweg.app.report.__path__)]


@given(st.text())
def test_text_comes_out_of_an_element_as_it_went_in(text: str) -> None:
    def plain(c: str) -> bool:
        return c.isprintable() and c not in "\r\n"

    shown = "".join(c for c in text if plain(c))
    assert "".join(Page(element("p", shown, title=shown)).words) == shown
    assert Page(element("p", "x", title=shown)).all("p")[0]["title"] == shown
    element("p", text).encode()  # whatever it was, it can be written


def test_markup_is_not_escaped_twice() -> None:
    inner = element("b", "a & b")
    assert join([inner, " <"]) == "<b>a &amp; b</b> &lt;"
    assert isinstance(inner, Markup)


@given(st.floats(), st.integers(1, 8))
def test_every_number_has_words(value: float, digits: int) -> None:
    text = number(value, max(digits, 2))
    assert text
    assert "nan" not in text.replace("infinite", "")
    share(value)


@given(st.floats(-1e12, 1e12))
def test_a_number_reads_as_itself(value: float) -> None:
    text = number(value).replace(",", "").replace("−", "-")
    if "×" not in text:
        assert math.isclose(float(text), value, rel_tol=1e-3, abs_tol=1e-4)


NORMAL = st.floats(-1e300, 1e300).filter(lambda v: v == 0 or abs(v) > 1e-290)


@given(st.lists(NORMAL, min_size=1, max_size=20), st.booleans())
def test_a_scale_keeps_its_order_and_its_ticks_inside(values: list[float], log: bool) -> None:
    made = Scale.of(values, 0.0, 100.0, log=log)
    assert all(-5.1 <= made(v) <= 105.1 for v in values)
    assert all(-0.1 <= made(t) <= 100.1 for t in made.ticks())
    assert len(made.ticks()) <= 12
    places = [made(v) for v in sorted(values)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "values", [[], [math.nan], [1.0], [2.0] * 9, [-1e308, 1e308], [0.0, 1e-320]]
)
def test_charts_take_any_values(values: list[float]) -> None:
    for drawing in (line_chart({"a": values}, "l", "x", "y"), histogram(values, "h", "x"),
                    scatter_chart(values, values, "s", "u")):  # fmt: skip
        Page(drawing)
        assert "nan" not in drawing
        assert "inf" not in drawing


def test_cutting_leaves_short_texts_alone() -> None:
    assert cut("a\n b") == "a b"
    assert len(cut("x" * 10**6)) == 160


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"thalweg.app.report.{name}")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_classes_are_told_with_their_rows_the_rarest_first() -> None:
    results = {"classes": ["often", "seldom"], "counts": [300, 100], "task": "table"}
    page = Page(data_section(Facts(results, curves={})))
    words = " ".join(page.words)
    assert words.index("seldom") < words.index("often")
    assert "25" in words
    assert "2 classes: 100 to 300 rows each" in words
    many = {"classes": [f"c{i}" for i in range(50)], "counts": list(range(1, 51)), "task": "table"}
    assert "and 20 classes that have more" in " ".join(
        Page(data_section(Facts(many, curves={}))).words
    )
