"""Metrics that are exact over batches, against their definitions and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError
from thalweg.train import AUC, F1, R2, RMSE, Perplexity, Precision, Recall, Trainer, metrics
from thalweg.train.statistics import Accumulated, Tally

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(300, 5)).astype(np.float32)
LABELS = np.where(RNG.random(300) < 0.4, LOGITS.argmax(1), RNG.integers(0, 4, 300))  # 4: never
SCORES = np.round(RNG.normal(size=300), 1).astype(np.float32)  # with ties
BINARY = (SCORES + RNG.normal(size=300) > 0.3).astype(np.int64)
VALUES = (100 + RNG.normal(size=(300, 3))).astype(np.float32)
NEAR = (VALUES + 0.3 * RNG.normal(size=(300, 3))).astype(np.float32)


def over_batches(metric: Accumulated, predictions: Any, targets: Any) -> float:
    """Return the metric of unequal batches, computed by a compiled function."""
    tally = Tally([metric])
    step = tw.compile(metric.statistics)
    for rows in np.split(np.arange(len(targets)), [7, 100, 101, 250]):
        told = np.asarray(step(predictions[rows], targets[rows]), np.float64)
        tally.add([np.zeros(1), told[None]])
    return tally.values()[metric.name]


def both(metric: Accumulated, predictions: Any, targets: Any) -> float:
    whole = metric(predictions, targets)
    assert over_batches(metric, predictions, targets) == pytest.approx(whole, rel=1e-6)
    return whole


def by_definition(kind: str, average: str) -> float:
    found, each, weights = LOGITS.argmax(1), [], []
    for label in range(5):
        hits = ((found == label) & (label == LABELS)).sum()
        predicted, true = (found == label).sum(), (label == LABELS).sum()
        if not predicted and not true:
            continue
        p, r = hits / max(predicted, 1), hits / max(true, 1)
        f = 2 * p * r / (p + r) if p + r else 0.0
        each.append({"precision": p, "recall": r, "f1": f}[kind])
        weights.append(true)
    return float(np.average(each, weights=weights if average == "weighted" else None))


@pytest.mark.parametrize("kind", [Precision, Recall, F1])
@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_scores_of_classes(kind: Any, average: str) -> None:
    metric = kind(average)
    assert both(metric, LOGITS, LABELS) == pytest.approx(by_definition(metric.kind, average))


def test_scikit_learn_agrees() -> None:
    judge = pytest.importorskip("sklearn.metrics")
    for kind in (Precision, Recall, F1):
        for average in ("macro", "weighted", "micro"):
            score = getattr(judge, f"{kind.kind}_score")
            wanted = score(LABELS, LOGITS.argmax(1), average=average, zero_division=0)
            assert kind(average)(LOGITS, LABELS) == pytest.approx(wanted)
    assert AUC()(SCORES, BINARY) == pytest.approx(judge.roc_auc_score(BINARY, SCORES))
    assert R2()(NEAR, VALUES) == pytest.approx(judge.r2_score(VALUES, NEAR), rel=1e-5)


@pytest.mark.parametrize("kind", [Precision, Recall, F1])
def test_micro_averages_are_the_accuracy(kind: Any) -> None:
    accuracy = metrics.accuracy(LOGITS, LABELS).item()
    assert both(kind("micro"), LOGITS, LABELS) == pytest.approx(accuracy)


def test_the_mean_of_batches_is_another_number() -> None:
    parts = [F1()(LOGITS[i : i + 30], LABELS[i : i + 30]) for i in range(0, 300, 30)]
    assert abs(np.mean(parts) - F1()(LOGITS, LABELS)) > 1e-3


def test_auc_counts_pairs_and_ties_half() -> None:
    above = SCORES[BINARY == 1][:, None] - SCORES[BINARY == 0][None]
    wanted = ((above > 0) + 0.5 * (above == 0)).mean()
    assert both(AUC(), SCORES, BINARY) == pytest.approx(wanted)
    logits = np.stack([np.zeros(300, np.float32), SCORES], axis=1)
    assert both(AUC(), logits, BINARY) == pytest.approx(wanted)
    assert both(AUC(), SCORES[:, None], BINARY[:, None]) == pytest.approx(wanted)
    assert both(AUC(), logits, np.eye(2, dtype=np.float32)[BINARY]) == pytest.approx(wanted)
    assert np.isnan(AUC()(SCORES, np.ones(300, int)))
    with pytest.raises(ShapeError, match="one score, or logits of two classes"):
        AUC()(LOGITS, LABELS)


def test_metrics_of_numbers() -> None:
    error = (NEAR - VALUES).astype(np.float64)
    assert both(RMSE(), NEAR, VALUES) == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    wide = VALUES.astype(np.float64)
    explained = 1 - (error**2).sum(0) / ((wide - wide.mean(0)) ** 2).sum(0)
    assert both(R2(), NEAR, VALUES) == pytest.approx(explained.mean(), rel=1e-5)
    flat = np.ones((40, 1), np.float32)
    assert R2()(flat, flat) == 1
    assert R2()(flat + 1, flat) == 0
    with pytest.raises(ShapeError):
        RMSE()(VALUES, VALUES[:, 0])


@pytest.mark.parametrize("ignored", [None, 2])
def test_perplexity(ignored: int | None) -> None:
    logs = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    kept = np.ones(300, bool) if ignored is None else ignored != LABELS
    wanted = np.exp(-logs[np.arange(300), LABELS][kept].mean())
    found = both(Perplexity(ignored), LOGITS, LABELS)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_an_epoch_s_metric_is_that_of_all_its_rows() -> None:
    """With a learning rate of 0 the model stays the same, so that the epoch can be checked."""
    names = ["f1", "precision_weighted", "recall_micro", "perplexity"]
    model = nn.Sequential(nn.Linear(5, 5), seed=0)
    made = Trainer(model, optimizer="sgd", learning_rate=0.0, metrics=names)
    history = made.fit((LOGITS, LABELS), epochs=1, batch_size=20, validation=None)
    wanted = made.evaluate((LOGITS, LABELS))
    for name in ["loss", *names]:
        assert history[name][0] == pytest.approx(wanted[name], rel=1e-5)
    twice = Trainer(nn.Linear(5, 1), "mse", "sgd", learning_rate=0.0, metrics=["r2", "rmse"])
    targets = VALUES[:, :1]
    history = twice.fit((LOGITS, targets), epochs=1, batch_size=20, validation=None)
    wanted = twice.evaluate((LOGITS, targets))
    for name in ("r2", "rmse"):
        assert history[name][0] == pytest.approx(wanted[name], rel=1e-4)


def test_auc_of_an_epoch_and_as_a_monitor() -> None:
    x = np.stack([SCORES, RNG.normal(size=300).astype(np.float32)], axis=1)
    made = Trainer(nn.Linear(2, 2), optimizer="sgd", learning_rate=0.5, metrics=["auc"])
    history = made.fit((x, BINARY), epochs=4, batch_size=20, validation=0.3, monitor="auc")
    assert history.best_epoch == int(np.argmax(history["validation_auc"])) + 1
    assert history.higher_is_better


def test_own_metrics_tell_which_way_is_better() -> None:
    def hits(predictions: Any, targets: Any) -> Any:
        return (predictions.argmax(-1) == targets).astype("float32").mean()

    hits.higher_is_better = True  # type: ignore[attr-defined]
    made = Trainer(nn.Linear(5, 5), optimizer="sgd", learning_rate=0.1, metrics=[hits])
    history = made.fit((LOGITS, LABELS), epochs=5, batch_size=20, monitor="hits")
    assert history.best_epoch == int(np.argmax(history["validation_hits"])) + 1
    assert metrics.higher_is_better("f1_weighted")
    assert not metrics.higher_is_better("rmse")
    with pytest.raises(ArgumentError, match="did you mean 'micro'"):
        F1("micr")
