"""Machine code of whole programs: from this process, from disk, or compiled now."""

from __future__ import annotations

import gc
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from thalweg.backends.llvm.runtime import cache as disk
from thalweg.backends.llvm.runtime.compilers import Compilers
from thalweg.backends.llvm.runtime.functions import Functions
from thalweg.backends.llvm.runtime.library import Library
from thalweg.backends.llvm.runtime.target import Target
from thalweg.graph.node import Graph
from thalweg.graph.signature import graph_signature

# LLVM's passes, and how well it chooses instructions; the calls take no time that counts.
_EFFORT = {"few": (2, 2), "many": (1, 2), "common": (2, 2), "calls": (1, 0)}


@dataclass
class Code:
    """Machine code in memory, and what a call of it needs to know."""

    library: Library
    arena: int
    threads: int


_loaded: dict[str, Code] = {}
_functions: dict[str, Functions] = {}  # by target
_lock = threading.Lock()


def obtain(graph: Graph, target: Target, threads: int) -> Code:
    """Return machine code for a graph: from this process, from disk, or compiled now."""
    base = f"{_sources()}|{target.key}"
    key = f"{base}|{threads}|{graph_signature(graph)}"
    with _lock:
        if key not in _loaded:
            functions = _functions.setdefault(base, Functions(base))
            stored = disk.load(key)
            if stored is None or not functions.load(stored[1]["pieces"]):
                stored = _compiled(graph, target, threads, functions)
                disk.store(key, *stored)
            code, facts = stored
            library = functions.program(code, facts["needs"])
            _loaded[key] = Code(library, facts["arena"], facts["threads"])
        return _loaded[key]


@cache
def _sources() -> str:
    """Return a fingerprint of the compiler itself: other sources make other machine code."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in ("backends/llvm", "ops", "graph"):
        for path in sorted((root / folder).rglob("*.py")):
            facts = path.stat()
            digest.update(f"{path.relative_to(root)} {facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()


def _compiled(
    graph: Graph, target: Target, threads: int, functions: Functions
) -> tuple[bytes, dict[str, Any]]:
    """Compile what is not among the functions and add it; return the program's own code."""
    from thalweg.backends.llvm.codegen.program import Text
    from thalweg.backends.llvm.compile import lower, worthwhile_threads

    pieces: list[tuple[Text, Future[bytes]]] = []
    with _collection_held(), Compilers(target, threads) as compilers:

        def ready(text: Text) -> None:
            pieces.append((text, compilers.submit(text.ir, *_EFFORT[text.what])))

        made = lower(graph, target, threads, ready, functions.known)
    *others, (calls, code) = ((text, job.result()) for text, job in pieces)
    # What others call is loaded before them.
    for text, piece in sorted(others, key=lambda pair: pair[0].what != "common"):
        functions.keep(functions.add(piece, text.defines, text.needs), piece)
    facts = {
        "arena": made.schedule.arena_size, "needs": calls.needs,
        "pieces": functions.order(calls.needs),
        "threads": worthwhile_threads(made.schedule, threads),
    }  # fmt: skip
    return code, facts


@contextmanager
def _collection_held() -> Iterator[None]:
    """Let Python's search for cyclic garbage wait: it would look at all that is made, many times.

    Measured on networks of many layers: a tenth of the time before their first step.
    """
    held = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if held:
            gc.enable()
