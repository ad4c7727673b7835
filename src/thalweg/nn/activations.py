"""Activation layers, named as in PyTorch, and the table of activation functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from thalweg.errors import ArgumentError, ShapeError, nearest, where
from thalweg.graph.node import Node
from thalweg.nn.inputs import label, node_of
from thalweg.nn.module import Module
from thalweg.ops import activations as a
from thalweg.ops import elementwise as e
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor, finish

Function = Callable[..., Any]


def _identity(x: Any) -> Tensor:
    """Return the input itself."""
    return finish(node_of(x, "identity"))


def _gelu_tanh(x: Any) -> Tensor:
    """Return GELU with the normal distribution function approximated by tanh."""
    y: Tensor = FUNCTIONS["gelu"](x, approximate=True)
    return y


_NAMES = (
    "elu", "gelu", "hard_sigmoid", "hard_swish", "hard_tanh", "leaky_relu", "log_sigmoid",
    "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus",
    "softsign", "step", "tanh",
)  # fmt: skip
ACTIVATIONS: dict[str, Function] = {name: FUNCTIONS[name] for name in _NAMES} | {
    "gelu_tanh": _gelu_tanh,
    "identity": _identity,
}


def get_activation(given: str | Function) -> Function:
    """Return the activation function for a name; a function is returned as it is.

    Raises:
        ArgumentError: the name is unknown.

    >>> import thalweg as tw
    >>> get_activation("relu")(tw.tensor([-1.0, 1.0]))
    Tensor([0., 1.], dtype=float32)
    """
    if callable(given):
        return given
    if given not in ACTIVATIONS:
        raise ArgumentError(
            f"the activation {given!r} is unknown; {nearest(str(given), ACTIVATIONS)}. {where()}"
        )
    return ACTIVATIONS[given]


class Activation(Module):
    """Base class of layers that apply one function to their input.

    ``name`` is the function's name in ``ACTIVATIONS``: it chooses the initial weights of the layer
    before.
    """

    name: ClassVar[str] = ""

    def forward(self, x: Any) -> Tensor:
        """Apply the function."""
        return finish(self.apply(node_of(x, label(self))))

    def apply(self, x: Node) -> Node:
        """Return the node of the function's value."""
        raise NotImplementedError


class Step(Activation):
    """1 where the input is at least 0, else 0: the perceptron's unit. Its gradient is 0.

    Shape: any to the same.

    F. Rosenblatt, "The perceptron", Psychological Review 65 (1958).

    >>> import thalweg as tw
    >>> Step()(tw.tensor([-1.0, 0.0, 2.0]))
    Tensor([0., 1., 1.], dtype=float32)
    """

    name = "step"

    def apply(self, x: Node) -> Node:
        """Return the step function."""
        return a.step(x)


class Sigmoid(Activation):
    """The logistic function ``1 / (1 + exp(-x))``.

    Shape: any to the same.

    >>> import thalweg as tw
    >>> Sigmoid()(tw.tensor([0.0]))
    Tensor([0.5], dtype=float32)
    """

    name = "sigmoid"

    def apply(self, x: Node) -> Node:
        """Return the logistic function."""
        return e.sigmoid(x)


class LogSigmoid(Activation):
    """``log(sigmoid(x))`` without overflow.

    Shape: any to the same.

    >>> import thalweg as tw
    >>> LogSigmoid()(tw.tensor([-100.0]))
    Tensor([-100.], dtype=float32)
    """

    name = "log_sigmoid"

    def apply(self, x: Node) -> Node:
        """Return the logarithm of the logistic function."""
        return a.log_sigmoid(x)


class Tanh(Activation):
    """The hyperbolic tangent.

    Shape: any to the same.

    >>> import thalweg as tw
    >>> Tanh()(tw.tensor([0.0]))
    Tensor([0.], dtype=float32)
    """

    name = "tanh"

    def apply(self, x: Node) -> Node:
        """Return the hyperbolic tangent."""
        return e.tanh(x)


class ReLU(Activation):
    """The larger of x and 0; at 0 the gradient is 0.

    Shape: any to the same.

    V. Nair and G. Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).

    >>> import thalweg as tw
    >>> ReLU()(tw.tensor([-1.0, 2.0]))
    Tensor([0., 2.], dtype=float32)
    """

    name = "relu"

    def apply(self, x: Node) -> Node:
        """Return the larger of x and 0."""
        return e.relu(x)


class LeakyReLU(Activation):
    """x where positive, else ``negative_slope * x``.

    Shape: any to the same.

    A. Maas et al., "Rectifier nonlinearities improve neural network acoustic models" (2013).

    >>> import thalweg as tw
    >>> LeakyReLU(0.5)(tw.tensor([-1.0, 2.0]))
    Tensor([-0.5,  2. ], dtype=float32)
    """

    name = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def apply(self, x: Node) -> Node:
        """Return the leaky rectifier."""
        return a.leaky_relu(x, self.negative_slope)


class ELU(Activation):
    """x where positive, else ``alpha * (exp(x) - 1)``.

    Shape: any to the same.

    D. Clevert et al., arXiv:1511.07289.

    >>> import thalweg as tw
    >>> ELU()(tw.tensor([0.0, 2.0]))
    Tensor([0., 2.], dtype=float32)
    """

    name = "elu"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def apply(self, x: Node) -> Node:
        """Return the exponential linear unit."""
        return a.elu(x, self.alpha)


class SELU(Activation):
    """ELU scaled so that activations keep mean 0 and variance 1.

    Shape: any to the same.

    G. Klambauer et al., arXiv:1706.02515.

    >>> import thalweg as tw
    >>> round(SELU()(tw.tensor(1.0)).item(), 4)
    1.0507
    """

    name = "selu"

    def apply(self, x: Node) -> Node:
        """Return the scaled exponential linear unit."""
        return a.selu(x)


class SiLU(Activation):
    """``x * sigmoid(x)``, also known as swish.

    Shape: any to the same.

    P. Ramachandran et al., arXiv:1710.05941.

    >>> import thalweg as tw
    >>> SiLU()(tw.tensor([0.0]))
    Tensor([0.], dtype=float32)
    """

    name = "silu"

    def apply(self, x: Node) -> Node:
        """Return x times its logistic function."""
        return a.silu(x)


class GELU(Activation):
    """x times the normal distribution function of x.

    ``approximate``: ``"none"``, or ``"tanh"`` for the approximation by tanh.

    Shape: any to the same.

    Raises:
        ArgumentError: ``approximate`` is something else.

    D. Hendrycks and K. Gimpel, arXiv:1606.08415.

    >>> import thalweg as tw
    >>> round(GELU()(tw.tensor(1.0)).item(), 4)
    0.8413
    """

    name = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ArgumentError(
                f"GELU: approximate={approximate!r}; {nearest(approximate, ('none', 'tanh'))}. "
                f"{where()}"
            )
        self.approximate = approximate

    def apply(self, x: Node) -> Node:
        """Return the Gaussian error linear unit."""
        return a.gelu(x, self.approximate == "tanh")


class Softplus(Activation):
    """``log(1 + exp(beta * x)) / beta``, without overflow.

    Shape: any to the same.

    >>> import thalweg as tw
    >>> Softplus()(tw.tensor([100.0]))
    Tensor([100.], dtype=float32)
    """

    name = "softplus"

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def apply(self, x: Node) -> Node:
        """Return the smooth rectifier."""
        return a.softplus(x, self.beta)


class _AlongAxis(Activation):
    """An activation whose elements along one axis depend on each other."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def _checked(self, x: Node) -> Node:
        if not -x.rank <= self.axis < x.rank:
            raise ShapeError(
                f"{label(self)}: got an input of shape {x.shape}, which has no axis {self.axis}; "
                f"set axis, or add an axis to the input. {where()}"
            )
        return x


class Softmax(_AlongAxis):
    """``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Shape: any to the same.

    Raises:
        ShapeError: the input has no such axis.

    >>> import thalweg as tw
    >>> Softmax()(tw.zeros((1, 2)))
    Tensor([[0.5, 0.5]], dtype=float32)
    """

    name = "softmax"

    def apply(self, x: Node) -> Node:
        """Return probabilities."""
        return a.softmax(self._checked(x), self.axis)


class LogSoftmax(_AlongAxis):
    """``log(softmax(x))`` along an axis, without overflow.

    Shape: any to the same.

    Raises:
        ShapeError: the input has no such axis.

    >>> import thalweg as tw
    >>> LogSoftmax()(tw.zeros((1, 1)))
    Tensor([[0.]], dtype=float32)
    """

    name = "log_softmax"

    def apply(self, x: Node) -> Node:
        """Return logarithms of probabilities."""
        return a.log_softmax(self._checked(x), self.axis)


class Hardsigmoid(Activation):
    """``clip(x / 6 + 1/2, 0, 1)``: a sigmoid without exponentials.

    Shape: any to the same.

    >>> import thalweg as tw
    >>> Hardsigmoid()(tw.tensor([-4.0, 0.0, 4.0]))
    Tensor([0. , 0.5, 1. ], dtype=float32)
    """

    name = "hard_sigmoid"

    def apply(self, x: Node) -> Node:
        """Return the piecewise linear sigmoid."""
        return a.hard_sigmoid(x)


class Hardtanh(Activation):
    """``clip(x, min_val, max_val)``, from -1 to 1 if not told otherwise.

    Shape: any to the same.

    Raises:
        ArgumentError: ``min_val`` is not below ``max_val``.

    >>> import thalweg as tw
    >>> Hardtanh()(tw.tensor([-4.0, 0.5, 4.0]))
    Tensor([-1. ,  0.5,  1. ], dtype=float32)
    """

    name = "hard_tanh"

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        if not min_val < max_val:
            raise ArgumentError(
                f"Hardtanh: min_val {min_val} must be below max_val {max_val}. {where()}"
            )
        self.min_val, self.max_val = min_val, max_val

    def apply(self, x: Node) -> Node:
        """Return the clipped input."""
        return e.clip(x, self.min_val, self.max_val)


class Hardswish(Activation):
    """``x * clip(x + 3, 0, 6) / 6``.

    Shape: any to the same.

    A. Howard et al., arXiv:1905.02244.

    >>> import thalweg as tw
    >>> Hardswish()(tw.tensor([-4.0, 4.0])) + 0
    Tensor([0., 4.], dtype=float32)
    """

    name = "hard_swish"

    def apply(self, x: Node) -> Node:
        """Return the piecewise quadratic swish."""
        return a.hard_swish(x)


class ReLU6(Activation):
    """``clip(x, 0, 6)``.

    Shape: any to the same.

    >>> import thalweg as tw
    >>> ReLU6()(tw.tensor([-1.0, 3.0, 9.0]))
    Tensor([0., 3., 6.], dtype=float32)
    """

    name = "relu6"

    def apply(self, x: Node) -> Node:
        """Return the rectifier that ends at 6."""
        return a.relu6(x)


class Mish(Activation):
    """``x * tanh(softplus(x))``.

    Shape: any to the same.

    D. Misra, arXiv:1908.08681.

    >>> import thalweg as tw
    >>> Mish()(tw.tensor([0.0]))
    Tensor([0.], dtype=float32)
    """

    name = "mish"

    def apply(self, x: Node) -> Node:
        """Return x times the tanh of its softplus."""
        return a.mish(x)


class Softsign(Activation):
    """``x / (1 + abs(x))``.

    Shape: any to the same.

    >>> import thalweg as tw
    >>> Softsign()(tw.tensor([-1.0, 1.0]))
    Tensor([-0.5,  0.5], dtype=float32)
    """

    name = "softsign"

    def apply(self, x: Node) -> Node:
        """Return x over one plus its size."""
        return a.softsign(x)
