"""BERT: a Transformer encoder of texts, and its heads: masked words, classes, embeddings."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.models.registry import register
from thalweg.nn.initializers import normal
from thalweg.nn.layers import new_parameter, positive
from thalweg.tensor.tensor import Tensor

__all__ = ["BERT", "BERTClassifier", "BERTMaskedLM", "bert_classifier", "bert_large",
           "bert_masked_lm"]  # fmt: skip

Array = np.ndarray[Any, Any]
PAPER: Final = (
    "J. Devlin, M.-W. Chang, K. Lee and K. Toutanova, BERT: Pre-training of deep bidirectional "
    "transformers for language understanding (2018), arXiv:1810.04805"
)
SMALL: Final = {"vocabulary": 20, "width": 16, "layers": 2, "heads": 2, "ffn": 32, "context": 12,
                "dropout": 0.0}  # fmt: skip
LARGE: Final = {"width": 1024, "layers": 24, "heads": 16, "ffn": 4096}
_draw = functools.partial(normal, std=0.02)
# The published names of a layer's parts; queries, keys and values stand apart in the files.
_NAMES: Final = {
    "self_attn.out_proj": "attention.output.dense", "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense", "linear2": "output.dense", "norm2": "output.LayerNorm",
}  # fmt: skip
_PACKED: Final = ("query", "key", "value")


@register(
    "bert", paper=PAPER, parameters=109_482_240, flops=96_636_764_160, inputs=((512,),),
    task="embedding", dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
class BERT(nn.Module):
    """BERT; the default is BERT base (uncased), with 109,482,240 parameters.

    Post-norm Transformer layers with GELU over the sum of token, position and segment vectors.
    BERT large has 335,141,888 parameters. ``nn.from_torch`` loads published weights
    (``embeddings.word_embeddings.weight`` and so on, with or without ``bert.`` before it).

    Args:
        vocabulary: tokens.
        width, layers, heads, ffn: of the Transformer.
        context: the longest sequence.
        segments: kinds of sentences, told apart by the second input.
        dropout: probability of dropout everywhere.
        pooler: whether there is the layer that makes one vector of a text.

    Shape:
        token numbers ``(batch, length)`` to vectors ``(batch, length, width)``.

    Raises:
        ArgumentError: a size is not from 1 on, or heads do not divide the width.
        ShapeError: a sequence longer than the context, or segments or a mask of another shape.
        DataError: a token outside of the vocabulary.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.bert import BERT
        >>> model = BERT(vocabulary=100, width=16, layers=2, heads=2, ffn=32).eval()
        >>> hidden = model(tw.tensor([[5, 6, 7], [8, 9, 0]]), lengths=[3, 2])
        >>> hidden.shape, model.pool(hidden).shape
        ((2, 3, 16), (2, 16))
        >>> model.embed(tw.tensor([[5, 6, 7], [8, 9, 0]]), lengths=[3, 2]).shape
        (2, 16)

    J. Devlin et al., arXiv:1810.04805.
    """

    def __init__(
        self, vocabulary: int = 30_522, width: int = 768, layers: int = 12, heads: int = 12,
        ffn: int = 3072, context: int = 512, segments: int = 2, dropout: float = 0.1,
        pooler: bool = True,
    ) -> None:  # fmt: skip
        positive("BERT", vocabulary=vocabulary, width=width, layers=layers, segments=segments)
        self.vocabulary, self.width, self.layers, self.heads = vocabulary, width, layers, heads
        self.ffn, self.context, self.segments, self.dropout = ffn, context, segments, dropout
        self.words = nn.Embedding(vocabulary, width, weight_init=_draw)
        self.positions = nn.LearnedPositions(context, width, weight_init=_draw)
        self.kinds = nn.Embedding(segments, width, weight_init=_draw)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.drop = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            width, heads, ffn, dropout, "gelu", eps=1e-12, weight_init=_draw, out_init=_draw
        )
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.pooler = bool(pooler)
        self.dense = nn.Linear(width, width, weight_init=_draw) if pooler else None

    def forward(
        self, ids: Any, segments: Any = None, mask: Any = None, lengths: Any = None
    ) -> Tensor:
        """Return the vectors of the last layer.

        ``segments`` (batch, length): the kind of each token, 0 if left out. ``mask`` (batch,
        length): bools or 0 and 1, which tokens count; or ``lengths`` (batch,): how many do.
        """
        shape = tuple(np.shape(ids))
        if len(shape) != 2:
            raise ShapeError(
                f"BERT: got token numbers of shape {shape}, wanted (batch, length); give a single "
                f"text a batch axis of size 1. {where()}"
            )
        for name, given in (("segments", segments), ("mask", mask)):
            if given is not None and tuple(np.shape(given)) != shape:
                raise ShapeError(
                    f"BERT: got {name} of shape {np.shape(given)} for tokens of shape {shape}; "
                    f"they must be equal. {where()}"
                )
        kinds = self.kinds.weight[0] if segments is None else self.kinds(segments)
        x = self.drop(self.norm(self.positions(self.words(ids) + kinds)))
        keep = None if mask is None else tw.expand_dims(tw.asarray(mask) != 0, (1, 2))
        y: Tensor = self.encoder(x, keep, lengths)
        return y

    def pool(self, hidden: Any) -> Tensor:
        """Return one vector for each text: the tanh of a linear layer on its first token.

        Raises:
            ArgumentError: the model was made without a pooler.
        """
        if self.dense is None:
            raise ArgumentError(
                f"BERT: this model has no pooler; make it with pooler=True. {where()}"
            )
        y: Tensor = tw.tanh(self.dense(hidden[:, 0]))
        return y

    def embed(
        self, ids: Any, segments: Any = None, lengths: Any = None, pooling: str = "mean"
    ) -> Tensor:
        """Return one vector for each text, ``(batch, width)``.

        ``pooling``: ``"mean"`` of the vectors of the tokens that count (N. Reimers and I. Gurevych,
        arXiv:1908.10084), ``"first"`` for that of the first token, or ``"pooler"``.

        Raises:
            ArgumentError: another word for pooling.
        """
        if pooling not in ("mean", "first", "pooler"):
            raise ArgumentError(
                f"BERT.embed: pooling is 'mean', 'first' or 'pooler', got {pooling!r}. {where()}"
            )
        hidden = self(ids, segments, lengths=lengths)
        if pooling == "pooler":
            return self.pool(hidden)
        if pooling == "first":
            first: Tensor = hidden[:, 0]
            return first
        if lengths is None:
            mean: Tensor = tw.mean(hidden, axis=1)
            return mean
        count = tw.expand_dims(tw.asarray(lengths), (1, 2))
        places = tw.expand_dims(tw.arange(hidden.shape[1]), -1)
        total = tw.sum(tw.where(places < count, hidden, 0), axis=1)
        y: Tensor = total / tw.astype(tw.maximum(count[:, 0], 1), hidden.dtype)
        return y

    def arguments(self) -> str:
        """Return the sizes."""
        return f"{self.vocabulary}, {self.width}, layers={self.layers}, heads={self.heads}"

    @property
    def torch_aliases(self) -> dict[str, str]:
        """Return other names that published files have for the same entries."""
        names = list(self.to_torch_state())
        old = {k.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): k
               for k in names}  # fmt: skip
        old |= {k: k for k in names}
        return {k: v for k, v in old.items() if k != v} | {f"bert.{k}": v for k, v in old.items()}

    def to_torch_state(self) -> dict[str, Array]:
        """Return the parameters under the published names and in PyTorch's layout."""
        state = {
            "embeddings.word_embeddings.weight": self.words.weight.numpy(),
            "embeddings.position_embeddings.weight": self.positions.weight.numpy(),
            "embeddings.token_type_embeddings.weight": self.kinds.weight.numpy(),
        } | {f"embeddings.LayerNorm.{k}": p.numpy() for k, p in self.norm.parameters().items()}
        for path, parameter in self.encoder.parameters().items():
            _, number, rest = path.split(".", 2)
            value = parameter.numpy()
            value = np.ascontiguousarray(value.T) if value.ndim == 2 else value
            base = f"encoder.layer.{number}."
            kind = rest.rpartition("_" if "in_proj" in rest else ".")[2]
            if "in_proj" in rest:
                for name, part in zip(_PACKED, np.split(value, 3), strict=True):
                    state[f"{base}attention.self.{name}.{kind}"] = part.copy()
            else:
                state[base + _NAMES[rest.rpartition(".")[0]] + "." + kind] = value
        if self.dense is not None:
            state |= {f"pooler.dense.{k}": v for k, v in nn.to_torch(self.dense).items()}
        return state

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take parameters under the published names and in PyTorch's layout."""
        self.words.weight.assign(np.asarray(state["embeddings.word_embeddings.weight"]))
        self.positions.weight.assign(np.asarray(state["embeddings.position_embeddings.weight"]))
        self.kinds.weight.assign(np.asarray(state["embeddings.token_type_embeddings.weight"]))
        for kind, parameter in self.norm.parameters().items():
            parameter.assign(np.asarray(state[f"embeddings.LayerNorm.{kind}"]))
        for path, parameter in self.encoder.parameters().items():
            _, number, rest = path.split(".", 2)
            base = f"encoder.layer.{number}."
            kind = rest.rpartition("_" if "in_proj" in rest else ".")[2]
            if "in_proj" in rest:
                value = np.concatenate([state[f"{base}attention.self.{n}.{kind}"] for n in _PACKED])
            else:
                value = np.asarray(state[base + _NAMES[rest.rpartition(".")[0]] + "." + kind])
            parameter.assign(np.ascontiguousarray(value.T) if value.ndim == 2 else value)
        if self.dense is not None:
            nn.from_torch(self.dense, _below(state, "pooler.dense."))


@register(
    "bert_large", paper=PAPER, parameters=335_141_888, flops=335_007_449_088, inputs=((512,),),
    task="embedding", dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
def bert_large(**options: Any) -> BERT:
    """Return BERT large: 24 layers, 335,141,888 parameters.

    >>> bert_large(vocabulary=5, context=4, layers=1, heads=1, width=4, ffn=4).layers
    1
    """
    return BERT(**(LARGE | options))


class BERTMaskedLM(nn.Module):
    """BERT that predicts masked tokens: logits are products with the token vectors.

    109,514,298 parameters in the base size; it has no pooler.

    Args:
        bert: the encoder.

    Shape:
        token numbers ``(batch, length)`` to logits ``(batch, length, vocabulary)``.

    Raises:
        ArgumentError, ShapeError, DataError: as for ``BERT``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.bert import BERT, BERTClassifier, BERTMaskedLM
        >>> bert = BERT(vocabulary=100, width=16, layers=2, heads=2, pooler=False)
        >>> model = BERTMaskedLM(bert)
        >>> model(tw.tensor([[5, 6, 7]])).shape
        (1, 3, 100)

    J. Devlin et al., arXiv:1810.04805.
    """

    def __init__(self, bert: BERT) -> None:
        self.bert = bert
        width = bert.width
        self.dense = nn.Linear(width, width, weight_init=_draw)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.bias = new_parameter((bert.vocabulary,), "float32")

    def draw(self, key: Any) -> None:
        """Set the bias to 0."""
        self.bias.assign(np.zeros(self.bias.shape, self.bias.dtype.numpy))

    def forward(
        self, ids: Any, segments: Any = None, mask: Any = None, lengths: Any = None
    ) -> Tensor:
        """Return the logits of each token."""
        hidden = self.bert(ids, segments, mask, lengths)
        made = self.norm(tw.gelu(self.dense(hidden)))
        y: Tensor = made @ self.bert.words.weight.T + self.bias
        return y

    def to_torch_state(self) -> dict[str, Array]:
        """Return the parameters under the published names and in PyTorch's layout."""
        state = {f"bert.{k}": v for k, v in self.bert.to_torch_state().items()}
        head = "cls.predictions."
        state[f"{head}bias"] = self.bias.numpy()
        for name, layer in (("dense", self.dense), ("LayerNorm", self.norm)):
            for kind, array in nn.to_torch(layer).items():
                state[f"{head}transform.{name}.{kind}"] = array
        return state

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take parameters under the published names and in PyTorch's layout."""
        head = "cls.predictions."
        self.bert.from_torch_state(_below(state, "bert."))
        self.bias.assign(np.asarray(state[f"{head}bias"]))
        nn.from_torch(self.dense, _below(state, f"{head}transform.dense."))
        nn.from_torch(self.norm, _below(state, f"{head}transform.LayerNorm."))


class BERTClassifier(nn.Module):
    """BERT with a linear layer on its pooled vector: a class for each text.

    Args:
        bert: the encoder, with a pooler.
        classes: outputs.

    Shape:
        token numbers ``(batch, length)`` to logits ``(batch, classes)``.

    Raises:
        ArgumentError, ShapeError, DataError: as for ``BERT``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.bert import BERT, BERTClassifier, BERTMaskedLM
        >>> bert = BERT(vocabulary=100, width=16, layers=2, heads=2, ffn=32)
        >>> model = BERTClassifier(bert, 3)
        >>> model(tw.tensor([[5, 6, 7]])).shape
        (1, 3)

    J. Devlin et al., arXiv:1810.04805.
    """

    def __init__(self, bert: BERT, classes: int = 2) -> None:
        positive("BERTClassifier", classes=classes)
        self.classes, self.bert = classes, bert
        self.drop = nn.Dropout(bert.dropout)
        self.classifier = nn.Linear(bert.width, classes, weight_init=_draw)

    def forward(
        self, ids: Any, segments: Any = None, mask: Any = None, lengths: Any = None
    ) -> Tensor:
        """Return the logits."""
        pooled = self.bert.pool(self.bert(ids, segments, mask, lengths))
        y: Tensor = self.classifier(self.drop(pooled))
        return y


@register(
    "bert_masked_lm", paper=PAPER, parameters=109_514_298, flops=121_244_221_440, inputs=((512,),),
    task="masked token", dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
def bert_masked_lm(**options: Any) -> BERTMaskedLM:
    """Return BERT with the head that predicts masked tokens; options are those of ``BERT``.

    >>> bert_masked_lm(vocabulary=5, context=4, layers=1, heads=1, width=4, ffn=4).bert.layers
    1
    """
    return BERTMaskedLM(BERT(**({"pooler": False} | options)))


@register(
    "bert_classifier", paper=PAPER, parameters=109_483_778, flops=96_637_946_880, inputs=((512,),),
    dtype="int64", small=SMALL, small_inputs=((12,),),
)  # fmt: skip
def bert_classifier(classes: int = 2, **options: Any) -> BERTClassifier:
    """Return BERT with a classifier of texts; other options are those of ``BERT``.

    >>> bert_classifier(3, vocabulary=5, context=4, layers=1, heads=1, width=4, ffn=4).classes
    3
    """
    return BERTClassifier(BERT(**options), classes)


def _below(state: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
