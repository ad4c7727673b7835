"""Noise as a layer: normal random numbers whose state is saved and compiled like any other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from thalweg import nn
from thalweg.nn.inputs import label, node_of
from thalweg.nn.keys import Key
from thalweg.ops import random as r
from thalweg.tensor.tensor import Tensor, constant_tensor, finish, lift

__all__ = ["NormalNoise"]


class NormalNoise(nn.Module):
    r"""Normal random numbers of the shape of the input, new ones at each call.

    .. math:: y_i \sim N(0, 1)

    The random state is two buffers, a key and the count of calls, as in ``Dropout``: a compiled
    program updates them, a checkpoint holds them.

    Shape:
        any to the same.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.models.noise import NormalNoise
        >>> noise = NormalNoise().reset_parameters(0)
        >>> y = noise(tw.zeros(1000))
        >>> bool(abs(y.mean()) < 0.1), bool(abs(y.std() - 1) < 0.1)
        (True, True)
    """

    torch_names: ClassVar[Mapping[str, str | None]] = {"key": None, "count": None}

    def __init__(self) -> None:
        self.key = constant_tensor(np.zeros(2, np.uint32))
        self.count = constant_tensor(np.zeros((), np.uint32))
        self.reset_parameters()

    def draw(self, key: Key) -> None:
        """Take another key, and count calls from 0."""
        self.key.assign(key)
        self.count.assign(np.zeros((), np.uint32))

    def forward(self, x: Any) -> Tensor:
        """Return new numbers of the input's shape and dtype."""
        node = node_of(x, label(self))
        key = r.split_key(lift(self.key), lift(self.count))
        self.count.assign(self.count + 1)
        return finish(r.normal(key, node.shape, dtype=node.dtype))
