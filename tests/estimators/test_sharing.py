"""Workers of a search run on their share of the cores, unless they are told otherwise."""

from __future__ import annotations

import multiprocessing

import pytest

from thalweg.estimators.sharing import share_cores
from thalweg.settings import settings


@pytest.mark.parametrize(
    ("name", "share", "given", "threads"),
    [("LokyProcess-1", "3", 0, 3), ("LokyProcess-1", "3", 2, 2), ("LokyProcess-1", "", 0, 0),
     ("MainProcess", "3", 0, 0)],
)  # fmt: skip
def test_the_share_is_what_joblib_says(
    monkeypatch: pytest.MonkeyPatch, name: str, share: str, given: int, threads: int
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "name", name)
    monkeypatch.setenv("OMP_NUM_THREADS", share)
    monkeypatch.setattr(settings, "threads", given)
    assert share_cores() == (threads == 3)
    assert settings.threads == threads
