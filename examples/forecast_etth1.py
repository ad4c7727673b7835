"""LSTM and GRU forecast the oil temperature of a transformer station, against naive forecasts.

S. Hochreiter and J. Schmidhuber, "Long short-term memory" (1997), doi:10.1162/neco.1997.9.8.1735;
K. Cho et al., arXiv:1406.1078. Data: ETTh1, hourly, of H. Zhou et al., "Informer",
arXiv:2012.07436, with its split into 12, 4 and 4 months; numbers are scaled by mean and deviation
of the training months.

Seen: the mean squared error of the next 24 hours' oil temperature from its last 96 hours, on the
four test months, next to two naive forecasts: the last value stays, and tomorrow is as today. The
networks see and forecast only how the temperature differs from its last value: its level drifts,
and what they learn of the level in one year misleads them in the next.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import data_file, run

import thalweg as tw
from thalweg import nn

Array = np.ndarray[Any, Any]
PAST, FUTURE = 96, 24  # hours
MONTH = 30 * 24
OIL = 7  # the column to forecast


class Forecaster(nn.Module):
    """Temperatures of 96 hours, (batch, 96), to those of the next ones, (batch, 24)."""

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], width: int) -> None:
        self.recurrent = kind(1, width)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(width, FUTURE, weight_init=0.0)  # begins as the naive forecast

    def forward(self, x: Any) -> Any:
        """Return the last value plus what the network thinks will be added to it."""
        last = x[:, -1:]
        hidden, _ = self.recurrent((x - last)[..., None])
        return last + self.head(self.dropout(hidden[:, -1]))


def load() -> Array:
    """Return the oil temperature of every hour, scaled by the training months."""
    path = data_file("timeseries/ETTh1.csv")
    hours = np.loadtxt(path, delimiter=",", skiprows=1, usecols=OIL)[: 20 * MONTH]
    training = hours[: 12 * MONTH]
    return ((hours - training.mean()) / training.std()).astype(np.float32)


def windows(hours: Array, start: int, stop: int) -> tuple[Array, Array]:
    """Return pasts (n, 96) and futures (n, 24), with the futures in the hours start to stop."""
    first = max(start - PAST, 0)
    cut = np.lib.stride_tricks.sliding_window_view(hours[first:stop], PAST + FUTURE)
    return np.ascontiguousarray(cut[:, :PAST]), np.ascontiguousarray(cut[:, PAST:])


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Train both networks on twelve months; choose the epoch on four, measure on four more."""
    hours = load()
    train = windows(hours, 0, 12 * MONTH)
    validation = windows(hours, 12 * MONTH, 16 * MONTH)
    test = windows(hours, 16 * MONTH, 20 * MONTH)
    epochs, width = 12, 32
    if short:
        epochs, width = 1, 16
        train, validation, test = (tuple(a[::8] for a in s) for s in (train, validation, test))
    past, future = test
    stays, as_today = past[:, -1:], past[:, -FUTURE:]
    figures = {
        "mse_last_value": float(np.square(stays - future).mean()),
        "mse_as_today": float(np.square(as_today - future).mean()),
    }
    for kind in (nn.LSTM, nn.GRU):
        model = Forecaster(kind, width).reset_parameters(0)
        trainer = tw.Trainer(
            model, "mse", "adamw", learning_rate=1e-3, metrics=["mae"],
            events=[tw.train.Progress()],
        )  # fmt: skip
        trainer.fit(train, epochs=epochs, batch_size=64, validation=validation, early_stopping=3)
        found = trainer.evaluate(test)
        figures[f"mse_{kind.__name__.lower()}"] = found["loss"]
        figures[f"mae_{kind.__name__.lower()}"] = found["mae"]
    return figures


if __name__ == "__main__":
    run(main)
