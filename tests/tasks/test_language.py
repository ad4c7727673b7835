"""Language models: a text is cut, learned, measured and continued; what bad input gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.errors import ArgumentError, DataError
from thalweg.models.gpt import GPT2
from thalweg.tasks import Run, Settings, train
from thalweg.tasks.language import LanguageTask, figures_of_tokens
from thalweg.tasks.task import Problem, recognise

HOUSE = Path(__file__).parents[3]
DATA = Path(os.environ.get("THALWEG_SHARED_DATA", HOUSE / "shared" / "data"))
NAMES = DATA / "text" / "names.txt"
COUNTED = "".join(f"{i} green bottles\nhanging on the wall\n" for i in range(300))


def prepared(source: Path, **settings: Any) -> tuple[LanguageTask, Problem]:
    task = LanguageTask(Settings(**settings))
    return task, task.prepare(source)


def written(folder: Path, text: str, name: str = "song.txt") -> Path:
    place = folder / name
    place.write_text(text, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any]]:
    """A run of a small network on the bottles, and what was measured of it."""
    folder = tmp_path_factory.mktemp("language")
    source = written(folder, COUNTED)
    settings = Settings(hidden=(32,), length=32, epochs=8, batch_size=4, learning_rate=2e-3)
    found = train(source, settings, folder / "run")
    return Run.load(folder / "run"), found.results


def test_the_network_is_far_ahead_of_the_naive_answer(made: tuple[Run, dict[str, Any]]) -> None:
    _, results = made
    assert results["task"] == "language"
    figures = {f["name"]: f for f in results["figures"]}
    assert set(figures) == {"loss", "perplexity", "bits per character"}
    for figure in figures.values():
        assert figure["low"] <= figure["value"] <= figure["high"] < figure["naive"] / 2
    loss = figures["loss"]
    assert figures["perplexity"]["value"] == pytest.approx(np.exp(loss["value"]))
    assert figures["bits per character"]["naive"] == pytest.approx(loss["naive"] / np.log(2))
    assert [set(sample) for sample in results["samples"]] == [{"prompt", "text"}] * 2
    assert all(len(sample["text"]) > 100 for sample in results["samples"])
    worst = [w["loss"] for w in results["worst"]]
    assert worst == sorted(worst, reverse=True)


def test_figures_are_those_of_the_whole_output(
    made: tuple[Run, dict[str, Any]], tmp_path: Path
) -> None:
    run, _ = made
    rows = run.task.read(["3 green bottles\nhanging on the wall\n" * 20])
    logits = run.outputs(rows).astype(np.float64)
    truth = np.asarray(rows.truth)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    own = np.take_along_axis(shares, truth[..., None], -1)
    found = figures_of_tokens(run, rows)
    source = written(tmp_path, "3 green bottles\nhanging on the wall\n" * 20)
    assert run.task.figures(run, source) == (len(rows), found)
    assert found["loss"] == pytest.approx(float(-np.log(own).mean()), rel=1e-5)
    np.testing.assert_array_equal(rows.inputs[0][:, 1:], truth[:, :-1])
    np.testing.assert_array_equal(rows.inputs[0][1:, 0], truth[:-1, -1])


def test_a_text_is_continued_as_it_was_learned(made: tuple[Run, dict[str, Any]]) -> None:
    run, _ = made
    assert isinstance(run.task, LanguageTask)
    assert isinstance(run.model, GPT2)
    told = run.task.generate(run.model, "7 green bottles\nhang", 100, temperature=0)
    assert told.startswith("ing on the wall\n")
    assert len(told) == 100  # longer than the context, which is read again
    assert "green bottles" in told[16:]
    drawn = [run.task.generate(run.model, "", 60, 1.0, seed=s) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(ArgumentError, match="thalweg generate"):
        run.predict(["4 green bottles"])


def test_wrong_prompts_and_options_are_refused(made: tuple[Run, dict[str, Any]]) -> None:
    run, _ = made
    assert isinstance(run.task, LanguageTask)
    assert isinstance(run.model, GPT2)
    with pytest.raises(ArgumentError, match="the prompt holds 'é', 'Z', which"):
        run.task.generate(run.model, "a béZé", 5)
    with pytest.raises(ArgumentError, match="length=0"):
        run.task.generate(run.model, "a", 0)
    with pytest.raises(DataError, match="holds 1 tokens"):
        run.task.read(["g"])


def test_the_text_is_cut_by_position(tmp_path: Path) -> None:
    task, problem = prepared(written(tmp_path, COUNTED))
    texts = [
        "".join(task.tokens.decode(part.inputs[0]))
        for part in (problem.training, problem.validation, problem.test)
    ]
    assert COUNTED.startswith(texts[0])
    assert COUNTED.index(texts[1]) >= len(texts[0])
    assert COUNTED.index(texts[2]) >= COUNTED.index(texts[1]) + len(texts[1])
    assert abs(len(texts[2]) / len(COUNTED) - 0.15) < 0.02
    begin = problem.test.place(0)
    assert begin.startswith("song.txt: token ")
    number = int(begin.split()[-1].replace(",", ""))
    assert COUNTED[number:].startswith(problem.test.show(0)["text"])
    assert any("cut by position" in reason for reason in problem.reasons)


def test_letters_that_only_the_end_has_are_told(tmp_path: Path) -> None:
    _, problem = prepared(written(tmp_path, COUNTED + "ÄÖÜ" * 60))
    assert any("of the test part are letters" in note for note in problem.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n ", "nothing but white space"),
        ("a" * 5000, "one character only, 'a', 5,000 times"),
        ("a\n" * 5000, "one character only"),
        ("a short text", "has 12 tokens"),
        ("ab\0c" * 500, "encoding=utf-16"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        prepared(written(tmp_path, text))


def test_a_wrong_encoding_and_a_long_window_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_bytes(b"one line\n" + "zwei Füße\n".encode("cp1252") * 100)
    with pytest.raises(DataError, match=r"line 2 holds the byte 0xfc.*cp1252"):
        prepared(place)
    assert prepared(place, encoding="cp1252")[0].tokens.size > 5
    with pytest.raises(DataError, match="windows of 2000 tokens"):
        prepared(written(tmp_path, COUNTED), length=2000)
    with pytest.raises(ArgumentError, match="wordpiece"):
        prepared(written(tmp_path, COUNTED), level="wordpiece")
    with pytest.raises(ArgumentError, match="of one width"):
        prepared(written(tmp_path, COUNTED), hidden=(32, 16))


def test_recognised_are_text_files_and_folders_of_them(tmp_path: Path) -> None:
    song = written(tmp_path, COUNTED)
    assert "a file of text" in LanguageTask.recognises(song, Settings())
    assert not LanguageTask.recognises(song, Settings(target=("a",)))
    assert not LanguageTask.recognises(written(tmp_path, COUNTED, "a.csv"), Settings())
    assert not LanguageTask.recognises(written(tmp_path, "a\0b", "b.txt"), Settings())
    labelled = "".join(f"{'ab'[i % 2]}\twords and {i}\n" for i in range(40))
    assert not LanguageTask.recognises(written(tmp_path, labelled, "c.txt"), Settings())
    book = tmp_path / "book"
    book.mkdir()
    assert not LanguageTask.recognises(book, Settings())
    written(book, COUNTED[:3000], "2.md")
    written(book, COUNTED[3000:], "1.txt")
    assert "2 text files" in LanguageTask.recognises(book, Settings())
    task, problem = prepared(book)
    assert COUNTED[3000:].startswith(problem.training.show(0)["text"])
    assert task.length == 128


@pytest.mark.parametrize("level", ["byte", "bpe"])
def test_other_tokens(level: str, tmp_path: Path) -> None:
    task, problem = prepared(written(tmp_path, COUNTED + "Größe\n" * 20), level=level, length=16)
    assert problem.settings.level == level
    assert problem.training.show(0)["text"] in COUNTED
    if level == "bpe":
        assert task.tokens.size > 258
        assert len(problem.training) < len(COUNTED) / 3 / 16
    assert task.generate(problem.model.eval(), "Größe", 4, seed=1) is not None


def test_state_comes_back_whole(tmp_path: Path) -> None:
    task, problem = prepared(written(tmp_path, COUNTED), length=32)
    other = LanguageTask(task.settings)
    other.restore(*task.state())
    found = other.read(["1 green bottles\n" * 10])
    np.testing.assert_array_equal(found.inputs[0], task.read(["1 green bottles\n" * 10]).inputs[0])
    assert (other.length, other.start, other.targets) == (32, task.start, ("the next letter",))
    np.testing.assert_array_equal(other.counts, task.counts)
    assert task.counts.sum() >= problem.training.inputs[0].size


@pytest.mark.skipif(not NAMES.exists(), reason=f"{NAMES} is missing; set THALWEG_SHARED_DATA")
def test_a_list_of_names_is_a_text() -> None:
    task, reason = recognise(NAMES, Settings())
    assert task.name == "language"
    assert reason == "names.txt is a file of text"
    assert isinstance(task, LanguageTask)
    problem = task.prepare(NAMES)
    assert task.tokens.size == 29
    assert task.tokens.decode([[task.start]]) == ["\n"]
    assert problem.settings.hidden == (128,) * 4
