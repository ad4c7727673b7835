"""Thalweg: a deep-learning system whose compiler turns a training step into one native program."""

from __future__ import annotations

from typing import Any

from thalweg import errors
from thalweg.graph.dtype import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint32,
)
from thalweg.settings import settings
from thalweg.tensor import functions as _functions
from thalweg.tensor import random
from thalweg.tensor.compile import compile, rows, steps
from thalweg.tensor.conversion import asarray, tensor
from thalweg.tensor.tensor import Parameter, Tensor
from thalweg.tensor.transforms import (
    checkpoint,
    custom_gradient,
    debug_nans,
    grad,
    value_and_grad,
)

__version__ = "0.1.0"
globals().update(_functions.FUNCTIONS)


_ROOMS = ("data", "formats", "nn", "optim", "train")
_TRAIN = ("Trainer", "evaluate", "fit")


def __getattr__(name: str) -> Any:
    """Import a room when it is first asked for, so that ``import thalweg`` stays quick."""
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f"thalweg.{name}")
    if name in _TRAIN:
        return getattr(importlib.import_module("thalweg.train"), name)
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
