"""The digits that come with the package are the original ones, and damage is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from thalweg.data import builtin
from thalweg.errors import DataError

# From the original files: each one decompressed and hashed without its 16-byte header.
PIXELS_SHA256 = {
    "train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
}
COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_are_the_original_ones(split: str) -> None:
    images, labels = builtin.load_digits(split)  # type: ignore[arg-type]
    assert images.shape == (sum(COUNTS[split]), 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == COUNTS[split]
    assert hashlib.sha256(images.tobytes()).hexdigest() == PIXELS_SHA256[split]


def test_first_labels_keep_their_order() -> None:
    assert builtin.load_digits("train")[1][:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert builtin.load_digits("test")[1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_each_call_returns_its_own_arrays() -> None:
    images, labels = builtin.load_digits("test")
    images[:] = 7
    labels[:] = 7
    again, labels_again = builtin.load_digits("test")
    assert not (again == 7).all()
    assert not (labels_again == 7).all()


def test_an_unknown_split_names_the_known_ones() -> None:
    with pytest.raises(DataError, match='"train" or "test"'):
        builtin.load_digits("validation")  # type: ignore[arg-type]


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the test file that ``load_digits`` reads in place of the real one."""
    source = Path(builtin.__file__).parent / "digits" / "test.npz"
    (tmp_path / "digits").mkdir()
    target = tmp_path / "digits" / "test.npz"
    target.write_bytes(source.read_bytes())
    monkeypatch.setattr(builtin.resources, "files", lambda package: tmp_path)
    return target


def test_a_missing_file_says_how_to_get_it_back(copy: Path) -> None:
    copy.unlink()
    with pytest.raises(DataError, match=r"test\.npz is missing.*pip install --force-reinstall"):
        builtin.load_digits("test")


# The parts of the file, in order: labels, corners, classes, solid, grey, end of the directory.
@pytest.mark.parametrize("place", [0, 200, 5_000, 15_000, 25_000, 100_000, 420_000, -22, -5])
def test_one_changed_byte_is_noticed(copy: Path, place: int) -> None:
    data = bytearray(copy.read_bytes())
    data[place] ^= 0x55
    copy.write_bytes(data)
    with pytest.raises(DataError, match=r"test\.npz is damaged.*pip install --force-reinstall"):
        builtin.load_digits("test")


@pytest.mark.parametrize("length", [0, 100, 700_000])
def test_a_truncated_file_is_noticed(copy: Path, length: int) -> None:
    copy.write_bytes(copy.read_bytes()[:length])
    with pytest.raises(DataError, match=r"test\.npz is damaged"):
        builtin.load_digits("test")


def test_other_labels_are_noticed_by_the_digest(copy: Path) -> None:
    with np.load(copy) as stored:
        parts = dict(stored)
    parts["labels"] = parts["labels"][::-1].copy()
    np.savez(copy, **parts)
    with pytest.raises(DataError, match="SHA-256"):
        builtin.load_digits("test")
