"""Transformer layers, their stacks, and images as sequences of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.nn import initializers
from thalweg.nn.activations import get_activation
from thalweg.nn.attention import KVCache, MultiHeadAttention
from thalweg.nn.dropout import Dropout
from thalweg.nn.inputs import label, node_of
from thalweg.nn.layers import Linear, positive
from thalweg.nn.module import Module
from thalweg.nn.normalization import LayerNorm
from thalweg.nn.positions import RotaryEmbedding
from thalweg.ops import movement as mv
from thalweg.tensor.tensor import Tensor, finish

Array = np.ndarray[Any, Any]


class _TransformerLayer(Module):
    """What encoder and decoder layers share: self-attention and the feed-forward part."""

    def _build(
        self, norms: int, embed_dim: int, heads: int, ffn_dim: int, dropout: float,
        activation: str, norm_first: bool, eps: float, bias: bool, causal: bool,
        kv_heads: int | None, rotary: bool | RotaryEmbedding,
        weight_init: initializers.Like | None, out_init: initializers.Like | None, dtype: Any,
    ) -> None:  # fmt: skip
        positive(type(self).__name__, embed_dim=embed_dim, heads=heads, ffn_dim=ffn_dim)
        get_activation(activation)
        self.embed_dim, self.heads, self.ffn_dim = int(embed_dim), int(heads), int(ffn_dim)
        self.dropout, self.activation, self.norm_first = dropout, activation, bool(norm_first)
        self.eps, self.bias, self.causal = eps, bool(bias), bool(causal)
        self.weight_init, self.out_init = weight_init, out_init
        self.self_attn = MultiHeadAttention(
            embed_dim, heads, kv_heads, dropout, bias, causal, rotary,
            weight_init=weight_init, out_init=out_init, dtype=dtype,
        )  # fmt: skip
        if norms == 3:
            self.multihead_attn = MultiHeadAttention(
                embed_dim, heads, kv_heads, dropout, bias,
                weight_init=weight_init, out_init=out_init, dtype=dtype,
            )  # fmt: skip
        self.linear1 = Linear(embed_dim, ffn_dim, bias, activation_hint=activation,
                              weight_init=weight_init, dtype=dtype)  # fmt: skip
        self.linear2 = Linear(ffn_dim, embed_dim, bias, weight_init=out_init, dtype=dtype)
        for i in range(1, norms + 1):
            setattr(self, f"norm{i}", LayerNorm(embed_dim, eps, bias=bias, dtype=dtype))
        self.inner_dropout = Dropout(dropout)
        for i in range(1, norms + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))

    @property
    def kv_heads(self) -> int:
        """Heads of the keys and values in self-attention."""
        return self.self_attn.kv_heads

    @property
    def rotary(self) -> RotaryEmbedding | bool:
        """The rotary positions of self-attention, or False."""
        return self.self_attn.rotary or False

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """Return an empty cache for the self-attention; see ``KVCache``."""
        return self.self_attn.new_cache(batch, capacity)

    def _add(self, x: Tensor, number: int, part: Any) -> Tensor:
        """Return the input plus a part of it, normalised before the part or after the sum."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(part(norm(x)))  # type: ignore[no-any-return]
        return norm(x + dropout(part(x)))  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = get_activation(self.activation)(self.linear1(x))
        return self.linear2(self.inner_dropout(hidden))  # type: ignore[no-any-return]

    def arguments(self) -> str:
        """Return the sizes and what kind of layer it is."""
        first = ", norm_first=True" if self.norm_first else ""
        return (f"{self.embed_dim}, {self.heads}, ffn_dim={self.ffn_dim}, "
                f"dropout={self.dropout}, activation={self.activation!r}{first}")  # fmt: skip


class TransformerEncoderLayer(_TransformerLayer):
    r"""Self-attention, then two linear layers at each position, both added to their input.

    .. math::
        h = \mathrm{norm}_1(x + \mathrm{attention}(x)), \quad
        y = \mathrm{norm}_2(h + W_2 \, a(W_1 h))

    or, with ``norm_first``, ``h = x + attention(norm1(x))`` and so on, which trains without a
    warm-up of the learning rate. A causal one is the layer of GPT.

    Args:
        embed_dim: features of each element.
        heads, kv_heads, causal, rotary: as for ``MultiHeadAttention``.
        ffn_dim: units between the two linear layers.
        dropout: probability of dropping an attention weight, a hidden unit, or a result.
        activation: name of the activation between the linear layers.
        norm_first: whether to normalise before each part (pre-norm) or after it (post-norm).
        eps: number added to the variance by the norms.
        bias: whether linear layers and norms have biases.
        weight_init, out_init: initialisers of the weights, and of those whose result is added to
            the input; as each layer has them by default if left out.
        dtype: type of the parameters.

    Shape:
        ``(batch, length, embed_dim)`` to the same.

    Raises:
        ArgumentError: heads that do not divide, or an unknown activation.
        ShapeError, DTypeError: as for ``MultiHeadAttention``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.TransformerEncoderLayer(8, 2, ffn_dim=16)(tw.ones((3, 5, 8))).shape
        (3, 5, 8)

    A. Vaswani et al., arXiv:1706.03762; pre-norm: R. Xiong et al., arXiv:2002.04745.
    """

    def __init__(
        self, embed_dim: int, heads: int, ffn_dim: int = 2048, dropout: float = 0.1,
        activation: str = "relu", norm_first: bool = False, eps: float = 1e-5, bias: bool = True,
        causal: bool = False, kv_heads: int | None = None,
        rotary: bool | RotaryEmbedding = False, *,
        weight_init: initializers.Like | None = None, out_init: initializers.Like | None = None,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        self._build(2, embed_dim, heads, ffn_dim, dropout, activation, norm_first, eps, bias,
                    causal, kv_heads, rotary, weight_init, out_init, dtype)  # fmt: skip

    def forward(
        self, x: Any, mask: Any = None, lengths: Any = None, cache: KVCache | None = None
    ) -> Tensor:
        """Return the sequence after attention and feed-forward part."""
        x = _tensor(self, x)
        h = self._add(x, 1, lambda z: self.self_attn(z, mask=mask, lengths=lengths, cache=cache))
        return self._add(h, 2, self._feed_forward)


class TransformerDecoderLayer(_TransformerLayer):
    r"""Self-attention, attention to another sequence, then two linear layers at each position.

    .. math::
        g = \mathrm{norm}_1(x + \mathrm{attention}(x)), \quad
        h = \mathrm{norm}_2(g + \mathrm{attention}(g, m)), \quad
        y = \mathrm{norm}_3(h + W_2 \, a(W_1 h))

    The self-attention is causal unless told otherwise.

    Args:
        embed_dim, heads, ffn_dim, dropout, activation, norm_first, eps, bias, causal, kv_heads,
        rotary, weight_init, out_init, dtype: as for ``TransformerEncoderLayer``; rotary positions
            are those of self-attention.

    Shape:
        ``(batch, length, embed_dim)`` and the memory ``(batch, keys, embed_dim)`` to
        ``(batch, length, embed_dim)``.

    Raises:
        ArgumentError, ShapeError, DTypeError: as for ``TransformerEncoderLayer``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> layer = nn.TransformerDecoderLayer(8, 2, ffn_dim=16)
        >>> layer(tw.ones((3, 5, 8)), tw.ones((3, 4, 8))).shape
        (3, 5, 8)

    A. Vaswani et al., arXiv:1706.03762.
    """

    def __init__(
        self, embed_dim: int, heads: int, ffn_dim: int = 2048, dropout: float = 0.1,
        activation: str = "relu", norm_first: bool = False, eps: float = 1e-5, bias: bool = True,
        causal: bool = True, kv_heads: int | None = None,
        rotary: bool | RotaryEmbedding = False, *,
        weight_init: initializers.Like | None = None, out_init: initializers.Like | None = None,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        self._build(3, embed_dim, heads, ffn_dim, dropout, activation, norm_first, eps, bias,
                    causal, kv_heads, rotary, weight_init, out_init, dtype)  # fmt: skip

    def forward(
        self, x: Any, memory: Any, mask: Any = None, memory_mask: Any = None, lengths: Any = None,
        memory_lengths: Any = None, cache: KVCache | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the sequence after both attentions and the feed-forward part.

        ``mask``, ``lengths`` and ``cache`` are those of self-attention, ``memory_mask`` and
        ``memory_lengths`` those of the attention to the memory.
        """
        x = _tensor(self, x)
        g = self._add(x, 1, lambda z: self.self_attn(z, mask=mask, lengths=lengths, cache=cache))
        h = self._add(
            g, 2,
            lambda z: self.multihead_attn(z, memory, mask=memory_mask, lengths=memory_lengths),
        )  # fmt: skip
        return self._add(h, 3, self._feed_forward)


class _Stack(Module):
    """Copies of one layer, run one after the other, and maybe a norm at the end."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        name = type(self).__name__
        positive(name, num_layers=num_layers)
        if not isinstance(layer, _TransformerLayer):
            raise ArgumentError(
                f"{name}: got {layer!r}, wanted a Transformer layer, of which it makes "
                f"{num_layers} copies. {where()}"
            )
        # Each with initial values of its own: equal ones would never become different enough.
        self.layers = [layer.copy().reset_parameters() for _ in range(num_layers)]
        self.num_layers, self.norm = int(num_layers), norm

    @property
    def layer(self) -> Module:
        """The first layer: what the others are copies of, except for their values."""
        first: Module = self.layers[0]
        return first

    def new_caches(self, batch: int, capacity: int) -> list[KVCache]:
        """Return an empty cache for the self-attention of each layer."""
        return [layer.new_cache(batch, capacity) for layer in self.layers]

    def _caches(self, caches: Sequence[KVCache] | None) -> Sequence[KVCache | None]:
        if caches is None:
            return [None] * len(self.layers)
        if len(caches) != len(self.layers):
            raise ArgumentError(
                f"{label(self)}: got {len(caches)} caches for {len(self.layers)} layers; make "
                f"them with new_caches(batch, capacity). {where()}"
            )
        return caches

    def _ended(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """A stack of encoder layers: copies of one, each with initial values of its own.

    Args:
        layer: the layer to copy.
        num_layers: how many.
        norm: a norm after the last layer; pre-norm layers need one.

    Shape:
        ``(batch, length, embed_dim)`` to the same.

    Raises:
        ArgumentError: not a layer, no copies, or another number of caches than layers.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3)
        >>> encoder(tw.ones((2, 5, 8)), lengths=[5, 3]).shape
        (2, 5, 8)

    A. Vaswani et al., arXiv:1706.03762.
    """

    def forward(
        self, x: Any, mask: Any = None, lengths: Any = None,
        caches: Sequence[KVCache] | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the sequence after all layers; every layer gets the mask and the lengths."""
        for layer, cache in zip(self.layers, self._caches(caches), strict=True):
            x = layer(x, mask, lengths, cache)
        return self._ended(x)


class TransformerDecoder(_Stack):
    """A stack of decoder layers: copies of one, each with initial values of its own.

    Args:
        layer: the layer to copy.
        num_layers: how many.
        norm: a norm after the last layer; pre-norm layers need one.

    Shape:
        ``(batch, length, embed_dim)`` and the memory ``(batch, keys, embed_dim)`` to
        ``(batch, length, embed_dim)``.

    Raises:
        ArgumentError: not a layer, no copies, or another number of caches than layers.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)
        >>> decoder(tw.ones((2, 5, 8)), tw.ones((2, 3, 8))).shape
        (2, 5, 8)

    A. Vaswani et al., arXiv:1706.03762.
    """

    def forward(
        self, x: Any, memory: Any, mask: Any = None, memory_mask: Any = None, lengths: Any = None,
        memory_lengths: Any = None, caches: Sequence[KVCache] | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the sequence after all layers; every layer gets the memory and the masks."""
        for layer, cache in zip(self.layers, self._caches(caches), strict=True):
            x = layer(x, memory, mask, memory_mask, lengths, memory_lengths, cache)
        return self._ended(x)


class PatchEmbedding(Module):
    """Images cut into patches, each mapped to a vector: a sequence, row by row.

    It is a convolution whose stride is the size of its window; the weight is that of a ``Linear``
    over the patch's pixels.

    Args:
        image_size: height and width of the images, or one number for both.
        patch_size: height and width of a patch, or one number for both; they divide the image's.
        channels: of the images.
        embed_dim: size of the vectors.
        bias: whether to add a bias.
        weight_init: initialiser of the weight; Glorot uniform if left out.
        dtype: type of the parameters.

    Shape:
        ``(batch, height, width, channels)`` to ``(batch, patches, embed_dim)``.

    Raises:
        ArgumentError: patches that do not divide the image.
        ShapeError: images of another size or number of channels.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.PatchEmbedding(32, 4, 3, 16)(tw.ones((2, 32, 32, 3))).shape
        (2, 64, 16)

    A. Dosovitskiy et al., arXiv:2010.11929.
    """

    def __init__(
        self, image_size: int | Sequence[int], patch_size: int | Sequence[int], channels: int,
        embed_dim: int, bias: bool = True, *, weight_init: initializers.Like | None = None,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        self.image_size = _pair("PatchEmbedding: image_size", image_size)
        self.patch_size = _pair("PatchEmbedding: patch_size", patch_size)
        positive("PatchEmbedding", channels=channels, embed_dim=embed_dim)
        (height, width), (rows, columns) = self.image_size, self.patch_size
        if height % rows or width % columns:
            raise ArgumentError(
                f"PatchEmbedding: patches of {self.patch_size} do not divide images of "
                f"{self.image_size}; choose sizes that do, or scale the images. {where()}"
            )
        self.channels, self.embed_dim, self.bias = int(channels), int(embed_dim), bool(bias)
        self.weight_init = weight_init
        self.proj = Linear(rows * columns * channels, embed_dim, bias, weight_init=weight_init,
                           dtype=dtype)  # fmt: skip

    @property
    def patches(self) -> int:
        """How many patches an image has."""
        (height, width), (rows, columns) = self.image_size, self.patch_size
        return (height // rows) * (width // columns)

    def forward(self, x: Any) -> Tensor:
        """Return the vectors of the patches."""
        who = label(self)
        node = node_of(x, who)
        (height, width), (rows, columns) = self.image_size, self.patch_size
        wanted = (height, width, self.channels)
        if node.rank != 4 or node.shape[1:] != wanted:
            first = node.shape[1:] == (self.channels, height, width)
            remedy = "they are channels-first: use thalweg.moveaxis(x, 1, -1)" if first else (
                "the batch axis is missing: use x[None]" if node.shape == wanted
                else "scale or pad the images"
            )  # fmt: skip
            raise ShapeError(
                f"{who}: got images of shape {node.shape}, wanted (batch, {height}, {width}, "
                f"{self.channels}); {remedy}. {where()}"
            )
        down, across = height // rows, width // columns
        cut = mv.reshape(node, (-1, down, rows, across, columns, self.channels))
        cut = mv.permute_dims(cut, (0, 1, 3, 2, 4, 5))
        return self.proj(  # type: ignore[no-any-return]
            finish(mv.reshape(cut, (node.shape[0], down * across, rows * columns * self.channels)))
        )

    def to_torch_state(self) -> dict[str, Array]:
        """Return the parameters as those of the equal ``torch.nn.Conv2d``, named ``proj``."""
        state = {k: p.numpy() for k, p in self.parameters().items()}
        weight = state["proj.weight"].reshape(*self.patch_size, self.channels, self.embed_dim)
        return state | {"proj.weight": np.ascontiguousarray(weight.transpose(3, 2, 0, 1))}

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take the parameters of the equal ``torch.nn.Conv2d``."""
        weight = np.asarray(state["proj.weight"]).transpose(2, 3, 1, 0)
        self.proj.weight.assign(np.ascontiguousarray(weight).reshape(self.proj.weight.shape))
        if self.proj.bias is not None:
            self.proj.bias.assign(np.asarray(state["proj.bias"]))

    def arguments(self) -> str:
        """Return the sizes."""
        bias = "" if self.bias else ", bias=False"
        return (f"{self.image_size}, {self.patch_size}, {self.channels}, "
                f"{self.embed_dim}{bias}")  # fmt: skip


def _pair(who: str, given: int | Sequence[int]) -> tuple[int, int]:
    pair = (given, given) if isinstance(given, (int, np.integer)) else tuple(given)
    if len(pair) != 2:
        raise ArgumentError(f"{who} must be one number or two, got {given!r}. {where()}")
    for size in pair:
        positive(who, size=size)
    return int(pair[0]), int(pair[1])


def _tensor(layer: Module, x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else finish(node_of(x, label(layer)))

