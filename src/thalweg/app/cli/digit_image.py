"""Any picture of a digit made into what the digits network knows: 28 x 28, light ink, centred."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.errors import DataError

__all__ = ["Prepared", "prepare_digit", "read_grey"]

Array = np.ndarray[Any, Any]
SIDE: Final = 28
BOX: Final = 20  # MNIST's digits were scaled to fit a box of this side
FAINT: Final = 0.15  # share of the darkest ink below which a pixel counts as paper
LEAST_CONTRAST: Final = 0.05  # of the whole range from black to white
LARGEST: Final = 50_000_000  # pixels; more would take gigabytes


@dataclass(frozen=True)
class Prepared:
    """An image for the network, uint8 (28, 28), and what was done to it."""

    pixels: Array
    inverted: bool
    unchanged: bool


def read_grey(path: Path) -> Array:
    """Return an image file of any mode as grey values, float32 (height, width), 0 black, 1 white.

    What is transparent counts as white paper if the ink is dark, as black if it is light.

    Raises:
        DataError: the file is missing, not an image, damaged or far too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                raise DataError(
                    f"{str(path)!r} has {image.width} x {image.height} pixels; wanted at most "
                    f"{LARGEST:,}. Scale it down."
                )
            image.load()
            return _grey(image)
    except FileNotFoundError as error:
        raise DataError(f"the image {str(path)!r} does not exist; check the path") from error
    except IsADirectoryError as error:
        raise DataError(
            f"{str(path)!r} is a folder; give image files, such as {path / '*.png'}"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{str(path)!r} is not an image that can be read; give a PNG or JPEG file"
        ) from error
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"the image {str(path)!r} is damaged or truncated: {error}. Save it anew as PNG"
        ) from error


def _grey(image: Any) -> Array:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values = np.asarray(image, dtype=np.float32)
        largest = 255.0 if values.max(initial=0) <= 255 else 65_535.0
        return np.asarray(np.clip(values / largest, 0, 1))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        both = np.asarray(image.convert("RGBA").convert("LA"), dtype=np.float32) / 255
        ink, alpha = both[..., 0], both[..., 1]
        shown = float((ink * alpha).sum() / max(float(alpha.sum()), 1e-6))
        paper = 1.0 if shown < 0.5 else 0.0  # white strokes on nothing would vanish on white
        if alpha.min(initial=1) >= 1:
            return ink
        return np.asarray(ink * alpha + paper * (1 - alpha), dtype=np.float32)
    return np.asarray(image.convert("L"), dtype=np.float32) / 255


def prepare_digit(grey: Array) -> Prepared:
    """Return the image as MNIST's were made: light on dark, in a 20 x 20 box, centred by mass.

    Dark ink on light paper, told by the image's border, is inverted. An image that already is
    28 x 28 with light ink on an empty border is taken as it is.

    Shapes: (height, width), 0 black to 1 white, to uint8 (28, 28).

    Raises:
        DataError: the image is empty, or of one shade.

    >>> picture = np.ones((50, 40), np.float32)
    >>> picture[10:40, 18:22] = 0  # a dark stroke
    >>> made = prepare_digit(picture)
    >>> made.inverted, made.pixels.shape, int(made.pixels.max())
    (True, (28, 28), 255)
    """
    if not grey.size or not np.isfinite(grey).all():
        raise DataError("it has no pixels, or values that are not numbers; save it anew as PNG")
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    contrast = float(grey.max() - grey.min())
    if contrast < LEAST_CONTRAST:
        raise DataError("it shows nothing: all of it has one shade. Give an image of a digit")
    # The border tells the paper; where it is half grey, the rarer shade is the ink.
    inverted = float(grey.max()) - paper < paper - float(grey.min())
    ink = np.clip(paper - grey if inverted else grey - paper, 0, None)
    ink /= ink.max()
    if grey.shape == (SIDE, SIDE) and not inverted and not border.any():
        return Prepared(np.rint(grey * 255).astype(np.uint8), False, True)
    ink[ink < FAINT] = 0
    return Prepared(_centred(_boxed(ink)), inverted, False)


def _boxed(ink: Array) -> Array:
    """Return the inked part, scaled so that its longer side is 20 pixels."""
    from PIL import Image

    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    part = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(part.shape)
    height, width = (max(1, round(n * scale)) for n in part.shape)
    # Pillow's resize averages over all pixels that fall together, so thin strokes survive.
    image = Image.fromarray(np.ascontiguousarray(part, dtype=np.float32))
    small = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(small / max(float(small.max()), 1e-6), 0, 1)


def _centred(box: Array) -> Array:
    """Return a 28 x 28 image with the centre of mass at pixel (14, 14), as far as the box allows.

    Numbered from 0: in the data set the centres lie between 13.5 and 14.5. One pixel beside costs
    one per cent of accuracy.
    """
    total = float(box.sum())
    made = np.zeros((SIDE, SIDE), np.uint8)
    place = []
    for axis in (0, 1):
        size = box.shape[axis]
        mass = box.sum(axis=1 - axis)
        centre = float((mass * np.arange(size)).sum()) / total
        place.append(min(max(round(SIDE / 2 - centre), 0), SIDE - size))
    y, x = place
    made[y : y + box.shape[0], x : x + box.shape[1]] = np.rint(box * 255).astype(np.uint8)
    return made
