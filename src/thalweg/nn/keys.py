"""Keys of initial values: two 32-bit words made of a seed and of the path of a layer."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, where
from thalweg.tensor import random
from thalweg.tensor.tensor import Tensor

Key = np.ndarray[Any, np.dtype[np.uint32]]
KeyLike = int | Tensor | Key


def as_key(given: KeyLike) -> Key:
    """Return the two uint32 words of a key, or of a whole number used as seed.

    Raises:
        ArgumentError: neither a key nor a seed.

    >>> as_key(7).tolist()
    [0, 7]
    """
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        return random.key(int(given)).numpy()
    words = np.asarray(given) if isinstance(given, (Tensor, np.ndarray)) else np.zeros(0)
    if words.shape != (2,) or words.dtype != np.uint32:
        raise ArgumentError(
            f"a key is made by thalweg.random.key(seed), or is a whole number; got {given!r}. "
            f"{where()}"
        )
    return words.astype(np.uint32)


def new_key() -> Key:
    """Return a key of the generator that ``thalweg.random.seed`` seeds."""
    return random.default.next_key().numpy()


def derived_key(key: Key, name: str) -> Key:
    """Return the key for a part of something that has a key, by the part's name.

    A function of both (BLAKE2b), so that the values of a layer depend on the seed and its path
    only, not on the layers around it.

    >>> derived_key(as_key(0), "weight").tolist() == derived_key(as_key(0), "bias").tolist()
    False
    """
    text = np.asarray(key, dtype="<u4").tobytes() + name.encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return np.frombuffer(digest, dtype="<u4").astype(np.uint32)
