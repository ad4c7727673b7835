"""``thalweg predict``: the class that a saved model sees in each image, with probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.app.cli.digit_image import Prepared, prepare_digit, read_grey
from thalweg.app.cli.digits_network import SIDE, unit_range
from thalweg.app.cli.reporting import WRONG, fail, say
from thalweg.errors import DataError, FormatError, ThalwegError
from thalweg.formats import ModelInfo, info, load
from thalweg.nn import Module
from thalweg.train import predict

__all__ = ["is_digits", "model_file", "predict_images"]

Array = np.ndarray[Any, Any]


def is_digits(path: Path) -> bool:
    """Whether a model file, or the one in a folder, was saved by ``thalweg train digits``.

    A name that is no folder and does not exist is taken for one, whose error names what is near.
    """
    file = model_file(path)
    if not file.is_file():
        return not path.is_dir()
    digits = info(file).preprocessing.get("kind") == "digits"
    return digits or not (path.is_dir() or (file.parent / "pipeline.safetensors").is_file())


def model_file(path: Path) -> Path:
    """Return the model file at a path, or that of the folder.

    >>> model_file(Path("runs/a.safetensors")).name
    'a.safetensors'
    """
    return path / "model.safetensors" if path.is_dir() else path


def predict_images(path: Path, images: Sequence[Path], as_json: bool) -> int:
    """Print class and probabilities of each image; return the exit code.

    An image that cannot be read is told and passed over; the exit code is then 2.

    Raises:
        FormatError: the model file cannot be used.
    """
    path = model_file(path)
    told = info(path)
    if told.preprocessing.get("kind") != "digits":
        kind = told.preprocessing.get("kind", "something else")
        raise FormatError(
            f"{str(path)!r} was trained on {kind}, not on images of digits; give a model that "
            "`thalweg train digits` has saved"
        )
    model = load(path)
    code = 0
    for image in images:
        try:
            prepared = _read(image)
        except DataError as error:
            fail(str(error))
            code = WRONG
            continue
        shares = _probabilities(model, prepared.pixels, path)
        names = told.classes or [str(i) for i in range(len(shares))]
        if len(names) != len(shares):
            raise FormatError(_mismatch(path, told, len(shares)))
        say(_as_json(image, prepared, names, shares) if as_json else
            _as_text(image, prepared, names, shares))  # fmt: skip
    return code


def _read(image: Path) -> Prepared:
    grey = read_grey(image)
    try:
        return prepare_digit(grey)
    except DataError as error:
        raise DataError(f"the image {str(image)!r} cannot be used: {error}") from error


def _probabilities(model: Module, pixels: Array, path: Path) -> Array:
    try:
        logits = predict(model, pixels.reshape(1, SIDE, SIDE), transform=unit_range)
    except ThalwegError as error:
        raise FormatError(
            f"{str(path)!r} does not take images of {SIDE} x {SIDE} pixels: its architecture is "
            f"another. {error}"
        ) from error
    shares = np.exp(logits[0].astype(np.float64) - logits[0].max())
    return np.asarray(shares / shares.sum())


def _mismatch(path: Path, told: ModelInfo, outputs: int) -> str:
    return (
        f"{str(path)!r} names {len(told.classes or [])} classes and has {outputs} outputs; the "
        "file was changed. Train the model again."
    )


def _as_json(image: Path, prepared: Prepared, names: list[str], shares: Array) -> str:
    best = int(np.argmax(shares))
    return json.dumps({
        "image": str(image), "class": names[best], "inverted": prepared.inverted,
        "probabilities": dict(zip(names, map(float, shares), strict=True)),
    })  # fmt: skip


def _as_text(image: Path, prepared: Prepared, names: list[str], shares: Array) -> str:
    best = int(np.argmax(shares))
    remark = "  (dark on light: inverted)" if prepared.inverted else ""
    width = max(map(len, names))
    lines = [f"{image}: {names[best]}{remark}"]
    for name, share in zip(names, shares, strict=True):
        bar = "#" * round(40 * float(share))
        lines.append(f"  {name:>{width}}  {100 * share:6.2f} %  {bar}".rstrip())
    return "\n".join(lines)
