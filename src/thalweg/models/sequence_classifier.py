"""Recurrent classifier: one class for a sequence of tokens or of numbers."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.models.recurrent import check_tokens, checked_lengths, last_state, new_layer
from thalweg.models.registry import register
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["SequenceClassifier"]

LSTM_PAPER: Final = (
    "S. Hochreiter and J. Schmidhuber, Long short-term memory (1997), "
    "doi:10.1162/neco.1997.9.8.1735"
)
GRU_PAPER: Final = (
    "K. Cho et al., Learning phrase representations using RNN encoder-decoder for statistical "
    "machine translation (2014), arXiv:1406.1078"
)
POOLINGS: Final = ("last", "mean", "max")
SMALL: Final = {"vocabulary": 20, "width": 8, "hidden": 8, "classes": 3}


@register(
    "lstm_classifier", paper=LSTM_PAPER, parameters=1_236_034, flops=93_389_824,
    inputs=((200,),), dtype="int64", small=SMALL, small_inputs=((7,),),
)  # fmt: skip
class SequenceClassifier(nn.Module):
    """A recurrent network that reads a sequence, and a linear layer that tells its class.

    The default reads texts of 10,000 words, with 1,236,034 parameters (GRU: 1,177,154).
    ``nn.to_torch`` names them ``embedding``, ``recurrent`` and ``head``, as PyTorch's
    ``Embedding``, ``LSTM`` (or ``GRU``, ``RNN``) and ``Linear`` have them.

    Args:
        kind: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        classes: outputs.
        vocabulary: tokens; ``None`` for sequences of real numbers.
        features: numbers at each step of such sequences.
        width: size of the learned vectors of tokens.
        hidden, layers: size and number of the recurrent layers.
        bidirectional: whether the sequence is read backwards too.
        pooling: what the linear layer sees: ``"last"``, the state after the last step that counts
            (backwards: after the first), or the ``"mean"`` or ``"max"`` of the outputs of all
            steps that count.
        dropout: probability of dropout on the learned vectors, between the layers and before the
            last one.

    Shape:
        token numbers ``(batch, time)``, or numbers ``(batch, time, features)``, to logits
        ``(batch, classes)``.

    Raises:
        ArgumentError: a size is not from 1 on, an unknown word, both or neither of ``vocabulary``
            and ``features``; lengths that are not from 1 to the number of steps (compiled, an
            IndexError).
        ShapeError: an input of another shape.
        DataError: a token outside of the vocabulary (compiled, an IndexError).

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.sequence_classifier import SequenceClassifier
        >>> model = SequenceClassifier("gru", 3, vocabulary=50, width=8, hidden=8)
        >>> model(tw.tensor([[4, 5, 6], [7, 0, 0]]), lengths=[3, 1]).shape
        (2, 3)
        >>> numbers = SequenceClassifier("lstm", 3, vocabulary=None, features=4, hidden=8)
        >>> numbers(tw.ones((2, 5, 4))).shape
        (2, 3)

    S. Hochreiter and J. Schmidhuber (1997); K. Cho et al., arXiv:1406.1078; both directions:
    M. Schuster and K. Paliwal, "Bidirectional recurrent neural networks", 1997.
    """

    def __init__(
        self, kind: str = "lstm", classes: int = 2, vocabulary: int | None = 10_000,
        features: int | None = None, width: int = 100, hidden: int = 128, layers: int = 1,
        bidirectional: bool = True, pooling: str = "last", dropout: float = 0.0,
    ) -> None:  # fmt: skip
        positive("SequenceClassifier", classes=classes, width=width, hidden=hidden, layers=layers)
        if (vocabulary is None) == (features is None):
            raise ArgumentError(
                "SequenceClassifier: give vocabulary for sequences of tokens, or vocabulary=None "
                f"and features for sequences of numbers; got vocabulary={vocabulary!r} and "
                f"features={features!r}. {where()}"
            )
        if pooling not in POOLINGS:
            raise ArgumentError(
                f"SequenceClassifier: pooling must be 'last', 'mean' or 'max', got {pooling!r}. "
                f"{where()}"
            )
        self.kind, self.classes, self.vocabulary, self.features = (
            kind, classes, vocabulary, features
        )  # fmt: skip
        self.width, self.hidden, self.layers = width, hidden, layers
        self.bidirectional, self.pooling, self.dropout = bool(bidirectional), pooling, dropout
        self.embedding = None if vocabulary is None else nn.Embedding(vocabulary, width)
        self.drop = nn.Dropout(dropout)
        self.recurrent = new_layer(
            "SequenceClassifier", kind, features or width, hidden, layers, dropout, bidirectional
        )
        self.head = nn.Linear((2 if bidirectional else 1) * hidden, classes)

    def forward(self, x: Any, lengths: Any = None, mask: Any = None) -> Tensor:
        """Return the logits.

        ``lengths`` (batch,): how many steps of each sequence count, from the first on; or ``mask``
        (batch, time): bools or 0 and 1, which steps count, wherever they are. Steps that do not
        count are left out, as if the sequence were shorter.
        """
        self._check(x, lengths, mask)
        if mask is not None:
            x, lengths = self._moved_to_the_front(x, mask)
        if self.embedding is not None:
            x = self.drop(self.embedding(x))
        if lengths is not None:
            lengths = checked_lengths("SequenceClassifier", lengths, x)
        outputs, state = self.recurrent(x, lengths=lengths)
        if self.pooling == "last":
            pooled = last_state(state, self.bidirectional)
        else:
            pooled = self._pooled(outputs, lengths)
        y: Tensor = self.head(self.drop(pooled))
        return y

    def _check(self, x: Any, lengths: Any, mask: Any) -> None:
        if self.embedding is not None:
            check_tokens("SequenceClassifier", x)
        if mask is None:
            return
        if lengths is not None:
            raise ArgumentError(
                f"SequenceClassifier: got lengths and a mask; give one of them. {where()}"
            )
        if tuple(np.shape(mask)) != tuple(np.shape(x))[:2]:
            raise ShapeError(
                f"SequenceClassifier: got a mask of shape {tuple(np.shape(mask))} for an input of "
                f"shape {tuple(np.shape(x))}; wanted (batch, time). {where()}"
            )

    def _moved_to_the_front(self, x: Any, mask: Any) -> tuple[Tensor, Tensor]:
        """Return the input with the steps that count first, in their order, and their number."""
        counts = tw.asarray(mask) != 0
        x = tw.asarray(x)
        order = tw.argsort(tw.where(counts, 0, 1), axis=1)
        places = order if x.ndim == 2 else tw.expand_dims(order, -1)
        lengths: Tensor = tw.sum(tw.astype(counts, "int64"), axis=1)
        return tw.take_along_axis(x, places, axis=1), lengths

    def _pooled(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the mean or the largest of the outputs that count, (batch, features)."""
        if self.pooling == "mean":
            total = tw.sum(outputs, axis=1)  # outputs of steps that do not count are 0
            if lengths is None:
                return total / outputs.shape[1]  # type: ignore[no-any-return]
            count: Any = tw.astype(tw.expand_dims(lengths, -1), outputs.dtype)
            return total / count  # type: ignore[no-any-return]
        if lengths is not None:
            inside = tw.arange(outputs.shape[1]) < tw.expand_dims(lengths, -1)
            outputs = tw.where(tw.expand_dims(inside, -1), outputs, -tw.inf)
        largest: Tensor = tw.max(outputs, axis=1)
        return largest

    def arguments(self) -> str:
        """Return the kind and the sizes."""
        seen = (f"vocabulary={self.vocabulary}" if self.features is None
                else f"features={self.features}")  # fmt: skip
        return (f"{self.kind!r}, {self.classes}, {seen}, hidden={self.hidden}, "
                f"layers={self.layers}, pooling={self.pooling!r}")  # fmt: skip


register(
    "gru_classifier", paper=GRU_PAPER, parameters=1_177_154, flops=70_042_624,
    inputs=((200,),), dtype="int64", small=SMALL, small_inputs=((7,),),
)(partial(SequenceClassifier, "gru"))  # fmt: skip
