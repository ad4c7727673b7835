"""Figures of a running server, in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["Histogram", "Metrics"]

_SECONDS: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    30,
)  # fmt: skip
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """Counts of values up to each of some bounds.

    >>> made = Histogram((1, 2))
    >>> made.add(1.5)
    >>> made.lines("x")[:3]
    ['x_bucket{le="1"} 0', 'x_bucket{le="2"} 1', 'x_bucket{le="+Inf"} 1']
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.total = tuple(bounds), 0.0
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        """Return the lines of the text format."""
        made, below = [], 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            made.append(f'{name}_bucket{{le="{bound:g}"}} {below}')
        whole = sum(self.counts)
        made.append(f'{name}_bucket{{le="+Inf"}} {whole}')
        return [*made, f"{name}_sum {self.total:.9g}", f"{name}_count {whole}"]


class Metrics:
    """What is counted: requests by path and status, their time, and batches; and gauges.

    Everything is counted in the thread of the event loop, so that nothing needs a lock.

    >>> made = Metrics()
    >>> made.answered("/predict", 200, 0.002)
    >>> 'thalweg_requests_total{path="/predict",status="200"} 1' in made.text()
    True
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds = Histogram(_SECONDS)
        self.batches = Histogram(_ROWS)
        self.in_flight = 0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "thalweg_in_flight": ("Requests being answered.", lambda: self.in_flight)
        }

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request; ``path`` is one of the server's own, so that there are few."""
        self.requests[path, status] += 1
        if path == "/predict":
            self.seconds.add(seconds)

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Tell a value that is read whenever somebody asks."""
        self.gauges[name] = (meaning, value)

    def text(self) -> str:
        """Return all of them, as Prometheus reads them (text format 0.0.4)."""
        lines = _head("thalweg_requests_total", "counter", "Requests answered.")
        lines += [
            f'thalweg_requests_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self.requests.items())
        ]
        name = "thalweg_predict_seconds"
        lines += _head(name, "histogram", "From a request's header to its answer.")
        lines += self.seconds.lines(name)
        lines += _head("thalweg_batch_rows", "histogram", "Rows that ran together.")
        lines += self.batches.lines("thalweg_batch_rows")
        for gauge, (meaning, value) in self.gauges.items():
            lines += [*_head(gauge, "gauge", meaning), f"{gauge} {value():g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
