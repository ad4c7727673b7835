"""Rosenblatt's rule: it ends where a plane separates the classes, and says where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg as tw
from thalweg.errors import ArgumentError, DataError, ShapeError

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from([(0, 1), (-1, 1)]))
def test_it_converges_within_novikoffs_bound(
    seed: int, features: int, codes: tuple[int, int]
) -> None:
    source = np.random.default_rng(seed)
    x = source.uniform(-1, 1, (60, features))
    plane, offset = source.standard_normal(features), source.uniform(-0.3, 0.3)
    size = np.sqrt(plane @ plane + offset**2)
    side = (x @ plane + offset) / size
    x, side = x[np.abs(side) > 0.05], side[np.abs(side) > 0.05]
    targets = np.where(side > 0, codes[1], codes[0])
    unit = tw.models.Perceptron(features)
    told = unit.fit(x, targets, epochs=100_000)
    assert told.converged
    assert told.epochs == len(told.mistakes)
    radius = (np.square(x).sum(axis=1) + 1).max()  # with the bias as a feature of 1
    assert sum(told.mistakes) <= radius / 0.05**2
    np.testing.assert_array_equal(unit(x.astype(np.float32)).numpy(), targets == codes[1])


def test_one_step_is_the_rule() -> None:
    unit = tw.models.Perceptron(2, learning_rate=0.5)
    told = unit.fit(np.array([[1.0, 2.0]]), np.array([1]), epochs=1)
    assert told.mistakes == (1,)
    assert unit.weight.tolist() == [0.5, 1.0]
    assert float(unit.bias) == 0.5
    unit.fit(np.array([[1.0, 2.0]]), np.array([0]), epochs=1)
    assert unit.weight.tolist() == [0.0, 0.0]


def test_xor_never_ends() -> None:
    told = tw.models.Perceptron(2).fit(*XOR, epochs=50)
    assert not told.converged
    assert told.epochs == 50
    assert min(told.mistakes) > 0


def test_it_has_no_gradient_and_says_so_by_being_frozen() -> None:
    unit = tw.models.Perceptron(2)
    assert unit.trainable_parameters() == {}
    assert unit.count_parameters() == 3


@pytest.mark.parametrize(
    ("x", "targets", "kind", "words"),
    [
        (np.zeros((3, 2)), [0, 1, 2], DataError, "got the labels 0, 1, 2; .*tells two classes"),
        (np.zeros((3, 2)), [-1, 0, 1], DataError, "got the labels -1, 0, 1"),
        (np.zeros((3, 2)), [0, 1], ShapeError, "3 examples and labels of shape"),
        (np.zeros((3, 3)), [0, 1, 1], ShapeError, "wanted \\(count, 2\\)"),
        (np.array([[0, 0], [np.nan, 0]]), [0, 1], DataError, "example 1 holds a NaN"),
        (np.zeros((0, 2)), [], DataError, "no examples"),
    ],
)
def test_what_it_refuses(x: object, targets: object, kind: type[Exception], words: str) -> None:
    unit = tw.models.Perceptron(2)
    with pytest.raises(kind, match=words) as caught:
        unit.fit(x, np.array(targets))
    assert "test_perceptron.py" in str(caught.value)
    assert unit.weight.tolist() == [0, 0]
    with pytest.raises(ArgumentError, match="epochs"):
        unit.fit(*XOR, epochs=0)
