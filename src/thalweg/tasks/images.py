"""Images in a folder for each class, or in a list with labels: the class of each is learned."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg import nn
from thalweg.data import augment
from thalweg.data.features import Pixels, Transformer
from thalweg.data.image_files import SUFFIXES, Mode, read_image
from thalweg.errors import ArgumentError, DataError, where
from thalweg.models import CIFARResNet, ResNet, create, get
from thalweg.models import list as architectures
from thalweg.tasks.convolutional import convolutional, with_schedule
from thalweg.tasks.labelled_files import (
    Labelled,
    by_folder,
    by_list,
    holds_classes,
    is_list,
    listed_files,
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

__all__ = ["ImagesTask"]

Array = np.ndarray[Any, Any]
_SMALLEST: Final = 16  # pixels of a side
_LARGEST: Final = 96
_SAMPLE: Final = 500  # files whose sizes are looked at
_COLOURS: Final = 100  # files whose colours are looked at
_FITTED: Final = 2_000  # images that mean and deviation are learned from
_SQUARE: Final = 1.25  # the ratio of sides up to which images are made square
_MULTIPLE: Final = 4  # sides are multiples of it, since residual networks halve them twice
_TINTED: Final = 1.0  # mean distance of red, green and blue up to which an image is grey
_LARGE: Final = 64  # pixels from which on a residual network begins with strides
_SMALL: Final = 2_000  # images below which the small network is taken, whatever their size
_FINE: Final = 32  # pixels up to which it is taken, whatever the number of images


class ImagesTask(Task):
    """Learns the class of images; they are bytes until the compiled step makes numbers of them.

    >>> ImagesTask.name
    'images'
    """

    name = "images"
    turn = 10
    targets = ("class",)

    @classmethod
    def recognises(cls, source: Path, settings: Any) -> str:
        """Folders with image files in folders of their own, and lists of image files."""
        if source.is_dir():
            reason = holds_classes(source, SUFFIXES)
            return f"{reason}: images by class" if reason else ""
        return f"{source.name} lists image files" if is_list(source, SUFFIXES) else ""

    def prepare(self, source: Path) -> Problem:
        """Find the images, bring them to one size, split them, make a network."""
        found = _found(source, self.settings)
        if self.settings.group is not None and found.groups is None:
            raise DataError(
                f"the setting group={self.settings.group!r} names a column of a list of images, "
                f"and {source} is a folder; list them in a CSV, or leave it out. {where()}"
            )
        check_learnable(found, source, "images")
        self._choose_size(found.files)
        images, kept, notes = self._read_labelled(found)
        self.classes = check_learnable(kept, source, "images")
        assert kept.labels is not None
        truth = check_classes(kept.labels, self.classes, source)
        notes = [*found.notes, *notes, *notes_of_classes(kept.labels)]
        parts = split_files(kept, self.settings, notes)
        notes += notes_of_copies(images, parts, "images")
        self._fit(images, parts[0])
        rows = self._rows(images, kept.files, truth)
        training, validation, test = (rows.take(part) for part in parts)
        filled = self._chosen(len(training))
        reasons = [*found.reasons, *self._reasons, f"network: {self._why(len(training))}"]
        return Problem(
            self._network(filled), "cross_entropy", training, validation, test, filled,
            transform=self.transform, augment=self._augment(filled), reasons=reasons, notes=notes,
        )  # fmt: skip

    def read(self, source: Any) -> Rows:
        """Return the images of a folder, a list, a file, several files, or an array of bytes.

        Folders in a folder are classes if the network knows one of their names. Of a folder or
        list, broken images are left out with a warning.

        Shapes: an array (n, height, width) or (n, height, width, channels), uint8.

        Raises:
            DataError: no images, a file that is given by name and cannot be read, more than one in
                a hundred of a folder, an unknown class, an array of other numbers.
        """
        if isinstance(source, np.ndarray):
            images = _of_array(source, self._shape)
            return self._rows(images, [f"image {i}" for i in range(len(images))], None)
        if not isinstance(source, (str, os.PathLike)) or Path(source).is_file():
            place = None if not isinstance(source, (str, os.PathLike)) else Path(source)
            if place is None or place.suffix.lower() in SUFFIXES:
                files = listed_files(source, SUFFIXES, "images")
                return self._rows(np.stack([self._read(path) for path in files]), files, None)
        return self._read_place(Path(source))

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return classes, and size, channels and normalisation."""
        told, arrays = self.pixels.state()
        return {"classes": list(self.classes), "pixels": told}, dict(arrays)

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take over classes, and size, channels and normalisation."""
        self.classes = tuple(facts["classes"])
        self._take(Transformer.from_state(facts["pixels"], arrays))

    @property
    def transform(self) -> Callable[[Any], Any]:
        """Bytes (batch, height, width, channels) to numbers with mean 0 and deviation 1."""
        scale = (1 / (255 * self.pixels.arrays["deviation"])).astype(np.float32)
        middle = (self.pixels.arrays["mean"] / self.pixels.arrays["deviation"]).astype(np.float32)
        return lambda images: images.astype("float32") * scale - middle

    # --- reading --------------------------------------------------------------------------

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self._height, self._width, self._channels

    def _read(self, path: Path) -> Array:
        mode: Mode = "L" if self._channels == 1 else "RGB"
        return read_image(path, (self._height, self._width), mode)

    def _read_all(self, files: Sequence[Path]) -> tuple[Array, Array, list[str]]:
        """Return images (n, height, width, channels), which of the files they are, and notes."""
        made, faults = read_files(files, self._read)
        notes = told_faults(faults, len(files), "images")
        kept = [i for i, image in enumerate(made) if image is not None]
        images = np.empty((len(kept), *self._shape), np.uint8)
        rows = iter(images)
        for i, image in enumerate(made):
            if image is not None:
                next(rows)[...] = image
                made[i] = None  # so that both never are in memory whole
        return images, np.array(kept, np.int64), notes

    def _read_labelled(self, found: Labelled) -> tuple[Array, Labelled, list[str]]:
        images, kept, notes = self._read_all(found.files)
        return images, found.take(kept), notes

    def _read_place(self, place: Path) -> Rows:
        """Return the images of a folder or of a list; with their classes where it has them."""
        if place.is_file():
            found = by_list(place, SUFFIXES, replace(self.settings, group=None))
        elif place.is_dir() and self._knows(place):
            found = by_folder(place, SUFFIXES, "images")
        else:
            found = Labelled(listed_files(place, SUFFIXES, "images"), None)
        images, kept, notes = self._read_labelled(found)
        for note in [*found.notes, *notes]:
            warnings.warn(f"{place}: {note}", UserWarning, stacklevel=4)
        truth = None
        if kept.labels is not None:
            truth = check_classes(kept.labels, self.classes, place)
        return self._rows(images, kept.files, truth)

    def _knows(self, folder: Path) -> bool:
        return any(path.is_dir() and path.name in self.classes for path in folder.iterdir())

    def _rows(self, images: Array, files: Sequence[Any], truth: Array | None) -> Rows:
        def show(row: int) -> dict[str, Any]:
            image = images[row]
            return {"image": image[..., 0] if image.shape[2] == 1 else image,
                    "file": str(files[row])}  # fmt: skip

        return Rows((images,), truth, lambda row: str(files[row]), show)

    # --- learning -------------------------------------------------------------------------

    def _choose_size(self, files: Sequence[Path]) -> None:
        """Choose height, width and channels by a sample of the files."""
        chosen = np.random.default_rng(self.settings.seed).permutation(len(files))
        sample = [files[i] for i in chosen[:_SAMPLE]]
        sizes = [size for size in read_files(sample, _size_of)[0] if size is not None]
        if not sizes:
            told_faults(read_files(sample, _size_of)[1], len(sample), "images")
        middle = np.median(np.array(sizes), axis=0)
        self._height, self._width = _fitting(*middle)
        if self.settings.size is not None:
            if self.settings.size < _SMALLEST:
                raise ArgumentError(
                    f"size={self.settings.size}: images need at least {_SMALLEST} pixels a side. "
                    f"{where()}"
                )
            self._height = self._width = self.settings.size
        tints = [t for t in read_files(sample[:_COLOURS], _tint_of)[0] if t is not None]
        self._channels = 1 if max(tints, default=0.0) < _TINTED else 3
        several = len(set(sizes)) > 1
        self._reasons = [
            f"size: {self._height} x {self._width} pixels, "
            + (f"the sizes of {len(sizes):,} images are {min(sizes)[0]} x {min(sizes)[1]} to "
               f"{max(sizes)[0]} x {max(sizes)[1]}" if several
               else f"images are {sizes[0][0]} x {sizes[0][1]}"),
            f"channels: {self._channels}, " + (
                "since the images that were looked at are grey" if self._channels == 1
                else "since images have colours"),
        ]  # fmt: skip

    def _fit(self, images: Array, training: Array) -> None:
        chosen = np.random.default_rng(self.settings.seed).permutation(training)[:_FITTED]
        pixels = Pixels(size=(self._height, self._width), channels=self._channels)
        self._take(pixels.fit(images[np.sort(chosen)]))

    def _take(self, pixels: Transformer) -> None:
        self.pixels = pixels
        self._height, self._width = (int(n) for n in pixels.facts["size"])
        self._channels = int(pixels.facts["channels"])

    def _is_small(self, count: int) -> bool:
        return count < _SMALL or max(self._height, self._width) <= _FINE

    def _why(self, count: int) -> str:
        if self.settings.network is not None:
            return "as you said"
        small = "a small convolutional one" if self._is_small(count) else "a residual one"
        return f"{small}, for {count:,} images of {self._height} x {self._width} to train on"

    def _chosen(self, count: int) -> Settings:
        """Return the settings with every choice made by the number and size of images."""
        settings = with_schedule(self.settings, count, self._height, self._width)
        name = "convolutional" if self._is_small(count) else "residual"
        return replace(
            settings, network=settings.network or name,
            size=self._height if self._height == self._width else None,
        )  # fmt: skip

    def _network(self, settings: Settings) -> nn.Module:
        name, classes = settings.network, len(self.classes)
        if name == "convolutional":
            return convolutional(
                *self._shape, classes, settings.hidden or (), settings.dropout or 0.0,
                settings.seed,
            )  # fmt: skip
        if name == "residual":
            return _residual(*self._shape, classes).reset_parameters(settings.seed)
        return self._named(str(name), settings)

    def _named(self, name: str, settings: Settings) -> nn.Module:
        """Return an architecture of the models, for images of this size."""
        entry = get(name)
        if not _takes_images(entry):
            known = [a.name for a in architectures() if _takes_images(a)]
            raise ArgumentError(
                f"the network {name!r} is not for classes of images; those are convolutional, "
                f"{', '.join(known)}. {where()}"
            )
        options = inspect.signature(entry.build).parameters
        own = {"classes": len(self.classes), "channels": self._channels}
        if name.startswith("vit"):
            own["image_size"] = self._height
        given = {k: v for k, v in own.items() if k in options or "options" in options}
        model = create(name, seed=settings.seed, **given)
        try:
            model.eval()(np.zeros((1, *self._shape), np.float32))
        except ValueError as error:
            raise ArgumentError(
                f"the network {name!r} does not take images of {self._height} x {self._width}; "
                f"give another size (--set size={entry.inputs[0][0]}): {error}"
            ) from error
        return model.train()

    def _augment(self, settings: Settings) -> Any:
        """Images moved by an eighth; mirrored too if they have colours.

        Grey ones may be letters, digits or drawings, whose mirror image can be another class.
        """
        padding = max(1, min(self._height, self._width) // 8)
        crop = augment.RandomCrop(padding=padding, mode="reflect")
        if self._channels == 1:
            return crop
        return augment.Compose(crop, augment.HorizontalFlip())


def _found(source: Path, settings: Settings) -> Labelled:
    if source.is_dir():
        return by_folder(source, SUFFIXES, "images")
    return by_list(source, SUFFIXES, settings)


def _residual(height: int, width: int, channels: int, classes: int) -> nn.Module:
    """Return an untrained residual network; of large images it first takes a quarter of each side.

    >>> _residual(40, 40, 3, 5).depth, _residual(96, 72, 3, 5).depths
    (20, (1, 1, 1, 1))
    """
    if min(height, width) < _LARGE:
        return CIFARResNet(20, classes, channels)
    return ResNet("basic", (1, 1, 1, 1), classes, channels, width=32)


def _takes_images(entry: Any) -> bool:
    return bool(
        entry.task == "classification" and len(entry.inputs) == 1 and len(entry.inputs[0]) == 3
    )


def _size_of(path: Path) -> tuple[int, int]:
    """Return height and width, as its header tells."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return opened.height, opened.width
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"the image {path} cannot be decoded ({error}). {where()}") from error


def _tint_of(path: Path) -> float:
    """Return how far red, green and blue are apart, 0 to 255, in the mean over the pixels."""
    small = read_image(path, (64, 64))
    return float(np.ptp(small.astype(np.int16), axis=2).mean())


def _fitting(height: float, width: float) -> tuple[int, int]:
    """Return the size that images are brought to.

    >>> _fitting(28, 28), _fitting(1200, 1600), _fitting(300, 320), _fitting(8, 8)
    ((28, 28), (72, 96), (96, 96), (16, 16))
    """
    if max(height, width) <= _SQUARE * min(height, width):
        height = width = (height * width) ** 0.5
    scale = min(1.0, _LARGEST / max(height, width))

    def side(length: float) -> int:
        near = round(length * scale / _MULTIPLE) * _MULTIPLE
        return int(min(max(near, _SMALLEST), _LARGEST))

    return side(height), side(width)


def _of_array(given: Array, shape: tuple[int, int, int]) -> Array:
    """Return an array of images in a size and number of channels."""
    from PIL import Image

    if given.dtype != np.uint8 or given.ndim not in (3, 4) or 0 in given.shape:
        raise DataError(
            f"got an array of shape {given.shape} and dtype {given.dtype}, wanted images (n, "
            f"height, width) or (n, height, width, channels), uint8. {where()}"
        )
    images = given[..., None] if given.ndim == 3 else given
    if images.shape[3] not in (1, 3, 4):
        raise DataError(
            f"got images of {images.shape[3]} channels (shape {given.shape}), wanted 1, 3 or 4, "
            f"the channels last. {where()}"
        )
    if images.shape[1:] == shape:
        return images
    height, width, channels = shape
    made = np.empty((len(images), *shape), np.uint8)
    for row, image in enumerate(images):
        one = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        if image.shape[2] == 4:
            one = Image.alpha_composite(Image.new("RGBA", one.size, "white"), one)
        one = one.convert("L" if channels == 1 else "RGB")
        if one.size != (width, height):
            one = one.resize((width, height), Image.Resampling.BILINEAR)
        made[row] = np.asarray(one).reshape(shape)
    return made
