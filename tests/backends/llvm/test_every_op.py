"""Every operation on every vector width, shared by two threads, against the eager value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.backends.llvm.test_native import WIDTHS
from tests.ops.cases import tolerance
from tests.ops.test_contract import TESTED, brief, by_name, close, node_of

import thalweg as tw
from thalweg.backends.llvm import compile as stages
from thalweg.backends.reference import evaluate
from thalweg.graph.node import Op
from thalweg.settings import settings
from thalweg.tensor.tensor import finish, lift


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("op", TESTED, ids=by_name)
def test_native_value(op: Op, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "worthwhile_threads", lambda schedule, threads: threads)
    settings.vector, settings.threads = width, 2
    chosen = brief(op)

    @tw.compile
    def together(*rows: Any) -> list[tw.Tensor]:
        pairs = zip(chosen, rows, strict=True)
        return [finish(op(*[lift(t) for t in row], **c.attrs)) for c, row in pairs]

    got = together(*[[tw.tensor(a) for a in c.arrays] for c in chosen])
    for case, tensor in zip(chosen, got, strict=True):
        eager = evaluate([node_of(case)])[0]
        assert tensor.shape == eager.shape, case.id
        with np.errstate(all="ignore"):
            wide = eager.astype(np.float64) if tensor.dtype.is_float else eager
            close(tensor.numpy(), wide, tolerance(eager.dtype), case.id)
