"""Texts, images and sounds as arrays: what is learned, what is not, and what bad input gets."""

from __future__ import annotations

import doctest
import importlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from thalweg import data
from thalweg.data import features as f
from thalweg.data.features.sounds import mel_bands
from thalweg.errors import ArgumentError, DataError

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "Grüße, Welt!"] * 3
LEVELS = ["byte", "character", "bpe", "wordpiece"]
rng = np.random.default_rng(5)


def objects(*values: Any) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = values
    return made


@pytest.mark.parametrize("name", ["texts", "images", "sounds"])
def test_examples_of_docstrings(name: str) -> None:
    failed, ran = doctest.testmod(importlib.import_module(f"thalweg.data.features.{name}"))
    assert ran
    assert not failed


# --- texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["byte", "bpe"])
@given(text=st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_bytes_and_byte_pairs_give_back_every_text(level: str, text: str) -> None:
    made = FITTED[level]
    assert made.decode(made.encode([text])) == [text]


FITTED = {level: f.Tokens(level=level, size=400).fit(TEXTS) for level in LEVELS}


@pytest.mark.parametrize("level", LEVELS)
def test_a_saved_tokeniser_gives_the_same_tokens(level: str) -> None:
    made = FITTED[level]
    told, arrays = made.state()
    again = f.Transformer.from_state(json.loads(json.dumps(told)), arrays)
    new = ["the cat", "", "ein Ω", None]
    np.testing.assert_array_equal(made.transform(new), again.transform(new))
    assert made.state()[0] == f.Tokens(level=level, size=400).fit(TEXTS).state()[0]


@pytest.mark.parametrize("level", ["bpe", "wordpiece"])
def test_learning_twice_gives_the_same_pieces(level: str) -> None:
    """Where there are more pieces than may be kept, ties are broken by no hash table."""
    words = ["".join(rng.choice(list("abcdefgh"), 6)) for _ in range(300)]
    texts = [" ".join(rng.choice(words, 9)) for _ in range(200)]
    states = [f.Tokens(level=level, size=340).fit(texts).state()[0] for _ in range(4)]
    assert all(state == states[0] for state in states)


@pytest.mark.parametrize("level", ["character", "wordpiece"])
def test_what_training_never_had_is_unknown(level: str) -> None:
    made = FITTED[level]
    assert 1 in made.transform(["Ω"])[0]
    assert 1 not in made.transform(["the cat"])[0]
    assert made.transform(["Ω"]).max() < made.size


def test_rows_are_as_long_as_most_texts_and_cut_or_filled_up() -> None:
    texts = ["x" * 10] * 200 + ["x" * 90]
    made = f.Tokens(level="character").fit(texts)
    assert made.length == 16
    rows = made.transform(["x" * 20, "x", None])
    assert rows.shape == (3, 16)
    assert (rows != 0).sum(axis=1).tolist() == [16, 1, 0]
    assert f.Tokens(level="byte", length=3).fit(texts).transform(["abcdef"]).shape == (1, 3)


def test_only_the_most_frequent_characters_have_a_number() -> None:
    made = f.Tokens(level="character", size=4).fit(["aaabbc"])
    assert made.transform(["abc"])[0, :3].tolist() == [2, 3, 1]


def test_byte_pairs_shorten_what_is_frequent() -> None:
    made = FITTED["bpe"]
    assert len(made.encode(["the cat sat on the mat"])[0]) < 12


@pytest.mark.parametrize(
    ("made", "values", "told"),
    [
        (f.Tokens(level="byte"), [None, ""], "none of the 2"),
        (f.Tokens(level="byte"), [1.5, 2.5], "wanted texts"),
        (f.Tokens(level="byte"), np.zeros((2, 3)), "wanted texts"),
        (f.Tokens(level="byte"), objects(b"ab", b"c"), "wanted texts"),
        (f.Pixels(), objects(np.zeros((2, 2)), np.zeros((3, 3))), r"row 1.*size"),
        (f.Pixels(size=4), objects(np.zeros((2, 2)), np.zeros(3)), "row 1.*wanted an image"),
        (f.Pixels(), np.full((1, 2, 2), np.nan), "row 0.*no number"),
        (f.Pixels(), np.zeros((1, 2, 2, 5)), "1 to 4 channels"),
        (f.LogMel(rate=8000), objects(np.zeros(900), np.zeros(0)), "row 1.*samples"),
        (f.LogMel(rate=8000), np.full((1, 900), np.inf), "row 0.*infinite"),
        (f.LogMel(rate=8000), objects("a", "b"), "row 0.*samples"),
    ],
)
def test_bad_columns_are_named(made: Any, values: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        made.fit(values)
    assert not made.fitted


@pytest.mark.parametrize(
    "make",
    [
        lambda: f.Tokens(level="words"),
        lambda: f.Tokens(level="bpe", size=100),
        lambda: f.Tokens(length=0),
        lambda: f.Pixels(size=0),
        lambda: f.Pixels(size=(3, 4, 5)),
        lambda: f.Pixels(channels=2),
        lambda: f.Pixels(scale="half"),
        lambda: f.LogMel(rate=0),
        lambda: f.LogMel(rate=8000, high=5000.0),
        lambda: f.LogMel(rate=8000, hop=0.0),
        lambda: f.LogMel(rate=8000, bands=500),
    ],
)
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(ArgumentError):
        make()


def test_a_token_out_of_range_is_refused() -> None:
    made = FITTED["character"]
    with pytest.raises(DataError, match=f"token {made.size} is not"):
        made.decode([[made.size]])


# --- images -------------------------------------------------------------------------------------


def test_channels_are_normalised_by_the_training_images_only() -> None:
    train = rng.integers(0, 256, (20, 8, 8, 3), np.uint8)
    made = f.Pixels().fit(train)
    shown = made.transform(train)
    np.testing.assert_allclose(shown.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(shown.std(axis=(0, 1, 2)), 1, atol=1e-5)
    other = made.transform(np.full((1, 8, 8, 3), 255, np.uint8))
    mean, deviation = train.mean(axis=(0, 1, 2)) / 255, train.std(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(other[0, 0, 0], (1 - mean) / deviation, rtol=1e-5)


def test_sizes_and_modes_come_together() -> None:
    mixed = objects(
        rng.integers(0, 256, (9, 7), np.uint8),
        rng.integers(0, 256, (20, 31, 3), np.uint8),
        rng.integers(0, 256, (5, 5, 4), np.uint8),
        rng.integers(0, 256, (5, 6, 2), np.uint8),
    )
    assert f.Pixels(size=(6, 5)).fit(mixed).transform(mixed).shape == (4, 6, 5, 3)
    assert f.Pixels(size=6, channels=1).fit(mixed).transform(mixed).shape == (4, 6, 6, 1)


def test_resizing_is_that_of_pillow() -> None:
    image = rng.integers(0, 256, (17, 23), np.uint8)
    wanted = np.asarray(Image.fromarray(image).resize((9, 12), Image.Resampling.BILINEAR))
    made = f.Pixels(size=(12, 9), scale="none").fit(image[None])
    # Pillow rounds bytes after each of the two axes
    np.testing.assert_allclose(made.transform(image[None])[0, ..., 0], wanted, atol=1.01)


def test_sixteen_bits_and_floats_are_scaled_alike() -> None:
    whole = np.array([[[0, 65535]]], np.uint16)
    made = f.Pixels(scale="unit").fit(whole)
    assert made.transform(whole).ravel().tolist() == [0.0, 1.0]
    assert made.transform(np.array([[[0.0, 1.0]]])).ravel().tolist() == [0.0, 1.0]


# --- sounds -------------------------------------------------------------------------------------


def spectrogram_by_loops(sound: np.ndarray, made: f.LogMel) -> np.ndarray:
    """Return log-mel values by sums over every sample, in float64."""
    n, size, bands = made.width, made.size, made.settings["bands"]
    bank = mel_bands(bands, size, made.settings["rate"], made.settings["low"],
                     made.settings["high"] or made.settings["rate"] / 2)  # fmt: skip
    rows = []
    for start in range(0, len(sound) - n + 1, made.step):
        power = []
        for k in range(size // 2 + 1):
            total = 0j
            for i in range(n):
                weight = 0.5 - 0.5 * np.cos(2 * np.pi * i / n)
                total += sound[start + i] * weight * np.exp(-2j * np.pi * k * i / size)
            power.append(abs(total) ** 2 / n)
        rows.append(np.log(np.array(power) @ bank + 1e-6))
    return np.array(rows)


def test_log_mel_is_what_its_formula_says() -> None:
    sounds = rng.normal(size=(3, 200)).astype(np.float32) * 0.1
    made = f.LogMel(rate=1000, bands=6, window=0.03, hop=0.02).fit(sounds)
    exact = np.stack([spectrogram_by_loops(s.astype(np.float64), made) for s in sounds])
    mean, deviation = exact.mean(axis=(0, 1)), exact.std(axis=(0, 1))
    np.testing.assert_allclose(made.transform(sounds), (exact - mean) / deviation, atol=2e-4)


def test_a_tone_is_loudest_in_its_band() -> None:
    time = np.arange(8000) / 8000
    tones = [np.sin(2 * np.pi * hertz * time) for hertz in (200, 800, 2400)]
    made = f.LogMel(rate=8000, bands=30).fit(np.stack([*tones, 0 * time]))
    raw = made.transform(np.stack(tones)) * made.arrays["deviation"] + made.arrays["mean"]
    loudest = raw.mean(axis=1).argmax(axis=1)
    assert (np.diff(loudest) > 3).all()


def test_short_sounds_end_in_silence_and_long_ones_are_cut() -> None:
    sounds = objects(*(rng.normal(size=n).astype(np.float32) for n in [800] * 30 + [4000]))
    made = f.LogMel(rate=8000, bands=8).fit(sounds)
    assert made.frames == 1 + (800 - 200) // 80
    assert made.transform(objects(np.zeros(10), np.zeros((5000, 2)))).shape == (2, made.frames, 8)


# --- in a pipeline ------------------------------------------------------------------------------


def test_a_pipeline_gives_each_an_array_of_its_own(tmp_path: Any) -> None:
    table = {
        "text": np.array(TEXTS, object),
        "image": rng.integers(0, 256, (12, 6, 6), np.uint8),
        "sound": rng.normal(size=(12, 900)).astype(np.float32),
        "age": np.arange(12.0),
        "kind": np.array(["a", "b"] * 6, object),
    }
    made = f.Pipeline(
        {
            "sound": f.LogMel(rate=8000, bands=8), "age": f.Standardise(), "image": f.Pixels(),
            "text": f.Tokens(level="bpe", size=300),
        }
    ).fit(table, rows=np.arange(8), target="kind")  # fmt: skip
    shapes = [a.shape for a in made.transform(table)]
    assert shapes[0] == (12, 1)
    assert shapes[1][2] == 8
    assert shapes[2] == (12, 6, 6, 1)
    assert shapes[4] == (12,)
    told, arrays = made.state()
    again = f.Pipeline.from_state(json.loads(json.dumps(told)), arrays)
    for one, two in zip(made.transform(table), again.transform(table), strict=True):
        np.testing.assert_array_equal(one, two)


# --- the kinds of the training table hold -------------------------------------------------------


def test_later_rows_are_read_as_the_training_table_was(tmp_path: Any) -> None:
    train = tmp_path / "train.csv"
    train.write_text(
        "zip,day,age,y\n01234,03.02.2024,5,1\nA99,25.12.2023,,0\n01234,01.01.2024,7,1\n"
    )
    table = data.read_table(train, kinds={"y": "category"})
    made = f.default_pipeline(table, "y").fit(table)
    one = tmp_path / "one.csv"
    one.write_text("zip,day,age\n01234,03.02.2024,\n")
    first = made.transform(table)[0][0]
    found = made.transform(one)[0][0]
    names = made.feature_names
    alike = [i for i, name in enumerate(names) if not name.startswith("age")]
    np.testing.assert_array_equal(found[alike], first[alike])
    assert found[names.index("age is missing")] == 1
    with pytest.raises(DataError, match=r"like=pipeline\.schema"):
        made.transform(data.read_table(one, drop=["age"]))
    again = f.Pipeline.from_state(*made.state())
    np.testing.assert_array_equal(again.transform(one)[0][0], found)


def test_whole_numbers_of_a_frame_with_gaps_stay_the_same_words() -> None:
    pandas = pytest.importorskip("pandas")
    train = pandas.DataFrame({"floor": [1, 2, 3, 1], "pay": [1.0, 2.0, 3.0, 5.0]})
    table = data.read_table(train, kinds={"floor": "category"})
    made = f.Pipeline({"floor": f.Codes()}).fit(table)
    later = pandas.DataFrame({"floor": [1.0, None, 3.0]})
    assert made.transform(later)[0].ravel().tolist() == [1, 0, 3]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([3, 1, 1]), [1, 3]),
        (np.array([2.5, 0.5, 0.5]), [0.5, 2.5]),
        (np.array([True, False, True]), [False, True]),
        (np.array(["3", "1", "1"], object), ["1", "3"]),
        (np.array([10.0, 9.0, 9.0]), [9, 10]),
    ],
)
def test_class_names_come_back_as_what_they_were(values: Any, wanted: list[Any]) -> None:
    made = f.ClassTarget().fit(values)
    found = made.inverse_transform([0, 1])
    assert found == wanted
    assert [type(v) for v in found] == [type(v) for v in wanted]
