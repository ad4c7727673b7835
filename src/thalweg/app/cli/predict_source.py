"""``thalweg predict`` and ``thalweg evaluate`` with a run folder."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thalweg.app.cli.options import shown, warnings_told
from thalweg.app.cli.reporting import say
from thalweg.errors import ArgumentError
from thalweg.formats.atomic import write_whole
from thalweg.tasks import Run

__all__ = ["evaluate_source", "predict_source"]


def predict_source(place: Path, source: Path, output: Path | None, as_json: bool) -> int:
    """Print predictions as CSV or JSON lines, or write them to a file; return the exit code.

    Raises:
        ThalwegError: run folder or source cannot be used.
    """
    suffix = "" if output is None else output.suffix.lower()
    if output is not None and suffix not in (".csv", ".jsonl"):
        raise ArgumentError(f"--output {output}: wanted a name that ends in .csv or .jsonl")
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        fault = "is a folder" if output.is_dir() else f"its folder {output.parent} does not exist"
        raise ArgumentError(f"--output {output}: {fault}; give a file in a folder that exists")
    as_lines = as_json if output is None else suffix == ".jsonl"
    count = 0

    def parts() -> Iterator[str]:
        nonlocal count
        for columns in Run.load(place).predict_blocks(source):
            yield _as_lines(columns) if as_lines else _as_csv(columns, header=not count)
            count += len(next(iter(columns.values())))

    with warnings_told():
        if output is not None:
            write_whole(output, (part.encode() for part in parts()))
            say(f"{count:,} predictions in {output}")
            return 0
        for part in parts():
            sys.stdout.write(part)
    return 0


def evaluate_source(place: Path, source: Path, as_json: bool) -> int:
    """Print the figures of a run on other data that has its targets; return the exit code.

    Raises:
        DataError: the data has no targets.
    """
    run = Run.load(place)
    with warnings_told():
        rows, figures = run.task.figures(run, source)
    if as_json:
        say(json.dumps({"rows": rows, "figures": figures}))
        return 0
    say(f"{rows:,} rows")
    width = max(map(len, figures))
    for name, value in figures.items():
        say(f"{name:<{width}}  {shown(value)}")
    return 0


def _as_csv(columns: dict[str, list[Any]], header: bool) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    if header:
        writer.writerow(columns)
    writer.writerows(zip(*(map(_short, c) for c in columns.values()), strict=True))
    return made.getvalue()


def _as_lines(columns: dict[str, list[Any]]) -> str:
    rows = zip(*columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
