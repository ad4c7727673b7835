"""Other numbers of pixels: Upsample, pixel shuffle, and layers that pad images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.nn.layers import positive
from thalweg.nn.module import Module
from thalweg.nn.spatial import Sizes, per_axis, placed, spatial_input
from thalweg.ops import movement as mv
from thalweg.ops import pooling
from thalweg.tensor.tensor import Tensor, finish

Factor = float | Sequence[float]
_MODES = {"nearest": None, "linear": 1, "bilinear": 2, "trilinear": 3}


class Upsample(Module):
    """Images, sequences or volumes with other numbers of pixels, by interpolation.

    Args:
        size: of the result: a number, or one for each spatial axis. Either it or ``scale_factor``.
        scale_factor: sizes become ``floor(size * scale_factor)``; pixels are then placed by the
            sizes before and after, as PyTorch does with ``recompute_scale_factor=True`` (the same
            as without it wherever ``size * scale_factor`` is whole).
        mode: ``"nearest"``, or ``"linear"`` (one spatial axis), ``"bilinear"`` (two) or
            ``"trilinear"`` (three).
        align_corners: whether pixels are points, of which the outermost stay where they are, rather
            than areas. Not with ``"nearest"``.
        channels_first: whether input and output are ``(batch, channels, ...spatial)``.

    Shape:
        ``(batch, ...spatial, channels)`` to ``(batch, ...size, channels)``.

    Raises:
        ArgumentError: both or none of size and factor, or an argument that does not fit.
        ShapeError: another number of axes than the mode, the size or the factor is for.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Upsample(scale_factor=2)(tw.tensor([[[1.0], [2.0]]])).tolist()
        [[[1.0], [1.0], [2.0], [2.0]]]
        >>> nn.Upsample(size=(5, 7), mode="bilinear")(tw.ones((2, 3, 4, 8))).shape
        (2, 5, 7, 8)
    """

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
        *,
        channels_first: bool = False,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ArgumentError(
                f"Upsample: give either size or scale_factor; got size={size!r} and "
                f"scale_factor={scale_factor!r}. {where()}"
            )
        if mode not in _MODES:
            raise ArgumentError(
                f"Upsample: mode must be one of {', '.join(_MODES)}; got {mode!r}. {where()}"
            )
        if align_corners and mode == "nearest":
            raise ArgumentError(
                f"Upsample: align_corners is not for mode 'nearest'; use 'bilinear'. {where()}"
            )
        self.size = tuple(size) if isinstance(size, (tuple, list)) else size
        self.scale_factor = (
            tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else scale_factor
        )
        given = self.scale_factor if isinstance(self.scale_factor, tuple) else (self.scale_factor,)
        if self.scale_factor is not None and any(
            not isinstance(f, (int, float)) or not 0 < f < math.inf for f in given
        ):
            raise ArgumentError(
                f"Upsample: scale_factor must be a number above 0, or one for each spatial axis; "
                f"got {scale_factor!r}. {where()}"
            )
        self.mode, self.align_corners = mode, bool(align_corners)
        self.channels_first = bool(channels_first)

    def forward(self, x: Any) -> Tensor:
        """Return the interpolated input."""
        rank = _MODES[self.mode]
        for given in (self.size, self.scale_factor):
            if rank is None and isinstance(given, tuple):
                rank = len(given)
        who, node = spatial_input(self, x, rank, self.channels_first)
        count = node.rank - 2
        if self.size is not None:
            sizes = per_axis(who, "size", self.size, count)
        else:
            factors = self.scale_factor
            if not isinstance(factors, tuple):
                assert factors is not None
                factors = (factors,) * count
            if len(factors) != count:
                raise ShapeError(
                    f"{who}: scale_factor {self.scale_factor!r} is for {len(factors)} spatial "
                    f"axes, the input of shape {node.shape} has {count}. {where()}"
                )
            pairs = zip(node.shape[1:-1], factors, strict=True)
            sizes = tuple(math.floor(n * f) for n, f in pairs)
            if min(sizes) < 1:
                raise ShapeError(
                    f"{who}: scale_factor {self.scale_factor!r} leaves nothing of an input of "
                    f"shape {node.shape}; use a larger one. {where()}"
                )
        y = pooling.resize(node, sizes, self.mode, self.align_corners)
        return finish(placed(y, self.channels_first))


class PixelShuffle(Module):
    r"""Channels spread over space, so that a convolution can make larger images.

    .. math:: y_{h f + i,\; w f + j,\; c} = x_{h,\; w,\; c f^2 + i f + j}

    Args:
        upscale_factor: by how much height and width grow.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, channels * f * f)`` to ``(batch, height * f, width * f,
        channels)``.

    Raises:
        ShapeError: another number of axes, or channels that the squared factor does not divide.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.PixelShuffle(2)(tw.ones((1, 3, 4, 12))).shape
        (1, 6, 8, 3)

    W. Shi et al., arXiv:1609.05158.
    """

    def __init__(self, upscale_factor: int, *, channels_first: bool = False) -> None:
        positive("PixelShuffle", upscale_factor=upscale_factor)
        self.upscale_factor, self.channels_first = int(upscale_factor), bool(channels_first)

    def forward(self, x: Any) -> Tensor:
        """Return the spread channels."""
        who, node = spatial_input(self, x, 2, self.channels_first)
        square = self.upscale_factor**2
        if node.shape[-1] % square:
            raise ShapeError(
                f"{who}: got {node.shape[-1]} channels, wanted a multiple of upscale_factor ** 2 = "
                f"{square}; change out_channels of the layer before. {where()}"
            )
        return finish(placed(pooling.pixel_shuffle(node, self.upscale_factor), self.channels_first))


class PixelUnshuffle(Module):
    r"""Space folded into channels: the inverse of ``PixelShuffle``.

    .. math:: y_{h,\; w,\; c f^2 + i f + j} = x_{h f + i,\; w f + j,\; c}

    Args:
        downscale_factor: by how much height and width shrink.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height * f, width * f, channels)`` to ``(batch, height, width,
        channels * f * f)``.

    Raises:
        ShapeError: another number of axes, or a height or width that the factor does not divide.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.PixelUnshuffle(2)(tw.ones((1, 6, 8, 3))).shape
        (1, 3, 4, 12)

    W. Shi et al., arXiv:1609.05158.
    """

    def __init__(self, downscale_factor: int, *, channels_first: bool = False) -> None:
        positive("PixelUnshuffle", downscale_factor=downscale_factor)
        self.downscale_factor, self.channels_first = int(downscale_factor), bool(channels_first)

    def forward(self, x: Any) -> Tensor:
        """Return the folded space."""
        who, node = spatial_input(self, x, 2, self.channels_first)
        factor = self.downscale_factor
        if node.shape[1] % factor or node.shape[2] % factor:
            raise ShapeError(
                f"{who}: got height and width {node.shape[1:3]}, wanted multiples of "
                f"downscale_factor={factor}; pad the input, nn.ZeroPad2d does it. {where()}"
            )
        return finish(placed(pooling.pixel_unshuffle(node, factor), self.channels_first))


class _Pad2d(Module):
    """Elements put around images."""

    _mode: ClassVar[str] = "constant"

    def __init__(self, padding: int | Sequence[int], *, channels_first: bool = False) -> None:
        self.padding = per_axis(type(self).__name__, "padding", padding, 4, 0)
        self.channels_first = bool(channels_first)

    def forward(self, x: Any) -> Tensor:
        """Return the padded images."""
        who, node = spatial_input(self, x, 2, self.channels_first)
        left, right, top, bottom = self.padding
        most = {"reflect": -1, "wrap": 0}.get(self._mode)
        for n, pair, axis in zip(node.shape[1:3], ((top, bottom), (left, right)),
                                 ("height", "width"), strict=True):  # fmt: skip
            if most is not None and any(pair) and max(pair) > n + most:
                raise ShapeError(
                    f"{who}: cannot pad a {axis} of {n} by {pair}, wanted at most {n + most} at "
                    f"each side; use less padding, or nn.ZeroPad2d. {where()}"
                )
        y = mv.pad(node, ((0, 0), (top, bottom), (left, right), (0, 0)), self._mode)
        return finish(placed(y, self.channels_first))


class ZeroPad2d(_Pad2d):
    """Zeros put around images.

    Args:
        padding: a number, or ``(left, right, top, bottom)`` as in PyTorch.
        channels_first: whether input and output are ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, top + height + bottom,
        left + width + right, channels)``.

    Raises:
        ArgumentError: a number below 0.
        ShapeError: another number of axes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.ZeroPad2d((1, 0, 0, 2))(tw.ones((1, 3, 3, 1))).shape
        (1, 5, 4, 1)
    """


class ReflectionPad2d(_Pad2d):
    """Images put around themselves, mirrored at their outermost pixels.

    Args:
        padding, channels_first: as for ``ZeroPad2d``; a padding is less than its height or width.

    Shape:
        as for ``ZeroPad2d``.

    Raises:
        ArgumentError: a number below 0.
        ShapeError: another number of axes, or too much padding.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> row = tw.tensor([[[[1.0], [2.0], [3.0]]]])
        >>> nn.ReflectionPad2d((2, 1, 0, 0))(row).flatten().tolist()
        [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]
    """

    _mode: ClassVar[str] = "reflect"


class ReplicationPad2d(_Pad2d):
    """The outermost pixels of images, repeated around them.

    Args:
        padding, channels_first: as for ``ZeroPad2d``.

    Shape:
        as for ``ZeroPad2d``.

    Raises:
        ArgumentError: a number below 0.
        ShapeError: another number of axes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> row = tw.tensor([[[[1.0], [2.0], [3.0]]]])
        >>> nn.ReplicationPad2d((2, 1, 0, 0))(row).flatten().tolist()
        [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]
    """

    _mode: ClassVar[str] = "edge"


class CircularPad2d(_Pad2d):
    """Images put around themselves, as if they went on from the other side.

    Args:
        padding, channels_first: as for ``ZeroPad2d``; a padding is at most its height or width.

    Shape:
        as for ``ZeroPad2d``.

    Raises:
        ArgumentError: a number below 0.
        ShapeError: another number of axes, or too much padding.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> row = tw.tensor([[[[1.0], [2.0], [3.0]]]])
        >>> nn.CircularPad2d((2, 1, 0, 0))(row).flatten().tolist()
        [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]
    """

    _mode: ClassVar[str] = "wrap"
