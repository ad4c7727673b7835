"""Settings of the native backend, put back after each test; the same draws for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.backends.llvm import test_convolutions

from thalweg.settings import settings


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    before = (settings.backend, settings.vector, settings.threads)
    settings.backend = "llvm"
    yield
    settings.backend, settings.vector, settings.threads = before


START = test_convolutions.source.bit_generator.state


@pytest.fixture(autouse=True)
def _own_draws() -> None:
    """A test draws the same numbers alone as among others."""
    test_convolutions.source.bit_generator.state = START
