"""Every public function against NumPy, at once and compiled, and its documentation."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from tests.tensor.function_cases import EAGER_ONLY, EXAMPLES, Example

import thalweg as tw
from thalweg.errors import DTypeError, TraceError
from thalweg.tensor.functions import FUNCTIONS, METHODS

PAIRS = [(name, i) for name, found in EXAMPLES.items() for i in range(len(found))]


def compare(got: Any, wanted: Any, dtype: Any) -> None:
    if isinstance(wanted, (list, tuple)):
        assert len(got) == len(wanted)
        for g, w in zip(got, wanted, strict=True):
            compare(g, w, dtype)
        return
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape
    assert got.dtype.kind == wanted.dtype.kind
    tolerance = 1e-12 if got.dtype == np.float64 else 2e-5
    np.testing.assert_allclose(got, wanted, tolerance, tolerance)


def test_every_function_has_an_example() -> None:
    assert FUNCTIONS.keys() - EXAMPLES.keys() == set()
    assert EXAMPLES.keys() - FUNCTIONS.keys() == set()


@pytest.mark.parametrize(("name", "number"), PAIRS)
def test_function_is_that_of_numpy(name: str, number: int) -> None:
    example: Example = EXAMPLES[name][number]
    for dtype in (np.float64, np.float32):
        arrays = [a.astype(dtype) if np.asarray(a).dtype.kind == "f" else a
                  for a in map(np.asarray, example.arrays)]  # fmt: skip
        with np.errstate(all="ignore"):
            wanted = example.numpy(*[a.astype(np.float64) if a.dtype.kind == "f" else a
                                     for a in arrays])  # fmt: skip
        if dtype == np.float32 and name in ("nan_to_num", "hypot"):
            continue  # the largest number is another one
        compare(example.ours(*map(tw.tensor, arrays)), wanted, dtype)


@pytest.mark.parametrize("name", EXAMPLES)
def test_compiled_function_is_the_eager_one(name: str) -> None:
    for example in EXAMPLES[name]:
        arrays = [a.astype(np.float32) if np.asarray(a).dtype.kind == "f" else a
                  for a in map(np.asarray, example.arrays)]  # fmt: skip
        tensors = [tw.tensor(a) for a in arrays]
        if name in EAGER_ONLY:
            with pytest.raises(TraceError, match=r"nonzero\(\) needs the numbers"):
                tw.compile(example.ours)(*tensors)
            continue
        compare(tw.compile(example.ours)(*tensors), example.ours(*tensors), np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_documented(name: str) -> None:
    function = getattr(tw, name)
    assert function.__doc__
    assert function.__doc__.strip().split("\n")[0].endswith(".") or "\n" in function.__doc__


@pytest.mark.parametrize("name", METHODS)
def test_method_is_the_function(name: str) -> None:
    assert getattr(tw.Tensor, name) is FUNCTIONS[name]


def test_functions_take_arrays_and_numbers() -> None:
    assert tw.exp(np.zeros(2, np.float32)).tolist() == [1, 1]
    assert tw.exp(0).item() == 1
    assert tw.reshape(np.arange(4), (2, 2)).tolist() == [[0, 1], [2, 3]]
    assert tw.maximum(1, 2.5).item() == 2.5
    assert tw.add(x := tw.ones(2), x).tolist() == [2, 2]


@pytest.mark.parametrize("name", ["softmax", "sum", "reshape", "exp", "take", "sort", "relu"])
@pytest.mark.parametrize("bad", [[1.0, 2.0], "text", None, object()])
def test_what_is_no_tensor_is_named(name: str, bad: Any) -> None:
    more = {"reshape": (2,), "take": (tw.tensor([0]),)}.get(name, ())
    with pytest.raises(DTypeError, match=f"{name}: .*test_functions.py"):
        getattr(tw, name)(bad, *more)


def test_ties_share_the_gradient() -> None:
    x = tw.tensor([1.0, 3.0, 3.0])
    assert tw.grad(lambda x: x.max())(x).tolist() == [0, 0.5, 0.5]
    assert tw.grad(lambda x: tw.maximum(x, 3.0).sum())(x).tolist() == [0, 0.5, 0.5]
    assert tw.grad(lambda x: x.min())(x).tolist() == [1, 0, 0]


@pytest.mark.parametrize(("exponent", "at_zero"), [(2.0, 0.0), (1, 1.0), (0, 0.0), (1.5, 0.0)])
def test_power_has_its_gradient_at_zero(exponent: float, at_zero: float) -> None:
    for p in (exponent, tw.tensor(float(exponent))):
        assert tw.grad(lambda x, p=p: (x**p).sum())(tw.zeros(())).item() == at_zero
    second = tw.grad(tw.grad(lambda x: (x ** tw.tensor(2.0)).sum()))(tw.zeros(()))
    assert second.item() == 2.0


def test_statistics_of_half_types_are_accumulated_widely() -> None:
    x = tw.full((4096,), 1.001, "float16")
    assert abs(x.mean().item() - 1.001) < 1e-3
    assert x.sum().item() == pytest.approx(4100, abs=4)
    big = tw.tensor([60000.0, 60000.0]).astype("float16")
    assert big.mean().item() == 60000
    assert tw.tensor([1, 2]).mean().item() == 1.5
    assert tw.tensor([1, 2, 4]).var(correction=1).item() == pytest.approx(7 / 3)
    assert np.isnan(tw.zeros((0,)).mean().item())


def test_dtypes_and_tensors_can_be_pickled() -> None:
    x = tw.tensor([1.5, 2.5]).astype("bfloat16")
    again = pickle.loads(pickle.dumps(x))
    assert again.dtype is tw.bfloat16
    assert again.tolist() == [1.5, 2.5]
    assert pickle.loads(pickle.dumps(tw.bool_)) is tw.bool_
