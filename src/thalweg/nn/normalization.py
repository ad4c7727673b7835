"""Normalisation: features brought to mean 0 and variance 1, over the batch or over themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.graph.dtype import as_dtype
from thalweg.graph.node import Node
from thalweg.nn.inputs import check_dtype, label, node_of, widened
from thalweg.nn.keys import Key
from thalweg.nn.layers import new_parameter, positive
from thalweg.nn.module import Module
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import reductions as r
from thalweg.ops.record import cast_node
from thalweg.tensor.tensor import Parameter, Tensor, constant_tensor, finish, lift


def _buffer(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return constant_tensor(np.zeros(shape, as_dtype(dtype).numpy))


class BatchNorm1d(Module):
    r"""Each feature normalised over the batch.

    .. math:: y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta

    In training mean and variance are those of the batch (of all axes but the feature axis), and
    the running statistics move: ``running = (1 - momentum) * running + momentum * batch``, with
    the unbiased variance. In evaluation the running statistics are used.

    Args:
        num_features: size of the feature axis.
        eps: number added to the variance.
        momentum: weight of the newest batch; None averages all batches alike.
        affine: whether to learn ``weight`` and ``bias``.
        track_running_stats: whether to keep running statistics; without them the batch's are used
            in evaluation too.
        axis: the feature axis. It is the last one; PyTorch's is 1 for inputs with three axes.
        dtype: type of parameters and statistics.

    Shape:
        ``(batch, num_features)`` or ``(batch, length, num_features)`` to the same.

    Raises:
        ShapeError: another number of features or axes, or a single value a feature in training.
        DTypeError: the input has another dtype than the parameters.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.BatchNorm1d(1, eps=0.0)(tw.tensor([[1.0], [3.0]]))
        Tensor([[-1.],
                [ 1.]], dtype=float32)

    S. Ioffe and C. Szegedy, arXiv:1502.03167.
    """

    _ranks = (2, 3)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        axis: int = -1,
        dtype: Any = "float32",
    ) -> None:
        positive(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = int(num_features), eps, momentum
        self.axis = axis
        shape = (self.num_features,)
        self.weight = new_parameter(shape, dtype) if affine else None
        self.bias = new_parameter(shape, dtype) if affine else None
        self.running_mean = _buffer(shape, dtype) if track_running_stats else None
        self.running_var = _buffer(shape, dtype) if track_running_stats else None
        counts = momentum is None and track_running_stats
        self.batches = _buffer((), "int64") if counts else None
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Set scale and variance to 1, all else to 0."""
        for tensor, value in (
            (self.weight, 1), (self.bias, 0), (self.running_mean, 0), (self.running_var, 1),
            (self.batches, 0),
        ):  # fmt: skip
            if tensor is not None:
                tensor.assign(np.full(tensor.shape, value, tensor.dtype.numpy))

    def forward(self, x: Any) -> Tensor:
        """Return the normalised input, and in training move the running statistics."""
        who = label(self)
        node = node_of(x, who)
        axis = self._check(who, node)
        own = self.weight if self.weight is not None else self.running_mean
        if own is not None:
            check_dtype(who, node, own.dtype)
        wide = widened(node)
        shape = tuple(self.num_features if i == axis else 1 for i in range(node.rank))
        if self.running_mean is None or self.running_var is None:
            mean, variance = self._batch(who, wide, axis)
        elif self.training:
            mean, variance = self._batch(who, wide, axis)
            self._move(mean, variance, wide.size // self.num_features)
        else:
            mean = mv.reshape(lift(self.running_mean), shape)
            variance = mv.reshape(lift(self.running_var), shape)
        scale = e.rsqrt(e.add(variance, self.eps))
        if self.weight is not None:
            scale = e.multiply(scale, mv.reshape(lift(self.weight), shape))
        y = e.multiply(e.subtract(wide, mean), scale)
        if self.bias is not None:
            y = e.add(y, mv.reshape(lift(self.bias), shape))
        return finish(cast_node(y, node.dtype))

    def _check(self, who: str, x: Node) -> int:
        wanted = " or ".join(str(n) for n in self._ranks)
        if x.rank not in self._ranks:
            raise ShapeError(
                f"{who}: got an input of shape {x.shape}, wanted {wanted} axes with "
                f"{self.num_features} features on axis {self.axis}; reshape the input. {where()}"
            )
        axis = self.axis % x.rank
        if x.shape[axis] != self.num_features:
            raise ShapeError(
                f"{who}: got an input of shape {x.shape}, wanted {self.num_features} features on "
                f"axis {self.axis}, which has {x.shape[axis]}; change num_features or the axis. "
                f"{where()}"
            )
        return axis

    def _batch(self, who: str, x: Node, axis: int) -> tuple[Node, Node]:
        """Return mean and biased variance of the batch, with all axes kept."""
        if self.training and x.size // self.num_features < 2:
            raise ShapeError(
                f"{who}: got a training batch of shape {x.shape}, wanted more than one value a "
                f"feature; use a larger batch, or eval(). {where()}"
            )
        axes = tuple(i for i in range(x.rank) if i != axis)
        mean = r.mean(x, axes, keepdims=True)
        return mean, r.mean(e.square(e.subtract(x, mean)), axes, keepdims=True)

    def _move(self, mean: Node, variance: Node, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        share: float | Node = 0.0 if self.momentum is None else self.momentum
        if self.batches is not None:
            self.batches.assign(self.batches + 1)
            share = e.reciprocal(cast_node(lift(self.batches), mean.dtype))
        unbiased = e.multiply(variance, count / (count - 1))
        for tensor, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            old = lift(tensor)
            flat = mv.reshape(value, tensor.shape)
            new = e.add(e.multiply(old, e.subtract(1, share)) if isinstance(share, Node)
                        else e.multiply(old, 1 - share), e.multiply(flat, share))  # fmt: skip
            tensor.assign(finish(new))


def _shape_of(layer: str, given: int | Sequence[int]) -> tuple[int, ...]:
    shape = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    for size in shape:
        positive(layer, normalized_shape=size)
    if not shape:
        raise ArgumentError(f"{layer}: normalized_shape must name at least one axis. {where()}")
    return tuple(int(n) for n in shape)


class _TrailingNorm(Module):
    """A layer that normalises over its last axes."""

    normalized_shape: tuple[int, ...]
    weight: Parameter | None

    def _input(self, x: Any) -> tuple[Node, tuple[int, ...]]:
        """Return the checked input and the axes to normalise."""
        who = label(self)
        node = node_of(x, who)
        count = len(self.normalized_shape)
        if node.shape[-count:] != self.normalized_shape:
            wanted = ", ".join(map(str, self.normalized_shape))
            raise ShapeError(
                f"{who}: got an input of shape {node.shape}, wanted (..., {wanted}); "
                f"change normalized_shape, or reshape the input. {where()}"
            )
        if self.weight is not None:
            check_dtype(who, node, self.weight.dtype)
        return node, tuple(range(node.rank - count, node.rank))


class LayerNorm(_TrailingNorm):
    r"""Each example normalised over its own last axes.

    .. math:: y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta

    Args:
        normalized_shape: sizes of the axes to normalise over, the last of the input.
        eps: number added to the (biased) variance.
        affine: whether to learn ``weight``.
        bias: whether to learn ``bias`` too.
        dtype: type of the parameters.

    Shape:
        ``(..., *normalized_shape)`` to the same.

    Raises:
        ShapeError: the last axes have other sizes.
        DTypeError: the input has another dtype than the parameters.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.LayerNorm(2, eps=0.0)(tw.tensor([[1.0, 3.0]]))
        Tensor([[-1.,  1.]], dtype=float32)

    J. L. Ba et al., arXiv:1607.06450.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = _shape_of("LayerNorm", normalized_shape)
        self.eps = eps
        self.weight = new_parameter(self.normalized_shape, dtype) if affine else None
        self.bias = new_parameter(self.normalized_shape, dtype) if affine and bias else None
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Set the scale to 1 and the shift to 0."""
        for tensor, value in ((self.weight, 1), (self.bias, 0)):
            if tensor is not None:
                tensor.assign(np.full(tensor.shape, value, tensor.dtype.numpy))

    def forward(self, x: Any) -> Tensor:
        """Return the normalised input."""
        node, axes = self._input(x)
        wide = widened(node)
        centred = e.subtract(wide, r.mean(wide, axes, keepdims=True))
        variance = r.mean(e.square(centred), axes, keepdims=True)
        y = e.multiply(centred, e.rsqrt(e.add(variance, self.eps)))
        if self.weight is not None:
            y = e.multiply(y, lift(self.weight))
        if self.bias is not None:
            y = e.add(y, lift(self.bias))
        return finish(cast_node(y, node.dtype))


class RMSNorm(_TrailingNorm):
    r"""Each example divided by the root mean square of its own last axes.

    .. math:: y = \frac{x}{\sqrt{E[x^2] + \epsilon}} \gamma

    Args:
        normalized_shape: sizes of the axes to normalise over, the last of the input.
        eps: number added to the mean square; the input type's machine epsilon if None.
        affine: whether to learn ``weight``.
        dtype: type of the parameter.

    Shape:
        ``(..., *normalized_shape)`` to the same.

    Raises:
        ShapeError: the last axes have other sizes.
        DTypeError: the input has another dtype than the parameter.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.RMSNorm(2, eps=0.0)(tw.tensor([[4.0, 4.0]]))
        Tensor([[1., 1.]], dtype=float32)

    B. Zhang and R. Sennrich, arXiv:1910.07467.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        affine: bool = True,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = _shape_of("RMSNorm", normalized_shape)
        self.eps = eps
        self.weight = new_parameter(self.normalized_shape, dtype) if affine else None
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Set the scale to 1."""
        if self.weight is not None:
            self.weight.assign(np.ones(self.weight.shape, self.weight.dtype.numpy))

    def forward(self, x: Any) -> Tensor:
        """Return the scaled input."""
        node, axes = self._input(x)
        wide = widened(node)
        eps = self.eps
        if eps is None:
            eps = 2.0**-52 if wide.dtype.bits == 64 else 2.0**-23
        y = e.multiply(wide, e.rsqrt(e.add(r.mean(e.square(wide), axes, keepdims=True), eps)))
        if self.weight is not None:
            y = e.multiply(y, lift(self.weight))
        return finish(cast_node(y, node.dtype))
