"""Attention over more keys than one block holds, beside the whole matrix of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.ops import attention, attention_blocks

SHAPE = (2, 9, 4, 3)  # batch, queries, heads, features; the keys have half the heads


def _draw(*shape: int) -> tw.Tensor:
    return tw.tensor(np.random.default_rng(len(shape)).standard_normal(shape))


def _mask(kind: str, keys: int) -> Any:
    if kind == "lengths":
        lengths = np.array([3, keys])[:, None, None, None]
        return tw.tensor(np.arange(keys)[None, None, None, :] < lengths)
    if kind == "any":
        return tw.tensor(np.random.default_rng(1).random((2, 4, 9, keys)) < 0.6)
    if kind == "none allowed":
        return tw.tensor(np.zeros((2, 1, 9, keys), bool))
    return None


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["", "causal", "lengths", "any", "none allowed"])
def test_blocks_agree_with_all_scores(
    kind: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients are those of attention with all scores at once."""
    keys = 13
    q, k, v = _draw(*SHAPE), _draw(2, keys, 2, 3), _draw(2, keys, 2, 5)

    def loss(q: Any, k: Any, v: Any) -> Any:
        y = tw.scaled_dot_product_attention(
            q, k, v, _mask(kind, keys), causal=kind == "causal"
        )
        return tw.sum(tw.sin(y) * tw.arange(5)), y

    step = tw.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    (_, wanted), wanted_grads = step(q, k, v)
    for module in (attention, attention_blocks):
        monkeypatch.setattr(module, "BLOCK", 4)
    (_, y), grads = (tw.compile(step) if compiled else step)(q, k, v)
    np.testing.assert_allclose(y.numpy(), wanted.numpy(), atol=1e-12)
    for a, b in zip(grads, wanted_grads, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-11)


def test_long_sequences_need_less_memory() -> None:
    """The program's memory holds a block of scores, not all of them."""
    shape = (1, 2048, 2, 8)
    q = tw.tensor(np.zeros(shape, np.float32))

    def loss(q: Any) -> Any:
        return tw.sum(tw.scaled_dot_product_attention(q, q, q, causal=True))

    step = tw.compile(tw.grad(loss))
    text = step.explain(q)
    size = int(text.split("arena: ")[1].split(" bytes")[0].replace(",", ""))
    assert size < 2048 * 2048 * 2 * 4  # all scores of one direction alone would be as many bytes
