"""Check targets, loading, the disk cache, the barrier and the team of threads."""

import ctypes
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir
import numpy as np
import pytest

import thalweg as tw
from thalweg.backends.llvm.runtime import cache as disk
from thalweg.backends.llvm.runtime import target
from thalweg.backends.llvm.runtime.barrier import emit_barrier
from thalweg.backends.llvm.runtime.library import BRIEF, TILE, Library, assembly, build
from thalweg.backends.llvm.runtime.target import Target
from thalweg.backends.llvm.runtime.team import Team, team
from thalweg.errors import SettingError, ShapeError
from thalweg.settings import settings

LONG, POINTER = ir.IntType(64), ir.PointerType()
SQUARE = "define double @square(double %x) {\n %y = fmul double %x, %x\n ret double %y\n}"
ROUNDS = 50


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give every test of this file a cache folder that is shared by them alone."""
    before = settings.cache_dir, settings.cache
    settings.cache_dir = tmp_path_factory.getbasetemp() / "machine-code"
    settings.cache = True
    yield
    settings.cache_dir, settings.cache = before
    disk._given_up.clear()


# --- programs for the team ------------------------------------------------------------------


def programs(target: Target) -> ir.Module:
    """Write ``count`` (adds 1 to the thread's slot) and ``relay``, whose phases need a barrier.

    ``relay``: in each of ROUNDS rounds a thread reads its neighbour's slot, waits, writes the
    value read plus one to its own, and waits. Any thread too early or too late shows.
    """
    module = ir.Module()
    module.triple = target.triple
    kind = ir.FunctionType(ir.VoidType(), [POINTER, LONG, LONG, POINTER])

    count = ir.Function(module, kind, "count")
    b = ir.IRBuilder(count.append_basic_block())
    own = b.gep(count.args[0], [count.args[1]], source_etype=LONG)
    b.store(b.add(b.load(own, typ=LONG), LONG(1)), own)
    b.ret_void()

    relay, barrier = ir.Function(module, kind, "relay"), emit_barrier(module)
    argument, thread, threads, state = relay.args
    entry, loop, done = (relay.append_basic_block() for _ in range(3))
    b = ir.IRBuilder(entry)
    own = b.gep(argument, [thread], source_etype=LONG)
    neighbour = b.urem(b.add(thread, LONG(1)), threads)
    other = b.gep(argument, [neighbour], source_etype=LONG)
    b.branch(loop)
    b.position_at_end(loop)
    i = b.phi(LONG)
    i.add_incoming(LONG(0), entry)
    value = b.load(other, typ=LONG)
    b.call(barrier, [state, threads])
    b.store(b.add(value, LONG(1)), own)
    b.call(barrier, [state, threads])
    following = b.add(i, LONG(1))
    i.add_incoming(following, loop)
    b.cbranch(b.icmp_unsigned("<", following, LONG(ROUNDS)), loop, done)
    b.position_at_end(done)
    b.ret_void()
    return module


@cache
def loaded() -> Library:
    host = target.host()
    return Library.from_object(build(programs(host), host))


def slots(values: list[int]) -> tuple[Any, int]:
    array = np.array(values, np.int64)
    return array, array.ctypes.data


# --- target ---------------------------------------------------------------------------------


def test_host_is_described() -> None:
    host = target.host("auto")
    assert host.vector_bits in (128, 256, 512)
    assert host.cpu in host.key
    assert str(llvm.llvm_version_info[0]) in host.key


@pytest.mark.skipif(not target.host("auto").is_x86, reason="names of x86-64 vectors")
def test_less_than_the_host_has_can_be_asked_for() -> None:
    best = target.host("auto").vector_bits
    widths = {"sse": 128, "avx2": 256, "avx512": 512}
    keys = set()
    for name, bits in widths.items():
        if bits > best:
            continue
        made = target.host(name)
        assert made.vector_bits == bits
        keys.add(made.key)
        library = Library.from_object(build(SQUARE, made))
        square = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(library.address("square"))
        assert square(3.0) == 9.0
        register = {128: "mulsd", 256: "vmulsd", 512: "vmulsd"}[bits]
        assert f"\t{register}\t" in assembly(SQUARE, made)
    assert len(keys) == widths_up_to(best)


def widths_up_to(best: int) -> int:
    return {128: 1, 256: 2, 512: 3}[best]


def test_more_than_the_host_has_is_an_error() -> None:
    features = {"sse4.2": True, "ssse3": True, "popcnt": True, "cx16": True}
    with pytest.raises(SettingError, match=r"avx2.*lacks.*fma.*THALWEG_VECTOR=auto or sse"):
        target._x86("avx2", "x86_64-unknown-linux-gnu", features)
    with pytest.raises(SettingError, match="did you mean 'avx512'"):
        target.host("avx51")


def test_wide_vectors_stay_wide() -> None:
    if target.host("auto").vector_bits < 512:
        pytest.skip("no AVX-512")
    text = """define void @twice(ptr %p) {
      %x = load <16 x float>, ptr %p, align 4
      %y = fadd <16 x float> %x, %x
      store <16 x float> %y, ptr %p, align 4
      ret void
    }"""
    assert "%zmm" in assembly(text, target.host("avx512"))
    assert "%zmm" not in assembly(text, target.host("avx2"))


def test_arm_code_is_made_anywhere() -> None:
    arm = target.aarch64()
    text = assembly(programs(arm), arm)
    assert "yield" in text
    assert "ldaddal" in text
    assert build(programs(arm), arm)[:4] == b"\x7fELF"


# --- library --------------------------------------------------------------------------------


def test_functions_of_the_process_are_found() -> None:
    text = """declare double @exp(double)
    declare i32 @sched_yield()
    declare i32 @usleep(i32)
    define double @f(double %x) {
      call i32 @sched_yield()
      call i32 @usleep(i32 1)
      %y = call double @exp(double %x)
      ret double %y
    }"""
    library = Library.from_object(build(text, target.host()))
    f = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(library.address("f"))
    assert f(1.0) == pytest.approx(np.e)
    assert library.address("f") == library.address("f")
    with pytest.raises(RuntimeError):
        library.address("g")


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_every_level_gives_the_same_results(level: int) -> None:
    host = target.host()
    library = Library.from_object(build(programs(host), host, level))
    array, pointer = slots([5, 0])
    Team(1).run(library.address("relay"), pointer)
    assert array[0] == 5 + ROUNDS


def test_wrong_ir_is_refused() -> None:
    with pytest.raises(RuntimeError):
        build("define void @f() { ret i32 1 }", target.host())


def test_libraries_with_equal_names_live_side_by_side() -> None:
    cube = SQUARE.replace("ret double %y", "%z = fmul double %y, %x\n ret double %z")
    made = [Library.from_object(build(text, target.host())) for text in (SQUARE, cube)]
    kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    assert [kind(m.address("square"))(2.0) for m in made] == [4.0, 8.0]


# --- cache ----------------------------------------------------------------------------------


def entry_file(key: str) -> Path:
    return disk._path(key)


def test_what_is_stored_is_loaded(tmp_path: Path) -> None:
    settings.cache_dir = tmp_path / "new" / "folder"
    assert disk.load("key") is None
    disk.store("key", b"code", {"arena": 3, "names": ["a"]})
    assert disk.load("key") == (b"code", {"arena": 3, "names": ["a"]})
    settings.cache = False
    assert disk.load("key") is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign"])
def test_damaged_entries_are_removed(tmp_path: Path, damage: str) -> None:
    settings.cache_dir = tmp_path
    disk.store("key", b"machine code", {"arena": 3})
    path = entry_file("key")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    damaged = {"flip": bytes(content), "truncate": content[:-3], "empty": b"", "foreign": b"x" * 99}
    path.write_bytes(damaged[damage])
    assert disk.load("key") is None
    assert not path.exists()


def test_unwritable_folder_warns_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    settings.cache_dir = tmp_path / "file" / "below"
    with pytest.warns(RuntimeWarning, match="THALWEG_CACHE_DIR"):
        disk.store("key", b"code", {})
    disk.store("key", b"code", {})  # a second warning would be an error here
    assert disk.load("key") is None


def test_oldest_entries_go_first(tmp_path: Path) -> None:
    settings.cache_dir = tmp_path
    for i in range(10):
        disk.store(str(i), bytes(1000), {})
        os.utime(entry_file(str(i)), (1000 + i, 1000 + i))
    assert disk.load("0") is not None  # used now, so it is the newest
    abandoned = entry_file("0").with_suffix(".tmp")
    abandoned.write_bytes(b"")
    os.utime(abandoned, (1000, 1000))
    disk.trim(5500)
    assert [i for i in range(10) if entry_file(str(i)).exists()] == [0, 7, 8, 9]
    assert not abandoned.exists()


def python(script: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Start a Python program that has this file's cache, or the one given."""
    variables = {**os.environ, "THALWEG_CACHE_DIR": str(settings.cache_dir), **environment}
    variables["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    assert err == ""
    return out.strip()


def test_two_processes_fill_one_cache(tmp_path: Path) -> None:
    script = """
        from thalweg.backends.llvm.runtime import cache
        for i in range(300):
            key = str(i % 40)
            found = cache.load(key)
            assert found is None or found == (key.encode() * 5000, {"key": key}), key
            cache.store(key, key.encode() * 5000, {"key": key})
            if i % 50 == 0:
                cache.trim(100_000)
        print("done")
    """
    running = [python(script, THALWEG_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert [finished(p) for p in running] == ["done", "done"]
    assert not list(tmp_path.rglob("*.tmp"))


# --- team and barrier -----------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_every_member_runs_once_per_call(threads: int) -> None:
    array, pointer = slots([0] * threads)
    members = team(threads)
    for i in range(1, 2001):
        members.run(loaded().address("count"), pointer)
        assert array.min() == array.max() == i


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_barrier_orders_phases(threads: int) -> None:
    expected = list(range(0, 100 * threads, 100))
    array, pointer = slots(expected)
    for _ in range(100):
        team(threads).run(loaded().address("relay"), pointer)
        # After r rounds a slot holds what was r slots further on, plus r.
        expected = [expected[(t + ROUNDS) % threads] + ROUNDS for t in range(threads)]
        assert list(array) == expected


def test_sleeping_members_wake() -> None:
    array, pointer = slots([0, 0, 0])
    members = team(3)
    for i in range(1, 60):
        members.run(loaded().address("count"), pointer)
        assert list(array) == [i] * 3
        # Around the moment at which members go to sleep, where a wake-up could be lost.
        time.sleep(i % 12 * 0.0004)


def test_callers_take_turns() -> None:
    array, pointer = slots([0, 0])
    own = Team(2)

    def call() -> None:
        for _ in range(300):
            own.run(loaded().address("count"), pointer)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert list(array) == [1200, 1200]
    own.stop()


def test_stopped_team_starts_again() -> None:
    array, pointer = slots([0, 0, 0])
    own = Team(3)
    for i in range(1, 20):
        own.run(loaded().address("count"), pointer)
        members = own._members
        time.sleep(i % 4 * 0.0008)
        own.stop()
        assert not any(member.is_alive() for member in members)
        assert list(array) == [i] * 3


def test_interrupt_leaves_the_team_consistent() -> None:
    script = """
        import _thread, ctypes, signal, threading, time
        import numpy as np
        from thalweg.backends.llvm.runtime.library import Library, build
        from thalweg.backends.llvm.runtime.target import host
        from thalweg.backends.llvm.runtime.team import team
        text = '''define void @count(ptr %p, i64 %t, i64 %n, ptr %b) {
            %q = getelementptr i64, ptr %p, i64 %t
            %x = load i64, ptr %q
            %y = add i64 %x, 1
            store i64 %y, ptr %q
            ret void
        }'''
        library = Library.from_object(build(text, host()))
        function, array, interrupts = library.address("count"), np.zeros(3, np.int64), 0
        inside = False  # only there may an interrupt be raised: elsewhere none could catch it
        def interrupted(number, frame):
            global inside
            if inside:
                inside = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, interrupted)
        def interrupt():
            for i in range(150):
                time.sleep(0.0005 * (i % 9))
                _thread.interrupt_main()
        thread = threading.Thread(target=interrupt)
        thread.start()
        while thread.is_alive():
            try:
                inside = True
                team(3).run(function, array.ctypes.data)
                if interrupts % 2:
                    time.sleep(0.002)
                inside = False
            except KeyboardInterrupt:
                interrupts += 1
                assert array.min() == array.max(), array
        thread.join()
        before = array[0]
        team(3).run(function, array.ctypes.data)
        assert list(array) == [before + 1] * 3
        assert interrupts > 0  # on a busy machine several become one
        print("done")
    """
    assert finished(python(script)) == "done"


FORK = """
    import os, sys, warnings
    import numpy as np
    warnings.simplefilter("ignore")  # newer Pythons warn of any fork with threads
    from thalweg.backends.llvm.runtime.library import Library, build
    from thalweg.backends.llvm.runtime.target import host
    from thalweg.backends.llvm.runtime.team import team
    text = '''define void @mark(ptr %p, i64 %t, i64 %n, ptr %b) {
        %q = getelementptr i64, ptr %p, i64 %t
        store i64 1, ptr %q
        ret void
    }'''
    library = Library.from_object(build(text, host()))
    def mark(members):
        array = np.zeros(members.threads, np.int64)
        members.run(library.address("mark"), array.ctypes.data)
        assert array.all()
    two = team(2)
    for i in range(3):
        mark(two)
        child = os.fork()
        if child == 0:
            for _ in range(50):
                mark(two)
                mark(team(3))
            sys.exit(0)
        mark(two)
        assert os.waitpid(child, 0)[1] == 0
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_makes_its_own_team() -> None:
    assert finished(python(FORK)).splitlines()[-1] == "done"


@pytest.mark.parametrize("pause", ["0", "0.0003", "0.05"])
def test_exit_does_not_hang(pause: str) -> None:
    script = """
        import atexit, sys, threading, time
        from thalweg.backends.llvm.runtime.library import Library, build
        from thalweg.backends.llvm.runtime.target import host
        from thalweg.backends.llvm.runtime.team import team
        text = "define void @nothing(ptr %p, i64 %t, i64 %n, ptr %b) {\\n ret void\\n}"
        library = Library.from_object(build(text, host()))
        function = library.address("nothing")
        def forever():
            while True:
                team(2).run(function, 0)
        for threads in (1, 2, 4):
            for _ in range(100):
                team(threads).run(function, 0)
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(float(sys.argv[1]))
        print("done", flush=True)
    """
    begin = time.monotonic()
    assert finished(python(script, pause)) == "done"
    assert time.monotonic() - begin < 10


def test_warm_start_does_not_compile(tmp_path: Path) -> None:
    script = """
        import sys
        import thalweg.backends.llvm.runtime.team as module
        def compiled(*arguments):
            raise AssertionError("compiled")
        if sys.argv[1] == "warm":
            module.build = compiled
        module._native()
        print("done")
    """
    for state in ("cold", "warm"):
        assert finished(python(script, state, THALWEG_CACHE_DIR=str(tmp_path))) == "done"


def test_tiles_are_known_by_their_names() -> None:
    """The compiler gives them more time, also where there are many kernels; small ones less."""
    settings.backend = "llvm"
    product = tw.compile(lambda a, b: a @ b)
    assert f'define void @"{TILE}' in product.explain(np.ones((160, 300)), np.ones((300, 150)))
    assert f'define void @"{BRIEF}' in product.explain(np.ones((40, 30)), np.ones((30, 50)))


def test_garbage_is_collected_again_after_a_compilation() -> None:
    """It waits meanwhile, and stays off where it was off."""
    fails = tw.compile(lambda x: x @ x)
    for held in (False, True):
        (gc.disable if held else gc.enable)()
        try:
            settings.cache = False
            tw.compile(lambda x: tw.exp(x) + 1)(np.ones(3, np.float32))
            with pytest.raises(ShapeError):
                fails(np.ones((2, 3), np.float32))
            assert gc.isenabled() != held
        finally:
            gc.enable()
            settings.cache = True
