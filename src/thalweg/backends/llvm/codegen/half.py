"""float16 to float32 and back in whole-number arithmetic, for processors without F16C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llvmlite import ir

from thalweg.backends.llvm.codegen.constants import in_all

if TYPE_CHECKING:
    from thalweg.backends.llvm.codegen.machine import Machine


class PlainModule(ir.Module):
    """A module for a processor that cannot convert half-precision numbers."""


def needed(b: ir.IRBuilder) -> bool:
    """Whether conversions are made here."""
    return isinstance(b.module, PlainModule)


def _all(like: ir.Value, kind: ir.Type, value: float) -> ir.Constant:
    """Return a number in the shape of another value."""
    if not isinstance(like.type, ir.VectorType):
        return ir.Constant(kind, value)
    return in_all(ir.Constant(kind, value), like.type.count)


def unpack(m: Machine, words: ir.Value) -> ir.Value:
    """Return the float32 numbers that 16-bit words stand for."""
    b = m.builder
    lanes = words.type.count if isinstance(words.type, ir.VectorType) else 1
    word, number = m.shaped(ir.IntType(32), lanes), m.shaped(ir.FloatType(), lanes)
    put = lambda v: _all(words, ir.IntType(32), v)  # noqa: E731
    wide = b.zext(words, word)
    sign = b.shl(b.and_(wide, put(0x8000)), put(16))
    body = b.and_(wide, put(0x7FFF))
    normal = b.add(b.shl(body, put(13)), put(112 << 23))
    special = b.or_(b.shl(body, put(13)), put(0x7F800000))
    tiny = b.fmul(b.sitofp(body, number), _all(words, ir.FloatType(), 2.0**-24))
    bits = b.select(b.icmp_signed("<", body, put(0x0400)), b.bitcast(tiny, word), normal)
    bits = b.select(b.icmp_signed(">=", body, put(0x7C00)), special, bits)
    return b.bitcast(b.or_(bits, sign), number)


def pack(m: Machine, x: ir.Value) -> ir.Value:
    """Return the 16-bit words nearest to float32 numbers, halves to even."""
    b = m.builder
    lanes = x.type.count if isinstance(x.type, ir.VectorType) else 1
    word = m.shaped(ir.IntType(32), lanes)
    put = lambda v: _all(x, ir.IntType(32), v)  # noqa: E731
    bits = b.bitcast(x, word)
    sign = b.lshr(b.and_(bits, put(0x80000000)), put(16))
    body = b.and_(bits, put(0x7FFFFFFF))
    odd = b.and_(b.lshr(body, put(13)), put(1))
    normal = b.lshr(b.add(b.add(body, put(0xC8000FFF)), odd), put(13))
    scaled = b.fmul(b.bitcast(body, x.type), _all(x, ir.FloatType(), 2.0**24))
    tiny = b.fptosi(m.intrinsic("roundeven", scaled), word)
    small = b.icmp_unsigned("<", body, put(0x38800000))
    made = b.select(small, tiny, normal)
    nan = b.icmp_unsigned(">", body, put(0x7F800000))
    large = b.icmp_unsigned(">=", body, put(0x47800000))
    made = b.select(large, b.select(nan, put(0x7E00), put(0x7C00)), made)
    return b.trunc(b.or_(made, sign), m.shaped(ir.IntType(16), lanes))
