"""Transforms of functions: gradients, custom rules, recomputation, looking for NaN."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from thalweg import autodiff, trees
from thalweg.errors import ArgumentError, GradientError, where
from thalweg.graph.node import Node
from thalweg.ops import identity
from thalweg.ops.record import OPS, full
from thalweg.tensor.context import context
from thalweg.tensor.conversion import tensor
from thalweg.tensor.tensor import Tensor, finish, lift

Function = Callable[..., Any]


@contextmanager
def _keeping_graphs() -> Iterator[None]:
    context.gradient_depth += 1
    try:
        yield
    finally:
        context.gradient_depth -= 1


@contextmanager
def _fresh(sources: Sequence[Tensor]) -> Iterator[None]:
    """While a function is captured, give each source a node of its own.

    What was computed from it before is a constant to the gradients that are taken now, as it is
    when every operation runs at once.
    """
    recorder = context.recorder
    if recorder is None:
        yield
        return
    held: list[tuple[int, Node, Node]] = []
    for source in sources:
        node = recorder.read(source)
        if id(source) in recorder.current:
            own = OPS["reshape"](node, shape=node.shape)
            recorder.current[id(source)] = own
            held.append((id(source), node, own))
    try:
        yield
    finally:
        for key, node, own in held:
            if recorder.current[key] is own:  # else the function assigned to it
                recorder.current[key] = node


def _is_module(value: Any) -> bool:
    return hasattr(value, "trainable_parameters")


def _sources(argument: Any, position: int) -> tuple[list[Tensor], Any, Any]:
    """Return the tensors to differentiate by, the argument to call with, the gradients' tree."""
    leaves, structure = trees.flatten(argument)
    made: list[Tensor] = []
    given: list[Any] = []
    kinds: list[Any] = []
    for value in leaves:
        if _is_module(value):
            named = value.trainable_parameters()
            made.extend(named.values())
            given.append(value)
            kinds.append(dict.fromkeys(named, 0))
            continue
        value = value if isinstance(value, Tensor) else tensor(value)
        if not value.dtype.is_float:
            raise GradientError(
                f"grad: argument {position} holds {value.dtype.name} numbers, and gradients "
                f"exist for floating types only; use .astype(thalweg.float32). {where()}"
            )
        # A node of its own: what the function closes over may be the same tensor and is constant.
        made.append(finish(OPS["reshape"](lift(value), shape=value.shape)))
        given.append(made[-1])
        kinds.append(0)
    tree = trees.unflatten(structure, kinds)
    return made, trees.unflatten(structure, given), trees.flatten(tree)[1]


def value_and_grad(
    function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """Return a function that gives the value and the gradients of a scalar function.

    The gradients have the structure of argument ``argnums`` (a tuple of structures if several are
    named). A Module's are a dict from parameter names to tensors. With ``has_aux`` the function
    returns a pair ``(loss, anything)`` and so does the value.

    Raises:
        GradientError: the function's value is not a single floating-point number.

    >>> import thalweg as tw
    >>> tw.value_and_grad(lambda w: (w ** 2).sum())(tw.tensor([1.0, 2.0]))
    (Tensor(5., dtype=float32), Tensor([2., 4.], dtype=float32))
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(function)
    def with_gradients(*args: Any, **kwargs: Any) -> Any:
        for n in numbers:
            if not -len(args) <= n < len(args):
                raise GradientError(
                    f"grad: argument {n} of {len(args)} positional ones does not exist; {where()}"
                )
        new = list(args)
        with _keeping_graphs():
            parts = []
            for n in numbers:
                sources, new[n], structure = _sources(args[n], n)
                parts.append((sources, structure))
            every = [s for sources, _ in parts for s in sources]
            with _fresh(every):
                before = [[lift(s) for s in sources] for sources, _ in parts]
                result = function(*new, **kwargs)
            loss, aux = result if has_aux else (result, None)
            output = _scalar(loss)
            flat = [node for nodes in before for node in nodes]
            seed = full((), 1, output.dtype)
            found = autodiff.gradients(output, seed, flat)
            made = iter([_finished(g, s) for g, s in zip(found, flat, strict=True)])
            grads = [trees.unflatten(structure, [next(made) for _ in sources])
                     for sources, structure in parts]  # fmt: skip
        value = _detached(loss)
        aux = trees.map_tree(_detached, aux)
        grads = [trees.map_tree(_detached, g) for g in grads]
        first = grads[0] if isinstance(argnums, int) else tuple(grads)
        return ((value, aux) if has_aux else value), first

    return with_gradients


def _scalar(loss: Any) -> Node:
    if not isinstance(loss, Tensor) or loss.size != 1 or not loss.dtype.is_float:
        got = f"{loss.dtype.name} of shape {loss.shape}" if isinstance(loss, Tensor) else repr(loss)
        raise GradientError(
            f"grad: the function must return one floating-point number, got {got}; "
            f"take .mean() or .sum() of it. {where()}"
        )
    node: Node = lift(loss.reshape(()) if loss.ndim else loss)  # type: ignore[attr-defined]
    return node


def _finished(gradient: Node | None, source: Node) -> Tensor:
    return finish(full(source.shape, 0, source.dtype) if gradient is None else gradient)


def _detached(value: Any) -> Any:
    """Let go of the graph behind a tensor once no gradient function runs any more."""
    if context.gradient_depth or context.recorder is not None or not isinstance(value, Tensor):
        return value
    return finish(value._node)


def grad(function: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return a function that gives the gradients of a scalar function; see ``value_and_grad``.

    >>> import thalweg as tw
    >>> tw.grad(tw.grad(lambda x: x ** 3))(2.0)
    Tensor(12., dtype=float32)
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def only_gradients(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return only_gradients


def custom_gradient(function: Function, backward: Function) -> Function:
    """Return ``function`` with a gradient rule of your own.

    ``backward(g, *args)`` gets the gradient of the result and the arguments, and returns one
    gradient (or None) for each argument, a single one without a tuple.

    >>> import thalweg as tw
    >>> clipped = custom_gradient(lambda x: x * 1, lambda g, x: g.clip(-1, 1))
    >>> tw.grad(lambda x: (clipped(x) * 5).sum())(tw.ones(2))
    Tensor([1., 1.], dtype=float32)
    """

    @functools.wraps(function)
    def with_rule(*args: Any) -> Tensor:
        # Numbers and other arguments that are not tensors are handed on as they are.
        given = {i: lift(a) for i, a in enumerate(args) if isinstance(a, (Tensor, np.ndarray))}
        with _keeping_graphs():
            y = function(*[Tensor(given[i]) if i in given else a for i, a in enumerate(args)])

            def rule(g: Node, *inputs: Node) -> list[Node | None]:
                again = dict(zip(given, inputs, strict=True))
                values = [Tensor(again[i]) if i in again else a for i, a in enumerate(args)]
                parts = backward(Tensor(g), *values)
                parts = parts if isinstance(parts, (tuple, list)) else (parts,)
                if len(parts) != len(args):
                    raise GradientError(
                        f"custom_gradient: the rule gave {len(parts)} gradients for "
                        f"{len(args)} arguments. {where()}"
                    )
                return [None if parts[i] is None else _node_of(parts[i]) for i in given]

            node = identity.custom(lift(y), list(given.values()), _symbolic(rule))
        return finish(node)

    return with_rule


def _node_of(value: Any) -> Node:
    return value._node if isinstance(value, Tensor) else lift(tensor(value))


def _symbolic(rule: Callable[..., list[Node | None]]) -> Callable[..., list[Node | None]]:
    """Let a rule run on tensors that may not have their numbers yet."""

    def run(g: Node, *inputs: Node) -> list[Node | None]:
        if context.recorder is None:
            from thalweg.backends.reference import evaluate

            evaluate([g, *inputs])
        return rule(g, *inputs)

    return run


def checkpoint(function: Function) -> Function:
    """Return ``function`` with less memory: its inner values are computed again when needed.

    Chen et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174. The function
    returns one tensor; tensors that it closes over are differentiated too. Memory is saved inside
    of ``compile`` only: an eager graph keeps its values.

    >>> import thalweg as tw
    >>> tw.grad(checkpoint(lambda x: tw.exp(tw.sin(x)).sum()))(tw.zeros(1))
    Tensor([1.], dtype=float32)
    """

    @functools.wraps(function)
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        with _keeping_graphs():
            since = full((), 0).serial
            y = function(*args, **kwargs)
            if not isinstance(y, Tensor):
                raise ArgumentError(f"checkpoint: must return one tensor, got {y!r}. {where()}")
            differentiate = functools.partial(autodiff.gradients, closed=True)
            node = identity.checkpoint(lift(y), since, differentiate)
        return finish(node)

    return recomputed


@contextmanager
def debug_nans(on: bool = True) -> Iterator[None]:
    """Look at every value inside the ``with`` block; the first NaN or infinity is an error.

    The error names the operation, the layer and the line. Compiled functions run step by step
    meanwhile, which is slow.

    >>> import thalweg as tw
    >>> with tw.debug_nans():
    ...     tw.log(tw.tensor([1.0]))
    Tensor([0.], dtype=float32)
    """
    before = context.debug_nans
    context.debug_nans = on
    try:
        yield
    finally:
        context.debug_nans = before
