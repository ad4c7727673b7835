"""Data types: what names them, and how they meet."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

from thalweg.errors import DTypeError
from thalweg.graph import dtype as d


def test_a_dtype_has_many_names() -> None:
    for given in ("float32", np.float32, np.dtype("float32"), np.dtype(">f4"), d.float32, float):
        assert d.as_dtype(given) is d.float32
    assert d.as_dtype(int) is d.int64
    assert d.as_dtype(bool) is d.as_dtype("bool") is d.bool_
    assert copy.deepcopy(d.float32) is d.float32


@pytest.mark.parametrize(
    "bad", ["float31", "complex64", np.dtype("U3"), None, object, 3, np.uint16]
)
def test_unknown_dtypes_are_refused(bad: object) -> None:
    with pytest.raises(DTypeError, match=r"is not a dtype of Thalweg; .*Known: bfloat16, bool"):
        d.as_dtype(bad)


def test_meeting_is_symmetric_and_a_dtype_meets_itself() -> None:
    for a, b in itertools.product(d.DTYPES.values(), repeat=2):
        assert d.promote(a, b) is d.promote(b, a)
        assert d.promote(a, a) is a
        assert d.promote(a, d.bool_) is a


def test_sizes() -> None:
    assert {n: t.itemsize for n, t in d.DTYPES.items()} == {
        n: t.numpy.itemsize for n, t in d.DTYPES.items()
    }
    assert [t.name for t in d.DTYPES.values() if t.is_float] == [
        "float16", "bfloat16", "float32", "float64",
    ]  # fmt: skip
    assert not d.bool_.is_integer
