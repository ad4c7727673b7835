"""Native programs against NumPy: every shape, vector width and number of threads."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.backends.llvm.runtime.target import host
from thalweg.errors import SettingError
from thalweg.settings import settings

SIZES = (1, 3, 7, 17, 31, 33, 101)


def _widths() -> list[str]:
    found = []
    for name in ("sse", "avx2", "avx512"):
        try:
            host(name)
        except SettingError:
            continue
        found.append(name)
    return found


WIDTHS = _widths()


def data(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(dtype)


def check(function: Callable[..., Any], *arrays: Any, tolerance: float = 2e-5) -> None:
    """The compiled function agrees with the eager one."""
    wanted, got = function(*map(tw.tensor, arrays)), tw.compile(function)(*arrays)
    wanted, got = ([v] if isinstance(v, tw.Tensor) else list(v) for v in (wanted, got))
    assert len(wanted) == len(got)
    for w, g in zip(wanted, got, strict=True):
        assert w.shape == g.shape
        assert w.dtype is g.dtype
        np.testing.assert_allclose(
            g.numpy().astype(np.float64), w.numpy().astype(np.float64), tolerance, tolerance
        )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("m", SIZES)
def test_matrix_products_of_any_shape_and_order(width: str, m: int) -> None:
    settings.vector, settings.threads = width, 2
    for k, n in itertools.product((1, 7, 33), (1, 17, 101)):
        check(lambda a, b, c, d: (a @ b, a @ c.T, d.T @ b),
              data(m, k), data(k, n), data(n, k), data(k, m))  # fmt: skip
    check(lambda a, b: a.T @ b.T, data(33, m), data(101, 33))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", SIZES)
def test_rows_columns_and_fused_functions(width: str, n: int) -> None:
    settings.vector = width
    x = data(13, n)
    check(lambda a: tw.softmax(a), x)
    check(lambda a: tw.log_softmax(a, axis=0), x)
    check(lambda a: (a.sum(0), a.sum(1), a.sum(), a.max(1), a.min(0)), x)
    check(lambda a: tw.gelu(a) * tw.sigmoid(a) + tw.tanh(a), x)
    check(lambda a: (a - a.mean(1, keepdims=True)) * tw.rsqrt(a.var(1, keepdims=True) + 1e-5), x)
    check(lambda a: (a[::2, ::-1], a.T.reshape(-1), tw.concatenate([a, a * 2], 1)), x)
    check(lambda a: (tw.sort(a, 1), tw.argmax(a, 0), tw.cumsum(a, 1), tw.pad(a, 2)), x)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16", "int32", "int64", "int8"])
@pytest.mark.parametrize("width", WIDTHS)
def test_other_dtypes(width: str, dtype: str) -> None:
    settings.vector = width
    scale = 4 if dtype.startswith(("int", "float64")) else 1
    a, b = (tw.tensor(data(*s) * scale).astype(dtype).numpy() for s in ((5, 19), (19, 21)))
    loose = {"bfloat16": 4e-2, "float16": 1e-2, "float64": 1e-12}.get(dtype, 0)
    check(lambda x, y: x @ y, a, b, tolerance=loose)
    check(lambda x: (x + x * 2, tw.maximum(x, 1), x.sum(1), x > 1), a, tolerance=loose)


def test_batched_and_odd_contractions() -> None:
    check(lambda a, b: tw.einsum("bhtd,bhsd->bhts", a, b), data(2, 3, 5, 8), data(2, 3, 7, 8))
    check(lambda a, b: tw.einsum("bthd,bshd->bhts", a, b), data(2, 5, 3, 8), data(2, 7, 3, 8))
    check(lambda a, b: tw.einsum("bthd,bthe->de", a, b), data(2, 5, 3, 8), data(2, 5, 3, 7))
    check(lambda a, b: tw.tensordot(a, b, 0), data(3), data(4))
    check(lambda a, b: (a @ b, b @ a), data(4, 6), data(6, 4))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_axes_of_size_zero(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    check(lambda a: (a + 1, tw.exp(a), a.sum(), a.reshape(-1)), x)
    check(lambda a: a.sum(0), x)
    check(lambda a, b: tw.tensordot(a, b, 1) + 1, np.zeros((2, 0), np.float32),
          np.zeros((0, 3), np.float32))  # fmt: skip


def _network(seed: int) -> tuple[Any, Any]:
    model = tw.nn.Sequential(
        tw.nn.Linear(37, 300), tw.nn.ReLU(), tw.nn.Dropout(0.2), tw.nn.Linear(300, 10), seed=seed
    )
    return model, [tw.tensor(np.zeros(p.shape, np.float32)) for p in model.parameters().values()]


def _train(threads: int, steps: int = 20) -> list[bytes]:
    settings.threads = threads
    model, moments = _network(3)

    @tw.compile
    def step(model: Any, x: Any, y: Any) -> Any:
        loss_of = lambda m, a, b: tw.nn.losses.cross_entropy(m(a), b)  # noqa: E731
        loss, grads = tw.value_and_grad(loss_of)(model, x, y)
        for (name, p), m in zip(model.parameters().items(), moments, strict=True):
            m.assign(0.9 * m + grads[name])
            p.assign(p - 0.01 * m)
        return loss

    labels = np.random.default_rng(1).integers(0, 10, (steps, 96))
    for i in range(steps):
        step(model, data(96, 37, seed=i), labels[i])
    return [p.numpy().tobytes() for p in model.parameters().values()]


def test_bits_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from thalweg.backends.llvm import compile as stages

    monkeypatch.setattr(stages, "worthwhile_threads", lambda schedule, threads: threads)
    first = _train(1)
    for threads in (2, 3, 4):
        assert _train(threads) == first
    assert _train(2) == first  # and from run to run


def test_state_shared_by_operand_and_update_is_read_before_it_is_written() -> None:
    w = tw.tensor(data(9, 9))
    before = w.numpy()

    @tw.compile
    def swap() -> Any:
        y = w @ w
        w.assign(w.T * 2)
        return y + w

    got = swap().numpy()
    np.testing.assert_allclose(w.numpy(), before.T * 2)
    np.testing.assert_allclose(got, before @ before + before.T * 2, rtol=1e-5, atol=1e-5)


def test_an_index_out_of_range_is_reported_and_nothing_is_updated() -> None:
    w = tw.tensor(data(5, 4))

    @tw.compile
    def step(rows: Any) -> Any:
        picked = tw.take(w, rows, 0)
        w.assign(w + 1)
        return picked.sum()

    step(np.array([0, -1, 4]))
    kept = w.numpy()
    with pytest.raises(IndexError, match=r"axis 0 of size 5.*test_native"):
        step(np.array([0, 5]))
    np.testing.assert_array_equal(w.numpy(), kept)


def test_random_bits_are_those_of_the_reference() -> None:
    key = tw.random.key(11)
    check(lambda k: tw.random.bits((5, 33), key=k), key.numpy())
    check(lambda k: tw.random.uniform((101,), key=k), key.numpy(), tolerance=0)


def test_repeat_gathers_rows_as_single_steps_do() -> None:
    x, index = data(50, 7), np.random.default_rng(0).integers(0, 50, (6, 8))
    total = tw.zeros((7,))

    @tw.compile
    def step(batch: Any) -> Any:
        total.assign(total * 0.5 + batch.sum(0))
        return total * 1

    got = step.repeat(tw.rows(x, index)).numpy()
    want, state = [], np.zeros(7, np.float32)
    for rows in index:
        state = state * 0.5 + x[rows].sum(0)
        want.append(state)
    np.testing.assert_allclose(got, np.stack(want), rtol=1e-5, atol=1e-5)


def test_equal_kernels_are_emitted_once() -> None:
    from thalweg.backends.llvm.compile import lower
    from thalweg.tensor.compile import compile as compiled

    function = compiled(lambda x, *ws: _chain(x, ws))
    arrays = [data(64, 64, seed=i) for i in range(9)]
    trace = function._find(list(arrays), ("sequence", tuple, (("leaf",),) * 9), False)
    names = list(lower(trace.graph, host(), 1).program.kernels.values())
    assert len(names) == 8
    assert len(set(names)) <= 2


def _chain(x: Any, weights: Any) -> Any:
    for w in weights:
        x = tw.tanh(x @ w)
    return x


def test_a_forked_process_trains_on() -> None:
    code = (
        "import os, numpy as np, thalweg as tw\n"
        "tw.settings.threads = 2\n"
        "f = tw.compile(lambda a: (a @ a).sum())\n"
        "x = np.ones((300, 300), np.float32)\n"
        "assert f(x).item() == 300 ** 3\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if f(x).item() == 300 ** 3 else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


IDS = np.array([[1, 8, 3], [2, 3, 4]])
STRUCTURED = {
    "concatenate": lambda t: tw.concatenate([tw.ones((2, 3, 5), dtype="float64"),
                                             tw.take(t, IDS, 0)], 2),
    "product": lambda t: (lambda x: tw.concatenate([x @ x.swapaxes(1, 2), x], 2))(
        tw.take(t, IDS, 0)),
    "pad": lambda t: tw.pad(tw.take(t, IDS, 0), [(0, 0), (1, 2), (0, 0)]),
    "cumulate": lambda t: tw.concatenate([tw.cumulative_sum(t, axis=1), t], 1),
    "sort": lambda t: tw.concatenate([tw.sort(t, axis=1), tw.sort(t, axis=0)], 0),
    "flip": lambda t: tw.concatenate([tw.flip(tw.take(t, IDS, 0), axis=1), tw.take(t, IDS, 0)], 1),
    "column": lambda t: tw.take(t[-1:], np.array([0, 2, 2]), axis=1),
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_results_go_into_parts_of_others(name: str) -> None:
    """What is gathered or sorted is stored before it is copied beside something else."""
    function = STRUCTURED[name]

    def both(t: Any) -> Any:
        return function(t), tw.grad(lambda t: tw.sum(tw.sin(function(t))))(t)

    table = tw.tensor(np.random.default_rng(0).normal(size=(40, 8)))
    for got, want in zip(tw.compile(both)(table), both(table), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-12)


LARGE = [(2048, 384, 160), (700, 900, 260), (3000, 500, 48), (16, 4100, 515), (1, 3000, 700),
         (300, 2000, 520)]  # fmt: skip


@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_products_that_no_cache_holds(shape: tuple[int, int, int], turned: bool) -> None:
    """Rows in groups, rows copied, sums in parts, weights streamed: all the same product."""
    m, k, n = shape
    a, b = data(k, m) if turned else data(m, k), data(k, n, seed=1)
    left = a.T if turned else a
    product = tw.compile(lambda a, b: (tw.matrix_transpose(a) if turned else a) @ b)(a, b)
    wanted = left.astype(np.float64) @ b
    np.testing.assert_allclose(product.numpy(), wanted, atol=2e-5 * np.sqrt(k))


def test_a_batch_goes_through_a_chain_slice_by_slice() -> None:
    """Attention, forward and backward: the same bits on any number of threads."""

    def loss(q: Any, k: Any, v: Any) -> Any:
        return tw.sum(tw.sin(tw.scaled_dot_product_attention(q, k, v, causal=True)))

    def both(q: Any, k: Any, v: Any) -> Any:
        return tw.value_and_grad(loss, (0, 1, 2))(q, k, v)

    arrays = [data(6, 33, 4, 16, seed=i) for i in range(3)]
    wanted = [g.numpy() for g in both(*map(tw.tensor, arrays))[1]]
    found = []
    for settings.threads in (1, 2, 3, 4):
        step = tw.compile(both)
        value, grads = step(*arrays)
        found.append([value.numpy().tobytes(), *(g.numpy().tobytes() for g in grads)])
        for got, want in zip(grads, wanted, strict=True):
            np.testing.assert_allclose(got.numpy(), want, atol=2e-5)
    assert all(f == found[0] for f in found)
    settings.threads = 2
    assert "in chain 1 of 24 slices" in step.explain(*arrays)


def test_rows_that_share_a_set_of_the_first_cache_are_few() -> None:
    """Rows 4096 bytes apart; the result is right for tiles of any height."""
    settings.vector, settings.threads = WIDTHS[-1], 1

    def rows(columns: int) -> int:
        text = tw.compile(lambda a, b: a @ b).explain(data(60, columns), data(columns, 64))
        return int(text.split(", tile ")[1].split("x")[0])

    assert rows(1024) <= 7
    if WIDTHS[-1] == "avx512":
        assert rows(1040) > 7
    for columns in (1024, 2048, 512):
        check(lambda a, b: a @ b, data(61, columns) / 32, data(columns, 65))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["map", "rows", "columns", "contraction"])
def test_a_result_reads_state_that_the_same_kernel_replaces(kind: str, width: str) -> None:
    """All results of a kernel are computed before the first one is stored."""
    settings.vector = width
    x, w = data(9, 37), data(37, 37)
    make = {
        "map": lambda x: x * 0.5,
        "rows": lambda x: tw.softmax(x, -1),
        "columns": lambda x: tw.sum(x, 0) * 0.5,
        "contraction": lambda x: x @ w,
    }[kind]
    start = data(37) if kind == "columns" else data(9, 37)
    state = tw.tensor(start)

    @tw.compile
    def step(x: tw.Tensor) -> tw.Tensor:
        new, old = make(x), state * 1.0
        state.assign(new)
        return tw.maximum(old, new) - new * old

    new = make(tw.tensor(x)).numpy()
    got = step(x).numpy()
    np.testing.assert_allclose(got, np.maximum(start, new) - new * start, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.numpy(), new, rtol=1e-5, atol=1e-5)
