"""Schedules against closed formulas, and ReduceOnPlateau."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import optim
from thalweg.errors import ArgumentError

STEPS = 40


def one_cycle(t: int) -> float:
    top, last = 0.3 * 30 - 1, 29

    def between(a: float, b: float, part: float) -> float:
        return b + (a - b) * (1 + math.cos(math.pi * part)) / 2

    if t <= top:
        return between(0.02, 0.5, t / top)
    return between(0.5, 2e-6, min((t - top) / (last - top), 1))


CASES: list[tuple[optim.Schedule, Callable[[int], float]]] = [
    (optim.constant(0.3), lambda t: 0.3),
    (optim.step(0.3, every=7), lambda t: 0.3 * 0.1 ** (t // 7)),
    (optim.step(0.3, every=3, factor=0.9), lambda t: 0.3 * 0.9 ** (t // 3)),
    (optim.exponential(0.3, 0.95), lambda t: 0.3 * 0.95**t),
    (optim.cosine(0.3, steps=30), lambda t: 0.15 * (1 + math.cos(math.pi * min(t, 30) / 30))),
    (optim.cosine(0.3, steps=30, warmup=5, final=0.1),
     lambda t: 0.06 * t if t < 5
     else 0.1 + 0.1 * (1 + math.cos(math.pi * min(t - 5, 25) / 25))),
    (optim.linear_warmup(0.3, 8), lambda t: 0.3 * min(t / 8, 1)),
    (optim.linear_warmup(0.3, 8, start=0.1), lambda t: 0.1 + 0.2 * min(t / 8, 1)),
    (optim.polynomial(0.3, 20), lambda t: 0.3 * (1 - min(t, 20) / 20)),
    (optim.polynomial(0.3, 20, power=2.5, final=0.1),
     lambda t: 0.1 + 0.2 * (1 - min(t, 20) / 20) ** 2.5),
    (optim.one_cycle(0.5, 30), one_cycle),
    (optim.piecewise([5, 12], [0.3, 0.2, 0.05]),
     lambda t: 0.3 if t < 5 else 0.2 if t < 12 else 0.05),
    (optim.join([optim.linear_warmup(0.3, 6), optim.exponential(0.3, 0.9)], [6]),
     lambda t: 0.05 * t if t < 6 else 0.3 * 0.9 ** (t - 6)),
]  # fmt: skip


def name_of(schedule: optim.Schedule) -> str:
    return repr(schedule).split("(")[0]


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{name_of(c[0])}" for i, c in enumerate(CASES)])
def test_closed_formula(case: Any) -> None:
    schedule, formula = case
    wanted = [formula(t) for t in range(STEPS)]
    np.testing.assert_allclose(schedule(tw.arange(STEPS)).numpy(), wanted, rtol=2e-6, atol=1e-7)
    compiled = tw.compile(lambda t: schedule(t))
    for t in (0, 1, 5, 6, 7, 29, 39):
        for rate in (schedule(t), schedule(float(t)), compiled(tw.tensor(t)), compiled(t)):
            assert rate.dtype is tw.float32
            assert rate.shape == ()
            assert rate.item() == pytest.approx(wanted[t], rel=2e-6, abs=1e-7)


def test_every_schedule_is_compared() -> None:
    assert {name_of(s) for s, _ in CASES} == set(optim.SCHEDULES)


def test_equal_schedules_are_equal() -> None:
    a, b = optim.cosine(0.1, steps=10), optim.cosine(0.1, steps=10)
    assert a == b
    assert hash(a) == hash(b)
    assert a != optim.cosine(0.1, steps=11)
    assert optim.join([a, b], [3]) == optim.join([b, a], [3])


@pytest.mark.parametrize("steps", [10_000_000, 300])
def test_step_falls_at_whole_multiples(steps: int) -> None:
    schedule = optim.step(1.0, every=steps // 100, factor=0.5)
    for k in (1, 3, 7, 49, 97):
        edge = k * (steps // 100)
        assert schedule(edge).item() == pytest.approx(0.5**k)
        assert schedule(edge - 1).item() == pytest.approx(0.5 ** (k - 1))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: optim.cosine(-1, 10), "cosine: learning_rate is -1, wanted"),
    (lambda: optim.cosine(0.1, 10, warmup=10), "cosine: warmup=10 leaves none of steps=10"),
    (lambda: optim.cosine(0.1, 0), "cosine: steps is 0, wanted a number with 1 <= steps"),
    (lambda: optim.step(0.1, 0), "step: every is 0"),
    (lambda: optim.one_cycle(0.1, 3), "one_cycle: warmup_fraction=0.3 of steps=3"),
    (lambda: optim.piecewise([3, 2], [1, 2, 3]), r"boundaries \(3, 2\) do not ascend"),
    (lambda: optim.piecewise([3], [1]), "1 values and 1 boundaries"),
    (lambda: optim.join([], []), "0 schedules and 0 boundaries"),
])  # fmt: skip
def test_wrong_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


# --- ReduceOnPlateau ---------------------------------------------------------------------------


def test_plateau_reduces_without_compiling() -> None:
    p = [tw.zeros(1)]
    optimizer = optim.SGD(p, learning_rate=1.0)
    captures = []

    @tw.compile
    def step(g: Any) -> None:
        captures.append(1)
        optimizer.update([g])

    plateau = optim.ReduceOnPlateau(optimizer, factor=0.1, patience=0, smallest=0.05)
    rates = []
    for metric in (1.0, 1.0, float("nan"), 0.5, 0.5):
        step(tw.ones(1))
        plateau.observe(tw.tensor(metric))
        rates.append(optimizer.learning_rate)
    assert rates == [1.0, 0.1, 0.05, 0.05, 0.05]
    assert len(captures) == 1


def test_plateau_state_round_trip() -> None:
    def fresh() -> optim.ReduceOnPlateau:
        return optim.ReduceOnPlateau(optim.SGD([tw.zeros(1)], 1.0), patience=2, goal="max")

    a, b = fresh(), fresh()
    for metric in (1.0, 0.5):
        a.observe(metric)
    b.load_state_dict(a.state_dict())
    for metric in (0.5, 0.5, 2.0):
        assert a.observe(metric) == b.observe(metric)
        assert a.state_dict() == b.state_dict()
    with pytest.raises(ArgumentError, match="Missing: cooling"):
        b.load_state_dict({"best": 1.0, "waited": 0})


def test_plateau_wrong_arguments() -> None:
    optimizer = optim.SGD([tw.zeros(1)], 1.0)
    with pytest.raises(ArgumentError, match="goal is 'mini'; did you mean 'min'"):
        optim.ReduceOnPlateau(optimizer, goal="mini")
    with pytest.raises(ArgumentError, match=r"factor is 1\.0, wanted a number with 0 < factor < 1"):
        optim.ReduceOnPlateau(optimizer, factor=1.0)
    optimizer.learning_rate = optim.constant(0.1)
    with pytest.raises(ArgumentError, match="there is no number to reduce"):
        optim.ReduceOnPlateau(optimizer)
