"""Training: ``fit`` in one call, ``Trainer`` for more say, metrics, events and their history."""

from __future__ import annotations

from thalweg.train.checkpoints import CheckpointFolder, CheckpointWarning
from thalweg.train.diagnosis import dead_units
from thalweg.train.ema import WeightAverage
from thalweg.train.evaluation import Evaluator, evaluate, predict
from thalweg.train.events import Events, History, Run
from thalweg.train.finder import LearningRates, find_learning_rate
from thalweg.train.fit import fit
from thalweg.train.logs import CSVLog, JSONLinesLog, MLflowLog, TensorBoardLog
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
from thalweg.train.statistics import (
    AUC,
    F1,
    R2,
    RMSE,
    Accumulated,
    Perplexity,
    Precision,
    Recall,
)
from thalweg.train.trainer import Trainer
from thalweg.train.verdict import Verdict

__all__ = [
    "AUC",
    "F1",
    "METRICS",
    "R2",
    "RMSE",
    "Accumulated",
    "CSVLog",
    "CheckpointFolder",
    "CheckpointWarning",
    "Evaluator",
    "Events",
    "History",
    "JSONLinesLog",
    "LearningRates",
    "MLflowLog",
    "Perplexity",
    "Precision",
    "Progress",
    "Recall",
    "Run",
    "TensorBoardLog",
    "Trainer",
    "Verdict",
    "WeightAverage",
    "accuracy",
    "confusion_matrix",
    "dead_units",
    "evaluate",
    "find_learning_rate",
    "fit",
    "mae",
    "mse",
    "predict",
    "r2",
    "top_k_accuracy",
]
