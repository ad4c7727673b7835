"""What may help a training, by the verdict on its curves, in the words of the command line."""

from __future__ import annotations

from typing import Final

__all__ = ["TRIES"]

TRIES: Final[dict[str, tuple[str, ...]]] = {
    "overfitting": (
        "more rows, if there are any",
        "a larger --dropout, such as 0.3",
        "a larger --set weight_decay, such as 0.1",
        "a smaller network (--hidden 64)",
    ),
    "underfitting": (
        "a larger network (--hidden 256,256), or further columns",
        "another --learning-rate, three times larger or smaller",
        "a smaller --dropout",
    ),
    "diverging": ("a smaller --learning-rate, a third of the one that was used",),
    "still learning": ("more --epochs", "a larger --learning-rate, twice the one that was used"),
}
