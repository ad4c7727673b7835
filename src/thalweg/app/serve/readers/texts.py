"""Texts: a list of them, for a run folder of the task ``texts``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from thalweg.app.serve.readers.reader import TaskReader

__all__ = ["TextsReader"]

Array = np.ndarray[Any, Any]


class TextsReader(TaskReader):
    """Texts for a run folder."""

    many: ClassVar[str] = "texts"
    one: ClassVar[str] = "text"
    files: ClassVar[tuple[str, ...]] = ("text/plain",)

    def schema(self) -> dict[str, Any]:
        """Return the schema of a text."""
        return {"type": "string"}

    def example(self) -> Any:
        """Return a text."""
        return "How are you today?"

    def parse(self, value: Any, number: int, truths: bool = True) -> Any:
        """Return the text."""
        if not isinstance(value, str):
            raise self.wrong(number, value, "a text")
        return value

    def open(self, raw: bytes) -> Any:
        """Return the text of a file."""
        return raw.decode("utf-8", "replace")

    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return the tokens of texts."""
        return self.task.read(list(samples)).inputs
