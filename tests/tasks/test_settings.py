"""Settings: every value comes back from TOML, and none that cannot be meant gets through."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import ArgumentError
from thalweg.tasks import Settings

# All of Unicode but the halves of surrogate pairs, which no file can hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    target=st.lists(TEXT, max_size=3), separator=TEXT, hidden=st.lists(st.integers(-5, 2000)),
    learning_rate=FINITE, seconds=st.floats(1e-300, 1e300), seed=st.integers(0, 2**64 - 1),
    epochs=st.integers(1, 2**70), header=st.booleans(),
)  # fmt: skip
def test_settings_come_back_from_toml(**chosen: Any) -> None:
    made = Settings.of(chosen)
    assert Settings.of(Settings.parse(made.to_toml())) == made
    assert made.target == tuple(chosen["target"])


def test_what_is_left_out_stays_a_choice_and_none_is_not_written() -> None:
    assert "hidden" not in Settings().to_toml()
    assert Settings.of(Settings.parse(Settings().to_toml())) == Settings()
    assert Settings.of({"hidden": []}).hidden == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", 3.5), ("hidden", {"a": 1}), ("hidden", "96"), ("hidden", [1.5]),
        ("hidden", [True]), ("target", 5), ("target", [1]), ("drop", {"a": 1}), ("drop", True),
        ("epochs", "3"), ("epochs", True), ("epochs", 2.0), ("test", "much"), ("test", True),
        ("header", 1), ("header", "yes"), ("separator", 7), ("augment", None), ("seed", None),
    ],
)  # fmt: skip
def test_another_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"the setting {name}=.* is not of type"):
        Settings.of({name: value})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [(name, n, "from 1 on") for name in ("epochs", "batch_size", "members", "patience", "horizon",
                                         "size", "length", "rate") for n in (0, -3)]
    + [("seconds", 0, "above 0"), ("seconds", -1.5, "above 0"), ("seconds", float("inf"), "finite"),
       ("seconds", float("nan"), "finite"), ("learning_rate", float("nan"), "finite"),
       ("test", float("-inf"), "finite"), ("seed", -1, "from 0"), ("seed", 2**64, "from 0")],
)  # fmt: skip
def test_what_nothing_can_be_trained_with_is_refused(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(ArgumentError, match=rf"the setting {name} is .*{wanted}"):
        Settings.of({name: value})


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'learning_rate'"):
        Settings.of({"learning-rate": 0.1})
    with pytest.raises(ArgumentError, match="no setting is called 'found'"):
        Settings.of({"found": {}})


def test_every_setting_is_told_in_its_type() -> None:
    """A new field needs a type that ``Settings.of`` can check."""
    for field in fields(Settings):
        if field.name != "found":
            kind = str(field.type)
            assert kind.removesuffix(" | None").split("[")[0] in (
                "str", "int", "float", "bool", "tuple"
            ), field.name  # fmt: skip


def test_files_that_are_no_settings(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be read"):
        Settings.read(tmp_path / "none.toml")
    with pytest.raises(ArgumentError, match="cannot be read"):
        Settings.read(tmp_path)
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ArgumentError, match="cannot be read"):
        Settings.read(file)
    file.write_text("epochs = \n")
    with pytest.raises(ArgumentError, match=r"a\.toml: the settings are no TOML.*line 1"):
        Settings.read(file)
