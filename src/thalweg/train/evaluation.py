"""Evaluation: a model's outputs for many rows, and metrics of them, by a compiled program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from thalweg import trees
from thalweg.data.batches import checked_rows
from thalweg.nn import Module, losses
from thalweg.tensor.compile import compile, rows
from thalweg.tensor.conversion import tensor
from thalweg.tensor.tensor import Tensor
from thalweg.train import metrics as named_metrics
from thalweg.train.feeding import Stream, arrays_of, is_dataset
from thalweg.train.objective import loss_sums
from thalweg.train.statistics import Tally

__all__ = ["Evaluator", "evaluate", "evaluating", "predict"]

Array = np.ndarray[Any, Any]
Transform = Callable[..., Any]
_CALL: Final = 64  # batches in one native call, so that Ctrl-C is heard in between


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Switch a model to evaluation inside of the block, and each module back after it.

    >>> from thalweg import nn
    >>> dropout = nn.Dropout(0.5)
    >>> with evaluating(dropout):
    ...     dropout.training
    False
    >>> dropout.training
    True
    """
    modes = [(module, module.training) for module in model.named_modules().values()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


def ready_inputs(inputs: Sequence[Any], transform: Transform | None) -> tuple[Any, ...]:
    """Return a model's inputs as ``transform`` makes them ready, always as a tuple.

    >>> ready_inputs([3], lambda x: x - 1)
    (2,)
    """
    if transform is None:
        return tuple(inputs)
    ready = transform(*inputs)
    return ready if isinstance(ready, tuple) else (ready,)


def run_model(model: Module, inputs: Sequence[Any], transform: Transform | None) -> Any:
    """Return a model's output for its inputs, which ``transform`` makes ready.

    >>> from thalweg import nn
    >>> import thalweg as tw
    >>> run_model(nn.ReLU(), [tw.tensor([2.0])], lambda x: x - 1)
    Tensor([1.], dtype=float32)
    """
    return model(*ready_inputs(inputs, transform))


class Evaluator:
    """Runs one model on many rows, in evaluation mode, compiled once for each batch size.

    Args:
        model: a Module.
        transform: makes inputs ready inside of the compiled program: takes what the model takes,
            returns one tensor or a tuple of them.

    Example:
        >>> from thalweg import nn
        >>> Evaluator(nn.ReLU()).outputs((np.array([[-1.0], [2.0]], np.float32),)).tolist()
        [[0.0], [2.0]]
    """

    def __init__(self, model: Module, transform: Transform | None = None) -> None:
        self.model = model

        def forward(model: Module, inputs: Sequence[Tensor]) -> Any:
            return run_model(model, inputs, transform)

        self._forward = compile(forward)

    def outputs(
        self, inputs: Sequence[Array], index: Array | None = None, batch_size: int = 512
    ) -> Array:
        """Return the model's outputs for the rows of ``inputs``, or for those of ``index``.

        Of a model with several outputs, their tree.

        Raises:
            DataError: there are no rows, or inputs of several lengths.

        Shapes: inputs (n, ...), index (m,), to (m, ...).
        """
        count = checked_rows(tuple(inputs), "evaluation")
        chosen = np.arange(count) if index is None else np.asarray(index, np.int64)
        # A last batch that is not full is filled with its own rows, whose results are left out:
        # one program does for all batches. Few rows get a small program, of few possible sizes.
        size = min(batch_size, 1 << max(len(chosen) - 1, 0).bit_length())
        padded = np.resize(chosen, -(-len(chosen) // size) * size).reshape(-1, size)
        parts: list[list[Array]] = []
        structure: trees.Structure = ()
        with evaluating(self.model):
            for start in range(0, len(padded), _CALL):
                block = padded[start : start + _CALL]
                made = self._forward.repeat(self.model, tuple(rows(x, block) for x in inputs))
                leaves, structure = trees.flatten(made)
                parts.append([np.asarray(leaf) for leaf in leaves])
        stacked = [np.concatenate(leaf) for leaf in zip(*parts, strict=True)]
        joined = [s.reshape(-1, *s.shape[2:])[: len(chosen)] for s in stacked]
        result: Array = trees.unflatten(structure, joined)
        return result


def measure(
    outputs: Array, targets: Array, loss: losses.Loss, metrics: Sequence[named_metrics.Metric]
) -> dict[str, float]:
    """Return loss and metrics of outputs, by name.

    >>> measure(np.zeros((2, 4), np.float32), np.array([0, 3]), losses.cross_entropy,
    ...         [named_metrics.accuracy])["accuracy"]
    0.5
    """
    values = {"loss": float(loss(outputs, targets))}
    for metric in metrics:
        values[named_metrics.name_of(metric)] = float(metric(outputs, targets))
    return values


def measure_blocks(
    evaluator: Evaluator, blocks: Iterable[tuple[Sequence[Array], Array]], loss: losses.Loss,
    metrics: Sequence[named_metrics.Metric], batch_size: int = 512,
) -> dict[str, float]:  # fmt: skip
    """Return loss and metrics of data that comes in blocks of inputs and targets.

    The loss is that of all rows together. So are the metrics of ``thalweg.train.statistics``; of a
    metric that is a plain function it is the mean over blocks, by their rows.

    >>> from thalweg import nn
    >>> x = np.array([[1.0], [3.0]], np.float32)
    >>> blocks = [((x,), 0 * x), ((x[:1],), x[:1])]
    >>> round(measure_blocks(Evaluator(nn.Identity()), blocks, losses.mse, [])["loss"], 4)
    3.3333
    """
    tally = Tally(metrics)
    total = count = 0.0
    for inputs, targets in blocks:
        outputs = evaluator.outputs(inputs, batch_size=batch_size)
        made, expected = trees.map_tree(tensor, outputs), tensor(targets)
        part, share = loss_sums(loss, made, expected)
        total += float(part) * len(targets)
        count += float(share) * len(targets)
        tally.add_block(made, expected, len(targets))
    return {**tally.values(), "loss": total / count if count else float("nan")}


def evaluate(
    model: Module,
    data: Any,
    *,
    loss: str | losses.Loss = "cross_entropy",
    metrics: Sequence[str | named_metrics.Metric] = ("accuracy",),
    batch_size: int = 512,
    transform: Transform | None = None,
) -> dict[str, float]:
    """Return loss and metrics of a model on data, in evaluation mode, by name.

    ``data``: arrays of one length, the last one the targets; or a Dataset. Of arrays, loss and
    metrics are computed on all rows together, so that they do not depend on ``batch_size``; of a
    Dataset too, but for metrics that are plain functions.

    Raises:
        DataError: no rows, or arrays of several lengths.
        ArgumentError: an unknown loss or metric.

    Example:
        >>> from thalweg import nn
        >>> x, y = np.eye(2, dtype=np.float32), np.array([0, 1])
        >>> evaluate(nn.Identity(), (x, y))["accuracy"]
        1.0
    """
    chosen = [named_metrics.get(m) for m in metrics]
    return measure_data(
        Evaluator(model, transform), data, losses.get(loss), chosen, batch_size, "evaluate"
    )


def measure_data(
    evaluator: Evaluator, data: Any, loss: losses.Loss,
    metrics: Sequence[named_metrics.Metric], batch_size: int, who: str,
) -> dict[str, float]:  # fmt: skip
    """Return loss and metrics of arrays or of a Dataset; an error names ``who``.

    Raises:
        DataError: no rows, or arrays of several lengths.

    >>> from thalweg import nn
    >>> x = np.array([[1.0], [3.0]], np.float32)
    >>> measure_data(Evaluator(nn.Identity()), (x, 0 * x), losses.mse, [], 8, "evaluate")
    {'loss': 5.0}
    """
    data = arrays_of(data)
    if is_dataset(data):
        stream = Stream.of(evaluator.model, data)
        return measure_blocks(evaluator, stream.blocks(batch_size), loss, metrics, batch_size)
    arrays = [np.asarray(a) for a in data]
    checked_rows(tuple(arrays), who)
    outputs = evaluator.outputs(arrays[:-1], batch_size=batch_size)
    return measure(outputs, arrays[-1], loss, metrics)


def predict(
    model: Module, *inputs: Any, batch_size: int = 512, transform: Transform | None = None
) -> Array:
    """Return a model's outputs for arrays of inputs, in evaluation mode, as a NumPy array.

    Shapes: inputs (n, ...) to (n, ...).

    Raises:
        DataError: no rows, or inputs of several lengths.

    Example:
        >>> from thalweg import nn
        >>> predict(nn.ReLU(), np.array([[-1.0, 2.0]], np.float32)).tolist()
        [[0.0, 2.0]]
    """
    arrays = [np.asarray(x) for x in inputs]
    return Evaluator(model, transform).outputs(arrays, batch_size=batch_size)
