"""``NeuralClassifier`` and ``NeuralRegressor``: any Module as an estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import HasMethods, StrOptions

from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.estimators.classification import Classifier
from thalweg.estimators.mlp import perceptron
from thalweg.estimators.network import Network
from thalweg.estimators.parameters import CLASS_WEIGHT, SHARED, Constraints
from thalweg.estimators.regression import LOSSES, Regressor

__all__ = ["NeuralClassifier", "NeuralRegressor", "made_module"]

Array = np.ndarray[Any, Any]
MODULE: list[Any] = [callable, HasMethods(["forward", "parameters"]), None]


def made_module(
    given: Any, features: Any, outputs: int, fallback: Callable[[], nn.Module]
) -> nn.Module:
    """Return a copy of a Module, or what a function makes from features and outputs.

    Raises:
        ArgumentError: the function returned something else than a Module.

    >>> from thalweg import nn
    >>> made_module(nn.Linear, 4, 2, nn.Identity)
    Linear(in_features=4, out_features=2)
    """
    if given is None:
        return fallback()
    if isinstance(given, nn.Module):
        return given.copy().train()
    made = given(features, outputs)
    if not isinstance(made, nn.Module):
        raise ArgumentError(
            f"module: the function returned {type(made).__name__}, wanted a thalweg.nn.Module for "
            f"the features {features!r} and {outputs} outputs. {where()}"
        )
    return made


class _Neural(Network):
    """What both classes share."""

    def _make_model(self, inputs: tuple[Array, ...], outputs: int) -> nn.Module:
        shape = inputs[0].shape[1:]
        features = shape[0] if len(shape) == 1 else shape

        def default() -> nn.Module:
            return perceptron((int(np.prod(shape)), 100, outputs))

        return made_module(self.module, features, outputs, default)

    def _initialize(self, model: nn.Module, random: np.random.RandomState) -> None:
        """Draw initial values, but keep those of a Module that was given with them."""
        if not isinstance(self.module, nn.Module):
            super()._initialize(model, random)

    def _accepted(self) -> dict[str, Any]:
        return {**super()._accepted(), "allow_nd": True}

    @classmethod
    def _own_modules(cls) -> tuple[type[nn.Module], ...]:
        from thalweg import models  # only files that hold them need them

        return tuple(
            k for k in vars(models).values() if isinstance(k, type) and issubclass(k, nn.Module)
        )


class NeuralClassifier(_Neural, Classifier):
    """Any Module as a classifier: one output (a logit) for each class, or for each label.

    Args:
        module: a function or class that makes a Module from the number of features (of rows with
            more axes: their shape) and the number of outputs; or a Module, of which each ``fit``
            trains a copy, from the values that it has. Left out: a hidden layer of 100 units. For
            processes and pickles the function must stand in a module, not in a session or a lambda.
        solver: name of an optimiser of Thalweg.
        learning_rate_init: its learning rate.
        alpha, batch_size, max_iter, shuffle, random_state, tol, verbose, warm_start: as for
            ``MLPClassifier``.
        early_stopping, validation_fraction, n_iter_no_change, class_weight, dtype: as there.

    Attributes: ``classes_``, ``loss_``, ``loss_curve_``, ``n_iter_``, ``n_outputs_``,
    ``n_features_in_``, ``feature_names_in_`` and ``model_``, the trained Module.

    Raises:
        ValueError: ``fit`` was given an illegal parameter, or data that cannot be trained on.

    Example:
        >>> import numpy as np
        >>> from thalweg import nn
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> y = np.where(X[:, 0] > 0, "right", "left")
        >>> model = NeuralClassifier(nn.Linear, learning_rate_init=0.1, max_iter=100, tol=0.01)
        >>> model.fit(X, y).score(X, y) > 0.9
        True

    F. Pedregosa et al., "Scikit-learn: machine learning in Python" (2011): the interface.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **SHARED, "module": MODULE, "class_weight": CLASS_WEIGHT,
    }  # fmt: skip

    def __init__(
        self, module: Any = None, *, solver: str = "adam", learning_rate_init: float = 0.001,
        alpha: float = 0.0, batch_size: int | str = "auto", max_iter: int = 200,
        shuffle: bool = True, random_state: Any = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, early_stopping: bool = False, validation_fraction: float = 0.1,
        n_iter_no_change: float = 10, class_weight: Any = None, dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.module, self.solver, self.learning_rate_init = module, solver, learning_rate_init
        self.alpha, self.batch_size, self.max_iter = alpha, batch_size, max_iter
        self.shuffle, self.random_state, self.tol = shuffle, random_state, tol
        self.verbose, self.warm_start, self.early_stopping = verbose, warm_start, early_stopping
        self.validation_fraction, self.n_iter_no_change = validation_fraction, n_iter_no_change
        self.class_weight, self.dtype = class_weight, dtype


class NeuralRegressor(_Neural, Regressor):
    """Any Module as a regressor: one output for each number that is to be told.

    Args:
        module: as for ``NeuralClassifier``.
        loss: as for ``MLPRegressor``.
        solver, learning_rate_init, alpha, batch_size, max_iter, shuffle, random_state: as for
            ``NeuralClassifier``.
        tol, verbose, warm_start, early_stopping, validation_fraction, n_iter_no_change, dtype: as
            there.

    Attributes: those of ``NeuralClassifier`` but ``classes_``.

    Raises:
        ValueError: ``fit`` was given an illegal parameter, or data that cannot be trained on.

    Example:
        >>> import numpy as np
        >>> from thalweg import nn
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> model = NeuralRegressor(nn.Linear, solver="lbfgs").fit(X, X @ [1.0, -2.0])
        >>> np.round(model.predict([[1.0, 1.0]]), 3)
        array([-1.])

    F. Pedregosa et al., "Scikit-learn: machine learning in Python" (2011): the interface.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **SHARED, "module": MODULE, "loss": [StrOptions(set(LOSSES)), callable],
    }  # fmt: skip

    def __init__(
        self, module: Any = None, *, loss: Any = "squared_error", solver: str = "adam",
        learning_rate_init: float = 0.001, alpha: float = 0.0, batch_size: int | str = "auto",
        max_iter: int = 200, shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
        verbose: bool = False, warm_start: bool = False, early_stopping: bool = False,
        validation_fraction: float = 0.1, n_iter_no_change: float = 10, dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.module, self.loss, self.solver = module, loss, solver
        self.learning_rate_init, self.alpha = learning_rate_init, alpha
        self.batch_size, self.max_iter, self.shuffle = batch_size, max_iter, shuffle
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.early_stopping = warm_start, early_stopping
        self.validation_fraction, self.n_iter_no_change = validation_fraction, n_iter_no_change
        self.dtype = dtype
