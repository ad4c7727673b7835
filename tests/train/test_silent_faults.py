"""Faults that users of other frameworks report, where training goes on with wrong numbers.

Here are those that no other file has. The others, by the report that tells of them: keras#6422
(``data/test_splitting.py``), pytorch#5059 (``data/test_loader.py``), transformers#34191
(``test_batches_of_a_step.py``), keras#12511, keras#20323 and keras#14231 (``test_logs.py``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.data import features as f
from thalweg.errors import ShapeError
from thalweg.nn import losses

rng = np.random.default_rng(2)


@pytest.mark.parametrize("name", ["mse", "mae", "huber"])
def test_a_loss_of_unlike_shapes_is_refused(name: str) -> None:
    """(n, 1) against (n,) would broadcast to (n, n): a wrong loss that falls (pytorch#16045)."""
    column, flat = tw.ones((5, 1)), tw.zeros((5,))
    with pytest.raises(ShapeError, match=r"\(5, 1\).*\(5,\)"):
        losses.get(name)(column, flat)


def test_a_trainer_refuses_targets_of_another_shape() -> None:
    """A network with one output and flat targets: said before the first step, not broadcast."""
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32)
    model = nn.Sequential(nn.Linear(3, 1), seed=0)
    with pytest.raises(ShapeError, match="not broadcast"):
        tw.fit(model, (x, y), loss="mse", progress=False)
    history = tw.fit(model, (x, y[:, None]), loss="mse", learning_rate=0.05, epochs=60,
                     progress=False)  # fmt: skip
    assert history["loss"][-1] < 0.05


def test_what_is_normalised_knows_nothing_of_the_rows_held_out() -> None:
    """Mean and deviation of all rows would tell the training about the test rows."""
    values = np.concatenate([rng.normal(size=80), rng.normal(1000, 1, 20)])
    table = {"x": values, "y": np.arange(100.0)}
    rows = np.arange(80)
    made = f.Pipeline({"x": f.Standardise()}).fit(table, rows=rows, target="y")
    numbers, target = made.transform(table)
    assert abs(numbers[:80].mean()) < 1e-5
    assert numbers[80:].min() > 500
    assert abs(target[:80].mean()) < 1e-5


def test_a_resumed_run_sees_the_rows_that_the_unbroken_one_sees(tmp_path: Path) -> None:
    """Resuming must not begin the epoch anew, nor shuffle as the first one (transformers#17032)."""
    x = np.arange(60, dtype=np.float32)[:, None] / 60
    y = (np.arange(60) % 2).astype(np.int64)

    class Stop(tw.train.Events):
        def on_steps(self, run: object) -> None:
            if run.epoch == 1:  # type: ignore[attr-defined]
                run.stop()  # type: ignore[attr-defined]

    def train(place: Path, **more: object) -> tuple[list[float], bytes]:
        model = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 2), seed=0)
        history = tw.fit(
            model, (x, y), epochs=3, batch_size=8, validation=None, progress=False,
            folder=place, checkpoint_every="2 steps", **more,
        )  # fmt: skip
        weights = b"".join(value.tobytes() for value in model.state_dict().values())
        return history.metrics.get("loss", []), weights

    unbroken = train(tmp_path / "a")
    train(tmp_path / "b", events=[Stop()])
    assert train(tmp_path / "b", resume=True) == unbroken
