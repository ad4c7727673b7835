"""Attention and Transformer layers against PyTorch's: outputs and all gradients, same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg as tw
from thalweg import nn
from thalweg.models.bert import BERT, BERTMaskedLM
from thalweg.models.gpt import GPT2
from thalweg.models.vit import ViT

torch = pytest.importorskip("torch")
F = torch.nn.functional
Array = np.ndarray[Any, Any]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")


def heads_first(x: Array) -> Any:
    return torch.tensor(x).transpose(1, 2).detach().requires_grad_(True)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 2),
    st.integers(1, 9), st.sampled_from(["none", "causal", "bool", "float"]), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
def test_scaled_dot_product_attention(
    batch: int, queries: int, keys: int, groups: int, kv: int, size: int, kind: str,
    compiled: bool, seed: int,
) -> None:  # fmt: skip
    source = np.random.default_rng(seed)
    keys = queries if kind == "causal" else keys  # PyTorch aligns other sizes at the start
    heads = groups * kv
    q = source.standard_normal((batch, queries, heads, size))
    k, v = source.standard_normal((2, batch, keys, kv, size))
    mask: Array | None = None
    if kind == "bool":
        mask = source.random((batch, 1, queries, keys)) > 0.5
        mask[..., 0] = True  # PyTorch's rows without keys are NaN
    elif kind == "float":
        mask = source.standard_normal((heads, queries, keys))
    theirs = [heads_first(a) for a in (q, k, v)]
    wanted = F.scaled_dot_product_attention(
        *theirs, attn_mask=None if mask is None else torch.tensor(mask),
        is_causal=kind == "causal", enable_gqa=groups > 1,
    )  # fmt: skip
    weights = source.standard_normal(q.shape)
    (wanted.transpose(1, 2) * torch.tensor(weights)).sum().backward()

    def loss(*xs: Any) -> Any:
        y = tw.scaled_dot_product_attention(*xs, mask, kind == "causal")
        return (y * weights).sum(), y

    gradient = tw.value_and_grad(loss, (0, 1, 2), has_aux=True)
    (_, y), grads = (tw.compile(gradient) if compiled else gradient)(q, k, v)
    np.testing.assert_allclose(y.numpy(), wanted.transpose(1, 2).detach().numpy(), atol=1e-11)
    for ours, their in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(ours.numpy(), their.grad.transpose(1, 2).numpy(), atol=1e-11)


def shared(ours: nn.Module, theirs: Any) -> None:
    """Give both layers the same random parameters, through the interchange of state dicts."""
    source = np.random.default_rng(0)
    for p in ours.parameters().values():
        p.assign(0.3 * source.standard_normal(p.shape))
    state = {k: torch.tensor(v) for k, v in nn.to_torch(ours).items()}
    theirs.load_state_dict(state)


def compare(ours: nn.Module, theirs: Any, inputs: list[Array], call: Any, their_call: Any) -> None:
    """Compare output, gradients of inputs and gradients of parameters, eager and compiled."""
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    wanted = their_call(theirs, *tensors)
    weights = np.random.default_rng(1).standard_normal(tuple(wanted.shape))
    (wanted * torch.tensor(weights)).sum().backward()

    def loss(model: Any, *xs: Any) -> Any:
        y = call(model, *xs)
        return (y * weights).sum(), y

    gradient = tw.value_and_grad(loss, tuple(range(len(inputs) + 1)), has_aux=True)
    for run in (gradient, tw.compile(gradient)):
        (_, y), grads = run(ours, *inputs)
        np.testing.assert_allclose(y.numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-9)
        for found, tensor in zip(grads[1:], tensors, strict=True):
            np.testing.assert_allclose(found.numpy(), tensor.grad.numpy(), rtol=1e-8, atol=1e-9)
        holder = ours.copy()
        for path, parameter in holder.parameters().items():
            parameter.assign(grads[0][path])
        found_state = nn.to_torch(holder)
        for name, parameter in theirs.named_parameters():
            np.testing.assert_allclose(
                found_state[name], parameter.grad.numpy(), rtol=1e-8, atol=1e-9, err_msg=name
            )
    again = ours.copy().reset_parameters(9)
    nn.from_torch(again, {k: v.numpy() for k, v in theirs.state_dict().items()})
    for path, value in ours.state_dict().items():
        if not path.endswith(("key", "count")):
            np.testing.assert_array_equal(again.state_dict()[path], value)


X, M = np.random.default_rng(3).standard_normal((2, 3, 5, 8))
LENGTHS = np.array([5, 2, 3])
PADDING = torch.tensor(np.arange(5) >= LENGTHS[:, None])  # PyTorch marks what does not count
LATER = torch.tensor(np.triu(np.ones((5, 5), bool), 1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["self", "causal", "padding", "cross", "three"])
def test_multi_head_attention(bias: bool, kind: str) -> None:
    ours = nn.MultiHeadAttention(8, 4, bias=bias, causal=kind == "causal", dtype="float64")
    theirs = torch.nn.MultiheadAttention(8, 4, bias=bias, batch_first=True, dtype=torch.float64)
    shared(ours, theirs)
    inputs = [X] if kind in ("self", "causal", "padding") else [X, M] if kind == "cross" else [
        X, M, M[::-1].copy()]  # fmt: skip
    lengths = LENGTHS if kind == "padding" else None
    options = {"key_padding_mask": PADDING} if kind == "padding" else {}
    options |= {"attn_mask": LATER} if kind == "causal" else {}

    def call(model: Any, *xs: Any) -> Any:
        return model(*xs, lengths=lengths)

    def their_call(model: Any, *xs: Any) -> Any:
        triple = xs * 3 if len(xs) == 1 else (*xs, xs[-1])[:3]
        return model(*triple, need_weights=False, **options)[0]

    compare(ours, theirs, inputs, call, their_call)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("layers", [1, 2])
def test_transformer_encoder(norm_first: bool, activation: str, layers: int) -> None:
    ours: Any = nn.TransformerEncoderLayer(8, 2, 12, 0.0, activation, norm_first, 1e-3,
                                           dtype="float64")  # fmt: skip
    theirs: Any = torch.nn.TransformerEncoderLayer(
        8, 2, 12, 0.0, activation, 1e-3, True, norm_first, dtype=torch.float64
    )
    if layers > 1:
        ours = nn.TransformerEncoder(ours, layers, nn.LayerNorm(8, dtype="float64"))
        norm = torch.nn.LayerNorm(8, dtype=torch.float64)
        theirs = torch.nn.TransformerEncoder(theirs, layers, norm, enable_nested_tensor=False)
    shared(ours, theirs)
    compare(
        ours, theirs, [X], lambda model, x: model(x, lengths=LENGTHS),
        lambda model, x: model(x, src_key_padding_mask=PADDING),
    )  # fmt: skip


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_transformer_decoder(norm_first: bool, layers: int) -> None:
    ours: Any = nn.TransformerDecoderLayer(8, 2, 12, 0.0, norm_first=norm_first, dtype="float64")
    theirs: Any = torch.nn.TransformerDecoderLayer(
        8, 2, 12, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    if layers > 1:
        ours = nn.TransformerDecoder(ours, layers)
        theirs = torch.nn.TransformerDecoder(theirs, layers)
    shared(ours, theirs)
    compare(
        ours, theirs, [X, M], lambda model, x, m: model(x, m, memory_lengths=LENGTHS),
        lambda model, x, m: model(x, m, tgt_mask=LATER, memory_key_padding_mask=PADDING),
    )  # fmt: skip


def test_patch_embedding_is_a_convolution() -> None:
    ours = nn.PatchEmbedding((6, 4), (3, 2), 2, 5, dtype="float64")
    window = torch.nn.Conv2d(2, 5, (3, 2), (3, 2), dtype=torch.float64)
    theirs = torch.nn.ModuleDict({"proj": window})
    shared(ours, theirs)
    x = np.random.default_rng(0).standard_normal((3, 6, 4, 2))
    compare(
        ours, theirs, [x], lambda model, x: model(x),
        lambda model, x: model["proj"](x.movedim(-1, 1)).flatten(2).transpose(1, 2),
    )  # fmt: skip


def test_grouped_query_layer_is_pytorchs_attention() -> None:
    """PyTorch has no layer with grouped queries: its pieces are put together."""
    ours = nn.MultiHeadAttention(8, 4, 2, causal=True, dtype="float64")
    state = {k: torch.tensor(v) for k, v in nn.to_torch(ours).items()}
    packed = F.linear(torch.tensor(X), state["in_proj_weight"], state["in_proj_bias"])
    parts = [p.unflatten(-1, (-1, 2)).transpose(1, 2) for p in packed.split([8, 4, 4], -1)]
    y = F.scaled_dot_product_attention(*parts, is_causal=True, enable_gqa=True)
    joined = y.transpose(1, 2).flatten(2)
    wanted = F.linear(joined, state["out_proj.weight"], state["out_proj.bias"])
    np.testing.assert_allclose(ours(X).numpy(), wanted.numpy(), atol=1e-12)


# --- models, from published names --------------------------------------------------------------


def state_of(model: nn.Module) -> dict[str, Any]:
    source = np.random.default_rng(5)
    for p in model.parameters().values():
        p.assign(0.2 * source.standard_normal(p.shape))
    model.astype("float64").eval()
    return {k: torch.tensor(v) for k, v in nn.to_torch(model).items()}


def norm(s: dict[str, Any], name: str, x: Any, eps: float) -> Any:
    return F.layer_norm(x, x.shape[-1:], s[f"{name}.weight"], s[f"{name}.bias"], eps)


def heads_of(q: Any, k: Any, v: Any, heads: int, causal: bool = False) -> Any:
    parts = [p.unflatten(-1, (heads, -1)).transpose(1, 2) for p in (q, k, v)]
    y = F.scaled_dot_product_attention(*parts, is_causal=causal)
    return y.transpose(1, 2).flatten(2)


def test_gpt2_from_published_names() -> None:
    model = GPT2(20, 9, 2, 2, 8, 0.0)
    s = state_of(model)
    ids = np.random.default_rng(0).integers(0, 20, (3, 7))

    def conv1d(x: Any, name: str) -> Any:
        return x @ s[f"{name}.weight"] + s[f"{name}.bias"]

    x = s["wte.weight"][ids] + s["wpe.weight"][:7]
    for i in range(2):
        packed = conv1d(norm(s, f"h.{i}.ln_1", x, 1e-5), f"h.{i}.attn.c_attn")
        x = x + conv1d(heads_of(*packed.split(8, -1), 2, True), f"h.{i}.attn.c_proj")
        hidden = conv1d(norm(s, f"h.{i}.ln_2", x, 1e-5), f"h.{i}.mlp.c_fc")
        x = x + conv1d(F.gelu(hidden, approximate="tanh"), f"h.{i}.mlp.c_proj")
    wanted = norm(s, "ln_f", x, 1e-5) @ s["wte.weight"].T
    np.testing.assert_allclose(model(ids).numpy(), wanted.numpy(), rtol=1e-9, atol=1e-9)


def test_bert_from_published_names() -> None:
    model = BERTMaskedLM(BERT(20, 8, 2, 2, 12, 9))
    s = state_of(model)
    source = np.random.default_rng(0)
    ids, kinds = source.integers(0, 20, (3, 7)), source.integers(0, 2, (3, 7))

    def dense(x: Any, name: str) -> Any:
        return F.linear(x, s[f"{name}.weight"], s[f"{name}.bias"])

    e = "bert.embeddings."
    x = (s[f"{e}word_embeddings.weight"][ids] + s[f"{e}position_embeddings.weight"][:7]
         + s[f"{e}token_type_embeddings.weight"][kinds])  # fmt: skip
    x = norm(s, f"{e}LayerNorm", x, 1e-12)
    for i in range(2):
        at = f"bert.encoder.layer.{i}."
        parts = [dense(x, f"{at}attention.self.{n}") for n in ("query", "key", "value")]
        y = dense(heads_of(*parts, 2), f"{at}attention.output.dense")
        x = norm(s, f"{at}attention.output.LayerNorm", x + y, 1e-12)
        y = dense(F.gelu(dense(x, f"{at}intermediate.dense")), f"{at}output.dense")
        x = norm(s, f"{at}output.LayerNorm", x + y, 1e-12)
    pooled = torch.tanh(dense(x[:, 0], "bert.pooler.dense"))
    head = "cls.predictions."
    y = norm(s, f"{head}transform.LayerNorm", F.gelu(dense(x, f"{head}transform.dense")), 1e-12)
    wanted = y @ s[f"{e}word_embeddings.weight"].T + s[f"{head}bias"]
    np.testing.assert_allclose(model(ids, kinds).numpy(), wanted.numpy(), rtol=1e-8, atol=1e-8)
    hidden = model.bert(ids, kinds)
    np.testing.assert_allclose(model.bert.pool(hidden).numpy(), pooled.numpy(), atol=1e-8)


def test_vit_from_published_names() -> None:
    model = ViT(8, 4, 8, 2, 2, classes=3)
    s = state_of(model)
    images = np.random.default_rng(0).standard_normal((3, 8, 8, 3))
    x = F.conv2d(torch.tensor(images).movedim(-1, 1), s["conv_proj.weight"], s["conv_proj.bias"], 4)
    x = torch.cat([s["class_token"].expand(3, -1, -1), x.flatten(2).transpose(1, 2)], 1)
    x = x + s["encoder.pos_embedding"]
    for i in range(2):
        at = f"encoder.layers.encoder_layer_{i}."
        z = norm(s, f"{at}ln_1", x, 1e-6)
        packed = F.linear(z, s[f"{at}self_attention.in_proj_weight"],
                          s[f"{at}self_attention.in_proj_bias"])  # fmt: skip
        z = heads_of(*packed.split(8, -1), 2)
        x = x + F.linear(z, s[f"{at}self_attention.out_proj.weight"],
                         s[f"{at}self_attention.out_proj.bias"])  # fmt: skip
        z = F.linear(norm(s, f"{at}ln_2", x, 1e-6), s[f"{at}mlp.0.weight"], s[f"{at}mlp.0.bias"])
        x = x + F.linear(F.gelu(z), s[f"{at}mlp.3.weight"], s[f"{at}mlp.3.bias"])
    y = norm(s, "encoder.ln", x, 1e-6)[:, 0]
    wanted = F.linear(y, s["heads.head.weight"], s["heads.head.bias"])
    np.testing.assert_allclose(model(images).numpy(), wanted.numpy(), rtol=1e-9, atol=1e-9)
