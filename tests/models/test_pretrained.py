"""Published weights give the published network's numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import thalweg as tw

HOUSE = Path(__file__).parents[3]
DATA = Path(os.environ.get("THALWEG_SHARED_DATA", HOUSE / "shared" / "data"))
WEIGHTS = DATA / "models" / "resnet20-12fca82f.th"
GOLDEN = DATA / "models" / "golden" / "resnet20_cifar10.npz"


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
