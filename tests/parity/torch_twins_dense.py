"""Dense networks, autoencoders and DCGAN in PyTorch, of the sizes of a model of ours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tests.parity.torch_twins_parts import Net, T, torch


def dense(sizes: Sequence[int], *last: Any, activation: Any = T.ReLU) -> Any:
    layers: list[Any] = []
    for before, after in pairwise(sizes):
        layers += [T.Linear(before, after), activation()]
    return T.Sequential(*layers[:-1], *last)


def mlp(ours: Any) -> Any:
    assert (ours.activation, ours.dropout) == ("relu", 0)
    return dense((ours.inputs, *ours.hidden, ours.classes))


def tabular(ours: Any) -> Any:
    """With columns of numbers alone."""
    assert (ours.codes, ours.texts, ours.classes) == ((), (), True)
    layers: list[Any] = []
    for before, after in pairwise((ours.numbers, *ours.hidden)):
        layers += [T.Linear(before, after), T.ReLU(), T.Dropout(ours.dropout)]

    def run(m: Any, x: Any) -> Any:
        y = m.shared(x[:, None] * m.scale)
        y = torch.einsum("bmh,mho->bmo", y, m.heads) + m.offsets
        return y if m.training else torch.log(y.softmax(-1).mean(1) + 1e-12)

    values = {name: T.Parameter(torch.from_numpy(getattr(ours, name).numpy()))
              for name in ("scale", "heads", "offsets")}  # fmt: skip
    return Net(run, shared=T.Sequential(*layers), **values)


def perceptron(ours: Any) -> Any:
    """Weights that no gradient moves; the rule is the test's."""
    values = {"weight": torch.zeros(ours.features), "bias": torch.zeros(())}
    parts = {k: T.Parameter(v, requires_grad=False) for k, v in values.items()}
    return Net(lambda m, x: (x @ m.weight + m.bias > 0).to(x.dtype), **parts)


def autoencoder(ours: Any) -> Any:
    assert (ours.activation, ours.output) == ("relu", "sigmoid")
    sizes = (ours.inputs, *ours.hidden, ours.code)
    return Net(lambda m, x: m.decoder(m.encoder(x)), encoder=dense(sizes),
               decoder=dense(sizes[::-1], T.Sigmoid()))  # fmt: skip


def denoising_autoencoder(ours: Any) -> Any:
    """Called with the examples, and in training with the noise to add."""
    net = autoencoder(ours)

    def run(m: Any, x: Any, noise: Any = None) -> Any:
        return m.decoder(m.encoder(x if noise is None else x + ours.noise * noise))

    return Net(run, encoder=net.encoder, decoder=net.decoder)


def sparse_autoencoder(ours: Any) -> Any:
    def run(m: Any, x: Any) -> Any:
        code = m.encoder(x)
        return m.decoder(code), code

    return Net(run, encoder=dense((ours.inputs, ours.code), T.Sigmoid()),
               decoder=dense((ours.code, ours.inputs), T.Sigmoid()))  # fmt: skip


def convolutional_autoencoder(ours: Any) -> Any:
    assert ours.activation == "relu"
    side, deep = ours.size // 4, 2 * ours.width

    def run(m: Any, x: Any) -> Any:
        return m.decoder(m.expand(m.encoder(x)).unflatten(1, (deep, side, side)))

    return Net(
        run,
        encoder=T.Sequential(
            T.Conv2d(ours.channels, ours.width, 3, 2, 1), T.ReLU(),
            T.Conv2d(ours.width, deep, 3, 2, 1), T.ReLU(), T.Flatten(),
            T.Linear(side * side * deep, ours.code),
        ),
        expand=T.Linear(ours.code, side * side * deep),
        decoder=T.Sequential(
            T.ReLU(), T.ConvTranspose2d(deep, ours.width, 4, 2, 1), T.ReLU(),
            T.ConvTranspose2d(ours.width, ours.channels, 4, 2, 1), T.Sigmoid(),
        ),
    )  # fmt: skip


def variational_autoencoder(ours: Any) -> Any:
    """Called with the examples, and in training with the noise that draws the codes."""
    assert ours.activation == "relu"

    def run(m: Any, x: Any, noise: Any = None) -> Any:
        units = m.encoder(x)
        code, log_variance = mean, _ = m.mean(units), m.log_variance(units)
        code = mean if noise is None else mean + torch.exp(0.5 * log_variance) * noise
        return m.decoder(code), mean, log_variance

    return Net(
        run, encoder=dense((ours.inputs, ours.hidden), T.ReLU()),
        mean=T.Linear(ours.hidden, ours.code), log_variance=T.Linear(ours.hidden, ours.code),
        decoder=dense((ours.code, ours.hidden, ours.inputs), T.Sigmoid()),
    )  # fmt: skip


STARTS = {28: (7, 2), 32: (4, 3), 64: (4, 4)}  # first side, and how often it is doubled


def generator(ours: Any) -> Any:
    side, doublings = STARTS[ours.size]
    sizes = [ours.width * 2**i for i in reversed(range(doublings))]
    layers: list[Any] = [T.ConvTranspose2d(ours.code, sizes[0], side, bias=False)]
    for before, after in pairwise((*sizes, ours.channels)):
        layers += [T.BatchNorm2d(before), T.ReLU()]
        layers.append(T.ConvTranspose2d(before, after, 4, 2, 1, bias=False))
    return Net(lambda m, x: m.main(x[:, :, None, None]), main=T.Sequential(*layers, T.Tanh()))


def discriminator(ours: Any) -> Any:
    side, halvings = STARTS[ours.size]
    sizes = [ours.width * 2**i for i in range(halvings)]
    layers = [T.Conv2d(ours.channels, ours.width, 4, 2, 1, bias=False), T.LeakyReLU(0.2)]
    for before, after in pairwise(sizes):
        layers.append(T.Conv2d(before, after, 4, 2, 1, bias=False))
        layers += [T.BatchNorm2d(after)] if ours.batch_norm else []
        layers.append(T.LeakyReLU(0.2))
    layers.append(T.Conv2d(sizes[-1], 1, side, bias=False))
    return Net(lambda m, x: m.main(x).flatten(1), main=T.Sequential(*layers))
