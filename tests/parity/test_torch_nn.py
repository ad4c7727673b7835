"""Every layer and loss against PyTorch's of the same name: values and gradients, to 1e-5."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.nn import losses

torch = pytest.importorskip("torch")
F = torch.nn.functional
Array = np.ndarray[Any, Any]
source = np.random.default_rng(11)


def draw(*shape: int) -> Array:
    return source.standard_normal(shape).astype(np.float32)


X = np.concatenate([draw(6, 4), np.zeros((1, 4), np.float32)])  # kinks at 0 count too
CUBE = draw(3, 5, 4)
LAYERS: list[tuple[str, Callable[[], Any], Callable[[], Any], tuple[Array, ...]]] = [
    ("Linear", lambda: nn.Linear(4, 3), lambda: torch.nn.Linear(4, 3), (X,)),
    ("Linear", lambda: nn.Linear(4, 3, bias=False), lambda: torch.nn.Linear(4, 3, False), (CUBE,)),
    ("Bilinear", lambda: nn.Bilinear(4, 3, 2), lambda: torch.nn.Bilinear(4, 3, 2),
     (draw(5, 4), draw(5, 3))),
    ("Identity", nn.Identity, torch.nn.Identity, (X,)),
    ("Flatten", nn.Flatten, torch.nn.Flatten, (CUBE,)),
    ("BatchNorm1d", lambda: nn.BatchNorm1d(4), lambda: torch.nn.BatchNorm1d(4), (X,)),
    ("BatchNorm1d", lambda: nn.BatchNorm1d(4, 1e-3, 0.3, False),
     lambda: torch.nn.BatchNorm1d(4, 1e-3, 0.3, False), (X,)),
    ("BatchNorm1d", lambda: nn.BatchNorm1d(5, axis=1), lambda: torch.nn.BatchNorm1d(5), (CUBE,)),
    ("BatchNorm1d", lambda: nn.BatchNorm1d(4, momentum=None),
     lambda: torch.nn.BatchNorm1d(4, momentum=None), (X,)),
    ("BatchNorm1d", lambda: nn.BatchNorm1d(4, track_running_stats=False),
     lambda: torch.nn.BatchNorm1d(4, track_running_stats=False), (X,)),
    ("LayerNorm", lambda: nn.LayerNorm(4), lambda: torch.nn.LayerNorm(4), (CUBE,)),
    ("LayerNorm", lambda: nn.LayerNorm((5, 4), 1e-3), lambda: torch.nn.LayerNorm((5, 4), 1e-3),
     (CUBE,)),
    ("RMSNorm", lambda: nn.RMSNorm(4), lambda: torch.nn.RMSNorm(4), (CUBE,)),
    ("Embedding", lambda: nn.Embedding(6, 3), lambda: torch.nn.Embedding(6, 3),
     (source.integers(0, 6, (4, 5)),)),
    ("Embedding", lambda: nn.Embedding(6, 3, padding_idx=2),
     lambda: torch.nn.Embedding(6, 3, padding_idx=2), (source.integers(0, 6, (9,)),)),
    ("Dropout", lambda: nn.Dropout(0.0), lambda: torch.nn.Dropout(0.0), (X,)),
    ("Sequential", lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
     lambda: torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)),
     (X,)),
    ("LeakyReLU", lambda: nn.LeakyReLU(0.2), lambda: torch.nn.LeakyReLU(0.2), (X,)),
    ("ELU", lambda: nn.ELU(1.5), lambda: torch.nn.ELU(1.5), (X,)),
    ("GELU", nn.GELU, torch.nn.GELU, (X,)),
    ("GELU", lambda: nn.GELU("tanh"), lambda: torch.nn.GELU("tanh"), (X,)),
    ("Softplus", lambda: nn.Softplus(2.0), lambda: torch.nn.Softplus(2.0), (X,)),
    ("Softmax", lambda: nn.Softmax(0), lambda: torch.nn.Softmax(0), (X,)),
    ("LogSoftmax", nn.LogSoftmax, lambda: torch.nn.LogSoftmax(-1), (X,)),
    ("Hardtanh", lambda: nn.Hardtanh(-0.4, 0.6), lambda: torch.nn.Hardtanh(-0.4, 0.6), (X,)),
]  # fmt: skip
PLAIN = (
    "Sigmoid", "LogSigmoid", "Tanh", "ReLU", "SELU", "SiLU", "Hardsigmoid", "Hardswish", "ReLU6",
    "Mish", "Softsign", "Hardtanh", "Softplus", "ELU", "LeakyReLU",
)  # fmt: skip
LAYERS += [(n, getattr(nn, n), getattr(torch.nn, n), (3 * X,)) for n in PLAIN]
ALONE = {"Module", "Activation", "Weighted", "Step"}  # PyTorch has no such layers

ALONE |= {  # nor these, or they hold others only
    "GlobalAvgPool", "GlobalMaxPool", "LearnedPositions", "ModuleDict", "ModuleList",
    "PatchEmbedding", "Residual", "RotaryEmbedding", "SinusoidalPositions", "StochasticDepth",
}
ELSEWHERE = {  # test_torch_conv, test_torch_recurrent, test_torch_attention
    *(f"{name}{rank}d" for rank in (1, 2, 3) for name in (
        "AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "Conv", "ConvTranspose", "MaxPool")),
    "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "GroupNorm", "AlphaDropout",
    "Dropout1d", "Dropout2d", "CircularPad2d", "ReflectionPad2d", "ReplicationPad2d", "ZeroPad2d",
    "PixelShuffle", "PixelUnshuffle", "SpectralNorm", "Upsample", "GRU", "LSTM", "RNN",
    "MultiHeadAttention", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer",
}  # fmt: skip


def shared(ours: Any, theirs: Any) -> dict[str, Any]:
    """Give both the same parameters, in PyTorch's order of axes; return PyTorch's by our paths."""
    own = ours.parameters()
    pairs = dict(theirs.named_parameters())
    for path, parameter in own.items():
        value = draw(*parameter.shape)
        parameter.assign(value)
        pairs[path].data = torch.from_numpy(to_torch(ours, path, value))
    return pairs


def to_torch(model: Any, path: str, value: Array) -> Array:
    layer = model.named_modules()[path.rpartition(".")[0]]
    if isinstance(layer, nn.Linear) and value.ndim == 2:
        return np.ascontiguousarray(value.T)
    return np.ascontiguousarray(np.moveaxis(value, -1, 0)) if value.ndim == 3 else value


def close(ours: Any, theirs: Any, what: str) -> None:
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=1e-5, err_msg=what)


def test_all_layers_and_losses_are_compared() -> None:
    known = {n for n in nn.__all__ if inspect.isclass(getattr(nn, n))
             and issubclass(getattr(nn, n), nn.Module)}  # fmt: skip
    assert known - ALONE - ELSEWHERE == {row[0] for row in LAYERS}
    assert set(losses.LOSSES) == {row[0] for row in LOSSES}


@pytest.mark.parametrize("row", LAYERS, ids=[f"{i}-{r[0]}" for i, r in enumerate(LAYERS)])
def test_layer(row: Any) -> None:
    name, make, make_theirs, inputs = row
    ours, theirs = make(), make_theirs()
    pairs = shared(ours, theirs)
    floating = inputs[0].dtype == np.float32
    argnums = (0, *range(1, 1 + len(inputs))) if floating else (0,)
    for mode in (True, True, False):
        ours.train(mode)
        theirs.train(mode)
        tensors = [torch.tensor(x, requires_grad=floating) for x in inputs]
        expected = theirs(*tensors)
        weights = draw(*expected.shape)
        theirs.zero_grad()
        if expected.requires_grad:
            (expected * torch.from_numpy(weights)).sum().backward()
        close(ours.copy()(*inputs), expected, name)

        def loss(model: Any, *xs: Any, weights: Array = weights) -> tw.Tensor:
            return (model(*xs) * weights).sum()  # type: ignore[no-any-return]

        grads = tw.grad(loss, argnums=argnums)(ours, *inputs)
        for path, gradient in grads[0].items():
            wanted = pairs[path].grad.numpy()
            close(to_torch(ours, path, gradient.numpy()), wanted, f"{name}.{path}")
        for gradient, tensor in zip(grads[1:], tensors, strict=False):
            close(gradient, tensor.grad, f"{name} input")
        for path, buffer in ours.buffers().items():
            if "running" in path:
                close(buffer, dict(theirs.named_buffers())[path], path)


LOGITS, OTHER = draw(6, 4), draw(6, 4)
P = 1 / (1 + np.exp(-LOGITS))
SOFT = (np.exp(OTHER) / np.exp(OTHER).sum(1, keepdims=True)).astype(np.float32)
LOG_P = (LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))).astype(np.float32)
LABELS = np.array([0, 3, 1, 1, 2, 0])
IGNORING = np.array([0, -7, 1, -7, 2, 0])
BITS = (OTHER > 0).astype(np.float32)
WEIGHTS = np.array([0.5, 1.0, 2.0, 3.0], np.float32)


def _focal(x: Any, t: Any, reduction: str, gamma: float = 2.0, alpha: float = 0.25) -> Any:
    """Return torchvision's sigmoid_focal_loss."""
    p = torch.sigmoid(x)
    rows = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    p_t = p * t + (1 - p) * (1 - t)
    rows = (alpha * t + (1 - alpha) * (1 - t)) * rows * (1 - p_t) ** gamma
    return reduce(rows, reduction)


def reduce(rows: Any, reduction: str) -> Any:
    return rows if reduction == "none" else getattr(rows, reduction)()


def _quadratic(x: Any, t: Any, reduction: str) -> Any:
    rows = (x - t) ** 2 / 2
    return rows.sum() / len(x) if reduction == "mean" else reduce(rows, reduction)


def _with_axis_last(function: Any) -> Any:
    def run(x: Any, t: Any, **options: Any) -> Any:
        x = x.movedim(-1, 1)
        if t.dtype.is_floating_point:
            t = t.movedim(-1, 1)
        return function(x, t, **options)

    return run


CE = _with_axis_last(F.cross_entropy)
W = {"class_weights": WEIGHTS}
TW = {"weight": torch.from_numpy(WEIGHTS)}
LOSSES: list[tuple[str, Any, Array, Array, dict[str, Any], dict[str, Any]]] = [
    ("mse", F.mse_loss, LOGITS, OTHER, {}, {}),
    ("quadratic", _quadratic, LOGITS, OTHER, {}, {}),
    ("mae", F.l1_loss, LOGITS, OTHER, {}, {}),
    ("mae", F.l1_loss, LOGITS, LOGITS, {}, {}),
    ("huber", F.huber_loss, LOGITS, OTHER, {}, {}),
    ("huber", F.huber_loss, LOGITS, OTHER, {"delta": 0.3}, {"delta": 0.3}),
    ("cosine", lambda x, t, reduction: reduce(1 - F.cosine_similarity(x, t, -1), reduction),
     LOGITS, OTHER, {}, {}),
    ("hinge", lambda x, t, reduction: reduce((1 - x * t).clamp(min=0), reduction),
     LOGITS, BITS * 2 - 1, {}, {}),
    ("focal", _focal, LOGITS, BITS, {}, {}),
    ("focal", _focal, LOGITS, BITS, {"gamma": 1.5, "alpha": 0.6}, {"gamma": 1.5, "alpha": 0.6}),
    ("binary_cross_entropy", F.binary_cross_entropy, P, BITS, {}, {}),
    ("binary_cross_entropy", F.binary_cross_entropy, P, SOFT, {}, {}),
    ("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, LOGITS, BITS, {}, {}),
    ("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, 0 * LOGITS, SOFT,
     {"pos_weight": WEIGHTS}, {"pos_weight": torch.from_numpy(WEIGHTS)}),
    ("kl_divergence", F.kl_div, LOG_P, SOFT, {}, {}),
    ("kl_divergence", F.kl_div, LOG_P, np.eye(4, dtype=np.float32)[LABELS], {}, {}),
    ("kl_divergence", F.kl_div, LOG_P, np.log(SOFT), {"log_target": True}, {"log_target": True}),
    ("nll", F.nll_loss, LOG_P, LABELS, {}, {}),
    ("nll", F.nll_loss, LOG_P, LABELS, W, TW),
    ("nll", F.nll_loss, LOG_P, IGNORING, W | {"ignore_index": -7}, TW | {"ignore_index": -7}),
    ("cross_entropy", CE, LOGITS, LABELS, {}, {}),
    ("cross_entropy", CE, 40 * LOGITS, LABELS, {}, {}),
    ("cross_entropy", CE, CUBE, source.integers(0, 4, (3, 5)), {}, {}),
    ("cross_entropy", CE, LOGITS, SOFT, {}, {}),
    ("cross_entropy", CE, LOGITS, SOFT, W | {"label_smoothing": 0.2},
     TW | {"label_smoothing": 0.2}),
    ("cross_entropy", CE, LOGITS, LABELS, W, TW),
    ("cross_entropy", CE, LOGITS, IGNORING, {"ignore_index": -7}, {"ignore_index": -7}),
    ("cross_entropy", CE, LOGITS, LABELS, {"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    ("cross_entropy", CE, LOGITS, IGNORING, W | {"label_smoothing": 0.1, "ignore_index": -7},
     TW | {"label_smoothing": 0.1, "ignore_index": -7}),
]  # fmt: skip


@pytest.mark.parametrize("row", LOSSES, ids=[f"{i}-{r[0]}" for i, r in enumerate(LOSSES)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # PyTorch's advice on kl_div
def test_loss(row: Any, reduction: str) -> None:
    name, theirs, x, t, options, their_options = row
    loss = losses.get(name)
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor, torch.from_numpy(t), reduction=reduction, **their_options)
    weights = draw(*expected.shape)
    (expected * torch.from_numpy(weights)).sum().backward()
    close(loss(x, t, reduction=reduction, **options), expected, name)
    gradient = tw.grad(lambda x: (loss(x, t, reduction=reduction, **options) * weights).sum())
    close(gradient(tw.tensor(x)), tensor.grad, f"{name} gradient")


def test_batchmean() -> None:
    wanted = F.kl_div(torch.from_numpy(LOG_P), torch.from_numpy(SOFT), reduction="batchmean")
    close(losses.kl_divergence(LOG_P, SOFT), wanted, "batchmean")


def test_all_rows_ignored_is_nan_as_in_pytorch() -> None:
    labels = np.full(6, -7)
    assert np.isnan(losses.cross_entropy(LOGITS, labels, ignore_index=-7).item())
