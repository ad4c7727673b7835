"""The precision in which contractions are computed: that of their operands, or a lower one."""

from __future__ import annotations

import threading

from thalweg.graph.dtype import DType


class Precision(threading.local):
    """What holds in this thread.

    ``contraction``: the type to which float32 operands of contractions are rounded, or None.
    """

    contraction: DType | None = None


precision = Precision()
