"""A network for tables: numbers, categories and texts, as many small networks in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

import thalweg as tw
from thalweg import nn
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.models.registry import register
from thalweg.nn import initializers
from thalweg.nn.inputs import check_dtype
from thalweg.nn.keys import Key, derived_key
from thalweg.nn.layers import new_parameter, positive

__all__ = ["TabularNetwork"]

PAPER: Final = (
    "Y. Gorishniy, A. Kotelnikov and A. Babenko, TabM: advancing tabular deep learning with "
    "parameter-efficient ensembling (2024), arXiv:2410.24210"
)


@register(
    "tabular", paper=PAPER, parameters=72_688, flops=927_744, inputs=((100,),),
    small={"numbers": 12, "hidden": (16,), "members": 4, "outputs": 3}, small_inputs=((12,),),
)  # fmt: skip
class TabularNetwork(nn.Module):
    """Several small networks that share most weights, trained at once on the same rows.

    Numbers, embeddings of codes and means of the embeddings of tokens stand side by side; each
    member scales them by weights of its own, near 1 and -1 at first; then come layers that all
    share, and an output layer for each member. In training, each member's outputs are given, so
    that each learns by its own loss; afterwards the mean of what they predict.

    Args:
        numbers: columns of numbers, 0 for none.
        codes: for each column of codes the number of its codes.
        texts: for each column of tokens the size of its vocabulary; token 0 is no token.
        outputs: classes, or numbers to predict.
        hidden: units of the shared layers.
        members: how many networks.
        dropout: probability of dropping a hidden unit.
        embedding: most numbers of an embedding; a column of few codes gets fewer.
        classes: outputs are logits of classes, whose probabilities are averaged; else numbers are.
        pieces: for each column of numbers, into how many components it is unpacked, the columns of
            ``PiecewiseLinear(packed=True)``; 0 leaves a number as it is. Left out, all are.

    Shape:
        ``(batch, numbers)``, ``(batch, columns)`` of whole numbers if there are codes, and one
        ``(batch, length)`` of whole numbers a column of tokens, to ``(batch, members, outputs)`` in
        training and ``(batch, outputs)`` otherwise.

    Raises:
        ArgumentError: no columns at all, or a size that is not from 1 on.
        ShapeError: other inputs than these.
        DTypeError: numbers of another dtype than the weights.

    Example:
        >>> import thalweg as tw
        >>> network = TabularNetwork(numbers=3, codes=(5, 9), outputs=2, hidden=(8,), members=4)
        >>> x, codes = tw.zeros((6, 3)), np.zeros((6, 2), np.int64)
        >>> network(x, codes).shape, network.eval()(x, codes).shape
        ((6, 4, 2), (6, 2))

    Y. Gorishniy et al., arXiv:2410.24210; embeddings of categories as C. Guo and F. Berkhahn,
    arXiv:1604.06737.
    """

    def __init__(
        self,
        numbers: int = 100,
        codes: Sequence[int] = (),
        texts: Sequence[int] = (),
        outputs: int = 10,
        hidden: Sequence[int] = (192, 192),
        members: int = 8,
        dropout: float = 0.1,
        embedding: int = 16,
        classes: bool = True,
        pieces: Sequence[int] = (),
    ) -> None:
        positive("TabularNetwork", outputs=outputs, members=members, embedding=embedding)
        for size in (*hidden, *codes, *texts):
            positive("TabularNetwork", size=size)
        if numbers < 0 or not (numbers or codes or texts):
            raise ArgumentError(
                f"TabularNetwork: got numbers={numbers} and no columns of codes or tokens; wanted "
                f"at least one column. {where()}"
            )
        if pieces and (len(pieces) != numbers or min(pieces) < 0):
            raise ArgumentError(
                f"TabularNetwork: got pieces={tuple(pieces)} for {numbers} columns of numbers; "
                f"wanted one whole number from 0 on for each. {where()}"
            )
        self.numbers, self.codes, self.texts = numbers, tuple(codes), tuple(texts)
        self.pieces = tuple(pieces)
        self.outputs, self.hidden, self.members = outputs, tuple(hidden), members
        self.embedding, self.classes, self.dropout = embedding, classes, dropout
        sizes = [min(embedding, -(-size // 2) + 1) for size in codes]
        self.tables = [nn.Embedding(n, size) for n, size in zip(codes, sizes, strict=True)]
        self.bags = [nn.Embedding(n, 4 * embedding) for n in texts]
        width = sum(max(1, n) for n in pieces) if pieces else numbers
        width += sum(sizes) + 4 * embedding * len(self.texts)
        self.scale = new_parameter((members, width), "float32")
        layers: list[nn.Module] = []
        for size in self.hidden:
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(dropout)]
            width = size
        self.shared = nn.Sequential(*layers)
        self.heads = new_parameter((members, width, outputs), "float32")
        self.offsets = new_parameter((members, outputs), "float32")
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Draw a sign for each number that a member reads, and the output layers."""
        signs = initializers.uniform(derived_key(key, "scale"), self.scale.shape, low=-1, high=1)
        self.scale.assign(np.where(signs < 0, -1, 1).astype(np.float32))
        bound = self.heads.shape[1] ** -0.5
        drawn = initializers.uniform(
            derived_key(key, "heads"), self.heads.shape, low=-bound, high=bound
        )
        self.heads.assign(drawn)
        self.offsets.assign(np.zeros(self.offsets.shape, np.float32))

    def forward(self, *inputs: Any) -> Any:
        """Return each member's outputs in training, else their mean."""
        x = self._side_by_side(inputs)
        y = self.shared(tw.expand_dims(x, 1) * self.scale)  # (batch, members, hidden)
        y = tw.einsum("bmh,mho->bmo", y, self.heads) + self.offsets
        if self.training:
            return y
        if not self.classes:
            return tw.mean(y, axis=1)
        return tw.log(tw.mean(tw.softmax(y, axis=-1), axis=1) + 1e-12)

    def _side_by_side(self, inputs: Sequence[Any]) -> Any:
        wanted = bool(self.numbers) + bool(self.codes) + len(self.texts)
        if len(inputs) != wanted:
            raise ShapeError(
                f"TabularNetwork: got {len(inputs)} inputs, wanted {wanted}: numbers, codes and "
                f"tokens of each text, where there are any. {where()}"
            )
        left = [tw.asarray(x) for x in inputs]
        parts = []
        if self.numbers:
            x = _columns("numbers", left.pop(0), self.numbers)
            check_dtype("TabularNetwork", x._node, self.scale.dtype)
            parts.append(_unpacked(x, self.pieces) if any(self.pieces) else x)
        if self.codes:
            codes = _columns("codes", left.pop(0), len(self.codes))
            parts += [table(codes[:, i]) for i, table in enumerate(self.tables)]
        for bag, tokens in zip(self.bags, left, strict=True):
            there = tw.expand_dims(tw.astype(tokens != 0, "float32"), -1)
            count = tw.maximum(tw.sum(there, axis=1), 1.0)
            parts.append(tw.sum(bag(tokens) * there, axis=1) / count)
        return parts[0] if len(parts) == 1 else tw.concatenate(parts, 1)


def _unpacked(x: Any, pieces: Sequence[int]) -> Any:
    """Return the components of packed columns: how far each number has come through each bin.

    Component t of a column is its number less t, cut at 0 and 1; the first has no lower bound, the
    last no upper one, and a number as it is has neither.
    """
    counts = [max(1, n) for n in pieces]
    columns = np.repeat(np.arange(len(pieces)), counts)
    passed = np.concatenate([np.arange(n) for n in counts]).astype(np.float32)
    last = np.repeat(np.array(counts) - 1, counts)
    low = np.where(passed == 0, -np.inf, 0).astype(np.float32)
    high = np.where(passed == last, np.inf, 1).astype(np.float32)
    return tw.minimum(tw.maximum(tw.take(x, columns, axis=1) - passed, low), high)


def _columns(name: str, x: Any, count: int) -> Any:
    if x.ndim != 2 or x.shape[1] != count:
        raise ShapeError(
            f"TabularNetwork: got {name} of shape {x.shape}, wanted (batch, {count}). {where()}"
        )
    return x
