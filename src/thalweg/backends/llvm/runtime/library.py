"""Turn LLVM IR into object code, and object code into functions of this process."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from thalweg.backends.llvm.runtime.target import Target

# LLVM is not told to vectorise or unroll: our IR has explicit vectors and tiles already.
_UNWANTED = ("loop_vectorization", "slp_vectorization", "loop_unrolling", "loop_interleaving")
TILE = "tile"  # how the names of the innermost loops of contractions begin
BRIEF = "brief"  # and those of loops that take so little time that LLVM should not take much
_numbers = itertools.count()
_engine_lock = threading.Lock()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait until the end of the block.

    An interrupt inside of llvmlite, where it disposes of an object, can free the object twice.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def build(
    ir_text_or_module: object, target: Target, level: int = 2, codegen: int = 2
) -> bytes:
    """Compile IR, given as text or as an ``ir.Module``, to object code for ``target``.

    ``codegen``: what LLVM calls the optimisation level of its code generator. For 200 calls of
    kernels one after the other, 2 takes 110 to 170 ms and 0 takes 10; for tiles only 2 will do.

    ``level`` chooses the passes. Measured on a 6x64 float32 contraction tile (24 accumulators),
    besides 0.5 ms to parse and verify and 5 ms to emit code:

    - 0: none (0.2 ms).
    - 1: instruction combining and control flow (1.0 ms): fewer instructions, same loops; but for
      tiles, which get the passes of level 2. Brief tiles get these at any level. Steps of many
      kernels are as fast as with 2; those of few and small ones take 4 to 9 % longer.
    - 2: LLVM's function simplification at O1 (3.0 ms): also common subexpressions, loop
      rotation and invariant code motion; the only list that kept the 14 row pointers of a
      14x32 tile from spilling. The default.
    - 3: LLVM's whole O2 pipeline without vectorisers (6.5 ms): no faster code on our kernels.

    Raises:
        RuntimeError: the IR does not parse or verify; the message is LLVM's.
    """
    with interrupts_held(), _parse(ir_text_or_module, target) as module:
        machine = _machine(target, codegen)
        _optimise(module, machine, level)
        return bytes(machine.emit_object(module))


def assembly(ir_text_or_module: object, target: Target, level: int = 2) -> str:
    """Return what :func:`build` compiles, as assembly text to read."""
    with interrupts_held(), _parse(ir_text_or_module, target) as module:
        machine = _machine(target)
        _optimise(module, machine, level)
        return str(machine.emit_assembly(module))


class Library:
    """Object code loaded into this process; it is unloaded when the last reference is gone.

    Whoever calls an address must keep the library. Functions of the process, such as those of
    the C library, are found by name.
    """

    def __init__(self, name: str, tracker: Any, needs: tuple[Library, ...] = ()) -> None:
        self._name, self._needs = name, needs  # which live as long as this one
        self._trackers = [tracker]
        self._addresses: dict[str, int] = {}

    @classmethod
    def from_object(cls, *object_codes: bytes, needs: tuple[Library, ...] = ()) -> Library:
        """Load object code that :func:`build` returned, of one module or of several together.

        Names that are not in it are looked for in the libraries that it ``needs``.

        Raises:
            RuntimeError: it is not object code of this machine; the message is LLVM's.
        """
        name = f"thalweg.{next(_numbers)}"
        with interrupts_held():
            builder = llvm.JITLibraryBuilder()
            for code in object_codes:
                builder.add_object_img(code)
            for library in needs:
                builder.add_jit_library(library._name)
            builder.add_current_process()
            return cls(name, builder.link(_engine(), name), needs)

    def address(self, name: str) -> int:
        """Return the address of an external function or variable of the library.

        Raises:
            RuntimeError: there is none of that name, or it needs one that the process lacks.
        """
        if name not in self._addresses:
            with interrupts_held():
                tracker = _engine().lookup(self._name, name)
                # Every tracker must live: dropping one would unload the whole library.
                self._trackers.append(tracker)
                self._addresses[name] = int(tracker[name])
        return self._addresses[name]


@cache
def _initialise(native: bool) -> None:
    if native:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()


@cache
def _machine(target: Target, codegen: int = 2) -> Any:
    # Making one takes 0.9 ms. llvmlite serialises all calls, so threads may share it.
    _initialise(target.triple == llvm.get_process_triple())
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=codegen, reloc="pic", codemodel="small"
    )


@cache
def _make_engine() -> Any:
    _initialise(True)
    # JITLink places the sections of one library together, which small-model code relies on.
    return llvm.create_lljit_compiler(use_jit_link=sys.platform != "win32")


def _engine() -> Any:
    with _engine_lock:  # two engines would not see each other's libraries
        return _make_engine()


def _parse(ir_text_or_module: object, target: Target) -> Any:
    machine = _machine(target)
    module = llvm.parse_assembly(str(ir_text_or_module))
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return module


def _optimise(module: Any, machine: Any, level: int) -> None:
    if level == 0:
        return
    tuning = llvm.create_pipeline_tuning_options(2 if level >= 3 else 1)
    for name in _UNWANTED:
        setattr(tuning, name, False)
    builder = llvm.create_pass_builder(machine, tuning)
    if level >= 3:
        builder.getModulePassManager().run(module, builder)
        return
    inliner = llvm.create_new_module_pass_manager()
    inliner.add_always_inliner_pass()
    inliner.add_global_dead_code_eliminate_pass()
    inliner.run(module, builder)
    whole, simple = builder.getFunctionPassManager(), llvm.create_new_function_pass_manager()
    simple.add_instruction_combine_pass()
    simple.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            name = function.name
            much = name.startswith(TILE) or (level == 2 and not name.startswith(BRIEF))
            (whole if much else simple).run(function, builder)
