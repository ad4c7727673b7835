"""Spell vector operations in LLVM IR briefly, for the kernels of vector mathematics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from llvmlite import ir


@dataclass(frozen=True)
class Lanes:
    """Short spellings of the vector operations, for one builder and one float type."""

    builder: ir.IRBuilder
    type: ir.Type

    @cached_property
    def element(self) -> ir.Type:
        """The type of one lane."""
        return self.type.element if isinstance(self.type, ir.VectorType) else self.type

    @cached_property
    def count(self) -> int:
        """How many lanes; 1 for a scalar."""
        return int(self.type.count) if isinstance(self.type, ir.VectorType) else 1

    @cached_property
    def is_double(self) -> bool:
        """Whether the lanes are double, not float."""
        return isinstance(self.element, ir.DoubleType)

    @cached_property
    def integer(self) -> ir.Type:
        """The integer type of the same shape and width."""
        return self.shaped(ir.IntType(64 if self.is_double else 32))

    @cached_property
    def suffix(self) -> str:
        """The type as intrinsic names spell it, such as v16f32."""
        scalar = "f64" if self.is_double else "f32"
        return f"v{self.count}{scalar}" if isinstance(self.type, ir.VectorType) else scalar

    def shaped(self, element: ir.Type) -> ir.Type:
        """Return a type of `element` with as many lanes as this one."""
        is_vector = isinstance(self.type, ir.VectorType)
        return ir.VectorType(element, self.count) if is_vector else element

    def splat(self, value: float, kind: ir.Type) -> ir.Value:
        """Return a constant in every lane; the `splat` spelling keeps the IR text short."""
        if not isinstance(kind, ir.VectorType):
            return ir.Constant(kind, value)
        scalar = ir.Constant(kind.element, value)
        constant = ir.FormattedConstant(kind, "")
        # Set afterwards, because the constructor would repeat the text once per lane.
        constant.constant = f"splat ({kind.element} {scalar.get_reference()})"
        return constant

    def number(self, value: float) -> ir.Value:
        """Return a floating constant."""
        return self.splat(value, self.type)

    def whole(self, value: int) -> ir.Value:
        """Return an integer constant of the matching shape."""
        return self.splat(value, self.integer)

    def intrinsic(self, name: str, *args: ir.Value) -> ir.Value:
        """Call an LLVM intrinsic that is overloaded on this type only."""
        full = f"llvm.{name}.{self.suffix}"
        function = self.builder.module.globals.get(full)
        if function is None:
            signature = ir.FunctionType(self.type, [self.type] * len(args))
            function = ir.Function(self.builder.module, signature, full)
        return self.builder.call(function, args)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """Return a * b + c rounded once."""
        return self.intrinsic("fma", a, b, c)

    def add(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        """Return a + b."""
        return self.builder.fadd(a, self.lift(b))

    def sub(self, a: ir.Value | float, b: ir.Value | float) -> ir.Value:
        """Return a - b."""
        return self.builder.fsub(self.lift(a), self.lift(b))

    def mul(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        """Return a * b."""
        return self.builder.fmul(a, self.lift(b))

    def div(self, a: ir.Value | float, b: ir.Value) -> ir.Value:
        """Return a / b."""
        return self.builder.fdiv(self.lift(a), b)

    def lift(self, value: ir.Value | float) -> ir.Value:
        """Turn a Python number into a constant and leave an IR value as it is."""
        return self.number(value) if isinstance(value, int | float) else value

    def test(self, a: ir.Value, order: str, b: ir.Value | float) -> ir.Value:
        """Compare lanes; any comparison with NaN is false."""
        return self.builder.fcmp_ordered(order, a, self.lift(b))

    def choose(self, test: ir.Value, a: ir.Value | float, b: ir.Value | float) -> ir.Value:
        """Return a where the test holds and b elsewhere."""
        return self.builder.select(test, self.lift(a), self.lift(b))

    def at_most(self, x: ir.Value, bound: float) -> ir.Value:
        """Return min(x, bound) as one instruction that keeps NaN."""
        return self.choose(self.builder.fcmp_unordered("<", x, self.number(bound)), x, bound)

    def at_least(self, x: ir.Value, bound: float) -> ir.Value:
        """Return max(x, bound) as one instruction that keeps NaN."""
        return self.choose(self.builder.fcmp_unordered(">", x, self.number(bound)), x, bound)

    def absolute(self, x: ir.Value) -> ir.Value:
        """Return |x|."""
        return self.intrinsic("fabs", x)

    def signed(self, magnitude: ir.Value, sign: ir.Value) -> ir.Value:
        """Return the magnitude with the sign bit of `sign`."""
        return self.intrinsic("copysign", magnitude, sign)

    def sqrt(self, x: ir.Value) -> ir.Value:
        """Return the correctly rounded square root."""
        return self.intrinsic("sqrt", x)

    def bits(self, x: ir.Value) -> ir.Value:
        """View lanes as integers."""
        return self.builder.bitcast(x, self.integer)

    def unbits(self, x: ir.Value) -> ir.Value:
        """View integers as lanes."""
        return self.builder.bitcast(x, self.type)

    def polynomial(self, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
        """Evaluate by Horner's rule with fma, highest power first."""
        value = self.number(coefficients[0])
        for coefficient in coefficients[1:]:
            value = self.fma(value, x, self.number(coefficient))
        return value


Kernel = Callable[..., ir.Value]
