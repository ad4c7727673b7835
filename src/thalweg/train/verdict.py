"""What the curves of a run say about it: does it overfit, since when, and what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

__all__ = ["SETTLED", "VALIDATION", "Verdict", "judge"]

VALIDATION: Final = "validation_"  # what the names of metrics on the validation set begin with
_WORSE: Final = 0.05  # share by which the validation loss must rise above its least to count
_LAST: Final = 3  # epochs whose mean is compared with the best one
_SURE: Final = 3.0  # times its noise that the validation loss must rise to count
_APART: Final = 0.25  # gap between the losses, as a share of the validation loss, that counts
SETTLED: Final = 0.1  # share of the first loss below which a loss only wavers, and does not diverge
_FALLING: Final = 0.02  # share by which a loss that still falls gets smaller in an epoch
_TRIES: Final[dict[str, tuple[str, ...]]] = {
    "overfitting": (
        "stop early and keep the best epoch: early_stopping=3",
        "more data, or augment=...",
        "weight decay: optimizer=\"adamw\" with a larger weight_decay",
        "dropout: nn.Dropout(0.2) before the last layers",
        "a smaller network, or ema=0.999",
    ),
    "underfitting": (
        "a larger network, or more features",
        "another learning rate: trainer.find_learning_rate(data)",
        "less dropout, weight decay and augmentation",
        "inputs at a scale near 1 (mean 0, deviation 1)",
    ),
    "diverging": (
        "a smaller learning rate: trainer.find_learning_rate(data)",
        "a warm-up: thalweg.optim.linear_warmup",
        "clip_norm=1.0",
        "inputs and targets at a scale near 1",
    ),
    "still learning": ("more epochs", "a larger learning rate: trainer.find_learning_rate(data)"),
    "fitting": (),
    "unknown": ("give a validation set (validation=0.1) and at least 3 epochs",),
}


@dataclass(frozen=True)
class Verdict:
    """A judgement on a run.

    ``kind``: ``"overfitting"``, ``"underfitting"``, ``"diverging"``, ``"still learning"``,
    ``"fitting"`` or ``"unknown"``. ``since``: the epoch after which the validation loss got worse,
    or None. ``gap``: validation loss minus training loss at the end. ``text``: the reasons with
    their numbers. ``tries``: what may help, the first thing first. ``findings``: what was noticed
    on the way. As text it is a short report.

    >>> print(Verdict("fitting", "losses fall together"))
    fitting: losses fall together
    """

    kind: str
    text: str
    since: int | None = None
    gap: float | None = None
    tries: tuple[str, ...] = ()
    findings: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.text}"]
        lines += [f"noticed: {text}" for text in self.findings]
        lines += [f"try: {text}" for text in self.tries]
        return "\n".join(lines)


def judge(
    metrics: Mapping[str, Sequence[float]], findings: Sequence[Mapping[str, Any]] = ()
) -> Verdict:
    """Return the verdict on the losses of a run, epoch by epoch.

    ``metrics``: ``"loss"`` and, if there was a validation set, ``"validation_loss"``. The training
    loss of an epoch is the mean over its steps, so that it lags half an epoch behind; that is
    allowed for.

    >>> judge({"loss": [2.0, 1.0, 0.7, 0.6], "validation_loss": [1.9, 1.1, 0.7, 0.7]}).kind
    'fitting'
    """
    noticed = tuple(str(f["text"]) for f in findings)
    losses = np.asarray(metrics.get("loss", ()), np.float64)
    held = np.asarray(metrics.get(VALIDATION + "loss", ()), np.float64)
    kind, text, since, gap = _judged(losses, held)
    return Verdict(kind, text, since, gap, _TRIES[kind], noticed)


def _judged(losses: Any, held: Any) -> tuple[str, str, int | None, float | None]:
    if len(losses) < 3:
        return "unknown", f"{len(losses)} epochs tell too little", None, None
    for name, curve in (("training", losses), ("validation", held)):
        if len(curve) and not np.isfinite(curve).all():
            first = int(np.flatnonzero(~np.isfinite(curve))[0])
            kind = "diverging" if name == "training" else "unknown"
            text = f"the {name} loss is {curve[first]} in epoch {first + 1}"
            return kind, text, first if kind == "diverging" else None, None
    least = float(losses.min())
    high = losses[-1] > SETTLED * losses[0]
    if losses[-1] > losses[0] or (least > 0 and high and losses[-1] > 2 * least):
        return (
            "diverging",
            f"the training loss rose from {least:.4g} (epoch {int(losses.argmin()) + 1}) to "
            f"{losses[-1]:.4g}", int(losses.argmin()) + 1, None,
        )  # fmt: skip
    if len(held) < 3:
        return (
            "unknown", f"the training loss fell from {losses[0]:.4g} to {losses[-1]:.4g}, but "
            "there is no validation set to compare it with", None, None,
        )  # fmt: skip
    return _compared(losses, held)


def _compared(losses: Any, held: Any) -> tuple[str, str, int | None, float | None]:
    best = int(held.argmin())
    now = float(losses[-2:].mean())  # half an epoch ago on the mean, and half an epoch ahead
    gap = float(held[-1]) - now
    # Where nearly nothing is left of the first loss, a part of that little is nothing.
    size = max(abs(float(held[best])), SETTLED * SETTLED * abs(float(held[0])), 1e-12)
    rise = float(held[max(best, len(held) - _LAST) :].mean()) - float(held[best])
    if rise > max(_WORSE * size, _SURE * _noise(held)) and losses[-1] < losses[best]:
        return (
            "overfitting",
            f"since epoch {best + 1} the validation loss rose from {held[best]:.4g} to "
            f"{held[-1]:.4g}, while the training loss fell from {losses[best]:.4g} to "
            f"{losses[-1]:.4g}; the gap is {gap:.4g}", best + 1, gap,
        )  # fmt: skip
    if _falls(held):
        return (
            "still learning",
            f"the validation loss still falls, from {held[-2]:.4g} to {held[-1]:.4g} in the last "
            "epoch", None, gap,
        )  # fmt: skip
    if gap > _APART * size:
        return (
            "overfitting",
            f"the validation loss stands at {held[-1]:.4g}, the training loss at {losses[-1]:.4g}: "
            f"a gap of {gap:.4g}; more training widens it", best + 1, gap,
        )  # fmt: skip
    if losses[-1] > 0.7 * losses[0] and held[-1] > 0.7 * held[0]:
        return (
            "underfitting",
            f"the training loss fell only from {losses[0]:.4g} to {losses[-1]:.4g} and stands "
            "still", None, gap,
        )  # fmt: skip
    return (
        "fitting",
        f"training loss {losses[-1]:.4g} and validation loss {held[-1]:.4g} are near each other "
        "and stand still", None, gap,
    )  # fmt: skip


def _noise(values: Any) -> float:
    """Return by how much a curve wavers from epoch to epoch, whatever its course.

    Second differences of white noise have sqrt(6) times its deviation, those of a line are 0.
    """
    bends = np.diff(values[len(values) // 3 :], 2)  # the first epochs fall steeply
    return 1.4826 * float(np.median(np.abs(bends))) / 6**0.5 if len(bends) > 2 else 0.0


def _falls(values: Any) -> bool:
    """Return whether a curve fell in the last epoch and over the last three."""
    least = int(values.argmin()) == len(values) - 1
    return least and bool(values[-1] < (1 - _FALLING) * values[-2])
