"""A fitted estimator as arrays and a description: for pickles, and for files without them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.errors import FormatError, where
from thalweg.formats import read_tensors, write_tensors
from thalweg.formats.architecture import build, describe
from thalweg.formats.safetensors_file import read_metadata
from thalweg.nn import Module

__all__ = ["Packed", "packed", "read_file", "unpacked", "write_file"]

Array = np.ndarray[Any, Any]
PathLike = str | os.PathLike[str]
FORMAT_VERSION: Final = 1
_KEY: Final = "thalweg.estimator"
_MODEL, _VALUE = "model/", "value/"
_ABSENT: Final = object()


@dataclass(frozen=True, eq=False)
class Packed:
    """A model as its architecture, the classes that this names, and arrays by path."""

    architecture: dict[str, Any]
    kinds: tuple[type[Module], ...]
    arrays: dict[str, Array]
    frozen: tuple[str, ...]


def packed(model: Module) -> Packed | Module:
    """Return a model as arrays; a model that cannot be described is returned as it is.

    >>> from thalweg import nn
    >>> sorted(packed(nn.Linear(3, 2)).arrays)
    ['bias', 'weight']
    """
    kinds = tuple(dict.fromkeys(type(m) for m in model.named_modules().values()))
    try:
        told = describe(model)
    except FormatError:  # a class of the user's own, which pickle may know how to keep
        return model
    frozen = tuple(k for k, p in model.parameters().items() if not p.trainable)
    return Packed(told, kinds, model.state_dict(), frozen)


def unpacked(given: Packed | Module) -> Module:
    """Return the model that ``packed`` was given, in evaluation mode.

    >>> from thalweg import nn
    >>> unpacked(packed(nn.Linear(3, 2)))
    Linear(in_features=3, out_features=2)
    """
    if isinstance(given, Module):
        return given.eval()
    model = build(given.architecture, given.kinds)
    if any(a.dtype == np.float64 for a in given.arrays.values()):
        model.astype("float64")
    model.load_state_dict(given.arrays)
    for path, parameter in model.parameters().items():
        parameter.trainable = path not in given.frozen
    return model.eval()


# --- files -------------------------------------------------------------------------------------


def write_file(path: PathLike, kind: str, model: Module, parameters: dict[str, Any],
               fitted: dict[str, Any]) -> Path:  # fmt: skip
    """Write an estimator as one safetensors file with JSON beside its arrays; return the path.

    Parameters that are no data, such as functions and modules, are left out, by name.

    Raises:
        FormatError: the model cannot be described, or a fitted attribute is no data.
        OSError: the folder is missing or not writable.
    """
    arrays = {_MODEL + k: v for k, v in model.state_dict().items()}
    told: dict[str, Any] = {
        "format_version": FORMAT_VERSION, "estimator": kind, "architecture": describe(model),
        "frozen": [k for k, p in model.parameters().items() if not p.trainable],
        "parameters": {}, "left_out": [], "fitted": {},
    }  # fmt: skip
    for name, value in parameters.items():
        encoded = _encoded(value, f"{_VALUE}parameters.{name}", arrays)
        if encoded is _ABSENT:
            told["left_out"].append(name)
        else:
            told["parameters"][name] = encoded
    for name, value in fitted.items():
        encoded = _encoded(value, f"{_VALUE}{name}", arrays)
        if encoded is _ABSENT:
            raise FormatError(
                f"{kind}.save: the attribute {name!r} is {type(value).__name__}, which a file "
                f"without pickle cannot hold; remove it, or convert it to an array. {where()}"
            )
        told["fitted"][name] = encoded
    target = Path(path)
    if target.suffix != ".safetensors":
        target = target.with_name(target.name + ".safetensors")
    write_tensors(target, arrays, {_KEY: json.dumps(told)})
    return target


def read_file(path: PathLike, modules: Iterable[type[Module]]) -> tuple[dict[str, Any], Module]:
    """Return what ``write_file`` wrote: the description with values in it, and the model.

    Raises:
        FormatError: the file is missing, damaged, no estimator, or of a newer version.
    """
    metadata = read_metadata(path)
    if _KEY not in metadata:
        raise FormatError(
            f"{str(path)!r} holds no estimator; give a file that an estimator's save wrote. "
            f"{where()}"
        )
    try:
        told = json.loads(metadata[_KEY])
        version = int(told["format_version"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{str(path)!r} is damaged: its description cannot be read ({error}). Save the "
            f"estimator again. {where()}"
        ) from error
    if version > FORMAT_VERSION:
        raise FormatError(
            f"{str(path)!r} was saved in format {version}, this version reads formats up to "
            f"{FORMAT_VERSION}; upgrade: pip install --upgrade thalweg. {where()}"
        )
    arrays = read_tensors(path)
    try:
        for part in ("parameters", "fitted"):
            told[part] = {k: _decoded(v, arrays) for k, v in told[part].items()}
        given = {k.removeprefix(_MODEL): v for k, v in arrays.items() if k.startswith(_MODEL)}
        own = Packed(told["architecture"], tuple(modules), given, tuple(told["frozen"]))
        return told, unpacked(own)
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{str(path)!r} is damaged: {error!r} is missing or makes no sense. Save the estimator "
            f"again. {where()}"
        ) from error


def _encoded(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """Return a value as JSON can hold it, arrays put aside under ``name``; _ABSENT if it cannot."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"number": repr(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        inside = _encoded(value.tolist(), name, arrays)
        kind = "object" if value.dtype.kind == "O" else "str"
        return _ABSENT if inside is _ABSENT else {"texts": inside, "dtype": kind}
    if isinstance(value, dict):
        return _encoded_dict(value, name, arrays)
    if isinstance(value, (list, tuple)):
        parts = [_encoded(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        if any(p is _ABSENT for p in parts):
            return _ABSENT
        return {"tuple": parts} if isinstance(value, tuple) else parts
    return _ABSENT


def _encoded_dict(value: dict[Any, Any], name: str, arrays: dict[str, Array]) -> Any:
    """Return a dict as pairs, since its keys may be numbers, such as labels."""
    pairs = [
        [_encoded(k, f"{name}.key{i}", arrays), _encoded(v, f"{name}.{i}", arrays)]
        for i, (k, v) in enumerate(value.items())
    ]
    return _ABSENT if any(_ABSENT in (k, v) for k, v in pairs) else {"dict": pairs}


def _decoded(value: Any, arrays: dict[str, Array]) -> Any:
    if isinstance(value, list):
        return [_decoded(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "number" in value:
        return float(value["number"])
    if "array" in value:
        return arrays[value["array"]]
    if "texts" in value:
        return np.array(_decoded(value["texts"], arrays), dtype=value["dtype"])
    if "tuple" in value:
        return tuple(_decoded(v, arrays) for v in value["tuple"])
    return {_decoded(k, arrays): _decoded(v, arrays) for k, v in value["dict"]}
