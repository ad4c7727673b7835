"""Sources of arrays, mapped files, tokens, sequences and time series; what bad ones get."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg import data
from thalweg.errors import DataError

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


def rows(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def test_arrays_and_subsets_keep_names_labels_and_places() -> None:
    whole = data.ArrayDataset(X, Y)
    assert whole.names == ("input", "target")
    assert whole.labels is not None
    part = data.Subset(data.Subset(whole, [9, 7, 5]), [-1, 0])
    np.testing.assert_array_equal(part.fetch(rows(0, 1))[1], [5, 9])
    assert part.labels is not None
    assert part.labels.tolist() == [5, 9]
    assert part.describe(1) == "row 9"
    assert data.Subset(whole, Y % 2 == 0).rows.tolist() == [0, 2, 4, 6, 8]
    assert data.as_dataset({"a": X, "b": Y}).names == ("a", "b")
    assert data.ArrayDataset(X, X[:, 0]).labels is None  # numbers are no classes


def test_mapped_files_give_the_rows_of_the_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    mapped = data.MappedDataset(tmp_path / "x.npy", tmp_path / "y.npy")
    assert mapped.names == ("x", "y")
    assert isinstance(mapped.arrays[0].base, np.memmap)
    x = mapped.fetch(rows(3, 3, 1))[0]
    np.testing.assert_array_equal(x, X[[3, 3, 1]])
    x += 1  # a copy, though the file is read-only
    assert mapped.labels is not None
    assert mapped.labels.tolist() == Y.tolist()
    assert mapped.describe(4).endswith("x.npy: row 4")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: int(mapped.fetch(rows(i))[1][0]), range(10)))
    assert found == Y.tolist()


def test_a_damaged_mapped_file_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    whole = (tmp_path / "x.npy").read_bytes()
    for name, raw in (("cut", whole[:-8]), ("empty", b""), ("other", b"a,b\n1,2\n" * 40)):
        (tmp_path / f"{name}.npy").write_bytes(raw)
        with pytest.raises(DataError, match=rf"{name}\.npy is no .npy file"):
            data.MappedDataset(tmp_path / f"{name}.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        data.MappedDataset(tmp_path / "objects.npy")
    with pytest.raises(DataError, match=r"gone\.npy does not exist"):
        data.MappedDataset(tmp_path / "gone.npy")
    np.save(tmp_path / "y.npy", Y[:4])
    with pytest.raises(DataError, match="several lengths"):
        data.MappedDataset(tmp_path / "x.npy", tmp_path / "y.npy")


@given(
    count=st.integers(3, 80),
    length=st.integers(1, 10),
    stride=st.sampled_from([None, 1, 3]),
)
def test_token_windows_are_shifted_by_one(count: int, length: int, stride: int | None) -> None:
    length = min(length, count - 1)
    windows = data.TokenDataset(np.arange(count), length, stride=stride)
    inputs, targets = windows.fetch(np.arange(len(windows)))
    assert inputs.dtype == targets.dtype == np.int32
    np.testing.assert_array_equal(inputs + 1, targets)
    if stride is None:  # no token is a target twice, and less than a window is left over
        assert len(np.unique(targets)) == targets.size > count - 1 - length - 1
    if stride == 1:
        assert set(targets.ravel().tolist()) == set(range(1, count))


def test_a_token_file_is_mapped_and_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "text.bin"
    assert data.write_tokens(file, [np.arange(500), [7, 8]]) == 502
    windows = data.TokenDataset(file, 100)
    assert isinstance(windows.tokens.base, np.memmap)
    assert windows.fetch(rows(1))[0][0, 0] == 100
    assert windows.describe(1).endswith("tokens 100 to 200")
    with pytest.raises(DataError, match="part 1 holds numbers from 70000"):
        data.write_tokens(file, [[1], [70_000]])
    with pytest.raises(DataError, match=r"part 0 is of dtype float64"):
        data.write_tokens(file, [[0.5]])
    assert file.stat().st_size == 2 * 502  # what was there is there still
    assert [path.name for path in tmp_path.iterdir()] == ["text.bin"]
    file.write_bytes(b"abc")
    with pytest.raises(DataError, match="3 bytes, which is not a whole number of uint16"):
        data.TokenDataset(file, 1)
    with pytest.raises(DataError, match="cannot be read"):
        data.TokenDataset(tmp_path / "gone.bin", 1)


def test_a_token_outside_of_the_vocabulary_is_found_with_its_place() -> None:
    windows = data.TokenDataset(np.array([0, 1, 2, 9, 1, 0]), 2, stride=1, vocabulary=5)
    windows.fetch(rows(0))
    with pytest.raises(DataError, match="token 3 is 9, outside of the vocabulary of 5"):
        windows.fetch(rows(2))
    with pytest.raises(DataError, match="6 tokens"):
        data.TokenDataset(np.arange(6), 6)
    with pytest.raises(DataError, match="one row of whole numbers"):
        data.TokenDataset(np.zeros(6), 2)


def test_sequences_are_padded_to_few_lengths() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 33, 400)
    sequences = [np.full(n, n) for n in lengths]
    edges = [8, 16, 32]
    samples = data.SequenceDataset(sequences, lengths % 2, pad=-1, edges=edges)
    order = data.bucketed(samples.lengths, edges)
    shapes, seen = set(), 0
    for padded, told, target in data.Loader(samples, 16, order=order, last="keep"):
        shapes.add(padded.shape[1])
        seen += len(padded)
        np.testing.assert_array_equal((padded >= 0).sum(axis=1), told)
        np.testing.assert_array_equal(padded[:, 0] % 2, target)
    assert shapes <= set(edges)
    assert seen == 400


@given(
    steps=st.integers(2, 40),
    length=st.integers(1, 8),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 3),
)
def test_windows_are_followed_by_their_horizon(
    steps: int, length: int, horizon: int, stride: int
) -> None:
    if steps < length + horizon:
        with pytest.raises(DataError, match="give more data or shorter windows"):
            data.WindowDataset(np.arange(float(steps)), length, horizon)
        return
    values = np.arange(2.0 * steps).reshape(steps, 2)
    windows = data.WindowDataset(values, length, horizon, stride=stride, targets=values[:, 1])
    past, future = windows.fetch(np.arange(len(windows)))
    assert past.shape[1:] == (length, 2)
    np.testing.assert_array_equal(past[:, -1, 1] + 2, future[:, 0])
    last = future[-1, -1] if stride == 1 else None
    assert last in (None, values[-1, 1])  # the last step is used


def days(*numbers: int) -> Any:
    return np.datetime64("2026-01-01") + np.array(numbers)


def test_windows_across_gaps_are_refused_or_left_out() -> None:
    times = days(0, 1, 2, 3, 9, 10, 11, 12, 13)
    values = np.arange(9.0)
    with pytest.raises(DataError, match=r"1 gaps in time, before row 4 \(2026-01-04 to 2026-01-10"):
        data.WindowDataset(values, 2, 1, times=times)
    windows = data.WindowDataset(values, 2, 1, times=times, gaps="skip")
    past, future = windows.fetch(np.arange(len(windows)))
    assert past[:, 0].tolist() == [0, 1, 4, 5, 6]
    assert future[:, 0].tolist() == [2, 3, 6, 7, 8]
    assert windows.gaps == [4]
    assert len(data.WindowDataset(values, 2, 1, times=times, gaps="keep")) == 7
    assert "2026-01-10" in windows.describe(2)
    with pytest.raises(DataError, match="no window of 5"):
        data.WindowDataset(values, 5, 1, times=times, gaps="skip")


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (days(0, 1, 1, 2), r"row 2 \(2026-01-02\) is the same as row 1"),
        (days(0, 2, 1, 3), r"row 2 \(2026-01-02\) comes before row 1 \(2026-01-03\)"),
        (["2026-01-01", "2026-01-02", "soon", "2026-01-04"], "row 2 is 'soon'"),
        ([0.0, np.nan, 1.0, 2.0], "time of row 1 is missing"),
        (np.array(["2026-01-01", "NaT", "2026-01-03", "2026-01-04"], "M8[D]"), "row 1 is missing"),
        (days(0, 1), "2 times for 4 values"),
    ],
)
def test_times_out_of_order_are_named(times: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        data.WindowDataset(np.arange(4.0), 1, times=times)


def test_months_and_years_have_no_gaps() -> None:
    months = np.arange("2020-01", "2026-01", dtype="datetime64[M]")
    assert data.find_gaps(months) == []
    assert data.find_gaps(months.astype("datetime64[D]").astype(str)) == []
    assert data.find_gaps(np.delete(months, 30).astype("datetime64[us]")) == [30]
    assert data.find_gaps(np.arange("1990", "2020", dtype="datetime64[Y]")) == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: data.ArrayDataset(X, Y[:3]), "several lengths"),
        (lambda: data.ArrayDataset(X, names=["a", "b"]), "2 names for 1 arrays"),
        (lambda: data.ArrayDataset(X, labels=[1]), "wanted one for each of 10 rows"),
        (lambda: data.ArrayDataset(X)[10], "row 10 does not exist"),
        (lambda: data.Subset(data.ArrayDataset(X), []), "no rows were chosen"),
        (lambda: data.Subset(data.ArrayDataset(X), [1, 12]), "row 12 does not exist"),
        (lambda: data.Subset(data.ArrayDataset(X), [0.5]), "wanted row numbers"),
        (lambda: data.SequenceDataset([]), "no sequences"),
        (lambda: data.SequenceDataset([[1], [[1, 2]]]), "sequence 1 has shape"),
        (lambda: data.SequenceDataset([[1]], [1, 2]), "1 sequences, but targets"),
        (lambda: data.SequenceDataset([[1, 2]], edges=[1]), "row 0 has length 2"),
        (lambda: data.WindowDataset([1.0, np.inf, 2.0], 1), "row 1 of the values is missing"),
        (lambda: data.WindowDataset(X, 0), "each must be 1 or more"),
        (lambda: data.WindowDataset(X, 1, targets=Y[:3]), "10 values and 3 targets"),
        (lambda: data.WindowDataset(["a", "b"], 1), "wanted numbers"),
        (lambda: data.WindowDataset(Y, 1, times=Y, gaps="no"), "wanted 'error'"),
    ],
)
def test_bad_calls_say_what_to_do(call: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call()


def test_sources_can_be_read_by_many_threads_at_once(tmp_path: Path) -> None:
    data.write_tokens(tmp_path / "t.bin", [np.arange(5000) % 60_000])
    sources = [
        data.TokenDataset(tmp_path / "t.bin", 8),
        data.WindowDataset(np.arange(600.0), 4),
        data.SequenceDataset([np.arange(i % 9 + 1) for i in range(500)]),
    ]
    faults: list[str] = []

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        for source in sources:
            for _ in range(20):
                chosen = random.integers(0, len(source), 5)
                whole = source.fetch(chosen)
                for i, row in enumerate(chosen):
                    one = source.fetch(np.array([row]))[0][0]
                    if not (whole[0][i][: len(one)] == one).all():
                        faults.append(source.describe(int(row)))

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
