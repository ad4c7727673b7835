"""Numbers: standardised, by quantiles, piecewise-linear and periodic; missing values filled in."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, Final

import numpy as np

from thalweg.data.features.transformer import (
    Transformer,
    Values,
    check_flat,
    checked_choice,
    checked_count,
    is_missing,
)
from thalweg.errors import ArgumentError, DataError, where

__all__ = [
    "Periodic", "PiecewiseLinear", "Quantile", "Robust", "Standardise", "read_numbers", "skewness",
]  # fmt: skip

Array = np.ndarray[Any, Any]
_SKEWED: Final = 1.0  # from here on log="auto" takes logarithms: an exponential law has skewness 2
_TINY: Final = 1e-290  # the gaps between larger numbers are 1e-306 at least
_EDGE: Final = 1e-7  # quantiles of the normal law are cut there, at 5.2 standard deviations


def read_numbers(column: Values) -> Array:
    """Return the numbers of a column as float64 (n,), NaN where one is missing.

    Raises:
        DataError: text among the numbers, an infinite number, or several values a row; the first
            rows are named.

    Example:
        >>> read_numbers(Values("age", np.array(["31", None], object))).tolist()
        [31.0, nan]
    """
    check_flat(column)
    missing = is_missing(column.values)
    if column.values.dtype.kind in "biuf":
        numbers = column.values.astype(np.float64)
    else:
        numbers = np.array([_number(v) for v in column.values], np.float64)
    text = np.isnan(numbers) & ~missing
    if text.any():
        row = int(np.flatnonzero(text)[0])
        raise DataError(
            f"column {column.name!r}: {column.values[row]!r} in {column.place(row)} is no number "
            f"({int(text.sum()):,} values are not); mend it, or treat the column as categories. "
            f"{where()}"
        )
    infinite = np.isinf(numbers)
    if infinite.any():
        raise DataError(
            f"column {column.name!r} holds infinite numbers in {column.rows(infinite)}; put finite "
            f"numbers there, or leave them empty as missing. {where()}"
        )
    return numbers


def skewness(numbers: Array) -> float:
    """Return the third standardised moment of numbers (n,) without NaN; 0 where all are the same.

    Example:
        >>> skewness(np.array([1.0, 2.0, 3.0])), round(skewness(np.array([0.0, 0.0, 3.0])), 3)
        (0.0, 0.707)
    """
    if not len(numbers) or numbers.min() == numbers.max():
        return 0.0
    apart = numbers - numbers.mean()
    apart = apart / np.abs(apart).max()  # so that the third power cannot overflow
    return float((apart**3).mean() / (apart**2).mean() ** 1.5)


class _Number(Transformer):
    """Numbers without holes: logarithm if skewed, far outliers drawn in, missing ones filled.

    Subclasses learn from and apply to finite numbers (n,) only.
    """

    def __init__(
        self,
        *,
        missing: str = "mean",
        indicator: bool | str = "auto",
        log: bool | str = False,
        clip: float | None = None,
        **more: Any,
    ) -> None:
        checked_choice("missing", missing, ("mean", "median", "error"))
        checked_choice("indicator", indicator, ("auto", True, False))
        checked_choice("log", log, ("auto", True, False))
        if clip is not None and not clip > 0:
            raise ArgumentError(
                f"clip={clip!r}, wanted a positive number of interquartile ranges. {where()}"
            )
        super().__init__(missing=missing, indicator=indicator, log=log, clip=clip, **more)

    def feature_names(self, name: str) -> list[str]:
        """Return the names of the parts, and of the indicator of missing values."""
        made = [name] if self._width() == 1 else [f"{name}[{i}]" for i in range(self._width())]
        return made + [f"{name} is missing"] * bool(self.facts.get("indicator"))

    def _learn(self, column: Values) -> None:
        numbers = read_numbers(column)
        present = numbers[~np.isnan(numbers)]
        if not len(present):
            raise DataError(
                f"column {column.name!r}: all {len(numbers):,} training values are missing; leave "
                f"the column out. {where()}"
            )
        log = self.settings["log"]
        self.facts["log"] = abs(skewness(present)) > _SKEWED if log == "auto" else bool(log)
        if self.facts["log"]:
            present = _signed_log(present)
        if self.settings["clip"] is not None:
            low, middle, high = np.quantile(present, [0.25, 0.5, 0.75])
            # With no spread between the quartiles there is no measure of far.
            reach = self.settings["clip"] * (high - low) if high > low else np.inf
            self.arrays["bounds"] = np.array([middle - reach, middle + reach])
            present = np.clip(present, *self.arrays["bounds"])
        self._check_missing(column, np.isnan(numbers))
        fill = np.median(present) if self.settings["missing"] == "median" else _mean(present)
        wanted = self.settings["indicator"]
        missing = bool(np.isnan(numbers).any())
        self.facts["indicator"] = missing if wanted == "auto" else bool(wanted)
        self.facts["missing"] = int(np.isnan(numbers).sum())
        self.arrays["fill"] = np.array(fill)
        with np.errstate(over="ignore", invalid="ignore"):
            self._learn_scale(present)
        if not all(np.isfinite(a).all() for key, a in self.arrays.items() if key != "bounds"):
            raise DataError(
                f"column {column.name!r}: its numbers, up to {np.abs(present).max():.3g}, are too "
                f"large to compute their spread; use log=True or another unit. {where()}"
            )

    def _apply(self, column: Values) -> Array:
        numbers = read_numbers(column)
        missing = np.isnan(numbers)
        self._check_missing(column, missing)
        if self.facts["log"]:
            numbers = _signed_log(numbers)
        if "bounds" in self.arrays:
            numbers = np.clip(numbers, *self.arrays["bounds"])
        made = self._scaled(np.where(missing, self.arrays["fill"], numbers))
        made = made[:, None] if made.ndim == 1 else made
        if self.facts["indicator"]:
            made = np.concatenate([made, missing[:, None]], axis=1)
        limit = float(np.finfo(np.float32).max)
        if not (np.abs(made) <= limit).all():
            wrong = np.asarray(~(np.abs(made) <= limit).all(axis=1))
            raise DataError(
                f"column {column.name!r}: numbers in {column.rows(wrong)} are too far from the "
                f"training values for float32; mend them, or give clip. {where()}"
            )
        return made

    def _check_missing(self, column: Values, missing: Array) -> None:
        if self.settings["missing"] == "error" and missing.any():
            raise DataError(
                f"column {column.name!r} has no value in {column.rows(missing)}; fill it in, or "
                f'use missing="median". {where()}'
            )

    def _width(self) -> int:
        return 1

    def _learn_scale(self, numbers: Array) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say how it scales")

    def _scaled(self, numbers: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not say how it scales")


class Standardise(_Number):
    """Mean 0 and standard deviation 1 over the training rows: (x - mean) / deviation.

    ``missing``: ``"mean"`` or ``"median"`` to put in, or ``"error"``. ``indicator``: whether to
    add a column that is 1 where the value was missing; ``"auto"``: where training values were.
    ``log``: sign(x) log(1 + |x|) first; ``"auto"``: where the skewness is beyond 1. ``clip``: how
    many interquartile ranges from the median numbers may lie; those beyond are drawn in to there.

    Shapes: (n,) to (n, 1) float32, (n, 2) with the indicator. A constant column becomes 0.

    Raises:
        ArgumentError: a setting that does not exist.
        DataError: in ``fit`` and ``transform``: text, infinite numbers, nothing but missing values.

    Example:
        >>> Standardise().fit([1.0, 3.0]).transform([5.0, None]).ravel().tolist()
        [3.0, 0.0]
    """

    def describe(self) -> str:
        """Say in a line what was learned."""
        if not self.fitted:
            return super().describe()
        mean, scale = (float(self.arrays[key]) for key in ("center", "scale"))
        log = " of sign(x) log(1 + |x|)" * self.facts["log"]
        return f"{type(self).__name__}: center {mean:.6g}, scale {scale:.6g}{log}" + (
            f", {self.facts['missing']:,} missing" if self.facts["missing"] else ""
        )

    def _learn_scale(self, numbers: Array) -> None:
        center, scale = mean_and_deviation(numbers)
        self.arrays |= {"center": np.array(center), "scale": np.array(scale)}

    def _scaled(self, numbers: Array) -> Array:
        return (numbers - self.arrays["center"]) / self.arrays["scale"]


class Robust(Standardise):
    """Median 0 and interquartile range 1: outliers do not move the scale.

    Settings, shapes and errors as for ``Standardise``. Where more than half of the values are the
    same, the standard deviation takes the place of the range.

    Example:
        >>> Robust().fit([0.0, 1.0, 2.0, 3.0, 1e9]).transform([2.0, 4.0]).ravel().tolist()
        [0.0, 1.0]
    """

    def _learn_scale(self, numbers: Array) -> None:
        low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75])
        scale = high - low if high > low else mean_and_deviation(numbers)[1]
        self.arrays |= {"center": np.array(middle), "scale": np.array(scale)}


class Quantile(_Number):
    """The share of training values below, as a normal or uniform number; monotone.

    ``output``: ``"normal"``, cut at 5.2 deviations, or ``"uniform"``, 0 to 1. ``quantiles``: points
    of the table that is interpolated. Other settings, shapes and errors as for ``Standardise``;
    logarithms would change nothing.

    Example:
        >>> made = Quantile(output="uniform").fit([1.0, 2.0, 10.0])
        >>> made.transform([-5.0, 1.5, 10.0, 99.0]).ravel().tolist()
        [0.0, 0.25, 1.0, 1.0]
    """

    def __init__(self, *, output: str = "normal", quantiles: int = 1000, **more: Any) -> None:
        checked_choice("output", output, ("normal", "uniform"))
        checked_count("quantiles", quantiles, 2)
        super().__init__(output=output, quantiles=quantiles, **more)

    def _learn_scale(self, numbers: Array) -> None:
        count = max(2, min(self.settings["quantiles"], len(numbers)))
        table = np.quantile(_flushed(numbers), np.linspace(0, 1, count))
        self.arrays["table"] = np.maximum.accumulate(table)  # rounding may break the order

    def _scaled(self, numbers: Array) -> Array:
        numbers, table = _flushed(numbers), self.arrays["table"]
        shares = np.linspace(0, 1, len(table))
        # Where training values tie, the table is flat: the middle of both ends of the flat part.
        forward = np.interp(numbers, table, shares)
        backward = -np.interp(-numbers, -table[::-1], -shares[::-1])
        made = (forward + backward) / 2
        made = np.where(numbers < table[0], 0.0, np.where(numbers > table[-1], 1.0, made))
        return made if self.settings["output"] == "uniform" else _normal(made)


class PiecewiseLinear(_Number):
    """Piecewise-linear encoding: how far a number has come through each bin of quantiles.

    Component t is (x - b[t-1]) / (b[t] - b[t-1]), 0 before its bin and 1 behind it; the first has
    no lower bound and the last no upper one. Gorishniy, Rubachev, Babenko, "On Embeddings for
    Numerical Features in Tabular Deep Learning", arXiv:2203.05556.

    ``bins``: how many, fewer where values tie. ``packed``: give the sum of the components instead,
    bins that were passed and the share of the one that was not, from which
    ``models.TabularNetwork(pieces=...)`` makes the components anew: many times less to keep and to
    move. Other settings and errors as for ``Standardise``.

    Shapes: (n,) to (n, bins) float32, or to (n, 1) if packed; one more with the indicator.

    Example:
        >>> made = PiecewiseLinear(bins=2).fit([0.0, 1.0, 2.0, 3.0, 10.0])
        >>> made.transform([1.0, 6.0]).tolist()
        [[0.5, 0.0], [1.0, 0.5]]
        >>> packed = PiecewiseLinear(bins=2, packed=True).fit([0.0, 1.0, 2.0, 3.0, 10.0])
        >>> packed.transform([1.0, 6.0]).tolist()
        [[0.5], [1.5]]
    """

    def __init__(self, *, bins: int = 16, packed: bool = False, **more: Any) -> None:
        checked_count("bins", bins)
        checked_choice("packed", packed, (True, False))
        super().__init__(bins=bins, packed=packed, **more)

    @property
    def pieces(self) -> int:
        """Components of the encoding, whether packed or not."""
        return len(self.arrays["edges"]) - 1

    def _learn_scale(self, numbers: Array) -> None:
        edges = _edges(numbers, self.settings["bins"])
        self.arrays["edges"] = edges if len(edges) > 1 else edges[0] + np.array([0.0, 1.0])

    def _width(self) -> int:
        return 1 if self.settings["packed"] else self.pieces

    def _scaled(self, numbers: Array) -> Array:
        low, high = self.arrays["edges"][:-1], self.arrays["edges"][1:]
        if self.settings["packed"]:
            place = np.searchsorted(low[1:], numbers, side="right")
            return np.asarray(place + (numbers - low[place]) / (high - low)[place])[:, None]
        made = (numbers[:, None] - low) / (high - low)  # (n, bins)
        made[:, 1:] = np.maximum(made[:, 1:], 0)
        made[:, :-1] = np.minimum(made[:, :-1], 1)
        return np.asarray(made)


def _edges(numbers: Array, bins: int) -> Array:
    """Return the edges of bins of about equally many numbers.

    Where half of the bins are taken by numbers that each fill more than one, such as the 0 of what
    most do not have, these are edges, and the bins are left to the other numbers.

    >>> _edges(np.array([0.0] * 96 + [1, 2, 3, 4]), 4).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)))
    values, counts = np.unique(numbers, return_counts=True)
    often = values[counts > len(numbers) / bins]
    rest = numbers[~np.isin(numbers, often)]
    if len(edges) - 1 > bins / 2 or not len(rest):
        return edges
    shares = np.linspace(0, 1, max(2, bins + 1 - len(often)))
    return np.unique(np.concatenate([often, np.quantile(rest, shares)]))


class Periodic(Standardise):
    """Sines and cosines of the standardised number: sin(2 pi c x), cos(2 pi c x), c normal.

    The frequencies c are drawn once from ``seed`` with deviation ``sigma``; in the paper, training
    then changes them. Gorishniy, Rubachev, Babenko, arXiv:2203.05556, section 3.3.

    ``frequencies``: how many. Other settings and errors as for ``Standardise``.

    Shapes: (n,) to (n, 2 * frequencies) float32, one more with the indicator.

    Example:
        >>> Periodic(frequencies=3).fit([1.0, 3.0]).transform([2.0])[:, 3:].tolist()
        [[1.0, 1.0, 1.0]]
    """

    def __init__(
        self, *, frequencies: int = 8, sigma: float = 0.5, seed: int = 0, **more: Any
    ) -> None:
        checked_count("frequencies", frequencies)
        super().__init__(frequencies=frequencies, sigma=sigma, seed=seed, **more)

    def _learn_scale(self, numbers: Array) -> None:
        super()._learn_scale(numbers)
        random = np.random.default_rng(self.settings["seed"])
        drawn = random.normal(size=self.settings["frequencies"])
        self.arrays["frequencies"] = self.settings["sigma"] * drawn

    def _width(self) -> int:
        return 2 * int(self.settings["frequencies"])

    def _scaled(self, numbers: Array) -> Array:
        angles = 2 * np.pi * super()._scaled(numbers)[:, None] * self.arrays["frequencies"]
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def mean_and_deviation(numbers: Array) -> tuple[float, float]:
    """Return mean and standard deviation of numbers (n,); a deviation of 0 becomes 1.

    >>> mean_and_deviation(np.array([0.1, 0.1, 0.1]))
    (0.1, 1.0)
    """
    if numbers.min() == numbers.max():  # the rounded mean would leave a tiny deviation
        return float(numbers[0]), 1.0
    mean = _mean(numbers)
    apart = numbers - mean
    peak = float(np.abs(apart).max())  # the squares of numbers beyond 1e154 overflow
    deviation = peak * float(np.sqrt(np.square(apart / peak).mean()))
    return mean, deviation if deviation > 0 else 1.0


def _mean(numbers: Array) -> float:
    with np.errstate(over="ignore"):
        mean = float(numbers.mean())
    return mean if np.isfinite(mean) else float((numbers / len(numbers)).sum())


def _signed_log(numbers: Array) -> Array:
    return np.asarray(np.sign(numbers) * np.log1p(np.abs(numbers)))


def _flushed(numbers: Array) -> Array:
    """Return numbers with the tiniest as 0: between them the slope of a table overflows."""
    return np.where(np.abs(numbers) < _TINY, 0.0, numbers)


def _normal(shares: Array) -> Array:
    distinct, places = np.unique(np.clip(shares, _EDGE, 1 - _EDGE), return_inverse=True)
    law = NormalDist()
    return np.array([law.inv_cdf(float(share)) for share in distinct])[places]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
