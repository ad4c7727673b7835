"""Sequence to sequence with attention: one recurrent network reads, another one writes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn, trees
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.models.generation import Sessions, as_tokens, evaluating
from thalweg.models.recurrent import (
    check_tokens,
    check_vocabulary,
    checked_lengths,
    last_state,
    new_layer,
)
from thalweg.models.registry import register
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["Seq2Seq"]

Array = np.ndarray[Any, Any]
PAPER: Final = (
    "D. Bahdanau, K. Cho and Y. Bengio, Neural machine translation by jointly learning to align "
    "and translate (2015), arXiv:1409.0473"
)
ATTENTIONS: Final = ("additive", "dot", "general")


def gru_step(x: Tensor, z: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return a GRU's next state, for the gates' sums over the input and over the state.

    >>> gru_step(tw.zeros((1, 6)), tw.zeros((1, 6)), (tw.ones((1, 2)),))[0].tolist()
    [[0.5, 0.5]]
    """
    r, u = (tw.sigmoid(a + b) for a, b in zip(tw.split(x, 3, -1)[:2], tw.split(z, 3, -1)[:2],
                                              strict=True))  # fmt: skip
    n = tw.tanh(tw.split(x, 3, -1)[2] + r * tw.split(z, 3, -1)[2])
    return (n + u * (state[0] - n),)


def lstm_step(x: Tensor, z: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return an LSTM's next states, for the gates' sums over the input and over the state.

    >>> lstm_step(tw.zeros((1, 4)), tw.zeros((1, 4)), (tw.ones((1, 1)), tw.ones((1, 1))))[1].item()
    0.5
    """
    i, f, g, o = tw.split(x + z, 4, -1)
    c = tw.sigmoid(f) * state[1] + tw.sigmoid(i) * tw.tanh(g)
    return tw.sigmoid(o) * tw.tanh(c), c


class AttentionDecoder(nn.Module):
    r"""A recurrent network that looks at all places of a memory at each of its steps.

    With ``"additive"`` attention the state before a step asks, and what it is given enters the
    step; the readout is a maxout layer over state, input and context:

    .. math:: e_j = v^\top \tanh(W s_{t-1} + U m_j + b), \quad c_t = \sum_j \mathrm{softmax}(e)_j
              m_j, \quad s_t = f(s_{t-1}, [y_t; c_t])

    With ``"dot"`` and ``"general"`` the state after the step asks, and the readout of a step is
    part of the next one's input:

    .. math:: s_t = f(s_{t-1}, [y_t; r_{t-1}]), \quad e_j = s_t^\top m_j \text{ or }
              s_t^\top W m_j, \quad r_t = \tanh(R [s_t; c_t])

    Args:
        width: features of the input.
        memory: features of the memory.
        hidden, layers: size and number of the recurrent layers.
        kind: ``"gru"`` or ``"lstm"``.
        attention: ``"additive"``, ``"dot"`` or ``"general"``.

    Shape:
        inputs ``(batch, time, width)`` and a memory ``(batch, places, memory)`` to readouts
        ``(batch, time, readout)``, attention weights ``(batch, time, places)``, and what the next
        steps go on from.

    Raises:
        ArgumentError: an unknown word, or dot products of vectors of unequal sizes.

    Example:
        >>> decoder = AttentionDecoder(3, 4, 4, attention="dot")
        >>> memory = tw.ones((2, 5, 4))
        >>> begin = decoder.start((tw.zeros((1, 2, 4)),))
        >>> made, weights, _ = decoder(tw.ones((2, 6, 3)), memory, memory, None, begin)
        >>> made.shape, weights.shape
        ((2, 6, 4), (2, 6, 5))

    D. Bahdanau et al., arXiv:1409.0473; M.-T. Luong et al., arXiv:1508.04025.
    """

    def __init__(
        self, width: int, memory: int, hidden: int, layers: int = 1, kind: str = "gru",
        attention: str = "additive",
    ) -> None:  # fmt: skip
        if kind not in ("gru", "lstm"):
            raise ArgumentError(f"Seq2Seq: kind must be 'gru' or 'lstm', got {kind!r}. {where()}")
        if attention not in ATTENTIONS:
            raise ArgumentError(
                f"Seq2Seq: attention must be 'additive', 'dot' or 'general', got {attention!r}. "
                f"{where()}"
            )
        if attention == "dot" and memory != hidden:
            raise ArgumentError(
                f"Seq2Seq: dot attention needs encoder outputs (2 * encoder_hidden = {memory}) of "
                f"the decoder's size {hidden}; set encoder_hidden={hidden // 2} (and an even "
                f"hidden), or attention='general'. {where()}"
            )
        self.width, self.memory, self.hidden, self.layers = width, memory, hidden, layers
        self.kind, self.attention = kind, attention
        additive = attention == "additive"
        # Its parameters are used step by step in `forward`: the layer itself never runs.
        self.recurrent = new_layer("Seq2Seq", kind, width + (memory if additive else hidden),
                                   hidden, layers)  # fmt: skip
        self.query = nn.Linear(hidden, hidden, bias=False) if additive else None
        self.key = None if attention == "dot" else nn.Linear(memory, hidden, bias=additive)
        self.energy = nn.Linear(hidden, 1, bias=False) if additive else None
        self.outputs = max(hidden // 2, 1) if additive else hidden
        # The readout of a step: a linear map of state, context and maybe input.
        wide = 2 * self.outputs if additive else hidden
        self.readout = nn.Linear(hidden, wide, bias=additive)
        self.readout_context = nn.Linear(memory, wide, bias=False)
        self.readout_input = nn.Linear(width, wide, bias=False) if additive else None

    def keys(self, memory: Tensor) -> Tensor:
        """Return what the states are compared with, ``(batch, places, hidden)``."""
        return memory if self.key is None else self.key(memory)

    def start(self, states: tuple[Tensor, ...]) -> Any:
        """Return what the first step goes on from, for states ``(layers, batch, hidden)``."""
        layers = tuple(tuple(s[i] for s in states) for i in range(self.layers))
        return layers, None if self.attention == "additive" else tw.zeros_like(states[0][0])

    def forward(
        self, x: Tensor, memory: Tensor, keys: Tensor, keep: Tensor | None, carry: Any
    ) -> tuple[Tensor, Tensor, Any]:
        """Return readouts, attention weights, and what the next steps go on from.

        ``keys``: ``self.keys(memory)``. ``keep`` (batch, places): which places count.
        """
        weight = self.recurrent.weight_ih_l0
        # The input projection of all steps is one contraction, before the loop, time first.
        rows = tw.einsum("bti,ig->tbg", x, weight[: self.width]) + self.recurrent.bias_ih_l0

        def body(carry: Any, row: Tensor) -> Any:
            layers, fed = carry
            if self.attention == "additive":
                context, weights = self._attend(layers[-1][0], memory, keys, keep)
                layers = self._next(row, context, layers)
                return (layers, None), (layers[-1][0], context, weights)
            layers = self._next(row, fed, layers)
            context, weights = self._attend(layers[-1][0], memory, keys, keep)
            made = tw.tanh(self.readout(layers[-1][0]) + self.readout_context(context))
            return (layers, made), (made, None, weights)

        carry, (made, contexts, weights) = tw.scan(body, carry, rows)
        made, weights = tw.swapaxes(made, 0, 1), tw.swapaxes(weights, 0, 1)
        if self.readout_input is not None:
            wide = self.readout(made) + self.readout_input(x)
            wide = wide + self.readout_context(tw.swapaxes(contexts, 0, 1))
            pairs = tw.reshape(wide, (*wide.shape[:2], self.outputs, 2))
            made = tw.max(pairs, axis=-1)
        return made, weights, carry

    def _attend(
        self, state: Tensor, memory: Tensor, keys: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the context (batch, memory) that a state is given, and the weights of places."""
        if self.query is not None and self.energy is not None:
            asked = tw.expand_dims(self.query(state), 1)
            scores = self.energy(tw.tanh(asked + keys))[..., 0]  # (batch, places)
        else:
            scores = tw.einsum("bh,bsh->bs", state, keys)
        if keep is not None:
            scores = tw.where(keep, scores, -tw.inf)
        # Written out, since `tw.softmax` has no gradient inside of a loop.
        powers = tw.exp(scores - tw.stop_gradient(tw.max(scores, axis=-1, keepdims=True)))
        weights = powers / tw.sum(powers, axis=-1, keepdims=True)
        return tw.einsum("bs,bsm->bm", weights, memory), weights

    def _next(self, row: Tensor, fed: Tensor, layers: Any) -> Any:
        """Return the states of all layers after one step."""
        step = gru_step if self.kind == "gru" else lstm_step
        made: list[tuple[Tensor, ...]] = []
        for i, state in enumerate(layers):
            own = {k: getattr(self.recurrent, f"{k}_l{i}")
                   for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}  # fmt: skip
            if i:
                x = made[-1][0] @ own["weight_ih"] + own["bias_ih"]
            else:
                x = row + fed @ own["weight_ih"][self.width :]
            made.append(step(x, state[0] @ own["weight_hh"] + own["bias_hh"], state))
        return tuple(made)


@register(
    "seq2seq", paper=PAPER, parameters=81_452_000, flops=2_541_400_000, inputs=((30,), (30,)),
    task="translation", dtype="int64", small_inputs=((6,), (5,)),
    small={"source_vocabulary": 20, "target_vocabulary": 20, "width": 8, "hidden": 8},
)  # fmt: skip
class Seq2Seq(nn.Module):
    """Encoder and decoder with attention; the default has the sizes of RNNsearch.

    A bidirectional encoder reads; the decoder begins with the tanh of a linear layer on the last
    states of both directions, and looks at the encoder's outputs at each step. The default has
    81,452,000 parameters. The gated unit's reset gate follows the product, as in ``nn.GRU``, and
    not as in the paper.

    Args:
        source_vocabulary, target_vocabulary: tokens of both languages.
        width: size of the learned vectors of tokens.
        hidden: size of the decoder's layers, and of the vectors compared by attention.
        encoder_hidden: size of the encoder's layers in each direction; ``hidden`` if left out.
        layers: recurrent layers of the encoder, and of the decoder.
        kind: ``"gru"`` or ``"lstm"``.
        attention: ``"additive"`` (Bahdanau), ``"dot"`` or ``"general"`` (Luong, with input
            feeding); see ``AttentionDecoder``.
        dropout: probability of dropout on the learned vectors, between the encoder's layers and
            before the last layer.

    Shape:
        token numbers ``(batch, source)`` and ``(batch, target)`` to logits ``(batch, target,
        target_vocabulary)`` of the token after each target token.

    Raises:
        ArgumentError: a size is not from 1 on, an unknown word, dot products of vectors of unequal
            sizes; lengths that are not from 1 to the length of the source (compiled, an
            IndexError).
        ShapeError: inputs that are not (batch, length).
        DataError: a token outside of the vocabulary (compiled, an IndexError).

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.seq2seq import Seq2Seq
        >>> model = Seq2Seq(50, 40, width=8, hidden=16)
        >>> source, target = tw.tensor([[4, 5, 6, 7]]), tw.tensor([[1, 8]])
        >>> model(source, target, source_lengths=[3]).shape
        (1, 2, 40)
        >>> model.alignment(source, target).shape
        (1, 2, 4)
        >>> model.translate([[4, 5, 6, 7]], begin=1, end=2, longest=5, beams=3).shape[0]
        1

    D. Bahdanau et al., arXiv:1409.0473; M.-T. Luong et al., arXiv:1508.04025.
    """

    def __init__(
        self, source_vocabulary: int = 30_000, target_vocabulary: int = 30_000, width: int = 620,
        hidden: int = 1000, encoder_hidden: int | None = None, layers: int = 1, kind: str = "gru",
        attention: str = "additive", dropout: float = 0.0,
    ) -> None:  # fmt: skip
        each = hidden if encoder_hidden is None else encoder_hidden
        positive("Seq2Seq", source_vocabulary=source_vocabulary, width=width, hidden=hidden,
                 target_vocabulary=target_vocabulary, encoder_hidden=each,
                 layers=layers)  # fmt: skip
        self.source_vocabulary, self.target_vocabulary = source_vocabulary, target_vocabulary
        self.width, self.hidden, self.encoder_hidden = width, hidden, encoder_hidden
        self.layers, self.kind, self.attention, self.dropout = layers, kind, attention, dropout
        self.decoder = AttentionDecoder(width, 2 * each, hidden, layers, kind, attention)
        self.source_embedding = nn.Embedding(source_vocabulary, width)
        self.target_embedding = nn.Embedding(target_vocabulary, width)
        self.drop = nn.Dropout(dropout)
        self.encoder = new_layer("Seq2Seq", kind, width, each, layers, dropout, True)
        self.bridge = nn.Linear(
            2 * each, (2 if kind == "lstm" else 1) * hidden, activation_hint="tanh"
        )
        self.head = nn.Linear(self.decoder.outputs, target_vocabulary)
        self._sessions = Sessions()

    def forward(self, source: Any, target: Any, source_lengths: Any = None) -> Tensor:
        """Return the logits of the token after each target token."""
        logits, _, _ = self._decode(target, *self._encode(source, source_lengths))
        return logits

    def alignment(self, source: Any, target: Any, source_lengths: Any = None) -> Tensor:
        """Return how much each target token looked at each source token.

        Shape: ``(batch, target, source)``; each row adds up to 1. What follows a source's length
        gets 0.
        """
        _, weights, _ = self._decode(target, *self._encode(source, source_lengths))
        return weights

    def _encode(self, source: Any, lengths: Any = None) -> tuple[Any, ...]:
        """Return memory, keys, places that count, and what the decoder begins with."""
        check_tokens("Seq2Seq", source, "a source")
        x = self.drop(self.source_embedding(source))
        keep = None
        if lengths is not None:
            lengths = checked_lengths("Seq2Seq", lengths, x)
        memory, state = self.encoder(x, lengths=lengths)
        if lengths is not None:
            keep = tw.arange(x.shape[1]) < tw.expand_dims(lengths, -1)
        ends = []
        for i in range(self.layers):
            both = [s[2 * i : 2 * i + 2] for s in state] if self.kind == "lstm" else (
                [state[2 * i : 2 * i + 2]])  # fmt: skip
            ends.append(tw.tanh(self.bridge(last_state(both[0], True))))
        states = tuple(tw.split(tw.stack(ends), 2, -1)) if self.kind == "lstm" else (
            (tw.stack(ends),))  # fmt: skip
        return memory, self.decoder.keys(memory), keep, self.decoder.start(states)

    def _decode(
        self, target: Any, memory: Tensor, keys: Tensor, keep: Tensor | None, carry: Any
    ) -> tuple[Tensor, Tensor, Any]:
        """Return logits, attention weights, and what the next tokens go on from."""
        check_tokens("Seq2Seq", target, "a target")
        if np.shape(target)[0] != memory.shape[0]:
            raise ShapeError(
                f"Seq2Seq: got {memory.shape[0]} sources and {np.shape(target)[0]} targets; "
                f"wanted one target for each source. {where()}"
            )
        x = self.drop(self.target_embedding(target))
        made, weights, carry = self.decoder(x, memory, keys, keep, carry)
        return self.head(self.drop(made)), weights, carry

    def translate(
        self, source: Any, begin: int, end: int, longest: int = 128, lengths: Any = None,
        beams: int = 1, length_penalty: float = 0.0,
    ) -> Array:  # fmt: skip
        """Return the likeliest target for each source, found token by token.

        With one beam the likeliest next token is taken again and again; with several, so many of
        the likeliest beginnings are followed. The step is compiled once for a batch size, a number
        of beams and a length of the source.

        Args:
            source: token numbers ``(length,)`` or ``(batch, length)``.
            begin: the token that starts a target; it is not returned.
            end: the token after which a target is over; the rest is filled with it.
            longest: the most tokens to write.
            lengths: how many tokens of each source count.
            beams: how many beginnings are followed.
            length_penalty: the logarithm of a target's probability is divided by its number of
                tokens to this power before the best is chosen; 0 prefers short ones, 1 does not
                (arXiv:1609.08144).

        Returns ``(batch, tokens)``, or ``(tokens,)`` for a single source.

        Raises:
            ArgumentError: an option outside of its values, or lengths outside of the source.
            ShapeError, DTypeError, DataError: sources that are no tokens of the vocabulary.
        """
        tokens = as_tokens("Seq2Seq.translate", source)
        check_vocabulary("Seq2Seq.translate", tokens, self.source_vocabulary)
        positive("Seq2Seq.translate", longest=longest, beams=beams)
        for name, token in (("begin", begin), ("end", end)):
            if not 0 <= token < self.target_vocabulary:
                raise ArgumentError(
                    f"Seq2Seq.translate: {name}={token!r} is not a token of the target's "
                    f"vocabulary, 0 to {self.target_vocabulary - 1}. {where()}"
                )
        count = None if lengths is None else np.asarray(lengths)
        if count is not None and count.size and not 1 <= count.min() <= count.max() <= (
            tokens.shape[1]
        ):
            raise ArgumentError(
                f"Seq2Seq.translate: lengths from {count.min()} to {count.max()}; they must be "
                f"from 1 to {tokens.shape[1]}, the length of the source. {where()}"
            )
        with evaluating(self):
            encode, step = self._sessions.get("programs", self._programs)
            encoded = encode(tokens, count)
            text = _search(step, encoded, tokens.shape[0], beams, (begin, end), longest,
                           length_penalty)  # fmt: skip
        return text[0] if np.ndim(source) == 1 else text

    def _programs(self) -> tuple[Any, Any]:
        """Return the compiled encoder, and the compiled step of the decoder."""

        def step(tokens: Any, parents: Any, memory: Any, keys: Any, keep: Any, carry: Any) -> Any:
            parts, tree = trees.flatten(carry)
            carry = trees.unflatten(tree, [tw.take(p, parents, 0) for p in parts])
            logits, _, carry = self._decode(tokens, memory, keys, keep, carry)
            return tw.log_softmax(logits[:, -1], axis=-1), carry

        return tw.compile(self._encode), tw.compile(step)

    def arguments(self) -> str:
        """Return the sizes and the kind of attention."""
        return (f"{self.source_vocabulary}, {self.target_vocabulary}, width={self.width}, "
                f"hidden={self.hidden}, kind={self.kind!r}, "
                f"attention={self.attention!r}")  # fmt: skip


def _search(
    step: Any, encoded: tuple[Any, ...], batch: int, beams: int, ends: tuple[int, int],
    longest: int, length_penalty: float,
) -> Array:  # fmt: skip
    """Return the best target of each source by beam search, (batch, tokens)."""
    begin, end = ends
    rows = np.repeat(np.arange(batch), beams)
    parts, tree = trees.flatten(encoded)
    memory, keys, keep, carry = trees.unflatten(tree, [tw.take(p, rows, 0) for p in parts])
    parents = np.arange(batch * beams)
    last = np.full((batch * beams, 1), begin, np.int64)
    scores = np.full((batch, beams), -np.inf)
    scores[:, 0] = 0.0  # all beams begin alike: only one of them counts at first
    over = np.zeros((batch, beams), bool)
    sizes = np.zeros((batch, beams), np.int64)
    text = np.zeros((batch, beams, 0), np.int64)
    first = np.arange(batch)[:, None]
    while text.shape[2] < longest and not over.all():
        log, carry = step(last, parents, memory, keys, keep, carry)
        steps = log.numpy().astype(np.float64).reshape(batch, beams, -1)
        steps[over] = -np.inf
        steps[over, end] = 0.0
        places, scores = _best(scores[..., None] + steps, beams)
        beam, token = np.divmod(places, steps.shape[2])
        over, sizes = over[first, beam], sizes[first, beam]
        sizes = sizes + ~over
        over = over | (token == end)
        text = np.concatenate([text[first, beam], token[..., None]], axis=2)
        parents = (first * beams + beam).reshape(-1)
        last = np.ascontiguousarray(token.reshape(-1, 1))
    best = np.argmax(scores / np.maximum(sizes, 1) ** length_penalty, axis=1)
    chosen = text[first[:, 0], best]
    return np.ascontiguousarray(chosen[:, : sizes[first[:, 0], best].max()])


def _best(totals: Array, beams: int) -> tuple[Array, Array]:
    """Return the places of the largest numbers of each row, largest first, and these numbers."""
    flat = totals.reshape(len(totals), -1)
    places = np.argpartition(-flat, beams - 1, axis=1)[:, :beams]
    found = np.take_along_axis(flat, places, 1)
    order = np.lexsort((places, -found), axis=-1)
    return np.take_along_axis(places, order, 1), np.take_along_axis(found, order, 1)
