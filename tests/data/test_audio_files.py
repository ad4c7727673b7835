"""Audio files: one rate, one channel, one length; resampling against the exact tone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg import data
from thalweg.errors import ArgumentError, DataError


def tone(hertz: float, rate: int, seconds: float = 0.5) -> Any:
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


RATES = [(8_000, 16_000), (44_100, 16_000), (48_000, 16_000), (16_000, 44_100), (11_025, 8_000)]


@pytest.mark.parametrize(("rate", "target"), RATES)
def test_a_tone_stays_the_tone(rate: int, target: int) -> None:
    for hertz in (100.0, 0.4 * min(rate, target)):
        made, exact = data.resample(tone(hertz, rate), rate, target), tone(hertz, target)
        assert abs(len(made) - len(exact)) <= 1
        middle = slice(target // 20, -target // 20)  # away from the ends, where silence begins
        count = min(len(made), len(exact))
        np.testing.assert_allclose(made[:count][middle], exact[:count][middle], atol=1e-3)


@pytest.mark.parametrize(("rate", "target"), [(44_100, 16_000), (16_000, 8_000)])
def test_what_the_lower_rate_cannot_hold_is_left_out(rate: int, target: int) -> None:
    made = data.resample(tone(0.6 * target, rate), rate, target)  # would fold to 0.4 of the rate
    assert np.abs(made[target // 20 : -target // 20]).max() < 1e-3


def test_resampling_keeps_a_constant_and_the_channels() -> None:
    sound = np.stack([np.ones(4000), np.full(4000, -2.0)], axis=1)
    made = data.resample(sound, 44_100, 16_000)
    assert made.shape == (1452, 2)
    np.testing.assert_allclose(made[100:-100], np.tile([1, -2], (1252, 1)), atol=1e-5)
    long = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    parts = data.resample(long, 3, 2)  # more than one block
    later = data.resample(long[9000:], 3, 2)
    np.testing.assert_allclose(parts[70_000:70_100], later[64_000:64_100], atol=1e-5)
    with pytest.raises(ArgumentError, match="target is 0"):
        data.resample(sound, 8000, 0)


class TestFiles:
    """Folders of real files, written with soundfile."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        soundfile = pytest.importorskip("soundfile")
        for name, rate in (("yes", 8_000), ("no", 16_000)):
            (tmp_path / name).mkdir()
            soundfile.write(tmp_path / name / "a.wav", tone(200, rate), rate)
        stereo = np.stack([tone(200, 8000), -tone(200, 8000)], axis=1)
        soundfile.write(tmp_path / "yes" / "b.flac", stereo, 8000)
        return tmp_path

    def test_sounds_get_one_rate_and_length(self, folder: Path) -> None:
        sounds = data.AudioFolder(folder, rate=8_000, length=5_000)
        assert sounds.classes == ("no", "yes")
        batch, labels = sounds.fetch(np.array([0, 1, 2]))
        assert batch.shape == (3, 5_000)
        assert batch.dtype == np.float32
        assert labels.tolist() == [0, 1, 1]
        np.testing.assert_allclose(batch[0, 500:3500], batch[1, 500:3500], atol=2e-3)
        assert np.abs(batch[2]).max() < 1e-3  # the two channels cancel
        assert np.abs(batch[:, 4100:]).max() == 0
        assert sounds.describe(2).endswith("b.flac")
        assert sum(len(b[0]) for b in data.Loader(sounds, 2, last="keep", workers=2)) == 3

    def test_labels_from_names(self, folder: Path) -> None:
        sounds = data.AudioFolder(folder, rate=8_000, label=lambda name: name.upper())
        assert sounds.classes == ("A", "B")

    def test_other_rates_and_lengths_are_named(self, folder: Path) -> None:
        with pytest.raises(DataError, match=r"a\.wav has 8,000 samples a second and .* 16,000"):
            data.AudioFolder(folder).fetch(np.array([0, 1]))
        sounds = data.AudioFiles([folder / "yes" / "a.wav", folder / "no" / "a.wav"], rate=16_001)
        with pytest.raises(DataError, match=r"give the length that all are cut"):
            data.AudioFiles(
                [folder / "yes" / "a.wav", self.short(folder)], rate=8_000
            ).fetch(np.array([0, 1]))  # fmt: skip
        assert len(sounds) == 2

    def short(self, folder: Path) -> Path:
        import soundfile

        soundfile.write(folder / "short.wav", tone(200, 8000, 0.1), 8000)
        return folder / "short.wav"

    def test_faulty_sounds_are_named(self, folder: Path) -> None:
        (folder / "no" / "b.wav").write_bytes(b"RIFFnot a sound")
        with pytest.raises(DataError, match=r"b\.wav cannot be read"):
            data.AudioFolder(folder, rate=8000, length=10).fetch(np.array([1]))
        (folder / "no" / "c.wav").write_bytes(b"")
        with pytest.raises(DataError, match=r"c\.wav is empty"):
            data.AudioFolder(folder)
        with pytest.raises(DataError, match=r"c\.wav is empty"):
            data.read_audio(folder / "no" / "c.wav")
        with pytest.raises(DataError, match=r"d\.wav does not exist"):
            data.read_audio(folder / "d.wav")
        with pytest.raises(DataError, match="1 audio files, but targets"):
            data.AudioFiles([folder / "yes" / "a.wav"], [1, 2])


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'thalweg\[audio\]'"):
        data.read_audio("a.wav")
