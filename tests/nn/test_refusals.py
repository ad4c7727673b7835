"""What layers must refuse: a clear error at the user's line, and never a wrong number."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DataError, DTypeError, ShapeError, ThalwegError
from thalweg.nn.module import Module
from thalweg.ops import attention, attention_blocks

Array = np.ndarray[Any, Any]
HERE = re.escape(__file__)


def ones(*shape: int, dtype: Any = "float32") -> Array:
    """Return an input of ones."""
    return np.ones(shape, dtype)


def refused(error: type[Exception], match: str, call: Callable[[], Any]) -> str:
    """Assert that a call raises this error, and that the message ends with its line; return it."""
    with pytest.raises(error, match=match) as caught:
        call()
    message = str(caught.value)
    assert re.search(rf"at {HERE}:\d+: ", message), message
    return message


def refused_in_both(error: type[Exception], match: str, run: Any, *xs: Any) -> None:
    """Assert that a function refuses its inputs eagerly and compiled, both at the user's line."""
    refused(error, match, lambda: run(*xs))
    refused(error, match, lambda: tw.compile(lambda *ys: run(*ys))(*xs))


# --- a kernel larger than the padded input ------------------------------------------------------

TOO_LARGE: list[tuple[Callable[[], Module], tuple[int, ...]]] = [
    (lambda: nn.Conv1d(2, 4, 6), (1, 5, 2)),
    (lambda: nn.Conv1d(2, 4, 3, dilation=3), (1, 6, 2)),
    (lambda: nn.Conv1d(2, 4, 8, padding=[(0, 2)], channels_first=True), (1, 2, 5)),
    (lambda: nn.Conv2d(2, 4, (1, 5)), (1, 9, 4, 2)),
    (lambda: nn.Conv2d(4, 4, 7, padding=1, groups=4), (1, 4, 9, 4)),
    (lambda: nn.Conv2d(2, 2, 3, padding="valid"), (0, 2, 2, 2)),
    (lambda: nn.Conv3d(2, 4, (3, 1, 1)), (1, 2, 5, 5, 2)),
    (lambda: nn.Conv2d(2, 4, 1), (1, 0, 5, 2)),
    (lambda: nn.MaxPool1d(4), (1, 3, 2)),
    (lambda: nn.MaxPool2d(3, dilation=2, padding=1), (1, 9, 2, 2)),
    (lambda: nn.MaxPool3d((1, 1, 3), ceil_mode=True), (1, 3, 3, 2, 1)),
    (lambda: nn.AvgPool1d(4, channels_first=True), (1, 4, 3)),
    (lambda: nn.AvgPool2d(5, 1, 1), (1, 2, 9, 2)),
    (lambda: nn.AvgPool3d(2), (1, 2, 1, 2, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), TOO_LARGE)
def test_a_window_larger_than_the_padded_input(
    make: Callable[[], Module], shape: tuple[int, ...]
) -> None:
    layer = make()
    match = rf"^{type(layer).__name__}: a window of \d+ .* use a smaller kernel or more padding"
    refused_in_both(ShapeError, match, layer, ones(*shape))


FUNCTIONS: list[tuple[str, Callable[[Any], Any], tuple[int, ...], str]] = [
    ("conv", lambda x: tw.conv(x, ones(6, 2, 3)), (1, 5, 2), "smaller kernel"),
    ("conv", lambda x: tw.conv(x, ones(3, 3, 2, 3), dilation=2), (1, 5, 4, 2), "smaller kernel"),
    ("conv", lambda x: tw.conv(x, ones(0, 2, 3)), (1, 5, 2), "at least one element"),
    ("conv", lambda x: tw.conv(x, ones(3, 3, 3)), (1, 5, 4), "change the input"),
    ("conv", lambda x: tw.conv(x, ones(3)), (1, 5, 4), "same number of axes"),
    ("conv_transpose", lambda x: tw.conv_transpose(x, ones(3, 2, 3), padding=2), (1, 2, 2),
     "less padding"),
    ("conv_transpose", lambda x: tw.conv_transpose(x, ones(3, 2, 3)), (1, 0, 2),
     "at least one element"),
    ("max_pool", lambda x: tw.max_pool(x, 3), (1, 5, 2, 1), "smaller kernel"),
    ("avg_pool", lambda x: tw.avg_pool(x, 3), (1, 2, 1), "smaller kernel"),
    ("max_pool", lambda x: tw.max_pool(x, 2), (5, 5), "at least 3 axes"),
    ("max_pool", lambda x: tw.max_pool(x, 1), (1, 0, 2), "no elements"),
    ("adaptive_avg_pool", lambda x: tw.adaptive_avg_pool(x, 1), (1, 0, 2), "no elements"),
    ("adaptive_max_pool", lambda x: tw.adaptive_max_pool(x, 2), (1, 3, 0, 2), "no elements"),
    ("resize", lambda x: tw.resize(x, 3), (1, 0, 2), "no elements"),
    ("resize", lambda x: tw.resize(x, 3, mode="linear"), (1, 0, 2), "no elements"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "shape", "match"), FUNCTIONS)
def test_functions_refuse_shapes(
    name: str, function: Callable[[Any], Any], shape: tuple[int, ...], match: str
) -> None:
    refused_in_both(ShapeError, f"^{name}: .*{match}", function, ones(*shape))


ARGUMENTS: list[tuple[str, Callable[[], Any]]] = [
    ("stride is 1.5", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), stride=1.5)),
    ("stride is 0", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), stride=0)),
    ("stride is True", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), stride=True)),
    ("dilation is 'a'", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), dilation="a")),
    ("padding is 'SAME'", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), padding="SAME")),
    ("padding is -1", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), padding=-1)),
    ("padding is 0.5", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), padding=0.5)),
    ("padding is .*1, 2, 3", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), padding=[(1, 2, 3)])),
    ("groups is 0", lambda: tw.conv(ones(1, 5, 2), ones(3, 2, 3), groups=0)),
    ("groups is 2.0", lambda: tw.conv(ones(1, 5, 2), ones(3, 1, 4), groups=2.0)),
    ("output_padding 2", lambda: tw.conv_transpose(ones(1, 5, 2), ones(3, 2, 3), 2, 0, 2)),
    ("more than half", lambda: tw.max_pool(ones(1, 5, 2), 2, padding=2)),
    ("more than half", lambda: tw.avg_pool(ones(1, 5, 2), 3, padding=[(0, 2)])),
    ("size is '2'", lambda: tw.max_pool(ones(1, 5, 2), "2")),
    ("output is 0", lambda: tw.adaptive_avg_pool(ones(1, 5, 2), 0)),
    ("size is 0", lambda: tw.resize(ones(1, 5, 2), 0)),
    ("mode 'cubic'", lambda: tw.resize(ones(1, 5, 2), 7, mode="cubic")),
    ("factor is 2.0", lambda: tw.pixel_shuffle(ones(1, 2, 2, 4), 2.0)),
    ("factor is 0", lambda: tw.pixel_unshuffle(ones(1, 2, 2, 4), 0)),
    ("more than half", lambda: nn.MaxPool2d(3, padding=2)),
    ("more than half", lambda: nn.AvgPool1d(2, padding=[(0, 2)])),
    ("kernel_size .* got 0", lambda: nn.Conv2d(2, 4, 0)),
    ("output_padding", lambda: nn.ConvTranspose2d(2, 4, 3, 2, output_padding=2)),
    ("padding_mode", lambda: nn.Conv1d(2, 4, 3, padding_mode="mirror")),
    ("output_size", lambda: nn.AdaptiveAvgPool2d((1, 2, 3))),
    ("padding_idx 1.5", lambda: nn.Embedding(3, 2, padding_idx=1.5)),
    ("padding_idx 3", lambda: nn.Embedding(3, 2, padding_idx=3)),
    ("proj_size .* got 1.5", lambda: nn.LSTM(2, 3, proj_size=1.5)),
    ("proj_size .* got 3", lambda: nn.LSTM(2, 3, proj_size=3)),
    ("eps .* got -1", lambda: nn.GroupNorm(2, 4, eps=-1)),
    ("eps .* got nan", lambda: nn.LayerNorm(4, eps=float("nan"))),
    ("eps .* got 'a'", lambda: nn.RMSNorm(4, eps="a")),
    ("eps .* got inf", lambda: nn.BatchNorm1d(4, eps=float("inf"))),
    ("momentum .* from 0 to 1, got 2", lambda: nn.BatchNorm2d(4, momentum=2)),
]  # fmt: skip


@pytest.mark.parametrize(("match", "call"), ARGUMENTS)
def test_functions_and_layers_refuse_arguments(match: str, call: Callable[[], Any]) -> None:
    refused(ArgumentError, match, call)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    two = np.int64(2)
    assert tw.conv(ones(1, 9, 2), ones(3, 2, 3), stride=two, padding=two).shape == (1, 6, 3)
    assert tw.max_pool(ones(1, 9, 2), two, dilation=two).shape == (1, 4, 2)
    assert nn.Conv1d(two, 4, two, stride=two)(ones(1, 9, 2)).shape == (1, 4, 4)


def test_a_maximum_of_truth_values_is_refused() -> None:
    refused_in_both(DTypeError, "max_pool", lambda x: tw.max_pool(x, 2), ones(1, 4, 1, dtype=bool))


def test_a_transposed_convolution_that_leaves_nothing() -> None:
    for layer, shape in ((nn.ConvTranspose1d(2, 3, 3, padding=2), (1, 2, 2)),
                         (nn.ConvTranspose2d(2, 3, 2, 2, 2), (1, 2, 2, 2)),
                         (nn.ConvTranspose3d(4, 4, 1, padding=1, groups=4), (1, 2, 2, 2, 4))):
        refused_in_both(ShapeError, "use less padding", layer, ones(*shape))


# --- groups and channels ------------------------------------------------------------------------

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d,
                nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)  # fmt: skip


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_groups_that_do_not_divide_the_channels(kind: Any) -> None:
    for channels, outputs, groups in ((3, 4, 2), (4, 3, 2), (4, 4, 3), (2, 4, 4)):
        match = rf"^{kind.__name__}: groups={groups} must divide in_channels={channels}"
        call = partial(kind, channels, outputs, 1, groups=groups)
        refused(ArgumentError, match, call)
    for groups in (0, -1, 1.5):
        refused(ArgumentError, "groups", lambda: kind(4, 4, 1, groups=groups))  # noqa: B023


def test_groups_of_the_functions() -> None:
    refused_in_both(ShapeError, "4 outputs .* groups=3", lambda x: tw.conv(x, ones(1, 1, 4),
                    groups=3), ones(1, 5, 3))  # fmt: skip
    refused_in_both(ShapeError, "3 channels .* groups=2", lambda x: tw.conv_transpose(
                    x, ones(1, 3, 4), groups=2), ones(1, 5, 3))  # fmt: skip
    refused(ArgumentError, "num_channels", lambda: nn.GroupNorm(3, 4))


SPACE = {1: (9,), 2: (9, 8), 3: (5, 6, 7)}
CHANNELLED: list[tuple[Callable[[bool], Module], int]] = [
    (lambda first: nn.Conv1d(3, 4, 2, channels_first=first), 1),
    (lambda first: nn.Conv2d(3, 4, 2, channels_first=first), 2),
    (lambda first: nn.Conv2d(3, 3, 2, groups=3, channels_first=first), 2),
    (lambda first: nn.Conv3d(3, 4, 2, channels_first=first), 3),
    (lambda first: nn.ConvTranspose1d(3, 4, 2, channels_first=first), 1),
    (lambda first: nn.ConvTranspose2d(3, 4, 2, channels_first=first), 2),
    (lambda first: nn.ConvTranspose3d(3, 4, 2, channels_first=first), 3),
    (lambda first: nn.BatchNorm2d(3, channels_first=first), 2),
    (lambda first: nn.BatchNorm3d(3, channels_first=first), 3),
    (lambda first: nn.InstanceNorm2d(3, affine=True, channels_first=first), 2),
    (lambda first: nn.GroupNorm(1, 3, channels_first=first), 2),
]  # fmt: skip


@pytest.mark.parametrize(("make", "rank"), CHANNELLED)
@pytest.mark.parametrize("first", [False, True])
def test_channels_in_the_wrong_place(
    make: Callable[[bool], Module], rank: int, first: bool
) -> None:
    """The message says how to move them, and what it says works."""
    layer = make(first)
    wrong = (2, *SPACE[rank], 3) if first else (2, 3, *SPACE[rank])
    remedy = r"thalweg\.moveaxis\(x, -1, 1\)" if first else r"thalweg\.moveaxis\(x, 1, -1\)"
    refused_in_both(ShapeError, f"{type(layer).__name__}.*{remedy}", layer, ones(*wrong))
    assert layer(tw.moveaxis(ones(*wrong), *((-1, 1) if first else (1, -1)))).shape[0] == 2
    assert make(not first)(ones(*wrong)).shape[0] == 2


def test_channels_in_the_wrong_place_for_functions_and_patches() -> None:
    for function in (tw.conv, tw.conv_transpose):
        refused_in_both(ShapeError, r"channels_first=True, .*moveaxis\(x, 1, -1\)",
                        lambda x, w, f=function: f(x, w), ones(1, 3, 8, 8), ones(2, 2, 3, 4))
    refused_in_both(ShapeError, r"thalweg\.moveaxis\(x, 1, -1\)", nn.PatchEmbedding(8, 4, 3, 5),
                    ones(1, 3, 8, 8))  # fmt: skip
    refused_in_both(ShapeError, r"swapaxes\(1, 2\)", tw.scaled_dot_product_attention,
                    *[ones(2, 8, n, 4) for n in (5, 3, 3)])  # fmt: skip


def test_padding_wider_than_the_input() -> None:
    for mode, most in (("reflect", 2), ("circular", 3)):
        layer = nn.Conv1d(2, 2, 3, padding=most + 1, padding_mode=mode)
        refused_in_both(ShapeError, f"{mode} padding", layer, ones(1, 3, 2))
        assert nn.Conv1d(2, 2, 3, padding=most, padding_mode=mode)(ones(1, 3, 2)).shape[0] == 1
        refused_in_both(ShapeError, "too wide", lambda x, m=mode: tw.conv(
            x, ones(3, 2, 2), padding=4, padding_mode=m), ones(1, 3, 2))  # fmt: skip
    for pad in (nn.ReflectionPad2d(3), nn.CircularPad2d(4)):
        refused_in_both(ShapeError, "use less padding", pad, ones(1, 3, 3, 1))


# --- tokens, positions, lengths -----------------------------------------------------------------

NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint32")


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("rows", [5, 100, 127, 128, 200, 256, 40_000])
def test_only_rows_of_the_table_are_tokens(dtype: str, rows: int) -> None:
    """Compiled too, where the limits of a small type would let numbers go round."""
    layer = nn.Embedding(rows, 1)
    layer.weight.assign(np.arange(rows, dtype="float32")[:, None])
    compiled = tw.compile(lambda x: layer(x))
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    for token in {0, 1, rows - 1, -1, -rows, rows, rows + 1, low, high, low + rows}:
        if not low <= token <= high:
            continue
        x = np.array([[0, token]], dtype)
        if 0 <= token < rows:
            assert layer(x).tolist() == compiled(x).tolist() == [[[0.0], [float(token)]]]
        else:
            refused(DataError, rf"index {token} at position \(0, 1\)", partial(layer, x))
            refused(IndexError, "take in layer Embedding", lambda: compiled(x))  # noqa: B023


@pytest.mark.parametrize("token", [-1, 6, 2**31, -(2**62)])
def test_a_training_step_with_a_wrong_token_changes_nothing(token: int) -> None:
    model = nn.Sequential(nn.Embedding(6, 4, padding_idx=1), nn.Flatten(), nn.Linear(8, 2))
    optimizer = tw.optim.Adam(model)

    def loss(model: Any, x: Any) -> Any:
        return tw.sum(model(x) ** 2)

    @tw.compile
    def step(x: Any) -> Any:
        value, gradients = tw.value_and_grad(loss)(model, x)
        optimizer.update(gradients)
        return value

    step(np.array([[0, 5]]))
    before = model.state_dict()
    refused(IndexError, "Nothing was updated", lambda: step(np.array([[3, token]])))
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[path])
    assert np.isfinite(step(np.array([[0, 5]])).numpy())


def test_a_sequence_longer_than_the_position_table() -> None:
    layer = nn.LearnedPositions(5, 2)
    layer.weight.assign(np.arange(10, dtype="float32").reshape(5, 2))
    x = ones(2, 3, 2)
    refused_in_both(ShapeError, "position 5 is not in the table of 5 positions", layer,
                    ones(2, 6, 2))  # fmt: skip
    compiled = tw.compile(lambda x, at: layer(x, at))
    for good in (0, 2, np.array([4, 0, 1]), np.array([[1, 2, 3], [0, 0, 4]], "int8")):
        np.testing.assert_array_equal(layer(x, good).numpy(), compiled(x, good).numpy())
    for bad in (3, -1, np.array(3), np.array(-3), np.array([0, 1, 5]), np.array([-1, 0, 1]),
                np.array([[0, 1, 2], [2, 2, -5]], "int8"), np.array(2**32), np.array(127, "int8"),
                np.array([2**32, 0, 1])):  # fmt: skip
        refused(ThalwegError, "table of 5|counted from 0", lambda: layer(x, bad))  # noqa: B023
        refused(IndexError, "LearnedPositions", lambda: compiled(x, bad))  # noqa: B023


RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True},
                                     {"batch_first": False}])  # fmt: skip
def test_lengths_out_of_range(kind: Any, options: dict[str, Any]) -> None:
    layer = kind(2, 3, **options)
    x = ones(4, 3, 2) if options.get("batch_first") is False else ones(3, 4, 2)
    compiled = tw.compile(lambda x, n: layer(x, lengths=n)[0])
    for good in ([4, 1, 2], np.array([1, 2, 4], "int8")):
        np.testing.assert_allclose(layer(x, lengths=good)[0].numpy(),
                                   compiled(x, np.array(good)).numpy(), atol=1e-6)
    for bad in ([0, 1, 2], [1, 2, 5], [-1, 2, 3], [-5, 2, 3], np.array([1, 2, 200], "uint8"),
                np.array([2**40, 1, 1]), np.array([-128, 1, 1], "int8")):  # fmt: skip
        match = rf"^{kind.__name__}: got lengths from .* must be from 1 to 4"
        refused(ArgumentError, match, lambda: layer(x, lengths=bad))  # noqa: B023
        refused(IndexError, kind.__name__, lambda: compiled(x, np.array(bad)))  # noqa: B023
    for bad in ([1.5, 2, 3], [2.0, 2.0, 2.0], [1, 2], [[1, 2, 3]], 3, True, []):
        call = partial(layer, x, lengths=bad)
        refused(ShapeError, f"^{kind.__name__}: got lengths", call)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_lengths_of_attention_out_of_range(kv_heads: int) -> None:
    layer = nn.MultiHeadAttention(8, 4, kv_heads)
    encoder = nn.TransformerEncoderLayer(8, 4, 8, dropout=0.0, kv_heads=kv_heads)
    x = ones(3, 4, 8)
    for each in (layer, encoder):
        compiled = tw.compile(lambda x, n, m=each: m(x, lengths=n))
        good = np.array([4, 0, 2])
        np.testing.assert_allclose(
            each(x, lengths=good).numpy(), compiled(x, good).numpy(), atol=1e-5
        )
        for bad in ([1, 2, 5], [-1, 2, 3], np.array([1, 2, 200], "uint8"), np.array([2**40, 1, 1]),
                    np.array([-128, 1, 1], "int8")):  # fmt: skip
            refused(ArgumentError, "lengths from .* must be from 0 to 4",
                    lambda: each(x, lengths=bad))  # noqa: B023
            refused(IndexError, "MultiHeadAttention|self_attn",
                    lambda: compiled(x, np.array(bad)))  # noqa: B023


def test_an_empty_sequence_is_refused_and_an_empty_batch_is_not() -> None:
    for kind in RECURRENT:
        layer = kind(2, 3)
        refused_in_both(ShapeError, f"^{kind.__name__}: .*at least one step", layer, ones(2, 0, 2))
        assert layer(ones(0, 4, 2), lengths=[])[0].shape == (0, 4, 3)
    refused_in_both(ShapeError, "at least one key", nn.MultiHeadAttention(4, 2), ones(2, 0, 4))
    assert nn.MultiHeadAttention(4, 2)(ones(0, 3, 4)).shape == (0, 3, 4)


# --- rows of attention that may attend to nothing -----------------------------------------------

MASKS: dict[str, Callable[[int], Any]] = {
    "bool": lambda keys: np.arange(5)[:, None, None, None] * np.ones((1, 1, 3, keys)) > 1,
    "one row": lambda keys: np.arange(3)[:, None] * np.ones((1, keys)) != 1,
    "constant": lambda keys: np.arange(5)[:, None, None, None] > 1,  # one for all keys
    "added": lambda keys: np.where(np.arange(3)[:, None] * np.ones((1, keys)) == 1, -np.inf, 0.0),
}
EMPTY: dict[str, tuple[Any, ...]] = {  # which rows (batch, queries) see nothing
    "bool": (slice(0, 2), slice(None)), "one row": (slice(None), 1),
    "constant": (slice(0, 2), slice(None)), "added": (slice(None), 1),
}  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", list(MASKS))
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("block", [4, 512])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_row_that_may_attend_to_nothing_gives_zeros(
    kind: str, kv_heads: int, block: int, dtype: str, compiled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And so do its gradients; the other rows are what they are without it."""
    for module in (attention, attention_blocks):
        monkeypatch.setattr(module, "BLOCK", block)
    keys, source = 9, np.random.default_rng(2)
    q, k, v = (tw.tensor(source.standard_normal(s)).astype(dtype) for s in (
        (5, 3, 4, 2), (5, keys, kv_heads, 2), (5, keys, kv_heads, 6)))  # fmt: skip
    mask = tw.tensor(MASKS[kind](keys))

    def loss(q: Any, k: Any, v: Any) -> Any:
        y = tw.scaled_dot_product_attention(q, k, v, mask)
        return tw.sum(tw.sin(y.astype("float64")) * tw.arange(6)), y

    step = tw.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    (_, y), grads = (tw.compile(step) if compiled else step)(q, k, v)
    empty = np.zeros((5, 3), bool)
    empty[EMPTY[kind]] = True
    got, of_q = (np.asarray(a).astype("float64") for a in (y, grads[0]))
    assert not got[empty].any()
    assert not of_q[empty].any()
    for gradient in grads:
        assert np.isfinite(np.asarray(gradient).astype("float64")).all()
    plain = tw.scaled_dot_product_attention(q, k, v)
    close = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 0.1}[dtype]
    np.testing.assert_allclose(
        got[~empty], np.asarray(plain).astype("float64")[~empty], atol=close, rtol=close
    )
    if empty[:2].all():  # keys and values that no query reads get no gradient
        for gradient in grads[1:]:
            assert not np.asarray(gradient).astype("float64")[:2].any()


@pytest.mark.parametrize("run", [lambda f: f, tw.compile], ids=["eager", "compiled"])
def test_a_sequence_of_length_zero_trains_without_nan(run: Any) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, causal=True, dtype="float64")
    x = np.random.default_rng(0).standard_normal((3, 4, 8))

    def loss(model: Any, x: Any, lengths: Any) -> Any:
        return tw.sum(model(x, lengths=lengths) ** 2 * tw.arange(8))

    step = run(tw.value_and_grad(loss))
    value, gradients = step(layer, x, np.array([0, 4, 1]))
    assert np.isfinite(value.numpy())
    for path, gradient in gradients.items():
        assert np.isfinite(gradient.numpy()).all(), path


def test_masks_and_heads_that_do_not_fit() -> None:
    layer, x = nn.MultiHeadAttention(8, 4, 2), ones(3, 5, 8)
    for shape in ((3, 5), (3, 1, 1, 4), (2, 1, 1, 5), (3, 2, 5, 5), (1, 1, 1, 1, 5)):
        refused_in_both(ShapeError, "got a mask of shape", lambda x, m: layer(x, mask=m), x,
                        ones(*shape, dtype=bool))  # fmt: skip
    refused_in_both(DTypeError, "mask", lambda x, m: layer(x, mask=m), x, ones(5, 5, dtype=int))
    refused(ArgumentError, "heads must divide", lambda: nn.MultiHeadAttention(10, 4))
    refused(ArgumentError, "kv_heads must divide", lambda: nn.MultiHeadAttention(8, 4, 3))
    q, k = ones(2, 3, 4, 2), ones(2, 3, 3, 2)
    refused_in_both(ShapeError, "multiple of the key heads", tw.scaled_dot_product_attention,
                    q, k, k)  # fmt: skip


def test_a_full_cache_is_refused_and_left_as_it_was() -> None:
    layer = nn.MultiHeadAttention(8, 4, 2, causal=True)
    cache, x = layer.new_cache(1, 3), ones(1, 2, 8)
    layer(x, cache=cache)
    refused(ShapeError, "room for 3, which holds 2", lambda: layer(x, cache=cache))
    compiled = tw.compile(lambda x: layer(x, cache=cache))
    held = cache.keys.numpy().copy()
    refused(IndexError, "out of range", lambda: compiled(x))
    assert cache.position.item() == 2
    np.testing.assert_array_equal(cache.keys.numpy(), held)


# --- dtypes -------------------------------------------------------------------------------------

TYPED: list[tuple[Callable[[], Module], tuple[int, ...]]] = [
    (lambda: nn.Conv1d(2, 3, 2), (1, 5, 2)), (lambda: nn.Conv2d(2, 3, 2), (1, 5, 5, 2)),
    (lambda: nn.ConvTranspose2d(2, 3, 2), (1, 5, 5, 2)), (lambda: nn.RNN(2, 3), (1, 4, 2)),
    (lambda: nn.LSTM(2, 3), (1, 4, 2)), (lambda: nn.GRU(2, 3), (1, 4, 2)),
    (lambda: nn.MultiHeadAttention(4, 2), (1, 4, 4)),
    (lambda: nn.BatchNorm2d(2), (2, 3, 3, 2)), (lambda: nn.GroupNorm(1, 2), (2, 3, 2)),
    (lambda: nn.LearnedPositions(5, 2), (1, 4, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), TYPED)
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "float64", "float16"])
def test_an_input_of_another_type_is_refused(
    make: Callable[[], Module], shape: tuple[int, ...], dtype: str
) -> None:
    layer = make()
    refused_in_both(DTypeError, rf"{type(layer).__name__}.*astype", layer,
                    ones(*shape, dtype=dtype))  # fmt: skip


def test_parameters_are_floating_numbers() -> None:
    for make in (lambda t: nn.Conv2d(2, 3, 3, dtype=t), lambda t: nn.GRU(2, 3, dtype=t),
                 lambda t: nn.LayerNorm(2, dtype=t), lambda t: nn.Embedding(2, 3, dtype=t)):
        for kind in ("int32", "bool"):
            refused(DTypeError, f"cannot be {kind}", lambda: make(kind))  # noqa: B023


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_first_state_of_another_type_or_shape(kind: Any) -> None:
    layer, x = kind(2, 3), ones(2, 4, 2)
    count = 2 if kind is nn.LSTM else 1
    for dtype in ("float64", "int64", "float16"):
        refused_in_both(DTypeError, rf"{kind.__name__}: the first state .*{dtype}",
                        lambda x, *s: layer(x, s)[0], x,
                        *[ones(1, 2, 3, dtype=dtype)] * count)  # fmt: skip
    for shape in ((1, 1, 3), (2, 2, 3), (1, 2, 4), (2, 3)):
        refused_in_both(ShapeError, f"{kind.__name__}: the first state has the shapes",
                        lambda x, *s: layer(x, s)[0], x, *[ones(*shape)] * count)  # fmt: skip
    refused(ShapeError, "the first state", lambda: layer(x, [ones(1, 2, 3)] * (3 - count)))


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_state_of_mixed_precision_goes_on(kind: Any) -> None:
    layer, x = kind(2, 3), ones(2, 4, 2)
    with tw.autocast("bfloat16"):
        _, state = layer(x)
        outputs, _ = layer(x, state)
    np.testing.assert_allclose(outputs.numpy(), layer(x, layer(x)[1])[0].numpy(), atol=0.05)
