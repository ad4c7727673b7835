"""Convolutions on 16-bit operands: nothing is converted once for each window that shows it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import thalweg as tw
from thalweg.backends.llvm.loops import Schedule
from thalweg.backends.llvm.schedule import plan as planning

rng = np.random.default_rng(7)


def rounded(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to bfloat16."""
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def gradients(x: tw.Tensor, w: tw.Tensor, g: tw.Tensor, **how: int) -> tuple[tw.Tensor, tw.Tensor]:
    """Return both gradients of a convolution whose result has the cotangent ``g``."""
    return tw.grad(lambda a, b: (tw.conv(a, b, **how) * g).sum(), argnums=(0, 1))(x, w)


CASES = [{"padding": 1}, {"padding": 1, "stride": 2}, {"padding": 2, "dilation": 2}]


@pytest.mark.parametrize("how", CASES, ids=str)
def test_gradients_are_those_of_rounded_operands(how: dict[str, int]) -> None:
    """Each operand is rounded; sums over all windows are made in float32 and rounded once."""
    x = rng.normal(size=(2, 9, 9, 20)).astype(np.float32)
    w = rng.normal(size=(3, 3, 20, 24)).astype(np.float32)
    shape = tw.conv(tw.tensor(x), tw.tensor(w), **how).shape
    g = rng.normal(size=shape).astype(np.float32)
    exact = gradients(*(tw.tensor(rounded(v)) for v in (x, w, g)), **how)
    compiled = tw.compile(lambda *a: gradients(*a, **how))
    with tw.autocast("bfloat16"):
        found = compiled(tw.tensor(x), tw.tensor(w), tw.tensor(g))
    for one, two in zip(found, exact, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=2**-7, atol=2e-2)
        assert (one.numpy() == rounded(one.numpy())).mean() == 1


def test_windows_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """No buffer has the nine copies of the input that its windows show."""
    seen: list[Schedule] = []
    run = planning.Scheduler.run

    def noted(self: planning.Scheduler) -> Schedule:
        seen.append(run(self))
        return seen[-1]

    monkeypatch.setattr(planning.Scheduler, "run", noted)
    monkeypatch.setattr(tw.settings, "cache", False)
    x = tw.tensor(rng.normal(size=(2, 23, 23, 32)).astype(np.float32))
    w = tw.tensor(rng.normal(size=(3, 3, 32, 40)).astype(np.float32))
    compiled = tw.compile(lambda a, b: gradients(a, b, a.sum(), padding=1))
    with tw.autocast("bfloat16"):
        compiled(x, w)
    largest = max(b.nbytes for s in seen for step in s.steps for b in step.writes)
    assert largest < 2 * 4 * x.size
