"""The run folder: whole files, found damaged, readable by others, without code."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tests.tasks.small_tables import FLAGS, mixed, refused, run_of, thalweg

from thalweg.errors import DataError, FormatError
from thalweg.formats import atomic
from thalweg.formats.safetensors_file import read_metadata, read_tensors
from thalweg.tasks import Run, RunFolder, Trained
from thalweg.tasks.folder import _checksum


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("folder")
    return run_of(mixed(place / "t.csv"), place / "run")


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """Return a copy of a run folder, to be damaged."""
    return Path(shutil.copytree(trained.run.folder.place, tmp_path / "run"))


def source_of(trained: Trained) -> Path:
    return trained.run.folder.place.parent / "t.csv"


# --- what is kept --------------------------------------------------------------------------------


def test_it_is_read_without_thalweg(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        "model.safetensors", "model.json", "pipeline.safetensors", "config.toml", "metrics.jsonl",
        "results.json", "checkpoints",
    }  # fmt: skip
    assert tomllib.loads((run / "config.toml").read_text())["target"] == ["answer"]
    weights = safetensors.numpy.load_file(run / "model.safetensors")
    assert weights["heads"].shape == (2, 8, 2)
    arrays = safetensors.numpy.load_file(run / "pipeline.safetensors")
    assert all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")
    told = json.loads((run / "results.json").read_text(), parse_constant=pytest.fail)
    assert told["rows"] == {"training": 112, "validation": 24, "test": 24}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) >= 2


def test_results_are_json_whatever_was_measured(tmp_path: Path) -> None:
    folder = RunFolder.new(tmp_path)
    folder.write_results({
        "a": math.nan, "b": [math.inf, 1.5, {"c": -math.inf}], "d": np.float32("nan"),
        "e": np.array([1.0, np.nan]), "f": np.arange(3), "g": np.datetime64("2020-01-02"),
        "h": (True, None, np.int64(3)), 5: "x", "i": np.array(["a", None], object),
    })  # fmt: skip
    told = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert told == {
        "a": None, "b": [None, 1.5, {"c": None}], "d": None, "e": [1.0, None], "f": [0, 1, 2],
        "g": "2020-01-02", "h": [True, None, 3], "5": "x", "i": ["a", None],
    }  # fmt: skip
    assert folder.read_results() == told


def test_a_loaded_run_predicts_the_bits_of_the_one_in_memory(trained: Trained) -> None:
    source = source_of(trained)
    loaded = Run.load(trained.run.folder.place)
    assert loaded.predict(source) == trained.run.predict(source)
    rows, own = loaded.task.read(source), trained.run.task.read(source)
    for a, b in zip(rows.inputs, own.inputs, strict=True):
        assert a.tobytes() == b.tobytes()
    assert loaded.outputs(rows).tobytes() == trained.run.outputs(own).tobytes()
    tasks: list[Any] = [loaded.task, trained.run.task]
    assert tasks[0].pipeline.describe() == tasks[1].pipeline.describe()
    assert loaded.outputs(rows, 7) == pytest.approx(loaded.outputs(rows), abs=1e-6)


def test_it_can_be_moved(trained: Trained, run: Path) -> None:
    moved = run.rename(run.parent / "elsewhere")
    assert Run.load(moved).predict(source_of(trained)) == trained.run.predict(source_of(trained))
    by_file = Run.load(moved / "model.safetensors")
    assert by_file.folder.place == moved


# --- what is damaged -----------------------------------------------------------------------------


def test_a_changed_bit_of_the_pipeline_is_found(trained: Trained, run: Path) -> None:
    path = run / "pipeline.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    places = [*rng.integers(start, len(whole), 20), start, len(whole) - 1]
    places += [whole.index(b"standardised") + 3, whole.index(b"fitted") + 2]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(0, 7))
        path.write_bytes(bytes(damaged))
        with pytest.raises(FormatError, match="damaged"):
            Run.load(run)
    path.write_bytes(whole)
    Run.load(run)


@pytest.mark.parametrize("name", ["pipeline.safetensors", "model.safetensors"])
@pytest.mark.parametrize("left", [0, 7, 100, 2000, -1])
def test_truncated_files(name: str, left: int, trained: Trained, run: Path) -> None:
    whole = (run / name).read_bytes()
    (run / name).write_bytes(whole[:left])
    message = refused("predict", run, source_of(trained))
    assert name in message
    assert "truncated" in message or "empty" in message


@pytest.mark.parametrize("name", ["pipeline.safetensors", "model.safetensors", "config.toml"])
def test_missing_files(name: str, run: Path) -> None:
    (run / name).unlink()
    with pytest.raises(FormatError, match=f"{name} is not in it"):
        Run.load(run)


def test_results_that_are_damaged(run: Path) -> None:
    folder = RunFolder.existing(run)
    for text in ("", "{", "[1]", "5", '"x"'):
        (run / "results.json").write_text(text)
        with pytest.raises(FormatError, match=r"results\.json"):
            folder.read_results()
    (run / "results.json").unlink()
    with pytest.raises(FormatError, match=r"results\.json"):
        folder.read_results()
    Run.load(run)  # they are not needed to predict


def rewrite(run: Path, change: Any) -> None:
    """Change the facts of the pipeline, with a checksum that fits."""
    path = run / "pipeline.safetensors"
    facts, arrays = json.loads(read_metadata(path)["thalweg.task"]), dict(read_tensors(path))
    changed = change(facts, arrays)
    text = json.dumps(facts if changed is None else changed)
    safetensors.numpy.save_file(
        arrays, path, {"thalweg.task": text, "checksum": _checksum(text, arrays)}
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, arrays: [1, 2],
        lambda facts, arrays: 5,
        lambda facts, arrays: facts.update(task="quantum"),
        lambda facts, arrays: facts.pop("settings") and None,
        lambda facts, arrays: facts.update(settings=5),
        lambda facts, arrays: facts.update(settings="[[["),
        lambda facts, arrays: facts.update(settings=facts["settings"] + "of_tomorrow = 3\n"),
        lambda facts, arrays: facts.pop("facts") and None,
        lambda facts, arrays: facts.update(facts=[]),
        lambda facts, arrays: facts.update(facts=None),
        lambda facts, arrays: facts["facts"].update(targets=[]),
        lambda facts, arrays: facts["facts"]["pipeline"].update(version=99),
        lambda facts, arrays: facts["facts"]["pipeline"].update(columns=None),
        lambda facts, arrays: facts["facts"]["pipeline"]["columns"][0].update(type="Evil"),
    ],
)
def test_a_folder_of_another_version(change: Any, trained: Trained, run: Path) -> None:
    rewrite(run, lambda facts, arrays: None)
    Run.load(run)
    rewrite(run, change)
    with pytest.raises(FormatError):
        Run.load(run)
    refused("predict", run, source_of(trained))


def test_the_version_that_is_needed_is_told(run: Path) -> None:
    rewrite(run, lambda facts, arrays: facts["facts"]["pipeline"].update(version=99))
    with pytest.raises(FormatError, match=r"another version: the saved pipeline has version 99"):
        Run.load(run)


def test_model_and_pipeline_of_two_runs(trained: Trained, run: Path, tmp_path: Path) -> None:
    other = run_of(source_of(trained), tmp_path / "other", drop=["size", "words"])
    shutil.copy(other.run.folder.model, run / "model.safetensors")
    assert "are they of one run?" in refused("predict", run, source_of(trained))


# --- what cannot be written ----------------------------------------------------------------------


@pytest.mark.parametrize("allowed", range(0, 9, 2))
def test_a_full_disk_leaves_whole_files(
    allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some writes the disk is full: one message, and each file that is there is whole."""
    source = mixed(tmp_path / "t.csv", 60)
    left = [allowed]
    sync = os.fsync

    def fsync(handle: int) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        sync(handle)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    result = thalweg("train", source, "--target", "answer", *FLAGS, "--output", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert "No space left on device" in result.stderr
    assert result.stderr.count("error: ") == 1
    assert ".py:" not in result.stderr
    assert "Traceback" not in result.output
    monkeypatch.undo()
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix == ".safetensors":
            read_tensors(path)
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text())
        assert not path.name.startswith(".")  # nothing half written is left behind
    again = thalweg("train", source, "--target", "answer", *FLAGS, "--output", tmp_path / "run",
                    "--resume")  # fmt: skip
    assert again.exit_code == 0, again.output
    Run.load(tmp_path / "run")


def test_predictions_on_a_full_disk_keep_the_old_ones(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"
    assert thalweg("predict", trained.run.folder.place, source_of(trained),
                   "--output", out).exit_code == 0  # fmt: skip
    before = out.read_text()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    message = refused("predict", trained.run.folder.place, source_of(trained), "--output", out)
    assert "No space left" in message
    assert out.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_no_permission(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 60)
    (tmp_path / "closed").mkdir(mode=0o500)
    message = refused("train", source, "--target", "answer", "--output", tmp_path / "closed" / "r")
    assert "Permission denied" in message
    source.chmod(0)
    assert "Permission denied" in refused("train", source, "--target", "answer",
                                          "--output", tmp_path / "run")  # fmt: skip


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 60)
    (tmp_path / "run").write_text("mine")
    message = refused("train", source, "--target", "answer", "--output", tmp_path / "run")
    assert "Nothing was started" in message
    assert (tmp_path / "run").read_text() == "mine"


# --- two runs, and going on ----------------------------------------------------------------------


def test_two_runs_in_one_folder(trained: Trained, run: Path) -> None:
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    again = ("train", source_of(trained), "--target", "answer", *FLAGS, "--output", run)
    assert "holds a run already" in refused(*again)
    shutil.rmtree(run / "checkpoints")
    assert "holds a run already" in refused(*again)  # a network without checkpoints is one too
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before


def test_going_on_with_other_data_is_refused_and_nothing_is_lost(run: Path, tmp_path: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    other = mixed(tmp_path / "t.csv", 160, seed=5)
    message = refused("train", other, "--target", "answer", "--quiet", "--output", run, "--resume")
    assert "checkpoint" in message
    assert (run / "model.safetensors").read_bytes() == before


def test_an_error_in_the_data_leaves_a_folder_for_the_next_try(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 60)
    folder = tmp_path / "run"
    refused("train", source, "--target", "anwser", *FLAGS, "--output", folder)
    done = thalweg("train", source, "--target", "answer", *FLAGS, "--output", folder)
    assert done.exit_code == 0, done.output


def test_run_folder_errors_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no run folder: model"):
        Run.load(tmp_path)
    with pytest.raises(FormatError, match="no run folder"):
        Run.load(tmp_path / "none")
    with pytest.raises(DataError, match="does not exist"):
        run_of(tmp_path / "none.csv", tmp_path / "run")
