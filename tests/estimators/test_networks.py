"""What is special to each estimator: shapes of inputs, kinds of models, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DataError, ShapeError
from thalweg.estimators import (
    Autoencoder,
    ConvClassifier,
    MLPClassifier,
    MLPRegressor,
    NeuralClassifier,
    NeuralRegressor,
    SequenceClassifier,
)
from thalweg.estimators.batching import EvenBatches
from thalweg.estimators.parameters import activation_names

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RANDOM = np.random.default_rng(0)
DIGITS, DIGIT = load_digits(return_X_y=True)
IMAGES = DIGITS.reshape(-1, 8, 8) / 16


@given(st.integers(1, 500), st.integers(1, 300), st.integers(0, 5))
def test_batches_leave_no_row_out(count: int, limit: int, epoch: int) -> None:
    batches = EvenBatches(count, limit)
    rows = batches.rows(count, batches.size, 0, epoch)
    assert len(rows) == batches.samples == batches.steps * batches.size
    assert batches.size <= limit
    assert batches.steps == -(-count // limit) or limit > count
    assert set(rows) == set(range(count))
    assert len(rows) - count < batches.steps


def test_images_in_any_shape_are_the_same_images() -> None:
    told = []
    for X in (IMAGES, IMAGES[..., None], DIGITS / 16):
        model = ConvClassifier(max_iter=5, batch_size=100, learning_rate_init=0.005, random_state=0)
        told.append(model.fit(X[:900], DIGIT[:900]).predict_proba(X[900:]))
        assert model.image_shape_ == (8, 8, 1)
    np.testing.assert_array_equal(told[0], told[1])
    np.testing.assert_array_equal(told[0], told[2])
    assert (told[0].argmax(axis=1) == DIGIT[900:]).mean() > 0.85


def test_bytes_are_divided_by_255() -> None:
    pixels = (IMAGES * 255).round().astype(np.uint8)
    options: dict[str, Any] = {"max_iter": 2, "random_state": 0}
    as_bytes = ConvClassifier(**options).fit(pixels, DIGIT)
    as_numbers = ConvClassifier(**options).fit(pixels / 255, DIGIT)
    np.testing.assert_allclose(
        as_bytes.predict_proba(pixels), as_numbers.predict_proba(pixels / 255), atol=1e-5
    )


def test_images_of_other_shapes_are_refused() -> None:
    model = ConvClassifier(image_shape=(4, 4))
    with pytest.raises(ShapeError, match=r"image_shape=\(4, 4\)"):
        model.fit(DIGITS, DIGIT)
    fitted = ConvClassifier(max_iter=1).fit(IMAGES[:50], DIGIT[:50])
    with pytest.raises(ValueError, match=r"7|8"):
        fitted.predict(IMAGES[:, :7, :7])


def test_architectures_by_name() -> None:
    X = RANDOM.normal(size=(20, 28, 28, 1))
    model = ConvClassifier("lenet5", max_iter=1).fit(X, np.arange(20) % 3)
    assert type(model.model_).__name__ == "LeNet5"
    assert model.predict_proba(X).shape == (20, 3)


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn", "transformer"])
def test_sequences_of_numbers(kind: str) -> None:
    X = RANDOM.normal(size=(120, 6, 2))
    y = np.where(X[:, :, 0].sum(axis=1) > 0, "up", "down")
    model = SequenceClassifier(
        kind, hidden=16, max_iter=60, learning_rate_init=0.01, random_state=0, bidirectional=True
    )
    assert model.fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_what_fills_sequences_up_does_not_count(kind: str) -> None:
    tokens = RANDOM.integers(1, 9, (80, 7))
    lengths = RANDOM.integers(2, 8, 80)
    tokens[np.arange(7) >= lengths[:, None]] = 0
    y = tokens[:, 0] > 4
    model = SequenceClassifier(
        kind, vocabulary=9, pad_token=0, hidden=16, max_iter=40, learning_rate_init=0.01,
        random_state=0,
    )  # fmt: skip
    assert model.fit(tokens, y).score(tokens, y) > 0.95
    short = tokens[lengths <= 4]
    if kind == "gru":  # which reads sequences of any length
        cut = model._outputs(model._inputs(short[:, :4]))
        np.testing.assert_allclose(cut, model._outputs(model._inputs(short)), atol=1e-5)


def test_tokens_outside_of_the_vocabulary_are_refused() -> None:
    tokens = np.array([[1, 2], [3, 4]])
    model = SequenceClassifier(vocabulary=4)
    with pytest.raises(DataError, match=r"row 1, step 1 holds 4.*0 to 3"):
        model.fit(tokens, [0, 1])
    with pytest.raises(DataError, match="row 0 holds nothing but pad_token=0"):
        SequenceClassifier(vocabulary=9, pad_token=0).fit(np.array([[0, 0], [1, 0]]), [0, 1])


def test_an_autoencoder_without_hidden_layers_finds_the_plane_of_pca() -> None:
    X = DIGITS[:300] / 16
    X = X - X.mean(axis=0)
    plane = PCA(3).fit(X)
    best = ((plane.inverse_transform(plane.transform(X)) - X) ** 2).mean()
    model = Autoencoder(3, hidden_layer_sizes=(), solver="lbfgs", max_iter=500, random_state=0)
    model.fit(X)
    assert -model.score(X) < 1.02 * best
    rebuilt = model.inverse_transform(model.transform(X))
    np.testing.assert_allclose(((rebuilt - X) ** 2).mean(), -model.score(X), rtol=1e-5)
    with pytest.raises(ShapeError, match="codes of 2 numbers"):
        model.inverse_transform(np.zeros((4, 2)))


def test_a_module_is_trained_from_its_values_and_stays_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(64, 10), seed=3)
    before = module.state_dict()
    model = NeuralClassifier(module, max_iter=2, random_state=0).fit(DIGITS, DIGIT)
    again = NeuralClassifier(module, max_iter=2, random_state=0).fit(DIGITS, DIGIT)
    for path, array in module.state_dict().items():
        np.testing.assert_array_equal(array, before[path])
    np.testing.assert_array_equal(model.predict_proba(DIGITS), again.predict_proba(DIGITS))
    assert np.abs(model.model_.state_dict()["0.weight"] - before["0.weight"]).max() > 0


def test_functions_see_the_shape_of_rows() -> None:
    seen: list[Any] = []

    def make(shape: Any, outputs: int) -> nn.Module:
        seen.append((shape, outputs))
        return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))

    NeuralClassifier(make, max_iter=1).fit(IMAGES[:200], DIGIT[:200])
    NeuralRegressor(make, max_iter=1).fit(IMAGES[:200], IMAGES[:200, :3, 0])
    assert seen == [((8, 8), 10), ((8, 8), 3)]
    with pytest.raises(ArgumentError, match="returned int"):
        NeuralClassifier(lambda features, outputs: 3).fit(DIGITS, DIGIT)


def test_several_labels() -> None:
    y = np.stack([DIGIT % 2 == 0, DIGIT > 4], axis=1).astype(int)
    model = NeuralClassifier(max_iter=30, learning_rate_init=0.01, random_state=0)
    assert model.fit(DIGITS / 16, y).score(DIGITS / 16, y) > 0.9
    assert model.predict_proba(DIGITS / 16).shape == (len(y), 2)


@pytest.mark.parametrize("activation", sorted(activation_names()))
def test_every_activation(activation: str) -> None:
    model = MLPClassifier((8,), activation, max_iter=2, random_state=0)
    assert np.isfinite(model.fit(DIGITS[:100], DIGIT[:100]).loss_)


@pytest.mark.parametrize("loss", ["squared_error", "mse", "mae", "huber"])
def test_every_loss_of_numbers(loss: str) -> None:
    X = RANDOM.normal(size=(150, 3))
    y = X @ [1.0, -1.0, 0.5]
    model = MLPRegressor(loss, (32,), max_iter=150, learning_rate_init=0.02, random_state=0)
    assert model.fit(X, y).score(X, y) > 0.9
    assert model.fit(X, y, sample_weight=np.linspace(0, 1, 150)).score(X, y) > 0.9


def test_a_loss_of_ones_own() -> None:
    def cubic(predictions: Any, targets: Any) -> Any:
        return tw.mean(tw.abs(predictions - targets) ** 3)

    X = RANDOM.normal(size=(100, 2))
    model = MLPRegressor(cubic, max_iter=100, learning_rate_init=0.02, random_state=0)
    assert model.fit(X, X[:, 0]).score(X, X[:, 0]) > 0.9


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match=r"dropout=0\.5 makes it random"):
        MLPClassifier(solver="lbfgs", dropout=0.5).fit(DIGITS, DIGIT)
    with pytest.raises(ArgumentError, match="hidden_layer_sizes"):
        MLPClassifier((5, 0)).fit(DIGITS, DIGIT)
    with pytest.raises(DataError, match="poisson"):
        MLPRegressor("poisson").fit(DIGITS, -DIGIT)
    with pytest.raises(ValueError, match="early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(DIGITS, DIGIT, classes=range(10))
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit(DIGITS, DIGIT, classes=range(10))
    with pytest.raises(AttributeError, match="call fit first"):
        _ = MLPClassifier().coefs_
    model = MLPClassifier(max_iter=1).partial_fit(DIGITS[:50], DIGIT[:50], classes=range(10))
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(DIGITS[:2], [3, 11])


def test_the_number_of_rows_decides_no_bit() -> None:
    model = MLPClassifier((16,), max_iter=3, random_state=0).fit(DIGITS[:, :4], DIGIT > 4)
    whole = model.decision_function(DIGITS[:, :4])
    for size in (1, 3, 100):
        part = model.decision_function(DIGITS[:size, :4])
        np.testing.assert_array_equal(part, whole[:size])


def test_verbose_prints_as_scikit_learn_does(capsys: pytest.CaptureFixture[str]) -> None:
    MLPClassifier(max_iter=2, verbose=True).fit(DIGITS, DIGIT)
    assert "Iteration 2, loss = " in capsys.readouterr().out


def quadratic_of_labels(predictions: Any, targets: Any, reduction: str = "mean") -> Any:
    """Squared error of probabilities, as a function of one's own."""
    if predictions.ndim == targets.ndim:
        apart = tw.sigmoid(predictions) - targets
    else:
        true = tw.expand_dims(targets, 1) == tw.arange(predictions.shape[1])
        apart = tw.softmax(predictions) - tw.astype(true, predictions.dtype)
    rows = tw.sum(apart * apart, axis=1)
    return rows if reduction == "none" else tw.mean(rows)


@pytest.mark.parametrize("loss", ["focal", "hinge", "log_loss", quadratic_of_labels])
@pytest.mark.parametrize("classes", [2, 3])
def test_every_loss_of_the_classifier_learns(loss: Any, classes: int) -> None:
    """Two classes are one sigmoid, three a softmax; several labels a sigmoid each."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 4))
    labels = np.digitize(rows[:, 0] + rows[:, 1], [0.0] if classes == 2 else [-0.7, 0.7])
    made = MLPClassifier((16,), loss=loss, max_iter=60, learning_rate_init=0.01, random_state=0)
    assert made.fit(rows, labels).score(rows, labels) > 0.93
    if classes == 3:
        several = np.stack([rows[:, 0] > 0, rows[:, 1] > 0], axis=1).astype(int)
        assert made.fit(rows, several).score(rows, several) > 0.9


def test_an_unknown_loss_of_the_classifier_is_refused() -> None:
    with pytest.raises(ValueError, match="'loss' parameter"):
        MLPClassifier(loss="squared").fit(np.zeros((4, 2)), [0, 1, 0, 1])
