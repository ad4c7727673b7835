"""Dynamic batching: requests that wait together run together, in one thread beside the loop."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from thalweg.app.serve.bodies import dump
from thalweg.app.serve.limits import Limits, Refusal, message_of
from thalweg.app.serve.metrics import Metrics
from thalweg.app.serve.predictor import Predictor
from thalweg.errors import ThalwegError

__all__ = ["Batcher"]

Outcome = bytes | Refusal
_INLINE: Final = 5e-4  # seconds; a thread that is ready waits as long for the interpreter
_BUSY: Final = ((b"retry-after", b"1"),)


class _Entry:
    """A request that waits: its samples, and the future of its answer."""

    __slots__ = ("future", "samples")

    def __init__(self, samples: Sequence[Any], future: asyncio.Future[bytes]) -> None:
        self.samples, self.future = samples, future


class Batcher:
    """Collects requests into batches for one worker thread.

    While a batch runs, requests gather. The next batch starts when the worker is free and one of
    three things holds: ``limits.wait`` has gone by since the last one started, the batch is full,
    or every open connection waits already, so that nobody is left to wait for. An idle server so
    answers at once, and a busy one runs few large batches.

    A batch that takes less than the threads would need to hand it over, as the last of its size
    shows, runs in the loop itself; all that is ready to be read by then joins it.

    All methods belong to the thread of the event loop; only ``_work`` runs in the worker. Results
    come back by one call into the loop for a whole batch.
    """

    def __init__(
        self, predictor: Predictor, limits: Limits, metrics: Metrics,
        connections: Callable[[], int] = lambda: 1 << 30,
    ) -> None:  # fmt: skip
        self.predictor, self.limits, self.metrics = predictor, limits, metrics
        self.connections = connections
        self.queued = 0  # rows
        self._waiting: deque[_Entry] = deque()
        self._running = False
        self._last = -1e9  # when a batch started
        self._timer: asyncio.Handle | None = None
        self._seconds: dict[int, float] = {}  # that a batch took, by its number of digits
        self._jobs: queue.SimpleQueue[list[_Entry] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="thalweg-serve", daemon=True)
        metrics.gauge("thalweg_queue_rows", "Rows that wait for a batch.", lambda: self.queued)

    def start(self) -> None:
        """Start the worker; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """End the worker after the batch that runs."""
        self._jobs.put(None)
        self._thread.join()

    def submit(self, samples: Sequence[Any]) -> asyncio.Future[bytes]:
        """Return the future of the answer for samples, as JSON.

        The future raises Refusal if the network cannot take a sample. Cancel it, and the samples
        are not run, if they still wait.

        Raises:
            Refusal: 503, too many rows wait.
        """
        assert self._loop is not None, "start comes before submit"
        if self.queued + len(samples) > max(self.limits.queue, len(samples)):
            raise Refusal(
                503, f"the queue is full: {self.queued:,} rows wait; try again in a second", _BUSY
            )
        future = self._loop.create_future()
        self._waiting.append(_Entry(samples, future))
        self.queued += len(samples)
        self._consider()
        return future

    def _consider(self) -> None:
        """Start a batch now or set a timer, if the worker is free."""
        if self._running or not self._waiting:
            return
        assert self._loop is not None
        due = self._last + self.limits.wait / 1000
        now = self._loop.time()
        full = self.queued >= self.limits.batch_size
        if now >= due or full or len(self._waiting) >= self.connections():
            if self._quick(self.queued):
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_soon(self._due)
            else:
                self._start(now)
        elif self._timer is None:
            self._timer = self._loop.call_at(due, self._due)

    def _due(self) -> None:
        assert self._loop is not None
        self._timer = None
        if self._waiting and not self._running:
            self._start(self._loop.time())

    def _start(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch: list[_Entry] = []
        rows = 0
        while self._waiting:
            entry = self._waiting[0]
            if batch and rows + len(entry.samples) > self.limits.batch_size:
                break
            self._waiting.popleft()
            self.queued -= len(entry.samples)
            if not entry.future.done():  # else its time was over while it waited
                batch.append(entry)
                rows += len(entry.samples)
        if batch:
            self._running, self._last = True, now
            self.metrics.batches.add(rows)
            if self._quick(rows):
                self._finish(batch, self._timed(batch, rows))
            else:
                self._jobs.put(batch)

    def _quick(self, rows: int) -> bool:
        """Whether a batch is known to take less time than handing it to the worker."""
        even = self.predictor.reader.even
        return even and self._seconds.get(rows.bit_length(), 1.0) < _INLINE

    def _timed(self, batch: list[_Entry], rows: int) -> list[Outcome]:
        began = time.perf_counter()
        outcomes = self._outcomes(batch)
        size, took = rows.bit_length(), time.perf_counter() - began
        self._seconds[size] = 0.9 * self._seconds.get(size, took) + 0.1 * took
        return outcomes

    def _finish(self, batch: list[_Entry], outcomes: list[Outcome]) -> None:
        self._running = False
        for entry, outcome in zip(batch, outcomes, strict=True):
            if not entry.future.done():
                if isinstance(outcome, Refusal):
                    entry.future.set_exception(outcome)
                else:
                    entry.future.set_result(outcome)
        self._consider()

    # --- in the worker --------------------------------------------------------------------

    def _work(self) -> None:
        assert self._loop is not None
        while (batch := self._jobs.get()) is not None:
            outcomes = self._timed(batch, sum(len(entry.samples) for entry in batch))
            self._loop.call_soon_threadsafe(self._finish, batch, outcomes)

    def _outcomes(self, batch: list[_Entry]) -> list[Outcome]:
        """Return the answer of each request; one that cannot be taken spoils no other's."""
        try:
            if len(batch) == 1:
                made = self.predictor(batch[0].samples)
                return [self._told(made, batch[0])]
            made = self.predictor([sample for entry in batch for sample in entry.samples])
            outcomes: list[Outcome] = []
            start = 0
            for entry in batch:
                end = start + len(entry.samples)
                outcomes.append(self._told(made[start:end], entry))
                start = end
            return outcomes
        except Exception as error:
            if len(batch) > 1:
                return [outcome for entry in batch for outcome in self._outcomes([entry])]
            return [_refused(error)]

    def _told(self, made: list[Any], entry: _Entry) -> bytes:
        reader = self.predictor.reader
        answer: dict[str, Any] = {"predictions": made[0] if reader.whole else made}
        notes = reader.notes(entry.samples)
        return dump(answer | {"notes": notes} if notes else answer)


def _refused(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ThalwegError):
        return Refusal(422, message_of(error))
    print(f"error: a prediction failed: {type(error).__name__}: {error}", file=sys.stderr)
    return Refusal(
        500, "the server failed on this input, and its log says how; other requests are not "
        "concerned"
    )  # fmt: skip
