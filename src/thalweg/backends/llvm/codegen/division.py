"""Division and square root of wide float32 vectors, faster than the processor's own.

A 512-bit division or root keeps the processor busy for about 16 cycles. An estimate of 14 bits, one
Newton step and one correction by the exact residual (P. Markstein, "IA-64 and elementary
functions", 2000) take about 4, and are right to less than one unit in the last place.
"""

from __future__ import annotations

from llvmlite import ir

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
    return b.call(function, [x, ir.Constant(_FLOAT, None), _MASK(-1)])


def _fma(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    name = "llvm.fma.v16f32"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_FLOAT, [_FLOAT] * 3), name)
    return b.call(function, [x, y, z])


def _all(value: float) -> ir.Constant:
    made = ir.FormattedConstant(_FLOAT, "")
    made.constant = f"splat (float {ir.Constant(ir.FloatType(), value).get_reference()})"
    return made


def _absolute(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    name = "llvm.fabs.v16f32"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(_FLOAT, [_FLOAT]), name)
    return b.call(function, [x])


def _outside(b: ir.IRBuilder, *values: ir.Value) -> ir.Value:
    """Return whether any lane is too large or too small (0 included), or NaN."""
    some = None
    for x in values:
        size = _absolute(b, x)
        inside = b.and_(
            b.fcmp_ordered(">", size, _all(_SMALL)), b.fcmp_ordered("<", size, _all(_LARGE))
        )
        some = inside if some is None else b.and_(some, inside)
    assert some is not None
    return b.icmp_unsigned("!=", b.bitcast(some, _MASK), _MASK(-1))


def divide(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return x / y; lanes with a divisor out of the ordinary send the vector to the processor.

    x may be anything: the residual of a tiny or huge quotient is corrected or left as it is.
    """
    rare = _outside(b, y)
    with b.if_else(rare, likely=False) as (slow, fast):
        with slow:
            exact = b.fdiv(x, y)
            from_slow = b.block
        with fast:
            r = _estimate(b, "rcp", y)
            r = _fma(b, r, _fma(b, b.fneg(y), r, _all(1.0)), r)
            q = b.fmul(x, r)
            better = _fma(b, r, _fma(b, b.fneg(y), q, x), q)
            infinite = b.fcmp_unordered("uno", better, better)  # of an infinite or NaN x
            quick = b.select(infinite, q, better)
            from_fast = b.block
    result = b.phi(_FLOAT)
    result.add_incoming(exact, from_slow)
    result.add_incoming(quick, from_fast)
    return result


def square_root(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Return the square root; 0 and infinity are their own."""
    y = _estimate(b, "rsqrt", x)
    s = b.fmul(x, y)
    h = b.fmul(y, _all(0.5))
    e = _fma(b, b.fneg(s), h, _all(0.5))  # 1/2 - s h
    s, h = _fma(b, s, e, s), _fma(b, h, e, h)
    s = _fma(b, _fma(b, b.fneg(s), s, x), h, s)
    own = b.and_(  # of 0, -0 and infinity, but not of -infinity
        b.fcmp_ordered("==", b.fadd(x, x), x), b.fcmp_ordered(">=", x, _all(0.0))
    )
    return b.select(own, x, s)
