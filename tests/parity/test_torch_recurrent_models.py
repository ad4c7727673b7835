"""Recurrent architectures against the same ones in PyTorch: outputs, all gradients, same weights.

In float64, eager and compiled; the weights go there and back as state dicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.models import CharRNN, Forecaster, Seq2Seq, SequenceClassifier, SileroVAD

torch = pytest.importorskip("torch")
T, F = torch.nn, torch.nn.functional
Array = np.ndarray[Any, Any]
source = np.random.default_rng(7)
KINDS = {"rnn": T.RNN, "lstm": T.LSTM, "gru": T.GRU}
TOKENS = source.integers(0, 11, (3, 6))
NUMBERS = source.standard_normal((3, 6, 4))
LENGTHS = np.array([6, 2, 4])


class Net(T.Module):  # type: ignore[misc, name-defined]
    """Named parts and a function that puts them together."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *xs: Any) -> Any:
        return self.run(self, *xs)


def compare(ours: nn.Module, theirs: Any, inputs: list[Array], call: Any = None) -> None:
    """Compare output, gradients of inputs and of parameters, and the state dict both ways."""
    call = call or (lambda m, *xs: m(*xs))
    ours.astype("float64")
    for p in ours.parameters().values():
        if p.trainable:
            p.assign(0.5 * source.standard_normal(p.shape))
    theirs.double().load_state_dict({k: torch.tensor(v) for k, v in nn.to_torch(ours).items()})
    real = [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]
    tensors = [torch.tensor(x, requires_grad=i in real) for i, x in enumerate(inputs)]
    wanted = theirs(*tensors)
    weights = source.standard_normal(tuple(wanted.shape))
    (wanted * torch.tensor(weights)).sum().backward()

    def loss(model: Any, *xs: Any) -> Any:
        y = call(model, *xs)
        return (y * weights).sum(), y

    gradient = tw.value_and_grad(loss, (0, *(i + 1 for i in real)), has_aux=True)
    named = dict(theirs.named_parameters())
    for run in (gradient, tw.compile(gradient)):
        (_, y), grads = run(ours, *inputs)
        np.testing.assert_allclose(y.numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-10)
        for i, found in zip(real, grads[1:], strict=True):
            np.testing.assert_allclose(
                found.numpy(), tensors[i].grad.numpy(), rtol=1e-7, atol=1e-9
            )
        holder = ours.copy()
        for path, parameter in holder.parameters().items():
            if parameter.trainable:
                parameter.assign(grads[0][path])
        gradients = nn.to_torch(holder)
        for name, parameter in named.items():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                np.testing.assert_allclose(
                    gradients[name], parameter.grad.numpy(), rtol=1e-7, atol=1e-9, err_msg=name
                )
    again = ours.copy().reset_parameters(9)
    assert nn.from_torch(again, theirs.state_dict()) == ([], [])
    for path, value in ours.parameters().items():
        np.testing.assert_array_equal(again.parameters()[path].numpy(), value.numpy(), path)


# --- character RNN -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "width", "tied"),
    [("lstm", None, False), ("lstm", 5, False), ("gru", 6, True), ("rnn", None, False)],
)
def test_char_rnn(kind: str, width: int | None, tied: bool) -> None:
    ours = CharRNN(11, 6, 2, kind, width, tied=tied)
    embedding = T.Identity() if width is None else T.Embedding(11, width)
    head = T.Linear(6, 11)
    if tied:
        head.weight = embedding.weight

    def run(m: Any, ids: Any) -> Any:
        x = F.one_hot(ids, 11).double() if width is None else m.embedding(ids)
        return m.head(m.recurrent(x)[0])

    recurrent = KINDS[kind](width or 11, 6, 2, batch_first=True)
    compare(ours, Net(run, embedding=embedding, recurrent=recurrent, head=head), [TOKENS])


# --- classifier and forecaster -----------------------------------------------------------------


def packed(x: Any, lengths: Array) -> Any:
    return T.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("tokens", [True, False])
def test_classifier(tokens: bool, kind: str, pooling: str) -> None:
    both, options = tokens, {"vocabulary": 11} if tokens else {"vocabulary": None, "features": 4}
    ours = SequenceClassifier(kind, 3, width=5, hidden=6, layers=2, bidirectional=both,
                              pooling=pooling, **options)  # type: ignore[arg-type]  # fmt: skip

    def run(m: Any, x: Any) -> Any:
        x = m.embedding(x) if tokens else x
        outputs, state = m.recurrent(packed(x, LENGTHS))
        h = state[0] if kind == "lstm" else state
        if pooling == "last":
            return m.head(torch.cat([h[-2], h[-1]], 1) if both else h[-1])
        outputs, _ = T.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        rows = [y[:n] for y, n in zip(outputs, LENGTHS, strict=True)]
        return m.head(torch.stack([y.mean(0) if pooling == "mean" else y.amax(0) for y in rows]))

    parts = {"embedding": T.Embedding(11, 5)} if tokens else {}
    recurrent = KINDS[kind](5 if tokens else 4, 6, 2, batch_first=True, bidirectional=both)
    theirs = Net(run, **parts, recurrent=recurrent, head=T.Linear(12 if both else 6, 3))
    compare(ours, theirs, [TOKENS if tokens else NUMBERS], lambda m, x: m(x, lengths=LENGTHS))


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize(("kind", "residual"), [("lstm", None), ("gru", [3, -4]), ("rnn", [1, 1])])
def test_forecaster(kind: str, residual: list[int] | None, lengths: Array | None) -> None:
    ours = Forecaster(kind, 4, 5, 2, hidden=6, layers=2, residual=residual)
    counts = np.full(3, 6) if lengths is None else lengths

    def run(m: Any, x: Any) -> Any:
        state = m.recurrent(packed(x, counts))[1]
        y = m.head((state[0] if kind == "lstm" else state)[-1]).reshape(3, 5, 2)
        if residual is None:
            return y
        return y + x[torch.arange(3), torch.tensor(counts - 1)][:, None, residual]

    theirs = Net(run, recurrent=KINDS[kind](4, 6, 2, batch_first=True), head=T.Linear(6, 10))
    compare(ours, theirs, [NUMBERS], lambda m, x: m(x, lengths=lengths))


# --- sequence to sequence ----------------------------------------------------------------------


def seq2seq(kind: str, attention: str, layers: int, each: int, hidden: int) -> Any:
    """Return the network with PyTorch's cells, step by step; lengths of the source are used."""
    memory, additive = 2 * each, attention == "additive"
    wide = 2 * (hidden // 2) if additive else hidden
    parts = {"recurrent": KINDS[kind](5 + (memory if additive else hidden), hidden, layers),
             "readout": T.Linear(hidden, wide, bias=additive),
             "readout_context": T.Linear(memory, wide, bias=False)}  # fmt: skip
    if additive:
        parts |= {"query": T.Linear(hidden, hidden, bias=False), "key": T.Linear(memory, hidden),
                  "energy": T.Linear(hidden, 1, bias=False),
                  "readout_input": T.Linear(5, wide, bias=False)}  # fmt: skip
    elif attention == "general":
        parts["key"] = T.Linear(memory, hidden, bias=False)

    def attend(d: Any, h: Any, m: Any, keep: Any) -> Any:
        keys = d.key(m) if attention != "dot" else m
        scores = (d.energy(torch.tanh(d.query(h)[:, None] + keys))[..., 0] if additive
                  else (h[:, None] * keys).sum(-1))  # fmt: skip
        weights = torch.softmax(scores.masked_fill(~keep, -torch.inf), -1)
        return (weights[..., None] * m).sum(1)

    def run(n: Any, source: Any, target: Any) -> Any:
        outputs, state = n.encoder(packed(n.source_embedding(source), LENGTHS))
        m, _ = T.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        states = []
        for s in state if kind == "lstm" else (state,):
            pairs = s.reshape(layers, 2, 3, each).permute(0, 2, 1, 3)
            states.append(pairs.reshape(layers, 3, memory))
        begun = torch.tanh(n.bridge(states[0]))
        state = tuple(begun.split(hidden, -1)) if kind == "lstm" else begun
        state = tuple(s.contiguous() for s in state) if kind == "lstm" else state
        keep = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
        d, made, fed = n.decoder, [], torch.zeros(3, hidden, dtype=torch.float64)
        for y in n.target_embedding(target).unbind(1):
            if additive:
                top = (state[0] if kind == "lstm" else state)[-1]
                fed = attend(d, top, m, keep)
            out, state = d.recurrent(torch.cat([y, fed], 1)[None], state)
            context = fed if additive else attend(d, out[0], m, keep)
            r = d.readout(out[0]) + d.readout_context(context)
            if additive:
                made.append((r + d.readout_input(y)).reshape(3, -1, 2).amax(-1))
            else:
                fed = torch.tanh(r)
                made.append(fed)
        return n.head(torch.stack(made, 1))

    return Net(
        run, decoder=Net(run, **parts), source_embedding=T.Embedding(11, 5),
        target_embedding=T.Embedding(9, 5), bridge=T.Linear(
            memory, (2 if kind == "lstm" else 1) * hidden),
        encoder=KINDS[kind](5, each, layers, batch_first=True, bidirectional=True),
        head=T.Linear(wide // 2 if additive else hidden, 9),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("attention", "each"), [("additive", 4), ("dot", 3), ("general", 4)])
def test_seq2seq(attention: str, each: int, layers: int, kind: str) -> None:
    ours = Seq2Seq(11, 9, 5, 6, each, layers, kind, attention)
    target = source.integers(0, 9, (3, 4))
    compare(ours, seq2seq(kind, attention, layers, each, 6), [TOKENS, target],
            lambda m, s, t: m(s, t, LENGTHS))  # fmt: skip


# --- Silero VAD --------------------------------------------------------------------------------


def silero() -> Any:
    """Return the network from PyTorch's layers; the window's spectra are a fixed convolution."""

    def run(m: Any, x: Any) -> Any:
        batch, time, _ = x.shape
        y = m.stft_conv(F.pad(x.flatten(0, 1)[:, None], (0, 64), mode="reflect"))
        y = (y[:, :129] ** 2 + y[:, 129:] ** 2).sqrt()
        for conv in (m.conv1, m.conv2, m.conv3, m.conv4):
            y = F.relu(conv(y))
        y, state, heard = y.reshape(batch, time, 128), None, []
        for window in y.unbind(1):
            state = m.lstm_cell(window, state)
            heard.append(torch.sigmoid(m.final_conv(F.relu(state[0])[..., None]))[:, 0, 0])
        return torch.stack(heard, 1)

    net = Net(
        run, stft_conv=T.Conv1d(1, 258, 256, 128, bias=False), conv1=T.Conv1d(129, 128, 3, 1, 1),
        conv2=T.Conv1d(128, 64, 3, 2, 1), conv3=T.Conv1d(64, 64, 3, 2, 1),
        conv4=T.Conv1d(64, 128, 3, 1, 1), lstm_cell=T.LSTMCell(128, 128),
        final_conv=T.Conv1d(128, 1, 1),
    )  # fmt: skip
    net.stft_conv.weight.requires_grad_(False)
    return net


def test_silero_vad() -> None:
    ours = SileroVAD()
    compare(ours, silero(), [0.1 * source.standard_normal((2, 3, 576))])
