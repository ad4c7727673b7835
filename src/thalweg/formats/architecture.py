"""Architectures as data: a model described by class names and arguments, and built from that."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import numpy as np

from thalweg import nn
from thalweg.errors import FormatError, nearest
from thalweg.nn import Module
from thalweg.tensor.tensor import Tensor

__all__ = ["build", "describe"]

Description = dict[str, Any]
_ABSENT: Final = object()
_LEFT_OUT: Final = frozenset({"seed"})  # says how values are drawn, and the file holds the values


def _dtype(module: Module) -> str:
    for _, value in module._attributes():
        if isinstance(value, Tensor) and value.dtype.is_float:
            return value.dtype.name
    return "float32"


# Arguments that a layer does not keep under their own names, found from what it does keep.
_DERIVED: Final[dict[str, Callable[[Module], Any]]] = {
    "affine": lambda m: getattr(m, "weight", None) is not None,
    "dtype": _dtype,
    "track_running_stats": lambda m: getattr(m, "running_mean", None) is not None,
}


def describe(model: Module) -> Description:
    """Return a model's architecture as nested dicts and lists that JSON can hold.

    Each module is told by its class name and the arguments that make it again. The arguments are
    the attributes of the same names, as the layers of ``thalweg.nn`` keep them. Ways to draw
    initial values that are not text or numbers are left out: a saved model has its values.

    Raises:
        FormatError: an argument is not kept as an attribute, or JSON cannot hold it.

    >>> describe(nn.Sequential(nn.Flatten(), nn.ReLU()))["arguments"]["layers"][1]
    {'module': {'type': 'ReLU', 'arguments': {}}}
    """
    return _describe(model, "", {})


def _describe(module: Module, path: str, seen: dict[int, str]) -> Description:
    if id(module) in seen:
        return {"same_as": seen[id(module)]}
    seen[id(module)] = path
    arguments: dict[str, Any] = {}
    for parameter in _parameters(type(module)):
        name = parameter.name
        value = _argument(module, parameter)
        if value is _ABSENT:
            if name in _LEFT_OUT:
                continue
            _cannot(path, module, f"its argument {name!r} is not kept; write `self.{name} = "
                    f"{name}` in __init__")  # fmt: skip
        encoded = _encode(value, f"{path}.{name}" if path else name, seen)
        if encoded is _ABSENT:
            if name.endswith("_init"):
                continue
            _cannot(path, module, f"its argument {name!r} is {type(value).__name__}, which JSON "
                    "cannot hold; let it take numbers, text, lists or modules")  # fmt: skip
        arguments[name] = encoded
    return {"type": type(module).__name__, "arguments": arguments}


def _parameters(kind: type[Module]) -> list[inspect.Parameter]:
    if kind.__init__ is object.__init__:
        return []
    found = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return [p for p in found if p.kind is not inspect.Parameter.VAR_KEYWORD]


def _argument(module: Module, parameter: inspect.Parameter) -> Any:
    value = getattr(module, parameter.name, _ABSENT)
    if isinstance(parameter.default, bool) and (value is None or isinstance(value, Tensor)):
        return value is not None  # `bias: bool` becomes `self.bias`, a Parameter or None
    if value is _ABSENT and parameter.name in _DERIVED:
        return _DERIVED[parameter.name](module)
    return value


def _encode(value: Any, path: str, seen: dict[int, str]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {"number": repr(number)}
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Module):
        return {"module": _describe(value, path, seen)}
    if isinstance(value, (list, tuple)):
        parts = [_encode(v, f"{path}.{i}", seen) for i, v in enumerate(value)]
        if any(part is _ABSENT for part in parts):
            return _ABSENT
        return {"tuple": parts} if isinstance(value, tuple) else parts
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        entries = {k: _encode(v, f"{path}.{k}", seen) for k, v in value.items()}
        return _ABSENT if any(v is _ABSENT for v in entries.values()) else {"dict": entries}
    return _ABSENT


def _cannot(path: str, module: Module, reason: str) -> NoReturn:
    at = f" (layer {path})" if path else ""
    raise FormatError(
        f"{type(module).__name__}{at} cannot be described in a model file: {reason}. Or save the "
        "numbers alone, thalweg.formats.write_tensors(path, model.state_dict()), and load them "
        "into a model that you make yourself."
    )


def build(description: Description, modules: Iterable[type[Module]] = ()) -> Module:
    """Return a model for a description; its values are the initial ones.

    ``modules``: your own Module classes that the description may name. No other code than that of
    ``thalweg.nn`` and these classes is run.

    Raises:
        FormatError: the description names an unknown class or argument, or makes no sense.

    >>> build(describe(nn.Linear(3, 2, bias=False)))
    Linear(in_features=3, out_features=2, bias=False)
    """
    known = {name: getattr(nn, name) for name in nn.__all__}
    known = {k: v for k, v in known.items() if isinstance(v, type) and issubclass(v, Module)}
    known |= {kind.__name__: kind for kind in modules}
    try:
        return _build(description, "", known, {})
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(
            f"the description of the architecture makes no sense ({error}); the file is damaged, "
            "or was written by a version of Thalweg whose layers take other arguments."
        ) from error


def _build(
    description: Description, path: str, known: Mapping[str, type[Module]], made: dict[str, Module]
) -> Module:
    if "same_as" in description:
        return made[description["same_as"]]
    kind = description["type"]
    if kind not in known:
        raise FormatError(
            f"the model holds a {kind!r}, which is not a layer of thalweg.nn; "
            f"{nearest(str(kind), known)}. For a class of your own: load(path, modules=[{kind}])"
        )
    arguments = {
        name: _decode(value, f"{path}.{name}" if path else name, known, made)
        for name, value in description["arguments"].items()
    }
    spread: list[Any] = []
    for parameter in _parameters(known[kind]):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            spread = arguments.pop(parameter.name, [])
    module = known[kind](*spread, **arguments)
    made[path] = module
    return module


def _decode(
    value: Any, path: str, known: Mapping[str, type[Module]], made: dict[str, Module]
) -> Any:
    if isinstance(value, list):
        return [_decode(v, f"{path}.{i}", known, made) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    (kind, inside), *more = value.items()
    if more or kind not in ("number", "module", "tuple", "dict"):
        raise FormatError(f"an argument at {path} is told as {value!r}, which means nothing")
    if kind == "number":
        return float(inside)
    if kind == "module":
        return _build(inside, path, known, made)
    if kind == "tuple":
        return tuple(_decode(inside, path, known, made))
    return {k: _decode(v, f"{path}.{k}", known, made) for k, v in inside.items()}
