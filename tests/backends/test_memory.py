"""Where arrays lie: addresses, and copies that begin where a cache line does."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import thalweg as tw
from thalweg.backends import memory
from thalweg.backends.llvm.runtime.results import LARGE, result


@pytest.mark.parametrize("kind", [np.bool_, np.int64, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (7, 33), (64, 1024)])
def test_a_moved_array_is_aligned_and_equal(shape: tuple[int, ...], kind: type) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
    for given in (array, array.T):
        got = memory.moved(given)
        assert memory.address(got) % memory.ALIGN == 0 or not got.size
        assert memory.address(got) == got.__array_interface__["data"][0]
        assert got.flags.c_contiguous
        assert got.flags.writeable
        assert got.dtype == given.dtype
        assert np.array_equal(got, given)


@pytest.mark.parametrize("shape", [(3,), (LARGE,), (300, LARGE // 64)])
def test_results_have_memory_of_their_own(shape: tuple[int, ...]) -> None:
    kind = np.dtype(np.float32)
    held = [result(shape, kind) for _ in range(12)]
    for i, one in enumerate(held):
        assert memory.is_aligned(one) or one.nbytes < LARGE
        one[...] = i
    assert [one.ravel()[[0, -1]].tolist() for one in held] == [[i, i] for i in range(12)]


def test_state_moves_once_and_every_program_follows() -> None:
    """A tensor of two compiled functions that update it by turns, and of eager code."""
    weight = tw.zeros(512)

    @tw.compile
    def add(x: tw.Tensor) -> None:
        weight.assign(weight + x)

    @tw.compile
    def double() -> tw.Tensor:
        weight.assign(weight * 2)
        return weight.sum()

    wanted = 0.0
    for x in (1.0, 2.0, 3.0):
        weight._replace(_off_the_line(weight.numpy()))
        add(np.float32(x))
        place = memory.address(weight._value("a test"))
        assert place % memory.ALIGN == 0
        wanted = 2 * (wanted + x)
        assert double().item() == 512 * wanted
        assert memory.address(weight._value("a test")) == place
        assert weight.numpy().tolist() == [wanted] * 512


def _off_the_line(array: np.ndarray) -> np.ndarray:
    block, begin = memory.aligned(array.nbytes + 64)
    start = begin - memory.address(block) + 16
    copy = block[start : start + array.nbytes].view(array.dtype)
    copy[...] = array
    assert not memory.is_aligned(copy)
    return copy


def test_a_repeat_that_fails_leaves_the_next_call_as_it_was() -> None:
    """The table must not keep the address of an argument that is gone."""

    @tw.compile
    def total(x: tw.Tensor, y: tw.Tensor) -> tw.Tensor:
        return x.sum() + y.sum()

    x, y = np.ones(5, np.float32), np.ones(2000, np.float32)
    assert total(x, y).item() == 2005
    [[trace]] = total._traces.values()
    with pytest.raises(ValueError, match="could not convert"):
        trace.bind().repeat(3, [np.full((3, 5), 7, np.float32), np.full(2000, "text")])
    assert total(x * 2, y).item() == 2010
