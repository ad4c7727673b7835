"""Compare two checkouts on workloads of the referee suite, in turns, which takes the noise out.

Usage: python benchmarks/in_turns.py OTHER WORKLOAD [WORKLOAD ...]

OTHER is a checkout of another version, as of `git worktree add ../before COMMIT`; the suite lies in
../shared/bench beside this checkout. Both versions stay loaded, in a process each with two threads,
and take turns of a quarter of a second. Printed are both medians in milliseconds (of a step, or of
one answer), and the median of the ratios of neighbouring turns: over 1, this version is faster.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
SUITE = HERE.parent / "shared" / "bench"
TURNS, TURN, THREADS, STEPS = 11, 0.25, 2, 4


def serve(checkout: str, name: str) -> None:
    """Time one workload for one turn whenever a line comes in."""
    sys.path[:0] = [str(SUITE), f"{checkout}/benchmarks"]
    import thalweg_c
    from workloads import WORKLOADS

    work = WORKLOADS[name]
    answers = work.kind == "infer"
    made: Any = thalweg_c.build("thalweg" if answers else "thalweg-step", work, THREADS)
    x = work.data()["x"] if answers else None

    def some() -> None:
        if x is None:
            made.run(STEPS)
        else:
            for _ in range(STEPS):
                made.call(x[0])

    some()
    print("ready", flush=True)
    for _ in sys.stdin:
        end, taken = time.perf_counter() + TURN, []
        while not taken or time.perf_counter() < end:
            began = time.perf_counter()
            some()
            taken.append((time.perf_counter() - began) * 1e3 / STEPS)
        print(statistics.median(taken), flush=True)


def compare(other: str, name: str) -> str:
    """Return a line about one workload."""
    runs = []
    for checkout in (other, str(HERE)):
        runs.append(subprocess.Popen(
            [sys.executable, __file__, "--serve", checkout, name], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=f"{checkout}/src"),
        ))  # fmt: skip
    times: list[list[float]] = [[], []]
    for run in runs:
        if run.stdout.readline() != "ready\n":
            sys.exit(f"{run.args[3]} does not run {name}: see above")
    for turn in range(TURNS):
        for i in (0, 1) if turn % 2 else (1, 0):
            runs[i].stdin.write("go\n")
            runs[i].stdin.flush()
            times[i].append(float(runs[i].stdout.readline()))
    for run in runs:
        run.communicate()
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    before, after = map(statistics.median, times)
    return f"{name:16} {before:10.3f} ms  {after:10.3f} ms  {ratio:.2f} times as fast"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    elif len(sys.argv) < 3 or not Path(sys.argv[1], "src", "thalweg").is_dir():
        sys.exit(f"{__doc__}\nWanted: the folder of a checkout, and workloads.")
    else:
        for workload in sys.argv[2:]:
            print(compare(str(Path(sys.argv[1]).resolve()), workload), flush=True)
