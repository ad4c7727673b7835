"""``thalweg bench``: measures what it says, and leaves the run folder as it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from thalweg import nn
from thalweg.app.cli.bench import bench
from thalweg.errors import FormatError
from thalweg.formats import save
from thalweg.settings import settings
from thalweg.tasks import Settings, train

SECONDS = 0.02


def bits(folder: Path) -> dict[str, str]:
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*") if file.is_file()
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_run_folder(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    names = "p", "q", "r"
    rows = [
        f"{a:.3f},{i % 30},some words {'here' if a > 0 else 'there'} and {i * 7919 % 1009} more,"
        + (names[i % 3] if kind == "classes" else f"{a * 3:.3f}")
        for i, a in enumerate(rng.normal(size=100))
    ]
    (tmp_path / "t.csv").write_text("x,code,words,y\n" + "\n".join(rows))
    chosen = Settings.of({"target": "y", "epochs": 1, "hidden": [8], "members": 2,
                          "categories": ["code"], "batch_size": 16})  # fmt: skip
    train(tmp_path / "t.csv", chosen, tmp_path / "run")
    before, threads = bits(tmp_path), settings.threads
    assert bench(tmp_path / "run", 1, True, SECONDS) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["batch"] for one in told["predictions"]] == [1, 32, 512]
    for one in told["predictions"]:
        assert one["per_second"] == pytest.approx(one["batch"] / one["seconds"])
    assert told["training_step"]["batch"] == 16
    assert told["training_step"]["seconds"] > 0
    assert told["threads"] == 1
    assert settings.threads == threads
    assert bits(tmp_path) == before


def test_without_a_place_the_digits_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(None, 0, False, SECONDS) == 0
    out = capsys.readouterr().out
    assert "535,818 parameters" in out
    assert "a training step of 128 rows takes" in out
    assert len([line for line in out.splitlines() if line[:6].strip().isdigit()]) == 3


def test_a_model_that_does_not_tell_its_inputs(tmp_path: Path) -> None:
    path = save(nn.Linear(4, 3), tmp_path / "own")
    with pytest.raises(FormatError, match="does not tell what its network takes"):
        bench(path, 0, False, SECONDS)
    with pytest.raises(FormatError, match="does not exist"):
        bench(tmp_path / "none", 0, False, SECONDS)


def test_an_optimiser_without_steps_of_one_size_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(
        nn.Linear(4, 3), tmp_path / "own", training={"options": {"optimizer": "lbfgs"}},
        preprocessing={"inputs": [{"shape": [4], "dtype": "float32"}]},
    )  # fmt: skip
    assert bench(path, 0, False, SECONDS) == 0
    assert "no training step: LBFGS" in capsys.readouterr().out
