"""GPT-2: a causal Transformer that predicts the next token of a text."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.models.generation import (
    Sessions,
    as_tokens,
    check_sampling,
    evaluating,
    feed,
    roomy,
    sample,
)
from thalweg.models.registry import register
from thalweg.nn.initializers import normal
from thalweg.nn.layers import positive
from thalweg.tensor.tensor import Tensor

__all__ = ["GPT2", "gpt2_large", "gpt2_medium", "gpt2_xl"]

Array = np.ndarray[Any, Any]
PAPER: Final = "A. Radford et al., Language models are unsupervised multitask learners (2019)"
SMALL: Final = {"vocabulary": 20, "context": 12, "layers": 2, "heads": 2, "width": 16,
                "dropout": 0.0}  # fmt: skip
# The published names of a block's parameters; published weights are (in, out), as here.
_NAMES: Final = {
    "norm1": "ln_1", "self_attn.in_proj_": "attn.c_attn.", "self_attn.out_proj": "attn.c_proj",
    "norm2": "ln_2", "linear1": "mlp.c_fc", "linear2": "mlp.c_proj",
}  # fmt: skip


@register(
    "gpt2", paper=PAPER, parameters=124_439_808, flops=291_648_307_200, inputs=((1024,),),
    task="next token", dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
class GPT2(nn.Module):
    r"""GPT-2; the default is the smallest, with 124,439,808 parameters.

    Pre-norm Transformer layers with causal attention and the GELU by tanh, over the sum of token
    and position vectors. The logits are products with the token vectors (tied embeddings). Initial
    weights are normal with standard deviation 0.02; those whose result is added to a residual are
    divided by ``sqrt(2 * layers)``.

    ============ ====== ===== ===== =============
    name         layers heads width parameters
    ============ ====== ===== ===== =============
    gpt2             12    12   768   124,439,808
    gpt2_medium      24    16  1024   354,823,168
    gpt2_large       36    20  1280   774,030,080
    gpt2_xl          48    25  1600 1,557,611,200
    ============ ====== ===== ===== =============

    ``nn.from_torch`` loads published weights (``wte.weight``, ``h.0.attn.c_attn.weight`` and so
    on); with ``strict=False`` where the file holds the masks too.

    Args:
        vocabulary: tokens.
        context: the longest sequence.
        layers, heads, width: of the Transformer.
        dropout: probability of dropout everywhere.
        kv_heads: heads of keys and values; as many as ``heads`` if left out.

    Shape:
        token numbers ``(batch, length)`` to logits ``(batch, length, vocabulary)``.

    Raises:
        ArgumentError: a size is not from 1 on, or heads do not divide the width.
        ShapeError: a sequence longer than the context.
        DataError: a token outside of the vocabulary.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.gpt import GPT2
        >>> model = GPT2(vocabulary=65, context=32, layers=2, heads=2, width=16)
        >>> model(tw.tensor([[1, 2, 3]])).shape
        (1, 3, 65)
        >>> model.generate([1, 2, 3], 4, temperature=0).shape
        (7,)

    A. Radford et al., "Language models are unsupervised multitask learners" (2019).
    """

    def __init__(
        self, vocabulary: int = 50_257, context: int = 1024, layers: int = 12, heads: int = 12,
        width: int = 768, dropout: float = 0.1, kv_heads: int | None = None,
    ) -> None:  # fmt: skip
        positive("GPT2", vocabulary=vocabulary, context=context, layers=layers, width=width)
        self.vocabulary, self.context, self.layers = vocabulary, context, layers
        self.heads, self.width, self.dropout, self.kv_heads = heads, width, dropout, kv_heads
        small = functools.partial(normal, std=0.02)
        residual = functools.partial(normal, std=0.02 / math.sqrt(2 * layers))
        self.wte = nn.Embedding(vocabulary, width, weight_init=small)
        self.wpe = nn.LearnedPositions(context, width, weight_init=small)
        self.drop = nn.Dropout(dropout)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu_tanh", norm_first=True, causal=True,
            kv_heads=kv_heads, weight_init=small, out_init=residual,
        )  # fmt: skip
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width))
        self._sessions = Sessions()

    def forward(
        self, ids: Any, lengths: Any = None, caches: Sequence[nn.KVCache] | None = None
    ) -> Tensor:
        """Return the logits of the token after each token."""
        logits: Tensor = self.hidden(ids, lengths, caches) @ self.wte.weight.T
        return logits

    def hidden(
        self, ids: Any, lengths: Any = None, caches: Sequence[nn.KVCache] | None = None
    ) -> Tensor:
        """Return the last layer's vectors, (batch, length, width)."""
        shape = np.shape(ids)
        if len(shape) != 2:
            raise ShapeError(
                f"GPT2: got token numbers of shape {shape}, wanted (batch, length); give a single "
                f"text a batch axis of size 1. {where()}"
            )
        if shape[1] > self.context:
            raise ShapeError(
                f"GPT2: got {shape[1]} tokens, the context holds {self.context}; shorten the text, "
                f"or make the model with a larger context. {where()}"
            )
        start = None if caches is None else caches[0].position
        x = self.drop(self.wpe(self.wte(ids), start))
        y: Tensor = self.blocks(x, lengths=lengths, caches=caches)
        return y

    def generate(
        self, prompt_ids: Any, new_tokens: int, temperature: float = 1.0,
        top_k: int | None = None, top_p: float | None = None, seed: int = 0,
    ) -> Array:  # fmt: skip
        """Return prompts continued by so many tokens, each drawn by its predicted probability.

        The step is compiled once for a batch size and a range of lengths, and keys and values of
        earlier tokens are cached.

        Args:
            prompt_ids: token numbers ``(length,)`` or ``(batch, length)``.
            new_tokens: how many to add.
            temperature: divides the logits; 0 takes the likeliest token.
            top_k: only so many of the likeliest tokens are drawn.
            top_p: only the fewest likeliest tokens whose probabilities add up to this are drawn.
            seed: the same seed gives the same text.

        Raises:
            ArgumentError: an option outside of its values.
            ShapeError: prompt and new tokens are more than the context.
            DTypeError: a prompt that is not made of token numbers.
        """
        tokens = as_tokens("GPT2.generate", prompt_ids)
        check_sampling("GPT2.generate", temperature, top_k, top_p)
        batch, length = tokens.shape
        if new_tokens < 0:
            raise ArgumentError(
                f"GPT2.generate: new_tokens must be from 0 on, got {new_tokens}. {where()}"
            )
        if length + new_tokens > self.context:
            raise ShapeError(
                f"GPT2.generate: {length} tokens and {new_tokens} new ones are more than the "
                f"context of {self.context}; ask for fewer, or cut the prompt. {where()}"
            )
        draws = tw.random.uniform((max(new_tokens, 1), batch), key=tw.random.key(seed)).numpy()
        made = [tokens]
        with evaluating(self):
            capacity = roomy(length + new_tokens, self.context)
            step, caches = self._sessions.get(
                (batch, capacity), lambda: self._session(batch, capacity)
            )
            for cache in caches:
                cache.reset()
            for i in range(new_tokens):
                chosen = sample(feed(step, made[-1]), draws[i], temperature, top_k, top_p)
                made.append(chosen[:, None])
        text = np.concatenate(made, axis=1)
        return text[0] if np.ndim(prompt_ids) == 1 else text

    def _session(
        self, batch: int, capacity: int
    ) -> tuple[Callable[[Array], Any], list[nn.KVCache]]:
        caches = self.blocks.new_caches(batch, capacity)

        def step(ids: Any) -> Any:
            last = self.hidden(ids, caches=caches)[:, -1]
            return last @ self.wte.weight.T

        return tw.compile(step), caches

    def arguments(self) -> str:
        """Return the sizes."""
        return (f"{self.vocabulary}, {self.context}, layers={self.layers}, heads={self.heads}, "
                f"width={self.width}")  # fmt: skip

    @property
    def torch_aliases(self) -> dict[str, str]:
        """Return the names with the prefix that a file with the language model's head has."""
        return {f"transformer.{k}": k for k in self._published()}

    def to_torch_state(self) -> dict[str, Array]:
        """Return the parameters under the published names and in the published layout."""
        return {k: p.numpy() for k, p in self._published().items()}

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take parameters under the published names and in the published layout."""
        for name, parameter in self._published().items():
            parameter.assign(np.asarray(state[name]))

    def _published(self) -> dict[str, nn.Parameter]:
        renamed = {}
        for path, parameter in self.parameters().items():
            name = path.replace("blocks.norm", "ln_f").replace("blocks.layers.", "h.")
            if name.startswith("h."):
                number, rest = name[2:].split(".", 1)
                for ours, theirs in _NAMES.items():
                    rest = theirs + rest.removeprefix(ours) if rest.startswith(ours) else rest
                name = f"h.{number}.{rest}"
            renamed[name] = parameter
        return renamed


@register(
    "gpt2_medium", paper=PAPER, parameters=354_823_168, flops=826_951_073_792, inputs=((1024,),),
    task="next token", dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
def gpt2_medium(**options: Any) -> GPT2:
    """Return GPT-2 of 24 layers, 354,823,168 parameters.

    >>> gpt2_medium(vocabulary=5, context=4, layers=1, heads=1, width=4).layers
    1
    """
    return GPT2(**{"layers": 24, "heads": 16, "width": 1024} | options)


@register(
    "gpt2_large", paper=PAPER, parameters=774_030_080, flops=1_774_570_700_800, inputs=((1024,),),
    task="next token", dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
def gpt2_large(**options: Any) -> GPT2:
    """Return GPT-2 of 36 layers, 774,030,080 parameters.

    >>> gpt2_large(vocabulary=5, context=4, layers=1, heads=1, width=4).layers
    1
    """
    return GPT2(**{"layers": 36, "heads": 20, "width": 1280} | options)


@register(
    "gpt2_xl", paper=PAPER, parameters=1_557_611_200, flops=3_506_703_564_800, inputs=((1024,),),
    task="next token", dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
def gpt2_xl(**options: Any) -> GPT2:
    """Return GPT-2 of 48 layers, 1,557,611,200 parameters.

    >>> gpt2_xl(vocabulary=5, context=4, layers=1, heads=1, width=4).layers
    1
    """
    return GPT2(**{"layers": 48, "heads": 25, "width": 1600} | options)
