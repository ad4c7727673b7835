"""Measure training on a table larger than what is held in memory: time and peak memory.

Usage: python benchmarks/large_table.py [--size 1024] [--time 2m] [--limit GIGABYTES]

Writes a CSV of ``--size`` MB into a temporary folder: eight numbers, two columns of categories, a
class that depends on them. Then calls ``thalweg train`` and ``thalweg predict`` on it, each in a
process of its own, with ``--limit`` as the most it may allocate if one is given, and
prints how long each took and the most memory it held, mapped files among it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 200_000  # rows


def write(path: Path, size: int) -> int:
    """Write a table of about ``size`` bytes; return its rows."""
    import polars as pl

    rng, rows = np.random.default_rng(0), 0
    with open(path, "wb") as file:
        while file.tell() < size:
            x = rng.normal(size=(CHUNK, 8)) * 10.0 ** np.arange(-2, 6)
            town, kind = rng.integers(0, 500, CHUNK), rng.integers(0, 6, CHUNK)
            score = x[:, 0] * 100 + np.sin(x[:, 1] * 20) + (kind == 2) * x[:, 2] + town % 7 / 3
            frame = {f"x{i}": x[:, i] for i in range(8)}
            frame |= {"town": [f"town {t}" for t in town], "kind": ["abcdef"[k] for k in kind]}
            frame |= {"answer": np.where(score > 1, "yes", "no")}
            text = pl.DataFrame(frame).write_csv(include_header=not rows, float_precision=6)
            file.write(text.encode())
            rows += CHUNK
    return rows


def measured(command: list[str], limit: float | None) -> tuple[float, float]:
    """Run a command; return its seconds and the most memory it held, in GB."""
    began = time.perf_counter()
    child = os.fork()
    if not child:
        if limit is not None:
            most = int(limit * 2**30)
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        os.execv(sys.executable, [sys.executable, "-m", "thalweg", *command])
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"thalweg {' '.join(command)} ended with {status}")
    return time.perf_counter() - began, used.ru_maxrss / 2**20


def main() -> None:
    """Write, train, predict, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="megabytes of the file")
    parser.add_argument("--time", default="2m", help="budget of the training")
    parser.add_argument("--limit", type=float, help="gigabytes of data that a process may have")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as room:
        path, run = Path(room) / "large.csv", Path(room) / "run"
        rows = write(path, given.size << 20)
        print(f"{path.stat().st_size / 2**30:.2f} GB, {rows:,} rows", flush=True)
        calls: dict[str, list[Any]] = {
            "train": ["train", path, "--target", "answer", "--output", run, "--time", given.time],
            "predict": ["predict", run, path, "--output", Path(room) / "predicted.csv"],
        }
        for name, command in calls.items():
            seconds, memory = measured([str(word) for word in command], given.limit)
            print(f"{name:<8} {seconds:6.0f} s, {memory:.2f} GB at most", flush=True)
        told = json.loads((run / "results.json").read_text())
        print({figure["name"]: round(figure["value"], 4) for figure in told["figures"]})


if __name__ == "__main__":
    main()
