"""Tensors that are written part by part: shifted state, borders, pieces side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.backends.llvm.test_convolutions import agree, draw
from tests.backends.llvm.test_native import WIDTHS, check, data

import thalweg as tw
from thalweg.settings import settings

SHIFTS = {
    "concatenated, up": lambda s: tw.concatenate([tw.zeros((1, *s.shape[1:])), s[:-1]]),
    "concatenated, down": lambda s: tw.concatenate([s[1:], s[:1]]),
    "padded, up": lambda s: tw.pad(s[:-1] * 2, ((3, 0), *((0, 0),) * (s.ndim - 1)))[2:],
    "padded, along rows": lambda s: tw.pad(s[..., 1:], (*((0, 0),) * (s.ndim - 1), (0, 1))),
    "turned round": lambda s: tw.flip(s, 0) + tw.concatenate([s[:1], s[:-1]]),
    "through a product": lambda s: tw.pad(
        (s[:-1].reshape(len(s) - 1, -1) @ tw.eye(s[0].size)).reshape(s[:-1].shape),
        ((1, 0), *((0, 0),) * (s.ndim - 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("shape", [(40,), (5, 8), (3, 700)], ids=str)
def test_state_that_moves_within_itself(name: str, shape: tuple[int, ...]) -> None:
    """A delay line: no element may be replaced before whoever needs the old one has read it."""
    first, move = data(*shape) / 4, SHIFTS[name]
    state, wanted = tw.tensor(first), tw.tensor(first)

    @tw.compile
    def step() -> Any:
        state.assign(move(state))
        return state.sum()

    for _ in range(3):
        step()
        wanted = move(wanted)
        np.testing.assert_allclose(state.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_state_that_keeps_an_axis_of_its_sums() -> None:
    """Two sums of one kernel, whose results have different ranks."""
    x, first = data(30, 8), data(1, 8)
    state = tw.tensor(first)

    @tw.compile
    def step(x: Any) -> Any:
        sums = tw.sum(x * x, 0)
        state.assign(tw.sum(x, 0, keepdims=True) * 0.1 + state)
        return sums

    for _ in range(2):
        np.testing.assert_allclose(step(x).numpy(), (x * x).sum(0), rtol=1e-5)
    np.testing.assert_allclose(state.numpy(), first + 0.2 * x.sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("threads", [1, 3])
def test_products_put_into_larger_tensors(width: str, threads: int) -> None:
    """What a contraction leaves for a border, or for a row of pieces, it puts there itself."""
    settings.vector, settings.threads = width, threads
    a, b, c = data(33, 20), data(20, 18), data(20, 7)
    check(lambda a, b: tw.pad(tw.relu(a @ b + 1), ((1, 2), (3, 0))) * 2, a, b)
    check(lambda a, b: (tw.pad(a @ b, 1) * 2, tw.pad(a @ b, 2, value=3.0).sum(0)), a, b)
    check(lambda a, b, c: tw.concatenate([a @ b, a @ c, tw.tanh(a @ b)], 1) + 1, a, b, c)
    check(lambda a, b, c: tw.concatenate([a @ b, a[:, :1], a @ c], 1).sum(1), a, b, c)
    check(lambda a, b: tw.concatenate([a @ b, a @ b], 0), a, b)
    check(lambda a, b: (tw.pad(a @ b, 1), a @ b), a, b)
    check(lambda a, b: tw.relu(tw.pad(tw.relu(a @ b) * 2, 0)) + 1, a, b)
    agree(
        lambda x, v, w: tw.sum(tw.sin(tw.conv(tw.relu(tw.conv(x, v, padding=1)), w, padding=2))),
        draw(2, 6, 5, 3), draw(3, 3, 3, 9), draw(3, 3, 9, 17),
    )  # fmt: skip
    agree(
        lambda x, v, w: tw.sum(tw.sin(tw.conv_transpose(tw.conv(x, v), w, stride=2) ** 2)),
        draw(2, 6, 5, 3), draw(3, 3, 3, 9), draw(3, 3, 9, 4),
    )  # fmt: skip
