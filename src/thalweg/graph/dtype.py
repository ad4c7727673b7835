"""Data types and their promotion, after the array API standard and NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from thalweg.errors import DTypeError, nearest, where


@dataclass(frozen=True, eq=False)
class DType:
    """The type of a tensor's elements.

    ``kind`` is ``"bool"``, ``"uint"``, ``"int"`` or ``"float"``; ``bits`` the size of an element.

    >>> float32.bits, float32.numpy
    (32, dtype('float32'))
    """

    name: str
    kind: str
    bits: int
    numpy: np.dtype[Any]

    @property
    def is_float(self) -> bool:
        """Whether the type holds floating-point numbers."""
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        """Whether the type holds signed or unsigned whole numbers (not bool)."""
        return self.kind in ("int", "uint")

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return max(1, self.bits // 8)

    def __repr__(self) -> str:
        return f"thalweg.{self.name}"

    def __reduce__(self) -> Any:
        return (as_dtype, (self.name,))  # dtypes are compared by identity


bool_ = DType("bool", "bool", 8, np.dtype(np.bool_))
uint8 = DType("uint8", "uint", 8, np.dtype(np.uint8))
uint32 = DType("uint32", "uint", 32, np.dtype(np.uint32))  # random bits are made of these
int8 = DType("int8", "int", 8, np.dtype(np.int8))
int16 = DType("int16", "int", 16, np.dtype(np.int16))
int32 = DType("int32", "int", 32, np.dtype(np.int32))
int64 = DType("int64", "int", 64, np.dtype(np.int64))
float16 = DType("float16", "float", 16, np.dtype(np.float16))
bfloat16 = DType("bfloat16", "float", 16, np.dtype(ml_dtypes.bfloat16))
float32 = DType("float32", "float", 32, np.dtype(np.float32))
float64 = DType("float64", "float", 64, np.dtype(np.float64))

DTYPES = {
    d.name: d
    for d in (
        bool_, uint8, uint32, int8, int16, int32, int64, float16, bfloat16, float32, float64,
    )
}  # fmt: skip
DEFAULT_FLOAT = float32
DEFAULT_INT = int64
_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}


def as_dtype(given: Any) -> DType:
    """Return the DType for a DType, a name, a NumPy dtype or a Python type.

    Raises:
        DTypeError: Thalweg has no such type.

    >>> as_dtype("float32") is as_dtype(np.float32) is float32
    True
    """
    if isinstance(given, DType):
        return given
    if isinstance(given, np.dtype) and (known := _BY_NUMPY.get(given)) is not None:
        return known
    if isinstance(given, str) and given in DTYPES:
        return DTYPES[given]
    if given is bool:
        return bool_
    if given is int:
        return DEFAULT_INT
    if given is float:
        return DEFAULT_FLOAT
    try:
        if given is None:  # NumPy would read it as float64
            raise TypeError
        return _BY_NUMPY[np.dtype(given).newbyteorder("=")]
    except (TypeError, KeyError):
        hint = nearest(str(given), DTYPES)
        if isinstance(given, int):
            hint += "; sizes go together as one tuple: zeros((2, 3)), not zeros(2, 3)"
        raise DTypeError(f"{given!r} is not a dtype of Thalweg; {hint}. {where()}") from None


@cache
def promote(a: DType, b: DType) -> DType:
    """Return the type in which two operands of different types meet.

    As NumPy has it; bfloat16 behaves as float16 does, and the two meet in float32.

    >>> promote(int32, float32)
    thalweg.float64
    """
    if a is b:
        return a
    pair = {a, b}
    if bfloat16 in pair:
        (other,) = pair - {bfloat16}
        if other is float16:
            return float32
        met = promote(float16, other)
        return bfloat16 if met is float16 else met
    return as_dtype(np.promote_types(a.numpy, b.numpy))


def promote_scalar(array: DType, scalar: type) -> DType:
    """Return the type in which an array meets a Python number: the array's own where it can.

    >>> promote_scalar(float32, int), promote_scalar(int32, float)
    (thalweg.float32, thalweg.float32)
    """
    if scalar is bool:
        return array
    if scalar is int:
        return DEFAULT_INT if array is bool_ else array
    return array if array.is_float else DEFAULT_FLOAT


def to_float(dtype: DType) -> DType:
    """Return the floating type in which a function such as ``exp`` of this type is computed."""
    return dtype if dtype.is_float else DEFAULT_FLOAT
