"""What the models of images share: checks of their input, and PyTorch's order in flattening."""

from __future__ import annotations

from typing import Any

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.tensor.tensor import Tensor

__all__ = ["FlattenChannelsFirst", "check_image", "flatten_channels_first", "scaled",
           "with_channel_axis"]  # fmt: skip


def flatten_channels_first(x: Tensor) -> Tensor:
    """Join all axes after the batch with the channels slowest, as PyTorch's models do.

    Weights of a fully connected layer after it then mean the same as in a published file.

    Shape: ``(batch, height, width, channels)`` to ``(batch, channels * height * width)``.

    >>> flatten_channels_first(tw.reshape(tw.arange(4), (1, 1, 2, 2))).tolist()
    [[0, 2, 1, 3]]
    """
    batch, height, width, channels = x.shape
    if height * width > 1:
        x = tw.permute_dims(x, (0, 3, 1, 2))
    flat: Tensor = tw.reshape(x, (batch, height * width * channels))
    return flat


class FlattenChannelsFirst(nn.Module):
    """``flatten_channels_first`` as a layer, in the place of PyTorch's ``Flatten``.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, channels * height * width)``.

    Example:
        >>> FlattenChannelsFirst()(tw.zeros((2, 3, 4, 5))).shape
        (2, 60)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the images without their axes."""
        return flatten_channels_first(tw.asarray(x))


def with_channel_axis(x: Any) -> Tensor:
    """Return images with an axis of one channel where they have none.

    >>> with_channel_axis(tw.zeros((5, 28, 28))).shape
    (5, 28, 28, 1)
    """
    x = tw.asarray(x)
    return tw.expand_dims(x, -1) if x.ndim == 3 else x  # type: ignore[no-any-return]


def check_image(who: str, x: Any, shape: tuple[int, int, int]) -> None:
    """Raise a ShapeError unless images have a height, width and number of channels.

    >>> check_image("LeNet5", tw.zeros((2, 28, 28, 1)), (28, 28, 1))
    """
    got = tuple(x.shape)
    if got[1:] == shape and len(got) == 4:
        return
    height, width, channels = shape
    remedy = "scale or pad the images"
    if got[1:] == (channels, height, width):
        remedy = "they are channels-first: use tw.moveaxis(x, 1, -1)"
    elif got == shape:
        remedy = "the batch axis is missing: use x[None]"
    elif len(got) == 4 and got[1:3] == shape[:2]:
        remedy = f"make the model for images of {got[3]} channels"
    raise ShapeError(
        f"{who}: got images of shape {got}, wanted (batch, {height}, {width}, {channels}); "
        f"{remedy}. {where()}"
    )


def scaled(who: str, channels: int, width: float) -> int:
    """Return a number of channels times a width, at least 1.

    Raises:
        ArgumentError: the width is not above 0.

    >>> scaled("AlexNet", 64, 0.25)
    16
    """
    if not width > 0:
        raise ArgumentError(
            f"{who}: width multiplies the channels and must be above 0, got {width!r}. {where()}"
        )
    return max(1, round(channels * width))
