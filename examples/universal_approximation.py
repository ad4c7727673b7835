"""One hidden layer comes as close to a curve as one wants: the error falls as its width grows.

G. Cybenko, "Approximation by superpositions of a sigmoidal function" (1989),
doi:10.1007/BF02551274; K. Hornik, "Approximation capabilities of multilayer feedforward networks"
(1991), doi:10.1016/0893-6080(91)90009-T. The theorems say that good weights exist; here gradient
descent has to find them.

Seen: the root mean square error of networks 1-n-1 with tanh on a wave that gets ever faster,
for n from 1 to 64, and with ``--out`` a picture of their outputs over the curve.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import run

import thalweg as tw
from thalweg import nn

Array = np.ndarray[Any, Any]
WIDTHS = (1, 2, 4, 8, 16, 32, 64)
STEPS = 20_000


def curve(x: Array) -> Array:
    """Return the values to learn, for x from -1 to 1."""
    return np.sin(10 * (x + 1) ** 2) / 2


def approximated(x: Array, y: Array, width: int) -> Array:
    """Return the outputs (n, 1) of a network of this width, trained on all points at once."""
    # Steep steps spread over the interval: from small weights all units start as one straight line.
    slope = max(width, 5)
    model = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1), seed=0)
    model[0].weight.assign(np.full((1, width), slope, np.float32))
    model[0].bias.assign(-slope * (np.arange(width, dtype=np.float32) * 2 + 1 - width) / width)
    optimizer = tw.optim.Adam(model, learning_rate=tw.optim.cosine(0.01, STEPS))

    @tw.compile
    def step(x: Any, y: Any) -> Any:
        loss, gradients = tw.value_and_grad(lambda model: nn.losses.mse(model(x), y))(model)
        optimizer.update(gradients)
        return loss

    everything = np.tile(np.arange(len(x)), (STEPS, 1))  # the same rows in each step
    step.repeat(tw.rows(x, everything), tw.rows(y, everything))
    return model(x).numpy()


def draw(x: Array, y: Array, outputs: dict[int, Array], path: Path) -> None:
    """Draw the curve and what the networks make of it; needs matplotlib (``thalweg[plots]``)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot(x, y, color="0.75", linewidth=6, label="curve")
    for width in (1, 4, 16, 64):
        if width in outputs:
            axes.plot(x, outputs[width], label=f"{width} hidden unit{'s' * (width > 1)}")
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Fit the curve with growing hidden layers."""
    widths = (1, 4, 16) if short else WIDTHS
    x = np.linspace(-1, 1, 256, dtype=np.float32)[:, None]
    y = curve(x).astype(np.float32)
    outputs, errors = {}, {}
    for width in widths:
        outputs[width] = approximated(x, y, width)
        errors[f"rms_error_width_{width}"] = float(np.sqrt(np.square(outputs[width] - y).mean()))
    if out is not None:
        draw(x, y, outputs, out / "universal_approximation.png")
    return errors


if __name__ == "__main__":
    run(main)
