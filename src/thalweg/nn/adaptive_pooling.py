"""Pooling to a given size: adaptive and global pooling layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from thalweg.errors import ArgumentError, where
from thalweg.graph.node import Node
from thalweg.nn.module import Module
from thalweg.nn.spatial import Sizes, per_axis, placed, spatial_input
from thalweg.ops import pooling
from thalweg.ops import reductions as r
from thalweg.tensor.tensor import Tensor, finish


class _AdaptivePool(Module):
    """Pooling to a given number of nearly equal parts of every spatial axis."""

    spatial: ClassVar[int]
    _function: ClassVar[Callable[[Node, Sizes], Node]]

    def __init__(
        self, output_size: int | Sequence[int | None] | None, *, channels_first: bool = False
    ) -> None:
        rank, name = self.spatial, type(self).__name__
        given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (
            (output_size,) * rank)  # fmt: skip
        if len(given) != rank:
            raise ArgumentError(
                f"{name}: output_size must be a number, None, or {rank} of them, one for each "
                f"spatial axis; got {output_size!r}. {where()}"
            )
        self.output_size = tuple(
            None if n is None else per_axis(name, "output_size", n, 1)[0] for n in given
        )
        self.channels_first = bool(channels_first)

    def forward(self, x: Any) -> Tensor:
        """Return one element for each part."""
        _, node = spatial_input(self, x, self.spatial, self.channels_first)
        sizes = zip(node.shape[1:-1], self.output_size, strict=True)
        y = type(self)._function(node, [n if size is None else size for n, size in sizes])
        return finish(placed(y, self.channels_first))


class AdaptiveAvgPool1d(_AdaptivePool):
    """The mean of each of nearly equal parts of a sequence.

    Part ``i`` of ``m`` goes from ``floor(i n / m)`` to ``ceil((i + 1) n / m)``, as in PyTorch.

    Args:
        output_size: the number of parts; None keeps the size.
        channels_first: whether input and output are ``(batch, channels, length)``.

    Shape:
        ``(batch, length, channels)`` to ``(batch, output_size, channels)``.

    Raises:
        ArgumentError: a size is not a whole number from 1 on.
        ShapeError: another number of axes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AdaptiveAvgPool1d(3)(tw.ones((2, 7, 4))).shape
        (2, 3, 4)

    K. He et al., "Spatial pyramid pooling in deep convolutional networks", arXiv:1406.4729.
    """

    spatial: ClassVar[int] = 1
    _function = pooling.adaptive_avg_pool


class AdaptiveAvgPool2d(_AdaptivePool):
    """The mean of each of nearly equal parts of an image; see ``AdaptiveAvgPool1d``.

    Args:
        output_size: the number of parts of height and width: one number, or two; None keeps a size.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, *output_size, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``AdaptiveAvgPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AdaptiveAvgPool2d((6, None))(tw.ones((2, 13, 9, 4))).shape
        (2, 6, 9, 4)

    K. He et al., "Spatial pyramid pooling in deep convolutional networks", arXiv:1406.4729.
    """

    spatial: ClassVar[int] = 2
    _function = pooling.adaptive_avg_pool


class AdaptiveAvgPool3d(_AdaptivePool):
    """The mean of each of nearly equal parts of a volume; see ``AdaptiveAvgPool1d``.

    Args:
        output_size, channels_first: as for ``AdaptiveAvgPool2d``, for depth, height and width.

    Shape:
        ``(batch, depth, height, width, channels)`` to ``(batch, *output_size, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``AdaptiveAvgPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AdaptiveAvgPool3d(2)(tw.ones((1, 4, 5, 6, 3))).shape
        (1, 2, 2, 2, 3)
    """

    spatial: ClassVar[int] = 3
    _function = pooling.adaptive_avg_pool


class AdaptiveMaxPool1d(_AdaptivePool):
    """The largest element of each of nearly equal parts of a sequence; see ``AdaptiveAvgPool1d``.

    Args:
        output_size, channels_first: as for ``AdaptiveAvgPool1d``.

    Shape:
        ``(batch, length, channels)`` to ``(batch, output_size, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``AdaptiveAvgPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AdaptiveMaxPool1d(2)(tw.tensor([[[1.0], [3.0], [2.0], [0.0]]])).tolist()
        [[[3.0], [2.0]]]
    """

    spatial: ClassVar[int] = 1
    _function = pooling.adaptive_max_pool


class AdaptiveMaxPool2d(_AdaptivePool):
    """The largest element of each of nearly equal parts of an image; see ``AdaptiveAvgPool1d``.

    Args:
        output_size, channels_first: as for ``AdaptiveAvgPool2d``.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, *output_size, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``AdaptiveAvgPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AdaptiveMaxPool2d(5)(tw.ones((2, 13, 9, 4))).shape
        (2, 5, 5, 4)
    """

    spatial: ClassVar[int] = 2
    _function = pooling.adaptive_max_pool


class AdaptiveMaxPool3d(_AdaptivePool):
    """The largest element of each of nearly equal parts of a volume; see ``AdaptiveAvgPool1d``.

    Args:
        output_size, channels_first: as for ``AdaptiveAvgPool2d``, for depth, height and width.

    Shape:
        ``(batch, depth, height, width, channels)`` to ``(batch, *output_size, channels)``.

    Raises:
        ArgumentError, ShapeError: as for ``AdaptiveAvgPool1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.AdaptiveMaxPool3d(2)(tw.ones((1, 4, 5, 6, 3))).shape
        (1, 2, 2, 2, 3)
    """

    spatial: ClassVar[int] = 3
    _function = pooling.adaptive_max_pool


class _GlobalPool(Module):
    """One element for each channel."""

    def __init__(self, keepdims: bool = False, *, channels_first: bool = False) -> None:
        self.keepdims, self.channels_first = bool(keepdims), bool(channels_first)

    def _reduced(self, x: Any, reduction: Callable[..., Node]) -> Tensor:
        _, node = spatial_input(self, x, None, self.channels_first)
        y = reduction(node, tuple(range(1, node.rank - 1)), keepdims=self.keepdims)
        return finish(placed(y, self.channels_first and self.keepdims))


class GlobalAvgPool(_GlobalPool):
    r"""The mean of each channel over all places.

    .. math:: y_c = \frac{1}{|P|} \sum_{p \in P} x_{p,c}

    Args:
        keepdims: whether the spatial axes stay, with size 1.
        channels_first: whether the input is ``(batch, channels, ...spatial)``.

    Shape:
        ``(batch, ...spatial, channels)`` to ``(batch, channels)``.

    Raises:
        ShapeError: fewer than three axes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.GlobalAvgPool()(tw.ones((2, 7, 7, 512))).shape
        (2, 512)

    M. Lin et al., "Network in network", arXiv:1312.4400.
    """

    def forward(self, x: Any) -> Tensor:
        """Return the mean of each channel."""
        return self._reduced(x, r.mean)


class GlobalMaxPool(_GlobalPool):
    r"""The largest element of each channel over all places.

    .. math:: y_c = \max_p x_{p,c}

    Args:
        keepdims, channels_first: as for ``GlobalAvgPool``.

    Shape:
        ``(batch, ...spatial, channels)`` to ``(batch, channels)``.

    Raises:
        ShapeError: fewer than three axes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.GlobalMaxPool()(tw.ones((2, 7, 7, 512))).shape
        (2, 512)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the largest element of each channel."""
        return self._reduced(x, r.max)
