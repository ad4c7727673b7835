"""The Transformer of 2017: an encoder reads one sequence, a decoder writes another."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ShapeError, where
from thalweg.models.generation import Sessions, as_tokens, evaluating
from thalweg.models.registry import register
from thalweg.nn.initializers import normal
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["Transformer"]

Array = np.ndarray[Any, Any]
PAPER: Final = "A. Vaswani et al., Attention is all you need (2017), arXiv:1706.03762"


@register(
    "transformer", paper=PAPER, parameters=63_082_496, flops=8_212_971_520, inputs=((64,), (64,)),
    task="translation", dtype="int64",
    small={"vocabulary": 20, "width": 16, "layers": 2, "heads": 2, "ffn": 32, "dropout": 0.0},
    small_inputs=((6,), (5,)),
)  # fmt: skip
class Transformer(nn.Module):
    """Encoder and decoder; the default is the paper's base model.

    It has 63,082,496 parameters with 37,000 tokens shared by both languages; the paper says 65
    million. Post-norm layers, sinusoidal positions; the two embeddings and the last layer are one
    table, its vectors multiplied by ``sqrt(width)`` on the way in.

    Args:
        vocabulary: tokens of both languages.
        width, heads, ffn: of the Transformer.
        layers: of the encoder, and of the decoder.
        dropout: probability of dropout everywhere.

    Shape:
        token numbers ``(batch, source)`` and ``(batch, target)`` to logits ``(batch, target,
        vocabulary)`` of the token after each target token.

    Raises:
        ArgumentError: a size is not from 1 on, or heads do not divide the width.
        ShapeError: inputs that are not (batch, length).
        DataError: a token outside of the vocabulary.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.transformer import Transformer
        >>> model = Transformer(vocabulary=50, width=16, layers=2, heads=2, ffn=32)
        >>> model(tw.tensor([[4, 5, 6, 7]]), tw.tensor([[1, 8]]), source_lengths=[3]).shape
        (1, 2, 50)
        >>> model.translate([[4, 5, 6, 7]], begin=1, end=2, longest=5).shape[0]
        1

    A. Vaswani et al., arXiv:1706.03762.
    """

    def __init__(
        self, vocabulary: int = 37_000, width: int = 512, layers: int = 6, heads: int = 8,
        ffn: int = 2048, dropout: float = 0.1,
    ) -> None:  # fmt: skip
        positive("Transformer", vocabulary=vocabulary, width=width, layers=layers, heads=heads)
        self.vocabulary, self.width, self.layers, self.heads = vocabulary, width, layers, heads
        self.ffn, self.dropout = ffn, dropout
        draw = functools.partial(normal, std=width**-0.5)
        self.embedding = nn.Embedding(vocabulary, width, weight_init=draw)
        self.positions = nn.SinusoidalPositions(width)
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, heads, ffn, dropout), layers
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(width, heads, ffn, dropout), layers
        )
        self._sessions = Sessions()

    def forward(self, source: Any, target: Any, source_lengths: Any = None) -> Tensor:
        """Return the logits of the token after each target token."""
        memory = self.encode(source, source_lengths)
        return self.decode(target, memory, source_lengths)

    def encode(self, source: Any, lengths: Any = None) -> Tensor:
        """Return the vectors of the source, (batch, source, width)."""
        y: Tensor = self.encoder(self._embedded(source, "source"), lengths=lengths)
        return y

    def decode(
        self, target: Any, memory: Any, lengths: Any = None,
        caches: Sequence[nn.KVCache] | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the logits for target tokens, given the vectors of the source."""
        start = None if caches is None else caches[0].position
        x = self._embedded(target, "target", start)
        hidden = self.decoder(x, memory, memory_lengths=lengths, caches=caches)
        return hidden @ self.embedding.weight.T  # type: ignore[no-any-return]

    def translate(
        self, source: Any, begin: int, end: int, longest: int = 128, lengths: Any = None
    ) -> Array:
        """Return the likeliest next token, again and again, for each source.

        It is compiled once for a batch size and ``longest``, and for each length of the source.

        Args:
            source: token numbers ``(length,)`` or ``(batch, length)``.
            begin: the token that starts a target; it is not returned.
            end: the token after which a target is over; the rest is filled with it.
            longest: the most tokens to write.
            lengths: how many tokens of each source count.

        Returns ``(batch, tokens)``, or ``(tokens,)`` for a single source.
        """
        tokens = as_tokens("Transformer.translate", source)
        batch = tokens.shape[0]
        lengths = None if lengths is None else np.asarray(lengths)  # an input of the program
        over = np.zeros(batch, bool)
        last = np.full((batch, 1), begin, np.int64)
        made: list[Array] = []
        with evaluating(self):
            encode, step, caches = self._sessions.get(
                (batch, longest), lambda: self._session(batch, longest)
            )
            for cache in caches:
                cache.reset()
            memory = encode(tokens, lengths)
            while len(made) < longest and not over.all():
                chosen = step(last, memory, lengths).numpy().argmax(-1)
                chosen = np.where(over, end, chosen).astype(np.int64)
                over |= chosen == end
                made.append(chosen)
                last = np.ascontiguousarray(chosen[:, None])
        text = np.stack(made, axis=1) if made else np.zeros((batch, 0), np.int64)
        return text[0] if np.ndim(source) == 1 else text

    def _session(self, batch: int, longest: int) -> tuple[Any, Any, list[nn.KVCache]]:
        caches = self.decoder.new_caches(batch, longest)

        def step(target: Any, memory: Any, lengths: Any) -> Any:
            return self.decode(target, memory, lengths, caches)[:, -1]

        return tw.compile(self.encode), tw.compile(step), caches

    def _embedded(self, ids: Any, name: str, start: Any = None) -> Tensor:
        shape = tuple(np.shape(ids))
        if len(shape) != 2:
            raise ShapeError(
                f"Transformer: got a {name} of shape {shape}, wanted token numbers (batch, "
                f"length); give a single one a batch axis of size 1. {where()}"
            )
        x = self.embedding(ids) * math.sqrt(self.width)
        y: Tensor = self.drop(self.positions(x, start))
        return y

    def arguments(self) -> str:
        """Return the sizes."""
        return (f"{self.vocabulary}, {self.width}, layers={self.layers}, heads={self.heads}, "
                f"ffn={self.ffn}")  # fmt: skip
