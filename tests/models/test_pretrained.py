"""Published weights give the published network's numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.models.silero_vad import SileroVAD

Array = np.ndarray[Any, Any]
HOUSE = Path(__file__).parents[3]
DATA = Path(os.environ.get("THALWEG_SHARED_DATA", HOUSE / "shared" / "data"))
WEIGHTS = DATA / "models" / "resnet20-12fca82f.th"
GOLDEN = DATA / "models" / "golden" / "resnet20_cifar10.npz"
SILERO = DATA / "models" / "silero_vad_16k.safetensors"
SILERO_ONNX = DATA / "models" / "silero_vad_16k_sequence.onnx"
SILERO_GOLDEN = DATA / "models" / "golden" / "silero_vad_16k_sequence.npz"
with_silero = pytest.mark.skipif(
    not (SILERO.exists() and SILERO_ONNX.exists() and SILERO_GOLDEN.exists()),
    reason=f"the weights of Silero VAD are not in {DATA}; set THALWEG_SHARED_DATA to their folder",
)


@pytest.mark.skipif(
    not (WEIGHTS.exists() and GOLDEN.exists()),
    reason=f"the weights of ResNet-20 are not in {DATA}; set THALWEG_SHARED_DATA to their folder",
)
def test_resnet20_gives_the_golden_logits() -> None:
    model = tw.models.load_weights_of_torch(tw.models.create("resnet20"), WEIGHTS)
    golden = np.load(GOLDEN)
    images = (golden["images_u8"] / np.float32(255) - golden["mean"]) / golden["std"]
    images = images.astype(np.float32)
    for run in (model, tw.compile(lambda x: model(x))):
        logits = run(images).numpy()
        np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)
        np.testing.assert_array_equal(logits.argmax(axis=1), golden["logits"].argmax(axis=1))
    told = tw.formats.read_torch(WEIGHTS)
    assert told["best_prec1"] == pytest.approx(91.78)
    assert sum(a.size for a in told["state_dict"].values()) == 271_098


def varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, and the place after it."""
    number = shift = 0
    while True:
        number |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 128:
            return number, place


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and content of each field of a protocol-buffer message."""
    place = 0
    while place < len(data):
        tag, place = varint(data, place)
        if tag & 7 == 0:
            number, place = varint(data, place)
            yield tag >> 3, number
            continue
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 2:
            size, place = varint(data, place)
        yield tag >> 3, data[place : place + size]
        place += size


def onnx_weights(path: Path) -> dict[str, Array]:
    """Return the float32 initialisers of an ONNX file: field 5 of its graph, which is field 7."""
    (graph,) = (content for number, content in fields(path.read_bytes()) if number == 7)
    found = {}
    for number, tensor in fields(graph):
        if number == 5:
            parts = list(fields(tensor))
            told = {k: v for k, v in parts if k in (8, 9)}  # the name and the numbers
            shape = [v for k, v in parts if k == 1]
            found[told[8].decode()] = np.frombuffer(told[9], "<f4").reshape(shape)
    return found


def silero_of_onnx() -> SileroVAD:
    """Return the network with the weights that made the golden numbers.

    The safetensors file holds those of another release. ONNX puts the gates in the order i, o, f,
    g; PyTorch and this house in i, f, g, o.
    """
    weights = onnx_weights(SILERO_ONNX)
    state = {"stft_conv.weight": weights["stft.forward_basis_buffer"],
             "final_conv.weight": weights["output.weight"],
             "final_conv.bias": weights["output.bias"]}  # fmt: skip
    for i in range(4):
        for kind in ("weight", "bias"):
            state[f"conv{i + 1}.{kind}"] = weights[f"encoder.{i}.{kind}"]
    biases = np.split(weights["onnx::LSTM_211"][0], 2)
    given = [weights["onnx::LSTM_209"][0], weights["onnx::LSTM_210"][0], *biases]
    for name, value in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), given, strict=True):
        i, o, f, g = np.split(value, 4)
        state[f"lstm_cell.{name}"] = np.concatenate([i, f, g, o])
    model = SileroVAD()
    nn.from_torch(model, state)
    return model


@with_silero
def test_silero_vad_gives_the_golden_probabilities() -> None:
    model, golden = silero_of_onnx(), np.load(SILERO_GOLDEN)
    state = (golden["in.h"], golden["in.c"])
    for run in (model.advance, tw.compile(model.advance)):
        heard, (h, c) = run(golden["in.input"][None], state)
        np.testing.assert_allclose(heard.numpy()[0], golden["out.speech_probs"], atol=1e-5)
        np.testing.assert_allclose(h.numpy(), golden["out.hn"], atol=1e-5)
        np.testing.assert_allclose(c.numpy(), golden["out.cn"], rtol=1e-5, atol=1e-5)
    audio = np.concatenate([golden["in.input"][0, :64], golden["in.input"][:, 64:].ravel()])[64:]
    np.testing.assert_array_equal(model.windows(audio[None]).numpy()[0], golden["in.input"])


@with_silero
def test_published_silero_vad_hears_the_same_speech() -> None:
    """The published weights are of another release: other probabilities, the same answers."""
    model = tw.models.load_weights_of_torch(tw.models.create("silero_vad"), SILERO)
    assert isinstance(model, SileroVAD)
    made = SileroVAD().stft_conv.weight.numpy()
    np.testing.assert_allclose(model.stft_conv.weight.numpy(), made, atol=1e-6)
    golden = np.load(SILERO_GOLDEN)
    heard, wanted = model(golden["in.input"][None]).numpy()[0], golden["out.speech_probs"]
    assert np.corrcoef(heard, wanted)[0, 1] > 0.99
    assert np.mean((heard > 0.5) == (wanted > 0.5)) > 0.98
