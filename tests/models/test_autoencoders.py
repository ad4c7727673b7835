"""What is special to each autoencoder: its noise, its code, its loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError
from thalweg.nn import losses

X = np.random.default_rng(0).random((64, 12)).astype(np.float32)


def test_images_come_back_in_their_shape() -> None:
    images = np.zeros((3, 4, 3), np.float32)
    for name in ("autoencoder", "denoising_autoencoder", "sparse_autoencoder",
                 "variational_autoencoder"):  # fmt: skip
        model = tw.models.create(name, **tw.models.get(name).small)
        outputs = model(images)
        rebuilt = outputs[0] if isinstance(outputs, tuple) else outputs
        assert rebuilt.shape == (3, 4, 3)
    small = tw.models.get("convolutional_autoencoder").small
    model = tw.models.create("convolutional_autoencoder", **small)
    assert model(np.zeros((2, 8, 8), np.float32)).shape == (2, 8, 8)


def test_decoding_the_code_is_the_reconstruction() -> None:
    model = tw.models.Autoencoder(12, (8,), 3)
    np.testing.assert_array_equal(model.decode(model.encode(X)).numpy(), model(X).numpy())
    assert model(X).numpy().min() >= 0
    free = tw.models.Autoencoder(12, (8,), 3, output="identity").reset_parameters(0)
    assert free(5 * X - 2).numpy().min() < 0


@pytest.mark.parametrize("kind", ["normal", "mask"])
def test_noise_in_training_only(kind: str) -> None:
    model = tw.models.DenoisingAutoencoder(12, (8,), 3, noise=0.4, kind=kind).reset_parameters(0)
    calm = model.eval()(X).numpy()
    np.testing.assert_array_equal(model(X).numpy(), calm)
    model.train()
    assert (model(X).numpy() != calm).any()
    assert (model(X).numpy() != model(X).numpy()).any()
    ones = tw.ones((200, 100))
    damaged = model.damage(ones).numpy()
    if kind == "mask":
        assert set(np.unique(damaged.round(6))) == {0.0, 1.0}
        assert abs((damaged == 0).mean() - 0.4) < 0.02
    else:
        assert abs((damaged - 1).std() - 0.4) < 0.02
    model.noise = 0.0
    np.testing.assert_array_equal(model(X).numpy(), calm)


def test_sparse_loss_is_the_formula_and_makes_codes_sparse() -> None:
    rebuilt, code = X[:, :4], np.clip(X, 0.01, 0.99)
    active = code.astype(np.float64).mean(axis=0)
    distance = 0.1 * np.log(0.1 / active) + 0.9 * np.log(0.9 / (1 - active))
    wanted = np.square(rebuilt - 1.0).mean() + 0.5 * distance.sum()
    found = tw.models.sparse_loss((tw.tensor(rebuilt), tw.tensor(code)), np.ones((64, 4), "f4"),
                                  sparsity=0.1, weight=0.5)  # fmt: skip
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        tw.models.sparse_loss((tw.tensor(rebuilt), tw.tensor(code)), rebuilt, sparsity=0)

    def mean_activity(weight: float) -> float:
        model = tw.models.SparseAutoencoder(12, 20).reset_parameters(0)
        train(model, lambda m: tw.models.sparse_loss(m(X), X, weight=weight), 200)
        return float(model(X)[1].mean())

    assert mean_activity(1.0) < 0.12 < mean_activity(0.0)


def train(model: Any, loss: Any, steps: int) -> float:
    optimizer = tw.optim.Adam(model, learning_rate=0.01)

    @tw.compile
    def step() -> Any:
        value, grads = tw.value_and_grad(loss)(model)
        optimizer.update(grads)
        return value

    return [float(step()) for _ in range(steps)][-1]


def test_variational_loss_is_the_formula() -> None:
    source = np.random.default_rng(1)
    rebuilt, target = source.uniform(0.1, 0.9, (2, 5, 6))
    mean, log_variance = source.standard_normal((2, 5, 3))
    cross = -(target * np.log(rebuilt) + (1 - target) * np.log(1 - rebuilt)).sum()
    distance = -0.5 * (1 + log_variance - mean**2 - np.exp(log_variance)).sum()
    for weight in (0.0, 1.0, 4.0):
        found = tw.models.variational_loss(
            (tw.tensor(rebuilt), tw.tensor(mean), tw.tensor(log_variance)), target, weight
        )
        assert float(found) == pytest.approx((cross + weight * distance) / 5, rel=1e-6)
    with pytest.raises(ArgumentError, match="weight"):
        tw.models.variational_loss((tw.tensor(rebuilt),) * 3, target, -1)


def test_variational_code_is_drawn_in_training_with_its_mean_and_variance() -> None:
    model = tw.models.VariationalAutoencoder(12, 8, 2).reset_parameters(0)
    model.eval()
    np.testing.assert_array_equal(model(X)[0].numpy(), model(X)[0].numpy())
    model.train()
    assert (model(X)[0].numpy() != model(X)[0].numpy()).any()
    draw = model.noise(tw.zeros(20_000)).numpy()
    assert abs(draw.mean()) < 0.03
    assert abs(draw.std() - 1) < 0.03
    images = model.sample(5)
    assert images.shape == (5, 12)
    assert (images.numpy() != model.sample(5).numpy()).any()


def test_variational_gradient_passes_through_the_draw() -> None:
    model = tw.models.VariationalAutoencoder(12, 8, 2).reset_parameters(0)
    grads = tw.grad(lambda m: losses.mse(m(X)[0], X))(model)
    assert all(grads[f"{name}.weight"].numpy().any() for name in ("mean", "log_variance"))


def test_variational_autoencoder_learns() -> None:
    two = np.repeat(np.array([[1.0, 0] * 6, [0, 1] * 6], np.float32), 32, axis=0)
    model = tw.models.VariationalAutoencoder(12, 16, 2).reset_parameters(0)
    start = float(tw.models.variational_loss(model(two), two))
    assert train(model, lambda m: tw.models.variational_loss(m(two), two), 300) < start / 3
