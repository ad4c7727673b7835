"""Looking for NaN and infinity in every value: what ``debug_nans`` does."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.errors import NumericsError, where
from thalweg.graph.node import Node

Array = np.ndarray[Any, Any]


def check_finite(node: Node, value: Array) -> None:
    """Raise NumericsError if a value holds a NaN or an infinity; names layer, operation, line."""
    if node.op.kind == "leaf" or not node.dtype.is_float:
        return
    wide = value.astype(np.float32) if node.dtype.bits == 16 else value
    if not np.isfinite(wide).all():
        kind = "a NaN" if np.isnan(wide).any() else "an infinity"
        layer = f" in layer {'.'.join(node.scope)}" if node.scope else ""
        inputs = ", ".join(
            f"{i.dtype.name}{list(i.shape)}"
            + (" (holds NaN or infinity already)" if not _finite(i) else "")
            for i in node.inputs
        )
        raise NumericsError(
            f"operation {node.op.name}{layer} made {kind} from {inputs or 'nothing'} "
            f"{where(node.origin)}"
        )


def _finite(node: Node) -> bool:
    value = node.value
    if value is None or not node.dtype.is_float:
        return True
    return bool(np.isfinite(value.astype(np.float32)).all())
