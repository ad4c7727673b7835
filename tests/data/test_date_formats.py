"""Each format of dates is read alike wherever dates are read, and none is guessed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from thalweg.app.serve.readers.tables import _dates, _pattern
from thalweg.data import read_table
from thalweg.data.date_formats import DATE_FORMATS
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
    read, pattern = _dates(form), re.compile(_pattern(form))
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
        assert not re.fullmatch(_pattern(form), word)
    table = read_table({"day": np.array(["31.11.2024", "1.1.2024"], object)})
    assert table.kinds["day"] == "category"
