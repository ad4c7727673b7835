"""Recurrent forecaster: the next values of time series from their past."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.models.recurrent import checked_lengths, last_state, new_layer
from thalweg.models.registry import register
from thalweg.models.sequence_classifier import GRU_PAPER, LSTM_PAPER
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["Forecaster"]

SMALL: Final = {"features": 3, "horizon": 4, "targets": 2, "hidden": 8}


@register(
    "lstm_forecaster", paper=LSTM_PAPER, parameters=20_248, flops=3_492_864, inputs=((96, 7),),
    task="forecasting", small=SMALL, small_inputs=((6, 3),),
)  # fmt: skip
class Forecaster(nn.Module):
    """A recurrent network that reads the past, and a linear layer that tells all next values.

    All steps of the horizon are forecast at once, from the state after the last step: no forecast
    is fed back. The default has 20,248 parameters (GRU: 15,576). ``nn.to_torch`` names them
    ``recurrent`` and ``head``, as PyTorch's ``LSTM`` (or ``GRU``, ``RNN``) and ``Linear`` have
    them.

    Args:
        kind: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        features: series that are read.
        horizon: steps to forecast.
        targets: series to forecast.
        hidden, layers: size and number of the recurrent layers.
        dropout: probability of dropout between the layers and before the last one.
        residual: the columns of the input whose last value is added to the forecasts, one for each
            target; the network then begins as the naive forecast that nothing changes, and learns
            what is added to it. Nothing is added if left out.

    Shape:
        ``(batch, time, features)`` to ``(batch, horizon, targets)``.

    Raises:
        ArgumentError: a size is not from 1 on, an unknown kind, other columns than there are;
            lengths that are not from 1 to the number of steps (compiled, an IndexError).
        ShapeError: an input of another shape.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.forecaster import Forecaster
        >>> model = Forecaster("gru", features=3, horizon=4, targets=1, hidden=8, residual=[2])
        >>> past = tw.reshape(tw.arange(15, dtype="float32"), (1, 5, 3))
        >>> model(past)[0, :, 0].tolist()
        [14.0, 14.0, 14.0, 14.0]

    S. Hochreiter and J. Schmidhuber (1997); K. Cho et al., arXiv:1406.1078; all steps at once:
    S. Ben Taieb et al., "A review and comparison of strategies for multi-step ahead time series
    forecasting", arXiv:1108.3259.
    """

    def __init__(
        self, kind: str = "lstm", features: int = 7, horizon: int = 24, targets: int = 1,
        hidden: int = 64, layers: int = 1, dropout: float = 0.0,
        residual: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        positive("Forecaster", features=features, horizon=horizon, targets=targets, hidden=hidden,
                 layers=layers)  # fmt: skip
        columns = None if residual is None else [int(c) for c in residual]
        if columns is not None and (
            len(columns) != targets or not all(-features <= c < features for c in columns)
        ):
            raise ArgumentError(
                f"Forecaster: residual must name one of the {features} columns for each of the "
                f"{targets} targets, got {columns!r}. {where()}"
            )
        self.kind, self.features, self.horizon, self.targets = kind, features, horizon, targets
        self.hidden, self.layers, self.dropout, self.residual = hidden, layers, dropout, columns
        self.recurrent = new_layer("Forecaster", kind, features, hidden, layers, dropout)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(
            hidden, horizon * targets, weight_init=None if columns is None else 0.0
        )

    def forward(self, x: Any, lengths: Any = None) -> Tensor:
        """Return the forecasts; ``lengths`` (batch,): how many steps of each series there are."""
        x = tw.asarray(x)
        if lengths is not None:
            lengths = checked_lengths("Forecaster", lengths, x)
        _, state = self.recurrent(x, lengths=lengths)
        made = self.head(self.drop(last_state(state)))
        y: Tensor = tw.reshape(made, (-1, self.horizon, self.targets))
        if self.residual is not None:
            y = y + self._last_values(x, lengths)
        return y

    def _last_values(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the last values of the columns that are added, (batch, 1, targets)."""
        assert self.residual is not None
        if lengths is None:
            rows = x[:, -1:]
        else:
            rows = tw.take_along_axis(x, tw.expand_dims(lengths - 1, (1, 2)), axis=1)
        last: Tensor = tw.stack([rows[..., column] for column in self.residual], axis=-1)
        return last

    def arguments(self) -> str:
        """Return the kind and the sizes."""
        return (f"{self.kind!r}, {self.features}, horizon={self.horizon}, "
                f"targets={self.targets}, hidden={self.hidden}")  # fmt: skip


register(
    "gru_forecaster", paper=GRU_PAPER, parameters=15_576, flops=2_620_416, inputs=((96, 7),),
    task="forecasting", small=SMALL, small_inputs=((6, 3),),
)(partial(Forecaster, "gru"))  # fmt: skip
