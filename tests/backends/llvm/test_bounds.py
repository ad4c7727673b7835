"""No kernel reads beyond its inputs: they end where a page begins that may not be touched."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
    import ctypes, mmap
    import numpy as np
    import thalweg as tw
    libc = ctypes.CDLL(None, use_errno=True)

    def at_the_end(shape):
        size = 4 * int(np.prod(shape))
        whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, whole + mmap.PAGESIZE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert not libc.mprotect(ctypes.c_void_p(start + whole), mmap.PAGESIZE, 0)
        made = np.frombuffer(memory, np.float32, size // 4, whole - size).reshape(shape)
        made[...] = np.random.default_rng(0).normal(size=shape)
        kept.append(memory)
        return made

    kept, products = [], tw.compile(lambda pairs: [a @ b.T for a, b in pairs])
    for m in (1, 7, 64):
        for n in (1, 5, 16, 17, 33, 40, 47, 70, 130):
            pairs = [(at_the_end((m, k)), at_the_end((n, k))) for k in (16, 32, 48, 33)]
            for (a, b), found in zip(pairs, products(pairs), strict=True):
                wanted = a.astype(np.float64) @ b.T.astype(np.float64)
                np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4)
    print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is of POSIX")
def test_products_stay_inside_of_their_operands() -> None:
    script = "\n".join(line[4:] for line in SCRIPT.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
        env=os.environ | {"THALWEG_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"
