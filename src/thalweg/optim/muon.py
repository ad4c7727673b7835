"""Muon: momentum made orthogonal for matrices, AdamW for all other parameters."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from thalweg.errors import ArgumentError, nearest, where
from thalweg.optim.adam import Betas, adam_scalars, moved_moments
from thalweg.optim.groups import Match
from thalweg.optim.hyperparameters import NON_NEGATIVE, TWO_UNITS, UNIT, Interval
from thalweg.optim.optimizer import Array, LearningRate, Optimizer, filled_for
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor

maximum, sqrt, square, total = (FUNCTIONS[n] for n in ("maximum", "sqrt", "square", "sum"))
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the steepest quintic at 0, from Jordan et al.
SMALLEST_NORM = 1e-7


def orthogonalized(matrix: Tensor, iterations: int = 5) -> Tensor:
    r"""Return a matrix with the same singular vectors and singular values near 1.

    .. math:: X \leftarrow a X + (b A + c A^2) X, \quad A = X X^T

    Newton-Schulz iteration with coefficients that lift small singular values fast; the values end
    between about 0.7 and 1.2.

    Shape: ``(rows, columns)`` to the same.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024),
    https://kellerjordan.github.io/posts/muon/; Bernstein and Newhouse, arXiv:2409.20325.

    >>> import thalweg as tw
    >>> orthogonalized(tw.tensor([[3.0, 0.0], [0.0, 4.0]])).round()
    Tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    flat = matrix.T if tall else matrix  # the smaller side makes the smaller product
    x: Tensor = flat / maximum(sqrt(total(square(flat))), SMALLEST_NORM)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


def is_matrix(path: str, parameter: Tensor) -> bool:
    """Return whether a parameter has two axes."""
    return parameter.ndim == 2


def _as_original(rows: int, columns: int) -> float:
    return math.sqrt(max(1.0, columns / rows))


def _as_adamw(rows: int, columns: int) -> float:
    return 0.2 * math.sqrt(max(rows, columns))


ADJUSTMENTS = {"original": _as_original, "match_rms_adamw": _as_adamw}


class Muon(Optimizer):
    r"""Muon for the matrices of hidden layers, AdamW for all other parameters.

    .. math:: m \leftarrow \mu m + (1 - \mu) g, \quad
              w \leftarrow w - \eta r \, \mathrm{orthogonal}((1 - \mu) g + \mu m)

    The factor ``r`` follows from a weight's shape, ``(in_features, out_features)``. ``adjust``
    chooses it: ``"original"`` is ``sqrt(max(1, out / in))``; ``"match_rms_adamw"`` is
    ``0.2 sqrt(max(in, out))``, with which Muon takes AdamW's learning rates (Liu et al.,
    arXiv:2502.16982; set ``adam_learning_rate_scale=1`` then).

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, a number or a schedule.
        momentum: what the running mean of the gradient keeps.
        nesterov: look ahead along the momentum.
        iterations: of Newton and Schulz.
        adjust: how the step depends on the weight's shape.
        hidden: which matrices Muon trains, a function ``(path, parameter) -> bool``. By default all
            parameters of two axes. Its authors leave embeddings and the last layer to AdamW.
        adam_learning_rate_scale: AdamW's learning rate as a part of Muon's.
        adam_betas: those of AdamW.
        adam_eps: that of AdamW.
        weight_decay: decoupled, for both.
        **options: those of ``Optimizer``.

    Raises:
        ArgumentError: an argument outside of its legal values, or ``hidden`` chose a parameter that
            is not a matrix.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024),
    https://kellerjordan.github.io/posts/muon/.

    >>> import thalweg as tw
    >>> from thalweg import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> last = "2.weight"
    >>> optimizer = tw.optim.Muon(model, hidden=lambda path, p: p.ndim == 2 and path != last)
    >>> [name for name in optimizer.state_dict() if name.endswith("momentum")]
    ['0.weight.momentum']
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "momentum": UNIT, "iterations": Interval(1, 100),
        "adam_learning_rate_scale": NON_NEGATIVE, "adam_betas": TWO_UNITS,
        "adam_eps": NON_NEGATIVE,
    }  # fmt: skip

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 0.02, *, momentum: float = 0.95,
        nesterov: bool = True, iterations: int = 5, adjust: str = "original",
        hidden: Match = is_matrix, adam_learning_rate_scale: float = 0.015,
        adam_betas: Betas = (0.9, 0.95), adam_eps: float = 1e-8, weight_decay: float = 0.01,
        **options: Any,
    ) -> None:  # fmt: skip
        self.momentum, self.nesterov, self.iterations = momentum, bool(nesterov), iterations
        if adjust not in ADJUSTMENTS:
            raise ArgumentError(
                f"{self._label}: adjust is {adjust!r}; {nearest(str(adjust), ADJUSTMENTS)}. "
                f"{where()}"
            )
        self.adjust, self.hidden = adjust, hidden
        self.adam_learning_rate_scale = adam_learning_rate_scale
        self.adam_betas, self.adam_eps = adam_betas, adam_eps
        super().__init__(parameters, learning_rate, weight_decay=weight_decay, **options)

    def named_initial_state(self, path: str, parameter: Tensor) -> dict[str, Array]:
        """Return a momentum for the matrices that are hidden, Adam's means for the rest."""
        if not self.hidden(path, parameter):
            return {"first": filled_for(parameter), "second": filled_for(parameter)}
        if parameter.ndim != 2:
            raise ArgumentError(
                f"{self._label}: hidden chose {path!r} of shape {parameter.shape}, but only "
                f"matrices can be made orthogonal; leave it to AdamW. {where()}"
            )
        return {"momentum": filled_for(parameter)}

    def learning_rate_scale(self, path: str, parameter: Tensor) -> float:
        """Return AdamW's part of the learning rate, 1 for what Muon trains."""
        return 1.0 if self.hidden(path, parameter) else self.adam_learning_rate_scale

    def prepare(self, learning_rate: Tensor, count: Tensor) -> dict[str, Tensor]:
        """Return AdamW's corrected step size and eps."""
        return adam_scalars(self.adam_betas, self.adam_eps, learning_rate, count)

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return the parameter one step further down."""
        if "momentum" not in state:
            first, second = moved_moments(self.adam_betas, gradient, state)
            move = state["step_size"] * first / (sqrt(second) + state["scaled_eps"])
            return parameter - move, {"first": first, "second": second}
        momentum = state["momentum"] + (1 - self.momentum) * (gradient - state["momentum"])
        ahead = gradient + self.momentum * (momentum - gradient) if self.nesterov else momentum
        factor = ADJUSTMENTS[self.adjust](*parameter.shape)
        move = (learning_rate * factor) * orthogonalized(ahead, self.iterations)
        return parameter - move, {"momentum": momentum}
