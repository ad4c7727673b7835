"""Layers of weights and of shape: Linear, Bilinear, Identity, Flatten."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, ShapeError, where
from thalweg.graph.dtype import as_dtype
from thalweg.graph.node import Node
from thalweg.nn import initializers
from thalweg.nn.inputs import check_dtype, check_last_axis, label, node_of
from thalweg.nn.keys import Key, derived_key
from thalweg.nn.module import Module
from thalweg.ops import contraction, movement
from thalweg.ops import elementwise as e
from thalweg.tensor.tensor import Parameter, Tensor, finish, lift


def positive(layer: str, **sizes: Any) -> None:
    """Raise an ArgumentError unless all sizes are whole numbers from 1 on."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ArgumentError(
                f"{layer}: {name} must be a whole number from 1 on, got {size!r}. {where()}"
            )


def within(layer: str, least: float, most: float = math.inf, **numbers: Any) -> None:
    """Raise an ArgumentError unless all numbers are finite and from ``least`` to ``most``."""
    for name, number in numbers.items():
        known = isinstance(number, (int, float, np.number)) and not isinstance(number, bool)
        if not known or not least <= number <= most or number == math.inf:
            upper = "on" if most == math.inf else f"to {most:g}"
            raise ArgumentError(
                f"{layer}: {name} must be a number from {least:g} {upper}, got {number!r}. "
                f"{where()}"
            )


def new_parameter(shape: tuple[int, ...], dtype: Any) -> Parameter:
    """Return a parameter whose values are yet to be drawn.

    Raises:
        DTypeError: the type is not a floating one, in which no gradient could be followed.
    """
    kind = as_dtype(dtype)
    if not kind.is_float:
        raise DTypeError(
            f"a layer's parameters cannot be {kind.name}; give a floating type, such as "
            f"dtype='float32'. {where()}"
        )
    return Parameter.of(np.zeros(shape, dtype=kind.numpy))


class Weighted(Module):
    """A layer with a weight, and maybe a bias, whose initial values suit the activation after it.

    ``activation_hint``: the name of that activation. ``Sequential`` fills it in where it is None.
    ``weight_init``, ``bias_init``: an initialiser, its name, a number or an array of values.
    ``torch_axes``: for each tensor that PyTorch lays out in another way, its axes in PyTorch's
    order; ``nn.to_torch`` and ``nn.from_torch`` read it.
    """

    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    weight: Parameter
    bias: Parameter | None
    activation_hint: str | None
    weight_init: initializers.Like | None
    bias_init: initializers.Like

    def draw(self, key: Key) -> None:
        """Draw weight and bias."""
        if self.weight_init is None:
            initializer = initializers.for_activation(self.activation_hint)
        else:
            initializer = initializers.get(self.weight_init)
        for name, tensor, draw in (
            ("weight", self.weight, initializer),
            ("bias", self.bias, initializers.get(self.bias_init)),
        ):
            if tensor is not None:
                tensor.assign(draw(derived_key(key, name), tensor.shape, tensor.dtype))

    def suit(self, activation: str) -> None:
        """Draw the weight for the activation that follows, if nobody chose or used one yet."""
        if self.activation_hint is None and self.weight_init is None and self.untouched():
            assert self._drawn is not None
            self.activation_hint = activation
            self.reset_parameters(self._drawn[0])

    def weight_node(self, given: Any = None) -> Node:
        """Return the weight to compute with: the layer's own, or one given in its place.

        Raises:
            ShapeError: the given one has another shape.
        """
        if given is None:
            own: Node = lift(self.weight)
            return own
        who = label(self)
        node = node_of(given, who)
        if node.shape != self.weight.shape:
            raise ShapeError(
                f"{who}: the weight given for this call has shape {node.shape}, the layer's own "
                f"{self.weight.shape}; they must be equal. {where()}"
            )
        check_dtype(f"{who}, weight given for this call", node, self.weight.dtype)
        return node

    def arguments(self) -> str:
        """Return the sizes, and that there is no bias."""
        names = ("in_features", "in1_features", "in2_features", "out_features")
        shown = [f"{n}={getattr(self, n)}" for n in names if hasattr(self, n)]
        return ", ".join(shown + (["bias=False"] if self.bias is None else []))


class Linear(Weighted):
    r"""A linear map of the last axis, plus a bias.

    .. math:: y = x W + b

    The weight has the shape ``(in_features, out_features)``, so that no transpose is needed:
    the transpose of PyTorch's. Initial weights suit the activation that follows (He for ReLU and
    its relatives, LeCun for SELU, else Glorot uniform); biases start at 0.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: whether to add a bias.
        activation_hint: name of the activation that follows. It is not applied; it only chooses
            the initial weights. ``Sequential`` fills it in.
        weight_init, bias_init: initialiser, its name, a number, or an array of values.
        dtype: type of the parameters.

    Shape:
        ``(..., in_features)`` to ``(..., out_features)``.

    Raises:
        ShapeError: the last axis of the input has another size.
        DTypeError: the input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Linear(3, 2)(tw.ones((5, 3))).shape
        (5, 2)
    """

    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (1, 0)}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation_hint: str | None = None,
        weight_init: initializers.Like | None = None,
        bias_init: initializers.Like = "zeros",
        dtype: Any = "float32",
    ) -> None:
        positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = int(in_features), int(out_features)
        self.activation_hint = activation_hint
        self.weight_init, self.bias_init = weight_init, bias_init
        self.weight = new_parameter((self.in_features, self.out_features), dtype)
        self.bias = new_parameter((self.out_features,), dtype) if bias else None
        self.reset_parameters()

    def forward(self, x: Any, weight: Any = None) -> Tensor:
        """Return ``x @ weight + bias``; ``weight`` takes the place of the layer's own."""
        who = label(self)
        node = node_of(x, who)
        check_last_axis(who, node, self.in_features, "in_features")
        check_dtype(who, node, self.weight.dtype)
        y = contraction.matmul(node, self.weight_node(weight))
        return finish(y if self.bias is None else e.add(y, lift(self.bias)))


class Bilinear(Weighted):
    r"""A bilinear map of two inputs, plus a bias.

    .. math:: y_o = \sum_{ij} x_{1,i} W_{ijo} x_{2,j} + b_o

    The weight has the shape ``(in1_features, in2_features, out_features)``; PyTorch's has
    ``out_features`` first.

    Args:
        in1_features, in2_features: sizes of the last axes of the inputs.
        out_features: size of the last axis of the output.
        bias: whether to add a bias.
        activation_hint, weight_init, bias_init, dtype: as for ``Linear``. Without a choice, weights
            are uniform between plus and minus ``1 / sqrt(in1_features)``, as in PyTorch.

    Shape:
        ``(..., in1_features)`` and ``(..., in2_features)`` to ``(..., out_features)``.

    Raises:
        ShapeError: the last axes have other sizes, or the axes before them differ.
        DTypeError: an input has another dtype than the weight.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Bilinear(3, 4, 2)(tw.ones((5, 3)), tw.ones((5, 4))).shape
        (5, 2)
    """

    torch_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"weight": (2, 0, 1)}

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation_hint: str | None = None,
        weight_init: initializers.Like | None = None,
        bias_init: initializers.Like = "zeros",
        dtype: Any = "float32",
    ) -> None:
        positive("Bilinear", in1_features=in1_features, in2_features=in2_features,
                 out_features=out_features)  # fmt: skip
        self.in1_features, self.in2_features = int(in1_features), int(in2_features)
        self.out_features = int(out_features)
        self.activation_hint = activation_hint
        self.weight_init, self.bias_init = weight_init, bias_init
        shape = (self.in1_features, self.in2_features, self.out_features)
        self.weight = new_parameter(shape, dtype)
        self.bias = new_parameter((self.out_features,), dtype) if bias else None
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Draw weight and bias."""
        if self.weight_init is not None:
            return super().draw(key)
        bound = self.in1_features**-0.5
        dtype = self.weight.dtype
        values = initializers.uniform(
            derived_key(key, "weight"), self.weight.shape, dtype, -bound, bound
        )
        self.weight.assign(values)
        if self.bias is not None:
            draw = initializers.get(self.bias_init)
            self.bias.assign(draw(derived_key(key, "bias"), self.bias.shape, dtype))
        return None

    def forward(self, x1: Any, x2: Any, weight: Any = None) -> Tensor:
        """Return the bilinear form of both inputs; ``weight`` replaces the layer's own."""
        who = label(self)
        a, b = node_of(x1, who), node_of(x2, who)
        check_last_axis(f"{who}, first input", a, self.in1_features, "in1_features")
        check_last_axis(f"{who}, second input", b, self.in2_features, "in2_features")
        if a.shape[:-1] != b.shape[:-1]:
            raise ShapeError(
                f"{who}: the inputs have shapes {a.shape} and {b.shape}; all axes before the last "
                f"must be equal. {where()}"
            )
        for x in (a, b):
            check_dtype(who, x, self.weight.dtype)
        y = contraction.einsum("...i,ijo,...j->...o", a, self.weight_node(weight), b)
        return finish(y if self.bias is None else e.add(y, lift(self.bias)))


class Identity(Module):
    """The input itself; it stands where a layer was taken out.

    .. math:: y = x

    Shape:
        any to the same.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Identity()(tw.ones(2))
        Tensor([1., 1.], dtype=float32)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the input as a tensor."""
        return x if isinstance(x, Tensor) else finish(node_of(x, label(self)))


class Flatten(Module):
    """All axes from one on, joined into one.

    Args:
        start_axis: the first axis that is joined; 1 keeps the batch axis.

    Shape:
        ``(batch, a, b, ...)`` to ``(batch, a * b * ...)``.

    Raises:
        ShapeError: the input has no such axis.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Flatten()(tw.ones((5, 28, 28))).shape
        (5, 784)
    """

    def __init__(self, start_axis: int = 1) -> None:
        self.start_axis = start_axis

    def forward(self, x: Any) -> Tensor:
        """Return the joined axes."""
        who = label(self)
        node = node_of(x, who)
        if not -node.rank <= self.start_axis < node.rank:
            raise ShapeError(
                f"{who}: got an input of shape {node.shape}, which has no axis {self.start_axis} "
                f"to start from; give it a batch axis, or set start_axis. {where()}"
            )
        return finish(movement.flatten(node, self.start_axis))
