"""A generative adversarial network draws digits; another network judges what they are.

I. Goodfellow et al., "Generative adversarial nets", arXiv:1406.2661; A. Radford, L. Metz and
S. Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
networks", arXiv:1511.06434. The measure is in the spirit of T. Salimans et al., arXiv:1606.03498: a
good drawing is clearly one digit, and all ten digits are drawn.

Seen: a LeNet-5, trained on its own, reads 2,000 drawings; the share of which it is sure (a
probability of at least 0.95), next to that share for real test images; how often the ten digits
are drawn: the rarest, the most frequent, and the entropy in parts of the largest one. With
``--out`` a picture of 100 drawings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import run, save_grid

import thalweg as tw

Array = np.ndarray[Any, Any]
SURE = 0.95


def from_minus_one(images: Array) -> Array:
    """Return bytes (n, 28, 28) as numbers (n, 28, 28, 1) from -1 to 1, as a tanh draws them."""
    return (images[..., None] / np.float32(127.5) - 1).astype(np.float32)


def judge(images: Array, labels: Array, epochs: int) -> Any:
    """Return a function from images to the probabilities of the ten digits, (n, 10)."""
    model = tw.models.create("lenet5", seed=1)
    steps = epochs * (len(images) // 128)
    tw.fit(
        model, (images, labels), epochs=epochs, batch_size=128, validation=None, progress=False,
        learning_rate=tw.optim.cosine(2e-3, steps),
    )  # fmt: skip
    return lambda x: tw.softmax(tw.tensor(tw.train.predict(model, x))).numpy()


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Train generator and discriminator in turns, and have a classifier judge the drawings."""
    images, labels = tw.data.load("digits")
    real = from_minus_one(tw.data.load("digits", "test")[0][:2000])
    epochs, judge_epochs, width, count = 10, 5, 32, 2000
    if short:
        images, labels = images[:1280], labels[:1280]
        epochs, judge_epochs, width, count = 1, 1, 8, 100
    images = from_minus_one(images)
    probabilities = judge(images, labels, judge_epochs)

    generator = tw.models.DCGANGenerator(28, 1, width=width).reset_parameters(0)
    discriminator = tw.models.DCGANDiscriminator(28, 1, width=width).reset_parameters(1)
    trainer = tw.models.AdversarialTrainer(generator, discriminator)
    for epoch in range(1, epochs + 1):
        losses = trainer.fit(images, batch_size=64, seed=epoch)[-1]
        told = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        print(f"epoch {epoch}: {told}", flush=True)

    drawn = trainer.sample(count)
    chances = probabilities(drawn)
    shares = np.bincount(chances.argmax(-1), minlength=10) / count
    entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum() / np.log(10)
    print("share of each digit:", " ".join(f"{share:.3f}" for share in shares))
    if out is not None:
        save_grid(drawn[:100, :, :, 0] / 2 + 0.5, out / "dcgan_digits.png", columns=20, scale=1)
    return {
        "share_sure": float((chances.max(-1) >= SURE).mean()),
        "share_sure_of_real_images": float((probabilities(real).max(-1) >= SURE).mean()),
        "rarest_digit": float(shares.min()),
        "most_frequent_digit": float(shares.max()),
        "entropy_of_digits": float(entropy),
    }


if __name__ == "__main__":
    run(main)
