"""Silero VAD: where in a recording somebody speaks, window by window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ShapeError, where
from thalweg.models.registry import register
from thalweg.tensor.tensor import Tensor

__all__ = ["SileroVAD"]

Array = np.ndarray[Any, Any]
STEP: Final = 512  # new samples of a window, 32 ms
CONTEXT: Final = 64  # samples before them, which the window before has too
WINDOW: Final = CONTEXT + STEP
_FRAME: Final = 256  # samples that one spectrum is taken of
_HOP: Final = 128
_BINS: Final = _FRAME // 2 + 1
_HIDDEN: Final = 128


def fourier_basis() -> Array:
    """Return the cosines and negative sines of a frame under Hann's window, (256, 1, 258).

    >>> fourier_basis().shape
    (256, 1, 258)
    """
    places = np.arange(_FRAME)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * places / _FRAME)
    angles = 2 * np.pi / _FRAME * places[:, None] * np.arange(_BINS)
    basis = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1) * window[:, None]
    return np.ascontiguousarray(basis[:, None], np.float32)


class CellNamedLSTM(nn.LSTM):
    """An LSTM of one layer whose parameters PyTorch names as those of its ``LSTMCell``.

    Shape:
        ``(batch, time, input_size)`` to ``(batch, time, hidden_size)`` and the last states.

    Raises:
        ShapeError, ArgumentError: as for ``nn.LSTM``.

    Example:
        >>> sorted(nn.to_torch(CellNamedLSTM(2, 3)))
        ['bias_hh', 'bias_ih', 'weight_hh', 'weight_ih']
    """

    def to_torch_state(self) -> dict[str, Array]:
        """Return the parameters under the names of the cell."""
        return {k.removesuffix("_l0"): v for k, v in super().to_torch_state().items()}

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take parameters under the names of the cell."""
        super().from_torch_state({f"{k}_l0": v for k, v in state.items()})


@register(
    "silero_vad",
    paper="Silero Team, Silero VAD: pre-trained enterprise-grade voice activity detector (2024), "
          "https://github.com/snakers4/silero-vad, MIT licence",
    parameters=309_633, flops=43_491_328, inputs=((32, WINDOW),), task="voice activity",
    small_inputs=((3, WINDOW),),
)  # fmt: skip
class SileroVAD(nn.Module):
    r"""Voice activity detection at 16 kHz, with 309,633 parameters.

    Each window of 32 ms is told with the 4 ms before it. Magnitudes of a short-time Fourier
    transform (a convolution with fixed weights, among the published parameters), four convolutions
    and an LSTM, which goes on from window to window, give the probability that somebody speaks.
    The network is known from its published weights, which ``tw.models.load_weights_of_torch``
    loads; no paper describes it.

    .. math:: |X_f| = \sqrt{(x * w \cos_f)^2 + (x * w \sin_f)^2}

    Shape:
        windows ``(batch, time, 576)`` of samples from -1 to 1, to probabilities ``(batch, time)``.

    Raises:
        ShapeError: an input of another shape, or a state of another shape.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.silero_vad import SileroVAD
        >>> model = SileroVAD()
        >>> model.windows(tw.zeros((1, 16_000))).shape
        (1, 32, 576)
        >>> model(model.windows(tw.zeros((1, 16_000)))).shape
        (1, 32)

        A stream in parts: the state is carried on.

        >>> heard, state = model.advance(tw.zeros((1, 1, 576)))
        >>> heard, state = model.advance(tw.zeros((1, 1, 576)), state)

    Silero Team, https://github.com/snakers4/silero-vad.
    """

    def __init__(self) -> None:
        self.stft_conv = nn.Conv1d(
            1, 2 * _BINS, _FRAME, _HOP, bias=False, weight_init=fourier_basis()
        )
        self.stft_conv.weight.trainable = False
        self.conv1 = nn.Conv1d(_BINS, 128, 3, padding=1, activation_hint="relu")
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1, activation_hint="relu")
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1, activation_hint="relu")
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1, activation_hint="relu")
        self.lstm_cell = CellNamedLSTM(128, _HIDDEN)
        self.final_conv = nn.Conv1d(_HIDDEN, 1, 1)

    def forward(self, x: Any) -> Tensor:
        """Return the probability of speech in each window."""
        return self.advance(x)[0]

    def advance(
        self, x: Any, state: tuple[Any, Any] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the probabilities and the state to go on from.

        ``state``: that of the windows before, a pair of ``(1, batch, 128)``; 0 at the start.
        """
        shape = tuple(np.shape(x))
        if len(shape) != 3 or shape[2] != WINDOW:
            raise ShapeError(
                f"SileroVAD: got an input of shape {shape}, wanted (batch, time, {WINDOW}); cut "
                f"recordings (batch, samples) with model.windows(audio). {where()}"
            )
        batch, time, _ = shape
        y = self._magnitudes(tw.reshape(x, (batch * time, WINDOW)))  # (windows, 4, 129)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            y = tw.relu(conv(y))
        # The strides leave one place of the four: (windows, 1, 128).
        outputs, state = self.lstm_cell(tw.reshape(y, (batch, time, _HIDDEN)), state)
        heard: Tensor = tw.sigmoid(self.final_conv(tw.relu(outputs)))[..., 0]
        assert state is not None
        return heard, state

    def _magnitudes(self, x: Tensor) -> Tensor:
        """Return the magnitudes of the spectra of windows, (windows, places, 129)."""
        padded = tw.pad(x, ((0, 0), (0, _FRAME // 4)), "reflect")
        y = self.stft_conv(tw.expand_dims(padded, -1))
        power = tw.square(y[..., :_BINS]) + tw.square(y[..., _BINS:])
        # The root's slope is infinite at 0: in silence the gradient is 0 instead.
        loud = power > 0
        roots: Tensor = tw.where(loud, tw.sqrt(tw.where(loud, power, 1.0)), 0.0)
        return roots

    def windows(self, audio: Any) -> Tensor:
        """Return recordings cut into windows, each with the 64 samples before it.

        Zeros stand before the start and after the end.

        Args:
            audio: samples at 16 kHz, from -1 to 1, ``(batch, samples)``.

        Returns ``(batch, ceil(samples / 512), 576)``.

        Raises:
            ShapeError: other axes, or no samples.
        """
        shape = tuple(np.shape(audio))
        if len(shape) != 2 or not shape[1]:
            raise ShapeError(
                f"SileroVAD.windows: got samples of shape {shape}, wanted (batch, samples); give a "
                f"single recording a batch axis of size 1. {where()}"
            )
        count = -(-shape[1] // STEP)
        padded = tw.pad(tw.asarray(audio), ((0, 0), (CONTEXT, count * STEP - shape[1])))
        new = tw.reshape(padded[:, CONTEXT:], (shape[0], count, STEP))
        rows = tw.reshape(padded[:, : count * STEP], (shape[0], count, STEP))
        cut: Tensor = tw.concatenate([rows[..., :CONTEXT], new], axis=2)
        return cut
