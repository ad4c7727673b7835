"""Clipping by value and by norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import optim
from thalweg.errors import ArgumentError

TREE = {"a": np.array([3.0, -0.5], np.float32), "b": [np.array([[-4.0], [0.0]], np.float32)]}
CLIPS = [optim.clip_by_value, optim.clip_by_norm, optim.clip_by_global_norm]


def norm(*arrays: Any) -> float:
    return float(np.sqrt(sum((np.asarray(a, np.float64) ** 2).sum() for a in arrays)))


def tree() -> Any:
    return {"a": tw.tensor(TREE["a"]), "b": [tw.tensor(TREE["b"][0])]}


def test_global_norm() -> None:
    assert optim.global_norm(tree()).item() == pytest.approx(norm(TREE["a"], TREE["b"][0]))
    large = tw.tensor([300.0, 400.0], dtype=tw.float16)  # its squares do not fit into float16
    assert optim.global_norm([large]).item() == pytest.approx(500.0)
    with pytest.raises(ArgumentError, match="holds no tensor"):
        optim.global_norm({})


def test_by_value() -> None:
    clipped = optim.clip_by_value(tree(), 1)
    np.testing.assert_array_equal(clipped["a"].numpy(), [1.0, -0.5])
    np.testing.assert_array_equal(clipped["b"][0].numpy(), [[-1.0], [0.0]])


def test_by_norm() -> None:
    clipped = optim.clip_by_norm(tree(), 3.5)
    np.testing.assert_array_equal(clipped["a"].numpy(), TREE["a"])
    np.testing.assert_allclose(clipped["b"][0].numpy(), [[-3.5], [0.0]], rtol=1e-6)


def test_by_global_norm() -> None:
    clipped = optim.clip_by_global_norm(tree(), 2.0)
    whole = norm(TREE["a"], TREE["b"][0])
    np.testing.assert_allclose(clipped["a"].numpy(), TREE["a"] * 2 / whole, rtol=1e-6)
    assert optim.global_norm(clipped).item() == pytest.approx(2.0)
    same = optim.clip_by_global_norm(tree(), 100.0)
    np.testing.assert_array_equal(same["a"].numpy(), TREE["a"])


@pytest.mark.parametrize("clip", CLIPS)
def test_zeros_dtypes_and_limits(clip: Any) -> None:
    assert not clip([tw.zeros(3)], 1.0)[0].numpy().any()
    for dtype in (tw.float16, tw.bfloat16, tw.float64):
        assert clip([tw.ones(3, dtype=dtype) * 5], 1.0)[0].dtype is dtype
    assert np.isnan(clip([tw.tensor([np.nan, 1.0])], 1.0)[0].numpy()[0])
    for wrong in (0, -1.0, float("nan"), "1"):
        with pytest.raises(ArgumentError, match="limit is"):
            clip([tw.zeros(3)], wrong)
