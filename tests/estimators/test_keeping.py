"""Fitted estimators survive pickles and files, and go on from there."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError

from thalweg import estimators, nn
from thalweg.errors import FormatError
from thalweg.estimators import ConvClassifier, MLPClassifier, NeuralClassifier
from thalweg.formats import read_tensors, write_tensors
from thalweg.formats.safetensors_file import read_metadata

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = make_classification(60, 4, random_state=0)
OPTIONS: dict[str, dict[str, Any]] = {
    "MLPClassifier": {"batch_norm": True, "dropout": 0.1, "early_stopping": True},
    "NeuralClassifier": {"class_weight": {0: 1.0, 1: 2.0}},
    "SequenceClassifier": {"kind": "transformer", "hidden": 8},
    "Autoencoder": {"noise": 0.1},
    "ConvClassifier": {"image_shape": (2, 2)},
}


def fitted(name: str) -> Any:
    kind = getattr(estimators, name)
    return kind(**OPTIONS.get(name, {}), max_iter=3, random_state=0).fit(X, Y)


def answers(model: Any) -> Any:
    return model.transform(X) if hasattr(model, "transform") else model.predict(X)


@pytest.mark.parametrize("name", estimators.__all__)
def test_pickles_and_copies_answer_alike(name: str) -> None:
    model = fitted(name)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(answers(again), answers(model))
        assert again.loss_curve_ == model.loss_curve_


def test_a_pickle_holds_arrays_and_no_tensors() -> None:
    state = fitted("MLPClassifier").__getstate__()
    assert set(state["model_"].arrays) >= {"0.weight", "0.bias"}
    assert all(type(a) is np.ndarray for a in state["model_"].arrays.values())


@pytest.mark.parametrize("name", estimators.__all__)
def test_load_after_save_is_identity(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    path = model.save(tmp_path / "model")
    again = type(model).load(path)
    np.testing.assert_array_equal(answers(again), answers(model))
    assert again.get_params() == model.get_params()
    lived = {"model_", "_evaluator", "_trainer", "_optimizer_state"}
    assert {k for k in vars(again) if k not in lived} == {k for k in vars(model) if k not in lived}
    assert again.loss_curve_ == model.loss_curve_
    assert again.n_features_in_ == 4


LABELS = [np.array(["no", "yes"]), np.array(["no", "yes"], object), np.array([-1.0, 2.0]),
          np.array([False, True])]  # fmt: skip


@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_files_keep_the_kind_of_labels(labels: Any, tmp_path: Path) -> None:
    model = MLPClassifier(max_iter=3).fit(X, labels[Y])
    again = MLPClassifier.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.classes_.dtype.kind == labels.dtype.kind


def test_training_goes_on_after_a_pickle() -> None:
    one = MLPClassifier(random_state=0)
    for _ in range(2):
        one.partial_fit(X, Y, classes=[0, 1])
    other = pickle.loads(pickle.dumps(one))
    for model in (one, other):
        model.partial_fit(X, Y)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def two_layers(features: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, 6), nn.GELU(), nn.Linear(6, outputs))


def test_functions_are_left_out_of_files(tmp_path: Path) -> None:
    model = NeuralClassifier(two_layers, max_iter=2).fit(X, Y)
    again = NeuralClassifier.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.module is None
    assert pickle.loads(pickle.dumps(model)).module is two_layers


class Scaled(nn.Module):
    """A layer of a user, which keeps its arguments."""

    def __init__(self, features: int, outputs: int) -> None:
        self.features, self.outputs = features, outputs
        self.inner = nn.Linear(features, outputs)

    def forward(self, x: Any) -> Any:
        return 2 * self.inner(x)


def test_modules_of_users(tmp_path: Path) -> None:
    model = NeuralClassifier(Scaled, max_iter=2).fit(X, Y)
    path = model.save(tmp_path / "model")
    with pytest.raises(FormatError, match="Scaled"):
        NeuralClassifier.load(path)
    again = NeuralClassifier.load(path, modules=[Scaled])
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        MLPClassifier().save(tmp_path / "model")
    path = fitted("MLPClassifier").save(tmp_path / "model")
    with pytest.raises(FormatError, match=r"use MLPClassifier\.load"):
        ConvClassifier.load(path)
    with pytest.raises(FormatError, match="does not exist"):
        MLPClassifier.load(tmp_path / "other.safetensors")
    write_tensors(tmp_path / "plain.safetensors", {"x": X})
    with pytest.raises(FormatError, match="holds no estimator"):
        MLPClassifier.load(tmp_path / "plain.safetensors")
    told = json.loads(read_metadata(path)["thalweg.estimator"])
    for change, match in (({"format_version": 9}, "upgrade"), ({"fitted": None}, "damaged"),
                          ({"format_version": "x"}, "damaged")):  # fmt: skip
        text = json.dumps({**told, **change})
        write_tensors(tmp_path / "b.safetensors", read_tensors(path), {"thalweg.estimator": text})
        with pytest.raises(FormatError, match=match):
            MLPClassifier.load(tmp_path / "b.safetensors")
