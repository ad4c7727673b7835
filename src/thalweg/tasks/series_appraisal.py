"""What forecasts are worth: figures on later steps, beside the last value and the last season."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from thalweg.tasks.run import Run
from thalweg.tasks.task import Problem, Rows
from thalweg.train import History

__all__ = ["appraise_series", "figures_of_series"]

Array = np.ndarray[Any, Any]
_DRAWS: Final = 500  # bootstrap samples
_WORST: Final = 12  # forecasts shown
_POINTS: Final = 1000
_LARGE: Final = 2_000  # windows on which the importance of columns is measured


def appraise_series(run: Run, problem: Problem, history: History) -> dict[str, Any]:
    """Return all that the report tells of a forecasting run, as JSON can hold it.

    As ``appraise``, with ``"season"`` (steps), ``"baselines"`` (the figures of both naive
    forecasts), ``"by_target"`` (figures of each column) and ``"forecast"``: of each target dates,
    truth, prediction and naive forecast of the last test window, and what came before.
    """
    task: Any = run.task
    test, told = problem.test, task.learned
    shape = (len(test), told.horizon, len(task.targets))
    predicted = task.numbers(run.outputs(test)).reshape(shape)
    truth = task.numbers(np.asarray(test.truth)).reshape(shape)
    unit, middle = (x[: len(task.targets)] for x in (told.deviation, told.mean))
    past = test.inputs[0][:, :, : len(task.targets)].astype(np.float64) * unit + middle
    simple = dict(_naive_forecasts(past, told.horizon, told.season))
    errors = {name: figures_of_series(made, truth, told.naive) for name, made in simple.items()}
    best = min(errors, key=lambda name: errors[name]["RMSE"])
    return {
        "kind": task.kind, "classes": [], "targets": list(task.targets),
        "rows": {"training": len(problem.training), "validation": len(problem.validation),
                 "test": len(test)},
        "history": asdict(history),
        "verdict": {"kind": history.verdict().kind, "text": str(history.verdict())},
        "season": told.season, "frequency": told.frequency.words, "horizon": told.horizon,
        "figures": _with_intervals(predicted, truth, told.naive, errors[best]),
        "naive": f"{best}, for every step; the better one of {' and '.join(simple)}"
                 if len(simple) > 1 else f"{best}, for every step",
        "baselines": errors,
        "by_target": _by_target(task.targets, predicted, truth, simple[best], told.naive),
        "points": _points(predicted, truth),
        "worst": _worst(test, predicted, truth),
        "forecast": _last(test, task.targets, past, predicted, truth, simple[best]),
        "importance": _importance(run, test),
    }  # fmt: skip


def figures_of_series(predicted: Array, truth: Array, naive: Array) -> dict[str, float]:
    """Return the figures of forecasts (n, horizon, targets) in the unit of their columns.

    RMSE and MAE are over all columns; R2 is averaged over them. MASE: the mean absolute error of
    each column in parts of ``naive`` (targets,), how far the value one season before is off in the
    training part; averaged over them. R. J. Hyndman and A. B. Koehler, "Another look at measures of
    forecast accuracy" (2006), doi:10.1016/j.ijforecast.2006.03.001.

    >>> figures_of_series(np.ones((1, 2, 1)), np.array([[[1.0], [3.0]]]), np.array([2.0]))["MASE"]
    0.5
    """
    return _figures(_sums(predicted, truth), np.arange(len(truth)), truth.shape[1], naive)


def _sums(predicted: Array, truth: Array) -> Array:
    """Return of each window the sums over its steps from which figures are made: (4, n, targets).

    Thousands of bootstrap samples then cost no more than thousands of windows.
    """
    apart, middle = predicted - truth, truth - truth.mean(axis=(0, 1))
    parts = (np.square(apart), np.abs(apart), middle, np.square(middle))
    return np.stack([p.sum(axis=1) for p in parts])


def _figures(sums: Array, windows: Array, horizon: int, naive: Array) -> dict[str, float]:
    count = len(windows) * horizon
    squares, distances, total, spread = sums[:, windows].sum(axis=1) / count  # (targets,) each
    variance = spread - np.square(total)
    return {
        "RMSE": float(np.sqrt(squares.mean())),
        "MAE": float(distances.mean()),
        "R2": float((1 - squares / np.where(variance > 0, variance, 1)).mean()),
        "MASE": float((distances / naive).mean()),
    }


def _with_intervals(
    predicted: Array, truth: Array, naive: Array, simple: dict[str, float]
) -> list[dict[str, Any]]:
    """Return each figure with the interval of block-bootstrap samples.

    Forecasts from neighbouring steps share most of what they are compared with: drawn one by one,
    they would make the intervals look far too narrow. H. R. Künsch, "The jackknife and the
    bootstrap for general stationary observations" (1989), doi:10.1214/aos/1176347265.
    """
    windows, horizon = truth.shape[:2]
    sums, block = _sums(predicted, truth), max(1, min(horizon, windows // 3))
    source = np.random.default_rng(0)
    draws = []
    for _ in range(_DRAWS):
        first = source.integers(0, windows - block + 1, -(-windows // block))
        drawn = (first[:, None] + np.arange(block)).ravel()[:windows]
        draws.append(_figures(sums, drawn, horizon, naive))
    told = []
    for name, value in _figures(sums, np.arange(windows), horizon, naive).items():
        low, high = np.quantile([d[name] for d in draws], [0.025, 0.975])
        told.append({"name": name, "value": value, "low": float(low), "high": float(high),
                     "naive": simple[name]})  # fmt: skip
    return told


def _naive_forecasts(past: Array, horizon: int, season: int) -> Iterator[tuple[str, Array]]:
    """Yield what needs no learning: its name, and forecasts (n, horizon, targets)."""
    yield "the last value", np.repeat(past[:, -1:], horizon, axis=1)
    if season > 1:
        places = past.shape[1] - season + np.arange(horizon) % season
        yield f"the value one season ({season} steps) before", past[:, places]


def _by_target(
    targets: tuple[str, ...], predicted: Array, truth: Array, simple: Array, naive: Array
) -> list[dict[str, Any]]:
    made = []
    for i, name in enumerate(targets):
        own = (truth[:, :, i : i + 1], naive[i : i + 1])
        figures = figures_of_series(predicted[:, :, i : i + 1], *own)
        made.append({"target": name, "figures": figures,
                     "naive": figures_of_series(simple[:, :, i : i + 1], *own)})  # fmt: skip
    return made


def _points(predicted: Array, truth: Array) -> dict[str, Any]:
    flat = truth.reshape(-1, truth.shape[-1])
    shown = np.random.default_rng(0).permutation(len(flat))[:_POINTS]
    return {"truth": flat[shown].tolist(),
            "prediction": predicted.reshape(flat.shape)[shown].tolist()}  # fmt: skip


def _worst(test: Rows, predicted: Array, truth: Array) -> list[dict[str, Any]]:
    """Return of the worst forecasts the worst step; of those that overlap only one."""
    horizon = truth.shape[1]
    # Columns count by their own spread: else those of large numbers would be all that is shown.
    unit = np.maximum(truth.std(axis=(0, 1)), 1e-12)
    apart = (np.abs(predicted - truth) / unit).mean(axis=2)  # (n, horizon)
    free = np.ones(len(truth), bool)
    made: list[dict[str, Any]] = []
    for row in np.argsort(-apart.max(axis=1), kind="stable"):
        if len(made) == _WORST:
            break
        if not free[row]:
            continue
        free[max(0, row - horizon + 1) : row + horizon] = False
        step = int(apart[row].argmax())
        dates = test.dates(int(row)) if hasattr(test, "dates") else []
        shown = test.show(int(row)) | ({"at": dates[step]} if dates else {})
        made.append({
            "place": f"{test.place(int(row))}, step {step + 1}", "shown": shown,
            "truth": truth[row, step].tolist(), "prediction": predicted[row, step].tolist(),
        })  # fmt: skip
    return made


def _last(
    test: Rows, targets: tuple[str, ...], past: Array, predicted: Array, truth: Array, simple: Array
) -> list[dict[str, Any]]:
    row = len(test) - 1
    dates = test.dates(row) if hasattr(test, "dates") else []
    return [
        {
            "target": name, "dates": dates, "past": past[row, :, i].tolist(),
            "truth": truth[row, :, i].tolist(), "prediction": predicted[row, :, i].tolist(),
            "naive": simple[row, :, i].tolist(),
        }
        for i, name in enumerate(targets)
    ]  # fmt: skip


def _importance(run: Run, test: Rows) -> list[dict[str, Any]]:
    """Return how much worse the squared error gets when a column is shuffled among windows."""
    part = test.take(np.random.default_rng(1).permutation(len(test))[:_LARGE])

    def loss(rows: Rows) -> float:
        return float(np.square(run.outputs(rows) - np.asarray(rows.truth)).mean())

    before = loss(part)
    made = [{"name": name, "worse": loss(changed) - before}
            for name, changed in run.task.importance(part)]  # fmt: skip
    return sorted(made, key=lambda entry: -float(str(entry["worse"])))
