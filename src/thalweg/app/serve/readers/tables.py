"""Tables: rows as objects of columns, for run folders of the tasks ``table`` and ``series``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.app.serve.limits import Refusal
from thalweg.app.serve.readers.reader import TaskReader, shown
from thalweg.data.column_kinds import Column
from thalweg.data.date_formats import date_pattern, read_date
from thalweg.data.tables import MISSING, Table
from thalweg.errors import nearest
from thalweg.tasks import Run

__all__ = ["TablesReader"]

Array = np.ndarray[Any, Any]
Read = Callable[[Any], Any]
LARGEST: Final = 1e30  # a number beyond it is no measurement; its square must fit float32's range
_SHOWN: Final = 50  # categories told in the schema
_WANTED: Final = {
    "number": "a number or null",
    "category": "a text, a number, true, false or null",
    "text": "a text or null",
}
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "number": {"type": ["number", "null"], "minimum": -LARGEST, "maximum": LARGEST},
    "category": {"type": ["string", "number", "boolean", "null"]},
    "text": {"type": ["string", "null"]},
}
_ISO: Final = "%Y-%m-%d"
_ZONED: Final = "%Y-%m-%dT%H:%M:%S%z"
_ZONED_FRACTION: Final = "%Y-%m-%dT%H:%M:%S.%f%z"
# What a date's format looks like to a JSON schema; others get a pattern.
_FORMATS: Final = {_ISO: "date", _ZONED: "date-time"}


class TablesReader(TaskReader):
    """Rows for a run folder: every column that the network reads, null where it is missing."""

    many: ClassVar[str] = "rows"
    one: ClassVar[str] = "row"
    transformers: Mapping[str, Any] = {}
    known: Mapping[str, frozenset[str]] = {}

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        task: Any = run.task
        self.transformers = dict(task.pipeline.columns)
        self.known = {
            name: frozenset((*made.facts["categories"], *made.facts.get("joined", ())))
            for name, made in self.transformers.items() if "categories" in made.facts
        }  # fmt: skip
        # What people may send along, as it stands in their files; the network does not read it.
        unread = {*task.targets, *task.schema, *task.pipeline.ignored, task.settings.group}
        self._take({name: task.pipeline.schema[name] for name in self.transformers}, unread)

    def _take(self, schemas: Mapping[str, Mapping[str, str]], unread: set[str | None]) -> None:
        """Learn which columns there are."""
        self.missing = frozenset((*MISSING, *self.task.settings.missing))
        self.schemas = {name: dict(told) for name, told in schemas.items()}
        self.unread = {name for name in unread if name is not None} - set(self.schemas)
        self._read: list[tuple[str, Read]] = [
            (name, self._reading(told)) for name, told in self.schemas.items()
        ]

    def schema(self) -> dict[str, Any]:
        """Return the schema of a row: each column with its type."""
        made = {name: _column_schema(told) for name, told in self.schemas.items()}
        for name, words in self.known.items():
            if len(words) <= _SHOWN:
                made[name]["examples"] = sorted(words)
            made[name]["description"] = "a category; one that was never seen counts as unknown"
        for name in sorted(self.unread):
            made[name] = {"description": "is not read"}
        return {"type": "object", "required": list(self.schemas), "properties": made,
                "additionalProperties": False}  # fmt: skip

    def example(self) -> Any:
        """Return a row of ordinary values."""
        return {name: self._ordinary(name) for name in self.schemas}

    def parse(self, value: Any, number: int, truths: bool = True) -> tuple[Any, ...]:
        """Return the values of a row, in the order of the columns."""
        if not isinstance(value, dict):
            raise self.wrong(number, value, "an object with a value for each column")
        made = []
        for name, read in self._read:
            if name not in value:
                raise self._lacking(number, name, value)
            try:
                made.append(read(value[name]))
            except (ValueError, TypeError, OverflowError):
                raise Refusal(
                    422, f"{self.many}[{number}], column {name!r}: got {shown(value[name])}, "
                    f"wanted {_wanted(self.schemas[name])}"
                ) from None  # fmt: skip
        if len(value) > len(made):
            for name in value:
                if name not in self.schemas and name not in self.unread:
                    raise Refusal(
                        422, f"{self.many}[{number}]: there is no column {name!r}; "
                        f"{nearest(name, self.schemas)}"
                    )  # fmt: skip
        return tuple(made)

    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return the arrays that the pipeline makes of rows."""
        return self.task.read(self.table(samples)).inputs

    def table(self, samples: Sequence[Any]) -> Table:
        """Return rows as a table of the kinds of the training table."""
        columns = {}
        for (name, told), values in zip(
            self.schemas.items(), zip(*samples, strict=True), strict=True
        ):
            made: Array
            if told["kind"] == "number":
                made = np.array(values, np.float64)
            elif told["kind"] == "date":
                made = np.array(values, "datetime64[us]")
            else:
                made = np.empty(len(values), object)
                made[:] = values
            kind: Any = told["kind"]
            columns[name] = Column(kind, "as in the training table", made)
        return Table(columns)

    def notes(self, samples: Sequence[Any]) -> list[str]:
        """Return a sentence for each column with categories that were never seen."""
        made = []
        for place, name in enumerate(self.schemas):
            if name in self.known:
                words = {s[place] for s in samples if s[place] is not None} - self.known[name]
                if words:
                    some = ", ".join(repr(word[:40]) for word in sorted(words)[:3])
                    made.append(f"column {name!r}: the network never saw {some}, and takes it for "
                                "an unknown category")  # fmt: skip
        return made

    def _lacking(self, number: int, name: str, row: Mapping[str, Any]) -> Refusal:
        near = nearest(name, row) if row else "it is empty"
        return Refusal(
            422, f"{self.many}[{number}] has no column {name!r}; give "
            f"{_wanted(self.schemas[name])} ({near[:200]})"
        )  # fmt: skip

    def _reading(self, told: Mapping[str, str]) -> Read:
        kind = told["kind"]
        if kind == "number":
            return _number
        if kind == "date":
            return _dates(told.get("format") or _ISO)
        return lambda value: _word(value, kind, self.missing)

    def _ordinary(self, name: str) -> Any:
        told, made = self.schemas[name], self.transformers[name]
        if told["kind"] == "number":
            # Where a piecewise encoding has its edges lie its training values.
            edges = made.arrays.get("edges", made.arrays.get("fill", np.zeros(1)))
            return float(f"{float(np.median(edges)):.4g}")
        if told["kind"] == "date":
            return datetime(2024, 1, 15, 12).strftime(told.get("format") or _ISO)
        if name in self.known:
            return min(self.known[name], default="a")
        return "a text"


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not -LARGEST <= value <= LARGEST:
        raise ValueError
    return float(value)


def _word(value: Any, kind: str, missing: frozenset[str]) -> str | None:
    """Return a word as the reader of tables has it: None where it stands for nothing."""
    if value is None:
        return None
    if kind == "category":
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, float):
            value = str(int(value)) if value.is_integer() else str(value)
        elif isinstance(value, int):
            value = str(value)
    if not isinstance(value, str):
        raise TypeError
    word = value.strip()
    return None if word in missing else word


def _dates(form: str) -> Read:
    """Return what reads dates of one format, and of no other: a swapped month would go unseen."""
    strict = re.compile(_strict(form)) if form in _FORMATS else None

    def read(value: Any) -> datetime | None:
        if value is None:
            return None
        made = None
        if isinstance(value, str) and (strict is None or strict.fullmatch(value)):
            made = read_date(value, form if form != _ZONED or "." not in value else _ZONED_FRACTION)
        if made is None:
            raise ValueError
        return made

    return read


def _strict(form: str) -> str:
    """Return the expression of a format for which JSON Schema has a name: all digits are there."""
    clock = r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:?[0-9]{2})"
    return "^[0-9]{4}-[0-9]{2}-[0-9]{2}" + clock * (form == _ZONED) + "$"


def _wanted(told: Mapping[str, str]) -> str:
    if told["kind"] == "date":
        return f"a date like {told.get('format') or _ISO}, or null"
    return _WANTED[told["kind"]]


def _column_schema(told: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of a column.

    >>> _column_schema({"kind": "date", "format": "%Y-%m-%d"})
    {'type': ['string', 'null'], 'description': 'a date like %Y-%m-%d', 'format': 'date'}
    """
    if told["kind"] != "date":
        return {**_TYPES[told["kind"]]}
    form = told.get("format") or _ISO
    made = {"type": ["string", "null"], "description": f"a date like {form}"}
    if form in _FORMATS:
        return made | {"format": _FORMATS[form]}
    return made | {"pattern": date_pattern(form)}
