"""Attention, positions and Transformer layers against loops in NumPy, and the laws they obey."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DTypeError, ShapeError

Array = np.ndarray[Any, Any]
attend = tw.scaled_dot_product_attention


def oracle(
    q: Array, k: Array, v: Array, mask: Array | None = None, causal: bool = False,
    scale: float | None = None,
) -> Array:  # fmt: skip
    """Return attention row by row, in float64."""
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    batch, queries, heads, size = q.shape
    keys, groups = k.shape[1], heads // k.shape[2]
    if mask is not None:
        mask = np.broadcast_to(mask, (batch, heads, queries, keys))
    scale = 1 / math.sqrt(size) if scale is None else scale
    y = np.zeros((batch, queries, heads, v.shape[3]))
    for b, h, i in np.ndindex(batch, heads, queries):
        scores = k[b, :, h // groups] @ q[b, i, h] * scale
        if causal:
            scores = np.where(np.arange(keys) > i + keys - queries, -np.inf, scores)
        if mask is not None:
            row = mask[b, h, i]
            scores = np.where(row, scores, -np.inf) if row.dtype == np.bool_ else scores + row
        if np.isneginf(scores).all():
            continue
        weights = np.exp(scores - scores.max())
        y[b, i, h] = weights / weights.sum() @ v[b, :, h // groups]
    return y


def drawn(
    seed: int, batch: int, queries: int, keys: int, heads: int, kv: int, size: int, out: int
) -> list[Array]:
    source = np.random.default_rng(seed)
    shapes = (batch, queries, heads, size), (batch, keys, kv, size), (batch, keys, kv, out)
    return [source.standard_normal(s) for s in shapes]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.integers(1, 2),
    st.integers(1, 5), st.integers(1, 4), st.booleans(),
    st.sampled_from([None, "bool", "float", "lengths", "heads"]), st.integers(0, 99),
)  # fmt: skip
def test_attention_is_the_loop(
    batch: int, queries: int, keys: int, groups: int, kv: int, size: int, out: int, causal: bool,
    kind: str | None, seed: int,
) -> None:  # fmt: skip
    heads = groups * kv
    q, k, v = drawn(seed, batch, queries, keys, heads, kv, size, out)
    source = np.random.default_rng(seed + 1)
    mask: Array | None = None
    if kind == "bool":
        mask = source.random((queries, keys)) > 0.5
    elif kind == "float":
        mask = source.standard_normal((batch, 1, queries, keys))
        mask[source.random(mask.shape) > 0.6] = -np.inf
    elif kind == "lengths":
        mask = np.arange(keys) < source.integers(0, keys + 1, (batch, 1, 1, 1))
    elif kind == "heads":
        mask = source.random((1, heads, queries, keys)) > 0.3
    wanted = oracle(q, k, v, mask, causal)
    np.testing.assert_allclose(attend(q, k, v, mask, causal).numpy(), wanted, atol=1e-12)
    halves = [a.astype(np.float32) for a in (q, k, v)]
    mask32 = mask if mask is None or mask.dtype == np.bool_ else mask.astype(np.float32)
    np.testing.assert_allclose(
        attend(*halves, mask32, causal).numpy(), wanted, rtol=2e-5, atol=2e-5
    )


MASKS: dict[str, tuple[Array | None, bool]] = {
    "none": (None, False),
    "causal": (None, True),
    "padding": (np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)[:, None, None], True),
    "arbitrary": (np.random.default_rng(8).random((2, 4, 3, 5)) > 0.4, False),
    "all masked": (np.zeros((2, 1, 1, 5), bool), False),
    "one row masked": (np.arange(3)[:, None] != np.zeros(5), False),
    "minus infinity": (np.where(np.arange(3)[:, None] == 1, -np.inf, np.zeros(5)), False),
}


@pytest.mark.parametrize("name", MASKS)
def test_gradients_are_finite_differences_and_compiled_is_eager(name: str) -> None:
    mask, causal = MASKS[name]
    arrays = drawn(3, 2, 3, 5, 4, 2, 3, 2)
    weights = np.random.default_rng(1).standard_normal((2, 3, 4, 2))

    def loss(*xs: Any) -> Any:
        return (attend(*xs, mask, causal) * weights).sum()

    gradient = tw.grad(loss, (0, 1, 2))
    found = gradient(*arrays)
    for i, array in enumerate(arrays):
        wanted = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = array.copy()
                moved[place] += step
                given_ = [moved if j == i else a for j, a in enumerate(arrays)]
                ends.append((oracle(*given_, mask, causal) * weights).sum())
            wanted[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(found[i].numpy(), wanted, rtol=1e-6, atol=1e-7)
    singles = [a.astype(np.float32) for a in arrays]
    for got, wanted in zip(tw.compile(gradient)(*singles), found, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_gradient_of_an_additive_mask() -> None:
    q, k, v = drawn(4, 1, 2, 3, 2, 1, 2, 2)
    bias = np.random.default_rng(0).standard_normal((2, 2, 3))
    gradient = tw.grad(lambda b: (attend(q, k, v, b) ** 2).sum())(bias).numpy()
    for place in np.ndindex(bias.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = bias.copy()
            moved[place] += step
            ends.append((oracle(q, k, v, moved[None]) ** 2).sum())
        wanted = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient[place], wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_row_without_keys_is_zero(compiled: bool) -> None:
    arrays = [a.astype(np.float32) for a in drawn(5, 2, 3, 4, 2, 2, 8, 8)]
    mask = np.ones((2, 1, 3, 4), bool)
    mask[1, 0, 1] = False

    def loss(*xs: Any) -> Any:
        return (attend(*xs, mask) ** 2).sum()

    run = tw.compile(attend) if compiled else attend
    gradient = tw.grad(loss, (0, 1, 2))
    y = run(*arrays, mask).numpy()
    assert not y[1, 1].any()
    assert y[0].all()
    grads = [g.numpy() for g in (tw.compile(gradient) if compiled else gradient)(*arrays)]
    assert all(np.isfinite(g).all() for g in grads)
    assert not grads[0][1, 1].any()
    # More queries than keys: the first ones stand before all keys.
    more = run(arrays[0], arrays[1][:, :2], arrays[2][:, :2], None, True).numpy()
    assert not more[:, 0].any()
    assert more[:, 1:].all()


def test_large_scores_do_not_overflow() -> None:
    q, k, v = drawn(6, 1, 2, 3, 1, 1, 4, 4)
    y = attend((q * 1e4).astype(np.float32), k.astype(np.float32), v.astype(np.float32)).numpy()
    np.testing.assert_allclose(y, oracle(q * 1e4, k, v), rtol=1e-3, atol=1e-3)


def test_dropout_of_weights() -> None:
    q, k, v = drawn(7, 2, 40, 50, 2, 2, 4, 50)
    v[:] = np.eye(50)[None, :, None]  # the result is the weights themselves
    key = tw.random.key(1)
    plain = attend(q, k, v).numpy()
    y = attend(q, k, v, dropout=0.3, dropout_key=key).numpy()
    dropped = y == 0
    assert abs(dropped.mean() - 0.3) < 0.02
    np.testing.assert_allclose(y[~dropped], (plain / 0.7)[~dropped])
    again = tw.compile(lambda q, k, v: attend(q, k, v, dropout=0.3, dropout_key=key))(q, k, v)
    np.testing.assert_allclose(again.numpy(), y)
    other = attend(q, k, v, dropout=0.3, dropout_key=key, dropout_stream=1).numpy()
    assert (other == 0).tolist() != dropped.tolist()
    assert not attend(q, k, v, dropout=1.0, dropout_key=key).numpy().any()
    with pytest.raises(ArgumentError, match="dropout_key"):
        attend(q, k, v, dropout=0.3)
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        attend(q, k, v, dropout=1.3, dropout_key=key)


def test_what_attention_refuses() -> None:
    q, k, v = drawn(7, 2, 3, 5, 4, 2, 4, 4)
    for bad, message in (
        ((q[0], k, v), "four axes"),
        ((q, k[:1], v[:1]), "one batch"),
        ((q, k[:, :4], v), "as many keys as values"),
        ((q, k[..., :3], v), "head_dim"),
        ((q[:, :, :3], k, v), r"swapaxes\(1, 2\)"),
        ((q, k[:, :0], v[:, :0]), "at least one key"),
        ((q, k, v, np.ones((2, 5), bool)), r"= \(2, 4, 3, 5\)"),
        ((q, k, v, np.ones((1, 2, 4, 3, 5), bool)), "mask of shape"),
        ((q, k, v, np.ones((2, 3, 3, 5), bool)), "mask of shape"),
    ):
        with pytest.raises(ShapeError, match=message) as caught:
            attend(*bad)
        assert "test_attention.py" in str(caught.value)
    with pytest.raises(DTypeError, match="bool"):
        attend(q, k, v, np.ones((3, 5), np.int64))
    with pytest.raises(DTypeError, match="floating"):
        attend(*[np.ones((1, 2, 1, 2), np.int64)] * 3)


# --- positions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("features", [None, 4])
def test_rotary_is_the_rotation(interleaved: bool, features: int | None) -> None:
    x = np.random.default_rng(0).standard_normal((2, 7, 3, 6))
    layer = nn.RotaryEmbedding(6, 100.0, interleaved, features)
    size = features or 6
    wanted = x.copy()
    for p in range(7):
        for i in range(size // 2):
            a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + size // 2)
            angle = (p + 3) * 100.0 ** (-2 * i / size)
            z = (x[:, p, :, a] + 1j * x[:, p, :, b]) * np.exp(1j * angle)
            wanted[:, p, :, a], wanted[:, p, :, b] = z.real, z.imag
    np.testing.assert_allclose(layer(x, 3).numpy(), wanted, atol=1e-12)
    where = np.stack([np.arange(3, 10)] * 2)
    np.testing.assert_allclose(layer(x, where).numpy(), wanted, atol=1e-12)
    compiled = tw.compile(lambda x, p: layer(x, p))
    np.testing.assert_allclose(compiled(x.astype(np.float32), tw.tensor(3)), wanted, atol=1e-5)


def test_rotary_products_depend_on_distance_only() -> None:
    q, k = np.random.default_rng(0).standard_normal((2, 1, 1, 1, 8))
    layer = nn.RotaryEmbedding(8)
    products = [float((layer(q, p + 5) * layer(k, p)).sum()) for p in (0, 11, 300)]
    np.testing.assert_allclose(products, products[0], rtol=1e-10)
    with pytest.raises(ArgumentError, match="pairs"):
        nn.RotaryEmbedding(5)
    with pytest.raises(ArgumentError, match="pairs"):
        nn.RotaryEmbedding(4, features=6)


@pytest.mark.parametrize("features", [6, 5])
def test_sinusoidal_positions(features: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, features))
    table = np.zeros((9, features))
    for p, i in np.ndindex(9, features):
        angle = p / 10_000 ** ((i - i % 2) / features)
        table[p, i] = math.cos(angle) if i % 2 else math.sin(angle)
    layer = nn.SinusoidalPositions(features)
    np.testing.assert_allclose(layer(x).numpy(), x + table[:4], atol=1e-12)
    np.testing.assert_allclose(layer(x, 5).numpy(), x + table[5:9], atol=1e-12)
    y = tw.compile(lambda x, p: layer(x, p))(x, tw.tensor(5))
    np.testing.assert_allclose(y.numpy(), x + table[5:9], atol=1e-12)


def test_learned_positions_end_with_the_table() -> None:
    layer = nn.LearnedPositions(6, 3).reset_parameters(0)
    x = np.zeros((2, 4, 3), np.float32)
    table = layer.weight.numpy()
    np.testing.assert_array_equal(layer(x, 2).numpy()[1], table[2:6])
    np.testing.assert_array_equal(layer(x, tw.tensor(1)).numpy()[0], table[1:5])
    np.testing.assert_array_equal(layer(x, np.array([5, 0, 1, 0])).numpy()[0], table[[5, 0, 1, 0]])
    for positions in (3, tw.tensor(3), np.array([0, 1, 2, 6]), np.array([0, 1, 2, -1])):
        with pytest.raises(ShapeError, match=r"table of 6 positions.*test_attention\.py"):
            layer(x, positions)
    with pytest.raises(ShapeError, match="position 6 is not"):
        tw.compile(lambda x: layer(x))(np.zeros((1, 7, 3), np.float32))
    with pytest.raises(ArgumentError, match="from 0"):
        layer(x, -1)
    with pytest.raises(ShapeError, match="sequence of 4"):
        layer(x, np.arange(3))
    with pytest.raises(DTypeError, match="whole numbers"):
        layer(x, np.ones(4, np.float32))
    run = tw.compile(lambda x, p: layer(x, p))
    np.testing.assert_array_equal(run(x, tw.tensor(2)).numpy()[0], table[2:6])
    with pytest.raises(IndexError):
        run(x, tw.tensor(3))


# --- layers ------------------------------------------------------------------------------------


def randomised(layer: nn.Module, seed: int = 0) -> nn.Module:
    source = np.random.default_rng(seed)
    for p in layer.parameters().values():
        p.assign(source.standard_normal(p.shape) * 0.5)
    return layer


@pytest.mark.parametrize("kv_heads", [None, 2, 1])
def test_multi_head_attention_is_its_formula(kv_heads: int | None) -> None:
    layer = nn.MultiHeadAttention(8, 4, kv_heads, dtype="float64")
    randomised(layer)
    kv = kv_heads or 4
    source = np.random.default_rng(1)
    x, m, w = (source.standard_normal((2, n, 8)) for n in (3, 5, 5))
    weight, bias = layer.in_proj_weight.numpy(), layer.in_proj_bias.numpy()
    ends = np.cumsum([8, kv * 2, kv * 2])

    def project(z: Array, i: int) -> Array:
        part = slice(ends[i - 1] if i else 0, ends[i])
        return (z @ weight[:, part] + bias[part]).reshape(*z.shape[:2], -1, 2)

    for key, value in ((x, x), (m, m), (m, w)):
        y = oracle(project(x, 0), project(key, 1), project(value, 2))
        wanted = y.reshape(2, 3, 8) @ layer.out_proj.weight.numpy() + layer.out_proj.bias.numpy()
        given_ = () if key is x else (key,) if value is key else (key, value)
        np.testing.assert_allclose(layer(x, *given_).numpy(), wanted, atol=1e-12)


def test_lengths_are_a_mask_and_padding_changes_nothing() -> None:
    layer = randomised(nn.MultiHeadAttention(8, 2))
    x = np.random.default_rng(0).standard_normal((3, 5, 8)).astype(np.float32)
    lengths = [5, 2, 0]
    y = layer(x, lengths=lengths).numpy()
    mask = np.arange(5) < np.array(lengths)[:, None]
    np.testing.assert_array_equal(layer(x, mask=mask[:, None, None]).numpy(), y)
    added = np.where(mask, 0, -np.inf).astype(np.float32)[:, None, None]
    np.testing.assert_allclose(layer(x, mask=added).numpy(), y, rtol=1e-6)
    both = layer(x, mask=np.zeros((5, 5), np.float32), lengths=np.array(lengths)).numpy()
    np.testing.assert_allclose(both, y, rtol=1e-6)
    np.testing.assert_allclose(layer(x[1:2, :2]).numpy(), y[1:2, :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y[2], np.broadcast_to(layer.out_proj.bias.numpy(), (5, 8)))
    run = tw.compile(lambda x, n: layer(x, lengths=n))
    for given_ in (lengths, np.array(lengths)):
        np.testing.assert_allclose(run(x, given_).numpy(), y, rtol=1e-5, atol=1e-5)
    for bad in ([5, 6, 0], [5, -1, 0]):
        with pytest.raises(ArgumentError, match="lengths from"):
            layer(x, lengths=bad)
    with pytest.raises(ShapeError, match="each of the 3 sequences"):
        layer(x, lengths=[5, 2])


def test_causal_ignores_what_comes_later() -> None:
    layer = randomised(nn.TransformerEncoderLayer(8, 2, 16, causal=True, rotary=True)).eval()
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype(np.float32)
    changed = x.copy()
    changed[:, 4:] += 1
    before, after = layer(x).numpy(), layer(changed).numpy()
    np.testing.assert_allclose(before[:, :4], after[:, :4], rtol=1e-5, atol=1e-5)
    assert not np.allclose(before[:, 4:], after[:, 4:])


def test_permuting_keys_permutes_nothing_and_queries_everything() -> None:
    layer = randomised(nn.MultiHeadAttention(8, 2, dtype="float64"))
    source = np.random.default_rng(0)
    x, m = source.standard_normal((2, 2, 6, 8))
    order = source.permutation(6)
    y = layer(x, m).numpy()
    np.testing.assert_allclose(layer(x, m[:, order]).numpy(), y, atol=1e-12)
    np.testing.assert_allclose(layer(x[:, order], m).numpy(), y[:, order], atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_cache_is_full_recomputation(causal: bool, rotary: bool, compiled: bool) -> None:
    layer = randomised(nn.MultiHeadAttention(8, 4, 2, causal=causal, rotary=rotary))
    x = np.random.default_rng(0).standard_normal((2, 7, 8)).astype(np.float32)
    cache = layer.new_cache(2, 9)

    def step(part: Any) -> Any:
        return layer(part, cache=cache)

    run = tw.compile(step) if compiled else step
    for _ in range(2):
        cache.reset()
        for begin, end in ((0, 3), (3, 4), (4, 5), (5, 7)):
            part = run(x[:, begin:end]).numpy()
            full = layer(x[:, :end]).numpy()[:, begin:]
            np.testing.assert_allclose(part, full, rtol=1e-4, atol=1e-5)
            assert cache.position.item() == end


def test_a_full_cache_is_an_error_and_stays_as_it_was() -> None:
    layer = randomised(nn.MultiHeadAttention(4, 2, causal=True))
    cache = layer.new_cache(1, 4)
    x = np.ones((1, 3, 4), np.float32)
    run = tw.compile(lambda x: layer(x, cache=cache))
    run(x)
    keys = cache.keys.numpy()
    with pytest.raises(IndexError):
        run(x)
    np.testing.assert_array_equal(cache.keys.numpy(), keys)
    assert cache.position.item() == 3
    with pytest.raises(ShapeError, match="room for 4, which holds 3"):
        layer(x, cache=cache)
    with pytest.raises(ShapeError, match="room for 4"):
        run(np.ones((1, 5, 4), np.float32))
    with pytest.raises(ShapeError, match="new_cache"):
        layer(np.ones((2, 1, 4), np.float32), cache=cache)
    with pytest.raises(ArgumentError, match="belong to self-attention"):
        layer(x, x + 1, cache=cache)
    layer(x[:, :1], cache=cache)
    assert cache.position.item() == 4


def test_a_step_with_a_cache_is_compiled_once() -> None:
    layer = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, 0.0, norm_first=True, causal=True), 2
    ).eval()
    caches = layer.new_caches(1, 64)
    captured: list[int] = []

    @tw.compile
    def step(x: Any) -> Any:
        captured.append(1)
        return layer(x, caches=caches)

    x = np.random.default_rng(0).standard_normal((1, 64, 8)).astype(np.float32)
    parts = [step(x[:, i : i + 1]).numpy() for i in range(64)]
    assert len(captured) == 1
    np.testing.assert_allclose(np.concatenate(parts, 1), layer(x).numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ArgumentError, match="1 caches for 2 layers"):
        layer(x, caches=caches[:1])


def test_dropout_in_training_only() -> None:
    layer = randomised(nn.MultiHeadAttention(8, 2, dropout=0.5))
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype(np.float32)
    one, two = layer(x).numpy(), layer(x).numpy()
    assert (one != two).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), layer(x).numpy())
    with pytest.raises(ArgumentError, match="from 0 to 1"):
        nn.MultiHeadAttention(8, 2, dropout=1.5)


def test_what_the_layers_refuse() -> None:
    with pytest.raises(ArgumentError, match="heads must divide"):
        nn.MultiHeadAttention(8, 3)
    with pytest.raises(ArgumentError, match="kv_heads must divide"):
        nn.MultiHeadAttention(8, 4, 3)
    with pytest.raises(ArgumentError, match="without a key"):
        nn.MultiHeadAttention(4, 2)(tw.ones((1, 2, 4)), None, tw.ones((1, 2, 4)))
    with pytest.raises(ArgumentError, match="rotary"):
        nn.MultiHeadAttention(4, 2, rotary=True)(tw.ones((1, 2, 4)), tw.ones((1, 3, 4)))
    with pytest.raises(ArgumentError, match="activation"):
        nn.TransformerEncoderLayer(4, 2, activation="gelo")
    with pytest.raises(ArgumentError, match="Transformer layer"):
        nn.TransformerEncoder(nn.Linear(4, 4), 2)
    with pytest.raises(ArgumentError, match="do not divide"):
        nn.PatchEmbedding(30, 4, 3, 8)
    with pytest.raises(ShapeError, match="channels-first"):
        nn.PatchEmbedding(8, 4, 3, 8)(tw.ones((2, 3, 8, 8)))
    with pytest.raises(ShapeError, match="batch axis"):
        nn.PatchEmbedding(8, 4, 3, 8)(tw.ones((8, 8, 3)))


def test_patches_are_those_of_the_image() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 9, 2)).astype(np.float32)
    layer = nn.PatchEmbedding((4, 9), (2, 3), 2, 12, bias=False, weight_init=np.eye(12))
    y = layer(x).numpy()
    for i, j in np.ndindex(2, 3):
        wanted = x[:, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].reshape(2, 12)
        np.testing.assert_array_equal(y[:, 3 * i + j], wanted)
    assert layer.patches == 6


def test_layers_of_a_stack_start_differently() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    stack = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    first, second = (b.linear1.weight.numpy() for b in stack.layers)
    assert (first != second).any()
    assert next(iter(stack.parameters())) == "layers.0.self_attn.in_proj_weight"
    assert list(stack.parameters())[-1] == "norm.bias"
    again = [nn.TransformerEncoder(layer, 2).reset_parameters(3).state_dict() for _ in range(2)]
    for path, value in again[0].items():
        np.testing.assert_array_equal(value, again[1][path])


def test_summary_and_copies() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    text = str(model.summary((5, 8)))
    assert "layers.1.self_attn.out_proj" in text
    assert repr(model.layers[0]).startswith("TransformerEncoderLayer(8, 2, ffn_dim=16")
    x = np.ones((1, 5, 8), np.float32)
    np.testing.assert_array_equal(model.copy().eval()(x).numpy(), model.eval()(x).numpy())


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_learns_to_reverse(norm_first: bool) -> None:
    source = np.random.default_rng(0)
    x = source.integers(0, 5, (32, 4))
    model = nn.Sequential(
        nn.Embedding(5, 16), nn.LearnedPositions(4, 16),
        nn.TransformerEncoderLayer(16, 2, 32, 0.0, norm_first=norm_first), nn.Linear(16, 5), seed=0,
    )  # fmt: skip
    optimizer = tw.optim.Adam(model, 0.01)

    @tw.compile
    def step(x: Any, t: Any) -> Any:
        loss, grads = tw.value_and_grad(lambda m: nn.losses.cross_entropy(m(x), t))(model)
        optimizer.update(grads)
        return loss

    losses = [step(x, np.ascontiguousarray(x[:, ::-1])).item() for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
