"""Initial values: found by introspection; their spread, determinism, dtypes and fans."""

from __future__ import annotations

import math

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError
from thalweg.nn import initializers as init
from thalweg.nn.keys import as_key, derived_key

SHAPE = (400, 100)
FAN_IN, FAN_OUT = SHAPE
STD = {
    "constant": 0.0, "zeros": 0.0, "normal": 0.05, "uniform": 0.1 / math.sqrt(12),
    "truncated_normal": 0.05 * 0.8796, "lecun_normal": FAN_IN**-0.5, "lecun_uniform": FAN_IN**-0.5,
    "glorot_normal": (2 / (FAN_IN + FAN_OUT)) ** 0.5, "he_uniform": (2 / FAN_IN) ** 0.5,
    "glorot_uniform": (2 / (FAN_IN + FAN_OUT)) ** 0.5, "he_normal": (2 / FAN_IN) ** 0.5,
    "orthogonal": FAN_IN**-0.5,
}  # fmt: skip
each = pytest.mark.parametrize("name", sorted(init.INITIALIZERS))


def test_table_is_complete() -> None:
    assert set(STD) == set(init.INITIALIZERS)


@each
def test_spread_and_mean(name: str) -> None:
    values = init.get(name)(0, SHAPE)
    assert values.shape == SHAPE
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    assert values.flags.writeable
    assert abs(values.std() - STD[name]) < 0.02 * STD[name] + 1e-7
    if name != "constant":
        assert abs(values.mean()) < 4 * STD[name] / math.sqrt(values.size) + 1e-9


@each
def test_key_decides(name: str) -> None:
    draw = init.get(name)
    np.testing.assert_array_equal(draw(1, (8, 8)), draw(tw.random.key(1), (8, 8)))
    if name not in ("zeros", "constant"):
        assert (draw(1, (8, 8)) != draw(2, (8, 8))).any()
    long, short = draw(3, (300, 100)), draw(3, (300, 100), "float64")
    np.testing.assert_allclose(long, short, rtol=1e-5, atol=1e-6)


@each
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 3, 2, 4)])
def test_odd_shapes_and_types(name: str, shape: tuple[int, ...]) -> None:
    if name == "orthogonal" and 0 in shape:
        pytest.skip("LAPACK takes no empty matrix")
    for dtype in ("float32", "bfloat16"):
        values = init.get(name)(0, shape, dtype)
        assert values.shape == shape
        assert values.dtype.name == dtype
        assert np.isfinite(values.astype(np.float64)).all()


def test_normal_and_uniform_have_the_bits_of_the_random_module() -> None:
    key, shape = tw.random.key(7), (200, 101)  # more than one chunk
    ours, theirs = init.normal(key, shape, std=1.0), tw.random.normal(shape, key=key).numpy()
    np.testing.assert_array_equal(ours, theirs)
    ours = init.uniform(key, shape, low=0.0, high=1.0)
    np.testing.assert_array_equal(ours, tw.random.uniform(shape, key=key).numpy())


def test_truncated_normal_stays_inside() -> None:
    values = init.truncated_normal(0, (50_000,), mean=1.0, std=2.0, low=-1.0, high=0.5)
    assert values.min() >= -1
    assert values.max() <= 2
    with pytest.raises(ArgumentError, match="widen"):
        init.truncated_normal(0, (5,), low=5.0, high=6.0)


def test_orthogonal() -> None:
    for shape in ((6, 3), (3, 6), (2, 3, 4)):
        matrix = init.orthogonal(0, shape, "float64", gain=2.0).reshape(-1, shape[-1])
        small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_fans() -> None:
    assert init.fans((784, 30)) == (784, 30)
    assert init.fans((3, 3, 16, 32)) == (144, 288)
    with pytest.raises(ShapeError, match="fan-in"):
        init.he_normal(0, (5,))


def test_get() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'he_normal'"):
        init.get("he_norml")
    with pytest.raises(ArgumentError, match="an initialiser is"):
        init.get(None)  # type: ignore[arg-type]
    layer = nn.Linear(2, 3, weight_init=np.ones((2, 3)), bias_init=0.5)
    assert layer(tw.ones((1, 2))).tolist() == [[2.5, 2.5, 2.5]]
    with pytest.raises(ShapeError, match="initial values"):
        nn.Linear(2, 3, weight_init=np.ones((3, 2)))
    custom = nn.Linear(2, 2, weight_init=lambda key, shape, dtype: np.full(shape, 3.0, "f"))
    assert custom.weight.tolist() == [[3, 3], [3, 3]]


def test_keys() -> None:
    assert as_key(2**32 + 5).tolist() == [1, 5]
    for bad in ("a", 1.5, np.zeros(3, np.uint32), None, True):
        with pytest.raises(ArgumentError, match="key"):
            as_key(bad)  # type: ignore[arg-type]
    names = {tuple(derived_key(as_key(0), str(i)).tolist()) for i in range(1000)}
    assert len(names) == 1000
    assert derived_key(as_key(0), "weight").tolist() == KNOWN  # must never change


KNOWN = [3383132928, 136174843]
