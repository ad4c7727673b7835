"""Run the referee suite with Thalweg as a contender, and put its ratio table into the documents.

Usage: python benchmarks/referee.py [SUITE] [options of its bench.py, such as --rounds 3]

SUITE is the folder of the suite (../shared/bench beside the checkout if left out). Measure with
nothing else running. The table between the two marks in docs/performance.md is replaced; a workload
whose loss after the resident batches is not the peers' is named: other work was done.
"""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- referee: begin -->", "<!-- referee: end -->"
CONTENDERS = "thalweg,torch,jax,numpy,ort"


def losses(lines: list[str]) -> dict[str, dict[str, float]]:
    """Return, by workload and contender, the loss after the resident batches."""
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        match = re.match(r"(\S+)\s+(\S+)\s+t=\d+\s.* loss (\S+)", line)
        if match and "bf16" not in match[2]:
            found.setdefault(match[1], {})[match[2]] = float(match[3])
    return found


def different(found: dict[str, dict[str, float]], most: float = 2e-3) -> list[str]:
    """Return a line for each workload whose loss is not the peers'."""
    lines = []
    for workload, rows in found.items():
        ours = [v for k, v in rows.items() if k.startswith("thalweg")]
        peers = sorted(v for k, v in rows.items() if not k.startswith("thalweg") and v == v)
        if ours and peers:
            middle = peers[len(peers) // 2]
            spread = max(abs(p - middle) for p in peers)
            if abs(ours[0] - middle) > max(most * abs(middle), 2 * spread):
                lines.append(f"- {workload}: loss {ours[0]:.6g}, the peers' {middle:.6g}")
    return lines


def processor() -> str:
    """Return the name of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        return re.search(r"model name\s*: (.+)", text)[1]  # type: ignore[index]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def main(arguments: list[str]) -> int:
    """Run the suite, print and write its ratio table."""
    given = bool(arguments) and not arguments[0].startswith("-")
    suite = Path(arguments.pop(0)) if given else HERE.parent.parent / "shared" / "bench"
    if not (suite / "bench.py").is_file():
        print(f"the referee suite is not in {suite}; name its folder", file=sys.stderr)
        return 2
    plugin = str(HERE / "thalweg_c.py")
    command = [sys.executable, "bench.py", "--plugin", plugin, "--ours", "thalweg"]
    if "--contenders" not in arguments:
        command += ["--contenders", CONTENDERS]
    lines = []
    with subprocess.Popen(
        command + arguments, cwd=suite, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip("\n"))
    if process.returncode:
        return process.returncode
    starts = [i for i, text in enumerate(lines) if text.startswith("| workload | threads | ours")]
    if not starts:  # the suite was asked for something else, such as --help
        return 0
    table = lines[starts[-1]:]
    options = " ".join(arguments)
    notes = different(losses(lines)) or ["The losses after the resident batches agree."]
    text = [BEGIN, "", f"{datetime.date.today()}, {processor()}, "
            f"`python benchmarks/referee.py {options}`".rstrip(), "", *table, "", *notes, "", END]
    document = DOCUMENT.read_text()
    if BEGIN not in document:
        document += f"\n## The whole suite\n\n{BEGIN}\n{END}\n"
    before, rest = document.split(BEGIN)
    DOCUMENT.write_text(before + "\n".join(text) + rest.split(END)[1])
    print(f"written into {DOCUMENT}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
