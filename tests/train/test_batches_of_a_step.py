"""What a step is made of: parts of a batch, weights, clipping, averages, augmentation."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn, optim
from thalweg.errors import ArgumentError, DataError, ShapeError
from thalweg.nn import losses
from thalweg.train import Events, Run, Trainer, evaluate

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 240)
TOKENS = RNG.integers(0, 11, (64, 7))
NEXT = np.where(RNG.random((64, 7)) < np.linspace(0.05, 0.95, 64)[:, None], -100, TOKENS)
NEXT[:, 0] = TOKENS[:, 0]  # so that something counts in every row


def network(seed: int = 0) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3), seed=seed)


def language_model() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11), seed=0)


def fitted(model: nn.Module, data: Any, loss: Any = "cross_entropy", **options: Any) -> Any:
    ours = {"accumulate", "clip_norm", "ema", "augment", "metrics", "events", "transform"}
    made = Trainer(model, loss, optim.SGD(model, learning_rate=0.5, momentum=0.9),
                   **{k: options.pop(k) for k in list(options) if k in ours})  # fmt: skip
    given = {"epochs": 3, "batch_size": 24, "validation": None, **options}
    return made.fit(data, **given), model.state_dict(), made


def close(a: Any, b: Any, rtol: float = 2e-4) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy",
        functools.partial(losses.cross_entropy, class_weights=np.float32([1, 5, 0.1])),
        functools.partial(losses.cross_entropy, label_smoothing=0.1, ignore_index=2),
    ],
    ids=["plain", "class weights", "ignored"],
)
def test_a_batch_in_parts_is_the_same_step(parts: int, loss: Any) -> None:
    whole = fitted(network(), (X, Y), loss)
    split = fitted(network(), (X, Y), loss, accumulate=parts)
    np.testing.assert_allclose(split[0]["loss"], whole[0]["loss"], rtol=1e-5)
    close(split[1], whole[1])


def test_parts_with_unequal_numbers_of_tokens_are_weighted_by_them() -> None:
    """The fault of transformers#34191: the mean of the parts' means is another loss."""
    loss = functools.partial(losses.cross_entropy, ignore_index=-100)
    options = {"batch_size": 16, "seed": 3}
    whole = fitted(language_model(), (TOKENS, NEXT), loss, **options)
    split = fitted(language_model(), (TOKENS, NEXT), loss, accumulate=8, **options)
    np.testing.assert_allclose(split[0]["loss"], whole[0]["loss"], rtol=1e-5)
    close(split[1], whole[1])
    hidden = lambda p, t: loss(p, t)  # noqa: E731 - of which nothing is known: the mean of means
    other = fitted(language_model(), (TOKENS, NEXT), hidden, accumulate=8, **options)
    assert abs(other[0]["loss"][0] / whole[0]["loss"][0] - 1) > 1e-4


def test_a_part_in_which_nothing_counts_does_no_harm() -> None:
    targets = np.where(np.arange(48)[:, None] < 40, -100, TOKENS[:48])
    loss = functools.partial(losses.cross_entropy, ignore_index=-100)
    options = {"batch_size": 48, "epochs": 2}
    whole = fitted(language_model(), (TOKENS[:48], targets), loss, **options)
    split = fitted(language_model(), (TOKENS[:48], targets), loss, accumulate=12, **options)
    close(split[1], whole[1])


@pytest.mark.parametrize("loss", ["mse", "mae", "quadratic", "huber"])
def test_regression_in_parts_and_with_weights(loss: str) -> None:
    data = (X, X[:, :3] * 2 + 1)
    whole = fitted(network(), data, loss, epochs=2)
    close(fitted(network(), data, loss, epochs=2, accumulate=4)[1], whole[1])
    ones = fitted(network(), data, loss, epochs=2, sample_weight=np.full(240, 7.0))
    np.testing.assert_allclose(ones[0]["loss"], whole[0]["loss"], rtol=1e-5)
    close(ones[1], whole[1])


def test_a_row_of_weight_two_is_a_row_given_twice() -> None:
    weights = RNG.integers(0, 3, 24)
    twice = np.repeat(np.arange(24), weights)
    a = fitted(network(), (X[:24], Y[:24]), sample_weight=weights, epochs=6)
    b = fitted(network(), (X[twice], Y[twice]), batch_size=len(twice), epochs=6)
    np.testing.assert_allclose(a[0]["loss"], b[0]["loss"], rtol=1e-4)
    close(a[1], b[1], rtol=1e-3)
    parts = fitted(network(), (X[:24], Y[:24]), sample_weight=weights, epochs=6, accumulate=4)
    close(parts[1], a[1], rtol=1e-3)


def test_class_weights_are_those_of_the_loss() -> None:
    table = np.array([1.0, 5.0, 0.5], np.float32)
    loss = functools.partial(losses.cross_entropy, class_weights=table)
    wanted = fitted(network(), (X, Y), loss)
    for given in (table, {1: 5.0, 2: 0.5}, table.tolist()):
        close(fitted(network(), (X, Y), class_weight=given)[1], wanted[1])
    counts = np.bincount(Y)
    balanced = fitted(network(), (X, Y), class_weight="balanced")
    close(balanced[1], fitted(network(), (X, Y), class_weight=240 / (3 * counts))[1])


@pytest.mark.parametrize(
    ("says", "options"),
    [
        (r"shape \(3,\).*one number for each of 240", {"sample_weight": [1, 2, 3]}),
        ("row 5 has the weight -1", {"sample_weight": np.where(np.arange(240) == 5, -1, 1)}),
        ("weight nan", {"sample_weight": np.full(240, np.nan)}),
        ("all rows have the weight 0", {"sample_weight": np.zeros(240)}),
        ("does not hold numbers", {"sample_weight": ["a"] * 240}),
        ("'balanced'", {"class_weight": "even"}),
        ("the label 9, which no row has", {"class_weight": {9: 1.0}}),
        ("one number a class", {"class_weight": [1.0, 2.0]}),
        ("class 0 has the weight -1", {"class_weight": [-1.0, 1, 1]}),
    ],
)
def test_weights_that_make_no_sense(says: str, options: Any) -> None:
    with pytest.raises(DataError, match=says):
        fitted(network(), (X, Y), **options)


def test_what_cannot_be_weighted_or_split_is_refused() -> None:
    with pytest.raises(ArgumentError, match="takes no reduction"):
        fitted(network(), (X, Y), lambda p, t: p.mean(), sample_weight=np.ones(240))
    with pytest.raises(DataError, match="one label a row"):
        fitted(network(), (X, X[:, :3]), "mse", class_weight="balanced")
    with pytest.raises(ArgumentError, match="24 rows cannot be computed in accumulate=7"):
        fitted(network(), (X, Y), accumulate=7)
    with pytest.raises(ArgumentError, match="accumulate is 0"):
        fitted(network(), (X, Y), accumulate=0)


def test_clip_norm_is_that_of_the_optimiser() -> None:
    model = network()
    optimizer = optim.SGD(model, learning_rate=0.5, momentum=0.9, clip_global_norm=0.1)
    Trainer(model, optimizer=optimizer).fit((X, Y), epochs=3, batch_size=24, validation=None)
    close(fitted(network(), (X, Y), clip_norm=0.1)[1], model.state_dict(), rtol=1e-6)
    with pytest.raises(ArgumentError, match="give one of them"):
        Trainer(model, optimizer=optimizer, clip_norm=1.0)
    with pytest.raises(ArgumentError, match=r"LBFGS.*leave it out"):
        Trainer(model, optimizer="lbfgs", clip_norm=1.0)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_the_moving_average_is_validated_and_kept(optimizer: str) -> None:
    decay, shadows, weights = 0.9, [], []

    class ByHand(Events):
        def __init__(self) -> None:
            self.average = network().state_dict()
            self.count = 0

        def on_steps(self, run: Run) -> None:
            self.count += 1
            d = min(decay, (1 + self.count) / (10 + self.count))
            for name, value in run.model.state_dict().items():
                self.average[name] = d * self.average[name] + (1 - d) * value

        def on_epoch_end(self, run: Run) -> None:
            shadows.append({k: v.copy() for k, v in self.average.items()})
            weights.append(run.model.state_dict())
            told = evaluate(run.model, (X[:40], Y[:40]))
            run.current["own"] = told["loss"]

    model = network()
    made = Trainer(model, "cross_entropy", optimizer, learning_rate=0.1, ema=decay,
                   events=[ByHand()])  # fmt: skip
    history = made.fit((X, Y), epochs=3, batch_size=240, validation=(X[:40], Y[:40]))
    close(model.state_dict(), shadows[-1])
    assert abs(weights[-1]["0.weight"] - shadows[-1]["0.weight"]).max() > 1e-3
    for values, told in zip(shadows, history["validation_loss"], strict=True):
        model.load_state_dict(values)
        assert evaluate(model, (X[:40], Y[:40]))["loss"] == pytest.approx(told, rel=1e-4)
    with pytest.raises(ArgumentError, match="ema is 1"):
        Trainer(network(), ema=1)


def test_the_average_of_many_steps_in_one_call_is_that_of_single_steps() -> None:
    ends = [fitted(network(), (X, Y), ema=0.95, epochs=2)[1] for _ in range(2)]
    close(*ends, rtol=0)
    model = network()
    model.astype("bfloat16")
    made = Trainer(model, optimizer="sgd", learning_rate=0.1, ema=0.999)
    made.fit((X.astype(np.float32), Y), epochs=2, batch_size=24)
    assert made.recipe.average is not None
    kept = made.recipe.average.state_dict()["weight.0.weight"]
    assert kept.dtype == np.float32


def test_augmentation_changes_training_batches_only_and_anew_each_time() -> None:
    seen: list[Any] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            self.scale = tw.Parameter.of(np.ones((), np.float32))
            self.last = tw.zeros((4, 2))

        def forward(self, x: Any) -> Any:
            if self.training:
                self.last.assign(x)
            return x * self.scale

    class See(Events):
        def on_epoch_end(self, run: Run) -> None:
            seen.append(run.model.last.numpy())

    def shift(key: Any, batch: Any) -> Any:
        x, y = batch
        return x + tw.random.uniform((x.shape[0], 1), key=key), y

    x = np.zeros((8, 2), np.float32)
    x[:4] = 1
    for seed in (0, 0, 1):
        made = Trainer(Watch(), "mse", "sgd", learning_rate=0.0, augment=shift, events=[See()])
        history = made.fit((x[:4], x[:4]), epochs=2, batch_size=4, validation=(x, x), seed=seed)
        assert history["validation_loss"] == [0.0, 0.0]
        assert min(history["loss"]) > 0
    first, second, again, _, other, _ = seen
    assert (first == again).all()
    assert (first != second).any()
    assert (first != other).any()
    assert (first >= 1).all()
    assert (first[:, 0] == first[:, 1]).all()
    with pytest.raises(ShapeError, match="augment returned Tensor, wanted a tuple of 2"):
        fitted(network(), (X, Y), augment=lambda key, batch: batch[0])


def test_augmentation_may_change_targets_as_mixup_does() -> None:
    def mixup(key: Any, batch: Any) -> Any:
        x, y = batch
        share = tw.random.uniform((x.shape[0], 1), key=key)
        hot = tw.one_hot(y, 3)
        return x * share + tw.flip(x, 0) * (1 - share), hot * share + tw.flip(hot, 0) * (1 - share)

    told = fitted(network(), (X, Y), augment=mixup, metrics=["accuracy", "f1"])[0]
    assert np.isfinite(told["f1"]).all()
    parts = fitted(network(), (X, Y), augment=mixup, accumulate=2)[0]
    assert np.isfinite(parts["loss"]).all()


def test_a_batch_in_parts_needs_less_memory() -> None:
    needed = []
    for parts in (1, 8):
        wide = nn.Sequential(nn.Linear(6, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(),
                             nn.Linear(200, 3), seed=0)  # fmt: skip
        made = Trainer(wide, optimizer="sgd", learning_rate=0.1, accumulate=parts)
        text = made.step.explain(wide, made.optimizer, (np.zeros((2048, 6), np.float32),),
                                 np.zeros(2048, np.int64))  # fmt: skip
        found = re.search(r"arena: ([\d,]+) bytes", text)
        assert found is not None
        needed.append(int(found[1].replace(",", "")))
    assert needed[1] < 0.4 * needed[0]


def test_statistics_and_random_masks_go_from_part_to_part() -> None:
    """As if the parts were batches: state that layers assign to is carried through the loop."""
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3),
                             seed=0)  # fmt: skip

    split, plain = make(), make()
    tw.random.seed(0)
    options = {"epochs": 1, "validation": None, "seed": 2}
    Trainer(split, optimizer="sgd", learning_rate=0.0, accumulate=3).fit(
        (X, Y), batch_size=24, **options)  # fmt: skip
    Trainer(plain, optimizer="sgd", learning_rate=0.0).fit((X, Y), batch_size=8, **options)
    close(split.state_dict(), plain.state_dict(), rtol=1e-5)
    assert split[2].count.item() == 30
