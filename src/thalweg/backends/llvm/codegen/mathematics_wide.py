"""Emit double-lane kernels, good to about 1e-9, for float functions that are seldom hot.

The argument came from a float, so it is never subnormal as a double, and rounding the result to
float gives overflow, underflow and subnormals as they should be, within about half an ulp.
Every coefficient comes from tools/fit_polynomials.py, highest power first.  Textbook for the
range reductions: J.-M. Muller, Elementary Functions, 3rd ed., chapters 10 and 11.
"""

import math

from llvmlite import ir

from thalweg.backends.llvm.codegen.lanes import Kernel, Lanes

WIDE_EXP2 = (
    *(1.5196156741721012e-05, 0.00015466756320347075, 0.0013333935054954868),
    *(0.009618038132052581, 0.055504103659920256, 0.24022651066561138),
    *(0.6931471807045321, 1.0),
)
WIDE_LOG = (
    0.23581472595185793,
    0.2853734694121917,
    0.40000334535074744,
    0.6666666564864272,
    2.0,
)
WIDE_SIN = (-0.000195152831618771, 0.008332160761581194, -0.1666665460954265, 1.0)
WIDE_COS = (
    *(2.4383567282533834e-05, -0.0013886681647579187, 0.04166662035711521),
    *(-0.4999999969447583, 1.0),
)
WIDE_ATAN = (
    *(0.0011137896273376029, -0.007317960729314299, 0.022539875540962036),
    *(-0.044689951068455865, 0.06741597739160861, -0.08811091603343751),
    *(
        0.11058223732182484,
        -0.14279833057454405,
        0.1999967112319276,
        -0.3333332689955158,
        1.0,
    ),
)
WIDE_ERFC = (
    *(8.048199324834026e-05, 0.00017189606367324059, -0.00039997925695258715),
    *(-0.0014228699528037675, 0.0012513587190654905, 0.00870960681000653),
    *(-0.008030390432092294, -0.054217859439804394, 0.164050982364184),
    *(-0.16603052266647084, -0.09276381888286385, 1.2769783827115515),
)
LOG2_E, LN_2 = math.log2(math.e), math.log(2)


def log_edges(lanes: Lanes, x: ir.Value, result: ir.Value) -> ir.Value:
    """Put in what a logarithm is at 0, below 0, at infinity and at NaN."""
    result = lanes.choose(lanes.test(x, "<", math.inf), result, x)
    result = lanes.choose(lanes.test(x, "==", 0.0), -math.inf, result)
    return lanes.choose(lanes.test(x, "<", 0.0), math.nan, result)


def _wide_exp2(lanes: Lanes, x: ir.Value) -> ir.Value:
    """2^x to 5e-11 for |x| <= 1000, and what rounds to 0 or infinity in float beyond."""
    x = lanes.at_most(lanes.at_least(x, -1000.0), 1000.0)
    shift = 1.5 * 2**52 + 1023
    shifted = lanes.add(x, shift)
    value = lanes.polynomial(lanes.sub(x, lanes.sub(shifted, shift)), WIDE_EXP2)
    power = lanes.unbits(lanes.builder.shl(lanes.bits(shifted), lanes.whole(52)))
    return lanes.mul(value, power)


def _wide_exp(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _wide_exp2(lanes, lanes.mul(x, LOG2_E))


def _wide_log(lanes: Lanes, x: ir.Value) -> ir.Value:
    """ln x to 5e-12: x = 2^e m with m near one, then 2 artanh((m - 1) / (m + 1))."""
    b = lanes.builder
    one, raw = 1023 << 52, lanes.bits(x)
    root_half = 0x3FE6A09E667F3BCD
    # The offset keeps the biased exponent positive, so a logical shift does; SSE and AVX2 have
    # neither a 64-bit arithmetic shift nor int64 to double, hence the 2^52 device below.
    biased = b.lshr(b.sub(raw, lanes.whole(root_half - one)), lanes.whole(52))
    e = lanes.sub(lanes.unbits(b.or_(biased, lanes.whole(0x433 << 52))), 2.0**52 + 1023)
    power = b.sub(b.shl(biased, lanes.whole(52)), lanes.whole(one))
    m = lanes.unbits(b.sub(raw, power))
    s = lanes.div(lanes.sub(m, 1.0), lanes.add(m, 1.0))
    ln_m = lanes.mul(s, lanes.polynomial(lanes.mul(s, s), WIDE_LOG))
    return log_edges(lanes, x, lanes.fma(e, lanes.number(LN_2), ln_m))


def _small(
    lanes: Lanes, x: ir.Value, bound: float, series: tuple[float, ...], main: ir.Value
) -> ir.Value:
    """Return x series(x) where |x| < bound, since `main` cancels there, and main elsewhere."""
    near = lanes.mul(x, lanes.polynomial(x, series))
    return lanes.choose(lanes.test(lanes.absolute(x), "<", bound), near, main)


def _wide_expm1(lanes: Lanes, x: ir.Value) -> ir.Value:
    series = (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0)
    return _small(lanes, x, 0.03, series, lanes.sub(_wide_exp(lanes, x), 1.0))


def _wide_log1p(lanes: Lanes, x: ir.Value) -> ir.Value:
    main = _wide_log(lanes, lanes.add(x, 1.0))
    return _small(lanes, x, 1e-4, (1 / 3, -1 / 2, 1.0), main)


def _wide_sinh(lanes: Lanes, x: ir.Value) -> ir.Value:
    e = _wide_exp(lanes, x)
    main = lanes.mul(lanes.sub(e, lanes.div(1.0, e)), 0.5)
    return _small(lanes, x, 0.1, (1 / 5040, 0.0, 1 / 120, 0.0, 1 / 6, 0.0, 1.0), main)


def _wide_cosh(lanes: Lanes, x: ir.Value) -> ir.Value:
    e = _wide_exp(lanes, x)
    return lanes.mul(lanes.add(e, lanes.div(1.0, e)), 0.5)


def _wide_asinh(lanes: Lanes, x: ir.Value) -> ir.Value:
    size = lanes.absolute(x)
    root = lanes.sqrt(lanes.fma(x, x, lanes.number(1.0)))
    main = lanes.signed(_wide_log(lanes, lanes.add(size, root)), x)
    return _small(lanes, x, 0.02, (3 / 40, 0.0, -1 / 6, 0.0, 1.0), main)


def _wide_acosh(lanes: Lanes, x: ir.Value) -> ir.Value:
    root = lanes.sqrt(lanes.mul(lanes.sub(x, 1.0), lanes.add(x, 1.0)))
    inside = lanes.choose(lanes.test(x, "<", 1.0), math.nan, lanes.add(x, root))
    return _wide_log(lanes, inside)


def _wide_atanh(lanes: Lanes, x: ir.Value) -> ir.Value:
    ratio = lanes.div(lanes.add(x, 1.0), lanes.sub(1.0, x))
    main = lanes.mul(_wide_log(lanes, ratio), 0.5)
    return _small(lanes, x, 0.02, (1 / 5, 0.0, 1 / 3, 0.0, 1.0), main)


def _wide_atan2(lanes: Lanes, y: ir.Value, x: ir.Value) -> ir.Value:
    """The angle of (x, y) to 4e-10: arctangent of the smaller over the larger, then unfolded."""
    b = lanes.builder
    tall, across = lanes.absolute(y), lanes.absolute(x)
    steep = lanes.test(tall, ">", across)
    low, high = lanes.choose(steep, across, tall), lanes.choose(steep, tall, across)
    # Equal sides give 0/0 at the origin and inf/inf far out; the answers wanted are 0 and 1.
    even = lanes.choose(lanes.test(high, ">", 0.0), 1.0, 0.0)
    ratio = lanes.choose(lanes.test(low, "==", high), even, lanes.div(low, high))
    angle = lanes.mul(ratio, lanes.polynomial(lanes.mul(ratio, ratio), WIDE_ATAN))
    angle = lanes.choose(steep, lanes.sub(math.pi / 2, angle), angle)
    left = b.icmp_signed("<", lanes.bits(x), lanes.whole(0))
    angle = lanes.choose(left, lanes.sub(math.pi, angle), angle)
    return lanes.signed(angle, y)


def _wide_atan(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _wide_atan2(lanes, x, lanes.number(1.0))


def _leg(lanes: Lanes, x: ir.Value) -> ir.Value:
    """The other leg sqrt(1 - x^2) of a right triangle; NaN when |x| > 1."""
    return lanes.sqrt(lanes.mul(lanes.sub(1.0, x), lanes.add(x, 1.0)))


def _wide_asin(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _wide_atan2(lanes, x, _leg(lanes, x))


def _wide_acos(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _wide_atan2(lanes, _leg(lanes, x), x)


def _wide_erfc(lanes: Lanes, x: ir.Value) -> ir.Value:
    """erfc to 1e-9: e^(-x^2) / (1 + 2|x|) times a polynomial in (|x| - 2) / (|x| + 2).

    The form is that of M. Shepherd and J. Laframboise, Math. Comp. 36, 1981; above 10.5 erfc
    is 0 as a float.
    """
    size = lanes.at_most(lanes.absolute(x), 10.5)
    t = lanes.div(lanes.sub(size, 2.0), lanes.add(size, 2.0))
    gauss = _wide_exp(lanes, lanes.builder.fneg(lanes.mul(size, size)))
    scale = lanes.div(gauss, lanes.fma(size, lanes.number(2.0), lanes.number(1.0)))
    tail = lanes.mul(lanes.polynomial(t, WIDE_ERFC), scale)
    return lanes.choose(lanes.test(x, "<", 0.0), lanes.sub(2.0, tail), tail)


def _sine_cosine(lanes: Lanes, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return (quadrant q, sin r, cos r) with x = q pi/2 + r, for |x| < 2^30.

    n * PI_2_HIGH cancels against x exactly inside the fma, and the low part carries pi/2 to 107
    bits, so r is good to 2^-76 and sin r, cos r to 4e-9.
    """
    shift = 1.5 * 2**52
    shifted = lanes.fma(x, lanes.number(2 / math.pi), lanes.number(shift))
    n = lanes.sub(shifted, shift)
    r = lanes.fma(n, lanes.number(-1.5707963267948966), x)
    r = lanes.fma(n, lanes.number(-6.123233995736766e-17), r)
    z = lanes.mul(r, r)
    sine = lanes.mul(r, lanes.polynomial(z, WIDE_SIN))
    return lanes.bits(shifted), sine, lanes.polynomial(z, WIDE_COS)


def _odd(lanes: Lanes, q: ir.Value) -> ir.Value:
    """Whether an integer lane is odd."""
    bit = lanes.builder.and_(q, lanes.whole(1))
    return lanes.builder.icmp_unsigned("!=", bit, lanes.whole(0))


def _turn(lanes: Lanes, x: ir.Value, quarter: int) -> ir.Value:
    """Return sin(x + quarter pi/2)."""
    b = lanes.builder
    q, sine, cosine = _sine_cosine(lanes, x)
    q = b.add(q, lanes.whole(quarter)) if quarter else q
    value = lanes.choose(_odd(lanes, q), cosine, sine)
    sign = b.shl(b.and_(q, lanes.whole(2)), lanes.whole(62))
    return lanes.unbits(b.xor(lanes.bits(value), sign))


def _wide_sin(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _turn(lanes, x, 0)


def _wide_cos(lanes: Lanes, x: ir.Value) -> ir.Value:
    return _turn(lanes, x, 1)


def _wide_tan(lanes: Lanes, x: ir.Value) -> ir.Value:
    q, sine, cosine = _sine_cosine(lanes, x)
    odd = _odd(lanes, q)
    top = lanes.choose(odd, lanes.builder.fneg(cosine), sine)
    return lanes.div(top, lanes.choose(odd, sine, cosine))


def _wide_pow(lanes: Lanes, x: ir.Value, y: ir.Value) -> ir.Value:
    """x^y = 2^(y log2 |x|) with the sign and the special cases of C's pow and numpy.power."""
    b = lanes.builder
    size = lanes.absolute(x)
    log2_x = lanes.mul(_wide_log(lanes, size), LOG2_E)
    # 1^y is 1 even when y is infinite, where the product would be NaN.
    power = lanes.choose(lanes.test(size, "==", 1.0), 0.0, lanes.mul(y, log2_x))
    nan = b.fcmp_unordered("uno", x, y)
    value = lanes.choose(nan, math.nan, _wide_exp2(lanes, power))
    half = lanes.mul(y, 0.5)
    is_whole = lanes.test(lanes.intrinsic("trunc", y), "==", y)
    is_odd = b.and_(is_whole, lanes.test(lanes.intrinsic("trunc", half), "!=", half))
    value = lanes.choose(is_odd, lanes.signed(value, x), value)
    # A negative finite base with a fractional exponent has no real power.
    below = b.and_(lanes.test(x, "<", 0.0), lanes.test(x, ">", -math.inf))
    value = lanes.choose(b.and_(below, b.not_(is_whole)), math.nan, value)
    certain = b.or_(lanes.test(y, "==", 0.0), lanes.test(x, "==", 1.0))
    return lanes.choose(certain, 1.0, value)


CIRCULAR: dict[str, Kernel] = {"sin": _wide_sin, "cos": _wide_cos, "tan": _wide_tan}
WIDE: dict[str, Kernel] = {
    "expm1": _wide_expm1,
    "log1p": _wide_log1p,
    "erfc": _wide_erfc,
    "pow": _wide_pow,
    "asin": _wide_asin,
    "acos": _wide_acos,
    "atan": _wide_atan,
    "atan2": _wide_atan2,
    "sinh": _wide_sinh,
    "cosh": _wide_cosh,
    "asinh": _wide_asinh,
    "acosh": _wide_acosh,
    "atanh": _wide_atanh,
}
