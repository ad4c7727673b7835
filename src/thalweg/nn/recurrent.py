"""Recurrent layers: RNN, LSTM and GRU over sequences, and their cells for one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, ShapeError, where
from thalweg.graph.dtype import int64
from thalweg.graph.node import Node
from thalweg.nn import initializers
from thalweg.nn.dropout import Dropout
from thalweg.nn.inputs import check_dtype, check_last_axis, label, lengths_of, node_of
from thalweg.nn.keys import Key, derived_key
from thalweg.nn.layers import new_parameter, positive
from thalweg.nn.module import Module
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.contraction import contract, matmul
from thalweg.ops.convolution import is_whole
from thalweg.ops.record import OPS, cast_node, full
from thalweg.tensor.loops import scan
from thalweg.tensor.tensor import Parameter, Tensor, finish, lift

State = tuple[Node, ...]


def _rnn_step(z: Node, state: State, nonlinearity: str) -> State:
    h = e.tanh(z) if nonlinearity == "tanh" else e.relu(z)
    return (h,)


def _lstm_step(z: Node, state: State) -> State:
    size = state[-1].shape[-1]
    i, f, g, o = (mv.narrow(z, z.rank - 1, k * size, size) for k in range(4))
    c = e.add(e.multiply(e.sigmoid(f), state[-1]), e.multiply(e.sigmoid(i), e.tanh(g)))
    return e.multiply(e.sigmoid(o), e.tanh(c)), c


def _gru_step(x: Node, z: Node, state: State) -> State:
    h = state[0]
    size, last = h.shape[-1], z.rank - 1

    def part(gates: Node, number: int) -> Node:
        return mv.narrow(gates, last, number * size, size)

    r = e.sigmoid(e.add(part(x, 0), part(z, 0)))
    u = e.sigmoid(e.add(part(x, 1), part(z, 1)))
    n = e.tanh(e.add(part(x, 2), e.multiply(r, part(z, 2))))
    return (e.add(n, e.multiply(u, e.subtract(h, n))),)


class Recurrent(Module):
    """What RNN, LSTM and GRU share: several layers, one or both directions, lengths.

    Parameters have PyTorch's names (``weight_ih_l0``, ``weight_hh_l0_reverse`` ...) and, like those
    of ``Linear``, the transpose of PyTorch's shapes. Initial input weights are Glorot uniform,
    recurrent ones orthogonal, biases 0 but those of an LSTM's forget gates, which are 1.
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, *, dtype: Any = "float32",
    ) -> None:  # fmt: skip
        name = type(self).__name__
        positive(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not is_whole(proj_size, 0) or proj_size >= hidden_size:
            raise ArgumentError(
                f"{name}: proj_size must be from 0 to hidden_size - 1 = {hidden_size - 1}, got "
                f"{proj_size!r}. {where()}"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.bidirectional, self.proj_size = batch_first, bidirectional, proj_size
        self.dropout = dropout
        self.dropouts = [Dropout(dropout) for _ in range(num_layers - 1)] if dropout else []
        self.bias = bias
        out = proj_size or hidden_size
        for suffix, size in self._suffixes():
            rows: dict[str, tuple[int, ...]] = {
                "weight_ih": (size, self.gates * hidden_size),
                "weight_hh": (out, self.gates * hidden_size),
            }
            if bias:
                rows |= {"bias_ih": (self.gates * hidden_size,)}
                rows |= {"bias_hh": (self.gates * hidden_size,)}
            if proj_size:
                rows |= {"weight_hr": (hidden_size, proj_size)}
            for kind, shape in rows.items():
                setattr(self, f"{kind}{suffix}", new_parameter(shape, dtype))
        self.reset_parameters()

    def _suffixes(self) -> list[tuple[str, int]]:
        """Return the suffix of each layer and direction, and its input size."""
        ways = ["", "_reverse"] if self.bidirectional else [""]
        wide = (self.proj_size or self.hidden_size) * len(ways)
        return [
            (f"_l{layer}{way}", wide if layer else self.input_size)
            for layer in range(self.num_layers) for way in ways
        ]  # fmt: skip

    def draw(self, key: Key) -> None:
        """Draw all weights."""
        for name, parameter in self.parameters().items():
            own = derived_key(key, name)
            if name.startswith("weight_hh"):
                blocks = [
                    initializers.orthogonal(
                        derived_key(own, str(k)), (parameter.shape[0], self.hidden_size),
                        parameter.dtype,
                    )
                    for k in range(self.gates)
                ]  # fmt: skip
                parameter.assign(np.concatenate(blocks, axis=1))
            elif name.startswith("weight"):
                parameter.assign(
                    initializers.glorot_uniform(own, parameter.shape, parameter.dtype)
                )
            else:
                parameter.assign(self._first_bias(name, parameter))

    def _first_bias(self, name: str, parameter: Parameter) -> np.ndarray[Any, Any]:
        return np.zeros(parameter.shape, parameter.dtype.numpy)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None
    ) -> tuple[Tensor, Any]:
        """Return the outputs of the last layer at every step, and the last states of all layers.

        ``lengths`` (batch,): how many steps of each sequence count; later outputs are 0, and the
        last state is that of the last step that counts.
        """
        who = label(self)
        node = node_of(x, who)
        check_last_axis(who, node, self.input_size, "input_size")
        if node.rank != 3:
            raise ShapeError(
                f"{who}: got an input of shape {node.shape}, wanted three axes: (batch, time, "
                f"{self.input_size}); give a single sequence a batch axis of size 1. {where()}"
            )
        if not node.shape[1 if self.batch_first else 0]:
            raise ShapeError(
                f"{who}: got an input of shape {node.shape}, in which the sequences are empty; "
                f"wanted at least one step. {where()}"
            )
        check_dtype(who, node, next(iter(self.parameters().values())).dtype, "weight_ih_l0")
        if not self.batch_first:
            node = mv.swapaxes(node, 0, 1)
        steps = None if lengths is None else self._mask(who, lengths, node)
        first = self._first_state(who, state, node)
        ends: list[State] = []
        ways = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            outs = []
            for way in range(ways):
                suffix = f"_l{layer}" + ("_reverse" if way else "")
                at = layer * ways + way
                start = tuple(_row(s, at) for s in first)
                out, end = self._direction(node, suffix, start, steps, bool(way))
                outs.append(out)
                ends.append(end)
            node = mv.concatenate(outs, 2) if ways > 1 else outs[0]
            if layer < len(self.dropouts):
                node = lift(self.dropouts[layer](finish(node)))
        last = tuple(finish(mv.stack([end[i] for end in ends])) for i in range(len(first)))
        if not self.batch_first:
            node = mv.swapaxes(node, 0, 1)
        return finish(node), last if len(last) > 1 else last[0]

    def _mask(self, who: str, lengths: Any, x: Node) -> Node:
        """Return (time, batch, 1): whether a step counts."""
        count = lengths_of(who, lengths, x.shape[0], 1, x.shape[1])
        numbers = OPS["iota"](size=x.shape[1], dtype=int64)
        wide = mv.reshape(numbers, (x.shape[1], 1, 1))
        return e.less(wide, mv.reshape(cast_node(count, int64), (1, x.shape[0], 1)))

    def _sizes(self) -> tuple[int, ...]:
        """Return the size of each carried value."""
        return (self.hidden_size,)

    def _first_state(self, who: str, state: Any, x: Node) -> list[Node]:
        sizes = self._sizes()
        if state is None:
            return [full((1, x.shape[0], n), 0, x.dtype) for n in sizes]
        given = state if isinstance(state, (tuple, list)) else (state,)
        rows = self.num_layers * (2 if self.bidirectional else 1)
        nodes = [node_of(s, who) for s in given]
        wanted = [(rows, x.shape[0], n) for n in sizes]
        if [n.shape for n in nodes] != wanted:
            raise ShapeError(
                f"{who}: the first state has the shapes {[n.shape for n in nodes]}, wanted "
                f"{wanted}: (layers * directions, batch, size). {where()}"
            )
        if any(n.dtype is not x.dtype for n in nodes):
            raise DTypeError(
                f"{who}: the first state has the types {[n.dtype.name for n in nodes]} and the "
                f"input {x.dtype.name}; convert it with .astype({x.dtype.name!r}). {where()}"
            )
        return list(nodes)

    def _direction(
        self, x: Node, suffix: str, start: State, steps: Node | None, reverse: bool
    ) -> tuple[Node, State]:
        """Run one layer in one direction over (batch, time, size)."""
        def weight(kind: str) -> Node:
            node: Node = lift(getattr(self, kind + suffix))
            return node

        # The input projection of all steps is one contraction, before the loop, time first.
        rows = contract(x, weight("weight_ih"), ("bti", "ig", "tbg"))
        if self.bias:
            rows = e.add(rows, weight("bias_ih"))

        def body(carry: Any, row: Any) -> Any:
            new = self._step(lift(row[0]), tuple(lift(c) for c in carry), weight)
            out = new[0]
            if steps is not None:
                counts = lift(row[1])
                out = e.where(counts, out, 0)
                new = tuple(
                    e.where(counts, n, lift(c)) for n, c in zip(new, carry, strict=True)
                )
            return tuple(finish(n) for n in new), finish(out)

        xs = (finish(rows),) if steps is None else (finish(rows), finish(steps))
        end, outs = scan(body, tuple(finish(s) for s in start), xs, reverse=reverse)
        return mv.swapaxes(lift(outs), 0, 1), tuple(lift(c) for c in end)

    def _step(self, row: Node, state: State, weight: Any) -> State:
        raise NotImplementedError

    def _recurrent(self, h: Node, weight: Any) -> Node:
        z = matmul(h, weight("weight_hh"))
        return e.add(z, weight("bias_hh")) if self.bias else z

    def to_torch_state(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the parameters in PyTorch's layout."""
        return {k: np.ascontiguousarray(p.numpy().T) for k, p in self.parameters().items()}

    def from_torch_state(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Take parameters in PyTorch's layout."""
        for name, parameter in self.parameters().items():
            parameter.assign(np.ascontiguousarray(np.asarray(state[name]).T))

    def arguments(self) -> str:
        """Return the sizes and what differs from the defaults."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        for name, usual in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0),
                            ("bias", True), ("batch_first", True)):  # fmt: skip
            if getattr(self, name) != usual:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown)


def _row(state: Node, at: int) -> Node:
    """Return the state of one layer and direction; a first state of zeros is the same for all."""
    row = at if state.shape[0] > 1 else 0
    return mv.reshape(mv.narrow(state, 0, row, 1), state.shape[1:])


class RNN(Recurrent):
    r"""A simple recurrent layer (Elman).

    .. math:: h_t = \tanh(x_t W_{ih} + b_{ih} + h_{t-1} W_{hh} + b_{hh})

    Args:
        input_size, hidden_size: sizes of the input and of the state.
        num_layers: layers on top of each other.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether to add biases.
        batch_first: whether the input is (batch, time, size), else (time, batch, size). It is by
            default, other than PyTorch's.
        dropout: probability of dropout between layers.
        bidirectional: whether a second layer reads the sequence backwards; the outputs of both
            are joined.
        dtype: type of the parameters.

    Shape:
        ``(batch, time, input_size)`` to ``(batch, time, directions * hidden_size)`` and the last
        state ``(num_layers * directions, batch, hidden_size)``. A first state and ``lengths`` may
        be given too.

    Raises:
        ShapeError: another number of axes or features, or a first state of another shape.
        DTypeError: the input or the first state has another dtype than the parameters.
        ArgumentError: lengths that are not from 1 to the number of steps (compiled, an
            IndexError).

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> outputs, last = nn.RNN(3, 4)(tw.ones((2, 5, 3)))
        >>> outputs.shape, last.shape
        ((2, 5, 4), (1, 2, 4))

    J. Elman, "Finding structure in time", 1990.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = True, dropout: float = 0.0,
        bidirectional: bool = False, *, dtype: Any = "float32",
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(
                f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}. {where()}"
            )
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, dtype=dtype)  # fmt: skip

    def _step(self, row: Node, state: State, weight: Any) -> State:
        return _rnn_step(e.add(row, self._recurrent(state[0], weight)), state, self.nonlinearity)


class LSTM(Recurrent):
    r"""Long short-term memory.

    .. math::
        c_t = \sigma(f_t) c_{t-1} + \sigma(i_t) \tanh(g_t), \quad
        h_t = \sigma(o_t) \tanh(c_t)

    where the gates ``i, f, g, o`` are the four parts of
    ``x W_ih + b_ih + h W_hh + b_hh``.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype: as
            for ``RNN``.
        proj_size: size to which the output is projected, 0 for none (Sak et al.,
            arXiv:1402.1128).

    Shape:
        ``(batch, time, input_size)`` to ``(batch, time, directions * size)`` and the last states
        ``(h, c)``, each ``(num_layers * directions, batch, size)``.

    Raises:
        ShapeError, ArgumentError: as for ``RNN``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> outputs, (h, c) = nn.LSTM(3, 4)(tw.ones((2, 5, 3)))
        >>> outputs.shape, c.shape
        ((2, 5, 4), (1, 2, 4))

    S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997; the forget gate is that of
    F. Gers et al., 2000.
    """

    gates = 4

    def _sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def _first_bias(self, name: str, parameter: Parameter) -> np.ndarray[Any, Any]:
        bias = super()._first_bias(name, parameter)
        if name.startswith("bias_ih"):
            bias[self.hidden_size : 2 * self.hidden_size] = 1
        return bias

    def _step(self, row: Node, state: State, weight: Any) -> State:
        h, c = _lstm_step(e.add(row, self._recurrent(state[0], weight)), state)
        return (matmul(h, weight("weight_hr")) if self.proj_size else h), c


class GRU(Recurrent):
    r"""Gated recurrent unit.

    .. math::
        n_t = \tanh(x_n + \sigma(r_t) (h_{t-1} W_{hn} + b_{hn})), \quad
        h_t = (1 - \sigma(u_t)) n_t + \sigma(u_t) h_{t-1}

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype: as
            for ``RNN``.

    Shape:
        as for ``RNN``.

    Raises:
        ShapeError, ArgumentError: as for ``RNN``.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> outputs, last = nn.GRU(3, 4, bidirectional=True)(tw.ones((2, 5, 3)))
        >>> outputs.shape, last.shape
        ((2, 5, 8), (2, 2, 4))

    K. Cho et al., arXiv:1406.1078; the form whose reset gate follows the product.
    """

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = True, dropout: float = 0.0, bidirectional: bool = False, *,
        dtype: Any = "float32",
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, dtype=dtype)  # fmt: skip

    def _step(self, row: Node, state: State, weight: Any) -> State:
        return _gru_step(row, self._recurrent(state[0], weight), state)
