"""Pictures of digits: any mode, size and shade ends as MNIST's look, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from thalweg.app.cli.digit_image import prepare_digit, read_grey
from thalweg.data import load_digits
from thalweg.errors import DataError

IMAGES, _ = load_digits("test")
STROKE = np.ones((60, 40))
STROKE[10:50, 18:24] = 0.1  # dark on light


def test_an_image_of_the_set_is_taken_as_it_is() -> None:
    for pixels in IMAGES[:20]:
        made = prepare_digit(pixels.astype(np.float32) / 255)
        assert made.unchanged
        np.testing.assert_array_equal(made.pixels, pixels)


@pytest.mark.parametrize("scale", [2, 5, 9])
@pytest.mark.parametrize("inverted", [False, True])
def test_an_enlarged_image_comes_back_nearly_the_same(scale: int, inverted: bool) -> None:
    errors = []
    for pixels in IMAGES[:30]:
        large = np.kron(pixels, np.ones((scale, scale), np.uint8)).astype(np.float32) / 255
        moved = np.pad(large, ((3, 40), (50, 7)))
        made = prepare_digit(1 - moved if inverted else moved)
        assert made.inverted == inverted
        errors.append(np.abs(made.pixels.astype(float) - pixels).mean())
    assert np.median(errors) < 8  # of 255


def test_the_digit_is_boxed_and_centred_by_mass() -> None:
    made = prepare_digit(STROKE).pixels
    rows, columns = np.flatnonzero(made.any(axis=1)), np.flatnonzero(made.any(axis=0))
    assert len(rows) == 20
    assert len(columns) == 3
    mass = made / made.sum()
    for axis in (0, 1):
        centre = (mass.sum(axis=1 - axis) * np.arange(28)).sum()
        assert abs(centre - 14) <= 0.5


def modes() -> dict[str, Image.Image]:
    grey = Image.fromarray((STROKE * 255).astype(np.uint8))
    clear = Image.new("RGBA", grey.size, (0, 0, 0, 0))
    ink = Image.fromarray(((STROKE < 0.5) * 255).astype(np.uint8))
    on_nothing, white_on_nothing = clear.copy(), clear.copy()
    on_nothing.paste((20, 20, 60, 255), mask=ink)
    white_on_nothing.paste((255, 255, 240, 255), mask=ink)
    wide = Image.fromarray((STROKE * 65_535).astype(np.uint16))
    palette = grey.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        "L": grey, "RGB": grey.convert("RGB"), "RGBA": grey.convert("RGBA"),
        "1": grey.convert("1", dither=Image.Dither.NONE), "P": palette,
        "CMYK": grey.convert("CMYK"), "LA": grey.convert("LA"), "I;16": wide,
        "I": grey.convert("I"), "F": grey.convert("F"), "clear": on_nothing,
        "clear and white": white_on_nothing,
    }  # fmt: skip


@pytest.mark.parametrize("mode", modes())
def test_every_mode_shows_the_same_stroke(mode: str, tmp_path: Path) -> None:
    suffix = {"CMYK": "tiff", "F": "tiff", "I": "tiff"}.get(mode, "png")
    image = modes()[mode]
    image.save(tmp_path / f"image.{suffix}")
    made = prepare_digit(read_grey(tmp_path / f"image.{suffix}"))
    assert made.inverted == (mode != "clear and white")
    wanted = prepare_digit(STROKE).pixels.astype(float)
    assert np.abs(made.pixels - wanted).mean() < 3


def test_faint_pencil_on_shaded_paper_is_stretched_to_full_contrast() -> None:
    shade = 0.8 + 0.05 * np.linspace(0, 1, 60)[:, None] * np.ones((60, 40))
    made = prepare_digit(np.where(STROKE < 0.5, 0.55, shade))
    assert made.inverted
    assert made.pixels.max() == 255
    assert (made.pixels > 0).mean() < 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 300), (700, 3)])
def test_odd_sizes_work(size: tuple[int, int]) -> None:
    grey = np.ones(size)
    grey[size[0] // 2, size[1] // 2] = 0
    if size == (1, 1):
        with pytest.raises(DataError, match="one shade"):
            prepare_digit(grey)
    else:
        assert prepare_digit(grey).pixels.max() == 255


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "not an image"),
        (b"hello", "not an image"),
        ("png", "damaged or truncated"),
        ("folder", "is a folder"),
        ("huge", "Scale it down"),
    ],
)
def test_files_that_are_no_images_say_so(content: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    if content == "png":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:1000])
    elif content == "folder":
        path.mkdir()
    elif content == "huge":
        Image.new("1", (9000, 9000)).save(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_grey(path)


def test_a_blank_image_says_that_it_shows_nothing() -> None:
    with pytest.raises(DataError, match="one shade"):
        prepare_digit(np.full((30, 30), 0.7))
    with pytest.raises(DataError, match="no pixels"):
        prepare_digit(np.zeros((0, 3)))
