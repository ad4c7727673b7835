"""The small convolutional network for images and spectrograms, sized by what goes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from thalweg import nn
from thalweg.tasks.settings import Settings

__all__ = ["convolutional", "default_channels", "with_schedule"]

_MOST: Final = 128  # channels of a stage
_LEAST: Final = 8  # pixels of the shorter side from which on it is halved once more
_FIRST: Final = 16  # channels of the first stage: a multiple of what a vector register holds
_LARGE: Final = 48  # pixels of the shorter side from which on the first convolution halves it
_WORK: Final = 1.5e8  # pixels of all epochs together: about a minute of two cores


def default_channels(height: int, width: int) -> tuple[int, ...]:
    """Return the channels of each stage: sides are halved between them until they are small.

    >>> default_channels(32, 32), default_channels(98, 20)
    ((16, 32, 64, 128), (16, 32, 64))
    """
    stages, side = 1, _first_side(min(height, width))
    while side >= _LEAST:
        stages, side = stages + 1, side // 2
    return tuple(min(_FIRST << stage, _MOST) for stage in range(stages))


def convolutional(
    height: int, width: int, channels: int, classes: int, stages: Sequence[int], dropout: float,
    seed: int, *, keep_width: bool = False,
) -> nn.Sequential:  # fmt: skip
    """Return an untrained network: convolutions with batch normalisation, pooling, one layer.

    Two 3 x 3 convolutions a stage (one in the first, where they cost most; there it halves sides
    from 48 pixels on), each followed by batch
    normalisation and ReLU; between stages the largest of 2 x 2; then the mean over height and
    width, dropout, and a linear layer. ``stages``: channels of each. ``keep_width``: the mean is
    over height only, so that where along the width something is still counts, as the pitch does
    in a spectrogram (time, bands).

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, classes)``.

    Example:
        >>> import thalweg as tw
        >>> network = convolutional(16, 16, 3, 5, default_channels(16, 16), 0.2, seed=0)
        >>> network(tw.zeros((2, 16, 16, 3))).shape
        (2, 5)

    K. Simonyan and A. Zisserman, arXiv:1409.1556; S. Ioffe and C. Szegedy, arXiv:1502.03167;
    M. Lin et al., "Network in network", arXiv:1312.4400, for the mean at the end.
    """
    layers: list[nn.Module] = []
    before = channels
    for number, after in enumerate(stages):
        if number and min(height, width) >= 2:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        for _ in range(2 if number else 1):
            stride = 2 if not number and min(height, width) >= _LARGE else 1
            layers += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False,
                          activation_hint="relu"),
                nn.BatchNorm2d(after), nn.ReLU(),
            ]  # fmt: skip
            before, height, width = after, -(-height // stride), -(-width // stride)
    if keep_width:
        layers += [nn.AdaptiveAvgPool2d((1, width)), nn.Flatten()]
        before *= width
    else:
        layers.append(nn.GlobalAvgPool())
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(before, classes), seed=seed)


def with_schedule(settings: Settings, count: int, height: int, width: int) -> Settings:
    """Return settings whose training is chosen by the number of samples and their pixels.

    >>> made = with_schedule(Settings(epochs=3), 2000, 32, 32)
    >>> made.epochs, made.batch_size
    (3, 64)
    """

    def one(given: Any, else_: Any) -> Any:
        return else_ if given is None else given

    batch = 16 if count < 250 else 32 if count < 1_000 else 64 if count < 10_000 else 128
    steps = max(1, count // batch)  # an epoch
    pixels = _first_side(height) * _first_side(width)
    epochs = int(np.clip(_WORK / (count * pixels), 12, 100))
    return replace(
        settings,
        hidden=one(settings.hidden, default_channels(height, width)),
        dropout=one(settings.dropout, 0.2),
        batch_size=one(settings.batch_size, batch),
        learning_rate=one(settings.learning_rate, 2e-3),
        weight_decay=one(settings.weight_decay, 5e-2),
        epochs=one(settings.epochs, epochs),
        patience=one(settings.patience, max(5, epochs // 4)),
        # The average of two epochs' weights stands for a learning rate that falls at the end.
        ema=one(settings.ema, round(1 - 1 / float(np.clip(2 * steps, 20, 500)), 4)),
    )


def _first_side(side: int) -> int:
    """Return a side after the first convolution."""
    return side if side < _LARGE else -(-side // 2)
