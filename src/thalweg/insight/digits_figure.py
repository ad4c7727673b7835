"""One figure of a digits run: learning curve, confusion matrix, first-layer weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.errors import ArgumentError, where
from thalweg.formats.atomic import write_through
from thalweg.train import History

__all__ = ["draw_digits_figure", "mosaic"]

Array = np.ndarray[Any, Any]
_COLUMNS: Final = 16
_ROWS: Final = 4  # 64 units: more are too small to be seen


def draw_digits_figure(
    path: str | os.PathLike[str], history: History, confusion: Array, weights: Array
) -> Path:
    """Write a PNG with loss and accuracy by epoch, the confusion matrix, and weights as images.

    Shapes: confusion (classes, classes), rows are the true classes; weights (units, height,
    width), of which the first 64 are shown, each scaled by its own largest absolute value.

    Raises:
        ArgumentError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError(
            f"figures need matplotlib: pip install 'thalweg[plots]'. {where()}"
        ) from error
    # A Figure of its own, not pyplot's: nothing global changes, and no window system is asked.
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 0.85])
    top, bottom = parts
    left, middle, right = top.subplots(1, 3)
    _curve(left, history, "loss")
    _curve(middle, history, "accuracy")
    _table(right, confusion)
    grid = bottom.subplots()
    shown = min(len(weights), _ROWS * _COLUMNS)
    grid.imshow(mosaic(weights), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    grid.set_title(f"weights of {shown} of {len(weights)} units of the first layer (blue -, red +)")
    grid.set_axis_off()
    target = Path(path)
    write_through(target, lambda name: figure.savefig(name, dpi=110, format="png"))
    return target


def _curve(axes: Any, history: History, name: str) -> None:
    for key, label in ((name, "training"), (f"validation_{name}", "validation")):
        if key in history.metrics:
            values = history[key]
            axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=label)
    if history.best_epoch:
        axes.axvline(history.best_epoch, color="grey", linewidth=0.8, linestyle=":", label="best")
    axes.set_xlabel("epoch")
    axes.set_title(name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()


def _table(axes: Any, confusion: Array) -> None:
    total = confusion.sum(axis=1, keepdims=True)
    share = confusion / np.maximum(total, 1)
    # The square root makes the rare errors visible beside the diagonal.
    axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)
    for (true, found), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if share[true, found] > 0.3 else "black"
            axes.text(found, true, str(count), ha="center", va="center", fontsize=7, color=colour)
    classes = range(len(confusion))
    axes.set_xticks(classes)
    axes.set_yticks(classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = int(np.trace(confusion))
    axes.set_title(f"test images: {right:,} of {int(confusion.sum()):,} right")


def mosaic(images: Array, columns: int = _COLUMNS, rows: int = _ROWS) -> Array:
    """Return images side by side as one, each divided by its largest absolute value.

    Shapes: (n, height, width) to one image with a blank pixel between neighbours; places without
    an image are NaN, which is drawn as nothing.

    >>> mosaic(np.ones((3, 2, 2)), columns=2, rows=2).shape
    (5, 5)
    """
    count, height, width = images.shape
    lines = min(rows, -(-count // columns))
    across = min(columns, count)
    made = np.full((lines * (height + 1) - 1, across * (width + 1) - 1), np.nan)
    for place in range(min(count, lines * columns)):
        line, column = divmod(place, columns)
        y, x = line * (height + 1), column * (width + 1)
        image = images[place]
        made[y : y + height, x : x + width] = image / (np.abs(image).max() or 1)
    return made
