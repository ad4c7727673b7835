"""Images: found in folders and lists, brought to one size, learned; bad input is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import thalweg as tw
from thalweg.errors import ArgumentError, DataError
from thalweg.tasks import (
    Run,
    Settings,
    images,
    train,
)
from thalweg.tasks.images import ImagesTask
from thalweg.tasks.task import recognise

Array = np.ndarray[Any, Any]
DRAW = np.random.default_rng(0)
COLOURS = {"blue": (40, 60, 200), "red": (210, 50, 30)}


def picture(colour: tuple[int, int, int], height: int = 20, width: int = 20) -> Image.Image:
    """Return a noisy picture of one colour."""
    noise = DRAW.normal(0, 25, (height, width, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def folder_of(place: Path, count: int = 15, suffix: str = "png", **size: int) -> Path:
    """Write pictures of two colours, in a folder for each."""
    for name, colour in COLOURS.items():
        (place / name).mkdir(parents=True)
        for i in range(count):
            picture(colour, **size).save(place / name / f"{i:03d}.{suffix}")
    return place


def prepared(source: Path, **settings: Any) -> Any:
    return ImagesTask(Settings.of(settings)).prepare(source)


def test_a_folder_around_the_folder_is_looked_through(tmp_path: Path) -> None:
    folder_of(tmp_path / "outer" / "unpacked" / "colours", 6)
    (tmp_path / "outer" / "__MACOSX").mkdir()
    (tmp_path / "outer" / ".DS_Store").write_bytes(b"x")
    said: list[str] = []
    made = train(tmp_path / "outer", Settings(epochs=1), tmp_path / "run", tell=said.append)
    assert made.results["task"] == "images"
    assert set(made.results["classes"]) == set(COLOURS)
    assert any(line.startswith("source") and "colours" in line for line in said)


# --- from a folder to predictions ---------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    place = tmp_path_factory.mktemp("trained")
    source = folder_of(place / "colours", 30)
    (source / "red" / "empty.png").write_bytes(b"")
    made = train(source, Settings.of({"epochs": 12, "hidden": (8, 16)}), place / "run")
    accuracy = made.results["figures"][0]
    assert accuracy["name"] == "accuracy"
    assert accuracy["value"] > 0.8
    note = next(note for note in made.results["notes"] if "left out" in note)
    assert "1 of 61 images" in note
    assert "empty.png" in note
    return source, made.run


def test_a_run_that_is_loaded_predicts_the_same(trained: tuple[Path, Run]) -> None:
    source, run = trained
    loaded = Run.load(run.folder.place)
    with pytest.warns(UserWarning, match=r"empty\.png"):
        rows = loaded.task.read(source)
    with pytest.warns(UserWarning, match=r"empty\.png"):
        again = run.task.read(source)
    assert rows.inputs[0].dtype == np.uint8
    np.testing.assert_array_equal(loaded.outputs(rows), run.outputs(again))
    assert rows.truth is not None
    assert (loaded.outputs(rows).argmax(axis=1) == rows.truth).mean() > 0.8
    assert type(tw.models.load(run.folder.model)).__name__ == "Sequential"


def test_results_show_the_picture_and_its_file(trained: tuple[Path, Run]) -> None:
    source, run = trained
    rows = run.task.read([source / "red" / "003.png"])
    shown = rows.show(0)
    assert shown["file"] == rows.place(0) == str(source / "red" / "003.png")
    assert shown["image"].shape == (20, 20, 3)
    assert shown["image"].dtype == np.uint8
    told = json.loads((run.folder.place / "results.json").read_text())
    assert told["classes"] == ["blue", "red"]


def test_one_file_several_and_arrays(trained: tuple[Path, Run], tmp_path: Path) -> None:
    _, run = trained
    paths = []
    for mode, size in (("RGBA", (7, 31)), ("L", (64, 48)), ("P", (20, 20)), ("1", (9, 9))):
        paths.append(tmp_path / f"{mode}.png")
        picture(COLOURS["red"], *size).convert(mode).save(paths[-1])
    rows = run.task.read(paths)
    assert rows.inputs[0].shape == (4, 20, 20, 3)
    assert rows.truth is None
    assert len(run.predict(paths)["prediction"]) == 4
    assert run.predict(paths[0])["prediction"] == ["red"]
    array = np.stack([np.asarray(picture(COLOURS["red"], 40, 30)) for _ in range(3)])
    assert run.predict(array)["prediction"] == ["red"] * 3
    assert run.task.read(array[..., 0]).inputs[0].shape == (3, 20, 20, 3)
    same = np.asarray(picture(COLOURS["blue"]))[None]
    np.testing.assert_array_equal(run.task.read(same).inputs[0], same)


def test_a_flat_folder_has_no_truth(trained: tuple[Path, Run]) -> None:
    source, run = trained
    rows = run.task.read(source / "blue")
    assert rows.truth is None
    assert len(rows) == 30


@pytest.mark.parametrize("array", [
    np.zeros((2, 8, 8), np.float32), np.zeros((8, 8), np.uint8), np.zeros((2, 8, 8, 2), np.uint8),
])  # fmt: skip
def test_other_arrays_are_refused(trained: tuple[Path, Run], array: Array) -> None:
    with pytest.raises(DataError, match=r"wanted"):
        trained[1].task.read(array)


def test_bad_files_at_prediction(trained: tuple[Path, Run], tmp_path: Path) -> None:
    run = trained[1]
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"cut\.png"):
        run.predict(tmp_path / "cut.png")
    with pytest.raises(DataError, match=r"does not exist"):
        run.predict([tmp_path / "none.png"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"holds no images"):
        run.predict(tmp_path / "bare")
    folder_of(tmp_path / "more", 3)
    (tmp_path / "more" / "green").mkdir()
    picture((0, 200, 0)).save(tmp_path / "more" / "green" / "1.png")
    with pytest.raises(DataError, match=r"the class 'green' was not among"):
        run.predict(tmp_path / "more")


def test_the_transform_gives_mean_0_and_deviation_1(tmp_path: Path) -> None:
    problem = prepared(folder_of(tmp_path / "a"))
    ready = np.asarray(problem.transform(tw.tensor(problem.training.inputs[0])))
    np.testing.assert_allclose(ready.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(ready.std(axis=(0, 1, 2)), 1, atol=1e-4)


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    one, two, other = (prepared(source, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.test.inputs[0], two.test.inputs[0])
    assert not np.array_equal(one.test.inputs[0], other.test.inputs[0])
    first, second = (next(iter(p.model.state_dict().values())) for p in (one, two))
    np.testing.assert_array_equal(first, second)


# --- what is inferred ---------------------------------------------------------------------


def test_what_is_recognised(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "colours", 1)
    task, reason = recognise(source, Settings())
    assert type(task) is ImagesTask
    assert "blue, red" in reason
    assert not ImagesTask.recognises(source / "blue", Settings())
    (tmp_path / "prices.csv").write_text("name,price\na,1\n")
    assert not ImagesTask.recognises(tmp_path / "prices.csv", Settings())


@pytest.mark.parametrize(("sizes", "wanted"), [
    ([(20, 20)], (20, 20)), ([(8, 8)], (16, 16)), ([(300, 300), (320, 300)], (96, 96)),
    ([(120, 160)], (72, 96)), ([(30, 30), (40, 40), (50, 50)], (40, 40)),
])  # fmt: skip
def test_sizes(tmp_path: Path, sizes: list[tuple[int, int]], wanted: tuple[int, int]) -> None:
    for name, colour in COLOURS.items():
        (tmp_path / name).mkdir()
        for i in range(9):
            picture(colour, *sizes[i % len(sizes)]).save(tmp_path / name / f"{i}.png")
    problem = prepared(tmp_path)
    assert problem.training.inputs[0].shape[1:] == (*wanted, 3)
    outputs = problem.model.eval()(np.zeros((1, *wanted, 3), np.float32))
    assert outputs.shape == (1, 2)


def test_grey_pictures_get_one_channel_and_are_not_mirrored(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    assert "HorizontalFlip" in repr(prepared(source).augment)
    for path in source.rglob("*.png"):
        Image.open(path).convert("L").convert("RGB").save(path)
    problem = prepared(source)
    assert problem.training.inputs[0].shape[3] == 1
    assert "HorizontalFlip" not in repr(problem.augment)
    assert problem.training.show(0)["image"].ndim == 2


def test_mixed_modes_become_colours(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    for i, mode in enumerate(("L", "RGBA", "P", "LA")):
        path = source / "red" / f"{i:03d}.png"
        Image.open(path).convert(mode).save(path)
    assert prepared(source).training.inputs[0].shape[3] == 3


def test_a_source_that_is_split_keeps_its_test_folder(tmp_path: Path) -> None:
    folder_of(tmp_path / "pets" / "train", 10)
    folder_of(tmp_path / "pets" / "test", 4)
    problem = prepared(tmp_path / "pets")
    assert {str(Path(problem.test.place(i)).parents[1].name) for i in range(8)} == {"test"}
    assert len(problem.test) == 8
    assert len(problem.training) + len(problem.validation) == 20
    assert any("is split already" in reason for reason in problem.reasons)
    folder_of(tmp_path / "pets" / "val", 3)
    assert len(prepared(tmp_path / "pets").validation) == 6
    (tmp_path / "pets" / "test" / "blue").rename(tmp_path / "pets" / "test" / "green")
    with pytest.raises(DataError, match=r"'green'.*blue, red"):
        prepared(tmp_path / "pets")


def test_a_list_of_files(tmp_path: Path) -> None:
    folder_of(tmp_path, 10)
    lines = [f"{name}/{i:03d}.png;{i // 2};{name}" for name in COLOURS for i in range(10)]
    listed = tmp_path / "list.csv"
    listed.write_text("picture;patient;kind\n" + "\n".join(lines))
    assert "list.csv" in ImagesTask.recognises(listed, Settings())
    with pytest.raises(DataError, match=r"no column of labels"):
        prepared(listed)
    problem = prepared(listed, label="kind", group="patient")
    patients = [{int(Path(p.place(i)).stem) // 2 for i in range(len(p))}
                for p in (problem.training, problem.validation, problem.test)]  # fmt: skip
    assert len(patients[0] | patients[1] | patients[2]) == sum(map(len, patients)) == 5
    with pytest.raises(DataError, match=r"no column 'kin'.*kind"):
        prepared(listed, label="kin")
    with listed.open("a") as opened:
        opened.write("\nred/none.png;1;red\n")
    with pytest.raises(DataError, match=r"line 22 .*none\.png"):
        prepared(listed, label="kind")


def test_named_architectures(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a", 8)
    assert type(prepared(source, network="resnet20").model).__name__ == "CIFARResNet"
    with pytest.raises(ArgumentError, match=r"lenet5.*does not take images of 20 x 20"):
        prepared(source, network="lenet5")
    with pytest.raises(ArgumentError, match=r"not for classes of images"):
        prepared(source, network="gpt2")
    with pytest.raises(ArgumentError, match=r"there is no model 'resnet21'"):
        prepared(source, network="resnet21")


def test_many_large_images_get_a_residual_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_SMALL", 8)
    problem = prepared(folder_of(tmp_path / "a", 8, height=40, width=40))
    assert type(problem.model).__name__ == "CIFARResNet"


# --- bad input ----------------------------------------------------------------------------


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"cannot be told what to learn"):
        recognise(tmp_path, Settings())
    with pytest.raises(DataError, match=r"holds no folders of images"):
        prepared(tmp_path)
    (tmp_path / "cat").mkdir()
    picture(COLOURS["red"]).save(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"1 images lie in it without a class"):
        prepared(tmp_path)


def test_one_class(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    for path in (source / "red").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"all 15 images are of the one class 'blue'"):
        prepared(source)


def test_few_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 8 images; at least 10"):
        prepared(folder_of(tmp_path / "a", 4))


def test_a_class_with_one_example_is_trained_on_only(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    (source / "green").mkdir()
    picture((20, 200, 20)).save(source / "green" / "one.png")
    problem = prepared(source)
    assert 1 in problem.training.truth
    assert 1 not in problem.validation.truth
    assert 1 not in problem.test.truth
    assert any("(green)" in note for note in problem.notes)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n cut off"])
def test_one_broken_image_among_many_is_left_out(tmp_path: Path, content: bytes) -> None:
    source = folder_of(tmp_path / "a")
    (source / "red" / "007.png").write_bytes(content)
    problem = prepared(source)
    assert any("1 of 30 images" in note and "007.png" in note for note in problem.notes)
    parts = (problem.training, problem.validation, problem.test)
    places = {Path(p.place(i)) for p in parts for i in range(len(p))}
    assert len(places) == 29
    assert source / "red" / "007.png" not in places
    for part in parts:  # what is left keeps its own class
        names = [Path(part.place(i)).parent.name for i in range(len(part))]
        assert names == [("blue", "red")[label] for label in part.truth]


def test_many_broken_images_are_fatal(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    for name in ("003.png", "007.png"):
        (source / "red" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 30 images cannot be read.*003\.png.*is empty") as e:
        prepared(source)
    assert str(e.value).count("test_images.py") == 1  # the place of the call, once


def test_empty_and_foreign_folders_are_told(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a")
    (source / "notes").mkdir()
    (source / "notes" / "read.txt").write_text("hello")
    (source / "__MACOSX").mkdir()
    picture((1, 2, 3)).save(source / "__MACOSX" / "x.png")
    problem = prepared(source)
    assert any("folder notes holds no images" in note for note in problem.notes)
    assert len(problem.training) + len(problem.validation) + len(problem.test) == 30


def test_copies_between_the_parts_are_told(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "a", 1)
    for name in COLOURS:
        for i in range(1, 15):
            (source / name / f"{i}.png").write_bytes((source / name / "000.png").read_bytes())
    assert any("the same numbers" in note for note in prepared(source).notes)


def test_a_source_with_parts_is_not_read_whole(trained: tuple[Path, Run], tmp_path: Path) -> None:
    folder_of(tmp_path / "pets" / "train", 2)
    folder_of(tmp_path / "pets" / "test", 2)
    with pytest.raises(DataError, match=r"is split into test and train; give one of them"):
        trained[1].task.read(tmp_path / "pets")
    assert len(trained[1].task.read(tmp_path / "pets" / "test")) == 4


def test_labels_that_are_all_different(tmp_path: Path) -> None:
    folder_of(tmp_path, 10)
    lines = [f"{name}/{i:03d}.png,{name}{i}" for name in COLOURS for i in range(10)]
    (tmp_path / "list.csv").write_text("file,label\n" + "\n".join(lines))
    with pytest.raises(DataError, match=r"20 different labels"):
        prepared(tmp_path / "list.csv")


def test_the_error_is_clear_where_a_group_is_no_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"group='patient' names a column"):
        prepared(folder_of(tmp_path / "a"), group="patient")
