"""Convolution layers in 1, 2 and 3 dimensions, and transposed convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.graph.node import Node
from thalweg.nn import initializers
from thalweg.nn.inputs import check_dtype
from thalweg.nn.layers import Weighted, new_parameter, positive
from thalweg.nn.spatial import Pairs, Sizes, padding_of, per_axis, placed, spatial_input
from thalweg.ops import elementwise as e
from thalweg.ops.convolution import (
    Padding,
    check_window,
    conv,
    conv_transpose,
    padding_pairs,
)
from thalweg.tensor.tensor import Tensor, finish, lift

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Weighted):
    """What all convolution layers share: arguments, parameters and how they are shown."""

    spatial: ClassVar[int]
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    channels_first: bool

    def _set_up(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes,
        dilation: Sizes, groups: int, channels_first: bool,
    ) -> None:  # fmt: skip
        """Check and keep the arguments that decide the shape of the weight."""
        name, rank = type(self).__name__, self.spatial
        positive(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{name}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}; change one of them. {where()}"
            )
        self.in_channels, self.out_channels = int(in_channels), int(out_channels)
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, rank)
        self.stride = per_axis(name, "stride", stride, rank)
        self.dilation = per_axis(name, "dilation", dilation, rank)
        self.groups, self.channels_first = int(groups), bool(channels_first)

    def _make(
        self, shape: tuple[int, ...], bias: bool, hint: str | None,
        weight_init: initializers.Like | None, bias_init: initializers.Like, dtype: Any,
    ) -> None:  # fmt: skip
        """Make and draw the parameters."""
        self.activation_hint = hint
        self.weight_init, self.bias_init = weight_init, bias_init
        self.weight = new_parameter(shape, dtype)
        self.bias = new_parameter((self.out_channels,), dtype) if bias else None
        self.reset_parameters()

    def _input(self, x: Any) -> tuple[str, Node]:
        """Return what errors call the layer, and the checked input with its channels last."""
        who, node = spatial_input(
            self, x, self.spatial, self.channels_first, self.in_channels, "in_channels"
        )
        check_dtype(who, node, self.weight.dtype)
        return who, node

    def _finished(self, y: Node) -> Tensor:
        """Return the result with the bias added, and its channels where the user has them."""
        if self.bias is not None:
            y = e.add(y, lift(self.bias))
        return finish(placed(y, self.channels_first))

    def arguments(self) -> str:
        """Return the sizes, and what differs from the defaults."""
        shown = [f"{n}={getattr(self, n)}" for n in ("in_channels", "out_channels", "kernel_size")]
        ones, zeros = (1,) * self.spatial, (0,) * self.spatial
        usual = {
            "stride": ones, "padding": zeros, "output_padding": zeros, "dilation": ones,
            "groups": 1, "padding_mode": "zeros", "channels_first": False,
        }  # fmt: skip
        for name, default in usual.items():
            value = getattr(self, name, default)
            if value not in (default, ((0, 0),) * self.spatial):
                shown.append(f"{name}={value!r}")
        return ", ".join(shown + (["bias=False"] if self.bias is None else []))


class _Conv(_Convolution):
    """A convolution in ``spatial`` dimensions."""

    padding: str | Pairs

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        channels_first: bool = False,
        activation_hint: str | None = None,
        weight_init: initializers.Like | None = None,
        bias_init: initializers.Like = "zeros",
        dtype: Any = "float32",
    ) -> None:
        self._set_up(in_channels, out_channels, kernel_size, stride, dilation, groups,
                     channels_first)  # fmt: skip
        name = type(self).__name__
        self.padding = padding_of(name, padding, self.spatial)
        if padding_mode not in PADDING_MODES:
            raise ArgumentError(
                f"{name}: padding_mode must be one of {', '.join(PADDING_MODES)}; got "
                f"{padding_mode!r}. {where()}"
            )
        self.padding_mode = padding_mode
        shape = (*self.kernel_size, self.in_channels // self.groups, self.out_channels)
        self._make(shape, bias, activation_hint, weight_init, bias_init, dtype)

    def forward(self, x: Any, weight: Any = None) -> Tensor:
        """Return the convolution; ``weight`` takes the place of the layer's own."""
        who, node = self._input(x)
        space = node.shape[1:-1]
        pairs = padding_pairs(
            self.padding, space, self.kernel_size, self.stride, self.dilation, who
        )
        check_window(space, pairs, self.kernel_size, self.dilation, who)
        self._check_mode(who, space, pairs)
        return self._finished(
            conv(node, self.weight_node(weight), self.stride, pairs, self.dilation, self.groups,
                 self.padding_mode)
        )  # fmt: skip

    def _check_mode(self, who: str, space: tuple[int, ...], pairs: list[tuple[int, int]]) -> None:
        """Raise where an axis is too short to take its padding from."""
        more = {"reflect": 1, "circular": 0}.get(self.padding_mode)
        for n, pair in zip(space, pairs, strict=True):
            if more is not None and any(pair) and max(pair) + more > n:
                raise ShapeError(
                    f"{who}: {self.padding_mode} padding by {pair} of an axis of size {n} "
                    f"(spatial shape {space}) needs at least {max(pair) + more} elements; "
                    f"use less padding, or padding_mode='zeros'. {where()}"
                )


class Conv1d(_Conv):
    r"""Convolution of sequences, plus a bias.

    .. math:: y_{t,o} = b_o + \sum_{k,i} W_{k,i,o}\, x_{t s + k d - p,\; i}

    with stride ``s``, dilation ``d`` and padding ``p``. The weight has the shape
    ``(kernel, in_channels // groups, out_channels)``; PyTorch's is its transpose.

    Args:
        in_channels, out_channels: sizes of the last axes of input and output.
        kernel_size, stride, dilation: a number, or one in a tuple.
        padding: ``"same"`` (as many positions as the input has, divided by the stride), ``"valid"``
            (none), a number, or in a tuple a pair ``(before, after)``.
        groups: channels are split into so many parts, each with weights of its own.
        bias: whether to add a bias.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_first: whether input and output are ``(batch, channels, length)``, as in PyTorch.
        activation_hint, weight_init, bias_init, dtype: as for ``Linear``.

    Shape:
        ``(batch, length, in_channels)`` to ``(batch, positions, out_channels)``.

    Raises:
        ArgumentError: the groups do not divide the channels, or an argument is out of range.
        ShapeError: another number of axes or channels, channels in the wrong place, or a kernel
            larger than the padded input.
        DTypeError: the input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Conv1d(3, 8, 5, padding="same")(tw.ones((2, 10, 3))).shape
        (2, 10, 8)

    A. Waibel et al., "Phoneme recognition using time-delay neural networks", 1989.
    """

    spatial: ClassVar[int] = 1
    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (2, 1, 0)}


class Conv2d(_Conv):
    r"""Convolution of images, plus a bias.

    .. math:: y_{h,w,o} = b_o + \sum_{k,l,i} W_{k,l,i,o}\, x_{h s + k d - p,\; w s + l d - p,\; i}

    with stride ``s``, dilation ``d`` and padding ``p``. The weight has the shape
    ``(height, width, in_channels // groups, out_channels)``; PyTorch's is
    ``(out_channels, in_channels // groups, height, width)``.

    Args:
        in_channels, out_channels: sizes of the last axes of input and output.
        kernel_size, stride, dilation: a number, or one for height and one for width.
        padding: ``"same"`` (as many positions as the input has, divided by the stride), ``"valid"``
            (none), a number, or for height and width a number or a pair ``(before, after)``.
        groups: channels are split into so many parts, each with weights of its own; as many as
            channels make a depthwise convolution.
        bias: whether to add a bias.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channels_first: whether input and output are ``(batch, channels, height, width)``, as in
            PyTorch.
        activation_hint, weight_init, bias_init, dtype: as for ``Linear``.

    Shape:
        ``(batch, height, width, in_channels)`` to ``(batch, rows, columns, out_channels)``.

    Raises:
        ArgumentError: the groups do not divide the channels, or an argument is out of range.
        ShapeError: another number of axes or channels, channels in the wrong place, or a kernel
            larger than the padded input.
        DTypeError: the input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Conv2d(3, 8, 3, stride=2, padding=1)(tw.ones((2, 32, 32, 3))).shape
        (2, 16, 16, 8)

    Y. LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989.
    """

    spatial: ClassVar[int] = 2
    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (3, 2, 0, 1)}


class Conv3d(_Conv):
    r"""Convolution of volumes or films, plus a bias; as ``Conv2d`` with one more axis, the first.

    .. math:: y_{p,o} = b_o + \sum_{q,i} W_{q,i,o}\, x_{p s + q d - c,\; i}

    for positions ``p`` and ``q`` of three numbers, with stride ``s``, dilation ``d`` and padding
    ``c``. The weight has the shape ``(depth, height, width, in_channels // groups,
    out_channels)``.

    Args:
        in_channels, out_channels: sizes of the last axes of input and output.
        kernel_size, stride, dilation: a number, or one each for depth, height and width.
        padding: ``"same"``, ``"valid"``, a number, or for each axis a number or a pair
            ``(before, after)``.
        groups, bias, padding_mode, channels_first: as for ``Conv2d``.
        activation_hint, weight_init, bias_init, dtype: as for ``Linear``.

    Shape:
        ``(batch, depth, height, width, in_channels)`` to
        ``(batch, layers, rows, columns, out_channels)``.

    Raises:
        ArgumentError: the groups do not divide the channels, or an argument is out of range.
        ShapeError: another number of axes or channels, channels in the wrong place, or a kernel
            larger than the padded input.
        DTypeError: the input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Conv3d(1, 4, 3)(tw.ones((2, 5, 6, 7, 1))).shape
        (2, 3, 4, 5, 4)

    S. Ji et al., "3D convolutional neural networks for human action recognition", 2013.
    """

    spatial: ClassVar[int] = 3
    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (4, 3, 0, 1, 2)}


class _ConvTranspose(_Convolution):
    """A transposed convolution in ``spatial`` dimensions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        *,
        channels_first: bool = False,
        activation_hint: str | None = None,
        weight_init: initializers.Like | None = None,
        bias_init: initializers.Like = "zeros",
        dtype: Any = "float32",
    ) -> None:
        self._set_up(in_channels, out_channels, kernel_size, stride, dilation, groups,
                     channels_first)  # fmt: skip
        name = type(self).__name__
        self.padding = per_axis(name, "padding", padding, self.spatial, 0)
        self.output_padding = per_axis(name, "output_padding", output_padding, self.spatial, 0)
        steps = zip(self.output_padding, self.stride, self.dilation, strict=True)
        if any(more >= max(s, d) for more, s, d in steps):
            raise ArgumentError(
                f"{name}: output_padding {self.output_padding} must be smaller than the stride "
                f"{self.stride} or the dilation {self.dilation} of its axis. {where()}"
            )
        if padding_mode != "zeros":
            raise ArgumentError(
                f"{name}: padding_mode must be 'zeros', got {padding_mode!r}; pad the input with "
                f"a layer such as nn.ReflectionPad2d instead. {where()}"
            )
        self.padding_mode = padding_mode
        shape = (*self.kernel_size, self.in_channels, self.out_channels // self.groups)
        self._make(shape, bias, activation_hint, weight_init, bias_init, dtype)

    def forward(self, x: Any, weight: Any = None) -> Tensor:
        """Return the transposed convolution; ``weight`` takes the place of the layer's own."""
        who, node = self._input(x)
        space = node.shape[1:-1]
        axes = zip(space, self.kernel_size, self.stride, self.dilation, self.padding,
                   self.output_padding, strict=True)  # fmt: skip
        sizes = tuple((n - 1) * s + (k - 1) * d + 1 - 2 * p + o for n, k, s, d, p, o in axes)
        if min(sizes) < 1:
            raise ShapeError(
                f"{who}: an input of spatial shape {space} would give the spatial shape {sizes}; "
                f"use less padding than {self.padding}, or a larger kernel. {where()}"
            )
        return self._finished(
            conv_transpose(node, self.weight_node(weight), self.stride, self.padding,
                           self.output_padding, self.dilation, self.groups)
        )  # fmt: skip


class ConvTranspose1d(_ConvTranspose):
    r"""Transposed convolution of sequences: the gradient of ``Conv1d`` with respect to its input.

    .. math:: y_{t s + k d - p,\; o} \mathrel{+}= W_{k,i,o}\, x_{t,i}, \quad y \mathrel{+}= b

    The weight has the shape ``(kernel, in_channels, out_channels // groups)``; the length becomes
    ``(n - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1``.

    Args:
        in_channels, out_channels: sizes of the last axes of input and output.
        kernel_size, stride, dilation: a number, or one in a tuple.
        padding: how much is left out at both ends.
        output_padding: how much longer the result is at its end; smaller than stride or dilation.
        groups: channels are split into so many parts, each with weights of its own.
        bias: whether to add a bias.
        padding_mode: ``"zeros"``, the only one.
        channels_first: whether input and output are ``(batch, channels, length)``, as in PyTorch.
        activation_hint, weight_init, bias_init, dtype: as for ``Linear``.

    Shape:
        ``(batch, length, in_channels)`` to ``(batch, longer, out_channels)``.

    Raises:
        ArgumentError: the groups do not divide the channels, or an argument is out of range.
        ShapeError: another number of axes or channels, channels in the wrong place, or padding
            that leaves nothing.
        DTypeError: the input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.ConvTranspose1d(3, 8, 4, stride=2, padding=1)(tw.ones((2, 10, 3))).shape
        (2, 20, 8)

    M. Zeiler et al., "Deconvolutional networks", 2010.
    """

    spatial: ClassVar[int] = 1
    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (1, 2, 0)}


class ConvTranspose2d(_ConvTranspose):
    r"""Transposed convolution of images: the gradient of ``Conv2d`` with respect to its input.

    .. math::
        y_{h s + k d - p,\; w s + l d - p,\; o} \mathrel{+}= W_{k,l,i,o}\, x_{h,w,i}, \quad
        y \mathrel{+}= b

    The weight has the shape ``(height, width, in_channels, out_channels // groups)``; PyTorch's is
    ``(in_channels, out_channels // groups, height, width)``. Sizes grow as for ``ConvTranspose1d``.

    Args:
        in_channels, out_channels: sizes of the last axes of input and output.
        kernel_size, stride, dilation: a number, or one for height and one for width.
        padding: how much is left out at both ends of each axis.
        output_padding: how much larger the result is at the end of each axis.
        groups, bias, padding_mode, channels_first: as for ``ConvTranspose1d``.
        activation_hint, weight_init, bias_init, dtype: as for ``Linear``.

    Shape:
        ``(batch, height, width, in_channels)`` to ``(batch, rows, columns, out_channels)``.

    Raises:
        ArgumentError: the groups do not divide the channels, or an argument is out of range.
        ShapeError: another number of axes or channels, channels in the wrong place, or padding
            that leaves nothing.
        DTypeError: the input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(tw.ones((2, 7, 7, 8))).shape
        (2, 14, 14, 3)

    A. Radford et al., arXiv:1511.06434, where it makes images.
    """

    spatial: ClassVar[int] = 2
    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (2, 3, 0, 1)}


class ConvTranspose3d(_ConvTranspose):
    r"""Transposed convolution of volumes: the gradient of ``Conv3d`` with respect to its input.

    .. math:: y_{p s + q d - c,\; o} \mathrel{+}= W_{q,i,o}\, x_{p,i}, \quad y \mathrel{+}= b

    for positions ``p`` and ``q`` of three numbers, with stride ``s``, dilation ``d`` and padding
    ``c``. The weight has the shape ``(depth, height, width, in_channels, out_channels //
    groups)``.

    Args:
        in_channels, out_channels: sizes of the last axes of input and output.
        kernel_size, stride, dilation: a number, or one each for depth, height and width.
        padding, output_padding: as for ``ConvTranspose2d``, for three axes.
        groups, bias, padding_mode, channels_first: as for ``ConvTranspose1d``.
        activation_hint, weight_init, bias_init, dtype: as for ``Linear``.

    Shape:
        ``(batch, depth, height, width, in_channels)`` to
        ``(batch, layers, rows, columns, out_channels)``.

    Raises:
        ArgumentError, ShapeError, DTypeError: as for ``ConvTranspose2d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.ConvTranspose3d(2, 3, 2, stride=2)(tw.ones((1, 3, 4, 5, 2))).shape
        (1, 6, 8, 10, 3)

    V. Dumoulin and F. Visin, arXiv:1603.07285.
    """

    spatial: ClassVar[int] = 3
    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (3, 4, 0, 1, 2)}
