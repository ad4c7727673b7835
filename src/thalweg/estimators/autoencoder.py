"""``Autoencoder``: a transformer that learns a short code of each row."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted

from thalweg import models, nn
from thalweg.errors import ShapeError, where
from thalweg.estimators.network import Network
from thalweg.estimators.objectives import half_squared_error
from thalweg.estimators.parameters import SHARED, Constraints, activation_names, positive
from thalweg.nn import losses
from thalweg.train import Evaluator

__all__ = ["Autoencoder"]

Array = np.ndarray[Any, Any]


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Network):
    """A network that learns to rebuild its input from ``n_components`` numbers.

    ``transform`` gives these numbers, the code, and ``inverse_transform`` the row for a code. With
    no hidden layers it learns the same plane as PCA.

    Args:
        n_components: numbers in the code.
        hidden_layer_sizes: units of the encoder's layers; the decoder's are the same turned round.
        activation: after each hidden layer.
        output: activation of the reconstruction: ``"identity"``, or ``"sigmoid"`` for values from
            0 to 1.
        noise: standard deviation of what is added to the rows in training, to be taken out again.
        solver, learning_rate_init, alpha, batch_size, max_iter, shuffle, random_state: as for
            ``NeuralClassifier``.
        tol, verbose, warm_start, early_stopping, validation_fraction, n_iter_no_change, dtype: as
            there; the score of the rows set aside is minus their mean squared error.

    Attributes: ``loss_``, ``loss_curve_``, ``n_iter_``, ``n_features_in_``, ``feature_names_in_``
    and ``model_``, the trained Module.

    Raises:
        ValueError: ``fit`` was given an illegal parameter, or data that cannot be trained on.

    Example:
        >>> import numpy as np
        >>> place = np.linspace(-1, 1, 60)
        >>> X = np.stack([place, 2 * place, -place], axis=1)
        >>> model = Autoencoder(1, hidden_layer_sizes=(), solver="lbfgs", random_state=0).fit(X)
        >>> model.transform(X).shape, model.get_feature_names_out().tolist()
        ((60, 1), ['autoencoder0'])
        >>> bool(np.abs(model.inverse_transform(model.transform(X)) - X).max() < 0.01)
        True

    G. E. Hinton and R. R. Salakhutdinov, doi:10.1126/science.1127647; with noise: P. Vincent et
    al., doi:10.1145/1390156.1390294.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **SHARED, "n_components": [positive()],
        "hidden_layer_sizes": ["array-like", positive()],
        "activation": [StrOptions(activation_names() - {"logistic", "identity"})],
        "output": [StrOptions({"identity", "sigmoid"})],
        "noise": [Interval(Real, 0, None, closed="left")],
    }  # fmt: skip

    def __init__(
        self, n_components: int = 2, *, hidden_layer_sizes: Any = (64,), activation: str = "relu",
        output: str = "identity", noise: float = 0.0, solver: str = "adam",
        learning_rate_init: float = 0.001, alpha: float = 0.0, batch_size: int | str = "auto",
        max_iter: int = 200, shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
        verbose: bool = False, warm_start: bool = False, early_stopping: bool = False,
        validation_fraction: float = 0.1, n_iter_no_change: float = 10, dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.n_components, self.hidden_layer_sizes = n_components, hidden_layer_sizes
        self.activation, self.output, self.noise = activation, output, noise
        self.solver, self.learning_rate_init, self.alpha = solver, learning_rate_init, alpha
        self.batch_size, self.max_iter, self.shuffle = batch_size, max_iter, shuffle
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.early_stopping = warm_start, early_stopping
        self.validation_fraction, self.n_iter_no_change = validation_fraction, n_iter_no_change
        self.dtype = dtype

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows ``X`` (n, features); ``y`` is not looked at.

        Raises:
            ValueError: a parameter is not legal, or the data cannot be trained on.
        """
        self._validate_params()
        self._fit_rows(X, incremental=False)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Go through some more rows once."""
        self._validate_params()
        self._fit_rows(X, incremental=True)
        return self

    def _fit_rows(self, X: Any, incremental: bool) -> None:
        anew = self._starts_anew(incremental)
        inputs = self._inputs(self._validated(X, reset=anew))
        self._train(inputs, inputs[0], inputs[0].shape[1], None, incremental)

    def _make_model(self, inputs: tuple[Array, ...], outputs: int) -> nn.Module:
        hidden = tuple(int(s) for s in np.atleast_1d(self.hidden_layer_sizes))
        if self.noise:
            return models.DenoisingAutoencoder(
                outputs, hidden, self.n_components, self.activation, self.output, noise=self.noise
            )
        return models.Autoencoder(outputs, hidden, self.n_components, self.activation, self.output)

    def _loss(self) -> losses.Loss:
        return half_squared_error

    def _score_rows(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        return -float(np.mean((outputs - targets) ** 2))

    def transform(self, X: Any) -> Array:
        """Return the codes, (n, n_components)."""
        check_is_fitted(self, "model_")
        rows = self._validated(X, reset=False)
        return self._run("encoder", rows)

    def inverse_transform(self, X: Any) -> Array:
        """Return the rows for codes ``X`` (n, n_components).

        Raises:
            ShapeError: codes of another length.
        """
        check_is_fitted(self, "model_")
        codes = check_array(X, dtype=(np.float64, np.float32))
        if codes.shape[1] != self._n_features_out:
            raise ShapeError(
                f"{type(self).__name__}.inverse_transform: got codes of {codes.shape[1]} numbers, "
                f"wanted n_components={self._n_features_out}. {where()}"
            )
        return self._run("decoder", codes)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean squared error of the reconstruction."""
        rows = self._validated(X, reset=False) if hasattr(self, "model_") else X
        return self._score_rows(self._outputs_of(X), rows, None)

    def _run(self, part: str, rows: Array) -> Array:
        evaluator = Evaluator(getattr(self.model_, part))
        made = self._outputs((np.ascontiguousarray(rows, dtype=self.dtype),), evaluator)
        return made.astype(np.float32 if rows.dtype == np.float32 else np.float64, copy=False)

    @property
    def _n_features_out(self) -> int:
        return int(getattr(self.model_, "code"))  # noqa: B009

    @classmethod
    def _own_modules(cls) -> tuple[type[nn.Module], ...]:
        return models.Autoencoder, models.DenoisingAutoencoder

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
