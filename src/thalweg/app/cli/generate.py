"""``thalweg generate``: a text is continued by a language model."""

from __future__ import annotations

import json
from pathlib import Path

from thalweg.app.cli.reporting import say
from thalweg.errors import ArgumentError
from thalweg.models.gpt import GPT2
from thalweg.tasks import Run
from thalweg.tasks.language import LanguageTask

__all__ = ["generate_text"]


def generate_text(
    place: Path, prompt: str, length: int, temperature: float, top_k: int | None,
    top_p: float | None, seed: int, as_json: bool,
) -> int:  # fmt: skip
    """Print a prompt and how a run's language model continues it; return the exit code.

    ``length``: how many tokens are added, letters or pieces of words. ``temperature``, ``top_k``,
    ``top_p``, ``seed``: as for ``GPT2.generate``.

    Raises:
        FormatError: the place is no run folder.
        ArgumentError: it is no run of a language model, an option outside of its values, or a
            prompt with letters that the training text never had.
    """
    run = Run.load(place)
    if not isinstance(run.task, LanguageTask) or not isinstance(run.model, GPT2):
        raise ArgumentError(
            f"{str(place)!r} holds a run of the task {run.task.name!r}, which writes no text; "
            "train one on a text file: thalweg train book.txt"
        )
    text = run.task.generate(run.model, prompt, length, temperature, top_k, top_p, seed)
    say(json.dumps({"prompt": prompt, "text": text, "seed": seed}) if as_json else prompt + text)
    return 0
