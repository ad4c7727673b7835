"""Emit the barrier at which the threads of one program wait for each other."""

from __future__ import annotations

import llvmlite.binding as llvm
import llvmlite.ir as ir

# The state is 256 bytes, aligned to 64, zero at first except for the spin limit:
#   0    i64 arrived     threads that reached the current barrier; the last one resets it
#   128  i64 generation  barriers passed so far; waiting threads watch it
#   136  i64 spin limit  how often to pause before giving the core away; 0 is legal
# The two counters are 128 bytes apart because processors fetch cache lines in pairs, and an
# arrival must not disturb the threads that watch the generation.
STATE_BYTES = 256
GENERATION_OFFSET = 128
SPIN_LIMIT_OFFSET = 136

_WORD = ir.IntType(32)
_LONG = ir.IntType(64)
_BYTE = ir.IntType(8)


def emit_barrier(module: ir.Module) -> ir.Function:
    """Return the module's internal function ``barrier(ptr state, i64 threads)``.

    It returns when ``threads`` threads have called it, and what each wrote before is visible to
    all after. It can be called any number of times in a row. Waiting threads pause, then give
    their core to others, so more threads than cores is slow but never stuck.
    """
    if "barrier" in module.globals:
        return module.globals["barrier"]
    signature = ir.FunctionType(ir.VoidType(), [ir.PointerType(), _LONG])
    function = ir.Function(module, signature, "barrier")
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    function.args[0].name, function.args[1].name = "state", "threads"
    _emit_body(module, function)
    return function


def pause_intrinsic(triple: str) -> tuple[str, tuple[int, ...]]:
    """Return the intrinsic, and its i32 arguments, that says a thread of ``triple`` spins.

    An intrinsic and not inline assembly, which only the host's assembler could read.
    """
    if triple.startswith(("x86_64", "amd64", "i686")):
        return "llvm.x86.sse2.pause", ()
    if triple.startswith(("aarch64", "arm64")):
        return "llvm.aarch64.hint", (1,)  # hint 1 is `yield`
    return "llvm.donothing", ()


def yield_function(triple: str) -> str:
    """Return the C function without arguments that gives the core to another thread."""
    return "SwitchToThread" if "windows" in triple else "sched_yield"


def _triple(module: ir.Module) -> str:
    given = str(module.triple)
    return str(llvm.get_process_triple()) if given.startswith("unknown") else given


def _emit_body(module: ir.Module, function: ir.Function) -> None:
    state, threads = function.args
    entry = ir.IRBuilder(function.append_basic_block("entry"))
    arrive, last, wait, check, pause, give, done = (
        ir.IRBuilder(function.append_basic_block(name))
        for name in ("arrive", "last", "wait", "check", "pause", "give", "done")
    )
    entry.cbranch(entry.icmp_unsigned("<=", threads, _LONG(1)), done.block, arrive.block)

    generation = arrive.gep(state, [_LONG(GENERATION_OFFSET)], source_etype=_BYTE)
    limit_at = arrive.gep(state, [_LONG(SPIN_LIMIT_OFFSET)], source_etype=_BYTE)
    limit = arrive.load(limit_at, typ=_LONG)
    # Read before arriving: the generation cannot change until this thread has arrived.
    current = arrive.load_atomic(generation, "acquire", 8, typ=_LONG)
    arrived = arrive.atomic_rmw("add", state, _LONG(1), "acq_rel")
    is_last = arrive.icmp_unsigned("==", arrived, arrive.sub(threads, _LONG(1)))
    arrive.cbranch(is_last, last.block, wait.block)

    # Reset before the release below: nobody arrives again before having seen the release.
    last.atomic_rmw("xchg", state, _LONG(0), "monotonic")
    last.atomic_rmw("add", generation, _LONG(1), "release")
    last.branch(done.block)

    spins = wait.phi(_LONG)
    spins.add_incoming(_LONG(0), arrive.block)
    seen = wait.load_atomic(generation, "acquire", 8, typ=_LONG)
    wait.cbranch(wait.icmp_unsigned("==", seen, current), check.block, done.block)
    check.cbranch(check.icmp_unsigned("<", spins, limit), pause.block, give.block)

    name, arguments = pause_intrinsic(_triple(module))
    kind = ir.FunctionType(ir.VoidType(), [_WORD] * len(arguments))
    pause.call(_declared(module, name, kind), [_WORD(value) for value in arguments])
    spins.add_incoming(pause.add(spins, _LONG(1)), pause.block)
    pause.branch(wait.block)

    yields = yield_function(_triple(module))
    give.call(_declared(module, yields, ir.FunctionType(_WORD, [])), [])
    spins.add_incoming(spins, give.block)
    give.branch(wait.block)
    done.ret_void()


def _declared(module: ir.Module, name: str, kind: ir.FunctionType) -> ir.Function:
    known = module.globals.get(name)
    return known if known is not None else ir.Function(module, kind, name)
