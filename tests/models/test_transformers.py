"""GPT-2, BERT, ViT and the Transformer: published sizes and names, generation, training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DataError, DTypeError, ShapeError
from thalweg.models import generation, registry
from thalweg.models.bert import BERT, BERTClassifier, BERTMaskedLM
from thalweg.models.gpt import GPT2
from thalweg.models.transformer import Transformer
from thalweg.models.vit import ViT

Array = np.ndarray[Any, Any]
NAMES = (
    "bert", "bert_classifier", "bert_large", "bert_masked_lm", "gpt2", "gpt2_large",
    "gpt2_medium", "gpt2_xl", "transformer", "vit_base", "vit_small", "vit_tiny",
)  # fmt: skip
PUBLISHED = {
    "bert": 109_482_240, "bert_large": 335_141_888, "bert_masked_lm": 109_514_298,
    "gpt2": 124_439_808, "gpt2_medium": 354_823_168, "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200, "vit_base": 86_567_656, "vit_small": 22_050_664,
    "vit_tiny": 5_717_416,
}  # fmt: skip
DEEP = {"gpt2_medium": 24, "gpt2_large": 36, "gpt2_xl": 48, "bert_large": 24}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No values are drawn, and deep models are counted from one and two of their equal layers."""
    monkeypatch.setattr(nn.Module, "reset_parameters", lambda self, key=None: self)
    entry = registry.get(name)
    if name in DEEP:
        one, two = (entry.build(layers=n).count_parameters() for n in (1, 2))
        count = one + (DEEP[name] - 1) * (two - one)
    else:
        count = entry.build().count_parameters()
    assert count == entry.parameters == PUBLISHED.get(name, entry.parameters)
    assert "arXiv" in entry.paper or "2019" in entry.paper


def small(name: str, **options: Any) -> nn.Module:
    return registry.create(name, seed=0, **(dict(registry.get(name).small) | options))


def example(name: str) -> list[Array]:
    entry = registry.get(name)
    source = np.random.default_rng(0)
    if entry.dtype == "int64":
        return [source.integers(0, 20, (4, *s)) for s in entry.small_inputs]
    return [source.standard_normal((4, *s)).astype(np.float32) for s in entry.small_inputs]


@pytest.mark.parametrize("name", NAMES)
def test_training_lowers_the_loss_and_compiled_is_eager(name: str) -> None:
    model, inputs = small(name), example(name)
    eager = model(*inputs).numpy()
    np.testing.assert_allclose(tw.compile(model)(*inputs).numpy(), eager, rtol=1e-4, atol=1e-5)
    source = np.random.default_rng(1)
    target = source.integers(0, eager.shape[-1], eager.shape[:-1])
    optimizer = tw.optim.Adam(model, 0.01)

    @tw.compile
    def step(*xs: Any) -> Any:
        loss, grads = tw.value_and_grad(
            lambda m: nn.losses.cross_entropy(m(*xs), target)
        )(model)  # fmt: skip
        optimizer.update(grads)
        return loss

    losses = [step(*inputs).item() for _ in range(12)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_published_names_go_both_ways(name: str) -> None:
    model = small(name)
    state = nn.to_torch(model)
    other = small(name).reset_parameters(5)
    result = nn.from_torch(other, state)
    assert result == ([], [])
    for path, value in model.parameters().items():
        np.testing.assert_array_equal(other.parameters()[path].numpy(), value.numpy(), path)
    prefix = {"gpt2": "transformer.", "bert": "bert."}.get(name)
    if prefix:
        nn.from_torch(small(name), {prefix + k: v for k, v in state.items()})


def test_names_are_the_published_ones() -> None:
    gpt, bert, vit = (set(nn.to_torch(small(n))) for n in ("gpt2", "bert", "vit_base"))
    assert {"wte.weight", "wpe.weight", "h.1.ln_1.weight", "h.0.attn.c_attn.bias",
            "h.0.attn.c_proj.weight", "h.0.ln_2.bias", "h.1.mlp.c_fc.weight",
            "h.1.mlp.c_proj.bias", "ln_f.weight"} <= gpt  # fmt: skip
    layer = "encoder.layer.1."
    assert {"embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight",
            "embeddings.token_type_embeddings.weight", "embeddings.LayerNorm.bias",
            f"{layer}attention.self.query.weight", f"{layer}attention.self.value.bias",
            f"{layer}attention.output.dense.weight", f"{layer}attention.output.LayerNorm.weight",
            f"{layer}intermediate.dense.bias", f"{layer}output.dense.weight",
            f"{layer}output.LayerNorm.bias", "pooler.dense.weight"} <= bert  # fmt: skip
    layer = "encoder.layers.encoder_layer_1."
    assert {"class_token", "conv_proj.weight", "encoder.pos_embedding", f"{layer}ln_1.weight",
            f"{layer}self_attention.in_proj_weight", f"{layer}self_attention.out_proj.bias",
            f"{layer}ln_2.bias", f"{layer}mlp.0.weight", f"{layer}mlp.3.bias",
            "encoder.ln.weight", "heads.head.bias"} <= vit  # fmt: skip
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma"): v
           for k, v in nn.to_torch(small("bert")).items()}  # fmt: skip
    assert nn.from_torch(small("bert"), old) == ([], [])


# --- generation --------------------------------------------------------------------------------


def gpt(**options: Any) -> GPT2:
    model = GPT2(30, 160, 2, 2, 16, 0.3, **options).reset_parameters(2)
    for parameter in model.parameters().values():  # larger, so that tokens differ
        parameter.assign(parameter.numpy() * 4)
    return model


@pytest.mark.parametrize("kv_heads", [None, 1])
@pytest.mark.parametrize("length", [1, 7, 75])
def test_greedy_generation_is_full_recomputation(kv_heads: int | None, length: int) -> None:
    model = gpt(kv_heads=kv_heads)
    prompt = np.random.default_rng(0).integers(0, 30, (2, length))
    text = model.generate(prompt, 9, temperature=0)
    assert model.training
    model.eval()
    wanted = prompt
    for _ in range(9):
        last = model(wanted).numpy()[:, -1].argmax(-1)
        wanted = np.concatenate([wanted, last[:, None]], 1)
    np.testing.assert_array_equal(text, wanted)
    np.testing.assert_array_equal(model.generate(prompt, 9, temperature=0), wanted)
    np.testing.assert_array_equal(model.generate(prompt[0], 9, temperature=0), wanted[0])


def test_generation_is_compiled_once_for_prompts_of_any_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, captured = gpt(), []
    hidden = GPT2.hidden

    def counted(self: GPT2, ids: Any, *args: Any, **kwargs: Any) -> Any:
        captured.append(ids.shape)
        return hidden(self, ids, *args, **kwargs)

    monkeypatch.setattr(GPT2, "hidden", counted)
    for length in range(1, 40):
        model.generate(np.zeros(length, np.int64), 3, temperature=0)
    assert sorted(captured) == [(1, 1), (1, 8)]
    captured.clear()
    first = model.generate([1, 2], 5, 1.0, seed=3)
    model.wte.weight.assign(model.wte.weight.numpy()[::-1].copy())
    assert (model.generate([1, 2], 5, 1.0, seed=3) != first).any()  # sees new weights
    assert not captured


def test_the_seed_decides_the_text() -> None:
    model = gpt()
    texts = [model.generate([1, 2, 3], 20, 1.5, seed=s).tolist() for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    twin = copy.deepcopy(model)
    assert twin.generate([1, 2, 3], 20, 1.5, seed=1).tolist() == texts[0]
    assert model.generate([1, 2, 3], 0).tolist() == [1, 2, 3]


def test_what_generation_refuses() -> None:
    model = gpt()
    for options, message in (
        ({"temperature": -1}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"), ({"new_tokens": -1}, "new_tokens"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            model.generate([1], **({"new_tokens": 2} | options))
    with pytest.raises(ShapeError, match="context of 160"):
        model.generate([1] * 100, 61)
    with pytest.raises(ShapeError, match="at least one token"):
        model.generate([], 2)
    with pytest.raises(DTypeError, match="tokenizer"):
        model.generate([0.5], 2)
    with pytest.raises(ShapeError, match="context holds 160"):
        model(np.zeros((1, 161), np.int64))
    with pytest.raises(ShapeError, match="batch axis"):
        model(np.zeros(4, np.int64))
    with pytest.raises(DataError, match="not a row"):
        model(np.array([[30]]))
    with pytest.raises(IndexError):
        model.generate([30], 1)


def shares(**options: Any) -> Array:
    logits = np.log(np.array([[0.1, 0.5, 0.15, 0.25]]))
    draws = (np.arange(4000) + 0.5) / 4000
    found = generation.sample(np.repeat(logits, 4000, 0), draws, **options)
    return np.bincount(found, minlength=4) / 4000


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [0.1, 0.5, 0.15, 0.25]),
        ({"temperature": 0.5}, np.array([0.01, 0.25, 0.0225, 0.0625]) / 0.345),
        ({"temperature": 0}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 9}, [0.1, 0.5, 0.15, 0.25]),
        ({"top_p": 0.5}, [0, 1, 0, 0]),
        ({"top_p": 0.6}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_p": 1.0}, [0.1, 0.5, 0.15, 0.25]),
        ({"top_k": 3, "top_p": 0.8}, [0, 2 / 3, 0, 1 / 3]),
    ],
)
def test_sampling_has_the_probabilities(options: dict[str, Any], wanted: Any) -> None:
    np.testing.assert_allclose(shares(**options), wanted, atol=2e-3)


# --- the models --------------------------------------------------------------------------------


def test_gpt_is_causal_and_bert_is_not() -> None:
    ids = np.arange(12)[None] % 20
    other = ids.copy()
    other[0, -1] = 19
    gpt2, bert = small("gpt2").eval(), small("bert").eval()
    before, after = gpt2(ids).numpy(), gpt2(other).numpy()
    np.testing.assert_allclose(before[:, :-1], after[:, :-1], rtol=1e-5, atol=1e-6)
    assert not np.allclose(bert(ids).numpy()[:, 0], bert(other).numpy()[:, 0])


def test_bert_padding_changes_nothing() -> None:
    model = small("bert").eval()
    assert isinstance(model, BERT)
    ids = np.array([[5, 6, 7, 8], [9, 10, 0, 0]])
    alone = model(ids[1:, :2]).numpy()
    for options in ({"lengths": [4, 2]}, {"mask": (ids > 0).astype(np.int64)}):
        hidden = model(ids, **options).numpy()
        np.testing.assert_allclose(hidden[1:, :2], alone, rtol=1e-5, atol=1e-5)
    mean = model.embed(ids, lengths=[4, 2]).numpy()
    np.testing.assert_allclose(mean[1], alone[0].mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        model.embed(ids[1:, :2]).numpy()[0], alone[0].mean(0), rtol=1e-5, atol=1e-5
    )
    first = model.embed(ids, lengths=[4, 2], pooling="first").numpy()
    np.testing.assert_allclose(first[1], alone[0, 0], rtol=1e-5, atol=1e-5)
    assert model.embed(ids, pooling="pooler").shape == (2, 16)
    kinds = np.array([[0, 0, 1, 1]] * 2)
    assert not np.allclose(model(ids, kinds).numpy(), model(ids).numpy())
    np.testing.assert_array_equal(model(ids, 0 * kinds).numpy(), model(ids).numpy())
    with pytest.raises(ArgumentError, match="pooling"):
        model.embed(ids, pooling="max")
    with pytest.raises(ShapeError, match="segments of shape"):
        model(ids, kinds[:1])
    with pytest.raises(ShapeError, match="table of 12"):
        model(np.zeros((1, 13), np.int64))
    with pytest.raises(ArgumentError, match="no pooler"):
        BERTClassifier(BERT(20, 16, 1, 2, 16, pooler=False))(ids)


def test_masked_model_shares_its_table() -> None:
    model = small("bert_masked_lm")
    assert isinstance(model, BERTMaskedLM)
    assert not [p for p in model.parameters() if p.startswith("bert.dense")]
    grads = tw.grad(lambda m: m(np.array([[1, 2]])).sum())(model)
    assert grads["bert.words.weight"].numpy()[3:].any()  # through the logits


def test_vit_refuses_other_images() -> None:
    model = small("vit_base")
    assert isinstance(model, ViT)
    assert model.features(np.zeros((2, 8, 8, 3), np.float32)).shape == (2, 16)
    with pytest.raises(ShapeError, match="channels-first"):
        model(np.zeros((2, 3, 8, 8), np.float32))


def test_translation_is_greedy_and_ends() -> None:
    model = Transformer(12, 16, 2, 2, 32, 0.1).reset_parameters(1)
    source = np.array([[3, 4, 5, 6], [7, 8, 9, 9]])
    text = model.translate(source, begin=1, end=2, longest=6, lengths=[4, 3])
    model.eval()
    target = np.full((2, 1), 1)
    for _ in range(text.shape[1]):
        logits = model(source, target, source_lengths=[4, 3]).numpy()[:, -1]
        chosen = np.where((target[:, 1:] == 2).any(1), 2, logits.argmax(-1))
        target = np.concatenate([target, chosen[:, None]], 1)
    np.testing.assert_array_equal(text, target[:, 1:])
    end = text[0, 0]  # the first target is then over at once, and the second one goes on
    assert (text[0] != end).any()
    assert (text[1] != end).all()
    ended = model.translate(source, begin=1, end=end, longest=6, lengths=np.array([4, 3]))
    np.testing.assert_array_equal(ended, [[end] * 6, text[1]])
    one = model.translate(source[0], begin=1, end=2, longest=6)
    np.testing.assert_array_equal(one, text[0][: len(one)])
    with pytest.raises(ShapeError, match="got a source"):
        model(source[0], target)


def test_transformer_learns_to_copy() -> None:
    model = Transformer(8, 32, 1, 2, 64, 0.0).reset_parameters(0)
    source = np.random.default_rng(0).integers(3, 8, (64, 3))
    target = np.concatenate([np.full((64, 1), 1), source], 1)
    wanted = np.concatenate([source, np.full((64, 1), 2)], 1)
    optimizer = tw.optim.Adam(model, 0.003)

    @tw.compile
    def step(s: Any, t: Any, w: Any) -> Any:
        loss, grads = tw.value_and_grad(
            lambda m: nn.losses.cross_entropy(m(s, t), w)
        )(model)  # fmt: skip
        optimizer.update(grads)
        return loss

    for _ in range(200):
        loss = step(source, target, wanted).item()
    assert loss < 0.1
    text = model.translate(source[:8], begin=1, end=2, longest=5)
    np.testing.assert_array_equal(text, wanted[:8])


BUILD: list[Callable[[], nn.Module]] = [
    lambda: GPT2(10, 8, 1, 2, 8), lambda: BERT(10, 8, 1, 2, 8, 8), lambda: ViT(8, 4, 8, 1, 2),
    lambda: Transformer(10, 8, 1, 2, 8), lambda: BERTMaskedLM(BERT(10, 8, 1, 2, 8, 8)),
]  # fmt: skip


@pytest.mark.parametrize("make", BUILD)
def test_a_model_file_holds_the_architecture(make: Callable[[], nn.Module]) -> None:
    from thalweg.formats.architecture import build, describe

    model = make()
    again = build(describe(model), (GPT2, BERT, ViT, Transformer, BERTMaskedLM))
    assert repr(again) == repr(model)
    again.load_state_dict(model.state_dict())
