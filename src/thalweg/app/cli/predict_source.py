"""``thalweg predict`` and ``thalweg evaluate`` with a run folder."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.app.cli.reporting import say
from thalweg.errors import ArgumentError, DataError
from thalweg.formats.atomic import write_whole
from thalweg.tasks import Run
from thalweg.tasks.appraisal import figures_of_classes, figures_of_numbers
from thalweg.tasks.task import probabilities

__all__ = ["evaluate_source", "predict_source"]


def predict_source(place: Path, source: Path, output: Path | None, as_json: bool) -> int:
    """Print predictions as CSV or JSON lines, or write them to a file; return the exit code.

    Raises:
        ThalwegError: run folder or source cannot be used.
    """
    columns = Run.load(place).predict(source)
    text = _as_lines(columns) if as_json else _as_csv(columns)
    if output is None:
        sys.stdout.write(text)
        return 0
    suffix = output.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise ArgumentError(f"--output {output}: wanted a name that ends in .csv or .jsonl")
    text = _as_lines(columns) if suffix == ".jsonl" else _as_csv(columns)
    write_whole(output, [text.encode()])
    say(f"{len(next(iter(columns.values()))):,} predictions in {output}")
    return 0


def evaluate_source(place: Path, source: Path, as_json: bool) -> int:
    """Print the figures of a run on other data that has its targets; return the exit code.

    Raises:
        DataError: the data has no targets.
    """
    run = Run.load(place)
    rows = run.task.read(source)
    if rows.truth is None:
        raise DataError(
            f"{source} has no column {', '.join(map(repr, run.task.targets))} to compare with; "
            "`thalweg predict` needs none"
        )
    outputs = run.outputs(rows)
    if run.task.kind == "classes":
        figures = figures_of_classes(probabilities(outputs), np.asarray(rows.truth))
    else:
        figures = figures_of_numbers(
            run.task.numbers(outputs), run.task.numbers(np.asarray(rows.truth))
        )
    if as_json:
        say(json.dumps({"rows": len(rows), "figures": figures}))
        return 0
    say(f"{len(rows):,} rows")
    width = max(map(len, figures))
    for name, value in figures.items():
        say(f"{name:<{width}}  {value:.4f}")
    return 0


def _as_csv(columns: dict[str, list[Any]]) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(map(_short, c) for c in columns.values()), strict=True))
    return made.getvalue()


def _as_lines(columns: dict[str, list[Any]]) -> str:
    rows = zip(*columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
