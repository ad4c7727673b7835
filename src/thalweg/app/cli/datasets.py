"""``thalweg datasets``: the data sets known by name, and where each one is or would come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.app.cli.doctor import readable_bytes
from thalweg.app.cli.options import without_place
from thalweg.app.cli.reporting import say
from thalweg.data.catalog import CATALOG, NamedDataset, SourceFile, find_file
from thalweg.errors import DataError, nearest

__all__ = ["list_datasets", "tell_dataset"]


@dataclass(frozen=True)
class _Place:
    """Where a file is on this machine, or what is wrong with the one that is there."""

    file: SourceFile
    path: Path | None
    fault: str = ""


def list_datasets(as_json: bool) -> int:
    """Print all data sets: name, what it holds, licence, and whether it is on this machine.

    Raises:
        DataError: ``THALWEG_DATA`` names no folder.
    """
    found = {name: _told(name, dataset) for name, dataset in CATALOG.items()}
    if as_json:
        say(json.dumps(list(found.values()), indent=2, ensure_ascii=False))
        return 0
    head = ("name", "here", "what", "licence")
    rows = [head] + [(t["name"], _here(t), t["about"], t["licence"]) for t in found.values()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    say("\n".join(lines))
    say("\nLoad one with tw.data.load(NAME); it is downloaded if it is not here. See its parts,"
        "\nfiles and sources with thalweg datasets NAME.")  # fmt: skip
    return 0


def tell_dataset(name: str, as_json: bool) -> int:
    """Print one data set: its parts, files, sources, and which files are on this machine.

    Raises:
        DataError: there is no data set of this name.
    """
    if name not in CATALOG:
        raise DataError(f"the data set {name!r} is unknown; {nearest(name, CATALOG)}")
    told = _told(name, CATALOG[name])
    if as_json:
        say(json.dumps([told], indent=2, ensure_ascii=False))
        return 0
    say(f"{name}: {told['about']}")
    rows = [("licence", told["licence"]), ("parts", ", ".join(told["parts"])),
            ("here", _here(told))]  # fmt: skip
    if told["classes"]:
        rows.append(("classes", ", ".join(told["classes"])))
    for i, choice in enumerate(told["files"]):
        for file in choice:
            rows.append(("or file" if i else "file", _file_line(file)))
            rows += [("  from", url) for url in file["urls"]]
    for key, value in rows:
        say(f"{key:<8} {value}")
    return 0


def _told(name: str, dataset: NamedDataset) -> dict[str, Any]:
    """Return all that is known of a data set, as JSON can hold it."""
    choices = [[_looked_for(file, name) for file in choice] for choice in dataset.choices]
    here = any(all(place.path for place in choice) for choice in choices)
    return {
        "name": name, "about": dataset.about, "licence": dataset.licence,
        "parts": list(dataset.parts), "classes": list(dataset.classes), "here": here,
        "files": [
            [
                {"name": p.file.name, "urls": list(p.file.urls), "bytes": p.file.size,
                 "sha256": p.file.sha256, "path": None if p.path is None else str(p.path),
                 "fault": p.fault}
                for p in choice
            ]
            for choice in choices
        ],
    }  # fmt: skip


def _looked_for(file: SourceFile, name: str) -> _Place:
    try:
        return _Place(file, find_file(file, name))
    except DataError as error:
        return _Place(file, None, without_place(str(error)))


def _here(told: dict[str, Any]) -> str:
    faults = any(file["fault"] for choice in told["files"] for file in choice)
    return "yes" if told["here"] else "damaged" if faults else "no"


def _file_line(file: dict[str, Any]) -> str:
    size = readable_bytes(file["bytes"])
    seen = file["path"] or file["fault"] or (
        "not here" if file["urls"] else "not here, and nowhere to be downloaded from"
    )
    return f"{file['name']} ({size}): {seen}"
