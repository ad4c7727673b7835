"""The examples in the docstrings of the data room run, and its public names exist."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from thalweg import data

MODULES = sorted(module.name for module in pkgutil.iter_modules(data.__path__))
NEEDS = {
    "audio_files": "soundfile", "tables": "polars", "column_kinds": "polars",
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    failed, _ = doctest.testmod(importlib.import_module(f"thalweg.data.{name}"))
    assert failed == 0


def test_public_names_are_sorted_and_exist() -> None:
    assert all(hasattr(data, name) for name in data.__all__)
    assert len(set(data.__all__)) == len(data.__all__)
