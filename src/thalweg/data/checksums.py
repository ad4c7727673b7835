"""The SHA-256 of files, and of what gzipped files hold."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib

__all__ = ["sha256_of", "sha256_of_content"]


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/a"
        >>> open(file, "wb").close()
        >>> sha256_of(file)[:16]
        'e3b0c44298fc1c14'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_content(path: str | os.PathLike[str]) -> str | None:
    """Return the SHA-256 of what a gzipped file holds, or None if it is not one or is damaged.

    Example:
        >>> import tempfile
        >>> file = tempfile.mkdtemp() + "/a.gz"
        >>> gzip.open(file, "wb").close()
        >>> sha256_of_content(file)[:16]
        'e3b0c44298fc1c14'
    """
    try:
        with gzip.open(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        return None
