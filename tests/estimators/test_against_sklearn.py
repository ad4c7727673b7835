"""From the same random state the perceptrons learn what scikit-learn's learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import neural_network as judge
from sklearn.datasets import make_classification, make_regression

from thalweg.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
Array = np.ndarray[Any, Any]
X, BINARY = make_classification(120, 6, random_state=0)
CLASSES = make_classification(120, 6, n_informative=4, n_classes=3, random_state=0)[1]
LABELS = np.stack([BINARY, CLASSES > 0, X[:, 0] > 0], axis=1).astype(int)
NUMBERS = make_regression(120, 6, n_targets=2, random_state=0)[1] / 100
WEIGHTS = np.random.default_rng(0).uniform(0.1, 2, 120)
# In double precision and without shuffling both see the same numbers in the same order; 40 divides
# the 120 rows, so that the batches are the same ones too. epsilon is next to nothing because
# scikit-learn adds it to a root that is not corrected for its start at 0.
SAME = {"random_state": 3, "shuffle": False, "max_iter": 15, "hidden_layer_sizes": (9, 5),
        "learning_rate_init": 0.01, "batch_size": 40, "epsilon": 1e-14}  # fmt: skip
OPTIONS = [
    {},
    {"alpha": 1.0},
    {"activation": "tanh", "beta_1": 0.8, "beta_2": 0.99},
    {"solver": "sgd", "activation": "logistic"},
    {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
    {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.0},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 2,
     "max_iter": 60, "momentum": 0.0},
    {"tol": 0.02, "n_iter_no_change": 2, "max_iter": 60},
]  # fmt: skip


def both(kind: str, options: dict[str, Any], y: Array, **fit: Any) -> tuple[Any, Any]:
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind]
    theirs = getattr(judge, kind)
    settings = {**SAME, **options}
    return (
        ours(dtype="float64", **settings).fit(X, y, **fit),
        theirs(**settings).fit(X, y, **fit),
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_classes(options: dict[str, Any]) -> None:
    ours, theirs = both("MLPClassifier", options, CLASSES)
    # The penalty is told as it is after an epoch, and by scikit-learn as it was before each step.
    close = 1e-2 if options.get("alpha") else 1e-4
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=close)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert ours.n_iter_ == theirs.n_iter_
    assert (ours.t_, ours.n_layers_, ours.n_outputs_, ours.out_activation_) == (
        theirs.t_, theirs.n_layers_, theirs.n_outputs_, theirs.out_activation_
    )  # fmt: skip
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_,
                           strict=True):  # fmt: skip
        np.testing.assert_allclose(mine, other, atol=1e-4)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=close)


def test_early_stopping() -> None:
    options = {"early_stopping": True, "validation_fraction": 1 / 3, "n_iter_no_change": 3,
               "max_iter": 60}  # fmt: skip
    ours, theirs = both("MLPClassifier", options, BINARY)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)
    assert ours.n_iter_ == theirs.n_iter_ < 60
    assert ours.best_validation_score_ == theirs.best_validation_score_
    assert ours.best_loss_ is None
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize(("name", "y"), [("two", BINARY), ("several", LABELS)])
@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes_and_several_labels(name: str, y: Array, weighted: bool) -> None:
    fit = {"sample_weight": WEIGHTS} if weighted else {}
    # All rows in a batch: scikit-learn divides the penalty by the weights of each batch.
    ours, theirs = both("MLPClassifier", {"batch_size": 120, "max_iter": 40}, y, **fit)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=2e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_numbers(loss: str) -> None:
    y = np.exp(NUMBERS / 4).round() if loss == "poisson" else NUMBERS
    ours, theirs = both("MLPRegressor", {"loss": loss}, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-3)
    assert ours.out_activation_ == theirs.out_activation_
    one, its = both("MLPRegressor", {"loss": loss}, y[:, 0])
    assert one.predict(X).shape == (120,)
    np.testing.assert_allclose(one.loss_curve_, its.loss_curve_, rtol=2e-3, atol=1e-4)


def test_lbfgs_finds_as_small_a_loss() -> None:
    options = {"solver": "lbfgs", "max_iter": 400, "alpha": 0.5, "tol": 1e-6}
    ours, theirs = both("MLPClassifier", options, CLASSES)
    assert ours.loss_ <= 1.1 * theirs.loss_
    assert not hasattr(ours, "loss_curve_")


def test_lbfgs_keeps_to_max_fun() -> None:
    few = MLPClassifier(solver="lbfgs", max_fun=3, random_state=0).fit(X, BINARY)
    more = MLPClassifier(solver="lbfgs", max_fun=300, random_state=0).fit(X, BINARY)
    assert more.loss_ < few.loss_


def test_partial_fit_is_an_epoch() -> None:
    ours = MLPClassifier(dtype="float64", **SAME)
    theirs = judge.MLPClassifier(**SAME)
    for _ in range(4):
        ours.partial_fit(X, CLASSES, classes=[0, 1, 2])
        theirs.partial_fit(X, CLASSES, classes=[0, 1, 2])
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=2e-3)


def test_warm_start_goes_on() -> None:
    ours = MLPClassifier(dtype="float64", **SAME, warm_start=True)
    theirs = judge.MLPClassifier(**SAME, warm_start=True)
    for _ in range(2):
        ours.fit(X, CLASSES)
        theirs.fit(X, CLASSES)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == 30


def test_parameters_have_scikit_learns_names_and_defaults() -> None:
    for ours, theirs in (
        (MLPClassifier(), judge.MLPClassifier()), (MLPRegressor(), judge.MLPRegressor()),
    ):  # fmt: skip
        mine = ours.get_params()
        assert {k: mine[k] for k in theirs.get_params()} == theirs.get_params()
