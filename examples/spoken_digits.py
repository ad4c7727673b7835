"""A convolutional network hears which digit is spoken, from a picture of the sound.

Y. LeCun et al., doi:10.1109/5.726791, for the network; S. Davis and P. Mermelstein (1980),
doi:10.1109/TASSP.1980.1163420, for the front end: the energy of short pieces of sound in
bands that are narrow for low and wide for high tones. Data: 300 recordings of the Free Spoken
Digit Dataset, ten digits by six speakers, five times each.

Seen: the accuracy on the 60 recordings that were set aside, one of each digit and speaker; chance
is 0.1. The 240 others are each used in several places in time and at several loudnesses.
"""

from __future__ import annotations

import io
import tarfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
from _gallery import data_file, run

import thalweg as tw
from thalweg import nn

Array = np.ndarray[Any, Any]
RATE, WINDOW, HOP = 8000, 256, 128  # samples: a second, a piece of sound, from piece to piece
BANDS, TIMES = 40, 64
HELD = 0  # the number of the recording, out of five, that is set aside


def load() -> tuple[list[Array], Array, Array]:
    """Return the sounds from -1 to 1, the digits, and which of the five recordings each one is."""
    sounds, names = [], []
    with tarfile.open(data_file("audio/fsdd_300.tar.gz")) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            if member.name.endswith(".wav"):
                file = archive.extractfile(member)
                with wave.open(io.BytesIO(file.read() if file else b"")) as sound:
                    sounds.append(np.frombuffer(sound.readframes(-1), np.int16) / 32768)
                names.append(Path(member.name).stem.split("_"))  # digit, speaker, number
    return sounds, np.array([int(n[0]) for n in names]), np.array([int(n[2]) for n in names])


def mel_bands() -> Array:
    """Return weights (129, 40) that sum the energies of tones in overlapping triangular bands."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 1400), BANDS + 2) / 2595) - 1)
    tones = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (tones - low) / (middle - low), (high - tones) / (high - middle)
    return np.clip(np.minimum(rising, falling), 0, None)


def spectrogram(sound: Array, bands: Array, start: int) -> Array:
    """Return the logarithm of the energies, (64, 40, 1), with silence before and after."""
    padded = np.zeros(HOP * TIMES + WINDOW)
    placed = sound[: len(padded) - start]
    padded[start : start + len(placed)] = placed
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:TIMES]
    energies = np.square(np.abs(np.fft.rfft(pieces * np.hanning(WINDOW))))
    return (np.log(energies @ bands + 1e-3)[..., None] / 3).astype(np.float32)


def network() -> nn.Module:
    """Return a network from spectrograms (batch, 64, 40, 1) to logits of ten digits."""
    layers: list[nn.Module] = []
    before = 1
    for channels in (16, 32, 64):
        layers += [
            nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
            nn.ReLU(), nn.MaxPool2d(2),
        ]  # fmt: skip
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 5 * 64, 10), seed=0)


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Train on four recordings of each digit and speaker, and measure on the fifth."""
    sounds, digits, numbers = load()
    bands, generator = mel_bands(), np.random.default_rng(0)
    copies, epochs = (1, 8) if short else (10, 20)
    seen, held = np.flatnonzero(numbers != HELD), np.flatnonzero(numbers == HELD)
    pictures, labels = [], []
    for row in np.tile(seen, copies):
        louder, start = generator.uniform(0.5, 1.5), generator.integers(0, 12 * HOP)
        pictures.append(spectrogram(louder * sounds[row], bands, start))
        labels.append(digits[row])
    test = np.stack([spectrogram(sounds[row], bands, 6 * HOP) for row in held]), digits[held]
    model = network()
    steps = epochs * (len(labels) // 24)
    tw.fit(
        model, (np.stack(pictures), np.array(labels)), epochs=epochs, batch_size=24,
        learning_rate=tw.optim.cosine(2e-3, steps, warmup=steps // 10), validation=None,
    )  # fmt: skip
    return {
        "test_accuracy": tw.evaluate(model, test, metrics=["accuracy"])["accuracy"],
        "test_recordings": len(held),
        "parameters": model.count_parameters(),
    }


if __name__ == "__main__":
    run(main)
