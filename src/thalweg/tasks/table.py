"""Tables: numbers, categories, dates and texts predict one column, or several of numbers."""

from __future__ import annotations

import difflib
import re
import warnings
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
from thalweg.data.features.transformer import is_missing
from thalweg.data.sampling import sliced
from thalweg.data.tables import Table
from thalweg.errors import ArgumentError, DataError, nearest, where
from thalweg.models.tabular import TabularNetwork
from thalweg.tasks import reading
from thalweg.tasks.large_table import Allowed, LargeTable
from thalweg.tasks.members import classes_of_members, numbers_of_members
from thalweg.tasks.noticing import notes_of_table
from thalweg.tasks.parts import Parts, split_rows
from thalweg.tasks.task import Problem, Rows, Task

__all__ = ["TableTask"]

Array = np.ndarray[Any, Any]
_MANY: Final = 1000  # training rows from which on numbers are encoded piece by piece
_FEWEST: Final = 10  # rows of the whole table
_NETWORK: Final = "tabular"
_EPOCH: Final = 500_000  # rows of an epoch where there are many more
_WIDE: Final = 300  # columns from which on only the most promising can be looked at
_SHOWN: Final = 40  # names of columns that an error lists


class TableTask(Task):
    """Learns ``settings.target`` of a table from its other columns.

    >>> TableTask.name
    'table'
    """

    name = "table"
    turn = 50

    @classmethod
    def recognises(cls, source: Path, settings: Any) -> str:
        """Tables are told by the ending of the file."""
        if source.is_dir() and source.suffix.lower() in reading.SUFFIXES:
            raise DataError(f"{source} is a folder; give the file of a table in it. {where()}")
        if not source.is_file() or source.suffix.lower() not in reading.SUFFIXES:
            return ""
        return f"{source.name} ends in {source.suffix}: a table" if settings.target else ""

    def prepare(self, source: Path) -> Problem:
        """Read the table, split it, fit the pipeline on the training rows, make a network."""
        settings = self.settings
        notes: list[str] = []
        whole, large = self._read_training(source, notes)
        targets = {name: _target(whole, name, settings.categories) for name in settings.target}
        self._check_targets(targets)
        kept = _present(whole, settings.target, notes)
        _check_enough(kept, source, settings.target, targets)
        parts = split_rows(kept, settings, next(iter(targets.values())), notes)
        kept, parts = self._known_classes(kept, targets, parts, notes)
        inputs = kept.without(*{*settings.target, *_given(settings.group)})
        notes += notes_of_table(inputs, kept, settings.target, parts)
        self._fit(inputs, kept, targets, parts[0])
        rows = self._rows(inputs, kept)
        training, validation, test = (rows.take(part) for part in parts)
        files = None
        if large is not None:
            allowed = Allowed(settings, kept, np.concatenate(parts[1:]), self.kind == "classes")
            training, files = large.training(
                training, allowed, lambda table: self._rows(self._inputs(table), table),
                self.scratch, notes,
            )  # fmt: skip
        filled = _chosen(settings, len(training))
        reasons = [f"{n}: {c.kind} ({c.reason})" for n, c in kept.columns.items()]
        reasons += self.pipeline.reasons
        return Problem(
            self._network(filled), self.loss, training, validation, test, filled,
            reasons=reasons, notes=notes, files=files,
            order=sliced(_EPOCH) if len(training) > 2 * _EPOCH else None,
        )  # fmt: skip

    @property
    def loss(self) -> Any:
        """Cross-entropy or squared error, of each member of the network."""
        return classes_of_members if self.kind == "classes" else numbers_of_members

    def read(self, source: Any) -> Rows:
        """Return the rows of a file, a frame, or a dict of columns."""
        table = self._read_new(source)
        has = set(self.targets) <= set(table.names)
        return self._rows(self._inputs(table), table if has else None)

    def read_inputs(self, source: Any) -> Rows:
        """Return the rows without their targets, which may be missing or of classes unknown."""
        return self._rows(self._inputs(self._read_new(source)), None)

    def blocks(self, source: Any, inputs_only: bool = True) -> Iterator[Rows]:
        """Yield the rows of a file in parts, if it is a large one."""
        large = None if isinstance(source, Table) else reading.blocks_of(source, self.settings)
        if large is None:
            yield from super().blocks(source, inputs_only)
            return
        for table in replace(large, drop=()).tables(self._known(), only_like=True):
            self._check_columns(table)
            yield self.read_inputs(table) if inputs_only else self.read(table)

    def _read_new(self, source: Any) -> Table:
        if isinstance(source, Table):
            return source
        table = reading.read(source, self.settings, self._known(), only_like=True)
        self._check_columns(table)
        return table

    def _check_columns(self, table: Table) -> None:
        """Refuse a table without a column, and warn of columns that training did not have."""
        absent = [name for name in self.pipeline.columns if name not in table.names]
        if 0 < len(absent) < len(self.pipeline.columns):  # without any, another message is clearer
            raise DataError(
                f"the table has no column {absent[0]!r}, which the network needs; "
                f"{nearest(absent[0], [*table.names, *table.left_out])}. {where()}"
            )
        settings = self.settings
        seen = {*settings.drop, *_given(settings.group), *self.pipeline.ignored}
        others = [name for name in table.left_out if name not in seen]
        if others:
            warnings.warn(
                f"columns {others} were not in the training table; they are left out. {where()}",
                UserWarning,
                stacklevel=2,
            )

    def _known(self) -> dict[str, dict[str, str]]:
        return {**self.pipeline.schema, **self.schema}

    def _inputs(self, table: Table) -> Table:
        """Return the columns that are no targets."""
        settings = self.settings
        other = {*self.targets, *settings.drop, *_given(settings.group)} & set(table.names)
        if len(other) == len(table.names):
            raise DataError(
                f"the table has no column but {', '.join(map(repr, sorted(other)))}; wanted those "
                f"that the network was trained on: {', '.join(self.pipeline.columns)}. {where()}"
            )
        return table.without(*other)

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
        """Yield each column, and the rows with what was made of it shuffled.

        Of very many columns those come first that go with the target most.
        """
        shuffled = np.random.default_rng(self.settings.seed).permutation(len(rows))
        places = self._places()
        names = list(places)
        if len(names) > _WIDE:
            names.sort(key=lambda name: -_association(rows, *places[name]))
        for name in names:
            place, part = places[name]
            inputs = list(rows.inputs)
            inputs[place] = inputs[place].copy()
            inputs[place][:, part] = rows.inputs[place][:, part][shuffled]
            yield name, replace(rows, inputs=tuple(inputs))

    def _places(self) -> dict[str, tuple[int, slice]]:
        """Return, for each column, which input of the network has what was made of it, and where.

        As ``Pipeline.transform`` lays them out: numbers, codes, then arrays of their own.
        """
        made = self.pipeline.columns
        groups = [g for g in ("numbers", "codes") if any(t.group == g for t in made.values())]
        first, own = dict.fromkeys(groups, 0), len(groups)
        places = {}
        for name, transformer in made.items():
            if transformer.group == "own":
                places[name] = (own, slice(None))
                own += 1
                continue
            group = transformer.group
            width = len(transformer.feature_names(name)) if group == "numbers" else 1
            places[name] = (groups.index(group), slice(first[group], first[group] + width))
            first[group] += width
        return places

    # --- parts ----------------------------------------------------------------------------

    def _read_training(self, source: Path, notes: list[str]) -> tuple[Table, LargeTable | None]:
        """Return the table, or of a large one the sample that memory holds, and the file."""
        settings = self.settings
        self._check_settings()
        blocks = reading.blocks_of(source, settings)
        large = None if blocks is None else LargeTable.read(blocks, settings)
        if large is None:
            table = reading.read_training(source, settings)
        else:
            table = large.sample
            notes.append(large.note())
        for name in (*settings.target, *_given(settings.group), *_given(settings.time)):
            if name not in table.columns:
                raise DataError(
                    f"{source} has no column {name!r}; {_nearest_column(name, table)}. {where()}"
                )
        if not set(table.names) - {*settings.target, *_given(settings.group)}:
            raise DataError(
                f"{source} has no column to learn {', '.join(map(repr, settings.target))} from: "
                f"it holds {', '.join(map(repr, table.names))}. Give a table with other columns "
                f"beside it, or leave out fewer (--drop). {where()}"
            )
        if len(table) < _FEWEST:
            raise DataError(
                f"{source} has {len(table)} rows; at least {_FEWEST} are needed to train, validate "
                f"and test. {where()}"
            )
        return table, large

    def _check_settings(self) -> None:
        settings = self.settings
        if not settings.target:
            raise ArgumentError(f"name the column of the table to predict (--target). {where()}")
        both = [name for name in settings.target if name in settings.drop]
        if both:
            raise ArgumentError(
                f"the column {both[0]!r} is to be predicted and to be left out (--drop); do one of "
                f"both. {where()}"
            )
        if settings.network not in (None, _NETWORK):
            raise ArgumentError(
                f"tables are learned by the network {_NETWORK!r}, got network="
                f"{settings.network!r}; leave it out. {where()}"
            )

    def _known_classes(
        self, kept: Table, targets: dict[str, Transformer], parts: Parts, notes: list[str]
    ) -> tuple[Table, Parts]:
        """Leave rows out of which no figure can be made: of classes that nobody trained on.

        Only a split by groups or by time has such rows; they are told.
        """
        labels = kept.column(self.settings.target[0]).astype(str)
        known = np.isin(labels, labels[parts[0]])
        if known.all() or not isinstance(next(iter(targets.values())), ClassTarget):
            return kept, parts
        for name, part in zip(("validation", "test"), parts[1:], strict=True):
            if known[part].all():
                continue
            found = ", ".join(np.unique(labels[part][~known[part]])[:5])
            if not known[part].any():
                raise DataError(
                    f"no row of the {name} part is of a class that the training part has, but of "
                    f"{found}; split by another column (--group, --order-by), or by none. {where()}"
                )
            notes.append(
                f"{int((~known[part]).sum()):,} rows of the {name} part are left out: the training "
                f"part has no row of their class ({found})"
            )
        new = np.cumsum(known) - 1  # places in the table of what is left
        training, held, test = (new[part[known[part]]] for part in parts)
        return kept.take(np.flatnonzero(known)), (training, held, test)

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
        columns, reasons = dict(first.columns), list(first.reasons)
        for place, name in enumerate(inputs.names):  # one reason a column, in their order
            large = len(training) >= _MANY
            if large and type(columns.get(name)) in (Standardise, Quantile):
                columns[name] = PiecewiseLinear(bins=bins, packed=True)
                told = f"{name} is encoded piece by piece, in {bins} bins or fewer."
                reasons[place] = told
        self.pipeline = Pipeline(columns, reasons=reasons).fit(inputs, rows=training)
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

    def _network(self, settings: Any) -> TabularNetwork:
        columns = self.pipeline.columns
        made, pieces = columns.values(), []
        for name, one in columns.items():
            if one.group == "numbers":
                first = one.pieces if isinstance(one, PiecewiseLinear) else 0
                pieces += [first] + [0] * (len(one.feature_names(name)) - 1)
        model = TabularNetwork(
            len(pieces),
            [t.size for t in made if isinstance(t, Codes)],
            [t.size for t in made if isinstance(t, Tokens)],
            len(self.classes) if self.kind == "classes" else len(self.targets),
            settings.hidden, settings.members, settings.dropout,
            classes=self.kind == "classes", pieces=pieces,
        )  # fmt: skip
        return model.reset_parameters(settings.seed)


def _association(rows: Rows, place: int, part: slice) -> float:
    """Return the largest correlation of numbers with a target; infinity for codes and tokens."""
    x = rows.inputs[place][:, part]
    if x.dtype.kind != "f":
        return np.inf
    truth = np.asarray(rows.truth)
    y = truth.astype(np.float64) if truth.ndim == 2 else np.eye(int(truth.max()) + 1)[truth]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    both = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0))
    return float((np.abs(x.T @ y) / np.where(both > 0, both, np.inf)).max(initial=0))


def _nearest_column(name: str, table: Table) -> str:
    """Return the columns nearest to a name; of a wide table only these."""
    if len(table.names) == 1 and name in re.split(r"\W", table.names[0]):
        return (
            f"its one column is called {table.names[0]!r}: what stands between the columns is no "
            "comma, tab, semicolon or bar; say it (--set separator=...)"
        )
    if len(table.names) <= _SHOWN:
        return nearest(name, table.names)
    near = difflib.get_close_matches(name, table.names, n=3, cutoff=0.5) or table.names[:3]
    return f"{nearest(name, near)} and {len(table.names) - len(near):,} others"


def _check_enough(
    kept: Table, source: Path, names: tuple[str, ...], targets: dict[str, Transformer]
) -> None:
    """Refuse too few rows that have a target, and a target that is another one in nearly all."""
    if len(kept) < _FEWEST:
        raise DataError(
            f"{source} has {len(kept)} rows with a target ({', '.join(map(repr, names))}); at "
            f"least {_FEWEST} are needed to train, validate and test. {where()}"
        )
    for name, target in targets.items():
        if isinstance(target, ClassTarget):
            values, counts = np.unique(kept.column(name).astype(str), return_counts=True)
            if len(values) == 1:
                raise DataError(
                    f"the target {name!r} is {str(values[0])!r} in all {len(kept):,} rows: there "
                    "is nothing to tell apart; give rows of another value, or another target. "
                    f"{where()}"
                )
            if counts.max() <= 2:
                raise DataError(
                    f"the target {name!r} has {len(values):,} values in {len(kept):,} rows, each "
                    "in one or two rows, as names or IDs have: there is nothing to learn of them. "
                    f"Give the column of a class or of numbers, or more rows. {where()}"
                )


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
        missing |= is_missing(table.column(name))
    if missing.any():
        notes.append(f"{int(missing.sum()):,} rows have no target and are left out")
    return table.take(np.flatnonzero(~missing)) if missing.any() else table


def _chosen(settings: Any, rows: int) -> Any:
    """Return the settings with every choice made by the number of training rows."""
    small, large = rows < 2_000, rows >= 20_000

    def one(given: Any, else_: Any) -> Any:
        return else_ if given is None else given

    return replace(
        settings,
        network=_NETWORK,
        hidden=one(settings.hidden, (96, 96) if small else (192, 192)),
        members=one(settings.members, 16 if small else 8),
        dropout=one(settings.dropout, 0.2 if small else 0.1),
        batch_size=one(settings.batch_size, 32 if small else 256 if large else 128),
        learning_rate=one(settings.learning_rate, 2e-3),
        weight_decay=one(settings.weight_decay, 3e-2 if small else 1e-2),
        epochs=one(settings.epochs, 200 if small else 60 if large else 100),
        patience=one(settings.patience, 20 if small else 6 if large else 10),
    )
