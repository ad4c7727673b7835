"""Recurrent networks in PyTorch, of the sizes of a model of ours; with attention, step by step."""

from __future__ import annotations

from typing import Any

from tests.parity.test_torch_recurrent_models import silero
from tests.parity.torch_twins_parts import F, Net, T, torch
from tests.parity.torch_twins_transformers import counted

KINDS = {"rnn": T.RNN, "lstm": T.LSTM, "gru": T.GRU}


def layer(ours: Any, inputs: int, both: bool = False) -> Any:
    assert ours.dropout == 0
    return KINDS[ours.kind](inputs, ours.hidden, ours.layers, batch_first=True, bidirectional=both)


def packed(x: Any, lengths: Any) -> Any:
    return T.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def top(state: Any) -> Any:
    return state[0] if isinstance(state, tuple) else state


def char_rnn(ours: Any) -> Any:
    assert ours.width is None

    def run(m: Any, ids: Any) -> Any:
        vectors = F.one_hot(ids, ours.vocabulary).to(m.head.weight.dtype)
        return m.head(m.recurrent(vectors)[0])

    return Net(run, recurrent=layer(ours, ours.vocabulary),
               head=T.Linear(ours.hidden, ours.vocabulary))  # fmt: skip


def classifier(ours: Any) -> Any:
    """Called with tokens and lengths."""
    assert ours.bidirectional
    assert ours.pooling == "last"

    def run(m: Any, ids: Any, lengths: Any) -> Any:
        h = top(m.recurrent(packed(m.embedding(ids), lengths))[1])
        return m.head(torch.cat([h[-2], h[-1]], 1))

    return Net(run, embedding=T.Embedding(ours.vocabulary, ours.width),
               recurrent=layer(ours, ours.width, True),
               head=T.Linear(2 * ours.hidden, ours.classes))  # fmt: skip


def forecaster(ours: Any) -> Any:
    assert ours.residual is None
    shape = (ours.horizon, ours.targets)
    return Net(lambda m, x: m.head(top(m.recurrent(x)[1])[-1]).unflatten(1, shape),
               recurrent=layer(ours, ours.features),
               head=T.Linear(ours.hidden, ours.horizon * ours.targets))  # fmt: skip


def seq2seq(ours: Any) -> Any:
    """Called with source, target and lengths of the sources; the attention is additive."""
    assert (ours.kind, ours.attention, ours.layers, ours.encoder_hidden) == (
        "gru", "additive", 1, None)  # fmt: skip
    width, hidden = ours.width, ours.hidden
    memory, wide = 2 * hidden, 2 * (hidden // 2)

    def attend(d: Any, h: Any, m: Any, keep: Any) -> Any:
        scores = d.energy(torch.tanh(d.query(h)[:, None] + d.key(m)))[..., 0]
        weights = scores.masked_fill(~keep, -torch.inf).softmax(-1)
        return (weights[:, None] @ m)[:, 0]

    def run(n: Any, source: Any, target: Any, lengths: Any) -> Any:
        outputs, state = n.encoder(packed(n.source_embedding(source), lengths))
        m, _ = T.utils.rnn.pad_packed_sequence(
            outputs, batch_first=True, total_length=source.shape[1]
        )
        h = torch.tanh(n.bridge(torch.cat([state[0], state[1]], 1)))
        keep = counted(lengths, source.shape[1])
        d, made = n.decoder, []
        for y in n.target_embedding(target).unbind(1):
            context = attend(d, h, m, keep)
            h = d.recurrent(torch.cat([y, context], 1)[:, None], h[None])[1][0]
            read = d.readout(h) + d.readout_context(context) + d.readout_input(y)
            made.append(read.unflatten(1, (-1, 2)).amax(-1))  # maxout
        return n.head(torch.stack(made, 1))

    decoder = Net(
        recurrent=layer(ours, width + memory), query=T.Linear(hidden, hidden, bias=False),
        key=T.Linear(memory, hidden), energy=T.Linear(hidden, 1, bias=False),
        readout=T.Linear(hidden, wide), readout_context=T.Linear(memory, wide, bias=False),
        readout_input=T.Linear(width, wide, bias=False),
    )  # fmt: skip
    return Net(
        run, decoder=decoder, source_embedding=T.Embedding(ours.source_vocabulary, width),
        target_embedding=T.Embedding(ours.target_vocabulary, width),
        bridge=T.Linear(memory, hidden), encoder=layer(ours, width, True),
        head=T.Linear(wide // 2, ours.target_vocabulary),
    )  # fmt: skip


def silero_vad(ours: Any) -> Any:
    return silero()
