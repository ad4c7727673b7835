"""The team: ordinary Python threads parked inside a native loop, ready to run a program together.

A member waits in native code, with the interpreter lock released: it spins briefly, then lets others
have the core, and after about a millisecond goes to sleep on a Python semaphore. The caller of
``run`` is member 0. Handshake: a member that wants to sleep sets its flag and looks once more; the
caller publishes the work and then takes down the flags. Whoever takes down a set flag decides: the
caller owes that member a release of its semaphore, the member itself goes on without one.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from thalweg.backends.llvm.runtime import cache as disk
from thalweg.backends.llvm.runtime.barrier import (
    STATE_BYTES,
    give_way,
    pause,
    wait_while,
)
from thalweg.backends.llvm.runtime.library import Library, build
from thalweg.backends.llvm.runtime.target import host

# words of the shared state, on separate cache lines where several threads write
ROUND, FUNCTION, ARGUMENT, THREADS, STOP, DONE, FLAGS = 0, 8, 9, 10, 11, 16, 32
SPINS, YIELDS = 4000, 400
_I64, _POINTER, _VOID = ir.IntType(64), ir.PointerType(), ir.VoidType()
_CODE_VERSION = "team 1"


def _word(b: ir.IRBuilder, state: ir.Value, index: Any) -> ir.Value:
    at = index if isinstance(index, ir.Value) else _I64(index)
    return b.gep(state, [at], source_etype=_I64)


def _call(b: ir.IRBuilder, state: ir.Value, thread: ir.Value, barrier: ir.Value) -> None:
    """Emit the call of the published function."""
    kind = ir.FunctionType(_VOID, [_POINTER, _I64, _I64, _POINTER])
    function = b.load(_word(b, state, FUNCTION), typ=_POINTER)
    argument = b.load(_word(b, state, ARGUMENT), typ=_POINTER)
    threads = b.load(_word(b, state, THREADS), typ=_I64)
    # llvmlite calls through a pointer only if the pointer knows the function's type
    args = [argument, thread, threads, barrier]
    b._insert(ir.instructions.CallInstr(b.block, _Pointee(function, kind), args))


class _Pointee:
    """A pointer that llvmlite takes for a function."""

    def __init__(self, pointer: ir.Value, kind: ir.FunctionType) -> None:
        self.function_type = kind
        self.ftype = kind
        self.type = ir.PointerType()
        self._pointer = pointer

    def get_reference(self) -> str:
        """Return how the pointer is written."""
        return str(self._pointer.get_reference())


def _emit_work(module: ir.Module) -> None:
    """Emit ``i64 work(ptr state, ptr barrier, i64 thread, i64 seen)``.

    Returns the last round seen, to be passed again after a sleep, or -1 to stop.
    """
    kind = ir.FunctionType(_I64, [_POINTER, _POINTER, _I64, _I64])
    function = ir.Function(module, kind, "work")
    state, barrier, thread, first = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    entry = b.block
    names = ("look", "idle", "spin", "yield", "lie_down", "again", "sleep", "act", "run", "stop")
    blocks = {n: function.append_basic_block(n) for n in names}
    b.branch(blocks["look"])
    b.position_at_end(blocks["look"])
    seen, count = b.phi(_I64), b.phi(_I64)
    seen.add_incoming(first, entry)
    count.add_incoming(_I64(0), entry)
    now = b.load_atomic(_word(b, state, ROUND), "seq_cst", 8, typ=_I64)
    b.cbranch(b.icmp_unsigned("==", now, seen), blocks["idle"], blocks["act"])
    b.position_at_end(blocks["idle"])
    more = b.add(count, _I64(1))
    kinds = b.switch(b.select(b.icmp_unsigned("<", count, _I64(SPINS)), _I64(0), b.select(
        b.icmp_unsigned("<", count, _I64(SPINS + YIELDS)), _I64(1), _I64(2))), blocks["lie_down"])  # fmt: skip
    kinds.add_case(_I64(0), blocks["spin"])
    kinds.add_case(_I64(1), blocks["yield"])
    for name, act in (("spin", pause), ("yield", give_way)):
        b.position_at_end(blocks[name])
        act(b)
        seen.add_incoming(seen, blocks[name])
        count.add_incoming(more, blocks[name])
        b.branch(blocks["look"])
    b.position_at_end(blocks["lie_down"])
    flag = _word(b, state, b.add(_I64(FLAGS), b.mul(thread, _I64(8))))
    b.atomic_rmw("xchg", flag, _I64(1), "seq_cst")
    later = b.load_atomic(_word(b, state, ROUND), "seq_cst", 8, typ=_I64)
    b.cbranch(b.icmp_unsigned("==", later, seen), blocks["sleep"], blocks["again"])
    b.position_at_end(blocks["again"])
    mine = b.atomic_rmw("xchg", flag, _I64(0), "seq_cst")
    seen.add_incoming(seen, blocks["again"])
    count.add_incoming(_I64(0), blocks["again"])
    b.cbranch(b.icmp_unsigned("==", mine, _I64(1)), blocks["look"], blocks["sleep"])
    b.position_at_end(blocks["sleep"])
    b.ret(seen)
    b.position_at_end(blocks["act"])
    stop = b.load_atomic(_word(b, state, STOP), "seq_cst", 8, typ=_I64)
    b.cbranch(b.icmp_unsigned("!=", stop, _I64(0)), blocks["stop"], blocks["run"])
    b.position_at_end(blocks["run"])
    _call(b, state, thread, barrier)
    b.atomic_rmw("add", _word(b, state, DONE), _I64(1), "acq_rel")
    seen.add_incoming(now, blocks["run"])
    count.add_incoming(_I64(0), blocks["run"])
    b.branch(blocks["look"])
    b.position_at_end(blocks["stop"])
    b.ret(_I64(-1))


def _emit_start(module: ir.Module) -> ir.Function:
    """Emit ``i64 start(ptr state, i64 threads)``: publish; return a bit for each sleeping member."""
    kind = ir.FunctionType(_I64, [_POINTER, _I64])
    function = ir.Function(module, kind, "start")
    state, threads = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    entry = b.block
    b.atomic_rmw("xchg", _word(b, state, DONE), _I64(0), "seq_cst")
    b.atomic_rmw("add", _word(b, state, ROUND), _I64(1), "seq_cst")
    loop, body, done = (b.append_basic_block(n) for n in ("loop", "body", "done"))
    b.branch(loop)
    b.position_at_end(loop)
    i, mask = b.phi(_I64), b.phi(_I64)
    i.add_incoming(_I64(1), entry)
    mask.add_incoming(_I64(0), entry)
    b.cbranch(b.icmp_unsigned("<", i, threads), body, done)
    b.position_at_end(body)
    flag = _word(b, state, b.add(_I64(FLAGS), b.mul(i, _I64(8))))
    asleep = b.atomic_rmw("xchg", flag, _I64(0), "seq_cst")
    # more than 63 members share the last bit: then all of them are looked at
    shift = b.select(b.icmp_unsigned("<", i, _I64(63)), i, _I64(63))
    mask.add_incoming(b.or_(mask, b.shl(asleep, shift)), body)
    i.add_incoming(b.add(i, _I64(1)), body)
    b.branch(loop)
    b.position_at_end(done)
    b.ret(mask)
    return function


def _emit_finish(module: ir.Module) -> ir.Function:
    """Emit ``void finish(ptr state, ptr barrier)``: do member 0's part, wait for the others."""
    kind = ir.FunctionType(_VOID, [_POINTER, _POINTER])
    function = ir.Function(module, kind, "finish")
    state, barrier = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    _call(b, state, _I64(0), barrier)
    others = b.sub(b.load(_word(b, state, THREADS), typ=_I64), _I64(1))
    loop, done = b.append_basic_block("loop"), b.append_basic_block("done")
    b.branch(loop)
    b.position_at_end(loop)
    count = b.load_atomic(_word(b, state, DONE), "acquire", 8, typ=_I64)
    more = b.append_basic_block("more")
    b.cbranch(b.icmp_unsigned("==", count, others), done, more)
    b.position_at_end(more)
    wait_while(b, _word(b, state, DONE), count)
    b.branch(loop)
    b.position_at_end(done)
    b.ret_void()
    return function


def _emit_go(module: ir.Module, start: ir.Function, finish: ir.Function) -> None:
    """Emit ``i64 go(...)``: start, and if nobody sleeps, finish."""
    kind = ir.FunctionType(_I64, [_POINTER, _POINTER, _POINTER, _POINTER, _I64])
    function = ir.Function(module, kind, "go")
    state, barrier, called, argument, threads = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    b.store(called, _word(b, state, FUNCTION))
    b.store(argument, _word(b, state, ARGUMENT))
    b.store(threads, _word(b, state, THREADS))
    mask = b.call(start, [state, threads])
    with b.if_then(b.icmp_unsigned("==", mask, _I64(0))):
        b.call(finish, [state, barrier])
    b.ret(mask)


@cache
def _native() -> dict[str, Any]:
    """Return the native functions, compiled once for this machine."""
    target = host("auto")
    key = f"{_CODE_VERSION}|{target.key}"
    known = disk.load(key)
    if known is None:
        module = ir.Module(name="team")
        module.triple = target.triple
        _emit_work(module)
        start, finish = _emit_start(module), _emit_finish(module)
        _emit_go(module, start, finish)
        code = build(str(module), target)
        disk.store(key, code, {})
    else:
        code = known[0]
    names = ["work", "finish", "go"]
    library = Library(code, names)
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    kinds = {
        "work": ctypes.CFUNCTYPE(word, pointer, pointer, word, word),
        "finish": ctypes.CFUNCTYPE(None, pointer, pointer),
        "go": ctypes.CFUNCTYPE(word, pointer, pointer, pointer, pointer, word),
    }
    found: dict[str, Any] = {n: kinds[n](library.address(n)) for n in names}
    return {**found, "library": library}


def _buffer(size: int) -> tuple[Any, int]:
    """Return zeroed memory aligned to a cache line, and its address."""
    memory = np.zeros(size + 64, np.uint8)
    return memory, (memory.ctypes.data + 63) // 64 * 64


class Team:
    """A number of threads that run native programs together.

    A program is ``void f(ptr argument, i64 thread, i64 threads, ptr barrier)``.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._native = _native()
        self._memory = _buffer(8 * (FLAGS + 8 * (threads + 1)))
        self._barrier = _buffer(STATE_BYTES)
        self._lock = threading.Lock()
        self._beds = [threading.Semaphore(0) for _ in range(threads)]
        self._go, self._finish = self._native["go"], self._native["finish"]
        for i in range(1, threads):
            name = f"thalweg-{i}"
            threading.Thread(target=self._member, args=(i,), name=name, daemon=True).start()

    def _member(self, number: int) -> None:
        work, seen = self._native["work"], 0
        while True:
            seen = work(self._memory[1], self._barrier[1], number, seen)
            if seen < 0:
                return
            self._beds[number].acquire()

    def run(self, function: int, argument: int) -> None:
        """Run a program on every member and return when all have finished."""
        state, barrier = self._memory[1], self._barrier[1]
        with self._lock:
            asleep = self._go(state, barrier, function, argument, self.threads)
            if asleep:
                try:
                    self._wake(asleep)
                finally:
                    self._finish(state, barrier)

    def _wake(self, asleep: int) -> None:
        for i in range(1, self.threads):
            if asleep >> min(i, 63) & 1:
                self._beds[i].release()

    def stop(self) -> None:
        """Let the members go; the team cannot be used afterwards."""
        words = np.ctypeslib.as_array(
            ctypes.cast(self._memory[1], ctypes.POINTER(ctypes.c_int64)), (FLAGS,)
        )
        words[STOP] = 1
        words[ROUND] += 1
        for bed in self._beds:
            bed.release()


_teams: dict[int, Team] = {}
_teams_lock = threading.Lock()


def team(threads: int) -> Team:
    """Return the process's team of a size, made when first asked for."""
    found = _teams.get(threads)
    if found is None:
        with _teams_lock:
            found = _teams.get(threads) or _teams.setdefault(threads, Team(threads))
    return found


def _forget() -> None:
    """After a fork the threads are gone: start anew when needed."""
    global _teams_lock
    _teams.clear()
    _teams_lock = threading.Lock()


def _stop_all() -> None:
    for each in _teams.values():
        each.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_stop_all)
