"""What goes wrong is noticed and said: NaN, rising losses, dead ReLUs, overfitting."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import NumericsError
from thalweg.train import Events, History, Run, Trainer, dead_units, fit

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64)


def quick(model: nn.Module, data: Any, **options: Any) -> History:
    return fit(model, data, **{"epochs": 4, "batch_size": 32, "progress": False, **options})


def test_a_run_that_diverges_slowly_is_told_from_one_that_breaks_at_once() -> None:
    with pytest.raises(NumericsError, match=r"It grew from about .* the run diverged.*plain"):
        quick(nn.Linear(4, 1), (X, X[:, :1]), loss="mse", optimizer="sgd", learning_rate=1.5,
              epochs=60)  # fmt: skip

    targets = np.zeros((300, 1), np.float32)
    targets[np.random.default_rng([0, 1]).permutation(300)[280]] = 1  # near the end of the epoch

    def broken(predictions: Any, goal: Any) -> Any:
        return tw.mean(predictions**2) + tw.where(tw.max(goal) > 0, tw.full((), np.nan), 0.0)

    with pytest.raises(NumericsError, match="just before, so that this came in one step"):
        quick(nn.Linear(4, 1), (X, targets), loss=broken, optimizer="sgd", learning_rate=1e-3,
              validation=None)  # fmt: skip


def test_the_step_and_epoch_of_a_nan_are_named() -> None:
    """Whatever the steps are grouped to: the order of rows says in which step the bad one is."""
    targets = np.zeros((320, 1), np.float32)
    targets[100] = 1

    def poisoned(predictions: Any, goal: Any) -> Any:
        return tw.mean(predictions**2) + tw.where(tw.max(goal) > 0, tw.full((), np.inf), 0.0)

    order = np.random.default_rng([0, 1]).permutation(320).reshape(-1, 32)
    step = int(np.flatnonzero((order == 100).any(axis=1))[0]) + 1
    with pytest.raises(NumericsError, match=f"became inf in epoch 1, step {step}\\."):
        quick(nn.Linear(4, 1), (np.ones((320, 4), np.float32), targets), loss=poisoned,
              optimizer="sgd", learning_rate=1e-3, validation=None)  # fmt: skip


def test_a_rising_loss_is_noticed_and_logged(caplog: Any) -> None:
    class Worsen(Events):
        def on_epoch_end(self, run: Run) -> None:
            run.model.weight.assign(run.model.weight.numpy() + 5.0 * run.epoch)

    with caplog.at_level(logging.WARNING, logger="thalweg.train"):
        made = Trainer(nn.Linear(4, 1), "mse", "sgd", learning_rate=1e-3, events=[Worsen()])
        history = made.fit((X, X[:, :1]), epochs=4, batch_size=32)
    assert [f["kind"] for f in history.findings] == ["rising"]
    assert "learning rate (0.001) is probably too high" in caplog.text
    assert history.verdict().kind == "diverging"
    assert "noticed: the loss rose" in str(history.verdict())


def test_progress_writes_what_is_noticed(capfd: Any) -> None:
    class Worsen(Events):
        def on_epoch_end(self, run: Run) -> None:
            run.model.weight.assign(run.model.weight.numpy() + 5.0 * run.epoch)

    fit(nn.Linear(4, 1), (X, X[:, :1]), loss="mse", optimizer="sgd", learning_rate=1e-3,
        epochs=4, batch_size=32, events=[Worsen()])  # fmt: skip
    assert capfd.readouterr().err.count("noticed: the loss rose") == 1


def test_dead_relus_are_found() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2),
                          seed=0)  # fmt: skip
    bias = np.zeros(8, np.float32)
    bias[:6] = -1e3
    model[2].bias.assign(bias)
    shares = dead_units(model, X)
    assert shares["3"] >= 0.75
    assert shares["1"] < 0.75
    assert model.training
    model[2].bias.assign(np.full(8, -1e3, np.float32))
    history = quick(model, (X, RNG.integers(0, 2, 300)), optimizer="sgd", learning_rate=1e-4)
    assert [f["kind"] for f in history.findings] == ["stuck"]
    assert "100% of the units of the ReLU '3' are 0" in history.findings[0]["text"]


def test_images_and_layers_that_are_used_twice() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(1, 3, 3), shared, nn.Flatten(), nn.Linear(27, 4), shared)
    assert set(dead_units(model, RNG.normal(size=(8, 5, 5, 1)).astype(np.float32))) == {"1"}


def test_a_run_that_goes_well_has_no_findings() -> None:
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2), seed=0)
    history = quick(model, (X, Y), epochs=10, learning_rate=0.01)
    assert history.findings == []
    assert History.from_json(history.to_json()) == history


def test_overfitting_is_seen_with_its_epoch() -> None:
    """A large network learns random labels by heart: the validation loss rises from the start."""
    labels = RNG.integers(0, 2, 120)
    model = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 2), seed=0)
    history = quick(model, (X[:120], labels), epochs=60, learning_rate=0.02, batch_size=16,
                    validation=0.3)  # fmt: skip
    verdict = history.verdict()
    assert verdict.kind == "overfitting"
    assert verdict.since == history.best_epoch
    assert verdict.gap is not None
    assert verdict.gap > 0.3
    assert "early_stopping" in verdict.tries[0]


@pytest.mark.parametrize(
    ("kind", "loss", "held"),
    [
        ("fitting", [2.0, 1.0, 0.5, 0.31, 0.3, 0.3], [1.6, 0.8, 0.4, 0.33, 0.33, 0.33]),
        ("overfitting", [2.0, 1.0, 0.5, 0.3, 0.2, 0.1], [1.6, 0.9, 0.8, 0.85, 0.9, 1.0]),
        ("overfitting", [2.0, 1.0, 0.5, 0.2, 0.05, 0.01], [1.6, 0.9, 0.6, 0.6, 0.6, 0.6]),
        ("underfitting", [2.0, 1.9, 1.88, 1.88, 1.88], [2.0, 1.9, 1.89, 1.89, 1.89]),
        ("diverging", [2.0, 1.0, 0.5, 0.9, 2.5], [2.0, 1.0, 0.5, 0.9, 2.5]),
        ("still learning", [2.0, 1.5, 1.2, 1.0, 0.8], [1.9, 1.5, 1.25, 1.05, 0.9]),
        ("unknown", [2.0, 1.0, 0.5, 0.3], []),
        ("unknown", [2.0, 1.0], [2.0, 1.0]),
        ("unknown", [], []),
        ("diverging", [1.0, 0.5, float("nan")], [1.0, 0.5, 0.4]),
        ("diverging", [float("inf")] * 3, [1.0] * 3),
        ("unknown", [1.0, 0.5, 0.4], [1.0, 0.5, float("nan")]),
    ],
)
def test_verdicts_of_curves(kind: str, loss: list[float], held: list[float]) -> None:
    metrics = {"loss": loss, **({"validation_loss": held} if held else {})}
    verdict = History(metrics).verdict()
    assert verdict.kind == kind
    assert str(verdict).startswith(f"{kind}: ")
    assert bool(verdict.tries) == (kind != "fitting")


@pytest.mark.parametrize("seed", range(5))
def test_a_validation_that_only_wavers_does_not_overfit(seed: int) -> None:
    """The least of many noisy epochs lies below the rest, and the last one above, by chance."""
    epochs = np.arange(60)
    wavers = 0.0022 * np.random.default_rng(seed).normal(size=60)
    held = 0.022 + 0.05 * 0.5**epochs + np.abs(wavers)
    losses = 0.04 + 0.6 * 0.8**epochs
    metrics = {"loss": losses.tolist(), "validation_loss": held.tolist()}
    assert History(metrics).verdict().kind == "fitting"
    rising = held + 0.0004 * np.maximum(epochs - 20, 0)
    metrics["validation_loss"] = rising.tolist()
    assert History(metrics).verdict().kind == "overfitting"


def test_a_loss_that_is_nearly_nothing_may_waver() -> None:
    """A network that has learned all rows does not diverge because 0.002 became 0.005."""
    losses = [0.96, 0.2, 0.02, 0.002, 0.005]
    held = [0.9, 0.2, 0.01, 0.001, 0.001]
    assert History({"loss": losses, "validation_loss": held}).verdict().kind != "diverging"
    risen = [*losses[:-1], 0.5]
    assert History({"loss": risen, "validation_loss": held}).verdict().kind == "diverging"
