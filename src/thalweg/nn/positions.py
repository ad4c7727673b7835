"""Positions: what tells attention where in the sequence an element stands."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, ShapeError, where
from thalweg.graph.dtype import DType, float32, int32
from thalweg.graph.node import Node
from thalweg.nn import initializers
from thalweg.nn.inputs import check_dtype, check_last_axis, label, node_of, rows_of_table, widened
from thalweg.nn.keys import Key, derived_key
from thalweg.nn.layers import new_parameter, positive
from thalweg.nn.module import Module
from thalweg.ops import elementwise as e
from thalweg.ops import indexing
from thalweg.ops import movement as mv
from thalweg.ops.creation import IOTA
from thalweg.ops.record import cast_node
from thalweg.tensor.tensor import Tensor, finish, lift


def position_numbers(who: str, length: int, offset: Any) -> Node:
    """Return the positions in a sequence, whole numbers ``(length,)`` or ``(batch, length)``.

    ``offset``: the position of the first element, as a number or a tensor without axes; or all
    positions. Inside of a compiled function a tensor may change from call to call.

    Raises:
        DTypeError: positions that are no whole numbers.
        ShapeError: positions of another length.
        ArgumentError: a negative offset.
    """
    if offset is None:
        offset = 0
    if isinstance(offset, (int, np.integer)) and not isinstance(offset, bool):
        if offset < 0:
            raise ArgumentError(
                f"{who}: positions are counted from 0, got the offset {offset}. {where()}"
            )
        numbers = IOTA(size=length, dtype=int32)
        return numbers if offset == 0 else e.add(numbers, int(offset))
    given = node_of(offset, who)
    if not given.dtype.is_integer:
        raise DTypeError(
            f"{who}: got positions of {given.dtype.name}, wanted whole numbers; convert them with "
            f".astype('int32'). {where()}"
        )
    if given.dtype.bits < 32:  # a sum of small types could go round
        given = cast_node(given, int32)
    if given.rank == 0:
        return e.add(IOTA(size=length, dtype=given.dtype), given)
    if given.rank > 2 or given.shape[-1] != length:
        raise ShapeError(
            f"{who}: got positions of shape {given.shape} for a sequence of {length} elements; "
            f"wanted the first position, or all of them as (length,) or (batch, length). {where()}"
        )
    return given


def _angles(numbers: Node, features: int, base: float, wide: DType) -> Node:
    """Return position times ``base ** (-2 i / features)``, (..., length, pairs of features)."""
    powers = np.arange(0, features, 2, dtype=np.float64) / features
    steps = cast_node(indexing.array(1.0 / base**powers), wide)
    return e.multiply(mv.expand_dims(cast_node(numbers, wide), -1), steps)


def rotate(
    x: Node, numbers: Node, base: float = 10_000.0, interleaved: bool = False,
    features: int | None = None,
) -> Node:  # fmt: skip
    """Return heads turned by the angles of their positions; see ``RotaryEmbedding``.

    ``x``: (batch, length, heads, head_dim); ``numbers``: (length,) or (batch, length);
    ``features``: how many of head_dim are turned, from the first on.
    """
    size = x.shape[-1] if features is None else features
    last, half = x.rank - 1, size // 2
    wide = widened(mv.narrow(x, last, 0, size))
    angles = mv.expand_dims(_angles(numbers, size, base, wide.dtype), -2)  # (..., length, 1, half)
    cos, sin = e.cos(angles), e.sin(angles)
    if interleaved:
        pairs = mv.reshape(wide, (*x.shape[:-1], half, 2))
        a, b = (mv.squeeze(mv.narrow(pairs, x.rank, i, 1), x.rank) for i in (0, 1))
    else:
        a, b = mv.narrow(wide, last, 0, half), mv.narrow(wide, last, half, half)
    turned = (
        e.subtract(e.multiply(a, cos), e.multiply(b, sin)),
        e.add(e.multiply(b, cos), e.multiply(a, sin)),
    )
    if interleaved:
        y = mv.reshape(mv.stack(turned, -1), (*x.shape[:-1], size))
    else:
        y = mv.concatenate(turned, last)
    y = cast_node(y, x.dtype)
    rest = x.shape[-1] - size
    return y if not rest else mv.concatenate([y, mv.narrow(x, last, size, rest)], last)


class RotaryEmbedding(Module):
    r"""Queries and keys turned by angles that grow with their position.

    .. math::
        \begin{pmatrix} a \\ b \end{pmatrix} \mapsto
        \begin{pmatrix} a \cos p\theta_i - b \sin p\theta_i \\
                        b \cos p\theta_i + a \sin p\theta_i \end{pmatrix},
        \quad \theta_i = \mathrm{base}^{-2i/d}

    The product of a query and a key then depends on the distance of their positions only. The
    pairs ``(a, b)`` are features ``i`` and ``i + d / 2``, as in GPT-NeoX and LLaMA; interleaved,
    they are features ``2 i`` and ``2 i + 1``, as in the paper. There are no parameters.

    Args:
        head_dim: features of a head.
        base: the wave lengths go from 2 pi to 2 pi times this.
        interleaved: whether the pairs are neighbours.
        features: how many of the features are turned, the first ones; all if left out.

    Shape:
        ``(batch, length, heads, head_dim)`` to the same. The second argument is the position of
        the first element (0 if left out), or all positions: ``(length,)`` or ``(batch, length)``.

    Raises:
        ArgumentError: an odd number of features, or more than head_dim.
        ShapeError: another number of axes or features.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> rotary = nn.RotaryEmbedding(2)
        >>> rotary(tw.reshape(tw.tensor([1.0, 0.0]), (1, 1, 1, 2)), 1).flatten()
        Tensor([0.5403023, 0.841471 ], dtype=float32)

    J. Su et al., arXiv:2104.09864.
    """

    def __init__(
        self, head_dim: int, base: float = 10_000.0, interleaved: bool = False,
        features: int | None = None,
    ) -> None:  # fmt: skip
        positive("RotaryEmbedding", head_dim=head_dim)
        turned = head_dim if features is None else features
        if turned % 2 or not 0 < turned <= head_dim:
            raise ArgumentError(
                f"RotaryEmbedding: features are turned in pairs; got {turned} of head_dim "
                f"{head_dim}, wanted an even number from 2 to head_dim. {where()}"
            )
        if not base > 1:
            raise ArgumentError(f"RotaryEmbedding: base must be above 1, got {base!r}. {where()}")
        self.head_dim, self.base, self.interleaved = int(head_dim), base, interleaved
        self.features = features

    def forward(self, x: Any, positions: Any = None) -> Tensor:
        """Return the heads turned by the angles of their positions."""
        who = label(self)
        node = node_of(x, who)
        if node.rank != 4:
            raise ShapeError(
                f"{who}: got an input of shape {node.shape}, wanted (batch, length, heads, "
                f"{self.head_dim}). {where()}"
            )
        check_last_axis(who, node, self.head_dim, "head_dim")
        numbers = position_numbers(who, node.shape[1], positions)
        return finish(self.turn(node, numbers))

    def turn(self, x: Node, numbers: Node) -> Node:
        """Return the node of the turned heads; ``numbers`` are the positions."""
        return rotate(x, numbers, self.base, self.interleaved, self.features)


class SinusoidalPositions(Module):
    r"""Sines and cosines of the position added to each element of a sequence.

    .. math::
        y_{p, 2i} = x_{p, 2i} + \sin(p / \mathrm{base}^{2i/d}), \quad
        y_{p, 2i+1} = x_{p, 2i+1} + \cos(p / \mathrm{base}^{2i/d})

    There are no parameters, and no longest sequence.

    Args:
        features: size of the last axis.
        base: the wave lengths go from 2 pi to 2 pi times this.

    Shape:
        ``(batch, length, features)`` to the same. The second argument is the position of the first
        element (0 if left out), or all positions: ``(length,)`` or ``(batch, length)``.

    Raises:
        ShapeError: another number of axes or features.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.SinusoidalPositions(2)(tw.zeros((1, 2, 2))).tolist()[0][0]
        [0.0, 1.0]

    A. Vaswani et al., arXiv:1706.03762, section 3.5.
    """

    def __init__(self, features: int, base: float = 10_000.0) -> None:
        positive("SinusoidalPositions", features=features)
        if not base > 1:
            raise ArgumentError(
                f"SinusoidalPositions: base must be above 1, got {base!r}. {where()}"
            )
        self.features, self.base = int(features), base

    def forward(self, x: Any, positions: Any = None) -> Tensor:
        """Return the sequence with the waves added."""
        node = _sequence(self, x, self.features)
        numbers = position_numbers(label(self), node.shape[1], positions)
        wide = float32 if node.dtype.bits == 16 else node.dtype
        angles = _angles(numbers, self.features, self.base, wide)
        waves = mv.stack([e.sin(angles), e.cos(angles)], -1)  # (..., length, pairs, 2)
        waves = mv.reshape(waves, (*numbers.shape, 2 * angles.shape[-1]))
        waves = mv.narrow(waves, waves.rank - 1, 0, self.features)
        return finish(cast_node(e.add(widened(node), waves), node.dtype))


class LearnedPositions(Module):
    r"""A learned vector for each position, added to the elements of a sequence.

    .. math:: y_p = x_p + W_p

    Args:
        max_length: rows of the table: the longest sequence.
        features: size of the last axis.
        weight_init: initialiser, its name, a number, or the values; normal with standard deviation
            0.02 if left out, as in GPT-2 and BERT.
        dtype: type of the table.

    Shape:
        ``(batch, length, features)`` to the same. The second argument is the position of the first
        element (0 if left out), or all positions: ``(length,)`` or ``(batch, length)``.

    Raises:
        ShapeError: another number of axes or features, or positions beyond the table. Positions
            that only the running program knows are checked there: an IndexError.
        DTypeError: the input has another dtype than the table.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.LearnedPositions(16, 4)(tw.ones((2, 10, 4))).shape
        (2, 10, 4)

    J. Gehring et al., arXiv:1705.03122.
    """

    def __init__(
        self, max_length: int, features: int, *, weight_init: initializers.Like | None = None,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        positive("LearnedPositions", max_length=max_length, features=features)
        self.max_length, self.features = int(max_length), int(features)
        self.weight_init = weight_init
        self.weight = new_parameter((self.max_length, self.features), dtype)
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Draw the table."""
        words, shape, dtype = derived_key(key, "weight"), self.weight.shape, self.weight.dtype
        if self.weight_init is None:
            values = initializers.normal(words, shape, dtype, std=0.02)
        else:
            values = initializers.get(self.weight_init)(words, shape, dtype)
        self.weight.assign(values)

    def forward(self, x: Any, positions: Any = None) -> Tensor:
        """Return the sequence with the vectors of its positions added."""
        who = label(self)
        node = _sequence(self, x, self.features)
        check_dtype(who, node, self.weight.dtype)
        return finish(e.add(node, self.rows(who, node.shape[1], positions)))

    def rows(self, who: str, length: int, positions: Any = None) -> Node:
        """Return the vectors of the positions, (length, features) or (batch, length, features)."""
        table: Node = lift(self.weight)
        if positions is None:
            positions = 0
        if isinstance(positions, (int, np.integer)):
            position_numbers(who, length, positions)
            self._check(who, int(positions) + length - 1)
            return mv.narrow(table, 0, int(positions), length)
        numbers = position_numbers(who, length, positions)
        known = node_of(positions, who).value
        if known is not None and known.size:
            first = int(known.min())
            last = int(known.max()) + (length - 1 if known.ndim == 0 else 0)
            self._check(who, last if first >= 0 else first)
        return indexing.take(table, rows_of_table(numbers, self.max_length), 0)

    def _check(self, who: str, last: int) -> None:
        if not 0 <= last < self.max_length:
            raise ShapeError(
                f"{who}: position {last} is not in the table of {self.max_length} positions (0 to "
                f"{self.max_length - 1}); shorten the sequence, or make max_length larger. "
                f"{where()}"
            )


def _sequence(layer: Module, x: Any, features: int) -> Node:
    who = label(layer)
    node = node_of(x, who)
    if node.rank != 3:
        raise ShapeError(
            f"{who}: got an input of shape {node.shape}, wanted (batch, length, {features}); give "
            f"a single sequence a batch axis of size 1. {where()}"
        )
    check_last_axis(who, node, features, "features")
    if not node.dtype.is_float:
        raise DTypeError(
            f"{who}: got {node.dtype.name}, wanted a floating type; convert with "
            f".astype('float32'). {where()}"
        )
    return node
