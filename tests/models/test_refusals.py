"""What every architecture refuses, at the user's line; and what a compiled one keeps up with."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.models.test_models import FIRST, examples, small, tensors

import thalweg as tw
from thalweg import nn
from thalweg.errors import DataError, DTypeError, ShapeError, ThalwegError
from thalweg.models import Architecture

HERE = re.escape(__file__)
TOKENS = [a for a in FIRST if a.dtype == "int64"]
IMAGES = [a for a in FIRST if len(a.small_inputs[0]) == 3]
NUMBERS = [a for a in FIRST if a.dtype != "int64"]


def named(told: list[Architecture]) -> Any:
    return pytest.mark.parametrize("told", told, ids=[a.name for a in told])


def refused(error: type[Exception] | tuple[type[Exception], ...], call: Callable[[], Any]) -> str:
    """Assert that a call raises this error, with its line in the message; return the message."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert re.search(rf"at {HERE}:\d+: ", message), message
    return message


def refused_in_both(error: type[Exception], model: nn.Module, *xs: Any) -> str:
    """Assert that a model refuses inputs eagerly and compiled; return the first message."""
    refused(error, lambda: tw.compile(lambda *ys: model(*ys))(*xs))
    return refused(error, lambda: model(*xs))


def close(outputs: Any, wanted: Any, what: str) -> None:
    """Assert that all results of a model are equal up to rounding."""
    for a, b in zip(tensors(outputs), tensors(wanted), strict=True):
        scale = max(1.0, float(np.abs(b.numpy()).max(initial=0)))
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=3e-5 * scale, err_msg=what)


# --- tokens -------------------------------------------------------------------------------------


@named(TOKENS)
@pytest.mark.parametrize("token", [-1, 20, 2**40])
def test_a_token_outside_of_the_vocabulary(told: Architecture, token: int) -> None:
    """Refused in each input, eagerly with its value; a compiled program updates nothing."""
    model, inputs = small(told).eval(), examples(told)
    compiled = tw.compile(lambda *xs: model(*xs))
    compiled(*inputs)
    for number in range(len(inputs)):
        wrong = [x.copy() for x in inputs]
        wrong[number][1, -1] = token
        assert str(token) in refused(DataError, lambda: model(*wrong))  # noqa: B023
        refused(IndexError, lambda: compiled(*wrong))  # noqa: B023
    close(compiled(*inputs), model(*inputs), "after the refusal")


@named(TOKENS)
def test_what_is_no_batch_of_sequences(told: Architecture) -> None:
    model, inputs = small(told).eval(), examples(told)
    refused_in_both(DTypeError, model, *[x.astype(np.float32) for x in inputs])
    refused_in_both(ShapeError, model, *[x[0] for x in inputs])
    refused_in_both(ShapeError, model, *[x[:, :0] for x in inputs])
    refused_in_both(ThalwegError, model, *[x.tolist() for x in inputs])


@named([a for a in TOKENS if "context" in a.small])
def test_a_sequence_longer_than_the_context(told: Architecture) -> None:
    model = small(told).eval()
    length = told.small["context"]
    assert tensors(model(np.zeros((2, length), int)))
    assert str(length) in refused_in_both(ShapeError, model, np.zeros((2, length + 1), int))


# --- images and other numbers -------------------------------------------------------------------


@named([a for a in IMAGES if a.small_inputs[0][0] > a.small_inputs[0][2]])
def test_images_with_channels_first(told: Architecture) -> None:
    model, inputs = small(told).eval(), examples(told)
    moved = [np.moveaxis(x, -1, 1) for x in inputs]
    message = refused_in_both(ShapeError, model, *moved)
    assert str(moved[0].shape) in message
    if told.name != "unet":  # which finds the size 1 of the channels wrong as a height, first
        assert "channels" in message


@named(IMAGES)
def test_images_of_other_channels_or_without_a_batch(told: Architecture) -> None:
    model, inputs = small(told).eval(), examples(told)
    refused_in_both(ShapeError, model, *[np.concatenate([x, x], -1) for x in inputs])
    refused_in_both(ShapeError, model, *[x[0] for x in inputs])
    refused_in_both(ShapeError, model, *[x[:, :0] for x in inputs])


@named([a for a in NUMBERS if a.name != "perceptron"])  # which converts what it is given
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float64"])
def test_numbers_of_another_type(told: Architecture, dtype: str) -> None:
    model, inputs = small(told).eval(), examples(told)
    assert "astype" in refused_in_both(DTypeError, model, *[x.astype(dtype) for x in inputs])


@named([a for a in FIRST if "Norm2d" in str(small(a))])
def test_one_value_a_feature_cannot_be_normalised(told: Architecture) -> None:
    """An empty batch has no statistics, and nothing is added to the running ones."""
    model, inputs = small(told).train(), examples(told)
    before = model.state_dict()
    refused_in_both(ShapeError, model, *[x[:0] for x in inputs])
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)


@named([a for a in FIRST if a.name != "silero_vad"])
def test_an_empty_batch_gives_an_empty_result(told: Architecture) -> None:
    model, inputs = small(told).eval(), [x[:0] for x in examples(told)]
    for run in (model, tw.compile(lambda *xs: model(*xs))):
        assert all(y.shape[0] == 0 for y in tensors(run(*inputs)))


# --- what a compiled model keeps up with --------------------------------------------------------

SEVERAL = [
    tw.models.get(name) for name in (
        "lenet5", "resnet20", "dcgan28_discriminator", "vit_tiny", "gpt2", "bert", "transformer",
        "lstm_forecaster", "gru_classifier", "unet",
    )
]  # fmt: skip


def still(told: Architecture) -> nn.Module:
    """Return a small model without noise."""
    model = small(told)
    for module in model.named_modules().values():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


@named(SEVERAL)
def test_a_compiled_model_is_the_model_as_it_is_now(told: Architecture) -> None:
    """Other batches, edited and loaded parameters, training and evaluation in turn."""
    model, inputs = still(told).eval(), examples(told)
    compiled = tw.compile(lambda *xs: model(*xs))
    close(compiled(*inputs), model(*inputs), "first call")
    for batch in (1, 3, 4):
        part = [x[:batch] for x in inputs]
        close(compiled(*part), model(*part), f"batch of {batch}")
    first = next(iter(model.parameters().values()))
    first.assign(first.numpy() * 1.5)
    close(compiled(*inputs), model(*inputs), "edited parameter")
    model.load_state_dict(small(told, 7).state_dict())
    close(compiled(*inputs), model(*inputs), "loaded state")
    start = model.state_dict()
    wanted = model.train()(*inputs)
    after = model.state_dict()
    model.load_state_dict(start)
    close(compiled(*inputs), wanted, "training")
    for path, value in model.state_dict().items():
        np.testing.assert_allclose(value, after[path], rtol=1e-4, atol=1e-5, err_msg=path)
    model.eval()
    close(compiled(*inputs), model(*inputs), "evaluation again")


@named(SEVERAL)
def test_copies_are_independent_and_looking_changes_nothing(told: Architecture) -> None:
    model, inputs = still(told).eval(), examples(told)
    wanted, before = model(*inputs), model.state_dict()
    twins = [model.copy(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    shapes = [x.shape[1:] for x in inputs]
    table = model.summary(shapes if len(shapes) > 1 else shapes[0], dtype=told.dtype)
    assert table.parameters == model.count_parameters()
    assert type(model).__name__ in str(table) + repr(model)
    assert "== schedule ==" in tw.compile(lambda *xs: model(*xs)).explain(*inputs)
    for twin in twins:
        close(twin(*inputs), wanted, "copy")
        for parameter in twin.parameters().values():
            parameter.assign(parameter.numpy() * 0)
    close(model(*inputs), wanted, "after the copies were cleared")
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])


def test_shared_and_frozen_layers_train_as_they_should() -> None:
    """A layer that is used twice is one layer, and a frozen one stays as it is."""
    shared = nn.Conv2d(3, 3, 3, padding="same")
    head = nn.Linear(3, 2)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.GlobalAvgPool(), head).astype("float64")
    assert len(model.parameters()) == 4
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3))

    def loss(model: Any) -> Any:
        return tw.sum(model(x) ** 2)

    eager, compiled = tw.grad(loss)(model), tw.compile(lambda: tw.grad(loss)(model))()
    weight = model.parameters()["0.weight"]
    kept, step = weight.numpy().copy(), 1e-6
    ends = []
    for sign in (1, -1):
        moved = kept.copy()
        moved[1, 1, 0, 2] += sign * step
        weight.assign(moved)
        ends.append(float(loss(model)))
    weight.assign(kept)
    found = (ends[0] - ends[1]) / (2 * step)
    for gradient in (eager, compiled):
        assert gradient["0.weight"].numpy()[1, 1, 0, 2] == pytest.approx(found, rel=1e-6)
    shared.freeze()
    optimizer = tw.optim.SGD(model, learning_rate=0.1)
    before = model.state_dict()

    @tw.compile
    def train() -> Any:
        value, gradients = tw.value_and_grad(loss)(model)
        optimizer.update(gradients)
        return value

    assert float(train()) > float(train())
    after = model.state_dict()
    np.testing.assert_array_equal(after["0.weight"], before["0.weight"])
    assert (after["4.weight"] != before["4.weight"]).any()
