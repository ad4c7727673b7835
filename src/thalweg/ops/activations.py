"""Activations: the functions between the layers, composed of simpler operations."""

from __future__ import annotations

import math
from collections.abc import Callable

from thalweg.graph.dtype import to_float
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import reductions as r
from thalweg.ops.elementwise import relu, sigmoid, tanh
from thalweg.ops.identity import custom, stop_gradient
from thalweg.ops.record import Operand, as_float

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def step(x: Node) -> Node:
    """1 where x >= 0, else 0: Rosenblatt's perceptron. Its gradient is 0 everywhere."""
    return e.astype(e.greater_equal(x, 0), to_float(x.dtype))


def leaky_relu(x: Node, slope: Operand = 0.01) -> Node:
    """x where positive, else ``slope * x`` (Maas et al. 2013)."""
    return e.where(e.greater(x, 0), x, e.multiply(x, slope))


def elu(x: Node, alpha: Operand = 1.0) -> Node:
    """x where positive, else ``alpha * (exp(x) - 1)`` (arXiv:1511.07289)."""
    positive = e.greater(x, 0)  # minimum(x, 0) would halve the gradient at 0
    return e.where(positive, x, e.multiply(e.expm1(e.where(positive, 0, x)), alpha))


def selu(x: Node) -> Node:
    """Scaled ELU that keeps mean 0 and variance 1 (arXiv:1706.02515)."""
    return e.multiply(elu(x, SELU_ALPHA), SELU_SCALE)


def silu(x: Node) -> Node:
    """x * sigmoid(x), also known as swish (arXiv:1606.08415, arXiv:1710.05941)."""
    x = as_float(x, "silu")

    def slope(x: Node) -> Node:
        share = sigmoid(x)
        return e.multiply(share, e.add(e.multiply(x, e.subtract(1, share)), 1))

    return _with_slope(e.multiply(x, sigmoid(x)), x, slope)


def gelu(x: Node, approximate: bool = False) -> Node:
    """x times the normal distribution function of x, exactly or by tanh (arXiv:1606.08415)."""
    x = as_float(x, "gelu")
    share = _normal_by_tanh if approximate else _normal
    density = _density_by_tanh if approximate else _density

    def slope(x: Node) -> Node:
        return e.add(share(x), e.multiply(x, density(x)))

    return _with_slope(e.multiply(x, share(x)), x, slope)


def _with_slope(value: Node, x: Node, slope: Callable[[Node], Node]) -> Node:
    """A function of one number with its derivative, which the backward pass keeps as one tensor.

    The parts' own gradients would keep each part.
    """
    return custom(value, [x], lambda g, x: [e.multiply(g, slope(x))])


def _normal(x: Node) -> Node:
    return e.multiply(e.add(e.erf(e.multiply(x, math.sqrt(0.5))), 1), 0.5)


def _density(x: Node) -> Node:
    power = e.exp(e.multiply(e.square(x), -0.5))
    return e.multiply(power, 1 / math.sqrt(2 * math.pi))


_CUBIC, _FACTOR = 0.044715, math.sqrt(2 / math.pi)


def _tanh_of(x: Node) -> Node:
    inner = e.add(x, e.multiply(_CUBIC, e.multiply(x, e.square(x))))
    return tanh(e.multiply(inner, _FACTOR))


def _normal_by_tanh(x: Node) -> Node:
    return e.multiply(e.add(_tanh_of(x), 1), 0.5)


def _density_by_tanh(x: Node) -> Node:
    inner = e.add(e.multiply(e.square(x), 3 * _CUBIC * _FACTOR / 2), _FACTOR / 2)
    return e.multiply(e.subtract(1, e.square(_tanh_of(x))), inner)


def softplus(x: Node, beta: Operand = 1.0) -> Node:
    """log(1 + exp(beta * x)) / beta, without overflow; the gradient is sigmoid(beta * x)."""
    x = as_float(x, "softplus")
    z = x if beta == 1.0 else e.multiply(x, beta)
    value = e.add(relu(z), e.log1p(e.exp(e.negative(e.abs(z)))))
    # The parts' own gradients are 0 at 0, where relu and abs have a kink and their sum has none.
    y = custom(value, [z], lambda g, z: [e.multiply(g, sigmoid(z))])
    return y if beta == 1.0 else e.divide(y, beta)


def log_sigmoid(x: Node) -> Node:
    """log(sigmoid(x)), without overflow."""
    return e.negative(softplus(e.negative(x)))


def softsign(x: Node) -> Node:
    """x / (1 + abs(x))."""
    return e.divide(x, e.add(e.abs(x), 1))


def hard_sigmoid(x: Node) -> Node:
    """clip(x / 6 + 1/2, 0, 1)."""
    return e.clip(e.add(e.multiply(x, 1 / 6), 0.5), 0, 1)


def hard_tanh(x: Node) -> Node:
    """clip(x, -1, 1)."""
    return e.clip(x, -1, 1)


def hard_swish(x: Node) -> Node:
    """x * clip(x + 3, 0, 6) / 6 (arXiv:1905.02244)."""
    return e.multiply(x, hard_sigmoid(x))


def relu6(x: Node) -> Node:
    """clip(x, 0, 6); at 0 the gradient is 0, as that of relu."""
    return e.minimum(relu(x), 6)


def mish(x: Node) -> Node:
    """x * tanh(softplus(x)) (arXiv:1908.08681)."""
    return e.multiply(x, tanh(softplus(x)))


def softmax(x: Node, axis: int = -1) -> Node:
    """exp(x) / sum(exp(x)) along an axis, without overflow."""
    x = e.astype(x, to_float(x.dtype))
    top = stop_gradient(r.max(x, axis, keepdims=True))
    powers = e.exp(e.subtract(x, top))
    return softmax_of(e.divide(powers, r.sum(powers, axis, keepdims=True)), x, axis)


def softmax_of(value: Node, x: Node, axis: int) -> Node:
    """The softmax of ``x`` with its gradient, for which nothing but the result is kept."""

    def rule(g: Node, _: Node, value: Node) -> list[Node | None]:
        inner = r.sum(e.multiply(g, value), axis, keepdims=True)
        return [e.multiply(value, e.subtract(g, inner)), None]

    return custom(value, [x, value], rule)


def log_softmax(x: Node, axis: int = -1) -> Node:
    """log(softmax(x)) along an axis, without overflow."""
    x = e.astype(x, to_float(x.dtype))
    centred = e.subtract(x, stop_gradient(r.max(x, axis, keepdims=True)))
    return e.subtract(centred, e.log(r.sum(e.exp(centred), axis, keepdims=True)))
