"""``thalweg datasets``: what there is, and what of it is on this machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from thalweg.app.cli.datasets import list_datasets, tell_dataset
from thalweg.data import list_datasets as known
from thalweg.data import readers
from thalweg.data.catalog import CATALOG, NamedDataset, SourceFile
from thalweg.errors import DataError
from thalweg.settings import settings

RAW = b"Ann\nBob\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty data folder, with a data set of one file in the catalog."""
    file = SourceFile("text/two.txt", ("https://example.org/two.txt",),
                      hashlib.sha256(RAW).hexdigest(), size=8)  # fmt: skip
    named = NamedDataset("two names", "CC0", ("all",), readers.read_lines, ((file,),))
    monkeypatch.setitem(CATALOG, "two_names", named)
    monkeypatch.setattr(settings, "cache_dir", tmp_path / "cache")
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "text").mkdir(parents=True)
    return tmp_path / "data"


def listed(capsys: pytest.CaptureFixture[str], *name: str) -> dict[str, dict[str, object]]:
    assert (tell_dataset(name[0], True) if name else list_datasets(True)) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_all_are_listed_with_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_datasets(False) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, about in known().items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert about in line
        assert CATALOG[name].licence in line
    rows = listed(capsys)
    assert set(rows) == set(known())
    assert rows["digits"]["here"] is True  # it comes along
    assert rows["mnist"]["here"] is False


def test_one_is_told_before_and_after_it_is_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell_dataset("two_names", False) == 0
    out = capsys.readouterr().out
    assert "https://example.org/two.txt" in out
    assert "not here" in out
    assert listed(capsys, "two_names")["two_names"]["here"] is False
    (folder / "text" / "two.txt").write_bytes(RAW)
    told = listed(capsys, "two_names")["two_names"]
    assert told["here"] is True
    assert told["files"][0][0]["path"] == str(folder / "text" / "two.txt")  # type: ignore[index]
    tell_dataset("two_names", False)
    assert "not here" not in capsys.readouterr().out


def test_a_damaged_file_is_told_and_does_not_end_the_list(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "text" / "two.txt").write_bytes(b"other")
    list_datasets(False)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("two_names")]
    assert line.split()[1] == "damaged"
    tell_dataset("two_names", False)
    out = capsys.readouterr().out
    assert "has the SHA-256" in out
    assert ".py:" not in out


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'two_names'"):
        tell_dataset("two_name", False)
