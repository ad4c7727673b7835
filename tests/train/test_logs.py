"""Logs: every epoch once, also after a resume; restore-best and save and load lose nothing."""

from __future__ import annotations

import csv
import json
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError
from thalweg.train import CSVLog, Events, JSONLinesLog, MLflowLog, Run, TensorBoardLog, Trainer
from thalweg.train import evaluate as measured

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3),
                         nn.Linear(16, 2), seed=0)  # fmt: skip


class StopAt(Events):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_steps(self, run: Run) -> None:
        if run.epoch == self.epoch:
            run.stop()


def run(events: Any, folder: Any = None, epochs: int = 4, **options: Any) -> Any:
    made = Trainer(network(), learning_rate=0.01, events=events)
    return made.fit((X, Y), epochs=epochs, batch_size=16, folder=folder, **options)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_json_lines_and_csv_tell_each_epoch_once(tmp_path: Path) -> None:
    lines, rows = tmp_path / "deep" / "log.jsonl", tmp_path / "log.csv"
    history = run([JSONLinesLog(lines), CSVLog(rows)])
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [e["epoch"] for e in told[:-1]] == [1, 2, 3, 4]
    for name in ("loss", "validation_accuracy", "seconds"):
        assert [e[name] for e in told[:-1]] == history[name]
        assert [float(r[name]) for r in table(rows)] == history[name]
    assert {e["learning_rate"] for e in told[:-1]} == {0.01}
    assert told[-1]["end"] == "finished"
    assert told[-1]["best_epoch"] == history.best_epoch
    run([JSONLinesLog(lines), CSVLog(rows)], epochs=1)
    assert len(lines.read_text().splitlines()) == 2
    assert len(table(rows)) == 1


def test_a_resumed_run_goes_on_in_its_logs(tmp_path: Path) -> None:
    lines, rows = tmp_path / "log.jsonl", tmp_path / "log.csv"
    history = run(())
    run([JSONLinesLog(lines), CSVLog(rows), StopAt(3)], tmp_path / "run")
    with open(lines, "a") as file:  # an epoch that no checkpoint tells of, and half a line
        file.write('{"epoch": 4, "loss": 9.0}\n{"epo')
    with open(rows, "a") as file:
        file.write("4,9.0,9.0,9.0,9.0,9.0,9.0\n4,1")
    run([JSONLinesLog(lines), CSVLog(rows)], tmp_path / "run", resume=True)
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    epochs = [e for e in told if "epoch" in e]
    assert [e["epoch"] for e in epochs] == [1, 2, 3, 4]
    assert [e["loss"] for e in epochs] == history["loss"]
    assert [float(r["loss"]) for r in table(rows)] == history["loss"]


def fake(monkeypatch: Any, name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_tensorboard_is_told_every_number(monkeypatch: Any, tmp_path: Path) -> None:
    told: list[Any] = []

    class Writer:
        def __init__(self, folder: str, **options: Any) -> None:
            told.append((folder, options))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def close(self) -> None:
            told.append("closed")

    fake(monkeypatch, "tensorboardX", SummaryWriter=Writer)
    history = run([TensorBoardLog(tmp_path / "tb", every_call=True)], epochs=2)
    assert told[0] == (str(tmp_path / "tb"), {})
    assert ("validation_loss", history["validation_loss"][1], 2) in told
    assert any(t[0] == "steps/loss" for t in told[1:-1])
    assert told[-1] == "closed"


def events_of(path: Path) -> list[Any]:
    """Return the events of a TensorBoard file: records of length, checksum, event, checksum."""
    kind = pytest.importorskip("tensorboardX.proto.event_pb2").Event
    raw, at, made = path.read_bytes(), 0, []
    while at < len(raw):
        (size,) = struct.unpack_from("<Q", raw, at)
        made.append(kind.FromString(raw[at + 12 : at + 12 + size]))
        at += 16 + size
    return made


def test_tensorboard_files_can_be_read(tmp_path: Path) -> None:
    """The library itself writes them; each number stands at its epoch."""
    pytest.importorskip("tensorboardX")
    history = run([TensorBoardLog(tmp_path)], epochs=3)
    (path,) = [p for p in tmp_path.iterdir() if "tfevents" in p.name]
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events_of(path):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    for name in ("loss", "validation_loss"):
        steps, values = zip(*found[name], strict=True)
        assert steps == (1, 2, 3)
        np.testing.assert_allclose(values, history[name], rtol=1e-6)


def test_mlflow_holds_every_number(tmp_path: Path, monkeypatch: Any) -> None:
    """With the library itself, where it is installed."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}")
    history = run([MLflowLog("digits")], epochs=3)
    client = mlflow.tracking.MlflowClient()
    (told,) = client.search_runs([mlflow.get_experiment_by_name("digits").experiment_id])
    found = client.get_metric_history(told.info.run_id, "validation_loss")
    assert told.info.status == "FINISHED"
    assert [m.step for m in found] == [1, 2, 3]
    np.testing.assert_allclose([m.value for m in found], history["validation_loss"], rtol=1e-6)


def test_mlflow_is_told_and_its_run_is_resumed(monkeypatch: Any, tmp_path: Path) -> None:
    told: list[Any] = []

    def start_run(run_id: str | None = None) -> Any:
        told.append(("start", run_id))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "abc"))

    fake(monkeypatch, "mlflow", start_run=start_run,
         set_experiment=lambda name: told.append(("experiment", name)),
         log_params=lambda values: told.append(("params", values["batch_size"])),
         log_metrics=lambda values, step: told.append((step, values["loss"])),
         end_run=lambda status: told.append(("end", status)))  # fmt: skip
    run([MLflowLog("digits"), StopAt(2)], tmp_path)
    run([MLflowLog("digits")], tmp_path, epochs=2, resume=True)
    assert [t for t in told if t[0] == "start"] == [("start", None), ("start", "abc")]
    assert [t[0] for t in told if isinstance(t[0], int)] == [1, 2]
    assert told[-1] == ("end", "FINISHED")
    assert told.count(("params", 16)) == 1


@pytest.mark.parametrize(("log", "package"), [(TensorBoardLog("x"), "tensorboardX"),
                                              (MLflowLog(), "mlflow")])  # fmt: skip
def test_a_missing_package_is_named(monkeypatch: Any, log: Any, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ArgumentError, match=f"{package}: pip install"):
        run([log], epochs=1)


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_restore_best_restores_the_best_epoch_and_no_other(monitor: str) -> None:
    """The faults of keras#12511 and #20323: the best epoch is the first of equals."""
    kept: list[Any] = []

    class Keep(Events):
        def on_epoch_end(self, run: Run) -> None:
            kept.append(run.model.state_dict())

    for patience, epochs in ((3, 40), (30, 12)):
        kept.clear()
        model = network()
        made = Trainer(model, learning_rate=0.05, events=[Keep()])
        held = (X[:60], np.where(np.arange(60) % 4 == 0, 1 - Y[:60], Y[:60]))
        history = made.fit((X[60:], Y[60:]), epochs=epochs, batch_size=16, validation=held,
                           early_stopping=patience, monitor=monitor)  # fmt: skip
        values = history[f"validation_{monitor}"]
        best = values.index(max(values) if monitor == "accuracy" else min(values))
        for name, value in model.state_dict().items():
            np.testing.assert_array_equal(value, kept[best][name])
        again = made.evaluate(held)
        assert again[monitor] == pytest.approx(values[best], rel=1e-6)


def test_nothing_is_lost_by_save_and_load(tmp_path: Path) -> None:
    """The fault of keras#14231: accuracy is the same after save and load, and by a checkpoint."""
    model = network()
    made = Trainer(model, learning_rate=0.05, ema=0.9)
    history = made.fit((X, Y), epochs=6, batch_size=16, validation=(X[:50], Y[:50]),
                       folder=tmp_path / "run")  # fmt: skip
    wanted = measured(model, (X[:50], Y[:50]))
    assert wanted["accuracy"] == pytest.approx(history["validation_accuracy"][-1])
    loaded = tw.formats.load(tw.formats.save(model, tmp_path / "model"))
    assert measured(loaded, (X[:50], Y[:50])) == wanted
    assert (tw.train.predict(loaded, X) == tw.train.predict(model, X)).all()
