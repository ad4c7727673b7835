"""Images: lists of pixels, or files, for a run folder of the task ``images``."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.app.cli.digit_image import read_grey
from thalweg.app.serve.limits import Refusal
from thalweg.app.serve.readers.reader import Reader, TaskReader
from thalweg.errors import DataError

__all__ = ["PicturesReader", "decoded", "from_base64", "grey_of"]

Array = np.ndarray[Any, Any]
_LARGEST: Final = 25_000_000  # pixels; a small file can unfold into gigabytes
_SIDE: Final = 4096  # pixels along a side that come as numbers
_WANTED: Final = (
    "rows of pixels from 0 to 255, [[0, 255], ...] for grey and [[[255, 0, 0], ...], ...] for "
    "colours, or a PNG or JPEG file as base64 text"
)


def from_base64(reader: Reader, value: str, number: int) -> bytes:
    """Return the bytes of base64 text, with or without the head of a data URI.

    Raises:
        Refusal: 422, it is no base64.
    """
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise reader.wrong(number, value, "base64 text (RFC 4648) of a file") from None
    if not raw:
        raise reader.wrong(number, value, "base64 text of a file, not of nothing")
    return raw


def decoded(raw: bytes) -> Any:
    """Return the Pillow image of a file, turned the way its EXIF orientation says.

    Raises:
        DataError: it is no image, damaged or far too large.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(raw)) as opened:
            if opened.width * opened.height > _LARGEST:
                raise DataError(
                    f"the image has {opened.width} x {opened.height} pixels; wanted at most "
                    f"{_LARGEST:,}: scale it down"
                )
            opened.load()
            return ImageOps.exif_transpose(opened)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"the image has too many pixels; at most {_LARGEST:,}") from None
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, OverflowError) as error:
        raise DataError(
            f"{len(raw):,} bytes cannot be decoded as an image "
            f"({type(error).__name__}); send a whole PNG or JPEG file"
        ) from error


def grey_of(raw: bytes) -> Array:
    """Return an image file as grey values float32 (height, width), 0 black to 1 white.

    Raises:
        DataError: it is no image, damaged or far too large.
    """
    source: Any = io.BytesIO(raw)  # Pillow opens files and paths alike
    try:
        return read_grey(source)
    except DataError as error:
        raise DataError(str(error).replace(repr(str(source)), f"of {len(raw):,} bytes")) from error


class PicturesReader(TaskReader):
    """Images for a run folder; each is brought to the size that the network knows."""

    many: ClassVar[str] = "images"
    one: ClassVar[str] = "image"
    files: ClassVar[tuple[str, ...]] = ("image/png", "image/jpeg")

    def schema(self) -> dict[str, Any]:
        """Return the forms of an image."""
        value = {"type": "integer", "minimum": 0, "maximum": 255}
        grey = {"type": "array", "minItems": 1, "items": value}
        pixel = {"type": "array", "minItems": 3, "maxItems": 3, "items": value}
        colour = {"type": "array", "minItems": 1, "items": pixel}
        return {
            "description": f"{_WANTED}; all rows of one length",
            "anyOf": [
                {"type": "string", "format": "base64-image", "contentEncoding": "base64",
                 "contentMediaType": "image/png"},
                {"type": "array", "format": "pixels", "minItems": 1, "items": grey},
                {"type": "array", "format": "pixels", "minItems": 1, "items": colour},
            ],
        }  # fmt: skip

    def example(self) -> Any:
        """Return a small grey image."""
        return [[(16 * (x + y)) % 256 for x in range(16)] for y in range(16)]

    def parse(self, value: Any, number: int, truths: bool = True) -> Any:
        """Return pixels uint8 (height, width[, 3]), or the bytes of a file."""
        if isinstance(value, str):
            return from_base64(self, value, number)
        if not isinstance(value, list) or not value or len(value) > _SIDE:
            raise self.wrong(number, value, _WANTED)
        try:
            made = np.array(value)
        except ValueError:
            raise self.wrong(number, value, f"{_WANTED}, all rows of one length") from None
        fits = made.ndim == 2 or (made.ndim == 3 and made.shape[2] == 3)
        if not fits or made.dtype.kind not in "iu" or not made.size or made.shape[1] > _SIDE:
            raise self.wrong(number, value, f"{_WANTED}, all whole numbers in rows of one length")
        if (truths and _has_truth(value)) or made.min() < 0 or made.max() > 255:
            raise Refusal(422, f"{self.many}[{number}]: wanted whole numbers from 0 to 255 only")
        return made.astype(np.uint8)

    def open(self, raw: bytes) -> Any:
        """Return the bytes; the worker decodes them."""
        return raw

    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return the images as the task makes them ready."""
        parts = []
        for sample in samples:
            if isinstance(sample, bytes):
                sample = _pixels(decoded(sample))
            parts.append(self.task.read(sample[None]).inputs)
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _has_truth(value: Any) -> bool:
    """Whether true or false stand among numbers, where NumPy takes them for 1 and 0."""
    if isinstance(value, list):
        return any(map(_has_truth, value))
    return isinstance(value, bool)


def _pixels(image: Any) -> Array:
    """Return a Pillow image as uint8 (height, width, 1 or 3); what is transparent lies on white."""
    from PIL import Image

    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values = np.asarray(image, np.float32)
        scale = 1 if values.max(initial=0) <= 255 else 255 / 65_535
        shades: Array = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
        return shades[..., None]
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"), np.uint8)[..., None]
    return np.array(image.convert("RGB"), np.uint8)
