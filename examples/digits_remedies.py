"""The remedies against overfitting, one by one, on few handwritten digits.

The same LeNet-5 learns from 3,000 images four times: without any remedy; with early stopping; with
augmentation (crops at random places, made inside of the compiled step) besides; and with a moving
average of the weights besides. The first run is long enough to overfit. Then LeNet-5 with all three
learns from all 60,000 images, its learning rate falling along half a cosine.

P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural networks applied to
visual document analysis" (2003), on augmentation; L. Prechelt, "Early stopping - but when?" (1998);
B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging" (1992).

Seen: validation loss, test accuracy and the verdict on the curves for each run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import run

import thalweg as tw

FEW, EPOCHS = 3_000, 40
STOP: dict[str, Any] = {"early_stopping": 8, "monitor": "accuracy"}
AUGMENT: dict[str, Any] = {"augment": tw.data.augment.RandomCrop(padding=2)}
AVERAGE: dict[str, Any] = {"ema": 0.995}
RUNS: dict[str, dict[str, Any]] = {
    "none": {},
    "early stopping": STOP,
    "and augmentation": STOP | AUGMENT,
    "and averaging": STOP | AUGMENT | AVERAGE,
}


def normalised(images: Any) -> Any:
    """Return bytes (batch, 28, 28, 1) as numbers of mean 0 and variance 1."""
    return (images.astype("float32") / 255 - 0.1307) / 0.3081


def trained(data: Any, test: Any, rate: Any, epochs: int, **more: Any) -> tuple[Any, float]:
    """Return the history of a new LeNet-5 and its accuracy on the test images."""
    model = tw.models.create("lenet5", seed=0)
    trainer = tw.Trainer(
        model, "cross_entropy", "adamw", learning_rate=rate, transform=normalised,
        augment=more.pop("augment", None), ema=more.pop("ema", None),
    )  # fmt: skip
    history = trainer.fit(data, epochs=epochs, seed=1, **more)
    return history, trainer.evaluate(test)["accuracy"]


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Train with more and more remedies, and print what the curves say."""
    images, labels = tw.data.load("digits")
    images = images[..., None]
    test = tw.data.load("digits", "test")
    test = (test[0][..., None], test[1])
    chosen = np.random.default_rng(0).permutation(len(labels))
    epochs, few = EPOCHS, FEW
    if short:
        epochs, few, chosen = 4, 1000, chosen[:2000]
        test = tuple(a[:1000] for a in test)

    figures: dict[str, float] = {}
    part = (images[chosen[:few]], labels[chosen[:few]])
    for name, more in RUNS.items():
        history, accuracy = trained(part, test, 1e-3, epochs, **more)
        print(f"{name}: test accuracy {accuracy:.4f}, best validation loss "
              f"{min(history['validation_loss']):.4f}\n{history.verdict()}\n")  # fmt: skip
        figures[f"test_accuracy_{name.replace(' ', '_')}"] = accuracy

    epochs = 4 if short else 25
    falling = tw.optim.cosine(3e-3, epochs * (len(chosen) * 9 // 10 // 128))
    history, accuracy = trained(
        (images[chosen], labels[chosen]), test, falling, epochs, **AUGMENT | AVERAGE | STOP
    )
    print(f"all images and remedies: test accuracy {accuracy:.4f}\n{history.verdict()}")
    return figures | {"test_accuracy_all_images": accuracy}


if __name__ == "__main__":
    run(main)
