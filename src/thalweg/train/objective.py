"""What a step makes smaller: the loss of a batch, with weights of rows, in one part or in several.

The loss of a batch in several parts is the loss of the whole batch: sums are added up and divided
once by all that counts. A mean of the parts' means is another number as soon as the parts have
unequal numbers of tokens that count (``ignore_index``) or unequal weights.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from thalweg import trees
from thalweg.errors import ArgumentError, where
from thalweg.nn import Module, losses
from thalweg.tensor import random
from thalweg.tensor.context import context
from thalweg.tensor.conversion import tensor
from thalweg.tensor.functions import FUNCTIONS as F
from thalweg.tensor.loops import scan
from thalweg.tensor.random import Generator
from thalweg.tensor.tensor import Tensor, lift
from thalweg.tensor.transforms import value_and_grad
from thalweg.train.metrics import name_of

__all__ = ["Objective", "check_weighable", "loss_sums"]

Forward = Callable[[Module, Sequence[Any], Any], tuple[Any, Any]]
_OVER_LABELS: Final = (losses.cross_entropy, losses.nll)
_OVER_ROWS: Final = (losses.quadratic, losses.kl_divergence)  # divided by rows, not by elements


def _unwrapped(loss: losses.Loss) -> tuple[Any, dict[str, Any]]:
    """Return the function inside of ``functools.partial``, and the options given there."""
    options: dict[str, Any] = {}
    while isinstance(loss, functools.partial):
        options = {**loss.keywords, **options}
        loss = loss.func
    return loss, options


def check_weighable(loss: losses.Loss) -> None:
    """Raise unless a loss can be asked for the loss of each row.

    Raises:
        ArgumentError: it takes no ``reduction``.

    >>> check_weighable(losses.mse)
    """
    try:
        takes = "reduction" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        takes = False
    if not takes:
        raise ArgumentError(
            f"weights of rows need the loss of each row, and {name_of(loss)!r} takes no reduction; "
            "use a loss of thalweg.nn.losses, or let yours take reduction='none' and return one "
            f"number a row. {where()}"
        )


class Objective:
    """Loss and gradients of one batch, in equal parts if asked to, with weights of rows if given.

    Args:
        loss: ``loss(outputs, targets)``.
        forward: ``forward(model, inputs, targets)`` returns outputs, and the targets that they
            are to be compared with.
        accumulate: parts of a batch; only one part's activations are needed at a time.
        generators: sources of random numbers that ``forward`` draws from, besides the model's own.

    The loss of rows with weights is their weighted mean. A loss of your own that is computed in
    parts must be a mean over rows.

    >>> from thalweg import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> objective = Objective(losses.mse, lambda m, x, t: (m(*x), t), accumulate=2)
    >>> x = tensor([[1.0], [2.0]])
    >>> loss, outputs, targets, grads = objective(model, (x,), x)
    >>> outputs.shape, list(grads)
    ((2, 1), ['weight'])
    """

    def __init__(
        self, loss: losses.Loss, forward: Forward, accumulate: int = 1,
        generators: Sequence[Generator] = (),
    ) -> None:  # fmt: skip
        self.loss, self.forward, self.accumulate = loss, forward, accumulate
        self.generators = (random.default, *generators)

    def __call__(
        self, model: Module, inputs: Sequence[Any], targets: Any, weights: Any = None
    ) -> tuple[Any, Any, Any, Any]:
        """Return loss, outputs, targets as compared, and gradients."""
        if self.accumulate > 1:
            return self._in_parts(model, inputs, targets, weights)
        if weights is not None:
            total, count, outputs, compared, grads = self._sums(model, inputs, targets, weights)
            loss, grads = _divided(total, count, grads)
            return loss, outputs, compared, grads

        def whole(model: Module, inputs: Any, targets: Any) -> Any:
            outputs, compared = self.forward(model, inputs, targets)
            return self.loss(outputs, compared), (outputs, compared)

        both = value_and_grad(whole, has_aux=True)
        (value, (outputs, compared)), grads = both(model, inputs, targets)
        return value, outputs, compared, grads

    def _sums(
        self, model: Module, inputs: Sequence[Any], targets: Any, weights: Any
    ) -> tuple[Any, Any, Any, Any, Any]:
        """Return loss times what counts, that, outputs, targets, and gradients of the first."""

        def part(model: Module, inputs: Any, targets: Any, weights: Any) -> Any:
            outputs, compared = self.forward(model, inputs, targets)
            total, count = loss_sums(self.loss, outputs, compared, weights)
            return total, (count, outputs, compared)

        both = value_and_grad(part, has_aux=True)
        (total, (count, outputs, compared)), grads = both(model, inputs, targets, weights)
        return total, count, outputs, compared, grads

    def _in_parts(
        self, model: Module, inputs: Sequence[Any], targets: Any, weights: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Loop over the parts: the program holds one part's values at a time."""
        states = [*model.buffers().values()]
        states += [t for g in self.generators for t in (g.key, g.count)]
        parameters = model.trainable_parameters()
        kinds = {k: _wide(p.dtype) for k, p in parameters.items()}
        kind = "float64" if any(k == "float64" for k in kinds.values()) else "float32"

        def body(carry: Any, part: Any) -> Any:
            total, count, sums, held = carry
            with _standing_for(states, held) as ends:
                value, own, outputs, compared, grads = self._sums(model, *part)
            sums = {k: sums[k] + F["astype"](grads[k], kinds[k]) for k in sums}
            carry = (total + F["astype"](value, kind), count + F["astype"](own, kind), sums, ends)
            return carry, (outputs, compared)

        zero = F["zeros"]((), kind)
        start = {k: F["zeros"](p.shape, kinds[k]) for k, p in parameters.items()}
        xs = trees.map_tree(lambda x: _split(x, self.accumulate), (inputs, targets, weights))
        (total, count, sums, held), made = scan(body, (zero, zero, start, list(states)), xs)
        for state, value in zip(states, held, strict=True):
            state.assign(value)
        outputs, compared = trees.map_tree(_joined, made)
        loss, grads = _divided(total, count, sums)
        grads = {k: F["astype"](g, parameters[k].dtype) for k, g in grads.items()}
        return loss, outputs, compared, grads


def _divided(total: Any, count: Any, grads: Any) -> tuple[Any, Any]:
    """Return loss and gradients; where nothing counts 0 rather than 0 / 0."""
    share = 1 / F["where"](count == 0, F["ones_like"](count), count)
    return (
        total * F["astype"](share, total.dtype),
        trees.map_tree(lambda g: g * F["astype"](share, g.dtype), grads),
    )


@contextmanager
def _standing_for(states: Sequence[Tensor], held: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Let carried values stand for state inside of a loop's body; yield where its ends will be.

    A loop must not assign to tensors from outside. What layers assign to their running statistics
    and random state is caught here, to be carried to the next part.
    """
    recorder = context.recorder
    assert recorder is not None  # scan captures its body
    before = {id(t): recorder.current.get(id(t)) for t in states}
    written = set(recorder.written)
    for state, value in zip(states, held, strict=True):
        recorder.current[id(state)] = lift(value)
    ends: list[Tensor] = []
    try:
        yield ends
        ends += [Tensor(recorder.current[id(t)]) for t in states]
    finally:
        for key, node in before.items():
            if node is None:
                del recorder.current[key]
            else:
                recorder.current[key] = node
            if key not in written:
                recorder.written.pop(key, None)


def loss_sums(
    loss: losses.Loss, outputs: Any, targets: Any, weights: Any = None
) -> tuple[Tensor, Tensor]:
    """Return the loss of a part times what counts in it, and how much that is.

    The loss of several parts of equal length is the sum of the first over that of the second.

    >>> ignoring = functools.partial(losses.cross_entropy, ignore_index=-1)
    >>> total, count = loss_sums(ignoring, tensor([[0.0, 0.0], [0.0, 0.0]]), tensor([1, -1]))
    >>> round(total.item() / count.item(), 4)
    0.6931
    """
    function, options = _unwrapped(loss)
    labels = None
    if function in _OVER_LABELS and not targets.dtype.is_float and targets.ndim < outputs.ndim:
        labels = _label_weights(targets, options)
    if weights is None and labels is None:
        value = loss(outputs, targets)
        return value, F["ones_like"](value)
    rows: Any = loss(outputs, targets, reduction="none")
    counts = F["ones_like"](rows) if labels is None else labels.astype(rows.dtype)
    if weights is not None:
        if function in _OVER_ROWS and rows.ndim > 1:
            rows = F["sum"](rows, axis=tuple(range(1, rows.ndim)))
            counts = F["ones_like"](rows)
        column = weights.astype(rows.dtype).reshape((-1,) + (1,) * (rows.ndim - 1))
        rows, counts = rows * column, counts * column
    scale = 1 / max(rows.size, 1)  # sums of 16-bit slopes stay as small as those of a mean
    return F["sum"](rows) * scale, F["sum"](counts) * scale


def _label_weights(targets: Any, options: dict[str, Any]) -> Any:
    """Return how much each label counts, None if all count alike."""
    ignored, given = options.get("ignore_index"), options.get("class_weights")
    if ignored is None and given is None:
        return None
    kept = None if ignored is None else F["not_equal"](targets, ignored)
    if given is None:
        return kept
    by_class = given if isinstance(given, Tensor) else tensor(given)
    labels = targets if kept is None else F["where"](kept, targets, 0)
    weights = F["take"](by_class, labels, axis=0)
    return weights if kept is None else F["where"](kept, weights, 0)


def _wide(dtype: Any) -> str:
    """Return the dtype in which gradients are added up."""
    return "float32" if dtype.bits == 16 else str(dtype.name)


def _split(x: Any, parts: int) -> Any:
    return x.reshape((parts, x.shape[0] // parts, *x.shape[1:]))


def _joined(x: Any) -> Any:
    """Return what was stacked by parts as one batch; one number a part stays that."""
    return x.reshape((-1, *x.shape[2:])) if x.ndim > 1 else x
