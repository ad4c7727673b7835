"""What every loss must fulfil; losses are found by introspection, so a new one needs a row here."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError, DataError, DTypeError, ShapeError
from thalweg.nn import losses

Array = np.ndarray[Any, Any]
source = np.random.default_rng(2)
LOGITS = source.standard_normal((5, 4))
OTHER = source.standard_normal((5, 4))
P = 1 / (1 + np.exp(-LOGITS))
SOFT = np.exp(OTHER) / np.exp(OTHER).sum(1, keepdims=True)
LOG_P = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
LABELS = np.array([0, 3, 1, 1, 2])
IGNORING = np.array([0, -7, 1, -7, 2])
BITS = (OTHER > 0).astype(np.int64)
WEIGHTS = np.array([0.5, 1.0, 2.0, 3.0])
CASES: dict[str, list[tuple[Array, Array, dict[str, Any]]]] = {
    "mse": [(LOGITS, OTHER, {})],
    "quadratic": [(LOGITS, OTHER, {})],
    "mae": [(LOGITS, OTHER, {})],
    "huber": [(LOGITS, OTHER, {}), (LOGITS, OTHER, {"delta": 0.4})],
    "cosine": [(LOGITS, OTHER, {}), (LOGITS, OTHER, {"axis": 0})],
    "binary_cross_entropy": [(P, SOFT, {}), (P, BITS, {})],
    "binary_cross_entropy_with_logits": [
        (LOGITS, BITS, {}), (30 * LOGITS, SOFT, {}), (LOGITS, BITS, {"pos_weight": WEIGHTS}),
        (LOGITS, BITS, {"pos_weight": 3.0}),
    ],
    "focal": [(LOGITS, BITS, {}), (LOGITS, BITS, {"gamma": 1.5, "alpha": None}),
              (LOGITS, BITS, {"gamma": 0.0, "alpha": 0.6})],
    "hinge": [(LOGITS, BITS * 2 - 1, {}), (LOGITS, BITS * 2 - 1, {"margin": 0.3})],
    "kl_divergence": [(LOG_P, SOFT, {}), (LOG_P, np.log(SOFT), {"log_target": True}),
                      (LOG_P, np.eye(4)[LABELS], {})],
    "nll": [(LOG_P, LABELS, {}), (LOG_P, IGNORING, {"ignore_index": -7}),
            (LOG_P, LABELS, {"class_weights": WEIGHTS})],
    "cross_entropy": [
        (LOGITS, LABELS, {}), (50 * LOGITS, LABELS, {}), (LOGITS, SOFT, {}),
        (LOGITS, np.eye(4, dtype=np.int64)[LABELS], {}),
        (LOGITS, LABELS.astype(np.uint8), {}),
        (LOGITS, IGNORING, {"ignore_index": -7}),
        (LOGITS, LABELS, {"class_weights": WEIGHTS}),
        (LOGITS, LABELS, {"label_smoothing": 0.1}),
        (LOGITS, SOFT, {"label_smoothing": 0.1, "class_weights": WEIGHTS}),
        (LOGITS, IGNORING, {"ignore_index": -7, "class_weights": WEIGHTS, "label_smoothing": 0.2}),
        (LOGITS.T, LABELS, {"axis": 0}), (LOGITS[0], np.array(2), {}),
        (LOGITS.reshape(5, 2, 2), (np.arange(10) % 2).reshape(5, 2), {}),
    ],
}  # fmt: skip
ROWS = [
    pytest.param(name, *row, id=f"{name}-{i}")
    for name, rows in CASES.items() for i, row in enumerate(rows)
]  # fmt: skip
each = pytest.mark.parametrize(("name", "x", "t", "options"), ROWS)


def test_every_loss_has_a_row() -> None:
    assert set(CASES) == set(losses.LOSSES)
    assert list(losses.LOSSES) == sorted(losses.LOSSES)
    for loss in losses.LOSSES.values():
        assert list(inspect.signature(loss).parameters)[:2] == ["predictions", "targets"]
        doc = inspect.getdoc(loss) or ""
        for part in (">>>", "Shape:", "Raises:"):
            assert part in doc, (loss.__name__, part)


@each
def test_reductions_and_dtypes(name: str, x: Array, t: Array, options: dict[str, Any]) -> None:
    loss = losses.get(name)
    for dtype in ("float32", "float64", "bfloat16"):
        cast = tw.tensor(x).astype(dtype)
        none, total = (loss(cast, t, reduction=r, **options) for r in ("none", "sum"))
        mean = loss(cast, t, **options)
        assert mean.shape == ()
        assert total.shape == ()
        assert mean.dtype is none.dtype is (tw.float64 if dtype == "float64" else tw.float32)
        tolerance = 0.05 if dtype == "bfloat16" else 1e-5
        np.testing.assert_allclose(total, none.numpy().sum(), rtol=1e-5)
        np.testing.assert_allclose(
            mean, loss(tw.tensor(x), t, **options), rtol=tolerance, atol=tolerance
        )
    with pytest.raises(ArgumentError, match=rf"{name}: reduction='men'; did you mean 'mean'"):
        loss(x, t, reduction="men", **options)


@each
def test_compiled_equals_eager(name: str, x: Array, t: Array, options: dict[str, Any]) -> None:
    loss = losses.get(name)
    both = tw.compile(lambda x, t: tw.value_and_grad(lambda x: loss(x, t, **options))(x))
    eager = tw.value_and_grad(lambda x: loss(x, t, **options))(tw.tensor(x))
    for a, b in zip(both(x, t), eager, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@each
def test_gradient(name: str, x: Array, t: Array, options: dict[str, Any]) -> None:
    loss = losses.get(name)
    gradient = tw.grad(lambda x: loss(x, t, **options))(tw.tensor(x)).numpy()
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        ends = []
        for h in (1e-6, -1e-6):
            moved = x.copy()
            moved[place] += h
            ends.append(float(loss(moved, t, **options)))
        found[place] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(gradient, found, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "x", "t", "options"),
    [row for row in ROWS if row.values[1].ndim > 1 and row.values[3].get("axis") != 0],
)
def test_rows_may_be_permuted(name: str, x: Array, t: Array, options: dict[str, Any]) -> None:
    loss = losses.get(name)
    order = np.array([3, 1, 4, 0, 2])
    np.testing.assert_allclose(loss(x, t, **options), loss(x[order], t[order], **options))


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_nothing_is_broadcast(name: str) -> None:
    loss = losses.get(name)
    wide, flat = np.full((3, 1), 0.5, np.float32), np.ones(3, np.float32)
    for a, b in ((wide, flat), (flat, wide)):
        if name in ("nll", "cross_entropy"):  # (n, 1) against (n,) is one class and its labels
            continue
        with pytest.raises(ShapeError, match=rf"{name}.*squeeze\(-1\)") as caught:
            loss(a, b)
        assert "test_loss_contract.py" in str(caught.value)
    with pytest.raises(DTypeError, match=f"{name}: the predictions are int64"):
        loss(np.ones((3, 2), np.int64), np.ones(3, np.int64))
    with pytest.raises(DTypeError, match=name):
        loss([[0.5]], np.ones((1, 1)))


@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_labels_out_of_range_name_the_row(name: str) -> None:
    loss = losses.get(name)
    x = np.zeros((4, 3), np.float32)
    for bad, hint in ((3, "subtract 1"), (-1, "ignore_index"), (9, "every class")):
        labels = np.array([1, 1, bad, bad])
        with pytest.raises(DataError, match=rf"{name}: row 2 has the label {bad}.*{hint}"):
            loss(x, labels)
        with pytest.raises(IndexError):
            tw.compile(loss)(x, labels)
        assert float(loss(x, labels, ignore_index=bad, reduction="none")[3]) == 0
    with pytest.raises(DataError, match=r"row \(0, 1\)"):
        loss(x.reshape(2, 2, 3), np.array([[0, 5], [0, 0]]))
    with pytest.raises(DTypeError, match="whole numbers"):
        loss(x, np.zeros(4, np.float32))
    with pytest.raises(ShapeError, match=r"targets.squeeze\(-1\)"):
        loss(x, np.zeros((4, 1), np.int64))
    with pytest.raises(ShapeError, match="class_weights"):
        loss(x, np.zeros(4, np.int64), class_weights=np.ones(4))


def test_options_are_checked() -> None:
    x = np.zeros((4, 3), np.float32)
    with pytest.raises(ArgumentError, match="label_smoothing"):
        losses.cross_entropy(x, np.zeros(4, np.int64), label_smoothing=2.0)
    with pytest.raises(ArgumentError, match="ignore_index goes with integer labels"):
        losses.cross_entropy(x, x, ignore_index=1)
    with pytest.raises(ArgumentError, match="delta"):
        losses.huber(x, x, delta=0.0)
    with pytest.raises(ShapeError, match="pos_weight"):
        losses.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones(4))
    with pytest.raises(DataError, match="with_logits"):
        losses.binary_cross_entropy(x + 2, x)
    with pytest.raises(DataError, match="targets must be from 0 to 1"):
        losses.focal(x, x - 1)
    with pytest.raises(DataError, match=r"targets \* 2 - 1"):
        losses.hinge(x, x)
    with pytest.raises(ArgumentError, match="did you mean 'mse'"):
        losses.get("msee")


def test_edges_stay_finite() -> None:
    x = np.array([[1e4, -1e4, 0.0]], np.float32)
    for loss, t in (
        (losses.cross_entropy, np.array([1])),
        (losses.binary_cross_entropy_with_logits, np.array([[0, 1, 1]])),
        (losses.focal, np.array([[0, 1, 1]])),
        (lambda x, t: losses.binary_cross_entropy(x, t), None),
        (losses.cosine, np.zeros((1, 3))),
    ):  # fmt: skip
        given = x if t is not None else np.array([[0.0, 1.0, 0.0]], np.float32)
        t = np.array([[0, 1, 1]]) if t is None else t
        value, gradient = tw.value_and_grad(lambda v, t=t, f=loss: f(v, t))(tw.tensor(given))
        assert np.isfinite(value.numpy())
        assert np.isfinite(gradient.numpy()).all()


def test_gradient_at_zero_logits_is_half() -> None:
    gradient = tw.grad(losses.binary_cross_entropy_with_logits)(tw.zeros(2), np.array([0, 1]))
    np.testing.assert_allclose(gradient, [0.25, -0.25])


def test_cross_entropy_of_labels_is_a_small_graph() -> None:
    explained = tw.compile(losses.cross_entropy).explain(tw.ones((8, 10)), np.zeros(8, np.uint8))
    text = explained.split("== ")[1]  # the first stage: the graph as it was captured
    operations = [line.split()[2] for line in text.splitlines() if " = " in line]
    heavy = [line for line in text.splitlines() if line.endswith("float32[8, 10]")]
    assert len(heavy) == 3  # the input, the centred logits and their exponentials
    assert sorted(o for o in operations if o not in ("input", "full", "reshape")) == [
        "exp", "log", "max", "multiply", "stop_gradient", "subtract", "subtract", "sum", "sum",
        "take_along_axis",
    ]  # fmt: skip
