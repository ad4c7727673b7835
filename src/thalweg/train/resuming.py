"""A run as data: all that its next step depends on, taken from it and given back to it."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.errors import FormatError, ThalwegError, where
from thalweg.formats.checkpoint import Checkpoint
from thalweg.nn import Module
from thalweg.optim import Optimizer
from thalweg.tensor import random
from thalweg.tensor.random import Generator
from thalweg.train.events import History
from thalweg.train.feeding import Stream, Table
from thalweg.train.metrics import name_of

if TYPE_CHECKING:
    from thalweg.train.session import Session

__all__ = ["capture", "differences", "identity", "restore"]

Array = np.ndarray[Any, Any]
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SAMPLED = 256  # rows whose bytes stand for all of a data set
_SHOWN = 5  # differences that a message names


# --- what a run is -----------------------------------------------------------------------------


def identity(session: Session) -> dict[str, str]:
    """Return what must be the same for a checkpoint to be continued, as text by names."""
    from thalweg import __version__

    trainer, plan = session.trainer, session.plan
    told = {"thalweg version": __version__}
    told |= _of_model(trainer.model)
    told |= _of_optimizer(trainer.optimizer)
    told |= {
        "learning rate": trainer.first_rate,
        "loss": _text(trainer.loss),
        "metrics": ", ".join(name_of(m) for m in trainer.metrics),
        "transform": _text(trainer.recipe.transform),
        "augment": _text(trainer.recipe.augment),
        "precision": trainer.recipe.precision,
        "accumulate": str(trainer.recipe.accumulate),
        "ema": str(trainer.recipe.average and trainer.recipe.average.decay),
        "batch size": str(session.run.batch_size),
        "seed": str(plan.seed),
        "order": _text(plan.order),
        "monitor": session.run.history.monitor,
    }
    told |= _of_data("training data", session.data.training)
    if session.data.validation is not None:
        told |= _of_data("validation data", session.data.validation)
    return told


def _text(value: Any) -> str:
    """Return what a function or option is called, the same in every process."""
    if isinstance(value, functools.partial):
        options = "".join(f", {k}={_text(v)}" for k, v in sorted(value.keywords.items()))
        return f"partial({_text(value.func)}{options})"
    name = getattr(value, "__qualname__", None)
    if name is not None:
        module = getattr(value, "__module__", "")
        return str(name) if module == "__main__" else f"{module}.{name}"
    return _ADDRESS.sub("", repr(value))


def _of_model(model: Module) -> dict[str, str]:
    told = {
        f"layer {path or 'of the model'!r}": f"{type(module).__name__}({module.arguments()})"
        for path, module in model.named_modules().items()
    }
    trained = model.trainable_parameters()
    for path, tensor in {**model.parameters(), **model.buffers()}.items():
        frozen = " frozen" if path in model.parameters() and path not in trained else ""
        told[f"tensor {path!r}"] = f"{tensor.dtype.name} {tensor.shape}{frozen}"
    return told


def _of_optimizer(optimizer: Optimizer) -> dict[str, str]:
    options = {k: v for k, v in vars(optimizer).items() if not k.startswith("_")}
    told = {f"optimizer {name}": _text(value) for name, value in options.items()}
    return {"optimizer": type(optimizer).__name__, **told}


def _of_data(name: str, source: Table | Stream) -> dict[str, str]:
    """Return number of rows, shapes, dtypes and a checksum of some rows."""
    places = np.linspace(0, len(source) - 1, min(_SAMPLED, len(source))).astype(np.int64)
    if isinstance(source, Stream):
        places = places[:: max(1, len(places) // 8)]  # each of these may be a file to read
        columns = _columns(source.table(source.rows[places]))
    else:
        columns = [c[source.rows[places]] for c in _columns(source)]
    digest = hashlib.blake2b(source.rows.tobytes(), digest_size=8)
    for column in columns:
        digest.update(np.ascontiguousarray(column).tobytes())
    told = {f"{name}: rows": str(len(source)), f"{name}: numbers": digest.hexdigest()}
    for place, column in enumerate(columns):
        told[f"{name}: array {place}"] = f"{column.dtype} {column.shape[1:]}"
    return told


def _columns(table: Table) -> list[Array]:
    return [*table.inputs, table.targets, *([] if table.weights is None else [table.weights])]


def differences(saved: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return a sentence for everything in which two runs differ.

    >>> differences({"seed": "0"}, {"seed": "1"})
    ['seed: 0 in the checkpoint, 1 here']
    """
    return [
        f"{name}: {saved.get(name, 'nothing')} in the checkpoint, {now.get(name, 'nothing')} here"
        for name in dict.fromkeys([*saved, *now]) if saved.get(name) != now.get(name)
    ]  # fmt: skip


# --- taking it and giving it back --------------------------------------------------------------


def _generators(session: Session) -> dict[str, Generator]:
    """Return the sources of random numbers outside of the model, by names."""
    recipe = session.trainer.recipe
    found = {"default": random.default}
    if recipe.generator is not None:
        found["augment"] = recipe.generator
    owners = {"loss": session.trainer.loss, "transform": recipe.transform,
              "augmentation": recipe.augment}  # fmt: skip
    for owner, thing in owners.items():
        for place, generator in enumerate(_held(thing)):
            found[f"{owner}.{place}"] = generator
    return found


def _held(thing: Any) -> list[Generator]:
    """Return the generators that a function closes over or an object holds."""
    values = list(getattr(thing, "__dict__", {}).values())
    values += [c.cell_contents for c in getattr(thing, "__closure__", None) or ()]
    if isinstance(thing, functools.partial):
        values += [*thing.args, *thing.keywords.values()]
    values += [v for x in values if isinstance(x, (list, tuple)) for v in x]
    seen = {id(v): v for v in values if isinstance(v, Generator) and v is not random.default}
    return list(seen.values())


def _listeners(session: Session) -> list[Any]:
    return [e for e in session.trainer.events if e.state_dict() is not None]


def capture(session: Session) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return copies of all arrays of a run, and the facts beside them.

    The copies are made here and now; they can be written while training goes on.
    """
    run, trainer = session.run, session.trainer
    same = session.kept_is_present
    parts = {
        "model": session.kept if same else run.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "tally": session.tally.state_dict(),
    }
    if not same:
        parts["best"] = session.kept
    if trainer.recipe.average is not None:
        parts["average"] = trainer.recipe.average.state_dict()
    for name, generator in _generators(session).items():
        parts[f"random/{name}"] = {"key": generator.key.numpy(), "count": generator.count.numpy()}
    arrays = {f"{part}/{k}": v for part, entries in parts.items() for k, v in entries.items()}
    facts = {
        "identity": session.identity,
        "epoch": run.epoch,
        "step": run.step,
        "steps": run.steps,
        "history": json.loads(run.history.to_json()),
        "kept_epoch": session.kept_epoch,
        "best_is_model": same,
        "seconds": session.seconds(),
        "listeners": [[type(e).__name__, e.state_dict()] for e in _listeners(session)],
    }
    return arrays, facts


def restore(session: Session, checkpoint: Checkpoint) -> None:
    """Put a run where it was when the checkpoint was taken.

    Raises:
        FormatError: the checkpoint belongs to another run; names the differences.
    """
    facts, run, trainer = checkpoint.facts, session.run, session.trainer
    wrong = differences(facts.get("identity", {}), session.identity)
    if wrong:
        shown = "; ".join(wrong[:_SHOWN])
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise FormatError(
            f"{str(checkpoint.path)!r} belongs to another run: {shown}{more}. Make them the same "
            "to continue it, or start anew in another folder; the weights alone are "
            "thalweg.formats.checkpoint.read_checkpoint(path).part('model'). " + where()
        )
    try:
        run.model.load_state_dict(checkpoint.part("model"))
        trainer.optimizer.load_state_dict(checkpoint.part("optimizer"))
        if trainer.recipe.average is not None:
            trainer.recipe.average.load_state_dict(checkpoint.part("average"))
        for name, generator in _generators(session).items():
            part = checkpoint.part(f"random/{name}")
            generator.key.assign(part["key"])
            generator.count.assign(part["count"])
        session.tally.load_state_dict(checkpoint.part("tally"))
        run.history = History.from_json(json.dumps(facts["history"]))
        run.epoch, run.step = int(facts["epoch"]), int(facts["step"])
        session.kept_epoch = int(facts["kept_epoch"])
        session.kept = checkpoint.part("model" if facts["best_is_model"] else "best")
        session.kept_is_present = bool(facts["best_is_model"])
        session.began -= float(facts["seconds"])
        for listener, (_, state) in zip(_listeners(session), facts["listeners"], strict=False):
            listener.load_state_dict(state)
    except (KeyError, TypeError, ThalwegError) as error:
        raise FormatError(
            f"{str(checkpoint.path)!r} cannot be continued: {type(error).__name__}: {error}. Use "
            f"another checkpoint, or start anew in another folder. {where()}"
        ) from error
    history = run.history
    history.interrupted = history.stopped_early = history.restored = False
    run.current = session.tally.values() if run.step else {}
