"""Data sets by name: from a folder, from the cache, or with word of where to get them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg import data
from thalweg.data import readers
from thalweg.data.catalog import CATALOG, NamedDataset, SourceFile
from thalweg.errors import DataError
from thalweg.settings import settings

HOUSE = Path(__file__).parents[3]
SHARED = Path(os.environ.get("THALWEG_SHARED_DATA", HOUSE / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (SHARED / "mnist").is_dir(),
    reason=f"no data sets in {SHARED}; set THALWEG_SHARED_DATA to their folder",
)


def packed(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, raw in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return out.getvalue()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that stands for the network, with one data set of the catalog in it."""
    source = tmp_path / "network"
    source.mkdir()
    raw = b"Ann\nBob\n"
    (source / "names.txt").write_bytes(raw)
    file = SourceFile(
        "text/names.txt", ((source / "names.txt").as_uri(),), hashlib.sha256(raw).hexdigest()
    )
    named = NamedDataset("two names", "none", ("all",), readers.read_lines, ((file,),))
    monkeypatch.setitem(CATALOG, "two_names", named)
    monkeypatch.setattr(settings, "cache_dir", tmp_path / "cache")
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return source


def test_a_data_set_is_downloaded_once(source: Path) -> None:
    assert data.load("two_names")[0].tolist() == ["Ann", "Bob"]
    (source / "names.txt").unlink()
    assert data.load("two_names")[0].tolist() == ["Ann", "Bob"]  # from the cache


def test_a_damaged_cache_is_replaced(source: Path) -> None:
    data.load("two_names")
    (cached,) = (settings.cache_dir / "data").rglob("names.txt")
    cached.write_bytes(b"Eve\n")
    assert data.load("two_names")[0].tolist() == ["Ann", "Bob"]


@pytest.mark.parametrize("place", ["text", "two_names"])
def test_the_folder_of_the_user_comes_first(
    source: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "names.txt").rename(tmp_path / "names.txt")
    (tmp_path / "mine" / place).mkdir(parents=True)
    (tmp_path / "names.txt").rename(tmp_path / "mine" / place / "names.txt")
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "mine"))
    assert data.load("two_names")[0].tolist() == ["Ann", "Bob"]
    (tmp_path / "mine" / place / "names.txt").write_bytes(b"Eve\n")
    with pytest.raises(DataError, match=r"names\.txt has the SHA-256 .*damaged or another version"):
        data.load("two_names")
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="which is no folder"):
        data.load("two_names")


def test_without_a_network_the_message_says_what_to_bring_where(source: Path) -> None:
    (source / "names.txt").unlink()
    says = r"text/names\.txt from file:.*set THALWEG_DATA to that folder"
    with pytest.raises(DataError, match=says) as info:
        data.load("two_names")
    assert str(settings.cache_dir) in str(info.value)


def test_the_second_address_is_tried(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = CATALOG["two_names"]
    (file,) = named.choices[0]
    urls = ((source / "gone.txt").as_uri(), *file.urls)
    both = dataclasses.replace(named, choices=((dataclasses.replace(file, urls=urls),),))
    monkeypatch.setitem(CATALOG, "two_names", both)
    assert len(data.load("two_names")[0]) == 2


def test_all_data_sets_are_described_and_checked() -> None:
    assert set(data.list_datasets()) == set(CATALOG)
    for name, named in CATALOG.items():
        assert named.licence
        assert named.parts
        files = [file for choice in named.choices for file in choice]
        assert name == "digits" or files
        for file in files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert all(url.startswith("https://") for url in file.urls)


def test_unknown_names_and_parts() -> None:
    with pytest.raises(DataError, match="did you mean 'mnist'"):
        data.load("mnst")
    with pytest.raises(DataError, match="no part 'valid'"):
        data.load("ett_h1", "valid")


def test_cifar_batches(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 32, 32, 3), np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(3, -1)
    for labels, name, part in ((1, "data_batch_1.bin", "train"), (2, "train.bin", "train")):
        told = np.arange(3 * labels, dtype=np.uint8).reshape(3, labels)
        raw = np.concatenate([told, planes], axis=1).tobytes()
        path = tmp_path / "cifar.tar.gz"
        path.write_bytes(packed({f"x/{name}": raw, "x/readme.html": b"no images"}))
        read = readers.read_cifar10 if labels == 1 else readers.read_cifar100
        got, numbers = read([path], part)
        np.testing.assert_array_equal(got, images)
        np.testing.assert_array_equal(numbers, told[:, -1])
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"cifar\.tar\.gz is damaged"):
        readers.read_cifar100([path], "train")


@pytest.mark.parametrize("raw", [b"", b"\0\0\x08\x01\0\0\0\x05ab", b"<html>", b"\0\0\x08\x03\0"])
def test_a_damaged_idx_file_is_named(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(raw))
    with pytest.raises(DataError, match=r"a\.gz is damaged or of another format"):
        readers.read_idx(path)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.gz is damaged"):
        readers.read_idx(path)


@needs_data
class TestRealFiles:
    """The files that people have, read under their original names."""

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THALWEG_DATA", str(SHARED))

    @pytest.mark.parametrize("part", ["train", "test"])
    def test_mnist_is_the_digits_inside(self, part: str) -> None:
        for a, b in zip(data.load("mnist", part), data.load("digits", part), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_tables(self) -> None:
        pytest.importorskip("polars")
        adult, test = data.load("adult"), data.load("adult", "test")
        assert (len(adult), len(test)) == (32_561, 16_281)
        for table in (adult, test):
            assert set(table.column("income")) == set(CATALOG["adult"].classes)
        assert (adult.column("income") == ">50K").mean() == pytest.approx(0.2408, abs=1e-4)
        housing = data.load("california_housing")
        assert np.isnan(housing.column("total_bedrooms")).sum() == 207
        assert len(data.load("diamonds")) == 53_940
        hours = [data.load("ett_h1", part) for part in ("train", "validation", "test")]
        assert [len(part) for part in hours] == [8_640, 2_880, 2_880]
        whole = data.load("ett_h1", "all")
        assert data.find_gaps(whole.column("date")) == []

    def test_texts(self) -> None:
        train, rest = (
            data.load("tiny_shakespeare")[0],
            data.load("tiny_shakespeare", "validation")[0],
        )
        assert len(train) + len(rest) == 1_115_394
        assert bytes(train[:13]) == b"First Citizen"
        texts, labels = data.load("sms_spam")
        assert (len(texts), labels.sum()) == (5_574, 747)
        assert texts[1] == "Ok lar... Joking wif u oni..."
        assert data.load("names")[0][:2].tolist() == ["emma", "olivia"]

    def test_sounds(self) -> None:
        pytest.importorskip("soundfile")
        parts = [data.load("spoken_digits", part) for part in ("train", "test")]
        assert [len(sounds) for sounds, _ in parts] == [240, 60]
        for sounds, labels in parts:
            assert sounds.shape[1] == 8_000
            assert set(np.bincount(labels).tolist()) == {len(labels) // 10}
            assert 0.05 < np.abs(sounds).max() <= 1

    def test_a_table_wants_its_extra_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert len(data.load("names")[0]) == 32_033
        with pytest.raises(DataError, match=r"thalweg\[tables\]"):
            data.load("penguins")

    def test_copies_of_cifar10_say_that_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def few(path: Path) -> Any:
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is not None and member.name.endswith("0000.jpg"):
                        yield member.name, file.read()

        monkeypatch.setattr(readers, "_members", few)
        with pytest.warns(UserWarning, match="JPEG copies"):
            images, labels = data.load("cifar10", "test")
        assert images.shape == (10, 32, 32, 3)
        assert sorted(labels.tolist()) == list(range(10))


def test_http_is_imported_only_to_download() -> None:
    code = "import sys, thalweg.data; print('http.client' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
