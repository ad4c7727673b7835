"""``thalweg summary``: what a run folder or a model file holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thalweg import models
from thalweg.app.cli.digits_network import SIDE, unit_range
from thalweg.app.cli.doctor import folder_size, readable_bytes
from thalweg.app.cli.predict import model_file
from thalweg.app.cli.reporting import say
from thalweg.app.cli.train_source import figure_lines
from thalweg.errors import FormatError, ThalwegError
from thalweg.formats import ModelInfo, info
from thalweg.nn import Module
from thalweg.nn.summary import Summary
from thalweg.tasks import Run, Settings
from thalweg.train.evaluation import ready_inputs

__all__ = ["Held", "examples_of", "open_place", "summarise"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Held:
    """What lies at a place: the model, what its file tells, and the run if it is a run folder's."""

    path: Path
    model: Module
    told: ModelInfo
    run: Run | None
    transform: Any = None


def open_place(place: Path) -> Held:
    """Return what a run folder or a model file holds.

    Raises:
        FormatError: there is neither, or it is damaged.
    """
    path = model_file(place)
    if place.is_dir() and not path.is_file():
        raise FormatError(
            f"{str(place)!r} holds no {path.name}: give a folder that `thalweg train` wrote, or a "
            "model file"
        )
    told = info(path)
    if (path.parent / "pipeline.safetensors").is_file():
        run = Run.load(path.parent)
        return Held(path, run.model, told, run, run.task.transform)
    digits = told.preprocessing.get("kind") == "digits"
    return Held(path, models.load(path), told, None, unit_range if digits else None)


def examples_of(held: Held, rows: int) -> list[Array] | None:
    """Return arrays (rows, ...) such as the network takes, of zeros; None if it is not known.

    What the training had, as the model file tells it; whole numbers are codes, of which 0 is one
    that every network knows.
    """
    shapes = held.told.preprocessing.get("inputs")
    if shapes is None and held.told.preprocessing.get("kind") == "digits":
        shapes = [{"shape": [SIDE, SIDE], "dtype": "uint8"}]
    if shapes is None:
        return None
    return [np.zeros((rows, *one["shape"]), one["dtype"]) for one in shapes]


def summarise(place: Path, as_json: bool) -> int:
    """Print task, targets, layers, settings, figures and size of what lies at a place.

    Raises:
        FormatError: there is no run folder and no model file, or it is damaged.
    """
    held = open_place(place)
    results = _results(held)
    layers = _layers(held)
    if as_json:
        say(json.dumps(_as_json(held, results, layers), indent=2, ensure_ascii=False))
        return 0
    for key, value in _rows(held, results):
        say(f"{key:<11} {value}".rstrip())
    say()
    say(str(layers) if layers is not None else repr(held.model))
    figures = figure_lines(results) if results.get("figures") else []
    if figures:
        say("\nfigures on the test rows (95 % of bootstrap samples):")
        say("\n".join(figures))
    chosen = _settings(held)
    if chosen:
        say("\nsettings:")
        say("\n".join(f"  {name} = {json.dumps(v)}" for name, v in chosen.items()))
    return 0


def _results(held: Held) -> dict[str, Any]:
    """Return what was measured; nothing if the file is not there (it is not needed to predict)."""
    if held.run is None:
        return {}
    try:
        return held.run.folder.read_results()
    except FormatError:
        return {}


def _layers(held: Held) -> Summary | None:
    example = examples_of(held, 1)
    if example is None:
        return None
    try:
        ready = ready_inputs(example, held.transform)
        return held.model.summary([np.asarray(x) for x in ready])
    except ThalwegError:  # such as a network that loops in Python; the modules are shown instead
        return None


def _settings(held: Held) -> dict[str, Any]:
    """Return the choices, of a run folder those of its config, else what the model file tells."""
    if held.run is not None:
        try:
            return Settings.read(held.run.folder.config)
        except ThalwegError:
            pass
    made = held.told.training.get("settings", held.told.training.get("options"))
    given = made if isinstance(made, dict) else {}
    return {name: value for name, value in given.items() if value is not None}


def _size(held: Held) -> int:
    if held.run is None:
        return held.path.stat().st_size
    return folder_size(held.run.folder.place)


def _rows(held: Held, results: dict[str, Any]) -> list[tuple[str, str]]:
    told = held.told
    size = readable_bytes(_size(held))
    if held.run is not None:
        checkpoints = folder_size(held.run.folder.checkpoints)
        size += f", {readable_bytes(checkpoints)} of them checkpoints" if checkpoints else ""
    rows = [("run folder" if held.run else "model", str(held.path.parent if held.run
                                                        else held.path))]  # fmt: skip
    rows.append(("task", str(told.preprocessing.get("kind", "not told"))))
    if held.run is not None:
        task = held.run.task
        if task.targets:
            rows.append(("targets", ", ".join(task.targets)))
        rows.append(("predicts", task.kind))
    if told.classes:
        shown = ", ".join(told.classes[:20]) + (", ..." if len(told.classes) > 20 else "")
        rows.append(("classes", f"{len(told.classes)}: {shown}"))
    source = told.training.get("source", told.training.get("dataset"))
    if source:
        rows.append(("trained on", str(source)))
    if "test_accuracy" in told.training:
        rows.append(("accuracy", f"{told.training['test_accuracy']:.4f} on the test images"))
    if results.get("rows"):
        parts = [f"{count:,} {name}" for name, count in results["rows"].items()]
        rows.append(("rows", ", ".join(parts)))
    if results.get("seconds"):
        rows.append(("took", f"{results['seconds']:.0f} s"))
    rows.append(("parameters", f"{held.model.count_parameters():,}"))
    rows.append(("on disk", size))
    rows.append(("made by", f"thalweg {told.thalweg_version}"))
    return rows


def _as_json(held: Held, results: dict[str, Any], layers: Summary | None) -> dict[str, Any]:
    task = None if held.run is None else held.run.task
    return {
        "place": str(held.path.parent if held.run else held.path),
        "is_run": held.run is not None,
        "task": held.told.preprocessing.get("kind"),
        "kind": None if task is None else task.kind,
        "targets": [] if task is None else list(task.targets),
        "classes": held.told.classes,
        "parameters": held.model.count_parameters(),
        "flops": None if layers is None else layers.flops,
        "layers": [] if layers is None else [
            {"layer": r.layer, "type": r.type, "output_shape": list(r.output_shape),
             "parameters": r.parameters, "flops": r.flops}
            for r in layers.rows
        ],
        "settings": _settings(held),
        "figures": results.get("figures", []),
        "rows": results.get("rows", {}),
        "training": held.told.training if task is None else {},
        "bytes": _size(held),
        "thalweg_version": held.told.thalweg_version,
    }  # fmt: skip
