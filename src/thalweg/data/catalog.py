"""The data sets known by name: where each is from, its files and checksums, how it is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from thalweg.data import readers
from thalweg.data.builtin import load_digits
from thalweg.data.checksums import sha256_of, sha256_of_content
from thalweg.errors import DataError, nearest, where
from thalweg.settings import settings

__all__ = ["CATALOG", "NamedDataset", "SourceFile", "find_file", "list_datasets", "load"]

_GITHUB: Final = "https://raw.githubusercontent.com"
_CIFAR: Final = "https://www.cs.toronto.edu/~kriz"


@dataclass(frozen=True)
class SourceFile:
    """One file of a data set: its name, where it can be had, and its SHA-256.

    ``name``: relative to a data folder. ``urls``: tried in turn; none if it is found in a folder
    only. ``content``: SHA-256 of what a ``.gz`` file holds, where copies are packed differently.
    ``size``: bytes, about.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    content: str | None = None
    size: int = 1 << 28


@dataclass(frozen=True)
class NamedDataset:
    """One data set of the catalog.

    ``parts``: what can be asked for, the first by default. ``choices``: sets of files that hold
    it, the best first; any one of them is enough. ``read(paths, part)`` gives the arrays.
    """

    about: str
    licence: str
    parts: tuple[str, ...]
    read: Callable[[list[Path], str], Any]
    choices: tuple[tuple[SourceFile, ...], ...]
    classes: tuple[str, ...] = field(default=())


def load(name: str, part: str | None = None) -> Any:
    """Return a data set by its name: a tuple of arrays, or a ``Table`` for one of columns.

    ``part``: which part of it, such as ``"train"`` or ``"test"``; left out, the first of its
    parts. Its files are looked for in the folder that the environment variable ``THALWEG_DATA``
    names, then in the cache folder (``settings.cache_dir``); what is missing is downloaded there.
    Every file is checked by its SHA-256. ``list_datasets()`` tells the names.

    Raises:
        DataError: there is no such data set or part, its files are damaged, or they are nowhere
            and cannot be downloaded.

    Example:
        >>> images, labels = load("digits", "test")
        >>> images.shape
        (10000, 28, 28)
    """
    if name not in CATALOG:
        raise DataError(f"the data set {name!r} is unknown; {nearest(name, CATALOG)}. {where()}")
    dataset = CATALOG[name]
    chosen = dataset.parts[0] if part is None else part
    if chosen not in dataset.parts:
        known = nearest(chosen, dataset.parts)
        raise DataError(f"the data set {name!r} has no part {part!r}; {known}. {where()}")
    return dataset.read(_files(name, dataset), chosen)


def list_datasets() -> dict[str, str]:
    """Return the names of the data sets, and what each holds.

    Example:
        >>> list_datasets()["digits"]
        '70,000 handwritten digits, 28 x 28, 10 classes; comes with the package'
    """
    return {name: dataset.about for name, dataset in CATALOG.items()}


def find_file(file: SourceFile, name: str) -> Path | None:
    """Return the path of a file of the data set ``name`` that is on this machine, or None.

    Raises:
        DataError: ``THALWEG_DATA`` is no folder, or the file there has another SHA-256.
    """
    given = os.environ.get("THALWEG_DATA")
    if given:
        folder = Path(given)
        if not folder.is_dir():
            raise DataError(
                f"THALWEG_DATA is {given!r}, which is no folder; make it, or unset the variable. "
                f"{where()}"
            )
        for path in (folder / file.name, folder / name / Path(file.name).name):
            if path.is_file():
                _check(path, file)
                return path
    cached = _cached(file, name)
    if cached.is_file() and sha256_of(cached) == file.sha256:
        return cached
    return None


def _files(name: str, dataset: NamedDataset) -> list[Path]:
    """Return the paths of the files of a data set, downloaded if need be."""
    for choice in dataset.choices:
        found = [find_file(file, name) for file in choice]
        paths = [path for path in found if path is not None]
        if len(paths) == len(choice):
            return paths
    faults: list[str] = []
    for choice in dataset.choices:
        if not all(file.urls for file in choice):
            continue
        paths = []
        for file in choice:
            path = find_file(file, name) or _downloaded(file, name, faults)
            if path is None:
                break
            paths.append(path)
        if len(paths) == len(choice):
            return paths
    raise DataError(_missing(name, dataset, faults))


def _downloaded(file: SourceFile, name: str, faults: list[str]) -> Path | None:
    from thalweg.data.download import download  # http and TLS take 40 ms to import

    for url in file.urls:
        try:
            return download(
                url, _cached(file, name), sha256=file.sha256, limit=max(2 * file.size, 1 << 20)
            )
        except DataError as error:
            faults.append(str(error).removesuffix(where()).strip())
    return None


def _cached(file: SourceFile, name: str) -> Path:
    return settings.cache_dir / "data" / name / Path(file.name).name


def _check(path: Path, file: SourceFile) -> None:
    found = sha256_of(path)
    if found == file.sha256:
        return
    if file.content is not None and sha256_of_content(path) == file.content:
        return
    raise DataError(
        f"{path} has the SHA-256 {found}, wanted {file.sha256}; the file is damaged or another "
        f"version. Remove it from the folder THALWEG_DATA, or put the right one there. {where()}"
    )


def _missing(name: str, dataset: NamedDataset, faults: list[str]) -> str:
    folder = os.environ.get("THALWEG_DATA")
    first = dataset.choices[0]
    wanted = "; ".join(f"{file.name} from {file.urls[0]}" for file in first if file.urls)
    told = f" The last fault: {faults[-1]}" if faults else ""
    return (
        f"the data set {name!r} is not on this machine (looked in "
        f"{'THALWEG_DATA=' + folder if folder else 'no THALWEG_DATA, which is unset,'} and in "
        f"{settings.cache_dir / 'data' / name}) and could not be downloaded. Without a network: "
        f"bring its files by other means ({wanted}) into a folder, and set THALWEG_DATA to that "
        f"folder.{told} {where()}"
    )


# --- the data sets -------------------------------------------------------------------------------


def _digits(paths: Iterable[Path], part: str) -> Any:
    return load_digits(part)  # type: ignore[arg-type]


def _idx(folder: str, bases: tuple[str, ...], files: dict[str, tuple[str, str | None, int]]) -> Any:
    return tuple(
        SourceFile(f"{folder}/{n}", tuple(f"{base}/{n}" for base in bases), digest, content, size)
        for n, (digest, content, size) in files.items()
    )


def _one(name: str, url: str, sha256: str, size: int) -> tuple[tuple[SourceFile, ...], ...]:
    return ((SourceFile(name, (url,), sha256, None, size),),)


_MNIST: Final = _idx(
    "mnist",
    ("https://storage.googleapis.com/cvdf-datasets/mnist",
     "https://ossci-datasets.s3.amazonaws.com/mnist"),
    {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 9_912_422),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 28_881),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 1_648_877),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 4_542),
    },
)  # fmt: skip

_FASHION: Final = _idx(
    "fashion_mnist",
    (f"{_GITHUB}/zalandoresearch/fashion-mnist/master/data/fashion",),
    {
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", None, 26_421_880),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", None, 29_515),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", None, 4_422_102),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", None, 5_148),
    },
)  # fmt: skip

_CIFAR10_JPEG: Final = SourceFile(
    "cifar10/cifar10_jpeg.tar.gz", (),
    "9deb6919e582a7a95717146558fc1084e199a2e29602d781927d5bd8bdcc258d", None, 19_645_315,
)  # fmt: skip

_ADULT: Final = (
    SourceFile(
        "tabular/adult_train.csv", (f"{_GITHUB}/jbrownlee/Datasets/master/adult-train.csv",),
        "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d", None, 3_974_305,
    ),
    SourceFile(
        "tabular/adult_test.csv", (f"{_GITHUB}/jbrownlee/Datasets/master/adult-test.csv",),
        "72567b94f5c1a6f8501377dd80f93892c3848ff071cf91ba47e00b0785a28074", None, 2_003_132,
    ),
)  # fmt: skip

_TRAIN_TEST: Final = ("train", "test")
_TEN: Final = tuple(str(digit) for digit in range(10))

CATALOG: Final[dict[str, NamedDataset]] = {
    "digits": NamedDataset(
        "70,000 handwritten digits, 28 x 28, 10 classes; comes with the package",
        "CC BY-SA 3.0", _TRAIN_TEST, _digits, ((),), _TEN,
    ),
    "mnist": NamedDataset(
        "70,000 handwritten digits, 28 x 28, 10 classes, as published", "CC BY-SA 3.0",
        _TRAIN_TEST, readers.read_idx_pair, (_MNIST,), _TEN,
    ),
    "fashion_mnist": NamedDataset(
        "70,000 pictures of clothes, 28 x 28, 10 classes", "MIT", _TRAIN_TEST,
        readers.read_idx_pair, (_FASHION,),
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
         "ankle boot"),
    ),
    "cifar10": NamedDataset(
        "60,000 colour photographs, 32 x 32, 10 classes", "none stated; cite A. Krizhevsky 2009",
        _TRAIN_TEST, readers.read_cifar10,
        (*_one("cifar10/cifar-10-binary.tar.gz", f"{_CIFAR}/cifar-10-binary.tar.gz",
               "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170_052_171),
         (_CIFAR10_JPEG,)),
        readers.CIFAR10_CLASSES,
    ),
    "cifar100": NamedDataset(
        "60,000 colour photographs, 32 x 32, 100 classes", "none stated; cite A. Krizhevsky 2009",
        _TRAIN_TEST, readers.read_cifar100,
        _one("cifar100/cifar-100-binary.tar.gz", f"{_CIFAR}/cifar-100-binary.tar.gz",
             "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", 168_513_733),
    ),
    "tiny_shakespeare": NamedDataset(
        "1,115,394 characters of plays, as bytes; the first 90 % are for training",
        "public domain", ("train", "validation", "all"), readers.read_characters,
        _one("text/tinyshakespeare.txt",
             f"{_GITHUB}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
             "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed", 1_115_394),
    ),
    "names": NamedDataset(
        "32,033 first names, one text each", "public domain", ("all",), readers.read_lines,
        _one("text/names.txt",
             f"{_GITHUB}/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt",
             "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d", 228_145),
    ),
    "sms_spam": NamedDataset(
        "5,574 short messages, ham or spam", "CC BY 4.0", ("all",), readers.read_messages,
        _one("text/SMSSpamCollection.tsv",
             f"{_GITHUB}/dixitomkar1809/Text-Classification/"
             "a1c51df6a873b5d331d5dbf8c3bcaec86242cf17/data/SMSSpamCollection",
             "0497dbcb8ff438156d7b8f279376629501ec23f5de8f80d00818f05ae8d6654d", 497_517),
        ("ham", "spam"),
    ),
    "adult": NamedDataset(
        "48,842 people of the 1994 census: does one earn over 50,000 dollars?", "CC BY 4.0",
        _TRAIN_TEST, readers.read_adult, (_ADULT,), ("<=50K", ">50K"),
    ),
    "california_housing": NamedDataset(
        "20,640 districts of California in 1990: the median value of a house", "public domain",
        ("all",), readers.read_whole_table,
        _one("tabular/california_housing.csv",
             f"{_GITHUB}/ageron/handson-ml2/master/datasets/housing/housing.csv",
             "8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e", 1_423_529),
    ),
    "diamonds": NamedDataset(
        "53,940 diamonds with their price", "MIT", ("all",), readers.read_whole_table,
        _one("tabular/diamonds.csv", f"{_GITHUB}/mwaskom/seaborn-data/master/diamonds.csv",
             "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4", 2_772_143),
    ),
    "penguins": NamedDataset(
        "344 penguins of 3 species", "CC0", ("all",), readers.read_whole_table,
        _one("tabular/penguins.csv", f"{_GITHUB}/mwaskom/seaborn-data/master/penguins.csv",
             "e07636bd8af74260099ea2f8678e2eabbf35def579940cc76f67061ee16c06c1", 13_478),
    ),
    "ett_h1": NamedDataset(
        "17,420 hours of an electricity transformer; parts of 12, 4 and 4 months",
        "CC BY-ND 4.0", ("train", "validation", "test", "all"), readers.read_ett_hours,
        _one("timeseries/ETTh1.csv",
             f"{_GITHUB}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/"
             "ETTh1.csv",
             "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066", 2_589_657),
    ),
    "spoken_digits": NamedDataset(
        "recordings of spoken digits, 8,000 samples a second, 10 classes", "CC BY-SA 4.0",
        _TRAIN_TEST, readers.read_spoken_digits,
        (*_one("audio/free-spoken-digit-dataset-1.0.9.tar.gz",
               "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz",
               "8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0", 11_975_353),
         (SourceFile("audio/fsdd_300.tar.gz", (),
                     "df07c9b0c1a92bc7397dc3bd763a3a12cb0905d135e4b61fd9cd3563c4f887dc"),)),
        _TEN,
    ),
}  # fmt: skip
