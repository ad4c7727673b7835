"""Audio files: folders and lists of sounds, as mono arrays of one rate and length."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from thalweg.data.dataset import Arrays, Source
from thalweg.data.image_files import files_by_class
from thalweg.errors import ArgumentError, DataError, where

__all__ = ["AudioFiles", "AudioFolder", "read_audio", "resample"]

Array = np.ndarray[Any, Any]
SUFFIXES: Final = frozenset((".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"))
_ZEROS: Final = 24  # zero crossings of the filter on each side: the transition is 4 % of the band
_BETA: Final = 9.0  # of the Kaiser window: what folds back is 90 dB down
_ROLL_OFF: Final = 0.95  # the filter's cut as a share of half the lower rate
_BLOCK: Final = 1 << 16  # samples made together, so that memory stays small


def read_audio(
    source: str | os.PathLike[str] | BinaryIO, rate: int | None = None, mono: bool = True
) -> tuple[Array, int]:
    """Return the samples of a sound and their rate in hertz.

    ``source``: a file (WAV, FLAC, Ogg, MP3, AIFF), or an open one. ``rate``: what to resample to,
    or None for its own. ``mono``: whether to average the channels.

    Needs soundfile: ``pip install 'thalweg[audio]'``.

    Shapes: to (time,) float32, -1 to 1; (time, channels) without ``mono``.

    Raises:
        DataError: the file is missing, empty, damaged or of another format; it is named.

    Example:
        >>> import soundfile, tempfile
        >>> file = tempfile.mkdtemp() + "/a.wav"
        >>> soundfile.write(file, np.zeros(8000), 8000)
        >>> samples, rate = read_audio(file, rate=16_000)
        >>> samples.shape, rate
        ((16000,), 16000)
    """
    if importlib.util.find_spec("soundfile") is None:
        raise DataError(
            "reading audio needs soundfile, which is not installed: pip install 'thalweg[audio]'. "
            f"{where()}"
        )
    import soundfile

    try:
        samples, own = soundfile.read(source, dtype="float32", always_2d=True)  # (time, channels)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{_fault(source, error)}. {where()}") from error
    name = getattr(source, "name", source)
    if not len(samples):
        raise DataError(f"the sound {name} holds no samples; leave it out. {where()}")
    if not np.isfinite(samples).all():
        raise DataError(
            f"the sound {name} holds samples that are not finite; write it again. {where()}"
        )
    sound: Array = samples.mean(axis=1) if mono else samples
    if rate is not None and rate != own:
        sound = resample(sound, own, rate)
    return sound, int(own if rate is None else rate)


def resample(samples: Array, rate: int, target: int) -> Array:
    """Return a sound at another rate: band-limited, by a windowed sinc in polyphase form.

    With rate / target reduced to down / up, output n is a weighted sum of the inputs around
    n * down / up; there are ``up`` sets of weights, each sin(x) / x under a Kaiser window. What the
    lower rate cannot hold is filtered out, so that nothing folds back.

    Shapes: (time, ...) to (ceil(time * target / rate), ...), float32.

    Raises:
        ArgumentError: a rate that is not a whole number above 0.

    Example:
        >>> tone = np.sin(np.arange(800) * 2 * np.pi * 100 / 8000).astype(np.float32)
        >>> resample(tone, 8000, 4000).shape
        (400,)

    Reference: J. O. Smith, "Digital Audio Resampling Home Page",
    https://ccrma.stanford.edu/~jos/resample/ ; R. E. Crochiere, L. R. Rabiner, "Multirate Digital
    Signal Processing", 1983.
    """
    rates: dict[str, Any] = {"rate": rate, "target": target}
    for name, value in rates.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ArgumentError(
                f"resample: {name} is {value!r}, wanted a whole number of hertz. {where()}"
            )
    sound = np.asarray(samples, np.float32)
    if rate == target or not len(sound):
        return sound
    common = math.gcd(rate, target)
    up, down = target // common, rate // common
    bank = _filters(up, down)  # (up, taps)
    taps = bank.shape[1]
    before = taps // 2 - 1
    flat = sound.reshape(len(sound), -1)
    padded = np.pad(flat, ((before, taps), (0, 0)))  # (time + before + taps, channels)
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps, axis=0)
    count = -(-len(sound) * up // down)
    made = np.empty((count, flat.shape[1]), np.float32)
    for start in range(0, count, _BLOCK):
        places = np.arange(start, min(start + _BLOCK, count)) * down
        made[start : start + _BLOCK] = np.einsum(
            "tck,tk->tc", windows[places // up], bank[places % up]
        )
    return made.reshape(count, *sound.shape[1:])


@lru_cache(maxsize=16)
def _filters(up: int, down: int) -> Array:
    """Return the weights of each phase (up, taps), float32; each row sums to 1."""
    scale = min(1.0, up / down)  # of the cut, relative to the input's band
    half = math.ceil(_ZEROS / scale)
    places = np.arange(-half + 1, half + 1) - np.arange(up)[:, None] / up  # (up, taps)
    inside = np.clip(1 - (places / half) ** 2, 0, None)
    window = np.i0(_BETA * np.sqrt(inside)) / np.i0(_BETA)
    weights = np.sinc(places * scale * _ROLL_OFF) * window
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


class AudioFiles(Source):
    """Sounds in files, each with a target; read, resampled and mixed to mono when fetched.

    ``files``: paths. ``targets``: (n, ...), or None. ``rate``: of all sounds, in hertz; without it
    all files must have the same. ``length``: samples of all sounds, longer ones are cut and
    shorter ones get silence at the end; without it all must be equally long. ``classes``: the
    names of labels 0, 1, ...

    Shapes: sounds (batch, time), float32, -1 to 1; targets (batch, ...).

    Raises:
        DataError: no files, files that are missing or empty, as many targets as there are not
            files; while fetching, a file that cannot be read, of another rate or length.

    Example:
        >>> import soundfile, tempfile
        >>> file = tempfile.mkdtemp() + "/a.wav"
        >>> soundfile.write(file, np.zeros((100, 2)), 8000)
        >>> AudioFiles([file], [3], length=160).fetch(np.array([0]))[0].shape
        (1, 160)
    """

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        targets: Any = None,
        *,
        rate: int | None = None,
        length: int | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.files = [Path(file) for file in files]
        self.rate, self.length, self.classes = rate, length, tuple(classes)
        if not self.files:
            raise DataError(f"no audio files were given; give at least one. {where()}")
        for path in self.files:
            if not path.is_file() or not path.stat().st_size:
                what = "is empty" if path.is_file() else "does not exist"
                raise DataError(
                    f"the sound {path} {what}; put a copy there, or leave it out. {where()}"
                )
        self.targets = None if targets is None else np.asarray(targets)
        self.names = ("sound",) if self.targets is None else ("sound", "target")
        if self.targets is not None:
            if self.targets.ndim < 1 or len(self.targets) != len(self.files):
                raise DataError(
                    f"{len(self.files):,} audio files, but targets of shape {self.targets.shape}; "
                    f"give one a file. {where()}"
                )
            if self.targets.ndim == 1 and self.targets.dtype.kind in "iub":
                self.labels = self.targets

    def __len__(self) -> int:
        return len(self.files)

    def fetch(self, rows: Array) -> Arrays:
        """Return the sounds of these rows, and their targets where there are any.

        Raises:
            DataError: a file that cannot be read, of another rate or length; it is named.
        """
        sounds = [self._sound(int(row)) for row in rows]
        for row, sound in zip(rows, sounds, strict=True):
            if len(sound) != len(sounds[0]):
                raise DataError(
                    f"the sound {self.files[row]} has {len(sound):,} samples and "
                    f"{self.files[rows[0]]} has {len(sounds[0]):,}; give the length that all are "
                    f"cut or filled to, such as length=16_000. {where()}"
                )
        stacked = np.stack(sounds) if sounds else np.empty((0, self.length or 0), np.float32)
        return (stacked,) if self.targets is None else (stacked, self.targets[rows])

    def describe(self, row: int) -> str:
        """Return the path of a sound."""
        return str(self.files[row])

    def _sound(self, row: int) -> Array:
        sound, rate = read_audio(self.files[row], self.rate)
        if self.rate is None:
            self._check_rate(row, rate)
        return sound if self.length is None else fitted(sound, self.length)

    def _check_rate(self, row: int, rate: int) -> None:
        import soundfile

        first = int(soundfile.info(self.files[0]).samplerate)
        if rate != first:
            raise DataError(
                f"the sound {self.files[row]} has {rate:,} samples a second and {self.files[0]} "
                f"has {first:,}; give the rate that all are brought to, such as rate={first}. "
                f"{where()}"
            )


class AudioFolder(AudioFiles):
    """Sounds in a folder for each class, or in one folder with the class in their names.

    ``label``: what gives the class of a file from its name without ending, such as ``lambda name:
    name.split("_")[0]``; left out, sounds lie in a folder for each class. Classes are numbered in
    the order of their names. The rest is as for ``AudioFiles``.

    Raises:
        DataError: a folder that is missing or holds no sounds, and as for ``AudioFiles``.

    Example:
        >>> import soundfile, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("yes_1", "no_1"):
        ...     soundfile.write(f"{folder}/{name}.wav", np.zeros(10), 8000)
        >>> AudioFolder(folder, label=lambda name: name.split("_")[0]).classes
        ('no', 'yes')
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        label: Callable[[str], str] | None = None,
        rate: int | None = None,
        length: int | None = None,
    ) -> None:
        base = Path(folder)
        if label is None:
            files, labels, classes = files_by_class(base, SUFFIXES, "sounds")
        else:
            if not base.is_dir():
                raise DataError(f"the folder {base} does not exist; check its path. {where()}")
            files = sorted(path for path in base.rglob("*") if path.suffix.lower() in SUFFIXES)
            if not files:
                raise DataError(
                    f"the folder {base} holds no sounds ({', '.join(sorted(SUFFIXES))}). {where()}"
                )
            given = [str(label(path.stem)) for path in files]
            classes = tuple(sorted(set(given)))
            labels = np.array([classes.index(name) for name in given], np.int64)
        super().__init__(files, labels, rate=rate, length=length, classes=classes)


def fitted(sound: Array, length: int) -> Array:
    """Return the first ``length`` samples of a sound, with silence at the end if it is shorter.

    >>> fitted(np.ones(2), 3).tolist()
    [1.0, 1.0, 0.0]
    """
    return sound[:length] if len(sound) >= length else np.pad(sound, (0, length - len(sound)))


def _fault(source: Any, error: Exception) -> str:
    name = getattr(source, "name", source)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            return f"the sound {path} does not exist; check its path"
        if path.is_file() and not path.stat().st_size:
            return f"the sound {path} is empty, it has no bytes; leave it out"
    return f"the sound {name} cannot be read ({error}); put a whole copy there, or leave it out"
