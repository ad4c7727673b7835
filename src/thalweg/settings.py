"""Process-wide settings, each with an environment variable of the same name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from thalweg.errors import SettingError, nearest

VECTORS = ("auto", "sse", "avx2", "avx512")
BACKENDS = ("llvm", "reference")


def _choice(variable: str, default: str, choices: tuple[str, ...]) -> str:
    value = os.environ.get(variable, default)
    if value not in choices:
        raise SettingError(f"{variable}={value!r} is not a choice; {nearest(value, choices)}")
    return value


def _count(variable: str) -> int:
    text = os.environ.get(variable, "0")
    if not text.isdigit() or int(text) > 1024:
        raise SettingError(
            f"{variable}={text!r} is not a number of threads; "
            "give a whole number from 1 to 1024, or 0 for all cores of this process"
        )
    return int(text)


def _cache_dir() -> Path:
    given = os.environ.get("THALWEG_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "thalweg"


@dataclass
class Settings:
    """What the whole process goes by; change an attribute and the next call obeys it.

    ``threads``: threads of a compiled program, 0 for all cores that this process may use
    (``THALWEG_THREADS``). ``vector``: widest vector unit to use (``THALWEG_VECTOR``).
    ``backend``: who runs compiled functions (``THALWEG_BACKEND``). ``cache``, ``cache_dir``:
    whether and where machine code is kept on disk (``THALWEG_CACHE``, ``THALWEG_CACHE_DIR``).
    ``version`` counts the changes, so that what depends on a setting can notice one.
    """

    threads: int = field(default_factory=lambda: _count("THALWEG_THREADS"))
    vector: str = field(default_factory=lambda: _choice("THALWEG_VECTOR", "auto", VECTORS))
    backend: str = field(default_factory=lambda: _choice("THALWEG_BACKEND", "llvm", BACKENDS))
    cache: bool = field(default_factory=lambda: os.environ.get("THALWEG_CACHE", "1") != "0")
    cache_dir: Path = field(default_factory=_cache_dir)

    version: int = 0

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name != "version":
            object.__setattr__(self, "version", getattr(self, "version", 0) + 1)

    def team_size(self) -> int:
        """Return the number of threads that a compiled program runs on."""
        if self.threads:
            return self.threads
        try:
            return len(os.sched_getaffinity(0))
        except AttributeError:  # not every system can restrict a process to some cores
            return os.cpu_count() or 1


settings = Settings()
