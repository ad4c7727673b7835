"""The data sets that come with the package: so far the MNIST digits, stored small, read fast."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from importlib import resources
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from thalweg.errors import DataError

__all__ = ["load_digits"]

Bytes = npt.NDArray[np.uint8]

SIDE: Final = 28  # pixels along each side of an image
BOX: Final = 20  # every MNIST digit fits a box of this side; the rest of its image is zero
SPAN: Final = SIDE - BOX + 1  # places of the box along each axis
SOLID: Final = 252  # from this value on a pixel counts as solid; less, but not 0, is grey
# Images sorted and unpacked together: few, so that working arrays stay small. The files' order
# depends on it.
BLOCK: Final = 4_000
GREY: Final = 1  # the class of a grey pixel; 0 is blank and 2 is solid

# SHA-256 of the pixels followed by the labels, as bytes. Printed by tools/pack_digits.py.
_SHA256: Final[dict[str, str]] = {
    "train": "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b",
    "test": "c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b",
}

# Byte -> the four 2-bit pixel classes that it packs, lowest bits first, as one 32-bit word.
_UNPACK: Final = (
    np.array([[byte >> shift & 3 for shift in (0, 2, 4, 6)] for byte in range(256)], np.uint8)
    .view(np.uint32)
    .ravel()
)

# What unpacking damaged bytes can raise: zipfile, zlib and NumPy each have their own kinds.
_DAMAGE: Final = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_digits(split: Literal["train", "test"]) -> tuple[Bytes, Bytes]:
    """Return the MNIST images of handwritten digits and the digit that each one shows.

    The 60,000 training or 10,000 test images come in their original order, bit for bit. The
    bytes are checked against a stored SHA-256 on every call. Each call returns new arrays.

    Shapes: images (n, 28, 28), uint8, 0 is paper and 255 is ink; labels (n,), uint8, 0 to 9.

    Raises:
        DataError: ``split`` is neither ``"train"`` nor ``"test"``, or the installed files are
            missing or damaged.

    Example:
        >>> images, labels = load_digits("test")
        >>> images.shape, labels[:3].tolist()
        ((10000, 28, 28), [7, 2, 1])

    Data: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits",
    CC BY-SA 3.0.
    """
    if split not in _SHA256:
        raise DataError(f'Got split={split!r}; wanted "train" or "test".')
    file = resources.files("thalweg.data") / "digits" / f"{split}.npz"
    advice = "Install the package again: pip install --force-reinstall --no-deps thalweg"
    try:
        images, labels = unpack(file.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"The digits file {split}.npz is missing. {advice}") from error
    except _DAMAGE as error:
        raise DataError(f"The digits file {split}.npz is damaged ({error}). {advice}") from error
    got = digest(images, labels)
    if got != _SHA256[split]:
        raise DataError(
            f"The digits file {split}.npz is damaged: the SHA-256 of its pixels and labels is "
            f"{got}; wanted {_SHA256[split]}. {advice}"
        )
    return images, labels


def digest(images: Bytes, labels: Bytes) -> str:
    """Return the SHA-256 of the pixels followed by the labels.

    Shapes: images (n, 28, 28) and labels (n,), both contiguous.

    Example:
        >>> digest(*load_digits("test")) == _SHA256["test"]
        True
    """
    state = hashlib.sha256(np.ascontiguousarray(images).data)
    state.update(np.ascontiguousarray(labels).data)
    return state.hexdigest()


def unpack(packed: bytes) -> tuple[Bytes, Bytes]:
    """Return images and labels from the bytes of a file that tools/pack_digits.py wrote.

    The file is an ``.npz`` of byte arrays: ``labels``; ``corners``, where the box of 20 x 20
    pixels with the ink lies; ``classes``, blank, grey or solid for each pixel of the boxes, four
    to a byte; ``solid`` and ``grey``, the values of those pixels; the last three
    with deflate, which every Python can read (LZMA is missing from some). The grey values of a
    block lie sorted by the classes around them, because values with like neighbours are alike.
    Both files take 9.3 MB; the boxes in plain deflate would take 10.7, the original ones 11.3.

    Shapes: images (n, 28, 28), labels (n,), both uint8.

    Raises:
        ValueError, KeyError, zlib.error and others: the bytes are damaged.

    Example:
        >>> file = resources.files("thalweg.data") / "digits" / "test.npz"
        >>> unpack(file.read_bytes())[0].shape
        (10000, 28, 28)
    """
    with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
        parts: dict[str, Bytes] = {name: stored[name] for name in stored.files}
    labels, corners = parts["labels"], parts["corners"]
    quads, solid, grey = (
        np.frombuffer(zlib.decompress(parts[name].tobytes()), np.uint8)
        for name in ("classes", "solid", "grey")
    )
    quads = quads.reshape(len(labels), BOX * BOX // 4)
    images = np.zeros((len(labels), SIDE, SIDE), np.uint8)
    solid_done = grey_done = 0
    for start in range(0, len(labels), BLOCK):
        block = slice(start, start + BLOCK)
        classes = np.take(_UNPACK, quads[block]).view(np.uint8).reshape(-1, BOX, BOX)
        boxes = np.zeros(classes.size, np.uint8)
        # Positions, not masks: selecting by a mask takes three times as long.
        solid_at = np.flatnonzero(classes > GREY)
        grey_at = np.flatnonzero(classes == GREY)
        order = np.argsort(surroundings(classes).ravel()[grey_at], kind="stable")
        solid_end, grey_end = solid_done + len(solid_at), grey_done + len(grey_at)
        boxes[solid_at] = solid[solid_done:solid_end]
        boxes[grey_at[order]] = grey[grey_done:grey_end]
        solid_done, grey_done = solid_end, grey_end
        _place(boxes.reshape(classes.shape), corners[block], images[block])
    return images, labels


def surroundings(classes: Bytes) -> Bytes:
    """Return, for each pixel, one number from 0 to 80 for the classes of its four neighbours.

    Pixels outside of the box count as blank.

    Shapes: (n, 20, 20) -> (n, 20, 20), uint8.

    Example:
        >>> classes = np.zeros((1, 20, 20), np.uint8)
        >>> classes[0, 4, 5] = 2
        >>> surroundings(classes)[0, 3:6, 5].tolist()
        [2, 0, 6]
    """
    padded = np.pad(classes, ((0, 0), (1, 1), (1, 1)))
    inner = slice(1, BOX + 1)
    below, above = padded[:, 2:, inner], padded[:, :-2, inner]
    right, left = padded[:, inner, 2:], padded[:, inner, :-2]
    return np.asarray(below + above * 3 + right * 9 + left * 27, dtype=np.uint8)


def _place(boxes: Bytes, corners: Bytes, images: Bytes) -> None:
    """Write each box (n, 20, 20) into its image (n, 28, 28) at its corner (n,)."""
    for corner in np.unique(corners):
        chosen = np.flatnonzero(corners == corner)
        top, left = divmod(int(corner), SPAN)
        images[chosen, top : top + BOX, left : left + BOX] = boxes[chosen]
