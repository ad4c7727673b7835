"""Ctrl-C and SIGTERM as questions that are asked between steps, so that no step is cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interruption", "interruption"]


class Interruption:
    """Whether Ctrl-C was pressed or the process was asked to end; ``number`` of the signal."""

    def __init__(self) -> None:
        self.asked = False
        self.number = 0

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:  # the user asks again: stop even in the middle of something
            raise KeyboardInterrupt
        self.asked, self.number = True, number


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Note the first Ctrl-C or SIGTERM inside of the block, and raise on the second.

    ``KeyboardInterrupt`` is raised. After the block a SIGTERM has its usual effect: the process
    ends. In another thread than the main one, where Python hears no signals, nothing is changed;
    nor where the program handles a signal itself.

    >>> with interruption() as heard:
    ...     heard.asked
    False
    """
    heard = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.getsignal(number) for number in usual}
    ours = [number for number in usual if before[number] is usual[number]]
    try:
        for number in ours:
            signal.signal(number, heard._hear)
        yield heard
    finally:
        for number in ours:
            signal.signal(number, before[number])
    if heard.number == signal.SIGTERM:
        signal.raise_signal(signal.SIGTERM)
