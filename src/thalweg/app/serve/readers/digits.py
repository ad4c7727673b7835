"""Digits: pixels as numbers, or pictures of any size, for a model of ``thalweg train digits``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.app.cli.digit_image import LEAST_CONTRAST, prepare_digit
from thalweg.app.cli.digits_network import CLASSES, SIDE, unit_range
from thalweg.app.serve.readers.pictures import from_base64, grey_of
from thalweg.app.serve.readers.reader import Reader, schema_of_classes, told_of_classes
from thalweg.errors import FormatError, where
from thalweg.formats import info, load
from thalweg.tasks.task import probabilities

__all__ = ["DigitsReader"]

Array = np.ndarray[Any, Any]
_PIXELS: Final = SIDE * SIDE
_NUMBERS: Final = "numbers from 0 (paper) to 255 (ink)"
_WANTED: Final = (
    f"{_PIXELS} numbers from 0 (paper) to 255 (ink), {SIDE} rows of {SIDE} such numbers, or a PNG "
    "or JPEG file as base64 text"
)


class _Picture:
    """A file, or an image of one shade: what needs more than its pixels to be told."""

    __slots__ = ("blank", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw, self.blank = raw, not raw

    def pixels(self) -> Any:
        """Return pixels (28, 28); all paper if there is no ink to find a digit by."""
        if self.raw:
            grey = grey_of(self.raw)
            self.blank = bool(grey.max() - grey.min() < LEAST_CONTRAST)
            if not self.blank:
                return prepare_digit(grey).pixels
        return 0


class DigitsReader(Reader):
    """Images of digits: 784 numbers, 28 x 28 of them, or a picture, which is cut out and centred.

    Raises:
        FormatError: the file is no model of digits.
    """

    many: ClassVar[str] = "images"
    one: ClassVar[str] = "image"
    files: ClassVar[tuple[str, ...]] = ("image/png", "image/jpeg")

    def __init__(self, path: Path) -> None:
        told = info(path)
        if told.preprocessing.get("kind") != "digits":
            raise FormatError(
                f"{str(path)!r} is no model of digits and lies in no run folder: give the folder "
                f"that `thalweg train` wrote. {where()}"
            )
        self.model, self.transform = load(path), unit_range
        self.classes = told.classes or [str(i) for i in range(CLASSES)]

    def schema(self) -> dict[str, Any]:
        """Return the three forms of an image."""
        value = {"type": "number", "minimum": 0, "maximum": 255}

        def row(length: int, items: dict[str, Any]) -> dict[str, Any]:
            return {"type": "array", "minItems": length, "maxItems": length, "items": items}

        return {
            "description": f"0 is paper and 255 is ink: {_WANTED}",
            "anyOf": [
                row(_PIXELS, value), row(SIDE, row(SIDE, value)),
                {"type": "string", "format": "base64-image", "contentEncoding": "base64",
                 "contentMediaType": "image/png"},
            ],
        }  # fmt: skip

    def answer_schema(self) -> dict[str, Any]:
        """Return the schema of a class with probabilities."""
        return schema_of_classes(self.classes)

    def example(self) -> Any:
        """Return an upright stroke, as a one has it."""
        made = np.zeros((SIDE, SIDE), int)
        made[5:23, 13:15] = 255
        return made.ravel().tolist()

    def parse(self, value: Any, number: int, truths: bool = True) -> Any:
        """Return pixels (28, 28), or a picture where there is more to do or to tell."""
        if isinstance(value, str):
            return _Picture(from_base64(self, value, number))
        if not isinstance(value, list) or len(value) not in (_PIXELS, SIDE):
            raise self.wrong(number, value, _WANTED)
        flat = value
        if len(value) == SIDE:
            if not all(isinstance(row, list) and len(row) == SIDE for row in value):
                raise self.wrong(number, value, _WANTED)
            flat = list(chain.from_iterable(value))
        if truths and bool in set(map(type, flat)):
            raise self.wrong(number, next(v for v in flat if type(v) is bool), _NUMBERS)
        try:
            # The quickest way from a list to an array; takes whole numbers from 0 to 255 only.
            pixels = np.frombuffer(bytes(flat), np.uint8)
        except (TypeError, ValueError, IndexError, OverflowError):
            pixels = self._fractions(flat, number)
        if pixels.min() == pixels.max():
            return _Picture(b"")
        return pixels.reshape(SIDE, SIDE)

    def _fractions(self, flat: list[Any], number: int) -> Array:
        """Return pixels (784,) of numbers that are not all whole."""
        for one in flat:
            if type(one) not in (int, float) or not 0 <= one <= 255:
                raise self.wrong(number, one, _NUMBERS)
        return np.array(flat, np.float32)

    def open(self, raw: bytes) -> Any:
        """Return the file; the worker decodes it."""
        return _Picture(raw)

    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return pixels float32 (n, 28, 28), 0 to 255."""
        made = np.empty((len(samples), SIDE, SIDE), np.float32)
        for i, sample in enumerate(samples):
            made[i] = sample.pixels() if type(sample) is _Picture else sample
        return (made,)

    def notes(self, samples: Sequence[Any]) -> list[str]:
        """Return a sentence for each image without a digit."""
        return [
            f"{self.many}[{i}] shows nothing: all of it has one shade"
            for i, sample in enumerate(samples) if type(sample) is _Picture and sample.blank
        ]  # fmt: skip

    def answers(self, outputs: Array) -> list[Any]:
        """Return classes with probabilities."""
        return told_of_classes(probabilities(outputs), self.classes)
