"""A run that is killed at any moment and resumed ends with the bits of an unbroken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("kind", ["mlp", "cnn", "lstm"])
def test_killed_at_twenty_random_moments(kind: str, tmp_path: Path) -> None:
    """With one thread and with two in turn; weights, history and random numbers are compared."""
    script = Path(__file__).with_name("killed_run.py")
    done = subprocess.run(
        [sys.executable, str(script), kind, str(tmp_path), str(KILLS), "1"],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] == KILLS
    assert told["in_the_middle"] >= KILLS // 4  # else the moments tell nothing
    assert told["found"]
    assert set(told["found"]) == {told["wanted"]}
