"""The figure of a digits run: it is drawn from any history, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thalweg.insight.digits_figure import draw_digits_figure, mosaic
from thalweg.train import History

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("units", [1, 10, 64, 300])
@pytest.mark.parametrize("epochs", [1, 7])
def test_it_is_drawn_for_any_number_of_units_and_epochs(
    units: int, epochs: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    values = list(rng.random(epochs))
    history = History({"loss": values, "accuracy": values, "validation_loss": values})
    weights = rng.normal(size=(units, 28, 28))
    weights[0] = 0  # a dead unit
    path = draw_digits_figure(tmp_path / "f.png", history, rng.integers(0, 5, (10, 10)), weights)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    assert pixels.shape[1] > 1000
    assert pixels.std() > 10
    assert [p.name for p in tmp_path.iterdir()] == ["f.png"]


def test_a_mosaic_holds_every_image_scaled() -> None:
    images = np.arange(1, 6)[:, None, None] * np.ones((5, 2, 3))
    made = mosaic(images, columns=3, rows=2)
    assert made.shape == (5, 11)
    assert (made[~np.isnan(made)] == 1).all()
    assert np.isfinite(made).sum() == 5 * 6
