"""The table of a model's layers: output shapes, parameters, FLOPs and memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from thalweg import trees
from thalweg.errors import ArgumentError, TraceError, where
from thalweg.graph.dtype import DEFAULT_FLOAT, as_dtype
from thalweg.graph.node import Node, scopes
from thalweg.graph.rewrite import topological
from thalweg.nn.module import Module, observe
from thalweg.ops.record import placeholder
from thalweg.tensor.context import context
from thalweg.tensor.recorder import Recorder
from thalweg.tensor.tensor import Parameter, Tensor, lift

Call = tuple[tuple[str, ...], Module, Any]  # where it ran, what ran, what it returned


@dataclass(frozen=True)
class Row:
    """One layer: path, type, output shape, parameters, FLOPs, and bytes of tensors and output."""

    layer: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    flops: int
    tensor_bytes: int
    output_bytes: int

    @property
    def memory(self) -> int:
        """Bytes of parameters, buffers and output."""
        return self.tensor_bytes + self.output_bytes


@dataclass(frozen=True)
class Summary:
    """What ``Module.summary`` returns; ``print`` shows it as a table.

    FLOPs are those of one forward pass in evaluation: 2 for a multiply-add, 1 for any element of an
    element-wise operation or reduction. Memory is that of the parameters and buffers of a layer and
    of its output, in bytes.
    """

    rows: tuple[Row, ...]
    batch: int | None  # None: the batch axis was added, and is shown as N
    parameters: int
    trainable: int
    flops: int
    memory: int

    def __str__(self) -> str:
        head = ("layer", "type", "output shape", "parameters", "FLOPs", "memory")
        lines = [head] + [
            (r.layer, r.type, _shape(r.output_shape, self.batch is None), f"{r.parameters:,}",
             f"{r.flops:,}", _bytes(r.memory))
            for r in self.rows
        ]  # fmt: skip
        total = ("total", "", "", f"{self.parameters:,}", f"{self.flops:,}", _bytes(self.memory))
        widths = [max(len(line[i]) for line in [*lines, total]) for i in range(len(head))]

        def text(line: tuple[str, ...]) -> str:
            cells = [c.ljust(w) if i < 3 else c.rjust(w)
                     for i, (c, w) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
            return "  ".join(cells).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        frozen = self.parameters - self.trainable
        per = "one example" if self.batch is None else f"a batch of {self.batch}"
        foot = f"{self.trainable:,} trainable parameters, {frozen:,} frozen; FLOPs for {per}"
        return "\n".join([text(lines[0]), rule, *map(text, lines[1:]), rule, text(total), foot])

    __repr__ = __str__


def _shape(shape: tuple[int, ...], symbolic: bool) -> str:
    if symbolic and shape and shape[0] == 1:
        return "(" + ", ".join(["N", *map(str, shape[1:])]) + (",)" if len(shape) == 1 else ")")
    return str(shape)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _flops(node: Node) -> int:
    if node.op.kind == "contraction":
        labels, _, out = node.attrs["spec"]
        sizes = zip(labels, node.inputs[0].shape, strict=True)
        return 2 * node.size * prod(n for c, n in sizes if c not in out)
    if node.op.name == "scan":
        once = sum(map(_flops, topological(node.attrs["body"].outputs)))
        return int(node.attrs["length"]) * once
    if node.op.kind == "elementwise" and node.op.name != "cast":
        return node.size
    return node.inputs[0].size if node.op.kind == "reduction" else 0


def _inputs(example: Any, dtype: Any) -> tuple[list[Tensor], int | None]:
    """Return placeholders for an example, or for shapes without batch axis; and the batch size."""
    is_shape = isinstance(example, tuple) and all(isinstance(n, int) for n in example)
    parts = example if isinstance(example, list) else [example]
    if is_shape or all(isinstance(p, tuple) for p in parts):
        kind = as_dtype(dtype or DEFAULT_FLOAT)
        return [Tensor(placeholder((1, *p), kind)) for p in parts], None
    made = []
    for part in parts:
        if not isinstance(part, (Tensor, np.ndarray)):
            raise ArgumentError(
                f"summary: got {part!r}, wanted the shape of one input such as (784,), an example "
                f"input, or a list of either. {where()}"
            )
        made.append(Tensor(placeholder(tuple(part.shape), as_dtype(part.dtype))))
    return made, made[0].shape[0] if made[0].ndim else 1


def summarize(model: Module, example: Any, dtype: Any = None) -> Summary:
    """Return the table of a model: it is captured in evaluation mode, and nothing is computed.

    Rows are the modules without modules inside, or with tensors of their own, in the order in
    which they run.

    >>> from thalweg import nn
    >>> print(summarize(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,)))
    layer  type    output shape  parameters  FLOPs  memory
    ------------------------------------------------------
    0      Linear  (N, 3)                15     27    72 B
    1      ReLU    (N, 3)                 0      3    12 B
    ------------------------------------------------------
    total                                15     30    84 B
    15 trainable parameters, 0 frozen; FLOPs for one example
    """
    if context.recorder is not None:
        raise TraceError(f"summary: call it outside of compiled functions. {where()}")
    inputs, batch = _inputs(example, dtype)
    calls: list[Call] = []
    modes = [(m, m.training) for m in model.named_modules().values()]
    context.recorder = Recorder()
    try:
        model.eval()
        with observe(lambda module, _, output: calls.append((tuple(scopes), module, output))):
            model(*inputs)
        outputs = [lift(t) for *_, out in calls for t in trees.flatten(out)[0]
                   if isinstance(t, Tensor)]  # fmt: skip
    finally:
        context.recorder = None
        for module, mode in modes:
            if module.training != mode:
                module.training = mode
    rows = _rows(calls, outputs)
    parameters = model.parameters().values()
    tensors = [*parameters, *model.buffers().values()]
    return Summary(
        tuple(rows), batch, sum(p.size for p in parameters),
        sum(p.size for p in parameters if p.trainable), sum(r.flops for r in rows),
        sum(t.size * t.dtype.itemsize for t in tensors) + sum(r.output_bytes for r in rows),
    )  # fmt: skip


def _rows(calls: list[Call], outputs: list[Node]) -> list[Row]:
    flops: dict[tuple[str, ...], int] = {}
    for node in topological(outputs):
        flops[node.scope] = flops.get(node.scope, 0) + _flops(node)
    rows: dict[tuple[str, ...], Row] = {}
    counted: set[int] = set()
    for scope, module, output in calls:
        own = [v for _, v in module._attributes() if isinstance(v, Tensor)]
        if scope in rows or (module.children() and not own and not flops.get(scope)):
            continue
        new = [t for t in own if id(t) not in counted]  # a shared tensor is counted once
        counted.update(map(id, new))
        made = [t for t in trees.flatten(output)[0] if isinstance(t, Tensor)]
        rows[scope] = Row(
            ".".join(scope[1:]) or "(model)", type(module).__name__,
            made[0].shape if made else (), sum(t.size for t in new if isinstance(t, Parameter)),
            flops.get(scope, 0), sum(t.size * t.dtype.itemsize for t in new),
            sum(t.size * t.dtype.itemsize for t in made),
        )  # fmt: skip
    return list(rows.values())
