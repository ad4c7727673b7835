"""Batches and splits: every row once, in step, reproducible; bad data named before training."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg import data
from thalweg.errors import DataError

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


@given(rows=st.integers(1, 50), size=st.integers(1, 50), seed=st.integers(0, 2**63))
def test_an_epoch_shows_every_row_once(rows: int, size: int, seed: int) -> None:
    size = min(size, rows)
    made = data.batches(np.arange(rows), size, seed=seed)
    parts = list(made)
    assert len(parts) == len(made)
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    full = list(data.batches(np.arange(rows), size, seed=seed, drop_last=True))
    assert [len(p) for p in full] == [size] * (rows // size)


def test_arrays_stay_in_step_and_keep_their_kind() -> None:
    for x, y in data.batches((X, Y), 3, seed=1):
        np.testing.assert_array_equal(x[:, 0], 2.0 * y)
    for batch in data.batches({"x": X, "y": Y}, 3, seed=1):
        np.testing.assert_array_equal(batch["x"][:, 0], 2.0 * batch["y"])
    assert isinstance(next(iter(data.batches(Y, 3))), np.ndarray)


def test_epochs_differ_and_runs_do_not() -> None:
    made, again = data.batches(Y, 10, seed=3), data.batches(Y, 10, seed=3)
    first, second = next(iter(made)), next(iter(made))
    assert first.tolist() != second.tolist()
    assert next(iter(again)).tolist() == first.tolist()


def test_without_a_seed_rows_keep_their_order_unless_shuffle_is_asked_for() -> None:
    assert np.concatenate(list(data.batches(Y, 4))).tolist() == Y.tolist()
    long = np.arange(1000)
    assert next(iter(data.batches(long, 1000, shuffle=True))).tolist() != long.tolist()
    assert next(iter(data.batches(long, 1000, seed=0, shuffle=False))).tolist() == long.tolist()


@given(
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=200),
    fraction=st.floats(0.15, 0.85),
    seed=st.integers(0, 100),
)
def test_a_stratified_split_gives_every_label_its_share(
    labels: list[int], fraction: float, seed: int
) -> None:
    y = np.array(labels)
    rest, part = data.split((np.arange(len(y)), y), fraction, seed, stratify=y)
    assert sorted([*rest[0].tolist(), *part[0].tolist()]) == list(range(len(y)))
    assert len(part[0]) == round(len(y) * fraction)
    for label in set(labels):
        exact = len(part[1]) / len(y) * (y == label).sum()
        assert abs((part[1] == label).sum() - exact) < 1


def test_a_split_is_shuffled_and_reproducible() -> None:
    rows = np.arange(1000)
    _, part = data.split(rows, 0.1, seed=0)
    assert part.tolist() != list(range(900, 1000))
    assert data.split(rows, 0.1, seed=0)[1].tolist() == part.tolist()
    assert data.split(rows, 0.1, seed=1)[1].tolist() != part.tolist()
    as_dict = data.split({"a": rows}, 0.1, seed=0)[1]
    assert as_dict["a"].tolist() == part.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_found_with_its_row(dtype: Any, value: float) -> None:
    x = np.ones((50, 3), dtype)
    data.check_finite((x, Y))
    x[17, 2] = x[31, 0] = value
    with pytest.raises(DataError, match=rf"array 1: row 17 holds {value} at position 2.*1 other"):
        data.check_finite((Y, x))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: data.batches((X, Y[:4]), 2), "array 0 has 10, array 1 has 4"),
        (lambda: data.batches(X[:0], 2), "empty"),
        (lambda: data.batches((), 2), "no arrays"),
        (lambda: data.batches((X, 3.0), 2), "single number"),
        (lambda: data.batches((X, Y), 11), "batch size is 11, but the data has only 10 rows"),
        (lambda: data.batches((X, Y), 0), "wanted a whole number from 1 to 10"),
        (lambda: data.batches((X, Y), 2.5), "wanted a whole number"),  # type: ignore[arg-type]
        (lambda: data.split(X, 1.5), "between 0 and 1"),
        (lambda: data.split(X, 0.01), "leaves 10 and 0 rows"),
        (lambda: data.split(X, 0.5, stratify=Y[:3]), "one label for each of 10 rows"),
        (lambda: data.load("digts"), "did you mean 'digits'"),
        (lambda: data.load("digits", "tset"), "tset"),
    ],
)
def test_bad_calls_say_what_to_do(call: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call()


def test_data_sets_are_found_by_name() -> None:
    images, labels = data.load("digits", "test")
    assert images.shape == (10_000, 28, 28)
    assert labels.shape == (10_000,)
