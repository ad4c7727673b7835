"""Adagrad: steps that shrink with the sum of all squared gradients."""

from __future__ import annotations

from typing import Any, ClassVar

from thalweg.optim.hyperparameters import NON_NEGATIVE, Interval
from thalweg.optim.optimizer import Array, LearningRate, Optimizer, filled_for
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

sqrt, square = FUNCTIONS["sqrt"], FUNCTIONS["square"]


class Adagrad(Optimizer):
    r"""Adagrad: each weight's step is divided by the root of its squared gradients' sum.

    .. math:: s \leftarrow s + g^2, \quad
              w \leftarrow w - \frac{\eta}{1 + (t - 1) d} \frac{g}{\sqrt{s} + \epsilon}

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, a number or a schedule.
        learning_rate_decay: ``d`` of the formula.
        initial_accumulator: ``s`` before the first step.
        eps: number added to the root.
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 12 (2011).

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0, 1.0])
    >>> tw.optim.Adagrad([weight], learning_rate=0.5).update([tw.tensor([4.0, -0.1])])
    >>> weight
    Tensor([0.5, 1.5], dtype=float32)
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "learning_rate_decay": NON_NEGATIVE,
        "initial_accumulator": NON_NEGATIVE, "eps": NON_NEGATIVE,
    }  # fmt: skip

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 0.01, *,
        learning_rate_decay: float = 0.0, initial_accumulator: float = 0.0, eps: float = 1e-10,
        **options: Any,
    ) -> None:  # fmt: skip
        self.learning_rate_decay, self.eps = learning_rate_decay, eps
        self.initial_accumulator = initial_accumulator
        super().__init__(parameters, learning_rate, **options)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return the sum of squares before the first step."""
        return {"sum": filled_for(parameter, self.initial_accumulator)}

    def prepare(self, learning_rate: Tensor, count: Tensor) -> dict[str, Tensor]:
        """Return the decayed learning rate."""
        if not self.learning_rate_decay:
            return {"step_size": learning_rate}
        return {"step_size": learning_rate / (1 + (count - 1) * self.learning_rate_decay)}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        sum_ = state["sum"] + square(gradient)
        new = parameter - state["step_size"] * gradient / (sqrt(sum_) + self.eps)
        return new, {"sum": sum_}
