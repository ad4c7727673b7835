"""Lion: steps of one size, in the direction of the sign of a momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from thalweg.optim.adam import Betas
from thalweg.optim.hyperparameters import TWO_UNITS, Interval
from thalweg.optim.optimizer import Array, LearningRate, Optimizer, filled_for
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

sign = FUNCTIONS["sign"]


class Lion(Optimizer):
    r"""Lion: the sign of a mean of momentum and gradient; half of Adam's memory.

    .. math:: w \leftarrow w - \eta \, \mathrm{sign}(\beta_1 m + (1 - \beta_1) g), \quad
              m \leftarrow \beta_2 m + (1 - \beta_2) g

    Its authors advise a learning rate three to ten times smaller than AdamW's, and a weight decay
    as many times larger.

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, a number or a schedule.
        betas: what the step's mean and the momentum keep.
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Chen et al., "Symbolic discovery of optimization algorithms", arXiv:2302.06675.

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0, 1.0])
    >>> tw.optim.Lion([weight], learning_rate=0.5).update([tw.tensor([4.0, -0.1])])
    >>> weight
    Tensor([0.5, 1.5], dtype=float32)
    """

    limits: ClassVar[dict[str, Interval]] = {**Optimizer.limits, "betas": TWO_UNITS}

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 1e-4, *, betas: Betas = (0.9, 0.99),
        **options: Any,
    ) -> None:  # fmt: skip
        self.betas = betas
        super().__init__(parameters, learning_rate, **options)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return the momentum 0."""
        return {"momentum": filled_for(parameter)}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        before = state["momentum"]
        change = gradient - before
        direction = sign(before + (1 - self.betas[0]) * change)
        momentum = before + (1 - self.betas[1]) * change
        return parameter - learning_rate * direction, {"momentum": momentum}
