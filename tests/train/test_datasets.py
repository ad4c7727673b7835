"""Training on a Dataset: the same bits as on arrays, fetched ahead, faults named with their row."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg import nn
from thalweg.data.dataset import ArrayDataset, Transformed
from thalweg.data.sampling import class_balanced
from thalweg.errors import DataError, FormatError
from thalweg.train import Events, Run, Trainer, evaluate, fit
from thalweg.train.feeding import Feed, Stream

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64) + (X[:, 2] > 1)


class Rows:
    """Arrays behind the protocol of a Dataset."""

    names = ("x", "y")

    def __init__(self, *arrays: Any, labels: bool = True, pause: float = 0.0) -> None:
        self.arrays, self.pause = arrays, pause
        self.threads: set[str] = set()
        self.asked: list[list[int]] = []
        if labels:
            self.labels = arrays[-1]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def fetch(self, rows: Any) -> Any:
        self.threads.add(threading.current_thread().name)
        self.asked.append(rows.tolist())
        time.sleep(self.pause)
        return tuple(a[rows] for a in self.arrays)

    def describe(self, row: int) -> str:
        return f"file-{row}.png"


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3), seed=0)


def state(model: nn.Module) -> bytes:
    return b"".join(v.tobytes() for v in model.state_dict().values())


def numbers(history: Any) -> dict[str, list[float]]:
    return {k: v for k, v in history.metrics.items() if k != "seconds"}


@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"},
                                     {"sample_weight": np.linspace(0, 1, 300)}])  # fmt: skip
def test_a_dataset_trains_to_the_bits_of_its_arrays(options: Any) -> None:
    ends, told = [], []
    for data in ((X, Y), Rows(X, Y), Rows(X.astype(np.float64), Y, pause=0.002)):
        model = network()
        history = fit(model, data, epochs=3, batch_size=32, progress=False, learning_rate=0.01,
                      metrics=["accuracy", "f1"], **options)  # fmt: skip
        ends.append(state(model))
        told.append(history)
    assert ends[0] == ends[1] == ends[2]
    assert told[0]["loss"] == told[1]["loss"] == told[2]["loss"]
    assert told[0]["f1"] == told[1]["f1"]
    for name in ("validation_loss", "validation_accuracy", "validation_f1"):
        np.testing.assert_allclose(told[1][name], told[0][name], rtol=1e-5)


def test_batches_are_fetched_ahead_by_other_threads() -> None:
    data = Rows(X, Y)
    fit(network(), data, epochs=1, batch_size=32, progress=False)
    assert any(name.startswith("thalweg-loader") for name in data.threads)
    assert all(not t.name.startswith("thalweg-loader") for t in threading.enumerate())
    feed = Feed(Stream(data, np.arange(300)))
    feed.begin(np.arange(300).reshape(100, 3))
    rows = []
    while not feed.done:
        table, index = feed.take(7)
        assert 1 <= len(index) <= 7
        rows.append(table.inputs[0][index.ravel()])
    np.testing.assert_array_equal(np.concatenate(rows), X)
    feed.end()


def test_a_run_on_a_dataset_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    class Stop(Events):
        def on_steps(self, run: Run) -> None:
            if run.epoch == 2:
                run.stop()

    def train(folder: Any, events: Any = (), **options: Any) -> Any:
        model = network()
        made = Trainer(model, events=events)
        history = made.fit(Rows(X, Y), epochs=4, batch_size=32, folder=folder, **options)
        return state(model), numbers(history)

    wanted = train(None)
    train(tmp_path, [Stop()], checkpoint_every="1 steps")
    assert train(tmp_path, resume=True) == wanted
    with pytest.raises(FormatError, match="training data"):
        Trainer(network()).fit(Rows(X[::-1], Y), epochs=4, batch_size=32, folder=tmp_path,
                               resume=True)  # fmt: skip


def test_evaluation_of_a_dataset_does_not_depend_on_the_batch_size() -> None:
    model = network()
    names = ["accuracy", "f1", "recall_weighted"]
    wanted = evaluate(model, (X, Y), metrics=names)
    for size in (7, 64, 512):
        told = evaluate(model, Rows(X, Y), metrics=names, batch_size=size)
        assert told == pytest.approx(wanted, rel=1e-5)


def test_a_split_takes_labels_in_their_shares_if_the_dataset_tells_them() -> None:
    held: list[int] = []

    class See(Events):
        def on_fit_end(self, run: Run) -> None:
            held.append(len(run.history))

    rare = np.where(np.arange(300) < 10, 1, 0)
    data = Rows(X, rare)
    fit(network(), data, epochs=1, batch_size=32, validation=0.5, progress=False, events=[See()])
    trained = {r for rows in data.asked if len(rows) == 32 for r in rows}
    assert held == [1]
    assert sum(r < 10 for r in trained) <= 5


class Faulty(Rows):
    """Fails at one row, in a way of its own."""

    def __init__(self, how: str) -> None:
        super().__init__(X, Y)
        self.how = how

    def fetch(self, rows: Any) -> Any:
        x, y = super().fetch(rows)
        if self.how == "short":
            return x, y[:-1] if len(y) > 1 else y
        if self.how == "alone":
            return (x,)
        if 17 in rows:
            if self.how == "error":
                raise OSError("cannot identify image file")
            x = x.copy()
            x[list(rows).index(17)] = np.nan
        return x, y


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("error", r"file-17\.png could not be fetched: OSError: cannot identify image file"),
        ("nan", r"input 0 of file-17\.png: a number is not finite"),
        ("short", r"asked for 32 rows and gave arrays of shapes"),
        ("alone", "wanted inputs, then targets|wanted 2 arrays"),
    ],
)
def test_a_fault_names_the_row_and_brings_the_weights_back(how: str, says: str) -> None:
    model = network()
    start = {k: v for k, v in model.state_dict().items() if "weight" in k}
    with pytest.raises(DataError, match=says):
        fit(model, Faulty(how), epochs=2, batch_size=32, validation=None, progress=False)
    for name, value in start.items():
        np.testing.assert_array_equal(model.state_dict()[name], value)
    assert all(not t.name.startswith("thalweg-loader") for t in threading.enumerate())


def test_an_empty_dataset_is_refused() -> None:
    with pytest.raises(DataError, match="the Dataset is empty"):
        fit(network(), Rows(X[:0], Y[:0]), progress=False)
    with pytest.raises(DataError, match="batch size is 512"):
        fit(network(), Rows(X, Y), batch_size=512, progress=False)


def test_the_data_sets_of_the_package_and_their_orders() -> None:
    ends = []
    same = Transformed(ArrayDataset(X, Y), lambda random, x, y: (x, y))
    for data in ((X, Y), ArrayDataset(X, Y), same):
        model = network()
        fit(model, data, epochs=2, batch_size=32, progress=False, validation=None)
        ends.append(state(model))
    assert ends[0] == ends[1] == ends[2]
    rare = np.where(np.arange(300) < 10, 1, 0)
    seen = Rows(X, rare)
    history = fit(network(), seen, epochs=2, batch_size=50, progress=False, validation=None,
                  order=class_balanced(rare, samples=400))  # fmt: skip
    assert len(history) == 2
    drawn = [r for rows in seen.asked if len(rows) == 50 for r in rows]
    assert len(drawn) == 800
    assert 0.4 < np.mean(np.array(drawn) < 10) < 0.6


def test_what_is_random_in_the_rows_follows_seed_and_epoch(tmp_path: Path) -> None:
    def train(folder: Any = None, events: Any = (), **options: Any) -> bytes:
        def jitter(random: Any, x: Any, y: Any) -> Any:
            return x + random.normal(size=x.shape).astype(np.float32), y

        model = network()
        Trainer(model, events=events).fit(Transformed(ArrayDataset(X, Y), jitter), epochs=3,
                                          batch_size=32, folder=folder, **options)  # fmt: skip
        return state(model)

    class Stop(Events):
        def on_steps(self, run: Run) -> None:
            if run.epoch == 2:
                run.stop()

    assert train() == train()
    assert train(seed=1) != train()
    train(tmp_path, [Stop()])
    assert train(tmp_path, resume=True) == train()


def test_batches_of_several_shapes(tmp_path: Path) -> None:
    """As buckets of sequences give them: each shape is compiled once, and a run is resumed."""
    class Ragged(Rows):
        def fetch(self, rows: Any) -> Any:
            x, y = super().fetch(rows)
            width = 2 + int(rows[0]) % 2
            return np.broadcast_to(x[:, None], (len(x), width, 4)).copy(), y

    def train(folder: Any = None) -> bytes:
        model = nn.Sequential(nn.GlobalAvgPool(), nn.Linear(4, 3), seed=0)
        fit(model, Ragged(X, Y), epochs=2, batch_size=32, progress=False, validation=None,
            folder=folder)  # fmt: skip
        return state(model)

    assert train() == train(tmp_path)
