"""Making tensors of numbers, lists, arrays and whatever speaks DLPack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from thalweg.errors import DTypeError, ShapeError, where
from thalweg.graph.dtype import DEFAULT_FLOAT, DType, as_dtype
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import indexing
from thalweg.ops.movement import stack
from thalweg.ops.record import leaf, to_node
from thalweg.tensor.context import context
from thalweg.tensor.recorder import Number, result_node
from thalweg.tensor.tensor import Tensor, finish, lift

Array = np.ndarray[Any, Any]


def tensor(data: Any, dtype: Any = None) -> Tensor:
    """Return a tensor with a copy of the data.

    ``data``: a number, nested lists, a NumPy array, a tensor, or whatever speaks DLPack. Python
    floats become float32, whole numbers int64, NumPy arrays keep their dtype, unless ``dtype`` says
    otherwise.

    Raises:
        DTypeError: the data are not numbers of a known dtype.
        ShapeError: nested lists of unequal length.

    >>> tensor([[1, 2], [3, 4]]).dtype
    thalweg.int64
    """
    if isinstance(data, (Tensor, Number)):
        node: Node = lift(data) if isinstance(data, Tensor) else result_node(data)
        return finish(node if dtype is None else e.astype(node, dtype))
    if isinstance(data, (list, tuple)) and _holds_tensors(data):
        parts = [tensor(d, dtype) for d in data]
        return finish(stack([lift(p) for p in parts]))
    foreign = hasattr(data, "__array__") or hasattr(data, "__dlpack__")
    array, kind = _read(data, dtype, foreign)
    if context.recorder is None:
        return Tensor(leaf(np.array(array, dtype=kind.numpy, order="C", copy=True)))
    if foreign and array.dtype != np.object_:  # from outside: read anew at each call
        return finish(e.astype(to_node(lift(array)), kind))
    return Tensor(indexing.array(array.astype(kind.numpy)))


asarray = tensor


def _read(data: Any, dtype: Any, foreign: bool) -> tuple[Array, DType]:
    """Return the data as an array, and the dtype of the tensor."""
    try:
        exchanged = foreign and not hasattr(data, "__array__")
        array = np.from_dlpack(data) if exchanged else np.asarray(data)
        if not array.dtype.isnative:  # from a file in network byte order
            array = array.astype(array.dtype.newbyteorder("="))
    except ValueError as error:
        raise ShapeError(
            f"tensor: nested lists must have equal lengths at each level ({error}). {where()}"
        ) from None
    if dtype is None and not foreign:
        kinds = {"f": DEFAULT_FLOAT.numpy, "i": np.dtype(np.int64), "b": np.dtype(np.bool_)}
        array = array.astype(kinds.get(array.dtype.kind, array.dtype))
        if array.size == 0:
            array = array.astype(DEFAULT_FLOAT.numpy)
    try:
        kind = as_dtype(array.dtype if dtype is None else dtype)
        if array.dtype.kind in "OSUMmc":  # text, dates and complex numbers would be cut to fit
            raise DTypeError
    except DTypeError:
        raise DTypeError(
            f"tensor: cannot hold {type(data).__name__} of NumPy dtype {array.dtype} as numbers"
            f"{'' if dtype is None else f' of {dtype}'}. {where()}"
        ) from None
    return array, kind


def _holds_tensors(data: Sequence[Any]) -> bool:
    kinds = (Tensor, Number)
    return any(
        isinstance(d, kinds) or (isinstance(d, (list, tuple)) and _holds_tensors(d)) for d in data
    )
