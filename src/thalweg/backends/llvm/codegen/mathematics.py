"""Emit elementary functions over float and double vectors as LLVM IR.

float functions that run in every network (exp, log, tanh, sigmoid, erf) are branch-free float
kernels; the rarer ones are computed in double lanes to about 1e-9 and rounded once, so they are
within one unit in the last place (ulp).  double functions call the C library once per lane.
Worst errors for float in ulp, from every value near the worst places and 1 in 127 elsewhere:
exp 2.1, exp2 2.1, log 1.1, log2 2.1, log10 3.6, tanh 3.9, sigmoid 3.5, erf 2.3, rsqrt 1.5, the
rest 0.6.  NaN gives NaN; no fast-math flags.

Every coefficient comes from tools/fit_polynomials.py, highest power first.  Textbook for the
range reductions: J.-M. Muller, Elementary Functions, 3rd ed., chapters 10 and 11.
"""

import math
from collections.abc import Sequence

from llvmlite import ir

from thalweg.backends.llvm.codegen.lanes import Kernel, Lanes
from thalweg.backends.llvm.codegen.mathematics_wide import CIRCULAR, WIDE, log_edges

EXP = (0.008290315, 0.04189793, 0.16667636, 0.4999915, 0.9999997, 1.0)
EXP2 = (0.0013264727, 0.009671513, 0.055507336, 0.24022242, 0.693147, 1.0)
LOG1P = (
    *(0.14026359, -0.1538854, 0.13995807, -0.16415961),
    *(0.20011169, -0.2500782, 0.33333197, -0.49999937),
)
EXP2M1 = (0.00015403512, 0.0013390735, 0.009618238, 0.055503573, 0.24022649, 0.6931472)
ERF = (-0.00056314224, 0.0049175513, -0.026711311, 0.1128018, -0.37612325, 0.12837912)
ERF_TAIL = (
    *(1.578421e-05, -4.1528303e-05, -0.0014983263, 0.0102485875),
    *(-0.007043585, -0.06553895, -0.14293468, 1.0003729),
)
LOG2_E, LN_2 = math.log2(math.e), math.log(2)


# float kernels -----------------------------------------------------------------------------

# Adding 1.5 * 2^23 to a float leaves its nearest integer n in the low bits of the significand.
# The extra 254 biases n for the two exponent fields that _times_power cuts out of those bits.
_SHIFT = 1.5 * 2**23 + 254


def _times_power(lanes: Lanes, value: ir.Value, shifted: ir.Value) -> ir.Value:
    """Return value * 2^n, where shifted = n + _SHIFT and -151 <= n <= 129.

    2^n need not be a float, so n is split into two halves; the first product is exact and the
    second one rounds once, which makes subnormal results and overflow right.
    """
    b = lanes.builder
    raw = lanes.bits(shifted)
    first = b.and_(b.shl(raw, lanes.whole(22)), lanes.whole(0x7F800000))
    second = b.sub(b.shl(raw, lanes.whole(23)), first)
    return lanes.mul(lanes.mul(value, lanes.unbits(first)), lanes.unbits(second))


def _exp(lanes: Lanes, x: ir.Value, negative: bool = False) -> ir.Value:
    """e^x: Cody-Waite reduction by ln 2 in two parts, then degree 5 (fit error 9.5e-8).

    Beyond the clamps the result is 0 or infinite; `negative` promises x <= 0.
    """
    x = lanes.at_least(x, -104.0)
    x = x if negative else lanes.at_most(x, 89.0)
    shifted = lanes.fma(x, lanes.number(LOG2_E), lanes.number(_SHIFT))
    n = lanes.sub(shifted, _SHIFT)
    # 0.693359375 = 355/512 makes n * high exact, so only the low part is rounded.
    r = lanes.fma(n, lanes.number(-0.693359375), x)
    r = lanes.fma(n, lanes.number(0.693359375 - LN_2), r)
    return _times_power(lanes, lanes.polynomial(r, EXP), shifted)


def _exp2(lanes: Lanes, x: ir.Value) -> ir.Value:
    """2^x: the reduction is exact, then degree 5 (fit error 1.1e-7)."""
    x = lanes.at_most(lanes.at_least(x, -151.0), 129.0)
    shifted = lanes.add(x, _SHIFT)
    r = lanes.sub(x, lanes.sub(shifted, _SHIFT))
    return _times_power(lanes, lanes.polynomial(r, EXP2), shifted)


def _log_parts(lanes: Lanes, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return (e, ln m) with x = 2^e m and 2/3 <= m < 4/3, for finite x > 0 (fit error 3.2e-8)."""
    b = lanes.builder
    tiny = lanes.test(x, "<", 2.0**-126)
    raw = lanes.bits(lanes.choose(tiny, lanes.mul(x, 2.0**23), x))
    # Subtracting the bits of 2/3 first makes the exponent field round to the wanted interval.
    exponent = b.and_(b.sub(raw, lanes.whole(0x3F2AAAAB)), lanes.whole(-(2**23)))
    f = lanes.sub(lanes.unbits(b.sub(raw, exponent)), 1.0)
    scaled = b.sitofp(exponent, lanes.type)
    e = lanes.fma(scaled, lanes.number(2.0**-23), lanes.choose(tiny, -23.0, 0.0))
    return e, lanes.fma(lanes.mul(f, f), lanes.polynomial(f, LOG1P), f)


def _log(lanes: Lanes, x: ir.Value) -> ir.Value:
    e, ln_m = _log_parts(lanes, x)
    return log_edges(lanes, x, lanes.fma(e, lanes.number(LN_2), ln_m))


def _log2(lanes: Lanes, x: ir.Value) -> ir.Value:
    e, ln_m = _log_parts(lanes, x)
    return log_edges(lanes, x, lanes.fma(ln_m, lanes.number(LOG2_E), e))


def _log10(lanes: Lanes, x: ir.Value) -> ir.Value:
    e, ln_m = _log_parts(lanes, x)
    log10_m = lanes.mul(ln_m, math.log10(math.e))
    return log_edges(lanes, x, lanes.fma(e, lanes.number(math.log10(2)), log10_m))


def _tanh(lanes: Lanes, x: ir.Value) -> ir.Value:
    """tanh |x| = g / (g + 2) with g = e^(2|x|) - 1, then the sign; it rounds to 1 from 9.02 on.

    With 2|x| log2 e = n + r, g is 2^n (2^r - 1) + (2^n - 1): nothing cancels when n = 0, so small
    x keep full relative precision, and errors of a large g hardly reach the quotient.
    """
    size = lanes.at_most(lanes.absolute(x), 10.0)
    shift = 1.5 * 2**23 + 127
    scaled = lanes.mul(size, 2 * LOG2_E)
    shifted = lanes.add(scaled, shift)
    r = lanes.sub(scaled, lanes.sub(shifted, shift))
    power = lanes.unbits(lanes.builder.shl(lanes.bits(shifted), lanes.whole(23)))
    growth = lanes.mul(r, lanes.polynomial(r, EXP2M1))
    growth = lanes.fma(power, growth, lanes.sub(power, 1.0))
    return lanes.signed(lanes.div(growth, lanes.add(growth, 2.0)), x)


def _erf(lanes: Lanes, x: ir.Value) -> ir.Value:
    """x + x p(x^2) below 1 (fit error 4.8e-8) and 1 - q(|x|)^8 above (fit error 5.3e-9).

    The eighth power follows C. Hastings, Approximations for Digital Computers, 1955, sheet 61,
    whose sixteenth power of a reciprocal needs a division.  erf rounds to 1 from 3.92 on.
    """
    near = lanes.fma(x, lanes.polynomial(lanes.mul(x, x), ERF), x)
    size = lanes.absolute(x)
    tail = lanes.polynomial(lanes.at_most(size, 4.0), ERF_TAIL)
    for _ in range(3):
        tail = lanes.mul(tail, tail)
    far = lanes.signed(lanes.sub(1.0, tail), x)
    return lanes.choose(lanes.test(size, "<", 1.0), near, far)


def _sigmoid(lanes: Lanes, x: ir.Value) -> ir.Value:
    """1 / (1 + e^-x), written with e^-|x| so that neither tail overflows early."""
    below = lanes.builder.fneg(lanes.absolute(x))
    e = _library(lanes, "exp", [below]) if lanes.is_double else _exp(lanes, below, negative=True)
    top = lanes.choose(lanes.test(x, "<", 0.0), e, 1.0)
    return lanes.div(top, lanes.add(e, 1.0))


def _in_double(lanes: Lanes, kernel: Kernel, args: Sequence[ir.Value]) -> ir.Value:
    """Apply a double kernel to float lanes and round its result to float."""
    b = lanes.builder
    wide = Lanes(b, lanes.shaped(ir.DoubleType()))
    result = kernel(wide, *(b.fpext(a, wide.type) for a in args))
    return b.fptrunc(result, lanes.type)


# Functions of the module ---------------------------------------------------------------------


def _private(lanes: Lanes, name: str, arity: int) -> tuple[ir.Function, bool]:
    """Return the module's own function of this name and type, and whether it is new."""
    module, full = lanes.builder.module, f"thalweg.{name}.{lanes.suffix}"
    if full in module.globals:
        return module.globals[full], False
    function = ir.Function(module, ir.FunctionType(lanes.type, [lanes.type] * arity), full)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    return function, True


def _library(lanes: Lanes, name: str, args: Sequence[ir.Value]) -> ir.Value:
    """Call the C library's double function of this name on every lane, in a loop."""
    b = lanes.builder
    function = b.module.globals.get(name)
    if function is None:
        signature = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()] * len(args))
        function = ir.Function(b.module, signature, name)
        function.attributes.add("nounwind")
    if not isinstance(lanes.type, ir.VectorType):
        return b.call(function, args)
    mapped, new = _private(lanes, f"each.{name}", len(args))
    if new:
        _fill_lane_loop(mapped, function)
    return b.call(mapped, args)


def _fill_lane_loop(mapped: ir.Function, function: ir.Function) -> None:
    """Give `mapped` a body that calls `function` on one lane after another."""
    entry, body, done = (mapped.append_basic_block(name) for name in ("entry", "lane", "done"))
    vector, long = mapped.return_value.type, ir.IntType(32)
    ir.IRBuilder(entry).branch(body)
    b = ir.IRBuilder(body)
    index, before = b.phi(long), b.phi(vector)
    value = b.call(function, [b.extract_element(a, index) for a in mapped.args])
    after = b.insert_element(before, value, index)
    following = b.add(index, ir.Constant(long, 1))
    for phi, first, later in ((index, 0, following), (before, None, after)):
        phi.add_incoming(ir.Constant(phi.type, first), entry)
        phi.add_incoming(later, body)
    more = b.icmp_unsigned("<", following, ir.Constant(long, vector.count))
    b.cbranch(more, body, done)
    ir.IRBuilder(done).ret(after)


def _circular(lanes: Lanes, name: str, kernel: Kernel, args: Sequence[ir.Value]) -> ir.Value:
    """Call a function that leaves the lanes with |x| >= 2^30 to the C library.

    Such arguments need more bits of pi than a double reduction has; they are so rare that one
    branch per vector is cheaper than Payne and Hanek's reduction in every lane.  The choice is
    made lane by lane, so that a result never depends on what the other lanes hold.
    """
    function, new = _private(lanes, name, 1)
    if new:
        blocks = [function.append_basic_block(block) for block in ("entry", "far", "near")]
        b = ir.IRBuilder(blocks[0])
        inner, x = Lanes(b, lanes.type), function.args[0]
        near = _in_double(inner, kernel, [x])
        far = some = inner.test(inner.absolute(x), ">=", 2.0**30)
        if isinstance(lanes.type, ir.VectorType):
            mask = ir.IntType(lanes.count)
            some = b.icmp_unsigned("!=", b.bitcast(far, mask), ir.Constant(mask, 0))
        b.cbranch(some, blocks[1], blocks[2])
        b.position_at_end(blocks[1])
        by_library = _in_double(inner, lambda wide, a: _library(wide, name, [a]), [x])
        b.ret(inner.choose(far, by_library, near))
        b.position_at_end(blocks[2])
        b.ret(near)
    return lanes.builder.call(function, args)


def _reciprocal(lanes: Lanes, x: ir.Value) -> ir.Value:
    return lanes.div(1.0, x)


def _rsqrt(lanes: Lanes, x: ir.Value) -> ir.Value:
    return lanes.div(1.0, lanes.sqrt(x))


_COMMON: dict[str, Kernel] = {
    "sigmoid": _sigmoid,
    "reciprocal": _reciprocal,
    "rsqrt": _rsqrt,
}
# rint, not roundeven: they agree in the default rounding mode, and older C libraries that a
# target without a rounding instruction would call have only rint.
_INTRINSIC = {
    **{name: name for name in ("sqrt", "floor", "ceil", "trunc", "copysign")},
    "round": "rint",
    "abs": "fabs",
}
_FLOAT: dict[str, Kernel] = {
    "exp": _exp,
    "exp2": _exp2,
    "log": _log,
    "log2": _log2,
    "log10": _log10,
    "tanh": _tanh,
    "erf": _erf,
}
NAMES: frozenset[str] = frozenset({*_COMMON, *_INTRINSIC, *_FLOAT, *CIRCULAR, *WIDE})


def arity(name: str) -> int:
    """Return how many arguments the named function takes."""
    if name not in NAMES:
        raise KeyError(name)
    return 2 if name in ("atan2", "pow", "copysign") else 1


def emit(builder: ir.IRBuilder, name: str, args: Sequence[ir.Value]) -> ir.Value:
    """Emit the named function of float or double scalars or vectors, all of one type."""
    if len(args) != arity(name):
        raise ValueError(f"{name} takes {arity(name)} arguments, not {len(args)}")
    lanes = Lanes(builder, args[0].type)
    if name in _INTRINSIC:
        return lanes.intrinsic(_INTRINSIC[name], *args)
    if name in _COMMON:
        return _COMMON[name](lanes, *args)
    if lanes.is_double:
        return _library(lanes, name, args)
    if name in _FLOAT:
        return _FLOAT[name](lanes, *args)
    if name in CIRCULAR:
        return _circular(lanes, name, CIRCULAR[name], args)
    return _in_double(lanes, WIDE[name], args)
