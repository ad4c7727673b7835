"""Optimisers, schedules of their learning rates, and clipping of gradients."""

from __future__ import annotations

from thalweg.optim.adadelta import Adadelta
from thalweg.optim.adagrad import Adagrad
from thalweg.optim.adam import Adam, AdamW, NAdam
from thalweg.optim.clipping import clip_by_global_norm, clip_by_norm, clip_by_value, global_norm
from thalweg.optim.groups import no_decay_on_biases_and_norms
from thalweg.optim.lbfgs import LBFGS, Minimum
from thalweg.optim.lion import Lion
from thalweg.optim.muon import Muon
from thalweg.optim.optimizer import Optimizer
from thalweg.optim.plateau import ReduceOnPlateau
from thalweg.optim.rmsprop import RMSprop
from thalweg.optim.schedules import (
    SCHEDULES,
    Schedule,
    constant,
    cosine,
    exponential,
    join,
    linear_warmup,
    one_cycle,
    piecewise,
    polynomial,
    step,
)
from thalweg.optim.sgd import SGD, GradientDescent, Momentum, Nesterov
from thalweg.optim.table import OPTIMIZERS, get

__all__ = [
    "LBFGS", "OPTIMIZERS", "SCHEDULES", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW",
    "GradientDescent", "Lion", "Minimum", "Momentum", "Muon", "NAdam", "Nesterov", "Optimizer",
    "RMSprop", "ReduceOnPlateau", "Schedule", "clip_by_global_norm", "clip_by_norm",
    "clip_by_value", "constant", "cosine", "exponential", "get", "global_norm", "join",
    "linear_warmup", "no_decay_on_biases_and_norms", "one_cycle", "piecewise", "polynomial",
    "step",
]  # fmt: skip
