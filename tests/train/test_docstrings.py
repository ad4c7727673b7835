"""The examples in the docstrings of training and of checkpoints run, and show what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import thalweg.train

MODULES = [f"thalweg.train.{m.name}" for m in pkgutil.iter_modules(thalweg.train.__path__)]


@pytest.mark.parametrize("name", [*MODULES, "thalweg.formats.checkpoint"])
def test_examples_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
