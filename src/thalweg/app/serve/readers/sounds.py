"""Sounds: files, for a run folder of the task ``sounds``."""

from __future__ import annotations

import base64
import io
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.app.serve.limits import message_of
from thalweg.app.serve.readers.pictures import from_base64
from thalweg.app.serve.readers.reader import TaskReader
from thalweg.errors import DataError, ThalwegError

__all__ = ["SoundsReader"]

Array = np.ndarray[Any, Any]
# The first bytes of files, by which their kind is known.
_ENDINGS: Final = {b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b"RIFF": ".wav"}
_BROKEN: Final = "a sound cannot be decoded; send a whole WAV, FLAC, Ogg or MP3 file"


class SoundsReader(TaskReader):
    """Sounds for a run folder: WAV, FLAC, Ogg or MP3 files."""

    many: ClassVar[str] = "sounds"
    one: ClassVar[str] = "sound"
    files: ClassVar[tuple[str, ...]] = (
        "audio/wav", "audio/x-wav", "audio/wave", "audio/flac", "audio/ogg", "audio/mpeg",
    )  # fmt: skip

    def schema(self) -> dict[str, Any]:
        """Return the schema of a sound."""
        return {
            "type": "string", "format": "base64-sound", "contentEncoding": "base64",
            "contentMediaType": "audio/wav", "description": "a sound file as base64 text",
        }  # fmt: skip

    def example(self) -> Any:
        """Return a tenth of a second of a tone of 440 Hz."""
        time = np.arange(800) / 8_000
        samples = np.rint(8_000 * np.sin(2 * np.pi * 440 * time)).astype("<i2")
        file = io.BytesIO()
        with wave.open(file, "wb") as made:
            made.setnchannels(1)
            made.setsampwidth(2)
            made.setframerate(8_000)
            made.writeframes(samples.tobytes())
        return base64.b64encode(file.getvalue()).decode()

    def parse(self, value: Any, number: int, truths: bool = True) -> Any:
        """Return the bytes of the file."""
        if not isinstance(value, str):
            raise self.wrong(number, value, "a sound file as base64 text")
        return from_base64(self, value, number)

    def open(self, raw: bytes) -> Any:
        """Return the bytes; the worker decodes them."""
        return raw

    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return the sounds as the task makes them ready, which reads files."""
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for i, raw in enumerate(samples):
                file = Path(folder) / f"sound{i}{_ENDINGS.get(raw[:4], '.mp3')}"
                file.write_bytes(raw)
                files.append(file)
            try:
                rows = self.task.read(files)
            except ThalwegError as error:
                told = message_of(error).replace(folder + "/", "")
                raise DataError(_BROKEN if "cannot be read" in told else told) from error
        if len(rows) != len(samples):
            raise DataError(_BROKEN)
        return rows.inputs
