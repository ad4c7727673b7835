"""The examples in the docstrings of the estimators run, and public names are as they should be."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

from thalweg import estimators

MODULES = sorted(module.name for module in pkgutil.iter_modules(estimators.__path__))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_examples_in_docstrings_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"thalweg.estimators.{name}"))
    assert failed == 0


def test_public_names_are_sorted_and_exist() -> None:
    assert estimators.__all__ == sorted(estimators.__all__)
    assert all(hasattr(estimators, name) for name in estimators.__all__)


def test_without_scikit_learn_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try:\n    import thalweg.estimators\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'thalweg[sklearn]'" in done.stdout, done.stderr
