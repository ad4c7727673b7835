"""What PyTorch writes is read as it is: both formats, every dtype, views, nested checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.errors import FormatError
from thalweg.formats import read_torch

torch = pytest.importorskip("torch")
FORMATS = pytest.mark.parametrize("new", [True, False], ids=["archive", "older"])


def written(value: Any, new: bool, folder: Path) -> Any:
    torch.save(value, folder / "a.pt", _use_new_zipfile_serialization=new)
    return read_torch(folder / "a.pt")


def as_arrays(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
    if isinstance(value, dict):
        return {k: as_arrays(v) for k, v in value.items()}
    return [as_arrays(v) for v in value] if isinstance(value, (list, tuple)) else value


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(theirs, np.ndarray):
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours.astype(theirs.dtype), theirs)
    else:
        assert ours == theirs


@FORMATS
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32",
                                   "int16", "int8", "uint8", "bool", "complex64"])  # fmt: skip
def test_every_dtype_and_view(dtype: str, new: bool, tmp_path: Path) -> None:
    base = torch.arange(24).reshape(2, 3, 4).to(getattr(torch, dtype))
    views = [base, base.permute(2, 0, 1), base[:, 1:, ::2], base[1, 2, 3], base[:, :0], base.mT,
             base[0, :1].expand(5, 4)]  # fmt: skip
    found = written(views, new, tmp_path)
    assert found[0].dtype.name == dtype
    same(found, as_arrays(views))


@FORMATS
def test_checkpoints_of_a_model_and_its_optimizer(new: bool, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3, "loss": 0.25, "state_dict": model.state_dict(), "name": "größe",
        "optimizer": optimizer.state_dict(), "shape": torch.Size([2, 3]),
        "list": [torch.ones(2), (torch.zeros(1), None, True)], "big": 2**80,
        "own": OrderedDict(a=torch.nn.Parameter(torch.ones(3))),
    }  # fmt: skip
    same(written(checkpoint, new, tmp_path), as_arrays(checkpoint))


@FORMATS
def test_a_whole_model_is_refused_by_its_class(new: bool, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"it uses the name torch\.nn\.modules\.linear\.Linear"):
        written(torch.nn.Linear(2, 2), new, tmp_path)
