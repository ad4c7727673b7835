"""The estimators work inside of scikit-learn's pipelines, searches and inspections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from thalweg.estimators import Autoencoder, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# The first two columns tell the class, the others are noise.
X, Y = make_classification(200, 5, n_informative=2, n_redundant=0, shuffle=False, random_state=1)
QUICK: dict[str, Any] = {
    "hidden_layer_sizes": (16,), "max_iter": 40, "learning_rate_init": 0.02, "random_state": 0,
}  # fmt: skip


def test_pipeline() -> None:
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**QUICK))
    assert pipeline.fit(1000 * X + 5, Y).score(1000 * X + 5, Y) > 0.85
    coded = make_pipeline(StandardScaler(), Autoencoder(3, max_iter=40), MLPClassifier(**QUICK))
    assert coded.fit(X, Y).predict(X).shape == (200,)


@pytest.mark.parametrize("jobs", [1, 2])
def test_grid_search_in_processes(jobs: int) -> None:
    grid = {"alpha": [1e-4, 1e3], "dropout": [0.0, 0.2]}
    search = GridSearchCV(MLPClassifier(**QUICK), grid, cv=2, n_jobs=jobs).fit(X, Y)
    assert search.best_params_["alpha"] == 1e-4
    assert search.best_score_ > 0.8
    here = [
        np.mean(GridSearchCV(MLPClassifier(**QUICK), {"alpha": [a]}, cv=2).fit(X, Y).best_score_)
        for a in grid["alpha"]
    ]
    found = search.cv_results_["mean_test_score"][[0, 2]]
    np.testing.assert_array_equal(found, here)  # the same bits in another process


def test_cross_val_predict() -> None:
    told = cross_val_predict(MLPClassifier(**QUICK), X, Y, cv=3, method="predict_proba")
    assert told.shape == (200, 2)
    assert (told.argmax(axis=1) == Y).mean() > 0.8
    regressor = MLPRegressor(**{**QUICK, "max_iter": 150})
    numbers = cross_val_predict(regressor, X, X[:, 0] - X[:, 1], cv=3)
    assert np.corrcoef(numbers, X[:, 0] - X[:, 1])[0, 1] > 0.95


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration(ensemble: bool) -> None:
    model = CalibratedClassifierCV(MLPClassifier(**QUICK), cv=2, ensemble=ensemble).fit(X, Y)
    assert model.score(X, Y) > 0.85
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_permutation_importance_finds_the_columns_that_tell() -> None:
    model = MLPClassifier(**QUICK).fit(X, Y)
    told = permutation_importance(model, X, Y, n_repeats=3, random_state=0).importances_mean
    assert told[:2].max() > 3 * told[2:].max()


def test_columns_of_frames_are_kept_by_name() -> None:
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = MLPClassifier(**QUICK).fit(frame, Y)
    assert model.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c", "d", "e"]])
    codes = Autoencoder(2, max_iter=2).set_output(transform="pandas").fit_transform(frame)
    assert codes.columns.tolist() == ["autoencoder0", "autoencoder1"]


def test_clones_learn_the_same_bits() -> None:
    model = MLPClassifier(**QUICK, dropout=0.3, batch_norm=True, activation="gelu")
    again = clone(model)
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(
        model.fit(X, Y).predict_proba(X), again.fit(X, Y).predict_proba(X)
    )
    other = clone(model).set_params(random_state=1).fit(X, Y)
    assert not np.array_equal(other.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(
    "wrong",
    [{"activation": "rleu"}, {"alpha": -1}, {"dropout": 1.0}, {"solver": "adamm"},
     {"batch_size": 0}, {"dtype": "int8"}, {"validation_fraction": 1.5}],
    ids=str,
)  # fmt: skip
def test_illegal_values_are_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
        MLPClassifier(**wrong).fit(X, Y)


@pytest.mark.parametrize("solver", ["muon", "lion", "adamw", "rmsprop", "nesterov"])
def test_every_optimiser_learns(solver: str) -> None:
    model = MLPClassifier(**{**QUICK, "learning_rate_init": 0.01}, solver=solver).fit(X, Y)
    assert model.score(X, Y) > 0.8
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_class_weights_move_the_border() -> None:
    rare = np.r_[np.flatnonzero(Y == 0), np.flatnonzero(Y == 1)[:10]]
    plain = MLPClassifier(**QUICK).fit(X[rare], Y[rare])
    balanced = MLPClassifier(**QUICK, class_weight="balanced").fit(X[rare], Y[rare])
    by_hand = MLPClassifier(**QUICK).fit(
        X[rare], Y[rare], sample_weight=np.where(Y[rare], len(rare) / 20, len(rare) / 200)
    )
    assert balanced.predict(X).mean() > plain.predict(X).mean()
    np.testing.assert_allclose(balanced.predict_proba(X), by_hand.predict_proba(X), atol=0.05)


def test_threads_may_fit_at_once() -> None:
    here = GridSearchCV(MLPClassifier(**QUICK), {"alpha": [0.0, 0.1]}, cv=2).fit(X, Y)
    from joblib import parallel_config

    with parallel_config("threading", n_jobs=2):
        there = GridSearchCV(MLPClassifier(**QUICK), {"alpha": [0.0, 0.1]}, cv=2).fit(X, Y)
    np.testing.assert_array_equal(
        here.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"]
    )
