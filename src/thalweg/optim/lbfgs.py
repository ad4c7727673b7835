"""L-BFGS: Newton's steps with a curvature estimated from the last few gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from thalweg.errors import ArgumentError, NumericsError, ShapeError, TraceError, nearest, where
from thalweg.optim import paths
from thalweg.optim.hyperparameters import NON_NEGATIVE, Interval
from thalweg.optim.line_search import SEARCHES, Array, Point
from thalweg.optim.optimizer import LearningRate, Optimizer, check_entries
from thalweg.tensor.context import context
from thalweg.tensor.tensor import Tensor

Closure = Callable[[], tuple[Any, Any]]
LEAST_CURVATURE = 1e-10  # pairs of steps and gradients with less are not learnt from


class Minimum(NamedTuple):
    """Where ``minimize`` ended: the loss, what it took, and whether it can go no further."""

    loss: float
    steps: int
    evaluations: int
    converged: bool


class LBFGS(Optimizer):
    r"""L-BFGS: a quasi-Newton method for whole data sets and small models.

    .. math:: w \leftarrow w - \eta H g, \quad H \approx (\nabla^2 L)^{-1}

    ``H`` is built from the last ``history`` changes of parameters and gradients. The decisions are
    made in Python, in float64; the loss may and should be a compiled function. ``minimize`` chooses
    the step size by a line search. ``update`` takes one step of the size ``learning_rate``.

    Args:
        parameters: a Module, or a dict or list of Parameters.
        learning_rate: the step size, and the first one that a line search tries. The very first
            step is divided by the gradient's sum of absolute values if that is above 1.
        history: changes that are remembered.
        line_search: ``"strong_wolfe"``, ``"armijo"`` (backtracking), or None: no search.
        gradient_tolerance: ``minimize`` ends when no element of the gradient is larger.
        change_tolerance: ``minimize`` ends when neither a parameter nor the loss changes by more.
        l2: penalty on the parameters, added to loss and gradient.

    Raises:
        ArgumentError: an argument outside of its legal values.

    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
    Programming 45 (1989).

    >>> import thalweg as tw
    >>> place = [tw.tensor([-1.2, 1.0])]
    >>> @tw.compile
    ... def loss_and_grads():
    ...     def rosenbrock(p):
    ...         return 100 * (p[0][1] - p[0][0] ** 2) ** 2 + (1 - p[0][0]) ** 2
    ...     return tw.value_and_grad(rosenbrock)(place)
    >>> found = tw.optim.LBFGS(place).minimize(loss_and_grads, steps=50)
    >>> found.loss < 1e-8
    True
    """

    limits: ClassVar[dict[str, Interval]] = {
        **Optimizer.limits, "history": Interval(1), "gradient_tolerance": NON_NEGATIVE,
        "change_tolerance": NON_NEGATIVE,
    }  # fmt: skip
    runs_compiled: ClassVar[bool] = False

    def __init__(
        self, parameters: Any, learning_rate: LearningRate = 1.0, *, history: int = 10,
        line_search: str | None = "strong_wolfe", gradient_tolerance: float = 1e-7,
        change_tolerance: float = 1e-9, l2: float = 0.0,
    ) -> None:  # fmt: skip
        if line_search is not None and line_search not in SEARCHES:
            raise ArgumentError(
                f"{self._label}: line_search is {line_search!r}; "
                f"{nearest(str(line_search), SEARCHES)}, or None. {where()}"
            )
        self.history, self.line_search = history, line_search
        self.gradient_tolerance, self.change_tolerance = gradient_tolerance, change_tolerance
        self._pairs: list[tuple[Array, Array]] = []  # changes of parameters and of gradients
        self._last: tuple[Array, Array] | None = None  # parameters and gradient before
        super().__init__(parameters, learning_rate, l2=l2)

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return nothing: the history is one of all parameters together."""
        return {}

    # --- steps ----------------------------------------------------------------------------

    def update(self, grads: Any) -> None:
        """Take one step of the size ``learning_rate``, without a line search.

        Raises:
            TraceError: it is called inside of a compiled function.
            ArgumentError: gradients are missing, or do not belong to the parameters.
        """
        self._check_outside("update")
        place = self._place()
        gradient = self._gradient(grads, place)
        direction = self._direction(place, gradient)
        self._move(place + self._first_step(gradient) * direction)
        self._count.assign(self.count + 1)

    def minimize(self, loss_closure: Closure, steps: int = 100) -> Minimum:
        """Take up to so many steps, each with a line search; return where they ended.

        ``loss_closure()`` returns the loss and its gradients at the parameters' current values, as
        ``value_and_grad`` does. It is called several times a step; make it a compiled function.

        Raises:
            TraceError: it is called inside of a compiled function.
            NumericsError: the loss is not finite at the start.
            ArgumentError: the gradients do not belong to the parameters.
        """
        self._check_outside("minimize")
        evaluations = 0

        def evaluated(place: Array) -> tuple[float, Array]:
            nonlocal evaluations
            evaluations += 1
            self._move(place)
            loss, grads = loss_closure()
            penalty = self.l2 / 2 * float(place @ place)
            return float(loss) + penalty, self._gradient(grads, place)

        place = self._place()
        loss, gradient = evaluated(place)
        if not math.isfinite(loss):
            raise NumericsError(
                f"{self._label}.minimize: the loss is {loss} at the start, wanted a finite number; "
                f"look at the data with tw.debug_nans(). {where()}"
            )
        for done in range(steps):
            if np.abs(gradient).max(initial=0) <= self.gradient_tolerance:
                return Minimum(loss, done, evaluations, True)
            direction = self._direction(place, gradient)
            if gradient @ direction > -self.change_tolerance:
                return Minimum(loss, done, evaluations, True)
            point = self._searched(evaluated, place, direction, loss, gradient)
            self._count.assign(self.count + 1)
            change, fall = point.step * direction, abs(point.loss - loss)
            place, loss, gradient = place + change, point.loss, point.gradient
            self._move(place)
            if np.abs(change).max() <= self.change_tolerance or fall < self.change_tolerance:
                return Minimum(loss, done + 1, evaluations, True)
        return Minimum(loss, steps, evaluations, False)

    def _searched(
        self, evaluated: Callable[[Array], tuple[float, Array]], place: Array, direction: Array,
        loss: float, gradient: Array,
    ) -> Point:  # fmt: skip
        def line(step: float) -> Point:
            found, slope = evaluated(place + step * direction)
            return Point(step, found, float(slope @ direction), slope)

        first = self._first_step(gradient)
        if self.line_search is None:
            return line(first)
        start = Point(0.0, loss, float(gradient @ direction), gradient)
        return SEARCHES[self.line_search](line, start, first)

    def _first_step(self, gradient: Array) -> float:
        """Return the step to try: nothing is known of the scale before there is a history."""
        if self._pairs or self.count:
            return self.learning_rate
        return min(1.0, 1.0 / max(float(np.abs(gradient).sum()), 1e-300)) * self.learning_rate

    def _direction(self, place: Array, gradient: Array) -> Array:
        """Return ``-H g`` by the two loops of Nocedal (1980), and remember the last change."""
        if self._last is not None:
            moved, turned = place - self._last[0], gradient - self._last[1]
            if moved @ turned > LEAST_CURVATURE:
                self._pairs = [*self._pairs, (moved, turned)][-self.history :]
        self._last = place, gradient
        direction = -gradient
        parts = []
        for moved, turned in reversed(self._pairs):
            part = (moved @ direction) / (moved @ turned)
            parts.append(part)
            direction = direction - part * turned
        if self._pairs:
            moved, turned = self._pairs[-1]
            direction = direction * ((moved @ turned) / (turned @ turned))
        for (moved, turned), part in zip(self._pairs, reversed(parts), strict=True):
            direction = direction + moved * (part - (turned @ direction) / (moved @ turned))
        return direction

    # --- between tensors and one long vector ----------------------------------------------

    def _check_outside(self, method: str) -> None:
        if context.recorder is not None:
            raise TraceError(
                f"{self._label}.{method} decides in Python and cannot be part of a compiled "
                f"function: compile only what returns loss and gradients. {where()}"
            )

    def _tensors(self) -> dict[str, Tensor]:
        return self._trained(paths.parameters(self._source, self._label))

    def _place(self) -> Array:
        place = _joined([tensor.numpy() for tensor in self._tensors().values()])
        if self._last is not None and self._last[0].size != place.size:
            raise ShapeError(
                f"{self._label}: there were {self._last[0].size} numbers to train and now are "
                f"{place.size}; make a new optimiser after (un)freezing. {where()}"
            )
        return place

    def _gradient(self, grads: Any, place: Array) -> Array:
        named = paths.parameters(self._source, self._label)
        matched = paths.gradients(grads, named, self._label)
        trained = self._trained(named)
        return _joined([matched[path].numpy() for path in trained]) + self.l2 * place

    def _move(self, place: Array) -> None:
        start = 0
        for tensor in self._tensors().values():
            part = place[start : start + tensor.size].reshape(tensor.shape)
            tensor.assign(part.astype(tensor.dtype.numpy))
            start += tensor.size

    # --- saving ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return count, learning rate and the history, as NumPy arrays by name."""
        size = self._place().size
        moved = [pair[0] for pair in self._pairs]
        turned = [pair[1] for pair in self._pairs]
        last = self._last or (np.zeros(0), np.zeros(0))
        return super().state_dict() | {
            "moved": np.array(moved).reshape(len(moved), size),
            "turned": np.array(turned).reshape(len(turned), size),
            "place": last[0].copy(), "gradient": last[1].copy(),
        }  # fmt: skip

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned; nothing is changed if anything is wrong.

        Raises:
            ArgumentError: entries are missing or unexpected.
            ShapeError: the history is one of other parameters.
        """
        given = check_entries(self._label, mapping, self.state_dict())
        size = self._place().size
        moved, turned = (given[k].astype(np.float64) for k in ("moved", "turned"))
        place, gradient = (given[k].astype(np.float64) for k in ("place", "gradient"))
        fits = place.shape == gradient.shape and place.shape in ((0,), (size,))
        if moved.shape != turned.shape or moved.shape != (len(moved), size) or not fits:
            raise ShapeError(
                f"{self._label}.load_state_dict: the history has the shapes {moved.shape}, "
                f"{turned.shape}, {place.shape} and {gradient.shape}, but there are {size} numbers "
                f"to train; nothing was loaded. {where()}"
            )
        super().load_state_dict({k: given[k] for k in ("count", "learning_rate")})
        self._pairs = list(zip(moved, turned, strict=True))
        self._last = (place, gradient) if place.size else None


def _joined(arrays: list[Array]) -> Array:
    return np.concatenate([a.astype(np.float64).ravel() for a in arrays])
