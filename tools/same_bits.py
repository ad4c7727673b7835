"""Print the hash of a network's weights after 100 steps on digits, for 1, 2, 3 and 4 threads.

Each number of threads runs in a process of its own. Usage: python tools/same_bits.py [THREADS ...]
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import Any

import numpy as np


def train() -> str:
    """Return the hash of all weights after 100 steps of AdamW with dropout, batch 128."""
    import thalweg as tw

    images, labels = tw.data.load_digits("train")
    model = tw.nn.Sequential(
        tw.nn.Linear(784, 512), tw.nn.ReLU(), tw.nn.Dropout(0.2), tw.nn.Linear(512, 10), seed=0
    )
    optimizer = tw.optim.AdamW(model, learning_rate=1e-3)

    @tw.compile
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        def loss_of(network: Any, inputs: Any, targets: Any) -> Any:
            return tw.nn.losses.cross_entropy(network(inputs), targets)

        loss, grads = tw.value_and_grad(loss_of)(model, x, y)
        optimizer.update(grads)
        return loss

    x = (images[:12_800].reshape(100, 128, 784) / np.float32(255)).astype(np.float32)
    step.repeat(model, optimizer, tw.steps(x), tw.steps(labels[:12_800].reshape(100, 128)))
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def main() -> int:
    """Print one line a number of threads; return 0 if all hashes are equal."""
    if os.environ.get("SAME_BITS_CHILD"):
        print(train())
        return 0
    hashes = []
    for threads in sys.argv[1:] or ["1", "2", "3", "4"]:
        env = {**os.environ, "THALWEG_THREADS": threads, "SAME_BITS_CHILD": "1"}
        done = subprocess.run(
            [sys.executable, __file__], env=env, capture_output=True, text=True, check=True
        )
        hashes.append(done.stdout.strip())
        print(f"THALWEG_THREADS={threads}  {hashes[-1]}")
    return 0 if len(set(hashes)) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
