"""Random numbers: known answers, distributions, independent keys, state, the same bits anywhere."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.errors import ArgumentError, DTypeError
from thalweg.ops.record import OPS
from thalweg.tensor import random

N = 20_000


def threefry_2x32(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """Return the words of Threefry-2x32 with 20 rounds, in Python's whole numbers."""
    mask = 0xFFFFFFFF
    keys = (*key, key[0] ^ key[1] ^ 0x1BD11BDA)
    x, y = (counter[0] + keys[0]) & mask, (counter[1] + keys[1]) & mask
    for r in range(20):
        n = (13, 15, 26, 6, 17, 29, 16, 24)[r % 8]
        x = (x + y) & mask
        y = ((y << n) | (y >> (32 - n))) & mask ^ x
        if r % 4 == 3:
            s = r // 4 + 1
            x, y = (x + keys[s % 3]) & mask, (y + keys[(s + 1) % 3] + s) & mask
    return x, y


# From the file kat_vectors of Random123 (Salmon et al., 2011), threefry2x32 with 20 rounds.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "words"), KNOWN)
def test_the_cipher_has_its_known_answers(key: Any, counter: Any, words: Any) -> None:
    assert threefry_2x32(key, counter) == words
    given = [np.asarray(v, np.uint32) for v in (*key, *counter)]
    assert int(OPS["random_bits"].meaning(np, *given)) == words[0]


def test_bits_are_the_cipher_of_key_and_element() -> None:
    key = tw.random.key(0x0123456789ABCDEF)
    assert key.tolist() == [0x01234567, 0x89ABCDEF]
    got = tw.random.bits((2, 3), key=key)
    assert got.dtype is tw.uint32
    wanted = [threefry_2x32((0x01234567, 0x89ABCDEF), (i, 0))[0] for i in range(6)]
    assert got.numpy().ravel().tolist() == wanted
    assert tw.random.bits((6,), key=key).tolist() == wanted
    assert tw.random.bits((), key=key).item() == wanted[0]


def chi_square(counts: Any, expected: Any) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


def limit(cells: int) -> float:
    """Return a bound on chi-square that one in about a million fair draws goes beyond."""
    k = cells - 1
    return k * (1 - 2 / (9 * k) + 4.9 * math.sqrt(2 / (9 * k))) ** 3  # Wilson and Hilferty


def check_uniform() -> None:
    x = tw.random.uniform((N,), key=tw.random.key(1)).numpy()
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() < 1
    counts = np.histogram(x, 64, (0, 1))[0]
    assert chi_square(counts, N / 64) < limit(64)
    pairs = np.histogram2d(x[::2], x[1::2], 8, [(0, 1), (0, 1)])[0]
    assert chi_square(pairs, N / 2 / 64) < limit(64)  # neighbours do not depend on each other
    y = tw.random.uniform((N,), -2.0, 6.0, "float64", key=tw.random.key(1))
    assert y.dtype is tw.float64
    np.testing.assert_allclose(y.numpy(), x * 8.0 - 2, 1e-12)
    for half in ("float16", "bfloat16"):
        z = np.asarray(tw.random.uniform((N,), dtype=half, key=tw.random.key(2)), np.float64)
        assert z.min() >= 0
        assert z.max() < 1
        assert abs(z.mean() - 0.5) < 0.02


def check_normal() -> None:
    x = tw.random.normal((N,), key=tw.random.key(3)).numpy().astype(np.float64)
    assert abs(x.mean()) < 5 / math.sqrt(N)
    assert abs(x.var() - 1) < 5 * math.sqrt(2 / N)
    assert abs((x**3).mean()) < 5 * math.sqrt(15 / N)
    assert abs((x**4).mean() - 3) < 5 * math.sqrt(96 / N)
    edges = np.linspace(-2.5, 2.5, 21)
    cumulative = np.array([0, *(0.5 * (1 + math.erf(e / math.sqrt(2))) for e in edges), 1])
    counts = np.histogram(x, [-np.inf, *edges, np.inf])[0]
    assert chi_square(counts, N * np.diff(cumulative)) < limit(22)
    y = tw.random.normal((N,), 3.0, 0.5, key=tw.random.key(3)).numpy()
    np.testing.assert_allclose(y, x * 0.5 + 3, 1e-5, 1e-5)
    assert tw.random.normal((2,), dtype="bfloat16").dtype is tw.bfloat16


def check_bernoulli() -> None:
    x = tw.random.bernoulli(0.3, (N,), key=tw.random.key(4))
    assert x.dtype is tw.bool_
    assert abs(x.numpy().mean() - 0.3) < 5 * math.sqrt(0.21 / N)
    assert not tw.random.bernoulli(0.0, (100,)).any()
    assert tw.random.bernoulli(1.0, (100,)).all()
    p = tw.tensor([0.0, 1.0])
    assert tw.random.bernoulli(p, (2,)).tolist() == [False, True]


def check_permutation() -> None:
    for n in (0, 1, 2, 100):
        x = tw.random.permutation(n, key=tw.random.key(5))
        assert x.dtype is tw.int64
        assert sorted(x.tolist()) == list(range(n))
    first = [tuple(tw.random.permutation(3, key=tw.random.key(s)).tolist()) for s in range(1200)]
    counts = np.unique(np.array(first), axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert chi_square(counts, 200.0) < limit(6)


def check_categorical() -> None:
    p = np.array([0.1, 0.2, 0.7])
    logits = tw.tensor(np.log(np.broadcast_to(p, (N, 3))).astype(np.float32))
    x = tw.random.categorical(logits, key=tw.random.key(6))
    assert x.dtype is tw.int64
    assert x.shape == (N,)
    assert chi_square(np.bincount(x.numpy(), minlength=3), N * p) < limit(3)
    by_rows = tw.random.categorical(tw.tensor([[0.0, -100], [-100, 0]]), axis=0)
    assert by_rows.tolist() == [0, 1]


def check_randint() -> None:
    x = tw.random.randint(-3, 9, (N,), key=tw.random.key(7)).numpy()
    assert x.dtype == np.int64
    assert chi_square(np.bincount(x + 3, minlength=12), N / 12) < limit(12)
    assert tw.random.randint(0, 200, (3,), "uint8").dtype is tw.uint8
    assert tw.random.randint(5, 6, (3,)).tolist() == [5, 5, 5]
    for low, high in ((3, 3), (0, 2**24 + 1)):
        with pytest.raises(ArgumentError, match=f"{low} to {high}"):
            tw.random.randint(low, high)


def check_key() -> None:
    assert tw.random.key(2**64 - 1).tolist() == [2**32 - 1] * 2
    for bad in (-1, 2**64):
        with pytest.raises(ArgumentError, match=f"got {bad}"):
            tw.random.key(bad)


def check_split() -> None:
    keys = tw.random.split(tw.random.key(0), 50)
    assert len({tuple(k.tolist()) for k in [*keys, tw.random.key(0)]}) == 51
    draws = np.stack([tw.random.uniform((500,), key=k).numpy() for k in keys])
    together = np.corrcoef(draws)
    np.fill_diagonal(together, 0)
    assert np.abs(together).max() < 6 / math.sqrt(500)
    assert tw.random.split(tw.random.key(0))[0].tolist() == keys[0].tolist()


def check_seed() -> None:
    tw.random.seed(11)
    first = [tw.random.uniform((3,)).tolist(), tw.random.normal((2,)).tolist()]
    tw.random.seed(11)
    assert [tw.random.uniform((3,)).tolist(), tw.random.normal((2,)).tolist()] == first
    assert tw.random.uniform((3,)).tolist() != first[0]


def check_bits() -> None:
    words = tw.random.bits((N,), key=tw.random.key(8)).numpy()
    for bit in range(32):
        ones = ((words >> np.uint32(bit)) & 1).sum()
        assert abs(ones - N / 2) < 5.5 * math.sqrt(N / 4), bit


CHECKS: dict[str, Callable[[], None]] = {
    name.removeprefix("check_"): check for name, check in list(globals().items())
    if name.startswith("check_")
}  # fmt: skip
PUBLIC = [
    name for name, value in vars(random).items()
    if isinstance(value, types.FunctionType) and value.__module__ == random.__name__
    and not name.startswith("_")
]  # fmt: skip


def test_every_function_has_a_check() -> None:
    assert set(PUBLIC) == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_random(name: str) -> None:
    CHECKS[name]()


def test_a_key_gives_the_same_numbers_when_compiled() -> None:
    key = tw.random.key(9)

    def draw(key: Any) -> Any:
        a, b = tw.random.split(key)
        return (tw.random.bits((33,), key=a), tw.random.uniform((7, 3), key=b),
                tw.random.permutation(17, key=a), tw.random.normal((17,), key=b))  # fmt: skip

    compiled = tw.compile(draw)(key)
    for got, wanted in zip(compiled, draw(key), strict=True):
        if got.dtype.is_float:
            np.testing.assert_allclose(got.numpy(), wanted.numpy(), 1e-5, 1e-6)
        else:
            np.testing.assert_array_equal(got.numpy(), wanted.numpy())


def test_the_default_generator_is_state_of_compiled_functions() -> None:
    dropout = tw.compile(lambda x: x * tw.random.bernoulli(0.5, (64,)))
    tw.random.seed(1)
    got = [dropout(tw.ones(64)).tolist() for _ in range(3)]
    tw.random.seed(1)
    wanted = [(tw.ones(64) * tw.random.bernoulli(0.5, (64,))).tolist() for _ in range(3)]
    assert got == wanted
    assert got[0] != got[1] != got[2]


def test_a_generator_draws_what_its_keys_draw() -> None:
    a, b = tw.random.Generator(5), tw.random.Generator(5)
    assert a.uniform((3,), low=1.0, high=2.0).tolist() == tw.random.uniform(
        (3,), 1.0, 2.0, key=b.next_key()).tolist()  # fmt: skip
    assert a.normal((3,)).tolist() == tw.random.normal((3,), key=b.next_key()).tolist()
    assert int(a.count) == 2
    assert a.next_key().tolist() != b.key.tolist()


def test_numbers_given_to_random_functions_are_inputs() -> None:
    f = tw.compile(lambda key, p, s: (tw.random.bernoulli(p, (100,), key=key),
                                      tw.random.normal((3,), s, s, key=key)))  # fmt: skip
    key = tw.random.key(1)
    for p, s in ((0.25, 1.5), (0.75, 2.5)):
        kept, noise = f(key, p, s)
        assert kept.tolist() == tw.random.bernoulli(p, (100,), key=key).tolist()
        np.testing.assert_allclose(
            noise.numpy(), tw.random.normal((3,), s, s, key=key).numpy(), 1e-5
        )
    assert len(f._keys) == 1


def test_numbers_in_shapes_are_fixed() -> None:
    f = tw.compile(lambda n, key: (tw.random.uniform((n, 2), key=key), tw.random.permutation(n)))
    for n in (3, 5):
        x, order = f(n, tw.random.key(0))
        assert x.shape == (n, 2)
        assert sorted(order.tolist()) == list(range(n))


def test_gradients_flow_through_what_is_drawn() -> None:
    key = tw.random.key(2)
    g = tw.grad(lambda s: tw.random.normal((3,), std=s, key=key).sum())(tw.tensor(2.0))
    assert g.item() == pytest.approx(tw.random.normal((3,), key=key).sum().item(), rel=1e-5)


@pytest.mark.parametrize("bad", [tw.ones(2), tw.tensor([1, 2]), tw.zeros(3, "uint32")])
def test_a_key_is_two_words(bad: Any) -> None:
    with pytest.raises(DTypeError, match=r"uint32 key of shape \(2,\)"):
        tw.random.uniform((2,), key=bad)


def test_uniform_numbers_are_floating() -> None:
    with pytest.raises(DTypeError, match="uniform: got dtype int32"):
        tw.random.uniform((2,), dtype="int32")
