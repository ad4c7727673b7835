"""The table of architectures: made by name, listed with paper, parameters and FLOPs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from thalweg.errors import ArgumentError, nearest, where
from thalweg.nn import Module

__all__ = ["Architecture", "Shapes", "architectures", "create", "get", "register"]

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]
Build = Callable[..., Module]
B = TypeVar("B", bound=Build)

_TABLE: dict[str, Architecture] = {}


@dataclass(frozen=True)
class Architecture:
    """One architecture: what ``list`` tells of it, and how ``create`` makes it.

    ``parameters``: numbers in all parameters, made with the default options. ``flops``: those of
    the contractions in one forward pass of one example of ``inputs``, 2 for a multiply-add.
    ``inputs``: the shapes of what the model takes, without the batch axis. ``task``: what it
    learns. ``small``, ``small_inputs``: options and shapes of a variant that tests can train.
    """

    name: str
    paper: str
    parameters: int
    flops: int
    inputs: Shapes
    build: Build = field(repr=False)
    task: str = "classification"
    dtype: str = "float32"
    small: Mapping[str, Any] = field(default_factory=dict, repr=False)
    small_inputs: Shapes = field(default=(), repr=False)


def register(
    name: str,
    *,
    paper: str,
    parameters: int,
    flops: int,
    inputs: Shapes,
    task: str = "classification",
    dtype: str = "float32",
    small: Mapping[str, Any] | None = None,
    small_inputs: Shapes | None = None,
) -> Callable[[B], B]:
    """Return a decorator that enters a Module class, or a function that makes one, by name.

    Args:
        name: lower case, digits and underscores; the name that ``create`` takes.
        paper: authors, title, year, address.
        parameters: numbers in all parameters, with the default options; a test holds it.
        flops: 2 x the multiply-adds of one forward pass of one example, contractions only.
        inputs: shapes of the inputs without the batch axis.
        task: what it learns, such as ``"classification"``.
        dtype: type of the inputs.
        small: options of a variant that is trained in a second.
        small_inputs: the shapes of that variant's inputs.

    Raises:
        ArgumentError: the name is taken, or not lower case, digits and underscores.

    Example:
        >>> from thalweg import nn
        >>> @register("one_layer", paper="none", parameters=3, flops=4, inputs=((2,),))
        ... def one_layer(classes=1):
        ...     return nn.Linear(2, classes)
        >>> create("one_layer", classes=4)
        Linear(in_features=2, out_features=4)
        >>> del _TABLE["one_layer"]
    """
    if not name.isidentifier() or name != name.lower():
        raise ArgumentError(
            f"register: the name {name!r} must be lower case, digits and underscores, such as "
            f"'resnet50'. {where()}"
        )
    if name in _TABLE:
        raise ArgumentError(
            f"register: there is a model {name!r} already ({_TABLE[name].paper}); choose another "
            f"name. {where()}"
        )

    def enter(build: B) -> B:
        _TABLE[name] = Architecture(
            name, paper, parameters, flops, inputs, build, task, dtype, dict(small or {}),
            small_inputs or inputs,
        )  # fmt: skip
        return build

    return enter


def get(name: str) -> Architecture:
    """Return the entry of an architecture.

    Raises:
        ArgumentError: there is none of this name; the message offers the nearest.

    >>> import thalweg as tw
    >>> tw.models.get("resnet50").parameters
    25557032
    """
    if name not in _TABLE:
        raise ArgumentError(f"there is no model {name!r}; {nearest(name, _TABLE)}. {where()}")
    return _TABLE[name]


def architectures() -> tuple[Architecture, ...]:
    """Return all architectures by name, as ``tw.models.list()``.

    >>> import thalweg as tw
    >>> [a.name for a in tw.models.list() if a.parameters == 25_557_032]
    ['resnet50']
    """
    return tuple(_TABLE[name] for name in sorted(_TABLE))


def create(name: str, *, seed: int | None = None, **options: Any) -> Module:
    """Return a new model with initial values.

    Args:
        name: one of ``[a.name for a in tw.models.list()]``.
        seed: draws the initial values from this number; the same seed gives the same model.
        **options: those of the architecture, such as ``classes=10``; see its class.

    Raises:
        ArgumentError: an unknown name, or an option that the architecture does not have; the
            message offers the nearest.

    Example:
        >>> import thalweg as tw
        >>> tw.models.create("lenet5", seed=0)(tw.zeros((2, 28, 28, 1))).shape
        (2, 10)
    """
    build = get(name).build
    known = inspect.signature(build).parameters
    spread = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    for option in options:
        if option not in known and not spread:
            raise ArgumentError(
                f"the model {name!r} has no option {option!r}; {nearest(option, known)}. {where()}"
            )
    model = build(**options)
    return model if seed is None else model.reset_parameters(seed)
