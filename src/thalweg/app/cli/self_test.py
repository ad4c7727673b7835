"""What ``thalweg doctor`` tries out: the compiler's results, and the speed of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.app.cli.digits_network import SIDE, make_network, make_trainer
from thalweg.settings import settings
from thalweg.train import Trainer

__all__ = ["Check", "self_test", "speeds", "with_settings"]

Array = np.ndarray[Any, Any]
TOLERANCE: Final = 1e-4  # of weights after a few steps, whose sums go in another order
SIZE: Final = 1024  # rows and columns of the matrices
BATCH: Final = 128  # images of a training step
SECONDS: Final = 0.6  # of each measurement


@dataclass(frozen=True)
class Check:
    """Something that has to hold on a sound machine: its name, whether it does, and what was seen.

    >>> Check("one", True, "as wanted").held
    True
    """

    name: str
    held: bool
    told: str


@contextmanager
def with_settings(**changed: Any) -> Iterator[None]:
    """Change settings of the process inside of the block.

    >>> with with_settings(threads=1):
    ...     settings.team_size()
    1
    """
    before = {name: getattr(settings, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(settings, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


def self_test() -> list[Check]:
    """Train a small network natively and by NumPy, and on one thread and several; compare.

    >>> [check.held for check in self_test()]
    [True, True, True]
    """
    try:
        with with_settings(backend="llvm", threads=1):
            one = _trained()
    except Exception as error:  # whatever it is, it is what the user wants to know
        return [Check("native training step", False, f"{type(error).__name__}: {error}")]
    checks = [_check_finite(one)]
    with with_settings(backend="reference"):
        reference = _trained()
    apart = max(float(np.abs(a - b).max()) for a, b in zip(one, reference, strict=True))
    checks.append(
        Check(
            "native and NumPy agree", apart <= TOLERANCE,
            f"weights differ by {apart:.1e} at most, wanted {TOLERANCE:.0e}",
        )
    )  # fmt: skip
    count = max(2, settings.team_size())
    with with_settings(backend="llvm", threads=count):
        several = _trained()
    same = all(a.tobytes() == b.tobytes() for a, b in zip(one, several, strict=True))
    seen = "the same bits" if same else "other bits"
    checks.append(Check("threads change nothing", same, f"{seen} on 1 and {count} threads"))
    return checks


def _check_finite(weights: list[Array]) -> Check:
    found = all(np.isfinite(weight).all() for weight in weights)
    told = "compiled and run" if found else "it gave NaN or infinity"
    return Check("native training step", found, told)


def _trained() -> list[Array]:
    """Return the weights of a network after a few steps on numbers that are always the same."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(384, 64)).astype(np.float32)
    y = np.digitize(x[:, :3].sum(axis=1), [-1, 1])
    # Wide enough that the work of a step is split between threads.
    model = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.LayerNorm(256), nn.Linear(256, 3), seed=0
    )
    trainer = Trainer(model, "cross_entropy", "adamw", metrics=())
    trainer.fit((x, y), epochs=2, batch_size=128, validation=None, seed=0)
    return list(model.state_dict().values())


def speeds() -> dict[str, float]:
    """Return GFLOP/s of a matrix product on one thread and on all, and ms of a training step."""
    made = {"matrix_product_gflops_one_thread": _product(1)}
    team = settings.team_size()
    made["matrix_product_gflops"] = (
        made["matrix_product_gflops_one_thread"] if team == 1 else _product(team)
    )
    made["digits_step_ms"] = _digits_step()
    return made


def _product(threads: int) -> float:
    rng = np.random.default_rng(0)
    a, b = (tw.tensor(rng.normal(size=(SIZE, SIZE)).astype(np.float32)) for _ in range(2))
    multiply = tw.compile(lambda x, y: x @ y)
    with with_settings(threads=threads):
        return 2e-9 * SIZE**3 / shortest(lambda: multiply(a, b).numpy())


def _digits_step() -> float:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE)).astype(np.uint8)
    labels = rng.integers(0, 10, BATCH)
    model = make_network("512,256", 0.3, seed=0)
    trainer = make_trainer(model, "adamw", None, steps=1_000_000)

    def step() -> Any:
        return trainer.step(model, trainer.optimizer, (images,), labels)

    return 1e3 * shortest(step)


def shortest(run: Callable[[], Any], seconds: float | None = None) -> float:
    """Return the shortest time of one call, in seconds, of as many as fit; the first compiles.

    >>> 0 < shortest(lambda: None, 0.01) < 0.01
    True
    """
    run()
    best, end = float("inf"), time.perf_counter() + (SECONDS if seconds is None else seconds)
    while True:
        began = time.perf_counter()
        run()
        now = time.perf_counter()
        best = min(best, now - began)
        if now > end:
            return best
