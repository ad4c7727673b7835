"""Thalweg: a deep-learning system whose compiler turns a training step into one native program."""

from __future__ import annotations

import math
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
from thalweg.tensor.loops import scan
from thalweg.tensor.precision import autocast
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
inf, nan, pi, newaxis = math.inf, math.nan, math.pi, None

# Imported when first asked for, so that ``import thalweg`` stays quick.
_ROOMS = ("compress", "data", "estimators", "formats", "insight", "models", "nn", "optim", "train")
_TRAIN = ("Trainer", "evaluate", "fit")

__all__ = [
    "DType", "Parameter", "Tensor", "asarray", "autocast", "bfloat16", "bool_", "checkpoint",
    "compile",
    "custom_gradient", "debug_nans", "errors", "float16", "float32", "float64", "grad", "inf",
    "int8", "int16", "int32", "int64", "nan", "newaxis", "pi", "random", "rows", "scan",
    "settings", "steps", "tensor", "uint8", "uint32", "value_and_grad",
]  # fmt: skip
__all__ += list(_functions.FUNCTIONS)
__all__.sort()


def __getattr__(name: str) -> Any:
    import importlib

    if name in _TRAIN:
        return getattr(importlib.import_module("thalweg.train"), name)
    if name in _ROOMS:
        try:
            return importlib.import_module(f"thalweg.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"thalweg.{name}":
                raise
    raise AttributeError(f"module 'thalweg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_TRAIN})
