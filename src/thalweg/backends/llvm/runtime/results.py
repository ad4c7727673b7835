"""Memory for results: large blocks are used again once nobody holds the result in them any more.

A fresh large array costs a page fault for every 4 kB of it, which can take longer than the work.
"""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np

from thalweg.backends.memory import ALIGN, shaped

LARGE = 1 << 16  # bytes from which a block is kept
KEPT = 8  # blocks
_blocks: list[np.ndarray[Any, Any]] = []
_lock = threading.Lock()
_FREE = 3  # references to a block that nobody uses: the list, the loop and the question itself


def result(shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return an uninitialised array of its own; views of it keep its memory, as for any array."""
    size = math.prod(shape) * kind.itemsize
    if size < LARGE:
        return np.empty(shape, kind)
    with _lock:
        for block in _blocks:
            if size + ALIGN <= block.nbytes <= 2 * size and sys.getrefcount(block) == _FREE:
                return shaped(block, shape, kind)
        made = np.empty(size + ALIGN, np.uint8)
        if len(_blocks) >= KEPT:
            del _blocks[0]
        _blocks.append(made)
        return shaped(made, shape, kind)
