"""Chains of kernels that go through a batch slice by slice."""

from __future__ import annotations

from typing import Any

import numpy as np

import thalweg as tw
from thalweg.backends.llvm.schedule.slices import _levels
from thalweg.settings import settings


def test_chains_that_would_wait_for_each_other_are_no_chains() -> None:
    crossed = [set(), set(), {0, 1}, {0, 1}]
    assert _levels(crossed, [[0, 2], [1, 3]]) is None
    assert _levels(crossed, [[0, 2]]) == [1, 0, 1, 2]
    assert _levels(crossed, []) == [0, 0, 1, 1]


def test_one_example_goes_through_its_heads() -> None:
    """An axis of one element before the heads changes nothing."""
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal((1, 40, 16, 8)).astype(np.float32) for _ in range(3)]

    def attend(q: Any, k: Any, v: Any) -> Any:
        return tw.scaled_dot_product_attention(q, k, v, causal=True)

    settings.threads = 2
    step = tw.compile(attend)
    wanted = attend(*map(tw.tensor, arrays)).numpy()
    np.testing.assert_allclose(step(*arrays).numpy(), wanted, atol=2e-6)
    assert "in chain 1 of 16 slices" in step.explain(*arrays)
