"""Estimators: networks with the interface of scikit-learn, for its pipelines and searches."""

from __future__ import annotations

try:
    import sklearn as _sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "thalweg.estimators needs scikit-learn, which is not installed; install it with "
        "pip install 'thalweg[sklearn]'",
        name="sklearn",
    ) from error

from thalweg.estimators.autoencoder import Autoencoder
from thalweg.estimators.images import ConvClassifier
from thalweg.estimators.mlp import MLPClassifier, MLPRegressor
from thalweg.estimators.neural import NeuralClassifier, NeuralRegressor
from thalweg.estimators.sequences import SequenceClassifier
from thalweg.estimators.sharing import share_cores

__all__ = [
    "Autoencoder",
    "ConvClassifier",
    "MLPClassifier",
    "MLPRegressor",
    "NeuralClassifier",
    "NeuralRegressor",
    "SequenceClassifier",
]

share_cores()
