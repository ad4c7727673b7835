"""Functions that are alike in all programs: modules of their own, which are compiled once.

A transposition of a square in registers takes LLVM longer than most kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

_texts: dict[tuple[str, str], tuple[str, ir.FunctionType]] = {}  # by target and name


class Common:
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


__all__ = ["Common"]
