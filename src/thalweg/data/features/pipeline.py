"""The pipeline: one transformer a column, fitted on the training rows, the same ever after."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from thalweg.data.dataset import ArrayDataset, checked_places
from thalweg.data.features.targets import ClassTarget, NumberTarget
from thalweg.data.features.transformer import Array, Transformer, Values
from thalweg.data.tables import Table, read_table
from thalweg.errors import ArgumentError, DataError, nearest, where

__all__ = ["Pipeline"]

_VERSION = 2


class Pipeline:
    """A transformer for each column, fitted once on the training rows, saved with the model.

    ``columns``: column name to transformer; columns that are not named are left out. ``target``:
    name and transformer of the target, as a dict of one. ``reasons``: sentences for people, why
    each column is treated as it is.

    Every use gives the same arrays in the same order, whatever the order of the table's columns:
    ``numbers`` (n, features) float32, ``codes`` (n, columns) int64, then one for each transformer
    with an array of its own, then the target if the table has it. What no column asks for is left
    out. A table is a ``Table``, a path, a data frame, or a dict of arrays (n, ...); ``schema`` has
    the kinds of the training table, by which paths and frames are read ever after.

    Raises:
        ArgumentError: no columns, something that is no transformer or is fitted already, or a
            target that is also an input.

    Example:
        >>> people = {"age": np.array([20.0, 40.0]), "city": np.array(["Rome", "Oslo"], object)}
        >>> from thalweg.data.features import Codes, Standardise
        >>> pipeline = Pipeline({"age": Standardise(), "city": Codes()}).fit(people)
        >>> [array.tolist() for array in pipeline.transform(people)]
        [[[-1.0], [1.0]], [[2], [1]]]
    """

    def __init__(
        self,
        columns: Mapping[str, Transformer],
        target: Mapping[str, Transformer] | None = None,
        reasons: tuple[str, ...] | list[str] = (),
    ) -> None:
        # Copies, so that one object given for two columns does not learn from both.
        self.columns = {str(name): copy.deepcopy(made) for name, made in columns.items()}
        self.target = {str(name): copy.deepcopy(made) for name, made in (target or {}).items()}
        self.reasons = list(reasons)
        self.fitted = False
        self.schema: dict[str, dict[str, str]] = {}  # of the training table, for read_table
        self.ignored: list[str] = []
        if not self.columns or len(self.target) > 1:
            raise ArgumentError(
                f"got {len(self.columns)} columns and {len(self.target)} targets; wanted one or "
                f"more columns, and at most one target. {where()}"
            )
        for name, made in [*self.columns.items(), *self.target.items()]:
            given: Any = made
            if not isinstance(given, Transformer) or given.fitted:
                is_one = isinstance(given, Transformer)
                what = "one that is fitted already" if is_one else repr(given)
                raise ArgumentError(
                    f"column {name!r}: got {what}, wanted a new transformer. {where()}"
                )
        both = self.columns.keys() & self.target.keys()
        if both:
            raise ArgumentError(f"the target {both.pop()!r} is also an input. {where()}")

    def fit(self, table: Any, *, rows: Any = None, target: str | None = None) -> Pipeline:
        """Learn from the training rows, and return self.

        ``table``: the training table; or the whole one, with the training ``rows`` (m,) of it.
        ``target``: the name of the target, if none was given before: numbers become
        ``NumberTarget``, all else ``ClassTarget``.

        Raises:
            ArgumentError: it was fitted before, or has another target.
            DataError: a column is missing, or holds what its transformer cannot take.
        """
        if self.fitted:
            raise ArgumentError(
                f"this pipeline was fitted before; other rows would leak into it. Use transform, "
                f"or make a new one. {where()}"
            )
        columns, place, schema = columns_of(table)
        if rows is not None:
            chosen = checked_places(np.asarray(rows), len(next(iter(columns.values()))))
            columns = {name: values[chosen] for name, values in columns.items()}
            whole = place
            place = lambda row: whole(int(chosen[row]))  # noqa: E731
        wanted = dict(self.target)
        if target is not None and target not in wanted:
            if wanted or target in self.columns:
                raise ArgumentError(
                    f"target={target!r}, but the pipeline has {[*wanted] or 'it as an input'}. "
                    f"{where()}"
                )
            is_number = target in columns and columns[target].dtype.kind in "iuf"
            wanted[target] = NumberTarget() if is_number else ClassTarget()
        # Copies are fitted, so that a fault in the last column leaves none half fitted.
        made = copy.deepcopy(self.columns | wanted)
        for name, transformer in made.items():
            transformer.fit(Values(name, self._column(columns, name), place))
        self.columns = {name: made[name] for name in self.columns}
        self.target = {name: made[name] for name in wanted}
        self.ignored = [name for name in columns if name not in made]
        self.schema = {name: told for name, told in schema.items() if name in made}
        self.fitted = True
        return self

    def transform(self, table: Any) -> tuple[Array, ...]:
        """Return the arrays of a table, inputs first and the target, if it is there, last.

        Warns of columns that the training table did not have. Nothing is learned.

        Raises:
            ArgumentError: the pipeline is not fitted.
            DataError: a column is missing, or a value cannot be taken; both are named.
        """
        return tuple(self._arrays(table).values())

    def fit_transform(
        self, table: Any, *, rows: Any = None, target: str | None = None
    ) -> tuple[Array, ...]:
        """Fit on the training rows, and return their arrays; errors as for ``fit``."""
        self.fit(table, rows=rows, target=target)
        if rows is None:
            return self.transform(table)
        # Only these rows: another row may hold a class that the training rows lack.
        columns, _, _ = columns_of(table, self.schema)
        return self.transform({name: values[rows] for name, values in columns.items()})

    def dataset(self, table: Any) -> ArrayDataset:
        """Return the arrays of a table as a data set; errors as for ``transform``."""
        made = self._arrays(table)
        return ArrayDataset(*made.values(), names=list(made))

    def unseen(self, table: Any) -> dict[str, dict[str, int]]:
        """Return, for each column that has some, the unseen values and how often each comes."""
        columns, place, _ = columns_of(table, self.schema)
        found = {
            name: made.unseen(Values(name, self._column(columns, name), place))
            for name, made in self.columns.items()
        }
        return {name: counts for name, counts in found.items() if counts}

    def inverse_transform(self, predictions: Any) -> Any:
        """Return predictions as class names, or as numbers in the unit of the target.

        Raises:
            ArgumentError: the pipeline has no target.
        """
        for made in self.target.values():
            if isinstance(made, (ClassTarget, NumberTarget)):
                return made.inverse_transform(predictions)
        raise ArgumentError(f"this pipeline has no target to turn back to. {where()}")

    @property
    def feature_names(self) -> list[str]:
        """A name for each column of the array ``numbers``."""
        chosen = [(n, made) for n, made in self.columns.items() if made.group == "numbers"]
        return [feature for name, made in chosen for feature in made.feature_names(name)]

    def describe(self) -> str:
        """Return a text for people: each column, what is done with it and why."""
        lines = [f"{name}: {made.describe()}" for name, made in self.columns.items()]
        lines += [f"{name} (target): {made.describe()}" for name, made in self.target.items()]
        return "\n".join(lines + self.reasons)

    def __repr__(self) -> str:
        return f"Pipeline, {'fitted' if self.fitted else 'not fitted'}\n{self.describe()}"

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what JSON can hold, and the arrays by name: all that ``from_state`` needs."""
        arrays: dict[str, Array] = {}
        parts: dict[str, Any] = {}
        for part, made in (("columns", self.columns), ("target", self.target)):
            parts[part] = []
            for i, (name, transformer) in enumerate(made.items()):
                told, found = transformer.state()
                parts[part].append({"name": name} | told)
                arrays |= {f"{part}.{i}.{key}": array for key, array in found.items()}
        facts = {"version": _VERSION, "fitted": self.fitted, "reasons": list(self.reasons)}
        told = {name: dict(kind) for name, kind in self.schema.items()}
        return facts | {"ignored": list(self.ignored), "schema": told} | parts, arrays

    @classmethod
    def from_state(cls, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> Pipeline:
        """Return the pipeline of a state, which transforms to the same bits.

        Raises:
            DataError: the state is of another version, or damaged.
        """
        if state.get("version") != _VERSION:
            raise DataError(
                f"the saved pipeline has version {state.get('version')!r}, this is {_VERSION}; fit "
                f"it again, or use the version of Thalweg that saved it. {where()}"
            )
        made = cls.__new__(cls)
        parts: dict[str, dict[str, Transformer]] = {"columns": {}, "target": {}}
        for part, found in parts.items():
            for i, told in enumerate(state[part]):
                start = f"{part}.{i}."
                own = {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}
                found[told["name"]] = Transformer.from_state(told, own)
        made.columns, made.target = parts["columns"], parts["target"]
        made.reasons, made.fitted = list(state["reasons"]), bool(state["fitted"])
        made.ignored, made.schema = list(state["ignored"]), dict(state["schema"])
        return made

    def _arrays(self, table: Any) -> dict[str, Array]:
        if not self.fitted:
            raise ArgumentError(
                f"the pipeline is not fitted; call fit with the training rows first. {where()}"
            )
        columns, place, _ = columns_of(table, self.schema)
        known = {*self.columns, *self.target, *self.ignored}
        extra = [name for name in columns if name not in known]
        if extra:
            warnings.warn(
                f"columns {extra} were not in the training table; they are left out. {where()}",
                UserWarning,
                stacklevel=3,
            )
        groups: dict[str, list[Array]] = {"numbers": [], "codes": []}
        own: dict[str, Array] = {}
        for name, made in self.columns.items():
            array = made.transform(Values(name, self._column(columns, name), place))
            if made.group == "own":
                own[name] = array
            else:
                groups[made.group].append(array)
        arrays = {key: np.concatenate(found, axis=1) for key, found in groups.items() if found}
        arrays |= own
        for name, made in self.target.items():
            if name in columns:
                arrays[name] = made.transform(Values(name, columns[name], place))
        return arrays

    def _column(self, columns: Mapping[str, Array], name: str) -> Array:
        if name not in columns:
            raise DataError(
                f"the table has no column {name!r}, which the pipeline needs; "
                f"{nearest(name, columns)}. {where()}"
            )
        return columns[name]


def columns_of(
    table: Any, like: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[dict[str, Array], Callable[[int], str], dict[str, dict[str, str]]]:
    """Return the columns (n, ...) of a table, frame or dict, the place of a row, and the schema.

    ``like``: the schema of the training table. A file or frame is read by it; a ``Table``, which
    was read without it, must have the same kinds, and a dict has none.

    Raises:
        DataError: columns of several lengths, of another kind, or something that is no table.

    >>> list(columns_of({"a": [1, 2]})[0])
    ['a']
    """
    if isinstance(table, Mapping):
        columns = {}
        for name, values in table.items():
            made = np.asarray(values)
            columns[str(name)] = made.astype(object) if made.dtype.kind in "US" else made
        lengths = {name: values.shape[:1] for name, values in columns.items()}
        if not columns or len(set(lengths.values())) > 1 or () in lengths.values():
            raise DataError(f"wanted columns of one length, got {lengths}. {where()}")
        return columns, lambda row: f"row {row}", {}
    read = table if isinstance(table, Table) else read_table(table, like=like)
    for name, kind in read.kinds.items():
        wanted = (like or {}).get(name, {}).get("kind", kind)
        if kind != wanted and "number" in (kind, wanted):
            raise DataError(
                f"column {name!r} was read as {kind} ({read.reasons[name]}), but was {wanted} in "
                f"the training table; read it alike: read_table(..., like=pipeline.schema). "
                f"{where()}"
            )
    return {name: read.column(name) for name in read.names}, read.describe, read.schema
