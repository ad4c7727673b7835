"""The multilayer perceptron: fully connected layers with an activation between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, nearest, where
from thalweg.models.registry import register
from thalweg.nn.layers import positive

__all__ = ["MLP", "activation_layer", "dense_layers"]

PAPER: Final = (
    "D. E. Rumelhart, G. E. Hinton and R. J. Williams, Learning representations by "
    "back-propagating errors (1986), doi:10.1038/323533a0"
)


@register(
    "mlp", paper=PAPER, parameters=266_610, flops=532_400, inputs=((784,),),
    small={"inputs": 12, "hidden": (16, 8), "classes": 3}, small_inputs=((12,),),
)  # fmt: skip
class MLP(nn.Sequential):
    """Fully connected layers; the last one gives a number for each class (logits).

    The default is LeNet-300-100, with 266,610 parameters (Y. LeCun et al., 1998,
    doi:10.1109/5.726791). Axes after the batch are joined first, so images may be given as they
    are. Paths of parameters are those of a ``Sequential`` of the same layers.

    Args:
        inputs: numbers in one example.
        hidden: units of the hidden layers; may be empty.
        classes: outputs.
        activation: name of the activation after each hidden layer.
        dropout: probability of dropping a hidden unit.

    Shape:
        ``(batch, ...)`` with ``inputs`` numbers an example, to ``(batch, classes)``.

    Raises:
        ArgumentError: a size is not from 1 on, or the activation is unknown.
        ShapeError: an example has another number of numbers.

    Example:
        >>> import thalweg as tw
        >>> tw.models.MLP(784, (30,), activation="sigmoid")(tw.zeros((5, 28, 28))).shape
        (5, 10)

    D. E. Rumelhart, G. E. Hinton and R. J. Williams, doi:10.1038/323533a0.
    """

    def __init__(
        self,
        inputs: int = 784,
        hidden: Sequence[int] = (300, 100),
        classes: int = 10,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        for size in (inputs, classes, *hidden):
            positive("MLP", size=size)
        self.inputs, self.hidden, self.classes = inputs, tuple(hidden), classes
        self.activation, self.dropout = activation, dropout
        super().__init__(*dense_layers((inputs, *hidden, classes), activation, dropout))

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        x = tw.asarray(x)
        return super().forward(tw.flatten(x, 1) if x.ndim > 2 else x)


def activation_layer(name: str) -> nn.Module:
    """Return a new activation layer for the name of its function, as weights' hints have it.

    Raises:
        ArgumentError: no layer has this name.

    >>> activation_layer("leaky_relu")
    LeakyReLU(negative_slope=0.01)
    """
    layers = [k for k in vars(nn).values() if isinstance(k, type) and issubclass(k, nn.Activation)]
    kinds = {kind.name: kind for kind in layers if kind.name}
    if name not in kinds:
        raise ArgumentError(
            f"the activation {name!r} is unknown; {nearest(name, kinds)}. {where()}"
        )
    return kinds[name]()


def dense_layers(
    sizes: Sequence[int], activation: str, dropout: float = 0.0, last: str | None = None
) -> list[nn.Module]:
    """Return linear layers between ``sizes``, each but the last with activation and dropout.

    ``last``: name of the activation after the last layer; None for none.

    >>> dense_layers((4, 3, 2), "tanh")
    [Linear(in_features=4, out_features=3), Tanh(), Linear(in_features=3, out_features=2)]
    """
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(sizes), 2):
        layers.append(nn.Linear(before, after))
        if number < len(sizes):
            layers.append(activation_layer(activation))
            if dropout:
                layers.append(nn.Dropout(dropout))
        elif last is not None:
            layers.append(activation_layer(last))
    return layers
