"""Feature pipelines: fitted on the training rows only, the same bits after saving."""

from __future__ import annotations

import doctest
import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thalweg import data
from thalweg.data import features as f
from thalweg.errors import ArgumentError, DataError

HOUSE = Path(__file__).parents[3]
TABLES = Path(os.environ.get("THALWEG_SHARED_DATA", HOUSE / "shared" / "data")) / "tabular"
with_tables = pytest.mark.skipif(
    not TABLES.exists(),
    reason=f"no tables in {TABLES}; set THALWEG_SHARED_DATA to the folder of the data",
)
NUMBERS: list[Any] = [
    f.Standardise, f.Robust, f.Quantile, f.PiecewiseLinear, f.Periodic,
]  # fmt: skip
MODULES = ["transformer", "numbers", "categories", "dates", "targets", "pipeline", "defaults"]
FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def people() -> dict[str, Any]:
    return {
        "age": np.array([20.0, 40.0, np.nan, 90.0]),
        "city": np.array(["Rome", "Oslo", None, "Bern"], object),
        "day": np.array(["2024-01-31", "2024-02-01", None, "2025-06-30"], object),
        "pay": np.array([1.0, 2.0, 3.0, 10.0]),
    }


def pipeline() -> f.Pipeline:
    return f.Pipeline({"age": f.Standardise(), "city": f.Codes(), "day": f.DateParts()})


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name: str) -> None:
    failed, ran = doctest.testmod(importlib.import_module(f"thalweg.data.features.{name}"))
    assert ran
    assert not failed


def test_only_the_training_rows_are_learned_from() -> None:
    table = people()
    part = pipeline().fit(table, rows=[0, 1], target="pay")
    alone = pipeline().fit({k: v[:2] for k, v in table.items()}, target="pay")
    whole = pipeline().fit(table, target="pay")
    for a, b in zip(part.transform(table), alone.transform(table), strict=True):
        np.testing.assert_array_equal(a, b)
    assert part.columns["age"].arrays["center"] == 30 != whole.columns["age"].arrays["center"]
    assert part.unseen(table) == {"city": {"Bern": 1}}
    assert part.transform(table)[1].ravel().tolist() == [2, 1, 0, 0]


def test_using_it_changes_nothing_and_fitting_twice_is_refused() -> None:
    made = pipeline().fit(people(), target="pay")
    before = json.dumps(made.state()[0]), {k: v.copy() for k, v in made.state()[1].items()}
    made.transform({k: v[::-1] for k, v in people().items()})
    assert json.dumps(made.state()[0]) == before[0]
    for key, array in made.state()[1].items():
        np.testing.assert_array_equal(array, before[1][key])
        assert not array.flags.writeable
    with pytest.raises(ArgumentError, match="fitted before"):
        made.fit(people())
    with pytest.raises(ArgumentError, match="not fitted"):
        pipeline().transform(people())


@pytest.mark.parametrize("kind", [*NUMBERS, f.OneHot, f.Codes])
def test_a_state_gives_the_same_bits(kind: Any) -> None:
    values = np.array([0.1, 0.7, np.nan, 3.3, 3.3, 12.0])
    made = f.Pipeline({"a": kind()}).fit({"a": values})
    told, arrays = made.state()
    again = f.Pipeline.from_state(json.loads(json.dumps(told)), arrays)
    test = {"a": np.array([0.2, 5.0, np.nan, -4.0])}
    np.testing.assert_array_equal(made.transform(test)[0], again.transform(test)[0])
    assert again.state()[0] == told
    assert all(isinstance(a, np.ndarray) and a.dtype != object for a in arrays.values())


def test_the_order_of_the_columns_does_not_matter() -> None:
    made = pipeline().fit(people(), target="pay")
    turned = dict(reversed(people().items()))
    for a, b in zip(made.transform(people()), made.transform(turned), strict=True):
        np.testing.assert_array_equal(a, b)


def test_missing_and_extra_columns_are_named() -> None:
    made = pipeline().fit(people(), target="pay")
    fewer = {k: v for k, v in people().items() if k != "city"}
    with pytest.raises(DataError, match="no column 'city'"):
        made.transform(fewer)
    with pytest.warns(UserWarning, match="shoe"):
        made.transform(people() | {"shoe": np.ones(4)})
    without = {k: v for k, v in people().items() if k != "pay"}
    assert len(made.transform(without)) == len(made.transform(people())) - 1


@example(train=[2.2250738585e-313, -5e-324], test=[0.0, 0.0])
@given(
    train=st.lists(FINITE, min_size=2, max_size=40, unique=True), test=st.lists(FINITE, min_size=2)
)
def test_quantiles_are_monotone(train: list[float], test: list[float]) -> None:
    made = f.Quantile().fit(np.array(train)).transform(np.sort(test)).ravel()
    assert (np.diff(made) >= 0).all()
    assert np.abs(made).max() < 5.3
    ends = f.Quantile().fit(np.array([1.0, 2.0, 3.0])).transform([1.5, 2.5]).ravel()
    assert ends[0] < 0 < ends[1]


@given(st.lists(FINITE, min_size=2, max_size=40).filter(lambda v: max(v) - min(v) > 1e-3))
def test_number_targets_come_back(values: list[float]) -> None:
    made = f.NumberTarget().fit(np.array(values))
    back = made.inverse_transform(made.transform(np.array(values)))
    np.testing.assert_allclose(back, values, atol=1e-5 * np.ptp(values))


@given(st.lists(st.text(min_size=1), min_size=2).filter(lambda v: len(set(v)) > 1))
def test_class_targets_come_back(names: list[str]) -> None:
    made = f.ClassTarget().fit(np.array(names, object))
    assert made.inverse_transform(made.transform(np.array(names, object))) == names


@pytest.mark.parametrize(
    ("made", "values", "told"),
    [
        (f.Standardise(), [1.0, np.inf], "infinite numbers in row 1"),
        (f.Standardise(), ["1", "two"], "'two' in row 1"),
        (f.Standardise(), [np.nan, np.nan], "missing"),
        (f.Standardise(missing="error"), [1.0, np.nan], "no value in row 1"),
        (f.DateParts(), ["2024-01-01", "01.02.2024"], "in row 1|in row 0"),
        (f.DateParts(), ["01/02/2024"], "cannot be told apart"),
        (f.ClassTarget(), ["a", "a"], "one class 'a'"),
        (f.ClassTarget(), ["a", None], "missing in row 1"),
        (f.NumberTarget(), [3.0, 3.0], "is 3 in all 2"),
        (f.NumberTarget(), [3.0, np.nan], "missing in row 1"),
    ],
)
def test_bad_columns_are_named(made: Any, values: list[Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        made.fit(values)


def test_rare_categories_are_joined_and_many_are_warned_of() -> None:
    made = f.Codes(rare=2).fit(["a", "a", "b", "c"])
    assert made.transform(["a", "b", "c", "z"]).ravel().tolist() == [2, 1, 1, 0]
    with pytest.warns(UserWarning, match="200 categories"):
        f.OneHot().fit([f"w{i}" for i in range(200)])


@with_tables
def test_california_housing_with_its_blanks() -> None:
    table = data.read_table(TABLES / "california_housing.csv")
    train = np.arange(0, len(table), 2)
    made = f.default_pipeline(table, "median_house_value", rows=train)
    numbers, target = made.fit(table, rows=train).transform(table)
    assert "total_bedrooms is missing" in made.feature_names
    assert numbers.shape == (len(table), len(made.feature_names))
    assert np.isfinite(numbers).all()
    assert abs(target[train].mean()) < 1e-5
    np.testing.assert_allclose(
        made.inverse_transform(target), table.column("median_house_value"), rtol=1e-4, atol=0.1
    )


@with_tables
def test_penguins_are_classes() -> None:
    table = data.read_table(TABLES / "penguins.csv")
    made = f.default_pipeline(table, "species").fit(table)
    assert made.inverse_transform(np.array([0, 2])) == ["Adelie", "Gentoo"]
    assert len(made.dataset(table)) == 344
