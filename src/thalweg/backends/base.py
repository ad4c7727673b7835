"""The seam between a graph and whoever runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.graph.node import Graph

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Repeated:
    """How one input changes over the steps of a repeated run.

    Without ``rows``, step ``s`` reads ``array[s]``. With ``rows``, whole numbers of shape
    ``(steps, batch)``, it reads ``array[rows[s]]``, gathered inside the program.
    """

    array: Array
    rows: Array | None = None


class Bound(ABC):
    """A program whose state inputs are fixed to arrays that it updates in place."""

    @abstractmethod
    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Run once on the other inputs, in their order; return the outputs that are not state."""

    @abstractmethod
    def repeat(self, steps: int, arrays: Sequence[Array | Repeated]) -> list[Array]:
        """Run ``steps`` times; each output comes back stacked along a new first axis."""


class Program(ABC):
    """A compiled graph."""

    @abstractmethod
    def bind(self, states: dict[int, Array]) -> Bound:
        """Fix some inputs, by position, to C-contiguous arrays."""

    @abstractmethod
    def explain(self, arrays: Sequence[Array] | None = None) -> str:
        """Return every stage of the program as text; with inputs, also measured times."""


class Backend(ABC):
    """A way to run graphs."""

    name: str

    @abstractmethod
    def compile(self, graph: Graph) -> Program:
        """Return the graph as a program."""
