"""Valid inputs for every operation, found by introspection: what all backends are tested with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import thalweg  # noqa: F401 - enters every operation into the table
from thalweg.errors import DTypeError
from thalweg.graph.dtype import DTYPES, as_dtype
from thalweg.graph.node import Op
from thalweg.ops.record import OPS, leaf

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
# A placeholder has no value of its own; loops have several: tests/tensor/test_scan.py.
NO_VALUE = {"input", "scan", "part"}
FLOATS = ("float32", "float64", "bfloat16", "float16")
WHOLE = ("int32", "int8", "int16", "int64", "uint8", "uint32")
SIZES = (1, 3, 7, 17, 31, 33, 101)
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 3.0)


class Case(NamedTuple):
    """One application of an operation."""

    op: Op
    arrays: tuple[Array, ...]
    attrs: dict[str, Any]
    id: str


# --- numbers -----------------------------------------------------------------------------------


def _generator(*key: Any) -> np.random.Generator:
    """Return the same numbers for a case in every run and every process."""
    return np.random.default_rng(list(repr(key).encode()))


_FLOAT_DRAWS: dict[str, Callable[[np.random.Generator, Shape], Array]] = {
    "real": lambda g, s: g.normal(0, 1.5, s),
    "positive": lambda g, s: g.uniform(0.25, 4, s),
    "nonzero": lambda g, s: g.uniform(0.25, 3, s) * g.choice([-1, 1], s),
    "unit": lambda g, s: g.uniform(-0.9, 0.9, s),
    "above_one": lambda g, s: g.uniform(1.25, 4, s),
}
_WHOLE_DRAWS: dict[str, tuple[int, int]] = {
    "real": (-4, 5), "positive": (1, 5), "nonzero": (1, 5), "integer": (-100, 101),
    "small": (0, 5),
}  # fmt: skip


def draw(domain: str, dtype: str, shape: Shape, *key: Any) -> Array:
    """Return numbers of a domain, always the same ones for the same arguments.

    Raises:
        DTypeError: the domain has no numbers of this dtype.
    """
    g = _generator(domain, dtype, shape, *key)
    kind = as_dtype(dtype)
    if domain == "word" and dtype == "uint32":
        return g.integers(0, 2**32, shape, dtype=np.uint32)
    if domain == "bool" and dtype == "bool":
        return g.random(shape) < 0.5
    if kind.is_float and domain in _FLOAT_DRAWS:
        return np.asarray(_FLOAT_DRAWS[domain](g, shape)).astype(kind.numpy)
    if kind.is_integer and domain in _WHOLE_DRAWS:
        low, high = _WHOLE_DRAWS[domain]
        return g.integers(max(low, 0) if kind.kind == "uint" else low, high, shape, kind.numpy)
    if dtype == "bool" and domain in ("real", "integer"):
        return g.random(shape) < 0.5
    raise DTypeError(f"the domain {domain!r} has no {dtype}")


def strided(array: Array) -> Array:
    """Return equal numbers that do not lie one after the other in memory."""
    wide = np.zeros((*array.shape[::-1], 2), array.dtype)[..., 0]
    view = wide.T
    view[...] = array
    return view


# --- element-wise operations -------------------------------------------------------------------

_TRIPLES: tuple[tuple[Shape, Shape, Shape], ...] = (
    ((), (), ()), ((2, 3), (2, 3), (2, 3)), ((1, 3), (2, 1), (2, 3)),
    ((5,), (4, 5), ()), ((2, 1, 5), (4, 1), (5,)), ((0,), (0,), (0,)), ((2, 0, 3), (3,), (1, 1)),
    ((4, 33), (4, 33), (33,)), *(((n,), (n,), (n,)) for n in SIZES),
)  # fmt: skip


def _dtypes(domain: str) -> tuple[str, ...]:
    return {
        "bool": ("bool",), "word": ("uint32",), "integer": (*WHOLE, "bool"), "small": WHOLE,
    }.get(domain, (*FLOATS, *WHOLE, "bool"))  # fmt: skip


def _inputs(op: Op, dtype: str, shapes: Sequence[Shape]) -> tuple[Array, ...]:
    """Return one array for each input; a condition is bool beside other dtypes."""
    drawn = []
    for i, (domain, shape) in enumerate(zip(op.domain, shapes, strict=False)):
        kind = "bool" if domain == "bool" else dtype
        array = draw(domain, kind, shape, i)
        if op.name == "power" and i == 1 and dtype in WHOLE:
            array = np.abs(array)  # whole numbers have no negative powers
        drawn.append(array)
    return tuple(drawn)


def _elementwise(op: Op) -> Iterator[tuple[tuple[Array, ...], dict[str, Any], str]]:
    triples = [(a, b, c, c) for a, b, c in _TRIPLES]
    main = _dtypes(op.domain[-1])[0]
    for shapes in triples:
        used = shapes[: len(op.domain)]
        yield _inputs(op, main, used), {}, f"{main}-{_name(used)}"
    for dtype in _dtypes(op.domain[-1])[1:]:
        for shape in ((2, 3), (17,)):
            yield _tried(op, dtype, [shape] * len(op.domain)), {}, f"{dtype}-{_name([shape])}"
    yield tuple(map(strided, _inputs(op, main, [(5, 7)] * len(op.domain)))), {}, "strided"
    if main in FLOATS:
        n = len(SPECIAL)
        shapes = [(n, 1), (1, n)] if len(op.domain) > 1 else [(n,)]
        for dtype in ("float32", "float64"):
            values = [np.asarray(SPECIAL, dtype).reshape(s) for s in shapes]
            given = [draw("bool", "bool", (n, n))] if op.domain[0] == "bool" else []
            yield tuple(given + values), {}, f"special-{dtype}"


def _tried(op: Op, dtype: str, shapes: Sequence[Shape]) -> tuple[Array, ...]:
    """Return inputs, none if the domain has no numbers of the dtype."""
    try:
        return _inputs(op, dtype, shapes)
    except DTypeError:
        return ()


def _casts(op: Op) -> Iterator[tuple[tuple[Array, ...], dict[str, Any], str]]:
    for source in DTYPES:
        for target in DTYPES:
            domain = "positive" if source != "bool" else "bool"
            if target in FLOATS and source != "bool":
                domain = "real"
            attrs = {"dtype": as_dtype(target)}
            yield (draw(domain, source, (2, 17)),), attrs, f"{source}-{target}"
    special = np.asarray(SPECIAL, np.float32)
    for target in (*FLOATS, "bool"):
        yield (special,), {"dtype": as_dtype(target)}, f"special-{target}"
    yield (strided(draw("real", "float32", (3, 5))),), {"dtype": as_dtype("float64")}, "strided"


# --- operations with attributes ----------------------------------------------------------------

Rows = list[tuple[Sequence[Any], dict[str, Any]]]


def _reductions() -> Rows:
    rows: Rows = []
    for shape, axes in (
        ((3,), (0,)), ((2, 3), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((4, 33), (1,)),
        ((33, 4), (0,)), ((2, 3, 5), (1,)), ((2, 3, 5), (0, 2)), ((2, 3, 5), (1, 2)),
        ((1, 7, 1), (0, 2)), ((2, 0, 3), (0,)),
    ):  # fmt: skip
        rows += [([shape], {"axes": axes, "keepdims": keep}) for keep in (False, True)]
    return rows + [([(n,)], {"axes": (0,), "keepdims": False}) for n in SIZES]


def _along_axis() -> Rows:
    return [([s], {"axis": a}) for s, a in (
        ((3,), 0), ((2, 3), 0), ((2, 3), 1), ((4, 33), 1), ((33, 4), 0), ((2, 3, 5), 1), ((1,), 0),
        ((101,), 0), ((2, 7, 1), 1),
    )]  # fmt: skip


def _slices() -> Rows:
    return [([s], dict(zip(("starts", "stops", "steps"), parts, strict=True))) for s, *parts in (
        ((7,), (2,), (6,), (1,)), ((7,), (1,), (7,), (3,)), ((2, 3), (0, 1), (2, 3), (1, 1)),
        ((5, 33), (1, 2), (5, 31), (2, 7)), ((3,), (1,), (1,), (1,)),
        ((2, 0), (0, 0), (2, 0), (1, 1)),
        ((2, 3, 5), (0, 0, 1), (2, 3, 5), (1, 2, 4)), ((), (), (), ()),
    )]  # fmt: skip


def _pads() -> Rows:
    return [([s], {"low": low, "high": high, "interior": inner, "value": v})
            for s, low, high, inner, v in (
        ((3,), (1,), (2,), (0,), 0), ((3,), (0,), (0,), (2,), 5), ((1,), (0,), (1,), (3,), 0),
        ((2, 3), (1, 0), (0, 2), (0, 0), 1), ((2, 3), (0, 1), (1, 0), (1, 2), 2),
        ((4, 31), (0, 1), (0, 1), (0, 0), 0), ((0, 2), (1, 0), (1, 0), (0, 0), 3),
    )]  # fmt: skip


def _contractions() -> Rows:
    return [([a, b], {"spec": tuple(spec.split(","))}) for a, b, spec in (
        ((2, 3), (3, 5), "ab,bc,ac"), ((3, 2), (3, 5), "ba,bc,ac"), ((2, 3), (5, 3), "ab,cb,ac"),
        ((3, 2), (5, 3), "ba,cb,ca"), ((17, 33), (33, 31), "ab,bc,ac"), ((4,), (4,), "a,a,"),
        ((2, 3), (3,), "ab,b,a"), ((3,), (3, 2), "b,bc,c"), ((3,), (2,), "a,b,ab"),
        ((7, 2, 3), (7, 3, 5), "zab,zbc,zac"), ((2, 3, 4), (5, 4), "xab,cb,xac"),
        ((2, 7, 3), (2, 7, 5), "xba,xbc,ac"), ((2, 3, 4), (3, 4, 5), "xab,abc,xc"),
        ((2, 3, 4, 5), (2, 6, 4, 5), "bqhd,bkhd,bhqk"), ((4, 5), (4, 5), "ab,ab,ab"),
        ((4, 5), (4, 5), "ab,ab,a"), ((0, 3), (3, 2), "ab,bc,ac"), ((2, 0), (0, 3), "ab,bc,ac"),
        ((1, 101), (101, 1), "ab,bc,ac"), ((), (3,), ",a,a"),
    )]  # fmt: skip


def _index(size: int, shape: Shape, dtype: str) -> Array:
    low = 0 if dtype.startswith("u") else -size
    return _generator(size, shape, dtype).integers(low, size, shape).astype(dtype)


_GATHERS: tuple[tuple[Shape, int, Shape, str], ...] = (
    ((5,), 0, (3,), "int64"), ((5,), 0, (), "int64"), ((5, 3), 0, (7,), "int32"),
    ((5, 3), 1, (2, 4), "int64"), ((2, 33, 3), 1, (5,), "int8"), ((4, 31), 0, (4, 2), "uint8"),
    ((3, 2), 0, (0,), "int64"), ((300, 2), 0, (6,), "int16"),
    ((300,), 0, (4, 3), "int8"), ((300, 1), 0, (9,), "uint8"),
)  # fmt: skip
_ALONG: tuple[tuple[Shape, int, Shape, str], ...] = (
    ((5,), 0, (3,), "int64"), ((5, 3), 0, (2, 3), "int32"), ((5, 3), 1, (5, 1), "int64"),
    ((2, 7, 3), 1, (2, 4, 3), "int64"), ((4, 33), 1, (4, 1), "int8"), ((2, 3), 1, (2, 0), "int64"),
)  # fmt: skip


def _gathers(table: Any, updates: bool, along: bool) -> Rows:
    rows: Rows = []
    for shape, axis, places, dtype in table:
        taken = places if along else shape[:axis] + places + shape[axis + 1 :]
        given: list[Any] = [shape, _index(shape[axis], places, dtype)]
        rows.append((given + [taken] if updates else given, {"axis": axis}))
    return rows


def _identity() -> Rows:
    return [([s], {}) for s in ((), (3,), (2, 3), (0,), (4, 33))]


_WINDOWS: tuple[tuple[Shape, Shape, Shape, Shape, Shape], ...] = (
    ((7,), (0,), (3,), (1,), (1,)), ((2, 9), (1,), (3,), (2,), (1,)),
    ((2, 9, 3), (1,), (2,), (1,), (3,)), ((2, 7, 8, 3), (1, 2), (3, 2), (2, 1), (1, 2)),
    ((1, 5, 33), (1,), (1,), (2,), (1,)), ((2, 6, 6, 17), (1, 2), (2, 2), (2, 2), (1, 1)),
    ((2, 5, 4, 6, 2), (1, 2, 3), (2, 2, 3), (1, 2, 1), (2, 1, 1)),
    ((3, 10), (1,), (2,), (3,), (4,)),
    ((3, 2), (0,), (3,), (1,), (1,)),
)  # fmt: skip


def _windows(back: bool) -> Rows:
    names = ("axes", "sizes", "strides", "dilations")
    rows: Rows = []
    for shape, *parts in _WINDOWS:
        attrs: dict[str, Any] = dict(zip(names, parts, strict=True))
        given = OPS["windows"].infer(leaf(np.zeros(shape)), **attrs)[0] if back else shape
        rows.append(([given], attrs | ({"shape": shape} if back else {})))
    return rows


_F32, _I64 = as_dtype("float32"), as_dtype("int64")
ATTRIBUTES: dict[str, Callable[[], Rows]] = {
    "full": lambda: [
        ([], {"value": 2.5, "shape": (2, 3), "dtype": _F32}),
        ([], {"value": 7, "shape": (), "dtype": _I64}),
        ([], {"value": True, "shape": (0, 2), "dtype": as_dtype("bool")}),
        ([], {"value": float("nan"), "shape": (33,), "dtype": as_dtype("bfloat16")}),
    ],
    "constant": lambda: [
        ([], {"value": draw("real", "float32", (2, 3))}),
        ([], {"value": draw("real", "int8", (17,))}), ([], {"value": np.asarray(2.5)}),
    ],
    "iota": lambda: [([], {"size": n, "dtype": d}) for n in (0, 1, 33) for d in (_F32, _I64)],
    "argmax": _along_axis, "argmin": _along_axis, "argsort": _along_axis,
    "cumulative_sum": _along_axis,
    "stop_gradient": _identity,
    "barrier": lambda: [(s, {"serial": i}) for i, (s, _) in enumerate(_identity())],
    "custom_gradient": lambda: [
        ([s[0], (2,)], {"_backward": lambda g, x: (None,)}) for s, _ in _identity()
    ],
    "reshape": lambda: [([a], {"shape": b}) for a, b in (
        ((6,), (2, 3)), ((2, 3), (6,)), ((2, 3), (3, 2)), ((4, 33), (2, 2, 33)), ((), (1, 1)),
        ((1,), ()), ((0, 3), (0,)), ((2, 3, 4), (6, 4)),
    )],
    "transpose": lambda: [([s], {"axes": a}) for s, a in (
        ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((17, 33), (1, 0)), ((2, 3, 4), (0, 2, 1)),
        ((2, 3, 4, 5), (3, 1, 2, 0)), ((0, 3), (1, 0)), ((1, 7), (1, 0)),
    )],
    "broadcast_to": lambda: [([a], {"shape": b}) for a, b in (
        ((), (3,)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 3, 1), (4, 3, 33)), ((1,), (0,)),
        ((1, 1), (31, 7)),
    )],
    "windows": lambda: _windows(False), "overlap_add": lambda: _windows(True),
    "slice": _slices, "pad": _pads, "contract": _contractions,
    "flip": lambda: [([s], {"axes": a}) for s, a in (
        ((3,), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((2, 33, 3), (1,)), ((0, 2), (0,)),
    )],
    "concatenate": lambda: [(list(s), {"axis": a}) for s, a in (
        (((2, 3), (4, 3)), 0), (((2, 3), (2, 1)), 1), (((3,), (0,)), 0),
        (((2, 7, 2), (2, 33, 2), (2, 1, 2)), 1), (((31,), (17,), (1,)), 0),
    )],
    "take": lambda: _gathers(_GATHERS, False, False),
    "scatter_add": lambda: _gathers(_GATHERS, True, False),
    "take_along_axis": lambda: _gathers(_ALONG, False, True),
    "add_along_axis": lambda: _gathers(_ALONG, True, True),
}  # fmt: skip
# Which dtypes are tried besides float32 is the same for all; infer refuses what it does not take.
_OTHERS = ("float64", "bfloat16", "float16", "int64", "int32", "int8", "uint8", "uint32", "bool")
_NAN = {"max", "min", "argmax", "argmin", "argsort", "sum", "cumulative_sum", "take", "prod"}


def _with_attributes(op: Op, rows: Rows) -> Iterator[tuple[tuple[Array, ...], dict[str, Any], str]]:
    domain = op.domain[0] if op.domain else "real"
    main = "bool" if domain == "bool" else "float32"

    def made(row: Sequence[Any], dtype: str) -> tuple[Array, ...]:
        return tuple(a if isinstance(a, np.ndarray) else draw(domain, dtype, a, i)
                     for i, a in enumerate(row))  # fmt: skip

    for n, (row, attrs) in enumerate(rows):
        yield made(row, main), attrs, f"{main}-{n}-{_name(row)}"
    if not rows[0][0]:
        return
    for dtype in _OTHERS if main == "float32" else ():
        for n, (row, attrs) in list(enumerate(rows))[1:5:2]:
            yield made(row, dtype), attrs, f"{dtype}-{n}-{_name(row)}"
    for n, (row, attrs) in list(enumerate(rows))[2:7:2]:
        arrays = tuple(a if isinstance(r, np.ndarray) else strided(a)
                       for a, r in zip(made(row, main), row, strict=True))  # fmt: skip
        yield arrays, attrs, f"strided-{n}-{_name(row)}"
    if op.name in _NAN:
        for n, (row, attrs) in list(enumerate(rows))[:6]:
            arrays = made(row, "float32")
            arrays[0].flat[::4] = np.resize((np.nan, np.inf, -np.inf), arrays[0].flat[::4].size)
            yield arrays, attrs, f"special-{n}-{_name(row)}"


def _name(shapes: Sequence[Any]) -> str:
    parts = [s.shape if isinstance(s, np.ndarray) else s for s in shapes]
    return "_".join("x".join(map(str, p)) or "scalar" for p in parts)


# --- all of them -------------------------------------------------------------------------------


def _raw(op: Op) -> Iterator[tuple[tuple[Array, ...], dict[str, Any], str]]:
    if op.name == "cast":
        return _casts(op)
    if op.kind == "elementwise":
        return _elementwise(op)
    if op.kind == "reduction":
        rows = _reductions()
        if op.name == "prod":  # whole numbers must not overflow
            rows = [r for r in rows if np.prod(r[0][0]) <= 40]
        if op.name in ("max", "min"):
            rows = [r for r in rows if 0 not in [r[0][0][a] for a in r[1]["axes"]]]
        return _with_attributes(op, rows)
    if op.name not in ATTRIBUTES:
        raise LookupError(
            f"operation {op.name!r} has no cases: add its attributes to ATTRIBUTES in {__file__}"
        )
    return _with_attributes(op, ATTRIBUTES[op.name]())


def cases_of(op: Op) -> Iterator[Case]:
    """Yield the cases of one operation; those of dtypes that it does not take are left out."""
    for arrays, attrs, name in _raw(op):
        if len(arrays) < len(op.domain):
            continue
        try:
            op.infer(*map(leaf, arrays), **attrs)
        except DTypeError:
            continue
        yield Case(op, arrays, attrs, f"{op.name}-{name}")


def cases() -> Iterator[Case]:
    """Yield the cases of every operation.

    Raises:
        LookupError: an operation has no cases.
    """
    for op in OPS.values():
        if op.name in NO_VALUE:
            continue
        found = list(cases_of(op))
        if not found:
            raise LookupError(f"operation {op.name!r} has no cases in {__file__}")
        yield from found


def tolerance(dtype: np.dtype[Any]) -> float:
    """Return the relative error that is allowed of one operation in a dtype."""
    if dtype == np.float64:
        return 1e-12
    return 16 * float(ml_dtypes.finfo(dtype).eps) if as_dtype(dtype).is_float else 0.0
