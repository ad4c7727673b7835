"""How the report says numbers, shares and times, and what the figures mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["FIGURES", "HIGHER", "SHARES", "counted", "duration", "figure", "listed", "number",
           "share"]  # fmt: skip

HIGHER: Final = {"accuracy", "balanced accuracy", "auc", "r2", "f1", "precision", "recall"}
SHARES: Final = {"accuracy", "balanced accuracy", "precision", "recall"}
FIGURES: Final = {
    "accuracy": "share of the rows that are told right",
    "balanced accuracy": "share told right in each class, averaged: rare classes count as much",
    "log loss": "how surprised the network is by the truth; a sure mistake costs most",
    "auc": "how often, of one row of each class, the right one gets the larger probability",
    "rmse": "typical error in the unit of the target; large errors count more",
    "mae": "mean error in the unit of the target, whatever its sign",
    "r2": "share of the variation that is told: 1 is perfect, 0 is what the mean gives",
    "mase": "mean error as a multiple of that of the naive forecast in the training part",
    "loss": "mean surprise for each token, in nats",
    "perplexity": "among how many equally likely tokens the network hesitates",
    "bits per character": "how many bits a character costs when the network predicts it",
}  # fmt: skip


def number(value: object, digits: int = 4, *, short: bool = True) -> str:
    """Return a number as people read it; what is none is said in words.

    ``digits``: how many count; ``short``: zeros at the end of them are left out.

    >>> number(12345.678), number(0.0123456), number(-2.5), number(float("nan")), number(3)
    ('12,346', '0.01235', '−2.5', 'not a number', '3')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "unknown" if value is None else str(value)
    if isinstance(value, int) and abs(value) < 10**15:
        return f"{value:,}".replace("-", "−")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf if value > 0 else -math.inf
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "−infinite"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e9 or size < 1e-4:
        mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa} × 10{power}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{places}f}"
    if short and "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def share(value: object, places: int | None = None) -> str:
    r"""Return a share of 1 as a percentage; with more places where little is missing to 0 or 1.

    >>> share(0.5), share(0.9954), share(1.0), share(1e-9), share(0.3, 0)
    ('50.0\xa0%', '99.5\xa0%', '100\xa0%', 'under 0.01\xa0%', '30\xa0%')
    """
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return number(value)
    if places is None:
        near = min(abs(value), abs(1 - value))
        if 0 < near < 5e-5:
            return "under 0.01\xa0%" if value < 0.5 else "over 99.99\xa0%"
        places = 0 if near == 0 else 1 if near >= 0.001 else 2
    return f"{100 * value:.{places}f}".replace("-", "−") + "\xa0%"


def figure(name: str, value: object) -> str:
    r"""Return a figure: a share as a percentage, any other as a number.

    >>> figure("accuracy", 0.5), figure("MAE", 0.5), figure("R2", -0.00002)
    ('50.0\xa0%', '0.5000', '0')
    """
    if name.lower() in SHARES:
        return share(value)
    if name.lower() in HIGHER and isinstance(value, float) and abs(value) < 5e-5:
        return "0"
    return number(value, short=False)


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its word.

    >>> counted(1, "row"), counted(2000, "row"), counted(2, "class", "classes")
    ('1 row', '2,000 rows', '2 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as part of a sentence.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=1)
    ('a, b and c', 'a and 2 others')
    """
    shown = list(names[:most])
    left = len(names) - len(shown)
    if left:
        shown.append("1 other" if left == 1 else f"{left:,} others")
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def duration(seconds: object) -> str:
    """Return a time as people say it.

    >>> duration(4.43), duration(75), duration(7300)
    ('4.4 s', '1 min 15 s', '2 h 1 min')
    """
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
