"""Thalweg as a contender of the referee suite: the fully connected workloads and their inference.

thalweg: whole passes over the resident batches in one native call (``Compiled.repeat``).
thalweg-step: one call a step. Linear weights are stored (in, out), the transpose of PyTorch's.
"""

from __future__ import annotations

import os
from typing import Any

ACTIVATIONS = {
    "mlp-nielsen": ("Sigmoid", "Sigmoid"),
    "mlp-small": ("ReLU", None),
    "mlp-large": ("ReLU", "ReLU", None),
    "mlp-tabular": ("ReLU", "ReLU", None),
    "autoencoder": ("ReLU", "ReLU", "ReLU", "Sigmoid"),
    "inf-mlp-small": ("ReLU", None),
}


def variants(w: Any) -> list[str]:
    """Return the variants that can run a workload."""
    if w.name not in ACTIVATIONS:
        return []
    return ["thalweg"] if w.kind == "infer" else ["thalweg", "thalweg-step"]


def env(variant: str, threads: int) -> dict[str, str]:
    """Return the environment of the measured process."""
    return {"THALWEG_THREADS": str(threads)}


def load(threads: int) -> None:
    """Import the library."""
    import thalweg  # noqa: F401


def model_of(w: Any) -> Any:
    """Return the workload's network with the shared initial parameters."""
    import thalweg as tw

    given = w.init()
    layers: list[Any] = []
    for name in ACTIVATIONS[w.name]:
        position = len(layers)
        out_features, in_features = given[f"{position}.weight"].shape
        layers.append(tw.nn.Linear(in_features, out_features))
        if name:
            layers.append(getattr(tw.nn, name)())
    model = tw.nn.Sequential(*layers)
    state = {
        k: v.T.copy() if k.endswith("weight") else v.copy() for k, v in given.items()
    }
    model.load_state_dict(state)
    return model


def loss_of(w: Any) -> Any:
    """Return the workload's loss of predictions and targets."""
    import thalweg as tw

    if w.name == "mlp-nielsen":
        return tw.nn.losses.quadratic
    if w.name in ("mlp-tabular", "autoencoder"):
        return tw.nn.losses.mse
    return tw.nn.losses.cross_entropy


def optimizer_of(w: Any, model: Any) -> Any:
    """Return the workload's optimiser."""
    import thalweg as tw

    o = w.opt
    if o["kind"] == "sgd":
        return tw.optim.SGD(model, learning_rate=o["lr"])
    return tw.optim.Adam(model, learning_rate=o["lr"], betas=o["betas"],
                         eps=o["eps"])  # fmt: skip


class Train:
    """Training: cycles over the resident batches."""

    def __init__(self, variant: str, w: Any) -> None:
        import thalweg as tw

        data = w.data()
        self.x, self.y = data["x"], data.get("y", data["x"])
        self.nb, self.at = w.nb, 0
        self.model = model_of(w)
        self.optimizer = optimizer_of(w, self.model)
        loss = loss_of(w)

        @tw.compile
        def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
            value, grads = tw.value_and_grad(lambda m, a, b: loss(m(a), b))(model, x, y)
            optimizer.update(grads)
            return value

        self.step = step
        self.whole = variant == "thalweg"
        self.granularity = w.nb if self.whole else 1
        self.steps = (tw.steps(self.x), tw.steps(self.y))

    def run(self, n: int) -> float:
        """Take n more steps and return the last loss."""
        if self.whole:
            for _ in range(n // self.nb):
                losses = self.step.repeat(self.model, self.optimizer, *self.steps)
            return float(losses.numpy()[-1])
        for _ in range(n):
            loss = self.step(self.model, self.optimizer, self.x[self.at], self.y[self.at])
            self.at = (self.at + 1) % self.nb
        return float(loss.item())


class Infer:
    """Inference of one example."""

    def __init__(self, w: Any) -> None:
        import thalweg as tw

        self.model = model_of(w).eval()
        self.forward = tw.compile(lambda model, x: model(x))

    def call(self, x: Any) -> Any:
        """Return the outputs for an example."""
        return self.forward(self.model, x).numpy()


def build(variant: str, w: Any, threads: int) -> Any:
    """Return the object that the suite measures."""
    os.environ.setdefault("THALWEG_THREADS", str(threads))
    return Infer(w) if w.kind == "infer" else Train(variant, w)
