"""Figures: the same as scikit-learn's, honest about rows, and finite whatever is measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics
from tests.tasks.small_tables import mixed, run_of, write

from thalweg.tasks.appraisal import _auc, _calibration, figures_of_classes, figures_of_numbers
from thalweg.tasks.task import probabilities

Array = np.ndarray[Any, Any]


def drawn(seed: int, rows: int, classes: int, steps: int | None) -> tuple[Array, Array]:
    """Return probabilities, of few different values if ``steps`` says so, and labels."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(classes), rows)
    if steps:
        shares = np.ceil(shares * steps)
        shares /= shares.sum(axis=1, keepdims=True)
    return shares, rng.integers(0, classes, rows)


@pytest.mark.parametrize("steps", [None, 4, 2])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_classes_against_scikit_learn(classes: int, steps: int | None) -> None:
    for seed in range(20):
        shares, labels = drawn(seed, 50, classes, steps)
        made, best = figures_of_classes(shares, labels), shares.argmax(axis=1)
        there = np.unique(labels)
        recalls = metrics.recall_score(labels, best, labels=there, average=None)
        wanted = {
            "accuracy": metrics.accuracy_score(labels, best),
            "balanced accuracy": float(np.mean(recalls)),
            "log loss": metrics.log_loss(labels, shares, labels=range(classes)),
        }
        if classes == 2:
            wanted["AUC"] = metrics.roc_auc_score(labels, shares[:, 1])
        assert made == pytest.approx(wanted, abs=1e-12)
        if set(best) <= set(labels):
            assert made["balanced accuracy"] == pytest.approx(
                metrics.balanced_accuracy_score(labels, best)
            )


@given(
    scores=arrays.arrays(np.float64, 30, elements=st.sampled_from([0.0, 0.1, 0.5, 0.5001, 1.0])),
    ones=st.integers(1, 29),
)
def test_auc_with_ties_is_the_share_of_pairs_in_order(scores: Array, ones: int) -> None:
    labels = np.arange(30) < ones
    pairs = scores[labels][:, None] - scores[~labels]
    assert _auc(scores, labels) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())
    assert _auc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert _auc(scores, labels) + _auc(-scores, labels) == pytest.approx(1)


def test_a_class_that_is_not_among_the_rows() -> None:
    made = figures_of_classes(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]), np.array([0, 0]))
    assert made["accuracy"] == made["balanced accuracy"] == 0.5
    one = figures_of_classes(np.array([[0.7, 0.3]]), np.array([0]))
    assert "AUC" not in one
    sure = figures_of_classes(np.array([[1.0, 0.0]]), np.array([1]))
    assert math.isfinite(sure["log loss"])


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_numbers_against_scikit_learn(targets: int, scale: float) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(40, targets)) * 10.0 ** rng.integers(-3, 4, targets) + 5
        predicted = truth + rng.normal(size=truth.shape)
        made = figures_of_numbers(predicted * scale, truth * scale)
        assert made["RMSE"] / scale == pytest.approx(
            math.sqrt(metrics.mean_squared_error(truth, predicted))
        )
        assert made["MAE"] / scale == pytest.approx(metrics.mean_absolute_error(truth, predicted))
        assert made["R2"] == pytest.approx(metrics.r2_score(truth, predicted))


def test_r2_of_a_target_of_one_value_is_as_scikit_learn_has_it() -> None:
    truth = np.array([[2.0, 1.0], [2.0, 5.0], [2.0, 3.0]])
    for first in (2.0, 2.5):
        predicted = truth + np.array([[first - 2.0, 0.5]])
        assert figures_of_numbers(predicted, truth)["R2"] == pytest.approx(
            metrics.r2_score(truth, predicted)
        )
    assert figures_of_numbers(np.array([[3.0]]), np.array([[1.0]]))["R2"] == 0


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e307])
def test_numbers_of_any_size_are_finite(size: float) -> None:
    truth = np.array([[1.0], [2.0], [4.0]]) * size
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        made = figures_of_numbers(truth * 1.5, truth)
        same = figures_of_numbers(truth, truth)
    assert all(map(math.isfinite, [*made.values(), *same.values()]))
    assert same["RMSE"] == same["MAE"] == 0
    assert same["R2"] == 1


def test_calibration_counts_every_row_once() -> None:
    shares, labels = drawn(0, 500, 3, None)
    made = _calibration(shares, labels)
    assert sum(made["count"]) == 500
    sure = shares.max(axis=1)
    right = shares.argmax(axis=1) == labels
    inside = (sure >= 0.6) & (sure < 0.7)
    assert made["count"][6] == inside.sum()
    assert made["sure"][6] == pytest.approx(sure[inside].mean())
    assert made["right"][6] == pytest.approx(right[inside].mean())
    assert _calibration(np.array([[1.0, 0.0]]), np.array([0]))["count"][9] == 1
    assert _calibration(np.array([[1.0, 0.0]]), np.array([1]))["error"] == 1


def test_results_of_classes_are_of_the_test_rows(tmp_path: Path) -> None:
    made = run_of(mixed(tmp_path / "t.csv", 200), tmp_path / "run", epochs=8)
    told, rows = made.results, 30
    confusion = np.asarray(told["confusion"])
    assert confusion.sum() == rows == told["rows"]["test"]
    figures = {figure["name"]: figure for figure in told["figures"]}
    assert figures["accuracy"]["value"] == pytest.approx(np.trace(confusion) / rows)
    for figure in told["figures"]:
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["low"] < figure["high"] or figure["value"] in (0, 1)
    counts = confusion.sum(axis=1)
    assert figures["accuracy"]["naive"] == pytest.approx(counts.max() / rows, abs=0.1)
    assert figures["AUC"]["naive"] == 0.5
    wrong = [row for row in told["worst"] if row["truth"] != row["prediction"]]
    assert len(wrong) == len(told["worst"]) == min(12, rows - np.trace(confusion))
    assert [row["probability"] for row in wrong] == sorted(row["probability"] for row in wrong)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    for row in wrong:  # the place names the very line that is shown
        fields = lines[int(row["place"].rsplit(" ", 1)[1]) - 1].split(",")
        assert row["shown"]["answer"] == fields[-1] == told["classes"][row["truth"]]
        assert row["shown"]["code"] == fields[2]


def test_results_of_numbers_are_of_the_test_rows(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=120)
    answer = [f"{50 + 7 * v:.4f}" for v in x]
    source = write(tmp_path / "t.csv", {"x": [f"{v:.4f}" for v in x], "answer": answer}, 120)
    told = run_of(source, tmp_path / "run", epochs=20).results
    truth, predicted = (np.asarray(told["points"][name]) for name in ("truth", "prediction"))
    figures = {figure["name"]: figure for figure in told["figures"]}
    assert figures["RMSE"]["value"] == pytest.approx(np.sqrt(np.square(truth - predicted).mean()))
    assert figures["R2"]["naive"] <= 0
    apart = [abs(row["truth"][0] - row["prediction"][0]) for row in told["worst"]]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] == pytest.approx(np.abs(truth - predicted).max())
    assert [entry["name"] for entry in told["importance"]] == ["x"]
    assert told["importance"][0]["worse"] > 0


@given(arrays.arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32)))
def test_probabilities_are_some(logits: Array) -> None:
    made = probabilities(logits)
    assert made.sum(axis=1) == pytest.approx(1)
    assert (made >= 0).all()
    first = logits.argmax(axis=1)  # the largest logit has the largest share, up to a tie
    assert (made[np.arange(4), first] == made.max(axis=1)).all()
