"""Check every function of codegen.mathematics against NumPy, per type, vector width and CPU."""

import ctypes
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import pytest
from llvmlite import ir  # type: ignore[import-untyped]

from thalweg.backends.llvm.codegen import mathematics

Array = npt.NDArray[Any]
LIMIT = 4.0
WIDTHS = (1, 4, 8, 16)
TYPES = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
# Pointers to up to two arguments and the result, then the element count.
SIGNATURE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)


def usable_cpus() -> list[str]:
    """Name the CPU levels that this host can run, lowest first."""
    if "x86_64" not in llvm.get_process_triple():
        return [str(llvm.get_host_cpu_name())]
    host = llvm.get_host_cpu_features()
    needs = {
        "x86-64-v2": ("sse4.2",),
        "x86-64-v3": ("avx2", "fma", "bmi2"),
        "x86-64-v4": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"),
    }
    return [cpu for cpu, wanted in needs.items() if all(host.get(f) for f in wanted)]


def emit_map(module: ir.Module, name: str, element: ir.Type, width: int) -> None:
    """Add a function that maps `name` over arrays whose length is a multiple of the width."""
    kind = element if width == 1 else ir.VectorType(element, width)
    long = ir.IntType(64)
    signature = ir.FunctionType(ir.VoidType(), [ir.PointerType()] * 3 + [long])
    function = ir.Function(module, signature, f"map_{name}")
    entry, body, done = (function.append_basic_block() for _ in range(3))
    builder = ir.IRBuilder(entry)
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(long)
    places = [builder.gep(a, [index], source_etype=element) for a in function.args[:3]]
    count = mathematics.arity(name)
    args = [builder.load(p, typ=kind, align=element_size(element)) for p in places[:count]]
    value = mathematics.emit(builder, name, args)
    assert value.type == kind
    builder.store(value, places[2], align=element_size(element))
    following = builder.add(index, ir.Constant(long, width))
    index.add_incoming(ir.Constant(long, 0), entry)
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, function.args[3]), body, done)
    builder.position_at_end(done)
    builder.ret_void()


def element_size(element: ir.Type) -> int:
    """Return the size of one element in bytes."""
    return 8 if isinstance(element, ir.DoubleType) else 4


@functools.cache
def compiled(cpu: str, dtype: str, width: int) -> Any:
    """Compile the maps of all names for one configuration."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    for name in sorted(mathematics.NAMES):
        emit_map(module, name, TYPES[dtype], width)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(cpu=cpu, opt=1)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return engine


def apply(cpu: str, width: int, name: str, args: tuple[Array, ...]) -> Array:
    """Run the compiled function over arrays."""
    out = np.empty_like(args[0])
    engine = compiled(cpu, str(out.dtype), width)
    function = SIGNATURE(engine.get_function_address(f"map_{name}"))
    function(args[0].ctypes.data, args[-1].ctypes.data, out.ctypes.data, len(out))
    return out


SPECIALS = (
    *(
        0.0,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        -2.0,
        3.0,
        -3.0,
    ),
    *(
        1e-45,
        -1e-45,
        1.1754944e-38,
        3.4028235e38,
        -3.4028235e38,
        88.72284,
        88.7228,
        -103.9,
    ),
    *(
        -104.0,
        -87.3,
        127.99999,
        128.0,
        -126.5,
        -149.5,
        -150.0,
        1.5,
        2.5,
        16777217.0,
        1e-8,
        9.0,
    ),
    *(
        8.99,
        3.92,
        -3.92,
        10.05,
        0.6666667,
        1.3333334,
        0.9999999,
        1.0000001,
        1.0000002,
        1e10,
    ),
)


@np.errstate(invalid="ignore")  # Some of the bit patterns are signalling NaNs.
def samples(name: str, dtype: str) -> tuple[Array, ...]:
    """Draw arguments: all pairs of special values, stratified bit patterns, usual ranges."""
    random = np.random.default_rng(7)
    special = np.array(SPECIALS, dtype)
    if dtype == "float32":
        patterns = np.arange(0, 2**32, 40009, dtype=np.uint64).astype(np.uint32)
    else:
        patterns = np.arange(0, 2**64 - 2**51, 2**51 + 12345, dtype=np.uint64)
    parts = [patterns.view(dtype)]
    for size in (1.5, 12.0, 110.0, 1e5):
        parts.append(random.uniform(-size, size, 25000 if dtype == "float32" else 500))
    if mathematics.arity(name) == 1:
        values = np.concatenate([special, *parts]).astype(dtype)
        return (values[: len(values) // 64 * 64].copy(),)
    first, second = np.meshgrid(special, special)
    plain = np.concatenate(parts)
    whole = np.round(random.uniform(-20, 20, 20000))
    left = np.concatenate([first.ravel(), plain, np.abs(plain), random.normal(size=20000)])
    right = np.concatenate([second.ravel(), random.permutation(plain)])
    right = np.concatenate([right, random.uniform(-30, 30, len(plain)), whole])
    size = len(left) // 64 * 64
    return left[:size].astype(dtype), right[:size].astype(dtype)


def per_item(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """Map a scalar function of the math module."""
    return lambda x: np.array([function(float(v)) for v in x])


def logistic(x: Array) -> Array:
    """The logistic function, without early overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


REFERENCES: dict[str, Callable[..., Array]] = {
    "sigmoid": logistic,
    "erf": per_item(math.erf),
    "erfc": per_item(math.erfc),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "round": np.rint,
}


@functools.cache
def case(name: str, dtype: str) -> tuple[tuple[Array, ...], Array]:
    """Return the arguments and the true values in the next wider type."""
    args = samples(name, dtype)
    wider = np.float64 if dtype == "float32" else np.longdouble
    function = REFERENCES.get(name) or getattr(np, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return args, function(*(a.astype(wider) for a in args))


def ulps(got: Array, truth: Array) -> Array:
    """Return each error in units of the last place of the truth; infinite if of wrong kind."""
    with np.errstate(all="ignore"):
        nearest = truth.astype(got.dtype)
        largest = np.finfo(got.dtype).max
        wide_got = np.clip(got.astype(truth.dtype), -2 * truth.dtype.type(largest), None)
        wide_got = np.minimum(wide_got, 2 * truth.dtype.type(largest))
        bounded = np.clip(truth, -2 * truth.dtype.type(largest), 2 * truth.dtype.type(largest))
        place = np.spacing(np.minimum(np.abs(nearest), largest)).astype(truth.dtype)
        error = np.abs(wide_got - bounded) / place
    same_zero = (got == nearest) & ((got != 0) | (np.signbit(got) == np.signbit(nearest)))
    error = np.where(same_zero & np.isinf(nearest), 0.0, error)
    error = np.where((got == 0) & (nearest == 0) & ~same_zero, np.inf, error)
    wrong_kind = np.isnan(got) != np.isnan(nearest)
    return np.where(np.isnan(nearest) & np.isnan(got), 0.0, np.where(wrong_kind, np.inf, error))


@pytest.mark.parametrize("name", sorted(mathematics.NAMES))
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("cpu", usable_cpus())
def test_accuracy(cpu: str, width: int, dtype: str, name: str) -> None:
    args, truth = case(name, dtype)
    got = apply(cpu, width, name, args)
    error = ulps(got, truth)
    worst = int(np.argmax(error))
    inputs = [a[worst] for a in args]
    message = f"{name}{inputs} = {got[worst]!r}, not {truth[worst]!r}: {error[worst]:.3f} ulp"
    assert error[worst] <= LIMIT, message


@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid", "sin", "cos"])
def test_bounded_functions_stay_within_one(name: str) -> None:
    args, _ = case(name, "float32")
    got = apply(usable_cpus()[-1], 16, name, args)
    assert np.nanmax(np.abs(got)) <= 1.0


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_saturation_is_exact(name: str) -> None:
    far = np.resize(np.array([math.inf, -math.inf, 50, -50], np.float32), 16)
    assert np.array_equal(apply(usable_cpus()[-1], 16, name, (far,)), np.sign(far))


@pytest.mark.parametrize("width", [2, 3, 5, 64])
def test_unusual_widths_compile_and_agree(width: int) -> None:
    cpu = usable_cpus()[-1]
    for name in sorted(mathematics.NAMES):
        args = tuple(a[: 960 * (64 // width) // 64 * width] for a in case(name, "float32")[0])
        args = tuple(np.ascontiguousarray(a[: len(a) // width * width]) for a in args)
        small = tuple(np.ascontiguousarray(a[: len(a) // 16 * 16]) for a in args)
        expected = apply(cpu, 16, name, small)
        got = apply(cpu, width, name, args)[: len(expected)]
        np.testing.assert_array_equal(got, expected, err_msg=name)


def test_names_and_arity_are_checked() -> None:
    assert {mathematics.arity(n) for n in mathematics.NAMES} == {1, 2}
    with pytest.raises(KeyError):
        mathematics.arity("gamma")
    builder = ir.IRBuilder(
        ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "f").append_basic_block()
    )
    with pytest.raises(ValueError, match="takes 2 arguments"):
        mathematics.emit(builder, "pow", [ir.Constant(ir.FloatType(), 1.0)])


def test_text_does_not_grow_with_width() -> None:
    def length(width: int) -> int:
        module = ir.Module()
        for name in sorted(mathematics.NAMES):
            emit_map(module, name, ir.FloatType(), width)
        return len(str(module))

    assert length(64) < 1.1 * length(4)
