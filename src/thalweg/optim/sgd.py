"""Stochastic gradient descent, with momentum, Nesterov's look ahead and dampening."""

from __future__ import annotations

from typing import Any, ClassVar

from thalweg.errors import ArgumentError, where
from thalweg.optim.hyperparameters import UNIT, Interval
from thalweg.optim.optimizer import Array, LearningRate, Optimizer, filled_for
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

choose = FUNCTIONS["where"]


class SGD(Optimizer):
    r"""Stochastic gradient descent; as PyTorch defines its momentum.

    .. math:: v \leftarrow \mu v + (1 - \tau) g, \quad w \leftarrow w - \eta v

    The first ``v`` is ``g``. With ``nesterov`` the step is ``g + momentum * v`` in place of ``v``.

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, a number or a schedule.
        momentum: part of the last step's velocity that is kept.
        nesterov: look ahead along the velocity; needs momentum, and no dampening.
        dampening: part of the gradient that does not enter the velocity.
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Robbins and Monro, "A stochastic approximation method" (1951); Sutskever et al., "On the
    importance of initialization and momentum in deep learning" (2013).

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0])
    >>> optimizer = tw.optim.SGD([weight], learning_rate=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.update([tw.tensor([1.0])])
    >>> weight
    Tensor([0.75], dtype=float32)
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "momentum": UNIT, "dampening": Interval(0, 1, with_high=True),
    }  # fmt: skip

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 0.01, *, momentum: float = 0.0,
        nesterov: bool = False, dampening: float = 0.0, **options: Any,
    ) -> None:  # fmt: skip
        self.momentum, self.dampening, self.nesterov = momentum, dampening, bool(nesterov)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ArgumentError(
                f"{self._label}: nesterov needs a momentum above 0 and a dampening of 0, got "
                f"momentum={momentum}, dampening={dampening}. {where()}"
            )
        super().__init__(parameters, learning_rate, **options)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return the velocity 0, if there is momentum."""
        return {"velocity": filled_for(parameter)} if self.momentum else {}

    def prepare(self, learning_rate: Tensor, count: Tensor) -> dict[str, Tensor]:
        """Return the weight of the gradient, which the first step does not dampen."""
        if not self.momentum or not self.dampening:
            return {}
        return {"weight": choose(count <= 1, 1.0, 1.0 - self.dampening)}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        if not self.momentum:
            return parameter - learning_rate * gradient, {}
        inflow = gradient * state["weight"] if self.dampening else gradient
        velocity = self.momentum * state["velocity"] + inflow
        move = gradient + self.momentum * velocity if self.nesterov else velocity
        return parameter - learning_rate * move, {"velocity": velocity}


class GradientDescent(SGD):
    r"""Plain gradient descent: ``SGD`` without momentum.

    .. math:: w \leftarrow w - \eta g

    Cauchy, "Méthode générale pour la résolution des systèmes d'équations simultanées" (1847).

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0])
    >>> tw.optim.GradientDescent([weight], learning_rate=0.5).update([tw.tensor([1.0])])
    >>> weight
    Tensor([0.5], dtype=float32)
    """

    def __init__(self, parameters: Any, learning_rate: LearningRate = 0.01, **options: Any) -> None:
        super().__init__(parameters, learning_rate, **options)


class Momentum(SGD):
    r"""Gradient descent with Polyak's momentum: ``SGD`` with ``momentum=0.9``.

    .. math:: v \leftarrow \mu v + g, \quad w \leftarrow w - \eta v

    Polyak, "Some methods of speeding up the convergence of iteration methods" (1964).

    >>> import thalweg as tw
    >>> tw.optim.Momentum([tw.zeros(2)]).momentum
    0.9
    """

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 0.01, *, momentum: float = 0.9,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(parameters, learning_rate, momentum=momentum, **options)


class Nesterov(SGD):
    r"""Gradient descent with Nesterov's momentum: ``SGD`` with ``nesterov=True``.

    .. math:: v \leftarrow \mu v + g, \quad w \leftarrow w - \eta (g + \mu v)

    Nesterov, "A method for solving the convex programming problem with convergence rate
    O(1/k^2)" (1983).

    >>> import thalweg as tw
    >>> tw.optim.Nesterov([tw.zeros(2)]).nesterov
    True
    """

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 0.01, *, momentum: float = 0.9,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(parameters, learning_rate, momentum=momentum, nesterov=True, **options)
