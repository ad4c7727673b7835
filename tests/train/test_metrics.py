"""Metrics: their values against NumPy, eager and compiled; shapes that do not fit are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError, ShapeError
from thalweg.train import metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, 200)
VALUES = RNG.normal(size=(50, 3))
NEAR = VALUES + 0.1 * RNG.normal(size=(50, 3))


def both(metric: Any, *args: Any) -> Any:
    """Return a metric's value, after checking that compiled it is the same."""
    eager = np.asarray(metric(*args))
    arrays = [np.asarray(a) for a in args]
    np.testing.assert_allclose(np.asarray(tw.compile(metric)(*arrays)), eager, rtol=1e-6)
    return eager


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32"])
def test_accuracy_and_confusion_matrix(dtype: str) -> None:
    labels = LABELS.astype(dtype)
    found = LOGITS.argmax(axis=1)
    assert both(metrics.accuracy, LOGITS, labels) == pytest.approx((found == LABELS).mean())
    table = both(metrics.confusion_matrix, LOGITS, labels)
    wanted = np.zeros((6, 6), np.int64)
    np.add.at(wanted, (LABELS, found), 1)
    np.testing.assert_array_equal(table, wanted)
    assert table.dtype == np.int64


def test_one_hot_targets_count_as_labels() -> None:
    hot = np.eye(6, dtype=np.float32)[LABELS]
    assert both(metrics.accuracy, LOGITS, hot) == both(metrics.accuracy, LOGITS, LABELS)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_top_k_accuracy(k: int) -> None:
    rounded = np.round(LOGITS)  # with many equal predictions
    order = np.argsort(-rounded, axis=1, kind="stable")[:, :k]
    wanted = (order == LABELS[:, None]).any(axis=1).mean()
    found = both(lambda p, t: metrics.top_k_accuracy(p, t, k), rounded, LABELS)
    assert found == pytest.approx(wanted)
    if k == 1:
        assert found == metrics.accuracy(rounded, LABELS).item()


def test_metrics_of_numbers() -> None:
    error = NEAR - VALUES
    assert both(metrics.mse, NEAR, VALUES) == pytest.approx((error**2).mean())
    assert both(metrics.mae, NEAR, VALUES) == pytest.approx(np.abs(error).mean())
    explained = 1 - (error**2).sum(0) / ((VALUES - VALUES.mean(0)) ** 2).sum(0)
    assert both(metrics.r2, NEAR, VALUES) == pytest.approx(explained.mean())
    flat = np.ones((4, 1))
    assert both(metrics.r2, flat, flat) == 1
    assert both(metrics.r2, flat + 1, flat) == 0


def test_metrics_refuse_what_would_be_silently_wrong() -> None:
    with pytest.raises(ShapeError, match="at least two classes"):
        metrics.accuracy(np.ones((4, 1)), np.zeros(4, int))
    with pytest.raises(ShapeError, match=r"wanted one label a row: shape \(200,\)"):
        metrics.accuracy(LOGITS, LABELS[:, None])
    with pytest.raises(ShapeError, match="whole numbers"):
        metrics.accuracy(LOGITS, LABELS.astype(float))
    with pytest.raises(ShapeError):
        metrics.mse(np.ones((4, 1)), np.ones(4))
    with pytest.raises(ArgumentError, match="from 1 to 6"):
        metrics.top_k_accuracy(LOGITS, LABELS, k=7)


def test_metrics_are_found_by_name() -> None:
    for name, metric in metrics.METRICS.items():
        assert metrics.get(name) is metric
        assert metrics.name_of(metric) == name
    assert metrics.get(np.mean) is np.mean
    with pytest.raises(ArgumentError, match="did you mean 'accuracy'"):
        metrics.get("acuracy")
