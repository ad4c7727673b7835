"""Fit the near-minimax coefficients that thalweg's LLVM vector mathematics uses, and print them.

Method: weighted linear least squares on a dense Chebyshev grid, with the weights driven towards
the minimax solution by Lawson's iteration (C. L. Lawson, thesis, UCLA 1961; see also Rice and
Usow, Math. Comp. 22, 1968).  The truth is 80-bit long double or the C
library's erf/erfc; the arithmetic is double, which is ample for errors of 1e-8 down to 1e-13.

Run `python tools/fit_polynomials.py`; each line is a name, the relative error reached with the
coefficients rounded as they are stored, and the coefficients with the highest power first.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
ROUNDS = 400


def chebyshev_grid(low: float, high: float, count: int = 2000) -> Array:
    """Return `count` points of [low, high], denser at the ends and never the exact middle."""
    angles = (np.arange(count) + 0.5) * np.pi / count
    return np.asarray((low + high) / 2 - (high - low) / 2 * np.cos(angles))


def lawson(columns: Array, target: Array) -> Array:
    """Return the coefficients that about minimise max |columns @ c - target|."""
    weights = np.full(len(target), 1.0 / len(target))
    best, best_error = np.zeros(columns.shape[1]), np.inf
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(columns * root[:, None], target * root, rcond=None)[0]
        error = np.abs(columns @ solution - target)
        if error.max() < best_error:
            best, best_error = solution, error.max()
        weights = weights * error
        weights /= weights.sum()
    return np.asarray(best)


def powers(x: Array, exponents: range) -> Array:
    """Return the matrix whose columns are x raised to each exponent."""
    return np.stack([x**k for k in exponents], axis=1)


def show(name: str, error: float, coefficients: Array) -> None:
    """Print one table, highest power first."""
    text = ", ".join(repr(float(str(c))) for c in coefficients[::-1])
    print(f"{name}  error {error:.2e}\n    ({text})")


def polynomial(
    name: str,
    function: Callable[[Array], Array],
    interval: tuple[float, float],
    exponents: range,
    fixed: tuple[float, ...] = (),
    store: type[np.floating] = np.float64,
) -> None:
    """Fit function(x) by sum fixed[k] x^k + sum c_k x^k for relative error, and print it."""
    x = chebyshev_grid(*interval)
    truth = function(x)
    known = sum((c * x**k for k, c in enumerate(fixed)), np.zeros_like(x))
    scale = float(np.max(np.abs(x)))
    columns = powers(x / scale, exponents) / truth[:, None]
    solution = lawson(columns, (truth - known) / truth)
    solution = (solution / np.array([scale**k for k in exponents])).astype(store)
    fitted = known + powers(x, exponents) @ solution.astype(np.float64)
    show(name, float(np.max(np.abs(fitted / truth - 1))), solution)


def erf_tail(name: str, low: float, high: float, degree: int) -> None:
    """Fit q(x) with 1 - q(x)^8 about erf(x) on [low, high] for absolute error, and print it."""
    x = chebyshev_grid(low, high)
    tail = np.array([math.erfc(v) for v in x])
    root = tail**0.125
    weights = 8 * root**7
    columns = powers(x / high, range(degree + 1)) * weights[:, None]
    scale = np.array([high**k for k in range(degree + 1)])
    solution = (lawson(columns, root * weights) / scale).astype(np.float32)
    fitted = (powers(x, range(degree + 1)) @ solution.astype(np.float64)) ** 8
    show(name, float(np.max(np.abs(fitted - tail))), solution)


def erf(x: Array) -> Array:
    """The C library's erf over an array."""
    return np.array([math.erf(v) for v in x])


def scaled_erfc(t: Array) -> Array:
    """(1 + 2x) exp(x^2) erfc(x) at x = 2 (1 + t) / (1 - t), smooth on the whole of [-1, 1]."""
    x = 2 * (1 + t) / (1 - t)
    tail = np.array([math.erfc(v) for v in x])
    return np.asarray(((1 + 2 * x) * tail * np.exp(x.astype(np.longdouble) ** 2)), np.float64)


def half_series(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Turn an odd function of x into the function of z = x^2 that multiplies x."""
    return lambda z: np.asarray(function(np.sqrt(z)) / np.sqrt(z))


def exp2m1(x: Array) -> Array:
    """Return 2^x - 1."""
    return np.asarray(np.expm1(x * math.log(2)))


def half_cosine(z: Array) -> Array:
    """Return cos(sqrt(z)), so that the fit is in powers of z = x^2."""
    return np.asarray(np.cos(np.sqrt(z)))


def main() -> None:
    """Print every table."""
    half_ln2, third, eighth_turn = math.log(2) / 2, 1 / 3, math.pi / 4
    single = np.float32
    polynomial("exp f32", np.exp, (-half_ln2, half_ln2), range(1, 6), (1.0,), single)
    polynomial("exp2 f32", np.exp2, (-0.5, 0.5), range(1, 6), (1.0,), single)
    polynomial("log f32", np.log1p, (-third, third), range(2, 10), (0.0, 1.0), single)
    polynomial("exp2m1 f32", exp2m1, (-0.5, 0.5), range(1, 7), (), single)
    # 2/sqrt(pi) - 1, not 2/sqrt(pi), is the last coefficient: it rounds to float more closely.
    polynomial("erf f32", half_series(erf), (0.0, 1.0), range(6), (1.0,), single)
    erf_tail("erf tail f32", 1.0, 4.0, 7)
    polynomial("exp2 f64", np.exp2, (-0.5, 0.5), range(1, 8), (1.0,))
    edge = (math.sqrt(2) - 1) / (math.sqrt(2) + 1)
    double_artanh = half_series(lambda s: 2 * np.arctanh(s))
    polynomial("log f64", double_artanh, (0.0, edge**2), range(1, 5), (2.0,))
    polynomial("sin f64", half_series(np.sin), (0.0, eighth_turn**2), range(1, 4), (1.0,))
    polynomial("cos f64", half_cosine, (0.0, eighth_turn**2), range(1, 5), (1.0,))
    polynomial("atan f64", half_series(np.arctan), (0.0, 1.0), range(1, 11), (1.0,))
    polynomial("erfc f64", scaled_erfc, (-1.0, 0.69), range(12))


if __name__ == "__main__":
    main()
