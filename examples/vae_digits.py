"""A variational autoencoder learns twenty numbers for a digit, and draws new digits from noise.

D. Kingma and M. Welling, "Auto-encoding variational Bayes", arXiv:1312.6114, with the sizes of the
paper: 784-500-20.

Seen: the negative evidence lower bound on the test images in nats, its two parts, and with
``--out`` a picture: images of the test set, the same rebuilt from their codes, and new ones drawn
from noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import run, save_grid

import thalweg as tw

Array = np.ndarray[Any, Any]


def unit_range(images: Array) -> Array:
    """Return bytes (n, 28, 28) as numbers (n, 784) from 0 to 1."""
    return images.reshape(-1, 784).astype(np.float32) / 255


def measured(model: tw.models.VariationalAutoencoder, x: Array) -> dict[str, float]:
    """Return the bound's two parts on examples: nats to tell the pixels, and to tell the code."""
    model.train()  # draws the codes, as the bound has it

    def parts(x: Any) -> tuple[Any, Any]:
        outputs = model(x)
        whole = tw.models.variational_loss(outputs, x)
        pixels = tw.models.variational_loss(outputs, x, weight=0.0)
        return pixels, whole - pixels

    both = [[float(part) for part in tw.compile(parts)(batch)] for batch in np.split(x, 10)]
    model.eval()
    pixels, code = np.mean(both, axis=0)
    return {
        "test_bound_nats": float(pixels + code),
        "nats_for_pixels": float(pixels),
        "nats_for_code": float(code),
    }


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Train, measure on the test images, and draw."""
    train, test = (unit_range(tw.data.load("digits", part)[0]) for part in ("train", "test"))
    epochs = 30
    if short:
        train, test, epochs = train[:5000], test[:1000], 1
    model = tw.models.VariationalAutoencoder().reset_parameters(0)
    steps = epochs * (len(train) // 100)
    tw.fit(
        model, (train, train), loss=tw.models.variational_loss, epochs=epochs, batch_size=100,
        optimizer="adam", learning_rate=tw.optim.cosine(1e-3, steps), validation=None,
    )  # fmt: skip
    figures = measured(model, test)
    if out is not None:
        rebuilt = model(test[:20])[0].numpy()
        sheet = np.concatenate([test[:10], rebuilt[:10], model.sample(40).numpy()])
        save_grid(sheet.reshape(-1, 28, 28), out / "vae_digits.png")
    return figures


if __name__ == "__main__":
    run(main)
