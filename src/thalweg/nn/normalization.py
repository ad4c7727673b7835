"""Normalisation of each sample over its own features: LayerNorm, RMSNorm, GroupNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.graph.node import Node
from thalweg.nn.inputs import check_dtype, label, node_of, widened
from thalweg.nn.keys import Key
from thalweg.nn.layers import new_parameter, positive, within
from thalweg.nn.module import Module
from thalweg.nn.spatial import check_channels, placed
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import reductions as r
from thalweg.ops.record import cast_node
from thalweg.tensor.tensor import Parameter, Tensor, finish, lift


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
        within("LayerNorm", 0, eps=eps)
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
        within("RMSNorm", 0, eps=0 if eps is None else eps)
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


class GroupNorm(Module):
    r"""Each sample normalised over groups of its channels, and over all places.

    .. math:: y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta

    with mean and (biased) variance of each group of ``num_channels / num_groups`` channels; scale
    and shift belong to channels. One group is LayerNorm over all axes, as many as channels is
    InstanceNorm.

    Args:
        num_groups: number of groups; it divides ``num_channels``.
        num_channels: size of the channels axis.
        eps: number added to the variance.
        affine: whether to learn ``weight`` and ``bias``.
        channels_first: whether input and output are ``(batch, channels, ...spatial)``.
        dtype: type of the parameters.

    Shape:
        ``(batch, ...spatial, num_channels)`` to the same; there may be no spatial axes.

    Raises:
        ArgumentError: the groups do not divide the channels.
        ShapeError: another number of channels, or fewer than two axes.
        DTypeError: the input has another dtype than the parameters.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.GroupNorm(2, 4, eps=0.0)(tw.tensor([[1.0, 3.0, 5.0, 9.0]]))
        Tensor([[-1.,  1., -1.,  1.]], dtype=float32)

    Y. Wu and K. He, arXiv:1803.08494.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        channels_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        within("GroupNorm", 0, eps=eps)
        if num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}; "
                f"change one of them. {where()}"
            )
        self.num_groups, self.num_channels, self.eps = int(num_groups), int(num_channels), eps
        self.channels_first = bool(channels_first)
        self.weight = new_parameter((self.num_channels,), dtype) if affine else None
        self.bias = new_parameter((self.num_channels,), dtype) if affine else None
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Set the scale to 1 and the shift to 0."""
        for tensor, value in ((self.weight, 1), (self.bias, 0)):
            if tensor is not None:
                tensor.assign(np.full(tensor.shape, value, tensor.dtype.numpy))

    def forward(self, x: Any) -> Tensor:
        """Return the normalised input."""
        who = label(self)
        node = node_of(x, who)
        check_channels(who, node, self.num_channels, "num_channels", self.channels_first)
        if self.weight is not None:
            check_dtype(who, node, self.weight.dtype)
        wide = widened(node)
        if self.channels_first:
            wide = mv.moveaxis(wide, 1, -1)
        shape, size = wide.shape, self.num_channels // self.num_groups
        split = mv.reshape(wide, (*shape[:-1], self.num_groups, size))
        axes = (*range(1, wide.rank - 1), wide.rank)  # all but batch and group
        centred = e.subtract(split, r.mean(split, axes, keepdims=True))
        variance = r.mean(e.square(centred), axes, keepdims=True)
        y = mv.reshape(e.multiply(centred, e.rsqrt(e.add(variance, self.eps))), shape)
        if self.weight is not None and self.bias is not None:
            y = e.add(e.multiply(y, lift(self.weight)), lift(self.bias))
        return finish(cast_node(placed(y, self.channels_first), node.dtype))
