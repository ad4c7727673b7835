"""Ctrl-C as a question that is asked between steps, so that no step is cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interruption", "interruption"]


class Interruption:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.asked = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # the user asks again: stop even in the middle of something
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Note the first Ctrl-C inside of the block, and raise ``KeyboardInterrupt`` on the second.

    In another thread than the main one, where Python hears no signals, nothing is changed.

    >>> with interruption() as heard:
    ...     heard.asked
    False
    """
    heard = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # someone else handles it, or it is ignored
        yield heard
        return
    signal.signal(signal.SIGINT, heard._hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)
