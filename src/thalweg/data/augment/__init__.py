"""Augmentation: random changes of training batches, inside of the compiled step."""

from __future__ import annotations

from thalweg.data.augment.affine import Affine, Rotation
from thalweg.data.augment.augmentation import Augmentation
from thalweg.data.augment.augmenter import Augmenter
from thalweg.data.augment.colors import Brightness, Contrast, Hue, Saturation
from thalweg.data.augment.combining import Compose, Sometimes
from thalweg.data.augment.crops import RandomCrop
from thalweg.data.augment.erasing import RandomErasing
from thalweg.data.augment.flips import HorizontalFlip, VerticalFlip
from thalweg.data.augment.masking import FrequencyMask, TimeMask
from thalweg.data.augment.mixing import CutMix, Mixup
from thalweg.data.augment.noise import GaussianNoise

__all__ = [
    "Affine", "Augmentation", "Augmenter", "Brightness", "Compose", "Contrast", "CutMix",
    "FrequencyMask", "GaussianNoise", "HorizontalFlip", "Hue", "Mixup", "RandomCrop",
    "RandomErasing", "Rotation", "Saturation", "Sometimes", "TimeMask", "VerticalFlip",
]  # fmt: skip
