"""Silero VAD: windows, streams, silence. Its golden numbers stand in test_pretrained.py."""

from __future__ import annotations

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ShapeError
from thalweg.models import SileroVAD


def test_recordings_are_cut_into_overlapping_windows() -> None:
    audio = np.random.default_rng(0).uniform(-1, 1, (2, 1300)).astype(np.float32)
    cut = SileroVAD().windows(audio).numpy()
    assert cut.shape == (2, 3, 576)
    padded = np.pad(audio, ((0, 0), (64, 3 * 512 - 1300)))
    for i in range(3):
        np.testing.assert_array_equal(cut[:, i], padded[:, 512 * i : 512 * i + 576])


def test_a_stream_in_parts_is_the_whole() -> None:
    model = SileroVAD().reset_parameters(0)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 4, 576)).astype(np.float32)
    whole, end = model.advance(x)
    state, heard = None, []
    for i in range(4):
        part, state = model.advance(x[:, i : i + 1], state)
        heard.append(part.numpy())
    np.testing.assert_allclose(np.concatenate(heard, 1), whole.numpy(), atol=1e-6)
    assert state is not None
    for a, b in zip(end, state, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


def test_silence_has_a_slope_and_the_spectra_are_not_trained() -> None:
    model = SileroVAD().reset_parameters(0)
    slopes = tw.grad(lambda x: model(x).sum())(np.zeros((1, 2, 576), np.float32)).numpy()
    np.testing.assert_array_equal(slopes, 0)
    assert "stft_conv.weight" not in model.trainable_parameters()
    for shape in ((1, 576), (1, 2, 512)):
        with pytest.raises(ShapeError, match=r"model\.windows"):
            model(np.zeros(shape, np.float32))
    with pytest.raises(ShapeError, match="batch axis"):
        model.windows(np.zeros(600, np.float32))
