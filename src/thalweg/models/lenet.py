"""LeNet-5: two convolutions with pooling, then three fully connected layers."""

from __future__ import annotations

from typing import Any, Final

from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.models.images import check_image, flatten_channels_first, with_channel_axis
from thalweg.models.mlp import activation_layer
from thalweg.models.registry import register
from thalweg.nn.layers import positive

__all__ = ["LeNet5"]

PAPER: Final = (
    "Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document "
    "recognition (1998), doi:10.1109/5.726791"
)
SIDE: Final = 28


@register("lenet5", paper=PAPER, parameters=61_706, flops=833_040, inputs=((SIDE, SIDE, 1),))
class LeNet5(nn.Module):
    """LeNet-5 in its modern form, with 61,706 parameters.

    Against the paper: the 28 x 28 images are padded to 32 x 32 by the first convolution, the second
    convolution sees all six maps, pooling has no weights, and the output is linear (logits).
    ``LeNet5(activation="tanh", pooling="average")`` is nearer to 1998.

    Args:
        classes: outputs.
        channels: of the images.
        activation: name of the activation.
        pooling: ``"max"`` or ``"average"``.

    Shape:
        ``(batch, 28, 28, channels)`` to ``(batch, classes)``; the axis of one channel may be
        missing.

    Raises:
        ArgumentError: an unknown activation or pooling, or a size not from 1 on.
        ShapeError: the images have another shape.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.LeNet5()
        >>> model(tw.zeros((5, 28, 28, 1))).shape, model.count_parameters()
        ((5, 10), 61706)

    Y. LeCun et al., doi:10.1109/5.726791.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        activation: str = "relu",
        pooling: str = "max",
    ) -> None:
        positive("LeNet5", classes=classes, channels=channels)
        if pooling not in ("max", "average"):
            raise ArgumentError(
                f"LeNet5: pooling is 'max' or 'average', got {pooling!r}. {where()}"
            )
        self.classes, self.channels = classes, channels
        self.activation, self.pooling = activation, pooling
        hint = activation
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=2, activation_hint=hint)
        self.conv2 = nn.Conv2d(6, 16, 5, activation_hint=hint)
        kind = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        self.pool1, self.pool2 = kind(2), kind(2)
        self.act1, self.act2, self.act3, self.act4 = (
            activation_layer(activation) for _ in range(4)
        )
        self.fc1 = nn.Linear(400, 120, activation_hint=hint)
        self.fc2 = nn.Linear(120, 84, activation_hint=hint)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        x = with_channel_axis(x)
        check_image("LeNet5", x, (SIDE, SIDE, self.channels))
        x = self.pool1(self.act1(self.conv1(x)))  # (batch, 14, 14, 6)
        x = self.pool2(self.act2(self.conv2(x)))  # (batch, 5, 5, 16)
        x = self.act3(self.fc1(flatten_channels_first(x)))
        return self.fc3(self.act4(self.fc2(x)))
