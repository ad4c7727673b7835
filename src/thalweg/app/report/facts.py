"""What a run folder tells about its run, read once for all sections of the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Final

from thalweg.tasks.folder import RunFolder

__all__ = ["Facts"]

_SAMPLES: Final = {
    "images": "image", "sounds": "sound", "texts": "text", "series": "window", "language": "window",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """The results of a run, its curves, settings and network.

    ``results``: as ``results.json`` has them; any key may be missing. ``curves``: for each name one
    number an epoch. ``config``: TOML. ``network``: as ``model.json`` has it. ``place``: the folder.

    >>> Facts({"source": "data/prices.csv", "rows": {"test": 3}}).source, Facts({}).classes
    ('prices.csv', [])
    """

    results: dict[str, Any]
    curves: dict[str, list[float]] = field(default_factory=dict)
    config: str = ""
    network: dict[str, Any] = field(default_factory=dict)
    place: Path = Path()
    finished: str = ""

    @classmethod
    def read(cls, place: Path) -> Facts:
        """Return the facts of the run folder at a place.

        Raises:
            FormatError: it is no run folder, or its results are missing or damaged.
        """
        folder = RunFolder.existing(place)
        results = folder.read_results()
        network = _json(folder.model.with_suffix(".json"))
        told = results.get("finished")
        kept = datetime.fromtimestamp(folder.model.stat().st_mtime, UTC)
        return cls(
            results, _curves(results, folder.metrics),
            folder.config.read_text(encoding="utf-8", errors="replace"),
            network if isinstance(network, dict) else {}, folder.place,
            str(told) if told else f"{kept:%Y-%m-%d %H:%M} UTC",
        )  # fmt: skip

    @property
    def kind(self) -> str:
        """What is predicted: ``"classes"``, ``"numbers"`` or ``"tokens"``; empty if unknown."""
        return str(self.results.get("kind", ""))

    @property
    def task(self) -> str:
        """The kind of data; empty if unknown."""
        return str(self.results.get("task", ""))

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return [str(name) for name in self.results.get("classes") or []]

    @property
    def targets(self) -> list[str]:
        """The names of what is predicted."""
        return [str(name) for name in self.results.get("targets") or []]

    @property
    def source(self) -> str:
        """The name of the file or folder that was learned from, without its folders."""
        told = str(self.results.get("source", ""))
        return PurePath(told).name or told

    @property
    def sample(self) -> str:
        """What people call one thing that is learned from."""
        return _SAMPLES.get(self.task, "row")

    def rows(self, part: str) -> int:
        """Return how many rows a part of the split has; 0 if it is not told."""
        told = self.results.get("rows")
        return int(told.get(part, 0)) if isinstance(told, dict) else 0

    def name_of(self, label: Any) -> str:
        """Return the name of a class by its number."""
        names = self.classes
        known = isinstance(label, int) and 0 <= label < len(names)
        return names[label] if known else str(label)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _curves(results: dict[str, Any], metrics: Path) -> dict[str, list[float]]:
    """Return the curves of the results, or else of the log, without its broken lines."""
    told = results.get("history")
    made = told.get("metrics") if isinstance(told, dict) else None
    if isinstance(made, dict) and made:
        return {str(k): v for k, v in made.items() if isinstance(v, list)}
    curves: dict[str, list[float]] = {}
    if metrics.is_file():
        for line in metrics.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                epoch = json.loads(line)
            except ValueError:
                continue
            for name, value in epoch.items() if isinstance(epoch, dict) else ():
                if isinstance(value, (int, float)):
                    curves.setdefault(name, []).append(value)
    return curves
