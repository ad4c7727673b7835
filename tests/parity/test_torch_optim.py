"""Every optimiser and schedule for 20 steps against PyTorch's, from the same state, to 1e-6."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import optim

torch = pytest.importorskip("torch")
Array = np.ndarray[Any, Any]
STEPS = 20
source = np.random.default_rng(3)
WEIGHTS = [source.standard_normal((4, 3)).astype(np.float32),
           source.standard_normal(3).astype(np.float32)]  # fmt: skip
CURVATURE = [np.exp(source.standard_normal(w.shape)).astype(np.float32) for w in WEIGHTS]
NOISE = [[source.standard_normal(w.shape).astype(np.float32) for w in WEIGHTS]
         for _ in range(STEPS)]  # fmt: skip


def slope(weights: list[Array], step: int) -> list[Array]:
    """Return the gradients of a bowl, with noise, that both sides are given."""
    return [c * w + n for c, w, n in zip(CURVATURE, weights, NOISE[step], strict=True)]


T = torch.optim
CASES: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = [
    ("SGD", T.SGD, {}, {}),
    ("SGD", T.SGD, {"l2": 0.1}, {"weight_decay": 0.1}),
    ("SGD", T.SGD, {"momentum": 0.9, "dampening": 0.4, "l2": 0.1},
     {"momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    ("GradientDescent", T.SGD, {}, {}),
    ("Momentum", T.SGD, {}, {"momentum": 0.9}),
    ("Nesterov", T.SGD, {"l2": 0.1}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adagrad", T.Adagrad, {}, {}),
    ("Adagrad", T.Adagrad,
     {"learning_rate_decay": 0.1, "l2": 0.1, "initial_accumulator": 0.3, "eps": 1e-3},
     {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("RMSprop", T.RMSprop, {}, {}),
    ("RMSprop", T.RMSprop, {"decay": 0.9, "momentum": 0.5, "centered": True, "l2": 0.1},
     {"alpha": 0.9, "momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    ("Adadelta", T.Adadelta, {}, {}),
    ("Adadelta", T.Adadelta, {"decay": 0.8, "eps": 1e-3, "l2": 0.1},
     {"rho": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", T.Adam, {}, {}),
    ("Adam", T.Adam, {"betas": (0.8, 0.9), "eps": 1e-2, "l2": 0.1},
     {"betas": (0.8, 0.9), "eps": 1e-2, "weight_decay": 0.1}),
    ("Adam", T.Adam, {"amsgrad": True, "betas": (0.9, 0.8)},
     {"amsgrad": True, "betas": (0.9, 0.8)}),
    ("AdamW", T.AdamW, {}, {}),
    ("AdamW", T.AdamW, {"weight_decay": 0.3, "eps": 1e-3}, {"weight_decay": 0.3, "eps": 1e-3}),
    ("NAdam", T.NAdam, {}, {}),
    ("NAdam", T.NAdam, {"weight_decay": 0.1, "momentum_decay": 0.1, "betas": (0.8, 0.9)},
     {"weight_decay": 0.1, "momentum_decay": 0.1, "betas": (0.8, 0.9),
      "decoupled_weight_decay": True}),
]  # fmt: skip
ALONE = {"Lion", "Muon", "LBFGS"}  # PyTorch has no Lion; the others have tests below


def test_all_optimizers_are_compared() -> None:
    assert {row[0] for row in CASES} | ALONE == {k.__name__ for k in optim.OPTIMIZERS.values()}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("row", CASES, ids=[f"{i}-{r[0]}" for i, r in enumerate(CASES)])
def test_optimizer(row: Any, compiled: bool) -> None:
    name, theirs, options, their_options = row
    ours = [tw.tensor(w) for w in WEIGHTS]
    optimizer = getattr(optim, name)(ours, learning_rate=0.03, **options)
    update = tw.compile(optimizer.update) if compiled else optimizer.update
    pairs = [torch.tensor(w, requires_grad=True) for w in WEIGHTS]
    other = theirs(pairs, lr=0.03, **their_options)
    for step in range(STEPS):
        gradients = slope([p.detach().numpy() for p in pairs], step)
        for p, g in zip(pairs, gradients, strict=True):
            p.grad = torch.from_numpy(g)
        update([tw.tensor(g) for g in gradients])
        other.step()
        for p, q in zip(ours, pairs, strict=True):
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6, atol=1e-6)


def test_clipping() -> None:
    for kind, options in (("value", {"clip_value": 0.5}), ("norm", {"clip_global_norm": 1.5})):
        ours = [tw.tensor(w) for w in WEIGHTS]
        optimizer = optim.Momentum(ours, 0.03, **options)
        pairs = [torch.tensor(w, requires_grad=True) for w in WEIGHTS]
        other = T.SGD(pairs, lr=0.03, momentum=0.9)
        for step in range(STEPS):
            gradients = slope([p.detach().numpy() for p in pairs], step)
            optimizer.update([tw.tensor(g) for g in gradients])
            for p, g in zip(pairs, gradients, strict=True):
                p.grad = torch.from_numpy(g)
            if kind == "value":
                torch.nn.utils.clip_grad_value_(pairs, 0.5)
            else:
                torch.nn.utils.clip_grad_norm_(pairs, 1.5)
            other.step()
        for p, q in zip(ours, pairs, strict=True):
            # PyTorch adds 1e-6 to the norm that it divides by, which shortens steps by as much.
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6, atol=3e-6)


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_muon(monkeypatch: Any, adjust: str, shape: tuple[int, int]) -> None:
    """PyTorch iterates in bfloat16, and its weights are the transposes of ours."""
    if not hasattr(T, "Muon"):
        pytest.skip("this PyTorch has no Muon")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda t: t.clone())
    weight = source.standard_normal(shape).astype(np.float32)
    ours = [tw.tensor(weight)]
    theirs = torch.tensor(weight.T.copy(), requires_grad=True)
    optimizer = optim.Muon(ours, 0.02, adjust=adjust, weight_decay=0.1)
    other = T.Muon([theirs], lr=0.02, adjust_lr_fn=adjust, weight_decay=0.1)
    for _ in range(STEPS):
        gradient = source.standard_normal(shape).astype(np.float32)
        optimizer.update([tw.tensor(gradient)])
        theirs.grad = torch.from_numpy(gradient.T.copy())
        other.step()
        wanted = theirs.detach().numpy().T
        np.testing.assert_allclose(ours[0].numpy(), wanted, rtol=1e-6, atol=5e-6)


START = np.array([-1.2, 1.0, 0.5])


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def ellipse(x: Any) -> Any:
    return x[0] ** 2 + 3 * x[1] ** 2 + 10 * x[2] ** 2 + x[0] * x[1] + (x * x * x * x).sum()


def torch_lbfgs(loss: Any, steps: int, **options: Any) -> Any:
    place = torch.tensor(START, requires_grad=True)
    other = T.LBFGS([place], history_size=10, **options)

    def closure() -> Any:
        other.zero_grad()
        value = loss(place)
        value.backward()
        return value

    for _ in range(steps):
        other.step(closure)
    return place.detach().numpy()


@pytest.mark.parametrize("calls", [1, STEPS])
def test_lbfgs_without_a_search(calls: int) -> None:
    place = [tw.tensor(START)]
    optimizer = optim.LBFGS(place, learning_rate=0.5, line_search=None)
    closure = tw.compile(lambda: tw.value_and_grad(lambda p: ellipse(p[0]))(place))
    for _ in range(calls):
        optimizer.minimize(closure, steps=STEPS // calls)
    wanted = torch_lbfgs(ellipse, calls, lr=0.5, max_iter=STEPS // calls)
    np.testing.assert_allclose(place[0].numpy(), wanted, rtol=1e-6, atol=1e-6)

    place = [tw.tensor(START)]
    optimizer = optim.LBFGS(place, learning_rate=0.5)
    for _ in range(STEPS):
        optimizer.update(tw.grad(lambda p: ellipse(p[0]))(place))
    np.testing.assert_allclose(place[0].numpy(), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [rosenbrock, ellipse])
def test_lbfgs_finds_the_same_minimum(loss: Any) -> None:
    exact = {"tolerance_grad": 1e-10, "tolerance_change": 0.0}
    wanted = torch_lbfgs(loss, 1, max_iter=200, line_search_fn="strong_wolfe", **exact)
    place = [tw.tensor(START)]
    optimizer = optim.LBFGS(place, gradient_tolerance=1e-10, change_tolerance=0.0)
    optimizer.minimize(lambda: tw.value_and_grad(lambda p: loss(p[0]))(place), steps=200)
    np.testing.assert_allclose(place[0].numpy(), wanted, rtol=1e-6, atol=1e-6)


S = T.lr_scheduler
SCHEDULES: list[tuple[optim.Schedule, Any]] = [
    (optim.constant(0.5), lambda o: S.ConstantLR(o, factor=1.0)),
    (optim.step(0.5, 6, 0.3), lambda o: S.StepLR(o, 6, 0.3)),
    (optim.exponential(0.5, 0.9), lambda o: S.ExponentialLR(o, 0.9)),
    (optim.cosine(0.5, 20, final=0.1), lambda o: S.CosineAnnealingLR(o, 20, eta_min=0.1)),
    (optim.cosine(0.5, 20, warmup=5), lambda o: S.SequentialLR(
        o, [S.LambdaLR(o, lambda t: t / 5), S.CosineAnnealingLR(o, 15)], [5])),
    (optim.linear_warmup(0.5, 8, start=0.125), lambda o: S.LinearLR(o, 0.25, total_iters=8)),
    (optim.one_cycle(0.5, 21), lambda o: S.OneCycleLR(
        o, max_lr=0.5, total_steps=21, cycle_momentum=False)),
    (optim.one_cycle(0.5, 21, 0.5, 10.0, 100.0), lambda o: S.OneCycleLR(
        o, max_lr=0.5, total_steps=21, pct_start=0.5, div_factor=10.0, final_div_factor=100.0,
        cycle_momentum=False)),
    (optim.polynomial(0.5, 12, power=1.5), lambda o: S.PolynomialLR(o, 12, power=1.5)),
    (optim.piecewise([4, 9], [0.5, 0.05, 0.005]), lambda o: S.MultiStepLR(o, [4, 9], 0.1)),
    (optim.join([optim.linear_warmup(0.5, 4, 0.25), optim.exponential(0.5, 0.8)], [4]),
     lambda o: S.SequentialLR(
         o, [S.LinearLR(o, 0.5, total_iters=4), S.ExponentialLR(o, 0.8)], [4])),
]  # fmt: skip


def test_all_schedules_are_compared() -> None:
    assert {repr(s).split("(")[0] for s, _ in SCHEDULES} == set(optim.SCHEDULES)


@pytest.mark.parametrize("row", SCHEDULES, ids=[repr(s).split("(")[0] for s, _ in SCHEDULES])
@pytest.mark.filterwarnings("ignore:The epoch parameter")  # SequentialLR warns of itself
def test_schedule(row: Any) -> None:
    ours, theirs = row
    weight = [tw.tensor([1.0])]
    optimizer = optim.SGD(weight, learning_rate=ours)
    update = tw.compile(optimizer.update)
    pair = torch.tensor([1.0], requires_grad=True)
    other = T.SGD([pair], lr=0.5)
    schedule = theirs(other)
    for _ in range(STEPS):
        assert optimizer.learning_rate == pytest.approx(other.param_groups[0]["lr"], abs=1e-6)
        pair.grad = torch.ones(1)
        update([tw.ones(1)])
        other.step()
        schedule.step()
    np.testing.assert_allclose(weight[0].numpy(), pair.detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", [
    {"factor": 0.5, "patience": 1},
    {"factor": 0.1, "patience": 0, "cooldown": 2, "absolute": True, "threshold": 0.2},
    {"factor": 0.5, "patience": 1, "goal": "max", "smallest": 0.1},
])  # fmt: skip
def test_plateau(options: dict[str, Any]) -> None:
    theirs = dict(options)
    theirs["mode"] = theirs.pop("goal", "min")
    theirs["eps"] = 0.0  # a smallest change, which ours does not have
    theirs["min_lr"] = theirs.pop("smallest", 0.0)
    theirs["threshold_mode"] = "abs" if theirs.pop("absolute", False) else "rel"
    optimizer = optim.SGD([tw.zeros(1)], 1.0)
    other = T.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    plateau, their_plateau = optim.ReduceOnPlateau(optimizer, **options), S.ReduceLROnPlateau(
        other, **theirs
    )
    for metric in np.round(np.random.default_rng(0).uniform(0, 1, 30), 2):
        plateau.observe(metric)
        their_plateau.step(metric)
        assert optimizer.learning_rate == pytest.approx(other.param_groups[0]["lr"], rel=1e-6)
