"""The recorder: while a function is captured, it turns what the function touches into inputs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.errors import TraceError, where
from thalweg.graph.dtype import DType, as_dtype, float64, int64
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops.record import cast_node, placeholder, to_node
from thalweg.tensor.context import context
from thalweg.tensor.tensor import Tensor, binary

Array = np.ndarray[Any, Any]


class Recorder:
    """What one capture reads and writes besides its arguments.

    ``states``: tensors from outside, by identity, with their input node; ``arrays``: NumPy arrays
    from outside, likewise; ``current``: what a tensor holds now, after assignments; ``modules``:
    the modules and optimisers that ran, whose attributes the program depends on.
    """

    def __init__(self) -> None:
        self.states: dict[int, tuple[Tensor, Node]] = {}
        self.arrays: dict[int, tuple[Array, Node]] = {}
        self.current: dict[int, Node] = {}
        self.written: dict[int, Tensor] = {}
        self.modules: dict[int, Any] = {}
        self.statics: set[int] = set()

    def read(self, tensor: Tensor) -> Node:
        """Return the node for a tensor; one from outside becomes an input when first touched."""
        if id(tensor) in self.current:
            return self.current[id(tensor)]
        if tensor._node.value is None:
            return tensor._node
        node = placeholder(tensor.shape, tensor.dtype)
        self.states[id(tensor)] = (tensor, node)
        self.current[id(tensor)] = node
        return node

    def read_array(self, array: Array) -> Node:
        """Return the node for a NumPy array from outside; it is read anew at each call."""
        if id(array) not in self.arrays:
            node = placeholder(tuple(array.shape), as_dtype(array.dtype))
            self.arrays[id(array)] = (array, node)
        return self.arrays[id(array)][1]

    def write(self, tensor: Tensor, node: Node) -> None:
        """Note that the tensor holds another value from here on."""
        if tensor._node.value is None and id(tensor) not in self.written:
            if tensor._node.op.name != "input":
                tensor._node = node  # made inside of the function: no one else sees it
                return
        else:
            self.read(tensor)
        self.current[id(tensor)] = node
        self.written[id(tensor)] = tensor

    def touch(self, module: Any) -> None:
        """Note that the program depends on the attributes of a module or optimiser."""
        self.modules[id(module)] = module


class Number:
    """A Python number that was passed to a compiled function.

    In arithmetic with tensors and other numbers it is an input of the program, so that another
    value needs no other program. Where Python itself needs it (a shape, a loop, a branch, ``math``)
    it is a plain number, and the program is kept for that value only.
    """

    __slots__ = ("_leaf", "_node", "_value")
    __array_ufunc__ = None  # NumPy arrays on the left leave the operation to us

    def __init__(self, value: float, position: int | None, node: Node | None = None) -> None:
        self._value = value
        self._leaf = position
        self._node = node or placeholder((), _kind(value), weak=True)

    def __thalweg_node__(self) -> Node:
        if context.recorder is None:
            self._fixed()  # raises: it was kept from inside
        return self._node

    def _fixed(self) -> Any:
        recorder = context.recorder
        if recorder is None:
            raise TraceError(
                f"a number was kept from inside a compiled function; it held {self._value}. "
                f"Return it instead. {where()}"
            )
        if self._leaf is None:
            raise TraceError(
                "a number that was computed from an argument of a compiled function is needed as "
                f"a Python number (it would be {self._value}); call int() or float() on the "
                f"argument before computing with it. {where()}"
            )
        recorder.statics.add(self._leaf)
        return self._value

    def _with(self, function: str, other: Any, swap: bool = False) -> Any:
        if isinstance(other, Tensor):
            return NotImplemented
        apply, on_numbers = _ARITHMETIC[function]
        a, b = (other, self) if swap else (self, other)
        if isinstance(other, (np.ndarray, np.generic)):
            return binary(apply, a, b)
        if not isinstance(other, (Number, bool, int, float)):
            return NotImplemented
        if function == "__pow__" and _whole(a) and _whole(b):
            b = _plain(b)  # whether the result is a whole number depends on its sign
        value = on_numbers(*(v._value if isinstance(v, Number) else v for v in (a, b)))
        kind = _kind(value)
        node = apply(*(cast_node(to_node(_node(v)), kind) for v in (a, b)))
        node.weak = True
        return Number(value, None, node)

    def __add__(self, other: Any) -> Any:
        return self._with("__add__", other)

    def __radd__(self, other: Any) -> Any:
        return self._with("__add__", other, True)

    def __sub__(self, other: Any) -> Any:
        return self._with("__sub__", other)

    def __rsub__(self, other: Any) -> Any:
        return self._with("__sub__", other, True)

    def __mul__(self, other: Any) -> Any:
        return self._with("__mul__", other)

    def __rmul__(self, other: Any) -> Any:
        return self._with("__mul__", other, True)

    def __truediv__(self, other: Any) -> Any:
        return self._with("__truediv__", other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with("__truediv__", other, True)

    def __pow__(self, other: Any) -> Any:
        return self._with("__pow__", other)

    def __rpow__(self, other: Any) -> Any:
        return self._with("__pow__", other, True)

    def __neg__(self) -> Any:
        return self * -1

    def __float__(self) -> float:
        return float(self._fixed())

    def __int__(self) -> int:
        return int(self._fixed())

    def __index__(self) -> int:
        value = self._fixed()
        return value.__index__()  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return bool(self._fixed())

    def __eq__(self, other: object) -> Any:
        return NotImplemented if isinstance(other, Tensor) else self._fixed() == _plain(other)

    def __hash__(self) -> int:
        return hash(self._fixed())

    def __lt__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Tensor) else self._fixed() < _plain(other)

    def __le__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Tensor) else self._fixed() <= _plain(other)

    def __gt__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Tensor) else self._fixed() > _plain(other)

    def __ge__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, Tensor) else self._fixed() >= _plain(other)

    def __floordiv__(self, other: Any) -> Any:
        return self._plainly(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._plainly(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return self._plainly(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._plainly(operator.mod, other, self)

    def _plainly(self, function: Any, a: Any, b: Any) -> Any:
        """Apply a function that gives whole numbers, mostly sizes: to Python numbers."""
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            return NotImplemented
        return function(_plain(a), _plain(b))

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return abs(self._fixed())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self._fixed(), digits)

    def __trunc__(self) -> int:
        return int(self._fixed())

    def __floor__(self) -> Any:
        return math.floor(self._fixed())

    def __ceil__(self) -> Any:
        return math.ceil(self._fixed())

    def __repr__(self) -> str:
        return f"Number({self._value})"

    def __format__(self, spec: str) -> str:
        return format(self._fixed(), spec)


_ARITHMETIC: dict[str, tuple[Callable[..., Node], Callable[[Any, Any], Any]]] = {
    "__add__": (e.add, operator.add),
    "__sub__": (e.subtract, operator.sub),
    "__mul__": (e.multiply, operator.mul),
    "__truediv__": (e.divide, operator.truediv),
    "__pow__": (e.power, operator.pow),
}


def _whole(value: Any) -> bool:
    return isinstance(value._value if isinstance(value, Number) else value, int)


def _node(value: Any) -> Any:
    return value._node if isinstance(value, Number) else value


def _plain(value: Any) -> Any:
    return value._fixed() if isinstance(value, Number) else value


def plain(value: Any) -> Any:
    """Return a value, or each number of a sequence, as the Python number that Python needs.

    >>> plain((1, [2.5]))
    (1, [2.5])
    """
    if isinstance(value, (list, tuple)):
        parts = [plain(v) for v in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    return _plain(value)


def _kind(value: Any) -> DType:
    return float64 if isinstance(value, float) else int64


def result_node(number: Number) -> Node:
    """Return the node of a number that a compiled function returns, in its tensor dtype."""
    node = number._node
    return cast_node(node, as_dtype(float if node.dtype.is_float else int))
