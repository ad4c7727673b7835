"""The model card: what it is, how it was made, how to make it again, what it must not be used for.

After Mitchell et al., "Model Cards for Model Reporting" (arXiv:1810.03993).
"""

from __future__ import annotations

import platform
import shlex
from typing import Any, Final

import numpy as np

import thalweg
from thalweg.app.report.facts import Facts
from thalweg.app.report.markup import Markup, cut, element, join, paragraph
from thalweg.app.report.wording import counted, duration, listed, number

__all__ = ["card_section"]

_FEW: Final = 200  # test rows below which the figures are said to be coarse
_LIMITS: Final = {
    "images": "images from another camera, size, light or background",
    "sounds": "sounds from another microphone, room or speaker",
    "texts": "texts of another language, time or origin",
    "language": "anything that must be true: it writes what is likely",
    "series": "times in which something happens that never happened in the training part",
    "table": "rows from another place, time or group of people, or whose columns are measured in "
    "another way",
}


def card_section(facts: Facts) -> Markup:
    """Return the facts of the network, its settings, how to repeat it, and its limits."""
    pairs = [
        element("div", element("dt", name), element("dd", value))
        for name, value in _facts(facts) if value
    ]  # fmt: skip
    parts: list[str] = [element("dl", *pairs)]
    parts += [element("h3", "What it must not be used for"),
              element("ul", *[element("li", limit) for limit in _limits(facts)])]  # fmt: skip
    parts += [
        element("h3", "How to make it again"),
        paragraph("With the same data and version, on a machine with the same vector units, this "
                  "gives the same network:"),
        element("pre", element("code", _command(facts)), tabindex="0"),
    ]  # fmt: skip
    config = facts.config or str(facts.results.get("settings") or "")
    if config:
        text = element("pre", element("code", config[:20_000]), tabindex="0")
        parts.append(element("details", element("summary", "Every setting (config.toml)"), text))
    return join(parts)


def _facts(facts: Facts) -> list[tuple[str, str]]:
    results, network = facts.results, facts.network
    architecture = network.get("architecture") or {}
    parameters = results.get("parameters")
    rows = ", ".join(
        f"{facts.rows(part):,} {part}" for part in ("training", "validation", "test")
        if facts.rows(part)
    )  # fmt: skip
    return [
        ("Task", facts.task),
        ("Predicts", _predicts(facts)),
        ("Learned from", str(results.get("source") or "")),
        ("Rows", rows),
        ("Kind of network", str(_settings(facts).get("network") or "")),
        ("Network", _network(architecture)),
        ("Parameters", number(parameters) if parameters is not None else ""),
        ("Seed", str(_settings(facts).get("seed", ""))),
        ("Made", facts.finished),
        ("Duration", duration(results["seconds"]) if "seconds" in results else ""),
        ("Versions", _versions(facts)),
    ]


def _predicts(facts: Facts) -> str:
    names = listed([cut(n, 60) for n in facts.targets]) if facts.targets else ""
    if facts.kind == "classes" and facts.classes:
        kinds = listed([cut(c, 40) for c in facts.classes], 20)
        return f"{names or 'the class'}: {kinds}"
    return names


def _network(architecture: dict[str, Any]) -> str:
    """Return an architecture on one line, its arguments without those that are empty."""
    if not architecture.get("type"):
        return ""
    told = architecture.get("arguments")
    arguments = told if isinstance(told, dict) else {}
    words = []
    for name, value in arguments.items():
        plain = value.get("tuple") if isinstance(value, dict) and "tuple" in value else value
        if isinstance(plain, (dict, bool)) or plain in (None, [], ""):
            continue
        if isinstance(plain, list):
            if not all(isinstance(v, (int, float, str)) for v in plain):
                continue
            plain = " × ".join(number(v) for v in plain)
        said = plain if isinstance(plain, str) else number(plain)
        words.append(f"{name.replace('_', ' ')} {said}")
    return cut(f"{architecture['type']}" + (f" ({', '.join(words)})" if words else ""), 300)


def _settings(facts: Facts) -> dict[str, Any]:
    told = (facts.network.get("training") or {}).get("settings")
    return told if isinstance(told, dict) else {}


def _versions(facts: Facts) -> str:
    """Return the versions at training if the results tell them, or else what is known."""
    told = facts.results.get("versions")
    if isinstance(told, dict):
        return ", ".join(f"{name} {value}" for name, value in told.items())
    made = facts.network.get("thalweg_version")
    words = [f"Thalweg {made}"] if made else []
    words.append(f"report written by Thalweg {thalweg.__version__}, NumPy {np.__version__}, "
                 f"Python {platform.python_version()}")  # fmt: skip
    return "; ".join(words)


def _command(facts: Facts) -> str:
    source = str(facts.results.get("source") or "DATA")
    config, again = str(facts.place / "config.toml"), f"{facts.place}-again"
    return (
        f"thalweg train {shlex.quote(source)} --config {shlex.quote(config)} "
        f"--output {shlex.quote(again)}"
    )


def _limits(facts: Facts) -> list[str]:
    rows = facts.rows("test")
    limits = []
    if facts.task in _LIMITS:
        limits.append(f"For {_LIMITS[facts.task]}: the figures above do not hold there.")
    else:
        limits.append("For data of another origin: the figures above do not hold there.")
    limits += [
        "To say what would happen if something were changed: it learned what goes together, not "
        "what causes what.",
        "To decide about people without looking at its figures for each group of them, and without "
        "a person who answers for it.",
        "Unwatched for long: the world changes. Measure it again on new rows (thalweg evaluate).",
    ]
    if 0 < rows < _FEW:
        limits.append(f"Where small differences count: only {counted(rows, 'test row')} "
                      "stand behind the figures.")  # fmt: skip
    return limits
