"""Images as pixels of one size, normalised by the channels of the training images."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from thalweg.data.features.transformer import (
    Group,
    Transformer,
    Values,
    checked_choice,
    checked_count,
)
from thalweg.errors import ArgumentError, DataError, where

__all__ = ["Pixels"]

Array = np.ndarray[Any, Any]
SCALES: Final = ("standard", "unit", "none")


class Pixels(Transformer):
    """Images of one size and number of channels, with mean 0 and deviation 1 in each channel.

    ``size``: height and width, or one number for both; left out, that of the training images, which
    must then be all of one. ``channels``: 1 (grey, by the weights of ITU-R 601) or 3 (colours);
    left out, that of the training images. ``scale``: ``"standard"`` by mean and deviation of each
    channel over the training images, ``"unit"`` from 0 to 1, ``"none"`` as they are. Whole numbers
    are taken as 0 to 255 (of 16 bits: 0 to 65535), floats as they are. Resizing is
    bilinear and anti-aliased (Pillow).

    Shapes: (n, height, width) or (n, height, width, channels), or (n,) of such images, to
    (n, height, width, channels) float32.

    Raises:
        ArgumentError: a size that is no whole number, channels that are not 1 or 3.
        DataError: something that is no image, images of several sizes without ``size``, or an
            infinite pixel: the row is named.

    Example:
        >>> images = np.zeros((2, 4, 4), np.uint8)
        >>> images[1] = 255
        >>> made = Pixels(size=2).fit(images)
        >>> made.transform(images).shape, made.transform(images).mean(axis=(1, 2, 3)).tolist()
        ((2, 2, 2, 1), [-1.0, 1.0])
    """

    group: ClassVar[Group] = "own"
    kinds: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self, *, size: int | tuple[int, int] | None = None, channels: int | None = None,
        scale: str = "standard",
    ) -> None:  # fmt: skip
        pair = None
        if size is not None:
            pair = [size, size] if isinstance(size, (int, np.integer)) else list(size)
            if len(pair) != 2:
                raise ArgumentError(f"size={size!r}, wanted a height and a width. {where()}")
            for one in pair:
                checked_count("size", one)
            pair = [int(one) for one in pair]
        if channels not in (None, 1, 3):
            raise ArgumentError(f"channels={channels!r}, wanted 1 or 3. {where()}")
        checked_choice("scale", scale, SCALES)
        super().__init__(size=pair, channels=channels, scale=scale)

    def describe(self) -> str:
        """Say in a line what was learned."""
        if not self.fitted:
            return super().describe()
        height, width = self.facts["size"]
        told = {"standard": "mean 0 and deviation 1", "unit": "0 to 1", "none": "as they are"}
        count = self.facts["channels"]
        return (
            f"Pixels: {height} x {width}, {count} channel{'s' * (count > 1)}, "
            f"{told[self.settings['scale']]}"
        )

    def feature_names(self, name: str) -> list[str]:
        """Return a name for each channel."""
        return [f"{name} {colour}" for colour in _colours(self.facts["channels"])]

    def _learn(self, column: Values) -> None:
        images = [_image(column, row) for row in range(len(column.values))]
        sizes = {image.shape[:2] for image in images}
        wanted = self.settings["size"]
        if wanted is None:
            if len(sizes) > 1:
                row = next(i for i, im in enumerate(images) if im.shape != images[0].shape)
                raise DataError(
                    f"column {column.name!r}: images have several sizes, such as "
                    f"{images[0].shape[:2]} and {images[row].shape[:2]} in {column.place(row)}; "
                    f"give Pixels a size. {where()}"
                )
            wanted = list(images[0].shape[:2])
        self.facts["size"] = [int(n) for n in wanted]
        most = max(image.shape[2] for image in images)
        self.facts["channels"] = self.settings["channels"] or (1 if most < 3 else 3)
        total = np.zeros((2, self.facts["channels"]))
        for image in images:
            pixels = self._shaped(image).astype(np.float64)
            total += pixels.mean(axis=(0, 1)), (pixels**2).mean(axis=(0, 1))
        mean, square = total / len(images)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        self.arrays["mean"] = mean
        self.arrays["deviation"] = np.where(deviation > 1e-6, deviation, 1.0)

    def _apply(self, column: Values) -> Array:
        height, width = self.facts["size"]
        shape = (len(column.values), height, width, self.facts["channels"])
        made = np.empty(shape, np.float32)
        for row in range(len(made)):
            made[row] = self._shaped(_image(column, row))
        if self.settings["scale"] == "standard":
            made -= self.arrays["mean"].astype(np.float32)
            made /= self.arrays["deviation"].astype(np.float32)
        return made

    def _shaped(self, image: Array) -> Array:
        """Return an image in the size and with the channels of all, from 0 to 1 if it was whole."""
        if image.dtype.kind in "iub" and self.settings["scale"] != "none":
            image = image / np.float32({"b1": 1, "u2": 65535}.get(image.dtype.str[1:], 255))
        image = image.astype(np.float32)[..., :3] if image.shape[2] != 2 else _grey(image)
        if self.facts["channels"] == 1 and image.shape[2] == 3:
            image = image @ np.array([[0.299], [0.587], [0.114]], np.float32)
        elif self.facts["channels"] == 3 and image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        return _resized(image, tuple(self.facts["size"]))


def _grey(image: Array) -> Array:
    """Return the first of grey and opacity."""
    return image[..., :1].astype(np.float32)


def _colours(count: int) -> tuple[str, ...]:
    return ("grey",) if count == 1 else ("red", "green", "blue")


def _image(column: Values, row: int) -> Array:
    """Return one image (height, width, channels)."""
    image = np.asarray(column.values[row])
    if image.ndim == 2:
        image = image[..., None]
    fits = image.ndim == 3 and 1 <= image.shape[2] <= 4 and image.size
    if not fits or image.dtype.kind not in "biuf":
        raise DataError(
            f"column {column.name!r}, {column.place(row)}: got shape {image.shape} and dtype "
            f"{image.dtype}, wanted an image (height, width) or (height, width, channels) of "
            f"numbers, with 1 to 4 channels. {where()}"
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DataError(
            f"column {column.name!r}, {column.place(row)}: the image holds pixels that are "
            f"infinite or no number; mend it or leave it out. {where()}"
        )
    return image


def _resized(image: Array, size: tuple[int, int]) -> Array:
    if image.shape[:2] == size:
        return image
    from PIL import Image

    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., c])).resize(
            (size[1], size[0]), Image.Resampling.BILINEAR
        )
        for c in range(image.shape[2])
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)
