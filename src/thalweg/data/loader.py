"""``Loader``: batches of a data set, fetched ahead by threads, the same in every run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Literal, get_args

import numpy as np

from thalweg.data.batches import checked_batch_size
from thalweg.data.dataset import Arrays, Dataset, as_dataset, fetch_epoch
from thalweg.data.sampling import Order, shuffled
from thalweg.errors import ArgumentError, DataError, ThalwegError, nearest, where
from thalweg.settings import settings

__all__ = ["Loader"]

Array = np.ndarray[Any, Any]
Last = Literal["drop", "pad", "keep"]
# Bytes gathered at once from arrays in memory: they stay in the second cache until they are used,
# and the cost of a call is shared by many small batches.
_BLOCK: Final = 1 << 18


class Loader:
    """Batches of a data set: shuffled by a seed, fetched ahead by threads, resumable.

    ``dataset``: a ``Dataset``, or arrays (one, or a tuple, list or dict of one length).
    ``order``: which rows an epoch shows, one of ``thalweg.data.sampling``; left out, all rows
    shuffled. ``last``: what becomes of a last batch that is not full. ``"drop"`` leaves it out,
    ``"keep"`` gives fewer rows (and a compiled step is compiled once more); ``"pad"`` fills it
    with rows that came before and adds one more array to every batch, its weights: 1 for a
    sample, 0 for a repeat. ``workers``: threads that fetch; left out, none for arrays in memory,
    otherwise one a core. ``prefetch``: batches that wait ready beyond those being fetched.

    The batches depend on ``seed`` and the epoch alone, never on the number of workers. Each
    iteration over the loader runs the next epoch; the first one after ``load_state`` runs what is
    left of that epoch. ``epoch(number)`` runs one by its number. ``state`` is a small dict of
    where the last iteration stands.

    Shapes: arrays (n, ...) to tuples of arrays (batch_size, ...); weights (batch_size,), float32.

    Raises:
        DataError: a batch size that the data does not allow; while iterating: a row that could
            not be fetched, with its file or row number.
        ArgumentError: another argument outside of its legal values.

    Example:
        >>> loader = Loader((np.arange(10.0), np.arange(10)), 4, seed=0, last="pad")
        >>> [(x.shape, weights.sum().item()) for x, y, weights in loader]
        [((4,), 4.0), ((4,), 4.0), ((4,), 2.0)]
        >>> loader.state["epoch"], len(loader)
        (1, 3)
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        seed: int = 0,
        order: Order | None = None,
        last: Last = "drop",
        workers: int | None = None,
        prefetch: int = 2,
    ) -> None:
        self.dataset: Dataset = as_dataset(dataset)
        self.order: Order = shuffled() if order is None else order
        self.seed = _whole("seed", seed, 0)
        if last not in get_args(Last):
            known = nearest(last, get_args(Last))
            raise ArgumentError(f"Loader: last={last!r}; {known}. {where()}")
        self.last = last
        in_memory = bool(getattr(self.dataset, "in_memory", False))
        self.in_memory = in_memory and not workers
        self.workers = _workers(in_memory) if workers is None else _whole("workers", workers, 0)
        self.prefetch = _whole("prefetch", prefetch, 0)
        self.samples = int(getattr(self.order, "samples", len(self.dataset)))
        if last == "drop":
            self.batch_size = checked_batch_size(batch_size, self.samples)
        else:
            self.batch_size = _whole("batch_size", batch_size, 1)
        if not self.samples:
            raise DataError(f"Loader: the data set has no rows. Give some. {where()}")
        self._epoch = self._position = 0
        self._next = (0, 0)  # epoch and batch that the next iteration starts from

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + bool(rest and self.last != "drop")

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each array of a batch."""
        more = ("weights",) if self.last == "pad" else ()
        return (*self.dataset.names, *more)

    @property
    def state(self) -> dict[str, int]:
        """Where iteration stands: plain numbers, for ``load_state``.

        ``position``: batches of ``epoch`` that were handed out.
        """
        return {
            "epoch": self._epoch,
            "position": self._position,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "samples": self.samples,
        }

    def load_state(self, state: dict[str, int]) -> None:
        """Go on where another loader of the same data stood.

        Raises:
            DataError: the other loader had another seed, batch size or number of samples.

        Example:
            >>> loader = Loader(np.arange(6), 2)
            >>> first = next(iter(loader))
            >>> again = Loader(np.arange(6), 2)
            >>> again.load_state(loader.state)
            >>> len(list(again))
            2
        """
        mine = self.state
        for name in ("seed", "batch_size", "samples"):
            if name in state and int(state[name]) != mine[name]:
                raise DataError(
                    f"Loader: the state was saved with {name} = {state[name]:,}, this loader has "
                    f"{mine[name]:,}; give the same data, seed and batch size to go on with the "
                    f"same batches. {where()}"
                )
        self._epoch = _whole("epoch", state["epoch"], 0)
        self._position = _whole("position", state["position"], 0)
        done = self._position >= len(self)
        self._next = (self._epoch + 1, 0) if done else (self._epoch, self._position)

    def __iter__(self) -> Iterator[Arrays]:
        return self.epoch(*self._next)

    def epoch(self, number: int, start: int = 0) -> Iterator[Arrays]:
        """Return the batches of one epoch, as tuples of arrays, from batch ``start`` on.

        Raises:
            DataError: a row could not be fetched; the message names its file or row number.

        Example:
            >>> loader = Loader(np.arange(6), 2)
            >>> one, again = list(loader.epoch(3)), list(loader.epoch(3, start=1))
            >>> bool((one[1][0] == again[0][0]).all())
            True
        """
        number, start = _whole("epoch", number, 0), _whole("start", start, 0)
        self._epoch, self._position, self._next = number, start, (number + 1, 0)
        order = self.order.rows(len(self.dataset), self.batch_size, self.seed, number)
        order, weights = self._cut(np.asarray(order, np.int64))
        fetched = self._direct if self.in_memory else self._ahead if self.workers else self._plain
        return self._counted(fetched(order, number, start), weights, number, start)

    def _counted(
        self, batches: Iterator[Arrays], weights: Array | None, number: int, start: int
    ) -> Iterator[Arrays]:
        size, at = self.batch_size, start
        for batch in batches:
            at += 1
            self._position = at  # before the batch is handed out: a break leaves it counted
            yield batch if weights is None else (*batch, weights[(at - 1) * size : at * size])
        self._epoch, self._position = number + 1, 0

    def _cut(self, order: Array) -> tuple[Array, Array | None]:
        """Return the rows of all batches, and the weights of padded ones."""
        size, count = self.batch_size, len(order)
        if self.last == "drop":
            return order[: count // size * size], None
        if self.last == "keep":
            return order, None
        whole = -(-count // size) * size
        weights = np.zeros(whole, np.float32)
        weights[:count] = 1
        return np.resize(order, whole), weights

    def _direct(self, order: Array, epoch: int, start: int) -> Iterator[Arrays]:
        """Gather several batches at once from arrays in memory, and hand out parts of them."""
        size, at = self.batch_size, start * self.batch_size
        step = size  # the first batch tells how many bytes a row takes
        while at < len(order):
            rows = order[at : at + step]
            block = self._fetch(rows, epoch)
            if step == size:
                row_bytes = sum(column.nbytes for column in block) // len(rows) + 1
                step = max(1, _BLOCK // (row_bytes * size)) * size
            at += len(rows)
            if len(rows) <= size:
                yield block
                continue
            for i in range(0, len(rows), size):
                yield tuple([column[i : i + size] for column in block])

    def _plain(self, order: Array, epoch: int, start: int) -> Iterator[Arrays]:
        size = self.batch_size
        for at in range(start * size, len(order), size):
            yield self._fetch(order[at : at + size], epoch)

    def _ahead(self, order: Array, epoch: int, start: int) -> Iterator[Arrays]:
        """Fetch batches in threads, and hand them out in order."""
        size = self.batch_size
        parts = iter(range(start * size, len(order), size))
        waiting: deque[Future[Arrays]] = deque()
        pool = ThreadPoolExecutor(self.workers, "thalweg-loader")
        try:
            while True:
                while len(waiting) < self.workers + self.prefetch:
                    at = next(parts, None)
                    if at is None:
                        break
                    waiting.append(pool.submit(self._fetch_in_thread, order[at : at + size], epoch))
                if not waiting:
                    return
                yield _result(waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fetch_in_thread(self, rows: Array, epoch: int) -> Arrays:
        try:
            return self._fetch(rows, epoch)
        except ThalwegError as error:
            # The outermost line of a thread is no line of the user's; _result adds that one.
            raise type(error)(str(error).removesuffix(where())) from error

    def _fetch(self, rows: Array, epoch: int) -> Arrays:
        try:
            batch = fetch_epoch(self.dataset, rows, self.seed, epoch)
        except Exception as error:
            raise self._fault(rows, epoch, error) from error
        if len(batch) != len(self.dataset.names) or any(len(c) != len(rows) for c in batch):
            raise DataError(
                f"{type(self.dataset).__name__}.fetch was asked for {len(rows):,} rows and gave "
                f"arrays of shapes {[np.shape(c) for c in batch]}; wanted "
                f"{len(self.dataset.names)} arrays ({', '.join(self.dataset.names)}), each with "
                f"{len(rows):,} rows. {where()}"
            )
        return batch

    def _fault(self, rows: Array, epoch: int, error: Exception) -> Exception:
        """Return the error with the row that caused it: the first that fails alone too."""
        if isinstance(error, ThalwegError):
            return error  # it names its file or row already
        culprit = None
        for row in rows:
            try:
                fetch_epoch(self.dataset, np.asarray([row], np.int64), self.seed, epoch)
            except Exception as again:
                culprit, error = int(row), again
                break
        several = f"a batch of {len(rows):,} rows"
        name = several if culprit is None else self.dataset.describe(culprit)
        return DataError(
            f"{name} could not be fetched: {type(error).__name__}: {error}. Mend or remove it. "
            f"{where()}"
        )


def _result(future: Future[Arrays]) -> Arrays:
    """Return what a thread fetched; an error gets the line that asked for the batch."""
    try:
        return future.result()
    except ThalwegError as error:
        text = str(error)
        raise type(error)(text + where() if text.endswith(" ") else text) from error


def _workers(in_memory: bool) -> int:
    return 0 if in_memory else settings.team_size()


def _whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least ``least``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise ArgumentError(
            f"Loader: {name} is {value!r}, wanted a whole number from {least} on. {where()}"
        )
    return int(value)
