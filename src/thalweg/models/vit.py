"""Vision Transformer: an image as a sequence of patches, read by a Transformer encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.models.registry import register
from thalweg.nn.layers import new_parameter, positive
from thalweg.tensor.tensor import Tensor

__all__ = ["ViT", "vit_small", "vit_tiny"]

Array = np.ndarray[Any, Any]
PAPER: Final = (
    "A. Dosovitskiy et al., An image is worth 16x16 words: Transformers for image recognition at "
    "scale (2020), arXiv:2010.11929"
)
SMALLER: Final = (
    "H. Touvron et al., Training data-efficient image transformers and distillation through "
    "attention (2020), arXiv:2012.12877"
)
_SMALL: Final = {"image_size": 8, "patch_size": 4, "width": 16, "layers": 2, "heads": 2,
                 "classes": 3}  # fmt: skip
_IMAGE: Final = ((224, 224, 3),)
# torchvision's names of a layer's parts.
_NAMES: Final = {
    "norm1": "ln_1", "self_attn": "self_attention", "norm2": "ln_2", "linear1": "mlp.0",
    "linear2": "mlp.3",
}  # fmt: skip


@register(
    "vit_base", paper=PAPER, parameters=86_567_656, flops=35_127_656_448, inputs=_IMAGE,
    small=_SMALL, small_inputs=((8, 8, 3),),
)  # fmt: skip
class ViT(nn.Module):
    """Vision Transformer; the default is ViT-B/16, with 86,567,656 parameters at 1000 classes.

    Patches become vectors, a learned class vector comes before them, learned positions are added;
    after pre-norm Transformer layers the class vector is classified. ViT-S/16 has 22,050,664
    parameters, ViT-Ti/16 5,717,416. ``nn.from_torch`` loads torchvision's weights.

    Args:
        image_size, patch_size: heights and widths, or one number for both.
        width, layers, heads: of the Transformer; the feed-forward part has ``ffn`` units, 4 times
            the width if left out.
        classes: outputs.
        channels: of the images.
        dropout: probability of dropout everywhere.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, classes)``.

    Raises:
        ArgumentError: patches that do not divide the image, or heads the width.
        ShapeError: the images have another shape.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.vit import ViT
        >>> model = ViT(image_size=32, patch_size=4, width=48, layers=2, heads=3, classes=10)
        >>> model(tw.zeros((2, 32, 32, 3))).shape
        (2, 10)

    A. Dosovitskiy et al., arXiv:2010.11929.
    """

    def __init__(
        self, image_size: int | Sequence[int] = 224, patch_size: int | Sequence[int] = 16,
        width: int = 768, layers: int = 12, heads: int = 12, ffn: int | None = None,
        classes: int = 1000, channels: int = 3, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        positive("ViT", width=width, layers=layers, heads=heads, classes=classes)
        self.width, self.layers, self.heads, self.ffn = width, layers, heads, ffn
        self.classes, self.channels, self.dropout = classes, channels, dropout
        self.patches = nn.PatchEmbedding(image_size, patch_size, channels, width,
                                         weight_init="lecun_normal")  # fmt: skip
        self.image_size, self.patch_size = self.patches.image_size, self.patches.patch_size
        self.class_token = new_parameter((1, 1, width), "float32")
        self.positions = nn.LearnedPositions(self.patches.patches + 1, width)
        self.drop = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width if ffn is None else ffn, dropout, "gelu", norm_first=True,
            eps=1e-6, weight_init="glorot_uniform", out_init="glorot_uniform",
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width, 1e-6))
        self.head = nn.Linear(width, classes, weight_init="zeros")

    def draw(self, key: Any) -> None:
        """Set the class vector to 0."""
        self.class_token.assign(np.zeros(self.class_token.shape, self.class_token.dtype.numpy))

    def forward(self, x: Any) -> Tensor:
        """Return the logits."""
        y: Tensor = self.head(self.features(x))
        return y

    def features(self, x: Any) -> Tensor:
        """Return one vector for each image, (batch, width)."""
        x = self.patches(x)
        first = tw.broadcast_to(self.class_token, (x.shape[0], 1, self.width))
        y: Tensor = self.encoder(self.drop(self.positions(tw.concatenate([first, x], 1))))[:, 0]
        return y

    def arguments(self) -> str:
        """Return the sizes."""
        return (f"{self.image_size}, {self.patch_size}, width={self.width}, layers={self.layers}, "
                f"heads={self.heads}, classes={self.classes}")  # fmt: skip

    def to_torch_state(self) -> dict[str, Array]:
        """Return the parameters under torchvision's names and in its layouts."""
        state = {"class_token": self.class_token.numpy(),
                 "encoder.pos_embedding": self.positions.weight.numpy()[None]}  # fmt: skip
        for layer, rename in self._parts():
            state |= {rename(k): v for k, v in nn.to_torch(layer).items()}
        return state

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take parameters under torchvision's names and in its layouts."""
        self.class_token.assign(np.asarray(state["class_token"]))
        self.positions.weight.assign(np.asarray(state["encoder.pos_embedding"])[0])
        for layer, rename in self._parts():
            nn.from_torch(layer, {k: state[rename(k)] for k in nn.to_torch(layer)})

    def _parts(self) -> list[tuple[nn.Module, Any]]:
        """Return the layers, and for each how torchvision calls an entry of it."""

        def in_encoder(name: str) -> str:
            if name.startswith("norm."):
                return "encoder.ln." + name.removeprefix("norm.")
            _, number, part, rest = name.split(".", 3)
            return f"encoder.layers.encoder_layer_{number}.{_NAMES[part]}.{rest}"

        return [
            (self.patches, lambda name: "conv_" + name),
            (self.encoder, in_encoder),
            (self.head, lambda name: "heads.head." + name),
        ]


@register(
    "vit_small", paper=SMALLER, parameters=22_050_664, flops=9_197_764_608, inputs=_IMAGE,
    small=_SMALL, small_inputs=((8, 8, 3),),
)  # fmt: skip
def vit_small(**options: Any) -> ViT:
    """Return ViT-S/16: width 384, 6 heads, 22,050,664 parameters.

    >>> vit_small(image_size=8, patch_size=4, width=4, layers=1, heads=1).layers
    1
    """
    return ViT(**({"width": 384, "heads": 6} | options))


@register(
    "vit_tiny", paper=SMALLER, parameters=5_717_416, flops=2_507_366_400, inputs=_IMAGE,
    small=_SMALL, small_inputs=((8, 8, 3),),
)  # fmt: skip
def vit_tiny(**options: Any) -> ViT:
    """Return ViT-Ti/16: width 192, 3 heads, 5,717,416 parameters.

    >>> vit_tiny(image_size=8, patch_size=4, width=4, layers=1, heads=1).layers
    1
    """
    return ViT(**({"width": 192, "heads": 3} | options))
