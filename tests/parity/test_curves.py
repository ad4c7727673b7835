"""A hundred training steps of each architecture beside PyTorch's, from the same weights.

Every class of models in ``tw.models.list()`` has a curve; the entries of one class differ in their
sizes alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from tests.parity.test_torch_models import kinds
from tests.parity.torch_twins import twin
from tests.parity.torch_twins_parts import F, first, last, one_thread, torch
from tests.parity.torch_twins_transformers import pooled

import thalweg as tw
from thalweg import nn
from thalweg.models.noise import NormalNoise
from thalweg.nn import losses
from thalweg.tasks.members import classes_of_members

Array = np.ndarray[Any, Any]
__all__ = ["one_thread"]
Batches = tuple[Array, ...]  # each (STEPS, batch, ...)
STEPS = 100


# --- data ---------------------------------------------------------------------------------------


@functools.cache
def digits() -> tuple[Array, Array]:
    images, labels = tw.data.load_digits("train")
    return images[:3200] / np.float32(255), labels[:3200].astype(np.int64)


def pictures(batch: int, edge: int = 0, times: int = 1, thin: int = 1) -> Batches:
    """Return digits with an edge of paper, enlarged or thinned out, and what they show."""
    images, labels = (x[: STEPS * batch] for x in digits())
    images = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))
    images = images.repeat(times, 1).repeat(times, 2)[:, ::thin, ::thin]
    return images.reshape(STEPS, batch, *images.shape[1:], 1), labels.reshape(STEPS, batch)


def rows(batch: int = 16) -> Batches:
    """Return digits of 14 x 14 as rows of numbers, and what they show."""
    images, labels = pictures(batch, thin=2)
    return images.reshape(STEPS, batch, -1), labels


def noisy_rows(code: int) -> Batches:
    """Return digits, and the numbers that ``NormalNoise`` with the seed 0 gives in training."""
    images, _ = rows()
    noise = NormalNoise().reset_parameters(0)
    shape = (images.shape[1], code)
    return images, np.stack([noise(tw.zeros(shape)).numpy() for _ in range(STEPS)])


def coded() -> Batches:
    """Return a code for each digit, five numbers made of it, and the digit from -1 to 1."""
    images, _ = pictures(8)
    mix = np.random.default_rng(0).standard_normal((784, 5)).astype(np.float32) / 8
    return images.reshape(STEPS, 8, 784) @ mix, 2 * images - 1


def outlined() -> Batches:
    """Return digits of 16 x 16, and the class of each pixel: paper, grey, ink."""
    images, _ = pictures(8, edge=2, thin=2)
    return images, np.digitize(images[..., 0], (0.1, 0.6)).astype(np.int64)


def counts(length: int, batch: int = 8) -> Array:
    """Return sequences that count in steps of 1 to 3 through 17 numbers, from 3 on."""
    source = np.random.default_rng(0)
    start, step = source.integers(0, 17, (STEPS, batch, 1)), source.integers(1, 4, (batch, 1))
    return 3 + (start + step * np.arange(length)) % 17


def texts() -> Batches:
    """Return tokens, kinds of sentences, lengths, and which of the tokens are to be told."""
    source = np.random.default_rng(1)
    ids = counts(12)
    kinds = np.broadcast_to(np.arange(12) >= 6, ids.shape).astype(np.int64)
    lengths = source.integers(8, 13, ids.shape[:2])
    hidden = (source.random(ids.shape) < 0.2) & (np.arange(12) < lengths[..., None])
    hidden[..., 3] = True
    return ids, kinds, lengths, hidden


def translations() -> Batches:
    """Return sources, their lengths, and targets: the source turned round, after a 1."""
    source = counts(6)
    begin = np.ones((*source.shape[:2], 1), np.int64)
    lengths = np.random.default_rng(1).integers(4, 7, source.shape[:2])
    return source, lengths, np.concatenate([begin, source[..., 3::-1]], -1)


def waves() -> Batches:
    """Return 6 values of three waves each, and the next 4 of two of them."""
    source = np.random.default_rng(0)
    start, pace = source.uniform(0, 6, (STEPS, 8, 1, 3)), source.uniform(0.2, 1, (STEPS, 8, 1, 3))
    values = np.sin(start + pace * np.arange(10)[:, None]).astype(np.float32)
    return values[..., :6, :], values[..., 6:, :2]


def sounds() -> Batches:
    """Return 3 windows of 576 samples each, and in which of them there is a tone in the noise."""
    source = np.random.default_rng(0)
    voiced = source.random((STEPS, 4, 3)) < 0.5
    tone = np.sin(np.arange(576) * source.uniform(0.05, 0.3, (STEPS, 4, 1, 1)))
    noise = source.standard_normal((STEPS, 4, 3, 576))
    heard = 0.3 * voiced[..., None] * tone + 0.05 * noise
    return heard.astype(np.float32), voiced.astype(np.float32)


# --- losses: ours and theirs, of a model and one batch ------------------------------------------


def told_apart(m: Any, x: Any, y: Any) -> Any:
    return losses.cross_entropy(m(x), y)


def their_told_apart(m: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(m(x), y)


def members_told_apart(m: Any, x: Any, y: Any) -> Any:
    return classes_of_members(m(x), y)


def their_members_told_apart(m: Any, x: Any, y: Any) -> Any:
    logits = m(x)  # (batch, members, classes), evaluated (batch, classes)
    if logits.ndim == 2:
        return F.cross_entropy(logits, y)
    return F.cross_entropy(logits.transpose(1, 2), y[:, None].expand(logits.shape[:2]))


def rebuilt(m: Any, x: Any, _: Any) -> Any:
    return losses.mse(m(x), x)


def their_rebuilt(m: Any, x: Any, _: Any) -> Any:
    return F.mse_loss(m(x), x)


def their_denoised(m: Any, x: Any, noise: Any) -> Any:
    return F.mse_loss(m(x, noise if m.training else None), x)


def sparse(m: Any, x: Any, _: Any) -> Any:
    return tw.models.sparse_loss(m(x), x)


def their_sparse(m: Any, x: Any, _: Any) -> Any:
    again, code = m(x)
    wanted, active = torch.tensor(0.05), code.mean(0)
    distance = wanted * (wanted / active).log() + (1 - wanted) * ((1 - wanted) / (1 - active)).log()
    return F.mse_loss(again, x) + 0.1 * distance.sum()


def varied(m: Any, x: Any, _: Any) -> Any:
    return tw.models.variational_loss(m(x), x) / x.shape[1]


def their_varied(m: Any, x: Any, noise: Any) -> Any:
    again, mean, spread = m(x, noise if m.training else None)
    distance = -0.5 * (1 + spread - mean**2 - spread.exp()).sum()
    return (F.binary_cross_entropy(again, x, reduction="sum") + distance) / x.numel()


def judged(m: Any, x: Any, y: Any) -> Any:
    wanted = tw.astype(tw.expand_dims(y > 4, -1), "float32")
    return losses.binary_cross_entropy_with_logits(m(x), wanted)


def their_judged(m: Any, x: Any, y: Any) -> Any:
    return F.binary_cross_entropy_with_logits(m(x), (y > 4).float()[:, None])


def continued(m: Any, ids: Any) -> Any:
    return losses.cross_entropy(m(ids[:, :-1]), ids[:, 1:])


def their_continued(m: Any, ids: Any) -> Any:
    return F.cross_entropy(m(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def unmasked(m: Any, ids: Any, kinds: Any, lengths: Any, hidden: Any) -> Any:
    """Of the tokens to be told, odd ones are replaced by a 2, even ones stay as they are."""
    logits = m(tw.where(hidden & (ids % 2 == 1), 2, ids), kinds, lengths=lengths)
    return losses.cross_entropy(logits, tw.where(hidden, ids, -1), ignore_index=-1)


def their_unmasked(m: Any, ids: Any, kinds: Any, lengths: Any, hidden: Any) -> Any:
    logits = m(torch.where(hidden & (ids % 2 == 1), 2, ids), kinds, lengths)
    return F.cross_entropy(logits[hidden], ids[hidden])


def named(m: Any, ids: Any, kinds: Any, lengths: Any, _: Any) -> Any:
    return losses.cross_entropy(m(ids, kinds, lengths=lengths), ids[:, 3] % 2)


def their_named(m: Any, ids: Any, kinds: Any, lengths: Any, _: Any) -> Any:
    return F.cross_entropy(m(ids, kinds, lengths), ids[:, 3] % 2)


def embedded(m: Any, ids: Any, kinds: Any, lengths: Any, _: Any) -> Any:
    """Pooled vectors say which number comes fourth, through sine and cosine."""
    made = m.pool(m(ids, kinds, lengths=lengths))
    angles = tw.astype(ids[:, 3], "float32")
    wanted = tw.stack([tw.sin(angles), tw.cos(angles)], -1)
    return losses.mse(made[:, :2], wanted)


def their_embedded(m: Any, ids: Any, kinds: Any, lengths: Any, _: Any) -> Any:
    angles = ids[:, 3].float()
    wanted = torch.stack([angles.sin(), angles.cos()], -1)
    return F.mse_loss(pooled(m, m(ids, kinds, lengths))[:, :2], wanted)


def translated(m: Any, source: Any, lengths: Any, target: Any) -> Any:
    logits = m(source, target[:, :-1], source_lengths=lengths)
    return losses.cross_entropy(logits, target[:, 1:])


def their_translated(m: Any, source: Any, lengths: Any, target: Any) -> Any:
    logits = m(source, target[:, :-1], lengths)
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())


def ended(m: Any, ids: Any, _: Any, lengths: Any, __: Any) -> Any:
    return losses.cross_entropy(m(ids, lengths=lengths), ids[:, 3] % 3)


def their_ended(m: Any, ids: Any, _: Any, lengths: Any, __: Any) -> Any:
    return F.cross_entropy(m(ids, lengths), ids[:, 3] % 3)


def foretold(m: Any, x: Any, y: Any) -> Any:
    return losses.mse(m(x), y)


def their_foretold(m: Any, x: Any, y: Any) -> Any:
    return F.mse_loss(m(x), y)


def heard(m: Any, x: Any, y: Any) -> Any:
    return losses.binary_cross_entropy(m(x), y)


def their_heard(m: Any, x: Any, y: Any) -> Any:
    return F.binary_cross_entropy(m(x), y)


# --- curves -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """How one architecture is trained.

    ``options`` go over those of the small variant; ``build`` makes another instead. ``rule``: SGD
    with momentum, or AdamW. ``frozen``: norms use their running statistics, as in fine-tuning;
    MobileNetV2's 52 norms over a few examples make even two curves in float64 part in ten steps,
    if the weights differ in the last digit. Its norms over batches are in test_torch_models.py.
    ``spread`` multiplies initial matrices: those of small Transformers are so near to 0 that GELU
    is a line there.
    """

    data: Callable[[], Batches]
    rate: float = 0.05
    loss: Callable[..., Any] = told_apart
    their_loss: Callable[..., Any] = their_told_apart
    options: Mapping[str, Any] = field(default_factory=dict)
    rule: str = "sgd"
    dtype: str = "float32"
    build: Callable[[], nn.Module] | None = None
    frozen: bool = False
    spread: float = 1.0

    def pair(self, name: str) -> tuple[nn.Module, Any]:
        """Return our model and PyTorch's, with the same weights."""
        options = dict(tw.models.get(name).small) | dict(self.options)
        model = self.build() if self.build else tw.models.create(name, **options)
        model.reset_parameters(0).astype(self.dtype)
        for parameter in model.parameters().values():
            if parameter.ndim == 2:
                parameter.assign(self.spread * parameter.numpy())
        noise = getattr(model, "source", getattr(model, "noise", None))
        if isinstance(noise, NormalNoise):
            noise.reset_parameters(0)  # as in noisy_rows
        theirs = twin(model)
        for part in (*model.named_modules().values(), *theirs.modules()):
            if isinstance(part, (nn.BatchNorm2d, torch.nn.BatchNorm2d)):
                part.train(not self.frozen)
        return model, theirs

    def batches(self) -> Batches:
        return tuple(x.astype(self.dtype) if x.dtype == "float32" else x for x in self.data())


GREY = {"channels": 1, "classes": 10}
SQUARE = {"inputs": 196}
WORDS = {"rate": 3e-3, "rule": "adamw", "spread": 10.0}
# Where a batch of 8 is normalised again and again, or a ReLU or a maximum decides between nearly
# equal numbers, rounding to float32 grows to another curve within tens of steps: PyTorch's own in
# float32 and in float64 part as far. These are in float64, at rates that float32 holds exactly,
# since the optimisers here keep their rate in it.
DEEP = {"dtype": "float64"}
CURVES: dict[str, Curve] = {
    "mlp": Curve(rows, options=SQUARE | {"hidden": (30, 20), "classes": 10}),
    "tabular": Curve(rows, 0.05, members_told_apart, their_members_told_apart,
                     {"numbers": 196, "outputs": 10, "dropout": 0.0}),
    "lenet5": Curve(lambda: pictures(16), 1 / 32, **DEEP),
    "alexnet": Curve(lambda: pictures(8, times=3), 1e-3, rule="adamw",
                     options=GREY | {"width": 1 / 16, "hidden": 32, "dropout": 0.0}),
    "vgg11": Curve(lambda: pictures(16, 2), 1 / 64, **DEEP,
                   options=GREY | {"dropout": 0.0, "width": 1 / 8, "hidden": 64}),
    "vgg11_bn": Curve(lambda: pictures(8, 2), 1 / 256, options=GREY | {"dropout": 0.0}, **DEEP),
    "resnet18": Curve(lambda: pictures(8, 2), 1 / 128, build=partial(
        tw.models.ResNet, "basic", (1, 1, 1, 1), 10, 1, width=4), **DEEP),
    "resnet50": Curve(lambda: pictures(8, 2), 1 / 256, build=partial(
        tw.models.ResNet, "bottleneck", (1, 1, 1, 1), 10, 1, width=4), **DEEP),
    "resnet20": Curve(lambda: pictures(8), 1 / 64, build=partial(
        tw.models.CIFARResNet, 8, channels=1, width=4), **DEEP),
    "mobilenet_v2": Curve(lambda: pictures(8, 2), 1 / 128, options=GREY, frozen=True, **DEEP),
    "unet": Curve(outlined, 0.05, options={"classes": 3}, **DEEP),
    "autoencoder": Curve(rows, 0.5, rebuilt, their_rebuilt,
                         SQUARE | {"hidden": (64,), "code": 10}),
    "denoising_autoencoder": Curve(lambda: noisy_rows(196), 0.5, rebuilt, their_denoised,
                                   SQUARE | {"hidden": (64,), "code": 10}),
    "sparse_autoencoder": Curve(rows, 0.5, sparse, their_sparse, SQUARE | {"code": 30}),
    "convolutional_autoencoder": Curve(lambda: pictures(8), 0.5, rebuilt, their_rebuilt,
                                       {"size": 28}),
    "variational_autoencoder": Curve(lambda: noisy_rows(4), 0.05, varied, their_varied,
                                     SQUARE | {"hidden": 64, "code": 4}),
    "dcgan28_generator": Curve(coded, 1 / 16, foretold, their_foretold, **DEEP),
    "dcgan28_discriminator": Curve(lambda: pictures(8), 0.01, judged, their_judged),
    "gpt2": Curve(lambda: (counts(12),), loss=continued, their_loss=their_continued, **WORDS),
    "bert": Curve(texts, loss=embedded, their_loss=their_embedded, **WORDS),
    "bert_classifier": Curve(texts, loss=named, their_loss=their_named, **WORDS),
    "bert_masked_lm": Curve(texts, loss=unmasked, their_loss=their_unmasked, **WORDS),
    "vit_tiny": Curve(lambda: pictures(16), 7e-4, rule="adamw",
                      options=GREY | {"image_size": 28, "patch_size": 7}),
    "transformer": Curve(translations, 3e-3, translated, their_translated, rule="adamw"),
    "char_rnn": Curve(lambda: (counts(12),), 1e-2, continued, their_continued, rule="adamw"),
    "lstm_classifier": Curve(texts, 1e-2, ended, their_ended, rule="adamw"),
    "gru_forecaster": Curve(waves, 0.1, foretold, their_foretold),
    "seq2seq": Curve(translations, 1e-2, translated, their_translated, rule="adamw"),
    "silero_vad": Curve(sounds, 0.05, heard, their_heard),
}  # fmt: skip


def ours_of(curve: Curve, model: nn.Module, batches: Batches) -> Array:
    if curve.rule == "sgd":
        rule: Any = tw.optim.SGD(model, curve.rate, momentum=0.9)
    else:
        rule = tw.optim.AdamW(model, curve.rate)

    @tw.compile
    def step(*batch: Any) -> Any:
        value, grads = tw.value_and_grad(lambda m: curve.loss(m, *batch))(model)
        rule.update(grads)
        return value

    return np.array([float(step(*batch)) for batch in zip(*batches, strict=True)])


def theirs_of(curve: Curve, model: Any, batches: Batches) -> Array:
    if curve.rule == "sgd":
        rule: Any = torch.optim.SGD(model.parameters(), curve.rate, 0.9)
    else:
        rule = torch.optim.AdamW(model.parameters(), curve.rate)
    found = []
    for batch in zip(*batches, strict=True):
        rule.zero_grad()
        value = curve.their_loss(model, *map(first, batch))
        value.backward()
        rule.step()
        found.append(value.item())
    return np.array(found)


def test_every_class_of_models_has_a_curve() -> None:
    trained = {kinds()[name] for name in (*CURVES, "perceptron")}  # which has a test of its own
    assert [name for name, kind in kinds().items() if kind not in trained] == []


@pytest.mark.parametrize("name", CURVES)
def test_curve(name: str) -> None:
    curve = CURVES[name]
    (model, theirs), batches = curve.pair(name), curve.batches()
    wanted = theirs_of(curve, theirs, batches)
    found = ours_of(curve, model, batches)
    # GELU in its two forms differs by less than 1e-3; small losses have a bound that is small too.
    bound = (1e-4 if curve.dtype == "float32" else 1e-6) * min(1.0, wanted[0])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)
    assert found[-10:].mean() < 0.95 * found[:5].mean()  # something was learned
    one = [x[0] for x in batches]
    after = curve.their_loss(theirs.eval(), *map(first, one)).item()
    assert float(curve.loss(model.eval(), *one)) == pytest.approx(after, abs=bound)


# --- other rules --------------------------------------------------------------------------------


def test_the_perceptrons_rule() -> None:
    """Twos against sevens, turned labels among them, so that mistakes never end."""
    images, labels = digits()
    chosen = np.isin(labels, (2, 7)).nonzero()[0][:150]
    x, y = images[chosen, ::4, ::4].reshape(150, -1), labels[chosen] == 7
    y[::10] ^= True
    unit = tw.models.Perceptron(49, learning_rate=0.25)
    theirs = twin(unit).double()
    mistakes = []
    for _ in range(STEPS):
        wrong = 0
        for row, label in zip(first(x).double(), first(y).double(), strict=True):
            error = label - theirs(row)
            theirs.weight += 0.25 * error * row
            theirs.bias += 0.25 * error
            wrong += int(error != 0)
        mistakes.append(wrong)
    assert unit.fit(x, y.astype(int), epochs=STEPS).mistakes == tuple(mistakes)
    np.testing.assert_allclose(unit.weight.numpy(), theirs.weight.numpy(), atol=1e-3)
    assert 0 < min(mistakes) < mistakes[0]


def their_step(pair: Any, rules: Any, real: Any, codes: Any, share: Any) -> tuple[float, float]:
    """Return the losses of both, after a step of the discriminator and one of the generator."""
    draws, tells = pair
    fake = draws(codes)
    on_real, on_fake = tells(real), tells(fake.detach())
    if share is None:
        critic_loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
    else:
        mixed = (share * real + (1 - share) * fake.detach()).requires_grad_()
        (slope,) = torch.autograd.grad(tells(mixed).sum(), mixed, create_graph=True)
        extra = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        critic_loss = on_fake.mean() - on_real.mean() + 10 * extra
    rules[1].zero_grad()
    critic_loss.backward()
    rules[1].step()
    score = tells(fake)
    drawn_loss = F.softplus(-score).mean() if share is None else -score.mean()
    rules[0].zero_grad()
    drawn_loss.backward()
    rules[0].step()
    return critic_loss.item(), drawn_loss.item()


@pytest.mark.parametrize("loss", ["non_saturating", "wasserstein"])
def test_adversarial_curve(loss: str) -> None:
    """The gradient penalty's second-order gradients are among the steps.

    In float64: what one network learns wrongly, the other learns to exploit.
    """
    penalised, rate = loss == "wasserstein", 2.0**-12
    critic = tw.models.DCGANDiscriminator(28, 1, width=4, batch_norm=not penalised)
    both = [tw.models.DCGANGenerator(28, 1, code=6, width=4), critic]
    for seed, network in enumerate(both):
        network.reset_parameters(seed).astype("float64")
        for parameter in network.parameters().values():
            parameter.assign(parameter.numpy() * (5 if parameter.ndim == 4 else 1))  # slopes near 1
    trainer = tw.models.AdversarialTrainer(
        *both, loss=loss, gradient_penalty=10.0 if penalised else 0.0, learning_rate=rate, seed=5
    )
    noise, shares = trainer.noise.copy(), trainer.shares.copy()
    pair = [twin(network) for network in both]
    rules = [torch.optim.Adam(m.parameters(), rate, (0.5, 0.999)) for m in pair]
    wanted, found = [], []
    for images in 2 * pictures(8)[0].astype(np.float64) - 1:
        told = trainer.step(images)
        found.append((told["discriminator"], told["generator"]))
        codes = first(noise(tw.zeros((8, 6), dtype="float64")).numpy())
        share = None
        if penalised:
            normal = first(shares(tw.zeros(8, dtype="float64")).numpy())
            share = torch.special.ndtr(normal)[:, None, None, None]
        wanted.append(their_step(pair, rules, first(images), codes, share))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert np.mean(found[-10:], 0)[0] < 0.8 * found[0][0]
    codes = first(noise(tw.zeros((4, 6), dtype="float64")).numpy())
    drawn_images = last(pair[0].eval()(codes))
    np.testing.assert_allclose(trainer.sample(4), drawn_images, rtol=0, atol=1e-4)
