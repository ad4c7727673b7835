"""The variational autoencoder: a code that is a distribution, so that new examples can be drawn."""

from __future__ import annotations

from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.models.mlp import dense_layers
from thalweg.models.noise import NormalNoise
from thalweg.models.registry import register
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["VariationalAutoencoder", "variational_loss"]

PAPER: Final = (
    "D. P. Kingma and M. Welling, Auto-encoding variational Bayes (2013), arXiv:1312.6114"
)


@register(
    "variational_autoencoder", paper=PAPER, parameters=815_824, flops=1_628_000, inputs=((784,),),
    task="reconstruction", small={"inputs": 12, "hidden": 8, "code": 2}, small_inputs=((12,),),
)  # fmt: skip
class VariationalAutoencoder(nn.Module):
    r"""An autoencoder whose code is a normal distribution for each example.

    .. math:: z = \mu(x) + e^{\frac{1}{2} \log \sigma^2(x)} \epsilon, \quad \epsilon \sim N(0, 1)

    In training a code is drawn, so that gradients pass through mean and variance (the
    reparametrisation of the paper); in evaluation the mean is taken. The sizes are those of the
    paper's MNIST experiments, 784-500-20, with 815,824 parameters.

    Args:
        inputs: numbers in one example.
        hidden: units of the hidden layer on each side.
        code: numbers in the code.
        activation: name of the activation of the hidden layers.

    Shape:
        ``(batch, ...)`` with ``inputs`` numbers from 0 to 1 an example, to a tuple: the
        reconstruction of that shape, the mean ``(batch, code)`` and the log variance
        ``(batch, code)``.

    Raises:
        ArgumentError: a size is not from 1 on, or the activation is unknown.
        ShapeError: an example has another number of numbers.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.VariationalAutoencoder(4, hidden=8, code=2)
        >>> [y.shape for y in model(tw.zeros((5, 4)))]
        [(5, 4), (5, 2), (5, 2)]
        >>> model.sample(3).shape
        (3, 4)

    D. P. Kingma and M. Welling, arXiv:1312.6114.
    """

    def __init__(
        self, inputs: int = 784, hidden: int = 500, code: int = 20, activation: str = "relu"
    ) -> None:
        positive("VariationalAutoencoder", inputs=inputs, hidden=hidden, code=code)
        self.inputs, self.hidden, self.code = inputs, hidden, code
        self.activation = activation
        # The last activation of the encoder is inside of it: both heads read the same units.
        self.encoder = nn.Sequential(*dense_layers((inputs, hidden), activation, last=activation))
        self.mean = nn.Linear(hidden, code)
        self.log_variance = nn.Linear(hidden, code)
        self.decoder = nn.Sequential(
            *dense_layers((code, hidden, inputs), activation, last="sigmoid")
        )
        self.noise = NormalNoise()

    def encode(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the codes, each ``(batch, code)``."""
        x = tw.asarray(x)
        units = self.encoder(tw.flatten(x, 1) if x.ndim > 2 else x)
        return self.mean(units), self.log_variance(units)

    def decode(self, codes: Any) -> Tensor:
        """Return the examples for codes: ``(batch, code)`` to ``(batch, inputs)``, from 0 to 1."""
        made: Tensor = self.decoder(codes)
        return made

    def sample(self, count: int) -> Tensor:
        """Return new examples, decoded from codes drawn from N(0, 1): ``(count, inputs)``."""
        positive("VariationalAutoencoder.sample", count=count)
        return self.decode(self.noise(tw.zeros((count, self.code), dtype=self.mean.weight.dtype)))

    def forward(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, mean and log variance."""
        x = tw.asarray(x)
        mean, log_variance = self.encode(x)
        code = mean
        if self.training:
            code = mean + tw.exp(0.5 * log_variance) * self.noise(mean)
        return tw.reshape(self.decode(code), x.shape), mean, log_variance


def variational_loss(
    outputs: tuple[Tensor, Tensor, Tensor], targets: Any, weight: float = 1.0
) -> Tensor:
    r"""The negative evidence lower bound, a mean over the batch.

    .. math:: -\sum_i [x_i \log \hat{x}_i + (1 - x_i) \log(1 - \hat{x}_i)]
              - \frac{\beta}{2} \sum_j [1 + \log \sigma_j^2 - \mu_j^2 - \sigma_j^2]

    Args:
        outputs: what a ``VariationalAutoencoder`` returns: reconstruction, mean, log variance.
        targets: the examples, with numbers from 0 to 1.
        weight: beta; 1 is the bound itself, more favours independent codes (I. Higgins et al.,
            beta-VAE, 2017).

    Raises:
        ArgumentError: ``weight`` is below 0.
        ShapeError: examples and reconstruction have different shapes.

    Example:
        >>> import thalweg as tw
        >>> half, code = tw.full((2, 3), 0.5), tw.zeros((2, 4))
        >>> round(float(variational_loss((half, code, code), tw.zeros((2, 3)))), 4)  # 3 log 2
        2.0794

    D. P. Kingma and M. Welling, arXiv:1312.6114, appendix B.
    """
    if weight < 0:
        raise ArgumentError(f"variational_loss: weight is {weight!r}, wanted 0 or more. {where()}")
    rebuilt, mean, log_variance = outputs
    count = rebuilt.shape[0]
    error = nn.losses.binary_cross_entropy(rebuilt, targets, reduction="sum")
    distance = -0.5 * tw.sum(1 + log_variance - tw.square(mean) - tw.exp(log_variance))
    total: Tensor = (error + weight * distance) / count
    return total
