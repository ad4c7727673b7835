"""One neuron with a step against one with a sigmoid: why the perceptron learns poorly.

F. Rosenblatt, "The perceptron" (1958), doi:10.1037/h0042519; M. Minsky and S. Papert, "Perceptrons"
(1969); D. Rumelhart, G. Hinton and R. Williams, "Learning representations by back-propagating
errors" (1986), doi:10.1038/323533a0, who replace the step by a smooth unit.

Seen: (1) a small change of the weights changes nothing of a step's answer or turns it over, so that
its gradient is 0 and gradient descent stands still; a sigmoid's answer changes a little. (2) On two
clouds of points that a line separates, the perceptron's own rule ends without a mistake. (3) On
clouds that overlap the rule never ends: each mistake throws the line about, and its accuracy
jumps from epoch to epoch, while the sigmoid settles near the best line there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import run

import thalweg as tw
from thalweg import nn

Array = np.ndarray[Any, Any]


def clouds(distance: float, count: int = 1000) -> tuple[Array, Array]:
    """Return points (count, 2) around two centres, and their class; 0 in x is the best line."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, count)
    points = generator.normal(size=(count, 2))
    points[:, 0] += distance * (labels - 0.5)
    return points.astype(np.float32), labels


def gradient_norm(activation: nn.Module, x: Array, labels: Array) -> float:
    """Return the norm of the loss's gradient by the weights of a neuron, before any training."""
    neuron = nn.Sequential(nn.Linear(2, 1), activation, seed=1)
    targets = labels[:, None].astype(np.float32)
    gradients = tw.grad(lambda model: nn.losses.mse(model(tw.tensor(x)), targets))(neuron)
    return float(sum((np.square(g.numpy()).sum() for g in gradients.values()), 0.0) ** 0.5)


def trained_accuracy(activation: nn.Module, x: Array, labels: Array, epochs: int) -> float:
    """Return the accuracy of a neuron after gradient descent, by answers above or below a half."""
    neuron = nn.Sequential(nn.Linear(2, 1), activation, seed=1)
    targets = labels[:, None].astype(np.float32)
    tw.fit(
        neuron, (x, targets), loss="mse", optimizer="sgd", learning_rate=0.5, epochs=epochs,
        batch_size=50, validation=None, progress=False,
    )  # fmt: skip
    return float(((neuron(x).numpy()[:, 0] > 0.5) == labels).mean())


def rule_accuracies(x: Array, labels: Array, epochs: int) -> Array:
    """Return the accuracy after each epoch of the perceptron's own rule, (epochs,)."""
    unit = tw.models.Perceptron(2)
    accuracies = []
    for _ in range(epochs):
        unit.fit(x, labels, epochs=1)
        accuracies.append((unit(x).numpy() == labels).mean())
    return np.array(accuracies)


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Compare gradients, and learning on clouds that a line separates and clouds that overlap."""
    epochs = 20 if short else 200
    apart, overlapping = clouds(8.0), clouds(2.0)
    rule = rule_accuracies(*overlapping, epochs)
    late = rule[len(rule) // 2 :]
    best = float(((overlapping[0][:, 0] > 0) == overlapping[1]).mean())
    return {
        "gradient_of_step": gradient_norm(nn.Step(), *overlapping),
        "gradient_of_sigmoid": gradient_norm(nn.Sigmoid(), *overlapping),
        "descent_accuracy_step": trained_accuracy(nn.Step(), *overlapping, epochs),
        "descent_accuracy_sigmoid": trained_accuracy(nn.Sigmoid(), *overlapping, epochs),
        "best_line_accuracy": best,
        "rule_epochs_when_apart": tw.models.Perceptron(2).fit(*apart).epochs,
        "rule_worst_accuracy_overlapping": float(late.min()),
        "rule_best_accuracy_overlapping": float(late.max()),
    }


if __name__ == "__main__":
    run(main)
