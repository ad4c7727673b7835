"""The safetensors format: ours reads what the reference package writes, and the other way round."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import DTypeError, FormatError
from thalweg.formats import read_tensors, write_tensors
from thalweg.formats.safetensors_file import read_metadata

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint32",
          "bool"]  # fmt: skip


@given(
    arrays=st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_the_reference_package_and_we_read_one_another(
    arrays: dict[str, tuple[str, list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("safetensors")
    rng = np.random.default_rng(0)
    tensors = {k: np.asarray(rng.integers(0, 2, shape)).astype(d) for k, (d, shape) in
               arrays.items()}  # fmt: skip
    write_tensors(folder / "ours", tensors, {"a": "ü"})
    safetensors.numpy.save_file(tensors, folder / "theirs", {"b": "x"})
    for found in (safetensors.numpy.load_file(folder / "ours"), read_tensors(folder / "theirs"),
                  read_tensors(folder / "ours")):  # fmt: skip
        assert set(found) == set(tensors)
        for name, value in tensors.items():
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)
    assert read_metadata(folder / "theirs") == {"b": "x"}
    with safetensors.safe_open(folder / "ours", framework="numpy") as opened:
        assert opened.metadata() == {"a": "ü"}


def test_bfloat16_and_strided_and_big_endian_arrays(tmp_path: Path) -> None:
    given = {
        "half": np.arange(6, dtype=ml_dtypes.bfloat16).reshape(2, 3),
        "turned": np.arange(6.0).reshape(2, 3).T,
        "big": np.arange(3, dtype=">f4"),
        "one": np.float32(3),
    }
    write_tensors(tmp_path / "file", given)
    found = read_tensors(tmp_path / "file")
    assert found["half"].dtype == ml_dtypes.bfloat16
    assert found["one"].shape == ()
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].flags.writeable


def test_a_dtype_outside_of_the_format_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match="complex128"):
        write_tensors(tmp_path / "file", {"z": np.zeros(2, complex)})
    assert list(tmp_path.iterdir()) == []


def header(**entry: object) -> bytes:
    text = json.dumps({"x": entry}).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a model"),
        (b"abc", "not a model"),
        (b"\x80\x04\x95" + b"." * 100, "not a model"),  # a pickle
        ((1000).to_bytes(8, "little") + b'{"x"', "truncated"),
        ((4).to_bytes(8, "little") + b"{abc", "damaged: its header is not JSON"),
        (header(dtype="F32", shape=[2], data_offsets=[0, 8]) + bytes(3), "truncated"),
        (header(dtype="F32", shape=[3], data_offsets=[0, 8]) + bytes(8), "'x' makes no sense"),
        (header(dtype="F32", shape=[-1, -2], data_offsets=[0, 8]) + bytes(8), "makes no sense"),
        (header(dtype="F32", shape=[2], data_offsets=[-8, 0]) + bytes(8), "makes no sense"),
        (header(dtype="OBJ", shape=[2], data_offsets=[0, 8]) + bytes(8), "makes no sense"),
    ],
)
def test_files_of_other_kinds_are_told_apart(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(FormatError, match=says):
        read_tensors(tmp_path / "file")


def test_every_truncation_of_a_file_is_an_error(tmp_path: Path) -> None:
    write_tensors(tmp_path / "whole", {"x": np.arange(5.0), "y": np.ones((2, 2), np.int8)})
    data = (tmp_path / "whole").read_bytes()
    for length in range(len(data)):
        (tmp_path / "part").write_bytes(data[:length])
        with pytest.raises(FormatError):
            read_tensors(tmp_path / "part")
