"""``thalweg doctor``: what this machine has, whether the compiler works on it, and how fast."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any, Final

from thalweg import __version__
from thalweg.app.cli.reporting import fail, say
from thalweg.app.cli.self_test import Check, self_test, speeds
from thalweg.errors import ThalwegError
from thalweg.settings import settings

__all__ = ["doctor", "folder_size", "machine", "readable_bytes"]

UNSOUND: Final = 1  # exit code: a check of the self-test did not hold
# Packages that are not always installed, by the extra that brings them, and what they are for.
EXTRAS: Final = {
    "tables": (("polars", "narwhals"), "tables from files and data frames"),
    "text": (("tokenizers",), "words of texts in parts (BPE, WordPiece)"),
    "audio": (("soundfile",), "sound files"),
    "sklearn": (("sklearn",), "estimators with scikit-learn's interface"),
    "search": (("optuna",), "search for settings"),
    "plots": (("matplotlib",), "figures"),
    "onnx": (("onnx",), "ONNX files"),
    "serve": (("starlette", "uvicorn"), "serving a model over HTTP"),
    "logs": (("tensorboardX",), "logs for TensorBoard"),
}  # fmt: skip


def doctor(as_json: bool) -> int:
    """Print what the machine has, the self-test and the speed; return 0 if the test holds, else 1.

    It takes some seconds; nothing is changed but the cache of machine code.
    """
    facts = machine()
    checks = self_test()
    sound = all(check.held for check in checks)
    speed = speeds() if sound else {}
    if as_json:
        told = {"machine": facts, "sound": sound, "speed": speed,
                "self_test": [vars(check) for check in checks]}  # fmt: skip
        say(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        say("\n".join(_lines(facts, checks, speed)))
    for check in checks:
        if not check.held:
            fail(f"{check.name}: {check.told}")
    return 0 if sound else UNSOUND


def machine() -> dict[str, Any]:
    """Return what this machine has, as JSON can hold it.

    >>> sorted(machine())[:3]
    ['backend', 'cache', 'cores']
    """
    usable = _usable_cores()
    data = os.environ.get("THALWEG_DATA")
    return {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": _processor(),
        "cores": {"usable": usable, "all": os.cpu_count() or usable},
        "threads": settings.team_size(),
        "vectors": _vectors(),
        "memory": _memory(),
        "gpu": _gpu(),
        "backend": settings.backend,
        "versions": {
            "thalweg": __version__, "python": platform.python_version(),
            "numpy": _version("numpy"), "llvmlite": _version("llvmlite"),
        },
        "extras": {
            extra: {"for": use, "missing": [p for p in packages if not _is_installed(p)]}
            for extra, (packages, use) in EXTRAS.items()
        },
        "cache": {"folder": str(settings.cache_dir), "used": settings.cache,
                  "bytes": folder_size(settings.cache_dir)},
        "data": {
            "folder": data or str(settings.cache_dir / "data"),
            "exists": Path(data or settings.cache_dir / "data").is_dir(),
            "named_by": "THALWEG_DATA" if data else "the cache folder",
        },
    }  # fmt: skip


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder and below; 0 if there is none.

    >>> folder_size(Path("no/such/folder"))
    0
    """
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue  # another process has just removed it
    return total


def readable_bytes(count: float) -> str:
    """Return a number of bytes with a unit.

    >>> readable_bytes(512), readable_bytes(1_500_000), readable_bytes(8e9)
    ('512 B', '1.4 MiB', '7.5 GiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can restrict a process to some cores
        return os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None


def _vectors() -> dict[str, Any]:
    from thalweg.backends.llvm.runtime.target import host

    try:
        target = host()
    except ThalwegError as error:
        return {"bits": 0, "fault": str(error)}
    more = [name for name, there in (("bfloat16", target.has_bf16), ("int8", target.has_vnni))
            if there]  # fmt: skip
    return {"bits": target.vector_bits, "products": more, "llvm_cpu": target.cpu}


def _gpu() -> str | None:
    """Return the name of an NVIDIA GPU whose driver is there, or None."""
    named = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    for file in named:
        try:
            for line in file.read_text(errors="replace").splitlines():
                if line.startswith("Model:"):
                    return line.partition(":")[2].strip()
        except OSError:
            continue
    driver = Path("/proc/driver/nvidia/version").exists()
    return "NVIDIA, of unknown model" if driver or shutil.which("nvidia-smi") else None


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lines(facts: dict[str, Any], checks: list[Check], speed: dict[str, float]) -> list[str]:
    rows = [*_machine_rows(facts), ("", "")]
    rows += [(c.name, ("yes: " if c.held else "NO: ") + c.told) for c in checks]
    if speed:
        one, all_ = speed["matrix_product_gflops_one_thread"], speed["matrix_product_gflops"]
        threads = facts["threads"]
        rows += [
            ("", ""),
            ("matrix product", f"{one:.0f} GFLOP/s on 1 thread, {all_:.0f} on {threads} "
                               "(float32, 1024 x 1024)"),
            ("training step", f"{speed['digits_step_ms']:.2f} ms for 128 images by the network of "
                              "`thalweg train digits`"),
        ]  # fmt: skip
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}".rstrip() for name, value in rows]


def _machine_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    versions, cores, vectors = facts["versions"], facts["cores"], facts["vectors"]
    wide = f"{vectors['bits']} bits"
    if vectors.get("products"):
        wide += f", products of {' and '.join(vectors['products'])}"
    gpu = f"{facts['gpu']}: not used, as yet there is no backend for it" if facts["gpu"] else "none"
    cache, data = facts["cache"], facts["data"]
    rows = [
        ("thalweg", versions["thalweg"]),
        ("Python, NumPy, llvmlite", ", ".join(str(versions[n]) for n in
                                              ("python", "numpy", "llvmlite"))),
        ("system", facts["system"]),
        ("processor", facts["processor"]),
        ("cores", f"{cores['usable']} of {cores['all']}, {facts['threads']} threads used"),
        ("memory", readable_bytes(facts["memory"]) if facts["memory"] else "unknown"),
        ("vectors", vectors.get("fault", wide)),
        ("GPU", gpu),
        ("backend", facts["backend"]),
        ("cache", f"{cache['folder']}, {readable_bytes(cache['bytes'])}"
                  + ("" if cache["used"] else "; not used (THALWEG_CACHE=0)")),
        ("data sets", data["folder"] + ("" if data["exists"] else " (not there yet)")),
        ("", ""),
    ]  # fmt: skip
    for extra, told in facts["extras"].items():
        missing = ", ".join(told["missing"])
        get = f"lacks {missing}: pip install 'thalweg[{extra}]'" if missing else "installed"
        rows.append((f"[{extra}]", f"{told['for']}: {get}"))
    return rows
