"""Pieces of IR are compiled by this process and by helpers, and it makes no difference by whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.backends.llvm import obtain
from thalweg.backends.llvm.runtime import compilers
from thalweg.backends.llvm.runtime.compilers import Compilers
from thalweg.backends.llvm.runtime.library import Library, build
from thalweg.backends.llvm.runtime.target import host
from thalweg.settings import settings


def text(number: int) -> str:
    return f"define i32 @f{number}() {{\n  ret i32 {number}\n}}\n"


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The helpers that are called from now on, for any pile."""
    called: list[Any] = []

    class Noted(compilers._Helper):
        def __init__(self) -> None:
            super().__init__()
            self.answers = 0
            called.append(self)

        def _ask(self, task: Any) -> Any:
            answer = super()._ask(task)
            self.answers += 1
            return answer

    monkeypatch.setattr(compilers, "_Helper", Noted)
    monkeypatch.setattr(compilers, "PILE", 0)
    return called


@pytest.fixture
def helpers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has something else to do than to compile."""
    monkeypatch.setattr(Compilers, "__enter__", lambda self: self)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_every_text_is_compiled_once_and_right(helpers: list[Any], most: int) -> None:
    with Compilers(host(), most) as several:
        jobs = [several.submit(text(i), 1, 0) for i in range(40)]
    assert [job.result() for job in jobs] == [build(text(i), host(), 1, 0) for i in range(40)]
    assert len(helpers) == most - 1
    assert all(h._process is None for h in helpers)  # they have ended


def test_helpers_compile(helpers: list[Any], helpers_alone: None) -> None:
    with Compilers(host(), 1) as several:
        jobs = [several.submit(text(i), 2, 2) for i in range(5)]
    assert helpers[0].answers == 5
    library = Library.from_object(*(job.result() for job in jobs))
    assert library.address("f4") > 0


def test_a_helper_reports_a_text_that_is_wrong_and_goes_on(
    helpers: list[Any], helpers_alone: None
) -> None:
    with Compilers(host(), 1) as several:
        jobs = [several.submit(t, 1, 0) for t in ("define nothing", text(1))]
    with pytest.raises(RuntimeError, match="parsing error"):
        jobs[0].result()
    assert jobs[1].result() == build(text(1), host(), 1, 0)
    assert helpers[0].answers == 2


def test_this_process_reports_a_text_that_is_wrong(helpers: list[Any]) -> None:
    with Compilers(host(), 1) as several:
        job = several.submit("define nothing", 1, 0)
    with pytest.raises(RuntimeError, match="parsing error"):
        job.result()
    assert not helpers


@pytest.mark.parametrize("how", ["killed", "missing", "mad"])
def test_without_a_helper_this_process_compiles(
    helpers: list[Any], helpers_alone: None, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "missing":
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
    if how == "mad":
        answer = "print('thalweg compiles', flush=True); print('not a pickle', flush=True)"
        monkeypatch.setattr(compilers, "_SERVE", answer)
    with Compilers(host(), 1) as several:
        jobs = [several.submit(text(0), 1, 0)]
        if how == "killed":
            os.kill(helpers[0]._process.pid, signal.SIGKILL)
        jobs += [several.submit(text(i), 1, 0) for i in range(1, 20)]
    assert [job.result() for job in jobs] == [build(text(i), host(), 1, 0) for i in range(20)]
    assert how == "killed" or helpers[0].answers == 0


def test_an_error_while_writing_ends_all(helpers: list[Any]) -> None:
    several = Compilers(host(), 3)

    def write() -> None:
        with several:
            for i in range(200):
                several.submit(text(i), 2, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert not any(thread.is_alive() for thread in several._threads)
    assert all(h._process is None for h in helpers)


def test_programs_with_helpers_are_the_same(
    helpers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "cache", False)
    monkeypatch.setattr(settings, "threads", 2)
    model = tw.models.create("resnet20")
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)

    def step(model: Any, x: Any) -> Any:
        return tw.value_and_grad(lambda m: tw.sum(tw.square(m(x))))(model)[0]

    results = []
    for pile in (0, 1 << 40):
        monkeypatch.setattr(compilers, "PILE", pile)
        monkeypatch.setattr(obtain, "_loaded", {})
        monkeypatch.setattr(obtain, "_functions", {})
        results.append(float(tw.compile(step)(model, x)))
    assert results[0] == results[1]
    assert len(helpers) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_no_helper_is_left_when_the_process_is_killed() -> None:
    """Its input ends, and so does it."""
    script = (
        "from thalweg.backends.llvm.runtime import compilers as c\n"
        "from thalweg.backends.llvm.runtime.target import host\n"
        "helper = c._Helper()\n"
        "helper('define void @f() { ret void }', host(), 1, 0)\n"
        "print(helper._process.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        helper = int(process.stdout.readline())
        os.kill(helper, 0)  # it is there
        process.kill()
    for _ in range(500):
        try:
            os.kill(helper, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{helper}/stat") as file:  # nobody may have fetched its exit status
            if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                return
        time.sleep(0.02)
    raise AssertionError("the helper goes on")
