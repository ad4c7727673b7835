"""What is odd about a table is told: and nothing about one that is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.data import read_table
from thalweg.tasks.noticing import notes_of_classes, notes_of_table

Array = np.ndarray[Any, Any]


def notes(columns: dict[str, Any], targets: tuple[str, ...] = ("y",)) -> list[str]:
    table = read_table(columns)
    rows = np.arange(len(table))
    parts = (rows[: len(rows) // 2], rows[len(rows) // 2 : -20], rows[-20:])
    return notes_of_table(table.without(*targets), table, targets, parts)


def sound(rows: int = 200) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(size=rows), "b": np.array(list("pqrs"), object)[rng.integers(0, 4, rows)],
        "y": np.array(["no", "yes"], object)[rng.integers(0, 2, rows)],
    }  # fmt: skip


def test_a_sound_table_gets_no_notes() -> None:
    assert notes(sound()) == []
    rng = np.random.default_rng(1)
    assert notes(sound() | {"y": rng.normal(size=200)}) == []


@pytest.mark.parametrize("share", [0.29, 0.31])
def test_missing_values(share: float) -> None:
    made = sound(1000)
    made["a"][: int(1000 * share)] = np.nan
    words = made["b"].copy()
    words[: int(1000 * share)] = None
    found = notes(made | {"b": words})
    wanted = [f"column {n!r} is missing in 31% of the rows" for n in "ab"]
    assert found == (wanted if share > 0.3 else [])


def test_rows_of_the_test_part_that_train_too() -> None:
    made = sound()
    for name in ("a", "b"):
        made[name][-7:] = made[name][:7]
    assert notes(made) == ["7 rows of the test part are also in the training part, word for word"]
    made["a"][-7:] += 1e-9
    assert notes(made) == []


def test_gaps_are_alike_in_repeated_rows() -> None:
    made = sound()
    made["a"][-1] = made["a"][3] = np.nan
    made["b"][-1] = made["b"][3]
    assert len(notes(made)) == 1


@pytest.mark.parametrize(
    "leak",
    [
        lambda y: np.where(y == "yes", 1.0, 0.0),
        lambda y: np.where(y == "yes", "granted", "refused").astype(object),
        lambda y: np.array([f"{v}{i % 3}" for i, v in enumerate(y)], object),
    ],
)
def test_a_column_that_gives_a_class_away(leak: Any) -> None:
    made = sound()
    made["leak"] = leak(made["y"])
    (note,) = notes(made)
    assert "'leak' alone tells the target 'y'" in note
    assert "--drop" in note


def test_a_column_that_gives_a_number_away() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=200)
    made = sound() | {"y": y, "leak": -3 * y + 1e-4 * rng.normal(size=200)}
    (note,) = notes(made)
    assert "'leak' alone tells the target 'y'" in note
    assert notes(made | {"leak": y + 0.3 * rng.normal(size=200)}) == []


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_numbers_of_any_size_neither_overflow_nor_hide_a_leak(scale: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        y = np.random.default_rng(1).uniform(-1, 1, 200)
        (note,) = notes(sound() | {"y": y * scale, "leak": y})
        assert "'leak'" in note
        assert notes(sound() | {"y": y * 0 + scale * 2, "leak": y}) != [note]


def test_what_tells_by_chance_is_no_leak() -> None:
    made = sound(60)
    made["id"] = np.array([f"u{i}" for i in range(60)], object)
    made["half"] = np.array([f"u{i // 2}" for i in range(60)], object)
    assert notes(made) == []
    few = {name: values[:40] for name, values in sound().items()}
    assert notes(few | {"leak": few["y"]}) == []  # too few rows to say so


def test_a_frequent_class_is_no_leak() -> None:
    """A constant column is right nearly always where one class is nearly all."""
    made = sound(2000)
    made["y"] = np.array(["no"] * 1999 + ["yes"], object)
    assert not any("alone tells" in note for note in notes(made))


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["a"] * 50 + ["b"] * 50, 0), (["a"] * 96 + ["b"] * 4, 1), (["a"] * 95 + ["b"] * 5, 0),
        (["a"] * 94 + ["b"] * 3 + ["c"] * 3, 2), ([f"c{i % 11}" for i in range(110)], 0),
        ([f"c{i % 11}" for i in range(109)], 1),
    ],
)  # fmt: skip
def test_rare_classes(labels: list[str], wanted: int) -> None:
    assert len(notes_of_classes(np.array(labels))) == wanted


def test_the_class_and_its_share_are_named() -> None:
    (note,) = notes_of_classes(np.array([0.0] * 99 + [1.0]))
    assert note.startswith("the class 1.0 has 1 of 100 rows")
