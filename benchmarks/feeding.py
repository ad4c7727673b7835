"""Measure what stands around the compiled step: reading batches, and checkpoints.

Usage: python benchmarks/feeding.py

Prints the share of an epoch on the digits that the compiled program takes, the time of the loader
beside plain slicing of the same arrays, and the times of a checkpoint of 100 MB (medians of five).
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.formats.checkpoint import checkpoint_name, read_checkpoint, write_checkpoint
from thalweg.train.checkpoints import CheckpointFolder

ROUNDS = 5


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def share_of_step() -> float:
    """Return the share of five epochs that was spent inside of native programs."""
    x, y = tw.data.load("digits")
    model = tw.models.MLP(784, (128,), 10)
    trainer = tw.Trainer(
        model, "cross_entropy", "adamw", transform=lambda v: tw.astype(v, "float32") / 255
    )
    flat = x.reshape(len(x), -1)

    def fit() -> None:
        trainer.fit((flat, y), epochs=5, batch_size=128, validation=None)

    fit()
    profile = cProfile.Profile()
    profile.enable()
    whole = seconds(fit)
    profile.disable()
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    native = [own for (file, _, name), (_, _, own, _, _) in stats.items()
              if name in ("run", "_run") and "llvm" in file]  # fmt: skip
    return sum(native) / whole


def loader_and_slicing() -> tuple[float, float]:
    """Return the milliseconds of an epoch over arrays, of the loader and of plain slicing."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100_000, 20)).astype(np.float32), rng.integers(0, 2, 100_000)
    loader = tw.data.Loader((x, y), 128)

    def slices() -> None:
        order = rng.permutation(len(x))
        for i in range(0, len(x) - 127, 128):
            x[order[i : i + 128]], y[order[i : i + 128]]

    def loads() -> None:
        for _ in loader:
            pass

    found = [(seconds(loads), seconds(slices)) for _ in range(ROUNDS + 1)][1:]
    own, plain = np.median(found, axis=0) * 1e3
    return float(own), float(plain)


def checkpoint() -> dict[str, float]:
    """Return the seconds of handing over, writing and reading 100 MB, and of going on with a run.

    The run has the same size: a network with its optimiser.
    """
    rng = np.random.default_rng(0)
    arrays = {f"a{i}": rng.normal(size=(1024, 1024)).astype(np.float32) for i in range(25)}
    found: dict[str, list[float]] = {"handed over": [], "written": [], "read": [], "resumed": []}
    with tempfile.TemporaryDirectory() as room:
        folder = CheckpointFolder(room)
        for i in range(ROUNDS):
            file = Path(room) / checkpoint_name(100 + i)
            found["written"].append(seconds(lambda file=file: write_checkpoint(file, arrays, {})))
            found["read"].append(seconds(lambda file=file: read_checkpoint(file)))
            found["handed over"].append(
                seconds(lambda i=i: folder.save(200 + i, arrays, {}))
            )
            folder.wait()
    x = rng.normal(size=(256, 1024)).astype(np.float32)
    data = x, rng.integers(0, 10, 256)
    with tempfile.TemporaryDirectory() as room:
        for resume in [False] + [True] * ROUNDS:
            model = nn.Sequential(nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 1024),
                                  nn.ReLU(), nn.Linear(1024, 10), seed=0)  # fmt: skip
            taken = seconds(lambda model=model, resume=resume: tw.fit(
                model, data, epochs=1, batch_size=128, validation=None, progress=False,
                folder=room, resume=resume,
            ))  # fmt: skip
            found["resumed"] += [taken] * resume
    return {name: float(np.median(times)) for name, times in found.items()}


def main() -> None:
    """Print the figures."""
    print(f"compiled step: {share_of_step():.0%} of an epoch on the digits")
    own, plain = loader_and_slicing()
    print(f"loader: {own:.1f} ms, plain slicing {plain:.1f} ms an epoch; {own / plain:.2f}")
    told = ", ".join(f"{name} in {taken:.2g} s" for name, taken in checkpoint().items())
    print(f"checkpoint of 100 MB: {told}")


if __name__ == "__main__":
    main()
