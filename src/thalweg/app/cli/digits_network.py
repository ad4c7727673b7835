"""The network for handwritten digits, as the commands ``train`` and ``explain`` make it."""

from __future__ import annotations

from typing import Any, Final

from thalweg import nn, optim
from thalweg.errors import ArgumentError
from thalweg.train import Trainer

__all__ = ["SIDE", "make_network", "make_trainer", "unit_range"]

SIDE: Final = 28  # pixels along each side of an image
CLASSES: Final = 10
DECAY: Final = 0.01  # of AdamW, which has it decoupled


def unit_range(images: Any) -> Any:
    """Return bytes as float32 numbers from 0 (paper) to 1 (ink); inside of the compiled step.

    >>> import thalweg as tw
    >>> unit_range(tw.tensor([0, 255], dtype="uint8"))
    Tensor([0., 1.], dtype=float32)
    """
    return images.astype("float32") / 255


def hidden_sizes(text: str) -> list[int]:
    """Return the sizes of the hidden layers, given as ``"256,128"`` or ``"none"``.

    Raises:
        ArgumentError: something else.

    >>> hidden_sizes("256,128"), hidden_sizes("none")
    ([256, 128], [])
    """
    if text.strip().lower() in ("", "none"):
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= 65_536 for part in parts):
        raise ArgumentError(
            f"--hidden {text!r}: wanted whole numbers from 1 to 65536 with commas between them, "
            "such as 256,128, or none"
        )
    return [int(part) for part in parts]


def make_network(hidden: str, dropout: float, seed: int) -> nn.Sequential:
    """Return an untrained network: images (n, 28, 28) in the unit range to logits (n, 10).

    Raises:
        ArgumentError: sizes that are not sizes.

    >>> len(make_network("16", 0.0, seed=0))
    4
    """
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = SIDE * SIDE
    for units in hidden_sizes(hidden):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, CLASSES), seed=seed)


def make_trainer(
    model: nn.Module, optimizer: str, learning_rate: float | None, steps: int, events: Any = ()
) -> Trainer:
    """Return a trainer whose learning rate falls along half a cosine over ``steps`` steps.

    Raises:
        ArgumentError: an unknown optimiser, or an illegal learning rate.

    >>> make_trainer(make_network("16", 0.0, seed=0), "adamw", None, steps=10).names
    ['loss', 'accuracy']
    """
    kind = optim.get(optimizer)
    options: dict[str, Any] = {"weight_decay": DECAY} if kind is optim.AdamW else {}
    if learning_rate is not None:
        options["learning_rate"] = learning_rate
    made = kind(model, **options)
    if made.runs_compiled:  # one that decides in Python, such as L-BFGS, chooses its own steps
        made.learning_rate = optim.cosine(made.learning_rate, steps=max(steps, 1))
    return Trainer(model, "cross_entropy", made, transform=unit_range, events=events)
