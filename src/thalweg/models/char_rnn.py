"""Character RNN: a recurrent network that predicts the next character of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.models.generation import (
    Sessions,
    as_tokens,
    check_sampling,
    evaluating,
    feed,
    sample,
)
from thalweg.models.recurrent import OneHot, check_tokens, check_vocabulary, new_layer
from thalweg.models.registry import register
from thalweg.nn.layers import new_parameter, positive
from thalweg.tensor.tensor import Parameter, Tensor, constant_tensor

__all__ = ["CharRNN"]

Array = np.ndarray[Any, Any]
PAPER: Final = (
    "A. Graves, Generating sequences with recurrent neural networks (2013), arXiv:1308.0850"
)


class TiedHead(nn.Module):
    r"""Logits of tokens: products with the tokens' own vectors, plus a bias.

    .. math:: y = h E^\top + b

    Args:
        weight: the table of the embedding, ``(vocabulary, width)``; it is shared, not copied.

    Shape:
        ``(..., width)`` to ``(..., vocabulary)``.

    Raises:
        ShapeError: the last axis of the input has another size.

    Example:
        >>> table = nn.Embedding(5, 3)
        >>> TiedHead(table.weight)(tw.ones((2, 3))).shape
        (2, 5)

    O. Press and L. Wolf, arXiv:1608.05859.
    """

    def __init__(self, weight: Parameter) -> None:
        self.weight = weight
        self.bias = new_parameter(weight.shape[:1], weight.dtype)

    def draw(self, key: Any) -> None:
        """Set the bias to 0; the table is drawn by the embedding."""
        self.bias.assign(np.zeros(self.bias.shape, self.bias.dtype.numpy))

    def forward(self, x: Any) -> Tensor:
        """Return the logits."""
        y: Tensor = x @ self.weight.T + self.bias
        return y


@register(
    "char_rnn", paper=PAPER, parameters=240_321, flops=23_820_800, inputs=((50,),),
    task="next token", dtype="int64", small={"vocabulary": 20, "hidden": 16},
    small_inputs=((12,),),
)  # fmt: skip
class CharRNN(nn.Module):
    """A recurrent network that predicts each character from those before it.

    The default has two LSTM layers of 128 over one-hot characters, 65 of them, and 240,321
    parameters. ``nn.to_torch`` names them ``embedding``, ``recurrent`` and ``head``, as PyTorch's
    ``Embedding``, ``LSTM`` (or ``GRU``, ``RNN``) and ``Linear`` have them.

    Args:
        vocabulary: characters, or other tokens.
        hidden, layers: size and number of the recurrent layers.
        kind: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        width: size of the learned vectors of the characters; one-hot vectors if left out.
        dropout: probability of dropout between the layers and before the last one.
        tied: whether the logits are products with the learned vectors (arXiv:1608.05859), whose
            size must then be that of the layers.

    Shape:
        token numbers ``(batch, length)`` to logits ``(batch, length, vocabulary)`` of the token
        after each.

    Raises:
        ArgumentError: a size is not from 1 on, an unknown kind, or a tied head without learned
            vectors of the layers' size.
        ShapeError: an input that is not (batch, length).
        DataError: a token outside of the vocabulary; compiled, an IndexError.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.char_rnn import CharRNN
        >>> model = CharRNN(vocabulary=27, hidden=16, kind="gru", width=8)
        >>> model(tw.tensor([[1, 2, 3]])).shape
        (1, 3, 27)
        >>> model.generate([1, 2, 3], 4, temperature=0).shape
        (7,)

        A text in parts: the state is carried on.

        >>> logits, state = model.advance(tw.tensor([[1, 2]]))
        >>> logits, state = model.advance(tw.tensor([[3]]), state)

    A. Graves, arXiv:1308.0850; A. Karpathy, "The unreasonable effectiveness of recurrent neural
    networks", 2015.
    """

    def __init__(
        self, vocabulary: int = 65, hidden: int = 128, layers: int = 2, kind: str = "lstm",
        width: int | None = None, dropout: float = 0.0, tied: bool = False,
    ) -> None:  # fmt: skip
        positive("CharRNN", vocabulary=vocabulary, hidden=hidden, layers=layers)
        if tied and width != hidden:
            raise ArgumentError(
                f"CharRNN: a tied head needs learned vectors of the layers' size {hidden}, got "
                f"width={width!r}; set width={hidden}, or tied=False. {where()}"
            )
        self.vocabulary, self.hidden, self.layers, self.kind = vocabulary, hidden, layers, kind
        self.width, self.dropout, self.tied = width, dropout, bool(tied)
        if width is not None:
            self.embedding: Any = nn.Embedding(vocabulary, width)
        else:
            self.embedding = OneHot(vocabulary)
        self.recurrent = new_layer("CharRNN", kind, width or vocabulary, hidden, layers, dropout)
        self.drop = nn.Dropout(dropout)
        self.head: Any = (
            TiedHead(self.embedding.weight) if tied else nn.Linear(hidden, vocabulary)
        )
        self._sessions = Sessions()

    def forward(self, ids: Any) -> Tensor:
        """Return the logits of the token after each token."""
        return self.advance(ids)[0]

    def advance(self, ids: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Return the logits, and the state to go on from; ``state``: that of the tokens before.

        States are those of the recurrent layer: ``(layers, batch, hidden)``, or for an LSTM a
        pair ``(h, c)`` of them.

        Raises:
            ShapeError: tokens that are not (batch, length), or a state of another shape.
            DataError: a token outside of the vocabulary.
        """
        outputs, state = self._outputs(ids, state)
        return self.head(self.drop(outputs)), state

    def _outputs(self, ids: Any, state: Any) -> tuple[Tensor, Any]:
        """Return the outputs of the top layer, (batch, length, hidden), and the state."""
        check_tokens("CharRNN", ids)
        dtype = self.recurrent.weight_ih_l0.dtype
        x = self.embedding(ids) if self.width is not None else self.embedding(ids, dtype)
        outputs, state = self.recurrent(x, state)
        return outputs, state

    def generate(
        self, prompt_ids: Any, count: int, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int = 0,
    ) -> Array:  # fmt: skip
        """Return prompts continued by so many tokens, each drawn by its predicted probability.

        The step is compiled once for a batch size, and the state is kept between steps: a token
        costs the same however long the text is.

        Args:
            prompt_ids: token numbers ``(length,)`` or ``(batch, length)``.
            count: how many to add.
            temperature: divides the logits; 0 takes the likeliest token.
            top_k: only so many of the likeliest tokens are drawn.
            top_p: only the fewest likeliest tokens whose probabilities add up to this are drawn.
            seed: the same seed gives the same text.

        Raises:
            ArgumentError: an option outside of its values.
            ShapeError: an empty prompt.
            DTypeError: a prompt that is not made of token numbers.
            DataError: a token outside of the vocabulary.
        """
        tokens = as_tokens("CharRNN.generate", prompt_ids)
        check_sampling("CharRNN.generate", temperature, top_k, top_p)
        if count < 0:
            raise ArgumentError(
                f"CharRNN.generate: count must be from 0 on, got {count}. {where()}"
            )
        check_vocabulary("CharRNN.generate", tokens, self.vocabulary)
        batch = tokens.shape[0]
        draws = tw.random.uniform((max(count, 1), batch), key=tw.random.key(seed)).numpy()
        made = [tokens]
        with evaluating(self):
            step, states = self._sessions.get(
                (batch, self.recurrent.weight_ih_l0.dtype.name), lambda: self._session(batch)
            )
            for state in states:
                state.assign(np.zeros(state.shape, state.dtype.numpy))
            for i in range(count):
                chosen = sample(feed(step, made[-1]), draws[i], temperature, top_k, top_p)
                made.append(chosen[:, None])
        text = np.concatenate(made, axis=1)
        return text[0] if np.ndim(prompt_ids) == 1 else text

    def _session(self, batch: int) -> tuple[Callable[[Array], Any], list[Tensor]]:
        """Return the compiled step, and the states that it reads and replaces."""
        kind = self.recurrent.weight_ih_l0.dtype.numpy
        shape, parts = (self.layers, batch, self.hidden), 2 if self.kind == "lstm" else 1
        states = [constant_tensor(np.zeros(shape, kind)) for _ in range(parts)]

        def step(ids: Any) -> Any:
            outputs, new = self._outputs(ids, tuple(states))
            for state, value in zip(states, new if parts == 2 else (new,), strict=True):
                state.assign(value)
            return self.head(outputs[:, -1])

        return tw.compile(step), states

    def arguments(self) -> str:
        """Return the sizes and the kind."""
        return f"{self.vocabulary}, {self.hidden}, layers={self.layers}, kind={self.kind!r}"
