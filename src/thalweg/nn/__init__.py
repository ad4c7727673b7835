"""Neural network layers, initial values and losses."""

from __future__ import annotations

from thalweg.nn import initializers, losses
from thalweg.nn.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Step,
    Tanh,
    get_activation,
)
from thalweg.nn.containers import Sequential
from thalweg.nn.dropout import Dropout
from thalweg.nn.embedding import Embedding
from thalweg.nn.layers import Bilinear, Flatten, Identity, Linear, Weighted
from thalweg.nn.module import Module, observe
from thalweg.nn.normalization import BatchNorm1d, LayerNorm, RMSNorm
from thalweg.nn.recurrent import GRU, LSTM, RNN
from thalweg.nn.summary import Summary
from thalweg.tensor.tensor import Parameter

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Activation",
    "BatchNorm1d",
    "Bilinear",
    "Dropout",
    "Embedding",
    "Flatten",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "Module",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Step",
    "Summary",
    "Tanh",
    "Weighted",
    "get_activation",
    "initializers",
    "losses",
    "observe",
]  # fmt: skip
