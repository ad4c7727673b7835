"""The legal values of the estimators' parameters, as data that scikit-learn's checks read."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Final

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from thalweg import nn
from thalweg.optim.table import OPTIMIZERS

__all__ = ["ACTIVATIONS", "CLASS_WEIGHT", "MLP", "RATES", "SHARED", "activation_names", "positive"]

Constraints = dict[str, list[Any]]

# scikit-learn's names for activations that have another one here.
ACTIVATIONS: Final = {"logistic": "sigmoid"}


def activation_names() -> set[str]:
    """Return the names of activations that a hidden layer may have.

    >>> {"relu", "logistic", "identity", "gelu"} <= activation_names()
    True
    """
    layers = [k for k in vars(nn).values() if isinstance(k, type) and issubclass(k, nn.Activation)]
    # Over the features of a layer, or without a slope: no use between two layers.
    unfit = {"", "softmax", "log_softmax", "step"}
    return {k.name for k in layers} - unfit | {"identity", *ACTIVATIONS}


def positive(kind: Any = Integral, low: float = 1, closed: str = "left") -> Any:
    """Return the interval of numbers from ``low`` on.

    >>> 3 in positive(), 0 in positive()
    (True, False)
    """
    return Interval(kind, low, None, closed=closed)


SHARED: Final[Constraints] = {
    "solver": [StrOptions(set(OPTIMIZERS))],
    "alpha": [positive(Real, 0)],
    "batch_size": [StrOptions({"auto"}), positive()],
    "learning_rate_init": [positive(Real, 0, "neither")],
    "max_iter": [positive()],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [positive(Real, 0)],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "n_iter_no_change": [positive(), Options(Real, {np.inf})],
    "dtype": [StrOptions({"float32", "float64"})],
}  # fmt: skip

CLASS_WEIGHT: Final[list[Any]] = [dict, StrOptions({"balanced"}), None]

RATES: Final[Constraints] = {
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "power_t": [positive(Real, 0)],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "nesterovs_momentum": ["boolean"],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [positive(Real, 0, "neither")],
    "max_fun": [positive()],
}

MLP: Final[Constraints] = {
    **SHARED,
    **RATES,
    "hidden_layer_sizes": ["array-like", positive()],
    "activation": [StrOptions(activation_names())],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "batch_norm": ["boolean"],
}
