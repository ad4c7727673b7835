"""The loader: every row once, the same batches in every run, whatever the number of workers."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg import data
from thalweg.errors import ArgumentError, DataError

X = np.arange(40.0, dtype=np.float32).reshape(20, 2)
Y = np.arange(20)


class Slow(data.Source):
    """Rows that take longer the smaller their number, so that threads finish out of order."""

    names = ("row", "thread")

    def __len__(self) -> int:
        return 24

    def fetch(self, rows: Any) -> Any:
        time.sleep(0.002 * (24 - int(rows[0])) / 24)
        return rows, np.full(len(rows), threading.get_ident())


class Faulty(Slow):
    """A source whose row 13 cannot be read."""

    names = ("row",)

    def fetch(self, rows: Any) -> Any:
        if 13 in rows:
            raise KeyError("no such record")
        return (rows,)

    def describe(self, row: int) -> str:
        return f"shard.bin: record {row}"


def batches_of(loader: data.Loader, epoch: int = 0) -> list[tuple[Any, ...]]:
    return list(loader.epoch(epoch))


@given(
    rows=st.integers(1, 60),
    size=st.integers(1, 70),
    seed=st.integers(0, 2**40),
    last=st.sampled_from(["keep", "pad", "drop"]),
    workers=st.sampled_from([None, 0, 2]),
)
def test_an_epoch_shows_every_row_once(
    rows: int, size: int, seed: int, last: Any, workers: int | None
) -> None:
    if last == "drop":
        size = min(size, rows)
    loader = data.Loader(np.arange(rows), size, seed=seed, last=last, workers=workers)
    made = batches_of(loader)
    assert len(made) == len(loader)
    if last == "pad":
        assert all(len(batch[0]) == len(batch[1]) == size for batch in made)
        assert all(batch[1].dtype == np.float32 for batch in made)
        shown = np.concatenate([batch[0][batch[1] == 1] for batch in made])
    else:
        shown = np.concatenate([batch[0] for batch in made])
    if last == "drop":
        assert len(shown) == rows // size * size
        assert len(set(shown.tolist())) == len(shown)
    else:
        assert sorted(shown.tolist()) == list(range(rows))


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_are_the_same_with_any_number_of_workers(workers: int) -> None:
    one = data.Loader(Slow(), 4, seed=3, workers=0)
    many = data.Loader(Slow(), 4, seed=3, workers=workers)
    for epoch in (0, 1):
        for a, b in zip(one.epoch(epoch), many.epoch(epoch), strict=True):
            np.testing.assert_array_equal(a[0], b[0])


def test_threads_fetch_ahead_while_the_caller_works() -> None:
    fetched: list[int] = []

    class Counting(Slow):
        def fetch(self, rows: Any) -> Any:
            fetched.append(1)
            return super().fetch(rows)

    loader = data.Loader(Counting(), 2, workers=2, prefetch=3)
    batches = loader.epoch(0)
    first = next(batches)
    assert first[1][0] != threading.get_ident()
    deadline = time.monotonic() + 10
    while len(fetched) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert 5 <= len(fetched) <= 6  # one handed out, five under way: no more, so memory is bounded
    batches.close()  # type: ignore[attr-defined]


def test_no_thread_is_left_when_an_epoch_is_broken_off() -> None:
    loader = data.Loader(Slow(), 2, workers=3)
    for _ in loader:
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("thalweg-loader")]


def test_arrays_in_memory_stay_in_step_and_need_no_threads() -> None:
    loader = data.Loader((X, Y), 3, last="keep")
    assert loader.workers == 0
    for x, y in loader:
        np.testing.assert_array_equal(x[:, 0], 2.0 * y)
        x += 1  # a batch belongs to its user
    assert X[0, 0] == 0


def test_rows_gathered_in_blocks_are_those_of_the_order() -> None:
    big = np.arange(200_000, dtype=np.float32).reshape(-1, 20)
    loader = data.Loader(big, 64, seed=5, last="keep")
    order = data.shuffled().rows(len(big), 64, 5, 2)
    np.testing.assert_array_equal(np.concatenate([b[0] for b in loader.epoch(2)]), big[order])
    again = np.concatenate([b[0] for b in loader.epoch(2, start=7)])
    np.testing.assert_array_equal(again, big[order][7 * 64 :])


def test_epochs_differ_and_runs_do_not() -> None:
    a, b = data.Loader(Y, 20, seed=3), data.Loader(Y, 20, seed=3)
    first, second = next(iter(a))[0], next(iter(a))[0]
    assert first.tolist() != second.tolist()
    assert next(iter(b))[0].tolist() == first.tolist()
    assert next(data.Loader(Y, 20, seed=4).epoch(0))[0].tolist() != first.tolist()


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumed_from_its_state_gives_the_same_batches(stop: int, workers: int) -> None:
    whole = data.Loader((X, Y), 3, seed=1, workers=workers)
    expected = [batch[1].tolist() for _ in range(2) for batch in whole]
    broken = data.Loader((X, Y), 3, seed=1, workers=workers)
    shown = []
    for batch in broken:
        if len(shown) == stop:
            break
        shown.append(batch[1].tolist())
        state = broken.state
    else:
        state = broken.state
    if stop == 0:
        state = data.Loader((X, Y), 3, seed=1).state
    resumed = data.Loader((X, Y), 3, seed=1, workers=workers)
    resumed.load_state(state)
    shown += [batch[1].tolist() for batch in resumed]
    while len(shown) < len(expected):
        shown += [batch[1].tolist() for batch in resumed]
    assert shown == expected


def test_a_state_of_other_data_is_refused() -> None:
    state = data.Loader(Y, 5, seed=1).state
    for other in (data.Loader(Y, 4, seed=1), data.Loader(Y, 5), data.Loader(Y[:10], 5, seed=1)):
        with pytest.raises(DataError, match="the state was saved with"):
            other.load_state(state)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_names_the_row_and_the_users_line(workers: int) -> None:
    loader = data.Loader(Faulty(), 4, workers=workers)
    with pytest.raises(DataError, match=r"shard.bin: record 13 .*KeyError.*no such record") as info:
        list(loader)
    assert "test_loader.py" in str(info.value)
    assert "thread.py" not in str(info.value)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_never_repeat_random_numbers(workers: int) -> None:
    """Copies of one generator in several workers give all the same numbers (pytorch#5059)."""

    def noise(random: np.random.Generator, row: Any) -> Any:
        return random.normal(size=3), row

    noisy = data.Transformed(data.ArrayDataset(np.arange(64)), noise, names=("noise", "row"))
    loader = data.Loader(noisy, 4, seed=7, workers=workers)
    seen = {}
    for epoch in (0, 1):
        for values, rows in loader.epoch(epoch):
            for value, row in zip(values, rows, strict=True):
                seen[epoch, int(row)] = tuple(value.tolist())
    assert len(set(seen.values())) == 2 * 64  # every row and epoch has numbers of its own
    alone = data.Loader(noisy, 16, seed=7, workers=0)  # nor does the batch size matter
    for values, rows in alone.epoch(1):
        for value, row in zip(values, rows, strict=True):
            assert tuple(value.tolist()) == seen[1, int(row)]
    other = {tuple(v.tolist()) for values, _ in data.Loader(noisy, 4, seed=8) for v in values}
    assert not other & set(seen.values())


def test_a_transformed_subset_keeps_the_numbers_of_its_rows() -> None:
    noisy = data.Transformed(
        data.ArrayDataset(np.arange(10)), lambda random, row: (row + random.random(),)
    )
    part = data.Subset(noisy, [4, 2])
    whole = noisy.fetch_epoch(np.arange(10), 1, 3)[0]
    np.testing.assert_array_equal(
        part.fetch_epoch(np.array([0, 1]), 1, 3)[0], whole[np.array([4, 2])]
    )


def test_a_source_that_gives_the_wrong_number_of_rows_is_named() -> None:
    class Short(Slow):
        def fetch(self, rows: Any) -> Any:
            return rows[:1], rows

    with pytest.raises(DataError, match=r"Short.fetch was asked for 4 rows"):
        list(data.Loader(Short(), 4))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: data.Loader(Y, 21), DataError, "only 20 rows"),
        (lambda: data.Loader(Y, 0), DataError, "wanted a whole number"),
        (lambda: data.Loader(Y, 0, last="keep"), ArgumentError, "batch_size is 0"),
        (lambda: data.Loader(Y[:0], 1), DataError, "empty"),
        (lambda: data.Loader(Y, 2, last="fill"), ArgumentError, "last='fill'"),
        (lambda: data.Loader(Y, 2, workers=-1), ArgumentError, "workers is -1"),
        (lambda: data.Loader(Y, 2, seed=-3), ArgumentError, "seed is -3"),
        (lambda: data.Loader((X, Y[:3]), 2), DataError, "several lengths"),
    ],
)
def test_bad_calls_say_what_to_do(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()
