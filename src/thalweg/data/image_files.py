"""Image files: folders of classes and lists of files, decoded to arrays of one size and mode."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from thalweg.data.dataset import Arrays, Source
from thalweg.data.delimited import read_delimited, rows_of_fields
from thalweg.errors import ArgumentError, DataError, nearest, where
from thalweg.settings import settings

__all__ = ["ImageFiles", "ImageFolder", "ImageTable", "read_image"]

Array = np.ndarray[Any, Any]
Mode = Literal["RGB", "L", "RGBA"]
Fit = Literal["stretch", "crop", "pad"]
SUFFIXES: Final = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_CHANNELS: Final = {"RGB": 3, "L": 1, "RGBA": 4}
_SHOWN: Final = 5  # faulty files told in an error


def read_image(
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    mode: Mode = "RGB",
    fit: Fit = "stretch",
) -> Array:
    """Return the pixels of an image file, turned the way its EXIF orientation says.

    ``size``: (height, width) to bring it to, or None for its own. ``fit``: how: ``"stretch"``,
    ``"crop"`` the middle after scaling the shorter side, or ``"pad"`` with black after scaling the
    longer side. ``mode``: colours; what is transparent lies on white where the mode has no alpha,
    16 bits become 8.

    Shapes: to (height, width, channels), uint8, with 1, 3 or 4 channels.

    Raises:
        DataError: the file is missing, empty, cut off or no image; the message names it.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> file = tempfile.mkdtemp() + "/a.png"
        >>> Image.new("L", (6, 4), 7).save(file)
        >>> read_image(file, mode="RGB").shape, read_image(file, (2, 2), "L").ravel().tolist()
        ((4, 6, 3), [7, 7, 7, 7])
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
            image = _converted(image, mode)
            if size is not None:
                image = _fitted(image, (size[1], size[0]), fit)
            pixels = np.array(image, np.uint8)
    except FileNotFoundError as error:
        raise DataError(f"the image {path} does not exist; check its path. {where()}") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        empty = Path(path).is_file() and not Path(path).stat().st_size
        what = "is empty, it has no bytes" if empty else f"cannot be decoded ({error})"
        raise DataError(
            f"the image {path} {what}; put a whole copy in its place, or leave it out. {where()}"
        ) from error
    return pixels.reshape(*pixels.shape[:2], _CHANNELS[mode])


class ImageFiles(Source):
    """Images in files, each with a target; decoded when fetched, in the threads of the loader.

    ``files``: paths. ``targets``: (n, ...), or None. ``size``, ``mode``, ``fit``: as for
    ``read_image``; without a size all images must have the same one. ``classes``: the names of
    labels 0, 1, ...

    Shapes: images (batch, height, width, channels), uint8, 0 to 255; targets (batch, ...).

    Raises:
        DataError: no files, files that are empty or missing, as many targets as there are not
            files; while fetching, an image that cannot be decoded or has another size.
        ArgumentError: a mode or fit that does not exist, or a size that is not two whole numbers.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> file = tempfile.mkdtemp() + "/a.png"
        >>> Image.new("RGB", (6, 4)).save(file)
        >>> images, labels = ImageFiles([file, file], [0, 1], size=(8, 8)).fetch(np.array([0, 1]))
        >>> images.shape, labels.tolist()
        ((2, 8, 8, 3), [0, 1])
    """

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        targets: Any = None,
        *,
        size: int | tuple[int, int] | None = None,
        mode: Mode = "RGB",
        fit: Fit = "stretch",
        classes: Sequence[str] = (),
    ) -> None:
        self.files = [Path(file) for file in files]
        self.size, self.mode, self.fit = _size(size), _choice("mode", mode, Mode), fit
        _choice("fit", fit, Fit)
        self.classes = tuple(classes)
        if not self.files:
            raise DataError(f"no image files were given; give at least one. {where()}")
        self.targets = None if targets is None else np.asarray(targets)
        self.names = ("image",) if self.targets is None else ("image", "target")
        if self.targets is not None:
            if self.targets.ndim < 1 or len(self.targets) != len(self.files):
                raise DataError(
                    f"{len(self.files):,} image files, but targets of shape {self.targets.shape}; "
                    f"give one a file. {where()}"
                )
            if self.targets.ndim == 1 and self.targets.dtype.kind in "iub":
                self.labels = self.targets
        _check_filled(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def fetch(self, rows: Array) -> Arrays:
        """Return the images of these rows, and their targets where there are any.

        Raises:
            DataError: an image that cannot be decoded, or of another size; names the file.
        """
        images = [read_image(self.files[r], self.size, self.mode, self.fit) for r in rows]
        for row, image in zip(rows, images, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"the image {self.files[row]} is {_told(image)} and {self.files[rows[0]]} is "
                    f"{_told(images[0])}; give the size that all are brought to, such as "
                    f"size=(224, 224). {where()}"
                )
        stacked = np.stack(images) if images else np.empty((0, 0, 0, _CHANNELS[self.mode]), "u1")
        return (stacked,) if self.targets is None else (stacked, self.targets[rows])

    def describe(self, row: int) -> str:
        """Return the path of an image."""
        return str(self.files[row])

    def faulty(self) -> dict[str, str]:
        """Decode every image, on all cores, and return path and fault of those that fail.

        Example:
            >>> import tempfile
            >>> file = Path(tempfile.mkdtemp()) / "a.png"
            >>> _ = file.write_bytes(b"no image")
            >>> [Path(path).name for path in ImageFiles([file]).faulty()]
            ['a.png']
        """

        def fault(path: Path) -> str | None:
            try:
                read_image(path, self.size, self.mode, self.fit)
            except DataError as error:
                return str(error).removesuffix(where()).strip()  # a place in a thread says nothing
            return None

        with ThreadPoolExecutor(settings.team_size()) as pool:
            found = zip(self.files, pool.map(fault, self.files), strict=True)
            return {str(path): told for path, told in found if told}


class ImageFolder(ImageFiles):
    """Images in a folder for each class: ``folder/cat/1.jpg`` is of the class ``cat``.

    Classes are numbered in the order of their names; files are taken in the order of their paths,
    those of other endings and hidden ones are left out. The rest is as for ``ImageFiles``.

    Raises:
        DataError: a folder that is missing or holds no class folders with images, a class folder
            without any, and as for ``ImageFiles``.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (folder / name).mkdir()
        ...     Image.new("RGB", (4, 4)).save(folder / name / "1.png")
        >>> pets = ImageFolder(folder)
        >>> pets.classes, pets.fetch(np.array([1]))[1].tolist()
        (('cat', 'dog'), [1])
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        size: int | tuple[int, int] | None = None,
        mode: Mode = "RGB",
        fit: Fit = "stretch",
    ) -> None:
        files, labels, classes = files_by_class(Path(folder), SUFFIXES, "images")
        super().__init__(files, labels, size=size, mode=mode, fit=fit, classes=classes)


class ImageTable(ImageFiles):
    r"""Images listed in a delimited file, with their targets.

    ``path``: a CSV or TSV with a line of names. ``file``, ``target``: the columns of the paths and
    targets; left out, the first and the second. ``folder``: what paths are relative to, left out
    the folder of the list. Targets that are all numbers with a fraction in one of them are
    numbers (float32); all others are class names, numbered in their order.

    Raises:
        DataError: a list that is ragged or has no such column, and as for ``ImageFiles``.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("L", (4, 4)).save(folder / "a.png")
        >>> _ = (folder / "list.csv").write_text("file,label\na.png,cat\n")
        >>> ImageTable(folder / "list.csv", mode="L").classes
        ('cat',)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        file: str | None = None,
        target: str | None = None,
        folder: str | os.PathLike[str] | None = None,
        size: int | tuple[int, int] | None = None,
        mode: Mode = "RGB",
        fit: Fit = "stretch",
    ) -> None:
        source = Path(path)
        names, rows, lines = rows_of_fields(read_delimited(source))
        at_file = _column(source, names, file, 0)
        base = Path(folder) if folder is not None else source.parent
        files = [base / fields[at_file].strip() for fields in rows]
        missing = [i for i, found in enumerate(files) if not found.is_file()]
        if missing:
            raise DataError(
                f"{source}: line {lines[missing[0]]} names {files[missing[0]]}, which is no file, "
                f"and so for {len(missing) - 1:,} other lines; give the folder that the paths are "
                f"relative to. {where()}"
            )
        targets: Array | None = None
        classes: tuple[str, ...] = ()
        if target is not None or len(names) > 1:
            at_target = _column(source, names, target, 1)
            targets, classes = _targets([fields[at_target].strip() for fields in rows])
        super().__init__(files, targets, size=size, mode=mode, fit=fit, classes=classes)


def files_by_class(
    folder: Path, suffixes: frozenset[str], what: str
) -> tuple[list[Path], Array, tuple[str, ...]]:
    """Return the files in the folders of a folder, their labels (n,) int64, and the class names.

    Raises:
        DataError: the folder is missing, holds no folders, or one of them holds no such file.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "cat").mkdir()
    >>> _ = (folder / "cat" / "a.png").write_bytes(b"...")
    >>> files_by_class(folder, SUFFIXES, "images")[2]
    ('cat',)
    """
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist; check its path. {where()}")
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    if not classes:
        loose = sum(path.suffix.lower() in suffixes for path in folder.iterdir())
        more = f" ({loose:,} {what} lie in it without a class)" if loose else ""
        raise DataError(
            f"the folder {folder} holds no folders{more}; {what} of a class belong into a folder "
            f"of its name, such as {folder / 'cat'}. {where()}"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            path
            for path in (folder / name).rglob("*")
            if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
        )
        if not found:
            raise DataError(
                f"the folder {folder / name} holds no {what} ({', '.join(sorted(suffixes))}); add "
                f"some, or remove the folder. {where()}"
            )
        files += found
        labels += [label] * len(found)
    return files, np.array(labels, np.int64), tuple(classes)


def _converted(image: Any, mode: str) -> Any:
    """Return an image in another mode: alpha on white, 16 bits scaled to 8."""
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode == "I":
        scaled = np.asarray(image, np.int64) >> 8  # convert would clip all above 255 to white
        image = Image.fromarray(np.clip(scaled, 0, 255).astype(np.uint8))
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if has_alpha and mode != "RGBA":
        shown = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    return image if image.mode == mode else image.convert(mode)


def _fitted(image: Any, size: tuple[int, int], fit: str) -> Any:
    from PIL import Image, ImageOps

    if image.size == size:
        return image
    if fit == "stretch":
        return image.resize(size, Image.Resampling.BILINEAR)
    if fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    return ImageOps.pad(image, size, Image.Resampling.BILINEAR, color=0)


def _check_filled(files: list[Path]) -> None:
    """Raise if files are missing or empty: seen at once, not after an hour of training."""
    faults = []
    for path in files:
        try:
            if not path.stat().st_size:
                faults.append(f"{path} is empty")
        except OSError as error:
            faults.append(f"{path} cannot be read ({error.strerror})")
    if faults:
        more = f" and {len(faults) - _SHOWN:,} others" if len(faults) > _SHOWN else ""
        raise DataError(
            f"{'; '.join(faults[:_SHOWN])}{more}; put whole copies in their places, or leave them "
            f"out. {where()}"
        )


def _size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    both: Any = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in both):
        raise ArgumentError(
            f"the image size is {size!r}, wanted (height, width) in pixels, or one number. "
            f"{where()}"
        )
    return int(both[0]), int(both[1])


def _choice(name: str, value: Any, choices: Any) -> Any:
    if value not in get_args(choices):
        raise ArgumentError(f"{name}={value!r}; {nearest(value, get_args(choices))}. {where()}")
    return value


def _column(source: Path, names: Sequence[str], given: str | None, default: int) -> int:
    if given is None:
        return default
    if given not in names:
        raise DataError(f"{source}: no column {given!r}; {nearest(given, names)}. {where()}")
    return list(names).index(given)


def _targets(words: list[str]) -> tuple[Array, tuple[str, ...]]:
    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        numbers = None
    if numbers is not None and np.isfinite(numbers).all() and (numbers % 1 != 0).any():
        return numbers.astype(np.float32), ()
    if numbers is not None and np.isfinite(numbers).all():
        words = [str(int(number)) for number in numbers]
        classes = tuple(str(n) for n in sorted({int(number) for number in numbers}))
    else:
        classes = tuple(sorted(set(words)))
    number_of = {name: i for i, name in enumerate(classes)}
    return np.array([number_of[word] for word in words], np.int64), classes


def _told(image: Array) -> str:
    return f"{image.shape[0]} pixels high and {image.shape[1]} wide"
