"""Architectures against the same ones written in PyTorch: weights, outputs, gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.parity.torch_twins import TWINS, twin
from tests.parity.torch_twins_parts import first, last, one_thread, torch

import thalweg as tw
from thalweg import nn
from thalweg.models.registry import Architecture

Array = np.ndarray[Any, Any]
__all__ = ["one_thread"]
ARCHITECTURES = tw.models.list()


def small(told: Architecture, seed: int) -> nn.Module:
    return tw.models.create(told.name, seed=seed, **told.small)


@functools.cache
def kinds() -> dict[str, type[nn.Module]]:
    """Return the class of each architecture."""
    return {a.name: type(small(a, 0)) for a in ARCHITECTURES}


def test_every_architecture_has_a_twin() -> None:
    assert [name for name, kind in kinds().items() if kind not in TWINS] == []
    assert set(kinds().values()) == set(TWINS)


@pytest.mark.parametrize("told", ARCHITECTURES, ids=lambda a: a.name)
def test_weights_go_both_ways(told: Architecture) -> None:
    """PyTorch's own load_state_dict is strict: names and shapes are its own."""
    ours, other = small(told, 0), small(told, 1)
    source = np.random.default_rng(0)
    theirs = twin(ours)
    state = theirs.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value += torch.from_numpy(source.uniform(0.1, 1, value.shape)).to(value)
    assert nn.from_torch(other, state) == ([], [])
    found = nn.to_torch(other)
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.numpy(), err_msg=name)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "alexnet": (lambda: tw.models.AlexNet(3, width=1 / 16, hidden=8, dropout=0), (2, 100, 70, 3)),
    "vgg11_bn": (lambda: tw.models.VGG(11, 3, batch_norm=True, width=1 / 16, hidden=8, dropout=0),
                 (4, 64, 64, 3)),
    "resnet_basic": (lambda: tw.models.ResNet("basic", (2, 2, 2, 2), 3, width=4), (4, 65, 64, 3)),
    "mobilenet_v2": (lambda: tw.models.MobileNetV2(3, width=0.1, dropout=0), (4, 64, 64, 3)),
    "unet": (lambda: tw.models.UNet(depth=2, width=4), (2, 44, 60, 1)),
}  # fmt: skip


def close(ours: Any, theirs: Array, what: str) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6, atol=1e-8, err_msg=what)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients(name: str) -> None:
    """In float64: many normalised layers over few images multiply float32's rounding too much."""
    make, shape = CASES[name]
    ours = make().reset_parameters(0).astype("float64")
    theirs = twin(ours)
    source = np.random.default_rng(1)
    x = source.standard_normal(shape)
    ours.eval()
    theirs.eval()
    expected = last(theirs(first(x)))
    close(tw.compile(lambda x: ours(x))(x), expected, "evaluation")
    weights = source.standard_normal(expected.shape)
    ours.train()
    theirs.train()
    y = theirs(first(x))
    (y * (first(weights) if y.ndim == 4 else torch.from_numpy(weights))).sum().backward()
    grads = tw.compile(tw.grad(lambda m: (m(x) * weights).sum()))(ours)
    wanted = dict(theirs.named_parameters())
    shell = make().astype("float64")
    shell.load_state_dict({**shell.state_dict(), **{k: g.numpy() for k, g in grads.items()}})
    for path, gradient in nn.to_torch(shell).items():
        if path in wanted:
            close(gradient, wanted[path].grad.numpy(), path)
    for path, value in nn.to_torch(ours).items():
        if "running" in path:
            close(value, theirs.state_dict()[path].numpy(), path)
