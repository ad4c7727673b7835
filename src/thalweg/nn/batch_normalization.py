"""Normalisation of each feature over the batch or over one image: BatchNorm, InstanceNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from thalweg.errors import ShapeError, where
from thalweg.graph.dtype import as_dtype
from thalweg.graph.node import Node
from thalweg.nn.inputs import check_dtype, label, node_of, widened
from thalweg.nn.keys import Key
from thalweg.nn.layers import new_parameter, positive, within
from thalweg.nn.module import Module
from thalweg.nn.spatial import check_channels
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import reductions as r
from thalweg.ops.record import cast_node
from thalweg.tensor.tensor import Parameter, Tensor, constant_tensor, finish, lift


def _buffer(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return constant_tensor(np.zeros(shape, as_dtype(dtype).numpy))


class _FeatureNorm(Module):
    """What BatchNorm and InstanceNorm share: parameters, running statistics, the formula."""

    torch_names: ClassVar[Mapping[str, str | None]] = {"batches": "num_batches_tracked"}
    _ranks: ClassVar[tuple[int, ...]]
    _per_sample: ClassVar[bool] = False  # whether each sample has statistics of its own
    num_features: int
    eps: float
    momentum: float | None
    axis: int
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    batches: Tensor | None

    def _set_up(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track: bool,
        axis: int, dtype: Any,
    ) -> None:  # fmt: skip
        """Keep the arguments, and make parameters and statistics."""
        name = type(self).__name__
        positive(name, num_features=num_features)
        within(name, 0, eps=eps)
        within(name, 0, 1, momentum=0 if momentum is None else momentum)
        self.num_features, self.eps, self.momentum = int(num_features), eps, momentum
        self.axis = axis
        shape = (self.num_features,)
        self.weight = new_parameter(shape, dtype) if affine else None
        self.bias = new_parameter(shape, dtype) if affine else None
        self.running_mean = _buffer(shape, dtype) if track else None
        self.running_var = _buffer(shape, dtype) if track else None
        self.batches = _buffer((), "int64") if track else None
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
            self._move(mean, variance, self._count(wide))
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
        """Return the feature axis of a checked input."""
        wanted = " or ".join(str(n) for n in self._ranks)
        if x.rank not in self._ranks:
            raise ShapeError(
                f"{who}: got an input of shape {x.shape}, wanted {wanted} axes with "
                f"{self.num_features} features on axis {self.axis}; reshape the input. {where()}"
            )
        axis = self.axis % x.rank
        if x.shape[axis] != self.num_features and getattr(self, "channels_first", None) is not None:
            check_channels(who, x, self.num_features, "num_features", self.axis == 1)
        if x.shape[axis] != self.num_features:
            raise ShapeError(
                f"{who}: got an input of shape {x.shape}, wanted {self.num_features} features on "
                f"axis {self.axis}, which has {x.shape[axis]}; change num_features or the axis. "
                f"{where()}"
            )
        return axis

    def _count(self, x: Node) -> int:
        """Return how many numbers a mean is over."""
        return x.size // (self.num_features * (x.shape[0] if self._per_sample else 1))

    def _batch(self, who: str, x: Node, axis: int) -> tuple[Node, Node]:
        """Return mean and biased variance of the batch or its samples, with all axes kept."""
        if self.training and self._count(x) < 2:
            remedy = ("use a larger input" if self._per_sample else
                      "use a larger batch, or eval()")  # fmt: skip
            raise ShapeError(
                f"{who}: got a training batch of shape {x.shape}, wanted more than one value a "
                f"feature{' and sample' if self._per_sample else ''}; {remedy}. {where()}"
            )
        axes = tuple(i for i in range(1 if self._per_sample else 0, x.rank) if i != axis)
        mean = r.mean(x, axes, keepdims=True)
        return mean, r.mean(e.square(e.subtract(x, mean)), axes, keepdims=True)

    def _share(self, like: Node) -> float | Node:
        """Return the weight of the newest batch, which is counted."""
        assert self.batches is not None
        self.batches.assign(self.batches + 1)
        if self.momentum is not None:
            return self.momentum
        return e.reciprocal(cast_node(lift(self.batches), like.dtype))

    def _move(self, mean: Node, variance: Node, count: int) -> None:
        """Move the running statistics towards those of the batch."""
        assert self.running_mean is not None
        assert self.running_var is not None
        share = self._share(mean)
        unbiased = e.multiply(variance, count / (count - 1))
        for tensor, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            old = lift(tensor)
            if self._per_sample:
                value = r.mean(value, 0)
            flat = mv.reshape(value, tensor.shape)
            new = e.add(e.multiply(old, e.subtract(1, share)) if isinstance(share, Node)
                        else e.multiply(old, 1 - share), e.multiply(flat, share))  # fmt: skip
            tensor.assign(finish(new))


class BatchNorm1d(_FeatureNorm):
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

    _ranks: ClassVar[tuple[int, ...]] = (2, 3)

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
        self._set_up(num_features, eps, momentum, affine, track_running_stats, axis, dtype)


class _BatchNorm(_FeatureNorm):
    """BatchNorm over space; the feature axis is the channels."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        channels_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        self.channels_first = bool(channels_first)
        axis = 1 if channels_first else -1
        self._set_up(num_features, eps, momentum, affine, track_running_stats, axis, dtype)


class BatchNorm2d(_BatchNorm):
    r"""Each channel of images normalised over the batch and all places; see ``BatchNorm1d``.

    .. math:: y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta

    Args:
        num_features: number of channels.
        eps, momentum, affine, track_running_stats, dtype: as for ``BatchNorm1d``.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, num_features)`` to the same.

    Raises:
        ShapeError: another number of axes or channels, channels in the wrong place, or a single
            value a channel in training.
        DTypeError: the input has another dtype than the parameters.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> layer = nn.BatchNorm2d(3)
        >>> layer(tw.ones((2, 4, 4, 3))).shape
        (2, 4, 4, 3)
        >>> layer.running_mean
        Tensor([0.1, 0.1, 0.1], dtype=float32)

    S. Ioffe and C. Szegedy, arXiv:1502.03167.
    """

    _ranks: ClassVar[tuple[int, ...]] = (4,)


class BatchNorm3d(_BatchNorm):
    r"""Each channel of volumes normalised over the batch and all places; see ``BatchNorm1d``.

    .. math:: y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta

    Args:
        num_features: number of channels.
        eps, momentum, affine, track_running_stats, dtype: as for ``BatchNorm1d``.
        channels_first: whether input and output are ``(batch, channels, depth, height, width)``.

    Shape:
        ``(batch, depth, height, width, num_features)`` to the same.

    Raises:
        ShapeError, DTypeError: as for ``BatchNorm2d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.BatchNorm3d(3)(tw.ones((2, 4, 4, 4, 3))).shape
        (2, 4, 4, 4, 3)

    S. Ioffe and C. Szegedy, arXiv:1502.03167.
    """

    _ranks: ClassVar[tuple[int, ...]] = (5,)


class _InstanceNorm(_FeatureNorm):
    """InstanceNorm: statistics of each sample and channel."""

    _per_sample: ClassVar[bool] = True

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        channels_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        self.channels_first = bool(channels_first)
        axis = 1 if channels_first else -1
        self._set_up(num_features, eps, momentum, affine, track_running_stats, axis, dtype)

    def _share(self, like: Node) -> float | Node:
        """Return the weight of the newest batch; PyTorch does not count batches here."""
        assert self.momentum is not None
        return self.momentum


class InstanceNorm1d(_InstanceNorm):
    r"""Each channel of each sequence normalised over the sequence.

    .. math:: y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta

    Args:
        num_features: number of channels.
        eps: number added to the (biased) variance.
        momentum: weight of the newest batch in running statistics.
        affine: whether to learn ``weight`` and ``bias``; as in PyTorch it does not by default.
        track_running_stats: whether to keep running statistics (means over the samples of a
            batch), which are used in evaluation.
        channels_first: whether input and output are ``(batch, channels, length)``.
        dtype: type of parameters and statistics.

    Shape:
        ``(batch, length, num_features)`` to the same.

    Raises:
        ShapeError: another number of axes or channels, channels in the wrong place, or a single
            place in training.
        DTypeError: the input has another dtype than the parameters.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.InstanceNorm1d(1, eps=0.0)(tw.tensor([[[1.0], [3.0]]])).tolist()
        [[[-1.0], [1.0]]]

    D. Ulyanov et al., arXiv:1607.08022.
    """

    _ranks: ClassVar[tuple[int, ...]] = (3,)


class InstanceNorm2d(_InstanceNorm):
    r"""Each channel of each image normalised over the image; see ``InstanceNorm1d``.

    .. math:: y = \frac{x - E[x]}{\sqrt{Var[x] + \epsilon}} \gamma + \beta

    Args:
        num_features, eps, momentum, affine, track_running_stats, dtype: as for
            ``InstanceNorm1d``.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, num_features)`` to the same.

    Raises:
        ShapeError, DTypeError: as for ``InstanceNorm1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.InstanceNorm2d(3)(tw.ones((2, 4, 4, 3))).shape
        (2, 4, 4, 3)

    D. Ulyanov et al., arXiv:1607.08022.
    """

    _ranks: ClassVar[tuple[int, ...]] = (4,)
