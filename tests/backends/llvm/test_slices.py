"""Chains of kernels that go through a batch slice by slice."""

from __future__ import annotations

from typing import Any

import numpy as np

import thalweg as tw
from thalweg.backends.llvm.schedule.slices import _levels
from thalweg.settings import settings


def test_chains_that_would_wait_for_each_other_are_no_chains() -> None:
    crossed = [set(), set(), {0, 1}, {0, 1}]
    assert _levels(crossed, [[0, 2], [1, 3]]) is None
    assert _levels(crossed, [[0, 2]]) == [1, 0, 1, 2]
    assert _levels(crossed, []) == [0, 0, 1, 1]


def test_one_example_goes_through_its_heads() -> None:
    """An axis of one element before the heads changes nothing."""
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal((1, 40, 16, 8)).astype(np.float32) for _ in range(3)]

    def attend(q: Any, k: Any, v: Any) -> Any:
        return tw.scaled_dot_product_attention(q, k, v, causal=True)

    settings.threads = 2
    step = tw.compile(attend)
    wanted = attend(*map(tw.tensor, arrays)).numpy()
    np.testing.assert_allclose(step(*arrays).numpy(), wanted, atol=2e-6)
    assert "in chain 1 of 16 slices" in step.explain(*arrays)


def test_one_image_goes_through_its_convolutions() -> None:
    """Small weights are read again for each image; pooling and borders go along."""
    draw = np.random.default_rng(1)
    shapes = [(8, 12, 10, 3), (3, 3, 3, 9), (3, 3, 9, 17), (17,)]
    arrays = [draw.standard_normal(s) for s in shapes]

    def look(x: Any, v: Any, w: Any, b: Any) -> Any:
        y = tw.relu(tw.conv(tw.relu(tw.conv(x, v, padding=1)), w, padding=1) + b)
        return tw.tanh(tw.max_pool(y, 2)).sum((1, 2))

    def step(*arrays: Any) -> Any:
        loss = lambda *arrays: (look(*arrays) ** 2).mean()  # noqa: E731
        return tw.value_and_grad(loss, argnums=(0, 1, 2, 3))(*arrays)

    value, grads = step(*map(tw.tensor, arrays))
    for threads in (1, 2, 3):  # of more, each would have too few images
        settings.threads = threads
        fast = tw.compile(step)
        got, found = fast(*arrays)
        np.testing.assert_allclose(got.numpy(), value.numpy(), rtol=1e-10)
        for f, g in zip(found, grads, strict=True):
            np.testing.assert_allclose(f.numpy(), g.numpy(), rtol=1e-8, atol=1e-8)
        lines = [x for x in fast.explain(*arrays).split("\n") if "in chain 1 of 8 slices" in x]
        kinds = {line.split()[1].split("[")[0] for line in lines}
        assert (kinds == {"contraction", "map"}) == (threads < 3)


def test_packing_by_groups_does_not_go_along_with_images() -> None:
    """As many groups as images: a slice of the packed weight is not what an image needs."""
    draw = np.random.default_rng(2)
    x, w = draw.standard_normal((8, 9, 7, 128)), draw.standard_normal((3, 3, 16, 128)) / 9

    def step(x: Any, w: Any) -> Any:
        loss = lambda x: tw.sin(tw.conv(tw.sin(x), w, padding=1, groups=8)).sum()  # noqa: E731
        return tw.value_and_grad(loss)(x)

    settings.threads = 2
    fast, (_, wanted) = tw.compile(step), step(tw.tensor(x), tw.tensor(w))
    np.testing.assert_allclose(fast(x, w)[1].numpy(), wanted.numpy(), rtol=1e-9, atol=1e-9)
    assert "of 8 slices" in fast.explain(x, w)


def test_borders_are_made_when_they_are_needed() -> None:
    """Of ten padded images in a row, memory is taken for a few at one time."""
    x = np.random.default_rng(3).standard_normal((4, 16, 16, 8)).astype(np.float32)
    w = np.full((3, 3, 8, 8), 0.02, np.float32)

    def deep(x: Any, w: Any) -> Any:
        for _ in range(10):
            x = tw.tanh(tw.conv(x, w, padding=1)) - x.mean((0, 1, 2))
        return x

    text = tw.compile(deep).explain(x, w)
    arena = int(text.split("arena: ")[1].split(" ")[0].replace(",", ""))
    assert arena < 5 * 4 * 18 * 18 * 8 * 4
