"""PyTorch's files (.pt, .pth, .th): tensors as NumPy arrays, without running code from the file.

Two formats are read. The zip archive (since PyTorch 1.6) holds one pickle and one entry for each
storage. The older file is five pickles one after the other (magic number, version, machine, the
object, the keys of the storages), then the storages' bytes. In both, a tensor is a call of a
rebuilding function with a storage, an offset, a shape and strides; those few functions are the
only ones that the file may name, and they are the ones below.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import ml_dtypes
import numpy as np

from thalweg.errors import FormatError, where
from thalweg.formats.pickled_data import PickledData

__all__ = ["read_torch"]

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001
_LARGEST: Final = 2**40  # elements; beyond it a size is damage, and its bytes would overflow
_REPEATED: Final = 2**24  # elements that a tensor may have beyond those in its storage
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "float64": np.dtype("<f8"), "float32": np.dtype("<f4"), "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16), "int64": np.dtype("<i8"), "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"), "int8": np.dtype("i1"), "uint8": np.dtype("u1"),
    "bool": np.dtype("?"), "complex64": np.dtype("<c8"), "complex128": np.dtype("<c16"),
}  # fmt: skip
_STORAGES: Final = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip


_UNDER_WAY: Final = object()
# What zipfile raises for headers with changed bytes: other methods, encryption, absurd sizes.
_ARCHIVE_ERRORS: Final = (
    EOFError, MemoryError, OverflowError, RuntimeError, ValueError, struct.error,
    zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """What ``torch.FloatStorage`` and ``torch.float32`` stand for."""

    dtype: np.dtype[Any]


class _Storage:
    """A flat run of numbers in the file; older files bring the numbers after the tensors."""

    def __init__(self, dtype: np.dtype[Any], count: int) -> None:
        self.dtype, self.count = dtype, count
        self.values: Array | None = None


class _View:
    """A tensor of the file: how it lies in its storage; it becomes an array at the end."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:  # fmt: skip
        self.storage, self.offset = storage, offset
        self.shape, self.strides, self.dtype = shape, strides, dtype

    def array(self) -> Array:
        """Return the numbers as an array of its own, after a check that all lie in the storage."""
        assert self.storage.values is not None
        numbers = self.storage.values.view(self.dtype)
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        # Strides of 0 repeat numbers (an expanded tensor): a few bytes could fill all memory.
        if last >= len(numbers) or math.prod(self.shape) > max(len(numbers), _REPEATED):
            _damaged(f"a tensor of shape {self.shape} lies outside of its storage")
        steps = [s * self.dtype.itemsize for s in self.strides]
        seen = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps)
        return np.array(seen, order="C")


# --- what the names of the file stand for ------------------------------------------------------


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _View:
    if not isinstance(storage, _Storage):
        _damaged("a tensor has no storage")
    sizes = (offset, *shape, *strides)
    fits = len(shape) == len(strides)
    if not (fits and all(type(n) is int and 0 <= n <= _LARGEST for n in sizes)):
        _damaged(f"a tensor has the shape {shape!r} and the strides {strides!r}")
    return _View(storage, offset, tuple(shape), tuple(strides), storage.dtype)


def _rebuild_typed(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _View:
    """Rebuild a tensor whose dtype is told apart from its (untyped) storage."""
    view = _rebuild_tensor(storage, offset, shape, strides)
    told = [r for r in rest if isinstance(r, _Kind)]
    if not told or storage.count * storage.dtype.itemsize % told[0].dtype.itemsize:
        _damaged("a tensor in an untyped storage has no dtype that fits")
    view.dtype = told[0].dtype
    return view


def _rebuild_parameter(data: Any, *rest: Any) -> _View:
    if not isinstance(data, _View):
        _damaged("a parameter holds no tensor")
    return data


def _ordered_dict(*pairs: Any) -> dict[Any, Any]:
    return dict(*pairs)


def _size(*parts: Any) -> tuple[Any, ...]:
    return tuple(*parts)


def _device(*parts: Any) -> str:
    return ":".join(str(p) for p in parts)


_NAMES: Final[dict[str, Any]] = {
    "collections OrderedDict": _ordered_dict,
    "torch Size": _size,
    "torch device": _device,
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v3": _rebuild_typed,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
    "torch.storage UntypedStorage": _Kind(_DTYPES["uint8"]),
    **{f"torch {name}": _Kind(dtype) for name, dtype in _DTYPES.items()},
    **{f"torch {name}": _Kind(_DTYPES[kind]) for name, kind in _STORAGES.items()},
}


# --- the two formats ---------------------------------------------------------------------------


def read_torch(path: PathLike) -> Any:
    r"""Return what ``torch.save`` wrote, with a NumPy array for each tensor and parameter.

    Dicts, lists and tuples stay as they are in the file; ordered dicts become dicts. Nothing in
    the file is run: it is read by an interpreter of its own that knows containers and the few
    names that rebuild tensors. Arrays keep PyTorch's order of axes.

    Args:
        path: a file of ``torch.save``: an archive (PyTorch 1.6 and later) or the older format.

    Returns:
        The nested object, for a ``state_dict`` a dict of arrays.

    Raises:
        FormatError: the file is missing, truncated, damaged, of another kind, or names anything
            but tensors and containers; the message says which name.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/evil.pth"
        >>> with open(path, "wb") as file:
        ...     size = file.write(b"cos\nsystem\n(Vls\ntR.")
        >>> read_torch(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        thalweg.errors.FormatError: ...evil.pth' was not read: it uses the name os.system. ...
    """
    place = Path(path)
    try:
        with open(place, "rb") as file:
            archive = zipfile.is_zipfile(file)
            file.seek(0)
            found = _read_archive(file) if archive else _read_older(file)
        return _arrays(found, {})
    except FileNotFoundError as error:
        raise FormatError(
            f"{str(place)!r} does not exist; give the path of a file that torch.save wrote. "
            f"{where()}"
        ) from error
    except OSError as error:
        raise FormatError(
            f"{str(place)!r} cannot be read ({error.strerror}); give a file. {where()}"
        ) from error
    except FormatError as error:
        raise FormatError(f"{str(place)!r} was not read: {error}") from error
    except RecursionError as error:
        raise FormatError(
            f"{str(place)!r} was not read: its containers are nested too deeply; fetch it again. "
            f"{where()}"
        ) from error
    except _ARCHIVE_ERRORS as error:
        raise FormatError(
            f"{str(place)!r} is a damaged archive ({error}); fetch it again. {where()}"
        ) from error


def _arrays(found: Any, done: dict[int, Any]) -> Any:
    """Return the object with arrays in the place of tensors; what is shared stays shared."""
    if id(found) in done:
        if done[id(found)] is _UNDER_WAY:
            _damaged("a container holds itself")
        return done[id(found)]
    done[id(found)] = _UNDER_WAY
    made = found
    if isinstance(found, _View):
        made = found.array()
    elif isinstance(found, _Storage):
        made = found.values
    elif isinstance(found, dict):
        made = {key: _arrays(value, done) for key, value in found.items()}
    elif isinstance(found, (list, tuple)):
        made = type(found)(_arrays(value, done) for value in found)
    elif isinstance(found, _Kind):
        made = str(found.dtype)
    done[id(found)] = made
    return made


def _pointer(identity: Any) -> tuple[_Kind, str, int, Any]:
    """Return dtype, key, count and the view (older files only) of a pointer to a storage."""
    parts = tuple(identity) if isinstance(identity, tuple) else ()
    fits = len(parts) in (5, 6) and parts[0] == "storage" and isinstance(parts[1], _Kind)
    if not (fits and isinstance(parts[4], int) and 0 <= parts[4] <= _LARGEST):
        _damaged(f"a pointer to a storage is {identity!r}")
    return parts[1], str(parts[2]), parts[4], parts[5] if len(parts) == 6 else None


def _read_archive(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        main = next((name for name in entries if name.endswith("/data.pkl")), None)
        if main is None:
            _damaged("it is an archive, but holds no data.pkl, so torch.save did not write it")
        folder = main[: -len("data.pkl")]
        if f"{folder}constants.pkl" in entries:
            raise FormatError(
                "it is a TorchScript program, not a file of numbers. Save the numbers where it "
                f"came from: torch.save(model.state_dict(), path). {where()}"
            )
        order = f"{folder}byteorder"
        big = order in entries and _entry(archive, entries[order]) == b"big"
        storages: dict[str, _Storage] = {}

        def storage(identity: Any) -> _Storage:
            kind, key, count, _ = _pointer(identity)
            if key not in storages:
                made = _Storage(kind.dtype, count)
                name = f"{folder}data/{key}"
                if name not in entries:
                    _damaged(f"it lacks the storage {key!r}")
                made.values = _numbers(_entry(archive, entries[name]), kind.dtype, count, big)
                storages[key] = made
            return storages[key]

        return PickledData(_NAMES, storage).read(io.BytesIO(_entry(archive, entries[main])))


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.compress_type != zipfile.ZIP_STORED:
        # torch.save compresses nothing; a few compressed bytes could fill all memory.
        _damaged(f"its entry {entry.filename!r} is compressed, so torch.save did not write it")
    return archive.read(entry)


def _read_older(file: BinaryIO) -> Any:
    first = _header(file)
    if first != _MAGIC:
        _damaged("it does not begin as a file of torch.save does")
    version = PickledData({}).read(file)
    machine = PickledData({}).read(file)
    if version != _VERSION or not isinstance(machine, dict):
        _damaged(f"its version is {version!r}, wanted {_VERSION}")
    storages: dict[str, _Storage] = {}

    def storage(identity: Any) -> _Storage:
        kind, key, count, view = _pointer(identity)
        if view is not None:
            raise FormatError(
                "it holds a storage that is a part of another, as PyTorch before 0.4 wrote them; "
                f"load and save it again with a newer PyTorch. {where()}"
            )
        return storages.setdefault(key, _Storage(kind.dtype, count))

    found = PickledData(_NAMES, storage).read(file)
    keys = PickledData({}).read(file)
    if not isinstance(keys, list) or set(storages) - {str(k) for k in keys}:
        _damaged("its list of storages does not fit its tensors")
    big = machine.get("little_endian") is False
    for key in keys:
        if str(key) not in storages:
            _damaged(f"its list of storages names {key!r}, which no tensor uses")
        told = storages[str(key)]
        count = int.from_bytes(_exactly(file, 8), "big" if big else "little", signed=True)
        if count != told.count:
            _damaged(f"a storage has {count} numbers where {told.count} were told")
        data = _exactly(file, count * told.dtype.itemsize)
        told.values = _numbers(data, told.dtype, count, big)
    return found


def _header(file: BinaryIO) -> Any:
    """Return the first object of the file, which tells of what kind it is."""
    start = file.read(8)
    file.seek(0)
    if not start:
        _damaged("it is empty")
    if start[:2] != b"\x80\x02" and int.from_bytes(start, "little") < 100_000_000 and (
        file.read(9)[8:] == b"{"
    ):  # fmt: skip
        raise FormatError(
            f"it is a safetensors file; read it with thalweg.formats.read_tensors. {where()}"
        )
    file.seek(0)
    return PickledData(_NAMES).read(file)


def _exactly(file: BinaryIO, size: int) -> bytes:
    place = file.tell()
    left = file.seek(0, os.SEEK_END) - place
    if size < 0 or left < size:
        raise FormatError(
            f"it is truncated: {size:,} bytes were to come and {left:,} are there. The copy or "
            f"download broke off; fetch it again. {where()}"
        )
    file.seek(place)
    return file.read(size)


def _numbers(data: bytes, dtype: np.dtype[Any], count: int, big: bool) -> Array:
    if len(data) < count * dtype.itemsize:
        _damaged(f"a storage has {len(data):,} bytes where {count * dtype.itemsize:,} were told")
    values = np.frombuffer(data, dtype, count)
    return values.byteswap() if big else values


def _damaged(reason: str) -> NoReturn:
    raise FormatError(
        f"{reason}. Give a file that torch.save wrote, or fetch it again if it was one. {where()}"
    )


