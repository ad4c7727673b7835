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
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="A file or folder, or digits (it comes along).")
    ],
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict; may be repeated for numbers.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Kind of task, else told by the data.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Run folder; else runs/NAME.", show_default=False)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an ended run.")] = False,
    seconds: Annotated[
        str | None, typer.Option("--time", help="Budget, such as 90s, 10m or 2h.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most times through the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows in one step.")] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Units of the hidden layers, such as 256,128; none for none.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Size of a step.")] = None,
    optimizer: Optimizer = "adamw",
    dropout: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="Share of hidden units dropped.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without a better validation let pass.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out.")] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Column of numbers that are categories.")
    ] = None,
    missing: Annotated[list[str] | None, typer.Option(help="Word for a missing value.")] = None,
    group: Annotated[str | None, typer.Option(help="Column that no split may cut.")] = None,
    time: Annotated[
        str | None, typer.Option("--order-by", help="Column of time: test on the last rows.")
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast.")] = None,
    search: Annotated[
        int, typer.Option(min=0, help="Try N settings before, on the validation rows.")
    ] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, as NAME=VALUE.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything that is random.")] = 0,
    threads: Threads = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say the figures only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Say the figures as JSON.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="digits: use the first N training images only.")
    ] = None,
) -> None:
    """Train a network on a file or folder; keep it with all that was measured.

    thalweg train prices.csv --target price
    thalweg train photos/            (a folder of images for each class)
    thalweg train hourly.csv --task series --horizon 24
    """
    _use_threads(threads)
    if source == "digits":
        from thalweg.app.cli.train_digits import Options, train_digits

        code = train_digits(
            Options(epochs=epochs or 20, batch_size=batch_size or 128, hidden=hidden or "512,256",
                    learning_rate=learning_rate, optimizer=optimizer,
                    dropout=0.3 if dropout is None else dropout, seed=seed, patience=patience or 6,
                    output=output or Path("runs/digits"), quiet=quiet, limit=limit)
        )  # fmt: skip
        raise typer.Exit(code)
    from thalweg.app.cli.options import duration, named_values, sizes
    from thalweg.app.cli.train_source import train_source

    given = {
        "target": tuple(target or ()), "task": task, "epochs": epochs, "batch_size": batch_size,
        "hidden": sizes(hidden), "learning_rate": learning_rate, "dropout": dropout,
        "optimizer": None if optimizer == "adamw" else optimizer, "patience": patience,
        "drop": tuple(drop or ()), "categories": tuple(category or ()),
        "missing": tuple(missing or ()), "group": group, "time": time, "horizon": horizon,
        "seconds": duration(seconds), "seed": seed or None, **named_values(set_ or ()),
    }  # fmt: skip
    raise typer.Exit(
        train_source(Path(source), given, config, output, resume=resume, quiet=quiet,
                     as_json=as_json, trials=search)
    )  # fmt: skip


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A run folder, or a model of digits.")],
    sources: Annotated[
        list[Path], typer.Argument(help="Data as it was trained on; images of digits.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="File for the predictions, .csv or .jsonl.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line a row.")] = False,
) -> None:
    """Say what a trained network makes of new data.

    thalweg predict runs/prices new.csv --output predicted.csv
    """
    from thalweg.app.cli.predict import is_digits, predict_images
    from thalweg.app.cli.predict_source import predict_source
    from thalweg.errors import ArgumentError

    if is_digits(model):
        raise typer.Exit(predict_images(model, sources, as_json))
    if output is not None and len(sources) > 1:
        raise ArgumentError("--output takes the predictions of one source; call it once for each")
    for source in sources:
        predict_source(model, source, output, as_json)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder.")],
    source: Annotated[Path, typer.Argument(help="Data as it was trained on, with its targets.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a trained network on other data.

    thalweg evaluate runs/prices later.csv
    """
    from thalweg.app.cli.predict_source import evaluate_source

    raise typer.Exit(evaluate_source(model, source, as_json))


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


@app.command()
def report(model: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write the report of a run again: one page, report.html, that needs nothing else.

    thalweg report runs/prices
    """
    from thalweg.app.report import write_report

    say(f"report  {write_report(model)}")


@app.command()
def summary(
    model: Annotated[Path, typer.Argument(help="A run folder, or a model file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a trained network is: task, layers, settings, figures, size.

    thalweg summary runs/prices
    """
    from thalweg.app.cli.summary import summarise

    raise typer.Exit(summarise(model, as_json))


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="The run folder of a language model.")],
    prompt: Annotated[str, typer.Argument(help="How the text begins.")] = "\n",
    length: Annotated[int, typer.Option(min=1, help="Letters or pieces of words to add.")] = 300,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 takes the likeliest; 1 as the model says.")
    ] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the K likeliest.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only the likeliest of this share.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Continue a text.

    thalweg generate runs/shakespeare "To be" --length 500
    """
    from thalweg.app.cli.generate import generate_text

    raise typer.Exit(
        generate_text(model, prompt, length, temperature, top_k, top_p, seed, as_json)
    )


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(help="A run folder, or a model of digits.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="THALWEG_TOKEN", help="Bearer token that is asked for.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most rows computed at once.")] = 64,
    wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a request waits for others.")
    ] = 1.0,
    max_body: Annotated[int, typer.Option(min=1, help="Most bytes of a request.")] = 16_777_216,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a request fails.")] = 30.0,
    threads: Threads = 0,
) -> None:
    """Answer requests over HTTP, with a page to try it by hand.

    thalweg serve runs/prices --port 8000
    """
    from thalweg.app.serve.run import serve as serve_model

    _use_threads(threads)
    raise typer.Exit(
        serve_model(model, host, port, token, batch_size, wait, max_body, timeout)
    )


@app.command()
def bench(
    model: Annotated[
        Path | None, typer.Argument(help="A run folder or model file; else one for digits.")
    ] = None,
    threads: Threads = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a network predicts and learns on this machine."""
    from thalweg.app.cli.bench import bench as measure

    raise typer.Exit(measure(model, threads, as_json))


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(help="A data set to tell more of.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the data sets that have a name, and whether they are on this machine."""
    from thalweg.app.cli.datasets import list_datasets, tell_dataset

    raise typer.Exit(list_datasets(as_json) if name is None else tell_dataset(name, as_json))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine has, test that the compiler is right on it, and how fast it is."""
    from thalweg.app.cli.doctor import doctor as examine

    raise typer.Exit(examine(as_json))
