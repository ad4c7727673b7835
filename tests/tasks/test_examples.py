"""The examples in the docstrings of the tasks run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from thalweg import tasks


@pytest.mark.parametrize("name", sorted(m.name for m in pkgutil.iter_modules(tasks.__path__)))
def test_examples_in_docstrings_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"thalweg.tasks.{name}")).failed == 0
