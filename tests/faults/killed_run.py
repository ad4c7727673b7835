"""Train, be killed at random moments, go on; print the bits of the unbroken and the broken run.

``python killed_run.py KIND FOLDER KILLS SEED``: each attempt is a fork of this process, which has
imported everything and computed nothing, so that an attempt costs no more than its training.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import thalweg as tw
from thalweg import nn

CLASSES = 3
EPOCHS = 40
SPREAD = 0.35  # seconds after the first step within which a run is killed


def noise(key: Any, batch: Any) -> Any:
    """Add noise to the inputs: an augmentation."""
    x, y = batch
    return x + 0.1 * tw.random.normal(x.shape, key=key), y


class Classifier(nn.Module):
    """An LSTM whose last output is classified."""

    def __init__(self) -> None:
        self.lstm = nn.LSTM(4, 12)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Any) -> Any:
        """Classify sequences (batch, time, 4)."""
        outputs = self.lstm(x)[0]
        return self.head(self.dropout(outputs[:, -1]))


def model_and_data(kind: str) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Return a model of a kind, data for it, and options of its training."""
    rng = np.random.default_rng(0)
    shape = {"mlp": (8,), "cnn": (8, 8, 2), "lstm": (6, 4)}[kind]
    x = rng.normal(size=(600, *shape)).astype(np.float32)
    y = np.digitize(x.reshape(600, -1)[:, :5].sum(1), [-1, 1]).astype(np.int64)
    if kind == "mlp":
        model: nn.Module = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(),
                                         nn.Dropout(0.2), nn.Linear(32, CLASSES))  # fmt: skip
    elif kind == "cnn":
        model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(),
                              nn.Linear(6 * 6 * 8, CLASSES))  # fmt: skip
    else:
        model = Classifier()
    model.reset_parameters(1)
    extra = {"cnn": {"augment": noise, "ema": 0.95}, "lstm": {"clip_norm": 1.0}}.get(kind, {})
    return model, (x, y), extra


class Slowly(tw.train.Events):
    """Makes the run last some seconds, so that it can be killed many times before its end."""

    def on_steps(self, run: Any) -> None:
        time.sleep(0.01)


def train(
    kind: str, folder: Path | None, threads: int, told: Path, epochs: int = EPOCHS
) -> None:
    """Train to the end and write a sum of all bits that matter."""
    tw.settings.threads = threads
    model, data, extra = model_and_data(kind)
    tw.random.seed(5)
    options = {} if folder is None else {
        "folder": folder, "checkpoint_every": "2 steps", "resume": True, "keep": 2,
        "events": [Slowly()],
    }  # fmt: skip
    history = tw.fit(model, data, epochs=epochs, batch_size=36, early_stopping=EPOCHS - 2,
                     learning_rate=3e-3, progress=False, **extra, **options)  # fmt: skip
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.tobytes())
    numbers = {k: v for k, v in history.metrics.items() if k != "seconds"}
    digest.update(json.dumps([numbers, history.best_epoch, history.restored]).encode())
    digest.update(tw.random.uniform((4,)).numpy().tobytes())
    told.write_text(digest.hexdigest())


def attempt(
    kind: str, folder: Path | None, threads: int, told: Path, delay: float | None = None,
    epochs: int = EPOCHS,
) -> bool:  # fmt: skip
    """Train in a process of its own that is killed after ``delay`` seconds; whether it ended."""
    child = os.fork()
    if not child:
        try:
            train(kind, folder, threads, told, epochs)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{kind}: an attempt failed")
    return True


def main() -> None:
    """Run, kill and compare."""
    kind, place, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(seed)
    told = place / "told"
    attempt(kind, None, 1, told)  # fills the cache of machine code, and tells what is wanted
    wanted, found, killed, in_the_middle = told.read_text(), [], 0, 0
    began = time.perf_counter()
    attempt(kind, None, 2, told, epochs=1)
    start = time.perf_counter() - began  # how long it takes until the first steps are made
    while killed < kills or not found:
        delay = chance.uniform(0.02, start + SPREAD) if killed < kills else None
        if attempt(kind, place / "run", 1 + killed % 2, told, delay):
            found.append(told.read_text())
            shutil.rmtree(place / "run")
        else:
            killed += 1
            in_the_middle += bool(list((place / "run").glob("*.safetensors")))
    print(json.dumps({"wanted": wanted, "found": found, "killed": killed,
                      "in_the_middle": in_the_middle}))  # fmt: skip


if __name__ == "__main__":
    main()
