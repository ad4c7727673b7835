"""Sampling orders: the shares they promise, and that they depend on seed and epoch alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg import data
from thalweg.errors import DataError


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_class_balanced_shows_every_class_equally_often(labels: list[int], seed: int) -> None:
    given_labels = np.array(labels)
    rows = data.class_balanced(given_labels).rows(len(labels), 4, seed, 0)
    assert len(rows) == len(labels)
    classes, counts = np.unique(given_labels[rows], return_counts=True)
    present = len(set(labels))
    if len(labels) >= present:
        assert counts.max() - counts.min() <= 1
        assert len(classes) == min(present, len(labels))


def test_class_balanced_shows_all_rows_of_a_class_before_any_again() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    rows = data.class_balanced(labels, samples=40).rows(100, 4, 0, 0)
    rare = rows[labels[rows] == 1]
    assert np.bincount(rare - 90).tolist() == [2] * 10


def test_weighted_draws_in_proportion() -> None:
    order = data.weighted([1, 3, 0], samples=40_000)
    counts = np.bincount(order.rows(3, 10, 0, 0), minlength=3)
    assert counts[2] == 0
    assert counts[1] / counts[0] == pytest.approx(3, rel=0.05)
    once = data.weighted([1, 3, 2], replace=False).rows(3, 1, 0, 0)
    assert sorted(once.tolist()) == [0, 1, 2]


@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=300),
    size=st.integers(1, 9),
    edges=st.sampled_from([None, [8, 16, 64]]),
)
def test_bucketed_shows_every_row_once(lengths: list[int], size: int, edges: Any) -> None:
    rows = data.bucketed(np.array(lengths), edges).rows(len(lengths), size, 0, 0)
    assert sorted(rows.tolist()) == list(range(len(lengths)))


def test_bucketed_batches_hold_like_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 101, 6400)

    def padding(order: data.sampling.Order) -> float:
        batches = lengths[order.rows(6400, 32, 0, 0).reshape(-1, 32)]
        return float((batches.max(axis=1)[:, None] - batches).mean() / lengths.mean())

    assert padding(data.bucketed(lengths)) < 0.1 < 0.7 < padding(data.shuffled())
    edges = np.array([25, 50, 75, 100])
    rows = data.bucketed(lengths, edges).rows(6400, 32, 0, 0).reshape(-1, 32)
    buckets = np.searchsorted(edges, lengths[rows])
    mixed = (buckets.min(axis=1) != buckets.max(axis=1)).sum()
    assert mixed <= 3  # only the ends of the buckets


@pytest.mark.parametrize(
    "order",
    [
        data.shuffled(),
        data.weighted(np.ones(50)),
        data.class_balanced(np.arange(50) % 3),
        data.bucketed(np.arange(50) + 1),
        data.sliced(30),
    ],
)
def test_orders_depend_on_seed_and_epoch_alone(order: data.sampling.Order) -> None:
    rows = order.rows(50, 4, 1, 2)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, order.rows(50, 4, 1, 2))
    assert rows.tolist() != order.rows(50, 4, 1, 3).tolist()
    assert rows.tolist() != order.rows(50, 4, 2, 2).tolist()


@pytest.mark.parametrize(("samples", "count"), [(3, 10), (10, 10), (25, 10), (1, 4)])
def test_slices_show_all_rows_before_one_again(samples: int, count: int) -> None:
    order = data.sliced(samples)
    epochs = [order.rows(count, 1, 5, epoch) for epoch in range(2 * count)]
    assert {len(rows) for rows in epochs} == {samples}
    stream = np.concatenate(epochs)[: 2 * count]
    for start in (0, count):
        assert sorted(stream[start : start + count]) == list(range(count))
    assert stream[:count].tolist() != stream[count:].tolist()


def test_the_loader_follows_an_order() -> None:
    labels = np.array([0] * 15 + [1] * 5)
    loader = data.Loader((labels,), 10, order=data.class_balanced(labels, samples=40))
    assert len(loader) == 4
    assert sum(batch[0].sum() for batch in loader) == 20


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: data.weighted([1, -1]), "weight of row 1 is -1"),
        (lambda: data.sliced(0), "samples is 0"),
        (lambda: data.weighted([1, np.nan]), "weight of row 1 is nan"),
        (lambda: data.weighted([0, 0]), "of 0 with a weight above 0"),
        (lambda: data.weighted([1, 0], replace=False), "without replacement"),
        (lambda: data.weighted([1.0], samples=0), "samples is 0"),
        (lambda: data.class_balanced([[1]]), "one class a row"),
        (lambda: data.bucketed([1.5]), "one whole number a row"),
        (lambda: data.bucketed([3, 9], edges=[4, 8]), "row 1 has length 9"),
        (lambda: data.bucketed([3], edges=[8, 4]), "wanted rising"),
        (lambda: data.class_balanced([0, 1]).rows(3, 1, 0, 0), "made for 2 rows"),
        (lambda: data.weighted([1, 1]).rows(3, 1, 0, 0), "made for 2 rows"),
    ],
)
def test_bad_calls_say_what_to_do(call: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call()
