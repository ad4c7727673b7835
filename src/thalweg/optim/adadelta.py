"""Adadelta: steps in the weights' own units, from running means of gradients and steps."""

from __future__ import annotations

from typing import Any, ClassVar

from thalweg.optim.hyperparameters import NON_NEGATIVE, UNIT, Interval
from thalweg.optim.optimizer import Array, LearningRate, Optimizer, filled_for
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

sqrt, square = FUNCTIONS["sqrt"], FUNCTIONS["square"]


class Adadelta(Optimizer):
    r"""Adadelta: the ratio of the root mean squares of past steps and gradients.

    .. math:: s \leftarrow \rho s + (1 - \rho) g^2, \quad
              d = \sqrt{\frac{u + \epsilon}{s + \epsilon}} g, \quad
              u \leftarrow \rho u + (1 - \rho) d^2, \quad w \leftarrow w - \eta d

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: factor of every step, a number or a schedule.
        decay: ``rho`` of the formula.
        eps: number added under the roots; it also sets the size of the first steps.
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701.

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0])
    >>> tw.optim.Adadelta([weight]).update([tw.tensor([2.0])])
    >>> bool((weight < 1).all())
    True
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "decay": UNIT, "eps": NON_NEGATIVE,
    }  # fmt: skip

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 1.0, *, decay: float = 0.9,
        eps: float = 1e-6, **options: Any,
    ) -> None:  # fmt: skip
        self.decay, self.eps = decay, eps
        super().__init__(parameters, learning_rate, **options)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return the running means of squared gradients and squared steps."""
        return {"square": filled_for(parameter), "moved": filled_for(parameter)}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        keep = 1 - self.decay
        mean = state["square"] + keep * (square(gradient) - state["square"])
        move = sqrt((state["moved"] + self.eps) / (mean + self.eps)) * gradient
        moved = state["moved"] + keep * (square(move) - state["moved"])
        return parameter - learning_rate * move, {"square": mean, "moved": moved}
