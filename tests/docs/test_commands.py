"""The commands in the documents run, and print what stands below them but for their numbers."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from thalweg.app.cli.commands import app

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?P<mark><!-- not run -->\n)?```(?P<kind>python|console)\n(?P<body>.*?)```", re.DOTALL
)
NUMBER = re.compile(r"-?\d[\d,.]*")
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = [path for path in PATHS if "```console\n$ thalweg" in path.read_text(encoding="utf-8")]


def commands(body: str) -> list[tuple[str, list[str]]]:
    """Return each command of a block with the lines that stand below it."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def alike(printed: list[str], shown: list[str]) -> bool:
    """Whether lines are as shown: any number for a number, any lines for ``...``."""
    if not shown:
        return not printed
    if shown[0].strip() == "...":
        return any(alike(printed[i:], shown[1:]) for i in range(len(printed) + 1))
    if not printed or masked(printed[0]) != masked(shown[0]):
        return False
    return alike(printed[1:], shown[1:])


def masked(line: str) -> str:
    return re.sub(r"\s+", " ", NUMBER.sub("N", line)).strip()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_commands_print_what_is_shown(path: Path, tmp_path: Path) -> None:
    """Run from top to bottom in an empty folder, as a reader would."""
    names: dict[str, object] = {}
    with contextlib.chdir(tmp_path):
        for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
            if block["mark"]:
                continue
            if block["kind"] == "python":
                exec(compile(block["body"], str(path), "exec"), names)
                continue
            for command, shown in commands(block["body"]):
                program, *arguments = shlex.split(command)
                assert program == "thalweg"
                result = CliRunner().invoke(app, arguments, prog_name="thalweg")
                assert result.exit_code == 0, f"{command}: {result.output}"
                printed = [line.rstrip() for line in result.stdout.splitlines()]
                assert alike(printed, shown), f"{command} printed\n{result.stdout}"
    assert os.getcwd() != str(tmp_path)


def test_likeness_can_fail() -> None:
    assert alike(["a 1", "b", "c 2.5"], ["a 7", "...", "c 3"])
    assert not alike(["a 1", "b"], ["a 1"])
    assert not alike(["a x"], ["a y"])
