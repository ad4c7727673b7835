"""Each format of dates is read alike wherever dates are read, and none is guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from thalweg.app.serve.readers.tables import _dates
from thalweg.data import read_table
from thalweg.data.date_formats import DATE_FORMATS, date_pattern
from thalweg.data.features import Values
from thalweg.data.features.dates import parse_dates
from thalweg.errors import DataError

START = datetime(2019, 1, 30, 13, 4, 5, 250_000, tzinfo=timezone(timedelta(hours=2)))
DAYS = [START + timedelta(days=23 * i, minutes=7 * i) for i in range(40)]


def truth(form: str, day: datetime) -> np.datetime64:
    again = datetime.strptime(day.strftime(form), form)
    if again.tzinfo:
        again = again.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(again, "us")


@pytest.mark.parametrize("form", DATE_FORMATS)
def test_every_format_is_read_alike_everywhere(form: str, tmp_path: Path) -> None:
    words = [day.strftime(form) for day in DAYS]
    wanted = [truth(form, day) for day in DAYS]
    path = tmp_path / "t.csv"
    path.write_text("day\n" + "".join(f'"{word}"\n' for word in words))
    table = read_table(path)
    assert table.kinds == {"day": "date"}, table.reasons
    np.testing.assert_array_equal(table.column("day"), wanted)
    found, _ = parse_dates(Values("day", np.array(words, object), str))
    np.testing.assert_array_equal(found, wanted)
    read, pattern = _dates(form), re.compile(date_pattern(form))
    for word, date in zip(words, wanted, strict=True):
        assert pattern.fullmatch(word), word
        assert np.datetime64(read(word), "us") == date


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["1/31/2024", "2/5/2024"], "2024-01-31"),
        (["31.1.24", "5.2.24"], "2024-01-31"),
        (["5-jan-2020", "17-FEB-2020"], "2020-01-05"),
        (["2024-1-5", "2024-11-30"], "2024-01-05"),
    ],
)
def test_days_and_months_without_zeros_and_short_years(words: list[str], first: str) -> None:
    table = read_table({"day": np.array(words, object)}, kinds={"day": "date"})
    assert table.column("day")[0] == np.datetime64(first)


@pytest.mark.parametrize("word", ["01/02/2024", "01/02/24", "01-02-2024", "1/2/2024 3:04 PM"])
def test_days_that_may_be_months_are_not_guessed(word: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"day\n{word}\n{word}\n")
    assert "cannot be told apart" in read_table(path).reasons["day"]
    with pytest.raises(DataError, match="cannot be told apart"):
        parse_dates(Values("day", np.array([word], object), str))


def test_impossible_days_are_no_dates() -> None:
    given = {"%d.%m.%Y": "31.11.2024", "%d %b %Y": "30 Feb 2024", "%m/%d/%Y": "0/5/2024"}
    for form, word in given.items():
        assert not re.fullmatch(date_pattern(form), word)
    table = read_table({"day": np.array(["31.11.2024", "1.1.2024"], object)})
    assert table.kinds["day"] == "category"


@pytest.mark.parametrize(
    "words",
    [
        ["1.2.3", "1.3.1", "2.1.4", "3.12.9"],
        ["12/25/9", "1/31/8"],
        ["SEP1234", "MAR5678"],
        ["1234-10", "5678-01", "9999-12"],
        ["10.01.0123", "11.02.0456"],
        ["12-10-5551", "11-09-5552"],
        ["1/2", "3/4"],
        ["12:30", "13:45"],
    ],
)
def test_what_only_looks_like_dates_is_none(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("code\n" + "\n".join(words) + "\n")
    assert read_table(path).kinds["code"] == "category"


def test_short_years_fractions_and_zones_are_read_alike() -> None:
    for form, words, first in (
        ("%d/%m/%y", ["31/12/69", "31/12/68"], "1969-12-31"),
        ("%Y-%m-%d %H:%M:%S.%f", ["2024-01-05 12:00:00", "2024-01-05 12:00:00.1234567"],
         "2024-01-05T12:00:00"),
        ("%Y-%m-%dT%H:%M:%S%z", ["2024-01-05T12:00:00Z", "2024-01-05T12:00:00+02:00"],
         "2024-01-05T12:00:00"),
    ):  # fmt: skip
        table = read_table({"day": np.array(words, object)}, dates={"day": form})
        found, _ = parse_dates(Values("day", np.array(words, object), str), form)
        np.testing.assert_array_equal(table.column("day"), found)
        assert found[0] == np.datetime64(first)
    with pytest.raises(DataError, match="is no date"):
        parse_dates(Values("x", np.array(["9999-12-31T23:30:00-02:00"], object), str))
