"""Describe the processor that native code is compiled for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import llvmlite
import llvmlite.binding as llvm

from thalweg.errors import SettingError, nearest
from thalweg.settings import VECTORS, settings

# What the x86-64 feature levels v2 to v4 demand and LLVM's vector types need.
_NEEDS = {
    "sse": ("sse4.2", "ssse3", "popcnt", "cx16"),
    "avx2": ("avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe"),
    "avx512": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}
_BITS = {"sse": 128, "avx2": 256, "avx512": 512}


@dataclass(frozen=True)
class Target:
    """A processor in LLVM's words, and the width of its vectors.

    ``has_bf16``: it multiplies bfloat16 pairs (AVX512-BF16, Arm BF16). ``has_vnni``: it adds up
    products of four int8 pairs (AVX512-VNNI, Arm DotProd).
    """

    cpu: str
    features: str
    vector_bits: int
    triple: str
    has_bf16: bool = False
    has_vnni: bool = False

    @property
    def key(self) -> str:
        """Everything besides the IR that decides which machine code comes out."""
        version = ".".join(str(part) for part in llvm.llvm_version_info)
        return (
            f"{self.triple} {self.cpu} {self.features} {self.vector_bits} "
            f"llvm {version} llvmlite {llvmlite.__version__}"
        )

    @property
    def is_x86(self) -> bool:
        """Whether the processor is an x86-64."""
        return self.triple.startswith(("x86_64", "amd64"))


def host(vector: str | None = None) -> Target:
    """Return this machine's processor, limited to ``vector`` (default ``settings.vector``).

    ``"auto"`` is the best that the machine has; ``"sse"``, ``"avx2"``, ``"avx512"`` ask for
    vectors of 128, 256 and 512 bits on x86-64.

    Raises:
        SettingError: the machine lacks what was asked for, or the name is unknown.

    >>> host().vector_bits in (128, 256, 512)
    True
    """
    return _host(settings.vector if vector is None else vector)


def aarch64(cpu: str = "neoverse-n1") -> Target:
    """Return a 64-bit Arm server processor, to compile for and inspect on any machine."""
    return Target(cpu, "", 128, "aarch64-unknown-linux-gnu", has_vnni=True)


@cache
def _host(vector: str) -> Target:
    if vector not in VECTORS:
        raise SettingError(f"vector={vector!r} is not a choice; {nearest(vector, VECTORS)}")
    triple = llvm.get_process_triple()
    features = llvm.get_host_cpu_features()
    if triple.startswith(("x86_64", "amd64")):
        return _x86(vector, triple, features)
    if vector != "auto":
        raise SettingError(
            f"vector={vector!r} names x86-64 vectors but this machine is {triple}; "
            "set THALWEG_VECTOR=auto"
        )
    bf16, dot = bool(features.get("bf16")), bool(features.get("dotprod"))
    return Target(llvm.get_host_cpu_name(), features.flatten(), 128, triple, bf16, dot)


def _levels(features: Mapping[str, bool]) -> list[str]:
    levels: list[str] = []
    for level, needs in _NEEDS.items():
        if not all(features.get(need) for need in needs):
            break
        levels.append(level)
    return levels


def _x86(vector: str, triple: str, features: Mapping[str, bool]) -> Target:
    levels = _levels(features)
    if not levels:
        raise SettingError(
            "this processor lacks SSE4.2, which native code needs; set THALWEG_BACKEND=reference"
        )
    level = levels[-1] if vector == "auto" else vector
    if level not in levels:
        lacking = [need for need in _NEEDS[level] if not features.get(need)]
        raise SettingError(
            f"vector={vector!r} was asked for, but this processor "
            f"({llvm.get_host_cpu_name()}) lacks {', '.join(lacking) or 'a lower level'}; "
            f"its best is {levels[-1]!r}: set THALWEG_VECTOR=auto or {levels[-1]}"
        )
    # Below the best level a generic processor is named, so that the code runs and is tuned the
    # same on every machine of that level; at the best level the scheduler knows this very chip.
    if level != levels[-1]:
        cpu = {"sse": "x86-64-v2", "avx2": "x86-64-v3"}[level]
        return Target(cpu, "", _BITS[level], triple)
    wide = level == "avx512"
    flags = features.flatten()  # type: ignore[attr-defined]
    if wide:
        # Many Intel chips ask LLVM to split 512-bit vectors in two; ours are explicit.
        flags += ",-prefer-256-bit"
    has_bf16, has_vnni = (wide and bool(features.get(f)) for f in ("avx512bf16", "avx512vnni"))
    return Target(llvm.get_host_cpu_name(), flags, _BITS[level], triple, has_bf16, has_vnni)
