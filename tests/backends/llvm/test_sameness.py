"""Kernels that are alike are written once; any difference makes another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.backends.llvm.codegen import program
from thalweg.backends.llvm.codegen.sameness import kernel_signature
from thalweg.settings import settings

MODELS = {
    "gpt": lambda: (tw.models.GPT2(40, 12, layers=2, heads=2, width=16), np.zeros((2, 12), int)),
    "resnet": lambda: (tw.models.create("resnet20"), np.zeros((2, 32, 32, 3), np.float32)),
    "lstm": lambda: (nn.LSTM(7, 7, num_layers=2), np.zeros((3, 4, 7), np.float32)),
}


def loss_of(model: nn.Module, x: Any) -> Any:
    out = model(x)
    return tw.sum(tw.sin(out[0] if isinstance(out, tuple) else out))


@pytest.mark.parametrize("name", MODELS)
def test_one_signature_means_one_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written without signatures, all steps of one signature come out the same."""
    texts: dict[str, set[str]] = {}
    current = []

    def noted(*args: Any) -> str:
        current.append(kernel_signature(*args))
        return f"{len(current)}"

    write = program.ProgramWriter._deduplicated

    def kept(self: Any, function: Any) -> Any:
        texts.setdefault(current[-1], set()).add(str(function).replace(function.name, "kernel"))
        return write(self, function)

    monkeypatch.setattr(program, "kernel_signature", noted)
    monkeypatch.setattr(program.ProgramWriter, "_deduplicated", kept)
    monkeypatch.setattr(settings, "cache", False)
    model, x = MODELS[name]()
    optimizer = tw.optim.AdamW(model, 1e-3)

    @tw.compile
    def step(x: Any) -> Any:
        value, grads = tw.value_and_grad(lambda m: loss_of(m, x))(model)
        optimizer.update(grads)
        return value

    step(x)
    assert len(current) > len(texts)  # some are alike
    assert [len(t) for t in texts.values()] == [1] * len(texts)
    assert len({next(iter(t)) for t in texts.values()}) > 0.7 * len(texts)
