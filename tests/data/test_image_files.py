"""Image files: sizes, modes and orientation brought together; faulty files named."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from thalweg import data
from thalweg.errors import ArgumentError, DataError


def saved(path: Path, size: tuple[int, int] = (6, 4), mode: str = "RGB", color: Any = 0) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new(mode, size, color).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Return a folder of cats and dogs, with files that are no images among them."""
    for i in range(3):
        saved(tmp_path / "cat" / f"{i}.png", color=(i, 0, 0))
        saved(tmp_path / "dog" / f"{i}.PNG", color=(0, i, 0))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "dog" / ".hidden.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_a_folder_of_classes(pets: Path) -> None:
    images = data.ImageFolder(pets)
    assert images.classes == ("cat", "dog")
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    pixels, labels = images.fetch(np.array([2, 5]))
    assert pixels.shape == (2, 4, 6, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0, 0].tolist() == [2, 0, 0]
    assert labels.tolist() == [0, 1]
    assert images.describe(5).endswith("2.PNG")


def test_images_are_decoded_by_several_threads(pets: Path, monkeypatch: Any) -> None:
    from thalweg.data import image_files

    meeting, real = threading.Barrier(2, timeout=20), image_files.read_image

    def read(*args: Any) -> Any:
        meeting.wait()  # passes only if two threads are decoding at once
        return real(*args)

    monkeypatch.setattr(image_files, "read_image", read)
    loader = data.Loader(data.ImageFolder(pets), 1, workers=2)
    shown = [int(batch[1][0]) for batch in loader]
    assert sorted(shown) == [0, 0, 0, 1, 1, 1]


def test_mixed_sizes_need_a_size(pets: Path) -> None:
    saved(pets / "cat" / "9.png", (9, 9))
    with pytest.raises(DataError, match=r"9\.png is 9 pixels high and 9 wide.*size=\(224, 224\)"):
        data.ImageFolder(pets).fetch(np.array([0, 3]))
    batch = data.ImageFolder(pets, size=(5, 7)).fetch(np.arange(7))[0]
    assert batch.shape == (7, 5, 7, 3)
    assert data.ImageFolder(pets, size=8).fetch(np.arange(7))[0].shape == (7, 8, 8, 3)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_ways_to_fit(fit: Any, tmp_path: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "a.png")
    pixels = data.read_image(tmp_path / "a.png", (10, 10), "L", fit)[..., 0]
    assert pixels.shape == (10, 10)
    if fit == "crop":
        assert pixels.min() > 190
    if fit == "pad":
        assert pixels[0].max() == 0
        assert pixels[5, 5] > 190
    if fit == "stretch":
        assert pixels[5, 0] == 0
        assert pixels[0, 5] > 190


def test_modes_are_brought_together(tmp_path: Path) -> None:
    files = [
        saved(tmp_path / "l.png", mode="L", color=100),
        saved(tmp_path / "rgba.png", mode="RGBA", color=(9, 9, 9, 0)),
        saved(tmp_path / "p.gif", mode="P"),
        saved(tmp_path / "cmyk.jpg", mode="CMYK"),
        saved(tmp_path / "one.png", mode="1", color=1),
        saved(tmp_path / "la.png", mode="LA", color=(50, 255)),
    ]
    for mode, channels in (("RGB", 3), ("L", 1), ("RGBA", 4)):
        batch = data.ImageFiles(files, mode=mode).fetch(np.arange(6))[0]  # type: ignore[arg-type]
        assert batch.shape == (6, 4, 6, channels)
    batch = data.ImageFiles(files).fetch(np.arange(6))[0]
    assert batch[0].min() == batch[0].max() == 100
    assert batch[1].min() == 255  # what is transparent lies on white
    assert batch[4].min() == 255
    assert batch[5].max() == 50


def test_16_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert data.read_image(tmp_path / "a.png", mode="L").max() == 0x80


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    turned = data.read_image(tmp_path / "a.png")
    assert turned.shape == (6, 4, 3)
    assert turned[0, 3].tolist() == [255, 255, 255]


def test_faulty_images_are_named(pets: Path) -> None:
    whole = saved(pets / "cat" / "0.jpg", (64, 64)).read_bytes()
    cut = pets / "cat" / "cut.jpg"
    cut.write_bytes(whole[: len(whole) // 2])
    fake = pets / "dog" / "fake.png"
    fake.write_bytes(b"no image at all")
    images = data.ImageFolder(pets, size=8)
    assert {Path(name).name for name in images.faulty()} == {"cut.jpg", "fake.png"}
    with pytest.raises(DataError, match=r"cut\.jpg cannot be decoded") as info:
        list(data.Loader(images, 2, workers=2))
    assert "test_image_files.py" in str(info.value)
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        data.read_image(pets / "gone.png")
    (pets / "dog" / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.png is empty"):
        data.ImageFolder(pets)
    with pytest.raises(DataError, match=r"empty\.png is empty"):
        data.read_image(pets / "dog" / "empty.png")


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone does not exist"):
        data.ImageFolder(tmp_path / "gone")
    with pytest.raises(DataError, match="holds no folders;"):
        data.ImageFolder(tmp_path)
    saved(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"1 images lie in it without a class"):
        data.ImageFolder(tmp_path)
    saved(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match="dog holds no images"):
        data.ImageFolder(tmp_path)


def test_a_list_of_images(pets: Path) -> None:
    (pets / "list.csv").write_text("label,path\nyoung,cat/0.png\nold,dog/1.PNG\nold,dog/2.PNG\n")
    images = data.ImageTable(pets / "list.csv", file="path", target="label")
    assert images.classes == ("old", "young")
    assert images.fetch(np.array([0, 2]))[1].tolist() == [1, 0]
    (pets / "ages.tsv").write_text("file\tage\ncat/0.png\t1.5\ndog/1.PNG\t3\n")
    ages = data.ImageTable(pets / "ages.tsv")
    assert ages.labels is None
    assert ages.fetch(np.array([0, 1]))[1].tolist() == [1.5, 3.0]
    (pets / "digits.csv").write_text("file,digit\ncat/0.png,10\ndog/1.PNG,9\n")
    assert data.ImageTable(pets / "digits.csv").classes == ("9", "10")
    (pets / "bad.csv").write_text("file,label\ncat/0.png,a\ncat/7.png,b\n")
    with pytest.raises(DataError, match=r"bad\.csv: line 3 names .*7\.png, which is no file"):
        data.ImageTable(pets / "bad.csv")
    with pytest.raises(DataError, match="no column 'class'"):
        data.ImageTable(pets / "list.csv", file="path", target="class")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "rgb"}, "mode='rgb'"),
        ({"fit": "squash"}, "fit='squash'"),
        ({"size": 0}, "image size is 0"),
        ({"size": (1, 2, 3)}, "image size is"),
    ],
)
def test_bad_options_say_what_to_do(options: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=says):
        data.ImageFiles([saved(tmp_path / "a.png")], **options)
