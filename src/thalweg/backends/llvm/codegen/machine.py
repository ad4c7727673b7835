"""The machine that formulas are written against: typed arithmetic on scalars and vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from thalweg.backends.llvm.codegen import division, half, mathematics
from thalweg.backends.llvm.codegen.constants import anything, in_all, zeros
from thalweg.graph.dtype import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint32,
)
from thalweg.ops.random import threefry

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
FLOAT, DOUBLE, HALF, POINTER = ir.FloatType(), ir.DoubleType(), ir.HalfType(), ir.PointerType()
_INTS = {8: I8, 16: I16, 32: I32, 64: I64}


def register_type(dtype: DType) -> ir.Type:
    """Return the type in which a value is computed; half types are computed in float32."""
    if dtype is bool_:
        return I1
    if dtype.is_float:
        return DOUBLE if dtype is float64 else FLOAT
    return _INTS[dtype.bits]


def memory_type(dtype: DType) -> ir.Type:
    """Return the type in which a value is stored."""
    if dtype is bool_:
        return I8
    if dtype is float16:
        return HALF
    if dtype is bfloat16:
        return I16
    return register_type(dtype)


@dataclass(frozen=True)
class Value:
    """A scalar or vector in a register and the dtype that it stands for."""

    ir: ir.Value
    dtype: DType

    @property
    def lanes(self) -> int:
        """Number of lanes, 1 for a scalar."""
        kind = self.ir.type
        return kind.count if isinstance(kind, ir.VectorType) else 1


class Machine:
    """Emits one operation at a time at the builder's place, for scalars and vectors alike."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    # --- constants, lanes -----------------------------------------------------------------

    def number(self, value: Any, dtype: DType, lanes: int = 1) -> Value:
        """Return a constant."""
        kind = register_type(dtype)
        if dtype.is_float:
            plain: Any = float(np.asarray(value).astype(dtype.numpy))
        else:
            plain = int(value) & ((1 << kind.width) - 1)  # two's complement
        scalar = ir.Constant(kind, plain)
        return Value(scalar, dtype) if lanes == 1 else self.splat(Value(scalar, dtype), lanes)

    def constant(self, value: float, like: Value) -> Value:
        """Return a number of the dtype of another value."""
        return self.number(value, like.dtype)

    def splat(self, x: Value, lanes: int) -> Value:
        """Return a scalar in every lane of a vector."""
        if x.lanes == lanes:
            return x
        kind = ir.VectorType(x.ir.type, lanes)
        if isinstance(x.ir, ir.Constant):
            return Value(in_all(x.ir, lanes), x.dtype)
        one = self.builder.insert_element(anything(kind), x.ir, I32(0))
        first = zeros(ir.VectorType(I32, lanes))
        spread = self.builder.shuffle_vector(one, anything(kind), first)
        return Value(spread, x.dtype)

    def aligned(self, *values: Value) -> list[Value]:
        """Return values with one number of lanes."""
        lanes = max(v.lanes for v in values)
        return [v if v.lanes == lanes else self.splat(v, lanes) for v in values]

    # --- the interface of formulas --------------------------------------------------------

    def call(self, name: str, *values: Value) -> Value:
        """Return an operation applied to values of equal dtype."""
        xs = self.aligned(*values)
        own = _OPERATIONS.get(name)
        if own is not None:
            return own(self, *xs)
        if name in mathematics.NAMES:
            result = mathematics.emit(self.builder, name, [x.ir for x in xs])
            return Value(result, xs[0].dtype)
        raise NotImplementedError(f"the native machine has no operation {name!r}")

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """Return a where the condition holds, else b."""
        c, x, y = self.aligned(condition, a, b)
        return Value(self.builder.select(c.ir, x.ir, y.ir), x.dtype)

    def threefry(self, *words: Value) -> Value:
        """Return random bits for key, key, counter and stream."""
        return threefry(self, *self.aligned(*words))

    def word(self, value: int) -> Value:
        """Return a uint32 constant."""
        return self.number(value, uint32)

    def add(self, a: Value, b: Value) -> Value:
        """Return the sum."""
        return self.call("add", a, b)

    def xor(self, a: Value, b: Value) -> Value:
        """Return the exclusive or."""
        return self.call("bitwise_xor", a, b)

    def rotate(self, a: Value, n: int) -> Value:
        """Return 32-bit words rotated to the left."""
        amount = self.splat(self.word(n), a.lanes).ir
        return Value(self.intrinsic("fshl", a.ir, a.ir, amount), a.dtype)

    def intrinsic(self, name: str, *args: ir.Value) -> ir.Value:
        """Return a call of an LLVM intrinsic that is overloaded on its first argument's type."""
        kind = args[0].type
        full = f"llvm.{name}.{suffix(kind)}"
        module = self.builder.module
        function = module.globals.get(full)
        if function is None:
            function = ir.Function(module, ir.FunctionType(kind, [a.type for a in args]), full)
        return self.builder.call(function, args)

    # --- conversion -----------------------------------------------------------------------

    def cast(self, x: Value, dtype: DType) -> Value:
        """Return the same numbers in another dtype."""
        source = x.dtype
        if source is dtype:
            return x
        if dtype is bool_:
            return self.call("not_equal", x, self.number(0, source, x.lanes))
        if source.is_float and dtype.is_float:
            return self._between_floats(x, dtype)
        kind = self.shaped(register_type(dtype), x.lanes)
        b = self.builder
        if source.is_float:
            wide = I64 if dtype.bits == 64 or dtype.kind == "uint" else I32
            whole = self._saturated(x.ir, self.shaped(wide, x.lanes))
            return Value(b.trunc(whole, kind) if whole.type != kind else whole, dtype)
        if dtype.is_float:
            signed = source.kind == "int"
            made = b.sitofp(x.ir, kind) if signed else b.uitofp(x.ir, kind)
            return self.rounded(Value(made, dtype))
        have = register_type(source).width
        want = register_type(dtype).width
        if want < have:
            return Value(b.trunc(x.ir, kind), dtype)
        if want == have:
            return Value(x.ir, dtype)
        return Value(b.sext(x.ir, kind) if source.kind == "int" else b.zext(x.ir, kind), dtype)

    def shaped(self, kind: ir.Type, lanes: int) -> ir.Type:
        """Return the type of so many lanes of a type."""
        return kind if lanes == 1 else ir.VectorType(kind, lanes)

    def _saturated(self, x: ir.Value, kind: ir.Type) -> ir.Value:
        """Convert to whole numbers; out of range is the nearest one, and never poison."""
        name = f"llvm.fptosi.sat.{suffix(kind)}.{suffix(x.type)}"
        function = self.builder.module.globals.get(name)
        if function is None:
            function = ir.Function(self.builder.module, ir.FunctionType(kind, [x.type]), name)
        return self.builder.call(function, [x])

    def _between_floats(self, x: Value, dtype: DType) -> Value:
        kind = self.shaped(register_type(dtype), x.lanes)
        value = x.ir
        if value.type != kind:
            wider = dtype is float64
            value = self.builder.fpext(value, kind) if wider else self.builder.fptrunc(value, kind)
        return self.rounded(Value(value, dtype))

    def rounded(self, x: Value) -> Value:
        """Return a half-type value as it would come back from memory."""
        return self.unpack(self.pack(x), x.dtype) if x.dtype.bits == 16 and x.dtype.is_float else x

    def pack(self, x: Value) -> ir.Value:
        """Return the form in which a value is stored."""
        b, lanes = self.builder, x.lanes
        if x.dtype is bool_:
            return b.zext(x.ir, self.shaped(I8, lanes))
        if x.dtype is float16:
            if half.needed(b):
                return b.bitcast(half.pack(self, x.ir), self.shaped(HALF, lanes))
            return b.fptrunc(x.ir, self.shaped(HALF, lanes))
        if x.dtype is not bfloat16:
            return x.ir
        word = self.shaped(I32, lanes)
        bits = b.bitcast(x.ir, word)
        put = lambda n: self.splat(Value(ir.Constant(I32, n), int32), lanes).ir  # noqa: E731
        odd = b.and_(b.lshr(bits, put(16)), put(1))
        nearest = b.add(b.add(bits, put(0x7FFF)), odd)  # round half to even
        nan = b.fcmp_unordered("uno", x.ir, x.ir)
        kept = b.select(nan, b.or_(bits, put(0x400000)), nearest)
        return b.trunc(b.lshr(kept, put(16)), self.shaped(I16, lanes))

    def unpack(self, stored: ir.Value, dtype: DType) -> Value:
        """Return a value as it is computed with, from the form in which it is stored."""
        b = self.builder
        lanes = stored.type.count if isinstance(stored.type, ir.VectorType) else 1
        if dtype is bool_:
            zero = ir.Constant(stored.type, [0] * lanes if lanes > 1 else 0)
            return Value(b.icmp_unsigned("!=", stored, zero), dtype)
        if dtype is float16 and half.needed(b):
            words = b.bitcast(stored, self.shaped(I16, lanes))
            return Value(half.unpack(self, words), dtype)
        if dtype is float16:
            return Value(b.fpext(stored, self.shaped(FLOAT, lanes)), dtype)
        if dtype is bfloat16:
            wide = b.zext(stored, self.shaped(I32, lanes))
            shift = self.splat(Value(ir.Constant(I32, 16), int32), lanes).ir
            return Value(b.bitcast(b.shl(wide, shift), self.shaped(FLOAT, lanes)), dtype)
        return Value(stored, dtype)


def suffix(kind: ir.Type) -> str:
    """Return the part of an intrinsic's name that stands for a type."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{suffix(kind.element)}"
    if isinstance(kind, ir.IntType):
        return f"i{kind.width}"
    return {FLOAT: "f32", DOUBLE: "f64", HALF: "f16"}[kind]


# --- operations that differ by dtype -----------------------------------------------------------

Operation = Callable[..., Value]


def _arithmetic(float_name: str, int_name: str, bool_name: str) -> Operation:
    def operation(m: Machine, a: Value, b: Value) -> Value:
        name = float_name if a.dtype.is_float else bool_name if a.dtype is bool_ else int_name
        return Value(getattr(m.builder, name)(a.ir, b.ir), a.dtype)

    return operation


def _compare(order: str) -> Operation:
    def operation(m: Machine, a: Value, b: Value) -> Value:
        if a.dtype.is_float:
            compare = m.builder.fcmp_unordered if order == "!=" else m.builder.fcmp_ordered
            return Value(compare(order, a.ir, b.ir), bool_)
        signed = a.dtype.kind == "int"
        compare = m.builder.icmp_signed if signed else m.builder.icmp_unsigned
        return Value(compare(order, a.ir, b.ir), bool_)

    return operation


def _is_number(x: Value) -> bool:
    return isinstance(x.ir, ir.Constant)


def _extreme(order: str) -> Operation:
    def operation(m: Machine, a: Value, b: Value) -> Value:
        if a.dtype is bool_:
            return m.call("logical_or" if order == ">" else "logical_and", a, b)
        if not a.dtype.is_float:
            return m.select(_compare(order)(m, a, b), a, b)
        if _is_number(b):  # c > x ? c : x is one instruction, and NaN in x stays
            a, b = b, a
        chosen = m.select(Value(m.builder.fcmp_ordered(order, a.ir, b.ir), bool_), a, b)
        if _is_number(a):
            return chosen
        nan = Value(m.builder.fcmp_unordered("uno", a.ir, a.ir), bool_)
        return m.select(nan, a, chosen)

    return operation


def _logical(name: str) -> Operation:
    def operation(m: Machine, a: Value, b: Value) -> Value:
        x, y = m.cast(a, bool_), m.cast(b, bool_)
        return Value(getattr(m.builder, name)(x.ir, y.ir), bool_)

    return operation


def _bits(name: str) -> Operation:
    return lambda m, a, b: Value(getattr(m.builder, name)(a.ir, b.ir), a.dtype)


def _negative(m: Machine, x: Value) -> Value:
    if x.dtype.is_float:
        return Value(m.builder.fneg(x.ir), x.dtype)
    return Value(m.builder.neg(x.ir), x.dtype)


def _absolute(m: Machine, x: Value) -> Value:
    if x.dtype.is_float:
        return Value(m.intrinsic("fabs", x.ir), x.dtype)
    if x.dtype.kind != "int":
        return x
    zero = m.number(0, x.dtype, x.lanes)
    return m.select(m.call("less", x, zero), _negative(m, x), x)


def _sign(m: Machine, x: Value) -> Value:
    zero, one = m.number(0, x.dtype, x.lanes), m.number(1, x.dtype, x.lanes)
    positive = m.select(m.call("greater", x, zero), one, x if x.dtype.is_float else zero)
    if x.dtype.kind == "uint":
        return positive
    minus = m.number(-1, x.dtype, x.lanes)
    return m.select(m.call("less", x, zero), minus, positive)


def _whole_parts(m: Machine, a: Value, b: Value) -> tuple[Value, Value]:
    """Return quotient and rest of whole numbers, rounded down; by 0 both are 0."""
    builder, lanes = m.builder, a.lanes
    zero, one = m.number(0, a.dtype, lanes), m.number(1, a.dtype, lanes)
    by_zero = m.call("equal", b, zero)
    safe = m.select(by_zero, one, b)
    if a.dtype.kind == "uint":
        q, r = builder.udiv(a.ir, safe.ir), builder.urem(a.ir, safe.ir)
        quotient, rest = Value(q, a.dtype), Value(r, a.dtype)
    else:
        minus = m.call("equal", safe, m.number(-1, a.dtype, lanes))
        divisor = m.select(minus, one, safe)  # the smallest number over -1 would trap
        q, r = builder.sdiv(a.ir, divisor.ir), builder.srem(a.ir, divisor.ir)
        rest = Value(r, a.dtype)
        differs = m.call("less", m.call("bitwise_xor", rest, divisor), zero)
        down = m.call("logical_and", m.call("not_equal", rest, zero), differs)
        quotient = m.select(down, m.call("subtract", Value(q, a.dtype), one), Value(q, a.dtype))
        rest = m.select(down, m.call("add", rest, divisor), rest)
        quotient = m.select(minus, _negative(m, a), quotient)
        rest = m.select(minus, zero, rest)
    return m.select(by_zero, zero, quotient), m.select(by_zero, zero, rest)


def _divide(m: Machine, a: Value, b: Value) -> Value:
    if division.applies(m.builder, a.ir):
        return Value(division.divide(m.builder, a.ir, b.ir), a.dtype)
    return Value(m.builder.fdiv(a.ir, b.ir), a.dtype)


def _sqrt(m: Machine, x: Value) -> Value:
    if division.applies(m.builder, x.ir):
        return Value(division.square_root(m.builder, x.ir), x.dtype)
    return Value(mathematics.emit(m.builder, "sqrt", [x.ir]), x.dtype)


def _remainder(m: Machine, a: Value, b: Value) -> Value:
    if not a.dtype.is_float:
        return _whole_parts(m, a, b)[1]
    rest = Value(m.builder.frem(a.ir, b.ir), a.dtype)
    zero = m.number(0, a.dtype, a.lanes)
    wrong = m.call(
        "logical_xor", m.call("less", rest, zero), m.call("less", b, zero)
    )
    moved = m.select(wrong, m.call("add", rest, b), rest)
    signed = Value(m.intrinsic("copysign", zero.ir, b.ir), a.dtype)
    return m.select(m.call("equal", rest, zero), signed, moved)


def _floor_divide(m: Machine, a: Value, b: Value) -> Value:
    if not a.dtype.is_float:
        return _whole_parts(m, a, b)[0]
    rest = _remainder(m, a, b)
    quotient = m.call("divide", m.call("subtract", a, rest), b)
    whole = m.call("floor", quotient)
    gap = m.call("greater", m.call("subtract", quotient, whole), m.number(0.5, a.dtype, a.lanes))
    near = m.select(gap, m.call("add", whole, m.number(1, a.dtype, a.lanes)), whole)
    by_zero = m.call("equal", b, m.number(0, b.dtype, b.lanes))
    return m.select(by_zero, m.call("divide", a, b), near)


def _shift(name: str) -> Operation:
    def operation(m: Machine, a: Value, b: Value) -> Value:
        bits = register_type(a.dtype).width
        limit = m.number(bits - 1, a.dtype, a.lanes)
        zero = m.number(0, a.dtype, a.lanes)
        within = Value(m.builder.icmp_unsigned("<=", b.ir, limit.ir), bool_)
        amount = m.select(within, b, limit)
        if name == "left":
            return m.select(within, Value(m.builder.shl(a.ir, amount.ir), a.dtype), zero)
        if a.dtype.kind == "int":
            return Value(m.builder.ashr(a.ir, amount.ir), a.dtype)
        return m.select(within, Value(m.builder.lshr(a.ir, amount.ir), a.dtype), zero)

    return operation


def _power(m: Machine, a: Value, b: Value) -> Value:
    if a.dtype.is_float:
        return Value(mathematics.emit(m.builder, "pow", [a.ir, b.ir]), a.dtype)
    result = m.number(1, a.dtype, a.lanes)
    zero, base, left = m.number(0, a.dtype, a.lanes), a, b
    one = m.number(1, a.dtype, a.lanes)
    for _ in range(a.dtype.bits - (a.dtype.kind == "int")):  # by repeated squaring
        odd = m.call("not_equal", m.call("bitwise_and", left, one), zero)
        result = m.select(odd, m.call("multiply", result, base), result)
        base = m.call("multiply", base, base)
        left = m.call("bitwise_right_shift", left, one)
    return result


def _rounding(intrinsic: str) -> Operation:
    def operation(m: Machine, x: Value) -> Value:
        return Value(m.intrinsic(intrinsic, x.ir), x.dtype) if x.dtype.is_float else x

    return operation


def _isnan(m: Machine, x: Value) -> Value:
    if not x.dtype.is_float:
        return m.number(0, bool_, x.lanes)
    return Value(m.builder.fcmp_unordered("uno", x.ir, x.ir), bool_)


def _isinf(m: Machine, x: Value) -> Value:
    if not x.dtype.is_float:
        return m.number(0, bool_, x.lanes)
    infinity = Machine.splat(m, Value(ir.Constant(x.ir.type if x.lanes == 1 else
                             x.ir.type.element, float("inf")), x.dtype), x.lanes)  # fmt: skip
    return m.call("equal", _absolute(m, x), infinity)


def _isfinite(m: Machine, x: Value) -> Value:
    if not x.dtype.is_float:
        return m.number(1, bool_, x.lanes)
    zero = m.number(0, x.dtype, x.lanes)
    return m.call("equal", m.call("subtract", x, x), zero)  # inf - inf and NaN are not 0


def _not(m: Machine, x: Value) -> Value:
    whole = m.cast(x, bool_)
    return Value(m.builder.not_(whole.ir), bool_)


_OPERATIONS: dict[str, Operation] = {
    "add": _arithmetic("fadd", "add", "or_"),
    "subtract": _arithmetic("fsub", "sub", "xor"),
    "multiply": _arithmetic("fmul", "mul", "and_"),
    "divide": _divide, "sqrt": _sqrt,
    "floor_divide": _floor_divide, "remainder": _remainder, "power": _power,
    "maximum": _extreme(">"), "minimum": _extreme("<"),
    "equal": _compare("=="), "not_equal": _compare("!="), "less": _compare("<"),
    "less_equal": _compare("<="), "greater": _compare(">"), "greater_equal": _compare(">="),
    "logical_and": _logical("and_"), "logical_or": _logical("or_"), "logical_xor": _logical("xor"),
    "logical_not": _not, "bitwise_and": _bits("and_"), "bitwise_or": _bits("or_"),
    "bitwise_xor": _bits("xor"),
    "bitwise_invert": lambda m, x: Value(m.builder.not_(x.ir), x.dtype),
    "bitwise_left_shift": _shift("left"), "bitwise_right_shift": _shift("right"),
    "negative": _negative, "abs": _absolute, "sign": _sign, "isnan": _isnan, "isinf": _isinf,
    "isfinite": _isfinite, "floor": _rounding("floor"), "ceil": _rounding("ceil"),
    "trunc": _rounding("trunc"), "round": _rounding("roundeven"),
}  # fmt: skip

__all__ = [
    "DOUBLE", "FLOAT", "I1", "I8", "I16", "I32", "I64", "POINTER", "Machine", "Sequence", "Value",
    "float32", "int64", "memory_type", "register_type", "suffix",
]  # fmt: skip
