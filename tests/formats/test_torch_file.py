"""PyTorch's files: what they hold is read, and nothing in them is ever run."""

from __future__ import annotations

import contextlib
import doctest
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from thalweg.errors import FormatError
from thalweg.formats import pickled_data, read_torch, torch_file
from thalweg.formats.pickled_data import read_pickled_data

Array = np.ndarray[Any, Any]
STORAGES = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage", "int64": "LongStorage", "int32": "IntStorage",
    "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage", "bool": "BoolStorage",
}  # fmt: skip


# --- pickles, put together instruction by instruction -------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    size = (value.bit_length() + 8) // 8
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def several(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + several(*arguments) + b"R"


def ordered(**entries: bytes) -> bytes:
    made = call(name("collections", "OrderedDict"))
    return made + b"(" + b"".join(text(k) + v for k, v in entries.items()) + b"u"


def numbers(values: Any) -> bytes:
    return several(*(whole(int(v)) for v in values))


def pointer(key: str, dtype: str, count: int, *more: bytes) -> bytes:
    kind = name("torch", STORAGES[dtype])
    return several(text("storage"), kind, text(key), text("cpu"), whole(count), *more) + b"Q"


def tensor(
    key: str, dtype: str, count: int, offset: int, shape: Any, strides: Any, more: bytes = b"N"
) -> bytes:
    storage = pointer(key, dtype, count) if more == b"N" else pointer(key, dtype, count, more)
    return call(name("torch._utils", "_rebuild_tensor_v2"), storage, whole(offset), numbers(shape),
                numbers(strides), b"\x89", call(name("collections", "OrderedDict")))  # fmt: skip


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def archive(path: Path, body: bytes, storages: dict[str, Array], **more: bytes) -> Path:
    """Write a file as torch.save does since PyTorch 1.6."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", program(body))
        for key, values in storages.items():
            file.writestr(f"archive/data/{key}", values.tobytes())
        for entry, data in more.items():
            file.writestr(f"archive/{entry}", data)
    return path


def older(path: Path, body: bytes, storages: dict[str, Array]) -> Path:
    """Write a file as torch.save did before PyTorch 1.6."""
    keys = b"]" + b"(" + b"".join(text(k) for k in storages) + b"e"
    machine = b"}" + b"(" + text("little_endian") + b"\x88" + b"u"
    parts = [program(p) for p in (whole(0x1950A86A20F9469CFC6C), whole(1001), machine, body, keys)]
    for values in storages.values():
        parts += [struct.pack("<q", values.size), values.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


VALUES = np.arange(24, dtype=np.float32)
WRITERS = pytest.mark.parametrize("write", [archive, older])


def refused(path: Path, words: str) -> str:
    with pytest.raises(FormatError) as caught:
        read_torch(path)
    message = str(caught.value)
    assert words in message
    assert path.name in message
    return message


# --- what is read -------------------------------------------------------------------------------


@WRITERS
def test_tensors_are_read_with_their_offsets_and_strides(write: Any, tmp_path: Path) -> None:
    body = ordered(
        whole=tensor("0", "float32", 24, 0, (2, 3, 4), (12, 4, 1)),
        turned=tensor("0", "float32", 24, 0, (4, 6), (1, 4)),
        part=tensor("0", "float32", 24, 13, (2, 2), (4, 2)),
        scalar=tensor("0", "float32", 24, 5, (), ()),
        empty=tensor("0", "float32", 24, 0, (0, 3), (3, 1)),
        spread=tensor("0", "float32", 24, 7, (3, 2), (0, 0)),
    )
    found = read_torch(write(tmp_path / "a.pth", body, {"0": VALUES}))
    assert list(found) == ["whole", "turned", "part", "scalar", "empty", "spread"]
    np.testing.assert_array_equal(found["whole"], VALUES.reshape(2, 3, 4))
    np.testing.assert_array_equal(found["turned"], VALUES.reshape(6, 4).T)
    np.testing.assert_array_equal(found["part"], [[13, 15], [17, 19]])
    assert found["scalar"] == 5
    assert found["empty"].shape == (0, 3)
    np.testing.assert_array_equal(found["spread"], np.full((3, 2), 7))
    assert all(a.flags.writeable and a.flags.owndata for a in found.values())


@WRITERS
@pytest.mark.parametrize("dtype", STORAGES)
def test_every_dtype(write: Any, dtype: str, tmp_path: Path) -> None:
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    values = np.array([0, 1, 2, 3]).astype(kind)
    body = tensor("k", dtype, 4, 0, (4,), (1,))
    found = read_torch(write(tmp_path / "a.pt", body, {"k": values}))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_nested_objects_stay_nested(tmp_path: Path) -> None:
    entries = {
        "epoch": whole(7), "share": b"G" + struct.pack(">d", 0.5), "name": text("net"),
        "none": b"N", "flags": b"\x88\x89\x86", "list": b"](" + whole(1) + whole(-2) + b"e",
        "size": call(name("torch", "Size"), numbers((3, 4))),
        "device": call(name("torch", "device"), text("cpu")),
        "dtype": name("torch", "bfloat16"),
        "parameter": call(name("torch._utils", "_rebuild_parameter"),
                          tensor("0", "float32", 24, 0, (2,), (1,)), b"\x88", b"}"),
    }  # fmt: skip
    found = read_torch(archive(tmp_path / "a.pt", ordered(**entries), {"0": VALUES}))
    np.testing.assert_array_equal(found.pop("parameter"), [0, 1])
    assert found == {
        "epoch": 7, "share": 0.5, "name": "net", "none": None, "flags": (True, False),
        "list": [1, -2], "size": (3, 4), "device": "cpu", "dtype": "bfloat16",
    }  # fmt: skip


def test_numbers_of_a_big_endian_machine(tmp_path: Path) -> None:
    body = tensor("0", "float32", 24, 0, (24,), (1,))
    path = archive(tmp_path / "a.pt", body, {"0": VALUES.byteswap()}, byteorder=b"big")
    np.testing.assert_array_equal(read_torch(path), VALUES)


def test_a_tensor_met_twice_is_one_array(tmp_path: Path) -> None:
    one = tensor("0", "float32", 24, 0, (24,), (1,))
    body = b"](" + one + b"q\x01" + b"h\x01" + b"e"
    a, b = read_torch(archive(tmp_path / "a.pt", body, {"0": VALUES}))
    assert a is b


# --- what is refused, and not run ---------------------------------------------------------------


class Evil:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def attacks(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Return pickles that would make a file if they were run, and the name that betrays them."""
    import os

    code = f"open({str(marker)!r}, 'w')"
    shell = f"touch {marker}"
    made = {
        f"{os.system.__module__}.system": Evil(os.system, shell),
        "builtins.eval": Evil(eval, code),
        "builtins.exec": Evil(exec, code),
        "builtins.getattr": Evil(getattr, os, "system"),
    }
    found = {
        # Protocol 2 says __builtin__, as Python 2 did.
        f"{word}-{protocol}": (pickle.dumps(evil, protocol), word.rpartition(".")[2])
        for word, evil in made.items() if word != "builtins.getattr" for protocol in (2, 4)
    }  # fmt: skip
    quoted = text(shell)
    return found | {
        "os.system": (program(call(name("os", "system"), quoted)), "os.system"),
        "in a dict": (program(ordered(a=call(name("builtins", "eval"), text(code)))), "eval"),
        "as key": (program(b"}" + call(name("os", "system"), quoted) + b"Ns"), "os.system"),
        "by stack": (program(text("os") + text("system") + b"\x93" + several(quoted) + b"R"),
                     "os.system"),
        "inst": (b"(S'" + shell.encode() + b"'\nios\nsystem\n.", "os.system"),
        "obj": (program(b"(" + name("os", "system") + quoted + b"o"), "os.system"),
        "newobj": (program(name("subprocess", "Popen") + several(quoted) + b"\x81"), "Popen"),
        "newobj of ours": (program(name("torch", "Size") + several() + b"\x81"), "NEWOBJ"),
        "extension": (program(b"\x82\x01" + several() + b"R"), "EXT1"),
        "attribute": (program(name("torch._utils", "os.system") + several(quoted) + b"R"),
                      "torch._utils.os.system"),
        "text as function": (program(text("os.system") + several(quoted) + b"R"), "a call of"),
        "dtype as function": (program(name("torch", "float32") + several() + b"R"), "a call of"),
        "argument not a tuple": (program(name("torch", "Size") + text("x") + b"R"), "a call of"),
        "import": (program(call(name("importlib", "import_module"), text("os"))), "importlib"),
        "torch itself": (program(call(name("torch", "load"), text("x"))), "torch.load"),
        "numpy": (program(name("numpy.core.multiarray", "_reconstruct")), "numpy.core.multiarray"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", attacks(Path("x")))
def test_code_is_refused_by_name_and_never_run(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "it_ran"
    body, word = attacks(marker)[kind]
    (tmp_path / "bare.pth").write_bytes(body)
    message = refused(tmp_path / "bare.pth", word)
    assert "no code is run" in message
    assert "torch.save(model.state_dict(), path)" in message
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as file:
        file.writestr("m/data.pkl", body)
    refused(tmp_path / "zip.pth", word)
    start = older(tmp_path / "older.pth", b"N", {}).read_bytes()
    (tmp_path / "older.pth").write_bytes(start.replace(program(b"N"), body))
    refused(tmp_path / "older.pth", word)
    assert not marker.exists()


def test_the_attacks_would_work(tmp_path: Path) -> None:
    marker = tmp_path / "it_ran"
    pickle.loads(attacks(marker)["builtins.eval-2"][0]).close()
    assert marker.exists()


def test_state_of_objects_is_not_set() -> None:
    # BUILD on a dict is what state_dict's _metadata needs; on anything else it could run code.
    assert read_pickled_data(io.BytesIO(program(b"}}b")), {}) == {}
    with pytest.raises(FormatError, match="where a dict belongs"):
        read_pickled_data(io.BytesIO(program(b"]}b")), {})
    with pytest.raises(FormatError, match="where a list belongs"):
        read_pickled_data(io.BytesIO(program(b"}" + whole(1) + b"a")), {})


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(1, (24,), (1,)), (0, (5, 5), (5, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (1,)),
     (0, (2**41,), (1,)), (0, (2**20, 2**20), (0, 0)), (24, (1,), (1,)), (2**70, (1,), (1,))],
)  # fmt: skip
@WRITERS
def test_tensors_outside_of_their_storage(
    write: Any, offset: int, shape: Any, strides: Any, tmp_path: Path
) -> None:
    body = tensor("0", "float32", 24, offset, shape, strides)
    refused(write(tmp_path / "a.pth", body, {"0": VALUES}), "a tensor")


def test_containers_that_hold_themselves_or_grow_without_end(tmp_path: Path) -> None:
    refused(archive(tmp_path / "self.pt", b"]q\x01h\x01a", {}), "holds itself")
    deep = b"]" * 100_000 + b"a" * 99_999
    refused(archive(tmp_path / "deep.pt", deep, {}), "nested too deeply")
    # Each tuple holds the one before twice: 2**60 elements when written out.
    twice = b")" + b"".join(bytes([0x71, i, 0x68, i, 0x86]) for i in range(60))
    assert read_torch(archive(tmp_path / "shared.pt", twice, {}))[0][0] is not None
    refused(archive(tmp_path / "hashed.pt", b"}" + twice + b"Ns", {}), "is a key")


def test_every_truncated_file_says_so(tmp_path: Path) -> None:
    body = ordered(a=tensor("0", "float32", 24, 0, (24,), (1,)), b=text("end"))
    for write in (archive, older):
        data = write(tmp_path / "whole.pth", body, {"0": VALUES}).read_bytes()
        cut = tmp_path / "cut.pth"
        for size in range(0, len(data), 3):
            cut.write_bytes(data[:size])
            with pytest.raises(FormatError, match=r"cut\.pth"):
                read_torch(cut)


def test_changed_bytes_never_end_in_anything_but_a_format_error(tmp_path: Path) -> None:
    body = ordered(a=tensor("0", "float32", 24, 0, (24,), (1,)), b=text("end"))
    source = np.random.default_rng(3)
    for write in (archive, older):
        data = write(tmp_path / "whole.pth", body, {"0": VALUES}).read_bytes()
        changed = tmp_path / "changed.pth"
        for _ in range(500):
            bad = bytearray(data)
            for place in source.integers(0, len(data), 2):
                bad[place] = source.integers(0, 256)
            changed.write_bytes(bytes(bad))
            with contextlib.suppress(FormatError):
                read_torch(changed)


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").write_bytes(b"")
    refused(tmp_path / "empty.pt", "it is empty")
    refused(tmp_path / "missing.pt", "does not exist")
    refused(tmp_path, "cannot be read")
    (tmp_path / "a.txt").write_text("hello there")
    refused(tmp_path / "a.txt", "torch.save")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    refused(tmp_path / "plain.pkl", "does not begin as a file of torch.save does")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a.txt", "x")
    refused(tmp_path / "other.zip", "holds no data.pkl")
    refused(archive(tmp_path / "script.pt", b"N", {}, **{"constants.pkl": b""}), "TorchScript")
    body = tensor("0", "float32", 24, 0, (24,), (1,))
    refused(archive(tmp_path / "lacks.pt", body, {}), "lacks the storage '0'")
    refused(archive(tmp_path / "short.pt", body, {"0": VALUES[:20]}), "80 bytes where 96")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", program(b"N"))
    refused(tmp_path / "bomb.pt", "is compressed")
    from thalweg.formats import write_tensors

    write_tensors(tmp_path / "a.safetensors", {"x": VALUES})
    refused(tmp_path / "a.safetensors", "thalweg.formats.read_tensors")


@pytest.mark.parametrize("module", [pickled_data, torch_file])
def test_examples_in_docstrings_run(module: Any) -> None:
    failed, _ = doctest.testmod(module)
    assert failed == 0
