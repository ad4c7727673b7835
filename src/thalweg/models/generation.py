"""Continuing a sequence token by token: sampling, and the compiled step with its caches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import numpy as np

import thalweg as tw
from thalweg.errors import ArgumentError, DTypeError, ShapeError, where
from thalweg.nn import Module

__all__ = ["CHUNKS", "Sessions", "as_tokens", "check_sampling", "evaluating", "feed", "roomy",
           "sample"]  # fmt: skip

Array = np.ndarray[Any, Any]
T = TypeVar("T")
# A prompt is read in parts of these sizes, so that any length needs no more than four programs.
CHUNKS: Final = (512, 64, 8, 1)
_ROOM: Final = 64  # capacities are multiples of it, so that few of them exist


def as_tokens(who: str, ids: Any) -> Array:
    """Return prompts as whole numbers (batch, length); a single one gets a batch axis.

    Raises:
        DTypeError: no whole numbers.
        ShapeError: an empty prompt, or more than two axes.

    >>> as_tokens("GPT2", [1, 2]).shape
    (1, 2)
    """
    tokens = np.asarray(ids)
    if tokens.dtype.kind not in "iu" and tokens.size:
        raise DTypeError(
            f"{who}: got a prompt of {tokens.dtype}, wanted token numbers; encode the text with "
            f"the model's tokenizer first. {where()}"
        )
    if tokens.ndim not in (1, 2) or not tokens.size:
        raise ShapeError(
            f"{who}: got a prompt of shape {tokens.shape}, wanted at least one token: (length,) or "
            f"(batch, length); begin with the token that starts a text. {where()}"
        )
    return np.ascontiguousarray(np.atleast_2d(tokens), dtype=np.int64)


def check_sampling(who: str, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise an ArgumentError unless the options of ``sample`` make sense.

    >>> check_sampling("GPT2", 1.0, 40, 0.9)
    """
    if not temperature >= 0:
        raise ArgumentError(
            f"{who}: temperature must be 0 (the likeliest token) or above, got {temperature!r}. "
            f"{where()}"
        )
    if top_k is not None and top_k < 1:
        raise ArgumentError(f"{who}: top_k must be a number from 1 on, got {top_k!r}. {where()}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ArgumentError(f"{who}: top_p must be above 0 and up to 1, got {top_p!r}. {where()}")


def sample(
    logits: Array, draws: Array, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None,
) -> Array:  # fmt: skip
    """Return one token for each row of logits.

    Args:
        logits: (batch, vocabulary).
        draws: (batch,), uniform from 0 to 1: they decide.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: only so many of the likeliest tokens are drawn.
        top_p: only the fewest likeliest tokens whose probabilities add up to this are drawn.

    >>> sample(np.log([[0.5, 0.3, 0.2]]), np.array([0.9])).tolist()
    [2]
    >>> sample(np.log([[0.5, 0.3, 0.2]]), np.array([0.9]), top_k=2).tolist()
    [1]

    A. Fan et al., arXiv:1805.04833 (top-k); A. Holtzman et al., arXiv:1904.09751 (top-p).
    """
    if temperature == 0:
        return np.asarray(np.argmax(logits, axis=-1), np.int64)
    made = np.empty(len(logits), np.int64)
    for i, row in enumerate(logits.astype(np.float64) / temperature):
        tokens = np.arange(row.size)
        if top_k is not None and top_k < row.size:
            tokens = np.argpartition(-row, top_k - 1)[:top_k]
        if top_k is not None or top_p is not None:
            tokens = tokens[np.lexsort((tokens, -row[tokens]))]
        weights = np.exp(row[tokens] - row.max())
        total = np.cumsum(weights)
        if top_p is not None:  # a token stays if those before it do not reach the share
            last = int(np.searchsorted(total, top_p * total[-1], side="left"))
            total = total[: last + 1]
        place = int(np.searchsorted(total, draws[i] * total[-1], side="right"))
        made[i] = tokens[min(place, total.size - 1)]
    return made


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Run the block in evaluation mode, and give every module its own mode back.

    >>> from thalweg import nn
    >>> model = nn.Dropout(0.5)
    >>> with evaluating(model):
    ...     print(model.training)
    False
    >>> model.training
    True
    """
    modes = [(m, m.training) for m in model.named_modules().values()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


class Sessions:
    """The compiled steps of one model and their caches, by their sizes; no part of its state.

    Only the latest sizes are kept, since caches are large. A copy of the model starts without any.

    >>> Sessions().get((1, 64), lambda: "made")
    'made'
    """

    def __init__(self) -> None:
        self.kept: dict[Hashable, Any] = {}

    def __deepcopy__(self, memo: Any) -> Sessions:
        return Sessions()

    def __reduce__(self) -> Any:
        return (Sessions, ())

    def get(self, sizes: Hashable, make: Callable[[], T]) -> T:
        """Return what ``make()`` gave when these sizes were first asked for."""
        if sizes not in self.kept:
            self.kept.clear()
            self.kept[sizes] = make()
        found: T = self.kept[sizes]
        return found


def roomy(length: int, longest: int) -> int:
    """Return a capacity for a sequence: a multiple of 64, so that few of them are compiled for.

    >>> roomy(70, 1024), roomy(70, 100)
    (128, 100)
    """
    return min(-(-length // _ROOM) * _ROOM, longest)


def feed(step: Callable[[Array], Any], tokens: Array) -> Array:
    """Return the logits after the last of some tokens, which a step takes in, in parts.

    >>> feed(lambda part: tw.tensor(part[:, -1:]), np.arange(10)[None]).tolist()
    [[9.0]]
    """
    begin, logits = 0, None
    for size in CHUNKS:
        while tokens.shape[1] - begin >= size:
            logits = step(np.ascontiguousarray(tokens[:, begin : begin + size]))
            begin += size
    assert isinstance(logits, tw.Tensor)
    return logits.numpy().astype(np.float32)
