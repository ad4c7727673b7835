"""Random programs: operations drawn one after the other, each on what is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import thalweg as tw

Values = list[Any]
SHAPES = (
    (4, 6), (6,), (5, 6, 3), (2, 8, 8, 3), (2, 7, 9, 6), (1, 12, 5, 2), (16, 16), (3, 33), (7,),
    (40,), (6, 14), (2, 2, 14, 6), (9, 6, 6, 2), (12, 5, 5, 4),
)  # fmt: skip
LARGEST, DEEPEST = 40_000, 6


class Drawn:
    """One program: the same seed draws the same operations."""

    def __init__(self, seed: int, length: int) -> None:
        self.seed, self.length = seed, length
        source = np.random.default_rng(seed)
        self.dtype = "float64" if source.random() < 0.6 else "float32"
        draw = lambda: source.normal(  # noqa: E731
            size=SHAPES[source.integers(len(SHAPES))]
        ).astype(self.dtype)
        self.inputs = [draw() for _ in range(source.integers(1, 4))]
        self.states = [draw() for _ in range(source.integers(0, 3))]
        self.differentiated = bool(source.random() < 0.4)

    def run(self, states: Values, inputs: Values) -> tuple[Values, Values]:
        """Return what the states become, and some results with their gradients."""
        if not self.differentiated:
            return self.values(states, inputs)

        def loss(*inputs: Any) -> Any:
            new, out = self.values(states, list(inputs))
            return sum((tw.sum(tw.sin(v)) for v in new + out), tw.zeros((), self.dtype))

        value, grads = tw.value_and_grad(loss, argnums=tuple(range(len(inputs))))(*inputs)
        new, out = self.values(states, inputs)
        return new, [value, *grads, *out]

    def values(self, states: Values, inputs: Values) -> tuple[Values, Values]:
        """Apply the drawn operations."""
        source = np.random.default_rng(self.seed)
        pool = [*inputs, *(s * 1.0 for s in states)]
        given = len(pool)
        for _ in range(source.integers(3, self.length)):
            x = pool[source.integers(len(pool))]
            made = OPERATIONS[source.integers(len(OPERATIONS))](x, pool, source)
            if made is not None and 0 < made.size < LARGEST and made.ndim <= DEEPEST:
                pool.append(made)
        new = []
        for state in states:
            fits = [t for t in pool[given:] if t.shape == state.shape]
            new.append(fits[-1] * 0.5 if fits and source.random() < 0.8 else tw.tanh(state * 0.9))
        picked = sorted({int(i) for i in source.integers(0, len(pool), 3)})
        return new, [*(pool[i] for i in picked), pool[-1]]


Operation = Callable[[Any, Values, np.random.Generator], Any]


def _axis(x: Any, source: np.random.Generator) -> int:
    return int(source.integers(x.ndim)) if x.ndim else 0


def _other(pool: Values, source: np.random.Generator, fits: Callable[[Any], bool]) -> Any:
    found = [t for t in pool if fits(t)]
    return found[source.integers(len(found))] if found else None


def _paired(x: Any, pool: Values, source: np.random.Generator) -> Any:
    y = _other(pool, source, lambda t: t.shape == x.shape)
    # the constant keeps equal values, which rounding may tell apart, on one side
    made = (x + y, x * y, tw.maximum(x, y), tw.where(x > y + 1e-3, x, y * 0.5))
    return made[source.integers(len(made))]


def _centred(x: Any, pool: Values, source: np.random.Generator) -> Any:
    return x - tw.mean(x, _axis(x, source), keepdims=True) if x.ndim else None


def _applied(x: Any, pool: Values, source: np.random.Generator) -> Any:
    return (tw.sin(x * 1.3), tw.relu(x) + 0.1, tw.tanh(x))[source.integers(3)]


def _turned(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if not x.ndim:
        return None
    if source.random() < 0.4:
        return tw.flip(x, _axis(x, source))
    return tw.permute_dims(x, tuple(int(i) for i in source.permutation(x.ndim)))


def _sliced(x: Any, pool: Values, source: np.random.Generator) -> Any:
    axis = _axis(x, source)
    if not x.ndim or x.shape[axis] < 2:
        return None
    part = slice(int(source.integers(x.shape[axis] - 1)), None, int(source.integers(1, 3)))
    return x[(slice(None),) * axis + (part,)]


def _padded(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if not x.ndim:
        return None
    widths = [(0, 0)] * x.ndim
    widths[_axis(x, source)] = (int(source.integers(3)), int(source.integers(3)))
    return tw.pad(x, tuple(widths), value=float(source.integers(2)))


def _joined(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if not x.ndim:
        return None
    axis = _axis(x, source)
    rest = lambda t: t.shape[:axis] + t.shape[axis + 1 :]  # noqa: E731
    y = _other(pool, source, lambda t: t.ndim == x.ndim and rest(t) == rest(x))
    return tw.concatenate([x, y] if source.random() < 0.5 else [y, x], axis)


def _reduced(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if not x.ndim:
        return None
    axes = tuple({_axis(x, source), _axis(x, source)})
    rule = (tw.sum, tw.max, tw.mean)[source.integers(3)]
    return rule(x, axes, keepdims=bool(source.integers(2)))


def _reshaped(x: Any, pool: Values, source: np.random.Generator) -> Any:
    rest, sizes = x.size, []
    while rest > 1 and len(sizes) < 4 and source.random() < 0.8:
        fits = [n for n in (2, 3, 4, 5, 6, 7, 14, 16, 28) if rest % n == 0]
        if not fits:
            break
        sizes.append(fits[source.integers(len(fits))])
        rest //= sizes[-1]
    sizes.insert(int(source.integers(len(sizes) + 1)), rest)
    return x.reshape(sizes)


def _multiplied(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if x.ndim < 2:
        return None
    y = _other(pool, source, lambda t: t.ndim == 2 and x.shape[-1] in t.shape)
    if y is None:
        return None
    return (x @ (y if y.shape[0] == x.shape[-1] else y.T)) * 0.3


def _along_rows(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if not x.ndim:
        return None
    rule = (tw.softmax, lambda t, axis: tw.cumsum(t, axis) * 0.2)[source.integers(2)]
    return rule(x, _axis(x, source))


def _convolved(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if x.ndim != 4 or min(x.shape[1:3]) < 3:
        return None
    if source.random() < 0.3:
        return tw.max_pool(x, 2)
    k, outputs = int(source.integers(1, 4)), int(source.integers(1, 9))
    numbers = np.sin(1.7 * np.arange(k * k * x.shape[3] * outputs)).reshape(k, k, -1, outputs)
    weight = tw.tensor(numbers).astype(x.dtype)
    options = {"padding": int(source.integers(2)), "stride": int(source.integers(1, 3))}
    return tw.conv(x, weight, **options) * 0.3


def _taken(x: Any, pool: Values, source: np.random.Generator) -> Any:
    if not x.ndim:
        return None
    rows = source.integers(0, x.shape[0], int(source.integers(1, 7)))
    return tw.take(x, tw.tensor(rows), axis=0)


def _scaled(x: Any, pool: Values, source: np.random.Generator) -> Any:
    row = _other(pool, source, lambda t: x.ndim > 0 and t.shape == x.shape[-1:])
    if row is not None:
        return x * row
    return tw.broadcast_to(x, (int(source.integers(1, 4)), *x.shape))


OPERATIONS: tuple[Operation, ...] = (
    _paired, _paired, _centred, _applied, _turned, _sliced, _padded, _joined, _reduced, _reshaped,
    _multiplied, _multiplied, _along_rows, _convolved, _convolved, _taken, _scaled,
)  # fmt: skip
