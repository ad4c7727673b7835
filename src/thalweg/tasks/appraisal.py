"""What a network is worth: figures on rows that it never saw, beside what is simpler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

import numpy as np

from thalweg.tasks.run import Run
from thalweg.tasks.task import Problem, Rows, Task, probabilities
from thalweg.train import History

__all__ = ["appraise", "figures_of_classes", "figures_of_numbers", "figures_of_outputs"]

Array = np.ndarray[Any, Any]
_DRAWS: Final = 500  # bootstrap samples
_WORST: Final = 12  # rows shown
_BINS: Final = 10  # of the calibration
_LARGE: Final = 4_000  # rows on which the importance of inputs is measured
_MOST: Final = 300  # inputs whose importance is measured, the most promising ones


def appraise(run: Run, problem: Problem, history: History) -> dict[str, Any]:
    """Return all that the report tells of a run, as JSON can hold it.

    ``figures``: on the test rows, each with the interval that holds 95 % of bootstrap samples and
    with the same figure of the naive answer. ``history``, ``verdict``: how training went.
    """
    own = run.task.appraise(run, problem, history)
    if own is not None:
        return own
    task, test = run.task, problem.test
    outputs = run.outputs(test)
    assert test.truth is not None
    assert problem.training.truth is not None
    made: dict[str, Any] = {
        "kind": task.kind,
        "classes": list(task.classes),
        "targets": list(task.targets),
        "rows": {
            "training": len(problem.training), "validation": len(problem.validation),
            "test": len(test),
        },
        "history": asdict(history),
        "verdict": {"kind": history.verdict().kind, "text": str(history.verdict())},
    }  # fmt: skip
    if task.kind == "classes":
        made |= _of_classes(outputs, test, problem.training.truth, len(task.classes))
    else:
        made |= _of_numbers(run, outputs, test, problem.training.truth)
    made["importance"] = _importance(run, test)
    return made


def figures_of_outputs(task: Task, outputs: Array, truth: Array) -> dict[str, float]:
    """Return the usual figures of what a network gave for rows whose targets are known."""
    if task.kind == "classes":
        return figures_of_classes(probabilities(outputs), truth)
    return figures_of_numbers(task.numbers(outputs), task.numbers(truth))


def figures_of_classes(shares: Array, labels: Array) -> dict[str, float]:
    """Return the usual figures of probabilities (n, classes) for labels (n,).

    >>> figures_of_classes(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))["accuracy"]
    1.0
    """
    best = shares.argmax(axis=1)
    present = np.unique(labels)
    recalls = [float((best[labels == c] == c).mean()) for c in present]
    own = np.clip(shares[np.arange(len(labels)), labels], 1e-12, 1)
    made = {
        "accuracy": float((best == labels).mean()),
        "balanced accuracy": float(np.mean(recalls)),
        "log loss": float(-np.log(own).mean()),
    }
    if shares.shape[1] == 2 and len(present) == 2:
        made["AUC"] = _auc(shares[:, 1], labels)
    return made


def figures_of_numbers(predicted: Array, truth: Array) -> dict[str, float]:
    """Return the usual figures of predicted numbers (n, targets); R2 is averaged over targets.

    R2 of a target that has one value only is 1 where it is predicted exactly, else 0.

    >>> figures_of_numbers(np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]))["MAE"]
    0.5
    """
    apart = predicted - truth
    largest = max(float(np.abs(apart).max()), np.finfo(float).tiny)  # squares must not overflow
    # Each target in a unit of its own, for the same reason.
    unit = np.maximum(np.abs(truth).max(axis=0), np.finfo(float).tiny)
    spread = np.square((truth - truth.mean(axis=0)) / unit).mean(axis=0)
    left = np.square(apart / unit).mean(axis=0)
    varied = (truth != truth[0]).any(axis=0) & (spread > 0)
    share = np.where(varied, 1 - left / np.where(varied, spread, 1), left == 0)
    return {
        "RMSE": float(np.sqrt(np.square(apart / largest).mean()) * largest),
        "MAE": float(np.abs(apart).mean()),
        "R2": float(share.mean()),
    }


def _auc(scores: Array, labels: Array) -> float:
    """Return the share of pairs of both classes that are in the right order; ties count half."""
    values, place = np.unique(scores, return_inverse=True)
    ones = np.bincount(place, labels == 1, len(values))
    zeros = np.bincount(place, labels == 0, len(values))
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / (ones.sum() * zeros.sum()))


def _with_intervals(
    figures: Callable[[Array], dict[str, float]], groups: Array, naive: dict[str, float]
) -> list[dict[str, Any]]:
    """Return each figure with a bootstrap interval and that of the naive answer.

    ``groups`` (n,): rows are drawn within their group, such as their class, so that no sample
    lacks a class.
    """
    source = np.random.default_rng(0)
    parts = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    draws = [
        figures(np.concatenate([source.choice(part, len(part)) for part in parts]))
        for _ in range(_DRAWS)
    ]
    told = []
    for name, value in figures(np.arange(len(groups))).items():
        samples = [d[name] for d in draws if name in d]
        low, high = np.quantile(samples, [0.025, 0.975]) if samples else (value, value)
        told.append({"name": name, "value": value, "low": float(low), "high": float(high),
                     "naive": naive.get(name)})  # fmt: skip
    return told


def _of_classes(outputs: Array, test: Rows, training: Array, classes: int) -> dict[str, Any]:
    labels = np.asarray(test.truth)
    shares = probabilities(outputs)
    prior = (np.bincount(training, minlength=classes) + 1e-9) / len(training)
    naive = figures_of_classes(np.tile(prior, (len(labels), 1)), labels)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, shares.argmax(axis=1)), 1)
    own = shares[np.arange(len(labels)), labels]
    worst = np.argsort(own, kind="stable")[:_WORST]
    return {
        "figures": _with_intervals(
            lambda rows: figures_of_classes(shares[rows], labels[rows]), labels, naive
        ),
        "naive": "the shares of the classes in the training rows, for every row",
        "counts": np.bincount(training, minlength=classes).tolist(),
        "confusion": confusion.tolist(),
        "calibration": _calibration(shares, labels),
        "worst": [
            _shown(test, int(i)) | {
                "truth": int(labels[i]), "prediction": int(shares[i].argmax()),
                "probability": float(own[i]),
            }
            for i in worst if shares[i].argmax() != labels[i]
        ],
    }  # fmt: skip


def _calibration(shares: Array, labels: Array) -> dict[str, Any]:
    """Return, for bins of the largest probability, how sure and how often right."""
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    place = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    count = np.bincount(place, minlength=_BINS)
    there = np.maximum(count, 1)
    mean = np.bincount(place, sure, _BINS) / there
    hit = np.bincount(place, right, _BINS) / there
    error = float((np.abs(mean - hit) * count).sum() / count.sum())
    return {"count": count.tolist(), "sure": mean.tolist(), "right": hit.tolist(), "error": error}


def _of_numbers(run: Run, outputs: Array, test: Rows, training: Array) -> dict[str, Any]:
    predicted = run.task.numbers(outputs)
    truth = run.task.numbers(np.asarray(test.truth))
    middle = run.task.numbers(training).mean(axis=0)
    naive = figures_of_numbers(np.tile(middle, (len(truth), 1)), truth)
    apart = np.abs(predicted - truth).mean(axis=1)
    shown = np.random.default_rng(0).permutation(len(truth))[:1000]
    return {
        "figures": _with_intervals(
            lambda rows: figures_of_numbers(predicted[rows], truth[rows]), np.zeros(len(truth)),
            naive,
        ),
        "naive": "the mean of the training rows, for every row",
        "points": {"truth": truth[shown].tolist(), "prediction": predicted[shown].tolist()},
        "worst": [
            _shown(test, int(i))
            | {"truth": truth[i].tolist(), "prediction": predicted[i].tolist()}
            for i in np.argsort(-apart, kind="stable")[:_WORST]
        ],
    }


def _shown(rows: Rows, row: int) -> dict[str, Any]:
    shown = rows.show(row)
    return {"place": rows.place(row), "shown": shown}


def _importance(run: Run, test: Rows) -> list[dict[str, Any]]:
    """Return how much worse the loss gets when an input is shuffled among the rows.

    Of more than 300 inputs only the first ones that the task names are measured.
    """
    part = test.take(np.random.default_rng(1).permutation(len(test))[:_LARGE])
    before = _loss(run, part)
    found = [
        {"name": name, "worse": _loss(run, changed) - before}
        for name, changed in islice(run.task.importance(part), _MOST)
    ]
    return sorted(found, key=lambda entry: -float(entry["worse"]))


def _loss(run: Run, rows: Rows) -> float:
    outputs, truth = run.outputs(rows), np.asarray(rows.truth)
    if run.task.kind == "classes":
        own = probabilities(outputs)[np.arange(len(truth)), truth]
        return float(-np.log(np.clip(own, 1e-12, 1)).mean())
    return float(np.square(np.asarray(outputs).reshape(truth.shape) - truth).mean())
