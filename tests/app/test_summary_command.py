"""``thalweg summary``: what a run folder and a model file hold, whatever of them is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg import nn
from thalweg.app.cli.summary import summarise
from thalweg.errors import FormatError
from thalweg.formats import save
from thalweg.tasks import Settings, train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("summary")
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{'pqrstuvwxyzab'[i % 13]},{'yes' if a > 0 else 'no'}"
            for i, a in enumerate(rng.normal(size=120))]  # fmt: skip
    (place / "t.csv").write_text("size,kind,answer\n" + "\n".join(rows))
    chosen = Settings.of({"target": "answer", "epochs": 2, "hidden": [8], "members": 2})
    train(place / "t.csv", chosen, place / "run")
    return place / "run"


def told(capsys: pytest.CaptureFixture[str], place: Path) -> dict[str, Any]:
    assert summarise(place, True) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_folder_in_words(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert summarise(run, False) == 0
    out = capsys.readouterr().out
    for word in ("targets     answer", "classes     2: no, yes", "trained on  t.csv",
                 "TabularNetwork", "shared.0", "log loss", "naive", "members = 2",
                 "84 training, 18 validation, 18 test"):  # fmt: skip
        assert word in out


def test_a_run_folder_in_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, run)
    assert found == told(capsys, run / "model.safetensors") | {"place": str(run)}
    assert found["is_run"]
    assert found["targets"] == ["answer"]
    assert found["classes"] == ["no", "yes"]
    assert found["settings"]["hidden"] == [8]
    layers = {row["layer"]: row for row in found["layers"]}
    assert layers["shared.0"]["output_shape"] == [1, 2, 8]
    assert sum(row["parameters"] for row in layers.values()) == found["parameters"]
    assert [figure["name"] for figure in found["figures"]][:2] == ["accuracy", "balanced accuracy"]
    on_disk = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    assert found["bytes"] == on_disk


def test_without_results_the_rest_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.safetensors", "pipeline.safetensors", "config.toml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    found = told(capsys, tmp_path)
    assert found["figures"] == []
    assert found["targets"] == ["answer"]
    (tmp_path / "results.json").write_text("{")
    assert told(capsys, tmp_path)["figures"] == []


def test_a_model_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    path = save(model, tmp_path / "own", classes=["a", "b", "c"])
    assert summarise(path, False) == 0
    out = capsys.readouterr().out
    assert "not told" in out
    assert "Linear(in_features=4" in out
    found = told(capsys, path)
    assert not found["is_run"]
    assert found["parameters"] == 15
    assert found["layers"] == []  # the file does not tell what the network takes
    assert found["bytes"] == path.stat().st_size


@pytest.mark.parametrize("what", ["missing", "empty folder", "text"])
def test_something_else_is_refused(what: str, tmp_path: Path) -> None:
    place = tmp_path / "x"
    if what == "empty folder":
        place.mkdir()
    elif what == "text":
        place.write_text("hello, I am no model")
    with pytest.raises(FormatError, match=r"does not exist|holds no model|is not a model"):
        summarise(place, False)
