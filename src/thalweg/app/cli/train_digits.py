"""``thalweg train digits``: train a network on handwritten digits, from data to test accuracy."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg import nn
from thalweg.app.cli.digits_network import CLASSES, SIDE, make_network, make_trainer
from thalweg.app.cli.reporting import INTERRUPTED, fail, say
from thalweg.data import load_digits
from thalweg.errors import ThalwegError
from thalweg.formats import save
from thalweg.formats.atomic import check_writable
from thalweg.settings import settings
from thalweg.train import History, Progress, confusion_matrix
from thalweg.train.evaluation import measure

__all__ = ["Options", "train_digits"]

VALIDATION: Final = 0.1  # share of the training images that is set aside
MODEL: Final = "model.safetensors"
FIGURE: Final = "training.png"
PREPROCESSING: Final = {
    "kind": "digits",
    "shape": [SIDE, SIDE],
    "values": "0 is paper and 1 is ink: bytes divided by 255",
    "placing": "the digit fits 20 x 20 pixels, its centre of mass at pixel 14, 14 of 28 x 28",
}


@dataclass(frozen=True)
class Options:
    """The options of ``thalweg train digits``; see its help."""

    epochs: int
    batch_size: int
    hidden: str
    learning_rate: float | None
    optimizer: str
    dropout: float
    seed: int
    patience: int
    output: Path
    quiet: bool
    limit: int | None


def train_digits(options: Options) -> int:
    """Train, save and measure as the options say; return the exit code.

    Everything that can be wrong with the options is found before training; an existing model is
    replaced only by a complete new one.

    Raises:
        ThalwegError: an option, the output folder or the data cannot be used, or the loss became
            NaN.
    """
    tell = (lambda text="": None) if options.quiet else say
    model = make_network(options.hidden, options.dropout, options.seed)
    folder = check_writable(options.output)
    draws = importlib.util.find_spec("matplotlib") is not None
    if not draws:
        tell("no figure will be drawn: install matplotlib (pip install 'thalweg[plots]')")
    images, labels = (a[: options.limit] for a in load_digits("train"))
    test = load_digits("test")
    rows = len(images) - round(len(images) * VALIDATION)
    trainer = make_trainer(
        model, options.optimizer, options.learning_rate,
        options.epochs * (rows // options.batch_size), () if options.quiet else [Progress()],
    )  # fmt: skip
    tell(_headline(model, rows, len(images) - rows, len(test[0])))
    history = trainer.fit(
        (images, labels), epochs=options.epochs, batch_size=options.batch_size,
        validation=VALIDATION, seed=options.seed, early_stopping=options.patience,
        monitor="accuracy",
    )  # fmt: skip
    if history.interrupted and not history.best_epoch:
        fail("interrupted before the first epoch was finished; nothing was saved")
        return INTERRUPTED
    outputs = trainer.predict(test[0])
    accuracy = measure(outputs, test[1], trainer.loss, trainer.metrics)["accuracy"]
    path = save(
        model, folder / MODEL, classes=range(CLASSES), preprocessing=PREPROCESSING,
        training=_facts(options, history, accuracy),
    )  # fmt: skip
    tell(f"model   {path}")
    if draws:
        tell(f"figure  {_draw(folder / FIGURE, model, history, outputs, test[1])}")
    tell(f"trained {len(history)} epochs in {history.seconds:.1f} s")
    if history.interrupted:
        fail(f"interrupted: the best model so far, that of epoch {history.best_epoch}, was saved")
    say(f"test accuracy {accuracy:.4f}")
    return INTERRUPTED if history.interrupted else 0


def _headline(model: nn.Module, rows: int, held: int, test: int) -> str:
    sizes = [m.in_features for m in model.named_modules().values() if isinstance(m, nn.Linear)]
    widths = "-".join(map(str, [*sizes, CLASSES]))
    team = settings.team_size()
    return (
        f"digits: {rows:,} images to train on, {held:,} to validate, {test:,} to test\n"
        f"network {widths}, {model.count_parameters():,} parameters, "
        f"{team} thread{'s' * (team != 1)}"
    )


def _facts(options: Options, history: History, accuracy: float) -> dict[str, Any]:
    told = {k: v for k, v in asdict(options).items() if k not in ("output", "quiet")}
    return {
        "dataset": "digits",
        "options": told,
        "test_accuracy": accuracy,
        "best_epoch": history.best_epoch,
        "history": asdict(history),
    }


def _draw(path: Path, model: nn.Module, history: History, outputs: Any, labels: Any) -> Path:
    from thalweg.insight.digits_figure import draw_digits_figure

    first = next(m for m in model.named_modules().values() if isinstance(m, nn.Linear))
    weights = first.weight.numpy().T.reshape(-1, SIDE, SIDE)
    table = np.asarray(confusion_matrix(outputs, labels))
    try:
        return draw_digits_figure(path, history, table, weights)
    except (ImportError, OSError, ThalwegError) as error:
        fail(f"the figure could not be drawn: {error}; the model is saved")
        return path
