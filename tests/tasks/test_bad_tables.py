"""Bad tables: each gives one message that names row, column or file and what to do, or trains."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tasks.small_tables import FLAGS, SMALL, mixed, refused, run_of, thalweg, write

from thalweg.errors import ThalwegError
from thalweg.tasks import Run, Settings, train

ROWS = 60


def plain(target: Callable[[int], Any] = lambda i: f"c{i % 2}", rows: int = ROWS) -> str:
    rng = np.random.default_rng(0)
    lines = [f"{a:.3f},{b:.3f},{target(i)}" for i, (a, b) in enumerate(rng.normal(size=(rows, 2)))]
    return "\n".join(["size,weight,answer", *lines]) + "\n"


# What a file holds, the flags beside --target answer, and what the message has to say.
BAD: dict[str, tuple[str | bytes, tuple[Any, ...], str]] = {
    "empty": ("", (), "is empty"),
    "only names": ("size,answer\n", (), "names but no rows"),
    "unknown separator": (plain().replace(",", "#"), (), "--set separator="),
    "wrong separator": (plain(), ("--set", "separator=;"), "it seems to be ','"),
    "latin-1": (plain().replace("c1", "cé").encode("latin-1"), (), "--set encoding=cp1252"),
    "utf-16": (plain().encode("utf-16"), (), "--set encoding=utf-16"),
    "bytes": (bytes(range(256)) * 10, (), "is not utf-8"),
    "unknown encoding": (plain(), ("--set", "encoding=utf-99"), "encoding 'utf-99' is unknown"),
    "a row too short": (plain() + "1,2\n", (), "line 62 has 2 fields"),
    "a quote left open": (plain().replace("c1", '"c1', 1), (), "quote"),
    "no line of names": ("1.5,2,3\n" + plain().split("\n", 1)[1], (), "--set header=false"),
    "two columns of a name": ("size,size,answer\n1,2,3\n", (), "both called 'size'"),
    "a column without name": ("size,,answer\n1,2,3\n", (), "column 1 has no name"),
    "words among numbers": (plain() + "much,1,c1\n", (), "line 62: 'much' is no number"),
    "infinity": (plain() + "1,-inf,c1\n", (), "'weight', .*line 62: the number is -inf"),
    "infinite target": (plain(lambda i: "inf" if i == 7 else i / 7), (), "line 9.*inf"),
    "an empty column": (plain().replace("\n", ",\n").replace("answer,", "answer,more"), (),
                        "'more': all 60 values are missing; leave it out with --drop more"),
    "an empty target": (plain(lambda i: ""), (), "'answer': all 60 values are missing"),
    "a target of one value": (plain(lambda i: "same"), (), "'answer' is 'same' in all 60 rows"),
    "a target of one number": (plain(lambda i: 7.5), (), "'answer' is '7.5' in all 60 rows"),
    "a target of IDs": (plain(lambda i: f"u{i:04}"), (), "60 values in 60 rows.*IDs"),
    "a target of dates": (plain(lambda i: f"2020-01-{i % 28 + 1:02}"), (), "holds dates"),
    "a target of texts": (plain(lambda i: f"a text of many words, no. {i}".replace(",", "")), (),
                          "holds texts"),
    "nine rows": (plain(rows=9), (), "has 9 rows; at least 10"),
    "nine rows with a target": (plain(lambda i: i % 2 if i < 9 else ""), (),
                                "has 9 rows with a target"),
    "ten rows of ten classes": (plain(lambda i: f"c{i}", 10), (), "10 values in 10 rows"),
    "the target alone": ("answer\n" + "a\nb\n" * 30, (), "no column to learn 'answer' from"),
    "a column of IDs alone": ("name,answer\n" + "".join(f"u{i:05},{i % 2}\n" for i in range(60)),
                              (), "name is left out: each row has a value of its own"),
    "unknown column to drop": (plain(), ("--drop", "sise"), "did you mean 'size'"),
    "unknown category": (plain(), ("--category", "sise"), "did you mean 'size'"),
    "unknown group": (plain(), ("--group", "sise"), "did you mean 'size'"),
    "unknown time": (plain(), ("--order-by", "sise"), "did you mean 'size'"),
    "all dropped": (plain(), ("--drop", "size", "--drop", "weight"), "leave out fewer"),
    "the target dropped": (plain(), ("--drop", "answer"), "do one of both"),
    "one group": (plain().replace("\n", ",g\n").replace("answer,g", "answer,who"),
                  ("--group", "who"), "1 groups for 3 parts"),
    "words for times": (plain(), ("--order-by", "answer"), "'answer' cannot order the rows"),
    "a missing time": (plain() + ",1,c1\n", ("--order-by", "size"),
                       "missing in 1 of them, first in .*line 62"),
    "no share to test": (plain(), ("--set", "test=0"), "two numbers above 0"),
    "shares above 1": (plain(), ("--set", "test=0.6", "--set", "validation=0.6"), "sum is below 1"),
    "a share of no row": (plain(), ("--set", "test=0.001"), "every part needs one"),
    "unknown setting": (plain(), ("--set", "membres=3"), "did you mean 'members'"),
    "another type": (plain(), ("--set", "hidden=3.5"), "the setting hidden=3.5 is not of type"),
    "no equals sign": (plain(), ("--set", "hidden"), "wanted NAME=VALUE"),
    "unknown task": (plain(), ("--task", "tabel"), "did you mean 'table'"),
    "unknown optimiser": (plain(), ("--optimizer", "adamx"), "did you mean 'adam'"),
    "unknown network": (plain(), ("--set", "network=resnet50"), "network='resnet50'"),
    "unknown precision": (plain(), ("--set", "precision=float8"), "'float8'"),
    "a wrong duration": (plain(), ("--time", "ten"), "such as 10m"),
    "a wrong learning rate": (plain(), ("--learning-rate", "nan"), "finite"),
    "a learning rate too high": (plain(lambda i: i / 7), ("--learning-rate", "1e30"), "1e.30"),
    "classes and numbers": (plain().replace("\n", ",3.5\n").replace("answer,3.5", "answer,price"),
                            ("--target", "price"), "'answer' holds classes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_message_that_says_what_and_what_to_do(name: str, tmp_path: Path) -> None:
    text, flags, message = BAD[name]
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    out = tmp_path / "run"
    said = refused("train", path, "--target", "answer", *FLAGS[:4], "--quiet", "--output", out,
                   *flags)  # fmt: skip
    assert re.search(message, said), said
    assert not (out / "model.safetensors").exists()
    # The next call in the same folder is not in the way of what this one has left.
    path.write_text(plain())
    again = thalweg("train", path, "--target", "answer", *FLAGS, "--output", out)
    assert again.exit_code == 0, again.output


def test_the_same_errors_in_python(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for name, (text, flags, _) in BAD.items():
        if flags:
            continue
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ThalwegError):
            train(path, Settings.of({"target": "answer"}), tmp_path / "run")
        assert not (tmp_path / "run" / "model.safetensors").exists(), name


def test_files_that_are_none(tmp_path: Path) -> None:
    train_it = ("--target", "answer", "--quiet", "--output", tmp_path / "run")
    assert "no.csv" in refused("train", tmp_path / "no.csv", *train_it)
    (tmp_path / "d.csv").mkdir()
    assert "is a folder" in refused("train", tmp_path / "d.csv", *train_it)
    (tmp_path / "t.xlsx").write_text(plain())
    assert "--task" in refused("train", tmp_path / "t.xlsx", *train_it)
    (tmp_path / "t.csv").write_text(plain())
    assert "--target" in refused("train", tmp_path / "t.csv", "--output", tmp_path / "run")
    for name in ("t.parquet", "t.jsonl"):
        (tmp_path / name).write_text(plain())
        assert "damaged" in refused("train", tmp_path / name, *train_it)
    (tmp_path / "n.jsonl").write_text('{"x": [1, 2], "answer": "a"}\n' * 60)
    assert "--drop x" in refused("train", tmp_path / "n.jsonl", *train_it)
    message = refused("train", tmp_path / "t.csv", "--config", tmp_path / "no.toml", *train_it)
    assert "no.toml cannot be read" in message


def test_a_target_that_does_not_exist_offers_the_nearest(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 60)
    message = refused("train", source, "--target", "anwser", "--quiet", "--output",
                      tmp_path / "run")  # fmt: skip
    assert "t.csv has no column 'anwser'; did you mean 'answer'? Known: answer, code" in message


# --- what is odd, and trains ---------------------------------------------------------------------


def trains(text: str | bytes, tmp_path: Path, *flags: Any, name: str = "t.csv") -> dict[str, Any]:
    """Train, predict the same file with the folder read back, and return the results."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = thalweg("train", path, "--target", "answer", *FLAGS, "--output", tmp_path / "run",
                     *flags)  # fmt: skip
    assert result.exit_code == 0, result.output
    made = Run.load(tmp_path / "run").predict(path)
    assert all(v == v for column in made.values() for v in column)
    told: dict[str, Any] = json.loads((tmp_path / "run" / "results.json").read_text())
    return told


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (plain(rows=10), ()),
        (plain(lambda i: i * 1.5, 10), ()),
        (plain().replace("\n", "\r\n"), ()),
        ("\ufeff" + plain(), ()),
        ("\n\n" + plain().replace("\n", "\n\n"), ()),
        (plain().replace(",", ";"), ()),
        (plain().replace(",", "|"), ()),
        (plain().replace("size,weight", " size , weight "), ()),
        (plain().replace(",", "#"), ("--set", "separator=#")),
        (plain().replace("c1", "cé").encode("latin-1"), ("--set", "encoding=latin-1")),
        (plain().split("\n", 1)[1], ("--set", 'names=["a","b","answer"]')),
        (plain() + "nothing,1,c1\n", ("--missing", "nothing")),
        (plain(lambda i: "" if i % 3 == 0 else f"c{i % 2}"), ()),
        (plain(lambda i: f"{1e300 * (i + 1)}"), ()),
        (plain(lambda i: f"{1e-300 * (i + 1)}"), ()),
        (plain().replace("\n", ",1e300\n").replace("answer,1e300", "answer,far"), ()),
        (plain(), ("--set", "precision=bf16")),
        (plain(), ("--set", "ema=0.9")),
        (plain(), ("--batch-size", 100_000)),
        (plain(), ("--seed", 2**32)),
    ],
)  # fmt: skip
def test_odd_files_are_learned(text: str | bytes, flags: tuple[Any, ...], tmp_path: Path) -> None:
    assert trains(text, tmp_path, *flags)["rows"]["test"] >= 1


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d",
     "%d.%m.%Y", "%d.%m.%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m", "%Y-%m-%dT%H:%M:%S.%fZ"],
)  # fmt: skip
def test_dates_in_many_formats(form: str, tmp_path: Path) -> None:
    start = datetime.datetime(2019, 1, 2, 3, 4, 5)
    days = [start + datetime.timedelta(days=11 * i, minutes=7 * i) for i in range(80)]
    source = write(tmp_path / "t.csv", {
        "day": lambda i: days[i].strftime(form), "x": lambda i: i * 0.7 % 3,
        "answer": lambda i: "late" if days[i].month > 6 else "early",
    }, 80)  # fmt: skip
    made = run_of(source, tmp_path / "run", epochs=40)
    told = [reason for reason in made.results["reasons"] if reason.startswith("day")]
    assert any("dates like" in reason for reason in told), told
    one = {"day": np.array([days[3].strftime(form)], object), "x": np.array([1.0])}
    assert Run.load(tmp_path / "run").predict(one)["prediction"] == ["early"]


def test_dates_in_ten_formats_in_one_column(tmp_path: Path) -> None:
    """They are no dates any more; what was made of them is told, and the rest is learned."""
    forms = ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d %b %Y", "%Y%m%d", "%B %d %Y", "%d-%m-%Y",
             "%y/%m/%d", "%A %d %B %Y", "%Y-%m-%dT%H:%M"]  # fmt: skip
    start = datetime.datetime(2020, 1, 2)
    source = write(tmp_path / "t.csv", {
        "day": lambda i: (start + datetime.timedelta(days=i)).strftime(forms[i % 10]),
        "x": lambda i: i % 2 + i / 500, "answer": lambda i: f"c{i % 2}",
    }, 100)  # fmt: skip
    made = run_of(source, tmp_path / "run", epochs=30)
    assert any(reason.startswith("day: ") for reason in made.results["reasons"])
    assert made.results["figures"][0]["value"] > 0.9


def test_a_text_of_ids_beside_something_to_learn(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", {
        "id": lambda i: f"user-{i * 7919 % 99991}", "x": lambda i: i % 2 + i / 500,
        "answer": lambda i: f"c{i % 2}",
    }, 120)  # fmt: skip
    made = run_of(source, tmp_path / "run", epochs=30)
    assert "id" not in made.run.task.pipeline.columns  # type: ignore[attr-defined]
    assert made.results["figures"][0]["value"] > 0.9
    assert {entry["name"] for entry in made.results["importance"]} == {"x"}


def test_a_class_with_one_example_is_kept_and_told(tmp_path: Path) -> None:
    told = trains(plain(lambda i: "rare" if i == 7 else f"c{i % 2}"), tmp_path)
    assert told["classes"] == ["c0", "c1", "rare"]
    assert any("one or two rows (rare)" in note for note in told["notes"])
    assert np.asarray(told["confusion"]).sum(axis=1)[2] == 0


def test_ten_thousand_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    width, rows = 10_000, 40
    x = rng.normal(size=(rows, width))
    lines = [",".join(f"{v:.2f}" for v in row) + ("," + ("yes" if row[7] > 0 else "no"))
             for row in x]  # fmt: skip
    (tmp_path / "t.csv").write_text(
        ",".join(f"c{i}" for i in range(width)) + ",answer\n" + "\n".join(lines)
    )
    message = refused("train", tmp_path / "t.csv", "--target", "anwser", "--quiet", "--output",
                      tmp_path / "run")  # fmt: skip
    assert "did you mean 'answer'" in message
    assert "10,000 others" in message
    said: list[str] = []
    chosen = Settings.of({"target": "answer", **SMALL, "epochs": 1})
    made = train(tmp_path / "t.csv", chosen, tmp_path / "run", tell=said.append)
    assert len(said) < 200
    assert len(made.results["reasons"]) > width
    measured = [entry["name"] for entry in made.results["importance"]]
    assert len(measured) == 300
    assert len(set(measured)) == 300
