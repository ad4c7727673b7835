"""Training in mixed precision by ``fit``."""

from __future__ import annotations

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError


def test_fit_learns_in_bfloat16() -> None:
    """A run in bfloat16 learns as one in float32 does, by other numbers, and keeps its weights."""
    x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    labels = (x[:, 0] > x[:, 1]).astype(np.int64)
    ends = []
    for precision in ("float32", "bf16"):
        model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2), seed=0)
        history = tw.fit(model, (x, labels), epochs=15, batch_size=20, learning_rate=0.02,
                         progress=False, precision=precision)  # fmt: skip
        assert history["accuracy"][-1] > 0.9
        assert model[0].weight.dtype == tw.float32
        ends.append(model[0].weight.numpy())
    assert (ends[0] != ends[1]).any()


def test_unknown_precision() -> None:
    """The names are told."""
    with pytest.raises(ArgumentError, match="bf16"):
        tw.fit(nn.Linear(2, 2), (np.zeros((4, 2), np.float32), np.zeros(4, np.int64)),
               batch_size=2, validation=None, precision="int3")  # fmt: skip
