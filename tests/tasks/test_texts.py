"""Labelled texts: from lines, a table or folders to classes, and what bad input gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import DataError
from thalweg.models.text_network import TextNetwork
from thalweg.tasks import Run, Settings, train
from thalweg.tasks.task import recognise
from thalweg.tasks.texts import TextsTask

HOUSE = Path(__file__).parents[3]
DATA = Path(os.environ.get("THALWEG_SHARED_DATA", HOUSE / "shared" / "data"))
SPAM = DATA / "text" / "SMSSpamCollection.tsv"
GOOD, BAD = ("good", "lovely", "fine", "great"), ("bad", "awful", "poor", "nasty")


def sentences(count: int = 160, seed: int = 0) -> list[tuple[str, str]]:
    """Return labels and texts that one word decides."""
    source = np.random.default_rng(seed)
    made = []
    for i in range(count):
        label = ("pleased", "angry")[i % 2]
        word = str(source.choice(GOOD if label == "pleased" else BAD))
        before, after = (str(source.integers(10, 99)) for _ in range(2))
        made.append((label, f"the {before} meals were {word} in house {after}"))
    return made


def lines(folder: Path, rows: list[tuple[str, str]], name: str = "mail.tsv") -> Path:
    place = folder / name
    place.write_text("".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    return place


def prepared(source: Path, **settings: Any) -> tuple[TextsTask, Any]:
    task = TextsTask(Settings(**settings))
    return task, task.prepare(source)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("texts")
    source = lines(folder, sentences())
    made = train(source, Settings(epochs=12), folder / "run")
    assert made.results["task"] == "texts"
    figures = {f["name"]: f for f in made.results["figures"]}
    assert figures["accuracy"]["value"] == 1.0 > figures["accuracy"]["naive"]
    return Run.load(folder / "run")


def test_a_run_tells_new_texts_in_all_forms(run: Run, tmp_path: Path) -> None:
    texts = ["the 12 meals were awful in house 3", "the 77 meals were great in house 9"]
    wanted = ["angry", "pleased"]
    plain = tmp_path / "new.txt"
    plain.write_text("\n".join(texts), encoding="utf-8")
    table = tmp_path / "new.csv"
    table.write_text("number,text\n" + "\n".join(f"{i},{t}" for i, t in enumerate(texts)))
    single = tmp_path / "single.csv"
    single.write_text("what was said\n" + "\n".join(texts) + "\n")
    for source in (texts, plain, {"text": texts}, table, single):
        assert run.predict(source)["prediction"] == wanted
    rows = run.task.read(lines(tmp_path, sentences(10, seed=5)))
    assert rows.truth is not None
    assert rows.truth.tolist() == [1, 0] * 5
    assert rows.show(0)["text"].startswith("the ")
    assert rows.place(3).endswith("mail.tsv: line 4")


def test_a_table_of_many_columns_is_not_read_to_see_that_it_is_none_of_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,d,e,answer\n" + "1,2,3,4,5,6\n" * 30)

    def refuse(*given: Any, **more: Any) -> None:
        raise AssertionError("the table was read")

    monkeypatch.setattr("thalweg.tasks.reading.read_table", refuse)
    assert recognise(path, Settings(target=("answer",)))[0].name == "table"
    path.write_text("a,answer\n" + "1,2\n" * 30)
    monkeypatch.setattr("thalweg.data.table_blocks.LARGE", 100)  # nor one larger than memory
    assert recognise(path, Settings(target=("answer",)))[0].name == "table"


def test_a_text_is_told_alike_whatever_stands_beside_it(run: Run) -> None:
    texts = [text for _, text in sentences(6, seed=2)]
    alone = [run.predict([text])["probability"][0] for text in texts]
    np.testing.assert_allclose(run.predict(texts)["probability"], alone, rtol=1e-5)
    assert len(run.predict(["", "zzz qqq"])["prediction"]) == 2


def test_new_sources_without_texts_say_what_is_wanted(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'text'"):
        run.predict({"a": ["x"], "b": ["y"]})
    with pytest.raises(DataError, match="row 1 of the texts is 3"):
        run.predict(["a", 3])
    wrong = lines(tmp_path, [*sentences(10), ("bored", "the meals were long")])
    with pytest.raises(DataError, match=r"class 'bored' in .*line 11"):
        run.task.read(wrong)


def test_the_label_is_the_field_that_repeats(tmp_path: Path) -> None:
    turned = lines(tmp_path, [(text, label) for label, text in sentences()])
    task, problem = prepared(turned)
    assert task.form.label_last
    assert task.classes == ("angry", "pleased")
    assert "text, then label" in TextsTask.recognises(turned, Settings())
    assert len(problem.training) == 112


def test_a_table_is_ours_only_if_it_has_one_column_of_texts(tmp_path: Path) -> None:
    place = tmp_path / "mail.csv"
    rows = "".join(f'{i % 7},"{text}",{label}\n' for i, (label, text) in enumerate(sentences()))
    place.write_text("day,words,mood\n" + rows)
    assert not TextsTask.recognises(place, Settings(target=("mood",)))
    dropped = Settings(target=("mood",), drop=("day",))
    assert "the texts of 'words'" in TextsTask.recognises(place, dropped)
    assert not TextsTask.recognises(place, Settings(target=("mod",), drop=("day",)))
    task, problem = prepared(place, target=("mood",), drop=("day",))
    assert task.targets == ("mood",)
    assert problem.training.show(0)["text"].startswith("the ")
    rows_with = task.read({"words": ["the 1 meals were bad"], "mood": ["angry"]})
    assert rows_with.truth is not None
    assert task.read({"words": ["the 1 meals were bad"]}).truth is None


def test_a_table_with_several_texts_or_numbers_to_predict_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "mail.csv"
    rows = "".join(
        f'"{text} now","{text}",{label},{i / 7}\n' for i, (label, text) in enumerate(sentences())
    )
    place.write_text("title,words,mood,price\n" + rows)
    with pytest.raises(DataError, match="columns of texts are 'title', 'words'"):
        prepared(place, target=("mood",))
    with pytest.raises(DataError, match="no classes"):
        prepared(place, target=("price",), text="words")
    task, _ = prepared(place, target=("mood",), text="title")
    assert task.form.text == "title"


def folders(place: Path, rows: list[tuple[str, str]]) -> Path:
    for i, (label, text) in enumerate(rows):
        (place / label).mkdir(parents=True, exist_ok=True)
        (place / label / f"{i:03}.txt").write_text(text, encoding="utf-8")
    return place


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    place = folders(tmp_path / "moods", sentences(200))
    assert "2 folders of .txt files" in recognise(place, Settings(task=None))[1]
    (place / "angry" / "999.txt").write_bytes(b"caf\xe9")
    (place / "angry" / "empty.txt").write_text("")
    task, problem = prepared(place)
    assert any("1 files cannot be read" in note and "999.txt" in note for note in problem.notes)
    assert any("1 rows have no text" in note and "empty.txt" in note for note in problem.notes)
    assert problem.training.place(0).endswith(".txt")
    found = task.read(place)
    assert found.truth is not None
    assert np.bincount(found.truth).tolist() == [101, 100]
    one = task.read(place / "pleased" / "000.txt")
    assert len(one) == 1
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.txt").write_text("the meals were good")
    assert task.read(flat).truth is None
    for i in range(5):
        (place / "angry" / f"broken{i}.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match="6 of 207 files cannot be read"):
        prepared(place)


def test_what_is_odd_is_told(tmp_path: Path) -> None:
    twice = [("angry", "we say the same thing"), ("pleased", "we say the same thing")] * 30
    rows = [*sentences(100), *twice, ("lonely", "nobody else is here")]
    _, problem = prepared(lines(tmp_path, rows))
    told = "\n".join(problem.notes)
    assert "also in the training part, word for word" in told
    assert "1 texts have more than one label, such as 'we say the same thing'" in told
    assert "classes with one or two rows (lonely)" in told


def test_a_line_of_names_is_left_out(tmp_path: Path) -> None:
    source = lines(tmp_path, [("mood", "words"), *sentences()])
    task, problem = prepared(source)
    assert task.classes == ("angry", "pleased")
    assert any("the first line names the fields" in note for note in problem.notes)
    kept, _ = prepared(source, header=False)
    assert kept.classes == ("angry", "mood", "pleased")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (sentences(8), "is not made of lines"),
        ([("a", f"text {i} of it") for i in range(20)], "is not made of lines"),
        ([(f"l{i}", f"text {i} of it") for i in range(20)], "is not made of lines"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    rows: list[tuple[str, str]], message: str, tmp_path: Path
) -> None:
    source = lines(tmp_path, rows)
    assert not TextsTask.recognises(source, Settings())
    with pytest.raises(DataError, match=message):
        prepared(source)


def test_few_texts_and_single_classes_in_a_table_are_refused(tmp_path: Path) -> None:
    def table(rows: list[tuple[str, str]]) -> Path:
        place = tmp_path / "t.csv"
        place.write_text("mood,words\n" + "".join(f"{a},{b}\n" for a, b in rows))
        return place

    with pytest.raises(DataError, match="has 6 texts with a label"):
        prepared(table(sentences(6)), target=("mood",), text="words")
    with pytest.raises(DataError, match="of the one class 'angry'"):
        prepared(table([("angry", b) for _, b in sentences(30)]), target=("mood",))
    alone = [(f"mood{i // 2}", b) for i, (_, b) in enumerate(sentences(30))]
    with pytest.raises(DataError, match="has one or two texts"):
        prepared(table(alone), target=("mood",), text="words", categories=("mood",))


def test_a_wrong_encoding_names_line_and_guess(tmp_path: Path) -> None:
    source = tmp_path / "mail.tsv"
    source.write_bytes("".join(f"{a}\t{b} café\n" for a, b in sentences()).encode("cp1252"))
    with pytest.raises(DataError, match=r"line 1 holds the byte 0xe9.*cp1252"):
        prepared(source)
    assert prepared(source, encoding="cp1252")[0].classes == ("angry", "pleased")


def test_single_words_are_read_by_letter(tmp_path: Path) -> None:
    words = [("one", f"an{i}na") for i in range(40)] + [("two", f"xo{i}x") for i in range(40)]
    task, problem = prepared(lines(tmp_path, words))
    assert task.tokens.settings["level"] == "character"
    assert problem.settings.level == "character"


def test_settings_are_obeyed_and_the_same_seed_gives_the_same_network(tmp_path: Path) -> None:
    source = lines(tmp_path, sentences())
    given = {"level": "character", "length": 20, "hidden": (7,), "size": 5, "dropout": 0.0}
    first, second = prepared(source, **given)[1], prepared(source, **given)[1]
    assert first.training.inputs[0].shape[1] == 20
    assert (first.model.width, first.model.hidden, first.model.dropout) == (5, (7,), 0.0)
    x = first.test.inputs[0]
    np.testing.assert_array_equal(x, second.test.inputs[0])
    np.testing.assert_array_equal(
        first.model.eval()(x).numpy(), second.model.eval()(x).numpy()
    )  # fmt: skip


def test_network_ignores_what_fills_a_text_up() -> None:
    network = TextNetwork(30, 3, width=6, filters=5).reset_parameters(0).eval()
    text = np.random.default_rng(0).integers(1, 30, (4, 9))
    longer = np.concatenate([text, np.zeros((4, 7), np.int64)], 1)
    compiled = tw.compile(lambda x: network(x))
    np.testing.assert_allclose(compiled(text).numpy(), network(longer).numpy(), atol=1e-5)
    assert np.isfinite(network(np.zeros((2, 5), np.int64)).numpy()).all()


@pytest.mark.skipif(not SPAM.exists(), reason=f"{SPAM} is missing; set THALWEG_SHARED_DATA")
def test_spam_is_recognised_and_prepared() -> None:
    found, reason = recognise(SPAM, Settings())
    assert found.name == "texts"
    assert "label, then text" in reason
    problem = found.prepare(SPAM)
    assert found.classes == ("ham", "spam")
    assert len(problem.training) + len(problem.validation) + len(problem.test) == 5574
