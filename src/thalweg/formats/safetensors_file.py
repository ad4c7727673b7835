"""The safetensors file format: named arrays and text, without any code, written and read here.

A file is eight bytes (the length of the header, little-endian), a header in JSON that gives every
array's dtype, shape and place, and the arrays' bytes. The format is small enough that reading it
here costs less than working around what the package ``safetensors`` leaves out (its NumPy half
knows no bfloat16, and its errors do not tell a truncated file from one of another kind); the tests
hold both against one another. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import ml_dtypes
import numpy as np

from thalweg.errors import DTypeError, FormatError
from thalweg.formats.atomic import write_whole

__all__ = ["read_file", "read_metadata", "read_tensors", "write_tensors"]

T = TypeVar("T")
Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]

_CODES: Final[dict[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I64": np.dtype("<i8"), "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U64": np.dtype("<u8"), "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
_NAMES: Final = {dtype: code for code, dtype in _CODES.items()}
_LONGEST_HEADER: Final = 100_000_000  # the format's own limit: protects against absurd lengths
_ALIGN: Final = 8  # the header is filled up with spaces, so that the arrays lie at whole words


def write_tensors(
    path: PathLike, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays, and text by names, to a safetensors file, whole or not at all.

    Raises:
        DTypeError: an array's dtype is not part of the format.
        OSError: the folder is missing or not writable, or the disk is full.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "a.safetensors")
    >>> write_tensors(path, {"x": np.arange(3)}, {"author": "me"})
    >>> read_tensors(path)["x"], read_metadata(path)
    (array([0, 1, 2]), {'author': 'me'})
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    arrays: list[Array] = []
    offset = 0
    # Widest numbers first, as the format's own writer does: then all of them are aligned.
    for name, value in sorted(tensors.items(), key=lambda kv: -np.asarray(kv[1]).dtype.itemsize):
        array = np.asarray(value)
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        if array.dtype not in _NAMES:
            raise DTypeError(
                f"{name} has dtype {array.dtype}, which safetensors files cannot hold; convert it "
                f"to one of {', '.join(str(d) for d in _NAMES)}"
            )
        end = offset + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, end]}  # fmt: skip
        arrays.append(array)
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGN)
    start = len(text).to_bytes(8, "little") + text
    write_whole(path, [start, *(a.reshape(-1).view(np.uint8).data for a in arrays if a.size)])


def read_tensors(path: PathLike) -> dict[str, Array]:
    """Return the arrays of a safetensors file by their names.

    Raises:
        FormatError: the file is missing, truncated, damaged or of another kind.
    """
    return read_file(path)[1]


def read_file(path: PathLike) -> tuple[dict[str, str], dict[str, Array]]:
    """Return the text and the arrays of a safetensors file, which is read once.

    The arrays are parts of one buffer, so that a large file is not copied in memory.

    Raises:
        FormatError: the file is missing, truncated, damaged or of another kind.
    """
    data = _bytes(path)
    length = min(int.from_bytes(bytes(data[:8]), "little"), _LONGEST_HEADER)
    header, start = _header(path, bytes(data[: 8 + length]), len(data))
    found = _metadata(path, header)
    return found, {name: _array(path, data, start, name, e) for name, e in header.items()}


def read_metadata(path: PathLike) -> dict[str, str]:
    """Return the text that a safetensors file holds beside its arrays.

    Raises:
        FormatError: the file is missing, truncated, damaged or of another kind.
    """
    size = _opened(path, lambda place: place.stat().st_size)
    first = bytes(_bytes(path, 8))
    length = min(int.from_bytes(first, "little"), _LONGEST_HEADER)
    header, _ = _header(path, bytes(_bytes(path, 8 + length)), size)
    return _metadata(path, header)


def _metadata(path: PathLike, header: dict[str, Any]) -> dict[str, str]:
    """Take the text out of a header."""
    found = header.pop("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        _damaged(path, "its metadata is not text by names")
    return found


def _bytes(path: PathLike, count: int = -1) -> Array:
    """Return the first bytes of a file, or all of them."""
    return _opened(path, lambda place: np.fromfile(place, np.uint8, count))


def _opened(path: PathLike, read: Callable[[Path], T]) -> T:
    place = Path(path)
    try:
        return read(place)
    except FileNotFoundError as error:
        raise FormatError(f"{str(place)!r} does not exist. {_instead(place)}") from error
    except IsADirectoryError as error:
        raise FormatError(f"{str(place)!r} is a folder. {_instead(place)}") from error
    except OSError as error:
        raise FormatError(f"{str(place)!r} cannot be read: {error.strerror}.") from error


def _instead(place: Path) -> str:
    """Return what a user may have meant by a path that is no file."""
    folder = place if place.is_dir() else place.parent
    try:
        near = sorted(folder.glob("*.safetensors"))[:3]
    except OSError:
        near = []
    if near:
        return f"Did you mean {' or '.join(repr(str(p)) for p in near)}?"
    return "Give the path of a model file, NAME.safetensors; `thalweg train` writes one."


def _header(path: PathLike, data: bytes, size: int) -> tuple[dict[str, Any], int]:
    """Return the header that a file of ``size`` bytes begins with, and where it ends."""
    if not data:
        raise FormatError(f"{str(path)!r} is empty. Copy or train the model again.")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > _LONGEST_HEADER or data[8:9] not in (b"{", b""):
        raise FormatError(
            f"{str(path)!r} is not a model: it does not begin as a safetensors file does. Give a "
            "file that thalweg has saved."
        )
    if size < 8 + length:
        _truncated(path, size, 8 + length)
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        _damaged(path, "its header is not JSON")
    if not isinstance(header, dict):
        _damaged(path, "its header is not a table of arrays")
    return header, 8 + length


def _array(path: PathLike, data: Array, start: int, name: str, entry: Any) -> Array:
    try:
        dtype, shape = _CODES[entry["dtype"]], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        sizes = (begin, end, *shape)
        fits = all(type(n) is int and n >= 0 for n in sizes)
        fits = fits and end - begin == math.prod(shape) * dtype.itemsize
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        _damaged(path, f"its entry for {name!r} makes no sense")
    if start + end > len(data):
        _truncated(path, len(data), start + end)
    values = data[start + begin : start + end].view(dtype).reshape(shape)
    return values if values.flags.aligned else values.copy()


def _truncated(path: PathLike, got: int, wanted: int) -> NoReturn:
    raise FormatError(
        f"{str(path)!r} is truncated: it has {got:,} bytes and its header tells of at least "
        f"{wanted:,}. The copy or download broke off; fetch it again, or train the model again."
    )


def _damaged(path: PathLike, reason: str) -> NoReturn:
    raise FormatError(
        f"{str(path)!r} is damaged: {reason}. Fetch it again, or train the model again."
    )
