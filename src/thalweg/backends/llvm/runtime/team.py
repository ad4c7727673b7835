"""Keep one team of threads ready, and run native programs on all of them.

The members are ordinary Python daemon threads parked in a native loop with the interpreter lock
released. A waiting member spins, then yields its core, then returns to Python and sleeps on a
queue. The caller of ``run`` is member 0. The handshake that loses no wake-up:

- A member going to sleep counts itself among the sleepers, then looks whether the team is busy;
  if so, it takes that back and goes on waiting.
- A caller says busy, then looks for sleepers; only with none left is the work published. Until
  then nothing has begun, so an interrupt between these steps leaves nothing half done.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
import weakref
from functools import cache as once
from queue import SimpleQueue
from typing import Any, NamedTuple

from thalweg.backends.llvm.runtime import cache
from thalweg.backends.llvm.runtime.barrier import (
    SPIN_LIMIT_OFFSET,
    STATE_BYTES,
    pause_intrinsic,
    yield_function,
)
from thalweg.backends.llvm.runtime.library import Library, build
from thalweg.backends.llvm.runtime.target import Target, host

# The control block, in bytes; what different threads write lies 128 bytes apart.
TICKET, FUNCTION, ARGUMENT = 0, 8, 16  # one line, written by the caller, watched by the members
FINISHED = 128  # members done with the present ticket
SLEEPERS = 256  # members asleep or not yet started
BUSY = 384  # whether a caller is about: nobody may fall asleep
THREADS, STOP, SPINS, YIELDS = 512, 520, 528, 536
BARRIER = 640
SLOTS = BARRIER + STATE_BYTES  # per member: i64 asleep, i64 the last ticket it has served
SLOT_BYTES = 128

# Aims for an idle member, before it sleeps: to spin this long, then yield this often (0.3 us
# each on an idle machine, so about a millisecond).
_SPIN_SECONDS = 60e-6
_YIELDS = 3000
# With fewer cores than threads, spinning keeps the awaited thread from running.
_SPINS_WHEN_CROWDED = 8
_PAUSES_TIMED = 400
# How often a caller yields, waiting for woken members, before it looks for Ctrl-C.
_PATIENCE = 20_000

_IR = """
declare i32 @{yield}()
{declare_pause}

define void @pauses(i64 %count) nounwind {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {pause}
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; Pause or, once %waited has reached the limit, yield the core.
define internal void @relax(i64 %waited, i64 %limit) alwaysinline nounwind {{
entry:
  %early = icmp ult i64 %waited, %limit
  br i1 %early, label %spin, label %give
spin:
  {pause}
  ret void
give:
  call i32 @{yield}()
  ret void
}}

; Serve tickets. Returns 1 when the member should sleep in Python and come back, 0 when it
; should end.
define i64 @serve(ptr %control, i64 %thread) nounwind {{
entry:
  %function_at = getelementptr i8, ptr %control, i64 {FUNCTION}
  %argument_at = getelementptr i8, ptr %control, i64 {ARGUMENT}
  %finished_at = getelementptr i8, ptr %control, i64 {FINISHED}
  %sleepers_at = getelementptr i8, ptr %control, i64 {SLEEPERS}
  %busy_at = getelementptr i8, ptr %control, i64 {BUSY}
  %threads_at = getelementptr i8, ptr %control, i64 {THREADS}
  %stop_at = getelementptr i8, ptr %control, i64 {STOP}
  %spins_at = getelementptr i8, ptr %control, i64 {SPINS}
  %yields_at = getelementptr i8, ptr %control, i64 {YIELDS}
  %barrier = getelementptr i8, ptr %control, i64 {BARRIER}
  %slots = getelementptr i8, ptr %control, i64 {SLOTS}
  %slot_offset = mul i64 %thread, {SLOT_BYTES}
  %asleep_at = getelementptr i8, ptr %slots, i64 %slot_offset
  %seen_at = getelementptr i8, ptr %asleep_at, i64 8
  %threads = load i64, ptr %threads_at
  %spins = load i64, ptr %spins_at
  %yields = load i64, ptr %yields_at
  %limit = add i64 %spins, %yields
  %was_asleep = load atomic i64, ptr %asleep_at seq_cst, align 8
  %slept = icmp ne i64 %was_asleep, 0
  br i1 %slept, label %awake, label %wait
awake:
  store atomic i64 0, ptr %asleep_at seq_cst, align 8
  atomicrmw sub ptr %sleepers_at, i64 1 seq_cst
  br label %wait
wait:
  %waited = phi i64 [ 0, %entry ], [ 0, %awake ], [ 0, %work ], [ %longer, %pass ], [ %spins, %up ]
  %seen = load i64, ptr %seen_at
  %ticket = load atomic i64, ptr %control acquire, align 8
  %new = icmp ne i64 %ticket, %seen
  br i1 %new, label %work, label %idle
work:
  store i64 %ticket, ptr %seen_at
  %function = load ptr, ptr %function_at
  %argument = load ptr, ptr %argument_at
  call void %function(ptr %argument, i64 %thread, i64 %threads, ptr %barrier)
  atomicrmw add ptr %finished_at, i64 1 release
  br label %wait
idle:
  %stop = load atomic i64, ptr %stop_at monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %end, label %stay
stay:
  %longer = add i64 %waited, 1
  %tired = icmp uge i64 %waited, %limit
  br i1 %tired, label %down, label %pass
pass:
  call void @relax(i64 %waited, i64 %spins)
  br label %wait
down:
  store atomic i64 1, ptr %asleep_at seq_cst, align 8
  atomicrmw add ptr %sleepers_at, i64 1 seq_cst
  %busy = load atomic i64, ptr %busy_at seq_cst, align 8
  %calm = icmp eq i64 %busy, 0
  br i1 %calm, label %sleep, label %up
up:
  store atomic i64 0, ptr %asleep_at seq_cst, align 8
  atomicrmw sub ptr %sleepers_at, i64 1 seq_cst
  br label %wait
sleep:
  ret i64 1
end:
  ret i64 0
}}

; Run a function on every member. Returns 1, with nothing begun, if there are still sleepers
; after %patience yields; 0 when all members have finished.
define i64 @run(ptr %control, ptr %function, ptr %argument, i64 %patience) nounwind {{
entry:
  %function_at = getelementptr i8, ptr %control, i64 {FUNCTION}
  %argument_at = getelementptr i8, ptr %control, i64 {ARGUMENT}
  %finished_at = getelementptr i8, ptr %control, i64 {FINISHED}
  %sleepers_at = getelementptr i8, ptr %control, i64 {SLEEPERS}
  %busy_at = getelementptr i8, ptr %control, i64 {BUSY}
  %threads_at = getelementptr i8, ptr %control, i64 {THREADS}
  %spins_at = getelementptr i8, ptr %control, i64 {SPINS}
  %barrier = getelementptr i8, ptr %control, i64 {BARRIER}
  %threads = load i64, ptr %threads_at
  %spins = load i64, ptr %spins_at
  %others = sub i64 %threads, 1
  ; an exchange, because the look for sleepers must not come before it
  atomicrmw xchg ptr %busy_at, i64 1 seq_cst
  br label %look
look:
  %tries = phi i64 [ 0, %entry ], [ %again, %yield ]
  %sleepers = load atomic i64, ptr %sleepers_at seq_cst, align 8
  %ready = icmp eq i64 %sleepers, 0
  br i1 %ready, label %publish, label %asleep
asleep:
  %again = add i64 %tries, 1
  %patient = icmp ult i64 %tries, %patience
  br i1 %patient, label %yield, label %not_ready
yield:
  call i32 @{yield}()
  br label %look
not_ready:
  ret i64 1
publish:
  store ptr %function, ptr %function_at
  store ptr %argument, ptr %argument_at
  store atomic i64 0, ptr %finished_at monotonic, align 8
  atomicrmw add ptr %control, i64 1 release
  call void %function(ptr %argument, i64 0, i64 %threads, ptr %barrier)
  br label %join
join:
  %waited = phi i64 [ 0, %publish ], [ %longer, %pass ]
  %finished = load atomic i64, ptr %finished_at acquire, align 8
  %all = icmp eq i64 %finished, %others
  br i1 %all, label %done, label %pass
pass:
  %longer = add i64 %waited, 1
  call void @relax(i64 %waited, i64 %spins)
  br label %join
done:
  store atomic i64 0, ptr %busy_at release, align 8
  ret i64 0
}}
"""

_I64, _PTR = ctypes.c_int64, ctypes.c_void_p


class _Native(NamedTuple):
    """The functions of the native loop, and the library that must outlive them."""

    pauses: Any
    serve: Any
    run: Any
    library: Library


class Team:
    """Threads that run native functions together; they start at the first ``run``.

    >>> Team(1).threads
    1
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._forget()
        _everyone.add(self)

    def run(self, function_address: int, pointer: int) -> None:
        """Call ``void function(ptr argument, i64 thread, i64 threads, ptr barrier)`` on all.

        Returns when every member has finished. Callers from several Python threads take turns,
        except in a team of one, where each calls the function itself. Ctrl-C is answered before
        or after, never inside.
        """
        if self.threads == 1:
            # The barrier of one thread touches no state, so callers need not take turns.
            _native().run(self._address, function_address, pointer, 0)
            return
        with self._lock:
            if not self._members:
                self._start()
            try:
                patience = 0
                while self._run(self._address, function_address, pointer, patience):
                    self._wake()
                    patience = _PATIENCE
            except BaseException:
                self._write(BUSY, 0)
                raise

    def stop(self) -> None:
        """End the threads, if the team is idle; the next ``run`` starts new ones."""
        if not self._lock.acquire(timeout=0.5):
            return
        try:
            members = self._members
            if members:
                self._write(STOP, 1)
                # To all, not only to sleepers: one may be about to lie down.
                for queue in self._queues:
                    queue.put(None)
                self._forget(self._lock)
        finally:
            self._lock.release()
        for member in members:
            member.join(0.5)

    def _forget(self, lock: Any = None) -> None:
        """Begin anew without threads; old ones, if alive, keep the old control block."""
        # Reentrant, because a signal handler or finaliser may itself call a compiled function.
        self._lock = lock or threading.RLock()
        self._members: list[threading.Thread] = []
        self._run: Any = None
        self._queues: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(self.threads)]
        size = SLOTS + SLOT_BYTES * self.threads
        self._memory = ctypes.create_string_buffer(size + 128)
        self._address = -(-ctypes.addressof(self._memory) // 128) * 128
        self._write(THREADS, self.threads)

    def _start(self) -> None:
        native = _native()
        crowded = self.threads > _cores()
        spins = _SPINS_WHEN_CROWDED if crowded else _spins()
        self._write(SPINS, spins)
        self._write(YIELDS, _YIELDS)
        self._write(BARRIER + SPIN_LIMIT_OFFSET, spins)
        self._write(SLEEPERS, self.threads - 1)
        self._run = native.run
        members = []
        for thread in range(1, self.threads):
            self._write(SLOTS + SLOT_BYTES * thread, 1)
            arguments = (self._address, thread, self._queues[thread], self._memory)
            members.append(
                threading.Thread(
                    target=_member, args=arguments, name=f"thalweg-{thread}", daemon=True
                )
            )
        try:
            for member in members:
                member.start()
        except BaseException:
            # An incomplete team would never be ready: let those that started go.
            self._write(STOP, 1)
            self._forget(self._lock)
            raise
        self._members = members

    def _wake(self) -> None:
        for thread in range(1, self.threads):
            # A token more than needed only makes a member look once in vain.
            if self._read(SLOTS + SLOT_BYTES * thread) and self._queues[thread].empty():
                self._queues[thread].put(None)

    def _read(self, offset: int) -> int:
        return _I64.from_address(self._address + offset).value

    def _write(self, offset: int, value: int) -> None:
        _I64.from_address(self._address + offset).value = value


_teams: dict[int, Team] = {}
_everyone: weakref.WeakSet[Team] = weakref.WeakSet()  # also those not made by `team`
_teams_lock = threading.Lock()


def team(threads: int) -> Team:
    """Return the process-wide team of a size."""
    found = _teams.get(threads)
    if found is None:
        with _teams_lock:
            found = _teams.setdefault(threads, Team(threads))
    return found


def _member(address: int, thread: int, queue: SimpleQueue[None], memory: Any) -> None:
    # `memory` is here so that the control block lives as long as this thread.
    serve = _native().serve
    while serve(address, thread):
        queue.get()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can restrict a process to some cores
        return os.cpu_count() or 1


@once
def _spins() -> int:
    native = _native()
    # A pause takes from 1 ns (Arm) to 60 ns (Intel), so it is timed here.
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        native.pauses(_PAUSES_TIMED)
        seconds.append(time.perf_counter() - begin)
    return max(1, int(_SPIN_SECONDS * _PAUSES_TIMED / max(min(seconds), 1e-9)))


@once
def _native() -> _Native:
    target = host("auto")
    text = _ir(target)
    key = f"team {target.key}\n{text}"
    entry = cache.load(key)
    code = build(text, target) if entry is None else entry[0]
    if entry is None:
        cache.store(key, code, {})
    library = Library.from_object(code)
    return _Native(
        ctypes.CFUNCTYPE(None, _I64)(library.address("pauses")),
        ctypes.CFUNCTYPE(_I64, _PTR, _I64)(library.address("serve")),
        ctypes.CFUNCTYPE(_I64, _PTR, _PTR, _PTR, _I64)(library.address("run")),
        library,
    )


def _ir(target: Target) -> str:
    numbers = {name: value for name, value in globals().items() if name.isupper()}
    name, arguments = pause_intrinsic(target.triple)
    kinds, values = ("i32" for _ in arguments), (f"i32 {value}" for value in arguments)
    words = {
        "yield": yield_function(target.triple),
        "declare_pause": f"declare void @{name}({', '.join(kinds)})",
        "pause": f"call void @{name}({', '.join(values)})",
    }
    return _IR.format(**numbers, **words)


def _after_fork() -> None:
    # Threads do not survive a fork, and a lock may have been held by one that is gone.
    global _teams_lock
    _teams_lock = threading.Lock()
    for each in list(_everyone):
        each._forget()


def _stop_all() -> None:
    for each in list(_everyone):
        each.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_stop_all)
