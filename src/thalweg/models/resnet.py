"""Residual networks: ResNet-18, -34, -50, -101 and -152, and the small ones for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.models.registry import register
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["BasicBlock", "Bottleneck", "CIFARResNet", "ResNet"]

PAPER: Final = (
    "K. He, X. Zhang, S. Ren and J. Sun, Deep residual learning for image recognition (2015), "
    "arXiv:1512.03385"
)


def _conv(before: int, after: int, size: int, stride: int = 1, rectified: bool = True) -> nn.Conv2d:
    """Return a convolution without bias, since batch normalisation follows."""
    return nn.Conv2d(
        before, after, size, stride=stride, padding=size // 2, bias=False,
        activation_hint="relu" if rectified else None,
    )  # fmt: skip


def _projection(before: int, after: int, stride: int) -> nn.Sequential | None:
    """Return the shortcut of a block that changes the shape; None where it is the identity."""
    if stride == 1 and before == after:
        return None
    return nn.Sequential(_conv(before, after, 1, stride, rectified=False), nn.BatchNorm2d(after))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut around them.

    Args:
        before, planes: channels of the input and of the output.
        stride: of the first convolution.
        shortcut: ``"projection"`` (a 1 x 1 convolution where the shape changes, option B of the
            paper) or ``"padding"`` (every other pixel, zeros for new channels: option A).

    Shape:
        ``(batch, height, width, before)`` to ``(batch, height / stride, width / stride, planes)``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.resnet import BasicBlock
        >>> BasicBlock(4, 8, stride=2)(tw.zeros((2, 6, 6, 4))).shape
        (2, 3, 3, 8)

    K. He et al., arXiv:1512.03385, figure 5, left.
    """

    expansion: Final = 1

    def __init__(
        self, before: int, planes: int, stride: int = 1, shortcut: str = "projection"
    ) -> None:
        self.before, self.planes, self.stride, self.shortcut = before, planes, stride, shortcut
        self.conv1 = _conv(before, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        projects = shortcut == "projection"
        self.downsample = _projection(before, planes, stride) if projects else None

    def forward(self, x: Any) -> Any:
        """Return the block's output."""
        y = tw.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return tw.relu(y + self._around(x))

    def _around(self, x: Any) -> Any:
        if self.downsample is not None:
            return self.downsample(x)
        if self.shortcut == "padding" and (self.stride, self.before) != (1, self.planes):
            new = self.planes - self.before
            thinned = x[:, :: self.stride, :: self.stride, :]
            return tw.pad(thinned, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))
        return x


class Bottleneck(nn.Module):
    """Convolutions 1 x 1, 3 x 3 and 1 x 1 with a shortcut: four times the channels of the middle.

    The stride is in the 3 x 3 convolution, as in torchvision ("ResNet v1.5"); the paper has it in
    the first.

    Args:
        before: channels of the input.
        planes: channels of the middle; the output has ``4 * planes``.
        stride: of the middle convolution.

    Shape:
        ``(batch, height, width, before)`` to ``(batch, height / stride, width / stride, 4 *
        planes)``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.resnet import Bottleneck
        >>> Bottleneck(4, 8, stride=2)(tw.zeros((2, 6, 6, 4))).shape
        (2, 3, 3, 32)

    K. He et al., arXiv:1512.03385, figure 5, right.
    """

    expansion: Final = 4

    def __init__(self, before: int, planes: int, stride: int = 1) -> None:
        self.before, self.planes, self.stride = before, planes, stride
        after = planes * self.expansion
        self.conv1, self.bn1 = _conv(before, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _conv(planes, after, 1), nn.BatchNorm2d(after)
        self.downsample = _projection(before, after, stride)

    def forward(self, x: Any) -> Any:
        """Return the block's output."""
        y = tw.relu(self.bn1(self.conv1(x)))
        y = tw.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return tw.relu(y + (x if self.downsample is None else self.downsample(x)))


def _pooled(x: Any) -> Tensor:
    """Return the mean over height and width: ``(batch, channels)``."""
    mean: Tensor = tw.mean(x, axis=(1, 2))
    return mean


class ResNet(nn.Module):
    """A residual network for ImageNet; ResNet-50 has 25,557,032 parameters at 1000 classes.

    Paths of parameters are torchvision's. With ``stem="cifar"`` the first convolution is 3 x 3
    without stride and there is no max pooling, so that images of 32 x 32 keep their detail.

    Args:
        block: ``"basic"`` or ``"bottleneck"``.
        depths: blocks in each of the four stages.
        classes: outputs.
        channels: of the images.
        stem: ``"imagenet"`` or ``"cifar"``.
        width: channels of the first stage; each stage has twice those of the one before.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, classes)``.

    Raises:
        ArgumentError: an unknown block or stem, not four depths, or a size not from 1 on.
        ShapeError: the images have other channels.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.create("resnet18", classes=10, stem="cifar", width=8)
        >>> model(tw.zeros((2, 32, 32, 3))).shape
        (2, 10)

    K. He et al., arXiv:1512.03385.
    """

    def __init__(
        self,
        block: str = "bottleneck",
        depths: Sequence[int] = (3, 4, 6, 3),
        classes: int = 1000,
        channels: int = 3,
        stem: str = "imagenet",
        width: int = 64,
    ) -> None:
        positive("ResNet", classes=classes, channels=channels, width=width)
        if block not in ("basic", "bottleneck") or stem not in ("imagenet", "cifar"):
            raise ArgumentError(
                f"ResNet: got block {block!r} and stem {stem!r}; block is 'basic' or 'bottleneck', "
                f"stem 'imagenet' or 'cifar'. {where()}"
            )
        if len(depths) != 4:
            raise ArgumentError(
                f"ResNet: depths are the blocks of four stages, got {depths!r}. {where()}"
            )
        self.block, self.depths, self.classes = block, tuple(depths), classes
        self.channels, self.stem, self.width = channels, stem, width
        small = stem == "cifar"
        self.conv1 = _conv(channels, width, 3) if small else _conv(channels, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        kind: Any = BasicBlock if block == "basic" else Bottleneck
        stages, before = [], width
        for number, depth in enumerate(depths):
            planes = width * 2**number
            blocks = []
            for place in range(depth):
                blocks.append(kind(before, planes, 2 if number and not place else 1))
                before = planes * kind.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(before, classes)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        x = self.maxpool(tw.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(_pooled(x))


class CIFARResNet(nn.Module):
    """A residual network for images of 32 x 32: three stages of 16, 32 and 64 channels.

    ResNet-20 has 0.27 M parameters (269,722), ResNet-56 0.85 M (853,018). Paths of parameters are
    those of the widely used weights of Y. Idelbayev (github.com/akamaster/pytorch_resnet_cifar10).

    Args:
        depth: weighted layers: 6 n + 2, such as 20, 32, 44, 56, 110.
        classes: outputs.
        channels: of the images.
        shortcut: ``"padding"`` (option A of the paper, without weights) or ``"projection"``.
        width: channels of the first stage.

    Shape:
        ``(batch, height, width, channels)``, height and width divisible by 4, to
        ``(batch, classes)``.

    Raises:
        ArgumentError: a depth that is not 6 n + 2, an unknown shortcut, a size not from 1 on.
        ShapeError: height or width is not divisible by 4, or the images have other channels.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.create("resnet20")
        >>> model(tw.zeros((2, 32, 32, 3))).shape, model.count_parameters()
        ((2, 10), 269722)

    K. He et al., arXiv:1512.03385, section 4.2.
    """

    def __init__(
        self,
        depth: int = 20,
        classes: int = 10,
        channels: int = 3,
        shortcut: str = "padding",
        width: int = 16,
    ) -> None:
        positive("CIFARResNet", depth=depth, classes=classes, channels=channels, width=width)
        if depth < 8 or (depth - 2) % 6:
            raise ArgumentError(
                f"CIFARResNet: depth must be 6 n + 2, such as 20 or 56, got {depth}. {where()}"
            )
        if shortcut not in ("padding", "projection"):
            raise ArgumentError(
                f"CIFARResNet: shortcut is 'padding' or 'projection', got {shortcut!r}. {where()}"
            )
        self.depth, self.classes, self.channels = depth, classes, channels
        self.shortcut, self.width = shortcut, width
        self.conv1 = _conv(channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        stages, before = [], width
        for number in range(3):
            planes = width * 2**number
            blocks = []
            for place in range((depth - 2) // 6):
                stride = 2 if number and not place else 1
                blocks.append(BasicBlock(before, planes, stride, shortcut))
                before = planes
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(before, classes)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        if len(x.shape) == 4 and (x.shape[1] % 4 or x.shape[2] % 4):
            raise ShapeError(
                f"CIFARResNet: got images of shape {tuple(x.shape)}, wanted (batch, height, width, "
                f"{self.channels}) with height and width divisible by 4; pad or scale the images, "
                f"and put the channels last. {where()}"
            )
        x = tw.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
        return self.linear(_pooled(x))


# name: block, depths, parameters, FLOPs
_PUBLISHED: Final = {
    "resnet18": ("basic", (2, 2, 2, 2), 11_689_512, 3_628_146_688),
    "resnet34": ("basic", (3, 4, 6, 3), 21_797_672, 7_327_522_816),
    "resnet50": ("bottleneck", (3, 4, 6, 3), 25_557_032, 8_178_368_512),
    "resnet101": ("bottleneck", (3, 4, 23, 3), 44_549_160, 15_602_810_880),
    "resnet152": ("bottleneck", (3, 8, 36, 3), 60_192_808, 23_027_253_248),
}
for _name, (_block, _depths, _parameters, _flops) in _PUBLISHED.items():
    register(
        _name, paper=PAPER, parameters=_parameters, flops=_flops, inputs=((224, 224, 3),),
        small={"classes": 4, "width": 4}, small_inputs=((32, 32, 3),),
    )(partial(ResNet, _block, _depths))  # fmt: skip
register(
    "resnet18_cifar", paper=PAPER, parameters=11_173_962, flops=1_110_845_440,
    inputs=((32, 32, 3),), small={"width": 4}, small_inputs=((16, 16, 3),),
)(partial(ResNet, "basic", (2, 2, 2, 2), classes=10, stem="cifar"))  # fmt: skip
# depth: parameters, FLOPs
for _depth, (_parameters, _flops) in {
    20: (269_722, 81_102_080), 32: (464_154, 137_725_184), 44: (658_586, 194_348_288),
    56: (853_018, 250_971_392), 110: (1_727_962, 505_775_360),
}.items():  # fmt: skip
    register(
        f"resnet{_depth}", paper=PAPER, parameters=_parameters, flops=_flops,
        inputs=((32, 32, 3),), small={"width": 4}, small_inputs=((8, 8, 3),),
    )(partial(CIFARResNet, _depth))  # fmt: skip
