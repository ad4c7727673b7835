"""Compile pieces of IR as they come: in this process, and in helpers when they pile up.

LLVM takes longer for a piece than Python takes to write it, and llvmlite lets one thread of a
process in at a time.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

from thalweg.backends.llvm.runtime.library import build
from thalweg.backends.llvm.runtime.target import Target

PILE = 1 << 18  # characters of IR for each compiler, before one more is called: about half a second
_READY = b"thalweg compiles\n"  # whatever a helper's start may print comes before
_ROOT = Path(__file__).parents[4]
_SERVE = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r}); "
    f"from {__name__} import serve; serve(sys.stdin.buffer, sys.stdout.buffer)"
)


_Job = tuple[str, int, int, "Future[bytes]"]  # text, level, codegen, result


class Compilers:
    """Up to so many compilers that work at the same time; leaving the block waits for them.

    >>> from thalweg.backends.llvm.runtime.target import host
    >>> text = "define i32 @three() { ret i32 3 }"
    >>> with Compilers(host(), 1) as compilers:
    ...     job = compilers.submit(text, level=1, codegen=0)
    >>> job.result() == build(text, host(), 1, 0)
    True
    """

    def __init__(self, target: Target, most: int) -> None:
        self._target, self._most = target, most if sys.executable else 1
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # characters
        self._counts = threading.Lock()

    def __enter__(self) -> Compilers:
        self._call(_in_this_process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if kind is not None:  # nobody waits for what is left
            with contextlib.suppress(queue.Empty):
                while True:
                    self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, text: str, level: int, codegen: int) -> Future[bytes]:
        """Compile a text, as ``build`` does, when its turn comes."""
        result: Future[bytes] = Future()
        self._jobs.put((text, level, codegen, result))
        with self._counts:
            self._waiting += len(text)
            much = self._waiting > PILE * len(self._threads)
        if much and len(self._threads) < self._most:
            self._call(_Helper())
        return result

    def _call(self, compiler: Callable[..., bytes]) -> None:
        thread = threading.Thread(target=self._work, args=(compiler,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, compiler: Callable[..., bytes]) -> None:
        while (job := self._jobs.get()) is not None:
            text, level, codegen, result = job
            try:
                result.set_result(compiler(text, self._target, level, codegen))
            except BaseException as error:  # whoever waits for the result is told
                result.set_exception(error)
            with self._counts:
                self._waiting -= len(text)
        if isinstance(compiler, _Helper):
            compiler.close()


def _in_this_process(text: str, target: Target, level: int, codegen: int) -> bytes:
    return build(text, target, level, codegen)


class _Helper:
    """A process that compiles; what it cannot, because it is gone, is compiled here."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            # A session of its own: Ctrl-C is for this process, which then closes the helper.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._began = False

    def __call__(self, *task: Any) -> bytes:
        try:
            good, answer = self._ask(task)
        except Exception:  # whatever happened to it: what it was asked can be done here
            self.close()
            return _in_this_process(*task)
        if not good:
            raise RuntimeError(answer)
        return bytes(answer)

    def _ask(self, task: Any) -> tuple[bool, Any]:
        if self._process is None:
            raise EOFError
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(task, self._process.stdin)
        self._process.stdin.flush()
        while not self._began:
            line = self._process.stdout.readline()
            if not line:
                raise EOFError
            self._began = line == _READY
        good, answer = pickle.load(self._process.stdout)
        return good, answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # there may be no one to take what was written
                    if pipe is not None:
                        pipe.close()


def serve(tasks: Any, answers: Any) -> None:
    """Be a helper: compile what comes in, until no more comes."""
    # What LLVM prints must not be taken for an answer.
    own = os.fdopen(os.dup(answers.fileno()), "wb")
    os.dup2(2, answers.fileno())
    own.write(_READY)
    own.flush()
    while True:
        try:
            task = pickle.load(tasks)
        except EOFError:
            return
        try:
            answer: tuple[bool, bytes | str] = True, build(*task)
        except RuntimeError as error:
            answer = False, str(error)
        pickle.dump(answer, own)
        own.flush()


__all__ = ["Compilers", "serve"]
