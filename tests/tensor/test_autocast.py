"""Mixed precision: what is rounded, what is not, and that compiled programs keep apart."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError

source = np.random.default_rng(3)
A = source.normal(size=(17, 33)).astype(np.float32)
B = source.normal(size=(33, 9)).astype(np.float32)


def rounded(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to bfloat16."""
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.mark.parametrize("compiled", [False, True])
def test_operands_are_rounded_and_sums_are_not(compiled: bool) -> None:
    """A product of rounded operands, accumulated in float32, rounded once."""
    product = tw.compile(lambda a, b: a @ b) if compiled else lambda a, b: a @ b
    with tw.autocast("bfloat16"):
        y = product(tw.tensor(A), tw.tensor(B))
    wanted = rounded(A).astype(np.float64) @ rounded(B).astype(np.float64)
    assert y.dtype == tw.float32
    np.testing.assert_allclose(y.numpy(), wanted, rtol=2**-7, atol=1e-3)
    assert (y.numpy() == rounded(y.numpy())).all()


def test_a_compiled_function_is_compiled_for_each_precision() -> None:
    """The same function inside and outside of autocast gives different bits."""
    product = tw.compile(lambda a, b: a @ b)
    a, b = tw.tensor(A), tw.tensor(B)
    full = [product(a, b).numpy() for _ in range(3)]
    with tw.autocast():
        low = [product(a, b).numpy() for _ in range(3)]
        with tw.autocast(enabled=False):
            assert (product(a, b).numpy() == full[0]).all()
        with tw.autocast("float32"):
            assert (product(a, b).numpy() == full[0]).all()
    assert (product(a, b).numpy() == full[0]).all()
    assert all((x == low[0]).all() for x in low)
    assert (full[0] != low[0]).any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_training_keeps_float32_weights(dtype: str) -> None:
    """Gradients are close to those in float32, and weights stay float32."""
    model = nn.Sequential(nn.Linear(33, 16), nn.ReLU(), nn.Linear(16, 4), seed=0)
    labels = tw.tensor(np.arange(17) % 4)

    def loss(m: nn.Module, x: tw.Tensor) -> tw.Tensor:
        return nn.losses.cross_entropy(m(x), labels)

    step = tw.compile(tw.value_and_grad(loss))
    exact, grads = step(model, tw.tensor(A))
    with tw.autocast(dtype):
        value, low = step(model, tw.tensor(A))
    assert abs(value.item() - exact.item()) < 0.02
    for name, g in low.items():
        assert g.dtype == tw.float32
        scale = np.abs(grads[name].numpy()).max()
        assert np.abs(g.numpy() - grads[name].numpy()).max() < 0.05 * scale


def test_other_types_stay() -> None:
    """Only float32 is rounded; unknown types are refused."""
    a, b = tw.tensor(A, dtype="float64"), tw.tensor(B, dtype="float64")
    with tw.autocast():
        assert ((a @ b).numpy() == (a.numpy() @ b.numpy())).all()
    with pytest.raises(ArgumentError, match=r"bfloat16.*test_autocast\.py"), tw.autocast("int8"):
        pass
