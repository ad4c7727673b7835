"""Splits: disjoint and whole, shares kept, no group, time or sample in two parts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from thalweg import data
from thalweg.errors import DataError


def together(parts: Any) -> list[int]:
    return sorted(int(row) for part in parts for row in part)


@given(count=st.integers(10, 300), seed=st.integers(0, 99))
def test_a_random_split_is_whole_disjoint_and_shuffled(count: int, seed: int) -> None:
    parts = data.random_split(count, (0.7, 0.2, 0.1), seed)
    assert together(parts) == list(range(count))
    for part, share in zip(parts, (0.7, 0.2, 0.1), strict=True):
        assert abs(len(part) - share * count) <= 1
    again = data.random_split(count, (0.7, 0.2, 0.1), seed)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


def test_the_validation_part_is_never_the_last_rows() -> None:
    """The last rows unshuffled are often of one class, or of another time (keras#6422)."""
    for way in ({}, {"stratify": np.arange(1000) % 2}):
        _, validation = data.split_dataset(np.arange(1000), 0.1, **way)
        assert validation.rows.tolist() != list(range(900, 1000))
        assert (validation.rows < 500).sum() > 20
    for _, validation in data.k_fold(1000, 10):
        assert (validation < 500).sum() > 20


@given(
    labels=st.lists(st.integers(0, 3), min_size=20, max_size=200),
    seed=st.integers(0, 50),
)
def test_a_stratified_split_gives_every_class_its_share(labels: list[int], seed: int) -> None:
    given_labels = np.array(labels)
    assume(np.unique(given_labels, return_counts=True)[1].min() >= 2)
    shares = (0.6, 0.2, 0.2)
    parts = data.stratified_split(given_labels, shares, seed)
    assert together(parts) == list(range(len(labels)))
    for part, share in zip(parts, shares, strict=True):
        for label in set(labels):
            exact = (given_labels == label).sum() * share
            assert abs((given_labels[part] == label).sum() - exact) < 2


@given(
    groups=st.lists(st.integers(0, 15), min_size=20, max_size=200),
    seed=st.integers(0, 50),
)
def test_a_group_lies_in_one_part(groups: list[int], seed: int) -> None:
    given_groups = np.array(groups)
    assume(len(set(groups)) >= 3)
    parts = data.group_split(given_groups, (0.6, 0.2, 0.2), seed)
    assert together(parts) == list(range(len(groups)))
    assert all(len(part) for part in parts)
    seen = [set(given_groups[part].tolist()) for part in parts]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_group_shares_are_met_by_many_small_groups() -> None:
    groups = np.arange(1000) // 5
    sizes = [len(part) for part in data.group_split(groups, (0.8, 0.1, 0.1))]
    assert sizes == [800, 100, 100]


@given(times=st.lists(st.integers(0, 500), min_size=10, max_size=80, unique=True))
def test_later_parts_are_newer(times: list[int]) -> None:
    given_times = np.array(times)
    parts = data.time_split(given_times, (0.5, 0.25, 0.25))
    assert together(parts) == list(range(len(times)))
    for earlier, later in itertools.pairwise(parts):
        assert given_times[earlier].max() < given_times[later].min()
    data.check_leaks(*parts, times=given_times)


def test_rows_of_one_time_stay_together_and_a_gap_is_left_out() -> None:
    times = np.array(["2026-01-01"] * 4 + ["2026-01-02"] * 4 + ["2026-01-03"] * 4)
    train, test = data.time_split(times, 0.5)
    assert train.tolist() == list(range(8))
    assert test.tolist() == list(range(8, 12))
    train, test = data.time_split(np.arange(10), 0.5, gap=2)
    assert (train.tolist(), test.tolist()) == ([0, 1, 2, 3, 4], [7, 8, 9])


@given(count=st.integers(5, 100), folds=st.integers(2, 5), seed=st.integers(0, 20))
def test_folds_validate_every_row_once(count: int, folds: int, seed: int) -> None:
    found = list(data.k_fold(count, folds, seed))
    assert together([part for _, part in found]) == list(range(count))
    for rest, part in found:
        assert together((rest, part)) == list(range(count))
        assert abs(len(part) - count / folds) < 1
    labels = np.arange(count) % 2
    if count >= 2 * folds:
        for _, part in data.k_fold(count, folds, seed, labels=labels):
            assert abs((labels[part] == 0).sum() - (labels == 0).sum() / folds) < 1
    groups = np.arange(count) // 2
    if len(set(groups.tolist())) >= folds:
        for rest, part in data.k_fold(count, folds, seed, groups=groups):
            assert not set(groups[rest].tolist()) & set(groups[part].tolist())


@pytest.mark.parametrize("gap", [0, 3])
def test_time_folds_never_learn_from_the_future(gap: int) -> None:
    times = np.random.default_rng(0).permutation(60)
    found = list(data.time_folds(times, 4, gap))
    assert len(found) == 4
    for train, validation in found:
        assert times[validation].min() - times[train].max() == gap + 1
    assert len(found[0][0]) < len(found[-1][0])


def test_leaks_are_found() -> None:
    samples = np.arange(12.0).reshape(6, 2)
    data.check_leaks([0, 1, 2], [3, 4, 5], samples=samples, groups=[0, 0, 0, 1, 1, 1])
    samples[4] = samples[1]
    with pytest.raises(DataError, match="in row 4 a sample equal to row 1 of part 0"):
        data.check_leaks([0, 1, 2], [3, 4, 5], samples=samples)
    with pytest.raises(DataError, match="part 1 holds group 'a' of part 0, in row 2"):
        data.check_leaks([0], [1, 2], groups=["a", "b", "a"])
    with pytest.raises(DataError, match="part 2 holds row 0 of part 0"):
        data.check_leaks([0, 1], [2], [3, 0])
    with pytest.raises(DataError, match="part 1 holds row 1 of time 2, which is not after"):
        data.check_leaks([0, 2], [1, 3], times=[1, 2, 3, 4])


def test_a_data_set_is_split_without_copies() -> None:
    x, y = np.arange(20.0), np.arange(20) % 2
    train, test = data.split_dataset((x, y), 0.2, stratify=True)
    assert train.labels is not None
    assert test.labels is not None
    assert np.bincount(test.labels).tolist() == [2, 2]
    both = sorted([*data.read_all(train)[0].tolist(), *data.read_all(test)[0].tolist()])
    assert both == x.tolist()
    assert test.describe(0) == f"row {test.rows[0]}"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: data.random_split(10, (0.5, 0.4)), "add up to 1"),
        (lambda: data.random_split(10, 1.5), "add up to 1"),
        (lambda: data.random_split(3, 0.01), "every part needs one"),
        (lambda: data.stratified_split([0, 0, 0, 1], 0.5), "class 1 has 1 rows"),
        (lambda: data.group_split([1, 1, 1, 1], 0.5), "1 groups for 2 parts"),
        (lambda: data.time_split([1, 1, 1, 1], 0.5), "may share one time"),
        (lambda: data.time_split([1.0, np.nan, 2.0], 0.4), "time of row 1 is missing"),
        (lambda: data.time_split(["2026-01-01", "soon"], 0.5), "not all dates"),
        (lambda: data.time_split(np.arange(4), 0.25, gap=1), "gap of 1"),
        (lambda: data.k_fold(3, 5), "5 folds of 3 rows"),
        (lambda: data.k_fold(4, 2, labels=[0, 0, 0, 1]), "class 1 has 1 rows, at least 2"),
        (lambda: data.k_fold(4, 2, labels=[0] * 4, groups=[0] * 4), "give one of them"),
        (lambda: data.split_dataset(np.arange(4), 0.5, stratify=True), "has no labels"),
        (lambda: data.split_dataset(np.arange(4), 0.5, groups=[1, 2]), "2 values for 4 rows"),
        (
            lambda: data.split_dataset(np.arange(4), 0.5, groups=[1] * 4, times=[1] * 4),
            "give one of",
        ),
    ],
)
def test_bad_calls_say_what_to_do(call: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call()
