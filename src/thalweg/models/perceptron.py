"""The perceptron: one unit with a threshold, and the learning rule that needs no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, DataError, ShapeError, where
from thalweg.models.registry import register
from thalweg.nn.keys import Key
from thalweg.nn.layers import new_parameter, positive
from thalweg.tensor.tensor import Tensor

__all__ = ["Perceptron", "PerceptronFit"]

Array = np.ndarray[Any, Any]
PAPER: Final = (
    "F. Rosenblatt, The perceptron: a probabilistic model for information storage and "
    "organization in the brain (1958), doi:10.1037/h0042519"
)
_CODES: Final = ({0.0, 1.0}, {-1.0, 1.0})  # the two ways in which labels name the classes


@dataclass(frozen=True)
class PerceptronFit:
    """What ``Perceptron.fit`` did.

    ``mistakes``: examples that were wrong in each epoch, each of which changed the weights.
    ``converged``: whether the last epoch had none, so that all examples are right.
    """

    mistakes: tuple[int, ...]
    converged: bool

    @property
    def epochs(self) -> int:
        """Times that the rule went through the examples."""
        return len(self.mistakes)


@register(
    "perceptron", paper=PAPER, parameters=401, flops=800, inputs=((400,),), task="two classes",
    small={"features": 3}, small_inputs=((3,),),
)  # fmt: skip
class Perceptron(nn.Module):
    r"""One unit that answers 1 where a weighted sum is above 0, and else 0.

    .. math:: y = [x \cdot w + b > 0]

    Its derivative is 0 wherever it exists, so it is not trained by gradients but by its own rule:
    each example that is wrong moves the weights towards it or away from it,

    .. math:: w \leftarrow w + \eta (t - y) x, \quad b \leftarrow b + \eta (t - y)

    If a hyperplane separates the classes, the rule finds one after finitely many mistakes: at most
    :math:`(R / \gamma)^2`, with the radius of the data and their margin (A. Novikoff, "On
    convergence proofs on perceptrons", 1962). Else it never ends; XOR is such a case (M. Minsky and
    S. Papert, "Perceptrons", 1969). The 400 features are the photocells of the Mark I.

    Args:
        features: size of the last axis of the input.
        learning_rate: the step. From weights of 0 it changes no answer, only the scale.

    Shape:
        ``(batch, features)`` to ``(batch,)``.

    Raises:
        ArgumentError: ``features`` is not from 1 on, or ``learning_rate`` not above 0.
        ShapeError: the input has another number of features.

    Example:
        >>> import thalweg as tw
        >>> unit = tw.models.Perceptron(2)
        >>> x, t = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 0, 0, 1])
        >>> unit.fit(x, t).converged
        True
        >>> unit(x.astype("float32")).tolist()
        [0.0, 0.0, 0.0, 1.0]

    F. Rosenblatt, doi:10.1037/h0042519.
    """

    def __init__(self, features: int = 400, learning_rate: float = 1.0) -> None:
        positive("Perceptron", features=features)
        if not learning_rate > 0:
            raise ArgumentError(
                f"Perceptron: learning_rate must be above 0, got {learning_rate!r}. {where()}"
            )
        self.features, self.learning_rate = int(features), float(learning_rate)
        self.weight = new_parameter((self.features,), "float32")
        self.bias = new_parameter((), "float32")
        self.freeze()  # the gradient is 0: an optimiser could not move them
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Set weights and bias to 0, from which the rule starts."""
        self.weight.assign(np.zeros(self.features, np.float32))
        self.bias.assign(np.zeros((), np.float32))

    def score(self, x: Any) -> Tensor:
        """Return the weighted sums, whose sign decides: ``(batch, features)`` to ``(batch,)``."""
        x = tw.asarray(x)
        self._check(tuple(x.shape))
        total: Tensor = tw.matmul(x, self.weight) + self.bias
        return total

    def forward(self, x: Any) -> Tensor:
        """Return 1 where the score is above 0, else 0."""
        answer: Tensor = tw.astype(self.score(x) > 0, self.weight.dtype)
        return answer

    def fit(self, x: Any, targets: Any, epochs: int = 1000) -> PerceptronFit:
        """Go through the examples in their order, changing the weights at each mistake.

        The run ends after an epoch without a mistake. It is a plain loop over the examples: each
        answer depends on the change before it.

        Args:
            x: examples, ``(count, features)``.
            targets: labels, ``(count,)``: 0 and 1, or -1 and 1.
            epochs: the most times to go through the examples.

        Raises:
            ShapeError: the shapes do not fit together.
            DataError: a label is none of the two, or a feature is not a finite number.
            ArgumentError: ``epochs`` is not from 1 on.
        """
        positive("Perceptron.fit", epochs=epochs)
        rows = np.asarray(x, dtype=np.float64)
        wanted = self._labels(rows, np.asarray(targets))
        weight = self.weight.numpy().astype(np.float64)
        bias = float(self.bias)
        mistakes: list[int] = []
        while len(mistakes) < epochs and (not mistakes or mistakes[-1]):
            wrong = 0
            for row, target in zip(rows, wanted, strict=True):
                error = target - float(row @ weight + bias > 0)
                if error:
                    weight += self.learning_rate * error * row
                    bias += self.learning_rate * error
                    wrong += 1
            mistakes.append(wrong)
        self.weight.assign(weight.astype(np.float32))
        self.bias.assign(np.asarray(bias, np.float32))
        return PerceptronFit(tuple(mistakes), mistakes[-1] == 0)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 or shape[1] != self.features:
            raise ShapeError(
                f"Perceptron: got examples of shape {shape}, wanted (count, {self.features}); "
                f"reshape them, or change features. {where()}"
            )

    def _labels(self, rows: Array, targets: Array) -> Array:
        """Return the labels as 0 and 1."""
        self._check(rows.shape)
        if targets.shape != rows.shape[:1]:
            raise ShapeError(
                f"Perceptron.fit: got {len(rows)} examples and labels of shape {targets.shape}; "
                f"wanted one label an example, ({len(rows)},). {where()}"
            )
        if not len(rows):
            raise DataError(f"Perceptron.fit: there are no examples to learn from. {where()}")
        if not np.isfinite(rows).all():
            raise DataError(
                f"Perceptron.fit: example {int(np.argwhere(~np.isfinite(rows))[0, 0])} holds a NaN "
                f"or an infinity; leave it out or mend it. {where()}"
            )
        found = {float(value) for value in np.unique(targets)}
        if not any(found <= codes for codes in _CODES):
            raise DataError(
                f"Perceptron.fit: got the labels {', '.join(f'{v:g}' for v in sorted(found)[:5])}; "
                "a perceptron tells two classes apart: give 0 and 1, or -1 and 1, such as "
                f"(labels == 3). {where()}"
            )
        return np.asarray(targets > 0, dtype=np.float64)
