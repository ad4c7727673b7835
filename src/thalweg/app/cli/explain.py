"""``thalweg explain``: every stage of the compiled digits step, with the time of each kernel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from thalweg.app.cli.digits_network import make_network, make_trainer
from thalweg.app.cli.reporting import say
from thalweg.data import load_digits
from thalweg.errors import ArgumentError, nearest

__all__ = ["explain_step", "sections"]

PROGRAMS: Final = ("digits",)
ALL: Final = "all"
LONG: Final = ("machine code",)  # printed only when asked for


def explain_step(
    program: str, stages: Sequence[str], batch_size: int, hidden: str, optimizer: str,
    dropout: float,
) -> None:  # fmt: skip
    """Print stages of the digits training step: those named, else all but the machine code.

    Raises:
        ArgumentError: an unknown program, stage or option.
    """
    if program not in PROGRAMS:
        raise ArgumentError(f"the program {program!r} is unknown; {nearest(program, PROGRAMS)}")
    model = make_network(hidden, dropout, seed=0)
    trainer = make_trainer(model, optimizer, None, steps=1)
    images, labels = (a[:batch_size] for a in load_digits("train"))
    text = trainer.step.explain(model, trainer.optimizer, (images,), labels)
    found = sections(text)
    for title in _chosen(stages, list(found)):
        say(f"== {title} ==\n{found[title]}\n")


def sections(text: str) -> dict[str, str]:
    r"""Return the parts of an explanation by their titles.

    >>> sections("== graph ==\na\n\n== schedule ==\nb")
    {'graph': 'a', 'schedule': 'b'}
    """
    parts = re.split(r"^== (.+?) ==\n", text, flags=re.MULTILINE)[1:]
    return {title: body.rstrip() for title, body in zip(parts[::2], parts[1::2], strict=True)}


def _chosen(stages: Sequence[str], titles: list[str]) -> list[str]:
    if not stages:
        return [t for t in titles if t not in LONG]
    if ALL in stages:
        return titles
    chosen = []
    for stage in stages:
        # A word of the title is enough: "ir" for "llvm ir", "time" for "time per kernel ...".
        fits = [t for t in titles if stage == t] or [t for t in titles if stage in t.split()]
        if not fits:
            raise ArgumentError(f"the stage {stage!r} is unknown; {nearest(stage, [*titles, ALL])}")
        chosen += fits
    return chosen
