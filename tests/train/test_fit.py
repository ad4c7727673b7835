"""``fit``: it learns, repeats itself bit by bit, stops early, hears Ctrl-C, names bad input."""

from __future__ import annotations

import io
import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, DataError, DTypeError, NumericsError, ShapeError
from thalweg.train import Events, History, Progress, Run, Trainer, evaluate, fit, predict
from thalweg.train.interruption import interruption
from thalweg.train.stepping import Pace

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64) + (X[:, 2] > 1)


def network(seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    hidden = [nn.Linear(4, 16), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*hidden, nn.Linear(16, 3), seed=seed)


def quick(model: nn.Module, data: Any = (X, Y), **options: Any) -> History:
    defaults = {"epochs": 2, "batch_size": 32, "progress": False, "learning_rate": 0.01}
    return fit(model, data, **(defaults | options))


class Spy(Events):
    """Counts events, and does something at one of them."""

    def __init__(self, at: int = 0, then: Any = None, event: str = "on_epoch_end") -> None:
        self.heard: list[str] = []
        self.at, self.then, self.event = at, then, event
        self.run: Run | None = None

    def _hear(self, event: str, run: Run) -> None:
        self.heard.append(event)
        self.run = run
        if event == self.event and self.heard.count(event) == self.at:
            self.then(run)

    def on_fit_start(self, run: Run) -> None:
        self._hear("on_fit_start", run)

    def on_steps(self, run: Run) -> None:
        self._hear("on_steps", run)

    def on_epoch_end(self, run: Run) -> None:
        self._hear("on_epoch_end", run)

    def on_fit_end(self, run: Run) -> None:
        self._hear("on_fit_end", run)


def state(model: nn.Module) -> bytes:
    return b"".join(v.tobytes() for v in model.state_dict().values())


def test_it_learns_and_tells_what_happened() -> None:
    model = network()
    spy = Spy()
    history = quick(model, epochs=15, events=[spy])
    assert set(history.metrics) == {
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "seconds",
    }
    assert len(history) == 15 == len(history["validation_loss"])
    assert history["accuracy"][-1] > 0.85 > history["accuracy"][0]
    assert history.best_epoch == int(np.argmin(history["validation_loss"])) + 1
    assert not any((history.interrupted, history.stopped_early, history.restored))
    assert not model.training
    assert spy.heard[0] == "on_fit_start"
    assert spy.heard[-1] == "on_fit_end"
    assert spy.heard.count("on_epoch_end") == 15
    assert History.from_json(history.to_json()) == history
    with pytest.raises(ArgumentError, match="did you mean 'validation_loss'"):
        history["validation_los"]


def test_the_same_seed_gives_the_same_bits_however_steps_are_grouped(monkeypatch: Any) -> None:
    states = []
    for seconds in (0.1, 1e-9):  # many steps in a call, and one
        monkeypatch.setattr(Pace, "SECONDS", seconds)
        model = network(dropout=0.3)
        states.append((state(model), quick(model)["loss"], state(model)))
    assert states[0] == states[1]
    assert states[0][0] != states[0][2]
    other = network(dropout=0.3)
    quick(other, seed=1)
    assert state(other) != states[0][2]


def test_it_is_the_same_training_as_a_loop_by_hand() -> None:
    model, by_hand = network(), network()
    history = quick(model, validation=None, optimizer="sgd", learning_rate=0.1)
    assert set(history.metrics) == {"loss", "accuracy", "seconds"}
    optimizer = optim.SGD(by_hand, learning_rate=0.1)
    losses = []
    for epoch in (1, 2):
        order = np.random.default_rng([0, epoch]).permutation(300)[: 300 // 32 * 32]
        for rows in order.reshape(-1, 32):
            loss, grads = tw.value_and_grad(lambda m, x, y: nn.losses.cross_entropy(m(x), y))(
                by_hand, tw.tensor(X[rows]), tw.tensor(Y[rows])
            )
            optimizer.update(grads)
            losses.append(loss.item())
    np.testing.assert_allclose(history["loss"], np.reshape(losses, (2, -1)).mean(1), rtol=1e-5)
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(value, by_hand.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_bytes_stay_bytes_until_the_step_transforms_them() -> None:
    images = RNG.integers(0, 256, (64, 2, 2), dtype=np.uint8)
    labels = (images[:, 0, 0] > 127).astype(np.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), seed=0)
    unit = lambda x: x.astype("float32") / 255  # noqa: E731
    quick(model, (images, labels), transform=unit, epochs=20, learning_rate=0.1, batch_size=16)
    assert evaluate(model, (images, labels), transform=unit)["accuracy"] > 0.9
    with pytest.raises(DTypeError, match="input is uint8"):
        quick(model, (images, labels))


def test_several_inputs_and_own_losses_and_metrics() -> None:
    def squared(predictions: Any, targets: Any) -> Any:
        return ((predictions[:, 0] - targets) ** 2).mean()

    def worst(predictions: Any, targets: Any) -> Any:
        return tw.max(tw.abs(predictions[:, 0] - targets))

    targets = (X[:, 0] * X[:, 1]).astype(np.float32)
    model = nn.Bilinear(4, 4, 1)
    history = quick(model, (X, X, targets), loss=squared, metrics=[worst], epochs=60,
                    learning_rate=0.05)  # fmt: skip
    assert history["worst"][-1] < 0.2 * history["worst"][0]
    assert predict(model, X, X).shape == (300, 1)


def test_an_optimiser_that_decides_in_python_works_too() -> None:
    history = quick(network(), optimizer="lbfgs", learning_rate=0.5, batch_size=270, epochs=8)
    assert history["loss"][-1] < 0.7 * history["loss"][0]


def test_evaluation_does_not_depend_on_the_batch_size_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    before = state(model)
    wanted = model.eval()(tw.tensor(X)).numpy()
    model.train()
    trainer = Trainer(model)
    for size in (1, 7, 64, 300, 1000):
        np.testing.assert_allclose(trainer.predict(X[:131], batch_size=size), wanted[:131],
                                   rtol=1e-5, atol=1e-6)  # fmt: skip
    told = trainer.evaluate((X, Y), batch_size=7)
    assert told["accuracy"] == pytest.approx((wanted.argmax(1) == Y).mean())
    assert told["loss"] == pytest.approx(nn.losses.cross_entropy(wanted, Y).item(), rel=1e-5)
    assert state(model) == before
    assert model.training


def test_validation_may_be_arrays_and_is_not_trained_on() -> None:
    model = network()
    history = quick(model, validation=(X[:40], Y[:40]))
    told = evaluate(model, (X[:40], Y[:40]))
    assert told["loss"] == pytest.approx(history["validation_loss"][-1])
    unlabelled, other = network(), network()
    quick(unlabelled, validation=(X[:40], (Y[:40] + 1) % 3))
    quick(other, validation=(X[:40], Y[:40]))
    assert state(unlabelled) == state(other)


def test_early_stopping_brings_the_best_weights_back() -> None:
    model = network()
    best: dict[str, Any] = {}

    class Keep(Events):
        def on_epoch_end(self, run: Run) -> None:
            if run.history.best_epoch == run.epoch:
                best.update(run.model.state_dict())

    history = quick(model, epochs=60, early_stopping=2, learning_rate=0.3, events=[Keep()])
    assert history.stopped_early
    assert history.restored
    assert history.best_epoch == len(history) - 2
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, best[name])
    monitored = quick(network(), early_stopping=5, monitor="accuracy")
    assert monitored.monitor == "validation_accuracy"
    assert monitored.best_epoch == int(np.argmax(monitored["validation_accuracy"])) + 1


def test_control_c_keeps_the_best_so_far() -> None:
    model = network()
    spy = Spy(at=3, event="on_epoch_end", then=lambda _: os.kill(os.getpid(), signal.SIGINT))
    history = quick(model, epochs=50, learning_rate=0.5, events=[spy])
    assert history.interrupted
    assert len(history) == 3
    assert spy.run is not None
    assert spy.run.note.startswith("interrupted in epoch 3: kept the best so far, the model of ep")
    told = evaluate(model, (X, Y))
    assert np.isfinite(told["loss"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_control_c_twice_or_from_a_listener_ends_it_as_well() -> None:
    def twice(_: Run) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    model = network()
    start = state(model)
    history = quick(model, epochs=50, events=[Spy(at=1, event="on_steps", then=twice)])
    assert history.interrupted
    assert len(history) == 0
    assert history.best_epoch is None
    assert state(model) == start  # no epoch was finished, and the step may be half done


def test_a_listener_can_stop_the_run() -> None:
    spy = Spy(at=2, then=lambda run: run.stop())
    history = quick(network(), epochs=50, events=[spy])
    assert len(history) == 2
    assert not history.interrupted


def test_it_trains_in_another_thread() -> None:
    found: list[History] = []
    thread = threading.Thread(target=lambda: found.append(quick(network())))
    thread.start()
    thread.join()
    assert len(found[0]) == 2


def test_another_handler_of_control_c_is_left_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with interruption() as asked:
            os.kill(os.getpid(), signal.SIGINT)
        assert heard == [signal.SIGINT]
        assert not asked.asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_loss_that_becomes_nan_is_noticed_and_undone() -> None:
    model = nn.Sequential(nn.Linear(4, 1), seed=0)
    start = state(model)
    targets = X[:, :1].copy()
    with pytest.raises(NumericsError, match=r"became (nan|inf) in epoch \d+, step \d+.*learning r"):
        quick(model, (X, targets), loss="mse", optimizer="sgd", learning_rate=1e6, epochs=20)
    assert all(np.isfinite(v).all() for v in model.state_dict().values())
    assert not model.training
    assert state(model) == start  # it became so in the first epoch


def bad(x: Any = X, y: Any = Y, **options: Any) -> History:
    return quick(network(), (x, y), **options)


def poisoned(row: int, value: float) -> Any:
    x = X.copy()
    x[row, 1] = value
    return x


@pytest.mark.parametrize(
    ("error", "says", "call"),
    [
        (DataError, "input 0: row 17 holds nan", lambda: bad(poisoned(17, np.nan))),
        (DataError, "input 0: row 3 holds inf", lambda: bad(poisoned(3, np.inf))),
        (DataError, "targets: row 0 holds nan", lambda: bad(y=np.full(300, np.nan))),
        (DataError, "no rows", lambda: bad(X[:0], Y[:0])),
        (DataError, "input 0 has 300|several lengths", lambda: bad(y=Y[:10])),
        (DataError, "batch size is 512", lambda: bad(batch_size=512)),
        (DataError, "270 rows are left", lambda: bad(batch_size=280)),
        (DataError, "batch size is 0", lambda: bad(batch_size=0)),
        (DataError, "label of row 5 is 7.*3 outputs", lambda: bad(
            y=np.where(np.arange(300) == 5, 7, Y))),
        (DataError, "label of row 0 is -1", lambda: bad(y=np.full(300, -1))),
        (DataError, "wanted a tuple of arrays", lambda: quick(network(), X)),
        (DataError, "got 1 arrays", lambda: quick(network(), (X,))),
        (DataError, "wanted numbers", lambda: bad(y=np.array(["a"] * 300))),
        (DataError, "between 0 and 1", lambda: bad(validation=1.5)),
        (DataError, "shape \\(3,\\)", lambda: bad(validation=(X[:, :3], Y))),
        (DataError, "several lengths", lambda: bad(validation=(X[:9], Y))),
        (DTypeError, "float", lambda: bad(y=Y.astype(np.float32))),
        (ShapeError, "in_features is 4", lambda: bad(X[:, :3])),
        (ArgumentError, "did you mean 'cross_entropy'", lambda: bad(loss="crossentropy")),
        (ArgumentError, "did you mean 'adamw'", lambda: bad(optimizer="adanw")),
        (ArgumentError, "did you mean 'accuracy'", lambda: bad(metrics=["acuracy"])),
        (ArgumentError, "epochs is 0", lambda: bad(epochs=0)),
        (ArgumentError, "early_stopping is -1", lambda: bad(early_stopping=-1)),
        (ArgumentError, "needs a validation", lambda: bad(early_stopping=1, validation=None)),
        (ArgumentError, "'f1' is not measured", lambda: bad(monitor="f1")),
        (ArgumentError, "learning_rate", lambda: bad(learning_rate=-1.0)),
        (ArgumentError, "beside an optimiser", lambda: quick(
            m := network(), optimizer=optim.SGD(m, learning_rate=0.1))),
    ],
)  # fmt: skip
def test_bad_input_is_found_before_training(error: type[Exception], says: str, call: Any) -> None:
    with pytest.raises(error, match=says):
        call()


def test_progress_is_lines_without_a_terminal_and_a_bar_with_one(capfd: Any) -> None:
    quick(network(), progress=None)
    out, err = capfd.readouterr()
    assert not out
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss ")
    assert "validation accuracy" in lines[0]
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    quick(network(), epochs=4, early_stopping=1, learning_rate=1.0, events=[Progress(terminal)])
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "━" in shown
    assert "left" in shown
    assert "epoch 1/4  loss" in shown
    capfd.readouterr()
    quick(network())
    assert capfd.readouterr() == ("", "")


def test_pace_aims_at_a_tenth_of_a_second() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    counts, per_step = [], 1e-4
    for call in range(8):
        count = pace.next(100_000)
        now[0] += 5.0 if not call else count * per_step  # the first call compiles
        pace.note(count)
        counts.append(count)
    assert counts[:3] == [1, 1, 8]
    assert counts[-1] == pytest.approx(Pace.SECONDS / per_step, abs=1)
    assert pace.next(3) == 3
