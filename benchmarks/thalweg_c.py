"""Thalweg as a contender of the referee suite.

thalweg: whole passes over the resident batches in one native call (``Compiled.repeat``).
thalweg-step: one call a step. thalweg-bf16: contractions on bfloat16 operands, whole passes. The
networks are in thalweg_models.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for thalweg_models
BF16 = {"mlp-large", "resnet18-cifar", "gpt-small"}  # where the peers have such a variant
IMAGES = {"lenet", "cnn-cifar", "resnet18-cifar", "vit-tiny", "dcgan-28"}


def variants(w: Any) -> list[str]:
    """Return the variants that can run a workload."""
    if w.kind == "infer":
        return ["thalweg"]
    return ["thalweg", "thalweg-step", *(["thalweg-bf16"] if w.name in BF16 else [])]


def env(variant: str, threads: int) -> dict[str, str]:
    """Return the environment of the measured process."""
    return {"THALWEG_THREADS": str(threads)}


def load(threads: int) -> None:
    """Import the library."""
    import thalweg  # noqa: F401


def loss_of(w: Any) -> Any:
    """Return the workload's loss of predictions and targets."""
    import thalweg as tw

    if w.name == "mlp-nielsen":
        return tw.nn.losses.quadratic
    if w.name in ("mlp-tabular", "autoencoder"):
        return tw.nn.losses.mse
    if w.name.startswith("gpt"):
        return lambda z, y: tw.nn.losses.cross_entropy(
            tw.reshape(z, (-1, z.shape[-1])), tw.reshape(y, (-1,))
        )
    return tw.nn.losses.cross_entropy


def optimizer_of(w: Any, model: Any) -> Any:
    """Return the workload's optimiser."""
    import thalweg as tw

    o = w.opt
    if o["kind"] == "sgd":
        return tw.optim.SGD(model, learning_rate=o["lr"], momentum=o["momentum"], l2=o["wd"])
    options = {"learning_rate": o["lr"], "betas": o["betas"], "eps": o["eps"]}
    if o["kind"] == "adam":
        return tw.optim.Adam(model, **options)
    groups = [tw.optim.no_decay_on_biases_and_norms] if w.name.startswith("gpt") else None
    return tw.optim.AdamW(model, weight_decay=o["wd"], groups=groups, **options)


class Train:
    """Training: cycles over the resident batches."""

    def __init__(self, variant: str, w: Any) -> None:
        import thalweg_models as models

        import thalweg as tw

        data = w.data()
        self.x, self.y = data["x"], data.get("y", data.get("z", data["x"]))
        if w.name in IMAGES:
            self.x = models.channels_last(self.x)
        self.nb, self.at = w.nb, 0
        self.model = models.model_of(w)
        if w.name == "dcgan-28":
            self.optimizer = (optimizer_of(w, self.model.G), optimizer_of(w, self.model.D))
            self.step = tw.compile(adversarial_step)
        else:
            self.optimizer = optimizer_of(w, self.model)
            low = "bfloat16" if variant.endswith("bf16") else "float32"
            self.step = tw.compile(plain_step(loss_of(w), low))
        self.whole = variant != "thalweg-step"
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


def plain_step(loss: Any, precision: str) -> Any:
    """Return a training step with one loss, its contractions on operands of a precision."""
    import thalweg as tw

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        with tw.autocast(precision):
            value, grads = tw.value_and_grad(lambda m, a, b: loss(m(a), b))(model, x, y)
        optimizer.update(grads)
        return value

    return step


def adversarial_step(gan: Any, optimizers: Any, x: Any, z: Any) -> Any:
    """Train the discriminator, then the generator through it; return the sum of the losses."""
    import thalweg as tw

    def bce(logits: Any, target: float) -> Any:
        return tw.mean(tw.softplus(-logits if target else logits))

    fake = gan.G(z)
    loss_d, grads = tw.value_and_grad(lambda d: bce(d(x), 1.0) + bce(d(fake), 0.0))(gan.D)
    optimizers[1].update(grads)
    loss_g, grads = tw.value_and_grad(lambda g: bce(gan.D(g(z)), 1.0))(gan.G)
    optimizers[0].update(grads)
    return loss_d + loss_g


class Infer:
    """Inference of one example."""

    def __init__(self, w: Any) -> None:
        import thalweg_models as models

        import thalweg as tw

        self.model = models.model_of(w).eval()
        if w.name == "inf-gpt-decode":
            self.decoder, self.at, self.length = models.Decoder(self.model, w.cfg), 0, w.cfg["T"]
            self.forward = tw.compile(lambda decoder, token, place: decoder(token, place))
            self.call = self.next_token
            return
        turned = (lambda x: tw.permute_dims(x, (0, 2, 3, 1))) if w.conv else (lambda x: x)
        self.forward = tw.compile(lambda model, x: model(turned(x)))

    def call(self, x: Any) -> Any:
        """Return the outputs for an example."""
        return self.forward(self.model, x).numpy()

    def next_token(self, x: Any) -> Any:
        """Return the logits after one more token."""
        y = self.forward(self.decoder, x, np.int64(self.at)).numpy()
        self.at = (self.at + 1) % self.length
        return y


def build(variant: str, w: Any, threads: int) -> Any:
    """Return the object that the suite measures."""
    os.environ.setdefault("THALWEG_THREADS", str(threads))
    return Infer(w) if w.kind == "infer" else Train(variant, w)
