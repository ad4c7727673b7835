"""Sounds as log-mel spectrograms: how loud each band of frequencies is, window by window."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.data.features.transformer import Group, Transformer, Values, checked_count
from thalweg.errors import ArgumentError, DataError, where

__all__ = ["LogMel", "mel_bands"]

Array = np.ndarray[Any, Any]
_QUIET: Final = 1e-6  # what is added before the logarithm: the power of 16-bit rounding, about
_WHOLE: Final = 0.95  # the share of training sounds that the learned length holds whole


def mel_bands(bands: int, size: int, rate: int, low: float, high: float) -> Array:
    """Return triangles (size // 2 + 1, bands), evenly spaced on the mel scale.

    mel = 2595 log10(1 + f / 700); each triangle reaches from the middle of the one below to the
    middle of the one above and is 1 in its own. S. Davis and P. Mermelstein, "Comparison of
    parametric representations for monosyllabic word recognition", 1980.

    Example:
        >>> mel_bands(bands=3, size=16, rate=8000, low=0.0, high=4000.0).shape
        (9, 3)
    """
    edges = np.linspace(_mel(low), _mel(high), bands + 2)
    edges = 700 * (10 ** (edges / 2595) - 1)  # hertz
    frequency = np.arange(size // 2 + 1) * rate / size
    rising = (frequency[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


class LogMel(Transformer):
    """Log-mel spectrograms of one length, with mean 0 and deviation 1 in each band.

    ``rate``: samples a second of the sounds. ``bands``: how many bands. ``window``, ``hop``: length
    of a window and from one to the next, in seconds. ``low``, ``high``: the lowest and highest
    frequency in hertz, left out half the rate. ``seconds``: how much of a sound is taken; left out,
    what 95 % of the training sounds need; shorter ones end in silence. Several channels are
    averaged. Windows are weighted by a Hann window.

    Shapes: (n, samples), (n, samples, channels) or (n,) of sounds, -1 to 1, to (n, windows, bands)
    float32.

    Raises:
        ArgumentError: a setting that is not positive, or ``high`` above half the rate.
        DataError: something that is no sound, or a sample that is infinite or no number: the row
            is named.

    Example:
        >>> time = np.arange(8000) / 8000
        >>> tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
        >>> made = LogMel(rate=8000, bands=20).fit(np.stack([tone, 0 * tone]))
        >>> made.transform([tone]).shape
        (1, 98, 20)
    """

    group: ClassVar[Group] = "own"
    kinds: ClassVar[tuple[str, ...]] = ("audio",)

    def __init__(
        self, *, rate: int, bands: int = 40, window: float = 0.025, hop: float = 0.01,
        low: float = 20.0, high: float | None = None, seconds: float | None = None,
    ) -> None:  # fmt: skip
        checked_count("rate", rate)
        checked_count("bands", bands)
        top = rate / 2 if high is None else high
        positive = window > 0 and hop > 0 and (seconds is None or seconds > 0)
        if not positive or not 0 <= low < top <= rate / 2:
            raise ArgumentError(
                f"window={window}, hop={hop}, seconds={seconds}, low={low}, high={high}; wanted "
                f"positive times in seconds, and 0 <= low < high <= {rate / 2} hertz (half the "
                f"rate). {where()}"
            )
        super().__init__(rate=int(rate), bands=int(bands), window=window, hop=hop, low=low,
                         high=high, seconds=seconds)  # fmt: skip
        self.width = max(2, round(window * rate))  # samples
        self.step = max(1, round(hop * rate))
        self.size = 1 << (self.width - 1).bit_length()  # of the Fourier transform
        bank = mel_bands(self.settings["bands"], self.size, rate, low, top)
        if (bank.sum(axis=0) == 0).any():
            raise ArgumentError(
                f"bands={bands} are so many that some hold no frequency of a window of "
                f"{self.width} samples; take fewer bands or a longer window. {where()}"
            )
        self._bank = bank.astype(np.float32)
        self._hann = np.hanning(self.width + 1)[:-1].astype(np.float32)

    @property
    def frames(self) -> int:
        """How many windows a spectrogram has."""
        self._check_fitted()
        return self._count(int(self.facts["samples"]))

    def describe(self) -> str:
        """Say in a line what was learned."""
        if not self.fitted:
            return super().describe()
        seconds = self.facts["samples"] / self.settings["rate"]
        return f"LogMel: {self.settings['bands']} bands, {self.frames} windows, {seconds:.2f} s"

    def feature_names(self, name: str) -> list[str]:
        """Return a name for each band."""
        return [f"{name} band {i}" for i in range(self.settings["bands"])]

    def _learn(self, column: Values) -> None:
        sounds = [_sound(column, row) for row in range(len(column.values))]
        seconds, rate = self.settings["seconds"], self.settings["rate"]
        lengths = [len(sound) for sound in sounds]
        needed = np.quantile(lengths, _WHOLE, method="inverted_cdf")
        samples = needed if seconds is None else round(seconds * rate)
        self.facts["samples"] = int(max(samples, self.width))
        made = np.stack([self._spectrogram(sound) for sound in sounds]).astype(np.float64)
        deviation = made.std(axis=(0, 1))
        self.arrays["mean"] = made.mean(axis=(0, 1))
        self.arrays["deviation"] = np.where(deviation > 1e-6, deviation, 1.0)

    def _apply(self, column: Values) -> Array:
        count = self._count(self.facts["samples"])
        made = np.empty((len(column.values), count, self.settings["bands"]), np.float32)
        for row in range(len(made)):
            made[row] = self._spectrogram(_sound(column, row))
        made -= self.arrays["mean"].astype(np.float32)
        made /= self.arrays["deviation"].astype(np.float32)
        return made

    def _count(self, samples: int) -> int:
        return 1 + (samples - self.width) // self.step

    def _spectrogram(self, sound: Array) -> Array:
        """Return the logarithm of the power (windows, bands) of a sound (samples,)."""
        whole = np.zeros(self.facts["samples"], np.float32)
        whole[: len(sound)] = sound[: len(whole)]
        windows = np.lib.stride_tricks.sliding_window_view(whole, self.width)[:: self.step]
        spectrum = np.fft.rfft(windows * self._hann, self.size)
        power = (np.abs(spectrum) ** 2).astype(np.float32) / self.width
        return np.asarray(np.log(power @ self._bank + _QUIET))


def _sound(column: Values, row: int) -> Array:
    """Return one sound (samples,) float32, its channels averaged."""
    sound = np.asarray(column.values[row])
    if sound.dtype.kind not in "iuf" or sound.ndim not in (1, 2) or not sound.size:
        raise DataError(
            f"column {column.name!r}, {column.place(row)}: got shape {sound.shape} and dtype "
            f"{sound.dtype}, wanted the samples (n,) or (n, channels) of a sound. {where()}"
        )
    if sound.dtype.kind in "iu":
        sound = sound / np.float32(np.iinfo(sound.dtype).max)
    if not np.isfinite(sound).all():
        raise DataError(
            f"column {column.name!r}, {column.place(row)}: the sound holds samples that are "
            f"infinite or no number; mend it or leave it out. {where()}"
        )
    sound = sound.astype(np.float32)
    return sound if sound.ndim == 1 else np.asarray(sound.mean(axis=1))
