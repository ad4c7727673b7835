"""Autoencoders: dense, sparse, denoising and convolutional; each learns to rebuild its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, where
from thalweg.models.images import FlattenChannelsFirst, check_image, with_channel_axis
from thalweg.models.mlp import activation_layer, dense_layers
from thalweg.models.noise import NormalNoise
from thalweg.models.registry import register
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["Autoencoder", "ConvAutoencoder", "DenoisingAutoencoder", "SparseAutoencoder",
           "sparse_loss"]  # fmt: skip

DENSE: Final = (
    "G. E. Hinton and R. R. Salakhutdinov, Reducing the dimensionality of data with neural "
    "networks (2006), doi:10.1126/science.1127647"
)
CONVOLUTIONAL: Final = (
    "J. Masci et al., Stacked convolutional auto-encoders for hierarchical feature extraction "
    "(2011), doi:10.1007/978-3-642-21735-7_7"
)
DENOISING: Final = (
    "P. Vincent et al., Extracting and composing robust features with denoising autoencoders "
    "(2008), doi:10.1145/1390156.1390294"
)
SPARSE: Final = "A. Ng, Sparse autoencoder, CS294A lecture notes (2011)"
_SMALL: Final = {"inputs": 12, "hidden": (8,), "code": 3}


@register(
    "autoencoder", paper=DENSE, parameters=2_837_314, flops=5_666_000, inputs=((784,),),
    task="reconstruction", small=_SMALL, small_inputs=((12,),),
)  # fmt: skip
class Autoencoder(nn.Module):
    """A dense autoencoder: fewer and fewer units down to the code, and the same sizes back up.

    The default is the deep autoencoder 784-1000-500-250-30 of the paper, with 2,837,314 parameters.
    The code is linear. Axes after the batch are joined, and the reconstruction has them again.

    Args:
        inputs: numbers in one example.
        hidden: units of the encoder's layers; the decoder's are the same, turned round.
        code: numbers in the code.
        activation: name of the activation after each hidden layer.
        output: name of the activation of the reconstruction: ``"sigmoid"`` for values from 0 to 1,
            ``"identity"`` for any.

    Shape:
        ``(batch, ...)`` with ``inputs`` numbers an example, to the same.

    Raises:
        ArgumentError: a size is not from 1 on, or an activation is unknown.
        ShapeError: an example has another number of numbers.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.Autoencoder(784, (64,), code=2)
        >>> model.encode(tw.zeros((5, 28, 28))).shape, model(tw.zeros((5, 28, 28))).shape
        ((5, 2), (5, 28, 28))

    G. E. Hinton and R. R. Salakhutdinov, doi:10.1126/science.1127647.
    """

    def __init__(
        self,
        inputs: int = 784,
        hidden: Sequence[int] = (1000, 500, 250),
        code: int = 30,
        activation: str = "relu",
        output: str = "sigmoid",
    ) -> None:
        for size in (inputs, code, *hidden):
            positive(type(self).__name__, size=size)
        self.inputs, self.hidden, self.code = inputs, tuple(hidden), code
        self.activation, self.output = activation, output
        sizes = (inputs, *hidden, code)
        last = None if output == "identity" else output
        self.encoder = nn.Sequential(*dense_layers(sizes, activation))
        self.decoder = nn.Sequential(*dense_layers(sizes[::-1], activation, last=last))

    def encode(self, x: Any) -> Tensor:
        """Return the codes: ``(batch, ...)`` to ``(batch, code)``."""
        x = tw.asarray(x)
        codes: Tensor = self.encoder(tw.flatten(x, 1) if x.ndim > 2 else x)
        return codes

    def decode(self, codes: Any) -> Tensor:
        """Return the reconstructions: ``(batch, code)`` to ``(batch, inputs)``."""
        made: Tensor = self.decoder(codes)
        return made

    def forward(self, x: Any) -> Any:
        """Return the reconstruction, in the shape of the input."""
        x = tw.asarray(x)
        return tw.reshape(self.decode(self.encode(x)), x.shape)


@register(
    "denoising_autoencoder", paper=DENOISING, parameters=2_837_314, flops=5_666_000,
    inputs=((784,),), task="reconstruction", small=_SMALL, small_inputs=((12,),),
)  # fmt: skip
class DenoisingAutoencoder(Autoencoder):
    r"""An autoencoder that is given damaged examples in training, to rebuild the whole ones.

    .. math:: \hat{x} = d(e(x + \sigma z)), \quad z \sim N(0, 1)

    Or, with ``kind="mask"``, each number is set to 0 with probability ``noise``, as in the paper.
    In evaluation nothing is added. The loss compares with the example itself:
    ``losses.mse(model(x), x)``.

    Args:
        inputs, hidden, code, activation, output: as for ``Autoencoder``.
        noise: standard deviation of the noise, or the probability of setting a number to 0.
        kind: ``"normal"`` or ``"mask"``.

    Shape:
        ``(batch, ...)`` with ``inputs`` numbers an example, to the same.

    Raises:
        ArgumentError: ``noise`` is below 0 (or above 1 for a mask), or ``kind`` is neither.

    Example:
        >>> import thalweg as tw
        >>> tw.models.DenoisingAutoencoder(4, (3,), 2, noise=0.1)(tw.zeros((5, 4))).shape
        (5, 4)

    P. Vincent et al., doi:10.1145/1390156.1390294.
    """

    def __init__(
        self,
        inputs: int = 784,
        hidden: Sequence[int] = (1000, 500, 250),
        code: int = 30,
        activation: str = "relu",
        output: str = "sigmoid",
        noise: float = 0.3,
        kind: str = "normal",
    ) -> None:
        if kind not in ("normal", "mask") or noise < 0 or (kind == "mask" and noise > 1):
            raise ArgumentError(
                f"DenoisingAutoencoder: got noise {noise!r} of kind {kind!r}; wanted 'normal' with "
                f"a standard deviation from 0 on, or 'mask' with a probability. {where()}"
            )
        super().__init__(inputs, hidden, code, activation, output)
        self.noise, self.kind = noise, kind
        self.source = NormalNoise() if kind == "normal" else nn.Dropout(noise)

    def damage(self, x: Tensor) -> Tensor:
        """Return the examples with noise, in training; else as they are."""
        if not self.training or not self.noise:
            return x
        if self.kind == "normal":
            noisy: Tensor = x + self.noise * self.source(x)
            return noisy
        masked: Tensor = self.source(x) * (1 - self.noise)  # dropout scales up; a mask does not
        return masked

    def forward(self, x: Any) -> Any:
        """Return the reconstruction, in the shape of the input."""
        x = tw.asarray(x)
        return tw.reshape(self.decode(self.encode(self.damage(x))), x.shape)


@register(
    "sparse_autoencoder", paper=SPARSE, parameters=308_308, flops=614_656, inputs=((784,),),
    task="reconstruction", small={"inputs": 12, "code": 6}, small_inputs=((12,),),
)  # fmt: skip
class SparseAutoencoder(Autoencoder):
    """An autoencoder whose code has units that are mostly off; ``sparse_loss`` makes them so.

    One hidden layer of sigmoid units, the code, 784-196-784 by default: 308,308 parameters.

    Args:
        inputs: numbers in one example.
        code: numbers in the code; it may have more than the example.
        output: name of the activation of the reconstruction.

    Shape:
        ``(batch, ...)`` to the reconstruction of that shape and the code ``(batch, code)``.

    Raises:
        ArgumentError: a size is not from 1 on, or the activation is unknown.

    Example:
        >>> import thalweg as tw
        >>> rebuilt, code = tw.models.SparseAutoencoder(4, code=8)(tw.zeros((5, 4)))
        >>> rebuilt.shape, code.shape
        ((5, 4), (5, 8))

    A. Ng, "Sparse autoencoder", CS294A lecture notes (2011).
    """

    def __init__(self, inputs: int = 784, code: int = 196, output: str = "sigmoid") -> None:
        super().__init__(inputs, (), code, "sigmoid", output)
        self.encoder.append(nn.Sigmoid())

    def forward(self, x: Any) -> Any:
        """Return the reconstruction, in the shape of the input, and the code."""
        x = tw.asarray(x)
        code = self.encode(x)
        return tw.reshape(self.decode(code), x.shape), code


def sparse_loss(
    outputs: tuple[Tensor, Tensor], targets: Any, sparsity: float = 0.05, weight: float = 0.1
) -> Tensor:
    r"""Mean squared error, plus how far the mean activity of each code unit is from ``sparsity``.

    .. math:: MSE + \beta \sum_j \rho \log \frac{\rho}{\hat\rho_j}
              + (1 - \rho) \log \frac{1 - \rho}{1 - \hat\rho_j}

    where :math:`\hat\rho_j` is the mean of unit j over the batch.

    Args:
        outputs: what a ``SparseAutoencoder`` returns: reconstruction and code.
        targets: the examples.
        sparsity: the mean activity that is wanted, between 0 and 1.
        weight: of the penalty.

    Raises:
        ArgumentError: ``sparsity`` is not between 0 and 1.
        ShapeError: examples and reconstruction have different shapes.

    Example:
        >>> import thalweg as tw
        >>> x = tw.zeros((2, 3))
        >>> float(sparse_loss((x, tw.full((2, 4), 0.05)), x))
        0.0

    A. Ng, "Sparse autoencoder", CS294A lecture notes (2011).
    """
    if not 0 < sparsity < 1:
        raise ArgumentError(
            f"sparse_loss: sparsity is a share between 0 and 1, got {sparsity!r}. {where()}"
        )
    rebuilt, code = outputs
    active = tw.clip(tw.mean(code, axis=0), 1e-6, 1 - 1e-6)  # log(0) where a unit is always off
    on = sparsity * tw.log(sparsity / active)
    off = (1 - sparsity) * tw.log((1 - sparsity) / (1 - active))
    total: Tensor = nn.losses.mse(rebuilt, targets) + weight * tw.sum(on + off)
    return total


@register(
    "convolutional_autoencoder", paper=CONVOLUTIONAL, parameters=46_203, flops=1_473_920,
    inputs=((28, 28, 1),), task="reconstruction", small={"width": 4, "code": 5, "size": 8},
    small_inputs=((8, 8, 1),),
)  # fmt: skip
class ConvAutoencoder(nn.Module):
    """An autoencoder of images: convolutions of stride 2 down, transposed ones back up.

    Args:
        size: height and width of the images, divisible by 4.
        channels: of the images.
        width: channels after the first convolution; twice as many after the second.
        code: numbers in the code.
        activation: name of the activation between the layers.

    Shape:
        ``(batch, size, size, channels)`` to the same; the axis of one channel may be missing.

    Raises:
        ArgumentError: ``size`` is not divisible by 4, or a size is not from 1 on.
        ShapeError: the images have another shape.

    Example:
        >>> import thalweg as tw
        >>> model = tw.models.ConvAutoencoder(8, width=4, code=3)
        >>> model.encode(tw.zeros((5, 8, 8, 1))).shape, model(tw.zeros((5, 8, 8, 1))).shape
        ((5, 3), (5, 8, 8, 1))

    J. Masci et al., doi:10.1007/978-3-642-21735-7_7.
    """

    def __init__(
        self,
        size: int = 28,
        channels: int = 1,
        width: int = 16,
        code: int = 10,
        activation: str = "relu",
    ) -> None:
        positive("ConvAutoencoder", size=size, channels=channels, width=width, code=code)
        if size % 4:
            raise ArgumentError(
                f"ConvAutoencoder: size {size} must be divisible by 4, since it is halved twice; "
                f"pad or scale the images. {where()}"
            )
        self.size, self.channels, self.width = size, channels, width
        self.code, self.activation = code, activation
        side, deep = size // 4, 2 * width
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1), activation_layer(activation),
            nn.Conv2d(width, deep, 3, stride=2, padding=1), activation_layer(activation),
            FlattenChannelsFirst(), nn.Linear(side * side * deep, code),
        )  # fmt: skip
        self.expand = nn.Linear(code, side * side * deep, activation_hint=activation)
        self.decoder = nn.Sequential(
            activation_layer(activation),
            nn.ConvTranspose2d(deep, width, 4, stride=2, padding=1), activation_layer(activation),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def encode(self, x: Any) -> Tensor:
        """Return the codes: ``(batch, size, size, channels)`` to ``(batch, code)``."""
        x = with_channel_axis(x)
        check_image("ConvAutoencoder", x, (self.size, self.size, self.channels))
        codes: Tensor = self.encoder(x)
        return codes

    def decode(self, codes: Any) -> Tensor:
        """Return the images for codes: ``(batch, code)`` to ``(batch, size, size, channels)``."""
        side = self.size // 4
        spread = tw.reshape(self.expand(codes), (-1, 2 * self.width, side, side))
        images: Tensor = self.decoder(tw.moveaxis(spread, 1, -1))
        return images

    def forward(self, x: Any) -> Any:
        """Return the reconstruction, in the shape of the input."""
        x = tw.asarray(x)
        return tw.reshape(self.decode(self.encode(x)), x.shape)
