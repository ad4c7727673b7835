"""Operation records and the nodes that apply them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.errors import user_frame
from thalweg.graph.dtype import DType
from thalweg.graph.shape import Shape

Attrs = dict[str, Any]
Infer = Callable[..., tuple[Shape, DType]]
Meaning = Callable[..., Any]
GradientRule = Callable[["Node", "Node"], "Sequence[Node | None]"]


class Scopes(threading.local):
    """Names of the layers that are running in this thread, outermost first."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def append(self, name: str) -> None:
        """Note that a layer starts."""
        self._names.append(name)

    def pop(self) -> str:
        """Note that the innermost layer ends."""
        return self._names.pop()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


scopes = Scopes()


@dataclass(frozen=True, eq=False)
class Op:
    """Everything that is known of one operation, in one record.

    ``infer(*inputs, **attrs)`` checks the inputs and gives shape and dtype of the result.
    ``meaning(xp, *arrays, **attrs)`` defines the value against an array namespace, so that it
    runs under NumPy and under ``jax.numpy``. ``gradient(node, g)`` gives, for the gradient ``g`` of
    the result, one node (or None) for each input. ``kind`` says how backends treat the operation:
    ``leaf``, ``elementwise``, ``reduction``, ``movement``, ``contraction``, ``structured`` or
    ``identity``. ``formula(m, *values)`` is the scalar formula of an element-wise operation,
    written against the machine ``m`` of a code generator. ``domain`` names what tests draw inputs
    from.
    """

    name: str
    kind: str
    doc: str
    infer: Infer
    meaning: Meaning
    gradient: GradientRule | None = None
    formula: Callable[..., Any] | None = None
    domain: tuple[str, ...] = ("real",)
    paper: str = ""

    def __call__(self, *inputs: Node, **attrs: Any) -> Node:
        """Apply the operation: check the inputs, and return the node of the result."""
        shape, dtype = self.infer(*inputs, **attrs)
        return Node(self, inputs, attrs, shape, dtype)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


@dataclass(eq=False, slots=True)
class Node:
    """One application of an operation: a value in a graph.

    ``value`` holds the array of a leaf, or of a node that was evaluated. ``origin`` is the user's
    line, ``scope`` the layers around it. ``weak`` marks a Python number that an input stands for:
    its dtype gives way to that of a tensor. ``serial`` grows with each node that is made.
    """

    op: Op
    inputs: tuple[Node, ...]
    attrs: Attrs
    shape: Shape
    dtype: DType
    value: np.ndarray[Any, Any] | None = None
    origin: tuple[str, int] = field(default_factory=user_frame)
    scope: tuple[str, ...] = field(default_factory=lambda: tuple(scopes))
    weak: bool = False
    serial: int = field(default_factory=itertools.count().__next__)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        product = 1
        for n in self.shape:
            product *= n
        return product

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.dtype.name}{list(self.shape)}>"


@dataclass(eq=False, slots=True)
class Graph:
    """A program before it is compiled: placeholders in, nodes out.

    ``inputs`` are ``input`` nodes in the order of the call. ``aliases`` maps an output's position
    to the input whose buffer it replaces: state that is updated in place.
    """

    inputs: list[Node]
    outputs: list[Node]
    aliases: dict[int, int] = field(default_factory=dict)
