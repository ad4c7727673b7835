"""``Optimizer``: what all optimisers share; a new one is ``initial_state`` and ``step``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, ShapeError, TraceError, nearest, where
from thalweg.graph.dtype import DType, as_dtype, float32
from thalweg.optim import paths
from thalweg.optim.clipping import clip_by_global_norm, clip_by_norm, clip_by_value
from thalweg.optim.groups import Groups, Treatment
from thalweg.optim.hyperparameters import (
    NON_NEGATIVE,
    OPTIONAL_POSITIVE,
    Interval,
    Same,
    checked,
    comparable,
)
from thalweg.tensor.context import context, structure_epoch
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor, constant_tensor

Array = np.ndarray[Any, Any]
Schedule = Callable[[Tensor], Any]
LearningRate = float | Tensor | Schedule
_MISSING = object()


@dataclass
class _Slot:
    """One parameter and what the optimiser keeps for it."""

    parameter: Tensor
    state: dict[str, Tensor]
    made_at: int  # the count of changes of hyper-parameters that the state fits to


class Optimizer:
    """Changes parameters by their gradients; the base class of all optimisers.

    Args:
        parameters: a Module, or a dict, list or tuple of Parameters or Modules.
        learning_rate: a number, or a schedule: a function of the number of updates made so far (a
            float32 tensor) that is written with functions of ``tw``.
        weight_decay: decoupled: before each step the parameter is multiplied by
            ``1 - learning_rate * weight_decay``.
        l2: penalty ``l2 / 2 * |parameter|^2`` on the loss: ``l2 * parameter`` is added to the
            gradient, after clipping.
        clip_value: largest absolute value of a gradient's elements.
        clip_norm: largest norm of each gradient.
        clip_global_norm: largest norm of all gradients together.
        groups: dicts that treat some parameters otherwise; see ``Groups``.

    A subclass keeps its hyper-parameters in public attributes, set before it calls
    ``super().__init__``; compiled functions notice when they change. It lists their legal values
    in ``limits`` and writes ``initial_state`` and ``step``, and ``prepare`` for numbers that all
    parameters share. Parameters in 16-bit types are computed, and their state is kept, in float32.

    Raises:
        ArgumentError: nothing to train, or an argument outside of its legal values.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.optim.optimizer import Optimizer
        >>> class SignDescent(Optimizer):
        ...     def initial_state(self, parameter):
        ...         return {}
        ...     def step(self, parameter, gradient, state, learning_rate, count):
        ...         return parameter - learning_rate * tw.sign(gradient), {}
        >>> weight = tw.tensor([1.0, -1.0])
        >>> optimizer = SignDescent([weight], learning_rate=0.25)
        >>> optimizer.update([tw.tensor([3.0, -0.5])])
        >>> weight
        Tensor([ 0.75, -0.75], dtype=float32)
    """

    limits: ClassVar[dict[str, Interval]] = {
        "weight_decay": NON_NEGATIVE, "l2": NON_NEGATIVE, "clip_value": OPTIONAL_POSITIVE,
        "clip_norm": OPTIONAL_POSITIVE, "clip_global_norm": OPTIONAL_POSITIVE,
    }  # fmt: skip
    runs_compiled: ClassVar[bool] = True  # whether update can be part of a compiled function

    _changes: int = 0

    def __init__(
        self, parameters: Any, learning_rate: LearningRate, *, weight_decay: float = 0.0,
        l2: float = 0.0, clip_value: float | None = None, clip_norm: float | None = None,
        clip_global_norm: float | None = None, groups: Any = None,
    ) -> None:  # fmt: skip
        if context.recorder is not None:
            raise TraceError(
                f"{self._label}: make the optimiser outside of the compiled function, else its "
                f"state would start anew at each call. {where()}"
            )
        self._source = parameters
        self._slots: dict[str, _Slot] = {}
        self._count = constant_tensor(np.zeros((), np.int32))
        self._rate = constant_tensor(np.zeros((), np.float32))
        self._schedule: Schedule | None = None
        self.learning_rate = learning_rate
        self.weight_decay, self.l2 = weight_decay, l2
        self.clip_value, self.clip_norm = clip_value, clip_norm
        self.clip_global_norm = clip_global_norm
        self.groups = groups
        named = paths.parameters(parameters, self._label)
        self.groups.check_patterns(self._label, named)
        for path, parameter in self._trained(named).items():
            self._slot(path, parameter)

    # --- what a subclass writes -----------------------------------------------------------

    def initial_state(self, parameter: Tensor) -> dict[str, Array]:
        """Return the arrays that are kept for a parameter from step to step, by name."""
        raise NotImplementedError(f"{self._label} defines no initial_state")

    def step(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor],
        learning_rate: Tensor, count: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Return a parameter and its state after one step.

        ``state`` holds what ``initial_state`` named, and what ``prepare`` returned; ``count`` is
        the number of this update, from 1, in float32. State that is not returned stays as it is.
        """
        raise NotImplementedError(f"{self._label} defines no step")

    def prepare(self, learning_rate: Tensor, count: Tensor) -> dict[str, Tensor]:
        """Return numbers that ``step`` needs and that are the same for all parameters.

        It runs once an update for each learning rate, not once a parameter.
        """
        return {}

    def named_initial_state(self, path: str, parameter: Tensor) -> dict[str, Array]:
        """Return ``initial_state``; for optimisers that treat parameters by their paths."""
        return self.initial_state(parameter)

    def learning_rate_scale(self, path: str, parameter: Tensor) -> float:
        """Return the factor of a parameter's learning rate, besides that of its group."""
        return 1.0

    # --- hyper-parameters -----------------------------------------------------------------

    @property
    def _label(self) -> str:
        return type(self).__name__

    @property
    def learning_rate(self) -> float:
        """Size of the next step. Assign a number at any time: nothing is compiled again for it.

        It is held in float32 and told as the shortest decimal that means the same float32.
        Assigning a schedule compiles the functions that use the optimiser once more.

        >>> import thalweg as tw
        >>> optimizer = tw.optim.SGD([tw.zeros(2)], learning_rate=0.1)
        >>> optimizer.learning_rate *= 0.5
        >>> optimizer.learning_rate
        0.05
        """
        rate = self._rate if self._schedule is None else self._rate_at(self._count)
        return float(str(np.float32(rate.item())))

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        was_scheduled = self._schedule is not None
        if isinstance(value, Tensor) or hasattr(value, "__thalweg_node__"):
            self._rate.assign(value)
            self._schedule = None
        elif callable(value):
            if value is not self._schedule:
                self._schedule = value
                structure_epoch.advance()
            return
        else:
            number = checked(self._label, "learning_rate", value, NON_NEGATIVE)
            self._schedule = None
            if context.recorder is not None:
                self._rate.assign(number)
            else:  # in place, so that programs that hold the buffer need not be bound again
                self._rate._value("the learning rate")[...] = number
        if was_scheduled:
            structure_epoch.advance()

    @property
    def schedule(self) -> Schedule | None:
        """The schedule that the learning rate follows, None if it is a number."""
        return self._schedule

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or name == "learning_rate":
            object.__setattr__(self, name, value)
            return
        if name == "groups" and not isinstance(value, Groups):
            value = Groups(self._label, value)
        elif name in self.limits:
            value = checked(self._label, name, value, self.limits[name])
        if self.__dict__.get(name, _MISSING) is not value:
            object.__setattr__(self, name, value)
            self._changes += 1
            structure_epoch.advance()

    @property
    def count(self) -> int:
        """Number of updates made."""
        return int(self._count.item())

    def fingerprint(self) -> tuple[Any, ...]:
        """Return everything that a captured program depends on, except the tensors' numbers.

        >>> import thalweg as tw
        >>> optimizer = tw.optim.SGD([tw.zeros(2)], learning_rate=0.1)
        >>> before = optimizer.fingerprint()
        >>> optimizer.learning_rate = 0.2
        >>> optimizer.fingerprint() == before
        True
        >>> optimizer.momentum = 0.9
        >>> optimizer.fingerprint() == before
        False
        """
        options = tuple((k, comparable(v)) for k, v in self._hyperparameters().items())
        slots = tuple(
            (path, Same(slot.parameter), paths.is_trainable(slot.parameter),
             self._treatment(path, slot.parameter),
             tuple((name, Same(tensor)) for name, tensor in slot.state.items()))
            for path, slot in self._slots.items()
        )  # fmt: skip
        return (type(self), options, comparable(self._schedule), Same(self._rate), slots)

    def _hyperparameters(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __repr__(self) -> str:
        rate = self._schedule or self.learning_rate
        shown = {k: v for k, v in self._hyperparameters().items()
                 if k != "groups" and v is not None}  # fmt: skip
        options = "".join(f", {k}={v!r}" for k, v in shown.items())
        return f"{self._label}(learning_rate={rate!r}{options})"

    # --- the update -----------------------------------------------------------------------

    def update(self, grads: Any) -> None:
        """Change the parameters by one step.

        ``grads``: what ``value_and_grad`` returns for the model or tree that the optimiser was
        made with. Inside a compiled function the update becomes part of the program.

        Raises:
            ArgumentError: gradients are missing, or do not belong to the parameters.
            ShapeError: a gradient has another shape than its parameter.

        >>> import thalweg as tw
        >>> weight = tw.tensor([1.0, 2.0])
        >>> optimizer = tw.optim.SGD([weight], learning_rate=0.5)
        >>> loss, grads = tw.value_and_grad(lambda p: (p[0] ** 2).sum())([weight])
        >>> optimizer.update(grads)
        >>> weight
        Tensor([0., 0.], dtype=float32)
        """
        if context.recorder is not None:
            context.recorder.touch(self)
        named = paths.parameters(self._source, self._label)
        matched = paths.gradients(grads, named, f"{self._label}.update")
        trained = self._trained(named)
        gradients = self._clipped({path: matched[path] for path in trained})
        count = self._count + 1
        rate, number = self._rate_at(self._count), _in(count, float32)
        shared: dict[float, tuple[Tensor, dict[str, Tensor]]] = {}
        changes: list[tuple[Tensor, Tensor]] = [(self._count, count)]
        for path, parameter in trained.items():
            scale = self._treatment(path, parameter).learning_rate_scale
            scale *= self.learning_rate_scale(path, parameter)
            if scale not in shared:
                own = rate if scale == 1 else rate * scale
                shared[scale] = own, self.prepare(own, number)
            changes += self._stepped(path, parameter, gradients[path], *shared[scale], number)
        for tensor, value in changes:  # only now, so that an error leaves everything as it was
            tensor.assign(value)

    def _stepped(
        self, path: str, parameter: Tensor, gradient: Tensor, rate: Tensor,
        shared: dict[str, Tensor], count: Tensor,
    ) -> list[tuple[Tensor, Tensor]]:  # fmt: skip
        slot = self._slot(path, parameter)
        kind = working_dtype(parameter)
        value, slope = _in(parameter, kind), _in(gradient, kind)
        treatment = self._treatment(path, parameter)
        if treatment.l2:
            slope = slope + treatment.l2 * value
        if treatment.weight_decay:
            value = value * (1 - rate * treatment.weight_decay)
        new, state = self.step(value, slope, {**slot.state, **shared}, rate, count)
        for name in state:
            if name not in slot.state:
                raise ArgumentError(
                    f"{self._label}.step returned the state {name!r}, which initial_state did "
                    f"not name; {nearest(name, slot.state)}. {where()}"
                )
        return [(parameter, new), *((slot.state[name], v) for name, v in state.items())]

    def _rate_at(self, count: Tensor) -> Tensor:
        if self._schedule is None:
            return self._rate
        rate = self._schedule(_in(count, float32))
        if not isinstance(rate, Tensor):
            rate = FUNCTIONS["full"]((), rate)
        if rate.ndim:
            raise ShapeError(
                f"{self._label}: the schedule {self._schedule!r} returned shape {rate.shape}, "
                f"wanted one number. {where()}"
            )
        return _in(rate, float32)

    def _clipped(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.clip_value is not None:
            gradients = clip_by_value(gradients, self.clip_value)
        if self.clip_norm is not None:
            gradients = clip_by_norm(gradients, self.clip_norm)
        if self.clip_global_norm is not None and gradients:
            gradients = clip_by_global_norm(gradients, self.clip_global_norm)
        return gradients

    def _treatment(self, path: str, parameter: Tensor) -> Treatment:
        found: Treatment = self.groups.treatment(
            path, parameter, Treatment(self.weight_decay, self.l2)
        )
        return found

    @staticmethod
    def _trained(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {path: p for path, p in named.items() if paths.is_trainable(p)}

    def _slot(self, path: str, parameter: Tensor) -> _Slot:
        """Return a parameter's slot; parameters that came later start with fresh state."""
        slot = self._slots.get(path)
        if slot is not None and slot.parameter is parameter and slot.made_at == self._changes:
            return slot
        kept = slot.state if slot is not None and slot.parameter is parameter else {}
        wanted = self.named_initial_state(path, parameter)
        state = {k: kept[k] if k in kept else constant_tensor(v) for k, v in wanted.items()}
        self._slots[path] = _Slot(parameter, state, self._changes)
        structure_epoch.advance()
        return self._slots[path]

    # --- saving ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of all that changes from step to step, as NumPy arrays by name.

        Hyper-parameters and schedules are not in it: they are in the program that made the
        optimiser.

        >>> import thalweg as tw
        >>> list(tw.optim.Adam({"w": tw.zeros(2)}).state_dict())
        ['count', 'learning_rate', 'w.first', 'w.second']
        """
        return {name: tensor.numpy() for name, tensor in self._state().items()}

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned; nothing is changed if anything is wrong.

        Raises:
            ArgumentError: entries are missing or unexpected.
            ShapeError: an entry has another shape.
            DTypeError: an entry is of another kind of number.

        >>> import thalweg as tw
        >>> optimizer = tw.optim.Adam({"w": tw.zeros(2)})
        >>> optimizer.load_state_dict(optimizer.state_dict())
        """
        own = self._state()
        given = check_entries(self._label, mapping, own)
        for name, tensor in own.items():
            array = given[name]
            if array.shape != tensor.shape:
                raise ShapeError(
                    f"{self._label}.load_state_dict: {name!r} has shape {array.shape}, wanted "
                    f"{tensor.shape}; nothing was loaded. {where()}"
                )
            if as_dtype(array.dtype).is_float != tensor.dtype.is_float:
                raise DTypeError(
                    f"{self._label}.load_state_dict: {name!r} has dtype {array.dtype}, wanted "
                    f"{tensor.dtype.name}; nothing was loaded. {where()}"
                )
        for name, tensor in own.items():
            tensor.assign(given[name])

    def _state(self) -> dict[str, Tensor]:
        named = paths.parameters(self._source, self._label)
        found = {"count": self._count, "learning_rate": self._rate}
        for path, parameter in self._trained(named).items():
            for name, tensor in self._slot(path, parameter).state.items():
                found[f"{path}.{name}"] = tensor
        return found


def check_entries(
    owner: str, mapping: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Array]:
    """Return the entries as arrays.

    Raises:
        ArgumentError: entries are missing or unexpected.
    """
    missing = [k for k in own if k not in mapping]
    unexpected = [k for k in mapping if k not in own]
    if missing or unexpected:
        lines = [f"{owner}.load_state_dict: the entries do not fit; nothing was loaded."]
        if missing:
            lines.append(f"Missing: {', '.join(missing[:10])}.")
        if unexpected:
            lines.append(f"Unexpected: {unexpected[0]!r}; {nearest(unexpected[0], own)}.")
        lines.append(
            f"Give the state_dict of a {owner} with the same options and the same trainable "
            f"parameters. {where()}"
        )
        raise ArgumentError("\n".join(lines))
    return {k: np.asarray(mapping[k]) for k in own}


def working_dtype(parameter: Tensor) -> DType:
    """Return the dtype in which a parameter's step is computed and its state kept.

    >>> import thalweg as tw
    >>> working_dtype(tw.zeros(2, tw.bfloat16))
    thalweg.float32
    """
    return float32 if parameter.dtype.bits == 16 else parameter.dtype


def filled_for(parameter: Tensor, value: float = 0.0) -> Array:
    """Return an array of a parameter's shape, for state.

    >>> import thalweg as tw
    >>> filled_for(tw.zeros(2), 0.5)
    array([0.5, 0.5], dtype=float32)
    """
    return np.full(parameter.shape, value, working_dtype(parameter).numpy)


def _in(x: Tensor, dtype: DType) -> Tensor:
    result: Tensor = x if x.dtype is dtype else FUNCTIONS["astype"](x, dtype)
    return result
