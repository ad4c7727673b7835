"""Optimizer: naming of parameters, groups, freezing, learning rates, compilation."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, DTypeError, ShapeError
from thalweg.optim.optimizer import Optimizer, filled_for


def ones_like(tree: Any) -> Any:
    from thalweg import trees

    return trees.map_tree(lambda t: tw.ones(t.shape), tree)


# --- naming ------------------------------------------------------------------------------------


def test_any_tree_of_tensors_is_trained() -> None:
    tree = {"a": [tw.zeros(2), (tw.zeros(3), None)], "b": tw.zeros(())}
    optimizer = optim.Adam(tree, 0.5)
    assert list(optimizer.state_dict())[2::2] == ["a.0.first", "a.1.0.first", "b.first"]
    optimizer.update(ones_like(tree))
    np.testing.assert_allclose(tree["a"][1][0].numpy(), -0.5 * np.ones(3), rtol=1e-5)


def test_one_parameter_alone() -> None:
    weight = tw.Parameter.of(np.ones(2, np.float32))
    optimizer = optim.SGD(weight, 0.5)
    loss, grads = tw.value_and_grad(lambda w: (w * 2).sum())(weight)
    assert loss.item() == 4.0
    optimizer.update(grads)
    np.testing.assert_array_equal(weight.numpy(), 0)


def test_two_modules() -> None:
    encoder, decoder = nn.Linear(3, 2), nn.Linear(2, 3)
    optimizer = optim.SGD((encoder, decoder), 0.1, groups={"match": "1.*", "weight_decay": 0.1})
    x = tw.ones((4, 3))
    before = encoder.weight.numpy()

    @tw.compile
    def step(x: Any) -> Any:
        def loss(encoder: Any, decoder: Any) -> Any:
            return ((decoder(encoder(x)) - x) ** 2).mean()

        value, grads = tw.value_and_grad(loss, argnums=(0, 1))(encoder, decoder)
        optimizer.update(grads)
        return value

    losses = [step(x).item() for _ in range(10)]
    assert losses[-1] < losses[0]
    assert not np.array_equal(encoder.weight.numpy(), before)


def test_wrong_parameters() -> None:
    weight = tw.zeros(2)
    with pytest.raises(ArgumentError, match=r"'1' is the same tensor as '0'; give it once"):
        optim.SGD([weight, weight])
    with pytest.raises(DTypeError, match="'0' has dtype int64"):
        optim.SGD([tw.arange(3)])
    with pytest.raises(ArgumentError, match=r"two leaves have the path 'a.b'"):
        optim.SGD({"a.b": tw.zeros(2), "a": {"b": tw.zeros(2)}})
    with pytest.raises(ArgumentError, match="Are all parameters frozen"):
        optim.SGD(nn.Linear(2, 2).freeze())


# --- freezing ----------------------------------------------------------------------------------


def test_parameters_that_are_frozen_or_unfrozen_later() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].freeze()
    optimizer = optim.Adam(model, 0.1)
    x = tw.ones((3, 2))

    @tw.compile
    def step(model: Any, optimizer: Any, x: Any) -> Any:
        loss, grads = tw.value_and_grad(lambda m: (m(x) ** 2).mean())(model)
        optimizer.update(grads)
        return loss

    frozen, free = model[0].weight.numpy(), model[1].weight.numpy()
    step(model, optimizer, x)
    np.testing.assert_array_equal(model[0].weight.numpy(), frozen)
    assert not np.array_equal(model[1].weight.numpy(), free)
    assert "0.weight.first" not in optimizer.state_dict()
    model[0].unfreeze()
    model[1].freeze()
    free = model[1].weight.numpy()
    step(model, optimizer, x)
    assert not np.array_equal(model[0].weight.numpy(), frozen)
    np.testing.assert_array_equal(model[1].weight.numpy(), free)
    assert "0.weight.first" in optimizer.state_dict()
    assert optimizer.count == 2


def test_a_frozen_parameter_of_a_list_stays() -> None:
    fixed = tw.Parameter.of(np.ones(2, np.float32), trainable=False)
    p = [fixed, tw.ones(2)]
    optimizer = optim.SGD(p, 0.5, clip_global_norm=2**0.5)
    optimizer.update(ones_like(p))
    np.testing.assert_array_equal(p[0].numpy(), 1.0)
    np.testing.assert_allclose(p[1].numpy(), 0.5, rtol=1e-6)  # the frozen one has no part in it


def test_a_parameter_that_was_replaced_starts_anew() -> None:
    model = nn.Linear(2, 2)
    optimizer = optim.Momentum(model, 0.1)
    optimizer.update({"weight": tw.ones((2, 2)), "bias": tw.ones(2)})
    model.weight = tw.Parameter.of(np.zeros((2, 3), np.float32))
    optimizer.update({"weight": tw.ones((2, 3)), "bias": tw.ones(2)})
    state = optimizer.state_dict()
    np.testing.assert_array_equal(state["weight.velocity"], np.ones((2, 3)))
    np.testing.assert_allclose(state["bias.velocity"], 1.9 * np.ones(2), rtol=1e-6)


# --- hyper-parameters --------------------------------------------------------------------------


def test_changed_hyperparameters_reach_the_compiled_step(caplog: Any) -> None:
    weight = [tw.tensor([1.0])]
    optimizer = optim.SGD(weight, 0.1)
    step = tw.compile(lambda g: optimizer.update([g]))
    g = tw.ones(1)
    step(g)
    with caplog.at_level(logging.INFO, logger="thalweg.compile"):
        optimizer.momentum = 0.5
    step(g)
    assert "weight" not in optimizer.state_dict()
    step(g)
    np.testing.assert_allclose(weight[0].numpy(), 1 - 0.1 - 0.1 - 0.15, rtol=1e-6)
    optimizer.groups = [{"match": "*", "learning_rate_scale": 0.0}]
    step(g)
    np.testing.assert_allclose(weight[0].numpy(), 0.65, rtol=1e-6)
    assert optimizer.count == 4


def test_learning_rate_is_told_as_it_was_given() -> None:
    optimizer = optim.SGD([tw.zeros(1)], learning_rate=0.1)
    assert optimizer.learning_rate == 0.1
    for value in (1e-3, 3e-4, 0.3, 1, 0):
        optimizer.learning_rate = value
        assert optimizer.learning_rate == value
    assert repr(optimizer) == (
        "SGD(learning_rate=0.0, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, "
        "l2=0.0)"
    )
    optimizer.learning_rate = optim.constant(0.5)
    assert "learning_rate=constant(learning_rate=0.5)" in repr(optimizer)
    assert optimizer.schedule == optim.constant(0.5)


def test_learning_rate_as_an_argument_of_the_compiled_step() -> None:
    weight = [tw.tensor([1.0])]
    optimizer = optim.SGD(weight)
    captures = []

    @tw.compile
    def step(g: Any, rate: Any) -> None:
        captures.append(1)
        optimizer.learning_rate = rate
        optimizer.update([g])

    for rate in (0.5, 0.25, 0.125):
        step(tw.ones(1), rate)
    assert weight[0].item() == 0.125
    assert len(captures) == 1
    assert optimizer.learning_rate == 0.125


def test_a_schedule_of_ones_own() -> None:
    weight = [tw.tensor([0.0])]
    optimizer = optim.SGD(weight, learning_rate=lambda t: 1 / (1 + t))
    step = tw.compile(lambda g: optimizer.update([g]))
    for _ in range(3):
        step(tw.ones(1))
    assert weight[0].item() == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    assert optimizer.learning_rate == 0.25
    optimizer.learning_rate = 0.5
    step(tw.ones(1))
    assert weight[0].item() == pytest.approx(-(1 + 1 / 2 + 1 / 3) - 0.5)
    optimizer.learning_rate = lambda t: tw.ones(2)
    with pytest.raises(ShapeError, match=r"returned shape \(2,\), wanted one number"):
        optimizer.update([tw.ones(1)])


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ArgumentError, match="nesterov needs a momentum above 0"):
        optim.SGD([tw.zeros(1)], nesterov=True)


# --- groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("groups", "message"), [
    ([{"match": "*.bais", "l2": 0.0}], r"the pattern '\*.bais' of a group fits no parameter"),
    ([{"weight_decay": 0.0}], "wanted a dict with 'match'"),
    ([{"match": "*", "lr": 0.1}], "a group has the key 'lr'; .*Known: .*learning_rate_scale"),
    ([{"match": "*", "l2": -1}], "l2 is -1, wanted a number with 0 <= l2"),
    ("bias", "groups is 'bias', wanted a list of dicts"),
])  # fmt: skip
def test_wrong_groups(groups: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        optim.SGD(nn.Linear(2, 2), groups=groups)


# --- saving ------------------------------------------------------------------------------------


def test_state_of_another_kind_or_shape() -> None:
    optimizer = optim.Adam([tw.zeros(2)])
    state = optimizer.state_dict()
    with pytest.raises(ShapeError, match=r"'0.first' has shape \(3,\), wanted \(2,\)"):
        optimizer.load_state_dict({**state, "0.first": np.zeros(3, np.float32)})
    with pytest.raises(DTypeError, match=r"'0.first' has dtype int64, wanted float32"):
        optimizer.load_state_dict({**state, "0.first": np.zeros(2, np.int64)})
    with pytest.raises(ArgumentError, match="with the same options and the same trainable"):
        optimizer.load_state_dict(optim.Momentum([tw.zeros(2)]).state_dict())


def test_loading_reaches_a_compiled_step() -> None:
    weight = [tw.tensor([1.0])]
    optimizer = optim.Momentum(weight, 0.5)
    step = tw.compile(lambda g: optimizer.update([g]))
    step(tw.ones(1))
    saved, value = optimizer.state_dict(), weight[0].numpy()
    step(tw.ones(1))
    after = weight[0].numpy()
    optimizer.load_state_dict(saved)
    weight[0].assign(value)
    step(tw.ones(1))
    np.testing.assert_array_equal(weight[0].numpy(), after)


# --- a new optimiser ---------------------------------------------------------------------------


class Forgetful(Optimizer):
    def initial_state(self, parameter: tw.Tensor) -> dict[str, Any]:
        return {"memory": filled_for(parameter)}

    def step(
        self, parameter: Any, gradient: Any, state: Any, learning_rate: Any, count: Any
    ) -> Any:
        return parameter, {"memroy": gradient}


def test_state_that_was_not_named() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'memory'"):
        Forgetful([tw.zeros(1)], 0.1).update([tw.ones(1)])


def test_shared_numbers_are_prepared_once_a_learning_rate() -> None:
    calls = []

    class Counting(optim.SGD):
        def prepare(self, learning_rate: Any, count: Any) -> Any:
            calls.append(1)
            return super().prepare(learning_rate, count)

    p = [tw.zeros(1) for _ in range(5)]
    Counting(p, 0.1).update(p)
    assert len(calls) == 1
    Counting(p, 0.1, groups={"match": ["0", "3"], "learning_rate_scale": 0.5}).update(p)
    assert len(calls) == 3
