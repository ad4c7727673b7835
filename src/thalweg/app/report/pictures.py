"""Arrays of bytes as pictures inside of the page."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import numpy as np

from thalweg.app.report.markup import Markup, element

__all__ = ["picture"]

_LARGE: Final = 256  # pixels of the longer side that are kept
_SMALL: Final = 64  # pixels of the longer side up to which pixels are shown as squares


def picture(values: Any, label: str) -> Markup:
    """Return an image (height, width), or with 1, 3 or 4 channels last, as an element.

    Raises:
        ValueError: the values are no image.

    >>> picture([[0, 255]], "two pixels")[:35]
    '<img src="data:image/png;base64,iVB'
    """
    from PIL import Image  # not needed for tables and texts

    array = np.asarray(values)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    flat, coloured = array.ndim == 2, array.ndim == 3 and array.shape[2] in (3, 4)
    if array.size == 0 or not (flat or coloured):
        raise ValueError(f"no image: values of shape {array.shape}")
    image = Image.fromarray(np.clip(array, 0, 255).astype(np.uint8))
    image.thumbnail((_LARGE, _LARGE))
    made = io.BytesIO()
    image.save(made, "PNG", optimize=True)
    longer = max(image.size)
    scale = max(1, 128 // longer) if longer < 128 else 128 / longer
    return element(
        "img", src="data:image/png;base64," + base64.b64encode(made.getvalue()).decode(), alt=label,
        width=round(image.width * scale), height=round(image.height * scale),
        class_="pixels" if longer <= _SMALL else None,
    )  # fmt: skip
