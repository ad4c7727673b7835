"""``thalweg examples``: list the scripts of the gallery, and run one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from thalweg.app.cli.reporting import Guarded, say
from thalweg.errors import ArgumentError, DataError, nearest

__all__ = ["example_scripts", "examples_app"]

examples_app = typer.Typer(
    cls=Guarded,
    help="List the examples of the gallery, or run one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def example_scripts() -> dict[str, Path]:
    """Return the examples that lie beside this checkout, by name.

    Raises:
        DataError: there are none, since the package was installed without them.

    >>> "digits_lenet" in example_scripts()  # doctest: +SKIP
    True
    """
    folder = Path(__file__).resolve().parents[4] / "examples"
    found = {p.stem: p for p in sorted(folder.glob("*.py")) if not p.stem.startswith("_")}
    if not found:
        raise DataError(
            f"there are no examples in {str(folder)!r}: they come with the source of Thalweg and "
            "not with the installed package; get the source, and run this command in it"
        )
    return found


@examples_app.command("list")
def list_examples() -> None:
    """List all examples, each with what it shows."""
    found = example_scripts()
    width = max(map(len, found))
    for name, path in found.items():
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        say(f"{name:<{width}}  {told.splitlines()[0] if told else ''}".rstrip())


@examples_app.command("run")
def run_example(
    name: Annotated[str, typer.Argument(help="Name of an example, as `examples list` has it.")],
    short: Annotated[
        bool, typer.Option("--short", help="Take a few seconds and a part of the data.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures; none are made without it.")
    ] = None,
) -> None:
    """Run one example, and print its figures."""
    found = example_scripts()
    name = name.removesuffix(".py").replace("-", "_")
    if name not in found:
        raise ArgumentError(f"the example {name!r} is unknown; {nearest(name, found)}")
    call = [sys.executable, str(found[name])] + ["--short"] * short
    if out is not None:
        call += ["--out", str(out)]
    # A process of its own, as if the script had been called: its errors are already messages.
    raise typer.Exit(subprocess.run(call, check=False).returncode)
