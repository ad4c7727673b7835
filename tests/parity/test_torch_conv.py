"""Layers over space against PyTorch's, over configurations drawn at random: values, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import thalweg as tw
from thalweg import nn
from thalweg.errors import ThalwegError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
Array = np.ndarray[Any, Any]
Draw = Callable[..., Any]
# Each example compiles a program; what differs between examples is the configuration.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same'", "ignore:Initializing zero-element"
)
drawn = settings(
    max_examples=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
ranks = st.integers(1, 3)


def first(x: Array) -> Array:
    """Return channels-last data with the channels first."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1)


def layer_of(library: Any, name: str, rank: int) -> Any:
    return getattr(library, f"{name}{rank}d")


def pair(name: str, rank: int, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Return our layer and PyTorch's, both in float64, or leave out what PyTorch refuses."""
    return (layer_of(nn, name, rank)(*args, **options),
            layer_of(torch.nn, name, rank)(*args, **options))  # fmt: skip


def numbers(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def same_parameters(ours: Any, theirs: Any, seed: int) -> None:
    """Give both the same random parameters and buffers, by way of from_torch."""
    theirs.double()
    source = np.random.default_rng(seed)
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(source.uniform(0.5, 1.5, tuple(value.shape))))
    ours.astype("float64")
    assert nn.from_torch(ours, theirs.state_dict()) == ([], [])
    back = nn.to_torch(ours)
    assert list(back) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(back[name], value.numpy(), err_msg=name)


def close(got: Any, wanted: Any, what: str, rtol: float) -> None:
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=rtol, atol=rtol, err_msg=what)


def agree(ours: Any, theirs: Any, x: Array, rtol: float = 1e-9, modes: Any = (True,)) -> None:
    """Compare outputs, all gradients and all buffers, eager and compiled; ``x`` is channels-last.

    A case that PyTorch refuses must be refused by us too.
    """
    same_parameters(ours, theirs, 7)
    state = ours.state_dict()
    for mode in modes:
        theirs.train(mode)
        ours.train(mode)
        tensor = torch.tensor(first(x), requires_grad=True)
        try:
            expected = theirs(tensor)
        except (RuntimeError, ValueError):
            with pytest.raises(ThalwegError):
                ours(x)
            return
        weights = numbers(tuple(expected.shape), 3)
        theirs.zero_grad()
        (expected * torch.from_numpy(weights)).sum().backward()
        after = {k: v.numpy().copy() for k, v in theirs.state_dict().items()}

        def loss(model: Any, x: Any, weights: Array = weights) -> Any:
            y = model(x)
            return (y * last(weights)).sum(), y

        step = tw.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        start = ours.state_dict()
        for run in (step, tw.compile(step)):
            ours.load_state_dict(start)
            (_, y), (parameters, gradient) = run(ours, tw.tensor(x))
            close(y, last(expected.detach().numpy()), "output", rtol)
            close(gradient, last(tensor.grad.numpy()), "input gradient", rtol)
            own = ours.copy()
            for path, value in parameters.items():
                own.parameters()[path].assign(value)
            named = nn.to_torch(own)
            for path, parameter in theirs.named_parameters():
                close(named[path], parameter.grad.numpy(), path, rtol)
            for path, value in nn.to_torch(ours).items():
                close(value, after[path], path, rtol)
        assert set(state) == set(ours.state_dict())


def sizes(draw: Draw, rank: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(low, high)) for _ in range(rank))


@st.composite
def convolutions(draw: Draw) -> tuple[int, dict[str, Any], Array]:
    rank = draw(ranks)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    depthwise = draw(st.booleans())
    inner = 1 if depthwise else draw(st.integers(1, 3))
    options: dict[str, Any] = {
        "in_channels": inner * groups,
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": sizes(draw, rank, 1, 3),
        "stride": sizes(draw, rank, 1, 3),
        "dilation": sizes(draw, rank, 1, 2),
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        "padding": draw(st.sampled_from(["same", "valid", None])),
    }
    if options["padding"] is None:
        options["padding"] = sizes(draw, rank, 0, 2)
    if options["padding"] == "same":
        options["stride"] = 1  # PyTorch has no strided "same"
    batch = draw(st.integers(1, 2))
    shape = (batch, *sizes(draw, rank, 1, 7 if rank < 3 else 4), inner * groups)
    return rank, options, numbers(shape, draw(st.integers(0, 99)))


@drawn
@given(convolutions())
def test_convolution(case: Any) -> None:
    rank, options, x = case
    agree(*pair("Conv", rank, **options), x)


@st.composite
def transposed(draw: Draw) -> tuple[int, dict[str, Any], Array]:
    rank, groups = draw(ranks), draw(st.sampled_from([1, 1, 2]))
    inner = groups * draw(st.integers(1, 3))
    options = {
        "in_channels": inner, "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": sizes(draw, rank, 1, 3), "stride": sizes(draw, rank, 1, 3),
        "dilation": sizes(draw, rank, 1, 2), "groups": groups, "bias": draw(st.booleans()),
        "padding": sizes(draw, rank, 0, 2),
    }  # fmt: skip
    options["output_padding"] = tuple(
        draw(st.integers(0, max(s, d) - 1))
        for s, d in zip(options["stride"], options["dilation"], strict=True)
    )
    shape = (draw(st.integers(1, 2)), *sizes(draw, rank, 1, 5 if rank < 3 else 3), inner)
    return rank, options, numbers(shape, draw(st.integers(0, 99)))


@drawn
@given(transposed())
def test_transposed_convolution(case: Any) -> None:
    rank, options, x = case
    agree(*pair("ConvTranspose", rank, **options), x)


@st.composite
def pools(draw: Draw, kind: str) -> tuple[int, dict[str, Any], Array]:
    rank = draw(ranks)
    kernel = sizes(draw, rank, 1, 4)
    options: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": draw(st.sampled_from([None, 1, 2, 3])),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    if kind == "MaxPool":
        options["dilation"] = sizes(draw, rank, 1, 2)
    else:
        options["count_include_pad"] = draw(st.booleans())
    # Of windows larger than the input PyTorch takes some: with ceil_mode, by padding. We take none.
    spreads = [(k - 1) * d + 1 for k, d in
               zip(kernel, options.get("dilation", (1,) * rank), strict=True)]  # fmt: skip
    space = tuple(draw(st.integers(n, n + (6 if rank < 3 else 2))) for n in spreads)
    x = numbers((draw(st.integers(1, 2)), *space, 3), draw(st.integers(0, 99)))
    return rank, options, np.round(x) if draw(st.booleans()) else x  # ties: the first one wins


@drawn
@given(pools("MaxPool"))
def test_max_pool(case: Any) -> None:
    rank, options, x = case
    agree(*pair("MaxPool", rank, **options), x)


@drawn
@given(pools("AvgPool"))
def test_average_pool(case: Any) -> None:
    rank, options, x = case
    agree(*pair("AvgPool", rank, **options), x)


@drawn
@given(ranks, st.sampled_from(["Avg", "Max"]), st.data())
def test_adaptive_pool(rank: int, kind: str, data: Any) -> None:
    parts = sizes(data.draw, rank, 1, 5 if rank < 3 else 2)
    shape = (data.draw(st.integers(1, 2)), *sizes(data.draw, rank, 1, 9 if rank < 3 else 4), 2)
    x = numbers(shape, data.draw(st.integers(0, 99)))
    agree(*pair(f"Adaptive{kind}Pool", rank, parts), x)


@drawn
@given(ranks, st.sampled_from([0.1, 0.5, None]), st.booleans(), st.booleans(), st.data())
def test_batch_norm(
    rank: int, momentum: float | None, affine: bool, track: bool, data: Any
) -> None:
    shape = (data.draw(st.integers(1, 3)), *sizes(data.draw, rank, 1, 4), 3)
    x = 3 * numbers(shape, data.draw(st.integers(0, 99))) + 1
    ours, theirs = pair("BatchNorm", rank, 3, 1e-3, momentum, affine, track)
    agree(ours, theirs, x, modes=(True, True, False))


@drawn
@given(st.integers(1, 2), st.booleans(), st.booleans(), st.data())
def test_instance_norm(rank: int, affine: bool, track: bool, data: Any) -> None:
    shape = (data.draw(st.integers(1, 3)), *sizes(data.draw, rank, 1, 4), 3)
    x = 3 * numbers(shape, data.draw(st.integers(0, 99))) + 1
    ours, theirs = pair("InstanceNorm", rank, 3, 1e-3, 0.3, affine, track)
    agree(ours, theirs, x, modes=(True, True, False))


@drawn
@given(st.integers(0, 3), st.sampled_from([1, 2, 3, 6]), st.booleans(), st.data())
def test_group_norm(rank: int, groups: int, affine: bool, data: Any) -> None:
    shape = (data.draw(st.integers(1, 3)), *sizes(data.draw, rank, 1, 4), 6)
    assume(np.prod(shape[1:]) > groups)  # PyTorch refuses a single value
    x = numbers(shape, data.draw(st.integers(0, 99)))
    options = {"num_groups": groups, "num_channels": 6, "eps": 1e-3, "affine": affine}
    agree(nn.GroupNorm(**options), torch.nn.GroupNorm(**options), x)


@drawn
@given(ranks, st.sampled_from(["nearest", "linear"]), st.booleans(), st.booleans(), st.data())
def test_upsample(rank: int, mode: str, corners: bool, by_size: bool, data: Any) -> None:
    shape = (data.draw(st.integers(1, 2)), *sizes(data.draw, rank, 1, 5), 2)
    x = numbers(shape, data.draw(st.integers(0, 99)))
    name = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank] if mode == "linear" else mode
    options: dict[str, Any] = {"mode": name}
    if mode == "linear":
        options["align_corners"] = corners
    if by_size:
        options["size"] = sizes(data.draw, rank, 1, 8)
        theirs = torch.nn.Upsample(**options)
    else:
        options["scale_factor"] = tuple(
            data.draw(st.sampled_from([1.0, 1.5, 2.0, 2.7, 3.0])) for _ in range(rank)
        )
        theirs = torch.nn.Upsample(**options, recompute_scale_factor=True)
    agree(nn.Upsample(**options), theirs, x)


@drawn
@given(st.sampled_from(["ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"]), st.data())
def test_padding(name: str, data: Any) -> None:
    shape = (data.draw(st.integers(1, 2)), *sizes(data.draw, 2, 1, 5), 2)
    padding = sizes(data.draw, 4, 0, 5)
    agree(*pair(name, 2, padding), numbers(shape, 1))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixel_shuffle(factor: int) -> None:
    x = numbers((2, 3, 5, 2 * factor**2), 0)
    agree(nn.PixelShuffle(factor), torch.nn.PixelShuffle(factor), x)
    x = numbers((2, 2 * factor, 3 * factor, 2), 0)
    agree(nn.PixelUnshuffle(factor), torch.nn.PixelUnshuffle(factor), x)


# --- spectral norm, and the interchange of whole models -----------------------------------------
LAYERS: list[tuple[str, tuple[int, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Linear", (4, 3), {}, (5, 4)),
    ("Conv1d", (4, 3, 2), {}, (2, 5, 4)),
    ("Conv2d", (4, 3, (2, 3)), {"bias": False}, (2, 5, 4, 4)),
    ("Conv2d", (4, 6, 2), {"groups": 2}, (2, 3, 4, 4)),
    ("Conv3d", (2, 3, 2), {}, (2, 3, 3, 3, 2)),
    ("ConvTranspose1d", (4, 3, 2), {"stride": 2}, (2, 5, 4)),
    ("ConvTranspose2d", (4, 6, (2, 3)), {"groups": 2}, (2, 3, 4, 4)),
    ("ConvTranspose3d", (2, 3, 2), {}, (1, 2, 3, 3, 2)),
]


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS)
@pytest.mark.parametrize("iterations", [1, 3])
def test_spectral_norm(name: str, args: Any, options: Any, shape: Any, iterations: int) -> None:
    torch.manual_seed(0)
    ours = nn.SpectralNorm(getattr(nn, name)(*args, **options), iterations)
    theirs = torch.nn.utils.parametrizations.spectral_norm(
        getattr(torch.nn, name)(*args, **options), n_power_iterations=iterations
    )
    spectral_agree(ours, theirs, numbers(shape, 1))


def spectral_agree(ours: Any, theirs: Any, x: Array) -> None:
    theirs.double()
    ours.astype("float64")
    assert nn.from_torch(ours, theirs.state_dict()) == ([], [])
    for mode in (True, True, False):
        theirs.train(mode)
        ours.train(mode)
        expected = theirs(torch.from_numpy(first(x)))
        weights = numbers(tuple(expected.shape), 3)
        theirs.zero_grad()
        (expected * torch.from_numpy(weights)).sum().backward()

        def loss(model: Any, weights: Array = weights) -> Any:
            y = model(x)
            return (y * last(weights)).sum(), y

        step = tw.compile(tw.value_and_grad(loss, has_aux=True))
        (_, y), gradients = step(ours)
        close(y, last(expected.detach().numpy()), "output", 1e-9)
        own = ours.copy()
        own.layer.weight.assign(gradients["layer.weight"])
        weight = "parametrizations.weight.original"
        wanted = dict(theirs.named_parameters())[weight].grad.numpy()
        close(nn.to_torch(own)[weight], wanted, "gradient", 1e-8)
        state = nn.to_torch(ours)
        for path, value in theirs.state_dict().items():
            close(state[path], value.numpy(), path, 1e-9)
    assert set(state) == set(theirs.state_dict())


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*is deprecated", "ignore:.*weight_norm")
def test_spectral_norm_of_older_files() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.utils.spectral_norm(torch.nn.Conv2d(4, 3, 2)).double()
    ours = nn.SpectralNorm(nn.Conv2d(4, 3, 2)).astype("float64")
    assert nn.from_torch(ours, theirs.state_dict()) == ([], [])
    x = numbers((2, 5, 4, 4), 1)
    expected = theirs.eval()(torch.from_numpy(first(x))).detach().numpy()
    close(ours.eval()(x), last(expected), "output", 1e-9)


ROUND_TRIPS: list[tuple[str, Any, Any]] = [
    ("Linear", (3, 2), {}),
    ("Linear", (3, 2), {"bias": False}),
    ("Bilinear", (2, 3, 4), {}),
    ("Embedding", (5, 3), {"padding_idx": 1}),
    ("LayerNorm", ((3, 4),), {}),
    ("RMSNorm", (4,), {}),
    ("GroupNorm", (2, 4), {}),
    ("BatchNorm1d", (4,), {}),
    ("BatchNorm2d", (4,), {"momentum": None}),
    ("BatchNorm3d", (4,), {"affine": False}),
    ("InstanceNorm2d", (4,), {"affine": True, "track_running_stats": True}),
    ("Dropout2d", (0.5,), {}),
    ("AlphaDropout", (0.5,), {}),
    ("RNN", (3, 4), {"num_layers": 2, "bidirectional": True}),
    ("LSTM", (3, 4), {"proj_size": 2}),
    ("GRU", (3, 4), {"bias": False}),
    *((name, args, options) for name, args, options, _ in LAYERS),
]


@pytest.mark.parametrize(("name", "args", "options"), ROUND_TRIPS)
def test_round_trip(name: str, args: Any, options: Any) -> None:
    theirs = getattr(torch.nn, name)(*args, **options)
    ours = getattr(nn, name)(*args, **options)
    for i, value in enumerate(theirs.state_dict().values()):
        with torch.no_grad():  # whole numbers too: num_batches_tracked
            value.copy_(10 * torch.from_numpy(np.asarray(numbers(tuple(value.shape), i))))
    state = theirs.state_dict()
    assert nn.from_torch(ours, state) == ([], [])
    back = nn.to_torch(ours)
    assert set(back) == set(state)
    for path, value in state.items():
        np.testing.assert_array_equal(back[path], value.numpy(), err_msg=path)
        assert back[path].dtype == value.numpy().dtype
    again = getattr(torch.nn, name)(*args, **options)
    again.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in back.items()})


class _Channels(nn.Module):
    """Channels moved to axis 1, as PyTorch flattens them."""

    def forward(self, x: Any) -> Any:
        return tw.moveaxis(x, -1, 1)


def test_a_model_of_many_layers() -> None:
    def make(library: Any, *flatten: Any) -> Any:
        return library.Sequential(
            library.Conv2d(3, 8, 3, padding=1), library.BatchNorm2d(8), library.ReLU(),
            library.Sequential(library.MaxPool2d(2), library.Dropout2d(0.5)),
            library.ConvTranspose2d(8, 4, 2, 2), library.GroupNorm(2, 4), library.Tanh(),
            library.AvgPool2d(2), *flatten, library.Linear(4 * 4 * 4, 5),
        )  # fmt: skip

    torch.manual_seed(0)
    theirs = make(torch.nn, torch.nn.Flatten())
    ours = make(nn, nn.Sequential(_Channels(), nn.Flatten()))
    x = numbers((2, 8, 8, 3), 0).astype(np.float32)
    with torch.no_grad():
        theirs(torch.from_numpy(first(x)))  # moves the running statistics
    state = theirs.state_dict()
    assert nn.from_torch(ours, {f"module.{k}": v for k, v in state.items()}) == ([], [])
    assert list(nn.to_torch(ours)) == list(state)
    expected = theirs.eval()(torch.from_numpy(first(x))).detach().numpy()
    np.testing.assert_allclose(ours.eval()(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_alpha_dropout_has_pytorchs_two_values() -> None:
    torch.manual_seed(0)
    x = np.linspace(-2, 2, 1000)
    theirs = torch.nn.AlphaDropout(0.3)(torch.from_numpy(x)).numpy()
    ours = nn.AlphaDropout(0.3)(x).numpy()
    lowest = [min(y, key=lambda v, y=y: (-(y == v).sum(), v)) for y in (ours, theirs)]
    assert abs(lowest[0] - lowest[1]) < 1e-9  # the value of what was dropped
    both = (ours != lowest[0]) & (theirs != lowest[1])
    np.testing.assert_allclose(ours[both], theirs[both], rtol=1e-9)
