"""SpectralNorm: a layer whose weight is divided by its largest singular value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from thalweg.errors import ArgumentError, where
from thalweg.graph.node import Node
from thalweg.nn import initializers
from thalweg.nn.inputs import widened
from thalweg.nn.interchange import from_torch, to_torch
from thalweg.nn.keys import Key, derived_key, new_key
from thalweg.nn.layers import Weighted, positive
from thalweg.nn.module import Module
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops import reductions as r
from thalweg.ops.contraction import matmul
from thalweg.ops.identity import stop_gradient
from thalweg.ops.record import cast_node
from thalweg.tensor.tensor import Tensor, constant_tensor, finish, lift

Array = np.ndarray[Any, Any]
_FIRST = 15  # iterations on the initial weight, as PyTorch makes: evaluation may come first


class SpectralNorm(Module):
    r"""A layer that computes with its weight divided by the weight's largest singular value.

    .. math:: \bar{W} = W / \sigma, \quad \sigma = u^T W v

    ``W`` has one row for each output and all other axes as columns. In training each call improves
    the estimates ``u`` and ``v`` (buffers) by power iterations; through them no gradient flows. In
    evaluation they are used as they are.

    Args:
        layer: a layer with a weight: a linear, bilinear or convolution layer. Its weight is kept.
        power_iterations: how many iterations each call in training makes.
        eps: the least norm that ``u`` and ``v`` are divided by.

    Shape:
        that of the layer.

    Raises:
        ArgumentError: the layer has no weight to normalise.

    Example:
        >>> import numpy as np, thalweg as tw
        >>> from thalweg import nn
        >>> layer = nn.SpectralNorm(nn.Linear(2, 2, weight_init=np.diag([4.0, 1.0]), bias=False))
        >>> layer(tw.ones((1, 2))).numpy().round(3).tolist()
        [[1.0, 0.25]]

    T. Miyato et al., arXiv:1802.05957.
    """

    torch_aliases: ClassVar[Mapping[str, str]] = {  # names of the older torch.nn.utils function
        "weight_orig": "parametrizations.weight.original",
        "weight_u": "parametrizations.weight.0._u",
        "weight_v": "parametrizations.weight.0._v",
    }

    def __init__(self, layer: Weighted, power_iterations: int = 1, eps: float = 1e-12) -> None:
        if not isinstance(layer, Weighted):
            raise ArgumentError(
                f"SpectralNorm: got {type(layer).__name__}, wanted a layer with a weight such as "
                f"nn.Linear or nn.Conv2d; wrap each such layer of a model. {where()}"
            )
        positive("SpectralNorm", power_iterations=power_iterations)
        self.layer, self.power_iterations, self.eps = layer, int(power_iterations), eps
        outputs, dtype = layer.weight.shape[-1], layer.weight.dtype.numpy
        self.u = constant_tensor(np.zeros(outputs, dtype))
        self.v = constant_tensor(np.zeros(layer.weight.size // outputs, dtype))
        self._start(new_key())

    def draw(self, key: Key) -> None:
        """Draw the layer's weight and the estimates of its singular vectors."""
        self.layer.reset_parameters(derived_key(key, "layer"))  # the estimates depend on it
        self._start(key)

    def _start(self, key: Key) -> None:
        """Draw ``u`` and ``v``, and improve them on the present weight."""
        matrix = self.layer.weight.numpy().astype(np.float64).reshape(-1, self.u.size)
        u = initializers.normal(derived_key(key, "u"), self.u.shape, "float64", std=1.0)
        v = initializers.normal(derived_key(key, "v"), self.v.shape, "float64", std=1.0)
        for _ in range(_FIRST):
            u = v @ matrix
            u /= max(np.linalg.norm(u), self.eps)
            v = matrix @ u
            v /= max(np.linalg.norm(v), self.eps)
        self.u.assign(u.astype(self.u.dtype.numpy))
        self.v.assign(v.astype(self.v.dtype.numpy))

    def forward(self, *inputs: Any) -> Any:
        """Return what the layer makes of its inputs with the normalised weight."""
        return self.layer(*inputs, weight=self._normalised())

    def _normalised(self) -> Tensor:
        weight: Node = lift(self.layer.weight)
        wide = widened(weight)
        matrix = mv.reshape(wide, (self.v.size, self.u.size))  # (all other axes, outputs)
        u, v = (cast_node(lift(t), wide.dtype) for t in (self.u, self.v))
        if self.training:
            fixed = stop_gradient(matrix)
            for _ in range(self.power_iterations):
                u = self._unit(matmul(v, fixed))
                v = self._unit(matmul(fixed, u))
            self.u.assign(finish(u))
            self.v.assign(finish(v))
        sigma = r.sum(e.multiply(matmul(matrix, stop_gradient(u)), stop_gradient(v)))
        return finish(cast_node(e.divide(wide, sigma), weight.dtype))

    def _unit(self, x: Node) -> Node:
        norm = e.sqrt(r.sum(e.square(x)))
        return e.divide(x, e.maximum(norm, self.eps))

    def _v_axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the sizes that ``v`` joins, and their order in PyTorch."""
        sizes = self.layer.weight.shape[:-1]
        given = self.layer.torch_axes.get("weight", range(len(sizes) + 1))
        return sizes, tuple(a for a in given if a < len(sizes))

    def to_torch_state(self) -> dict[str, Array]:
        """Return the entries of PyTorch's ``parametrizations.spectral_norm``."""
        state = to_torch(self.layer)
        names = self.torch_aliases
        weight = state.pop("weight")
        sizes, axes = self._v_axes()
        v = self.v.numpy().reshape(sizes).transpose(axes).reshape(-1)
        made = {names["weight_orig"]: weight, names["weight_u"]: self.u.numpy()}
        return state | made | {names["weight_v"]: np.ascontiguousarray(v)}

    def from_torch_state(self, state: Mapping[str, Array]) -> None:
        """Take the entries of PyTorch's ``parametrizations.spectral_norm``."""
        names = self.torch_aliases
        inner = {k: a for k, a in state.items() if k not in names.values()}
        from_torch(self.layer, inner | {"weight": state[names["weight_orig"]]})
        self.u.assign(np.asarray(state[names["weight_u"]]))
        sizes, axes = self._v_axes()
        v = np.asarray(state[names["weight_v"]]).reshape([sizes[a] for a in axes])
        self.v.assign(np.ascontiguousarray(v.transpose(np.argsort(axes))).reshape(-1))
