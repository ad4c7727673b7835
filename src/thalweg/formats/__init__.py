"""Files: models and tensors on disk, read and written without ever running code from them."""

from __future__ import annotations

from thalweg.formats.model_file import ModelInfo, info, load, load_weights, save
from thalweg.formats.safetensors_file import read_tensors, write_tensors
from thalweg.formats.torch_file import read_torch

__all__ = [
    "ModelInfo",
    "info",
    "load",
    "load_weights",
    "read_tensors",
    "read_torch",
    "save",
    "write_tensors",
]
