"""A network for short and long texts: convolutions over words beside the sum of all words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.nn.layers import positive

__all__ = ["TextNetwork"]


class TextNetwork(nn.Module):
    """Classes of texts from short phrases, wherever they stand, and from all words together.

    Tokens get learned vectors, of which training drops whole tokens at random. Convolutions of
    several widths look for phrases; of each only the strongest answer in the text counts (max
    pooling over time). The sum of all vectors, over the root of their number, stands beside them,
    so that many weak words count too. Token 0 fills a text up and is left out everywhere: more of
    it changes nothing.

    Args:
        vocabulary: how many tokens there are, token 0 included.
        classes: outputs.
        width: numbers of a token's vector.
        filters: phrases that each convolution looks for.
        windows: widths of the convolutions, in tokens; none for the sum alone.
        hidden: units of layers between these and the output.
        dropout: probability of dropping a token, and a number before the output.

    Shape:
        token numbers ``(batch, length)`` to logits ``(batch, classes)``.

    Raises:
        ArgumentError: a size that is not from 1 on.
        ShapeError: an input of another shape.
        DataError: a token outside of the vocabulary (compiled, an IndexError).

    Example:
        >>> import thalweg as tw
        >>> network = TextNetwork(vocabulary=50, classes=3, width=8, filters=4).eval()
        >>> short, long = tw.tensor([[4, 5]]), tw.tensor([[4, 5, 0, 0, 0]])
        >>> network(short).shape, bool((abs(network(short) - network(long)) < 1e-5).numpy().all())
        ((1, 3), True)

    Convolutions and max pooling: Y. Kim, arXiv:1408.5882; bags of words: A. Joulin et al.,
    arXiv:1607.01759; dropping tokens: M. Iyyer et al., doi:10.3115/v1/P15-1162.
    """

    def __init__(
        self, vocabulary: int, classes: int = 2, width: int = 64, filters: int = 64,
        windows: Sequence[int] = (2, 3), hidden: Sequence[int] = (), dropout: float = 0.3,
    ) -> None:  # fmt: skip
        positive("TextNetwork", vocabulary=vocabulary, classes=classes, width=width,
                 filters=filters)  # fmt: skip
        for size in (*windows, *hidden):
            positive("TextNetwork", size=size)
        if not 0 <= dropout < 1:
            raise ArgumentError(
                f"TextNetwork: dropout must be from 0 up to, not with, 1; got {dropout!r}. "
                f"{where()}"
            )
        self.vocabulary, self.classes, self.width = vocabulary, classes, width
        self.filters, self.windows, self.hidden = filters, tuple(windows), tuple(hidden)
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, width)
        self.drop = nn.Dropout(dropout)
        self.phrases = [nn.Conv1d(width, filters, size, padding="same") for size in windows]
        layers: list[nn.Module] = []
        size = width + filters * len(self.windows)
        for units in self.hidden:
            layers += [nn.Linear(size, units), nn.ReLU(), nn.Dropout(dropout)]
            size = units
        self.head = nn.Sequential(*layers, nn.Linear(size, classes))

    def forward(self, tokens: Any) -> Any:
        """Return the logits of each text."""
        tokens = tw.asarray(tokens)
        if tokens.ndim != 2:
            raise ShapeError(
                f"TextNetwork: got tokens of shape {tokens.shape}, wanted (batch, length); give a "
                f"single text a batch axis of size 1. {where()}"
            )
        there = tw.expand_dims(tw.astype(tokens != 0, "float32"), -1)  # (batch, length, 1)
        words = self.embedding(tokens) * self.drop(there)  # (batch, length, width)
        # The sum over the root of the count: of about one size for short and long texts, where a
        # mean of many words would be lost beside the strongest phrases.
        count = tw.maximum(tw.sum(there, axis=1), 1.0)  # (batch, 1)
        found = [tw.sum(words, axis=1) / tw.sqrt(count)]
        # Not below 0 after relu, so that a place outside of the text, made 0, never is the largest.
        found += [tw.max(tw.relu(phrase(words)) * there, axis=1) for phrase in self.phrases]
        return self.head(self.drop(tw.concatenate(found, 1)))

    def arguments(self) -> str:
        """Return the sizes."""
        return (f"{self.vocabulary}, {self.classes}, width={self.width}, filters={self.filters}, "
                f"windows={self.windows}")  # fmt: skip
