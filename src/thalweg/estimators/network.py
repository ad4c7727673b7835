"""``Network``: what all estimators share: making a model, training it, asking it, keeping it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from thalweg.errors import ArgumentError, FormatError, where
from thalweg.estimators.batching import EvenBatches
from thalweg.estimators.packing import packed, read_file, unpacked, write_file
from thalweg.estimators.watching import Watch
from thalweg.estimators.whole_batch import minimize_on_all
from thalweg.nn import Module, losses
from thalweg.optim import Optimizer
from thalweg.optim import get as get_optimizer
from thalweg.optim.groups import is_vector
from thalweg.train import Evaluator, Trainer

__all__ = ["Network"]

Array = np.ndarray[Any, Any]
_AUTO_BATCH = 200  # scikit-learn's "auto"
# Rows of a prediction: few sizes, so few programs. One row alone would be added up in another
# order by some widths of layers, so that it would not get the bits that it gets among others.
_SIZES = (2, 16, 128, 512)
_PACKED = "model_"
_LIVE = ("_trainer", "_evaluator")  # what is made again from the rest


class Network(BaseEstimator):
    """Base class of the estimators.

    A subclass writes ``_make_model``, ``_inputs`` and ``_targets``, and keeps scikit-learn's names
    for parameters; those that it does not have are the defaults in ``_defaults``.
    """

    _defaults: ClassVar[dict[str, Any]] = {
        "learning_rate": "constant", "power_t": 0.5, "momentum": 0.9, "nesterovs_momentum": True,
        "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "max_fun": 15_000, "dropout": 0.0,
    }  # fmt: skip

    # --- what a subclass writes -----------------------------------------------------------

    def _make_model(self, inputs: tuple[Array, ...], outputs: int) -> Module:
        """Return a new model for inputs such as these."""
        raise NotImplementedError

    def _inputs(self, X: Any) -> tuple[Array, ...]:
        """Return the arrays that the model takes, of data that was validated."""
        return (np.ascontiguousarray(X, dtype=self.dtype),)

    def _loss(self) -> losses.Loss:
        """Return the loss of model outputs and encoded targets."""
        raise NotImplementedError

    def _score_rows(self, outputs: Array, targets: Array, weights: Array | None) -> float:
        """Return the score of rows that were set aside, for early stopping."""
        raise NotImplementedError

    def _initialize(self, model: Module, random: np.random.RandomState) -> None:
        """Draw the model's initial values."""
        model.reset_parameters(int(random.randint(2**31 - 1)))

    # --- parameters -----------------------------------------------------------------------

    def _given(self, name: str) -> Any:
        return getattr(self, name) if hasattr(self, name) else self._defaults[name]

    def _accepted(self) -> dict[str, Any]:
        """Return what scikit-learn's ``validate_data`` is told of the rows."""
        return {"accept_sparse": ["csr", "csc"], "dtype": (np.float64, np.float32)}

    def _validated(self, X: Any, reset: bool) -> Array:
        """Return the rows as a dense array of numbers."""
        return _dense(validate_data(self, X, reset=reset, **self._accepted()))

    def _validated_pair(self, X: Any, y: Any, reset: bool, **options: Any) -> tuple[Array, Array]:
        """Return rows and targets of one length as dense arrays."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        rows, targets = validate_data(
            self, X, y, reset=reset, multi_output=True, **{**self._accepted(), **options}
        )
        return _dense(rows), _dense(targets)

    # --- training -------------------------------------------------------------------------

    def _starts_anew(self, incremental: bool) -> bool:
        return not hasattr(self, "model_") or not (incremental or self.warm_start)

    def _train(
        self, inputs: tuple[Array, ...], targets: Array, outputs: int, weights: Array | None,
        incremental: bool = False,
    ) -> None:  # fmt: skip
        """Fit the model to rows, from the start or, after ``warm_start``, from where it is."""
        random = check_random_state(self.random_state)
        if self._starts_anew(incremental):
            self.model_ = self._make_model(inputs, outputs)
            if self.dtype == "float64":
                self.model_.astype("float64")
            self._initialize(self.model_, random)
            self._start_curves()
            self._trainer: Trainer | None = None
            self._evaluator = Evaluator(self.model_)
        self.n_iter_ = 0
        if self.solver == "lbfgs":
            self._train_on_all(inputs, targets, weights, incremental)
        else:
            self._train_in_batches(inputs, targets, weights, random, incremental)
        self.model_.eval()

    def _start_curves(self) -> None:
        self.t_ = 0
        self._no_improvement_count = 0
        self._optimizer_state: dict[str, Array] | None = None
        if self.solver == "lbfgs":
            return
        self.loss_curve_: list[float] = []
        if self.early_stopping:
            self.best_loss_: float | None = None
            self.validation_scores_: list[float] | None = []
            self.best_validation_score_: float | None = -np.inf
        else:
            self.best_loss_ = np.inf
            self.validation_scores_ = self.best_validation_score_ = None

    def _train_on_all(
        self, inputs: tuple[Array, ...], targets: Array, weights: Array | None, incremental: bool
    ) -> None:
        if incremental:
            raise AttributeError(
                f"{type(self).__name__}.partial_fit goes on in batches, and solver='lbfgs' takes "
                f"all rows at once; choose another solver, such as 'adam'. {where()}"
            )
        if self._given("dropout"):
            raise ArgumentError(
                f"{type(self).__name__}: solver='lbfgs' needs the same loss for the same weights, "
                f"and dropout={self.dropout} makes it random; choose solver='adam'. {where()}"
            )
        strength = self.alpha / float(len(targets) if weights is None else weights.sum())
        found = minimize_on_all(
            self.model_, self._loss(), inputs, targets, weights, strength, self.max_iter,
            self._given("max_fun"), self.tol,
        )  # fmt: skip
        self.loss_, self.n_iter_ = found.loss, max(found.iterations, 1)
        if not found.converged:
            warnings.warn(
                f"lbfgs stopped after {found.iterations} iterations before the gradient fell to "
                f"tol={self.tol}; raise max_iter or max_fun, or scale the data.",
                ConvergenceWarning, stacklevel=4,
            )  # fmt: skip

    def _train_in_batches(
        self, inputs: tuple[Array, ...], targets: Array, weights: Array | None,
        random: np.random.RandomState, incremental: bool,
    ) -> None:  # fmt: skip
        score: Callable[[], float] | None = None
        if self.early_stopping:
            if incremental:
                raise ValueError("partial_fit does not support early_stopping=True")
            kept, held = self._set_aside(targets, random)
            aside = tuple(x[held] for x in inputs), targets[held], _taken(weights, held)
            inputs, targets = tuple(x[kept] for x in inputs), targets[kept]
            weights = _taken(weights, kept)

            def score() -> float:
                return self._score_rows(self._outputs(aside[0]), aside[1], aside[2])

        batches = EvenBatches(len(targets), self._batch_limit(len(targets)), self.shuffle)
        share = 1.0 if weights is None else float(weights.mean())
        strength = self.alpha / (batches.size * share) if share else 0.0
        trainer = self._ready_trainer(strength, incremental)
        watch = Watch(self, strength, score, len(targets))
        trainer.events = [watch]
        history = trainer.fit(
            (*inputs, targets), epochs=1 if incremental else self.max_iter,
            batch_size=batches.size, validation=None, seed=int(random.randint(2**31 - 1)) + self.t_,
            sample_weight=weights, order=batches,
        )  # fmt: skip
        trainer.events = []
        if watch.best is not None:
            self.model_.load_state_dict(watch.best)
        if history.interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif not incremental and not watch.stopped and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.", ConvergenceWarning, stacklevel=4,
            )  # fmt: skip

    def _set_aside(self, targets: Array, random: np.random.RandomState) -> tuple[Array, Array]:
        """Return the rows to train on and those to score, every class in its share."""
        labels = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
        evenly = labels.ndim == 1 and is_classifier(self)
        kept, held = train_test_split(
            np.arange(len(targets)), random_state=random, test_size=self.validation_fraction,
            stratify=labels if evenly else None,
        )  # fmt: skip
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return np.asarray(kept), np.asarray(held)

    def _batch_limit(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(_AUTO_BATCH, rows)
        if self.batch_size > rows:
            warnings.warn(
                f"Got `batch_size` {self.batch_size} larger than the {rows} rows. It is going to "
                "be clipped.", stacklevel=5,
            )  # fmt: skip
        return min(int(self.batch_size), rows)

    def _ready_trainer(self, strength: float, incremental: bool) -> Trainer:
        """Return a trainer, whose optimiser goes on from the last ``partial_fit``."""
        held: Trainer | None = getattr(self, "_trainer", None)
        if incremental and held is not None:
            held.optimizer.l2 = strength
            return held
        optimizer = self._make_optimizer(strength)
        if incremental and self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state)
        trainer = Trainer(self.model_, self._loss(), optimizer, metrics=())
        self._trainer = trainer if incremental else None
        self._optimizer_state = None
        return trainer

    def _make_optimizer(self, strength: float) -> Optimizer:
        kind: Any = get_optimizer(self.solver)
        options: dict[str, Any] = {}
        if self.solver == "sgd":
            momentum = self._given("momentum")
            nesterov = bool(self._given("nesterovs_momentum") and momentum > 0)
            options = {"momentum": momentum, "nesterov": nesterov}
        elif self.solver in ("adam", "adamw", "nadam"):
            betas = (self._given("beta_1"), self._given("beta_2"))
            options = {"betas": betas, "eps": self._given("epsilon")}
        made: Optimizer = kind(
            self.model_, self.learning_rate_init, l2=strength,
            groups=[{"match": is_vector, "l2": 0.0}], **options,
        )  # fmt: skip
        return made

    # --- asking ---------------------------------------------------------------------------

    def _outputs(self, inputs: tuple[Array, ...], evaluator: Evaluator | None = None) -> Array:
        """Return the model's outputs for all rows; the number of rows decides no bit of them."""
        rows = len(inputs[0])
        size = next((s for s in _SIZES if rows <= s), _SIZES[-1])
        index = np.resize(np.arange(rows), -(-rows // size) * size)
        return (evaluator or self._evaluator).outputs(inputs, index, batch_size=size)[:rows]

    def _outputs_of(self, X: Any) -> Array:
        check_is_fitted(self, "model_")
        rows = self._validated(X, reset=False)
        # Answers in double precision to questions in it, as scikit-learn's estimators give.
        kind = np.float32 if rows.dtype == np.float32 else np.float64
        return self._outputs(self._inputs(rows)).astype(kind, copy=False)

    # --- keeping --------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        trainer = state.get("_trainer")
        for name in _LIVE:
            state.pop(name, None)
        if _PACKED in state:
            state[_PACKED] = packed(state[_PACKED])
        if trainer is not None:
            state["_optimizer_state"] = trainer.optimizer.state_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, _PACKED):
            self.model_ = unpacked(self.model_)
            self._evaluator = Evaluator(self.model_)
            self._trainer = None

    def save(self, path: str | os.PathLike[str]) -> Any:
        """Write the fitted estimator to one safetensors file, without pickle; return its path.

        Parameters that are functions or modules, and a ``random_state`` that is an object, are not
        written; the model itself is.

        Raises:
            NotFittedError: it was not fitted.
            FormatError: the model cannot be described in a file.
        """
        check_is_fitted(self, "model_")
        state = self.__getstate__()
        names = self.get_params(deep=False)
        unwritten = {_PACKED, "_optimizer_state", "_sklearn_version", *names}
        fitted = {k: v for k, v in state.items() if k not in unwritten}
        return write_file(path, type(self).__name__, self.model_, names, fitted)

    @classmethod
    def load(cls, path: str | os.PathLike[str], modules: Iterable[type[Module]] = ()) -> Self:
        """Return the estimator that ``save`` wrote.

        ``modules``: your own Module classes that the model is made of. No code is read from the
        file.

        Raises:
            FormatError: the file is missing, damaged, or holds an estimator of another class.
        """
        told, model = read_file(path, [*cls._own_modules(), *modules])
        if told["estimator"] != cls.__name__:
            raise FormatError(
                f"{str(path)!r} holds a {told['estimator']}, wanted a {cls.__name__}; use "
                f"{told['estimator']}.load. {where()}"
            )
        made = cls(**told["parameters"])
        made.__dict__.update(told["fitted"])
        made.model_, made._evaluator = model, Evaluator(model)
        made._trainer, made._optimizer_state = None, None
        return made

    @classmethod
    def _own_modules(cls) -> tuple[type[Module], ...]:
        """Return the Module classes outside of ``thalweg.nn`` that a model may be made of."""
        return ()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _dense(given: Any) -> Array:
    return np.asarray(given.toarray() if hasattr(given, "toarray") else given)


def _taken(weights: Array | None, rows: Array) -> Array | None:
    return None if weights is None else weights[rows]
