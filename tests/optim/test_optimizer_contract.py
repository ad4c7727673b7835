"""What every optimiser must fulfil; optimisers are found by introspection."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, ShapeError, TraceError
from thalweg.optim import Optimizer

Array = np.ndarray[Any, Any]
CLASSES = {
    name: getattr(optim, name) for name in optim.__all__
    if inspect.isclass(getattr(optim, name)) and issubclass(getattr(optim, name), Optimizer)
    and name != "Optimizer"
}  # fmt: skip
STEPPING = sorted(name for name, kind in CLASSES.items() if kind.runs_compiled)
each = pytest.mark.parametrize("name", sorted(CLASSES))
each_stepping = pytest.mark.parametrize("name", STEPPING)

# Learning rates for a bowl and for Rosenbrock's valley, where the optimiser's own is too small.
BOWL = {"Adadelta": 50.0, "Lion": 0.03, "Muon": 0.1, "Adagrad": 0.3}
VALLEY = {
    "SGD": 1e-3, "GradientDescent": 1e-3, "Momentum": 2e-4, "Nesterov": 2e-4, "Adadelta": 10.0,
    "Adagrad": 0.2, "Lion": 0.02, "Muon": 0.02, "RMSprop": 0.02,
}  # fmt: skip
WEIGHTS = {
    "kernel": np.array([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]], np.float32),
    "bias": np.array([0.5, -1.0], np.float32),
}


def fresh() -> dict[str, tw.Tensor]:
    return {name: tw.tensor(value) for name, value in WEIGHTS.items()}


def bowl(p: dict[str, tw.Tensor]) -> Any:
    curvature = tw.tensor([[1.0, 2.0], [0.5, 1.0], [1.0, 3.0]])
    return (curvature * (p["kernel"] - 0.5) ** 2).sum() + ((p["bias"] + 0.25) ** 2).sum()


def valley(p: dict[str, tw.Tensor]) -> Any:
    x, y = p["place"][0, 0], p["place"][1, 0]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def stepper(optimizer: Any, p: Any, loss: Callable[..., Any], compiled: bool = True) -> Any:
    """Return a function that takes one step and returns the loss before it."""
    both = tw.value_and_grad(loss)

    def step() -> Any:
        value, grads = both(p)
        optimizer.update(grads)
        return value

    return tw.compile(step) if compiled and optimizer.runs_compiled else step


def numbers(p: dict[str, tw.Tensor]) -> Array:
    return np.concatenate([t.numpy().ravel() for t in p.values()])


def test_the_table_holds_every_optimizer() -> None:
    assert set(optim.OPTIMIZERS.values()) == set(CLASSES.values())
    for name, kind in optim.OPTIMIZERS.items():
        assert optim.get(name) is kind
        assert optim.get(kind) is kind
        assert name.replace("_", "") == kind.__name__.lower()
    with pytest.raises(ArgumentError, match=r"'adm' is unknown; did you mean 'adam'"):
        optim.get("adm")


@each
def test_descends_a_bowl(name: str) -> None:
    p = fresh()
    options = {"learning_rate": BOWL[name]} if name in BOWL else {}
    optimizer = CLASSES[name](p, **options)
    if name not in BOWL:
        optimizer.learning_rate = 0.05
    step = stepper(optimizer, p, bowl)
    losses = [step().item() for _ in range(150)]
    assert losses[-1] < 0.1 * losses[0]
    assert optimizer.count == 150


@each
def test_descends_the_valley_of_rosenbrock(name: str) -> None:
    p = {"place": tw.tensor([[-1.2], [1.0]])}
    optimizer = CLASSES[name](p, learning_rate=VALLEY.get(name, 0.02))
    step = stepper(optimizer, p, valley)
    losses = [step().item() for _ in range(150)]
    assert losses[0] == pytest.approx(24.2, rel=1e-5)
    assert min(losses[-5:]) < 0.25 * losses[0]


@each_stepping
def test_compiled_is_eager_step_by_step(name: str) -> None:
    a, b = fresh(), fresh()
    options = {"weight_decay": 0.1, "l2": 0.05, "clip_norm": 3.0, "learning_rate": 0.05}
    eager = stepper(CLASSES[name](a, **options), a, bowl, compiled=False)
    compiled = stepper(CLASSES[name](b, **options), b, bowl)
    for _ in range(6):
        assert eager().item() == pytest.approx(compiled().item(), rel=1e-5)
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-5, atol=1e-6)


@each
def test_state_dict_round_trip_gives_the_same_next_steps(name: str) -> None:
    p = fresh()
    first = CLASSES[name](p, learning_rate=0.05)
    step = stepper(first, p, bowl)
    for _ in range(3):
        step()
    saved = first.state_dict()
    weights = {k: t.numpy() for k, t in p.items()}
    assert all(isinstance(v, np.ndarray) for v in saved.values())
    after = []
    for _ in range(3):
        step()
        after.append(numbers(p))
    assert any(not np.array_equal(saved[k], v) for k, v in first.state_dict().items())

    q = {k: tw.tensor(v) for k, v in weights.items()}
    second = CLASSES[name](q, learning_rate=0.7)
    second.load_state_dict(saved)
    assert second.learning_rate == 0.05
    for k, v in second.state_dict().items():
        np.testing.assert_array_equal(v, saved[k])
    again = stepper(second, q, bowl)
    for wanted in after:
        again()
        np.testing.assert_array_equal(numbers(q), wanted)


@each_stepping
def test_a_new_learning_rate_is_used_and_compiles_nothing(name: str) -> None:
    p = fresh()
    optimizer = CLASSES[name](p, learning_rate=0.1)
    captures = []

    @tw.compile
    def step() -> Any:
        captures.append(1)
        value, grads = tw.value_and_grad(bowl)(p)
        optimizer.update(grads)
        return value

    step()
    before = numbers(p)
    optimizer.learning_rate = 0.0
    step()
    np.testing.assert_array_equal(numbers(p), before)
    optimizer.learning_rate = 0.2
    step()
    assert not np.array_equal(numbers(p), before)
    assert len(captures) == 1


@each_stepping
def test_a_schedule_runs_inside_of_the_program(name: str) -> None:
    a, b = fresh(), fresh()
    schedule = optim.join([optim.linear_warmup(0.1, 3), optim.cosine(0.1, 4)], [3])
    scheduled = CLASSES[name](a, learning_rate=schedule)
    by_hand = CLASSES[name](b, learning_rate=0.1)
    step, other = stepper(scheduled, a, bowl), stepper(by_hand, b, bowl)
    for i in range(6):
        by_hand.learning_rate = schedule(i).item()
        assert scheduled.learning_rate == pytest.approx(by_hand.learning_rate, rel=1e-6)
        step()
        other()
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-6, atol=1e-7)


@each_stepping
def test_l2_and_weight_decay_are_what_they_say(name: str) -> None:
    """l2 is the same as a penalty in the loss; weight decay shrinks before the step."""
    def after(loss: Callable[..., Any], shrink: float = 1.0, **options: Any) -> Array:
        p = {k: tw.tensor(v * shrink) for k, v in WEIGHTS.items()}
        optimizer = CLASSES[name](p, learning_rate=0.05, **{"weight_decay": 0.0, **options})
        grads = tw.grad(loss)(fresh())
        optimizer.update(grads)
        return numbers(p)

    def penalised(p: Any) -> Any:
        return bowl(p) + sum(0.3 / 2 * (t**2).sum() for t in p.values())

    plain = after(bowl)
    np.testing.assert_allclose(after(bowl, l2=0.3), after(penalised), rtol=2e-5, atol=1e-6)
    decayed = after(bowl, weight_decay=0.3)
    if name == "Muon":  # AdamW's part has a learning rate of its own
        assert not np.allclose(decayed, plain)
    else:
        wanted = after(bowl, shrink=1 - 0.05 * 0.3)
        np.testing.assert_allclose(decayed, wanted, rtol=1e-5, atol=1e-6)
    if name in ("Lion", "Muon"):  # these may take the same signs or directions
        return
    one = name in ("SGD", "GradientDescent", "Momentum")  # equal in the first step, by algebra
    assert np.allclose(after(bowl, l2=0.3), decayed, rtol=1e-6, atol=1e-7) == one


@each_stepping
def test_groups(name: str) -> None:
    def after(**options: Any) -> dict[str, Array]:
        p = fresh()
        optimizer = CLASSES[name](p, learning_rate=0.05, **{"weight_decay": 0.2, **options})
        optimizer.update(tw.grad(bowl)(p))
        return {k: t.numpy() for k, t in p.items()}

    plain, none = after(), after(weight_decay=0.0)
    spared = after(groups=optim.no_decay_on_biases_and_norms)
    np.testing.assert_array_equal(spared["kernel"], plain["kernel"])
    np.testing.assert_array_equal(spared["bias"], none["bias"])
    scaled = after(groups=[{"match": "ker*", "learning_rate_scale": 0.0}])
    np.testing.assert_array_equal(scaled["kernel"], WEIGHTS["kernel"])
    np.testing.assert_array_equal(scaled["bias"], plain["bias"])
    first_wins = after(groups=[{"match": lambda path, p: path == "bias", "weight_decay": 0.0},
                               {"match": ["*"], "learning_rate_scale": 0.0}])  # fmt: skip
    np.testing.assert_array_equal(first_wins["bias"], none["bias"])
    np.testing.assert_array_equal(first_wins["kernel"], WEIGHTS["kernel"])


@each_stepping
def test_clipping_is_that_of_the_gradients(name: str) -> None:
    grads = {k: 10 * v for k, v in fresh().items()}
    clipped = {
        "clip_value": optim.clip_by_value(grads, 0.7),
        "clip_norm": optim.clip_by_norm(grads, 0.7),
        "clip_global_norm": optim.clip_by_global_norm(grads, 0.7),
    }
    for option, alike in clipped.items():
        p, q = fresh(), fresh()
        CLASSES[name](p, **{option: 0.7}).update(grads)
        CLASSES[name](q).update(alike)
        np.testing.assert_array_equal(numbers(p), numbers(q))


@each_stepping
@pytest.mark.parametrize("dtype", [tw.bfloat16, tw.float16, tw.float64])
def test_other_dtypes(name: str, dtype: Any) -> None:
    p = {k: tw.tensor(v, dtype=dtype) for k, v in WEIGHTS.items()}
    wide = fresh()
    ours = CLASSES[name](p, learning_rate=0.125)
    ours.update({k: tw.tensor(v, dtype=dtype) for k, v in WEIGHTS.items()})
    CLASSES[name](wide, learning_rate=0.125).update(fresh())
    assert all(t.dtype is dtype for t in p.values())
    kept = "float64" if dtype is tw.float64 else "float32"
    assert all(str(v.dtype) in (kept, "float32") for k, v in ours.state_dict().items()
               if k.startswith(("kernel", "bias")))  # fmt: skip
    tolerance = 2e-2 if dtype is tw.bfloat16 else 2e-3
    np.testing.assert_allclose(numbers(p).astype(np.float32), numbers(wide), atol=tolerance)


@each
def test_a_module_is_trained(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).reset_parameters(1)
    optimizer = CLASSES[name](model, learning_rate=0.02)
    x = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    y = x.sum(1, keepdims=True)

    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        loss, grads = tw.value_and_grad(lambda m: ((m(x) - y) ** 2).mean())(model)
        optimizer.update(grads)
        return loss

    run = tw.compile(step) if optimizer.runs_compiled else step
    before = {k: p.numpy() for k, p in model.parameters().items()}
    losses = [run(model, optimizer, tw.tensor(x), tw.tensor(y)).item() for _ in range(30)]
    assert losses[-1] < losses[0]
    assert all(not np.array_equal(p.numpy(), before[k]) for k, p in model.parameters().items())


@each
def test_a_copy_goes_its_own_way(name: str) -> None:
    p = fresh()
    optimizer = CLASSES[name](p, learning_rate=0.05)
    optimizer.update(tw.grad(bowl)(p))
    q, other = copy.deepcopy((p, optimizer))
    for tensors, one in ((p, optimizer), (q, other)):
        one.update(tw.grad(bowl)(tensors))
    np.testing.assert_array_equal(numbers(p), numbers(q))
    other.update(tw.grad(bowl)(q))
    assert optimizer.count + 1 == other.count
    assert not np.array_equal(numbers(p), numbers(q))


@each
def test_errors_say_what_to_do(name: str) -> None:
    p = fresh()
    kind = CLASSES[name]
    optimizer = kind(p)
    grads = fresh()
    with pytest.raises(ArgumentError, match=r"Without a gradient: 'bias'"):
        optimizer.update({"kernel": grads["kernel"]})
    with pytest.raises(ArgumentError, match=r"Without a parameter: 'bais'; did you mean 'bias'"):
        optimizer.update({"kernel": grads["kernel"], "bais": grads["bias"]})
    with pytest.raises(ShapeError, match=r"'kernel' has shape \(3,\), the parameter \(3, 2\)"):
        optimizer.update({**grads, "kernel": tw.zeros(3)})
    np.testing.assert_array_equal(numbers(p), numbers(fresh()))
    assert optimizer.count == 0
    with pytest.raises(ArgumentError, match=f"{name}: learning_rate is -1"):
        kind(p, learning_rate=-1)
    with pytest.raises(ArgumentError, match="nothing to train"):
        kind({})
    with pytest.raises(ArgumentError, match="of type str, wanted a Parameter"):
        kind(["weights"])
    with pytest.raises(ArgumentError, match="l2 is nan, wanted a number with 0 <= l2"):
        kind(p, l2=float("nan"))
    state = optimizer.state_dict()
    with pytest.raises(ArgumentError, match="Unexpected: 'cuont'; did you mean 'count'"):
        optimizer.load_state_dict({**state, "cuont": 1})
    with pytest.raises(ArgumentError, match=r"Missing: count"):
        optimizer.load_state_dict({k: v for k, v in state.items() if k != "count"})

    with pytest.raises(TraceError, match="make the optimiser outside"):
        tw.compile(lambda: kind(p))()


@each
def test_hyperparameters_are_checked_and_compile_anew(name: str) -> None:
    optimizer = CLASSES[name](fresh())
    before = optimizer.fingerprint()
    assert before == optimizer.fingerprint()
    for option, legal in optimizer.limits.items():
        with pytest.raises(ArgumentError, match=f"{name}: {option} is 'x', wanted a"):
            setattr(optimizer, option, "x")
        if legal.length:
            setattr(optimizer, option, (0.5, 0.25))
        else:
            setattr(optimizer, option, 0.75 if legal.holds(0.75) else 7)
        after = optimizer.fingerprint()
        assert after != before
        before = after


@each
def test_documentation(name: str) -> None:
    text = inspect.getdoc(CLASSES[name]) or ""
    assert ".. math::" in text
    assert ">>>" in text
    assert repr(CLASSES[name](fresh())).startswith(f"{name}(learning_rate=")
