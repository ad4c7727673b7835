"""Models with several outputs are trained, validated and evaluated like others."""

from __future__ import annotations

import numpy as np

import thalweg as tw


def test_a_variational_autoencoder_is_validated() -> None:
    """A loss of several outputs is measured on the validation rows too."""
    x = np.random.default_rng(0).random((64, 784)).astype(np.float32)
    model = tw.models.create("variational_autoencoder", seed=0)
    history = tw.fit(model, (x, x), loss=tw.models.variational_loss, epochs=1, batch_size=16,
                     validation=0.25, progress=False)  # fmt: skip
    assert np.isfinite(list(history["validation_loss"])).all()
