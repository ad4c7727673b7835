"""Division and square root of wide float32 vectors, faster than the processor's own.

A 512-bit division or root keeps the processor busy for about 16 cycles. An estimate of 14 bits, a
Newton step and (for quotients) a correction by the exact residual (P. Markstein, "IA-64 and
elementary functions", 2000) take about 4, and are right to less than one unit in the last place.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from thalweg.backends.llvm.codegen.constants import in_all, zeros

LANES = 16
_FLOAT = ir.VectorType(ir.FloatType(), LANES)
_MASK = ir.IntType(16)
_SMALL, _LARGE = 2.0**-120, 2.0**120  # between them no step over- or underflows


class WideModule(ir.Module):
    """A module for a processor with 512-bit estimates of reciprocals."""


def applies(b: ir.IRBuilder, x: ir.Value) -> bool:
    """Whether this is a vector, on a processor, for which this pays."""
    return isinstance(b.module, WideModule) and x.type == _FLOAT


def _estimate(b: ir.IRBuilder, what: str, x: ir.Value) -> ir.Value:
    name = f"llvm.x86.avx512.{what}14.ps.512"
    function = b.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _FLOAT, _MASK])
        function = ir.Function(b.module, kind, name)
    return b.call(function, [x, zeros(_FLOAT), _MASK(-1)])


def _fma(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    name = "llvm.fma.v16f32"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_FLOAT, [_FLOAT] * 3), name)
    return b.call(function, [x, y, z])


def _all(value: float) -> ir.Constant:
    return in_all(ir.Constant(_FLOAT.element, value), LANES)


def _all_bits(value: int) -> ir.Constant:
    return in_all(ir.IntType(32)(value), LANES)


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def _ordinary(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return which lanes are neither too large nor too small (0 included), nor infinite or NaN."""
    whole = ir.VectorType(ir.IntType(32), LANES)
    size = b.and_(b.bitcast(x, whole), _all_bits(0x7FFFFFFF))
    low, high = _bits(_SMALL), _bits(_LARGE)
    return b.icmp_unsigned("<", b.sub(size, _all_bits(low)), _all_bits(high - low))


def divide(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return x / y; a vector with an unusual lane is divided by the processor.

    The correction makes x / x equal to 1; where the residual is too small to be a normal number,
    the quotient before it is right to two units in the last place.
    """
    r = _estimate(b, "rcp", y)
    r = _fma(b, r, _fma(b, b.fneg(y), r, _all(1.0)), r)
    q = b.fmul(x, r)
    q = _fma(b, r, _fma(b, b.fneg(y), q, x), q)
    good = b.and_(_ordinary(b, y), b.fcmp_ordered("ord", q, q))
    quick = b.block
    with b.if_then(b.icmp_unsigned("!=", b.bitcast(good, _MASK), _MASK(-1)), likely=False):
        exact = b.fdiv(x, y)
        slow = b.block
    result = b.phi(_FLOAT)
    result.add_incoming(q, quick)
    result.add_incoming(exact, slow)
    return result


def square_root(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return the square root by one Newton step, which needs no small residual.

    0 and infinity are their own roots: their estimate is infinite or 0, and the product no number.
    """
    y = _estimate(b, "rsqrt", x)
    s, h = b.fmul(x, y), b.fmul(y, _all(0.5))
    s = _fma(b, s, _fma(b, b.fneg(s), h, _all(0.5)), s)
    own = b.and_(b.fcmp_unordered("uno", s, s), b.fcmp_ordered(">=", x, _all(0.0)))
    return b.select(own, x, s)
