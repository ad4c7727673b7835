"""The run folder: all that is kept of a training, readable without Thalweg, holding no code."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.errors import FormatError, where
from thalweg.formats import save
from thalweg.formats.atomic import check_writable, write_whole
from thalweg.formats.safetensors_file import read_metadata, read_tensors, write_tensors
from thalweg.models import load
from thalweg.nn import Module

__all__ = ["RunFolder"]

Array = np.ndarray[Any, Any]
MODEL: Final = "model.safetensors"
PIPELINE: Final = "pipeline.safetensors"
CONFIG: Final = "config.toml"
METRICS: Final = "metrics.jsonl"
RESULTS: Final = "results.json"
REPORT: Final = "report.html"
CHECKPOINTS: Final = "checkpoints"
_KEY: Final = "thalweg.task"
_CHECKSUM: Final = "checksum"  # over facts and arrays: a changed bit would only predict wrongly


@dataclass(frozen=True)
class RunFolder:
    """Paths in a run folder, and how its files are written and read: each whole or not at all.

    ``model.safetensors``: the network. ``pipeline.safetensors``: what was learned of the data, its
    facts as JSON in the metadata. ``config.toml``: every choice. ``metrics.jsonl``: one line an
    epoch. ``results.json``: what was measured. ``report.html``: the report. ``checkpoints/``: for
    ``--resume``.

    >>> RunFolder(Path("runs/a")).model.name
    'model.safetensors'
    """

    place: Path

    @classmethod
    def new(cls, place: Path) -> RunFolder:
        """Return a folder that can be written to; it is made if it is missing.

        Raises:
            FormatError: it cannot be written to; says why.
        """
        return cls(check_writable(place))

    @classmethod
    def existing(cls, place: Path) -> RunFolder:
        """Return the run folder at a place, or the one that a model file lies in.

        Raises:
            FormatError: there is none.
        """
        folder = place.parent if place.is_file() else place
        for name in (MODEL, PIPELINE, CONFIG):
            if not (folder / name).is_file():
                raise FormatError(
                    f"{str(place)!r} is no run folder: {name} is not in it. Give the folder that "
                    f"`thalweg train` wrote. {where()}"
                )
        return cls(folder)

    def cleared(self) -> Path:
        """Return the folder, without the rows that a run which was killed has left in it."""
        for left in self.place.glob(".rows-*"):
            shutil.rmtree(left, ignore_errors=True)
        return self.place

    @property
    def model(self) -> Path:
        """The network."""
        return self.place / MODEL

    @property
    def config(self) -> Path:
        """Every choice."""
        return self.place / CONFIG

    @property
    def metrics(self) -> Path:
        """One line an epoch."""
        return self.place / METRICS

    @property
    def report(self) -> Path:
        """The report."""
        return self.place / REPORT

    @property
    def checkpoints(self) -> Path:
        """What a run is resumed from."""
        return self.place / CHECKPOINTS

    def write_text(self, path: Path, text: str) -> None:
        """Write a text file, whole or not at all."""
        write_whole(path, [text.encode()])

    def write_model(self, model: Module, **facts: Any) -> None:
        """Write the network; ``facts`` as for ``thalweg.formats.save``."""
        save(model, self.model, **facts)

    def read_model(self) -> Module:
        """Return the network, in evaluation mode."""
        return load(self.model)

    def write_pipeline(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Write what was learned of the data."""
        # Not ascontiguousarray, which gives a single number an axis.
        held = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        held = held or {"none": np.zeros(1, np.float32)}  # a file needs one
        text = json.dumps(facts)
        told = {_KEY: text, _CHECKSUM: _checksum(text, held)}
        write_tensors(self.place / PIPELINE, held, told)

    def read_pipeline(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what was learned of the data.

        Raises:
            FormatError: the file is missing or damaged.
        """
        path = self.place / PIPELINE
        told, arrays = read_metadata(path), read_tensors(path)
        text = told.get(_KEY, "")
        if text and told.get(_CHECKSUM) != _checksum(text, arrays):
            raise FormatError(
                f"{str(path)!r} is damaged: its contents do not fit its checksum; copy it again, "
                f"or train again. {where()}"
            )
        try:
            facts = json.loads(text)
        except ValueError as error:
            raise FormatError(
                f"{str(path)!r} is damaged: it tells no task; train again. {where()}"
            ) from error
        if not isinstance(facts, dict):
            raise FormatError(
                f"{str(path)!r} is damaged: it tells no task but {text[:40]!r}; train again. "
                f"{where()}"
            )
        return facts, arrays

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write what was measured; a number that is not finite becomes null, as JSON has it."""
        text = json.dumps(_finite(results), indent=1, default=_plain, allow_nan=False)
        self.write_text(self.place / RESULTS, text + "\n")

    def read_results(self) -> dict[str, Any]:
        """Return what was measured.

        Raises:
            FormatError: the file is missing or damaged.
        """
        path = self.place / RESULTS
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FormatError(
                f"{str(path)!r} cannot be read ({error}); train again. {where()}"
            ) from error
        if not isinstance(made, dict):
            raise FormatError(f"{str(path)!r} holds no results; train again. {where()}")
        return made


def _finite(value: Any) -> Any:
    """Return a tree in which None stands for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biu":
        return value.tolist()  # an image: as quick as it can be
    if isinstance(value, (np.generic, np.ndarray)):
        return _finite(_plain(value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checksum(text: str, arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of the facts, and of every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name}\0{array.dtype.name}\0{arrays[name].shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """Return what JSON has no word for as what it has."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
