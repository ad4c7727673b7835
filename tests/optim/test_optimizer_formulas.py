"""The first steps of every optimiser against its published formula, in NumPy and float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import optim

Array = np.ndarray[Any, Any]
RATE, STEPS = 0.05, 8
source = np.random.default_rng(5)
WEIGHT = source.standard_normal((3, 2))
GRADIENTS = source.standard_normal((STEPS, 3, 2))


def sgd(w: Array, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False) -> Any:
    v = None
    for g in GRADIENTS:
        v = g.copy() if v is None else momentum * v + (1 - dampening) * g
        w = w - RATE * (g + momentum * v if nesterov else v)
        yield w


def momentum(w: Array, momentum: float = 0.9) -> Any:
    return sgd(w, momentum)


def nesterov(w: Array, momentum: float = 0.9) -> Any:
    return sgd(w, momentum, nesterov=True)


def adagrad(
    w: Array, learning_rate_decay: float = 0.0, initial_accumulator: float = 0.0,
    eps: float = 1e-10,
) -> Iterator[Array]:  # fmt: skip
    s = np.full_like(w, initial_accumulator)
    for t, g in enumerate(GRADIENTS):
        s = s + g**2
        w = w - RATE / (1 + t * learning_rate_decay) * g / (np.sqrt(s) + eps)
        yield w


def rmsprop(
    w: Array, decay: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, centered: bool = False
) -> Iterator[Array]:
    s, mean, v = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in GRADIENTS:
        s = decay * s + (1 - decay) * g**2
        mean = decay * mean + (1 - decay) * g
        v = momentum * v + g / (np.sqrt(s - mean**2 if centered else s) + eps)
        w = w - RATE * v
        yield w


def adadelta(w: Array, decay: float = 0.9, eps: float = 1e-6) -> Iterator[Array]:
    s, u = np.zeros_like(w), np.zeros_like(w)
    for g in GRADIENTS:
        s = decay * s + (1 - decay) * g**2
        d = np.sqrt(u + eps) / np.sqrt(s + eps) * g
        u = decay * u + (1 - decay) * d**2
        w = w - RATE * d
        yield w


def adam(
    w: Array, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, amsgrad: bool = False,
    weight_decay: float = 0.0,
) -> Iterator[Array]:  # fmt: skip
    m, v, largest = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(GRADIENTS, 1):
        w = w - RATE * weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = np.maximum(largest, v)
        root = np.sqrt((largest if amsgrad else v) / (1 - betas[1] ** t))
        w = w - RATE * (m / (1 - betas[0] ** t)) / (root + eps)
        yield w


def adamw(w: Array, weight_decay: float = 0.01) -> Iterator[Array]:
    return adam(w, weight_decay=weight_decay)


def nadam(
    w: Array, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    momentum_decay: float = 4e-3,
) -> Iterator[Array]:  # fmt: skip
    def mu(t: int) -> float:
        return betas[0] * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    m, v, product = np.zeros_like(w), np.zeros_like(w), 1.0
    for t, g in enumerate(GRADIENTS, 1):
        product *= mu(t)
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        mean = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        w = w - RATE * mean / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        yield w


def lion(w: Array, betas: tuple[float, float] = (0.9, 0.99)) -> Iterator[Array]:
    m = np.zeros_like(w)
    for g in GRADIENTS:
        w = w - RATE * np.sign(betas[0] * m + (1 - betas[0]) * g)
        m = betas[1] * m + (1 - betas[1]) * g
        yield w


def muon(
    w: Array, momentum: float = 0.95, nesterov: bool = True, adjust: str = "original",
    weight_decay: float = 0.01,
) -> Iterator[Array]:  # fmt: skip
    m = np.zeros_like(w)
    for g in GRADIENTS:
        w = w - RATE * weight_decay * w
        m = momentum * m + (1 - momentum) * g
        x = momentum * m + (1 - momentum) * g if nesterov else m
        left, values, right = np.linalg.svd(x, full_matrices=False)
        values = values / np.linalg.norm(values)
        for _ in range(5):  # on the singular values the iteration is a polynomial
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        rows, columns = w.shape
        factor = max(1, columns / rows) ** 0.5 if adjust == "original" else 0.2 * rows**0.5
        w = w - RATE * factor * (left * values) @ right
        yield w


FORMULAS: list[tuple[str, Any, dict[str, Any]]] = [
    ("SGD", sgd, {}),
    ("SGD", sgd, {"momentum": 0.8, "dampening": 0.3}),
    ("SGD", sgd, {"momentum": 0.8, "nesterov": True}),
    ("GradientDescent", sgd, {}),
    ("Momentum", momentum, {}),
    ("Momentum", momentum, {"momentum": 0.5}),
    ("Nesterov", nesterov, {}),
    ("Adagrad", adagrad, {}),
    ("Adagrad", adagrad, {"learning_rate_decay": 0.1, "initial_accumulator": 0.2, "eps": 0.1}),
    ("RMSprop", rmsprop, {}),
    ("RMSprop", rmsprop, {"decay": 0.9, "eps": 0.01, "momentum": 0.7, "centered": True}),
    ("Adadelta", adadelta, {}),
    ("Adadelta", adadelta, {"decay": 0.8, "eps": 0.01}),
    ("Adam", adam, {}),
    ("Adam", adam, {"betas": (0.0, 0.9), "eps": 0.1}),
    ("Adam", adam, {"betas": (0.5, 0.9), "amsgrad": True}),
    ("AdamW", adamw, {}),
    ("AdamW", adamw, {"weight_decay": 0.5}),
    ("NAdam", nadam, {}),
    ("NAdam", nadam, {"betas": (0.8, 0.95), "eps": 0.1, "momentum_decay": 0.5}),
    ("Lion", lion, {}),
    ("Lion", lion, {"betas": (0.5, 0.8)}),
    ("Muon", muon, {}),
    ("Muon", muon, {"momentum": 0.5, "nesterov": False, "adjust": "match_rms_adamw",
                    "weight_decay": 0.3}),
]  # fmt: skip


def test_every_optimizer_has_a_formula() -> None:
    assert {row[0] for row in FORMULAS} | {"LBFGS"} == {
        kind.__name__ for kind in optim.OPTIMIZERS.values()
    }


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("row", FORMULAS, ids=[f"{i}-{r[0]}" for i, r in enumerate(FORMULAS)])
def test_formula(row: Any, compiled: bool) -> None:
    name, formula, options = row
    weight = [tw.tensor(WEIGHT, dtype=tw.float32)]
    optimizer = getattr(optim, name)(weight, learning_rate=RATE, **options)
    update = tw.compile(lambda g: optimizer.update([g])) if compiled else (
        lambda g: optimizer.update([g])
    )
    for gradient, wanted in zip(GRADIENTS, formula(WEIGHT, **options), strict=True):
        update(tw.tensor(gradient, dtype=tw.float32))
        np.testing.assert_allclose(weight[0].numpy(), wanted, rtol=3e-6, atol=1e-6)


def test_bias_correction_keeps_its_digits() -> None:
    from thalweg.optim.adam import bias_correction

    for beta in (0.0, 0.5, 0.9, 0.999, 0.999999):
        for count in (1, 2, 10, 1000, 100_000):
            got = bias_correction(beta, tw.tensor(float(count))).item()
            assert got == pytest.approx(-np.expm1(count * np.log(beta)) if beta else 1.0, rel=1e-6)


def test_muon_trains_matrices_and_adamw_the_rest() -> None:
    p = {"matrix": tw.tensor(WEIGHT, dtype=tw.float32), "vector": tw.ones(2),
         "last": tw.ones((2, 2))}  # fmt: skip
    grads = {"matrix": tw.tensor(GRADIENTS[0], dtype=tw.float32),
             "vector": tw.tensor([0.5, -2.0]), "last": tw.ones((2, 2))}  # fmt: skip
    optimizer = optim.Muon(p, 0.1, hidden=lambda path, t: path == "matrix",
                           adam_learning_rate_scale=0.5, weight_decay=0.0)  # fmt: skip
    optimizer.update(grads)
    np.testing.assert_allclose(p["vector"].numpy(), [0.95, 1.05], rtol=1e-5)
    np.testing.assert_allclose(p["last"].numpy(), np.full((2, 2), 0.95), rtol=1e-5)
    assert sorted(optimizer.state_dict()) == [
        "count", "last.first", "last.second", "learning_rate", "matrix.momentum", "vector.first",
        "vector.second",
    ]  # fmt: skip
    with pytest.raises(tw.errors.ArgumentError, match="'vector' of shape"):
        optim.Muon(p, hidden=lambda path, t: True)


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8), (1, 5)])
def test_orthogonalized(shape: tuple[int, int]) -> None:
    from thalweg.optim.muon import orthogonalized

    matrix = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    before = np.linalg.svd(matrix)
    after = orthogonalized(tw.tensor(matrix), 8).numpy()
    values = np.linalg.svd(after, compute_uv=False)
    assert (values > 0.6).all()
    assert (values < 1.3).all()
    inner = before[0].T @ after @ before[2].T  # diagonal, if the singular vectors are the same
    np.testing.assert_allclose(inner - np.diag(np.diag(inner)) if shape[0] == shape[1] else 0, 0,
                               atol=1e-3)  # fmt: skip
    assert not orthogonalized(tw.zeros(shape)).numpy().any()
