"""The Tensor: an array of numbers, or a placeholder for one while a function is being captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from thalweg.backends import reference
from thalweg.backends.memory import is_aligned, moved
from thalweg.errors import ArgumentError, DTypeError, ShapeError, TraceError, where
from thalweg.graph.dtype import DType, as_dtype
from thalweg.graph.node import Node
from thalweg.graph.shape import Shape
from thalweg.ops import elementwise as e
from thalweg.ops import indexing, record
from thalweg.ops.contraction import matmul
from thalweg.ops.movement import matrix_transpose
from thalweg.ops.record import leaf
from thalweg.tensor.context import context, storage_epoch
from thalweg.tensor.finite import check_finite

Array = np.ndarray[Any, Any]


class Tensor:
    """An n-dimensional array of numbers of one dtype.

    Made by ``tw.tensor``, ``tw.zeros`` and their like. Operators and functions follow the Python
    array API standard and NumPy. Outside of ``compile`` every operation runs at once.

    >>> import thalweg as tw
    >>> x = tw.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> (x @ x.T).sum(axis=1)
    Tensor([16., 36.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_node")
    __array_priority__ = 1000  # NumPy arrays on the left leave the operation to us

    def __init__(self, node: Node) -> None:
        self._node = node

    # --- what it is -----------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """Size of each axis."""
        return self._node.shape

    @property
    def dtype(self) -> DType:
        """Type of the elements."""
        return self._node.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._node.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._node.size

    @property
    def T(self) -> Tensor:
        """The last two axes exchanged; of a vector, a copy of it."""
        return self.mT if self.ndim > 1 else +self

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return finish(matrix_transpose(lift(self)))

    # --- values ---------------------------------------------------------------------------

    def _value(self, what: str) -> Array:
        value = self._node.value
        if value is None:
            raise TraceError(
                f"{what} needs the numbers of a tensor of shape {self.shape}, which are not known "
                "while a compiled function is being captured. Return the tensor and look at it "
                "outside; use thalweg.where in place of `if`; or pass the number that decides as a "
                f"Python argument. {where()}"
            )
        return value

    def _settled(self, what: str) -> Array:
        """Return the numbers where vectors read them fastest; they move there once."""
        value = self._value(what)
        if not is_aligned(value):
            value = moved(value)
            self._replace(value)
        return value

    def numpy(self) -> Array:
        """Return a copy as a NumPy array (bfloat16 as that of ml_dtypes)."""
        return self._value("numpy()").copy()

    def item(self) -> bool | int | float:
        """Return the only element as a Python number."""
        value = self._value("item()")
        if value.size != 1:
            raise ShapeError(f"item() needs one element, the shape is {self.shape}. {where()}")
        return value.item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers."""
        return self._value("tolist()").tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ArgumentError(f"a tensor becomes a NumPy array by a copy only. {where()}")
        return self._value("a conversion to NumPy").astype(dtype or self.dtype.numpy, copy=True)

    def __dlpack__(self, **options: Any) -> Any:
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __bool__(self) -> bool:
        if self._node.value is None:
            raise TraceError(
                "`if`, `while`, `and`, `or` and `not` on a tensor cannot be captured: its numbers "
                "are not known yet. Use thalweg.where(condition, a, b) for a choice between "
                "values, tw.logical_and and its like for logic, or pass the condition as a Python "
                f"bool (the function is then compiled once for each). {where()}"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self._scalar("float()"))

    def __int__(self) -> int:
        return int(self._scalar("int()"))

    def __index__(self) -> int:
        if self.dtype.is_float:
            raise DTypeError(f"a tensor of {self.dtype.name} is not a whole number. {where()}")
        return int(self._scalar("an index"))

    def _scalar(self, what: str) -> Any:
        self._value(what)
        return self.item()

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError(f"len() of a tensor without axes. {where()}")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        value = self._node.value
        if value is None:
            return f"Tensor(captured, shape={self.shape}, dtype={self.dtype.name})"
        shown = value.astype(np.float32) if self.dtype.name == "bfloat16" else value
        text = np.array2string(shown, separator=", ", prefix="Tensor(", threshold=200)
        return f"{type(self).__name__}({text}, dtype={self.dtype.name})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __copy__(self) -> Tensor:
        return copied(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return copied(self)

    def __reduce__(self) -> Any:
        return (_restored, (type(self), self.numpy()))

    # --- state ----------------------------------------------------------------------------

    def assign(self, value: Any) -> None:
        """Replace the numbers by others of the same shape; they are converted to this dtype.

        Inside a compiled function this makes the tensor state that the program updates in place.

        Raises:
            ShapeError: the shapes differ.
        """
        if isinstance(value, (list, tuple)):
            from thalweg.tensor.conversion import tensor

            value = tensor(value)
        node = record.to_node(lift(value), "assign")
        if node.shape != self.shape:
            raise ShapeError(
                f"assign: the tensor has shape {self.shape}, the new value {node.shape}; "
                f"they must be equal. {where()}"
            )
        node = record.cast_node(node, self.dtype)
        if context.recorder is not None:
            context.recorder.write(self, node)
        else:
            self._replace(np.array(reference.evaluate([node])[0], order="C"))

    def _replace(self, value: Array) -> None:
        """Take over a buffer that nothing else uses."""
        self._node = leaf(value)
        storage_epoch.advance()

    # --- indexing -------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Tensor:
        parts = key if isinstance(key, tuple) else (key,)
        mask = next((p for p in parts if _is_mask(p)), None)
        if mask is not None and context.recorder is None:
            numbers = tuple(np.asarray(p) if isinstance(p, Tensor) else p for p in parts)
            places = np.arange(self.size).reshape(self.shape)[numbers]
            return finish(indexing.take(lift(self), leaf(np.asarray(places))))
        lifted = tuple(_lift_index(p) for p in parts)
        return finish(indexing.getitem(lift(self), lifted))

    def __setitem__(self, key: Any, value: Any) -> None:
        raise ArgumentError(
            "the elements of a tensor are not changed one by one; make a new tensor with "
            "thalweg.where or thalweg.scatter_add, or replace all elements with .assign(...). "
            f"{where()}"
        )

    # --- operators (methods of the same names as functions are added in functions.py) -----

    def __add__(self, other: Any) -> Tensor:
        return binary(e.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return binary(e.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return binary(e.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return binary(e.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return binary(e.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return binary(e.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return binary(e.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return binary(e.divide, other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return binary(e.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return binary(e.floor_divide, other, self)

    def __mod__(self, other: Any) -> Tensor:
        return binary(e.remainder, self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return binary(e.remainder, other, self)

    def __pow__(self, other: Any) -> Tensor:
        return binary(e.power, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return binary(e.power, other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return binary(matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return binary(matmul, other, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        if other is None or isinstance(other, str):
            return NotImplemented  # so that `x in (None, "mean")` is a question one may ask
        return binary(e.equal, self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        if other is None or isinstance(other, str):
            return NotImplemented
        return binary(e.not_equal, self, other)

    def __lt__(self, other: Any) -> Tensor:
        return binary(e.less, self, other)

    def __le__(self, other: Any) -> Tensor:
        return binary(e.less_equal, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return binary(e.greater, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return binary(e.greater_equal, self, other)

    def __and__(self, other: Any) -> Tensor:
        return binary(e.bitwise_and, self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Tensor:
        return binary(e.bitwise_or, self, other)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Tensor:
        return binary(e.bitwise_xor, self, other)

    __rxor__ = __xor__

    def __lshift__(self, other: Any) -> Tensor:
        return binary(e.bitwise_left_shift, self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return binary(e.bitwise_left_shift, other, self)

    def __rshift__(self, other: Any) -> Tensor:
        return binary(e.bitwise_right_shift, self, other)

    def __rrshift__(self, other: Any) -> Tensor:
        return binary(e.bitwise_right_shift, other, self)

    def __neg__(self) -> Tensor:
        return finish(e.negative(lift(self)))

    def __pos__(self) -> Tensor:
        return finish(lift(self))  # a copy: assigning to one must not change the other

    def __abs__(self) -> Tensor:
        return finish(e.abs(lift(self)))

    def __invert__(self) -> Tensor:
        return finish(e.bitwise_invert(lift(self)))

    def __hash__(self) -> int:
        return id(self)


def _is_mask(part: Any) -> bool:
    if isinstance(part, list):
        return np.asarray(part).dtype == np.bool_
    if isinstance(part, Tensor):
        return part.dtype.kind == "bool"
    return isinstance(part, np.ndarray) and part.dtype == np.bool_


def _lift_index(part: Any) -> Any:
    if isinstance(part, Tensor) and part.ndim == 0 and context.recorder is None:
        return part.__index__()
    if isinstance(part, (Tensor, np.ndarray)):
        return lift(part)
    if isinstance(part, (list, range)):
        return indexing.array(np.asarray(part, dtype=None if part else np.int64))
    return part


# --- between tensors and nodes -----------------------------------------------------------------


def lift(value: Any) -> Any:
    """Return what the functions of ``ops`` take for a user's value: nodes and Python numbers."""
    if isinstance(value, Tensor):
        if context.recorder is not None:
            return context.recorder.read(value)
        if value._node.value is None:
            raise TraceError(
                f"a tensor of shape {value.shape} was kept from inside a compiled function; it has "
                f"no numbers. Return it from the function instead of storing it. {where()}"
            )
        return value._node
    if isinstance(value, (bool, int, float)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        as_dtype(value.dtype)
        if not value.dtype.isnative:  # from a file in network byte order
            value = value.astype(value.dtype.newbyteorder("="))
        return leaf(value) if context.recorder is None else context.recorder.read_array(value)
    if isinstance(value, (list, tuple)):
        return type(value)(lift(v) for v in value)
    if hasattr(value, "__thalweg_node__"):
        return value.__thalweg_node__()
    if hasattr(value, "__dlpack__") and hasattr(value, "shape"):
        return lift(np.from_dlpack(value))
    return value


def finish(node: Node) -> Tensor:
    """Return a tensor for a new node, computed at once unless a function is being captured."""
    if context.recorder is not None:
        return Tensor(node)
    fresh = node.value is None
    value = reference.evaluate([node], check_finite if context.debug_nans else None)[0]
    if context.gradient_depth:
        return Tensor(node)
    if not fresh or value.base is not None or node.op.kind in ("movement", "identity"):
        value = value.copy()
    return Tensor(leaf(np.ascontiguousarray(value) if value.ndim else value))


def binary(function: Callable[..., Node], a: Any, b: Any) -> Tensor:
    """Apply a function of two operands; leave operands of foreign types to them."""
    left, right = lift(a), lift(b)
    for given, lifted in ((a, left), (b, right)):
        if not isinstance(lifted, (Node, bool, int, float)):
            if given is None or isinstance(given, (str, bytes, list, tuple, dict)):
                raise DTypeError(
                    f"{function.__name__}: {given!r} is not a tensor or a number; "
                    f"convert it with thalweg.tensor first. {where()}"
                )
            return NotImplemented  # type: ignore[no-any-return]
    return finish(function(left, right))


def copied(x: Tensor) -> Tensor:
    """Return a tensor of the same kind with its own copy of the numbers."""
    return _restored(type(x), x.numpy())


def _restored(kind: type[Tensor], value: Array) -> Tensor:
    return kind(leaf(value))


def constant_tensor(array: Array) -> Tensor:
    """Return a tensor that owns ``array``, outside of any recording: new state."""
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise ArgumentError("state must be a C-contiguous, writeable array")
    return Tensor(leaf(array))


class Parameter(Tensor):
    """A tensor that training changes.

    ``trainable``: whether gradients are taken with respect to it.

    >>> Parameter.of(np.zeros((2, 2), np.float32)).trainable
    True
    """

    __slots__ = ("_trainable",)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._trainable = True

    @classmethod
    def of(cls, array: Array, trainable: bool = True) -> Parameter:
        """Return a parameter with a copy of an array."""
        made = cls(leaf(np.array(array, order="C")))
        made._trainable = trainable
        return made

    def __copy__(self) -> Parameter:
        return Parameter.of(self._value("a copy"), self._trainable)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        return Parameter.of(self._value("a copy"), self._trainable)

    def __reduce__(self) -> Any:
        return (Parameter.of, (self.numpy(), self._trainable))

    @property
    def trainable(self) -> bool:
        """Whether gradients are taken with respect to it."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        from thalweg.tensor.context import structure_epoch

        self._trainable = bool(value)
        structure_epoch.advance()
