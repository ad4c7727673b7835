"""The commands and their options; each one's work is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.app.cli.examples import examples_app
from thalweg.app.cli.reporting import Guarded, say

__all__ = ["app"]

app = typer.Typer(
    cls=Guarded,
    help="Train networks, use them, and look into the native programs that train them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(examples_app, name="examples")

Hidden = Annotated[
    str, typer.Option(help="Units of the hidden layers, such as 256,128; none for no layer.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images in one step.")]
Optimizer = Annotated[str, typer.Option(help="Name of the optimiser.")]
Dropout = Annotated[
    float, typer.Option(min=0, max=0.99, help="Share of hidden units that is dropped.")
]
Threads = Annotated[
    int, typer.Option(min=0, max=1024, help="Threads; 0 for all cores of this process.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from thalweg import __version__

        say(f"thalweg {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Train networks, use them, and look into the native programs that train them."""


def _use_threads(threads: int) -> None:
    if threads:
        from thalweg.settings import settings

        settings.threads = threads


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="What to train on: digits.")],
    epochs: Annotated[int, typer.Option(min=1, help="Times through the data.")] = 20,
    batch_size: BatchSize = 128,
    hidden: Hidden = "512,256",
    learning_rate: Annotated[
        float | None, typer.Option(help="The largest one; it falls to 0. Else the optimiser's own.")
    ] = None,
    optimizer: Optimizer = "adamw",
    dropout: Dropout = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything that is random.")] = 0,
    patience: Annotated[
        int, typer.Option(min=1, help="Epochs without a better validation that are let pass.")
    ] = 6,
    output: Annotated[Path, typer.Option(help="Folder for model and figure.")] = Path(
        "runs/digits"
    ),
    threads: Threads = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say the last line only.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use the first N training images only.")
    ] = None,
) -> None:
    """Train a network; save the model, and a figure of how it went."""
    from thalweg.app.cli.train_digits import Options, train_digits
    from thalweg.data import DATASETS
    from thalweg.errors import ArgumentError, nearest

    if dataset not in DATASETS:
        raise ArgumentError(f"the data set {dataset!r} is unknown; {nearest(dataset, DATASETS)}")
    _use_threads(threads)
    code = train_digits(
        Options(epochs=epochs, batch_size=batch_size, hidden=hidden, learning_rate=learning_rate,
                optimizer=optimizer, dropout=dropout, seed=seed, patience=patience, output=output,
                quiet=quiet, limit=limit)
    )  # fmt: skip
    raise typer.Exit(code)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model file, NAME.safetensors.")],
    images: Annotated[list[Path], typer.Argument(help="Images, one digit on each.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line an image.")] = False,
) -> None:
    """Say which class each image shows, and the probability of every class."""
    from thalweg.app.cli.predict import predict_images

    raise typer.Exit(predict_images(model, images, as_json))


@app.command()
def explain(
    program: Annotated[str, typer.Argument(help="Which program: the digits step.")] = "digits",
    stage: Annotated[
        list[str] | None, typer.Option(help="Stage to print; may be repeated; all for all.")
    ] = None,
    batch_size: BatchSize = 128,
    hidden: Hidden = "512,256",
    optimizer: Optimizer = "adamw",
    dropout: Dropout = 0.3,
    threads: Threads = 0,
) -> None:
    """Compile a training step, and print its stages with the time of each kernel."""
    from thalweg.app.cli.explain import explain_step

    _use_threads(threads)
    explain_step(program, stage or [], batch_size, hidden, optimizer, dropout)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="An architecture whose layers to print; else all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all architectures with parameters and FLOPs, or the layers of one."""
    from thalweg.app.cli.models import list_models

    list_models(name, as_json)
