"""Dropout: while training, random elements, channels or samples are dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.graph.node import Node
from thalweg.nn.inputs import label, node_of
from thalweg.nn.keys import Key
from thalweg.nn.module import Module
from thalweg.nn.spatial import spatial_input
from thalweg.ops import elementwise as e
from thalweg.ops import random as r
from thalweg.tensor.tensor import Tensor, constant_tensor, finish, lift


class _RandomMask(Module):
    """A layer that draws a random mask while training.

    The random state is two buffers, a key and the count of calls; PyTorch's layers have none.
    """

    torch_names: ClassVar[Mapping[str, str | None]] = {"key": None, "count": None}
    p: float
    key: Tensor
    count: Tensor

    def _set_up(self, p: float) -> None:
        """Keep the probability, and make the random state."""
        self.p = p
        self._probability()
        self.key = constant_tensor(np.zeros(2, np.uint32))
        self.count = constant_tensor(np.zeros((), np.uint32))
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Take another key, and count calls from 0."""
        self.key.assign(key)
        self.count.assign(np.zeros((), np.uint32))

    def _probability(self) -> float:
        if not 0 <= self.p <= 1:
            raise ArgumentError(
                f"{label(self)}: p must be a probability from 0 to 1, got {self.p!r}. {where()}"
            )
        return float(self.p)

    def _input(self, x: Any) -> tuple[str, Node]:
        """Return what errors call the layer, and the checked input."""
        who = label(self)
        return who, node_of(x, who)

    def _mask_shape(self, x: Node) -> tuple[int, ...]:
        """Return the shape of the mask, that broadcasts with the input."""
        return x.shape

    def _kept(self, shape: tuple[int, ...], p: float) -> Node:
        """Return where a new mask keeps the input, and count the call."""
        # Whole-number comparison of the raw bits: no conversion to floating point is needed.
        words = r.bits(lift(self.key), shape, lift(self.count))
        kept = e.greater_equal(words, min(round(p * 2**32), 2**32 - 1))
        self.count.assign(self.count + 1)
        return kept

    def forward(self, x: Any) -> Tensor:
        """Return the input with random parts dropped, or in evaluation the input itself."""
        p = self._probability()
        _, node = self._input(x)
        if not self.training or p == 0:
            return x if isinstance(x, Tensor) else finish(node)
        kept = self._kept(self._mask_shape(node), p)
        return finish(self._masked(node, kept, p))

    def _masked(self, x: Node, kept: Node, p: float) -> Node:
        """Return the input where the mask keeps it, scaled up, and 0 elsewhere."""
        return e.where(kept, e.multiply(x, 1 / (1 - p) if p < 1 else 0.0), 0)


class Dropout(_RandomMask):
    r"""Inverted dropout: each element is 0 with probability ``p``, else divided by ``1 - p``.

    .. math:: y = x \cdot m / (1 - p), \quad m \sim \mathrm{Bernoulli}(1 - p)

    In evaluation the input is handed on. The random state is two buffers, a key and the count of
    calls, which a compiled program updates and a checkpoint holds; the mask has the same bits on
    every backend.

    Args:
        p: probability of setting an element to 0, from 0 to 1.

    Shape:
        any to the same.

    Raises:
        ArgumentError: ``p`` is not from 0 to 1.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> dropout = nn.Dropout(0.5).reset_parameters(0)
        >>> sorted(set(dropout(tw.ones(100)).tolist()))
        [0.0, 2.0]
        >>> dropout.eval()(tw.ones(2))
        Tensor([1., 1.], dtype=float32)

    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15 (2014).
    """

    def __init__(self, p: float = 0.5) -> None:
        self._set_up(p)


class _ChannelDropout(_RandomMask):
    """Dropout of whole channels."""

    spatial: ClassVar[int]

    def __init__(self, p: float = 0.5, *, channels_first: bool = False) -> None:
        self.channels_first = bool(channels_first)
        self._set_up(p)

    def _input(self, x: Any) -> tuple[str, Node]:
        who, _ = spatial_input(self, x, self.spatial, self.channels_first)
        return who, node_of(x, who)

    def _mask_shape(self, x: Node) -> tuple[int, ...]:
        ones = (1,) * self.spatial
        if self.channels_first:
            return (*x.shape[:2], *ones)
        return (x.shape[0], *ones, x.shape[-1])


class Dropout1d(_ChannelDropout):
    r"""Whole channels of sequences are 0 with probability ``p``, the others divided by ``1 - p``.

    .. math:: y_{n,t,c} = x_{n,t,c} \cdot m_{n,c} / (1 - p), \quad m \sim \mathrm{Bernoulli}(1 - p)

    Neighbouring places of a channel resemble one another, so that dropping single elements would
    drop little. Random state as for ``Dropout``.

    Args:
        p: probability of setting a channel of a sample to 0, from 0 to 1.
        channels_first: whether the input is ``(batch, channels, length)``.

    Shape:
        ``(batch, length, channels)`` to the same.

    Raises:
        ArgumentError: ``p`` is not from 0 to 1.
        ShapeError: another number of axes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> y = nn.Dropout1d(0.5).reset_parameters(0)(tw.ones((1, 3, 8)))
        >>> bool((y[0, 0] == y[0, 2]).all())
        True

    J. Tompson et al., "Efficient object localization using convolutional networks",
    arXiv:1411.4280.
    """

    spatial: ClassVar[int] = 1


class Dropout2d(_ChannelDropout):
    """Whole channels of images are 0 with probability ``p``; see ``Dropout1d``.

    Args:
        p: probability of setting a channel of a sample to 0, from 0 to 1.
        channels_first: whether the input is ``(batch, channels, height, width)``.

    Shape:
        ``(batch, height, width, channels)`` to the same.

    Raises:
        ArgumentError, ShapeError: as for ``Dropout1d``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Dropout2d(0.5)(tw.ones((2, 4, 4, 8))).shape
        (2, 4, 4, 8)

    J. Tompson et al., "Efficient object localization using convolutional networks",
    arXiv:1411.4280.
    """

    spatial: ClassVar[int] = 2


class AlphaDropout(_RandomMask):
    r"""Dropout that keeps mean 0 and variance 1, for networks with SELU.

    .. math:: y = a (x m + \alpha' (1 - m)) + b, \quad m \sim \mathrm{Bernoulli}(1 - p)

    where ``alpha' = -1.7581`` is SELU's limit far below 0, and ``a`` and ``b`` restore mean and
    variance. Random state as for ``Dropout``.

    Args:
        p: probability of dropping an element, from 0 to 1; at 1 all is 0.

    Shape:
        any to the same.

    Raises:
        ArgumentError: ``p`` is not from 0 to 1.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> len(set(nn.AlphaDropout(0.5).reset_parameters(0)(tw.zeros(100)).tolist()))
        2

    G. Klambauer et al., arXiv:1706.02515.
    """

    _LIMIT: ClassVar[float] = -1.0507009873554805 * 1.6732632423543772

    def __init__(self, p: float = 0.5) -> None:
        self._set_up(p)

    def _masked(self, x: Node, kept: Node, p: float) -> Node:
        if p == 1:
            return e.multiply(x, 0.0)
        scale = ((1 - p) * (1 + p * self._LIMIT**2)) ** -0.5
        shift = -scale * self._LIMIT * p
        return e.where(kept, e.add(e.multiply(x, scale), shift), scale * self._LIMIT + shift)


class StochasticDepth(_RandomMask):
    r"""Whole samples are 0 with probability ``p``, the others divided by ``1 - p``.

    .. math:: y_n = x_n \cdot m_n / (1 - p), \quad m \sim \mathrm{Bernoulli}(1 - p)

    Put at the end of a residual branch, it leaves the branch out for some samples of each batch
    (also known as drop path). Random state as for ``Dropout``.

    Args:
        p: probability of leaving out, from 0 to 1.
        mode: ``"row"`` decides for each sample, ``"batch"`` once for the whole batch.

    Shape:
        ``(batch, ...)`` to the same.

    Raises:
        ArgumentError: ``p`` is not from 0 to 1, or the mode is unknown.
        ShapeError: the input has no batch axis.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> branch = nn.Sequential(nn.Linear(4, 4), nn.StochasticDepth(0.2))
        >>> nn.Residual(branch)(tw.ones((3, 4))).shape
        (3, 4)

    G. Huang et al., "Deep networks with stochastic depth", arXiv:1603.09382.
    """

    def __init__(self, p: float = 0.5, mode: str = "row") -> None:
        if mode not in ("row", "batch"):
            raise ArgumentError(
                f"StochasticDepth: mode must be 'row' or 'batch', got {mode!r}. {where()}"
            )
        self.mode = mode
        self._set_up(p)

    def _input(self, x: Any) -> tuple[str, Node]:
        who, node = super()._input(x)
        if not node.rank:
            raise ShapeError(f"{who}: got a number, wanted a batch axis of samples. {where()}")
        return who, node

    def _mask_shape(self, x: Node) -> tuple[int, ...]:
        return (x.shape[0] if self.mode == "row" else 1, *(1,) * (x.rank - 1))
