"""Parameters to and from PyTorch's names and layouts; PyTorch itself is in tests/parity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DTypeError, ShapeError
from thalweg.nn.module import Module


def model() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, (5, 2)), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5),
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Linear(6, 5)), nn.Embedding(7, 2),
    )  # fmt: skip


def test_names_shapes_and_layouts() -> None:
    layers = model()
    state = nn.to_torch(layers)
    assert {k: v.shape for k, v in state.items()} == {
        "0.weight": (4, 3, 5, 2), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,),
        "1.running_mean": (4,), "1.running_var": (4,), "1.num_batches_tracked": (),
        "4.0.weight": (4, 3, 3, 3), "4.0.bias": (6,), "4.1.weight": (5, 6), "4.1.bias": (5,),
        "5.weight": (7, 2),
    }  # fmt: skip
    weight = layers[0].weight.numpy()
    assert state["0.weight"][1, 2, 3, 0] == weight[3, 0, 2, 1]
    assert all(v.flags.c_contiguous for v in state.values())


def test_round_trip_and_copies() -> None:
    first, second = model().reset_parameters(0), model().reset_parameters(1)
    state = nn.to_torch(first)
    assert nn.from_torch(second, state) == ([], [])
    for path, value in first.parameters().items():
        np.testing.assert_array_equal(second.parameters()[path].numpy(), value.numpy())
    state["0.bias"] += 1
    assert not (second[0].bias.numpy() == state["0.bias"]).any()


def test_one_error_lists_everything() -> None:
    layers = model()
    before = layers.state_dict()
    state: dict[str, Any] = nn.to_torch(layers)
    del state["0.bias"]
    state["0.biass"] = np.zeros(4)
    state["4.1.weight"] = state["4.1.weight"].T
    with pytest.raises(ArgumentError) as caught:
        nn.from_torch(layers, state)
    text = str(caught.value)
    for words in ("nothing was loaded", "Missing:\n  '0.bias'", "'0.biass'; did you mean '0.bias'",
                  "'4.1.weight' has (6, 5), wanted (5, 6)", "test_interchange.py"):  # fmt: skip
        assert words in text, words
    for path, value in layers.state_dict().items():
        np.testing.assert_array_equal(value, before[path])
    with pytest.raises(ShapeError, match=r"'4.1.weight' has \(6, 5\)"):
        nn.from_torch(layers, state, strict=False)
    state["4.1.weight"] = np.ones((5, 6))
    assert nn.from_torch(layers, state, strict=False) == (["0.bias"], ["0.biass"])
    assert (layers[4][1].weight.numpy() == 1).all()


def test_wrong_kinds_are_refused() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with pytest.raises(DTypeError, match="wanted floating-point numbers"):
        nn.from_torch(layer, {"weight": np.ones((1, 2), int)})
    with pytest.raises(DTypeError, match="'weight' is str"):
        nn.from_torch(layer, {"weight": "text"})


def test_older_and_parallel_files() -> None:
    layer = nn.BatchNorm1d(2)
    state = {f"module.{k}": v + 1 for k, v in nn.to_torch(layer).items()}
    del state["module.num_batches_tracked"]
    assert nn.from_torch(layer, state) == ([], [])
    assert layer.running_mean.tolist() == [1.0, 1.0]


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        self.first, self.second = nn.Embedding(3, 2), nn.Embedding(3, 2)
        self.second.weight = self.first.weight


def test_shared_tensors() -> None:
    tied = Tied()
    state = nn.to_torch(tied)
    assert list(state) == ["first.weight", "second.weight"]
    values = np.arange(6.0).reshape(3, 2)
    assert nn.from_torch(tied, {"second.weight": values}) == ([], [])
    np.testing.assert_array_equal(tied.first.weight.numpy(), values)
    with pytest.raises(ArgumentError, match="one tensor in the module"):
        nn.from_torch(tied, {"first.weight": values, "second.weight": values + 1})


class Packed(Module):
    """A layer whose two parameters are one in PyTorch."""

    def __init__(self) -> None:
        self.a, self.b = tw.Parameter.of(np.zeros(2)), tw.Parameter.of(np.ones(2))

    def to_torch_state(self) -> dict[str, Any]:
        return {"ab": np.stack([self.a.numpy(), self.b.numpy()])}

    def from_torch_state(self, state: Any) -> None:
        self.a.assign(state["ab"][0])
        self.b.assign(state["ab"][1])


def test_hooks_pack_and_unpack() -> None:
    layers = nn.Sequential(Packed(), nn.Sequential(Packed()))
    state = nn.to_torch(layers)
    assert {k: v.shape for k, v in state.items()} == {"0.ab": (2, 2), "1.0.ab": (2, 2)}
    state["1.0.ab"] = np.array([[5.0, 6.0], [7.0, 8.0]])
    nn.from_torch(layers, state)
    assert layers[1][0].b.tolist() == [7.0, 8.0]
    with pytest.raises(ArgumentError, match=r"Missing:\n  '0.ab'"):
        nn.from_torch(layers, {"1.0.ab": state["1.0.ab"]})
    with pytest.raises(ShapeError, match=r"'0.ab' has \(3,\), wanted \(2, 2\)"):
        nn.from_torch(layers, state | {"0.ab": np.ones(3)})
    nn.from_torch(layers, {"1.0.ab": np.ones((2, 2))}, strict=False)
    assert layers[1][0].b.tolist() == [1.0, 1.0]
    assert layers[0].b.tolist() == [1.0, 1.0]
