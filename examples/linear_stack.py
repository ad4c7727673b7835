"""A deep stack of layers without non-linearities is one linear map, however deep it is.

W. McCulloch and W. Pitts, "A logical calculus of the ideas immanent in nervous activity" (1943),
already give their units a threshold: without it, x W1 W2 ... Wn = x (W1 W2 ... Wn).

Seen: (1) the outputs of twenty layers equal those of the single matrix that is their product, to
rounding; (2) trained on points inside and outside of a circle, the linear stack is no better than
one linear layer, whatever its depth, while the same stack with ReLU tells nearly all points apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import run

import thalweg as tw
from thalweg import nn

Array = np.ndarray[Any, Any]
DEPTH, WIDTH = 20, 32


def collapse_error() -> float:
    """Return the largest difference between a stack and its one map, in parts of the output."""
    stack = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias_init=0.1) for _ in range(DEPTH)), seed=0)
    x = tw.random.normal((256, WIDTH), key=tw.random.key(0))
    weight, bias = np.eye(WIDTH), np.zeros(WIDTH)
    for layer in stack:
        bias = bias @ layer.weight.numpy() + layer.bias.numpy()
        weight = weight @ layer.weight.numpy()
    deep = stack(x).numpy()
    collapsed = x.numpy() @ weight + bias
    return float(np.abs(deep - collapsed).max() / np.abs(deep).max())


def circle(count: int, seed: int) -> tuple[Array, Array]:
    """Return points (count, 2) of a square, and 1 for those inside of a circle of half its area."""
    points = np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)
    return points, (np.square(points).sum(1) < 2 / np.pi).astype(np.int64)


def trained_accuracy(layers: list[nn.Module], epochs: int) -> float:
    """Return the test accuracy of a network trained to tell inside from outside."""
    model = nn.Sequential(*layers, seed=0)
    tw.fit(
        model, circle(2000, seed=1), epochs=epochs, batch_size=50, learning_rate=1e-3,
        validation=None, progress=False,
    )  # fmt: skip
    return tw.evaluate(model, circle(2000, seed=2), metrics=["accuracy"])["accuracy"]


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Collapse a linear stack, and compare what it learns with and without non-linearities."""
    epochs = 5 if short else 40
    linear: list[nn.Module] = [nn.Linear(2, WIDTH)]
    rectified: list[nn.Module] = [nn.Linear(2, WIDTH), nn.ReLU()]
    for _ in range(4):
        linear.append(nn.Linear(WIDTH, WIDTH))
        rectified += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return {
        "collapse_error": collapse_error(),
        "accuracy_one_linear_layer": trained_accuracy([nn.Linear(2, 2)], epochs),
        "accuracy_linear_stack": trained_accuracy([*linear, nn.Linear(WIDTH, 2)], epochs),
        "accuracy_relu_stack": trained_accuracy([*rectified, nn.Linear(WIDTH, 2)], epochs),
    }


if __name__ == "__main__":
    run(main)
