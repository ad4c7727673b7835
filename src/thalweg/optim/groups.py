"""Groups of parameters: which ones decay, or learn, at a rate of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple

from thalweg.errors import ArgumentError, nearest, where
from thalweg.optim.hyperparameters import NON_NEGATIVE, checked
from thalweg.tensor.tensor import Tensor

Match = Callable[[str, Tensor], bool]
KEYS = ("match", "weight_decay", "l2", "learning_rate_scale")


class Treatment(NamedTuple):
    """What a group may set for its parameters."""

    weight_decay: float
    l2: float
    learning_rate_scale: float = 1.0


def is_vector(name: str, parameter: Tensor) -> bool:
    """Return whether a parameter has at most one axis: biases, scales and shifts of norms.

    >>> import thalweg as tw
    >>> is_vector("bias", tw.zeros(3)), is_vector("weight", tw.zeros((3, 3)))
    (True, False)
    """
    return parameter.ndim <= 1


no_decay_on_biases_and_norms: Mapping[str, Any] = MappingProxyType(
    {"match": is_vector, "weight_decay": 0.0, "l2": 0.0}
)


class Groups:
    """A list of groups; the first one that matches a parameter decides for it.

    A group is a dict. ``match`` is a pattern of paths as in ``"encoder.*"`` or ``"*.bias"``, a
    list of such, or a function ``(path, parameter) -> bool``; the other keys are ``weight_decay``,
    ``l2`` and ``learning_rate_scale``, and what is not named is the optimiser's own.

    Raises:
        ArgumentError: a group has unknown keys or no ``match``, or a value is not legal.

    >>> import thalweg as tw
    >>> groups = Groups("example", [{"match": "*.bias", "learning_rate_scale": 2}])
    >>> groups.treatment("first.bias", tw.zeros(2), Treatment(0.1, 0.0))
    Treatment(weight_decay=0.1, l2=0.0, learning_rate_scale=2)
    """

    def __init__(self, owner: str, given: Any) -> None:
        if given is None:
            given = ()
        elif isinstance(given, Mapping):
            given = (given,)
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ArgumentError(
                f"{owner}: groups is {given!r}, wanted a list of dicts such as "
                f"{{'match': '*.bias', 'weight_decay': 0.0}}. {where()}"
            )
        self._given = tuple(_group(owner, g) for g in given)

    def treatment(self, path: str, parameter: Tensor, default: Treatment) -> Treatment:
        """Return what holds for one parameter."""
        for group in self._given:
            if _matches(group["match"], path, parameter):
                return default._replace(**{k: v for k, v in group.items() if k != "match"})
        return default

    def check_patterns(self, owner: str, parameters: Mapping[str, Tensor]) -> None:
        """Raise an ArgumentError if a pattern of paths fits no parameter: it is misspelt."""
        for group in self._given:
            patterns = group["match"]
            for pattern in () if callable(patterns) else patterns:
                if not any(fnmatchcase(path, pattern) for path in parameters):
                    raise ArgumentError(
                        f"{owner}: the pattern {pattern!r} of a group fits no parameter; "
                        f"{nearest(pattern, parameters)}. {where()}"
                    )

    def __repr__(self) -> str:
        return repr([dict(g) for g in self._given])


def _group(owner: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping) or "match" not in given:
        raise ArgumentError(
            f"{owner}: a group is {given!r}, wanted a dict with 'match' and one or more of "
            f"{', '.join(KEYS[1:])}. {where()}"
        )
    for key in given:
        if key not in KEYS:
            raise ArgumentError(
                f"{owner}: a group has the key {key!r}; {nearest(str(key), KEYS)}. {where()}"
            )
    match = given["match"]
    if not callable(match):
        match = (match,) if isinstance(match, str) else tuple(match)
    rest = {k: checked(owner, k, v, NON_NEGATIVE) for k, v in given.items() if k != "match"}
    return {"match": match, **rest}


def _matches(match: Any, path: str, parameter: Tensor) -> bool:
    if callable(match):
        return bool(match(path, parameter))
    return any(fnmatchcase(path, pattern) for pattern in match)
