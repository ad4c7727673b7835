"""The command ``thalweg``: its entry point, which imports the commands only when it runs."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and leave the process with its exit code.

    Exit codes: 0 done; 2 something in the call or its files was wrong, said in one message;
    130 ended by Ctrl-C.

    >>> try:
    ...     main(["--version"])
    ... except SystemExit as end:
    ...     end.code
    thalweg 0.1.0
    0
    """
    from thalweg.app.cli.commands import app

    app(args=None if arguments is None else list(arguments), prog_name="thalweg")
