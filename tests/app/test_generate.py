"""``thalweg generate``: what it prints, and what wrong calls get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thalweg.app.cli.generate import generate_text
from thalweg.errors import ArgumentError, FormatError
from thalweg.tasks import RunFolder, Settings, train
from thalweg.tasks.language import LanguageTask

SONG = "".join(f"{i} green bottles\nhanging on the wall\n" for i in range(60))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a network that has learned nothing yet."""
    folder = tmp_path_factory.mktemp("generate")
    source = folder / "song.txt"
    source.write_text(SONG, encoding="utf-8")
    task = LanguageTask(Settings(task="language", hidden=(16,), length=24))
    problem = task.prepare(source)
    made = RunFolder.new(folder / "run")
    facts, arrays = task.state()
    settings = problem.settings.to_toml()
    made.write_pipeline({"task": task.name, "settings": settings, "facts": facts}, arrays)
    made.write_text(made.config, settings)
    made.write_model(problem.model.eval())
    return made.place


def test_prompt_and_continuation_are_printed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate_text(place, "7 green", 40, 1.0, None, None, 3, as_json=False) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("7 green")
    assert generate_text(place, "7 green", 40, 1.0, None, None, 3, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"prompt": "7 green", "text": printed[len("7 green") : -1], "seed": 3}
    generate_text(place, "7 green", 40, 1.0, None, None, 4, as_json=True)
    assert json.loads(capsys.readouterr().out)["text"] != told["text"]


def test_wrong_calls_are_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'ß', which the training text never had"):
        generate_text(place, "Maß", 4, 1.0, None, None, 0, as_json=False)
    with pytest.raises(ArgumentError, match="temperature"):
        generate_text(place, "7", 4, -1.0, None, None, 0, as_json=False)
    with pytest.raises(ArgumentError, match="top_p"):
        generate_text(place, "7", 4, 1.0, None, 1.5, 0, as_json=False)
    with pytest.raises(FormatError, match="is no run folder"):
        generate_text(tmp_path, "7", 4, 1.0, None, None, 0, as_json=False)


def test_a_run_of_another_task_writes_no_text(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(40)))
    train(table, Settings(task="table", target=("b",), epochs=1), tmp_path / "run")
    with pytest.raises(ArgumentError, match="task 'table', which writes no text"):
        generate_text(tmp_path / "run", "7", 4, 1.0, None, None, 0, as_json=False)
