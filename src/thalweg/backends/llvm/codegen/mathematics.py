"""Emit elementary functions over float and double vectors as LLVM IR.

float functions that run in every network (exp, log, tanh, sigmoid, erf) are branch-free float
kernels; the rarer ones are computed in double lanes to about 1e-9 and rounded once, so they are
within one unit in the last place (ulp).  double functions call the C library once per lane.
Measured worst errors over all of float: exp 2.1, exp2 2.2, log family 1.8, tanh 3.3, sigmoid 3.0,
erf 3.2, rsqrt 1.5, the rest at most 1 ulp.  NaN gives NaN; nothing needs fast-math flags.

Every coefficient comes from tools/fit_polynomials.py, highest power first.  Textbook for the
range reductions: J.-M. Muller, Elementary Functions, 3rd ed., chapters 10 and 11.
"""

import math
from collections.abc import Sequence

import llvmlite.ir as ir  # type: ignore[import-untyped]

from thalweg.backends.llvm.codegen.lanes import Kernel, Lanes
from thalweg.backends.llvm.codegen.mathematics_wide import CIRCULAR, WIDE, log_edges

EXP = (0.008290315, 0.04189793, 0.16667636, 0.4999915, 0.9999997, 1.0)
EXP2 = (0.0013264727, 0.009671513, 0.055507336, 0.24022242, 0.693147, 1.0)
LOG1P = (
    *(0.14026359, -0.1538854, 0.13995807, -0.16415961),
    *(0.20011169, -0.2500782, 0.33333197, -0.49999937),
)
TANH_TOP = (1.3354688e-08, 2.0609103e-05, 0.0034955894, 0.13381027, 1.0)
TANH_BOTTOM = (7.7765696e-07, 0.00032856368, 0.025876988, 0.46714342, 1.0)
ERF_TOP = (3.0971526e-06, 0.0004303856, 0.0056889136, 0.07968984, 0.2876559, 1.70469)
ERF_BOTTOM = (5.7546822e-05, 0.0017563013, 0.0226147, 0.17238979, 0.7585082, 1.5107422)
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


def _odd_ratio(
    lanes: Lanes, x: ir.Value, bound: float, top: Sequence[float], bottom: Sequence[float]
) -> ir.Value:
    """Return x top(x^2) / bottom(x^2) with x clamped to where the function rounds to one.

    All coefficients are positive, so Horner's rule loses nothing to cancellation.
    """
    x = lanes.at_least(lanes.at_most(x, bound), -bound)
    square = lanes.mul(x, x)
    numerator = lanes.mul(lanes.polynomial(square, top), x)
    return lanes.div(numerator, lanes.polynomial(square, bottom))


def _tanh(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _odd_ratio(lanes, x, 9.0, TANH_TOP, TANH_BOTTOM)


def _erf(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _odd_ratio(lanes, x, 3.92, ERF_TOP, ERF_BOTTOM)


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
    """Call a function that leaves vectors with some |x| >= 2^30 to the C library.

    Such arguments need more bits of pi than a double reduction has; they are so rare that one
    branch per vector is cheaper than Payne and Hanek's reduction in every lane.
    """
    function, new = _private(lanes, name, 1)
    if new:
        blocks = [function.append_basic_block(block) for block in ("entry", "far", "near")]
        b = ir.IRBuilder(blocks[0])
        inner = Lanes(b, lanes.type)
        x = function.args[0]
        far = inner.test(inner.absolute(x), ">=", 2.0**30)
        if isinstance(lanes.type, ir.VectorType):
            mask = ir.IntType(lanes.count)
            far = b.icmp_unsigned("!=", b.bitcast(far, mask), ir.Constant(mask, 0))
        b.cbranch(far, blocks[1], blocks[2])
        b.position_at_end(blocks[1])
        b.ret(_in_double(inner, lambda wide, a: _library(wide, name, [a]), [x]))
        b.position_at_end(blocks[2])
        b.ret(_in_double(inner, kernel, [x]))
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
    **{"exp": _exp, "exp2": _exp2, "log": _log, "log2": _log2, "log10": _log10},
    **{"tanh": _tanh, "erf": _erf},
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
