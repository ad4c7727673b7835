"""The learning-rate finder: it finds a rate that trains, and leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, NumericsError
from thalweg.train import Trainer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2),
                         nn.Linear(16, 2), seed=0)  # fmt: skip


def everything(trainer: Trainer) -> list[Any]:
    parts = [trainer.model.state_dict(), trainer.optimizer.state_dict()]
    if trainer.recipe.average is not None:
        parts.append(trainer.recipe.average.state_dict())
    told = [(k, v.tobytes()) for part in parts for k, v in part.items()]
    generator = tw.random.default
    return [*told, generator.key.tolist(), generator.count.item(), trainer.optimizer.schedule]


@pytest.mark.parametrize("rate", [0.01, optim.cosine(0.1, steps=100)], ids=["number", "schedule"])
def test_it_leaves_no_trace(rate: Any) -> None:
    trainer = Trainer(network(), learning_rate=rate, ema=0.9)
    other = Trainer(network(), learning_rate=rate, ema=0.9)
    before = everything(trainer)
    found = trainer.find_learning_rate((X, Y), batch_size=32, steps=40)
    assert everything(trainer) == before
    assert trainer.model.training
    assert len(found.rates) == len(found.losses) >= 3
    a = trainer.fit((X, Y), epochs=2, batch_size=32)
    b = other.fit((X, Y), epochs=2, batch_size=32)
    assert a["loss"] == b["loss"]
    assert everything(trainer)[:-3] == everything(other)[:-3]


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_suggestion_trains_and_follows_the_scale(scale: float) -> None:
    targets = X[:, :1] * 3 + 1
    trainer = Trainer(nn.Linear(4, 1), "mse", "sgd", learning_rate=1e-9)
    found = trainer.find_learning_rate((X * scale, targets), batch_size=32, smallest=1e-7)
    assert 1e-3 / scale**2 < found.suggestion < 1 / scale**2
    again = Trainer(nn.Linear(4, 1), "mse", "sgd", learning_rate=found.suggestion)
    history = again.fit((X * scale, targets), epochs=20, batch_size=32)
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert not history.findings


def test_what_makes_no_sense_is_refused() -> None:
    trainer = Trainer(network())
    with pytest.raises(ArgumentError, match="wanted 0 < smallest < largest"):
        trainer.find_learning_rate((X, Y), smallest=1.0, largest=0.1)
    with pytest.raises(ArgumentError, match="at least 10 steps"):
        trainer.find_learning_rate((X, Y), steps=3)
    huge = Trainer(nn.Linear(4, 1), "mse", "sgd", learning_rate=0.1)
    before = everything(huge)
    with pytest.raises(NumericsError, match="not finite at the learning rate"):
        huge.find_learning_rate((X * 1e18, X[:, :1] * 1e18), batch_size=32, smallest=1.0)
    assert everything(huge) == before
