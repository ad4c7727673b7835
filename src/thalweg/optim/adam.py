"""Adam and its kin: steps from running means of the gradient and of its square."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from thalweg.optim.hyperparameters import NON_NEGATIVE, TWO_UNITS, Interval
from thalweg.optim.optimizer import Array, LearningRate, Optimizer, filled_for
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

expm1, maximum, sqrt, square = (FUNCTIONS[n] for n in ("expm1", "maximum", "sqrt", "square"))
Betas = tuple[float, float]


def bias_correction(beta: float, count: Tensor) -> Tensor:
    """Return ``1 - beta ** count``, in float32 without loss of digits.

    For 1 - 0.999 float32 would keep four digits; expm1 keeps all.

    >>> import thalweg as tw
    >>> bias_correction(0.999, tw.tensor(1.0))
    Tensor(0.001, dtype=float32)
    """
    exponent = count * (math.log(beta) if beta else -math.inf)
    correction: Tensor = -expm1(exponent)
    return correction


def adam_scalars(
    betas: Betas, eps: float, learning_rate: Tensor, count: Tensor
) -> dict[str, Tensor]:
    """Return the step size and the eps with both bias corrections inside.

    With ``c1``, ``c2`` the corrections, PyTorch's ``lr / c1 * m / (sqrt(v / c2) + eps)`` equals
    ``step_size * m / (sqrt(v) + scaled_eps)``: two operations less for every weight.
    """
    root = sqrt(bias_correction(betas[1], count))
    step_size = learning_rate * root / bias_correction(betas[0], count)
    return {"step_size": step_size, "scaled_eps": root * eps}


def moved_moments(
    betas: Betas, gradient: Tensor, state: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the running means of the gradient and of its square after one more gradient."""
    first = state["first"] + (1 - betas[0]) * (gradient - state["first"])
    second = state["second"] + (1 - betas[1]) * (square(gradient) - state["second"])
    return first, second


class Adam(Optimizer):
    r"""Adam: running means of the gradient and of its square, corrected for their start at 0.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
              w \leftarrow w - \eta \frac{m / (1 - \beta_1^t)}
                                       {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, a number or a schedule.
        betas: what the two running means keep at each step.
        eps: number added to the corrected root.
        amsgrad: divide by the largest ``v`` so far (Reddi, Kale and Kumar, "On the convergence of
            Adam and beyond", arXiv:1904.09237).
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Kingma and Ba, "Adam: a method for stochastic optimization", arXiv:1412.6980.

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0, 1.0])
    >>> tw.optim.Adam([weight], learning_rate=0.5).update([tw.tensor([4.0, -0.1])])
    >>> (weight * 2).round()
    Tensor([1., 3.], dtype=float32)
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "betas": TWO_UNITS, "eps": NON_NEGATIVE,
    }  # fmt: skip

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 1e-3, *,
        betas: Betas = (0.9, 0.999), eps: float = 1e-8, amsgrad: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        self.betas, self.eps = betas, eps
        self.amsgrad = bool(amsgrad)
        super().__init__(parameters, learning_rate, **options)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return both running means at 0."""
        names = ("first", "second", "largest") if self.amsgrad else ("first", "second")
        return {name: filled_for(parameter) for name in names}

    def prepare(self, learning_rate: Tensor, count: Tensor) -> dict[str, Tensor]:
        """Return the step size and eps, corrected for the means' start at 0."""
        return adam_scalars(self.betas, self.eps, learning_rate, count)

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        first, second = moved_moments(self.betas, gradient, state)
        new = {"first": first, "second": second}
        if self.amsgrad:
            new["largest"] = second = maximum(state["largest"], second)
        move = state["step_size"] * first / (sqrt(second) + state["scaled_eps"])
        return parameter - move, new


class AdamW(Adam):
    r"""Adam with decoupled weight decay: ``Adam`` with ``weight_decay=0.01``.

    .. math:: w \leftarrow (1 - \eta \lambda) w \quad \text{before each step of Adam}

    Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv:1711.05101.

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0])
    >>> optimizer = tw.optim.AdamW([weight], learning_rate=0.5, weight_decay=0.5)
    >>> optimizer.update([tw.tensor([0.0])])
    >>> weight
    Tensor([0.75], dtype=float32)
    """

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 1e-3, *,
        weight_decay: float = 0.01, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(parameters, learning_rate, weight_decay=weight_decay, **options)


class NAdam(Optimizer):
    r"""Adam with Nesterov's momentum, and a momentum that grows to ``betas[0]``.

    .. math:: \mu_t = \beta_1 (1 - \tfrac{1}{2} 0.96^{t \psi}), \quad
              w \leftarrow w - \eta \frac{\frac{1 - \mu_t}{1 - \prod_{i \le t} \mu_i} g
              + \frac{\mu_{t+1}}{1 - \prod_{i \le t + 1} \mu_i} m}
              {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, a number or a schedule.
        betas: what the two running means keep at each step.
        eps: number added to the corrected root.
        momentum_decay: ``psi`` of the formula.
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Dozat, "Incorporating Nesterov momentum into Adam" (2016).

    >>> import thalweg as tw
    >>> weight = tw.tensor([1.0])
    >>> tw.optim.NAdam([weight], learning_rate=0.5).update([tw.tensor([4.0])])
    >>> bool((weight < 1).all())
    True
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "betas": TWO_UNITS, "eps": NON_NEGATIVE, "momentum_decay": NON_NEGATIVE,
    }  # fmt: skip

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 2e-3, *,
        betas: Betas = (0.9, 0.999), eps: float = 1e-8, momentum_decay: float = 4e-3,
        **options: Any,
    ) -> None:  # fmt: skip
        self.betas, self.eps = betas, eps
        self.momentum_decay = momentum_decay
        super().__init__(parameters, learning_rate, **options)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return both running means at 0, and the product of all momenta."""
        return {"first": filled_for(parameter), "second": filled_for(parameter),
                "product": np.ones((), np.float32)}  # fmt: skip

    def prepare(self, learning_rate: Tensor, count: Tensor) -> dict[str, Tensor]:
        """Return this step's momentum and the next one's, and the correction of the root."""
        def momentum(number: Tensor) -> Tensor:
            exponent = number * (self.momentum_decay * math.log(0.96))
            grown: Tensor = self.betas[0] * (1 - 0.5 * FUNCTIONS["exp"](exponent))
            return grown

        root = sqrt(bias_correction(self.betas[1], count))
        return {"now": momentum(count), "next": momentum(count + 1),
                "step_size": learning_rate * root, "scaled_eps": root * self.eps}  # fmt: skip

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        first, second = moved_moments(self.betas, gradient, state)
        now, following = state["now"], state["next"]
        product = state["product"] * now
        a = state["step_size"] * (1 - now) / (1 - product)
        b = state["step_size"] * following / (1 - product * following)
        new = parameter - (a * gradient + b * first) / (sqrt(second) + state["scaled_eps"])
        return new, {"first": first, "second": second, "product": product}
