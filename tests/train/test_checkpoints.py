"""Checkpoints: everything is in them, damage is noticed, runs that do not fit are refused."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, FormatError, NumericsError
from thalweg.formats import checkpoint as files
from thalweg.train import CheckpointWarning, Events, History, Run, Trainer
from thalweg.train.checkpoints import CheckpointFolder, Every, newest_checkpoint

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64) + (X[:, 2] > 1)


def network(seed: int = 0, width: int = 16, classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3),
                         nn.Linear(width, classes), seed=seed)  # fmt: skip


def state(model: nn.Module) -> bytes:
    return b"".join(v.tobytes() for v in model.state_dict().values())


def numbers(history: History) -> dict[str, list[float]]:
    return {k: v for k, v in history.metrics.items() if k != "seconds"}


@pytest.fixture
def none_is_left_out(monkeypatch: Any) -> None:
    """Every checkpoint is written before the next: on a slow disk a newer one takes its place."""
    save = CheckpointFolder.save

    def save_and_wait(self: CheckpointFolder, *args: Any) -> None:
        save(self, *args)
        self.wait()

    monkeypatch.setattr(CheckpointFolder, "save", save_and_wait)


class StopAt(Events):
    """Ends the run after so many steps of an epoch."""

    def __init__(self, epoch: int, step: int = 0) -> None:
        self.epoch, self.step = epoch, step

    def on_steps(self, run: Run) -> None:
        if run.epoch == self.epoch and run.step >= self.step:
            run.stop()


def run(folder: Any = None, epochs: int = 6, *, events: Any = (), trainer: Any = None,
        model: Any = None, data: Any = (X, Y), **options: Any) -> Any:  # fmt: skip
    model = model or network()
    given = {"learning_rate": 0.01, **(trainer or {})}
    made = Trainer(model, events=events, **given)
    options = {"batch_size": 32, "folder": folder, **options}
    return model, made.fit(data, epochs=epochs, **options)


def noise(key: Any, batch: Any) -> Any:
    x, y = batch
    return x + 0.1 * tw.random.normal(x.shape, key=key), y


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"optimizer": "sgd", "learning_rate": optim.cosine(0.1, steps=60)},
        {"ema": 0.9, "augment": noise},
        {"optimizer": "lbfgs", "learning_rate": 0.3},
        {"accumulate": 4, "clip_norm": 0.5, "metrics": ["f1", "auc"], "loss": "cross_entropy"},
    ],
    ids=["adamw", "schedule", "ema and augment", "lbfgs", "accumulate"],
)
def test_a_stopped_run_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path, trainer: Any) -> None:
    """In the middle of an epoch, at its end, and twice; random state, history and best weights."""
    classes = 2 if "metrics" in trainer else 3
    y = Y % 2 if classes == 2 else Y

    def make() -> nn.Module:
        return network(classes=classes)

    common = {"data": (X, y), "trainer": trainer, "early_stopping": 4}
    tw.random.seed(3)
    whole, wanted = run(model=make(), **common)
    after = tw.random.uniform((2,)).tolist()
    tw.random.seed(3)
    run(tmp_path, model=make(), events=[StopAt(2, 3)], checkpoint_every="2 steps", **common)
    tw.random.seed(99)
    run(tmp_path, model=make(), events=[StopAt(4, 1)], resume=True, **common)
    tw.random.seed(98)
    resumed, history = run(tmp_path, model=make(), resume=True, **common)
    assert state(resumed) == state(whole)
    assert numbers(history) == numbers(wanted)
    assert history.best_epoch == wanted.best_epoch
    assert (history.stopped_early, history.restored) == (wanted.stopped_early, wanted.restored)
    assert tw.random.uniform((2,)).tolist() == after


def test_resuming_a_finished_run_trains_on_or_gives_it_back(tmp_path: Path) -> None:
    whole, wanted = run(epochs=5)
    run(tmp_path, epochs=3)
    again, history = run(tmp_path, epochs=3, resume=True, model=network(7))
    assert len(history) == 3
    assert state(again) != state(whole)
    longer, history = run(tmp_path, epochs=5, resume=True, model=network(8))
    assert state(longer) == state(whole)
    assert numbers(history) == numbers(wanted)


@pytest.mark.usefixtures("none_is_left_out")
def test_the_last_ones_and_the_best_stay(tmp_path: Path) -> None:
    _, history = run(tmp_path, epochs=8, keep=2, trainer={"learning_rate": 0.3})
    steps = 270 // 32
    kept = sorted(step // steps for step, _ in files.find_checkpoints(tmp_path))
    assert kept == sorted({7, 8, history.best_epoch})
    assert sorted(p.suffix for p in tmp_path.iterdir() if p.name != "lock") == (
        [".safetensors"] * len(kept))  # fmt: skip


@pytest.mark.usefixtures("none_is_left_out")
def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path: Path) -> None:
    whole, _ = run(epochs=5)
    run(tmp_path, epochs=4)
    newest = files.find_checkpoints(tmp_path)[0][1]
    data = bytearray(newest.read_bytes())
    data[-3] ^= 1
    newest.write_bytes(data)
    with pytest.warns(CheckpointWarning, match=r"checksum.*Going on from the one before"):
        resumed, history = run(tmp_path, epochs=5, resume=True, model=network(7))
    assert state(resumed) == state(whole)
    assert len(history) == 5
    for _, path in files.find_checkpoints(tmp_path):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"every checkpoint .* is damaged"):
        run(tmp_path, resume=True)


def test_every_changed_bit_is_noticed(tmp_path: Path) -> None:
    path = files.write_checkpoint(tmp_path / "a.safetensors",
                                  {"x": np.arange(5.0), "y": np.zeros((0, 2), np.uint32)},
                                  {"note": "here"})  # fmt: skip
    whole = path.read_bytes()
    read = files.read_checkpoint(path)
    assert read.facts["note"] == "here"
    assert read.arrays["y"].shape == (0, 2)
    for at in range(8, len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 4
        path.write_bytes(changed)
        try:
            got = files.read_checkpoint(path)
        except FormatError:
            continue
        # A bit of the padding of the header, of the array's place in JSON that means the same.
        assert got.arrays["x"].tolist() == read.arrays["x"].tolist(), at
        assert got.facts == read.facts, at


@pytest.mark.parametrize(
    ("says", "options"),
    [
        (r"Linear\(in_features=4, out_features=16.*out_features=8", {"model": network(width=8)}),
        ("optimizer: AdamW in the checkpoint, SGD here", {"trainer": {"optimizer": "sgd"}}),
        ("learning rate: 0.01 .*0.02 here", {"trainer": {"learning_rate": 0.02}}),
        ("training data: rows: 270 .*90 here", {"data": (X[:100], Y[:100])}),
        ("training data: numbers", {"data": (X + 1, Y)}),
        ("batch size: 32 in the checkpoint, 16 here", {"batch_size": 16}),
        ("seed: 0 in the checkpoint, 1 here", {"seed": 1}),
        ("ema: None in the checkpoint, 0.9 here", {"trainer": {"ema": 0.9}}),
        ("accumulate: 1 in the checkpoint, 2 here", {"trainer": {"accumulate": 2}}),
        ("validation data: rows", {"validation": (X[:9], Y[:9])}),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, says: str, options: Any) -> None:
    run(tmp_path, epochs=1)
    with pytest.raises(FormatError, match=f"belongs to another run.*{says}"):
        run(tmp_path, resume=True, **options)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    run(tmp_path, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(tw, "__version__", "9.9")
        with pytest.raises(FormatError, match=r"thalweg version: .* in the checkpoint, 9\.9 here"):
            run(tmp_path, resume=True)
    monkeypatch.setattr(files, "CHECKPOINT_VERSION", 0)
    with pytest.raises(FormatError, match=r"reads formats up to 0\. Upgrade"):
        run(tmp_path, resume=True)


def test_the_folder_holds_one_run_and_is_not_overwritten(tmp_path: Path) -> None:
    said = []

    class Second(Events):
        def on_epoch_end(self, _: Run) -> None:
            with pytest.raises(FormatError, match=r"another run .*process \d+"):
                run(tmp_path, epochs=1)
            said.append(True)

    run(tmp_path, epochs=1, events=[Second()])
    assert said
    with pytest.raises(FormatError, match="resume=True to continue it, or another folder"):
        run(tmp_path, epochs=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(FormatError, match="cannot be written to"):
        run(tmp_path / "file" / "inside", epochs=1)
    with pytest.raises(ArgumentError, match="needs a folder"):
        run(resume=True)
    with pytest.raises(FormatError, match="no checkpoint at"):
        run(resume=tmp_path / "empty")
    run(tmp_path / "other", epochs=1)
    with pytest.raises(FormatError, match="holds the checkpoints of a run"):
        run(tmp_path / "other", epochs=2, resume=tmp_path)
    one = files.find_checkpoints(tmp_path)[0][1]
    for source in (tmp_path, one):  # from there, into a folder of its own
        copied, history = run(tmp_path / f"from {source.name}", epochs=2, resume=source)
        assert len(history) == 2
        assert state(copied) == state(run(epochs=2)[0])
    anew, history = run(tmp_path / "new", epochs=1, resume=True)
    assert len(history) == 1
    assert state(anew) == state(run(epochs=1)[0])


@pytest.mark.parametrize("given", ["5", "x steps", 0, -1, "0 steps", "3 weeks", True, 1.5])
def test_checkpoint_every_is_checked(given: Any) -> None:
    with pytest.raises(ArgumentError, match="checkpoint_every is"):
        Every(given)


@pytest.mark.usefixtures("none_is_left_out")
def test_a_full_disk_is_said_and_training_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    whole, wanted = run(epochs=4)
    write, calls = files.write_tensors, []

    def full(*args: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*args, **options)

    monkeypatch.setattr(files, "write_tensors", full)
    with pytest.warns(CheckpointWarning, match=r"could not be written.*No space left.*safe is"):
        model, history = run(tmp_path, epochs=4)
    assert state(model) == state(whole)
    assert numbers(history) == numbers(wanted)
    monkeypatch.setattr(files, "write_tensors", write)
    kept = [step for step, _ in files.find_checkpoints(tmp_path)]
    assert kept == [8]
    resumed, history = run(tmp_path, epochs=4, resume=True, model=network(5))
    assert state(resumed) == state(whole)


@pytest.mark.usefixtures("none_is_left_out")
def test_a_folder_that_disappears_does_not_end_the_run(tmp_path: Path) -> None:
    class Remove(Events):
        def on_epoch_end(self, run: Run) -> None:
            if run.epoch == 2:
                for path in (tmp_path / "run").iterdir():
                    path.unlink()
                (tmp_path / "run").rmdir()

    with pytest.warns(CheckpointWarning, match="No such file.*none is saved yet"):
        _, history = run(tmp_path / "run", epochs=3, events=[Remove()])
    assert len(history) == 3


def test_a_slow_disk_does_not_hold_up_training(tmp_path: Path, monkeypatch: Any) -> None:
    """The newest checkpoint takes the place of one that waits; the last one is always written."""
    go, written = threading.Event(), []
    write = files.write_tensors

    def slow(path: Any, *args: Any) -> None:
        go.wait(20)
        written.append(Path(path).name)
        write(path, *args)

    monkeypatch.setattr(files, "write_tensors", slow)

    class Release(Events):
        def on_epoch_end(self, run: Run) -> None:
            if run.epoch == 5:
                assert len(written) == 0
                go.set()

    _, history = run(tmp_path, epochs=5, events=[Release()])
    assert len(history) == 5
    assert written[-1] == files.checkpoint_name(5 * 8)
    assert len(written) <= 3


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".abcd1234.safetensors").write_bytes(b"half")
    (tmp_path / ".keep").write_bytes(b"mine")
    CheckpointFolder(tmp_path).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".keep", "lock"]


def test_listeners_keep_their_state(tmp_path: Path) -> None:
    class Count(Events):
        def __init__(self) -> None:
            self.epochs = 0

        def on_epoch_end(self, _: Run) -> None:
            self.epochs += 1

        def state_dict(self) -> dict[str, Any]:
            return {"epochs": self.epochs}

        def load_state_dict(self, given: dict[str, Any]) -> None:
            self.epochs = given["epochs"]

    run(tmp_path, epochs=2, events=[Count()])
    count = Count()
    run(tmp_path, epochs=5, events=[count], resume=True)
    assert count.epochs == 5


def test_control_c_leaves_a_checkpoint_and_the_best_weights(tmp_path: Path) -> None:
    whole, _ = run(epochs=5)
    import signal

    class Press(Events):
        def on_steps(self, run: Run) -> None:
            if run.epoch == 3 and run.step == 1:
                os.kill(os.getpid(), signal.SIGINT)

    _, history = run(tmp_path, epochs=5, events=[Press()], checkpoint_every="1 steps")
    assert history.interrupted
    resumed, history = run(tmp_path, epochs=5, resume=True, model=network(4),
                           checkpoint_every="1 steps")  # fmt: skip
    assert state(resumed) == state(whole)
    assert not history.interrupted


def test_sigterm_saves_and_then_ends_the_process(tmp_path: Path) -> None:
    code = f"""
import os, signal, numpy as np, thalweg as tw
from thalweg import nn
class Stop(tw.train.Events):
    def on_steps(self, run):
        if run.epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)
    def on_fit_end(self, run):
        print("ended", run.history.interrupted, flush=True)
x = np.ones((64, 2), np.float32)
tw.fit(nn.Linear(2, 1, bias=False), (x, x[:, :1]), loss="mse", batch_size=8, epochs=9,
       progress=False, events=[Stop()], folder={str(tmp_path)!r})
print("not reached")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == -15, done.stderr
    assert done.stdout == "ended True\n"
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.facts["epoch"] == 2


def test_a_run_that_becomes_nan_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    targets = X[:, :1] * 1e3
    model = nn.Linear(4, 1)
    made = Trainer(model, "mse", "sgd", learning_rate=2.0)
    with pytest.raises(NumericsError):
        made.fit((X, targets), epochs=50, batch_size=32, folder=tmp_path)
    checkpoint = newest_checkpoint(tmp_path)
    if checkpoint is not None:
        assert all(np.isfinite(v).all() for v in checkpoint.part("model").values())


class Worsen(Events):
    """From the end of epoch 2 on the model gets worse, so that epoch 2 stays the best."""

    def on_epoch_end(self, run: Run) -> None:
        if run.epoch >= 2:
            weight = run.model[4].weight
            weight.assign(weight.numpy() - 3.0)
            run.model[4].bias.assign(np.float32([9.0, 0.0, -9.0]) * run.epoch)


@pytest.mark.parametrize("stop", [2, 4])
def test_the_best_weights_come_back_from_a_checkpoint(tmp_path: Path, stop: int) -> None:
    """They are of an epoch before the stop, and a listener has changed the weights since."""
    def train(folder: Any = None, events: Any = (), **options: Any) -> Any:
        return run(folder, 6, events=[Worsen(), *events], early_stopping=9, **options)

    whole, wanted = train()
    assert wanted.restored
    assert wanted.best_epoch == 2
    train(tmp_path, [StopAt(stop, 8)])
    assert newest_checkpoint(tmp_path).facts["epoch"] == stop  # type: ignore[union-attr]
    resumed, history = train(tmp_path, model=network(3), resume=True)
    assert history.restored
    assert numbers(history) == numbers(wanted)
    assert state(resumed) == state(whole)
