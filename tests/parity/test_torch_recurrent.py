"""RNN, LSTM and GRU beside PyTorch's: outputs, last states and every gradient, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).standard_normal((3, 7, 5))
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    (kind, options) for kind in ("RNN", "LSTM", "GRU") for options in (
        {}, {"num_layers": 2, "bidirectional": True}, {"bias": False},
        {"num_layers": 3, "batch_first": False},
    )
]  # fmt: skip
OPTIONS += [("LSTM", {"proj_size": 3}), ("LSTM", {"proj_size": 2, "num_layers": 2}),
            ("RNN", {"nonlinearity": "relu"})]  # fmt: skip


def pair(kind: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return both layers with the same parameters."""
    theirs = getattr(torch.nn, kind)(
        5, 6, **{"batch_first": True, **options}, dtype=torch.float64
    )
    ours = getattr(nn, kind)(5, 6, **options, dtype="float64")
    nn.from_torch(ours, {k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def states(value: Any) -> list[Any]:
    """Return the last states as a list."""
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_layer(kind: str, options: dict[str, Any], compiled: bool) -> None:
    """Outputs, last states and gradients agree."""
    ours, theirs = pair(kind, options)
    x = torch.tensor(X, requires_grad=True)
    outputs, last = theirs(x)
    (outputs.sin().sum() + sum((s * s).sum() for s in states(last))).backward()

    def loss(layer: Any, x: Any) -> Any:
        y, last = layer(x)
        return tw.sum(tw.sin(y)) + sum(tw.sum(s * s) for s in states(last)), (y, last)

    step = tw.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (_, (y, ends)), (grads, dx) = (tw.compile(step) if compiled else step)(ours, tw.tensor(X))
    np.testing.assert_allclose(y.numpy(), outputs.detach().numpy(), atol=1e-12)
    for a, b in zip(states(ends), states(last), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(dx.numpy(), x.grad.numpy(), atol=1e-11)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(grads[name].numpy().T, parameter.grad.numpy(), atol=1e-11)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_lengths(kind: str) -> None:
    """Sequences of different lengths agree with PyTorch's packed ones."""
    ours, theirs = pair(kind, {"num_layers": 2, "bidirectional": True})
    lengths = [7, 3, 5]
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(X), lengths, batch_first=True, enforce_sorted=False
    )
    outputs, last = theirs(packed)
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    y, ends = tw.compile(lambda layer, x: layer(x, lengths=lengths))(ours, tw.tensor(X))
    np.testing.assert_allclose(y.numpy(), outputs.detach().numpy(), atol=1e-12)
    for a, b in zip(states(ends), states(last), strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), atol=1e-12)


def test_state_dict_both_ways() -> None:
    """What goes to PyTorch and back is the same."""
    ours, theirs = pair("LSTM", {"num_layers": 2, "proj_size": 3})
    theirs.load_state_dict({k: torch.tensor(v) for k, v in nn.to_torch(ours).items()})
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(getattr(ours, name).numpy().T, value.numpy())
