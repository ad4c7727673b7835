"""``thalweg doctor``: tells what the machine has, and finds a compiler that computes wrongly."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from thalweg import __version__
from thalweg.app.cli import doctor as page
from thalweg.app.cli import self_test as tests
from thalweg.app.cli.doctor import doctor, folder_size, machine
from thalweg.settings import settings


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests, "SECONDS", 0.02)
    monkeypatch.setattr(tests, "SIZE", 128)


def test_a_sound_machine_gets_0_and_its_speed(capsys: pytest.CaptureFixture[str]) -> None:
    before = (settings.threads, settings.backend)
    assert doctor(as_json=False) == 0
    heard = capsys.readouterr()
    assert not heard.err
    for word in (__version__, np.__version__, "llvmlite", "processor", "GFLOP/s", "ms for 128",
                 str(settings.cache_dir), "[tables]"):  # fmt: skip
        assert word in heard.out
    assert heard.out.count("yes: ") == 3
    assert (settings.threads, settings.backend) == before


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sound"]
    assert [check["held"] for check in told["self_test"]] == [True] * 3
    assert told["machine"]["vectors"]["bits"] in (128, 256, 512)
    assert told["machine"]["versions"]["thalweg"] == __version__
    assert all(value > 0 for value in told["speed"].values())
    assert told["machine"]["cores"]["usable"] >= 1


def test_a_compiler_that_computes_wrongly_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = tests._trained

    def wrong() -> list[np.ndarray]:
        weights = right()
        return [w + 0.01 for w in weights] if settings.backend == "llvm" else weights

    monkeypatch.setattr(tests, "_trained", wrong)
    assert doctor(as_json=False) == 1
    heard = capsys.readouterr()
    assert "native and NumPy agree" in heard.err
    assert "NO: weights differ by 1.0e-02" in heard.out
    assert "GFLOP/s" not in heard.out  # the speed of wrong results tells nothing


def test_threads_that_change_bits_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tests._trained

    def wrong() -> list[np.ndarray]:
        weights = right()
        weights[0] = np.nextafter(weights[0], np.float32(9)) if settings.threads > 1 else weights[0]
        return weights

    monkeypatch.setattr(tests, "_trained", wrong)
    assert [check.held for check in tests.self_test()] == [True, True, False]


def test_a_compiler_that_fails_is_told_and_not_thrown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> list[np.ndarray]:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(tests, "_trained", broken)
    assert doctor(as_json=True) == 1
    heard = capsys.readouterr()
    assert "RuntimeError: no such instruction" in heard.err
    assert not json.loads(heard.out)["sound"]


def test_missing_packages_come_with_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "_is_installed", lambda package: package != "soundfile")
    assert machine()["extras"]["audio"]["missing"] == ["soundfile"]
    doctor(as_json=False)
    out = capsys.readouterr().out
    assert "lacks soundfile: pip install 'thalweg[audio]'" in out
    assert out.count("lacks") == 1


def test_the_data_folder_is_the_one_that_the_variable_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "none"))
    assert machine()["data"] == {
        "folder": str(tmp_path / "none"), "exists": False, "named_by": "THALWEG_DATA"
    }  # fmt: skip


def test_size_of_a_folder_counts_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"12345")
    (tmp_path / "y").write_bytes(b"123")
    os.symlink(tmp_path / "nowhere", tmp_path / "broken")
    assert folder_size(tmp_path) == 8 + len(str(tmp_path / "nowhere"))


def test_a_gpu_is_told_by_its_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "Path", lambda place: tmp_path / str(place).lstrip("/"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert page._gpu() is None
    card = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    assert page._gpu() == "NVIDIA H200"
    (card / "information").write_text("")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    assert page._gpu() == "NVIDIA, of unknown model"
