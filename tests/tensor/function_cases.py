"""One or more examples for every public function, beside what NumPy says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tests.tensor import image_cases as image

import thalweg as tw

Array = np.ndarray[Any, Any]
source = np.random.default_rng(5)


class Example(NamedTuple):
    """A function applied to tensors, and the same for arrays."""

    arrays: tuple[Array, ...]
    ours: Callable[..., Any]
    numpy: Callable[..., Any]


A = source.normal(size=(3, 4))
B = source.normal(size=(3, 4))
CUBE = source.normal(size=(2, 3, 4))
POSITIVE = source.uniform(0.5, 3, (3, 4))
UNIT = source.uniform(-0.9, 0.9, (3, 4))
WHOLE = source.integers(-20, 20, (3, 4))
COUNT = source.integers(1, 6, (3, 4))
BOOL = source.random((3, 4)) < 0.5
OTHER = source.random((3, 4)) < 0.5
TIES = np.array([2.0, 1.0, 2.0, np.nan, 1.0])
ODD = np.array([1.0, np.nan, np.inf, -np.inf, 0.0])
SQUARE = source.normal(size=(4, 4))
PICTURE = source.normal(size=(2, 7, 8, 4))
LINE = source.normal(size=(2, 9, 3))
KERNEL = source.normal(size=(3, 3, 4, 6))


def same(name: str, *arrays: Array, numpy: str = "") -> list[Example]:
    """Return the example of a function that NumPy has too."""
    function = getattr(np, numpy or name)
    return [Example(arrays, getattr(tw, name), function)]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softplus(x: Array) -> Array:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


erf = np.vectorize(math.erf)
ONE = """abs ceil cos cosh exp expm1 floor isfinite negative round sign sin sinh square tan tanh
trunc flip max min mean prod sum std var argmax argmin ones_like transpose zeros_like argsort sort
trace diagonal diff squeeze tril triu all any count_nonzero"""
TWO = """add divide equal greater greater_equal hypot isclose less less_equal logaddexp maximum
minimum multiply not_equal subtract floor_divide remainder outer"""
EXAMPLES: dict[str, list[Example]] = {
    **{n: same(n, A) for n in ONE.split()},
    **{n: same(n, A, B) for n in TWO.split()},
    **{n: same(n, POSITIVE) for n in ("log", "log10", "log1p", "log2", "sqrt", "reciprocal")},
    **{n: same(n, BOOL, OTHER) for n in ("logical_and", "logical_or", "logical_xor")},
    **{n: same(n, WHOLE, COUNT) for n in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{n: same(n, UNIT, numpy=f"arc{n[1:]}") for n in ("asin", "acos", "atan", "asinh", "atanh")},
    **{n: same(n, ODD) for n in ("isnan", "isinf", "nan_to_num")},
    "acosh": same("acosh", POSITIVE + 1, numpy="arccosh"),
    "atan2": same("atan2", A, B, numpy="arctan2"),
    "logical_not": same("logical_not", BOOL),
    "bitwise_invert": same("bitwise_invert", WHOLE, numpy="invert"),
    "bitwise_left_shift": same("bitwise_left_shift", WHOLE, COUNT, numpy="left_shift"),
    "bitwise_right_shift": same("bitwise_right_shift", WHOLE, COUNT, numpy="right_shift"),
    "power": same("power", POSITIVE, B) + [
        Example((A,), lambda x, p=p: tw.power(x, p), lambda x, p=p: x**p) for p in (0, 1, 2, 3, -2)
    ],
    "pow": same("pow", POSITIVE, B, numpy="power"),
    "clip": [Example((A,), lambda x: tw.clip(x, -0.5, 1), lambda x: np.clip(x, -0.5, 1)),
             Example((A,), lambda x: tw.clip(x, max=0), lambda x: np.clip(x, None, 0)),
             Example((A, B), lambda x, y: tw.clip(x, y), lambda x, y: np.clip(x, y, None))],
    "where": [Example((BOOL, A, B), tw.where, np.where),
              Example((A,), lambda x: tw.where(x > 0, 1, 0), lambda x: np.where(x > 0, 1, 0)),
              Example((A,), lambda x: tw.where(x > 0, x, 0), lambda x: np.where(x > 0, x, 0))],
    "astype": [Example((A,), lambda x: tw.astype(x, "int32"), lambda x: x.astype(np.int32))],
    "rsqrt": [Example((POSITIVE,), tw.rsqrt, lambda x: 1 / np.sqrt(x))],
    "erf": [Example((A,), tw.erf, erf)],
    "relu": [Example((A,), tw.relu, lambda x: np.maximum(x, 0))],
    "sigmoid": [Example((A,), tw.sigmoid, sigmoid)],
    "step": [Example((A,), tw.step, lambda x: (x >= 0) * 1.0)],
    "leaky_relu": [Example((A,), tw.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x))],
    "elu": [Example((A,), tw.elu, elu)],
    "selu": [Example((A,), tw.selu, lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772))],
    "silu": [Example((A,), tw.silu, lambda x: x * sigmoid(x))],
    "gelu": [Example((A,), tw.gelu, lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2)))),
             Example((A,), lambda x: tw.gelu(x, approximate=True), lambda x: 0.5 * x * (
                 1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))],
    "softplus": [Example((A,), tw.softplus, softplus),
                 Example((A,), lambda x: tw.softplus(x, 2.0), lambda x: softplus(2 * x) / 2)],
    "log_sigmoid": [Example((A,), tw.log_sigmoid, lambda x: -softplus(-x))],
    "softsign": [Example((A,), tw.softsign, lambda x: x / (1 + np.abs(x)))],
    "hard_sigmoid": [Example((A * 3,), tw.hard_sigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1))],
    "hard_tanh": [Example((A,), tw.hard_tanh, lambda x: np.clip(x, -1, 1))],
    "hard_swish": [Example((A * 3,), tw.hard_swish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1))],
    "relu6": [Example((A * 5,), tw.relu6, lambda x: np.clip(x, 0, 6))],
    "mish": [Example((A,), tw.mish, lambda x: x * np.tanh(softplus(x)))],
    "softmax": [Example((A,), tw.softmax, softmax),
                Example((A,), lambda x: tw.softmax(x, 0), lambda x: softmax(x.T).T)],
    "log_softmax": [Example((A,), tw.log_softmax, lambda x: np.log(softmax(x)))],
    "logsumexp": [Example((A,), tw.logsumexp, lambda x: np.log(np.exp(x).sum())),
                  Example((A,), lambda x: tw.logsumexp(x, 1, True),
                          lambda x: np.log(np.exp(x).sum(1, keepdims=True)))],
    "stop_gradient": [Example((A,), tw.stop_gradient, lambda x: x)],
    "broadcast_to": [Example((A,), lambda x: tw.broadcast_to(x, (2, 3, 4)),
                             lambda x: np.broadcast_to(x, (2, 3, 4)))],
    "concatenate": [
        Example((A, B), lambda x, y: tw.concatenate([x, y]), lambda x, y: np.concatenate([x, y])),
        Example((A, WHOLE), lambda x, y: tw.concatenate([x, y], 1),
                lambda x, y: np.concatenate([x, y], 1)),
        Example((A, CUBE), lambda x, y: tw.concatenate([x, y], None),
                lambda x, y: np.concatenate([x, y], None)),
    ],
    "concat": [Example((A, B), lambda x, y: tw.concat([x, y], -1),
                       lambda x, y: np.concatenate([x, y], -1))],
    "expand_dims": [Example((A,), lambda x: tw.expand_dims(x, (0, -1)),
                            lambda x: np.expand_dims(x, (0, -1)))],
    "flatten": [Example((CUBE,), tw.flatten, lambda x: x.reshape(-1)),
                Example((CUBE,), lambda x: tw.flatten(x, 1), lambda x: x.reshape(2, 12))],
    "matrix_transpose": [Example((CUBE,), tw.matrix_transpose, lambda x: x.transpose(0, 2, 1))],
    "moveaxis": [Example((CUBE,), lambda x: tw.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1)),
                 Example((CUBE,), lambda x: tw.moveaxis(x, (2, 0), (0, 1)),
                         lambda x: np.moveaxis(x, (2, 0), (0, 1)))],
    "meshgrid": [Example((A[0], B[:, 0], POSITIVE[1]), tw.meshgrid, np.meshgrid),
                 Example((A[0], B[:, 0]), lambda x, y: tw.meshgrid(x, y, indexing="ij"),
                         lambda x, y: np.meshgrid(x, y, indexing="ij"))],
    "pad": [Example((A,), lambda x, m=m: tw.pad(x, [(1, 2), (2, 1)], m),
                    lambda x, m=m: np.pad(x, [(1, 2), (2, 1)], m))
            for m in ("constant", "reflect", "edge", "wrap")],
    "permute_dims": [Example((CUBE,), lambda x: tw.permute_dims(x, (2, 0, 1)),
                             lambda x: x.transpose(2, 0, 1))],
    "repeat": [Example((A,), lambda x: tw.repeat(x, 2, 1), lambda x: np.repeat(x, 2, 1)),
               Example((A,), lambda x: tw.repeat(x, 3), lambda x: np.repeat(x, 3))],
    "reshape": [Example((A,), lambda x: tw.reshape(x, (2, -1)), lambda x: x.reshape(2, -1))],
    "roll": [Example((A,), lambda x: tw.roll(x, 3), lambda x: np.roll(x, 3)),
             Example((A,), lambda x: tw.roll(x, (1, -1), (0, 1)),
                     lambda x: np.roll(x, (1, -1), (0, 1)))],
    "split": [Example((A,), lambda x: tw.split(x, 2, 1), lambda x: np.split(x, 2, 1)),
              Example((A,), lambda x: tw.split(x, [1, 3], 1), lambda x: np.split(x, [1, 3], 1))],
    "stack": [Example((A, B), lambda x, y: tw.stack([x, y], -1),
                      lambda x, y: np.stack([x, y], -1))],
    "swapaxes": [Example((CUBE,), lambda x: tw.swapaxes(x, 0, -1),
                         lambda x: np.swapaxes(x, 0, -1))],
    "tile": [Example((A,), lambda x: tw.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)))],
    "unstack": [Example((CUBE,), lambda x: tw.unstack(x, 1), lambda x: list(np.moveaxis(x, 1, 0)))],
    "einsum": [Example((A, CUBE), lambda x, y: tw.einsum("ab,cab->ca", x, y),
                       lambda x, y: np.einsum("ab,cab->ca", x, y)),
               Example((SQUARE,), lambda x: tw.einsum("ii", x), lambda x: np.einsum("ii", x))],
    "matmul": [Example((A, SQUARE), tw.matmul, np.matmul)],
    "tensordot": [Example((CUBE, A), lambda x, y: tw.tensordot(x, y, 2),
                          lambda x, y: np.tensordot(x, y, 2)),
                  Example((CUBE, A), lambda x, y: tw.tensordot(x, y, ((1,), (0,))),
                          lambda x, y: np.tensordot(x, y, ((1,), (0,))))],
    "vecdot": [Example((A, B), tw.vecdot, lambda x, y: (x * y).sum(-1))],
    "one_hot": [Example((COUNT,), lambda x: tw.one_hot(x, 6), lambda x: np.eye(6)[x]),
                Example((COUNT.astype(np.uint8),), lambda x: tw.one_hot(x, 300),
                        lambda x: np.eye(300)[x])],
    "scatter_add": [Example((A, B[:2]), lambda x, y: tw.scatter_add(x, tw.tensor([1, 1]), y),
                            lambda x, y: x + np.array([[0], [1], [0]]) * y.sum(0))],
    "take": [Example((A,), lambda x: tw.take(x, tw.tensor([2, 0, -1]), axis=0),
                     lambda x: x[[2, 0, -1]]),
             Example((A,), lambda x: tw.take(x, tw.tensor([5, 7])), lambda x: x.take([5, 7]))],
    "take_along_axis": [Example((A, COUNT % 3), lambda x, i: tw.take_along_axis(x, i, 0),
                                lambda x, i: np.take_along_axis(x, i, 0))],
    "cumulative_sum": [Example((A,), lambda x: tw.cumulative_sum(x, 1), lambda x: x.cumsum(1))],
    "cumsum": [Example((A[0],), tw.cumsum, np.cumsum)],
    "top_k": [Example((A,), lambda x: tw.top_k(x, 2), lambda x: [
        -np.sort(-x, 1)[:, :2], np.argsort(-x, 1)[:, :2]])],
    "arange": [Example((), lambda: tw.arange(2, 11, 3), lambda: np.arange(2, 11, 3)),
               Example((), lambda: tw.arange(5.0), lambda: np.arange(5.0)),
               Example((), lambda: tw.arange(5, 0, -2), lambda: np.arange(5, 0, -2))],
    "eye": [Example((), lambda: tw.eye(3, 4, 1), lambda: np.eye(3, 4, 1))],
    "full": [Example((), lambda: tw.full((2, 3), 2.5), lambda: np.full((2, 3), 2.5))],
    "full_like": [Example((A,), lambda x: tw.full_like(x, 7), lambda x: np.full_like(x, 7))],
    "linspace": [Example((), lambda: tw.linspace(1, 2, 5), lambda: np.linspace(1, 2, 5)),
                 Example((), lambda: tw.linspace(1, 2, 5, endpoint=False),
                         lambda: np.linspace(1, 2, 5, endpoint=False))],
    "ones": [Example((), lambda: tw.ones((2, 3)), lambda: np.ones((2, 3)))],
    "zeros": [Example((), lambda: tw.zeros(3, "int8"), lambda: np.zeros(3, np.int8))],
    "allclose": [Example((A, A + 1e-9), tw.allclose, np.allclose),
                 Example((A, B), tw.allclose, np.allclose)],
    "nonzero": [Example((A * BOOL,), tw.nonzero, np.nonzero)],
}  # fmt: skip
for _name in ["sum", "prod", "mean", "std", "var", "max", "min"]:
    EXAMPLES[_name] += [
        Example((CUBE,), lambda x, f=_name: getattr(tw, f)(x, (0, 2)),
                lambda x, f=_name: getattr(np, f)(x, (0, 2))),
        Example((CUBE,), lambda x, f=_name: getattr(tw, f)(x, -1, keepdims=True),
                lambda x, f=_name: getattr(np, f)(x, -1, keepdims=True)),
        Example((A[0, 0],), getattr(tw, _name), getattr(np, _name)),
    ]  # fmt: skip
for _name in ["all", "any"]:
    EXAMPLES[_name] += [Example((BOOL,), lambda x, f=_name: getattr(tw, f)(x, 0),
                                lambda x, f=_name: getattr(np, f)(x, 0))]  # fmt: skip
for _name in ["argmax", "argmin"]:
    EXAMPLES[_name] += [
        Example((TIES,), getattr(tw, _name), getattr(np, _name)),
        Example((A,), lambda x, f=_name: getattr(tw, f)(x, 1, keepdims=True),
                lambda x, f=_name: getattr(np, f)(x, 1, keepdims=True)),
        Example((A,), lambda x, f=_name: getattr(tw, f)(x, keepdims=True),
                lambda x, f=_name: getattr(np, f)(x, keepdims=True)),
    ]  # fmt: skip
EXAMPLES["argsort"] += [
    Example((TIES,), lambda x: tw.argsort(x), lambda x: np.argsort(x, stable=True)),
    Example((A,), lambda x: tw.argsort(x, 0, True), lambda x: np.argsort(-x, 0, stable=True)),
]  # fmt: skip
EXAMPLES["sort"] += [Example((A,), lambda x: tw.sort(x, 0, True), lambda x: -np.sort(-x, 0)),
                     Example((TIES,), tw.sort, np.sort)]  # fmt: skip
EXAMPLES["diagonal"] += [Example((CUBE,), lambda x, k=k: tw.diagonal(x, k, -1, 1),
                                 lambda x, k=k: np.diagonal(x, k, -1, 1))
                         for k in range(-5, 5)]  # fmt: skip
EXAMPLES["diff"] += [Example((WHOLE,), lambda x: tw.diff(x, 2, 0), lambda x: np.diff(x, 2, 0)),
                     Example((BOOL,), tw.diff, np.diff)]  # fmt: skip
EXAMPLES["tril"] += [Example((CUBE,), lambda x: tw.tril(x, 1), lambda x: np.tril(x, 1))]
EXAMPLES["triu"] += [Example((CUBE,), lambda x: tw.triu(x, -1), lambda x: np.triu(x, -1))]
EXAMPLES["flip"] += [Example((CUBE,), lambda x: tw.flip(x, (0, -1)), lambda x: np.flip(x, (0, -1)))]
EXAMPLES["transpose"] += [Example((CUBE,), lambda x: tw.transpose(x, (1, 0, 2)),
                                  lambda x: x.transpose(1, 0, 2))]  # fmt: skip
EXAMPLES["squeeze"] += [Example((A[:, None, :1],), lambda x: tw.squeeze(x, -1),
                                lambda x: x.squeeze(-1))]  # fmt: skip
EXAMPLES["hypot"] += [Example((np.array([1e30, 0, np.inf]), np.array([1e30, 0, np.nan])),
                              tw.hypot, np.hypot)]  # fmt: skip
EXAMPLES["logaddexp"] += [Example((np.array([1e3, -np.inf, np.inf]), np.array([1e3, -np.inf, 1])),
                                  tw.logaddexp, np.logaddexp)]  # fmt: skip
EXAMPLES["isclose"] += [Example((ODD, ODD), lambda x, y: tw.isclose(x, y, equal_nan=True),
                                lambda x, y: np.isclose(x, y, equal_nan=True))]  # fmt: skip
EXAMPLES["nan_to_num"] += [Example((ODD,), lambda x: tw.nan_to_num(x, 1.0, 2.0, 3.0),
                                   lambda x: np.nan_to_num(x, nan=1.0, posinf=2.0, neginf=3.0)),
                           ]  # fmt: skip
EXAMPLES["conv"] = [
    Example((PICTURE, KERNEL), lambda x, w: tw.conv(x, w, 2, 1),
            lambda x, w: image.conv(x, w, 2, 1)),
    Example((PICTURE, KERNEL), lambda x, w: tw.conv(x, w, padding=2, dilation=2,
                                                    padding_mode="reflect"),
            lambda x, w: image.conv(x, w, padding=2, dilation=2, mode="reflect")),
    Example((PICTURE, KERNEL[:, :, :2]), lambda x, w: tw.conv(x, w, groups=2),
            lambda x, w: image.conv(x, w, groups=2)),
    Example((PICTURE, KERNEL[:, :, :1, :4]), lambda x, w: tw.conv(x, w, groups=4, padding="same"),
            lambda x, w: image.conv(x, w, groups=4, padding=1)),
    Example((LINE, KERNEL[0, :, :3]), tw.conv, image.conv),
]  # fmt: skip
EXAMPLES["conv_transpose"] = [
    Example((PICTURE, KERNEL), lambda x, w: tw.conv_transpose(x, w, 2, 1, 1),
            lambda x, w: image.conv_transpose(x, w, 2, 1, 1)),
    Example((PICTURE, KERNEL), lambda x, w: tw.conv_transpose(x, w, groups=2),
            lambda x, w: image.conv_transpose(x, w, groups=2)),
]  # fmt: skip
EXAMPLES["max_pool"] = [
    Example((PICTURE,), lambda x: tw.max_pool(x, 3, 2, 1),
            lambda x: image.pool(x, 3, 2, 1, np.max, -np.inf)),
    Example((LINE,), lambda x: tw.max_pool(x, 2), lambda x: image.pool(x, 2, 2, 0, np.max, 0)),
]  # fmt: skip
EXAMPLES["avg_pool"] = [
    Example((PICTURE,), lambda x: tw.avg_pool(x, 2, 1, 1),
            lambda x: image.pool(x, 2, 1, 1, np.mean, 0)),
    Example((PICTURE,), lambda x: tw.avg_pool(x, 3, 2, 1, count_padding=False),
            lambda x: image.pool(x, 3, 2, 1, np.nanmean, np.nan)),
]  # fmt: skip
EXAMPLES["adaptive_avg_pool"] = [
    Example((PICTURE,), lambda x, n=n: tw.adaptive_avg_pool(x, n),
            lambda x, n=n: image.adaptive(x, n, np.mean)) for n in (1, 3)
]  # fmt: skip
EXAMPLES["adaptive_max_pool"] = [
    Example((PICTURE,), lambda x, n=n: tw.adaptive_max_pool(x, n),
            lambda x, n=n: image.adaptive(x, n, np.max)) for n in (1, 3)
]  # fmt: skip
EXAMPLES["resize"] = [
    Example((PICTURE,), lambda x, m=m: tw.resize(x, (11, 5), m),
            lambda x, m=m: image.resize(x, (11, 5), m)) for m in ("nearest", "linear")
]  # fmt: skip
EXAMPLES["pixel_shuffle"] = [
    Example((PICTURE,), lambda x: tw.pixel_shuffle(x, 2), lambda x: image.shuffled(x, 2))
]
EXAMPLES["pixel_unshuffle"] = [
    Example((PICTURE,), lambda x: tw.pixel_unshuffle(tw.pixel_shuffle(x, 2), 2), lambda x: x)
]


def attention(q: Array, k: Array, v: Array) -> Array:
    """Attention written out, head by head; two query heads read one key head."""
    y = np.zeros((*q.shape[:3], v.shape[3]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        scores = q[b, :, h] @ k[b, :, h // 2].T / math.sqrt(q.shape[3])
        y[b, :, h] = softmax(scores) @ v[b, :, h // 2]
    return y


EXAMPLES["scaled_dot_product_attention"] = [
    Example((PICTURE, PICTURE[:, ::2, :4], PICTURE[:, 1::2, 4:][:, [0, 1, 2, 0]]),
            tw.scaled_dot_product_attention, attention)
]  # fmt: skip
EAGER_ONLY = {"nonzero"}  # the shape of the result depends on the numbers
