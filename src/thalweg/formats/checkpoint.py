"""A checkpoint as one file: arrays and facts of a training run, with a checksum over all of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.errors import FormatError
from thalweg.formats.safetensors_file import read_file, write_tensors

__all__ = [
    "CHECKPOINT_VERSION", "Checkpoint", "checkpoint_name", "find_checkpoints", "read_checkpoint",
    "write_checkpoint",
]  # fmt: skip

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]
CHECKPOINT_VERSION: Final = 1  # raised when a checkpoint can no longer be read by older versions
_FACTS: Final = "thalweg_checkpoint"  # entries of the safetensors metadata
_CHECKSUM: Final = "checksum"
_NAME: Final = re.compile(r"checkpoint-(\d+)\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: arrays by name, and facts that JSON can hold."""

    arrays: dict[str, Array]
    facts: dict[str, Any]
    path: Path

    def part(self, name: str) -> dict[str, Array]:
        """Return the arrays below ``name/``, without that prefix.

        >>> held = Checkpoint({"model/weight": np.ones(2)}, {}, Path("here"))
        >>> held.part("model")
        {'weight': array([1., 1.])}
        """
        start = name + "/"
        return {k[len(start) :]: v for k, v in self.arrays.items() if k.startswith(start)}


def checkpoint_name(step: int) -> str:
    """Return the file name of the checkpoint after so many steps; names sort as the steps do.

    >>> checkpoint_name(120)
    'checkpoint-0000000120.safetensors'
    """
    return f"checkpoint-{step:010d}.safetensors"


def find_checkpoints(folder: PathLike) -> list[tuple[int, Path]]:
    """Return step and path of the checkpoints in a folder, the newest first.

    >>> import tempfile
    >>> find_checkpoints(tempfile.mkdtemp())
    []
    """
    place = Path(folder)
    names = os.listdir(place) if place.is_dir() else []
    found = [(int(m[1]), place / m[0]) for m in map(_NAME.fullmatch, names) if m]
    return sorted(found, reverse=True)


def write_checkpoint(path: PathLike, arrays: Mapping[str, Array], facts: dict[str, Any]) -> Path:
    """Write arrays and facts to a file that is whole on the disk, or leave the old one as it was.

    Raises:
        FormatError: a fact is not JSON.
        DTypeError: an array's dtype is not part of the safetensors format.
        OSError: the folder is missing or not writable, or the disk is full.

    >>> import tempfile
    >>> path = write_checkpoint(tempfile.mkdtemp() + "/a.safetensors", {"x": np.arange(2)}, {})
    >>> read_checkpoint(path).arrays
    {'x': array([0, 1])}
    """
    from thalweg import __version__

    target = Path(path)
    told = {"format_version": CHECKPOINT_VERSION, "thalweg_version": __version__, **facts}
    try:
        text = json.dumps(told)
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"{str(target)!r}: a fact of the checkpoint is not JSON: {error}. Listeners with "
            "state must return plain numbers, text, lists and dicts."
        ) from error
    write_tensors(target, arrays, {_FACTS: text, _CHECKSUM: _checksum(text, arrays)})
    _settle(target.parent)
    return target


def _settle(folder: Path) -> None:
    """Bring the new name to the disk too, where the system can do that for a folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _checksum(text: str, arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of the facts and of every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"\0{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        if array.size:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def read_checkpoint(path: PathLike) -> Checkpoint:
    """Return a checkpoint, after proving that no bit of it has changed.

    Raises:
        FormatError: the file is missing, truncated, damaged, not a checkpoint, or of a newer
            version.
    """
    place = Path(path)
    metadata, arrays = read_file(place)
    if _FACTS not in metadata or _CHECKSUM not in metadata:
        raise FormatError(
            f"{str(place)!r} is not a checkpoint: it holds numbers without the state of a run. "
            "Give a folder that fit(folder=...) has written, or a checkpoint in it."
        )
    text = metadata[_FACTS]
    try:
        facts = json.loads(text)
        version = int(facts["format_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{str(place)!r} is damaged: its facts cannot be read.") from error
    if version > CHECKPOINT_VERSION:
        raise FormatError(
            f"{str(place)!r} was saved by Thalweg {facts.get('thalweg_version')} in format "
            f"{version}; this version reads formats up to {CHECKPOINT_VERSION}. Upgrade: "
            "pip install --upgrade thalweg"
        )
    if _checksum(text, arrays) != metadata[_CHECKSUM]:
        raise FormatError(
            f"{str(place)!r} is damaged: its checksum does not fit what it holds. Use another "
            "checkpoint of the run."
        )
    return Checkpoint(arrays, facts, place)
