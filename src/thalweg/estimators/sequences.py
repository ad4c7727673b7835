"""``SequenceClassifier``: recurrent networks and Transformers as classifiers of sequences."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

import thalweg as tw
from thalweg import nn
from thalweg.errors import DataError, where
from thalweg.estimators.classification import Classifier
from thalweg.estimators.parameters import CLASS_WEIGHT, SHARED, Constraints, positive
from thalweg.models.sequence_classifier import SequenceClassifier as Recurrent
from thalweg.tensor.tensor import Tensor

__all__ = ["SequenceClassifier", "TransformerClassifier"]

Array = np.ndarray[Any, Any]


class TransformerClassifier(nn.Module):
    """A Transformer encoder, the mean of its outputs that count, and a linear layer.

    Args:
        classes: outputs.
        length: most steps of a sequence.
        vocabulary: tokens; None for sequences of real numbers.
        features: numbers at each step of such sequences.
        width: features of each step inside; divisible by ``heads``.
        heads, layers: of the encoder.
        dropout: probability of dropout in the encoder.

    Shape:
        tokens (batch, time), or numbers (batch, time, features), to logits (batch, classes).

    Raises:
        ArgumentError: a size is not from 1 on, or heads that do not divide.

    Example:
        >>> import thalweg as tw
        >>> TransformerClassifier(3, 5, features=2, width=8)(tw.ones((4, 5, 2))).shape
        (4, 3)

    A. Vaswani et al., arXiv:1706.03762.
    """

    def __init__(
        self, classes: int, length: int, vocabulary: int | None = None,
        features: int | None = None, width: int = 64, heads: int = 4, layers: int = 2,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        self.classes, self.length, self.vocabulary = classes, length, vocabulary
        self.features, self.width, self.heads = features, width, heads
        self.layers, self.dropout = layers, dropout
        self.entry = (
            nn.Linear(features or 1, width) if vocabulary is None
            else nn.Embedding(vocabulary, width, weight_init="normal")
        )  # fmt: skip
        self.positions = nn.LearnedPositions(length, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=dropout, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Any, lengths: Any = None) -> Tensor:
        """Return the logits; ``lengths`` (batch,): how many steps of each sequence count."""
        made = self.encoder(self.positions(self.entry(x)), lengths=lengths)
        if lengths is None:
            pooled = tw.mean(made, axis=1)
        else:
            there = tw.arange(made.shape[1])[None, :] < lengths[:, None]
            total = tw.sum(tw.where(there[..., None], made, 0.0), axis=1)
            pooled = total / lengths[:, None].astype(made.dtype)
        y: Tensor = self.head(pooled)
        return y


class SequenceClassifier(Classifier):
    """A recurrent network or Transformer that tells the class of a sequence.

    Sequences are numbers (n, time, features), or (n, time) with one number a step; or, with a
    ``vocabulary``, tokens (n, time), whole numbers from 0.

    Args:
        kind: ``"gru"``, ``"lstm"``, ``"rnn"`` or ``"transformer"``.
        hidden: units of a recurrent layer, or features of each step of a Transformer.
        layers: number of layers.
        heads: of a Transformer; they must divide ``hidden``.
        bidirectional: whether a recurrent network reads the sequence backwards too.
        vocabulary: number of tokens; None for sequences of real numbers.
        pad_token: the token that fills short sequences up at their end, and does not count.
        dropout: probability of dropout.
        solver, learning_rate_init, alpha, batch_size, max_iter, shuffle, random_state: as for
            ``NeuralClassifier``.
        tol, verbose, warm_start, early_stopping, validation_fraction, n_iter_no_change: as there.
        class_weight, dtype: as there.

    Attributes: those of ``NeuralClassifier``.

    Raises:
        ValueError: ``fit`` was given an illegal parameter, or data that cannot be trained on.
        DataError: a token outside of the vocabulary, or a sequence of nothing but ``pad_token``.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(100, 6))
        >>> y = X.sum(axis=1) > 0
        >>> model = SequenceClassifier(hidden=8, learning_rate_init=0.03, max_iter=40, tol=0.01)
        >>> model.fit(X, y).score(X, y) > 0.8
        True

    K. Cho et al., arXiv:1406.1078; S. Hochreiter and J. Schmidhuber, "Long short-term memory"
    (1997); A. Vaswani et al., arXiv:1706.03762.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **SHARED, "kind": [StrOptions({"gru", "lstm", "rnn", "transformer"})],
        "hidden": [positive()], "layers": [positive()], "heads": [positive()],
        "bidirectional": ["boolean"], "vocabulary": [positive(), None],
        "pad_token": [positive(Integral, 0), None],
        "dropout": [Interval(Real, 0, 1, closed="left")], "class_weight": CLASS_WEIGHT,
    }  # fmt: skip

    def __init__(
        self, kind: str = "gru", *, hidden: int = 64, layers: int = 1, heads: int = 4,
        bidirectional: bool = False, vocabulary: int | None = None, pad_token: int | None = None,
        dropout: float = 0.0, solver: str = "adam", learning_rate_init: float = 0.003,
        alpha: float = 0.0, batch_size: int | str = "auto", max_iter: int = 50,
        shuffle: bool = True, random_state: Any = None, tol: float = 1e-4, verbose: bool = False,
        warm_start: bool = False, early_stopping: bool = False, validation_fraction: float = 0.1,
        n_iter_no_change: float = 10, class_weight: Any = None, dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.kind, self.hidden, self.layers, self.heads = kind, hidden, layers, heads
        self.bidirectional, self.vocabulary = bidirectional, vocabulary
        self.pad_token, self.dropout, self.solver = pad_token, dropout, solver
        self.learning_rate_init, self.alpha = learning_rate_init, alpha
        self.batch_size, self.max_iter, self.shuffle = batch_size, max_iter, shuffle
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.early_stopping = warm_start, early_stopping
        self.validation_fraction, self.n_iter_no_change = validation_fraction, n_iter_no_change
        self.class_weight, self.dtype = class_weight, dtype

    def _make_model(self, inputs: tuple[Array, ...], outputs: int) -> nn.Module:
        features = inputs[0].shape[2] if self.vocabulary is None else None
        if self.kind == "transformer":
            return TransformerClassifier(
                outputs, inputs[0].shape[1], self.vocabulary, features, self.hidden, self.heads,
                self.layers, self.dropout,
            )  # fmt: skip
        return Recurrent(
            self.kind, outputs, vocabulary=self.vocabulary, features=features, width=self.hidden,
            hidden=self.hidden, layers=self.layers, bidirectional=self.bidirectional,
            dropout=self.dropout,
        )  # fmt: skip

    def _accepted(self) -> dict[str, Any]:
        return {**super()._accepted(), "allow_nd": True}

    def _inputs(self, X: Any) -> tuple[Array, ...]:
        if self.vocabulary is None:
            steps = X if X.ndim == 3 else X[:, :, None]
            return (np.ascontiguousarray(steps, dtype=self.dtype),)
        tokens = X.astype(np.int64)
        bad = np.argwhere((tokens != X) | (tokens < 0) | (tokens >= self.vocabulary))
        if len(bad):
            row, step = (int(i) for i in bad[0][:2])
            raise DataError(
                f"{type(self).__name__}: row {row}, step {step} holds {X[row, step]}, wanted a "
                f"token from 0 to {self.vocabulary - 1}; raise vocabulary, or number the tokens "
                f"anew ({len(bad):,} are outside). {where()}"
            )
        if self.pad_token is None:
            return (tokens,)
        counts = tokens != self.pad_token
        if not counts.any(axis=1).all():
            row = int(np.flatnonzero(~counts.any(axis=1))[0])
            raise DataError(
                f"{type(self).__name__}: row {row} holds nothing but pad_token={self.pad_token}; "
                f"leave the row out. {where()}"
            )
        lengths = tokens.shape[1] - np.argmax(counts[:, ::-1], axis=1)
        return tokens, lengths.astype(np.int64)

    @classmethod
    def _own_modules(cls) -> tuple[type[nn.Module], ...]:
        return Recurrent, TransformerClassifier
