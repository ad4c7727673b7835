"""Models of this house from files: saved ones, and published weights for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from thalweg import nn
from thalweg.errors import FormatError, ThalwegError, where
from thalweg.formats import load as load_with
from thalweg.formats import read_tensors, read_torch

__all__ = ["load", "load_weights_of_torch"]

PathLike = str | os.PathLike[str]
# Where training scripts put the parameters beside figures and optimiser state.
_KEYS: Final = ("state_dict", "model_state_dict", "model")


def load(path: PathLike) -> nn.Module:
    """Return a model that ``thalweg.formats.save`` wrote, if it is made of layers and models here.

    Raises:
        FormatError: the file is missing, truncated, damaged, not a model, of a newer version, or
            holds a class of your own (``thalweg.formats.load`` takes those).

    Example:
        >>> import tempfile
        >>> import thalweg as tw
        >>> model = tw.models.create("mlp", inputs=4, hidden=(3,))
        >>> path = tw.formats.save(model, tempfile.mkdtemp() + "/small")
        >>> type(tw.models.load(path)).__name__
        'MLP'
    """
    return load_with(path, _classes())


def _classes() -> list[type[nn.Module]]:
    """Return the Module classes that the files of this room define, and no others."""
    found: dict[str, type[nn.Module]] = {}
    for name, module in sys.modules.copy().items():  # other threads may import
        if name.startswith("thalweg.models."):
            found |= {
                key: value for key, value in vars(module).items()
                if isinstance(value, type) and issubclass(value, nn.Module)
                and value.__module__ == name
            }  # fmt: skip
    return list(found.values())


def load_weights_of_torch(model: nn.Module, path: PathLike, strict: bool = True) -> nn.Module:
    """Take published PyTorch weights over into a model, and return it in evaluation mode.

    The file is one of ``torch.save`` (.pt, .pth, .th), read without running anything in it, or a
    safetensors file with PyTorch's names. The parameters may stand beside other things, under
    ``"state_dict"``, ``"model_state_dict"`` or ``"model"``.

    Args:
        model: the same architecture; parameters are matched by their paths.
        path: the file.
        strict: whether missing and unexpected entries are errors.

    Raises:
        FormatError: the file cannot be read, or belongs to another architecture; the model then
            stays as it was.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import thalweg as tw
        >>> path = tempfile.mkdtemp() + "/weights.safetensors"
        >>> tw.formats.write_tensors(path, {"weight": np.ones((1, 2)), "bias": np.zeros(1)})
        >>> load_weights_of_torch(tw.nn.Linear(2, 1), path)(tw.ones((1, 2)))
        Tensor([[2.]], dtype=float32)
    """
    place = Path(path)
    found = read_tensors(place) if place.suffix == ".safetensors" else read_torch(place)
    try:
        nn.from_torch(model, _state(place, found), strict=strict)
    except FormatError:
        raise
    except (ThalwegError, TypeError, ValueError) as error:
        raise FormatError(
            f"{str(place)!r} does not fit {type(model).__name__}; nothing was loaded. {error}"
        ) from error
    return model.eval()


def _state(path: Path, found: Any) -> Mapping[str, Any]:
    """Return the parameters of a file, by their paths."""
    for key in _KEYS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if isinstance(found, dict) and found and all(hasattr(v, "shape") for v in found.values()):
        return {str(name): array for name, array in found.items()}
    told = f"the entries {', '.join(map(repr, list(found)[:5]))}" if (
        isinstance(found, dict)) else f"a {type(found).__name__}"  # fmt: skip
    raise FormatError(
        f"{str(path)!r} holds {told}, wanted arrays by their paths; read it with "
        "thalweg.formats.read_torch, and give the part with the parameters to nn.from_torch. "
        f"{where()}"
    )
