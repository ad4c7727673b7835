"""Names of parameters and gradients: the path of each leaf of a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.errors import ArgumentError, DTypeError, ShapeError, nearest, where
from thalweg.tensor.conversion import asarray
from thalweg.tensor.tensor import Parameter, Tensor

ALONE = "parameter"  # the path of a tree that is one tensor


def leaves(tree: Any, owner: str) -> dict[str, Any]:
    """Return the leaves of nested dicts, lists, tuples and modules by their paths.

    >>> leaves({"a": [1, 2]}, "example")
    {'a.0': 1, 'a.1': 2}
    """
    found: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if hasattr(node, "trainable_parameters"):
            node = node.trainable_parameters()
        if isinstance(node, Mapping):
            parts = [(str(key), part) for key, part in node.items()]
        elif isinstance(node, (list, tuple)):
            parts = [(str(i), part) for i, part in enumerate(node)]
        elif node is None:
            return
        else:
            path = path or ALONE
            if path in found:
                raise ArgumentError(
                    f"{owner}: two leaves have the path {path!r}; rename a key. {where()}"
                )
            found[path] = node
            return
        for name, part in parts:
            walk(part, f"{path}.{name}" if path else name)

    walk(tree, "")
    return found


def parameters(tree: Any, owner: str) -> dict[str, Tensor]:
    """Return the tensors to train by their paths.

    Raises:
        ArgumentError: there are none, or one is there twice, or something is not a tensor.
        DTypeError: one is not of a floating type.
    """
    found = leaves(tree, owner)
    first: dict[int, str] = {}
    for path, leaf in found.items():
        if not isinstance(leaf, Tensor):
            raise ArgumentError(
                f"{owner}: {path!r} is of type {type(leaf).__name__}, wanted a Parameter. Give a "
                f"Module, or a dict or list of Parameters. {where()}"
            )
        if not leaf.dtype.is_float:
            raise DTypeError(
                f"{owner}: {path!r} has dtype {leaf.dtype.name}, wanted a floating type; "
                f"leave it out or convert it. {where()}"
            )
        if id(leaf) in first:
            raise ArgumentError(
                f"{owner}: {path!r} is the same tensor as {first[id(leaf)]!r}; "
                f"give it once. {where()}"
            )
        first[id(leaf)] = path
    if not found:
        raise ArgumentError(
            f"{owner}: there is nothing to train. Are all parameters frozen (see "
            f"Module.unfreeze)? {where()}"
        )
    return found


def is_trainable(tensor: Tensor) -> bool:
    """Return whether a tensor is trained: all are but frozen parameters."""
    return tensor.trainable if isinstance(tensor, Parameter) else True


def gradients(tree: Any, wanted: Mapping[str, Tensor], owner: str) -> dict[str, Tensor]:
    """Return the gradients in the order of the parameters ``wanted``.

    Raises:
        ArgumentError: some are missing or unknown.
        ShapeError: one has another shape than its parameter.
    """
    given = leaves(tree, owner)
    missing = [path for path in wanted if path not in given]
    unknown = [path for path in given if path not in wanted]
    if missing or unknown:
        lines = [f"{owner}: the gradients do not belong to the parameters."]
        if missing:
            lines.append(f"Without a gradient: {_some(missing)}.")
        if unknown:
            lines.append(f"Without a parameter: {_some(unknown)}; {nearest(unknown[0], wanted)}.")
        lines.append(
            "Give what value_and_grad returns for the very model or tree that the optimiser was "
            f"made with. {where()}"
        )
        raise ArgumentError("\n".join(lines))
    for path, parameter in wanted.items():
        gradient = given[path]
        if not isinstance(gradient, Tensor):
            given[path] = gradient = asarray(gradient)
        if gradient.shape != parameter.shape:
            raise ShapeError(
                f"{owner}: the gradient of {path!r} has shape {gradient.shape}, the parameter "
                f"{parameter.shape}; they must be equal. {where()}"
            )
    return {path: given[path] for path in wanted}


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(repr(n) for n in names[:5]) + rest
