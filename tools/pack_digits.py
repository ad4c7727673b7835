"""Pack the four MNIST idx files into the small files under src/thalweg/data/digits.

Run: python tools/pack_digits.py FOLDER_WITH_THE_FOUR_GZ_FILES
It prints the SHA-256 values to be stored in src/thalweg/data/builtin.py.
"""

from __future__ import annotations

import argparse
import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np

from thalweg.data import builtin
from thalweg.data.builtin import BLOCK, BOX, GREY, SIDE, SOLID, SPAN, Bytes

TARGET = Path(__file__).parent.parent / "src" / "thalweg" / "data" / "digits"


def main() -> None:
    """Pack both splits, check that each one reads back, and say how large it became."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where train-images-idx3-ubyte.gz and so on lie")
    parser.add_argument("--target", type=Path, default=TARGET, help="where to write")
    arguments = parser.parse_args()
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = read_idx(arguments.folder / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(arguments.folder / f"{stem}-labels-idx1-ubyte.gz")
        packed = pack(images, labels)
        images_again, labels_again = builtin.unpack(packed)
        if not (np.array_equal(images, images_again) and np.array_equal(labels, labels_again)):
            raise SystemExit(f"{split}: what was packed does not read back; nothing was written.")
        (arguments.target / f"{split}.npz").write_bytes(packed)
        print(f'"{split}": "{builtin.digest(images, labels)}",  # {len(packed):,} bytes')


def read_idx(path: Path) -> Bytes:
    """Return the array of bytes in a gzipped idx file, with the shape that its header states."""
    raw = gzip.decompress(path.read_bytes())
    zeros, kind, axes = struct.unpack(">HBB", raw[:4])
    if zeros != 0 or kind != 8:
        raise SystemExit(f"{path} is not an idx file of unsigned bytes.")
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def pack(images: Bytes, labels: Bytes) -> bytes:
    """Return the bytes that ``thalweg.data.builtin.unpack`` reads.

    Shapes: images (n, 28, 28), labels (n,), both uint8.
    """
    corners, boxes = crop(images)
    classes = (boxes > 0).astype(np.uint8) + (boxes >= SOLID)
    bits = classes.reshape(-1, 4) << np.array([0, 2, 4, 6], np.uint8)
    quads = np.bitwise_or.reduce(bits, axis=1)
    greys = []
    for start in range(0, len(boxes), BLOCK):
        block = slice(start, start + BLOCK)
        is_grey = classes[block] == GREY
        order = np.argsort(builtin.surroundings(classes[block])[is_grey], kind="stable")
        greys.append(boxes[block][is_grey][order])
    parts = {
        "labels": labels,
        "corners": corners,
        "classes": deflate(quads),
        "solid": deflate(boxes[classes > GREY]),
        "grey": deflate(np.concatenate(greys)),
    }
    for name, part in parts.items():
        print(f"  {name}: {part.size:,} bytes")
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **parts)
    return file.getvalue()


def crop(images: Bytes) -> tuple[Bytes, Bytes]:
    """Return for each image a corner number and the box of pixels there that holds all its ink.

    Shapes: images (n, 28, 28) -> corners (n,), boxes (n, 20, 20), uint8.
    """
    last = SIDE - BOX
    tops = np.minimum(images.any(axis=2).argmax(axis=1), last)
    lefts = np.minimum(images.any(axis=1).argmax(axis=1), last)
    rows = tops[:, None] + np.arange(BOX)  # (n, 20)
    columns = lefts[:, None] + np.arange(BOX)  # (n, 20)
    boxes = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    if boxes.sum(dtype=np.int64) != images.sum(dtype=np.int64):
        raise SystemExit(f"An image has ink that does not fit into {BOX} x {BOX} pixels.")
    return (tops * SPAN + lefts).astype(np.uint8), boxes


def deflate(data: Bytes) -> Bytes:
    """Return the bytes of ``data`` compressed as small as zlib can, as an array (n,)."""
    return np.frombuffer(zlib.compress(data.tobytes(), 9), np.uint8)


if __name__ == "__main__":
    main()
