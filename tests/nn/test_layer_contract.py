"""What every layer must fulfil; layers are found by introspection."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import DataError, DTypeError, ShapeError
from thalweg.nn.module import Module

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """How to make a layer, what it takes and gives, and what it must refuse."""

    make: Callable[[], Module]
    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    wrong: tuple[tuple[int, ...], ...] | None = None  # shapes that raise a ShapeError
    indices: int = 0  # inputs are whole numbers below this
    first: bool = False  # the layer gives several results, and the first one is tested


def first_of(case: Case, layer: Module) -> Callable[..., Any]:
    """Return a function that calls the layer and gives the result that is tested."""
    return lambda *xs: layer(*xs)[0] if case.first else layer(*xs)


SAME = ((3, 4),)
DIRECTIONS = 12  # differences that are taken of a large array
ROWS_1, ROWS_2, ROWS_3 = ((2, 5, 4),), ((2, 4, 3, 4),), ((1, 2, 3, 2, 4),)  # channels last
FIRST_2 = ((2, 4, 4, 3),)  # channels first
CASES: dict[str, list[Case]] = {
    "MultiHeadAttention": [
        Case(lambda: nn.MultiHeadAttention(4, 2), ((2, 3, 4),), (2, 3, 4), ((2, 3, 5),)),
        Case(lambda: nn.MultiHeadAttention(8, 4, kv_heads=2, causal=True, rotary=True, bias=False),
             ((2, 3, 8),), (2, 3, 8), ((3, 8),)),
        Case(lambda: nn.MultiHeadAttention(4, 2), ((2, 3, 4), (2, 5, 4), (2, 5, 4)), (2, 3, 4)),
    ],
    "TransformerEncoderLayer": [
        Case(lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0), ((2, 3, 4),), (2, 3, 4),
             ((2, 3, 5),)),
        Case(lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu",
                                                norm_first=True, causal=True),
             ((2, 3, 4),), (2, 3, 4)),
    ],
    "TransformerDecoderLayer": [
        Case(lambda: nn.TransformerDecoderLayer(4, 2, 6, dropout=0.0, activation="gelu"),
             ((2, 3, 4), (2, 5, 4)), (2, 3, 4), ((2, 3, 5), (2, 5, 4))),
    ],
    "TransformerEncoder": [
        Case(lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu"), 2),
            ((2, 3, 4),), (2, 3, 4), ((2, 3, 5),)),
    ],
    "TransformerDecoder": [
        Case(lambda: nn.TransformerDecoder(
            nn.TransformerDecoderLayer(4, 2, 6, dropout=0.0, activation="gelu"), 2),
            ((2, 3, 4), (2, 5, 4)), (2, 3, 4), ((2, 3, 5), (2, 5, 4))),
    ],
    "PatchEmbedding": [Case(lambda: nn.PatchEmbedding(4, 2, 3, 5), ((2, 4, 4, 3),), (2, 4, 5),
                            ((2, 5, 4, 3),))],
    "RotaryEmbedding": [Case(lambda: nn.RotaryEmbedding(4), ((2, 3, 2, 4),), (2, 3, 2, 4),
                             ((2, 3, 2, 5),)),
                        Case(lambda: nn.RotaryEmbedding(4, interleaved=True), ((2, 3, 2, 4),),
                             (2, 3, 2, 4))],
    "SinusoidalPositions": [Case(lambda: nn.SinusoidalPositions(4), ((2, 3, 4),), (2, 3, 4),
                                 ((2, 3, 5),))],
    "LearnedPositions": [Case(lambda: nn.LearnedPositions(5, 4), ((2, 3, 4),), (2, 3, 4),
                              ((2, 6, 4),))],
    "Linear": [
        Case(lambda: nn.Linear(4, 5), ((3, 4),), (3, 5), ((3, 5),)),
        Case(lambda: nn.Linear(4, 5, bias=False), ((2, 3, 4),), (2, 3, 5)),
    ],
    "Bilinear": [Case(lambda: nn.Bilinear(4, 3, 2), ((5, 4), (5, 3)), (5, 2), ((5, 4), (4, 3)))],
    "Identity": [Case(nn.Identity, SAME, (3, 4))],
    "Flatten": [Case(nn.Flatten, ((3, 2, 4),), (3, 8), ((3,),))],
    "Dropout": [Case(lambda: nn.Dropout(0.4), ((3, 7),), (3, 7)),
                Case(lambda: nn.Dropout(0.0), SAME, (3, 4))],
    "BatchNorm1d": [
        Case(lambda: nn.BatchNorm1d(4), ((6, 4),), (6, 4), ((6, 3),)),
        Case(lambda: nn.BatchNorm1d(4, momentum=None), ((2, 3, 4),), (2, 3, 4), ((1, 4),)),
        Case(lambda: nn.BatchNorm1d(3, axis=1), ((2, 3, 4),), (2, 3, 4), ((2, 4, 3),)),
        Case(lambda: nn.BatchNorm1d(4, affine=False, track_running_stats=False), ((6, 4),), (6, 4)),
    ],
    "Dropout1d": [Case(lambda: nn.Dropout1d(0.4), ROWS_1, (2, 5, 4), ((2, 4),))],
    "Dropout2d": [Case(lambda: nn.Dropout2d(0.4), ROWS_2, (2, 4, 3, 4), ((2, 3, 4),)),
                  Case(lambda: nn.Dropout2d(0.4, channels_first=True), FIRST_2, (2, 4, 4, 3))],
    "AlphaDropout": [Case(lambda: nn.AlphaDropout(0.4), ((3, 7),), (3, 7)),
                     Case(lambda: nn.AlphaDropout(1.0), SAME, (3, 4))],
    "StochasticDepth": [Case(lambda: nn.StochasticDepth(0.4), ((5, 3),), (5, 3), ((),)),
                        Case(lambda: nn.StochasticDepth(0.4, "batch"), SAME, (3, 4))],
    "BatchNorm2d": [
        Case(lambda: nn.BatchNorm2d(4), ROWS_2, (2, 4, 3, 4), ((2, 4, 3, 3),)),
        Case(lambda: nn.BatchNorm2d(4, momentum=None, channels_first=True), FIRST_2, (2, 4, 4, 3),
             ((2, 3, 4, 4),)),
    ],
    "BatchNorm3d": [Case(lambda: nn.BatchNorm3d(4), ROWS_3, (1, 2, 3, 2, 4), ((2, 4),))],
    "InstanceNorm1d": [
        Case(lambda: nn.InstanceNorm1d(4), ROWS_1, (2, 5, 4), ((2, 1, 4),)),
        Case(lambda: nn.InstanceNorm1d(4, affine=True, track_running_stats=True), ROWS_1,
             (2, 5, 4), ((2, 5, 3),)),
    ],
    "InstanceNorm2d": [
        Case(lambda: nn.InstanceNorm2d(4, affine=True, channels_first=True), FIRST_2,
             (2, 4, 4, 3), ((2, 3, 3, 4),)),
    ],
    "GroupNorm": [
        Case(lambda: nn.GroupNorm(2, 4), ROWS_2, (2, 4, 3, 4), ((2, 3, 3),)),
        Case(lambda: nn.GroupNorm(1, 4, channels_first=True), FIRST_2, (2, 4, 4, 3), ((4,),)),
        Case(lambda: nn.GroupNorm(2, 4, affine=False), SAME, (3, 4)),
    ],
    "Conv1d": [
        Case(lambda: nn.Conv1d(4, 3, 2), ROWS_1, (2, 4, 3), ((2, 4, 5),)),
        Case(lambda: nn.Conv1d(4, 6, 3, 2, "same", groups=2, bias=False), ROWS_1, (2, 3, 6)),
        Case(lambda: nn.Conv1d(5, 3, 3, padding=[(2, 1)], padding_mode="circular",
                               channels_first=True), ROWS_1, (2, 3, 5), ((2, 4, 5),)),
    ],
    "Conv2d": [
        Case(lambda: nn.Conv2d(4, 3, (2, 3), padding=1), ROWS_2, (2, 5, 3, 3), ((2, 4, 3, 3),)),
        Case(lambda: nn.Conv2d(4, 4, 3, 2, 1, groups=4, padding_mode="reflect"), ROWS_2,
             (2, 2, 2, 4), ((2, 4, 1, 4),)),
        Case(lambda: nn.Conv2d(4, 2, 2, dilation=(2, 1), channels_first=True), FIRST_2,
             (2, 2, 2, 2), ((2, 4, 2, 3),)),
    ],
    "Conv3d": [Case(lambda: nn.Conv3d(4, 2, (1, 2, 2), padding=(0, 1, 0)), ROWS_3,
                    (1, 2, 4, 1, 2), ((2, 3, 4),))],
    "ConvTranspose1d": [Case(lambda: nn.ConvTranspose1d(4, 3, 3, 2, 1, 1), ROWS_1, (2, 10, 3),
                             ((2, 5, 3),))],
    "ConvTranspose2d": [
        Case(lambda: nn.ConvTranspose2d(4, 2, 2, 2), ROWS_2, (2, 8, 6, 2), ((2, 4, 3, 3),)),
        Case(lambda: nn.ConvTranspose2d(4, 6, (3, 2), dilation=2, groups=2, bias=False,
                                        channels_first=True), FIRST_2, (2, 6, 8, 5),
             ((2, 3, 4, 4),)),
    ],
    "ConvTranspose3d": [Case(lambda: nn.ConvTranspose3d(4, 2, 2, (1, 1, 2)), ROWS_3,
                             (1, 3, 4, 4, 2), ((2, 3, 4),))],
    "MaxPool1d": [Case(lambda: nn.MaxPool1d(2), ROWS_1, (2, 2, 4), ((2, 1, 4),))],
    "MaxPool2d": [
        Case(lambda: nn.MaxPool2d(3, 2, 1), ROWS_2, (2, 2, 2, 4), ((2, 4, 4),)),
        Case(lambda: nn.MaxPool2d(2, ceil_mode=True, dilation=(1, 2), channels_first=True),
             FIRST_2, (2, 4, 2, 1), ((2, 4, 4, 2),)),
    ],
    "MaxPool3d": [Case(lambda: nn.MaxPool3d(2, 1), ROWS_3, (1, 1, 2, 1, 4), ((1, 1, 3, 2, 4),))],
    "AvgPool1d": [Case(lambda: nn.AvgPool1d(3, 2, 1), ROWS_1, (2, 3, 4), ((2, 4),))],
    "AvgPool2d": [
        Case(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), ROWS_2, (2, 2, 2, 4),
             ((2, 4, 4),)),
        Case(lambda: nn.AvgPool2d(2, ceil_mode=True, channels_first=True), FIRST_2, (2, 4, 2, 2)),
    ],
    "AvgPool3d": [Case(lambda: nn.AvgPool3d(2, 1), ROWS_3, (1, 1, 2, 1, 4), ((1, 1, 3, 2, 4),))],
    "AdaptiveAvgPool1d": [Case(lambda: nn.AdaptiveAvgPool1d(3), ROWS_1, (2, 3, 4), ((2, 4),))],
    "AdaptiveAvgPool2d": [
        Case(lambda: nn.AdaptiveAvgPool2d((3, None)), ROWS_2, (2, 3, 3, 4), ((2, 3, 4),)),
        Case(lambda: nn.AdaptiveAvgPool2d(1, channels_first=True), FIRST_2, (2, 4, 1, 1)),
    ],
    "AdaptiveAvgPool3d": [Case(lambda: nn.AdaptiveAvgPool3d((1, 2, 2)), ROWS_3, (1, 1, 2, 2, 4),
                               ((2, 3, 4),))],
    "AdaptiveMaxPool1d": [Case(lambda: nn.AdaptiveMaxPool1d(3), ROWS_1, (2, 3, 4), ((2, 4),))],
    "AdaptiveMaxPool2d": [Case(lambda: nn.AdaptiveMaxPool2d(2), ROWS_2, (2, 2, 2, 4),
                               ((2, 3, 4),))],
    "AdaptiveMaxPool3d": [Case(lambda: nn.AdaptiveMaxPool3d((1, 2, 2)), ROWS_3, (1, 1, 2, 2, 4),
                               ((2, 3, 4),))],
    "GlobalAvgPool": [Case(nn.GlobalAvgPool, ROWS_2, (2, 4), ((2, 4),)),
                      Case(lambda: nn.GlobalAvgPool(True, channels_first=True), ROWS_1, (2, 5, 1))],
    "GlobalMaxPool": [Case(nn.GlobalMaxPool, ROWS_1, (2, 4), ((2, 4),)),
                      Case(lambda: nn.GlobalMaxPool(channels_first=True), FIRST_2, (2, 4))],
    "Upsample": [
        Case(lambda: nn.Upsample(scale_factor=2), ROWS_1, (2, 10, 4), ((2, 4),)),
        Case(lambda: nn.Upsample((5, 2), mode="bilinear"), ROWS_2, (2, 5, 2, 4), ((2, 3, 4),)),
        Case(lambda: nn.Upsample(scale_factor=(1.5, 2.0), mode="bilinear", align_corners=True,
                                 channels_first=True), FIRST_2, (2, 4, 6, 6)),
    ],
    "PixelShuffle": [Case(lambda: nn.PixelShuffle(2), ROWS_2, (2, 8, 6, 1), ((2, 4, 3, 3),))],
    "PixelUnshuffle": [Case(lambda: nn.PixelUnshuffle(2, channels_first=True), ((2, 3, 4, 2),),
                            (2, 12, 2, 1), ((2, 3, 3, 2),))],
    "ZeroPad2d": [Case(lambda: nn.ZeroPad2d((1, 0, 2, 3)), ROWS_2, (2, 9, 4, 4), ((2, 4),))],
    "ReflectionPad2d": [Case(lambda: nn.ReflectionPad2d((2, 1, 3, 0)), ROWS_2, (2, 7, 6, 4),
                             ((2, 3, 3, 4),))],
    "ReplicationPad2d": [Case(lambda: nn.ReplicationPad2d(2, channels_first=True), FIRST_2,
                              (2, 4, 8, 7), ((2, 4),))],
    "CircularPad2d": [Case(lambda: nn.CircularPad2d((3, 1, 0, 4)), ROWS_2, (2, 8, 7, 4),
                           ((2, 3, 3, 4),))],
    "Residual": [
        Case(lambda: nn.Residual(nn.Sequential(nn.Conv1d(4, 4, 3, padding="same"))), ROWS_1,
             (2, 5, 4)),
        Case(lambda: nn.Residual(nn.Linear(4, 2), nn.Linear(4, 2, bias=False)), SAME, (3, 2)),
    ],
    "SpectralNorm": [
        Case(lambda: nn.SpectralNorm(nn.Linear(4, 3), 2), SAME, (3, 3)),
        Case(lambda: nn.SpectralNorm(nn.Conv2d(4, 2, 2)), ROWS_2, (2, 3, 2, 2)),
    ],
    "RNN": [Case(lambda: nn.RNN(4, 2), ROWS_1, (2, 5, 2), ((2, 4),), first=True)],
    "LSTM": [Case(lambda: nn.LSTM(4, 3, proj_size=2), ((2, 3, 4),), (2, 3, 2), ((2, 3, 3),),
                  first=True)],
    "GRU": [Case(lambda: nn.GRU(4, 2, bidirectional=True), ((2, 3, 4),), (2, 3, 4), ((2, 3, 3),),
                 first=True)],
    "LayerNorm": [Case(lambda: nn.LayerNorm(4), SAME, (3, 4), ((3, 5),)),
                  Case(lambda: nn.LayerNorm((3, 4), bias=False), ((2, 3, 4),), (2, 3, 4), ((4,),))],
    "RMSNorm": [Case(lambda: nn.RMSNorm(4), SAME, (3, 4), ((3, 5),))],
    "Embedding": [Case(lambda: nn.Embedding(6, 3), ((2, 4),), (2, 4, 3), indices=6),
                  Case(lambda: nn.Embedding(6, 3, padding_idx=-2), ((9,),), (9, 3), indices=6)],
    "Sequential": [
        Case(lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3),
                                   nn.Sequential(nn.Linear(6, 2), nn.Tanh())), ((5, 4),), (5, 2),
             ((5, 3),)),
    ],
    "LeakyReLU": [Case(lambda: nn.LeakyReLU(0.2), SAME, (3, 4))],
    "ELU": [Case(lambda: nn.ELU(1.5), SAME, (3, 4))],
    "GELU": [Case(nn.GELU, SAME, (3, 4)), Case(lambda: nn.GELU("tanh"), SAME, (3, 4))],
    "Softplus": [Case(lambda: nn.Softplus(2.0), SAME, (3, 4))],
    "Softmax": [Case(lambda: nn.Softmax(0), SAME, (3, 4), ((),))],
    "LogSoftmax": [Case(nn.LogSoftmax, SAME, (3, 4), ((),))],
    "Hardtanh": [Case(lambda: nn.Hardtanh(-0.5, 0.7), SAME, (3, 4))],
}  # fmt: skip
ABSTRACT = {"Module", "Activation", "Weighted", "ModuleDict", "ModuleList"}  # not called
# Inputs drawn near a kink make finite differences useless; none of these draws is within 1e-3.
LAYERS = sorted(
    name for name in nn.__all__
    if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), Module)
    and name not in ABSTRACT
)  # fmt: skip
ROWS = [
    pytest.param(name, case, id=f"{name}-{i}")
    for name in LAYERS
    for i, case in enumerate(CASES.get(name, [Case(getattr(nn, name), SAME, (3, 4))]))
]
each = pytest.mark.parametrize(("name", "case"), ROWS)


def made(case: Case, dtype: str = "float32") -> tuple[Module, list[Array]]:
    """Return a seeded layer, its scales and shifts off 1 and 0, and inputs for it."""
    layer = case.make().reset_parameters(3).astype(dtype)
    source = np.random.default_rng(5)
    for p in layer.parameters().values():
        p.assign(p.numpy() + 0.1 * source.standard_normal(p.shape).astype(p.dtype.numpy))
    if case.indices:
        return layer, [source.integers(0, case.indices, s) for s in case.inputs]
    return layer, [source.standard_normal(s).astype(dtype) for s in case.inputs]


def test_every_layer_has_a_row_or_takes_no_arguments() -> None:
    assert len(LAYERS) > 25
    assert set(CASES) <= set(LAYERS)
    assert len(set(nn.__all__)) == len(nn.__all__)


@each
def test_shape_and_dtype(name: str, case: Case) -> None:
    layer, inputs = made(case)
    for mode in (True, False):
        y = first_of(case, layer.train(mode))(*inputs)
        assert isinstance(y, tw.Tensor)
        assert y.shape == case.output
        assert y.dtype is tw.float32


@each
def test_docstring_says_what_it_is(name: str, case: Case) -> None:
    doc = inspect.getdoc(getattr(nn, name)) or ""
    assert "Shape:" in doc, name
    assert ">>>" in doc, name


@each
def test_compiled_equals_eager(name: str, case: Case) -> None:
    layer, inputs = made(case)
    run = first_of(case, layer)
    compiled = tw.compile(lambda *xs: run(*xs))
    start = layer.state_dict()
    for mode in (True, False):
        layer.train(mode)
        layer.load_state_dict(start)
        eager = [run(*inputs).numpy() for _ in range(2)]
        after = layer.state_dict()
        layer.load_state_dict(start)
        replayed = [compiled(*inputs).numpy() for _ in range(2)]
        for a, b in zip(eager, replayed, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        for path, value in layer.state_dict().items():
            np.testing.assert_allclose(value, after[path], rtol=1e-6, atol=1e-6, err_msg=path)


@each
@pytest.mark.parametrize("mode", [True, False])
def test_gradients_match_finite_differences(name: str, case: Case, mode: bool) -> None:
    if name == "SpectralNorm" and mode:
        pytest.skip("no gradient flows through the power iterations, which differences see")
    layer, inputs = made(case, "float64")
    layer.train(mode)
    start = layer.state_dict()
    weights = np.random.default_rng(1).standard_normal(case.output)

    def loss(model: Module, *xs: Any) -> tw.Tensor:
        return (first_of(case, model)(*xs) * weights).sum()  # type: ignore[no-any-return]

    argnums = (0,) if case.indices else tuple(range(len(inputs) + 1))
    grads = tw.grad(loss, argnums=argnums)(layer, *inputs)

    def value() -> float:
        return float(loss(layer, *inputs))

    def check(array: Array, gradient: Array, put: Callable[[Array], None]) -> None:
        # Each element of a small array; of a large one directions in which all elements move.
        directions = np.eye(array.size)
        if array.size > DIRECTIONS:
            directions = np.random.default_rng(2).standard_normal((DIRECTIONS, array.size))
        found = []
        for direction in directions:
            ends = []
            for h in (1e-6, -1e-6):
                layer.load_state_dict(start)
                put(array + h * direction.reshape(array.shape))
                ends.append(value())
            found.append((ends[0] - ends[1]) / 2e-6)
        put(array)
        np.testing.assert_allclose(directions @ gradient.reshape(-1), found, rtol=1e-5, atol=1e-7)

    for path, gradient in grads[0].items():
        expected = gradient.numpy()
        if name == "Embedding" and getattr(layer, "padding_idx", None) is not None:
            assert not expected[layer.padding_idx].any()  # frozen on purpose
            continue
        parameter = layer.parameters()[path]
        check(start[path], expected, parameter.assign)
    for i, gradient in enumerate(grads[1:]):
        check(inputs[i], gradient.numpy(), lambda a, i=i: inputs.__setitem__(i, a))


@each
def test_state_dict_round_trip(name: str, case: Case) -> None:
    layer, inputs = made(case)
    layer(*inputs)
    other = case.make().reset_parameters(99)
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    for path, value in layer.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[path], value)
    a, b = (first_of(case, m)(*inputs).numpy() for m in (other, layer))
    np.testing.assert_array_equal(a, b)


@each
def test_seed_decides_everything(name: str, case: Case) -> None:
    _, inputs = made(case)
    runs = [case.make().reset_parameters(s) for s in (1, 1, 2)]
    states = [r.state_dict() for r in runs]
    for path in states[0]:
        np.testing.assert_array_equal(states[0][path], states[1][path])
    a, b = (first_of(case, m)(*inputs).numpy() for m in runs[:2])
    np.testing.assert_array_equal(a, b)
    drawn = [p for p in states[0] if p.endswith(("weight", "key"))]
    if "Norm" not in name and drawn:
        assert any((states[0][p] != states[2][p]).any() for p in drawn)


@each
def test_copy_is_independent(name: str, case: Case) -> None:
    layer, inputs = made(case)
    twin = layer.copy()
    before = twin.state_dict()
    assert not {id(t) for t in layer._tensors().values()} & {
        id(t) for t in twin._tensors().values()
    }
    a, b = (first_of(case, m)(*inputs).numpy() for m in (twin, layer))
    np.testing.assert_array_equal(a, b)
    twin.load_state_dict(before)
    layer(*inputs)
    for p in layer.parameters().values():
        p.assign(p * 0)
    for path, value in twin.state_dict().items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize(("name", "case"), [row for row in ROWS if row.values[1].wrong])
def test_wrong_shapes_name_the_layer(name: str, case: Case) -> None:
    layer = case.make()
    with pytest.raises(ShapeError, match="Linear" if name == "Sequential" else name) as caught:
        layer(*[np.ones(s, np.float32) for s in case.wrong])
    assert "test_layer_contract.py" in str(caught.value)  # the user's line
    with pytest.raises(ShapeError):
        tw.compile(lambda *xs: layer(*xs))(*[np.ones(s, np.float32) for s in case.wrong])


@each
def test_float64_stays_and_16_bits_are_close(name: str, case: Case) -> None:
    layer, inputs = made(case)
    layer.eval()
    exact = first_of(case, layer)(*inputs).numpy()
    for dtype, tolerance in (("float64", 1e-5), ("bfloat16", 0.1)):
        converted = layer.copy().astype(dtype)
        cast = inputs if case.indices else [tw.tensor(x).astype(dtype) for x in inputs]
        y = first_of(case, converted)(*cast)
        assert y.dtype.name == dtype
        np.testing.assert_allclose(
            np.asarray(y).astype(np.float64), exact, rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("name", ["Linear", "BatchNorm1d", "LayerNorm", "RMSNorm", "Bilinear"])
def test_other_dtypes_are_refused(name: str) -> None:
    layer, inputs = made(CASES[name][0])
    with pytest.raises(DTypeError, match=name):
        layer(*[x.astype(np.float64) for x in inputs])
    with pytest.raises(DTypeError, match=name):
        layer(*[x.tolist() for x in inputs])


def test_embedding_refuses_what_is_not_a_row() -> None:
    layer = nn.Embedding(5, 2)
    with pytest.raises(DTypeError, match="Embedding"):
        layer(np.ones(2, np.float32))
    for bad in (-1, 5):
        with pytest.raises(DataError, match=rf"index {bad} at position \(1,\)"):
            layer(np.array([0, bad]))
        with pytest.raises(IndexError):
            tw.compile(lambda x: layer(x))(np.array([0, bad]))


def test_dropout_keeps_the_mean_and_obeys_p() -> None:
    layer = nn.Dropout(0.3).reset_parameters(0)
    y = layer(tw.ones(100_000)).numpy()
    assert abs((y == 0).mean() - 0.3) < 0.01
    assert abs(y.mean() - 1) < 0.01
    assert (layer(tw.ones(100_000)).numpy() != y).any()
    assert not nn.Dropout(1.0)(tw.ones(10)).numpy().any()
    gradient = tw.grad(lambda x: nn.Dropout(1.0)(x).sum())(tw.ones(10))
    assert not gradient.numpy().any()


def test_batch_norm_with_large_mean_is_exact() -> None:
    x = np.random.default_rng(0).standard_normal((50, 2)) + 1e4
    y = nn.BatchNorm1d(2)(x.astype(np.float32)).numpy()
    z = nn.BatchNorm1d(2, dtype="float64")(x).numpy()
    np.testing.assert_allclose(y, z, atol=2e-3)
