"""U-Net: a class for each pixel, from a path down, a path up, and bridges between them."""

from __future__ import annotations

from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ShapeError, where
from thalweg.models.registry import register
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["UNet"]

PAPER: Final = (
    "O. Ronneberger, P. Fischer and T. Brox, U-Net: convolutional networks for biomedical image "
    "segmentation (2015), arXiv:1505.04597"
)


def _double(before: int, after: int, padded: bool, batch_norm: bool) -> nn.Sequential:
    """Return two 3 x 3 convolutions, each with ReLU."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers.append(
            nn.Conv2d(channels, after, 3, padding=1 if padded else 0, bias=not batch_norm)
        )
        if batch_norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def _cropped(x: Tensor, height: int, width: int) -> Tensor:
    """Return the middle of the images."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    if (height, width) == (x.shape[1], x.shape[2]):
        return x
    return x[:, top : top + height, left : left + width, :]


@register(
    "unet", paper=PAPER, parameters=31_030_658, flops=300_856_848_896, inputs=((572, 572, 1),),
    task="segmentation", small={"depth": 2, "width": 4, "classes": 3, "padded": True},
    small_inputs=((16, 16, 1),),
)  # fmt: skip
class UNet(nn.Module):
    """U-Net, with 31,030,658 parameters for one channel and two classes.

    As in the paper the convolutions are not padded, so that each result has seen nothing but the
    image: 572 x 572 pixels give 388 x 388. With ``padded=True`` the result has the size of the
    image.

    Args:
        classes: classes of a pixel.
        channels: of the images.
        depth: how many times the image is halved.
        width: channels of the first level; each level has twice those of the one above.
        padded: whether convolutions are padded with zeros.
        batch_norm: whether to normalise after each convolution.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, height, width, classes)``, or smaller if
        not padded.

    Raises:
        ArgumentError: a size is not from 1 on.
        ShapeError: a level has an odd height or width, which cannot be halved; says which sizes
            near it can.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.UNet(classes=3, depth=2, width=4, padded=True)
        >>> model(tw.zeros((2, 16, 16, 1))).shape
        (2, 16, 16, 3)

    O. Ronneberger, P. Fischer and T. Brox, arXiv:1505.04597.
    """

    def __init__(
        self,
        classes: int = 2,
        channels: int = 1,
        depth: int = 4,
        width: int = 64,
        padded: bool = False,
        batch_norm: bool = False,
    ) -> None:
        positive("UNet", classes=classes, channels=channels, depth=depth, width=width)
        self.classes, self.channels, self.depth = classes, channels, depth
        self.width, self.padded, self.batch_norm = width, padded, batch_norm
        sizes = [width * 2**level for level in range(depth + 1)]
        before = [channels, *sizes]
        self.encoder = [
            _double(a, b, padded, batch_norm) for a, b in zip(before, sizes, strict=False)
        ]
        self.pool = nn.MaxPool2d(2)
        upward = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.up = [nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in upward]
        self.decoder = [_double(a, b, padded, batch_norm) for a, b in upward]
        self.head = nn.Conv2d(width, classes, 1)

    def sizes(self, size: int) -> list[int] | None:
        """Return what becomes of a height or width at each step; None if it cannot be halved.

        >>> UNet(width=1).sizes(572)[-1], UNet(width=1).sizes(570) is None
        (388, True)
        """
        lost = 0 if self.padded else 4
        steps = [size - lost]
        for _ in range(self.depth):
            if steps[-1] % 2 or steps[-1] // 2 - lost < 1:
                return None
            steps.append(steps[-1] // 2 - lost)
        for _ in range(self.depth):
            steps.append(steps[-1] * 2 - lost)
        return steps if min(steps) > 0 else None

    def forward(self, x: Any) -> Any:
        """Return the logits of each pixel."""
        x = tw.asarray(x)
        self._check(tuple(x.shape))
        seen = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            seen.append(x)
        for up, block, skip in zip(self.up, self.decoder, seen[-2::-1], strict=True):
            x = up(x)
            x = block(tw.concatenate([_cropped(skip, *x.shape[1:3]), x], axis=-1))
        return self.head(x)

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4:
            raise ShapeError(
                f"UNet: got images of shape {shape}, wanted (batch, height, width, "
                f"{self.channels}); add the axes that are missing. {where()}"
            )
        for name, size in zip(("height", "width"), shape[1:3], strict=True):
            if self.sizes(size) is None:
                around = sorted(range(1, size + 2 ** (self.depth + 4)), key=lambda n: abs(n - size))
                fits = sorted([n for n in around if self.sizes(n) is not None][:2])
                raise ShapeError(
                    f"UNet: the {name} {size} (images of shape {shape}) cannot be halved "
                    f"{self.depth} times without a rest; pad or crop the images to "
                    f"{' or '.join(map(str, fits))}. {where()}"
                )
