"""``thalweg models``: every architecture with its size and cost, or the layers of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from thalweg import models
from thalweg.app.cli.reporting import say
from thalweg.models import Architecture

__all__ = ["list_models", "readable"]

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def list_models(name: str | None, as_json: bool) -> None:
    """Print a table of all architectures, or the layers of the one that is named.

    Raises:
        ArgumentError: there is no architecture of this name.
    """
    if name is None:
        found = models.list()
        say(_as_json(found) if as_json else _as_table(found))
        return
    told = models.get(name)
    if as_json:
        say(_as_json([told]))
        return
    say(f"{told.name}: {told.task}\n{told.paper}\n")
    inputs = list(told.inputs) if len(told.inputs) > 1 else told.inputs[0]
    say(str(models.create(name).summary(inputs, told.dtype)))


def readable(count: int) -> str:
    """Return a large number with three digits and a unit.

    >>> readable(25_557_032), readable(401), readable(61_706), readable(999_999)
    ('25.6 M', '401', '61.7 k', '1.00 M')
    """
    for size, unit in _UNITS:
        if count >= 0.9995 * size:
            share = count / size
            digits = 2 if share < 9.995 else 1 if share < 99.95 else 0
            return f"{share:.{digits}f} {unit}"
    return str(count)


def _as_json(found: Sequence[Architecture]) -> str:
    rows: list[dict[str, Any]] = [
        {"name": a.name, "task": a.task, "parameters": a.parameters, "flops": a.flops,
         "inputs": [list(shape) for shape in a.inputs], "dtype": a.dtype, "paper": a.paper}
        for a in found
    ]  # fmt: skip
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _as_table(found: Sequence[Architecture]) -> str:
    head = ("name", "parameters", "FLOPs", "input", "task", "paper")
    rows = [head] + [
        (a.name, f"{a.parameters:,}", readable(a.flops), _shapes(a), a.task, _short(a.paper))
        for a in found
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(w) if i in (1, 2) else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    foot = (
        f"{len(found)} architectures. FLOPs: 2 for each multiply-add of one forward pass of one "
        "example.\nMake one with tw.models.create(NAME); see its layers with thalweg models NAME."
    )
    return "\n".join([*lines, "", foot])


def _shapes(told: Architecture) -> str:
    return ", ".join(" x ".join(map(str, shape)) for shape in told.inputs)


def _short(paper: str) -> str:
    """Return the address of a paper where it has one, else its authors and title.

    >>> _short("K. He et al., Deep residual learning (2015), arXiv:1512.03385")
    'arXiv:1512.03385'
    """
    last = paper.rsplit(", ", 1)[-1]
    return last if last.startswith(("arXiv:", "doi:")) else paper
