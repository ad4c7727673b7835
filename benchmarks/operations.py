"""Compare single operations and their gradients with PyTorch: what no workload of a suite shows.

Usage: python benchmarks/operations.py [PART OF A NAME ...]

Both libraries run in this process with two threads, float32, on the same numbers, whose results are
compared. Printed are microseconds (the best of five medians of a tenth of a second each) of the
operation alone and with its gradients, and the ratios; over 1, Thalweg is faster.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ["OMP_NUM_THREADS"] = "2"  # read when PyTorch is imported

import numpy as np
import torch
import torch.nn.functional as F

import thalweg as tw

Case = tuple[str, Callable[..., Any], Callable[..., Any], tuple[Any, ...]]
DRAWS = np.random.default_rng(0)
ROUNDS, ROUND = 5, 0.1


def data(*shape: int) -> Any:
    """Return random numbers."""
    return DRAWS.standard_normal(shape).astype(np.float32)


def convolution(name: str, x: Any, w: Any, **options: int) -> Case:
    """Return a case of images with their channels last; PyTorch sees the same memory."""
    def theirs(x: Any, w: Any) -> Any:
        y = F.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), **options)
        return y.permute(0, 2, 3, 1)

    return name, lambda x, w: tw.conv(x, w, **options), theirs, (x, w)


def convolutions() -> Iterator[Case]:
    """Yield convolutions of many kinds."""
    yield convolution("conv 3x3 64", data(8, 32, 32, 64), data(3, 3, 64, 64), padding=1)
    yield convolution("conv 1x1 256-64", data(8, 28, 28, 256), data(1, 1, 256, 64))
    yield convolution("conv 7x7 stride 2", data(4, 112, 112, 3), data(7, 7, 3, 64), stride=2,
                      padding=3)  # fmt: skip
    yield convolution("conv depthwise 96", data(8, 28, 28, 96), data(3, 3, 1, 96), padding=1,
                      groups=96)  # fmt: skip
    yield convolution("conv 4 groups", data(8, 28, 28, 64), data(3, 3, 16, 64), padding=1, groups=4)
    yield convolution("conv dilated", data(4, 32, 32, 32), data(3, 3, 32, 32), padding=2,
                      dilation=2)  # fmt: skip


def products() -> Iterator[Case]:
    """Yield matrix products: few and many rows, either operand transposed."""
    for m, k, n in ((1, 2048, 2048), (8, 300, 300), (96, 2048, 2048), (512, 512, 512)):
        yield f"{m}x{k} @ {k}x{n}", tw.matmul, torch.matmul, (data(m, k), data(k, n))
        turned = data(m, k), data(n, k)
        yield f"{m}x{k} @ ({n}x{k}).T", lambda a, b: a @ b.mT, lambda a, b: a @ b.mT, turned
    for k, m, n in ((2048, 512, 512), (512, 8192, 512)):
        first = lambda a, b: a.mT @ b  # noqa: E731
        yield f"({k}x{m}).T @ {k}x{n}", first, first, (data(k, m), data(k, n))


def others() -> Iterator[Case]:
    """Yield functions of elements, of rows, and gathers."""
    x = data(512, 1024)
    for name in ("exp", "tanh", "sigmoid", "sin"):
        yield f"{name} 512x1024", getattr(tw, name), getattr(torch, name), (x,)
    yield ("softmax 512x1024", lambda x: tw.softmax(x, -1), lambda x: torch.softmax(x, -1), (x,))
    yield "sum of columns", lambda x: tw.sum(x * x, 0), lambda x: (x * x).sum(0), (x,)
    yield "largest of rows", lambda x: tw.max(x, 1), lambda x: x.amax(1), (x,)
    rows = DRAWS.integers(0, 10_000, (32, 128))
    given = torch.from_numpy(rows)
    yield ("embedding 10000x256", lambda w: tw.take(w, rows, 0), lambda w: F.embedding(given, w),
           (data(10_000, 256),))  # fmt: skip
    turned = lambda x: x.transpose(1, 2)  # noqa: E731 - its heads come before the positions
    yield (
        "attention 256", tw.scaled_dot_product_attention,
        lambda *qkv: turned(F.scaled_dot_product_attention(*map(turned, qkv))),
        (data(4, 256, 8, 64), data(4, 256, 8, 64), data(4, 256, 8, 64)),
    )  # fmt: skip


def best(call: Callable[[], Any]) -> float:
    """Return the time of a call in microseconds."""
    medians = []
    call()
    for _ in range(ROUNDS):
        end, taken = time.perf_counter() + ROUND, []
        while not taken or time.perf_counter() < end:
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        medians.append(sorted(taken)[len(taken) // 2] * 1e6)
    return min(medians)


def compare(case: Case) -> str:
    """Return the line of a case.

    Raises:
        AssertionError: the results differ.
    """
    name, ours, theirs, arrays = case
    run, leaves = tw.compile(ours), [torch.from_numpy(a).requires_grad_() for a in arrays]
    every = tuple(range(len(arrays)))
    derive = tw.compile(tw.value_and_grad(lambda *xs: tw.sum(ours(*xs)), argnums=every))

    def backward() -> None:
        for leaf in leaves:
            leaf.grad = None
        theirs(*leaves).sum().backward()

    backward()
    _, grads = derive(*arrays)
    pairs = [(run(*arrays), theirs(*leaves).detach()), *zip(grads, [x.grad for x in leaves],
                                                            strict=True)]  # fmt: skip
    for got, want in pairs:
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-3, atol=2e-2)
    with torch.no_grad():
        alone = best(lambda: run(*arrays)), best(lambda: theirs(*leaves))
    both = best(lambda: derive(*arrays)), best(backward)
    return "".join([f"{name:24s}", *(
        f"{a:10.0f} {b:10.0f} {b / a:6.2f}" for a, b in (alone, both)
    )])  # fmt: skip


def main() -> None:
    """Print a line for each case that is wanted."""
    torch.set_num_threads(2)
    tw.settings.threads = 2
    print(f"{'':24s}{'thalweg':>10s} {'torch':>10s}  ratio   and grad      torch  ratio")
    for case in (*convolutions(), *products(), *others()):
        if not sys.argv[1:] or any(part in case[0] for part in sys.argv[1:]):
            print(compare(case), flush=True)


if __name__ == "__main__":
    main()
