"""Pooling layers: the largest element or the mean of each window."""

from __future__ import annotations

from typing import Any, ClassVar

from thalweg.errors import ArgumentError, where
from thalweg.graph.node import Node
from thalweg.nn.module import Module
from thalweg.nn.spatial import Pairs, Sizes, padding_of, per_axis, placed, spatial_input
from thalweg.ops import pooling
from thalweg.ops.convolution import Padding, check_window, padding_pairs
from thalweg.tensor.tensor import Tensor, finish


class _WindowPool(Module):
    """What pooling over windows shares: arguments and checks."""

    spatial: ClassVar[int]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool
    channels_first: bool

    def _set_up(
        self, kernel_size: Sizes, stride: Sizes | None, padding: Padding, dilation: Sizes,
        ceil_mode: bool, channels_first: bool,
    ) -> None:  # fmt: skip
        """Check and keep the arguments."""
        name, rank = type(self).__name__, self.spatial
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, rank)
        self.stride = self.kernel_size
        if stride is not None:
            self.stride = per_axis(name, "stride", stride, rank)
        self.padding = padding_of(name, padding, rank)
        self.dilation = per_axis(name, "dilation", dilation, rank)
        self.ceil_mode, self.channels_first = bool(ceil_mode), bool(channels_first)
        if isinstance(self.padding, str):
            return
        for pair, k, d in zip(self.padding, self.kernel_size, self.dilation, strict=True):
            spread = (k - 1) * d + 1
            if max(pair) > spread // 2:  # else a window may lie in the padding alone
                raise ArgumentError(
                    f"{name}: padding by {pair} is more than half of a window of {spread} "
                    f"elements; use less padding or a larger kernel_size. {where()}"
                )

    def _input(self, x: Any) -> tuple[Node, list[tuple[int, int]]]:
        """Return the checked input with its channels last, and the padding of each axis."""
        who, node = spatial_input(self, x, self.spatial, self.channels_first)
        space = node.shape[1:-1]
        pairs = padding_pairs(
            self.padding, space, self.kernel_size, self.stride, self.dilation, who
        )
        check_window(space, pairs, self.kernel_size, self.dilation, who)
        return node, pairs

    def arguments(self) -> str:
        """Return the size of the window, and what differs from the defaults."""
        ones, none = (1,) * self.spatial, ((0, 0),) * self.spatial
        usual = {
            "stride": self.kernel_size, "padding": none, "dilation": ones, "ceil_mode": False,
            "count_include_pad": True, "channels_first": False,
        }  # fmt: skip
        shown = [f"kernel_size={self.kernel_size}"]
        for name, default in usual.items():
            if getattr(self, name, default) != default:
                shown.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(shown)


class _MaxPool(_WindowPool):
    """The largest element of each window."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Padding = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        *,
        channels_first: bool = False,
    ) -> None:
        self._set_up(kernel_size, stride, padding, dilation, ceil_mode, channels_first)

    def forward(self, x: Any) -> Tensor:
        """Return the largest element of each window."""
        node, pairs = self._input(x)
        y = pooling.max_pool(
            node, self.kernel_size, self.stride, pairs, self.dilation, self.ceil_mode
        )
        return finish(placed(y, self.channels_first))


class MaxPool1d(_MaxPool):
    r"""The largest element of each window of a sequence, channel by channel.

    .. math:: y_{t,c} = \max_k x_{t s + k d - p,\; c}

    Args:
        kernel_size: size of the window.
        stride: from window to window; the size of the window if None.
        padding: as for ``Conv1d``, at most half of the window; what is padded never wins.
        dilation: distance of a window's elements.
        ceil_mode: whether a last window that leaves the input counts.
        channels_first: whether input and output are ``(batch, channels, length)``.

    Shape:
        ``(batch, length, channels)`` to ``(batch, windows, channels)``.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: another number of axes, or a window larger than the padded input.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.MaxPool1d(2)(tw.tensor([[[1.0], [3.0], [2.0], [0.0]]])).tolist()
        [[[3.0], [2.0]]]

    M. Ranzato et al., "Unsupervised learning of invariant feature hierarchies", 2007.
    """

    spatial: ClassVar[int] = 1


class MaxPool2d(_MaxPool):
    r"""The largest element of each window of an image, channel by channel.

    .. math:: y_{h,w,c} = \max_{k,l} x_{h s + k d - p,\; w s + l d - p,\; c}

    Args:
        kernel_size, stride, dilation: as for ``MaxPool1d``; a number, or one each for height and
            width.
        padding: as for ``Conv2d``, at most half of the window.
        ceil_mode: whether last windows that leave the input count.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, rows, columns, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``MaxPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.MaxPool2d(3, stride=2, padding=1)(tw.ones((2, 32, 32, 8))).shape
        (2, 16, 16, 8)

    M. Ranzato et al., "Unsupervised learning of invariant feature hierarchies", 2007.
    """

    spatial: ClassVar[int] = 2


class MaxPool3d(_MaxPool):
    r"""The largest element of each window of a volume, channel by channel.

    .. math:: y_{p,c} = \max_q x_{p s + q d - o,\; c}

    Args:
        kernel_size, stride, padding, dilation, ceil_mode, channels_first: as for ``MaxPool2d``,
            for depth, height and width.

    Shape:
        ``(batch, depth, height, width, channels)`` to ``(batch, layers, rows, columns, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``MaxPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.MaxPool3d(2)(tw.ones((1, 4, 6, 8, 3))).shape
        (1, 2, 3, 4, 3)
    """

    spatial: ClassVar[int] = 3


class _AvgPool(_WindowPool):
    """The mean of each window."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        channels_first: bool = False,
    ) -> None:
        self._set_up(kernel_size, stride, padding, 1, ceil_mode, channels_first)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each window."""
        node, pairs = self._input(x)
        y = pooling.avg_pool(
            node, self.kernel_size, self.stride, pairs, self.ceil_mode, self.count_include_pad
        )
        return finish(placed(y, self.channels_first))


class AvgPool1d(_AvgPool):
    r"""The mean of each window of a sequence, channel by channel.

    .. math:: y_{t,c} = \frac{1}{K} \sum_k x_{t s + k - p,\; c}

    Args:
        kernel_size: size of the window.
        stride: from window to window; the size of the window if None.
        padding: zeros, as for ``Conv1d``, at most half of the window.
        ceil_mode: whether a last window that leaves the input counts; its mean is over what is
            inside.
        count_include_pad: whether padded zeros count as elements of the mean.
        channels_first: whether input and output are ``(batch, channels, length)``.

    Shape:
        ``(batch, length, channels)`` to ``(batch, windows, channels)``.

    Raises:
        ArgumentError: an argument is out of range.
        ShapeError: another number of axes, or a window larger than the padded input.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AvgPool1d(2)(tw.tensor([[[1.0], [3.0], [2.0], [0.0]]])).tolist()
        [[[2.0], [1.0]]]

    Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    spatial: ClassVar[int] = 1


class AvgPool2d(_AvgPool):
    r"""The mean of each window of an image, channel by channel.

    .. math:: y_{h,w,c} = \frac{1}{K L} \sum_{k,l} x_{h s + k - p,\; w s + l - p,\; c}

    Args:
        kernel_size, stride: a number, or one each for height and width.
        padding, ceil_mode, count_include_pad: as for ``AvgPool1d``.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, rows, columns, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``AvgPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AvgPool2d(2)(tw.ones((2, 28, 28, 6))).shape
        (2, 14, 14, 6)

    Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    spatial: ClassVar[int] = 2


class AvgPool3d(_AvgPool):
    r"""The mean of each window of a volume, channel by channel.

    .. math:: y_{p,c} = \frac{1}{K} \sum_q x_{p s + q - o,\; c}

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad, channels_first: as for
            ``AvgPool2d``, for depth, height and width.

    Shape:
        ``(batch, depth, height, width, channels)`` to ``(batch, layers, rows, columns, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``AvgPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AvgPool3d(2)(tw.ones((1, 4, 6, 8, 3))).shape
        (1, 2, 3, 4, 3)
    """

    spatial: ClassVar[int] = 3
