"""Architectures against the same ones written in PyTorch: outputs, gradients, adversarial steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.models.adversarial import AdversarialTrainer
from thalweg.models.dcgan import DCGANDiscriminator, DCGANGenerator

torch = pytest.importorskip("torch")
T, F = torch.nn, torch.nn.functional
Array = np.ndarray[Any, Any]


class Net(T.Module):  # type: ignore[misc, name-defined]
    """Named parts and a function that puts them together."""

    def __init__(self, run: Callable[[Any, Any], Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, x: Any) -> Any:
        return self.run(self, x)


def classified(m: Any, x: Any) -> Any:
    return m.classifier(torch.flatten(m.avgpool(m.features(x)), 1))


def lenet() -> Any:
    def run(m: Any, x: Any) -> Any:
        x = F.max_pool2d(F.relu(m.conv1(x)), 2)
        x = F.max_pool2d(F.relu(m.conv2(x)), 2).flatten(1)
        return m.fc3(F.relu(m.fc2(F.relu(m.fc1(x)))))

    return Net(run, conv1=T.Conv2d(1, 6, 5, padding=2), conv2=T.Conv2d(6, 16, 5),
               fc1=T.Linear(400, 120), fc2=T.Linear(120, 84), fc3=T.Linear(84, 10))  # fmt: skip


def alexnet() -> Any:
    features = T.Sequential(
        T.Conv2d(3, 4, 11, 4, 2), T.ReLU(), T.MaxPool2d(3, 2), T.Conv2d(4, 12, 5, padding=2),
        T.ReLU(), T.MaxPool2d(3, 2), T.Conv2d(12, 24, 3, padding=1), T.ReLU(),
        T.Conv2d(24, 16, 3, padding=1), T.ReLU(), T.Conv2d(16, 16, 3, padding=1), T.ReLU(),
        T.MaxPool2d(3, 2),
    )  # fmt: skip
    head = T.Sequential(T.Dropout(0), T.Linear(576, 8), T.ReLU(), T.Dropout(0), T.Linear(8, 8),
                        T.ReLU(), T.Linear(8, 3))  # fmt: skip
    return Net(classified, features=features, avgpool=T.AdaptiveAvgPool2d(6), classifier=head)


def vgg11_bn() -> Any:
    layers, before = [], 3
    for after in (4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"):
        if after == "M":
            layers.append(T.MaxPool2d(2))
        else:
            layers += [T.Conv2d(before, after, 3, padding=1), T.BatchNorm2d(after), T.ReLU()]
            before = after
    head = T.Sequential(T.Linear(32 * 49, 8), T.ReLU(), T.Dropout(0), T.Linear(8, 8), T.ReLU(),
                        T.Dropout(0), T.Linear(8, 3))  # fmt: skip
    return Net(classified, features=T.Sequential(*layers), avgpool=T.AdaptiveAvgPool2d(7),
               classifier=head)  # fmt: skip


def resnet(bottleneck: bool) -> Any:
    def block(before: int, planes: int, stride: int) -> Any:
        after = planes * (4 if bottleneck else 1)
        sizes = [(1, before, planes, 1), (3, planes, planes, stride), (1, planes, after, 1)]
        if not bottleneck:
            sizes = [(3, before, planes, stride), (3, planes, planes, 1)]
        parts: dict[str, Any] = {}
        for i, (k, a, b, s) in enumerate(sizes, 1):
            parts[f"conv{i}"] = T.Conv2d(a, b, k, s, k // 2, bias=False)
            parts[f"bn{i}"] = T.BatchNorm2d(b)
        if stride > 1 or before != after:
            down = T.Conv2d(before, after, 1, stride, bias=False)
            parts["downsample"] = T.Sequential(down, T.BatchNorm2d(after))

        def run(m: Any, x: Any) -> Any:
            y = x
            for i in range(1, len(sizes) + 1):
                y = getattr(m, f"bn{i}")(getattr(m, f"conv{i}")(y if i == 1 else F.relu(y)))
            return F.relu(y + (m.downsample(x) if hasattr(m, "downsample") else x))

        return Net(run, **parts)

    def run(m: Any, x: Any) -> Any:
        x = F.max_pool2d(F.relu(m.bn1(m.conv1(x))), 3, 2, 1)
        return m.fc(m.layer4(m.layer3(m.layer2(m.layer1(x)))).mean((2, 3)))

    parts: dict[str, Any] = {"conv1": T.Conv2d(3, 4, 7, 2, 3, bias=False), "bn1": T.BatchNorm2d(4)}
    before = 4
    for stage in range(4):
        planes, blocks = 4 * 2**stage, []
        for place in range(2):
            blocks.append(block(before, planes, 2 if stage and not place else 1))
            before = planes * (4 if bottleneck else 1)
        parts[f"layer{stage + 1}"] = T.Sequential(*blocks)
    return Net(run, **parts, fc=T.Linear(before, 3))


def mobilenet() -> Any:
    def unit(a: int, b: int, k: int, s: int = 1, g: int = 1) -> Any:
        conv = T.Conv2d(a, b, k, s, k // 2, groups=g, bias=False)
        return T.Sequential(conv, T.BatchNorm2d(b), T.ReLU6())

    def block(a: int, b: int, stride: int, t: int) -> Any:
        first = [] if t == 1 else [unit(a, a * t, 1)]
        last = [T.Conv2d(a * t, b, 1, bias=False), T.BatchNorm2d(b)]
        conv = T.Sequential(*first, unit(a * t, a * t, 3, stride, a * t), *last)
        same = stride == 1 and a == b
        return Net(lambda m, x: x + m.conv(x) if same else m.conv(x), conv=conv)

    layers, before = [unit(3, 8, 3, 2)], 8
    for t, after, count, stride in ((1, 8, 1, 1), (6, 8, 2, 2), (6, 8, 3, 2), (6, 8, 4, 2),
                                    (6, 16, 3, 1), (6, 16, 3, 2), (6, 32, 1, 1)):  # fmt: skip
        for place in range(count):
            layers.append(block(before, after, 1 if place else stride, t))
            before = after
    layers.append(unit(before, 1280, 1))
    head = T.Sequential(T.Dropout(0), T.Linear(1280, 3))
    return Net(lambda m, x: m.classifier(m.features(x).mean((2, 3))),
               features=T.Sequential(*layers), classifier=head)  # fmt: skip


def unet() -> Any:
    def double(a: int, b: int) -> Any:
        return T.Sequential(T.Conv2d(a, b, 3), T.ReLU(), T.Conv2d(b, b, 3), T.ReLU())

    def run(m: Any, x: Any) -> Any:
        seen = []
        for level, part in enumerate(m.encoder):
            x = part(F.max_pool2d(x, 2) if level else x)
            seen.append(x)
        for up, part, skip in zip(m.up, m.decoder, seen[-2::-1], strict=True):
            x = up(x)
            edge = (skip.shape[2] - x.shape[2]) // 2
            x = part(torch.cat([F.pad(skip, [-edge] * 4), x], 1))
        return m.head(x)

    upward = [(16, 8), (8, 4)]
    return Net(
        run, encoder=T.ModuleList([double(1, 4), double(4, 8), double(8, 16)]),
        up=T.ModuleList([T.ConvTranspose2d(a, b, 2, 2) for a, b in upward]),
        decoder=T.ModuleList([double(a, b) for a, b in upward]), head=T.Conv2d(4, 2, 1),
    )  # fmt: skip


CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any], tuple[int, ...]]] = {
    "lenet5": (tw.models.LeNet5, lenet, (3, 28, 28, 1)),
    "alexnet": (lambda: tw.models.AlexNet(3, width=1 / 16, hidden=8, dropout=0), alexnet,
                (2, 100, 70, 3)),
    "vgg11_bn": (lambda: tw.models.VGG(11, 3, batch_norm=True, width=1 / 16, hidden=8, dropout=0),
                 vgg11_bn, (4, 64, 64, 3)),
    "resnet_basic": (lambda: tw.models.ResNet("basic", (2, 2, 2, 2), 3, width=4),
                     lambda: resnet(False), (4, 65, 64, 3)),
    "resnet_bottleneck": (lambda: tw.models.ResNet("bottleneck", (2, 2, 2, 2), 3, width=4),
                          lambda: resnet(True), (4, 64, 65, 3)),
    "mobilenet_v2": (lambda: tw.models.MobileNetV2(3, width=0.1, dropout=0), mobilenet,
                     (4, 64, 64, 3)),
    "unet": (lambda: tw.models.UNet(depth=2, width=4), unet, (2, 44, 60, 1)),
}  # fmt: skip


def first(x: Array) -> Any:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def last(x: Any) -> Array:
    x = x.detach().numpy()
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def loaded(ours: nn.Module, theirs: Any) -> Any:
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in nn.to_torch(ours).items()})
    return theirs


def close(ours: Any, theirs: Array, what: str) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6, atol=1e-8, err_msg=what)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients(name: str) -> None:
    """In float64: many normalised layers over few images multiply float32's rounding too much."""
    make, make_theirs, shape = CASES[name]
    ours = make().reset_parameters(0).astype("float64")
    theirs = loaded(ours, make_theirs().double())
    source = np.random.default_rng(1)
    x = source.standard_normal(shape)
    ours.eval()
    theirs.eval()
    expected = last(theirs(first(x)))
    close(tw.compile(lambda x: ours(x))(x), expected, "evaluation")
    weights = source.standard_normal(expected.shape)
    ours.train()
    theirs.train()
    y = theirs(first(x))
    (y * (first(weights) if y.ndim == 4 else torch.from_numpy(weights))).sum().backward()
    grads = tw.compile(tw.grad(lambda m: (m(x) * weights).sum()))(ours)
    wanted = dict(theirs.named_parameters())
    shell = make().astype("float64")
    shell.load_state_dict({**shell.state_dict(), **{k: g.numpy() for k, g in grads.items()}})
    for path, gradient in nn.to_torch(shell).items():
        if path in wanted:
            close(gradient, wanted[path].grad.numpy(), path)
    for path, value in nn.to_torch(ours).items():
        if "running" in path:
            close(value, theirs.state_dict()[path].numpy(), path)


def torch_pair(batch_norm: bool) -> tuple[Any, Any]:
    draws = Net(lambda m, x: m.main(x[:, :, None, None]), main=T.Sequential(
        T.ConvTranspose2d(6, 8, 7, bias=False), T.BatchNorm2d(8), T.ReLU(),
        T.ConvTranspose2d(8, 4, 4, 2, 1, bias=False), T.BatchNorm2d(4), T.ReLU(),
        T.ConvTranspose2d(4, 1, 4, 2, 1, bias=False), T.Tanh(),
    ))  # fmt: skip
    middle = [T.BatchNorm2d(8)] if batch_norm else []
    tells = Net(lambda m, x: m.main(x).flatten(1), main=T.Sequential(
        T.Conv2d(1, 4, 4, 2, 1, bias=False), T.LeakyReLU(0.2),
        T.Conv2d(4, 8, 4, 2, 1, bias=False), *middle, T.LeakyReLU(0.2),
        T.Conv2d(8, 1, 7, bias=False),
    ))  # fmt: skip
    return draws, tells


@pytest.mark.parametrize("loss", ["non_saturating", "wasserstein"])
def test_adversarial_steps(loss: str) -> None:
    """Three steps, the discriminator's second-order gradients among them, with equal numbers."""
    penalty = 10.0 if loss == "wasserstein" else 0.0
    generator = DCGANGenerator(28, 1, code=6, width=4).reset_parameters(0)
    critic = DCGANDiscriminator(28, 1, width=4, batch_norm=not penalty).reset_parameters(1)
    for parameter in (*generator.parameters().values(), *critic.parameters().values()):
        parameter.assign(parameter.numpy() * (5 if parameter.ndim == 4 else 1))  # slopes near 1
    trainer = AdversarialTrainer(generator, critic, loss=loss, gradient_penalty=penalty,
                                 learning_rate=1e-3, seed=5)  # fmt: skip
    noise, shares = trainer.noise.copy(), trainer.shares.copy()
    draws, tells = torch_pair(not penalty)
    loaded(generator, draws)
    loaded(critic, tells)
    adams = [torch.optim.Adam(m.parameters(), 1e-3, (0.5, 0.999)) for m in (draws, tells)]
    source = np.random.default_rng(2)
    for _ in range(3):
        real = np.tanh(source.standard_normal((8, 28, 28, 1))).astype(np.float32)
        told = trainer.step(real)
        codes = torch.from_numpy(noise(tw.zeros((8, 6))).numpy())
        fake, images = draws(codes), first(real)
        on_real, on_fake = tells(images), tells(fake.detach())
        if penalty:
            share = torch.special.ndtr(torch.from_numpy(shares(tw.zeros(8)).numpy()))
            share = share[:, None, None, None]
            mixed = (share * images + (1 - share) * fake.detach()).requires_grad_()
            (slope,) = torch.autograd.grad(tells(mixed).sum(), mixed, create_graph=True)
            extra = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
            critic_loss = on_fake.mean() - on_real.mean() + penalty * extra
        else:
            critic_loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        adams[1].zero_grad()
        critic_loss.backward()
        adams[1].step()
        score = tells(fake)
        drawn_loss = -score.mean() if penalty else F.softplus(-score).mean()
        adams[0].zero_grad()
        drawn_loss.backward()
        adams[0].step()
        assert told["discriminator"] == pytest.approx(critic_loss.item(), rel=1e-3)
        assert told["generator"] == pytest.approx(drawn_loss.item(), rel=1e-3, abs=1e-4)
    for ours, theirs in ((generator, draws), (critic, tells)):
        for path, value in theirs.state_dict().items():
            if "batches" not in path:
                found = nn.to_torch(ours)[path]
                np.testing.assert_allclose(found, value.numpy(), atol=5e-4, err_msg=path)
