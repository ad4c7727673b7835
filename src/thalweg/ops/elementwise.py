"""Element-wise operations: arithmetic, functions of one number, comparison, logic, bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from thalweg.errors import ArgumentError
from thalweg.errors import where as at
from thalweg.graph.dtype import DEFAULT_INT, DType, as_dtype, bool_, to_float
from thalweg.graph.node import Node, Op
from thalweg.graph.shape import broadcast
from thalweg.ops.record import (
    Operand,
    as_float,
    cast_node,
    define,
    elementwise_infer,
    full,
    is_scalar,
    operands,
    require,
    to_node,
)

Rule = Callable[..., "Sequence[Node | None]"]
_NONE: Rule = lambda node, g: (None,) * len(node.inputs)  # noqa: E731


def _unary(
    name: str, doc: str, rule: Callable[[Node, Node, Node], Node] | None,
    meaning: Callable[[Any, Any], Any] | None = None, result: str = "float",
    formula: Callable[..., Any] | None = None, domain: str = "real",
) -> Op:  # fmt: skip
    """Define an operation on one tensor; ``rule(g, x, y)`` is its gradient."""
    def gradient(node: Node, g: Node) -> Sequence[Node | None]:
        return (None,) if rule is None else (rule(g, node.inputs[0], node),)

    return define(
        name, "elementwise", doc, elementwise_infer(name, result),
        meaning or (lambda xp, x: getattr(xp, name)(x)), gradient,
        formula or (lambda m, x: m.call(name, x)), (domain,),
    )  # fmt: skip


def _binary(
    name: str, doc: str, rule: Callable[[Node, Node, Node, Node], Sequence[Node | None]] | None,
    meaning: Callable[..., Any] | None = None, result: str = "same",
    formula: Callable[..., Any] | None = None, domain: tuple[str, str] = ("real", "real"),
) -> Op:  # fmt: skip
    """Define an operation on two tensors; ``rule(g, a, b, y)`` is its gradient."""
    def gradient(node: Node, g: Node) -> Sequence[Node | None]:
        return (None, None) if rule is None else rule(g, node.inputs[0], node.inputs[1], node)

    return define(
        name, "elementwise", doc, elementwise_infer(name, result),
        meaning or (lambda xp, a, b: getattr(xp, name)(a, b)), gradient,
        formula or (lambda m, a, b: m.call(name, a, b)), domain,
    )  # fmt: skip


# The functions that the rules below are written with; they are made at the end of this file.
abs: Callable[[Operand], Node]
add: Callable[[Operand, Operand], Node]
cos: Callable[[Operand], Node]
cosh: Callable[[Operand], Node]
divide: Callable[[Operand, Operand], Node]
equal: Callable[[Operand, Operand], Node]
exp: Callable[[Operand], Node]
floor_divide: Callable[[Operand, Operand], Node]
greater: Callable[[Operand, Operand], Node]
log: Callable[[Operand], Node]
logical_and: Callable[[Operand, Operand], Node]
multiply: Callable[[Operand, Operand], Node]
negative: Callable[[Operand], Node]
sign: Callable[[Operand], Node]
sin: Callable[[Operand], Node]
sinh: Callable[[Operand], Node]
sqrt: Callable[[Operand], Node]
square: Callable[[Operand], Node]
subtract: Callable[[Operand, Operand], Node]

# --- arithmetic --------------------------------------------------------------------------------

_add = _binary("add", "Sum of two tensors.", lambda g, a, b, y: (g, g))
_subtract = _binary(
    "subtract", "Difference of two tensors.", lambda g, a, b, y: (g, negative(g)), result="number"
)
_multiply = _binary(
    "multiply", "Product of two tensors.", lambda g, a, b, y: (multiply(g, b), multiply(g, a))
)
_divide = _binary(
    "divide", "Quotient of two tensors.",
    lambda g, a, b, y: (divide(g, b), negative(divide(multiply(g, y), b))),
    result="float", domain=("real", "nonzero"),
)  # fmt: skip
_floor_divide = _binary(
    "floor_divide", "Quotient rounded down.", None, result="number", domain=("real", "nonzero")
)
_remainder = _binary(
    "remainder", "Rest of a division, with the sign of the divisor.",
    lambda g, a, b, y: (g, negative(multiply(g, floor_divide(a, b)))),
    result="number", domain=("real", "nonzero"),
)  # fmt: skip


def _power_rule(g: Node, a: Node, b: Node, y: Node) -> Sequence[Node | None]:
    # 0 * 0 ** -1 would be NaN, here and in the gradient of this gradient.
    both = logical_and(equal(a, 0), equal(b, 0))
    base = multiply(multiply(g, b), _power(a, where(both, 1, subtract(b, 1))))
    logarithm = log(where(greater(a, 0), a, 1))
    return base, multiply(multiply(g, y), logarithm)


_power = _binary(
    "power", "First tensor to the power of the second.", _power_rule, result="number",
    domain=("positive", "real"),
)  # fmt: skip


def _share_ties(g: Node, a: Node, b: Node, y: Node) -> Sequence[Node | None]:
    half = where(equal(a, b), 0.5, 1.0)
    h = multiply(g, cast_node(half, g.dtype))
    return where(equal(a, y), h, 0), where(equal(b, y), h, 0)


_maximum = _binary("maximum", "Larger of two numbers; NaN wins.", _share_ties, result="same")
_minimum = _binary("minimum", "Smaller of two numbers; NaN wins.", _share_ties, result="same")
_atan2 = _binary(
    "atan2", "Angle of the point (b, a), in radians.",
    lambda g, a, b, y: (
        divide(multiply(g, b), add(multiply(a, a), multiply(b, b))),
        negative(divide(multiply(g, a), add(multiply(a, a), multiply(b, b)))),
    ),
    lambda xp, a, b: xp.arctan2(a, b), "float", domain=("nonzero", "nonzero"),
)  # fmt: skip

_negative = _unary(
    "negative", "Negated numbers.", lambda g, x, y: negative(g), result="number"
)
_abs = _unary("abs", "Absolute value.", lambda g, x, y: multiply(g, sign(x)), result="same")
_sign = _unary("sign", "-1, 0 or 1 by the sign; 0 has the gradient 0.", None, result="number")
_square = _unary(
    "square", "Square.", lambda g, x, y: multiply(g, multiply(2, x)), result="number",
    formula=lambda m, x: m.call("multiply", x, x),
)  # fmt: skip

# --- functions of one number -------------------------------------------------------------------

_exp = _unary("exp", "Exponential.", lambda g, x, y: multiply(g, y))
_expm1 = _unary(
    "expm1", "exp(x) - 1, exact for small x.", lambda g, x, y: multiply(g, add(y, 1))
)
_log = _unary("log", "Natural logarithm.", lambda g, x, y: divide(g, x), domain="positive")
_log1p = _unary(
    "log1p", "log(1 + x), exact for small x.", lambda g, x, y: divide(g, add(x, 1)),
    domain="positive",
)  # fmt: skip
_log2 = _unary(
    "log2", "Logarithm to base 2.", lambda g, x, y: divide(g, multiply(x, math.log(2))),
    domain="positive",
)  # fmt: skip
_log10 = _unary(
    "log10", "Logarithm to base 10.", lambda g, x, y: divide(g, multiply(x, math.log(10))),
    domain="positive",
)  # fmt: skip
_sqrt = _unary(
    "sqrt", "Square root.", lambda g, x, y: divide(multiply(g, 0.5), y), domain="positive"
)
_rsqrt = _unary(
    "rsqrt", "One over the square root.",
    lambda g, x, y: multiply(multiply(g, -0.5), divide(y, x)),
    lambda xp, x: xp.reciprocal(xp.sqrt(x)), domain="positive",
)  # fmt: skip
_reciprocal = _unary(
    "reciprocal", "One over x.", lambda g, x, y: negative(multiply(g, multiply(y, y))),
    domain="nonzero",
)  # fmt: skip
_sin = _unary("sin", "Sine of radians.", lambda g, x, y: multiply(g, cos(x)))
_cos = _unary("cos", "Cosine of radians.", lambda g, x, y: negative(multiply(g, sin(x))))
_tan = _unary(
    "tan", "Tangent of radians.", lambda g, x, y: multiply(g, add(multiply(y, y), 1)),
    domain="unit",
)  # fmt: skip
_asin = _unary(
    "asin", "Inverse sine.", lambda g, x, y: divide(g, sqrt(subtract(1, multiply(x, x)))),
    lambda xp, x: xp.arcsin(x), domain="unit",
)  # fmt: skip
_acos = _unary(
    "acos", "Inverse cosine.",
    lambda g, x, y: negative(divide(g, sqrt(subtract(1, multiply(x, x))))),
    lambda xp, x: xp.arccos(x), domain="unit",
)  # fmt: skip
_atan = _unary(
    "atan", "Inverse tangent.", lambda g, x, y: divide(g, add(multiply(x, x), 1)),
    lambda xp, x: xp.arctan(x),
)  # fmt: skip
_sinh = _unary("sinh", "Hyperbolic sine.", lambda g, x, y: multiply(g, cosh(x)))
_cosh = _unary("cosh", "Hyperbolic cosine.", lambda g, x, y: multiply(g, sinh(x)))
_tanh = _unary(
    "tanh", "Hyperbolic tangent.", lambda g, x, y: multiply(g, subtract(1, multiply(y, y)))
)
_asinh = _unary(
    "asinh", "Inverse hyperbolic sine.", lambda g, x, y: divide(g, sqrt(add(multiply(x, x), 1))),
    lambda xp, x: xp.arcsinh(x),
)  # fmt: skip
_acosh = _unary(
    "acosh", "Inverse hyperbolic cosine.",
    lambda g, x, y: divide(g, sqrt(subtract(multiply(x, x), 1))),
    lambda xp, x: xp.arccosh(x), domain="above_one",
)  # fmt: skip
_atanh = _unary(
    "atanh", "Inverse hyperbolic tangent.", lambda g, x, y: divide(g, subtract(1, multiply(x, x))),
    lambda xp, x: xp.arctanh(x), domain="unit",
)  # fmt: skip
_sigmoid = _unary(
    "sigmoid", "Logistic function 1 / (1 + exp(-x)).",
    lambda g, x, y: multiply(g, multiply(y, subtract(1, y))),
    lambda xp, x: xp.exp(-xp.logaddexp(xp.zeros_like(x), -x)),
)  # fmt: skip
_relu = _unary(
    "relu", "Larger of x and 0; at 0 the gradient is 0.",
    lambda g, x, y: where(greater(y, 0), g, 0), lambda xp, x: xp.maximum(x, xp.zeros_like(x)),
    result="number", formula=lambda m, x: m.call("maximum", x, m.constant(0, x)),
)  # fmt: skip
_floor = _unary("floor", "Rounded down.", None, result="same")
_ceil = _unary("ceil", "Rounded up.", None, result="same")
_trunc = _unary("trunc", "Rounded towards 0.", None, result="same")
_round = _unary("round", "Rounded to the nearest, halves to even.", None, result="same")
_isnan = _unary("isnan", "Whether a number is NaN.", None, result="bool")
_isinf = _unary("isinf", "Whether a number is infinite.", None, result="bool")
_isfinite = _unary("isfinite", "Whether a number is neither NaN nor infinite.", None, result="bool")


# W. J. Cody, "Rational Chebyshev approximation for the error function", Math. Comp. 23 (1969).
_ERF_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_ERF_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
     6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
     1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
     3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_ERF_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip


def _ratio(tables: tuple[tuple[float, ...], tuple[float, ...]], z: Any) -> Any:
    above: Any = 0.0
    below: Any = 0.0
    for p in tables[0]:
        above = above * z + p
    for q in tables[1]:
        below = below * z + q
    return above / below


def _erf(xp: Any, x: Any) -> Any:
    kind = x.dtype
    wide = x if x.dtype == "float64" else x.astype("float32") if x.dtype.itemsize < 4 else x
    a = xp.minimum(xp.abs(wide), xp.full_like(wide, 6.0))  # erf(6) is 1 in float64
    b = xp.maximum(a, xp.full_like(a, 0.46875))
    small = wide * _ratio(_ERF_SMALL, xp.minimum(a, xp.full_like(a, 0.5)) ** 2)
    middle = xp.exp(-b * b) * _ratio(_ERF_MIDDLE, xp.minimum(b, xp.full_like(b, 4.0)))
    z = 1 / (b * b)
    large = xp.exp(-b * b) / b * (1 / math.sqrt(math.pi) - z * _ratio(_ERF_LARGE, z))
    tail = 1 - xp.where(a <= 4.0, middle, large)
    result = xp.where(a <= 0.46875, small, xp.where(wide < 0, -tail, tail))
    return xp.where(xp.isnan(wide), wide, result).astype(kind)


_erf_op = _unary(
    "erf", "Error function.",
    lambda g, x, y: multiply(g, multiply(2 / math.sqrt(math.pi), exp(negative(square(x))))), _erf,
)  # fmt: skip

# --- comparison, logic, bits -------------------------------------------------------------------

for _name, _doc in {
    "equal": "Whether a equals b.", "not_equal": "Whether a differs from b.",
    "less": "Whether a is below b.", "less_equal": "Whether a is at most b.",
    "greater": "Whether a is above b.", "greater_equal": "Whether a is at least b.",
}.items():  # fmt: skip
    _binary(_name, _doc, None, result="bool")
for _name, _doc in {
    "logical_and": "Whether both are true.", "logical_or": "Whether one or both are true.",
    "logical_xor": "Whether exactly one is true.",
}.items():  # fmt: skip
    _binary(_name, _doc, None, result="bool", domain=("bool", "bool"))
_logical_not = _unary(
    "logical_not", "Whether x is false.", None, result="bool", domain="bool"
)
for _name, _doc in {
    "bitwise_and": "Bits set in both.", "bitwise_or": "Bits set in one or both.",
    "bitwise_xor": "Bits set in exactly one.",
}.items():  # fmt: skip
    _binary(_name, _doc, None, result="integer", domain=("integer", "integer"))
for _name, _doc in {
    "bitwise_left_shift": "Bits of a moved up by b.",
    "bitwise_right_shift": "Bits of a moved down by b.",
}.items():
    _binary(
        _name, _doc, None, lambda xp, a, b, _f=_name[8:]: getattr(xp, _f)(a, b), "integer",
        domain=("integer", "small"),
    )  # fmt: skip
_bitwise_invert = _unary(
    "bitwise_invert", "Bits flipped.", None, lambda xp, x: xp.invert(x), "integer",
    domain="integer",
)  # fmt: skip

# --- choice and conversion ---------------------------------------------------------------------


def _where_infer(c: Node, a: Node, b: Node) -> tuple[tuple[int, ...], DType]:
    require(c, c.dtype is bool_, "where", "a bool condition")
    return broadcast(c.shape, a.shape, b.shape, name="where"), a.dtype


_where = define(
    "where", "elementwise", "First choice where the condition holds, else the second.",
    _where_infer, lambda xp, c, a, b: xp.where(c, a, b),
    lambda node, g: (None, where(node.inputs[0], g, 0), where(node.inputs[0], 0, g)),
    lambda m, c, a, b: m.select(c, a, b), ("bool", "real", "real"),
)  # fmt: skip
_cast = define(
    "cast", "elementwise", "The same numbers in another dtype.",
    lambda x, *, dtype: (x.shape, dtype),
    lambda xp, x, *, dtype: x.astype(dtype.numpy),
    lambda node, g: (
        cast_node(g, node.inputs[0].dtype) if node.inputs[0].dtype.is_float else None,
    ),
    lambda m, x, *, dtype: m.cast(x, dtype),
)  # fmt: skip


# --- the functions that apply them -------------------------------------------------------------


def _two(op: Op, kind: str = "any") -> Callable[[Operand, Operand], Node]:
    def function(a: Operand, b: Operand) -> Node:
        if kind == "compare":
            a, b = _comparable(a, b), _comparable(b, a)
        left, right = operands(a, b, name=op.name)
        if kind == "float":
            dtype = to_float(left.dtype)
            left, right = cast_node(left, dtype), cast_node(right, dtype)
        elif kind == "bool":
            left, right = cast_node(left, bool_), cast_node(right, bool_)
        return op(left, right)

    function.__name__, function.__doc__ = op.name, op.doc
    return function


def _comparable(x: Operand, other: Operand) -> Operand:
    """Widen whole numbers that are compared with one that their dtype does not hold."""
    if isinstance(x, Node) and x.dtype.is_integer and type(other) is int:
        lowest = 0 if x.dtype.kind == "uint" else -(2 ** (x.dtype.bits - 1))
        if not lowest <= other < lowest + 2**x.dtype.bits:
            return cast_node(x, DEFAULT_INT)
    return x


def _one(op: Op, kind: str = "any") -> Callable[[Operand], Node]:
    def function(x: Operand) -> Node:
        node = as_float(x, op.name) if kind == "float" else operands(x, name=op.name)[0]
        return op(cast_node(node, bool_) if kind == "bool" else node)

    function.__name__, function.__doc__ = op.name, op.doc
    return function


def _named(name: str, kind: str = "any") -> Callable[[Operand, Operand], Node]:
    from thalweg.ops.record import OPS

    return _two(OPS[name], kind)


add, subtract, multiply = _two(_add), _two(_subtract), _two(_multiply)
divide, atan2 = _two(_divide, "float"), _two(_atan2, "float")
floor_divide, remainder = _two(_floor_divide), _two(_remainder)
maximum, minimum = _two(_maximum), _two(_minimum)
equal, not_equal = _named("equal", "compare"), _named("not_equal", "compare")
less, less_equal = _named("less", "compare"), _named("less_equal", "compare")
greater, greater_equal = _named("greater", "compare"), _named("greater_equal", "compare")
logical_and, logical_or = _named("logical_and", "bool"), _named("logical_or", "bool")
logical_xor, logical_not = _named("logical_xor", "bool"), _one(_logical_not, "bool")
bitwise_and, bitwise_or = _named("bitwise_and"), _named("bitwise_or")
bitwise_xor, bitwise_invert = _named("bitwise_xor"), _one(_bitwise_invert)
bitwise_left_shift = _named("bitwise_left_shift")
bitwise_right_shift = _named("bitwise_right_shift")
negative, abs, sign, square = _one(_negative), _one(_abs), _one(_sign), _one(_square)
exp, expm1, log, log1p = (_one(o, "float") for o in (_exp, _expm1, _log, _log1p))
log2, log10, sqrt, rsqrt = (_one(o, "float") for o in (_log2, _log10, _sqrt, _rsqrt))
reciprocal, sin, cos, tan = (_one(o, "float") for o in (_reciprocal, _sin, _cos, _tan))
asin, acos, atan, sinh = (_one(o, "float") for o in (_asin, _acos, _atan, _sinh))
cosh, tanh, asinh, acosh = (_one(o, "float") for o in (_cosh, _tanh, _asinh, _acosh))
atanh, sigmoid, erf, relu = (
    _one(_atanh, "float"), _one(_sigmoid, "float"), _one(_erf_op, "float"), _one(_relu),
)  # fmt: skip
floor, ceil, trunc, round = _one(_floor), _one(_ceil), _one(_trunc), _one(_round)
isnan, isinf, isfinite = _one(_isnan), _one(_isinf), _one(_isfinite)


def power(a: Operand, b: Operand) -> Node:
    """First tensor to the power of the second."""
    left, right = operands(a, b, name="power")
    if type(b) in (int, float) and left.dtype.is_float:
        if b == 2:
            return square(left)
        if b == 1:
            return left
        if b == 3:
            return multiply(left, square(left))
        if b == 0.5:
            return sqrt(left)
    elif not left.dtype.is_float and type(b) is int and b < 0:
        raise ArgumentError(
            f"power: whole numbers to the power of {b} are no whole numbers; "
            f"convert them with .astype(thalweg.float32) first. {at()}"
        )
    return _power(left, right)


def where(condition: Operand, x: Operand, y: Operand) -> Node:
    """First choice where the condition holds, else the second."""
    a, b = operands(x, y, name="where")
    return _where(cast_node(to_node(condition, "where"), bool_), a, b)


def astype(x: Operand, dtype: Any) -> Node:
    """The same numbers in another dtype; floats become whole numbers by dropping the fraction."""
    kind = as_dtype(dtype)
    return full((), x, kind) if is_scalar(x) else cast_node(to_node(x, "astype"), kind)


def clip(x: Operand, min: Operand | None = None, max: Operand | None = None) -> Node:
    """Numbers held between a smallest and a largest value; either may be left out."""
    result = to_node(x, "clip")
    if min is not None:
        result = maximum(result, min)
    return result if max is None else minimum(result, max)
