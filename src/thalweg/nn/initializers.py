"""Initial values of weights: distributions scaled to keep signals and gradients at size one.

Weights have the shape ``(..., fan_in, fan_out)``: a matrix of a linear layer is
``(in_features, out_features)``, axes before the last two are the window of a convolution. Every
function takes a key first and gives a new NumPy array; the numbers depend on the key only
(Threefry, as in ``thalweg.random``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError, nearest, where
from thalweg.graph.dtype import as_dtype
from thalweg.nn.keys import Key, KeyLike, as_key
from thalweg.ops import random as _random  # noqa: F401  (it enters random_bits into the table)
from thalweg.ops.record import OPS
from thalweg.tensor.tensor import Tensor

Array = np.ndarray[Any, Any]
Initializer = Callable[..., Array]
Like = str | float | Initializer | Array | Tensor
CHUNK = 16_384  # elements drawn at a time: the cipher's hundred passes then stay in the L2 cache
_NORMAL_STREAM = 0x4000_0000  # as thalweg.random.normal counts its streams


def _unit(key: Key, counter: Array, stream: int) -> Array:
    """Return float32 numbers from 0 to 1, 24 bits each, for the given element numbers."""
    words = OPS["random_bits"].meaning(
        np, key[0], key[1], counter, np.asarray([stream], dtype=np.uint32)
    )
    unit: Array = (words >> np.uint32(8)).astype(np.float32)
    return np.multiply(unit, np.float32(2.0**-24), out=unit)


def _gauss(key: Key, counter: Array, round_: int = 0) -> Array:
    """Return standard normal numbers for the given element numbers (Box and Muller 1958)."""
    radius = np.float32(1) - _unit(key, counter, _NORMAL_STREAM + 2 * round_)  # never 0
    angle = _unit(key, counter, _NORMAL_STREAM + 2 * round_ + 1) * np.float32(2 * math.pi)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    np.cos(angle, out=angle)
    return np.multiply(radius, angle, out=radius)


def _filled(
    key: KeyLike, shape: Sequence[int], dtype: Any, draw: Callable[[Key, Array], Array]
) -> Array:
    """Return an array whose element number ``i`` is ``draw(key, i)``, computed in chunks."""
    words = as_key(key)
    made = np.empty(tuple(shape), dtype=as_dtype(dtype).numpy)
    flat = made.reshape(-1)
    with np.errstate(over="ignore"):  # the cipher adds modulo 2**32
        for start in range(0, flat.size, CHUNK):
            stop = min(start + CHUNK, flat.size)
            flat[start:stop] = draw(words, np.arange(start, stop, dtype=np.uint32))
    return made


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return how many inputs feed one output of a weight, and how many outputs one input feeds.

    Raises:
        ShapeError: fewer than two axes.

    >>> fans((784, 30)), fans((3, 3, 16, 32))
    ((784, 30), (144, 288))
    """
    if len(shape) < 2:
        raise ShapeError(
            f"fans: a weight of shape {tuple(shape)} has no fan-in and fan-out; it needs the axes "
            f"(..., fan_in, fan_out). Use normal, uniform or constant. {where()}"
        )
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


def zeros(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
    """Return zeros; the key is not used.

    >>> zeros(0, (2,))
    array([0., 0.], dtype=float32)
    """
    return np.zeros(tuple(shape), dtype=as_dtype(dtype).numpy)


def constant(
    key: KeyLike, shape: Sequence[int], dtype: Any = "float32", value: float = 1.0
) -> Array:
    """Return one number everywhere, 1 if not told otherwise; the key is not used.

    >>> constant(0, (2,), value=0.5)
    array([0.5, 0.5], dtype=float32)
    """
    return np.full(tuple(shape), value, dtype=as_dtype(dtype).numpy)


def uniform(
    key: KeyLike, shape: Sequence[int], dtype: Any = "float32", low: float = -0.05,
    high: float = 0.05,
) -> Array:  # fmt: skip
    """Return numbers spread evenly from ``low`` to ``high``.

    >>> bool(abs(uniform(0, (1000,), low=-2, high=2).mean()) < 0.1)
    True
    """
    return _filled(key, shape, dtype, lambda k, i: _unit(k, i, 0) * (high - low) + low)


def normal(
    key: KeyLike, shape: Sequence[int], dtype: Any = "float32", mean: float = 0.0,
    std: float = 0.05,
) -> Array:  # fmt: skip
    """Return numbers of the normal distribution.

    >>> bool(abs(normal(0, (1000,), std=2.0).std() - 2.0) < 0.1)
    True
    """
    return _filled(key, shape, dtype, lambda k, i: _gauss(k, i) * std + mean)


def truncated_normal(
    key: KeyLike, shape: Sequence[int], dtype: Any = "float32", mean: float = 0.0,
    std: float = 0.05, low: float = -2.0, high: float = 2.0,
) -> Array:  # fmt: skip
    """Return normal numbers between ``mean + low * std`` and ``mean + high * std``.

    A number outside is drawn again from the next stream. The cut makes the true standard
    deviation smaller: 0.88 ``std`` for the default bounds.

    Raises:
        ArgumentError: hardly any normal number lies between the bounds.

    >>> bool(abs(truncated_normal(0, (1000,), std=1.0)).max() <= 2)
    True
    """
    share = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if share < 0.01:
        raise ArgumentError(
            f"truncated_normal: only {share:.2%} of normal numbers lie from {low} to {high} "
            f"standard deviations; widen the bounds. {where()}"
        )

    def draw(k: Key, i: Array) -> Array:
        z = _gauss(k, i)
        round_ = 1
        while (outside := np.flatnonzero((z < low) | (z > high))).size:
            z[outside] = _gauss(k, i[outside], round_)
            round_ += 1
        return z * std + mean

    return _filled(key, shape, dtype, draw)


def _scaled_uniform(key: KeyLike, shape: Sequence[int], dtype: Any, variance: float) -> Array:
    bound = math.sqrt(3.0 * variance)
    return uniform(key, shape, dtype, -bound, bound)


def lecun_normal(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
    """Return normal numbers of variance ``1 / fan_in``; for SELU and for no activation.

    Y. LeCun et al., "Efficient BackProp" (1998).

    >>> bool(abs(lecun_normal(0, (100, 100)).std() - 0.1) < 0.005)
    True
    """
    return normal(key, shape, dtype, std=math.sqrt(1.0 / max(fans(shape)[0], 1)))


def lecun_uniform(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
    """Return uniform numbers of variance ``1 / fan_in``; see ``lecun_normal``.

    >>> bool(abs(lecun_uniform(0, (100, 100)).std() - 0.1) < 0.005)
    True
    """
    return _scaled_uniform(key, shape, dtype, 1.0 / max(fans(shape)[0], 1))


def glorot_normal(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
    """Return normal numbers of variance ``2 / (fan_in + fan_out)``; for tanh and sigmoid.

    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.

    >>> bool(abs(glorot_normal(0, (100, 100)).std() - 0.1) < 0.005)
    True
    """
    return normal(key, shape, dtype, std=math.sqrt(2.0 / max(sum(fans(shape)), 1)))


def glorot_uniform(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
    """Return uniform numbers of variance ``2 / (fan_in + fan_out)``; see ``glorot_normal``.

    >>> bool(abs(glorot_uniform(0, (100, 100)).std() - 0.1) < 0.005)
    True
    """
    return _scaled_uniform(key, shape, dtype, 2.0 / max(sum(fans(shape)), 1))


def he_normal(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
    """Return normal numbers of variance ``2 / fan_in``; for ReLU and its relatives.

    K. He et al., "Delving deep into rectifiers", arXiv:1502.01852.

    >>> bool(abs(he_normal(0, (200, 100)).std() - 0.1) < 0.005)
    True
    """
    return normal(key, shape, dtype, std=math.sqrt(2.0 / max(fans(shape)[0], 1)))


def he_uniform(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
    """Return uniform numbers of variance ``2 / fan_in``; see ``he_normal``.

    >>> bool(abs(he_uniform(0, (200, 100)).std() - 0.1) < 0.005)
    True
    """
    return _scaled_uniform(key, shape, dtype, 2.0 / max(fans(shape)[0], 1))


def orthogonal(
    key: KeyLike, shape: Sequence[int], dtype: Any = "float32", gain: float = 1.0
) -> Array:
    """Return a matrix with orthonormal rows or columns, whichever are fewer, times ``gain``.

    Axes before the last are taken as one. A. Saxe et al., "Exact solutions to the nonlinear
    dynamics of learning in deep linear neural networks", arXiv:1312.6120.

    Raises:
        ShapeError: fewer than two axes.

    >>> w = orthogonal(0, (3, 3))
    >>> bool(abs(w.T @ w - np.eye(3)).max() < 1e-5)
    True
    """
    fans(shape)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = (max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(normal(key, tall, "float64", std=1.0))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # else QR favours one orientation
    matrix = (q if rows >= columns else q.T) * gain
    return np.array(matrix.reshape(tuple(shape)), dtype=as_dtype(dtype).numpy, order="C")


INITIALIZERS: dict[str, Initializer] = {
    f.__name__: f for f in (
        constant, glorot_normal, glorot_uniform, he_normal, he_uniform, lecun_normal,
        lecun_uniform, normal, orthogonal, truncated_normal, uniform, zeros,
    )
}  # fmt: skip
_RECTIFIERS = (
    "elu", "gelu", "gelu_tanh", "hard_swish", "leaky_relu", "mish", "relu", "relu6", "silu",
    "softplus",
)  # fmt: skip
BY_ACTIVATION: dict[str, str] = dict.fromkeys(_RECTIFIERS, "he_normal") | {
    "selu": "lecun_normal"
}


def for_activation(name: str | None) -> Initializer:
    """Return the initialiser that suits the activation after a layer.

    He for the ReLU family, LeCun for SELU, Glorot (uniform) for all others and for none.

    >>> for_activation("relu").__name__, for_activation("tanh").__name__
    ('he_normal', 'glorot_uniform')
    """
    return INITIALIZERS[BY_ACTIVATION.get(name or "", "glorot_uniform")]


def get(given: Like) -> Initializer:
    """Return an initialiser for a name, a number, an array of values, or an initialiser.

    Raises:
        ArgumentError: the name is unknown.

    >>> get("he_normal") is he_normal
    True
    >>> get(0.5)(0, (2,))
    array([0.5, 0.5], dtype=float32)
    """
    if isinstance(given, str):
        if given not in INITIALIZERS:
            raise ArgumentError(
                f"the initialiser {given!r} is unknown; {nearest(given, INITIALIZERS)}. {where()}"
            )
        return INITIALIZERS[given]
    if isinstance(given, (bool, int, float)):
        number = float(given)
        return lambda key, shape, dtype="float32": constant(key, shape, dtype, number)
    if isinstance(given, (np.ndarray, Tensor)):
        values = np.array(given)

        def given_values(key: KeyLike, shape: Sequence[int], dtype: Any = "float32") -> Array:
            if values.shape != tuple(shape):
                raise ShapeError(
                    f"initial values of shape {values.shape} were given for a weight of shape "
                    f"{tuple(shape)}; they must be equal. {where()}"
                )
            return values.astype(as_dtype(dtype).numpy)

        return given_values
    if callable(given):
        return given
    raise ArgumentError(
        f"an initialiser is a name, a number, an array or a function (key, shape, dtype) -> array; "
        f"got {given!r}. {where()}"
    )
