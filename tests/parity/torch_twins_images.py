"""Networks for images in PyTorch, of the sizes of a model of ours; images are channels-first."""

from __future__ import annotations

from typing import Any

from tests.parity.torch_twins_parts import F, Net, T, torch


def classified(m: Any, x: Any) -> Any:
    return m.classifier(torch.flatten(m.avgpool(m.features(x)), 1))


def lenet(ours: Any) -> Any:
    assert (ours.activation, ours.pooling) == ("relu", "max")

    def run(m: Any, x: Any) -> Any:
        x = F.max_pool2d(F.relu(m.conv1(x)), 2)
        x = F.max_pool2d(F.relu(m.conv2(x)), 2).flatten(1)
        return m.fc3(F.relu(m.fc2(F.relu(m.fc1(x)))))

    return Net(run, conv1=T.Conv2d(ours.channels, 6, 5, padding=2), conv2=T.Conv2d(6, 16, 5),
               fc1=T.Linear(400, 120), fc2=T.Linear(120, 84),
               fc3=T.Linear(84, ours.classes))  # fmt: skip


def alexnet(ours: Any) -> Any:
    a, b, c, d = (round(n * ours.width) for n in (64, 192, 384, 256))
    features = T.Sequential(
        T.Conv2d(ours.channels, a, 11, 4, 2), T.ReLU(), T.MaxPool2d(3, 2),
        T.Conv2d(a, b, 5, padding=2), T.ReLU(), T.MaxPool2d(3, 2), T.Conv2d(b, c, 3, padding=1),
        T.ReLU(), T.Conv2d(c, d, 3, padding=1), T.ReLU(), T.Conv2d(d, d, 3, padding=1), T.ReLU(),
        T.MaxPool2d(3, 2),
    )  # fmt: skip
    head = T.Sequential(
        T.Dropout(ours.dropout), T.Linear(d * 36, ours.hidden), T.ReLU(), T.Dropout(ours.dropout),
        T.Linear(ours.hidden, ours.hidden), T.ReLU(), T.Linear(ours.hidden, ours.classes),
    )  # fmt: skip
    return Net(classified, features=features, avgpool=T.AdaptiveAvgPool2d(6), classifier=head)


VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def vgg(ours: Any) -> Any:
    layers: list[Any] = []
    before = ours.channels
    for count, size in zip(VGG_STAGES[ours.depth], (64, 128, 256, 512, 512), strict=True):
        after = round(size * ours.width)
        for _ in range(count):
            layers.append(T.Conv2d(before, after, 3, padding=1))
            layers += [T.BatchNorm2d(after)] if ours.batch_norm else []
            layers.append(T.ReLU())
            before = after
        layers.append(T.MaxPool2d(2))
    head = T.Sequential(
        T.Linear(before * 49, ours.hidden), T.ReLU(), T.Dropout(ours.dropout),
        T.Linear(ours.hidden, ours.hidden), T.ReLU(), T.Dropout(ours.dropout),
        T.Linear(ours.hidden, ours.classes),
    )  # fmt: skip
    return Net(classified, features=T.Sequential(*layers), avgpool=T.AdaptiveAvgPool2d(7),
               classifier=head)  # fmt: skip


def residual(before: int, planes: int, stride: int, bottleneck: bool, padding: bool) -> Any:
    """Return a block; ``padding`` is a shortcut without weights where the shape changes."""
    after = planes * (4 if bottleneck else 1)
    sizes = [(3, before, planes, stride), (3, planes, planes, 1)]
    if bottleneck:
        sizes = [(1, before, planes, 1), (3, planes, planes, stride), (1, planes, after, 1)]
    parts: dict[str, Any] = {}
    for i, (k, a, b, s) in enumerate(sizes, 1):
        parts[f"conv{i}"] = T.Conv2d(a, b, k, s, k // 2, bias=False)
        parts[f"bn{i}"] = T.BatchNorm2d(b)
    changes = stride > 1 or before != after
    if changes and not padding:
        down = T.Conv2d(before, after, 1, stride, bias=False)
        parts["downsample"] = T.Sequential(down, T.BatchNorm2d(after))

    def run(m: Any, x: Any) -> Any:
        y = x
        for i in range(1, len(sizes) + 1):
            y = getattr(m, f"bn{i}")(getattr(m, f"conv{i}")(y if i == 1 else F.relu(y)))
        if changes and padding:
            new = after - before
            around = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, new // 2, new - new // 2))
        else:
            around = m.downsample(x) if changes else x
        return F.relu(y + around)

    return Net(run, **parts)


def stages(width: int, depths: Any, bottleneck: bool, padding: bool) -> tuple[dict[str, Any], int]:
    parts, before = {}, width
    for number, depth in enumerate(depths):
        planes, blocks = width * 2**number, []
        for place in range(depth):
            stride = 2 if number and not place else 1
            blocks.append(residual(before, planes, stride, bottleneck, padding))
            before = planes * (4 if bottleneck else 1)
        parts[f"layer{number + 1}"] = T.Sequential(*blocks)
    return parts, before


def resnet(ours: Any) -> Any:
    small = ours.stem == "cifar"

    def run(m: Any, x: Any) -> Any:
        x = F.relu(m.bn1(m.conv1(x)))
        x = x if small else F.max_pool2d(x, 3, 2, 1)
        return m.fc(m.layer4(m.layer3(m.layer2(m.layer1(x)))).mean((2, 3)))

    parts, features = stages(ours.width, ours.depths, ours.block == "bottleneck", False)
    stem = (3, 1, 1) if small else (7, 2, 3)
    return Net(run, conv1=T.Conv2d(ours.channels, ours.width, *stem, bias=False),
               bn1=T.BatchNorm2d(ours.width), **parts,
               fc=T.Linear(features, ours.classes))  # fmt: skip


def cifar_resnet(ours: Any) -> Any:
    def run(m: Any, x: Any) -> Any:
        x = F.relu(m.bn1(m.conv1(x)))
        return m.linear(m.layer3(m.layer2(m.layer1(x))).mean((2, 3)))

    depths = (ours.depth // 6,) * 3
    parts, features = stages(ours.width, depths, False, ours.shortcut == "padding")
    return Net(run, conv1=T.Conv2d(ours.channels, ours.width, 3, 1, 1, bias=False),
               bn1=T.BatchNorm2d(ours.width), **parts,
               linear=T.Linear(features, ours.classes))  # fmt: skip


def mobilenet(ours: Any) -> Any:

    def rounded(channels: float) -> int:
        near = max(8, int(channels + 4) // 8 * 8)
        return near + 8 if near < 0.9 * channels else near

    def unit(a: int, b: int, k: int, s: int = 1, g: int = 1) -> Any:
        conv = T.Conv2d(a, b, k, s, k // 2, groups=g, bias=False)
        return T.Sequential(conv, T.BatchNorm2d(b), T.ReLU6())

    def block(a: int, b: int, stride: int, t: int) -> Any:
        before = [] if t == 1 else [unit(a, a * t, 1)]
        after = [T.Conv2d(a * t, b, 1, bias=False), T.BatchNorm2d(b)]
        conv = T.Sequential(*before, unit(a * t, a * t, 3, stride, a * t), *after)
        same = stride == 1 and a == b
        return Net(lambda m, x: x + m.conv(x) if same else m.conv(x), conv=conv)

    before = rounded(32 * ours.width)
    layers = [unit(ours.channels, before, 3, 2)]
    for t, size, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                   (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):  # fmt: skip
        after = rounded(size * ours.width)
        for place in range(count):
            layers.append(block(before, after, 1 if place else stride, t))
            before = after
    features = rounded(1280 * max(1.0, ours.width))
    layers.append(unit(before, features, 1))
    head = T.Sequential(T.Dropout(ours.dropout), T.Linear(features, ours.classes))
    return Net(lambda m, x: m.classifier(m.features(x).mean((2, 3))),
               features=T.Sequential(*layers), classifier=head)  # fmt: skip


def unet(ours: Any) -> Any:
    assert not ours.batch_norm
    edge = 1 if ours.padded else 0

    def double(a: int, b: int) -> Any:
        return T.Sequential(T.Conv2d(a, b, 3, padding=edge), T.ReLU(),
                            T.Conv2d(b, b, 3, padding=edge), T.ReLU())  # fmt: skip

    def run(m: Any, x: Any) -> Any:
        seen = []
        for level, part in enumerate(m.encoder):
            x = part(F.max_pool2d(x, 2) if level else x)
            seen.append(x)
        for up, part, skip in zip(m.up, m.decoder, seen[-2::-1], strict=True):
            x = up(x)
            cut = (skip.shape[2] - x.shape[2]) // 2
            x = part(torch.cat([F.pad(skip, [-cut] * 4), x], 1))
        return m.head(x)

    sizes = [ours.width * 2**level for level in range(ours.depth + 1)]
    downward = zip((ours.channels, *sizes), sizes, strict=False)
    upward = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
    return Net(
        run, encoder=T.ModuleList([double(a, b) for a, b in downward]),
        up=T.ModuleList([T.ConvTranspose2d(a, b, 2, 2) for a, b in upward]),
        decoder=T.ModuleList([double(a, b) for a, b in upward]),
        head=T.Conv2d(ours.width, ours.classes, 1),
    )  # fmt: skip
