"""L-BFGS and its line searches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, NumericsError, ShapeError, TraceError
from thalweg.optim.line_search import CURVATURE, SUFFICIENT, Point, armijo, strong_wolfe

SEARCHES = ["strong_wolfe", "armijo"]
NONE = np.zeros(0)
EXACT = {"gradient_tolerance": 1e-9, "change_tolerance": 0.0}


def rosenbrock(p: Any) -> Any:
    x = p[0]
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@pytest.mark.parametrize("search", SEARCHES)
def test_finds_the_end_of_the_valley(search: str) -> None:
    place = [tw.tensor([-1.2, 1.0, -0.5, 0.8, 2.0], dtype=tw.float64)]
    closure = tw.compile(lambda: tw.value_and_grad(rosenbrock)(place))
    found = optim.LBFGS(place, line_search=search, **EXACT).minimize(closure, steps=200)
    assert found.converged
    assert found.steps < found.evaluations < 250
    assert found.loss == rosenbrock(place).item()
    np.testing.assert_allclose(place[0].numpy(), np.ones(5), atol=1e-5)


@pytest.mark.parametrize("search", SEARCHES)
def test_never_raises_the_loss(search: str) -> None:
    place = [tw.tensor([-1.2, 1.0, 0.3])]
    optimizer = optim.LBFGS(place, line_search=search)
    losses = [optimizer.minimize(lambda: tw.value_and_grad(rosenbrock)(place), steps=1).loss
              for _ in range(20)]  # fmt: skip
    assert all(b <= a for a, b in pairwise(losses))
    assert optimizer.count == 20


def test_exact_on_a_quadratic_form() -> None:
    """With exact steps a quadratic in n dimensions takes about n steps, whatever its scales."""
    scales = np.array([1.0, 10.0, 100.0, 0.1])
    target = np.array([1.0, -2.0, 3.0, 4.0])
    place = {"w": tw.zeros(4, dtype=tw.float64)}

    def loss(p: Any) -> Any:
        return (tw.tensor(scales) * (p["w"] - tw.tensor(target)) ** 2).sum()

    found = optim.LBFGS(place, **EXACT).minimize(lambda: tw.value_and_grad(loss)(place), steps=40)
    assert found.converged
    np.testing.assert_allclose(place["w"].numpy(), target, atol=1e-5)


def test_a_module_and_l2() -> None:
    """Ridge regression has a closed solution."""
    source = np.random.default_rng(0)
    x, y = source.standard_normal((20, 3)), source.standard_normal((20, 1))
    model = nn.Linear(3, 1, bias=False).astype(tw.float64)

    @tw.compile
    def closure() -> Any:
        return tw.value_and_grad(lambda m: ((m(x) - y) ** 2).sum() / 2)(model)

    optim.LBFGS(model, l2=0.7, **EXACT).minimize(closure)
    wanted = np.linalg.solve(x.T @ x + 0.7 * np.eye(3), x.T @ y)
    np.testing.assert_allclose(model.weight.numpy(), wanted, atol=1e-6)


def test_errors() -> None:
    place = [tw.tensor([1.0, 2.0])]
    with pytest.raises(ArgumentError, match="'wolfe'; did you mean 'strong_wolfe'"):
        optim.LBFGS(place, line_search="wolfe")
    optimizer = optim.LBFGS(place)
    with pytest.raises(NumericsError, match="the loss is nan at the start"):
        optimizer.minimize(lambda: (float("nan"), [tw.zeros(2)]))
    with pytest.raises(TraceError, match="cannot be part of a compiled function"):
        tw.compile(lambda g: optimizer.update([g]))(tw.ones(2))
    optimizer.update([tw.ones(2)])
    other = optim.LBFGS([tw.zeros(3)])
    with pytest.raises(ShapeError, match="the history has the shapes"):
        other.load_state_dict(optimizer.state_dict())


def test_a_loss_that_is_infinite_further_on() -> None:
    """The searches come back from where the loss does not exist."""
    for search in SEARCHES:
        place = [tw.tensor([0.5], dtype=tw.float64)]

        def loss(p: Any) -> Any:
            return (p[0] - tw.log(p[0])).sum()  # NaN below 0; smallest at 1

        found = optim.LBFGS(place, learning_rate=50.0, line_search=search).minimize(
            lambda place=place, loss=loss: tw.value_and_grad(loss)(place)
        )
        assert place[0].item() == pytest.approx(1.0, abs=1e-4)
        assert found.loss == pytest.approx(1.0)


LINES = {
    "parabola": lambda t: ((t - 3) ** 2, 2 * (t - 3)),
    "quartic": lambda t: ((t - 2) ** 4 - t, 4 * (t - 2) ** 3 - 1),
    "waves": lambda t: (t**2 / 20 - np.sin(3 * t), t / 10 - 3 * np.cos(3 * t)),
    "steep": lambda t: (np.exp(-20 * t) + 0.1 * t, -20 * np.exp(-20 * t) + 0.1),
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("name", sorted(LINES))
def test_the_conditions_hold(name: str, first: float) -> None:
    def line(t: float) -> Point:
        loss, slope = LINES[name](t)
        return Point(t, float(loss), float(slope), NONE)

    start = line(0.0)
    for search in (armijo, strong_wolfe):
        point = search(line, start, first)
        assert point.step > 0
        assert point.loss <= start.loss + SUFFICIENT * point.step * start.slope
        if search is strong_wolfe:
            assert abs(point.slope) <= -CURVATURE * start.slope
