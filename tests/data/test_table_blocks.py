"""A table that is read in blocks holds the same rows and tells the same faults."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.data import ArrayWriter, Table, TableBlocks, read_table
from thalweg.data.delimited import parse_delimited
from thalweg.data.table_blocks import is_large_table
from thalweg.errors import DataError

TEXT = st.text("ab ,\"'\n;é", max_size=8).filter(lambda t: t.strip() == t and t)
ROWS = st.lists(st.tuples(st.floats(-9, 9).map(lambda x: round(x, 3)), TEXT), min_size=2)


def lines_of(table: Table) -> list[str]:
    return [table.describe(row) for row in range(len(table))]


def same(whole: Table, parts: list[Table]) -> None:
    for name in whole.names:
        found = [v for part in parts for v in part.column(name).tolist()]
        assert repr(found) == repr(whole.column(name).tolist())
    assert [line for part in parts for line in lines_of(part)] == lines_of(whole)


def written(path: Path, rows: Any, end: str, empty: int) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=end)
        writer.writerow(["x", "words"])
        for number, row in enumerate(rows):
            writer.writerow(row)
            if empty and not number % empty:
                file.write(end)
    return path


@settings(deadline=None, max_examples=60)
@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.integers(0, 3), st.integers(60, 300))
def test_blocks_hold_the_rows_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, end: str, empty: int, size: int
) -> None:
    path = written(tmp_path_factory.mktemp("blocks") / "t.csv", rows, end, empty)
    whole = read_table(path, kinds={"words": "text"})
    same(whole, list(TableBlocks(path, size=size).tables(whole.schema)))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.sampled_from(["", "a", "1.5", " "]), min_size=2, max_size=2)),
       st.sampled_from(["\n", "\r\n"]), st.booleans())  # fmt: skip
def test_plain_text_is_counted_as_the_slow_way_does(
    rows: list[list[str]], end: str, ended: bool
) -> None:
    lines = ["x,y", *(",".join(row) for row in rows), "", "1,2"]
    text = end.join(lines) + end * ended
    quick = parse_delimited(Path("t.csv"), text, ",")
    slow = parse_delimited(Path("t.csv"), text.replace("x,y", '"x",y', 1), ",")  # has quotes
    assert quick.lines.tolist() == slow.lines.tolist()
    assert quick.kept.tolist() == slow.kept.tolist()
    assert quick.names == slow.names


def table(rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": np.round(rng.normal(size=rows), 4).tolist(),
        "word": [["red", "green", None][i] for i in rng.integers(0, 3, rows)],
    }


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("seed", [0, 1])
def test_sample_and_rest_are_all_rows_once(form: str, seed: int, tmp_path: Path) -> None:
    path, columns = tmp_path / f"t.{form}", table(3000)
    frame = pl.DataFrame(columns)
    if form == "jsonl":  # what is missing is left out
        rows = [{k: v for k, v in row.items() if v is not None} for row in frame.to_dicts()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        getattr(frame, f"write_{form}")(path)
    blocks = TableBlocks(path, size=2000)
    sample, chosen = blocks.sample(500, seed)
    assert 350 < len(sample) < 650
    parts = list(blocks.tables(sample.schema, leave=chosen))
    assert len(parts) > 10
    whole = read_table(path)
    both = sorted([*lines_of(sample), *(line for part in parts for line in lines_of(part))])
    assert both == sorted(lines_of(whole))
    place = {line: row for row, line in enumerate(lines_of(whole))}
    for part in [sample, *parts]:
        rows = [place[line] for line in lines_of(part)]
        np.testing.assert_array_equal(part.column("x"), whole.column("x")[rows])
        assert part.column("word").tolist() == whole.column("word")[rows].tolist()
    again, _ = blocks.sample(500, seed)
    assert lines_of(again) == lines_of(sample)
    assert blocks.sample(500, seed + 7)[1][3].tolist() != chosen[3].tolist()


def test_the_sample_of_a_wide_table_is_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{i}" for i in range(20)) + "\n" + ("1," * 19 + "2\n") * 1000)
    assert len(TableBlocks(path, size=4000).sample(900, 0)[0]) > 800
    monkeypatch.setattr("thalweg.data.table_blocks.VALUES", 2000)
    assert 50 < len(TableBlocks(path, size=4000).sample(900, 0)[0]) < 200


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1,2,3\n", "line 902 has 3 fields"),
        (b"one,2\n", "line 902: 'one' is no number"),
        (b"1,\xff\n", "line 902 holds the byte 0xff"),
        (b"inf,2\n", "line 902: the number is inf"),
    ],
)
def test_faults_are_told_by_their_line(line: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"x,y\n" + b"1.5,22\n" * 900 + line + b"1,2\n" * 900)
    schema = {"x": {"kind": "number"}, "y": {"kind": "number"}}
    with pytest.raises(DataError, match=message):
        list(TableBlocks(path, size=500).tables(schema))


def test_rows_of_nothing_are_rows_in_blocks_too(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tb\n" + "1\tx\n" * 20 + "\t\n" * 300 + "3\tz\n" * 5)
    whole = read_table(path)
    same(whole, list(TableBlocks(path, size=200).tables(whole.schema)))


def test_a_ragged_line_that_begins_a_block_is_the_one_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "1,2,3\n" * 9 + "1,2\n" + "1,2,3\n" * 20)
    schema = {name: {"kind": "number"} for name in "abc"}
    with pytest.raises(DataError, match="line 11 has 2 fields, the first line has 3"):
        list(TableBlocks(path, size=60).tables(schema))


def test_long_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1," + "x" * 200_000 + '\n2,"y"\n')
    assert len(read_table(path).column("b")[0]) == 200_000


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_whole_numbers_are_one_category_in_every_block(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{form}"
    frame = pl.DataFrame({"rate": [1.0, 2.0] * 200 + [1.5, 2.0] * 200})
    getattr(frame, "write_ndjson" if form == "jsonl" else "write_parquet")(path)
    parts = TableBlocks(path, size=400).tables({"rate": {"kind": "category"}})
    assert {word for part in parts for word in part.column("rate")} == {"1", "2", "1.5"}


def test_lines_of_json_may_leave_out_a_column_but_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [{"a": i} | ({"b": i} if i > 60 else {}) for i in range(100)]
    path.write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    schema = {name: {"kind": "number"} for name in "abc"}
    parts = list(TableBlocks(path, size=100).tables(schema))
    assert all(part.names == ("a", "b") for part in parts)
    assert lines_of(parts[-1])[-1].endswith("line 199")
    assert lines_of(read_table(path)) == [line for part in parts for line in lines_of(part)]


def test_other_columns_are_left_out_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,id\n" + "1,7\n" * 30 + "2,\n" * 60 + "3,A7\n" * 2)
    like = {"a": {"kind": "number"}}
    parts = list(TableBlocks(path, size=60).tables(like, only_like=True))
    assert len(parts) > 3
    assert {(part.names, part.left_out) for part in parts} == {(("a",), ("id",))}
    assert read_table(path, like=like, only_like=True).left_out == ("id",)
    with pytest.raises(DataError, match="no column but 'id'"):
        read_table({"id": [1]}, like=like, only_like=True)


def test_a_quote_that_is_never_closed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "1,a\n" * 50 + '1,"a\n' + "1,a\n" * 5000)
    schema = {"x": {"kind": "number"}, "y": {"kind": "category"}}
    with pytest.raises(DataError, match=r"one that is opened and not closed"):
        list(TableBlocks(path, size=100).tables(schema))


def test_only_large_files_are_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n" * 100)
    assert not is_large_table(path)
    monkeypatch.setattr("thalweg.data.table_blocks.LARGE", 100)
    assert is_large_table(path)
    for encoding in ("UTF_16", "utf16", "u32", "cp037", "none"):
        assert not is_large_table(path, encoding)
    assert is_large_table(path, "cp1252")
    assert not is_large_table(tmp_path)


def test_arrays_grow_on_disk_and_keep_their_form(tmp_path: Path) -> None:
    writer = ArrayWriter(tmp_path / "rows")
    with pytest.raises(DataError, match="no rows"):
        writer.arrays()
    parts = [np.random.default_rng(i).normal(size=(i + 1, 3)).astype(np.float32) for i in range(4)]
    for part in parts:
        writer.add(part, np.arange(len(part)))
    x, count = writer.arrays()
    np.testing.assert_array_equal(x, np.concatenate(parts))
    assert count.dtype == np.int64
    with pytest.raises(DataError, match="those before are"):
        writer.add(parts[0].astype(np.float64), np.arange(1))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        ArrayWriter(tmp_path / "file" / "rows")
