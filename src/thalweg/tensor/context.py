"""What the current thread is doing: computing at once, keeping a graph for gradients, recording."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thalweg.tensor.recorder import Recorder


class Context(threading.local):
    """The state of one thread.

    ``gradient_depth``: how many gradient functions are running, so that graphs are kept.
    ``recorder``: the recorder of the compiled function that is being captured.
    ``debug_nans``: whether every value is looked at.
    """

    gradient_depth: int = 0
    recorder: Recorder | None = None
    debug_nans: bool = False


context = Context()


class Epoch:
    """A counter of events that make cached facts stale, shared by all threads."""

    def __init__(self) -> None:
        self.count = 0

    def advance(self) -> None:
        """Note that something changed."""
        self.count += 1


storage_epoch = Epoch()  # some tensor got another buffer
structure_epoch = Epoch()  # some attribute of a module or optimiser changed
