"""Sounds: found in folders and names, made into spectrograms, learned; bad input is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError, DataError
from thalweg.tasks import Run, Settings, train
from thalweg.tasks.sounds import SoundsTask
from thalweg.tasks.task import recognise

soundfile = pytest.importorskip("soundfile")
DRAW = np.random.default_rng(0)
TONES = {"high": 1600.0, "low": 300.0}


def write(path: Path, tone: float, seconds: float = 0.3, rate: int = 8_000) -> None:
    """Write a noisy tone of about this pitch."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = tone * DRAW.uniform(0.9, 1.1)
    sound = 0.3 * np.sin(2 * np.pi * pitch * time) + DRAW.normal(0, 0.01, len(time))
    soundfile.write(path, sound, rate)


def folder_of(place: Path, count: int = 12, **more: Any) -> Path:
    """Write tones of two pitches, in a folder for each."""
    for name, tone in TONES.items():
        (place / name).mkdir(parents=True)
        for i in range(count):
            write(place / name / f"{'ann' if i % 2 else 'bob'}_{i:02d}.wav", tone, **more)
    return place


def named(place: Path, count: int = 12) -> Path:
    """Write tones of two pitches, with pitch and speaker in the names."""
    place.mkdir()
    for name, tone in TONES.items():
        for i in range(count):
            write(place / f"{name}_{('ann', 'bob', 'cem', 'dan')[i % 4]}_{i}.wav", tone)
    return place


def prepared(source: Path, **settings: Any) -> Any:
    return SoundsTask(Settings.of(settings)).prepare(source)


# --- from a folder to predictions ---------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    place = tmp_path_factory.mktemp("trained")
    source = folder_of(place / "tones", 20)
    (source / "low" / "empty.wav").write_bytes(b"")
    made = train(source, Settings.of({"epochs": 8, "hidden": (8, 16)}), place / "run")
    assert made.results["figures"][0]["value"] > 0.8
    note = next(note for note in made.results["notes"] if "left out" in note)
    assert "1 of 41 sounds" in note
    assert "empty.wav" in note
    return source, made.run


def test_a_run_that_is_loaded_predicts_the_same(trained: tuple[Path, Run]) -> None:
    source, run = trained
    (source / "low" / "empty.wav").unlink(missing_ok=True)
    loaded = Run.load(run.folder.place)
    rows = loaded.task.read(source)
    assert rows.truth is not None
    np.testing.assert_array_equal(loaded.outputs(rows), run.outputs(run.task.read(source)))
    assert (loaded.outputs(rows).argmax(axis=1) == rows.truth).mean() > 0.8
    assert type(tw.models.load(run.folder.model)).__name__ == "Sequential"


def test_the_picture_has_low_bands_at_the_bottom(trained: tuple[Path, Run]) -> None:
    source, run = trained
    path = sorted((source / "low").iterdir())[0]
    rows = run.task.read([path])
    shown = rows.show(0)
    assert shown["file"] == rows.place(0) == str(path)
    assert shown["image"].dtype == np.uint8
    assert shown["image"].shape == rows.inputs[0].shape[2:0:-1]
    bands = shown["image"].mean(axis=1)
    assert bands[len(bands) // 2 :].max() > bands[: len(bands) // 2].max()


def test_other_rates_channels_and_lengths(trained: tuple[Path, Run], tmp_path: Path) -> None:
    run = trained[1]
    paths = []
    for rate, seconds in ((44_100, 0.5), (22_050, 0.1), (8_000, 40.0)):
        paths.append(tmp_path / f"{rate}.wav")
        write(paths[-1], TONES["low"], seconds, rate)
    time = np.arange(16_000) / 16_000
    paths.append(tmp_path / "stereo.flac")
    tone = 0.3 * np.sin(2 * np.pi * 300 * time)
    soundfile.write(paths[-1], np.stack([tone, tone], axis=1), 16_000)
    rows = run.task.read(paths)
    assert rows.truth is None
    made = run.predict(paths)["prediction"]
    assert made[0] == made[3] == "low"
    assert run.predict(paths[0])["prediction"] == ["low"]
    assert len(run.predict(tmp_path)["prediction"]) == 4


def test_how_loud_a_sound_is_does_not_matter(trained: tuple[Path, Run], tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 300 * np.arange(4000) / 8000)
    for name, loud in (("far", 0.05), ("near", 0.9)):
        soundfile.write(tmp_path / f"{name}.flac", loud * tone, 8_000, subtype="PCM_24")
    far, near = trained[1].task.read([tmp_path / "far.flac", tmp_path / "near.flac"]).inputs[0]
    np.testing.assert_allclose(far, near, atol=1e-2)


def test_bad_files_at_prediction(trained: tuple[Path, Run], tmp_path: Path) -> None:
    run = trained[1]
    (tmp_path / "cut.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"cut\.wav"):
        run.predict(tmp_path / "cut.wav")
    with pytest.raises(DataError, match=r"does not exist"):
        run.predict([tmp_path / "none.wav"])
    for i in range(3):
        write(tmp_path / f"{i}.wav", 300)
    soundfile.write(tmp_path / "quiet.wav", np.zeros(4000), 8_000)
    with (
        pytest.warns(UserWarning, match=r"left out: .*cut\.wav"),
        pytest.warns(UserWarning, match=r"nothing to hear in 1 sounds: .*quiet\.wav"),
    ):
        assert len(run.predict(tmp_path)["prediction"]) == 4
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"holds no sounds"):
        run.predict(tmp_path / "bare")


# --- what is inferred ---------------------------------------------------------------------


def test_what_is_recognised(tmp_path: Path) -> None:
    task, reason = recognise(folder_of(tmp_path / "a", 1), Settings())
    assert type(task) is SoundsTask
    assert "high, low" in reason
    assert "high_ann_0.wav" in SoundsTask.recognises(named(tmp_path / "b", 3), Settings())
    few = named(tmp_path / "c", 2)
    assert not SoundsTask.recognises(few, Settings())
    assert SoundsTask.recognises(few, Settings(label="name"))
    assert not SoundsTask.recognises(tmp_path / "a" / "low", Settings())


def test_classes_in_names(tmp_path: Path) -> None:
    source = named(tmp_path / "a")
    problem = prepared(source)
    assert any("up to the first underscore" in reason for reason in problem.reasons)
    labels = [("high", "low")[label] for label in problem.test.truth]
    assert labels == [Path(problem.test.place(i)).stem.split("_")[0] for i in range(len(labels))]
    write(source / "unnamed.wav", 300)
    with pytest.raises(DataError, match=r"is not told.*label=name"):
        prepared(source)
    with pytest.raises(DataError, match=r"unnamed\.wav does not begin with a class"):
        prepared(source, label="name")


@pytest.mark.parametrize("by", ["name", "folder"])
def test_no_speaker_is_in_two_parts(tmp_path: Path, by: str) -> None:
    source = named(tmp_path / "a") if by == "name" else folder_of(tmp_path / "a")
    if by == "folder":
        for path in sorted(source.rglob("*_0[0-3].wav")):
            path.rename(path.with_name("cem" + path.name[3:]))
    problem = prepared(source, group="name")
    part = 1 if by == "name" else 0
    speakers = [{Path(p.place(i)).stem.split("_")[part] for i in range(len(p))}
                for p in (problem.training, problem.validation, problem.test)]  # fmt: skip
    assert len(speakers[0] | speakers[1] | speakers[2]) == sum(map(len, speakers)) >= 3
    assert any("is its group" in reason for reason in problem.reasons)


def test_groups_that_names_do_not_tell(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    with pytest.raises(ArgumentError, match=r"group='speaker'"):
        prepared(source, group="speaker")
    write(source / "low" / "who.wav", 300)
    with pytest.raises(DataError, match=r"who\.wav tells no group"):
        prepared(source, group="name")


def test_the_most_frequent_rate_is_taken(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    for i in range(3):
        write(source / "low" / f"fast{i}.wav", 300, rate=44_100)
    problem = prepared(source)
    assert problem.settings.rate == 8_000
    assert any("to which 3 sounds" in reason for reason in problem.reasons)
    assert prepared(source, rate=4_000).settings.rate == 4_000
    assert prepared(folder_of(tmp_path / "b", 6, rate=44_100)).settings.rate == 16_000
    with pytest.raises(ArgumentError, match=r"at least 1000 hertz"):
        prepared(source, rate=10)


def test_long_sounds_get_windows_further_apart(tmp_path: Path) -> None:
    windows = prepared(folder_of(tmp_path / "a", 6, seconds=6.0)).training.inputs[0].shape[1]
    assert 250 <= windows <= 300


def test_short_sounds_can_be_learned(tmp_path: Path) -> None:
    problem = prepared(folder_of(tmp_path / "a", 6, seconds=0.02))
    shape = problem.training.inputs[0].shape
    assert shape[1] > 10
    assert problem.model.eval()(np.zeros((1, *shape[1:]), np.float32)).shape == (1, 2)


def test_a_list_of_sounds(tmp_path: Path) -> None:
    folder_of(tmp_path, 6)
    files = sorted(tmp_path.rglob("*.wav"))
    lines = [f"{p.relative_to(tmp_path)},{p.parent.name}" for p in files]
    (tmp_path / "list.csv").write_text("file,label\n" + "\n".join(lines))
    assert "list.csv" in SoundsTask.recognises(tmp_path / "list.csv", Settings())
    problem = prepared(tmp_path / "list.csv")
    names = [Path(problem.test.place(i)).parent.name for i in range(len(problem.test))]
    assert names == [("high", "low")[label] for label in problem.test.truth]


# --- bad input ----------------------------------------------------------------------------


def test_an_empty_folder_and_one_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no sounds"):
        prepared(tmp_path)
    source = folder_of(tmp_path / "a")
    for path in (source / "low").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"all 12 sounds are of the one class 'high'"):
        prepared(source)


def test_a_class_with_one_example_is_trained_on_only(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    (source / "middle").mkdir()
    write(source / "middle" / "one.wav", 800)
    problem = prepared(source)
    assert 2 in problem.training.truth
    assert 2 not in problem.test.truth
    assert any("(middle)" in note for note in problem.notes)


@pytest.mark.parametrize("content", [b"", b"no sound at all"])
def test_one_broken_sound_among_many_is_left_out(tmp_path: Path, content: bytes) -> None:
    source = folder_of(tmp_path / "a")
    (source / "low" / "ann_07.wav").write_bytes(content)
    problem = prepared(source)
    assert any("1 of 24 sounds" in note and "ann_07.wav" in note for note in problem.notes)
    parts = (problem.training, problem.validation, problem.test)
    assert sum(map(len, parts)) == 23
    for part in parts:
        names = [Path(part.place(i)).parent.name for i in range(len(part))]
        assert names == [("high", "low")[label] for label in part.truth]


def test_a_sound_without_samples_is_left_out(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    soundfile.write(source / "high" / "ann_01.wav", np.zeros(0), 8_000)
    problem = prepared(source)
    assert any("ann_01.wav" in note for note in problem.notes)
    assert len(problem.training) + len(problem.validation) + len(problem.test) == 23
    assert len(problem.training.truth) == len(problem.training.inputs[0])
    for part in (problem.training, problem.validation, problem.test):
        names = [Path(part.place(i)).parent.name for i in range(len(part))]
        assert names == [("high", "low")[label] for label in part.truth]


def test_many_broken_sounds_are_fatal(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    (source / "low" / "ann_07.wav").write_bytes(b"")
    (source / "low" / "ann_09.wav").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"2 of 24 sounds cannot be read.*ann_07\.wav is empty"):
        prepared(source)


def test_silent_sounds_are_told_and_kept(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    for i in (1, 3):
        soundfile.write(source / "low" / f"ann_{i:02d}.wav", np.zeros(2400), 8_000)
    problem = prepared(source)
    note = next(note for note in problem.notes if "nothing to hear" in note)
    assert "in 2 sounds" in note
    assert "ann_01.wav" in note
    assert len(problem.training) + len(problem.validation) + len(problem.test) == 24
    assert np.isfinite(problem.training.inputs[0]).all()


def test_copies_between_the_parts_are_told(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a", 1)
    for path in sorted(source.rglob("*.wav")):
        for i in range(1, 15):
            path.with_name(f"{i}.wav").write_bytes(path.read_bytes())
    assert any("the same numbers" in note for note in prepared(source).notes)
