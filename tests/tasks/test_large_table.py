"""A table larger than memory: all rows that may train do, and nothing else changes."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tasks.small_tables import FLAGS, run_of, thalweg, write

from thalweg.data import TableBlocks, read_table
from thalweg.errors import DataError
from thalweg.tasks import Run, Settings, TableTask, train

ROWS = 3000


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.data.table_blocks.LARGE", 10_000)
    monkeypatch.setattr("thalweg.tasks.large_table.SAMPLE", 600)
    monkeypatch.setattr("thalweg.tasks.table._EPOCH", 1000)
    monkeypatch.setattr("thalweg.tasks.reading.TableBlocks", partial(TableBlocks, size=9_000))


def source(path: Path, rows: int = ROWS, **more: Any) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, rows)).round(3)
    return write(path, {
        "x": x.tolist(), "y": lambda i: "" if i % 50 == 7 else y[i],
        "colour": lambda i: ["red", "green", "blue"][i % 3], "household": lambda i: f"h{i // 10}",
        "day": lambda i: f"20{10 + i * 10 // rows}-0{1 + i % 9}-01",
        "answer": lambda i: ("yes" if x[i] + (i % 3) > 1 else "no") if i % 100 != 3 else "",
        **more,
    }, rows)  # fmt: skip


def prepared(path: Path, **given: Any) -> Any:
    drop = () if "group" in given else ("household",)
    given = {"target": "answer", "hidden": (8,), "members": 2, "drop": drop, **given}
    return TableTask(Settings.of(given)).prepare(path)


@pytest.mark.usefixtures("small_memory")
def test_every_row_trains_that_is_not_held(tmp_path: Path) -> None:
    path = source(tmp_path / "t.csv")
    problem = prepared(path)
    sizes = [len(part) for part in (problem.training, problem.validation, problem.test)]
    assert sum(sizes) == ROWS - ROWS // 100
    assert 60 < sizes[1] < 120
    assert isinstance(problem.training.inputs[0], np.memmap)
    assert problem.order.samples == 1000
    x = np.concatenate([part.inputs[0][:, 0] for part in
                        (problem.training, problem.validation, problem.test)])  # fmt: skip
    table = read_table(path)
    wanted = table.column("x")[[word is not None for word in table.column("answer")]]
    # Standardised numbers are those of the file, each once, but for place and scale.
    assert len(x) == len(wanted)
    slope, start = np.polyfit(np.sort(wanted), np.sort(x), 1)
    np.testing.assert_allclose(np.sort(x), slope * np.sort(wanted) + start, atol=1e-4)
    notes = " ".join(problem.notes)
    assert "is large and is read in blocks" in notes
    assert "rows beyond the sample have no target" in notes


@pytest.mark.usefixtures("small_memory")
def test_a_run_predicts_and_measures_as_on_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = source(tmp_path / "t.csv"), tmp_path / "run"
    done = thalweg("train", path, "--target", "answer", "--epochs", 60, "--hidden", 16,
                   "--set", "members=2", "--drop", "household", "--quiet",
                   "--output", folder)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert not list(folder.glob(".rows-*"))
    run = Run.load(folder)
    rows, figures = run.task.figures(run, without_empty(path))
    assert figures["accuracy"] > 0.93
    assert rows == ROWS - ROWS // 100
    parts = list(run.predict_blocks(path))
    assert len(parts) > 5
    blocks = thalweg("predict", folder, path, "--json").stdout
    saved = thalweg("predict", folder, path, "--output", tmp_path / "p.csv")
    assert f"{ROWS:,} predictions" in saved.stdout
    monkeypatch.undo()
    run = Run.load(folder)
    assert len(list(run.predict_blocks(path))) == 1
    assert thalweg("predict", folder, path, "--json").stdout == blocks
    again = csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text()))
    assert [row["prediction"] for row in again] == run.predict(path)["prediction"]
    whole = run.task.figures(run, without_empty(path))
    assert whole[0] == rows
    assert whole[1] == pytest.approx(figures, rel=1e-5)


def without_empty(path: Path) -> Path:
    lines = [line for line in path.read_text().splitlines() if not line.endswith(",")]
    other = path.with_name("full.csv")
    other.write_text("\n".join(lines) + "\n")
    return other


@pytest.mark.usefixtures("small_memory")
def test_no_group_and_no_later_day_leaks(tmp_path: Path) -> None:
    path = source(tmp_path / "t.csv")
    problem = prepared(path, group="household")
    held = {part.show(i)["household"] for part in (problem.test, problem.validation)
            for i in range(len(part))}  # fmt: skip
    assert any("of groups that validate or test" in note for note in problem.notes)
    table = read_table(path)
    others = np.array([word not in held for word in table.column("household")])
    told = np.array([word is not None for word in table.column("answer")])
    assert len(problem.training) == (others & told).sum() < told.sum()
    problem = prepared(path, time="day")
    first = min(problem.validation.show(i)["day"] for i in range(len(problem.validation)))
    days = table.column("day")
    targets = np.array([word is not None for word in table.column("answer")])
    assert len(problem.training) == ((days < first) & targets).sum()
    assert any("are not from before" in note for note in problem.notes)


@pytest.mark.usefixtures("small_memory")
def test_classes_that_the_sample_lacks_are_told_and_left_out(tmp_path: Path) -> None:
    path = source(tmp_path / "t.csv", answer=lambda i: "rare" if i == 1501 else "ab"[i % 2])
    problem = prepared(path, seed=4)
    assert "1 rows are of classes that the sample does not have" in " ".join(problem.notes)


@pytest.mark.usefixtures("small_memory")
def test_a_fault_beyond_the_sample_is_told_by_its_line(tmp_path: Path) -> None:
    path = source(tmp_path / "t.csv", answer=lambda i: i / 7, x=lambda i: "?!" if i == 1501 else i)
    with pytest.raises(DataError, match=r"column 'x', .*line 1503: '\?!' is no number"):
        prepared(path, seed=4)


@pytest.mark.usefixtures("small_memory")
def test_the_same_seed_gives_the_same_bits_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    path = source(tmp_path / "t.csv")
    given = {"epochs": 4, "batch_size": 64, "drop": ("household",)}
    run_of(path, tmp_path / "whole", **given)
    run_of(path, tmp_path / "part", **{**given, "epochs": 2})
    (tmp_path / "part" / "model.safetensors").unlink()
    left = tmp_path / "part" / ".rows-left"
    left.mkdir()  # as a run that was killed leaves it
    settings = {"target": "answer", "hidden": (8,), "members": 2, **given}
    train(path, Settings.of(settings), tmp_path / "part", resume=True)
    weights = [Run.load(tmp_path / name).model.parameters() for name in ("whole", "part")]
    for name, one in weights[0].items():
        np.testing.assert_array_equal(one.numpy(), weights[1][name].numpy())
    assert not left.exists()


@pytest.mark.usefixtures("small_memory")
def test_a_search_reads_it_too(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    path = source(tmp_path / "t.csv", rows=1500)
    done = thalweg("train", path, "--target", "answer", "--search", 2, *FLAGS,
                   "--drop", "household", "--output", tmp_path / "run")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert not list((tmp_path / "run").glob(".rows-*"))
