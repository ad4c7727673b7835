"""The choices of one training: given by flags or a TOML file, written to the run folder."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, Final

from thalweg.errors import ArgumentError, nearest, where

__all__ = ["Settings"]

_FROM_ONE: Final = (
    "members", "size", "length", "horizon", "rate", "batch_size", "epochs", "patience",
)  # fmt: skip
_SEEDS: Final = 1 << 64
# What TOML wants escaped besides what JSON escapes: the control character that JSON has not.
_DELETE: Final = "\x7f"


@dataclass(frozen=True)
class Settings:
    """What a person can choose; None stands for a choice by the size and kind of the data.

    ``task``: ``"table"``, ``"images"``, ``"sounds"``, ``"texts"``, ``"language"`` or ``"series"``.
    ``target``: names of the columns to predict. ``group``, ``time``: a column whose values stay in
    one part of the split, or order it. ``test``, ``validation``: shares of the rows. ``seconds``: a
    budget, after which the best network so far is kept. Others are told in the help of the command.

    Raises:
        ArgumentError: a name that does not exist, a value of another type, or a count or time
            that is not above 0.

    Example:
        >>> made = Settings.of({"target": "price", "epochs": 3})
        >>> made.target, Settings.of(Settings.parse(made.to_toml())) == made
        (('price',), True)
    """

    task: str | None = None
    target: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    header: bool | None = None
    names: tuple[str, ...] = ()
    separator: str | None = None
    encoding: str = "utf-8"
    text: str | None = None
    label: str | None = None
    test: float = 0.15
    validation: float = 0.15
    network: str | None = None
    hidden: tuple[int, ...] | None = None
    members: int | None = None
    dropout: float | None = None
    size: int | None = None
    length: int | None = None
    level: str | None = None
    horizon: int | None = None
    rate: int | None = None
    augment: bool = True
    optimizer: str = "adamw"
    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    patience: int | None = None
    ema: float | None = None
    precision: str = "float32"
    seconds: float | None = None
    seed: int = 0
    found: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Return settings of names and values, such as those of a TOML file."""
        known = {f.name: f for f in fields(cls) if f.name != "found"}
        made: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                raise ArgumentError(
                    f"no setting is called {name!r}; {nearest(name, known)}. {where()}"
                )
            made[name] = _checked(name, str(known[name].type), value)
            _check_range(name, made[name])
        return cls(**made)

    @staticmethod
    def parse(text: str) -> dict[str, Any]:
        """Return the names and values of TOML text.

        Raises:
            ArgumentError: it is no TOML; the line is named.
        """
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ArgumentError(f"the settings are no TOML: {error}. {where()}") from error

    @classmethod
    def read(cls, path: Path) -> dict[str, Any]:
        """Return the names and values of a TOML file.

        Raises:
            ArgumentError: it cannot be read, or is no TOML.
        """
        try:
            return cls.parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ArgumentError(f"the file {path} cannot be read: {error}. {where()}") from error
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from error

    def to_toml(self) -> str:
        """Return the settings as TOML, which has no word for None: such lines are left out."""
        told = {k: v for k, v in asdict(self).items() if k != "found" and v is not None}
        return "".join(f"{name} = {_toml(value)}\n" for name, value in told.items())


def _toml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    text = json.dumps(value, ensure_ascii=False)  # TOML knows no pairs of surrogates
    return text.replace(_DELETE, "\\u007f")


def _check_range(name: str, value: Any) -> None:
    """Refuse numbers that nothing could be trained with, before the data is read."""
    if isinstance(value, float) and not isfinite(value):
        wanted = "a finite number"
    elif value is not None and name in _FROM_ONE and value < 1:
        wanted = "a whole number from 1 on"
    elif name == "seconds" and value is not None and value <= 0:
        wanted = "a time above 0"
    elif name == "seed" and not 0 <= value < _SEEDS:
        wanted = "a whole number from 0 to 2**64 - 1"
    else:
        return
    raise ArgumentError(f"the setting {name} is {value!r}, wanted {wanted}. {where()}")


def _checked(name: str, kind: str, value: Any) -> Any:
    """Return a value in the type of its field."""
    if value is None and "None" in kind:
        return None
    if kind.startswith("tuple"):
        items = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        wanted: Any = int if "int" in kind else str
        if all(isinstance(v, wanted) and not isinstance(v, bool) for v in items):
            return items
    elif kind.startswith("bool"):
        if isinstance(value, bool):
            return value
    elif kind.startswith("float"):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif kind.startswith("int"):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, str):
        return value
    raise ArgumentError(f"the setting {name}={value!r} is not of type {kind}. {where()}")
