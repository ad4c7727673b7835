"""Keep compiled machine code on disk between runs, safely for many processes at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from thalweg.settings import settings

# An entry is one file: magic, SHA-256 of the rest, length of the metadata, metadata, code.
_MAGIC = b"THALWEG1"
_HEADER = len(_MAGIC) + 32
_LENGTH = 8
_SUFFIX = ".code"
# A temporary file older than this belongs to a process that died.
_STALE_SECONDS = 3600.0
_TRIM_SECONDS = 3600.0
# Counting the folder takes a millisecond per hundred entries, so not at every store.
_STORES_PER_TRIM = 64

size_bound = 1_000_000_000  # bytes
_given_up: set[Path] = set()
_stores = 0


def load(key: str) -> tuple[bytes, dict[str, Any]] | None:
    """Return the code and metadata stored under ``key``, or None.

    A truncated or altered entry is deleted and counts as absent. No error escapes: without a
    usable folder everything is absent.
    """
    if not settings.cache:
        return None
    path = _path(key)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    entry = _decode(content)
    with contextlib.suppress(OSError):
        if entry is None:
            path.unlink()
        else:
            os.utime(path)  # the bound removes what was used longest ago
    return entry


def store(key: str, object_code: bytes, meta: dict[str, Any]) -> None:
    """Store code and JSON metadata under ``key``; the entry appears whole or not at all.

    If the folder cannot be written, one warning says so and the process goes on without it.
    """
    path = _path(key)
    if not settings.cache or settings.cache_dir in _given_up:
        return
    try:
        _write(path, _encode(object_code, meta))
    except OSError as error:
        _given_up.add(settings.cache_dir)
        warnings.warn(
            f"compiled code cannot be kept in {settings.cache_dir} ({error}); every start of the "
            "program compiles again. Set THALWEG_CACHE_DIR to a folder with room that can be "
            "written, or THALWEG_CACHE=0 to say that no cache is wanted",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    global _stores
    _stores += 1
    if _stores % _STORES_PER_TRIM == 0 or (_stores == 1 and not _trimmed_lately()):
        trim()


def _trimmed_lately() -> bool:
    """Return whether a process has looked through all entries within the hour.

    Every process stores a first program, and there may be thousands of entries.
    """
    mark = _folder() / "trimmed"
    try:
        if time.time() - mark.stat().st_mtime < _TRIM_SECONDS:
            return True
    except OSError:
        pass  # there is no mark yet
    with contextlib.suppress(OSError):
        mark.touch()
    return False


def trim(bound: int | None = None) -> None:
    """Remove the entries used longest ago until at most ``bound`` bytes remain.

    Without an argument the bound is ``size_bound``. Once it is exceeded, a tenth more is
    removed, so that the next stores find room.
    """
    limit = size_bound if bound is None else bound
    entries: list[tuple[float, int, Path]] = []
    now = time.time()
    for path in _folder().glob("*/*"):
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            status = path.stat()
            if path.suffix == _SUFFIX:
                entries.append((status.st_mtime, status.st_size, path))
            elif now - status.st_mtime > _STALE_SECONDS:
                path.unlink()
    total = sum(size for _, size, _ in entries)
    if total <= limit:
        return
    for _, size, path in sorted(entries):
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
        if total <= 0.9 * limit:
            break


def _folder() -> Path:
    return settings.cache_dir / "code"


def _path(key: str) -> Path:
    name = hashlib.sha256(key.encode()).hexdigest()
    return _folder() / name[:2] / (name + _SUFFIX)


def _encode(object_code: bytes, meta: dict[str, Any]) -> bytes:
    text = json.dumps(meta, separators=(",", ":")).encode()
    payload = len(text).to_bytes(_LENGTH, "little") + text + object_code
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def _decode(content: bytes) -> tuple[bytes, dict[str, Any]] | None:
    payload = content[_HEADER:]
    if content[:_HEADER] != _MAGIC + hashlib.sha256(payload).digest():
        return None
    end = _LENGTH + int.from_bytes(payload[:_LENGTH], "little")
    meta: dict[str, Any] = json.loads(payload[_LENGTH:end])
    return payload[end:], meta


def _write(path: Path, content: bytes) -> None:
    # Code that this user will run must not be writable by others.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Same folder, because a rename is atomic only within one file system. No fsync: the checksum
    # finds an entry that a power failure cut short.
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
