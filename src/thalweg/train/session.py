"""One call of ``Trainer.fit``: epochs, validation, the best weights, checkpoints, a clean end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.data.batches import shuffled
from thalweg.errors import ArgumentError, FormatError, where
from thalweg.formats.checkpoint import find_checkpoints
from thalweg.tensor.context import storage_epoch
from thalweg.train import diagnosis
from thalweg.train.checkpoints import CheckpointFolder, Every, newest_checkpoint
from thalweg.train.events import History, Run
from thalweg.train.feeding import Feed
from thalweg.train.interruption import Interruption, interruption
from thalweg.train.preparation import Prepared
from thalweg.train.resuming import capture, identity, restore
from thalweg.train.statistics import Tally
from thalweg.train.stepping import Pace
from thalweg.train.verdict import VALIDATION

if TYPE_CHECKING:
    from thalweg.train.trainer import Trainer

__all__ = ["Plan", "Session"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Plan:
    """What a run was asked to do.

    ``order``: of the rows in an epoch, one of ``thalweg.data.sampling``, or None for any order by
    the seed. ``patience``: epochs without a better monitor before it ends, or None. ``folder``:
    where its checkpoints go, if anywhere; ``every``: how often; ``keep``: how many; ``resume``:
    whether, or the path from which, to go on.
    """

    seed: int = 0
    patience: int | None = None
    folder: Any = None
    every: Every | None = None
    keep: int = 3
    resume: Any = False
    order: Any = None


class Session:
    """A run of a trainer on prepared data.

    ``kept``: the weights to go back to, those after ``kept_epoch``; ``kept_is_present``: the model
    has just these. ``tally``: loss and metrics of the present epoch so far.
    """

    def __init__(self, trainer: Trainer, run: Run, data: Prepared, plan: Plan) -> None:
        self.trainer, self.run, self.data, self.plan = trainer, run, data, plan
        self.kept = run.model.state_dict()
        self.kept_epoch = 0
        self.kept_is_present = True
        self.tally = Tally(trainer.metrics)
        self.feed = Feed(data.training)
        self.pace = Pace()
        self.began = time.perf_counter()
        self.compiled = False
        self.timed_steps, self.timed_seconds = 0, 0.0  # without compilation
        self.folder: CheckpointFolder | None = None
        self.saved_step, self.saved_at = -1, self.began
        self.identity: dict[str, str] = {}
        self.trail: list[Array] = []  # losses of the epoch's steps, for what is said of a failure

    def seconds(self) -> float:
        """Return how long the run has taken, with what came before it was resumed."""
        return time.perf_counter() - self.began

    def run_all(self) -> History:
        """Train all epochs, and end cleanly however they end."""
        with interruption() as heard, self._in_folder():
            run = self.run
            self.trainer._tell("on_fit_start", run)
            try:
                self._epochs(heard)
            except KeyboardInterrupt:  # heard in the middle of a step, which may be half done
                run.history.interrupted = True
                self._restore()
            except BaseException:
                self._restore()
                run.model.eval()
                run.history.seconds = self.seconds()
                self.trainer._tell("on_fit_end", run)
                raise
            finally:
                self.feed.end()
            self._end()
            self.trainer._tell("on_fit_end", run)
        return self.run.history

    # --- folder and checkpoints -----------------------------------------------------------

    @contextmanager
    def _in_folder(self) -> Iterator[None]:
        """Hold the folder of the run, if it has one, and continue what is there if asked to."""
        plan = self.plan
        if plan.folder is None and not plan.resume:
            yield
            return
        source = plan.folder if plan.resume is True else plan.resume
        if source is None:
            raise ArgumentError(f"fit: resume=True needs a folder; give folder=... {where()}")
        self.identity = identity(self)
        if plan.folder is not None:
            self.folder = CheckpointFolder(plan.folder, plan.keep)
        try:
            if plan.folder is not None and not _inside(source, plan.folder):
                _check_empty(plan.folder)
            if source:
                self._resume(source)
            yield
        finally:
            if self.folder is not None:
                self.folder.close()

    def _resume(self, source: Any) -> None:
        checkpoint = newest_checkpoint(source)
        if checkpoint is not None:
            restore(self, checkpoint)
            self.run.resumed = True
            self.saved_step = self._total()
        elif self.plan.resume is not True:
            raise FormatError(f"there is no checkpoint at {str(source)!r}. {where()}")

    def _total(self) -> int:
        """Return the number of steps of the run so far, over all epochs."""
        return max(self.run.epoch - 1, 0) * self.run.steps + self.run.step

    def _save(self) -> None:
        if self.folder is None or self.saved_step == self._total():
            return
        arrays, facts = capture(self)
        best = self.kept_epoch * self.run.steps
        self.folder.save(self._total(), arrays, facts, best)
        self.saved_step, self.saved_at = self._total(), time.perf_counter()

    def _save_if_due(self, epoch_ended: bool) -> None:
        every = self.plan.every
        if self.folder is None or every is None:
            return
        self.folder.tell()
        due = bool(every.steps) and self._total() % every.steps == 0
        due |= bool(every.seconds) and time.perf_counter() - self.saved_at >= every.seconds
        due |= bool(every.epochs) and epoch_ended and self.run.epoch % every.epochs == 0
        if due:
            self._save()

    # --- epochs ---------------------------------------------------------------------------

    def _epochs(self, heard: Interruption) -> None:
        run = self.run
        first = run.epoch + (len(run.history) >= run.epoch)  # after a resume in its middle
        self._stop_early()
        for epoch in range(first, run.epochs + 1):
            if run.stopping:
                break
            self._epoch(epoch, heard)
            if heard.asked:
                break
        run.history.interrupted = heard.asked
        self._save()

    def _epoch(self, epoch: int, heard: Interruption) -> None:
        run = self.run
        began = time.perf_counter()
        run.model.train()
        if epoch != run.epoch:
            run.epoch, run.step, run.current = epoch, 0, {}
            self.tally = Tally(self.trainer.metrics)
        self.trail = []
        index = self._order(epoch)
        self.feed.begin(index[run.step :], self.plan.seed, epoch)
        while run.step < run.steps:
            self._steps(index)
            self.trainer._tell("on_steps", run)
            if run.step < run.steps:
                self._save_if_due(epoch_ended=False)
            if heard.asked or (run.stopping and run.step < run.steps):
                if run.step < run.steps:
                    return
                break
        self._epoch_end(began)

    def _order(self, epoch: int) -> Array:
        """Return the row numbers of an epoch's batches, (steps, batch)."""
        run, rows, plan = self.run, self.data.training.rows, self.plan
        if plan.order is None:
            places = shuffled(len(rows), plan.seed, epoch)
        else:
            places = plan.order.rows(len(rows), run.batch_size, plan.seed, epoch)
        return rows[places[: run.steps * run.batch_size]].reshape(run.steps, run.batch_size)

    def _steps(self, index: Array) -> None:
        run = self.run
        left = run.steps - run.step
        if self.folder is not None and self.plan.every is not None and self.plan.every.steps:
            left = min(left, self.plan.every.steps - self._total() % self.plan.every.steps)
        table, places = self.feed.take(self.pace.next(left))
        count = len(places)
        started = time.perf_counter()
        told = self.trainer._steps(table, places)
        self.pace.note(count)
        self.kept_is_present = False
        bad = np.flatnonzero(~np.isfinite(told[0]))
        if len(bad):
            at = run.step + int(bad[0])
            self.trail.append(told[0][: bad[0] + 1])
            self._fail("loss", told[0][bad[0]], at + 1, index[at])
        self.trail.append(told[0])
        self.tally.add(told)
        run.step += count
        run.current = self.tally.values()
        self._clock(count, time.perf_counter() - started)

    def _epoch_end(self, began: float) -> None:
        run, history = self.run, self.run.history
        average = self.trainer.recipe.average
        with nullcontext() if average is None else average.applied():
            if self.data.validation is not None:
                for name, value in self.trainer._measure(self.data.validation).items():
                    run.current[VALIDATION + name] = value
                if not np.isfinite(run.current[VALIDATION + "loss"]):
                    self._fail("validation loss", run.current[VALIDATION + "loss"], run.steps)
            history.add({**run.current, "seconds": time.perf_counter() - began})
            if self.data.validation is None or history.best_epoch == run.epoch:
                self.kept, self.kept_epoch = run.model.state_dict(), run.epoch
                self.kept_is_present = average is None
        diagnosis.watch(self)
        storage = storage_epoch.count
        self.trainer._tell("on_epoch_end", run)
        self.kept_is_present &= storage == storage_epoch.count  # a listener may assign weights
        self._stop_early()
        self._save_if_due(epoch_ended=True)

    def _stop_early(self) -> None:
        run, history = self.run, self.run.history
        if self.plan.patience is None or not len(history) or len(history) < run.epoch:
            return
        waited = run.epoch - (history.best_epoch or 0) >= self.plan.patience
        if waited and run.epoch < run.epochs:
            history.stopped_early = True
            run.stop()

    def _fail(self, what: str, value: float, step: int, rows: Array | None = None) -> None:
        raise diagnosis.failure(self, what, value, step, rows)

    def _clock(self, steps: int, seconds: float) -> None:
        run = self.run
        if not self.compiled:  # the time of the first call is that of the compiler
            self.compiled = True
            return
        self.timed_steps += steps
        self.timed_seconds += seconds
        per_step = max(self.timed_seconds, 1e-9) / self.timed_steps
        run.examples_per_second = run.batch_size / per_step
        left = (run.epochs - run.epoch) * run.steps + run.steps - run.step
        run.seconds_left = left * per_step

    # --- the end --------------------------------------------------------------------------

    def _restore(self) -> None:
        self.run.model.load_state_dict(self.kept)

    def _end(self) -> None:
        """Choose the final weights, and say so if they are not the last ones."""
        run, history = self.run, self.run.history
        history.seconds = self.seconds()
        finished = len(history)
        last = finished == run.epoch and not (history.interrupted and run.step < run.steps)
        measured = self.data.validation is not None
        wants_best = (history.interrupted and measured) or self.plan.patience is not None
        if wants_best and self.kept_epoch and not (last and self.kept_epoch == finished):
            self._restore()
            history.restored = True
        elif self.trainer.recipe.average is not None:
            self.trainer.recipe.average.apply()
        run.model.eval()
        run.note = _note(run, self.kept_epoch if measured else 0)


def _inside(source: Any, folder: Any) -> bool:
    """Return whether a run goes on from its own folder, or from a checkpoint in it."""
    place = Path(folder).resolve()
    return bool(source) and place in (Path(source).resolve(), Path(source).resolve().parent)


def _check_empty(folder: Any) -> None:
    if find_checkpoints(folder):
        raise FormatError(
            f"the folder {str(folder)!r} holds the checkpoints of a run; give resume=True to "
            f"continue it, or another folder to start anew. {where()}"
        )


def _note(run: Run, kept_epoch: int) -> str:
    """Return a sentence on how a run ended, empty if it ended as planned."""
    history = run.history
    value = history[history.monitor][kept_epoch - 1] if kept_epoch else 0.0
    name = history.monitor.replace("_", " ")
    best = f"the model of epoch {kept_epoch} ({name} {value:.4f})"
    if history.interrupted:
        if not kept_epoch:
            at = f"epoch {run.epoch}, step {run.step}"
            return f"interrupted in {at}: kept the model as it was then"
        return f"interrupted in epoch {run.epoch}: kept the best so far, {best}"
    if history.stopped_early:
        return f"stopped early after epoch {run.epoch}: went back to the best, {best}"
    return f"went back to the best, {best}" if history.restored else ""
