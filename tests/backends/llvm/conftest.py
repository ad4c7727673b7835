"""Settings of the native backend, put back after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thalweg.settings import settings


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    before = (settings.backend, settings.vector, settings.threads)
    settings.backend = "llvm"
    yield
    settings.backend, settings.vector, settings.threads = before
