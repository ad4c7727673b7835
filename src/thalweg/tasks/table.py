"""Tables: numbers, categories, dates and texts predict one column, or several of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.features import (
    ClassTarget,
    Codes,
    NumberTarget,
    PiecewiseLinear,
    Pipeline,
    Quantile,
    Standardise,
    Tokens,
    Transformer,
    Values,
    default_pipeline,
)
from thalweg.data.tables import Table, read_table
from thalweg.errors import ArgumentError, DataError, nearest, where
from thalweg.models.tabular import TabularNetwork
from thalweg.tasks.members import classes_of_members, numbers_of_members
from thalweg.tasks.noticing import notes_of_table
from thalweg.tasks.parts import split_rows
from thalweg.tasks.task import Problem, Rows, Task

__all__ = ["TableTask"]

Array = np.ndarray[Any, Any]
SUFFIXES: Final = (".csv", ".tsv", ".tab", ".parquet", ".pq", ".jsonl", ".ndjson", ".data")
TYPED: Final = (".parquet", ".pq", ".jsonl", ".ndjson")  # no header, separator or encoding
_MANY: Final = 1000  # training rows from which on numbers are encoded piece by piece
_FEWEST: Final = 10  # rows of the whole table


class TableTask(Task):
    """Learns ``settings.target`` of a table from its other columns.

    >>> TableTask.name
    'table'
    """

    name = "table"

    @classmethod
    def recognises(cls, source: Path, settings: Any) -> str:
        """Tables are told by the ending of the file."""
        if not source.is_file() or source.suffix.lower() not in SUFFIXES:
            return ""
        return f"{source.name} ends in {source.suffix}: a table" if settings.target else ""

    def prepare(self, source: Path) -> Problem:
        """Read the table, split it, fit the pipeline on the training rows, make a network."""
        settings = self.settings
        whole, notes = self._read_training(source)
        targets = {name: _target(whole, name, settings.categories) for name in settings.target}
        self._check_targets(targets)
        kept = _present(whole, settings.target, notes)
        parts = split_rows(kept, settings, next(iter(targets.values())), notes)
        inputs = kept.without(*settings.target, *_given(settings.group))
        notes += notes_of_table(inputs, kept, settings.target, parts)
        self._fit(inputs, kept, targets, parts[0])
        rows = self._rows(inputs, kept)
        training, validation, test = (rows.take(part) for part in parts)
        filled = _chosen(settings, len(training), self._width())
        reasons = [f"{n}: {c.kind} ({c.reason})" for n, c in kept.columns.items()]
        reasons += self.pipeline.reasons
        return Problem(
            self._network(filled), self.loss, training, validation, test, filled,
            reasons=reasons, notes=notes,
        )  # fmt: skip

    @property
    def loss(self) -> Any:
        """Cross-entropy or squared error, of each member of the network."""
        return classes_of_members if self.kind == "classes" else numbers_of_members

    def read(self, source: Any) -> Rows:
        """Return the rows of a file, a frame, or a dict of columns."""
        known = {**self.pipeline.schema, **self.schema}
        table = source
        if not isinstance(source, Table):
            table = read_table(source, like=known, **_reading(self.settings, source))
        has = set(self.targets) <= set(table.names)
        other = {*self.targets, *_given(self.settings.group)} & set(table.names)
        if len(other) == len(table.names):
            raise DataError(
                f"the table has no column but {', '.join(map(repr, sorted(other)))}; wanted those "
                f"that the network was trained on: {', '.join(self.pipeline.columns)}. {where()}"
            )
        return self._rows(table.without(*other), table if has else None)

    def numbers(self, outputs: Array) -> Array:
        """Return numbers in the unit of their targets."""
        made = np.asarray(outputs, np.float64).reshape(len(outputs), -1)
        back = [t for t in self.decoders.values() if isinstance(t, NumberTarget)]
        return np.stack([t.inverse_transform(made[:, i]) for i, t in enumerate(back)], axis=1)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return pipeline and targets."""
        told, arrays = self.pipeline.state()
        facts: dict[str, Any] = {"pipeline": told, "targets": [], "schema": self.schema}
        made = {f"pipeline.{k}": a for k, a in arrays.items()}
        for i, (name, decoder) in enumerate(self.decoders.items()):
            own, found = decoder.state()
            facts["targets"].append({"name": name} | own)
            made |= {f"targets.{i}.{k}": a for k, a in found.items()}
        return facts, made

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take over pipeline and targets."""

        def below(start: str) -> dict[str, Array]:
            return {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}

        self.pipeline = Pipeline.from_state(facts["pipeline"], below("pipeline."))
        self.schema = dict(facts["schema"])
        decoders = {
            told["name"]: Transformer.from_state(told, below(f"targets.{i}."))
            for i, told in enumerate(facts["targets"])
        }
        self._decode_by(decoders)

    def importance(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Yield each column, and the rows with what was made of it shuffled."""
        shuffled = np.random.default_rng(self.settings.seed).permutation(len(rows))
        first = {"numbers": 0, "codes": 0}
        groups = [g for g in ("numbers", "codes")
                  if any(t.group == g for t in self.pipeline.columns.values())]  # fmt: skip
        own = len(groups)
        for name, made in self.pipeline.columns.items():
            inputs = list(rows.inputs)
            if made.group == "own":
                inputs[own] = inputs[own][shuffled]
                own += 1
            else:
                place = groups.index(made.group)
                width = len(made.feature_names(name)) if made.group == "numbers" else 1
                part = slice(first[made.group], first[made.group] + width)
                first[made.group] += width
                inputs[place] = inputs[place].copy()
                inputs[place][:, part] = rows.inputs[place][shuffled][:, part]
            yield name, replace(rows, inputs=tuple(inputs))

    # --- parts ----------------------------------------------------------------------------

    def _read_training(self, source: Path) -> tuple[Table, list[str]]:
        settings = self.settings
        kinds: dict[str, Any] = dict.fromkeys(settings.categories, "category")
        try:
            how = _reading(settings, source)
            table = read_table(source, kinds=kinds, drop=settings.drop, **how)
        except ArgumentError as error:
            raise DataError(str(error)) from error
        for name in (*settings.target, *_given(settings.group), *_given(settings.time)):
            if name not in table.columns:
                raise DataError(
                    f"{source} has no column {name!r}; {nearest(name, table.names)}. {where()}"
                )
        if len(table) < _FEWEST:
            raise DataError(
                f"{source} has {len(table)} rows; at least {_FEWEST} are needed to train, validate "
                f"and test. {where()}"
            )
        return table, []

    def _check_targets(self, targets: dict[str, Transformer]) -> None:
        if len(targets) > 1 and any(isinstance(t, ClassTarget) for t in targets.values()):
            words = [name for name, t in targets.items() if isinstance(t, ClassTarget)]
            raise DataError(
                f"the target {words[0]!r} holds classes; several targets can be learned at once if "
                f"all are numbers. Train one network for each. {where()}"
            )

    def _fit(
        self, inputs: Table, kept: Table, targets: dict[str, Transformer], training: Array
    ) -> None:
        first = default_pipeline(inputs, rows=training, texts=True)
        bins = 32 if len(training) >= 10 * _MANY else 16
        columns = {
            name: PiecewiseLinear(bins=bins)
            if len(training) >= _MANY and type(made) in (Standardise, Quantile)
            else made
            for name, made in first.columns.items()
        }
        self.pipeline = Pipeline(columns, reasons=first.reasons).fit(inputs, rows=training)
        for name, decoder in targets.items():
            values = kept.column(name)[training]
            decoder.fit(Values(name, values, lambda row: kept.describe(int(training[row]))))
        self.schema = {n: told for n, told in kept.schema.items() if n in targets}
        self._decode_by(targets)

    def _decode_by(self, decoders: dict[str, Transformer]) -> None:
        self.decoders, self.targets = decoders, tuple(decoders)
        first = next(iter(decoders.values()))
        self.kind = "classes" if isinstance(first, ClassTarget) else "numbers"
        if isinstance(first, ClassTarget):
            self.classes = tuple(first.inverse_transform(np.arange(len(first.classes))))

    def _rows(self, inputs: Table, whole: Table | None) -> Rows:
        truth = None
        if whole is not None:
            made = [t.transform(Values(name, whole.column(name), whole.describe))
                    for name, t in self.decoders.items()]  # fmt: skip
            truth = made[0] if self.kind == "classes" else np.concatenate(made, axis=1)
        shown = inputs if whole is None else whole

        def show(row: int) -> dict[str, Any]:
            return {name: column.values[row] for name, column in shown.columns.items()}

        return Rows(self.pipeline.transform(inputs), truth, inputs.describe, show)

    def _width(self) -> int:
        return len(self.pipeline.feature_names)

    def _network(self, settings: Any) -> TabularNetwork:
        made = self.pipeline.columns.values()
        model = TabularNetwork(
            self._width(),
            [t.size for t in made if isinstance(t, Codes)],
            [t.size for t in made if isinstance(t, Tokens)],
            len(self.classes) if self.kind == "classes" else len(self.targets),
            settings.hidden, settings.members, settings.dropout,
            classes=self.kind == "classes",
        )  # fmt: skip
        return model.reset_parameters(settings.seed)


def _reading(settings: Any, source: Any = "") -> dict[str, Any]:
    """Return how a file is read; what only delimited text has is left out for others."""
    how: dict[str, Any] = {"missing": settings.missing}
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() not in TYPED:
        how |= {"header": settings.header, "names": settings.names or None,
                "separator": settings.separator, "encoding": settings.encoding}  # fmt: skip
    return how


def _given(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _target(table: Table, name: str, categories: tuple[str, ...]) -> Transformer:
    column = table.columns[name]
    if column.kind in ("date", "text"):
        raise DataError(
            f"the target {name!r} holds {column.kind}s ({column.reason}); wanted classes or "
            f"numbers. {where()}"
        )
    if column.kind == "number" and name not in categories:
        present = column.values[~np.isnan(column.values)]
        distinct = np.unique(present)
        few = len(distinct) <= 2 or (len(distinct) <= 10 and len(present) >= 20 * len(distinct)
                                     and (distinct == np.arange(len(distinct))).all())  # fmt: skip
        return ClassTarget() if few else NumberTarget()
    return ClassTarget()


def _present(table: Table, targets: tuple[str, ...], notes: list[str]) -> Table:
    """Return the rows that have all targets."""
    missing = np.zeros(len(table), bool)
    for name in targets:
        values = table.column(name)
        missing |= (
            np.isnan(values) if values.dtype.kind == "f" else np.array([v is None for v in values])
        )
    if missing.any():
        notes.append(f"{int(missing.sum()):,} rows have no target and are left out")
    return table.take(np.flatnonzero(~missing)) if missing.any() else table


def _chosen(settings: Any, rows: int, width: int) -> Any:
    """Return the settings with every choice made by the number of training rows."""
    small, large = rows < 2_000, rows >= 20_000

    def one(given: Any, else_: Any) -> Any:
        return else_ if given is None else given

    return replace(
        settings,
        network="tabular",
        hidden=one(settings.hidden, (96, 96) if small else (192, 192)),
        members=one(settings.members, 16 if small else 8),
        dropout=one(settings.dropout, 0.2 if small else 0.1),
        batch_size=one(settings.batch_size, 32 if small else 256 if large else 128),
        learning_rate=one(settings.learning_rate, 2e-3),
        weight_decay=one(settings.weight_decay, 3e-2 if small else 1e-2),
        epochs=one(settings.epochs, 200 if small else 60 if large else 100),
        patience=one(settings.patience, 20 if small else 6 if large else 10),
    )
