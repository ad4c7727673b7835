"""The command line: trains, predicts and explains; one message and no traceback for mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from thalweg import nn
from thalweg.app.cli.commands import app
from thalweg.data import load_digits
from thalweg.formats import info, load, save
from thalweg.settings import settings

SMALL = ["--limit", "1000", "--hidden", "16", "--batch-size", "50", "--dropout", "0"]
IMAGES, LABELS = load_digits("test")


def thalweg(*arguments: Any) -> Result:
    threads = settings.threads
    try:
        return CliRunner().invoke(app, [str(a) for a in arguments])
    finally:
        settings.threads = threads


def refused(*arguments: Any) -> str:
    """Return the message of a call that must fail with code 2, nothing printed and no trace."""
    result = thalweg(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert not result.stdout
    message = " ".join(result.stderr.replace("│", " ").split())
    assert ".py:" not in message
    return message


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return folder, thalweg("train", "digits", *SMALL, "--epochs", 4, "--output", folder,
                           "--learning-rate", 0.01, "--threads", 1)  # fmt: skip


def test_training_ends_with_the_test_accuracy_and_leaves_model_and_figure(
    trained: tuple[Path, Result],
) -> None:
    folder, result = trained
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "digits: 900 images to train on, 100 to validate, 10,000 to test"
    assert lines[1] == "network 784-16-10, 12,730 parameters, 1 thread"
    assert result.stderr.count("validation accuracy") >= 4
    word, kind, value = lines[-1].split()
    assert (word, kind, len(value)) == ("test", "accuracy", 6)
    assert float(value) > 0.75
    path = folder / "model.safetensors"
    told = info(path)
    assert told.training["test_accuracy"] == pytest.approx(float(value), abs=1e-4)
    assert told.training["options"]["limit"] == 1000
    assert json.loads((folder / "model.json").read_text())["classes"] == [*"0123456789"]
    logits = np.asarray(load(path)(IMAGES.astype(np.float32) / 255))
    assert (logits.argmax(1) == LABELS).mean() == pytest.approx(float(value), abs=1e-3)
    with Image.open(folder / "training.png") as figure:
        assert figure.size[0] > 1000
    assert sorted(p.name for p in folder.iterdir()) == [
        "model.json",
        "model.safetensors",
        "training.png",
    ]


def test_quiet_says_the_last_line_only_and_seeds_decide(tmp_path: Path) -> None:
    results = [
        thalweg("train", "digits", *SMALL, "--epochs", 1, "--quiet", "--output", tmp_path / n,
                "--seed", seed)
        for n, seed in (("a", 1), ("b", 1), ("c", 2))
    ]  # fmt: skip
    for result in results:
        assert result.exit_code == 0
        assert not result.stderr
        assert len(result.stdout.splitlines()) == 1
    a, b, c = (load(tmp_path / n / "model.safetensors").state_dict()["3.weight"] for n in "abc")
    assert a.tobytes() == b.tobytes() != c.tobytes()


def test_other_optimisers_and_no_hidden_layer(tmp_path: Path) -> None:
    result = thalweg("train", "digits", "--limit", 500, "--hidden", "none", "--batch-size", 450,
                     "--optimizer", "lbfgs", "--epochs", 3, "--output", tmp_path)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "network 784-10" in result.stdout


def picture(path: Path, number: int, dark: bool = False) -> Path:
    pixels = 255 - IMAGES[number] if dark else IMAGES[number]
    image = Image.fromarray(pixels)
    (image.resize((140, 140)) if dark else image).save(path)
    return path


def test_predict_prints_class_and_probabilities(
    trained: tuple[Path, Result], tmp_path: Path
) -> None:
    model = trained[0] / "model.safetensors"
    first, second = picture(tmp_path / "a.png", 0), picture(tmp_path / "b.png", 1, dark=True)
    result = thalweg("predict", model, first, second)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 22
    assert lines[0] == f"{first}: 7"
    assert lines[11].endswith("(dark on light: inverted)")
    shares = [float(line.split()[1]) for line in lines[1:11]]
    assert sum(shares) == pytest.approx(100, abs=0.1)
    assert int(np.argmax(shares)) == 7
    told = json.loads(thalweg("predict", model, first, "--json").stdout)
    assert told["class"] == "7"
    assert sum(told["probabilities"].values()) == pytest.approx(1)


def test_predict_passes_over_images_that_cannot_be_read(
    trained: tuple[Path, Result], tmp_path: Path
) -> None:
    good, blank = picture(tmp_path / "a.png", 0), tmp_path / "blank.png"
    Image.new("L", (30, 30)).save(blank)
    result = thalweg("predict", trained[0] / "model.safetensors", "gone.png", blank, good)
    assert result.exit_code == 2
    assert result.stdout.startswith(f"{good}: 7")
    assert "'gone.png' does not exist" in result.stderr
    assert "one shade" in result.stderr


def test_model_files_that_cannot_be_used(trained: tuple[Path, Result], tmp_path: Path) -> None:
    image, model = picture(tmp_path / "a.png", 0), trained[0] / "model.safetensors"
    assert "does not exist" in refused("predict", tmp_path / "gone", image)
    assert "is no run folder" in refused("predict", tmp_path, image)
    assert thalweg("predict", trained[0], image).exit_code == 0  # the folder of the model
    (tmp_path / "part").write_bytes(model.read_bytes()[:5000])
    assert "truncated" in refused("predict", tmp_path / "part", image)
    assert "not a model" in refused("predict", image, image)
    other = save(nn.Linear(3, 2), tmp_path / "other")
    assert "not on images of digits" in refused("predict", other, image)
    told = {"kind": "digits"}
    small = save(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), tmp_path / "small",
                 preprocessing=told)  # fmt: skip
    assert "does not take images of 28 x 28" in refused("predict", small, image)
    wrong = save(nn.Flatten(), tmp_path / "wrong", preprocessing=told, classes=["a"])
    assert "names 1 classes and has 784 outputs" in refused("predict", wrong, image)


def test_mistakes_in_options_are_found_before_training(tmp_path: Path) -> None:
    train = ["train", "digits", "--output", tmp_path / "out", *SMALL]
    assert "did you mean 'digits'" in refused("train", "digts")
    assert "--epochs" in refused(*train, "--epoch", 3)
    assert "did you mean 'adamw'" in refused(*train, "--optimizer", "adanw")
    assert "such as 256,128" in refused(*train, "--hidden", "12,x")
    assert "epochs" in refused(*train, "--epochs", 0)
    assert "learning_rate" in refused(*train, "--learning-rate", -1)
    result = thalweg(*train, "--limit", 1)
    assert result.exit_code == 2
    assert "leaves 1 and 0 rows" in result.stderr
    (tmp_path / "file").write_text("")
    message = refused("train", "digits", "--output", tmp_path / "file" / "runs")
    assert "cannot be written to" in message
    assert "Nothing was started" in message


def test_a_failed_run_leaves_the_existing_model(trained: tuple[Path, Result]) -> None:
    folder = trained[0]
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for extra in (["--batch-size", 901], ["--optimizer", "sgd", "--learning-rate", 1e30]):
        result = thalweg("train", "digits", *SMALL, "--output", folder, *extra)
        assert result.exit_code == 2
        assert "error: " in result.stderr
    assert "901, but only 900 rows are left" in " ".join(
        thalweg("train", "digits", *SMALL, "--output", folder, "--batch-size", 901).stderr.split()
    )
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_without_matplotlib_training_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = thalweg("train", "digits", *SMALL, "--epochs", 1, "--output", tmp_path)
    assert result.exit_code == 0
    assert "pip install 'thalweg[plots]'" in result.stdout
    assert not (tmp_path / "training.png").exists()


def test_explain_prints_stages() -> None:
    result = thalweg("explain", "--hidden", 8, "--batch-size", 4)
    assert result.exit_code == 0, result.output
    assert "== graph ==" in result.stdout
    if settings.backend == "llvm":
        assert "== schedule ==" in result.stdout
        assert "== llvm ir ==" in result.stdout
        assert "== time per kernel" in result.stdout
        only = thalweg("explain", "--hidden", 8, "--batch-size", 4, "--stage", "time").stdout
        assert only.startswith("== time per kernel")
        assert "define" not in only
    assert "== graph ==" in thalweg("explain", "--stage", "graph", "--hidden", 8).stdout
    assert "did you mean 'graph'" in refused("explain", "--stage", "grap", "--hidden", 8)
    assert "did you mean 'digits'" in refused("explain", "digit")


# --- in a process of its own -------------------------------------------------------------------


def process(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "thalweg", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_help_and_version_and_unknown_commands() -> None:
    started = process("--help")
    out, _ = started.communicate(timeout=60)
    assert started.returncode == 0
    for command in ("train", "predict", "explain"):
        assert command in out
    started = process("--version")
    assert started.communicate(timeout=60)[0].startswith("thalweg ")
    started = process("trian", "digits")
    _, err = started.communicate(timeout=60)
    assert started.returncode == 2
    assert "Traceback" not in err
    assert "train" in err


def test_the_command_line_is_imported_only_when_it_runs() -> None:
    code = (
        "import sys, thalweg.app.cli.commands\n"
        "late = {'matplotlib', 'PIL', 'thalweg.train', 'thalweg.nn'} & set(sys.modules)\n"
        "sys.exit(f'imported {late}' if late else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_control_c_saves_the_best_so_far_and_says_so(tmp_path: Path) -> None:
    started = process("train", "digits", *SMALL, "--epochs", 5000, "--patience", 5000,
                      "--output", tmp_path, env=os.environ | {"THALWEG_CACHE": "0"})  # fmt: skip
    assert started.stderr is not None
    seen = [started.stderr.readline() for _ in range(3)]
    assert seen[2].startswith("epoch    3/5000")
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert "Traceback" not in err
    assert "kept the best so far, the model of epoch" in err
    assert "the best model so far, that of epoch" in err
    assert out.splitlines()[-1].startswith("test accuracy 0.")
    told = info(tmp_path / "model.safetensors")
    assert told.training["history"]["interrupted"]


def test_control_c_before_the_first_epoch_leaves_the_existing_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    started = process("train", "digits", "--hidden", "2000,2000", "--output", tmp_path,
                      env=os.environ | {"THALWEG_BACKEND": "reference"})  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline().startswith("digits: 54,000")
    time.sleep(1)  # into the first steps
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert "Traceback" not in err
    assert "nothing was saved" in err
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"
