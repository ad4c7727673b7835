"""The default pipeline: a transformer for each column by its kind, and the reason in words."""

from __future__ import annotations

import importlib.util
from typing import Any, Final

import numpy as np

from thalweg.data.features.categories import Codes, OneHot
from thalweg.data.features.dates import DateParts
from thalweg.data.features.numbers import Quantile, Standardise, skewness
from thalweg.data.features.pipeline import Pipeline
from thalweg.data.features.targets import ClassTarget, NumberTarget
from thalweg.data.features.texts import Tokens
from thalweg.data.features.transformer import Transformer
from thalweg.data.tables import Table, read_table
from thalweg.errors import DataError, where

__all__ = ["default_pipeline"]

Array = np.ndarray[Any, Any]
_ONE_HOT: Final = 10  # categories up to which one column each costs little
_SKEWED: Final = 2.0  # the skewness of an exponential law
_FAR: Final = 20.0  # interquartile ranges from the median: no bell-shaped law reaches there
_FEW: Final = 20  # distinct values that a counter of rows always exceeds


def default_pipeline(
    table: Any, target: str | None = None, *, rows: Any = None, texts: bool = False
) -> Pipeline:
    """Return a pipeline, not fitted, with a transformer for each column and why it was chosen.

    Give the training table, or the training ``rows`` of the whole: the choice looks at values.
    Constant columns, and those with another value in each row, are left out. ``reasons`` of the
    pipeline has a sentence for each column. Columns of text are left out, or with ``texts`` become
    rows of tokens, each an array of its own.

    Raises:
        DataError: no such target, or no column is left.

    Example:
        >>> made = default_pipeline({"size": [1.0, 2.5, 2.0], "kind": ["a", "b", "a"]}, "kind")
        >>> made.reasons[0]
        'size is standardised: it holds numbers.'
    """
    whole = table if isinstance(table, Table) else read_table(table)
    training = whole if rows is None else whole.take(rows)
    if target is not None:
        training.column(target)  # names the nearest where there is none
    chosen: dict[str, Transformer] = {}
    reasons = []
    for name, column in training.columns.items():
        if name == target:
            continue
        transformer, reason = _choice(name, column.kind, column.values, texts)
        reasons.append(f"{name} {reason}")
        if transformer is not None:
            chosen[name] = transformer
    if not chosen:
        raise DataError(f"no column is left to learn from: {' '.join(reasons)} {where()}")
    targets: dict[str, Transformer] = {}
    if target is not None:
        targets[target], reason = _target(training.columns[target].kind, training.column(target))
        reasons.append(f"{target} {reason}")
    return Pipeline(chosen, targets, reasons)


def _choice(
    name: str, kind: str, values: Array, texts: bool
) -> tuple[Transformer | None, str]:
    if kind == "number":
        return _number(name, values)
    if kind == "date":
        return DateParts(), "is turned into cycles, year and time gone by: it holds dates."
    if kind == "text":
        if not texts:
            return None, "is left out: it holds texts; give texts=True for rows of tokens."
        level = "character" if importlib.util.find_spec("tokenizers") is None else "wordpiece"
        return Tokens(level=level), f"becomes rows of {level} tokens: it holds texts."
    present = [value for value in values if value is not None]
    distinct = len(set(present))
    if distinct <= 1 and len(present) == len(values):
        return None, "is left out: it is constant."
    if distinct == len(values) and distinct > _FEW:
        return None, "is left out: each row has a value of its own, as an ID has."
    if distinct <= _ONE_HOT:
        return OneHot(), f"is one-hot: it has {distinct} categories."
    rare = 10 if distinct > len(values) / 100 else 1
    joined = "; those with fewer than 10 rows are joined" * (rare > 1)
    return Codes(rare=rare), f"becomes codes for an embedding: {distinct} categories{joined}."


def _number(name: str, values: Array) -> tuple[Transformer | None, str]:
    present = values[~np.isnan(values)]
    if not len(present) or (len(present) == len(values) and present.min() == present.max()):
        return None, "is left out: it is constant."
    steps = np.diff(present)
    distinct = len(np.unique(present)) == len(values) > _FEW and (present % 1 == 0).all()
    named = name.lower() in ("id", "index", "row") or name.lower().endswith(("_id", " id"))
    if distinct and (named or (steps == 1).all()):
        return None, "is left out: it counts or names the rows, as an ID does."
    low, middle, high = np.quantile(present, [0.25, 0.5, 0.75])
    skewed = skewness(present)
    far = np.abs(present - middle).max() / (high - low) if high > low else 0.0
    if far > _FAR:
        return Quantile(), f"goes by quantiles: it reaches {far:.0f} interquartile ranges out."
    if present.min() >= 0 and skewed > _SKEWED:
        return Standardise(log=True), f"is standardised after log1p: its skewness is {skewed:.1f}."
    missing = len(values) - len(present)
    more = f", {missing:,} of them missing, which get a column" if missing else ""
    return Standardise(), f"is standardised: it holds numbers{more}."


def _target(kind: str, values: Array) -> tuple[Transformer, str]:
    distinct = set(values.tolist())
    if kind == "number" and len(distinct) > 2:
        return NumberTarget(), "is the target, a number: it is standardised."
    return ClassTarget(), f"is the target, a class: it has {len(distinct)} distinct values."
