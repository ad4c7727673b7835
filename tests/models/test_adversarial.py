"""Adversarial training: who learns when, from what, and with which penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, NumericsError, ShapeError

IMAGES = np.tanh(np.random.default_rng(0).standard_normal((24, 28, 28, 1))).astype(np.float32)


def trainer(batch_norm: bool = True, spectral_norm: bool = False, **options: Any) -> Any:
    draws = tw.models.DCGANGenerator(28, 1, code=6, width=4).reset_parameters(0)
    tells = tw.models.DCGANDiscriminator(
        28, 1, width=4, batch_norm=batch_norm, spectral_norm=spectral_norm
    ).reset_parameters(1)
    return tw.models.AdversarialTrainer(draws, tells, **options)


WASSERSTEIN = {"loss": "wasserstein", "gradient_penalty": 10.0, "batch_norm": False}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"spectral_norm": True, "batch_norm": False},
    {"spectral_norm": True, "loss": "wasserstein"},
    WASSERSTEIN,
    {"gradient_penalty": 1.0, "batch_norm": False},
]


@pytest.mark.parametrize("options", VARIANTS, ids=["dcgan", "spectral", "wgan-sn", "wgan-gp", "gp"])
def test_discriminator_learns_to_tell_and_images_keep_their_range(options: Any) -> None:
    made = trainer(**options, learning_rate=1e-3)
    before = made.generator.state_dict(), made.discriminator.state_dict()
    told = [made.step(IMAGES[:12]) for _ in range(12)]
    assert all(np.isfinite(v) for row in told for v in row.values())
    assert told[-1]["discriminator"] < told[0]["discriminator"]
    for model, state in zip((made.generator, made.discriminator), before, strict=True):
        for path in model.parameters():
            assert (model.state_dict()[path] != state[path]).any(), path
    drawn = made.sample(3)
    assert drawn.shape == (3, 28, 28, 1)
    assert np.abs(drawn).max() <= 1
    assert (drawn != made.sample(3)).any()


def test_first_losses_are_those_of_a_coin() -> None:
    told = trainer().step(IMAGES[:12])
    assert told["discriminator"] == pytest.approx(2 * np.log(2), abs=0.1)
    assert told["generator"] == pytest.approx(np.log(2), abs=0.1)


def test_generator_waits_for_the_critics_steps() -> None:
    made = trainer(**WASSERSTEIN, critic_steps=3)
    state = made.generator.state_dict()
    for step in range(1, 7):
        told = made.step(IMAGES[:8])
        assert ("generator" in told) == (step % 3 == 0)
        moved = any((made.generator.state_dict()[p] != state[p]).any()
                    for p in made.generator.parameters())  # fmt: skip
        assert moved == (step >= 3)


def test_fit_goes_through_all_full_batches_and_the_seed_decides() -> None:
    runs = []
    for _ in range(2):
        made = trainer(seed=7)
        history = made.fit(IMAGES, epochs=2, batch_size=10, seed=3)
        assert made.steps_done == 4
        assert [sorted(row) for row in history] == [["discriminator", "generator"]] * 2
        runs.append((history, made.generator.state_dict()))
    assert runs[0][0] == runs[1][0]
    for path, value in runs[0][1].items():
        np.testing.assert_array_equal(value, runs[1][1][path])


def test_penalty_is_zero_for_slope_one_and_has_a_gradient() -> None:
    source = np.random.default_rng(2)
    real, fake = (tw.tensor(source.standard_normal((4, 3)).astype(np.float32)) for _ in range(2))
    shares = tw.tensor(source.random(4).astype(np.float32))
    unit = nn.Linear(3, 1, weight_init=np.array([[0.6], [0.8], [0.0]], np.float32))
    assert float(tw.models.gradient_penalty(unit, real, fake, shares)) == pytest.approx(0, abs=1e-9)
    critic = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).reset_parameters(0)
    critic.astype("float64")
    parts = [tw.tensor(t.numpy().astype(np.float64)) for t in (real, fake, shares)]

    def penalty(model: nn.Module) -> tw.Tensor:
        return tw.models.gradient_penalty(model, *parts)

    for route in (lambda f: f, tw.compile):
        grads = route(tw.grad(penalty))(critic)
        for path, parameter in critic.parameters().items():
            start = parameter.numpy().copy()
            for place in list(np.ndindex(start.shape))[:4]:
                ends = []
                for h in (1e-6, -1e-6):
                    moved = start.copy()
                    moved[place] += h
                    parameter.assign(moved)
                    ends.append(float(penalty(critic)))
                parameter.assign(start)
                slope = (ends[0] - ends[1]) / 2e-6
                assert grads[path].numpy()[place] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_what_is_refused() -> None:
    with pytest.raises(ArgumentError, match="batch_norm=False") as caught:
        trainer(gradient_penalty=10.0)
    assert "main.3 (BatchNorm2d)" in str(caught.value)
    with pytest.raises(ArgumentError, match="non_saturating, wasserstein"):
        trainer(loss="minimax")
    with pytest.raises(ArgumentError, match="do not fill a batch of 64"):
        trainer().fit(IMAGES)
    with pytest.raises(ArgumentError, match="count"):
        trainer().sample(0)
    with pytest.raises(ShapeError, match="channels-first"):
        trainer().step(np.zeros((8, 1, 28, 28), np.float32))
    with pytest.raises(ShapeError, match="must be equal"):
        tw.models.gradient_penalty(nn.Linear(3, 1), tw.ones((2, 3)), tw.ones((3, 3)), tw.ones(2))
    bad = np.full((8, 28, 28, 1), np.nan, np.float32)
    with pytest.raises(NumericsError, match="discriminator became nan in step 1"):
        trainer().step(bad)
