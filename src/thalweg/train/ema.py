"""A moving average of the weights: quieter than the weights themselves, and often better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, where
from thalweg.nn import Module
from thalweg.tensor.functions import FUNCTIONS as F
from thalweg.tensor.tensor import Tensor, constant_tensor

__all__ = ["WeightAverage"]

Array = np.ndarray[Any, Any]


class WeightAverage:
    r"""An exponential moving average of a model's trainable parameters, updated in each step.

    .. math:: \bar w \leftarrow d_t \bar w + (1 - d_t) w, \quad d_t = \min(d, (1 + t) / (10 + t))

    The decay grows to its full value while the run is young, so that the first weights are soon
    forgotten. Buffers, such as running statistics, are not averaged.

    Args:
        model: whose weights are averaged.
        decay: ``d``; at 0.999 the last thousand steps count.

    Raises:
        ArgumentError: the decay is not from 0 to 1.

    B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J.
    Control Optim. 30 (1992); the growing decay is TensorFlow's.

    >>> import thalweg as tw
    >>> from thalweg import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.assign([[0.0]])
    >>> average = WeightAverage(model, 0.9)
    >>> model.weight.assign([[1.0]])
    >>> average.update()
    >>> round(average.state_dict()["weight.weight"].item(), 4)
    0.8182
    """

    def __init__(self, model: Module, decay: float) -> None:
        given: Any = decay
        number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if not number or not 0 <= given < 1:
            raise ArgumentError(
                f"ema is {decay!r}, wanted the share that the average keeps in each step, a number "
                f"from 0 and below 1, such as 0.999. {where()}"
            )
        self.model, self.decay = model, float(decay)
        self._count = constant_tensor(np.zeros((), np.float32))
        self._averages: dict[str, Tensor] = {}
        self.restart()

    def restart(self) -> None:
        """Start again from the model's present weights."""
        self._count.assign(np.zeros((), np.float32))
        parameters = self.model.trainable_parameters()
        if list(parameters) != list(self._averages):
            self._averages = {k: constant_tensor(_wide(p.numpy())) for k, p in parameters.items()}
        else:
            for path, parameter in parameters.items():
                self._averages[path].assign(parameter.numpy())

    def update(self) -> None:
        """Take the present weights in; inside of a compiled step this becomes part of it."""
        count = self._count + 1
        decay = F["minimum"](self.decay, (1 + count) / (10 + count))
        parameters = self.model.trainable_parameters()
        for path, average in self._averages.items():
            new = parameters[path]
            change = F["astype"](new, average.dtype) - average
            average.assign(average + change * F["astype"](1 - decay, average.dtype))
        self._count.assign(count)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside of the block, and its own ones after it."""
        parameters = self.model.trainable_parameters()
        held = {path: parameters[path].numpy() for path in self._averages}
        self.apply()
        try:
            yield
        finally:
            for path, value in held.items():
                parameters[path].assign(value)

    def apply(self) -> None:
        """Give the model the averaged weights for good."""
        parameters = self.model.trainable_parameters()
        for path, average in self._averages.items():
            parameters[path].assign(average.numpy())

    def state_dict(self) -> dict[str, Array]:
        """Return the count of updates, and the averages as ``weight.`` and the path."""
        named = {f"weight.{path}": average.numpy() for path, average in self._averages.items()}
        return {"count": self._count.numpy(), **named}

    def load_state_dict(self, given: Mapping[str, Array]) -> None:
        """Take over what ``state_dict`` returned."""
        self._count.assign(given["count"])
        for path, average in self._averages.items():
            average.assign(given[f"weight.{path}"])


def _wide(value: Array) -> Array:
    """Return 16-bit numbers in float32: a 16-bit average would not notice small changes."""
    return value.astype(np.float32) if value.dtype.itemsize == 2 else value
