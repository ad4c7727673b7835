"""Mixed precision: contractions on 16-bit operands, all else in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from thalweg.errors import ArgumentError, where
from thalweg.graph.dtype import as_dtype, bfloat16, float16, float32
from thalweg.ops.precision import precision


@contextmanager
def autocast(dtype: Any = "bfloat16", enabled: bool = True) -> Iterator[None]:
    """Compute contractions (products, convolutions, attention) on 16-bit operands.

    Operands in float32 are rounded to ``dtype`` (``"bfloat16"`` or ``"float16"``; ``"float32"``
    leaves them), sums are accumulated in float32 and the result, rounded once, is float32 again.
    Gradients of contractions are computed alike. Parameters, optimisers and everything else stay in
    float32. It holds in this thread, inside of ``with`` (not with ``enabled=False``); a compiled
    function is compiled once for each precision.

    P. Micikevicius et al., "Mixed precision training", arXiv:1710.03740.

    Raises:
        ArgumentError: another type.

    >>> import thalweg as tw
    >>> x = tw.tensor([[1.0, 1e-3]])
    >>> with tw.autocast("bfloat16"):
    ...     y = x @ tw.tensor([[1.0], [1.0]])
    >>> y
    Tensor([[1.]], dtype=float32)
    """
    kind = as_dtype(dtype)
    if kind not in (bfloat16, float16, float32):
        raise ArgumentError(
            f"autocast: dtype must be 'bfloat16', 'float16' or 'float32', got {dtype!r}. {where()}"
        )
    before = precision.contraction
    precision.contraction = None if kind is float32 or not enabled else kind
    try:
        yield
    finally:
        precision.contraction = before
