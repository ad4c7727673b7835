"""Tables: the kinds of columns, the same from every source; bad files named by line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg import data
from thalweg.errors import ArgumentError, DataError

pl = pytest.importorskip("polars")
pytest.importorskip("narwhals")

TEXTS = [f"a longer text that nobody wrote twice, number {i}" for i in range(40)]


def written(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def frame() -> dict[str, list[Any]]:
    return {
        "age": [31.5, None, 4.0] + [1.0] * 37,
        "city": ["Rome", None, "Oslo"] + ["Rome"] * 37,
        "day": [f"2026-01-{i % 28 + 1:02d}" for i in range(40)],
        "note": TEXTS,
    }


def test_kinds_are_inferred_with_their_reasons(tmp_path: Path) -> None:
    pl.DataFrame(frame()).write_csv(tmp_path / "a.csv")
    table = data.read_table(tmp_path / "a.csv")
    kinds = {"age": "number", "city": "category", "day": "date", "note": "text"}
    assert table.kinds == kinds
    assert "39 values are numbers, 1 missing" in table.reasons["age"]
    assert "2 distinct values of 39" in table.reasons["city"]
    assert "%Y-%m-%d" in table.reasons["day"]
    np.testing.assert_array_equal(table.column("age")[:3], [31.5, np.nan, 4])
    assert table.column("city")[:2].tolist() == ["Rome", None]
    assert table.column("day")[0] == np.datetime64("2026-01-01")
    assert table.describe(2).endswith("a.csv: line 4")
    assert "city: category" in repr(table)


@pytest.mark.parametrize("source", ["parquet", "jsonl", "polars", "pandas", "arrow", "dict"])
def test_all_sources_give_the_same_columns(source: str, tmp_path: Path) -> None:
    polars = pl.DataFrame(frame()).with_columns(pl.col("day").str.to_date())
    given: Any = polars
    if source == "parquet":
        given = tmp_path / "a.parquet"
        polars.write_parquet(given)
    elif source == "jsonl":
        given = tmp_path / "a.jsonl"
        polars.with_columns(pl.col("day").cast(pl.String)).write_ndjson(given)
    elif source == "pandas":
        pandas = pytest.importorskip("pandas")
        given = pandas.DataFrame({**frame(), "day": polars["day"].to_list()})
        given["day"] = pandas.to_datetime(given["day"])
    elif source == "arrow":
        pytest.importorskip("pyarrow")
        given = polars.to_arrow()
    elif source == "dict":
        given = {**frame(), "day": polars["day"].to_numpy()}
        given["age"] = np.array(given["age"], float)
    table = data.read_table(given, dates={"day": "%Y-%m-%d"} if source == "jsonl" else None)
    assert table.kinds == {"age": "number", "city": "category", "day": "date", "note": "text"}
    np.testing.assert_array_equal(table.column("age")[:3], [31.5, np.nan, 4])
    assert table.column("city")[:3].tolist() == ["Rome", None, "Oslo"]
    assert table.column("day").dtype == np.dtype("datetime64[us]")
    assert table.column("day")[3] == np.datetime64("2026-01-04")


def test_a_table_is_a_data_set(tmp_path: Path) -> None:
    table = data.read_table({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "a"]})
    assert isinstance(table, data.Dataset)
    assert table.fetch(np.array([2, 0]))[1].tolist() == ["a", "a"]
    part = table.take([2, 1])
    assert part.column("x").tolist() == [3, 2]
    assert part.describe(0) == "row 2"
    assert table.without("x").names == ("y",)
    assert table.select(["y", "x"]).names == ("y", "x")
    with pytest.raises(DataError, match="no column 'z'"):
        table.column("z")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(separator: str, tmp_path: Path) -> None:
    rows = [["name", "x"], ['"Doe, J; jr"', "1"], ["Li", "2"]]
    path = written(tmp_path, "\n".join(separator.join(row) for row in rows))
    table = data.read_table(path)
    assert table.names == ("name", "x")
    assert table.column("name")[0] == "Doe, J; jr"


def test_quotes_empty_lines_and_byte_order_marks(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff\r\nx,note\r\n1,"two\nlines"\r\n\r\n2,b\r\n\r\n')
    table = data.read_table(path)
    assert table.column("x").tolist() == [1, 2]
    assert table.column("note").tolist() == ["two\nlines", "b"]
    assert table.describe(1).endswith("line 6")


def test_missing_values_and_other_encodings(tmp_path: Path) -> None:
    path = written(tmp_path, "x,y\n1,Köln\n ? ,NA\n-,Ulm\n".encode("cp1252"))
    table = data.read_table(path, encoding="cp1252", missing=["-"])
    np.testing.assert_array_equal(table.column("x"), [1, np.nan, np.nan])
    assert table.column("y").tolist() == ["Köln", None, "Ulm"]


def test_dates_whose_day_and_month_cannot_be_told_apart_are_not_guessed(tmp_path: Path) -> None:
    path = written(tmp_path, "day\n01/02/2026\n03/04/2026\n")
    table = data.read_table(path)
    assert table.kinds == {"day": "text"}
    assert "cannot be told apart" in table.reasons["day"]
    read = data.read_table(path, dates={"day": "%d/%m/%Y"})
    assert read.column("day")[0] == np.datetime64("2026-02-01")
    clear = data.read_table(written(tmp_path, "day\n01/02/2026\n03/24/2026\n"))
    assert clear.column("day")[0] == np.datetime64("2026-01-02")


def test_kinds_can_be_given() -> None:
    columns = {"zip": [10115, 80331], "y": ["1", "2"]}
    table = data.read_table(columns, kinds={"zip": "category", "y": "number"})
    assert table.column("zip").tolist() == ["10115", "80331"]
    assert table.column("y").tolist() == [1, 2]


BAD = [
    ("", "is empty"),
    ("\n\n", "is empty"),
    ("x,y\n", "names but no rows"),
    ("x,y\n1,2\n3\n4,5\n", r"line 3 has 1 fields, the first line has 2, and so for 0 other"),
    ("x,y\n1,2\n\n3,4,5\n", r"line 4 has 3 fields"),
    ("x,x\n1,2\n", "columns 0 and 1 are both called 'x'"),
    ("x,\n1,2\n", "column 1 has no name"),
    ("1.5,2\n1,2\n", "first line holds '1.5' where a column's name"),
    ("x,y\n1,\n2,\n", "column 'y': all 2 values are missing"),
    ("x,y\n1,inf\n2,3\n", r"column 'y'.*line 2: the number is inf"),
    ("x\n" + "1\n" * 30 + "abc\n", r"column 'x'.*line 32: 'abc' is no number, but 30 of 31"),
    (b"x,y\n1,a\n2,\xe4\n", r"line 3 holds the byte 0xe4"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_bad_files_are_named_by_line_and_column(text: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as info:
        data.read_table(written(tmp_path, text))
    assert "test_tables.py" in str(info.value)


def test_a_wrong_separator_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, "x;y\n1;2\n3;4\n")
    with pytest.raises(DataError, match=r"separator ',' is not in its first line.*seems to be ';'"):
        data.read_table(path, separator=",")


def test_damaged_and_unknown_files_are_named(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.jsonl"):
        with pytest.raises(DataError, match="that can be read"):
            data.read_table(written(tmp_path, b'{"x": 1}\n{"x', name))
    with pytest.raises(DataError, match=r"'\.xlsx' is of no kind of table"):
        data.read_table(written(tmp_path, b"PK", "a.xlsx"))
    with pytest.raises(DataError, match="does not exist"):
        data.read_table(tmp_path / "gone.csv")


def test_bad_frames_and_arguments_are_named() -> None:
    with pytest.raises(DataError, match="got int, wanted a path, a data frame"):
        data.read_table(3)
    with pytest.raises(DataError, match="a lazy frame; collect it"):
        data.read_table(pl.LazyFrame({"x": [1]}))
    with pytest.raises(DataError, match="several lengths"):
        data.read_table({"x": [1], "y": [1, 2]})
    with pytest.raises(DataError, match="values of type List"):
        data.read_table(pl.DataFrame({"x": [[1]]}))
    with pytest.raises(ArgumentError, match=r"kinds\['x'\] is 'numbr'"):
        data.read_table({"x": [1]}, kinds={"x": "numbr"})  # type: ignore[dict-item]
    with pytest.raises(ArgumentError, match="drop names the column 'z'"):
        data.read_table({"x": [1]}, drop=["z"])
    with pytest.raises(DataError, match="row 1: 'b' is no number"):
        data.read_table({"x": ["1", "b"]}, kinds={"x": "number"})
    with pytest.raises(DataError, match=r"row 1: 'soon' is no date"):
        data.read_table({"x": ["2026-01-01", "soon"]}, kinds={"x": "date"})


def test_pandas_faults_are_named() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="columns 0 and 1 are both called 'x'"):
        data.read_table(pandas.DataFrame([[1, 2]], columns=["x", "x"]))
    mixed = pandas.DataFrame({"x": pandas.Series([*range(30), "abc"], dtype=object)})
    with pytest.raises(DataError, match="row 30: 'abc' is no number"):
        data.read_table(mixed)
    with pytest.raises(DataError, match="row 1: the number is -inf"):
        data.read_table(pandas.DataFrame({"x": [1.0, -np.inf]}))
    categories = pandas.DataFrame({"x": pandas.Categorical(["a", "b"]), "y": [True, False]})
    assert data.read_table(categories).kinds == {"x": "category", "y": "category"}


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'thalweg\[tables\]'"):
        data.read_table({"x": [1]})
