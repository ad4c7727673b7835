"""The training curve of a network on real digits, step by step beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw

torch = pytest.importorskip("torch")
STEPS, BATCH = 200, 64


def _batches() -> tuple[Any, Any]:
    images, labels = tw.data.load_digits("train")
    count = STEPS * BATCH
    x = images[:count].reshape(STEPS, BATCH, 784).astype(np.float32) / np.float32(255)
    return x, labels[:count].reshape(STEPS, BATCH).astype(np.int64)


def _ours(optimizer: str, x: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    model = tw.nn.Sequential(
        tw.nn.Linear(784, 128), tw.nn.ReLU(), tw.nn.Linear(128, 10), seed=1
    )
    start = model.state_dict()
    rule = tw.optim.get(optimizer)(model, **options)

    @tw.compile
    def step(model: Any, rule: Any, x: Any, y: Any) -> Any:
        loss, grads = tw.value_and_grad(lambda m, a, b: tw.nn.losses.cross_entropy(m(a), b))(
            model, x, y
        )
        rule.update(grads)
        return loss

    return start, step.repeat(model, rule, tw.steps(x), tw.steps(y)).numpy()


def _theirs(rule: Any, start: Any, x: Any, y: Any, **options: Any) -> Any:
    layers = [torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)]
    model = torch.nn.Sequential(*layers)
    model.load_state_dict({
        k: torch.tensor(v.T.copy() if k.endswith("weight") else v) for k, v in start.items()
    })  # fmt: skip
    update = rule(model.parameters(), **options)
    losses = []
    for a, b in zip(x, y, strict=True):
        update.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(a)), torch.tensor(b))
        loss.backward()
        update.step()
        losses.append(loss.item())
    return np.array(losses)


def test_curve_with_momentum() -> None:
    x, y = _batches()
    start, ours = _ours("sgd", x, y, learning_rate=0.05, momentum=0.9)
    theirs = _theirs(torch.optim.SGD, start, x, y, lr=0.05, momentum=0.9)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert ours[-20:].mean() < 0.5 < ours[0]


def test_curve_with_adam() -> None:
    x, y = _batches()
    start, ours = _ours("adam", x, y, learning_rate=1e-3)
    theirs = _theirs(torch.optim.Adam, start, x, y, lr=1e-3)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
