"""Large matrix products beside the machine's measured multiply-add peak.

Usage: python benchmarks/matmul.py [PEAK_ONE_THREAD PEAK_TWO_THREADS]   (GFLOP/s, float32)
The referee suite's setup measures these peaks (`peaks.json`); without them only rates are printed.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import thalweg as tw

SHAPES = [
    (512, 512, 512), (768, 768, 768), (1024, 1024, 1024), (1024, 512, 1024), (2048, 2048, 2048),
]  # fmt: skip
ROUNDS = 9


def rate(m: int, k: int, n: int) -> float:
    """Return the median GFLOP/s of a product of (m, k) and (k, n)."""
    rng = np.random.default_rng(0)
    a = tw.tensor(rng.standard_normal((m, k)).astype(np.float32))
    b = tw.tensor(rng.standard_normal((k, n)).astype(np.float32))
    product = tw.compile(lambda a, b: a @ b)
    product(a, b)
    times = []
    for _ in range(ROUNDS):
        count = max(1, int(3e9 / (2 * m * k * n)))
        start = time.perf_counter()
        for _ in range(count):
            product(a, b)
        times.append((time.perf_counter() - start) / count)
    return 2 * m * k * n / float(np.median(times)) / 1e9


def main() -> None:
    """Print one row a shape."""
    peaks = [float(p) for p in sys.argv[1:3]]
    print("| shape | threads | GFLOP/s | % of peak |\n|---|---:|---:|---:|")
    for threads in (1, 2):
        tw.settings.threads = threads
        for shape in SHAPES:
            found = rate(*shape)
            share = f"{100 * found / peaks[threads - 1]:.0f}" if len(peaks) == 2 else ""
            print(f"| {'x'.join(map(str, shape))} | {threads} | {found:.0f} | {share} |")


if __name__ == "__main__":
    main()
