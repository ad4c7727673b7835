"""Random programs give the same compiled as eager, twice in a row, with state in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.backends.llvm.random_programs import Drawn
from tests.backends.llvm.test_native import WIDTHS

import thalweg as tw
from thalweg.backends.llvm import compile as stages
from thalweg.settings import settings

PROGRAMS, EACH = 8, 8


def check(program: Drawn, message: str) -> None:
    """Compare two calls."""
    bound = 1e-8 if program.dtype == "float64" else 3e-4
    states = [tw.tensor(s) for s in program.states]
    inputs = [tw.tensor(i) for i in program.inputs]

    @tw.compile
    def step(*inputs: Any) -> Any:
        new, out = program.run(states, list(inputs))
        for state, value in zip(states, new, strict=True):
            state.assign(value)
        return out

    known = [tw.tensor(s) for s in program.states]
    for _ in range(2):
        new, wanted = program.run(known, inputs)
        known = [tw.tensor(v.numpy()) for v in new]
        got = step(*inputs)
        for w, g in zip([*wanted, *known], [*got, *states], strict=True):
            scale = max(1.0, float(np.abs(w.numpy()).max(initial=0)))
            np.testing.assert_allclose(g.numpy(), w.numpy(), bound, bound * scale, True, message)


@pytest.mark.parametrize("first", range(0, PROGRAMS * EACH, EACH))
def test_random_programs(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "worthwhile_threads", lambda schedule, threads: threads)
    monkeypatch.setattr(settings, "cache", False)
    for seed in range(first, first + EACH):
        settings.vector, settings.threads = WIDTHS[seed % len(WIDTHS)], 1 + seed % 3
        check(Drawn(seed, 20 + seed % 3 * 10), f"seed {seed}")
