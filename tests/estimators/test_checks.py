"""Every estimator passes scikit-learn's own checks of estimators."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from thalweg import estimators

# The checks want many small fits, not ends of training; scikit-learn's own tests ignore it too.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
QUICK = {"max_iter": 60, "learning_rate_init": 0.01, "tol": 0}
INSTANCES = {
    "MLPClassifier": {"hidden_layer_sizes": (16,)},
    "MLPRegressor": {"hidden_layer_sizes": (16,)},
    "NeuralClassifier": {},
    "NeuralRegressor": {},
    "ConvClassifier": {"max_iter": 30},
    "SequenceClassifier": {"hidden": 16},
    "Autoencoder": {"hidden_layer_sizes": (16,), "max_iter": 20},
}
# scikit-learn runs these checks on its own networks in double precision and with parameters of
# their own (PER_ESTIMATOR_CHECK_PARAMS): rows that come twice and rows that count twice are
# added up in another order, and the tolerance is 1e-7.
IN_DOUBLE = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


def made(name: str) -> Any:
    return getattr(estimators, name)(**{**QUICK, **INSTANCES[name]})


@parametrize_with_checks([made(name) for name in estimators.__all__])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    if getattr(check, "func", check).__name__ in IN_DOUBLE:
        estimator.set_params(dtype="float64")
    check(estimator)
