"""A network for time series: a linear map solved in closed form, and small networks added to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.nn import initializers
from thalweg.nn.keys import Key, derived_key
from thalweg.nn.layers import new_parameter, positive

__all__ = ["SeriesNetwork"]

Array = np.ndarray[Any, Any]
_LEAST: Final = 1e-4  # variance below which a window counts as constant
_PENALTIES: Final = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, np.inf)
_FOLDS: Final = 4  # parts of the training windows that are left out in turn
_MANY: Final = 2_000  # windows above which validation alone decides
_CHUNK: Final = 1 << 22  # numbers of windows that are made ready at once
_MIXED: Final = 8  # most mixtures of all columns that the small networks read


class SeriesNetwork(nn.Module):
    """Forecasts all steps of the horizon at once from a window of the past.

    Each column of a window is taken relative to its own mean and standard deviation in that
    window, and the forecast is brought back (reversible instance normalisation), so that a series
    may move to levels it never had. To that comes a linear map of the window, one for all columns,
    which ``solve`` finds in closed form. What it leaves is learned by ``members`` small networks
    that share most weights; they read the window of the column itself, mixtures of all columns, and
    the calendar. They begin with 0, so that training starts from the linear forecast. In training
    each member's forecast is given, afterwards their mean.

    Args:
        length: steps that are read.
        horizon: steps that are forecast.
        features: columns that are read.
        targets: places of the columns that are forecast.
        calendar: numbers that tell the date of a step of the horizon, 0 for none.
        season: steps after which the series is like itself, 1 if there are none.
        hidden: units of the small networks.
        members: how many of them.
        dropout: probability of dropping a hidden unit.

    Shape:
        ``(batch, length, features)``, and ``(batch, horizon, calendar)`` if there is a calendar, to
        ``(batch, members, horizon * targets)`` in training and ``(batch, horizon * targets)``
        otherwise; the targets of a step stand side by side.

    Raises:
        ArgumentError: a size that is not from 1 on, or a target that is no column.
        ShapeError: other inputs than these.

    Example:
        >>> import thalweg as tw
        >>> network = SeriesNetwork(length=4, horizon=2, season=2, hidden=8, members=3)
        >>> past = tw.reshape(tw.tensor([1.0, 5.0, 1.0, 5.0]), (1, 4, 1))
        >>> network(past).shape, network.eval()(past).numpy().round(2).tolist()
        ((1, 3, 2), [[1.0, 5.0]])

    A. Zeng et al., "Are transformers effective for time series forecasting?", arXiv:2205.13504;
    T. Kim et al., "Reversible instance normalization", ICLR (2022); the closed form:
    W. Toner and L. Darlow, "An analysis of linear time series forecasting models",
    arXiv:2403.14587; members: Y. Gorishniy et al., arXiv:2410.24210.
    """

    def __init__(
        self,
        length: int = 48,
        horizon: int = 12,
        features: int = 1,
        targets: Sequence[int] = (0,),
        calendar: int = 0,
        season: int = 1,
        hidden: int = 64,
        members: int = 4,
        dropout: float = 0.1,
    ) -> None:
        positive("SeriesNetwork", length=length, horizon=horizon, features=features, season=season,
                 hidden=hidden, members=members)  # fmt: skip
        chosen = tuple(int(t) for t in targets)
        if not chosen or not all(0 <= t < features for t in chosen) or calendar < 0:
            raise ArgumentError(
                f"SeriesNetwork: got targets={targets!r} of {features} columns and "
                f"calendar={calendar!r}; wanted at least one place from 0 to {features - 1}, and "
                f"0 or more numbers of a calendar. {where()}"
            )
        self.length, self.horizon, self.features, self.targets = length, horizon, features, chosen
        self.calendar, self.season = calendar, season
        self.hidden, self.members, self.dropout = hidden, members, dropout
        self.linear = tw.tensor(_seasonal(length, horizon, season).astype(np.float32))
        self.offset = tw.tensor(np.zeros(horizon, np.float32))
        self.own = nn.Linear(length, hidden)
        mixed = min(features, _MIXED)
        self.mix = nn.Linear(features, mixed) if features > 1 else None
        self.all = nn.Linear(length * mixed, hidden) if features > 1 else None
        self.name = new_parameter((len(chosen), hidden), "float32") if len(chosen) > 1 else None
        self.when = nn.Linear(calendar, hidden) if calendar else None
        self.scale = new_parameter((members, hidden), "float32")
        self.inner = nn.Linear(hidden, hidden)
        self.drop = nn.Dropout(dropout)
        self.heads = new_parameter((members, hidden, horizon), "float32")
        self.days = (
            nn.Sequential(nn.Linear(calendar, 32), nn.GELU(), nn.Linear(32, 1, weight_init=0.0))
            if calendar else None
        )  # fmt: skip
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Draw a sign for each unit of a member; the output layers begin with 0."""
        signs = initializers.uniform(derived_key(key, "scale"), self.scale.shape, low=-1, high=1)
        self.scale.assign(np.where(signs < 0, -1, 1).astype(np.float32))
        self.heads.assign(np.zeros(self.heads.shape, np.float32))
        if self.name is not None:
            self.name.assign(np.zeros(self.name.shape, np.float32))

    def forward(self, past: Any, calendar: Any = None) -> Any:
        """Return each member's forecast in training, else their mean."""
        past = tw.asarray(past)
        self._check(past, calendar)
        mean = tw.mean(past, axis=1, keepdims=True)
        spread = tw.sqrt(tw.var(past, axis=1, keepdims=True) + _LEAST)
        window = (past - mean) / spread
        own = tw.stack([window[:, :, t] for t in self.targets], axis=1)  # (batch, targets, length)
        y = tw.expand_dims(tw.matmul(own, self.linear) + self.offset, 1)
        y = y + self._learned(window, own, calendar)  # (batch, members, targets, horizon)
        y = tw.transpose(y, (0, 1, 3, 2))
        places = list(self.targets)
        level = tw.stack([mean[:, :, t] for t in places], axis=-1)  # (batch, 1, targets)
        unit = tw.stack([spread[:, :, t] for t in places], axis=-1)
        y = y * tw.expand_dims(unit, 1) + tw.expand_dims(level, 1)
        y = tw.reshape(y, (-1, self.members, self.horizon * len(self.targets)))
        return y if self.training else tw.mean(y, axis=1)

    def _learned(self, window: Any, own: Any, calendar: Any) -> Any:
        """Return what the members add, (batch, members, targets, horizon)."""
        x = self.own(own)  # (batch, targets, hidden)
        if self.mix is not None and self.all is not None:
            mixed = tw.reshape(self.mix(window), (window.shape[0], -1))
            x = x + tw.expand_dims(self.all(mixed), 1)
        if self.when is not None:
            x = x + tw.expand_dims(self.when(tw.asarray(calendar)[:, 0]), 1)
        if self.name is not None:
            x = x + self.name
        scale = tw.expand_dims(self.scale, 1)  # (members, 1, hidden)
        x = self.drop(tw.gelu(tw.expand_dims(x, 1) * scale))
        x = self.drop(tw.gelu(self.inner(x)))
        y = tw.einsum("bmtk,mkh->bmth", x, self.heads)
        if self.days is not None:
            days = tw.squeeze(self.days(tw.asarray(calendar)), -1)  # (batch, horizon)
            y = y + tw.expand_dims(days, (1, 2))
        return y

    def _check(self, past: Any, calendar: Any) -> None:
        if past.ndim != 3 or past.shape[1:] != (self.length, self.features):
            raise ShapeError(
                f"SeriesNetwork: got a past of shape {past.shape}, wanted (batch, {self.length}, "
                f"{self.features}). {where()}"
            )
        shape = None if calendar is None else tw.asarray(calendar).shape[1:]
        if shape != ((self.horizon, self.calendar) if self.calendar else None):
            wanted = f"(batch, {self.horizon}, {self.calendar})" if self.calendar else "none"
            raise ShapeError(
                f"SeriesNetwork: got a calendar of shape {shape} after the batch, wanted {wanted}. "
                f"{where()}"
            )

    def solve(self, training: tuple[Array, Array], validation: tuple[Array, Array]) -> str:
        """Find the linear map by least squares, and return what it begins from, in words.

        The map is a forecast that needs no learning (the mean of the window, its last value, or
        the value one season before) and a correction with a quadratic penalty. Which of them and
        how large a penalty is what forecasts windows best that it was not made from: those of
        validation and, where windows are few, parts of the training windows, each left out in turn.
        With the largest penalty the correction is 0.

        ``training``, ``validation``: past (n, length, features) and future (n, horizon *
        targets), as the network takes and gives them.
        """
        whole = self._sums(*training)
        maps = dict(self._maps(*whole))
        held = self._sums(*validation)
        errors = {key: _error(made, *held) for key, made in maps.items()}
        for rest, left_out in self._folds(*training, whole):
            for key, made in self._maps(*rest):
                errors[key] += _error(made, *left_out)
        best = min(errors, key=lambda key: errors[key])
        made = maps[best]
        self.linear.assign(made[:-1].astype(np.float32))
        self.offset.assign(made[-1].astype(np.float32))
        return best[0] if np.isfinite(best[1]) else f"{best[0]}, which nothing linear improves"

    def _maps(self, inner: Array, cross: Array) -> Iterator[tuple[tuple[str, float], Array]]:
        """Yield the map (length + 1, horizon) of each simple forecast and each penalty."""
        values, axes = np.linalg.eigh(inner)
        values = np.maximum(values, 0)
        unit = values.mean() + 1e-12
        for name, first in self._simple().items():
            wanted = axes.T @ (cross - inner @ first)
            for penalty in _PENALTIES:
                yield (name, penalty), first + axes @ (wanted / (values + penalty * unit)[:, None])

    def _folds(
        self, past: Array, future: Array, whole: tuple[Array, Array]
    ) -> Iterator[tuple[tuple[Array, Array], tuple[Array, Array]]]:
        """Yield the sums without a stretch of windows, and those of the stretch, for a few.

        Windows beside the stretch, whose horizons overlap with its own, are in neither.
        """
        edges = np.linspace(0, len(past), _FOLDS + 1).astype(int)
        if edges[1] <= self.horizon or len(past) > _MANY:
            return
        for start, stop in pairwise(edges):
            near = slice(max(0, start - self.horizon), stop + self.horizon)
            inner, cross = self._sums(past[near], future[near])
            rest = (whole[0] - inner, whole[1] - cross)
            yield rest, self._sums(past[start:stop], future[start:stop])

    def _simple(self) -> dict[str, Array]:
        """Return forecasts that need no learning, as maps (length + 1, horizon)."""
        shape = (self.length + 1, self.horizon)
        made = {"the mean of the window": np.zeros(shape), "the last value": np.zeros(shape)}
        made["the last value"][self.length - 1] = 1
        if self.season > 1:
            season = np.zeros(shape)
            season[:-1] = _seasonal(self.length, self.horizon, self.season)
            made["the value one season before"] = season
        return made

    def _sums(self, past: Array, future: Array) -> tuple[Array, Array]:
        """Return windows times windows (length + 1, length + 1), and times horizons.

        Neither is divided by the deviation of the window: so the errors count in the unit of the
        series, as in the loss. The last entry of a window, for the offset, is that deviation.
        """
        inner = np.zeros((self.length + 1,) * 2)
        cross = np.zeros((self.length + 1, self.horizon))
        places = list(self.targets)
        step = max(1, _CHUNK // (self.length * len(places)))
        for start in range(0, len(past), step):
            own = past[start : start + step][:, :, places].astype(np.float64)
            ahead = future[start : start + step].reshape(len(own), self.horizon, len(places))
            mean = own.mean(axis=1, keepdims=True)
            spread = np.sqrt(own.var(axis=1, keepdims=True) + _LEAST)
            rows = np.concatenate([own - mean, spread], axis=1).transpose(0, 2, 1)
            rows = rows.reshape(-1, self.length + 1)
            inner += rows.T @ rows
            cross += rows.T @ (ahead - mean).transpose(0, 2, 1).reshape(-1, self.horizon)
        return inner, cross


def _error(made: Array, inner: Array, cross: Array) -> float:
    """Return the sum of squared errors of a map, less what is the same for all maps."""
    return float(np.sum(made * (inner @ made)) - 2 * np.sum(made * cross))


def _seasonal(length: int, horizon: int, season: int) -> Array:
    """Return the map (length, horizon) to the value one season before; 1 is the last value.

    >>> _seasonal(3, 2, 2).tolist()
    [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    back = min(season, length)
    made = np.zeros((length, horizon))
    steps = np.arange(horizon)
    made[length - back + steps % back, steps] = 1
    return made
