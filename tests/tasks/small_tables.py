"""Small tables and trainings that the tests of tasks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from thalweg.app.cli.commands import app
from thalweg.tasks import Settings, Trained, train

SMALL = {"epochs": 2, "hidden": (8,), "members": 2}
FLAGS = ("--epochs", 2, "--hidden", 8, "--set", "members=2", "--quiet")


def write(path: Path, columns: dict[str, Sequence[Any] | Callable[[int], Any]], rows: int) -> Path:
    """Write a CSV of columns: values, or functions of the row."""
    made = [[given(i) if callable(given) else given[i] for i in range(rows)]
            for given in columns.values()]  # fmt: skip
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*made, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def mixed(path: Path, rows: int = 160, seed: int = 0) -> Path:
    """Write a table of all kinds of columns, with gaps, whose class is to be learned."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    return write(path, {
        "size": lambda i: "" if i % 17 == 3 else f"{a[i]:.3f}",
        "kind": lambda i: "pqr"[i % 3],
        "code": lambda i: f"m{i % 25}",
        "day": lambda i: f"20{10 + i % 12}-{i % 12 + 1:02d}-{i % 28 + 1:02d}",
        "words": lambda i: f"it is {'warm' if a[i] > 0 else 'cold'} in house {i * 7919 % 1009}",
        "answer": lambda i: "yes" if a[i] > 0 else "no",
    }, rows)  # fmt: skip


def run_of(source: Path, folder: Path, **given: Any) -> Trained:
    """Train shortly on a table in a folder; ``target`` is ``answer`` if nothing else is given."""
    return train(source, Settings.of({"target": "answer", **SMALL, **given}), folder)


def thalweg(*arguments: Any) -> Result:
    """Call the command line."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments: Any) -> str:
    """Return the message of a call that has to fail with code 2, one message and no traceback."""
    result = thalweg(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert not result.stdout
    message = str(result.stderr)
    assert message.count("error: ") == 1
    assert ".py:" not in message
    assert len(message) < 1500
    return " ".join(message.split())
