"""Sounds in a folder for each class, or named by it: the class of each spectrogram is learned."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data import augment
from thalweg.data.audio_files import SUFFIXES, fitted, read_audio
from thalweg.data.features import LogMel, Transformer, Values
from thalweg.errors import ArgumentError, DataError, where
from thalweg.nn import Module
from thalweg.tasks.convolutional import convolutional, with_schedule
from thalweg.tasks.labelled_files import (
    NAMED,
    Labelled,
    by_folder,
    by_list,
    by_name,
    files_within,
    holds_classes,
    is_list,
    listed_files,
    named_by_class,
    read_files,
    told_faults,
)
from thalweg.tasks.labelled_parts import (
    check_classes,
    check_learnable,
    notes_of_copies,
    split_files,
)
from thalweg.tasks.noticing import notes_of_classes
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import Problem, Rows, Task

__all__ = ["SoundsTask"]

Array = np.ndarray[Any, Any]
_FASTEST: Final = 16_000  # hertz to which faster sounds are brought: speech has little above 8 kHz
_BANDS: Final = (40, 32, 24, 16, 8)  # the first that the rate has frequencies for
_WINDOWS: Final = 300  # of a spectrogram at most: longer sounds get windows further apart
_HOP: Final = 0.01  # seconds from one window to the next, at least
_WINDOW: Final = 0.025  # seconds of a window, at least
_SHORTEST: Final = 0.2  # seconds
_LONGEST: Final = 30.0  # seconds of a sound that are looked at
_WHOLE: Final = 0.95  # the share of training sounds that the length holds whole
_FITTED: Final = 500  # sounds that mean and deviation of the bands are learned from
_SILENT: Final = 1e-4  # loudest sample of a silent sound: 80 dB below the loudest possible one
_LEVEL: Final = 0.1  # root of the mean square that sounds are brought to
_SHOWN: Final = 20  # names in a note
_MASKED: Final = 8  # a mask takes at most this part of all windows or bands


class SoundsTask(Task):
    """Learns the class of sounds from their log-mel spectrograms.

    >>> SoundsTask.name
    'sounds'
    """

    name = "sounds"
    turn = 20
    targets = ("class",)

    @classmethod
    def recognises(cls, source: Path, settings: Any) -> str:
        """Folders with sounds in folders of their own or named by class, and lists of sounds."""
        if not source.is_dir():
            return f"{source.name} lists sound files" if is_list(source, SUFFIXES) else ""
        if reason := holds_classes(source, SUFFIXES):
            return f"{reason}: sounds by class"
        files = files_within(source, SUFFIXES)
        if files and (settings.label == "name" or named_by_class(files)):
            return f"{source.name} holds sounds whose names begin with a class ({files[0].name})"
        return ""

    def prepare(self, source: Path) -> Problem:
        """Find the sounds, split them, make spectrograms of one length, make a network."""
        _check_reader()
        found, self.by = self._found(source)
        found = self._grouped(found, source)
        check_learnable(found, source, "sounds")
        headers, faults = read_files(found.files, _header)
        whole = len(found.files)
        if len(faults) == whole:
            told_faults(faults, whole, "sounds")
        known = np.flatnonzero([header is not None for header in headers])
        found, told = found.take(known), [h for h in headers if h is not None]
        notes = list(found.notes)
        self.classes = check_learnable(found, source, "sounds")
        parts = split_files(found, self.settings, notes)
        reasons = [*found.reasons, *self._choose(told, parts[0])]
        self._fit([found.files[row] for row in parts[0]])
        made, kept, later, silent = self._read_all(found.files)
        notes += [*told_faults(faults | later, whole, "sounds"), *silent]
        found, parts = found.take(kept), _without(parts, kept, len(known))
        assert found.labels is not None
        notes += [*notes_of_classes(found.labels), *notes_of_copies(made, parts, "sounds")]
        rows = self._rows(made, found.files, check_classes(found.labels, self.classes, source))
        training, validation, test = (rows.take(part) for part in parts)
        filled = self._chosen(len(training))
        return Problem(
            self._network(filled), "cross_entropy", training, validation, test, filled,
            augment=self._augment(), reasons=reasons, notes=notes,
        )  # fmt: skip

    def read(self, source: Any) -> Rows:
        """Return the sounds of a folder, a list, a file, or several files.

        Folders in a folder are classes if the network knows one of their names; so are the
        beginnings of names if the network learned from such. Of a folder or list, broken sounds
        are left out with a warning.

        Raises:
            DataError: no sounds, a file that is given by name and cannot be read, more than one in
                a hundred of a folder, an unknown class.
        """
        _check_reader()
        named = isinstance(source, (str, os.PathLike))
        place = Path(source) if named else Path()
        if not named or (place.is_file() and place.suffix.lower() in SUFFIXES):
            files = listed_files(source, SUFFIXES, "sounds")
            made = np.stack([self._spectrogram(path)[0] for path in files])
            return self._rows(made, files, None)
        found = self._placed(place)
        made, kept, faults, silent = self._read_all(found.files)
        notes = [*found.notes, *told_faults(faults, len(found.files), "sounds"), *silent]
        for note in notes:
            warnings.warn(f"{place}: {note}", UserWarning, stacklevel=3)
        found = found.take(kept)
        truth = None
        if found.labels is not None:
            truth = check_classes(found.labels, self.classes, place)
        return self._rows(made, found.files, truth)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return classes, where they were told, and what makes the spectrograms."""
        told, arrays = self.bands.state()
        return {"classes": list(self.classes), "by": self.by, "bands": told}, dict(arrays)

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take over classes, where they were told, and what makes the spectrograms."""
        self.classes, self.by = tuple(facts["classes"]), str(facts["by"])
        made = Transformer.from_state(facts["bands"], arrays)
        if not isinstance(made, LogMel):
            raise TypeError(f"bands are told by {type(made).__name__}")
        self.bands = made

    # --- finding --------------------------------------------------------------------------

    def _found(self, source: Path) -> tuple[Labelled, str]:
        """Return the files with their classes, and where the classes were told."""
        if source.is_file():
            return by_list(source, SUFFIXES, self.settings), "list"
        if self.settings.label != "name" and holds_classes(source, SUFFIXES):
            return by_folder(source, SUFFIXES, "sounds"), "folder"
        files = files_within(source, SUFFIXES)
        if not files:
            raise DataError(
                f"the folder {source} holds no sounds ({', '.join(sorted(SUFFIXES))}); check its "
                f"path. {where()}"
            )
        if self.settings.label != "name" and not named_by_class(files):
            raise DataError(
                f"the class of the sounds in {source} is not told: put those of a class into a "
                f"folder of its name, such as {source / 'cat'}, or begin their names with it, as "
                f"in cat_1.wav, three of each class at least (--set label=name takes fewer). "
                f"{where()}"
            )
        return by_name(files, source), "name"

    def _grouped(self, found: Labelled, source: Path) -> Labelled:
        """Return the files with the groups that no split may cut, if they are wanted."""
        if self.settings.group is None or found.groups is not None:
            return found
        if self.settings.group != "name":
            raise ArgumentError(
                f"the setting group={self.settings.group!r}: sounds in folders are grouped by "
                f"their names only, group=name. {where()}"
            )
        part = 2 if self.by == "name" else 1
        matches = [NAMED.match(path.stem) for path in found.files]
        if None in matches:
            path = found.files[matches.index(None)]
            raise DataError(
                f"{source}: the name {path.name} tells no group; wanted such as "
                f"{'7_jackson_32.wav' if part == 2 else 'jackson_32.wav'}. {where()}"
            )
        groups = np.array([m[part] for m in matches if m], object)
        told = f"the {'second' if part == 2 else 'first'} part of each name is its group"
        return replace(found, groups=groups, reasons=[
            *found.reasons, f"{told}, such as {groups[0]}: no group of the {len(set(groups))} is "
            "in two parts"
        ])  # fmt: skip

    def _placed(self, place: Path) -> Labelled:
        """Return the files of a folder or a list; with their classes where it has them."""
        if place.is_file():
            return by_list(place, SUFFIXES, replace(self.settings, group=None))
        if place.is_dir() and any(p.is_dir() and p.name in self.classes for p in place.iterdir()):
            return by_folder(place, SUFFIXES, "sounds")
        files = listed_files(place, SUFFIXES, "sounds")
        matches = [NAMED.match(path.stem) for path in files]
        names = [m[1] for m in matches if m]
        if self.by == "name" and len(names) == len(files) and set(names) <= set(self.classes):
            return Labelled(files, np.array(names, object))
        return Labelled(files, None)

    # --- reading --------------------------------------------------------------------------

    def _sound(self, path: Path) -> tuple[Array, bool]:
        """Return a sound (time,) at one level, and whether there is nothing to hear."""
        rate = self.bands.settings["rate"]
        sound, _ = read_audio(path, rate)
        sound = sound[: round(_LONGEST * rate)]
        if np.abs(sound).max() < _SILENT:
            return sound, True
        return sound * np.float32(_LEVEL / np.sqrt(np.mean(np.square(sound)))), False

    def _spectrogram(self, path: Path) -> tuple[Array, bool]:
        """Return (windows, bands, 1), and whether there is nothing to hear."""
        sound, silent = self._sound(path)
        made = self.bands.transform(Values("sound", sound[None], lambda row: str(path)))
        return made[0][..., None], silent

    def _read_all(
        self, files: Sequence[Path]
    ) -> tuple[Array, Array, dict[Path, str], list[str]]:
        """Return spectrograms, which of the files they are, the faults of others, and notes."""
        made, faults = read_files(files, self._spectrogram)
        kept = [i for i, one in enumerate(made) if one is not None]
        there = [one for one in made if one is not None]
        silent = [files[i] for i, one in zip(kept, there, strict=True) if one[1]]
        notes = []
        if silent:
            names = ", ".join(map(str, silent[:_SHOWN]))
            more = f" and {len(silent) - _SHOWN:,} more" if len(silent) > _SHOWN else ""
            notes = [f"there is nothing to hear in {len(silent):,} sounds: {names}{more}"]
        shape = (0, self.bands.frames, self.bands.settings["bands"], 1)
        arrays = np.stack([one[0] for one in there]) if there else np.empty(shape, np.float32)
        return arrays, np.array(kept, np.int64), faults, notes

    def _rows(self, made: Array, files: Sequence[Path], truth: Array | None) -> Rows:
        def show(row: int) -> dict[str, Any]:
            return {"image": _picture(made[row, :, :, 0]), "file": str(files[row])}

        return Rows((made,), truth, lambda row: str(files[row]), show)

    # --- learning -------------------------------------------------------------------------

    def _choose(self, headers: Sequence[tuple[int, float]], training: Array) -> list[str]:
        """Choose rate, length and windows by rates and seconds of the files; return why."""
        rates = Counter(rate for rate, _ in headers)
        usual = max(rates, key=lambda rate: (rates[rate], rate))
        self.rate = self.settings.rate or min(usual, _FASTEST)
        if self.rate < 1_000:
            raise ArgumentError(f"rate={self.rate}: wanted at least 1000 hertz. {where()}")
        needed = float(np.quantile([headers[r][1] for r in training], _WHOLE, method="higher"))
        self.seconds = float(np.clip(needed, _SHORTEST, _LONGEST))
        self.hop = max(_HOP, self.seconds / _WINDOWS)
        others = len(headers) - rates[self.rate]
        told = [f"rate: {self.rate:,} samples a second" + (
            f", to which {others:,} sounds of another are brought" if others else "")]  # fmt: skip
        longer = sum(seconds > self.seconds for _, seconds in headers)
        told.append(
            f"length: {self.seconds:.2f} s" + (f"; {longer:,} longer sounds are cut" * bool(longer))
        )
        # How far away the microphone was tells more of the recording than of the class.
        return [*told, "level: all sounds are brought to the same mean loudness"]

    def _fit(self, files: Sequence[Path]) -> None:
        chosen = np.random.default_rng(self.settings.seed).permutation(len(files))[:_FITTED]
        self.bands = self._new_bands()
        sounds, _ = read_files([files[i] for i in np.sort(chosen)], self._sound)
        length = round(self.seconds * self.rate)
        there = [fitted(one[0], length) for one in sounds if one is not None]
        if not there:
            raise DataError(f"none of the sounds to train on can be read. {where()}")
        self.bands.fit(np.stack(there))

    def _new_bands(self) -> LogMel:
        options = {"rate": self.rate, "hop": self.hop, "window": max(_WINDOW, 2 * self.hop),
                   "seconds": self.seconds}  # fmt: skip
        for bands in _BANDS[:-1]:
            try:
                return LogMel(bands=bands, **options)  # type: ignore[arg-type]
            except ArgumentError:  # a band would hold no frequency
                continue
        return LogMel(bands=_BANDS[-1], **options)  # type: ignore[arg-type]

    def _chosen(self, count: int) -> Settings:
        """Return the settings with every choice made by the number and length of sounds."""
        if self.settings.network not in (None, "convolutional"):
            raise ArgumentError(
                f"the network {self.settings.network!r} is not for sounds; wanted convolutional. "
                f"{where()}"
            )
        size = (self.bands.frames, self.bands.settings["bands"])
        settings = with_schedule(self.settings, count, *size)
        return replace(settings, network="convolutional", rate=self.rate)

    def _network(self, settings: Settings) -> Module:
        return convolutional(
            self.bands.frames, self.bands.settings["bands"], 1, len(self.classes),
            settings.hidden or (), settings.dropout or 0.0, settings.seed, keep_width=True,
        )  # fmt: skip

    def _augment(self) -> Any:
        """Stretches of time and bands that are filled with the mean, as SpecAugment does."""
        return augment.Compose(
            augment.TimeMask(max(1, self.bands.frames // _MASKED)),
            augment.FrequencyMask(max(1, self.bands.settings["bands"] // _MASKED)),
        )


def _check_reader() -> None:
    if importlib.util.find_spec("soundfile") is None:
        raise DataError(
            "reading sounds needs soundfile, which is not installed: pip install "
            f"'thalweg[audio]'. {where()}"
        )


def _header(path: Path) -> tuple[int, float]:
    """Return the rate in hertz and the seconds of a sound, as its header tells."""
    import soundfile

    try:
        told = soundfile.info(path)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        empty = path.is_file() and not path.stat().st_size
        what = "is empty, it has no bytes" if empty else f"cannot be read ({error})"
        raise DataError(f"the sound {path} {what}. {where()}") from error
    return int(told.samplerate), float(told.duration)


def _without(
    parts: tuple[Array, Array, Array], kept: Array, count: int
) -> tuple[Array, Array, Array]:
    """Return the rows of each part that are kept, as places among those kept.

    >>> parts = np.array([0, 3]), np.array([1]), np.array([2])
    >>> [part.tolist() for part in _without(parts, np.array([0, 2, 3]), 4)]
    [[0, 2], [], [1]]
    """
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    first, second, third = (place[part][place[part] >= 0] for part in parts)
    return first, second, third


def _picture(spectrogram: Array) -> Array:
    """Return a spectrogram (windows, bands) as bytes (bands, windows), low bands at the bottom.

    >>> _picture(np.array([[0.0, 1.0]])).tolist()
    [[255], [0]]
    """
    low, high = float(spectrogram.min()), float(spectrogram.max())
    bright = (spectrogram - low) * (255 / (high - low) if high > low else 0)
    return np.asarray(bright.T[::-1].astype(np.uint8))
