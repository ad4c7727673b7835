"""Training: ``fit`` in one call, ``Trainer`` for more say, metrics, events and their history."""

from __future__ import annotations

from thalweg.train.evaluation import Evaluator, evaluate, predict
from thalweg.train.events import Events, History, Run
from thalweg.train.fit import fit
from thalweg.train.metrics import (
    METRICS,
    accuracy,
    confusion_matrix,
    mae,
    mse,
    r2,
    top_k_accuracy,
)
from thalweg.train.progress import Progress
from thalweg.train.trainer import Trainer

__all__ = [
    "METRICS",
    "Evaluator",
    "Events",
    "History",
    "Progress",
    "Run",
    "Trainer",
    "accuracy",
    "confusion_matrix",
    "evaluate",
    "fit",
    "mae",
    "mse",
    "predict",
    "r2",
    "top_k_accuracy",
]
