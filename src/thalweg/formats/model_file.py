"""A model as one file: its numbers, and a description from which it is built again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from thalweg.errors import FormatError, ThalwegError
from thalweg.formats.architecture import build, describe
from thalweg.formats.atomic import write_whole
from thalweg.formats.safetensors_file import read_metadata, read_tensors, write_tensors
from thalweg.nn import Module

__all__ = ["FORMAT_VERSION", "ModelInfo", "info", "load", "load_weights", "save"]

PathLike = str | os.PathLike[str]
FORMAT_VERSION: Final = 1  # raised when a file can no longer be read by older versions
SUFFIX: Final = ".safetensors"
_KEY: Final = "thalweg"  # the entry of the safetensors metadata that holds the description


@dataclass(frozen=True)
class ModelInfo:
    """What a model file tells beside the numbers.

    ``architecture``: the modules by class name and arguments. ``classes``: the names of the output
    classes in their order. ``preprocessing``: how inputs are made ready. ``training``: facts about
    how it was trained. ``frozen``: paths of parameters that are not trained.
    """

    architecture: dict[str, Any]
    classes: list[str] | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    thalweg_version: str = ""
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Return the description as JSON text.

        >>> '"format_version": 1' in ModelInfo({"type": "ReLU", "arguments": {}}).to_json()
        True
        """
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def save(
    model: Module,
    path: PathLike,
    *,
    classes: Sequence[Any] | None = None,
    preprocessing: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> Path:
    """Write a model to ``NAME.safetensors``, and its description also to ``NAME.json``.

    The description inside of the safetensors file is the one that ``load`` reads; the JSON file is
    for people and other tools. Either file appears whole or not at all: an existing model is
    replaced only after the new one is complete on disk. Returns the path of the safetensors file.

    ``classes``: names of the outputs; ``preprocessing``, ``training``: facts that JSON can hold.

    Raises:
        FormatError: the model cannot be described, or a fact is not JSON.
        OSError: the folder is missing or not writable, or the disk is full.

    >>> import tempfile
    >>> from thalweg import nn
    >>> path = save(nn.Linear(3, 2), tempfile.mkdtemp() + "/small", classes=["cat", "dog"])
    >>> path.name, info(path).classes
    ('small.safetensors', ['cat', 'dog'])
    >>> load(path)
    Linear(in_features=3, out_features=2)
    """
    from thalweg import __version__

    target = _with_suffix(path)
    told = ModelInfo(
        architecture=describe(model),
        classes=None if classes is None else [str(name) for name in classes],
        preprocessing=preprocessing or {},
        training=training or {},
        frozen=[name for name, p in model.parameters().items() if not p.trainable],
        thalweg_version=__version__,
    )
    try:
        text = told.to_json()
    except (TypeError, ValueError) as error:
        raise FormatError(
            f"preprocessing or training holds something that is not JSON: {error}. Give plain "
            "numbers, text, lists and dicts."
        ) from error
    write_tensors(target, model.state_dict(), {_KEY: text})
    write_whole(target.with_suffix(".json"), [text.encode() + b"\n"])
    return target


def _with_suffix(path: PathLike) -> Path:
    target = Path(path)
    return target if target.suffix == SUFFIX else target.with_name(target.name + SUFFIX)


def info(path: PathLike) -> ModelInfo:
    """Return what a model file tells beside its numbers.

    Raises:
        FormatError: the file is missing, truncated, damaged, not a model, or of a newer version.
    """
    metadata = read_metadata(path)
    if _KEY not in metadata:
        raise FormatError(
            f"{str(path)!r} is a safetensors file, but not a Thalweg model: it holds numbers "
            "without an architecture. Make the model yourself and use "
            "thalweg.formats.load_weights(model, path)."
        )
    try:
        told = json.loads(metadata[_KEY])
        version = int(told["format_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{str(path)!r} is damaged: its description cannot be read ({error}). Fetch it again, "
            "or train the model again."
        ) from error
    if version > FORMAT_VERSION:
        raise FormatError(
            f"{str(path)!r} was saved by Thalweg {told.get('thalweg_version')} in format "
            f"{version}; this version reads formats up to {FORMAT_VERSION}. Upgrade: "
            "pip install --upgrade thalweg"
        )
    names = ModelInfo.__dataclass_fields__
    try:
        return ModelInfo(**{k: v for k, v in told.items() if k in names})
    except TypeError as error:
        raise FormatError(
            f"{str(path)!r} is damaged: its description lacks the architecture. Fetch it again, or "
            "train the model again."
        ) from error


def load(path: PathLike, modules: Iterable[type[Module]] = ()) -> Module:
    """Return the model of a file, ready to be used (in evaluation mode).

    ``modules``: your own Module classes that the model is made of. No code is read from the file.

    Raises:
        FormatError: the file is missing, truncated, damaged, not a model, of a newer version, or
            holds a module that is not known.
    """
    told = info(path)
    try:
        model = build(told.architecture, modules)
    except FormatError as error:
        raise FormatError(f"{str(path)!r}: {error}") from error
    load_weights(model, path)
    for name, parameter in model.parameters().items():
        parameter.trainable = name not in told.frozen
    return model.eval()


def load_weights(model: Module, path: PathLike) -> None:
    """Take the numbers of a safetensors file over into a model that was made already.

    Raises:
        FormatError: the file is missing, truncated or damaged, or it belongs to a model of another
            architecture; the model then stays as it was.

    >>> import tempfile
    >>> from thalweg import nn
    >>> layer = nn.Linear(3, 2)
    >>> path = save(layer, tempfile.mkdtemp() + "/layer")
    >>> load_weights(nn.Linear(3, 2), path)
    """
    tensors = read_tensors(path)
    try:
        model.load_state_dict(tensors)
    except (ThalwegError, ValueError, TypeError) as error:
        raise FormatError(
            f"{str(path)!r} belongs to a model of another architecture; nothing was loaded. {error}"
        ) from error
