"""RMSprop: steps divided by the root of a running mean of squared gradients."""

from __future__ import annotations

from typing import Any, ClassVar

from thalweg.optim.hyperparameters import NON_NEGATIVE, UNIT, Interval
from thalweg.optim.optimizer import Array, LearningRate, Optimizer, filled_for
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

maximum, sqrt, square = (FUNCTIONS[name] for name in ("maximum", "sqrt", "square"))


class RMSprop(Optimizer):
    r"""RMSprop: each weight's step is divided by its gradients' root mean square.

    .. math:: s \leftarrow \rho s + (1 - \rho) g^2, \quad
              w \leftarrow w - \eta \frac{g}{\sqrt{s} + \epsilon}

    ``centered`` subtracts the square of the gradients' running mean from ``s`` (Graves, "Generating
    sequences with recurrent neural networks", arXiv:1308.0850).

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, a number or a schedule.
        decay: ``rho`` of the formula; PyTorch calls it alpha.
        eps: number added to the root.
        momentum: part of the last step's velocity that is kept.
        centered: divide by the standard deviation in place of the root mean square.
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Tieleman and Hinton, "Lecture 6.5: rmsprop" (2012).

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0])
    >>> tw.optim.RMSprop([weight], learning_rate=0.05).update([tw.tensor([2.0])])
    >>> (weight * 2).round()
    Tensor([1.], dtype=float32)
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "decay": UNIT, "eps": NON_NEGATIVE, "momentum": UNIT,
    }  # fmt: skip

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 0.01, *, decay: float = 0.99,
        eps: float = 1e-8, momentum: float = 0.0, centered: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        self.decay, self.eps, self.momentum = decay, eps, momentum
        self.centered = bool(centered)
        super().__init__(parameters, learning_rate, **options)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return the running means and the velocity, as far as they are used."""
        names = ["square"] + ["mean"] * self.centered + ["velocity"] * bool(self.momentum)
        return {name: filled_for(parameter) for name in names}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        keep = 1 - self.decay
        spread = state["square"] + keep * (square(gradient) - state["square"])
        new = {"square": spread}
        if self.centered:
            new["mean"] = state["mean"] + keep * (gradient - state["mean"])
            spread = maximum(spread - square(new["mean"]), 0.0)  # rounding may make it negative
        if not self.momentum:
            return parameter - learning_rate * gradient / (sqrt(spread) + self.eps), new
        velocity = self.momentum * state["velocity"] + gradient / (sqrt(spread) + self.eps)
        return parameter - learning_rate * velocity, {**new, "velocity": velocity}
