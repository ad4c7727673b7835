"""What a captured function reads by name from around it, and whether a name was bound anew.

Tensors and arrays from outside are inputs of a compiled function; but when a *name* is bound to
another tensor, number or function, the program that was captured is about the old one. So the names
that the function's code mentions are noted (globals, closed-over variables, attributes of objects)
with what they stood for, and compared before each call.
"""

from __future__ import annotations

import dis
import functools
import os
import sysconfig
import types
from collections.abc import Iterable
from typing import Any

import numpy as np

from thalweg import trees
from thalweg.errors import TraceError, where
from thalweg.tensor.tensor import Tensor

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
_UNSEEN = (types.ModuleType, types.BuiltinFunctionType, type, np.ufunc)
_FOREIGN = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"),
)  # fmt: skip
_GONE = object()
_MOST = 256  # leaves of a container beyond which only the container itself is compared


class Outside:
    """The names that a function reads from outside, and what they stood for.

    ``names``: namespace, name, value; ``cells``: closed-over variable, its name, value;
    ``containers``: list, tuple or dict, its name, its leaves. ``outdated``: a name was bound to
    another tensor, array or function, so that the old one will hardly come back.
    """

    def __init__(self) -> None:
        self.names: list[tuple[dict[str, Any], str, Any]] = []
        self.cells: list[tuple[types.CellType, str, Any]] = []
        self.containers: list[tuple[Any, str, list[Any]]] = []
        self.outdated = False

    def changed(self) -> str:
        """Return the first name that stands for something else now, or an empty text."""
        for space, name, value in self.names:
            now = space.get(name, _GONE)
            if now is not value and not same(now, value):
                self.outdated = not isinstance(value, _PLAIN)
                return name
        for cell, name, value in self.cells:
            now = _content(cell)
            if now is not value and not same(now, value):
                self.outdated = not isinstance(value, _PLAIN)
                return name
        for container, name, leaves in self.containers:
            now = trees.flatten(container)[0]
            if len(now) != len(leaves) or not all(map(same, now, leaves)):
                self.outdated = True
                return name
        return ""

    def refuse_captured(self) -> None:
        """Raise a TraceError if a name was bound to a tensor without numbers."""
        bound = [(n, v) for _, n, v in self.names] + [(n, v) for _, n, v in self.cells]
        bound += [(n, leaf) for _, n, leaves in self.containers for leaf in leaves]
        for name, value in bound:
            if isinstance(value, Tensor) and value._node.value is None:
                raise TraceError(
                    f"the compiled function stores in {name!r}, which is outside of it, a tensor "
                    "that has no numbers yet, and only this once. Return the tensor instead, or "
                    f"change the numbers of the old one with .assign(...). {where()}"
                )


def same(now: Any, value: Any) -> bool:
    """Return whether two values are one object or equal plain numbers (NaN is equal to NaN)."""
    if now is value:
        return True
    if type(now) is not type(value) or not isinstance(value, _PLAIN):
        return False
    return bool(now == value or (now != now and value != value))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return _GONE


class _Scan:
    """A walk over the code of a function and of the user's functions that it calls."""

    def __init__(self) -> None:
        self.names: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = {}
        self.outside = Outside()
        self.seen: dict[int, Any] = {}
        self.attributes: set[str] = set()
        self.functions: list[types.FunctionType] = []
        self.objects: list[Any] = []

    def visit(self, value: Any, name: str) -> None:
        """Look into a value that a name stands for."""
        if isinstance(value, (*_PLAIN, *_UNSEEN, Tensor, np.ndarray)) or id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, types.FunctionType):
            if not value.__code__.co_filename.startswith(_FOREIGN):
                self.functions.append(value)
        elif isinstance(value, types.MethodType):
            self.visit(value.__self__, name)
            self.visit(value.__func__, name)
        elif isinstance(value, functools.partial):
            for part in (value.func, *value.args, *value.keywords.values()):
                self.visit(part, name)
        elif isinstance(value, (dict, list, tuple)):
            leaves = trees.flatten(value)[0]
            if len(leaves) <= _MOST:
                self.outside.containers.append((value, name, leaves))
        elif _is_plain_object(value):
            self.objects.append(value)
        inner = getattr(value, "__wrapped__", None)  # what grad, compile and decorators hold
        if inner is not None:
            self.visit(inner, name)

    def note(self, space: dict[str, Any], name: str) -> None:
        """Note what a name stands for in a namespace."""
        value = space[name]
        if not isinstance(value, _UNSEEN):
            self.names[id(space), name] = (space, name, value)
            self.visit(value, name)

    def read_code(self, function: types.FunctionType) -> None:
        """Note the names that a function's code mentions."""
        for code in _all_code(function.__code__):
            steps = list(dis.get_instructions(code))
            read = {i.argval for i in steps if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
            self.attributes |= {
                i.argval for i in steps if i.opname.startswith(("LOAD_ATTR", "LOAD_METHOD"))
            }
            for name in read & function.__globals__.keys():
                self.note(function.__globals__, name)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            value = _content(cell)
            if value is not _GONE and not isinstance(value, _UNSEEN):
                self.outside.cells.append((cell, name, value))
                self.visit(value, name)

    def read_object(self, thing: Any) -> None:
        """Note the attributes of an object that any code mentions."""
        for name in self.attributes:
            if name in vars(thing):
                self.note(vars(thing), name)
            else:
                self.visit(getattr(type(thing), name, None), name)

    def run(self) -> Outside:
        """Follow functions and objects until there is nothing new."""
        size = (-1, -1)
        while self.functions or size != (len(self.attributes), len(self.objects)):
            while self.functions:
                self.read_code(self.functions.pop())
            size = (len(self.attributes), len(self.objects))
            for thing in list(self.objects):
                self.read_object(thing)
        self.outside.names = list(self.names.values())
        return self.outside


def _all_code(code: types.CodeType) -> list[types.CodeType]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [code, *(deeper for c in inner for deeper in _all_code(c))]


def _is_plain_object(value: Any) -> bool:
    """Whether a value is an object of the user's that cannot tell by itself what it depends on."""
    module = type(value).__module__ or ""
    return (
        isinstance(getattr(value, "__dict__", None), dict) and not hasattr(value, "fingerprint")
        and module.partition(".")[0] not in ("thalweg", "numpy", "builtins")
    )  # fmt: skip


def read_outside(functions: Iterable[Any], arguments: Iterable[Any]) -> Outside:
    """Return what functions, and objects that are given to them, read from outside."""
    scan = _Scan()
    for function in functions:
        scan.visit(function, getattr(function, "__name__", "function"))
    for argument in arguments:
        scan.visit(argument, type(argument).__name__)
    return scan.run()
