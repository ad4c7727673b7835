"""The package as a whole: its names, how light its import is, its examples."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import thalweg as tw

HEAVY = ("llvmlite", "jax", "typer", "rich", "matplotlib", "PIL", "torch", "sklearn", "thalweg.nn")
ROOMS = ("thalweg.graph", "thalweg.ops", "thalweg.tensor")
MODULES = ["thalweg.errors", "thalweg.trees", "thalweg.autodiff", *(
    f"{room}.{m.name}" for room in ROOMS for m in pkgutil.iter_modules(
        importlib.import_module(room).__path__)
)]  # fmt: skip


def test_public_names_are_sorted_and_exist() -> None:
    assert list(tw.__all__) == sorted(tw.__all__)
    assert all(hasattr(tw, name) for name in tw.__all__)
    assert {"exp", "compile", "random", "Tensor", "nonzero"} <= set(tw.__all__)
    assert not [name for name in tw.__all__ if name.startswith("_")]


def test_rooms_are_imported_when_first_asked_for() -> None:
    assert tw.nn is importlib.import_module("thalweg.nn")
    assert {"nn", "optim", "data", "fit"} <= set(dir(tw))
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        tw.missing  # noqa: B018


def test_importing_is_light() -> None:
    code = f"import sys, thalweg; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
