"""Functions that are alike are written and compiled once; any difference makes another one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.backends.llvm import obtain
from thalweg.backends.llvm.codegen import program
from thalweg.backends.llvm.codegen.sameness import kernel_signature
from thalweg.backends.llvm.codegen.tiles import Tiles
from thalweg.backends.llvm.runtime import compilers
from thalweg.backends.llvm.runtime.functions import Functions
from thalweg.settings import settings

MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "gpt": lambda: (tw.models.GPT2(40, 12, layers=2, heads=2, width=16), np.zeros((2, 12), int)),
    "resnet": lambda: (tw.models.create("resnet20"), np.zeros((2, 32, 32, 3), np.float32)),
    "lstm": lambda: (nn.LSTM(7, 7, num_layers=2), np.zeros((3, 4, 7), np.float32)),
    "mlp": lambda: (tw.models.create("mlp"), np.zeros((5, 28, 28, 1), np.float32)),
}
_count = itertools.count()


def loss_of(model: nn.Module, x: Any) -> Any:
    out = model(x)
    return tw.sum(tw.sin(out[0] if isinstance(out, tuple) else out))


def programs(model: nn.Module, x: Any) -> None:
    """Run a training step and an evaluation."""
    optimizer = tw.optim.AdamW(model, 1e-3)

    @tw.compile
    def step(x: Any) -> Any:
        value, grads = tw.value_and_grad(lambda m: loss_of(m, x))(model)
        optimizer.update(grads)
        return value

    step(x)
    tw.compile(loss_of)(model, x)


def test_one_signature_means_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written each time, steps of one signature come out the same, in any program."""
    texts: dict[Any, set[str]] = {}
    current = []

    def noted(*args: Any) -> str:
        current.append(kernel_signature(*args))
        return f"{current[-1]} number {next(_count)}"  # as if no two were alike

    write, make = program.ProgramWriter._deduplicated, Tiles._make

    def kept(self: Any, function: Any) -> Any:
        key = self.many, self.lanes, current[-1]
        texts.setdefault(key, set()).add(str(function).replace(function.name, "kernel"))
        return write(self, function)

    def made(self: Any, name: str, *args: Any) -> Any:
        function = make(self, name, *args)
        texts.setdefault((name, args[0].lanes), set()).add(str(function))
        return function

    monkeypatch.setattr(program, "kernel_signature", noted)
    monkeypatch.setattr(program.ProgramWriter, "_deduplicated", kept)
    monkeypatch.setattr(Tiles, "_make", made)
    monkeypatch.setattr(Functions, "known", lambda self, name: False)
    monkeypatch.setattr(settings, "cache", False)
    for build in MODELS.values():
        programs(*build())
    kernels = [t for key, t in texts.items() if len(key) == 3]
    assert len(current) > 1.2 * len(kernels)  # some are alike
    assert [len(t) for t in texts.values()] == [1] * len(texts)
    assert len({next(iter(t)) for t in kernels}) > 0.7 * len(kernels)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What LLVM is given to compile from now on."""
    given: list[str] = []
    build = compilers.build

    def noted(text: str, *args: Any) -> bytes:
        given.append(text)
        return build(text, *args)

    monkeypatch.setattr(compilers, "build", noted)
    return given


def function(size: int) -> Callable[[Any], Any]:
    """Return a function with a product that others have too, and one of a size of its own."""
    weights, own = np.ones((37, 91), np.float32), np.ones((91, size), np.float32)
    return tw.compile(lambda x: tw.cos(tw.sin(x) @ weights) @ own)


def check(size: int) -> None:
    x = np.full((5, 37), 0.5, np.float32)
    row = np.full((5, 1), 91 * np.cos(37 * np.sin(0.5)))
    np.testing.assert_allclose(function(size)(x), np.tile(row, size), rtol=2e-5)


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Forget what was compiled; the folder of compiled code stays, and is empty at first."""

    def begin() -> None:
        monkeypatch.setattr(obtain, "_loaded", {})
        monkeypatch.setattr(obtain, "_functions", {})

    monkeypatch.setattr(settings, "cache", True)
    monkeypatch.setattr(settings, "cache_dir", tmp_path)
    begin()
    return begin


def test_programs_share_what_is_alike(
    compiled: list[str], another_process: Callable[[], None]
) -> None:
    check(1013)
    whole, count = sum(map(len, compiled)), len(compiled)
    check(1019)
    assert 0 < sum(map(len, compiled[count:])) < 0.7 * whole
    assert any("sin" in text for text in compiled[:count])
    assert not any("sin" in text for text in compiled[count:])


def test_what_programs_share_is_kept_on_disk(
    compiled: list[str], another_process: Callable[[], None]
) -> None:
    check(1013)
    check(1019)
    for sizes in ((1019, 1013), (1013, 1019)):
        another_process()
        compiled.clear()
        for size in sizes:
            check(size)
        assert not compiled


def test_a_part_that_is_gone_from_disk_is_compiled_again(
    compiled: list[str], another_process: Callable[[], None], tmp_path: Path
) -> None:
    check(1013)
    files = sorted((tmp_path / "code").rglob("*.code"))
    assert len(files) > 2
    for file in files:
        content = file.read_bytes()
        file.unlink()
        another_process()
        compiled.clear()
        check(1013)
        assert compiled
        assert file.read_bytes() == content  # kept anew, and the same
