"""Recurrent architectures: states, lengths and masks, generation and search, what is refused."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DataError, DTypeError, ShapeError
from thalweg.models import CharRNN, Forecaster, Seq2Seq, SequenceClassifier, recurrent
from thalweg.nn import summary

Array = np.ndarray[Any, Any]
NAMES = ("char_rnn", "gru_classifier", "gru_forecaster", "lstm_classifier", "lstm_forecaster",
         "seq2seq", "silero_vad")  # fmt: skip
IDS = np.random.default_rng(0).integers(0, 20, (3, 7))


def lively(model: Any, seed: int = 1, times: float = 3.0) -> Any:
    """Return the model with larger weights, so that its answers differ."""
    model.reset_parameters(seed)
    for path, p in model.parameters().items():
        if p.trainable and "embedding" not in path:
            p.assign(times * p.numpy())
    return model


@pytest.mark.parametrize("name", NAMES)
def test_flops_count_the_loops_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "reset_parameters", lambda self, key=None: self)
    whole = summary._flops
    monkeypatch.setattr(
        summary, "_flops", lambda n: whole(n) if n.op.kind in ("contraction", "loop") else 0
    )
    told = tw.models.get(name)
    assert told.build().summary(list(told.inputs), told.dtype).flops == pytest.approx(
        told.flops, rel=1e-3
    )


# --- character RNN -----------------------------------------------------------------------------

CHARS: dict[str, dict[str, Any]] = {
    "lstm": {}, "gru": {"kind": "gru", "width": 6}, "rnn": {"kind": "rnn", "layers": 1},
    "tied": {"width": 8, "tied": True},
}  # fmt: skip


def char_rnn(**options: Any) -> CharRNN:
    return lively(CharRNN(20, 8, **options))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CHARS)
def test_the_state_is_carried_on(name: str) -> None:
    model = char_rnn(**CHARS[name])
    whole, end = model.advance(IDS)
    first, state = model.advance(IDS[:, :3])
    second, last = tw.compile(model.advance)(IDS[:, 3:], state)
    joined = np.concatenate([first.numpy(), second.numpy()], 1)
    np.testing.assert_allclose(joined, whole.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(IDS).numpy(), whole.numpy())
    assert not np.allclose(model(IDS[:, 3:]).numpy(), second.numpy(), atol=1e-3)
    for a, b in zip(*(s if isinstance(s, tuple) else (s,) for s in (end, last)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 10])
@pytest.mark.parametrize("name", CHARS)
def test_greedy_generation_is_full_recomputation(name: str, length: int) -> None:
    model = char_rnn(**CHARS[name], dropout=0.3)
    prompt = np.random.default_rng(0).integers(0, 20, (2, length))
    text = model.generate(prompt, 12, temperature=0)
    assert model.training
    model.eval()
    wanted = prompt
    for _ in range(12):
        last = model(wanted).numpy()[:, -1].argmax(-1)
        wanted = np.concatenate([wanted, last[:, None]], 1)
    np.testing.assert_array_equal(text, wanted)
    np.testing.assert_array_equal(model.generate(prompt, 12, temperature=0), wanted)  # from 0 again
    np.testing.assert_array_equal(model.generate(prompt[1], 12, top_k=1), wanted[1])


def test_generation_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, captured = char_rnn(), []
    outputs = CharRNN._outputs

    def counted(self: CharRNN, ids: Any, state: Any) -> Any:
        captured.append(ids.shape)
        return outputs(self, ids, state)

    monkeypatch.setattr(CharRNN, "_outputs", counted)
    for length in range(1, 20):
        model.generate(np.zeros(length, np.int64), 30, temperature=0)
    assert sorted(captured) == [(1, 1), (1, 8)]
    captured.clear()
    first = model.generate([1, 2], 9, seed=3)
    model.head.weight.assign(-model.head.weight.numpy())
    assert (model.generate([1, 2], 9, seed=3) != first).any()  # sees new weights
    assert not captured


def test_the_seed_decides_the_text() -> None:
    model = char_rnn()
    texts = [model.generate([1, 2], 20, 1.5, seed=s).tolist() for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert copy.deepcopy(model).generate([1, 2], 20, 1.5, seed=1).tolist() == texts[0]
    assert model.generate([1, 2], 0).tolist() == [1, 2]


def test_a_tied_head_is_one_table() -> None:
    model = char_rnn(width=8, tied=True)
    free = char_rnn(width=8)
    assert free.count_parameters() - model.count_parameters() == 20 * 8
    assert set(nn.to_torch(model)) == set(nn.to_torch(free))
    model.embedding.weight.assign(np.zeros((20, 8), np.float32))
    np.testing.assert_array_equal(model(IDS).numpy(), 0)
    assert model.copy().head.weight is not model.head.weight
    twin = model.copy()
    assert twin.head.weight is twin.embedding.weight


def test_what_the_character_rnn_refuses() -> None:
    model = char_rnn()
    for ids in ([[20]], [[0, -1]]):
        with pytest.raises(DataError, match=r"wanted 0 to 19.*test_recurrent_models"):
            model(np.array(ids))
        with pytest.raises(IndexError):
            tw.compile(model)(np.array(ids))
        with pytest.raises(DataError, match="vocabulary has 0 to 19"):
            model.generate(ids, 2)
    with pytest.raises(DataError, match="not a row"):
        char_rnn(width=4)(np.array([[20]]))
    with pytest.raises(ShapeError, match="batch axis"):
        model(np.zeros(4, np.int64))
    with pytest.raises(ShapeError, match="at least one"):
        model(np.zeros((2, 0), np.int64))
    with pytest.raises(DTypeError, match="whole numbers"):
        model(np.zeros((2, 2)))
    with pytest.raises(ShapeError, match="first state"):
        model.advance(IDS, (np.zeros((2, 1, 8), np.float32),) * 2)
    for options, message in (
        ({"temperature": -1}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_p": 0.0}, "top_p"),
        ({"count": -1}, "count must be"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            model.generate([1], **({"count": 2} | options))
    with pytest.raises(ArgumentError, match="'rnn', 'lstm' or 'gru'"):
        CharRNN(kind="elman")
    with pytest.raises(ArgumentError, match="width=8"):
        CharRNN(20, 8, tied=True)


# --- classifier --------------------------------------------------------------------------------


def classifier(**options: Any) -> SequenceClassifier:
    return lively(SequenceClassifier(  # type: ignore[no-any-return]
        **({"vocabulary": 20, "width": 5, "hidden": 6, "classes": 3} | options)
    ))  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_steps_that_do_not_count_change_nothing(
    bidirectional: bool, pooling: str, compiled: bool
) -> None:
    model = classifier(bidirectional=bidirectional, pooling=pooling, kind="gru", layers=2)
    run = tw.compile(model) if compiled else model
    lengths = np.array([7, 2, 4])
    alone = [model(IDS[i : i + 1, :n]).numpy()[0] for i, n in enumerate(lengths)]
    assert not np.allclose(model(IDS).numpy(), alone, atol=1e-3)
    np.testing.assert_allclose(run(IDS, lengths).numpy(), alone, rtol=1e-4, atol=1e-5)
    mask = np.arange(7) < lengths[:, None]
    for given in (mask, mask.astype(np.int64)):
        np.testing.assert_allclose(run(IDS, mask=given).numpy(), alone, rtol=1e-4, atol=1e-5)
    scattered = np.array([[0, 1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1, 1], [1] * 7], bool)
    alone = [model(row[keep][None]).numpy()[0] for row, keep in zip(IDS, scattered, strict=True)]
    found = run(IDS, mask=scattered).numpy()
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)


def test_numbers_are_masked_too() -> None:
    model = classifier(vocabulary=None, features=4)
    x = np.random.default_rng(2).standard_normal((2, 5, 4)).astype(np.float32)
    mask = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]])
    alone = [model(row[keep > 0][None]).numpy()[0] for row, keep in zip(x, mask, strict=True)]
    np.testing.assert_allclose(model(x, mask=mask).numpy(), alone, rtol=1e-4, atol=1e-5)
    slopes = tw.compile(tw.grad(lambda x: model(x, mask=mask).sum()))(x).numpy()
    assert (slopes[mask > 0] != 0).any(axis=-1).all()
    np.testing.assert_array_equal(slopes[mask == 0], 0)


@pytest.mark.parametrize("lengths", [[7, 2, 0], [7, 8, 1], [-1, 1, 1]])
def test_lengths_out_of_range(lengths: list[int]) -> None:
    rows = np.random.default_rng(0).random((3, 7, 4)).astype(np.float32)
    for model, x in ((classifier(), IDS), (Forecaster(features=4, hidden=4), rows)):
        with pytest.raises(ArgumentError, match=r"from 1 to 7.*test_recurrent_models"):
            model(x, lengths)
        with pytest.raises(IndexError):
            tw.compile(model)(x, np.array(lengths))


def test_what_the_classifier_refuses() -> None:
    model = classifier()
    with pytest.raises(ArgumentError, match="give one of them"):
        model(IDS, [7, 7, 7], np.ones_like(IDS))
    with pytest.raises(ShapeError, match="a mask of shape"):
        model(IDS, mask=np.ones((3, 6)))
    with pytest.raises(ArgumentError, match="lengths from 0"):
        model(IDS, mask=np.zeros_like(IDS))
    with pytest.raises(IndexError):
        tw.compile(model)(IDS, mask=np.zeros_like(IDS))
    with pytest.raises(ShapeError, match="whole number for each"):
        model(IDS, [7, 7])
    with pytest.raises(DataError, match="not a row"):
        model(IDS + 1)
    with pytest.raises(ShapeError, match="input_size"):
        classifier(vocabulary=None, features=4)(np.zeros((2, 5, 3), np.float32))
    for options, words in (
        ({"features": 3}, "vocabulary=None"), ({"vocabulary": None}, "vocabulary=None"),
        ({"pooling": "sum"}, "'last', 'mean' or 'max'"), ({"kind": "cnn"}, "kind must be"),
        ({"hidden": 0}, "whole number from 1"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=words):
            classifier(**options)


# --- forecaster --------------------------------------------------------------------------------


def test_a_residual_forecaster_begins_as_the_naive_forecast() -> None:
    x = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    model = Forecaster("gru", 4, 5, 2, hidden=8, residual=[-1, 0])
    wanted = np.repeat(x[:, -1:, [3, 0]], 5, axis=1)
    np.testing.assert_array_equal(model(x).numpy(), wanted)
    lengths = np.array([6, 1, 3])
    wanted = np.repeat(x[np.arange(3), lengths - 1][:, None, [3, 0]], 5, axis=1)
    for run in (model, tw.compile(model)):
        np.testing.assert_array_equal(run(x, lengths).numpy(), wanted)
    lively(model)
    model.head.weight.assign(np.random.default_rng(1).standard_normal((8, 10)))
    shorter = model(x[2:, :3]).numpy()[0]
    np.testing.assert_allclose(model(x, lengths).numpy()[2], shorter, rtol=1e-5, atol=1e-5)


def test_what_the_forecaster_refuses() -> None:
    for columns in ([0, 1], [4], [-5]):
        with pytest.raises(ArgumentError, match="residual must name one of the 4 columns"):
            Forecaster("lstm", 4, 5, 1, residual=columns)
    with pytest.raises(ArgumentError, match="horizon"):
        Forecaster(horizon=0)
    with pytest.raises(ShapeError, match="input_size is 7"):
        Forecaster()(np.zeros((2, 9, 6), np.float32))


# --- sequence to sequence ----------------------------------------------------------------------

ATTENTIONS = ("additive", "dot", "general")
BEGIN, END = 1, 2


def seq2seq(attention: str = "additive", **options: Any) -> Seq2Seq:
    sizes: dict[str, Any] = {"source_vocabulary": 20, "target_vocabulary": 6, "width": 5,
                             "hidden": 8, "encoder_hidden": 4}  # fmt: skip
    made: Seq2Seq = lively(Seq2Seq(attention=attention, **(sizes | options)), 0, 1.0)
    return made


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_and_later_targets_change_nothing(attention: str) -> None:
    model = seq2seq(attention, kind="lstm", layers=2)
    lengths, target = np.array([7, 2, 4]), np.array([[1, 3, 4, 5], [1, 4, 4, 2], [1, 3, 5, 2]])
    logits = tw.compile(model)(IDS, target, lengths).numpy()
    for i, n in enumerate(lengths):
        alone = model(IDS[i : i + 1, :n], target[i : i + 1]).numpy()[0]
        np.testing.assert_allclose(logits[i], alone, rtol=1e-4, atol=1e-5)
    assert not np.allclose(logits, model(IDS, target).numpy(), atol=1e-3)
    other = target.copy()
    other[:, 2:] = 0
    changed = model(IDS, other, lengths).numpy()
    np.testing.assert_allclose(changed[:, :2], logits[:, :2], rtol=1e-4, atol=1e-5)
    assert not np.allclose(changed[:, 2:], logits[:, 2:], atol=1e-3)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_alignments_are_shares_of_the_source(attention: str) -> None:
    lengths = np.array([7, 2, 4])
    weights = seq2seq(attention).alignment(IDS, IDS[:, :3] % 6, lengths).numpy()
    assert weights.shape == (3, 3, 7)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    outside = np.arange(7) >= lengths[:, None, None]
    assert not weights[np.broadcast_to(outside, weights.shape)].any()
    assert np.ptp(weights[0], axis=-1).max() > 0.01


def recomputed(model: Seq2Seq, source: Array, lengths: Any, steps: int) -> Array:
    """Return the greedy translation, each step from the whole target so far."""
    target = np.full((len(source), 1), BEGIN)
    over = np.zeros(len(source), bool)
    for _ in range(steps):
        chosen = model(source, target, lengths).numpy()[:, -1].argmax(-1)
        chosen = np.where(over, END, chosen)
        over |= chosen == END
        target = np.concatenate([target, chosen[:, None]], 1)
    return target[:, 1:]


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_greedy_translation_is_full_recomputation(attention: str, kind: str) -> None:
    model = seq2seq(attention, kind=kind, layers=2, dropout=0.3)
    lengths = [7, 2, 4]
    text = model.translate(IDS, BEGIN, END, longest=9, lengths=lengths)
    assert model.training
    wanted = recomputed(model.eval(), IDS, lengths, 9)
    np.testing.assert_array_equal(text, wanted[:, : text.shape[1]])
    assert (wanted[:, text.shape[1] :] == END).all()
    single = model.translate(IDS[0], BEGIN, END, longest=9)
    np.testing.assert_array_equal(single, text[0, : len(single)])


def probabilities(model: Seq2Seq, source: Array, targets: Array) -> Array:
    """Return the logarithm of the probability of each target, up to its first end."""
    given = np.concatenate([np.full((len(targets), 1), BEGIN), targets[:, :-1]], 1)
    logits = model(np.repeat(source[None], len(targets), 0), given)
    logs = tw.log_softmax(logits, axis=-1).numpy()
    each = np.take_along_axis(logs, targets[..., None], 2)[..., 0]
    before = np.cumsum(targets == END, axis=1) - (targets == END)
    return np.where(before == 0, each, 0).sum(axis=1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_wide_beams_find_the_likeliest_target(attention: str) -> None:
    model = seq2seq(attention, target_vocabulary=4).eval()
    for path, p in model.parameters().items():
        if "target_embedding" in path or "weight_hh" in path or "head.weight" in path:
            p.assign(1.5 * p.numpy())
    targets = np.array(list(itertools.product(range(4), repeat=4)))
    worse = 0
    for source in IDS:
        logs = probabilities(model, source, targets)
        found = {}
        for beams in (1, 64):
            text = model.translate(source, BEGIN, END, longest=4, beams=beams)
            row = np.pad(text, (0, 4 - len(text)), constant_values=END)
            found[beams] = logs[(targets == row).all(axis=1)][0]
        assert found[64] == pytest.approx(logs.max(), abs=1e-5)
        worse += found[1] < found[64] - 1e-3
    assert worse  # else the test would not tell a beam from greedy choice


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_search_that_computes_every_beginning_anew_finds_the_same(attention: str) -> None:
    model = seq2seq(attention, kind="lstm").eval()
    for path, p in model.parameters().items():  # what was written matters for what comes
        if "target_embedding" in path or "decoder" in path or "head.weight" in path:
            p.assign(2 * p.numpy())
    for source in IDS:
        beams = np.zeros((1, 0), np.int64)
        for _ in range(7):
            longer = np.array([(*row, t) for row in beams.tolist() for t in range(6)
                               if END not in row or t == END])  # fmt: skip
            order = np.argsort(-probabilities(model, source, longer), kind="stable")
            beams = longer[order[:3]]
        text = model.translate(source, BEGIN, END, longest=7, beams=3)
        np.testing.assert_array_equal(np.pad(text, (0, 7 - len(text)), constant_values=END),
                                      beams[0])  # fmt: skip


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_each_beam_goes_on_from_the_state_of_its_parent(attention: str) -> None:
    model = seq2seq(attention, kind="lstm", layers=2).eval()
    encode, step = model._programs()
    memory, keys, keep, carry = encode(np.repeat(IDS[:1], 2, 0), None)
    same, turned = np.array([0, 1]), np.array([1, 0])
    _, carry = step(np.array([[3], [4]]), same, memory, keys, keep, carry)
    logs, _ = step(np.array([[5], [5]]), same, memory, keys, keep, carry)
    swapped, _ = step(np.array([[5], [5]]), turned, memory, keys, keep, carry)
    assert not np.allclose(logs.numpy()[0], logs.numpy()[1], atol=1e-3)
    np.testing.assert_allclose(swapped.numpy(), logs.numpy()[::-1], rtol=1e-5)
    whole = tw.log_softmax(model(IDS[:1], np.array([[4, 5]])), axis=-1).numpy()[0, -1]
    np.testing.assert_allclose(logs.numpy()[1], whole, rtol=1e-4)


def test_beams_do_not_mix_sentences_and_lengths_are_weighed() -> None:
    model = seq2seq().eval()
    together = model.translate(IDS, BEGIN, END, longest=6, beams=3, lengths=[7, 2, 4])
    for i, n in enumerate((7, 2, 4)):
        alone = model.translate(IDS[i, :n], BEGIN, END, longest=6, beams=3)
        np.testing.assert_array_equal(together[i, : len(alone)], alone)
        assert (together[i, len(alone) :] == END).all()
    model.head.bias.assign(np.eye(6)[END] + model.head.bias.numpy())
    short = model.translate(IDS, BEGIN, END, longest=6, beams=6)
    long = model.translate(IDS, BEGIN, END, longest=6, beams=6, length_penalty=5.0)
    assert (long != END).sum() > (short != END).sum()


def test_translation_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, captured = seq2seq(), []
    decode = Seq2Seq._decode

    def counted(self: Seq2Seq, target: Any, *encoded: Any) -> Any:
        captured.append(target.shape)
        return decode(self, target, *encoded)

    monkeypatch.setattr(Seq2Seq, "_decode", counted)
    for longest in (3, 5, 9):
        model.translate(IDS, BEGIN, END, longest=longest, beams=2)
    assert captured == [(6, 1)]


def test_it_learns_to_turn_sequences_around() -> None:
    source = np.random.default_rng(0).integers(3, 9, (400, 4))
    target = np.concatenate([np.full((400, 1), BEGIN), source[:, ::-1], np.full((400, 1), END)], 1)
    model = Seq2Seq(9, 9, width=16, hidden=32, attention="general").reset_parameters(0)
    optimizer = tw.optim.Adam(model, 0.01)

    @tw.compile
    def step(x: Any, y: Any) -> Any:
        loss, grads = tw.value_and_grad(
            lambda m: nn.losses.cross_entropy(m(x, y[:, :-1]), y[:, 1:])
        )(model)  # fmt: skip
        optimizer.update(grads)
        return loss

    for i in range(150):
        rows = slice(50 * (i % 7), 50 * (i % 7) + 50)
        step(source[rows], target[rows])
    held = model.translate(source[350:], BEGIN, END, longest=5)
    assert held.shape == (50, 5)
    assert np.mean(held[:, :4] == source[350:, ::-1]) > 0.9
    weights = model.alignment(source[350:], target[350:, :5]).numpy()
    assert np.mean(weights[:, :4].argmax(-1) == [3, 2, 1, 0]) > 0.5  # it looks where it reads


def test_what_sequence_to_sequence_refuses() -> None:
    model = seq2seq()
    with pytest.raises(DataError, match="not a row"):
        model(IDS + 1, IDS % 6)
    with pytest.raises(ShapeError, match="a target of shape"):
        model(IDS, [1, 2])
    with pytest.raises(ShapeError, match="one target for each source"):
        model(IDS, [[1, 2]])
    with pytest.raises(ArgumentError, match="lengths from 0"):
        model(IDS, IDS % 6, [0, 7, 7])
    with pytest.raises(IndexError):
        tw.compile(model)(IDS, IDS % 6, np.array([8, 7, 7]))
    for options, words in (
        ({"begin": 6}, "begin=6 is not"), ({"end": -1}, "end=-1 is not"), ({"beams": 0}, "beams"),
        ({"longest": 0}, "longest"), ({"lengths": [7, 8, 7]}, "from 1 to 7"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=words):
            model.translate(IDS, **({"begin": BEGIN, "end": END} | options))
    with pytest.raises(DataError, match="vocabulary has 0 to 19"):
        model.translate(IDS + 1, BEGIN, END)
    with pytest.raises(ArgumentError, match="encoder_hidden=4"):
        Seq2Seq(9, 9, hidden=8, attention="dot")
    with pytest.raises(ArgumentError, match="'additive', 'dot' or 'general'"):
        Seq2Seq(9, 9, hidden=8, attention="soft")
    with pytest.raises(ArgumentError, match="'gru' or 'lstm'"):
        Seq2Seq(9, 9, hidden=8, kind="rnn")


# --- what they share ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
def test_one_hot_numbers_of_every_kind(dtype: Any) -> None:
    layer, ids = recurrent.OneHot(130), np.array([[0, 5], [127, 1]], dtype)
    for run in (layer, tw.compile(layer)):
        np.testing.assert_array_equal(run(ids).numpy(), np.eye(130)[ids.astype(int)])
