"""Model files: load after save is the identity for every layer; nothing else gets in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg import nn
from thalweg.errors import FormatError
from thalweg.formats import info, load, load_weights, read_tensors, save, write_tensors
from thalweg.formats.architecture import build, describe
from thalweg.formats.atomic import check_writable, write_through

# Arguments for the layers that need some; all others are made without.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "BatchNorm1d": (3,), "Bilinear": (3, 4, 2), "Embedding": (5, 3), "LayerNorm": ((2, 3),),
    "LearnedPositions": (5, 3), "MultiHeadAttention": (4, 2), "PatchEmbedding": (4, 2, 3, 5),
    "RotaryEmbedding": (4,), "SinusoidalPositions": (4,), "TransformerEncoderLayer": (4, 2, 6),
    "TransformerDecoderLayer": (4, 2, 6),
    "TransformerEncoder": (nn.TransformerEncoderLayer(4, 2, 6), 2),
    "TransformerDecoder": (nn.TransformerDecoderLayer(4, 2, 6), 2),
    "Linear": (3, 2), "RMSNorm": (3,), "Residual": (nn.Linear(3, 3),),
    "SpectralNorm": (nn.Linear(3, 2),), "GroupNorm": (2, 4), "PixelShuffle": (2,),
    "PixelUnshuffle": (2,), "Upsample": (2,), "GRU": (3, 2), "LSTM": (3, 2), "RNN": (3, 2),
    **{f"{name}{rank}d": (3, 2, 3) for name in ("Conv", "ConvTranspose") for rank in (1, 2, 3)},
    **{f"{name}{rank}d": (2,) for rank in (1, 2, 3) for name in (
        "AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "MaxPool")},
    **{f"{name}2d": (1,) for name in ("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad")},
    **dict.fromkeys(("BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d"), (3,)),
}  # fmt: skip
OTHERS = [
    nn.Linear(3, 2, bias=False, dtype="float64"),
    nn.Linear(3, 2, weight_init=0.5, bias_init=1.0),
    nn.BatchNorm1d(3, momentum=None, affine=False, axis=1),
    nn.BatchNorm1d(3, track_running_stats=False),
    nn.LayerNorm(3, bias=False),
    nn.Hardtanh(min_val=-float("inf"), max_val=2.0),
    nn.Dropout(0.25),
    nn.Flatten(start_axis=2),
    nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(3, 2)),
    nn.Linear(3, 2).astype("bfloat16"),
]


def layers() -> list[nn.Module]:
    made = []
    for name in nn.__all__:
        kind = getattr(nn, name)
        base = name in ("Activation", "Module", "Weighted")
        if isinstance(kind, type) and issubclass(kind, nn.Module) and not base:
            made.append(kind(*ARGUMENTS.get(name, ())))
    return made + OTHERS


def same(a: nn.Module, b: nn.Module) -> None:
    assert repr(a) == repr(b)
    assert describe(a) == describe(b)
    one, other = a.state_dict(), b.state_dict()
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("layer", layers(), ids=lambda m: type(m).__name__)
def test_load_after_save_is_the_identity(layer: nn.Module, tmp_path: Path) -> None:
    path = save(layer, tmp_path / "model")
    assert path == tmp_path / "model.safetensors"
    same(load(path), layer)
    assert not load(path).training


def test_initialisers_that_json_cannot_hold_are_left_out(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2, weight_init=np.full((3, 2), 7.0))
    again = load(save(layer, tmp_path / "m"))
    np.testing.assert_array_equal(again.state_dict()["weight"], layer.weight.numpy())


def test_a_network_gives_the_same_outputs_after_loading(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.5),
                          nn.Linear(8, 3), seed=1)  # fmt: skip
    x = tw.tensor(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    model(x)  # moves the running statistics
    model[0].freeze()
    facts = {"epochs": 3, "history": {"loss": [1.0, 0.5]}}
    path = save(model, tmp_path / "m.safetensors", classes=["a", "b", "c"], training=facts)
    again = load(path)
    np.testing.assert_array_equal(again(x).numpy(), model.eval()(x).numpy())
    assert list(again.trainable_parameters()) == list(model.trainable_parameters())
    told = info(path)
    assert told.classes == ["a", "b", "c"]
    assert told.training == facts
    assert json.loads((tmp_path / "m.json").read_text()) == json.loads(told.to_json())


def test_a_shared_layer_stays_shared(tmp_path: Path) -> None:
    layer = nn.Linear(3, 3)
    again = load(save(nn.Sequential(layer, nn.ReLU(), layer), tmp_path / "m"))
    assert isinstance(again, nn.Sequential)
    assert again[0] is again[2]


class Branch(nn.Module):
    def __init__(self, features: int, inner: nn.Module, scales: tuple[float, ...] = ()) -> None:
        self.features, self.inner, self.scales = features, inner, scales

    def forward(self, x: Any) -> Any:
        return x + self.inner(x)


class Forgetful(nn.Module):
    def __init__(self, features: int) -> None:
        self.inner = nn.Linear(features, features)


def test_own_modules_are_saved_and_need_to_be_named_when_loaded(tmp_path: Path) -> None:
    model = nn.Sequential(Branch(3, nn.Linear(3, 3), (0.5, 2.0)), nn.ReLU())
    path = save(model, tmp_path / "m")
    with pytest.raises(FormatError, match=r"holds a 'Branch'.*load\(path, modules=\[Branch\]"):
        load(path)
    again = load(path, modules=[Branch])
    same(again, model)
    assert isinstance(again, nn.Sequential)
    assert again[0].scales == (0.5, 2.0)


def test_a_module_that_forgets_its_arguments_cannot_be_described(tmp_path: Path) -> None:
    model = nn.Sequential(nn.ReLU(), Forgetful(2))
    with pytest.raises(FormatError, match=r"Forgetful \(layer layers.1\).*self.features = feature"):
        save(model, tmp_path / "m")
    with pytest.raises(FormatError, match="'inner' is function"):
        save(Branch(2, lambda x: x), tmp_path / "m")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_missing_truncated_and_other_files_are_told_apart(tmp_path: Path) -> None:
    path = save(nn.Linear(3, 2), tmp_path / "model")
    with pytest.raises(FormatError, match=r"does not exist. Did you mean .*model.safetensors"):
        load(tmp_path / "modell.safetensors")
    with pytest.raises(FormatError, match=r"is a folder. Did you mean .*model.safetensors"):
        load(tmp_path)
    with pytest.raises(FormatError, match="not a model"):
        load(tmp_path / "model.json")
    data = path.read_bytes()
    for length in (0, 4, 100, len(data) - 1):
        (tmp_path / "part").write_bytes(data[:length])
        with pytest.raises(FormatError, match=r"truncated|empty|not a model"):
            load(tmp_path / "part")
    write_tensors(tmp_path / "plain", {"weight": np.ones((3, 2))})
    with pytest.raises(FormatError, match=r"without an architecture.*load_weights"):
        load(tmp_path / "plain")


def retold(path: Path, **changes: Any) -> Path:
    told = json.loads(info(path).to_json()) | changes
    write_tensors(path, read_tensors(path), {"thalweg": json.dumps(told)})
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format_version": 99, "thalweg_version": "9.1"}, "Thalweg 9.1.*Upgrade"),
        ({"format_version": "x"}, "damaged"),
        ({"architecture": {"type": "Linaer", "arguments": {}}}, "did you mean 'Linear'"),
        ({"architecture": {"type": "Linear", "arguments": {"wings": 2}}}, "makes no sense"),
        ({"architecture": {"type": "Linear"}}, "makes no sense"),
        ({"architecture": []}, "makes no sense"),
        ({"architecture": {"type": "Linear", "arguments": {"in_features": {"code": "x"}}}},
         "means nothing"),
        ({"architecture": {"type": "Linear", "arguments": {"in_features": 4, "out_features": 2}}},
         "another architecture"),
        ({"architecture": {"type": "ReLU", "arguments": {}}}, "another architecture"),
    ],
)  # fmt: skip
def test_descriptions_that_do_not_fit_are_refused(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = retold(save(nn.Linear(3, 2), tmp_path / "m"), **changes)
    with pytest.raises(FormatError, match=says):
        load(path)


def test_weights_of_another_architecture_leave_the_model_as_it_was(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    before = model.state_dict()
    with pytest.raises(FormatError, match="another architecture; nothing was loaded"):
        load_weights(model, save(nn.Linear(3, 2), tmp_path / "m"))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_failed_save_leaves_the_existing_model(tmp_path: Path, monkeypatch: Any) -> None:
    first = nn.Linear(3, 2)
    path = save(first, tmp_path / "m")
    with pytest.raises(FormatError, match="not JSON"):
        save(nn.Linear(3, 2), path, training={"loss": np.float32(1)})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(nn.Linear(3, 2), path)
    same(load(path), first)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.json", "m.safetensors"]


def test_a_writer_that_fails_leaves_the_file_and_no_rubbish(tmp_path: Path) -> None:
    place = tmp_path / "figure.png"
    place.write_text("old")

    def fails(name: Path) -> None:
        name.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_through(place, fails)
    assert place.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_a_folder_below_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FormatError, match=r"cannot be written to: .*Nothing was started"):
            check_writable(place)
    assert check_writable(tmp_path / "a" / "b").is_dir()


def test_building_twice_from_one_description_gives_equal_models() -> None:
    told = describe(nn.Sequential(nn.Linear(4, 3), nn.SELU(), nn.Linear(3, 1, bias=False)))
    assert describe(build(told)) == told == json.loads(json.dumps(told))
