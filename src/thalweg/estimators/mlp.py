"""``MLPClassifier`` and ``MLPRegressor``: scikit-learn's multilayer perceptrons, and more."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.estimators.classification import CLASS_LOSSES, Classifier
from thalweg.estimators.network import Network
from thalweg.estimators.parameters import ACTIVATIONS, CLASS_WEIGHT, MLP, Constraints
from thalweg.estimators.regression import LOSSES, Regressor
from thalweg.models.mlp import activation_layer

__all__ = ["MLPClassifier", "MLPRegressor", "perceptron"]

Array = np.ndarray[Any, Any]


def perceptron(
    sizes: tuple[int, ...], activation: str = "relu", dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:  # fmt: skip
    """Return linear layers between ``sizes``, after each but the last norm, activation, dropout.

    >>> perceptron((4, 3, 2), "logistic")
    Sequential(
      0: Linear(in_features=4, out_features=3)
      1: Sigmoid()
      2: Linear(in_features=3, out_features=2)
    )
    """
    name = ACTIVATIONS.get(activation, activation)
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(sizes), 2):
        layers.append(nn.Linear(before, after))
        if place == len(sizes):
            break
        if batch_norm:
            layers.append(nn.BatchNorm1d(after))
        if name != "identity":
            layers.append(activation_layer(name))
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class _Perceptron(Network):
    """What both perceptrons share."""

    def _make_model(self, inputs: tuple[Array, ...], outputs: int) -> nn.Module:
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object))
        if any(not isinstance(s, (int, np.integer)) or s < 1 for s in sizes):
            raise ArgumentError(
                f"hidden_layer_sizes must be > 0, got {list(sizes)}. Give whole numbers from 1 on. "
                f"{where()}"
            )
        units = (inputs[0].shape[1], *(int(s) for s in sizes), outputs)
        self.n_layers_ = len(units)
        return perceptron(units, self.activation, self.dropout, self.batch_norm)

    def _initialize(self, model: nn.Module, random: np.random.RandomState) -> None:
        """Draw what scikit-learn draws from the same random state (Glorot's uniform values)."""
        dropouts = np.random.RandomState()
        dropouts.set_state(random.get_state())
        model.reset_parameters(int(dropouts.randint(2**31 - 1)))
        factor = 2.0 if self.activation in ("logistic", "sigmoid") else 6.0
        for layer in _linear_layers(model):
            bound = np.sqrt(factor / sum(layer.weight.shape))
            for parameter in (layer.weight, layer.bias):
                drawn = random.uniform(-bound, bound, parameter.shape)
                parameter.assign(drawn.astype(self.dtype))

    @property
    def coefs_(self) -> list[Array]:
        """Weights of the layers, each (inputs, outputs): copies."""
        return [layer.weight.numpy() for layer in _linear_layers(self._fitted("coefs_"))]

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of the layers, each (outputs,): copies."""
        return [layer.bias.numpy() for layer in _linear_layers(self._fitted("intercepts_"))]

    def _fitted(self, name: str) -> nn.Module:
        if "model_" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__} has no {name} yet: call fit first. {where()}"
            )
        model: nn.Module = self.model_
        return model


def _linear_layers(model: nn.Module) -> list[Any]:
    return [m for m in model.named_modules().values() if isinstance(m, nn.Linear)]


class MLPClassifier(_Perceptron, Classifier):
    """A multilayer perceptron that tells classes, as scikit-learn's of the same name, and more.

    Parameters and attributes are those of ``sklearn.neural_network.MLPClassifier``, and with the
    same ``random_state`` so are the initial weights. New are ``dropout``, ``batch_norm``,
    ``class_weight``, ``dtype``, ``decision_function``, all activations and all optimisers of
    Thalweg. Batches are made equal in size (``EvenBatches``), and the network computes in float32
    unless told otherwise.

    Args:
        hidden_layer_sizes: units of the hidden layers.
        activation: ``"identity"``, ``"logistic"``, ``"tanh"``, ``"relu"``, or another activation
            of Thalweg, such as ``"gelu"``.
        solver: ``"adam"``, ``"sgd"``, ``"lbfgs"``, or another optimiser of Thalweg.
        alpha: penalty on the squared weights, divided by the rows of a batch.
        batch_size: most rows of a batch; ``"auto"`` is ``min(200, rows)``.
        learning_rate: of SGD: ``"constant"``, ``"invscaling"`` (divided by the ``power_t``-th power
            of the rows seen), ``"adaptive"`` (divided by 5 when the loss falls no further).
        learning_rate_init: the first learning rate.
        power_t: exponent of ``"invscaling"``.
        max_iter: most epochs, or iterations of L-BFGS.
        shuffle: whether each epoch has another order of the rows.
        random_state: decides initial weights, order, dropout and the rows set aside.
        tol: what loss or score must get better by, at least.
        verbose: whether to print the loss of each epoch.
        warm_start: whether ``fit`` goes on from the present weights.
        momentum, nesterovs_momentum: of SGD.
        early_stopping: whether to set rows aside, and stop when their accuracy gets no better; the
            best weights are kept.
        validation_fraction: share of the rows set aside.
        beta_1, beta_2, epsilon: of Adam.
        n_iter_no_change: epochs without getting better by ``tol`` before it stops.
        max_fun: most evaluations of the loss by L-BFGS.
        dropout: probability of dropping a hidden unit in training.
        batch_norm: whether each hidden layer is normalised over the batch.
        class_weight: ``"balanced"``, or a dict from classes to numbers.
        loss: ``"log_loss"``, ``"focal"``, ``"hinge"``, or ``loss(predictions, targets, reduction)``
            of tensors: outputs before the last activation (batch, outputs), and labels (batch,),
            or numbers 0 and 1 (batch, outputs) where each output is a sigmoid. After the hinge the
            probabilities are no more than an order.
        dtype: ``"float32"`` or ``"float64"``, what the network computes in.

    Attributes: ``classes_``, ``loss_``, ``best_loss_``, ``loss_curve_``, ``validation_scores_``,
    ``best_validation_score_``, ``t_``, ``coefs_``, ``intercepts_``, ``n_features_in_``,
    ``feature_names_in_``, ``n_iter_``, ``n_layers_``, ``n_outputs_``, ``out_activation_``, and
    ``model_``, the Module.

    Raises:
        ValueError: ``fit`` was given an illegal parameter, or data that cannot be trained on.

    Example:
        >>> from sklearn.datasets import make_classification
        >>> X, y = make_classification(n_samples=200, random_state=0)
        >>> model = MLPClassifier(solver="lbfgs", random_state=0).fit(X, y)
        >>> model.score(X, y)
        1.0

    D. E. Rumelhart, G. E. Hinton and R. J. Williams, doi:10.1038/323533a0; X. Glorot and Y. Bengio,
    "Understanding the difficulty of training deep feedforward neural networks" (2010); F. Pedregosa
    et al., "Scikit-learn: machine learning in Python" (2011).
    """

    _single = True
    _parameter_constraints: ClassVar[Constraints] = {
        **MLP, "class_weight": CLASS_WEIGHT,
        "loss": [StrOptions({"log_loss", *CLASS_LOSSES}), callable],
    }  # fmt: skip

    def __init__(
        self, hidden_layer_sizes: Any = (100,), activation: str = "relu", *, solver: str = "adam",
        alpha: float = 0.0001, batch_size: int | str = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200,
        shuffle: bool = True, random_state: Any = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, momentum: float = 0.9, nesterovs_momentum: bool = True,
        early_stopping: bool = False, validation_fraction: float = 0.1, beta_1: float = 0.9,
        beta_2: float = 0.999, epsilon: float = 1e-8, n_iter_no_change: float = 10,
        max_fun: int = 15_000, dropout: float = 0.0, batch_norm: bool = False,
        class_weight: Any = None, loss: Any = "log_loss", dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.hidden_layer_sizes, self.activation = hidden_layer_sizes, activation
        self.solver, self.alpha, self.batch_size = solver, alpha, batch_size
        self.learning_rate, self.learning_rate_init = learning_rate, learning_rate_init
        self.power_t, self.max_iter, self.shuffle = power_t, max_iter, shuffle
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.momentum = warm_start, momentum
        self.nesterovs_momentum, self.early_stopping = nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2 = validation_fraction, beta_1, beta_2
        self.epsilon, self.n_iter_no_change, self.max_fun = epsilon, n_iter_no_change, max_fun
        self.dropout, self.batch_norm = dropout, batch_norm
        self.class_weight, self.loss, self.dtype = class_weight, loss, dtype


class MLPRegressor(_Perceptron, Regressor):
    """A multilayer perceptron that tells numbers, as scikit-learn's of the same name, and more.

    Parameters and attributes are those of ``sklearn.neural_network.MLPRegressor``, and with the
    same ``random_state`` so are the initial weights. The parameters that both perceptrons have are
    told at ``MLPClassifier``.

    Args:
        loss: ``"squared_error"`` (half of it), ``"poisson"`` (for counts), ``"mse"``, ``"mae"``,
            ``"huber"``, or ``loss(predictions, targets)`` of tensors (batch, outputs).
        hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate: as there.

    Attributes: those of ``MLPClassifier`` but ``classes_``.

    Raises:
        ValueError: ``fit`` was given an illegal parameter, or data that cannot be trained on.

    Example:
        >>> import numpy as np
        >>> X = np.linspace(-1, 1, 50).reshape(-1, 1)
        >>> model = MLPRegressor(hidden_layer_sizes=20, solver="lbfgs", random_state=0)
        >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.99
        True

    D. E. Rumelhart, G. E. Hinton and R. J. Williams, doi:10.1038/323533a0.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **MLP, "loss": [StrOptions(set(LOSSES)), callable],
    }  # fmt: skip

    def __init__(
        self, loss: Any = "squared_error", hidden_layer_sizes: Any = (100,),
        activation: str = "relu", *, solver: str = "adam", alpha: float = 0.0001,
        batch_size: int | str = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200,
        shuffle: bool = True, random_state: Any = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, momentum: float = 0.9, nesterovs_momentum: bool = True,
        early_stopping: bool = False, validation_fraction: float = 0.1, beta_1: float = 0.9,
        beta_2: float = 0.999, epsilon: float = 1e-8, n_iter_no_change: float = 10,
        max_fun: int = 15_000, dropout: float = 0.0, batch_norm: bool = False,
        dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.loss, self.hidden_layer_sizes, self.activation = loss, hidden_layer_sizes, activation
        self.solver, self.alpha, self.batch_size = solver, alpha, batch_size
        self.learning_rate, self.learning_rate_init = learning_rate, learning_rate_init
        self.power_t, self.max_iter, self.shuffle = power_t, max_iter, shuffle
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.momentum = warm_start, momentum
        self.nesterovs_momentum, self.early_stopping = nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2 = validation_fraction, beta_1, beta_2
        self.epsilon, self.n_iter_no_change, self.max_fun = epsilon, n_iter_no_change, max_fun
        self.dropout, self.batch_norm, self.dtype = dropout, batch_norm, dtype
