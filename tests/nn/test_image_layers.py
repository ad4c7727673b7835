"""What is special to layers over space: messages, containers, dropout of channels, summaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DTypeError, ShapeError
from thalweg.formats.architecture import build, describe


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("layer", "x", "words"),
    [
        (nn.Conv2d(3, 8, 3), ones(2, 3, 32, 32), "Conv2d: .*seem to come first.*channels_first=Tr"),
        (nn.Conv2d(3, 8, 3, channels_first=True), ones(2, 32, 32, 3), "seem to come last"),
        (nn.Conv2d(3, 8, 3), ones(2, 32, 32, 5), "change in_channels of the layer to 5"),
        (nn.Conv2d(3, 8, 3), ones(32, 32, 3), "a batch axis"),
        (nn.Conv2d(1, 8, 3), ones(2, 28, 28), "a channels axis"),
        (nn.Conv2d(3, 8, 5), ones(2, 4, 9, 3), r"Conv2d: a window of 5 .* input has 4"),
        (nn.Conv1d(3, 8, 3, padding=4, padding_mode="reflect"), ones(1, 4, 3),
         "reflect padding by .* at least 5"),
        (nn.ConvTranspose2d(3, 8, 1, padding=2), ones(1, 3, 3, 3), "less padding"),
        (nn.ConvTranspose2d(3, 8, 2), ones(1, 3, 8, 8), "seem to come first"),
        (nn.BatchNorm2d(3), ones(2, 3, 8, 8), "seem to come first"),
        (nn.GroupNorm(1, 3), ones(2, 3, 8, 8), "seem to come first"),
        (nn.BatchNorm2d(3), ones(1, 1, 1, 3), "more than one value"),
        (nn.MaxPool2d(5), ones(1, 4, 8, 2), r"MaxPool2d: a window of 5"),
        (nn.PixelShuffle(2), ones(1, 4, 4, 6), "a multiple of upscale_factor"),
        (nn.Upsample(scale_factor=0.1), ones(1, 4, 4, 6), "leaves nothing"),
        (nn.ReflectionPad2d(4), ones(1, 9, 4, 6), "cannot pad a width of 4"),
        (nn.Residual(nn.Linear(4, 2)), ones(3, 4), r"Residual: the branch gives shape \(3, 2\)"),
    ],
)  # fmt: skip
def test_messages_name_layer_shape_and_remedy(layer: Any, x: Any, words: str) -> None:
    for run in (layer, tw.compile(lambda x: layer(x))):
        with pytest.raises(ShapeError, match=words) as caught:
            run(x)
        assert "test_image_layers.py" in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=3), "groups=3 must divide in_channels=4"),
        (lambda: nn.Conv2d(4, 6, 0), "kernel_size must be a whole number from 1"),
        (lambda: nn.Conv2d(4, 6, (3, 3, 3)), "kernel_size"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), "padding must be 'same', 'valid'"),
        (lambda: nn.Conv2d(4, 6, 3, padding=-1), "padding must be"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), "padding_mode must be one of"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, 2, 0, 2), "output_padding .* smaller"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, padding_mode="reflect"), "'zeros'"),
        (lambda: nn.MaxPool2d(2, padding=2), "more than half"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), "output_size"),
        (lambda: nn.Upsample(), "either size or scale_factor"),
        (lambda: nn.Upsample(2, mode="cubic"), "mode must be one of"),
        (lambda: nn.Upsample(2, align_corners=True), "align_corners"),
        (lambda: nn.ZeroPad2d(-1), "padding must be"),
        (lambda: nn.GroupNorm(3, 4), "must divide"),
        (lambda: nn.Dropout2d(1.5), "probability from 0 to 1"),
        (lambda: nn.StochasticDepth(0.5, "column"), "'row' or 'batch'"),
        (lambda: nn.SpectralNorm(nn.ReLU()), "wanted a layer with a weight"),
        (lambda: nn.ModuleList([nn.ReLU]), "make an object of it"),
        (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), "without dots"),
        (lambda: nn.Residual(lambda x: x), "wrap a function"),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        make()
    assert "test_image_layers.py" in str(caught.value)


def test_channels_first_is_the_same_layer() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype(np.float32)
    for make in (
        lambda first: nn.Conv2d(3, 4, 3, 2, 1, channels_first=first),
        lambda first: nn.ConvTranspose2d(3, 4, 3, 2, 1, channels_first=first),
        lambda first: nn.MaxPool2d(2, channels_first=first),
        lambda first: nn.AvgPool2d(2, channels_first=first),
        lambda first: nn.AdaptiveMaxPool2d(2, channels_first=first),
        lambda first: nn.GlobalAvgPool(True, channels_first=first),
        lambda first: nn.BatchNorm2d(3, channels_first=first),
        lambda first: nn.GroupNorm(3, 3, channels_first=first),
        lambda first: nn.Dropout2d(channels_first=first),
        lambda first: nn.Upsample((3, 9), channels_first=first),
        lambda first: nn.ZeroPad2d((1, 2, 3, 4), channels_first=first),
    ):
        last, first = make(False).reset_parameters(0), make(True).reset_parameters(0)
        wanted = np.moveaxis(last(x).numpy(), -1, 1)
        got = first(np.ascontiguousarray(np.moveaxis(x, -1, 1))).numpy()
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6, err_msg=repr(first))


def test_dropout_of_channels_samples_and_batches() -> None:
    x = tw.ones((40, 5, 6, 30))
    y = nn.Dropout2d(0.3).reset_parameters(0)(x).numpy()
    assert (y == y[:, :1, :1]).all()
    assert abs((y[:, 0, 0] == 0).mean() - 0.3) < 0.05
    assert abs(y.mean() - 1) < 0.08
    y = nn.StochasticDepth(0.3).reset_parameters(0)(tw.ones((2000, 2))).numpy()
    assert (y[:, 0] == y[:, 1]).all()
    assert abs((y[:, 0] == 0).mean() - 0.3) < 0.05
    layer = nn.StochasticDepth(0.3, "batch").reset_parameters(0)
    assert len({float(v) for _ in range(20) for v in layer(tw.ones((4, 2))).numpy().flat}) == 2
    for layer in (nn.StochasticDepth(1.0), nn.Dropout1d(1.0)):
        assert not layer(tw.ones((2, 3, 4))).numpy().any()


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    y = nn.AlphaDropout(0.2).reset_parameters(0)(x).numpy()
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1) < 0.02


def test_spectral_norm_makes_the_largest_singular_value_one() -> None:
    layer = nn.SpectralNorm(nn.Conv2d(3, 5, 3, bias=False)).reset_parameters(0)
    x = tw.ones((1, 5, 5, 3))
    for _ in range(50):
        layer(x)
    weight = layer._normalised().numpy().reshape(-1, 5)
    assert abs(np.linalg.svd(weight, compute_uv=False)[0] - 1) < 1e-4
    assert list(layer.parameters()) == ["layer.weight"]
    trained = nn.Linear(2, 2)
    before = trained.weight.numpy()
    nn.SpectralNorm(trained)
    np.testing.assert_array_equal(trained.weight.numpy(), before)


def test_lists_and_dicts_of_modules() -> None:
    blocks = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])
    blocks.append(nn.Linear(2, 3))
    blocks.insert(0, nn.Identity())
    blocks[0] = nn.Tanh()
    assert [type(b).__name__ for b in blocks] == ["Tanh", "Linear", "ReLU", "Linear"]
    assert list(blocks.parameters()) == ["1.weight", "1.bias", "3.weight", "3.bias"]
    assert len(blocks[1:3]) == 2
    assert blocks[-1] is blocks[3]
    with pytest.raises(IndexError):
        blocks[4]
    with pytest.raises(ArgumentError, match="defines no forward"):
        blocks(tw.ones((1, 2)))
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.Linear(2, 4)
    assert list(heads) == list(heads.keys()) == ["a", "b"]
    assert heads["b"].out_features == 4
    assert [n for n, _ in heads.items()] == ["a", "b"]
    assert len(list(heads.values())) == len(heads) == 2
    del heads["a"]
    assert "a" not in heads
    assert list(heads.parameters()) == ["b.weight", "b.bias"]


def test_a_list_that_changes_is_compiled_anew() -> None:
    blocks = nn.ModuleList([nn.Linear(2, 2, weight_init=np.eye(2))])

    @tw.compile
    def run(x: Any) -> Any:
        for block in blocks:
            x = block(x)
        return x

    assert run(tw.ones((1, 2))).tolist() == [[1.0, 1.0]]
    blocks.append(nn.Linear(2, 1, weight_init=2.0))
    assert run(tw.ones((1, 2))).tolist() == [[4.0]]


LAYERS = [
    lambda: nn.Conv2d(3, 4, (3, 2), 2, ((1, 0), 2), groups=1, channels_first=True, bias=False),
    lambda: nn.Conv1d(2, 2, 3, padding="same", padding_mode="circular"),
    lambda: nn.ConvTranspose2d(3, 4, 3, 2, 1, 1),
    lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    lambda: nn.AvgPool1d(2, count_include_pad=False),
    lambda: nn.AdaptiveAvgPool2d((1, None)),
    lambda: nn.GlobalMaxPool(True),
    lambda: nn.Upsample(scale_factor=(1.5, 2.0), mode="bilinear"),
    lambda: nn.BatchNorm2d(4, momentum=None, affine=False),
    lambda: nn.InstanceNorm1d(4, track_running_stats=True),
    lambda: nn.GroupNorm(2, 4, affine=False),
    lambda: nn.ReflectionPad2d((1, 2, 3, 4)),
    lambda: nn.StochasticDepth(0.1, "batch"),
    lambda: nn.Residual(nn.Conv1d(2, 3, 1), nn.Conv1d(2, 3, 1, bias=False)),
    lambda: nn.SpectralNorm(nn.Conv2d(1, 2, 3), 2),
    lambda: nn.ModuleList([nn.ReLU(), nn.Linear(2, 2)]),
    lambda: nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(2, 2)}),
]


@pytest.mark.parametrize("make", LAYERS)
def test_a_described_layer_is_built_again(make: Callable[[], Any]) -> None:
    layer = make()
    again = build(describe(layer))
    assert repr(again) == repr(layer)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in layer.state_dict().items()
    }


def test_repr_shows_what_differs() -> None:
    assert repr(nn.Conv2d(3, 4, 3, padding=1, bias=False)) == (
        "Conv2d(in_channels=3, out_channels=4, kernel_size=(3, 3), padding=((1, 1), (1, 1)), "
        "bias=False)"
    )
    assert repr(nn.MaxPool1d(2)) == "MaxPool1d(kernel_size=(2,))"


def test_hints_pass_through_norms_and_pools() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.MaxPool2d(2), nn.Dropout2d(), nn.ReLU(), seed=0
    )
    conv = model[0]
    assert conv.activation_hint == "relu"
    assert abs(conv.weight.numpy().std() - (2 / 27) ** 0.5) < 0.02  # He: 2 / fan_in


def test_fans_of_convolutions() -> None:
    for groups in (1, 4):
        layer = nn.Conv2d(16, 256, 3, groups=groups, weight_init="lecun_normal")
        assert abs(layer.weight.numpy().var() * 9 * 16 / groups - 1) < 0.1


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 2, 1), nn.ConvTranspose2d(3, 2, 1), nn.BatchNorm2d(3),
              nn.GroupNorm(1, 3), nn.InstanceNorm2d(3, affine=True)],
)  # fmt: skip
def test_other_dtypes_are_refused(layer: Any) -> None:
    with pytest.raises(DTypeError, match=type(layer).__name__):
        layer(np.ones((2, 3, 3, 3)))


def test_summary_of_images() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.ConvTranspose2d(8, 4, 2, 2),
        nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.GlobalAvgPool(), nn.Linear(4, 10),
    )  # fmt: skip
    rows = {row.layer: row for row in model.summary((16, 16, 3)).rows}
    shapes = [rows[str(i)].output_shape[1:] for i in range(10)]
    assert shapes == [
        (16, 16, 8), (16, 16, 8), (16, 16, 8), (8, 8, 8), (8, 8, 8), (16, 16, 4), (8, 8, 4),
        (16, 16, 4), (4,), (10,),
    ]  # fmt: skip
    places = 16 * 16
    assert rows["0"].parameters == 27 * 8 + 8
    assert rows["0"].flops == places * 8 * (2 * 27 + 1)  # and the bias
    assert rows["1"].parameters == 16
    assert rows["3"].flops == 3 * 64 * 8  # three comparisons a window of four
    assert rows["4"].flops == 64 * 8 * 2 * 9  # depthwise: nine products a number
    assert rows["5"].flops == 64 * 8 * 2 * 4 * 4 + places * 4  # 4 weights each
    assert rows["6"].flops == 4 * 64 * 4
    assert rows["7"].flops == 0
    example = model.summary(np.ones((4, 16, 16, 3), np.float32))
    assert example.rows[0].flops == 4 * rows["0"].flops
