"""How the files of the named data sets are read: idx, binary batches, archives, tables."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import re
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.audio_files import fitted, read_audio
from thalweg.data.column_kinds import Column
from thalweg.data.tables import Table, read_table
from thalweg.data.text_files import read_text
from thalweg.errors import DataError, where

__all__ = ["read_idx"]

Array = np.ndarray[Any, Any]

CIFAR10_CLASSES: Final = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_ADULT_COLUMNS: Final = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country", "income",
)  # fmt: skip
_IDX_DTYPES: Final = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_SPOKEN: Final = re.compile(r"(\d)_(\w+)_(\d+)\.wav$")
_SPOKEN_RATE: Final = 8_000
# Hours of the parts of ETT: 12, 4 and 4 months of 30 days, as in Informer (arXiv:2012.07436).
_ETT: Final = {
    "train": (0, 8_640), "validation": (8_640, 11_520), "test": (11_520, 14_400),
    "all": (0, None),
}  # fmt: skip
_SHAKESPEARE_TRAIN: Final = 0.9  # the share that nanoGPT trains on
_DAMAGE: Final = (OSError, EOFError, ValueError, tarfile.TarError, zlib.error)


def read_idx(path: Path) -> Array:
    """Return the array of an idx file, gzipped or not.

    The format: two zero bytes, a byte for the type, a byte for the number of axes, the length of
    each as a big-endian 32-bit number, then the numbers.

    Raises:
        DataError: the file is damaged, cut off or of another format.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 7]))
        >>> read_idx(file).tolist()
        [5, 7]
    """
    with _named(path):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_DTYPES:
            raise ValueError(f"it does not begin as an idx file does: {raw[:4].hex()}")
        dtype, axes = np.dtype(_IDX_DTYPES[raw[2]]), raw[3]
        shape = np.frombuffer(raw, ">u4", axes, 4).tolist()
        numbers = np.frombuffer(raw, dtype, -1, 4 + 4 * axes).reshape(shape)
        return numbers.astype(dtype.newbyteorder("="))


def read_idx_pair(paths: list[Path], part: str) -> tuple[Array, Array]:
    """Return images (n, 28, 28) and labels (n,) of training or test files, uint8."""
    images, labels = paths[:2] if part == "train" else paths[2:]
    return read_idx(images), read_idx(labels)


def read_cifar10(paths: list[Path], part: str) -> tuple[Array, Array]:
    """Return images (n, 32, 32, 3) and labels (n,), uint8, of the binary batches or JPEG copies."""
    if "jpeg" in paths[0].name:
        return _cifar_copies(paths[0], part)
    wanted = "data_batch" if part == "train" else "test_batch"
    return _cifar_batches(paths[0], wanted, labels=1)


def read_cifar100(paths: list[Path], part: str) -> tuple[Array, Array]:
    """Return images (n, 32, 32, 3) and fine labels (n,), uint8."""
    return _cifar_batches(paths[0], part, labels=2)


def read_characters(paths: list[Path], part: str) -> tuple[Array]:
    """Return the characters of a text (n,), uint8: the first 90 % train, the rest validates."""
    characters = np.frombuffer(paths[0].read_bytes(), np.uint8)
    cut = int(len(characters) * _SHAKESPEARE_TRAIN)
    slices = {"train": slice(cut), "validation": slice(cut, None), "all": slice(None)}
    return (characters[slices[part]].copy(),)


def read_lines(paths: list[Path], part: str) -> tuple[Array]:
    """Return the lines of a text (n,), as objects."""
    return (np.array(read_text(paths[0]).split(), object),)


def read_messages(paths: list[Path], part: str) -> tuple[Array, Array]:
    """Return texts (n,) as objects, and labels (n,) int64: 0 for ham, 1 for spam."""
    rows = list(csv.reader(io.StringIO(read_text(paths[0])), delimiter="\t"))
    texts = np.array([row[1] for row in rows], object)
    return texts, np.array([row[0] == "spam" for row in rows], np.int64)


def read_whole_table(paths: list[Path], part: str) -> Table:
    """Return the table of a file."""
    return read_table(paths[0])


def read_adult(paths: list[Path], part: str) -> Table:
    """Return the table of people; the target is the column ``income``."""
    table = read_table(paths[0 if part == "train" else 1], names=_ADULT_COLUMNS)
    income = table.columns["income"]
    # In the published test file each label ends with a dot.
    values = np.array([word.rstrip(".") for word in income.values], object)
    columns = {**table.columns, "income": Column(income.kind, income.reason, values)}
    return Table(columns, table.describe)


def read_ett_hours(paths: list[Path], part: str) -> Table:
    """Return the table of hours, or the months of one part."""
    table = read_table(paths[0])
    start, stop = _ETT[part]
    return table.take(np.arange(start, len(table) if stop is None else stop))


def read_spoken_digits(paths: list[Path], part: str) -> tuple[Array, Array]:
    """Return sounds (n, 8000) float32, a second each, cut or filled, and labels (n,) int64.

    By the rule of the data set, recordings 0 to 4 of each speaker and digit are for testing. A
    small copy that has no others keeps number 4 for testing.
    """
    found = []
    for name, raw in _members(paths[0]):
        match = _SPOKEN.search(name)
        if match:
            found.append((int(match[1]), match[2], int(match[3]), raw))
    found.sort(key=lambda recording: recording[:3])
    small = max(number for _, _, number, _ in found) < 5
    sounds, labels = [], []
    for digit, _, number, raw in found:
        is_test = number == 4 if small else number < 5
        if is_test == (part == "test"):
            sounds.append(fitted(read_audio(io.BytesIO(raw), _SPOKEN_RATE)[0], _SPOKEN_RATE))
            labels.append(digit)
    return np.stack(sounds), np.array(labels, np.int64)


def _cifar_batches(path: Path, wanted: str, labels: int) -> tuple[Array, Array]:
    """Return images and the last of several labels of records of labels and 3,072 pixels."""
    with _named(path):
        parts = [
            np.frombuffer(raw, np.uint8).reshape(-1, labels + 3072)
            for name, raw in sorted(_members(path))
            if Path(name).name.startswith(wanted) and name.endswith(".bin")
        ]
        records = np.concatenate(parts)
    images = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, labels - 1].copy()


def _cifar_copies(path: Path, part: str) -> tuple[Array, Array]:
    """Return images and labels of JPEG copies in folders of classes."""
    from PIL import Image

    warnings.warn(
        f"cifar10: {path} holds JPEG copies of the images; accuracies on them do not compare with "
        "published ones",
        stacklevel=5,
    )
    images, labels = [], []
    for name, raw in sorted(_members(path)):
        pieces = Path(name).parts
        if len(pieces) >= 3 and pieces[-3] == part and name.endswith(".jpg"):
            with Image.open(io.BytesIO(raw)) as image:
                images.append(np.array(image.convert("RGB")))
            labels.append(CIFAR10_CLASSES.index(pieces[-2]))
    return np.stack(images), np.array(labels, np.uint8)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of each file of an archive; nothing is written to disk."""
    with _named(path), tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into an error that names it."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"{path} is damaged or of another format ({error}); remove it, so that it is brought "
            f"here again. {where()}"
        ) from error
