"""What the command line says: results on standard output, errors in one message without a trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import typer
from typer.core import TyperGroup

from thalweg.errors import ThalwegError

__all__ = ["INTERRUPTED", "WRONG", "Guarded", "fail", "say"]

WRONG: Final = 2  # exit code: the call or its files were wrong
INTERRUPTED: Final = 130  # exit code: 128 + SIGINT, as shells have it
# Errors end with the user's line, "at file.py:12: source"; here that is a line of Thalweg.
_PLACE: Final = re.compile(r"\s*\bat \S+:\d+(: .*)?$", re.MULTILINE)


def say(text: str = "") -> None:
    """Write a line to standard output at once, in step with what goes to standard error."""
    print(text, flush=True)


def fail(message: str) -> None:
    """Write an error to standard error."""
    typer.echo(f"error: {message}", err=True)


class Guarded(TyperGroup):
    """A group of commands whose errors are messages: no traceback for what a user can mend."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; turn errors into a message and an exit code."""
        return guarded(lambda: super(Guarded, self).invoke(ctx))


def guarded(run: Callable[[], Any]) -> Any:
    """Run something; turn errors into a message and an exit code.

    Raises:
        typer.Exit: with code 2 for an error that a user can mend, 130 after Ctrl-C.

    >>> guarded(lambda: 3)
    3
    """
    try:
        return run()
    except ThalwegError as error:
        fail(_PLACE.sub("", str(error)))
        raise typer.Exit(WRONG) from error
    except KeyboardInterrupt as error:
        fail("interrupted; nothing was saved")
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError:
        raise  # the reader, such as `head`, has seen enough; typer handles it
    except (MemoryError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        name = getattr(error, "filename", None)
        fail(f"{reason}: {name!r}" if name else reason)
        raise typer.Exit(WRONG) from error
