"""The network for tables: every input, the mean of its members, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError, DTypeError, ShapeError
from thalweg.models import TabularNetwork

rng = np.random.default_rng(4)


def network(classes: bool = True) -> TabularNetwork:
    return TabularNetwork(
        numbers=3, codes=(4, 50), texts=(20,), outputs=2, hidden=(8, 6), members=5, dropout=0.0,
        embedding=6, classes=classes,
    ).reset_parameters(1)  # fmt: skip


def rows(count: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tokens = rng.integers(1, 20, (count, 4))
    tokens[0], tokens[1, 2:] = 0, 0  # a text without tokens, and a short one
    codes = np.stack([rng.integers(0, 4, count), rng.integers(0, 50, count)], axis=1)
    return rng.normal(size=(count, 3)).astype(np.float32), codes, tokens


def by_hand(model: TabularNetwork, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return each member's outputs (batch, members, outputs), in float64."""
    state = {k: v.astype(np.float64) for k, v in model.state_dict().items()}
    numbers, codes, tokens = inputs
    bag = state["bags.0.weight"][tokens] * (tokens != 0)[..., None]
    text = bag.sum(axis=1) / np.maximum((tokens != 0).sum(axis=1), 1)[:, None]
    parts = [state[f"tables.{i}.weight"][codes[:, i]] for i in range(2)]
    x = np.concatenate([numbers, *parts, text], axis=1)
    made = []
    for member in range(model.members):
        y = x * state["scale"][member]
        for layer in ("shared.0", "shared.3"):
            y = np.maximum(y @ state[f"{layer}.weight"] + state[f"{layer}.bias"], 0)
        made.append(y @ state["heads"][member] + state["offsets"][member])
    return np.stack(made, axis=1)


def test_members_and_their_mean() -> None:
    """In training each member's outputs; then the logarithm of the mean of probabilities."""
    model, inputs = network(), rows()
    wanted = by_hand(model, inputs)
    np.testing.assert_allclose(model(*inputs).numpy(), wanted, rtol=1e-4, atol=1e-5)
    shares = np.exp(wanted) / np.exp(wanted).sum(axis=-1, keepdims=True)
    found = tw.compile(lambda *x: model(*x))
    model.eval()
    np.testing.assert_allclose(
        found(*inputs).numpy(), np.log(shares.mean(axis=1)), rtol=1e-4, atol=1e-5
    )
    numbers = network(classes=False).eval()
    np.testing.assert_allclose(
        numbers(*inputs).numpy(), by_hand(numbers, inputs).mean(axis=1), rtol=1e-4, atol=1e-5
    )


def test_members_differ_and_a_seed_decides() -> None:
    """Each member has signs and outputs of its own; equal seeds give equal networks."""
    outputs = network()(*rows()).numpy()
    assert outputs.std(axis=1).min() > 1e-3
    one, two = network().state_dict(), network().state_dict()
    assert all((one[name] == two[name]).all() for name in one)
    assert set(np.unique(one["scale"])) == {-1.0, 1.0}


def test_other_inputs_are_refused() -> None:
    """Counts, shapes and types of the inputs are checked."""
    model, (numbers, codes, tokens) = network(), rows()
    with pytest.raises(ShapeError, match="got 2 inputs, wanted 3"):
        model(numbers, codes)
    with pytest.raises(ShapeError, match=r"numbers of shape \(7, 2\)"):
        model(numbers[:, :2], codes, tokens)
    with pytest.raises(ShapeError, match=r"codes of shape \(7, 1\)"):
        model(numbers, codes[:, :1], tokens)
    with pytest.raises(DTypeError, match="astype"):
        model(numbers.astype(np.float64), codes, tokens)
    with pytest.raises(ArgumentError, match="at least one column"):
        TabularNetwork(numbers=0)
    with pytest.raises(ArgumentError):
        TabularNetwork(3, hidden=(0,))
