"""What all examples share: where the data is, how an example is called, pictures in a grid."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thalweg.errors import DataError, ThalwegError

__all__ = ["MissingDataError", "data_file", "run", "save_grid"]

Array = np.ndarray[Any, Any]
Main = Callable[[bool, Path | None], dict[str, float]]


class MissingDataError(DataError):
    """A data file that does not come with the repository and was not found."""


def data_file(name: str) -> Path:
    """Return the path of a data file, such as ``"text/names.txt"``.

    The folder is that of the environment variable ``THALWEG_DATA``, else ``../shared/data`` beside
    the repository.

    Raises:
        MissingDataError: it is not there.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("THALWEG_DATA") or beside)
    path = folder / name
    if not path.is_file():
        raise MissingDataError(
            f"the data file {name!r} is not in {str(folder)!r}; set the environment variable "
            "THALWEG_DATA to the folder that holds it"
        )
    return path


def save_grid(images: Array, path: Path, columns: int = 10, scale: int = 2) -> Path:
    """Write grey images (n, height, width) with values from 0 to 1 as one PNG, row by row."""
    count, height, width = images.shape
    rows = -(-count // columns)
    grid = np.zeros((rows * columns, height, width))
    grid[:count] = np.clip(images, 0, 1)
    sheet = grid.reshape(rows, columns, height, width).swapaxes(1, 2)
    bytes_ = np.round(255 * sheet.reshape(rows * height, columns * width)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(bytes_.repeat(scale, 0).repeat(scale, 1)).save(path, optimize=True)
    return path


def run(main: Main) -> None:
    """Call an example as the command line says (``--short``, ``--out``), and print its figures.

    Raises:
        SystemExit: with code 2 and an error message, where the data or the call was wrong.
    """
    parser = argparse.ArgumentParser(description=(main.__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="a few seconds, a part of the data")
    parser.add_argument("--out", type=Path, help="folder for pictures; none are made without it")
    options = parser.parse_args()
    began = time.perf_counter()
    try:
        figures = main(options.short, options.out)
    except ThalwegError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    print()
    for name, value in figures.items():
        print(f"{name:<34}{value:.6g}")
    print(f"{'seconds':<34}{time.perf_counter() - began:.1f}")
