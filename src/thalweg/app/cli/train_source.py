"""``thalweg train DATA``: from a file or folder to a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.app.advice import TRIES
from thalweg.app.cli.options import advice_in_flags, shown, warnings_told
from thalweg.app.cli.reporting import INTERRUPTED, fail, say
from thalweg.app.report import write_report
from thalweg.data import DATASETS
from thalweg.errors import ArgumentError, nearest
from thalweg.tasks import RunFolder, Settings, Trained, train
from thalweg.tasks.searching import search
from thalweg.train import Progress

__all__ = ["figure_lines", "train_source"]


def train_source(
    source: Path, given: Mapping[str, Any], config: Path | None, output: Path | None, *,
    resume: bool, quiet: bool, as_json: bool, trials: int = 0,
) -> int:  # fmt: skip
    """Train as flags and a TOML file say, flags first; return the exit code.

    ``trials``: how many settings are tried before; 0 for none.

    Raises:
        ThalwegError: a setting, the source or the folder cannot be used.
    """
    if not source.exists():
        raise ArgumentError(
            f"{str(source)!r} is no file or folder, nor a data set that comes along; "
            f"{nearest(str(source), DATASETS)}"
        )
    folder = output or Path("runs") / source.name.split(".")[0]
    before = RunFolder(folder).config
    chosen = {
        # A run goes on with the choices that it was begun with.
        **(Settings.read(before) if resume and before.is_file() else {}),
        **(Settings.read(config) if config else {}),
        **{k: v for k, v in given.items() if v is not None and (v != () or k == "hidden")},
    }
    silent = quiet or as_json
    tell = (lambda text: None) if silent else say
    with advice_in_flags(), warnings_told():
        settings = Settings.of(chosen)
        if trials:
            settings = search(source, settings, folder, trials, tell)
        made = train(
            source, settings, folder, resume=resume, events=() if silent else [Progress()],
            tell=tell,
        )  # fmt: skip
    report = write_report(folder)
    if as_json:
        told = {"folder": str(folder), "task": made.results["task"],
                "figures": made.results["figures"], "seconds": made.results["seconds"]}  # fmt: skip
        say(json.dumps(told))
    else:
        _tell(made, folder, quiet)
        if not quiet:
            say(f"report  {report}")
    if made.history.interrupted:
        fail(f"interrupted: the best network so far, of epoch {made.history.best_epoch}, was kept")
        return INTERRUPTED
    return 0


def figure_lines(results: Mapping[str, Any]) -> list[str]:
    """Return a line for each figure on the test rows, with its interval and the naive one.

    >>> figure_lines({"figures": [{"name": "MAE", "value": 1, "low": 0.5, "high": 2, "naive": 3}]})
    ['MAE  1.0000  (0.5000 to 2.0000)  naive 3.0000']
    """
    lines = []
    width = max((len(f["name"]) for f in results["figures"]), default=0)
    for figure in results["figures"]:
        naive = "" if figure["naive"] is None else f"  naive {shown(figure['naive'])}"
        lines.append(
            f"{figure['name']:<{width}}  {shown(figure['value'])}  "
            f"({shown(figure['low'])} to {shown(figure['high'])}){naive}"
        )
    return lines


def _tell(made: Trained, folder: Path, quiet: bool) -> None:
    if not quiet:
        history = made.history
        kept = ", which was kept" if history.restored else ""
        verdict = history.verdict()
        say(f"trained {len(history)} epochs, the best is {history.best_epoch}{kept}")
        say(f"{verdict.kind}: {verdict.text}")
        for text in verdict.findings:
            say(f"noticed: {text}")
        for text in TRIES.get(verdict.kind, ()):
            say(f"try: {text}")
        rows = made.results["rows"]["test"]
        say(f"on {rows:,} rows that were never trained on (95 % of bootstrap samples):")
    for line in figure_lines(made.results):
        say(line)
    if not quiet:
        say(f"kept in {folder}; {made.results['seconds']:.0f} s")
