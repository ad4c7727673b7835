"""Functions that are alike in all programs: modules of their own, which are compiled once.

A transposition of a square in registers takes LLVM longer than most kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from thalweg.backends.llvm.codegen.emitter import counted
from thalweg.backends.llvm.codegen.machine import I8, I64, POINTER

_texts: dict[tuple[str, str], tuple[str, ir.FunctionType]] = {}  # by target and name


class CommonFunctions:
    """The common functions that one program calls, each with the IR of its module.

    Not ``apart``, they are written into the module that calls them.
    """

    def __init__(self, apart: bool) -> None:
        self.apart = apart
        self.texts: dict[str, str] = {}

    def get(
        self, module: ir.Module, name: str, emit: Callable[[ir.Module], ir.Function]
    ) -> ir.Function:
        """Return a function for ``module`` to call; ``emit`` writes it into a module."""
        known = module.globals.get(name)
        if known is not None:
            return known
        if not self.apart:
            return emit(module)
        key = module.triple, name
        if key not in _texts:
            own = ir.Module(name)
            own.triple = module.triple
            function = emit(own)
            function.linkage = ""
            _texts[key] = str(own), function.function_type
        self.texts[name], kind = _texts[key]
        return ir.Function(module, kind, name)


def emit_gather(module: ir.Module) -> ir.Function:
    """Write ``void gather(target, base, rows, first, low, high, bytes)``.

    Row i of the target, for i from ``low`` up to ``high``, is row ``rows[first + i]`` of the base.
    """
    void, kinds = ir.VoidType(), [POINTER] * 3 + [I64] * 4
    function = ir.Function(module, ir.FunctionType(void, kinds), "gather")
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    target, base, rows, first, low, high, count = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    kind = ir.FunctionType(void, [POINTER, POINTER, I64, ir.IntType(1)])
    copy = ir.Function(module, kind, "llvm.memcpy.p0.p0.i64")
    with counted(b, low, high, 1, "row") as i:
        row = b.load(b.gep(rows, [b.add(first, i)], source_etype=I64), typ=I64)
        source = b.gep(base, [b.mul(row, count)], source_etype=I8)
        put = b.gep(target, [b.mul(i, count)], source_etype=I8)
        b.call(copy, [put, source, count, ir.IntType(1)(0)])
    b.ret_void()
    return function


__all__ = ["CommonFunctions", "emit_gather"]
