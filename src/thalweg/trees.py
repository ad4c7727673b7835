"""Trees: nested dicts, lists and tuples seen as a list of leaves and a structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from thalweg.errors import ArgumentError

Structure = tuple[Any, ...]
_LEAF: Structure = ("leaf",)


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Return the leaves of a tree, in a fixed order, and its structure.

    Dicts keep their insertion order; ``None`` has no leaves; named tuples keep their type.

    >>> flatten({"a": 1, "b": [2, None]})[0]
    [1, 2]
    """
    leaves: list[Any] = []

    def walk(node: Any) -> Structure:
        if isinstance(node, dict):
            return ("dict", type(node), tuple(node), tuple(walk(v) for v in node.values()))
        if isinstance(node, (list, tuple)):
            return ("sequence", type(node), tuple(walk(v) for v in node))
        if node is None:
            return ("none",)
        leaves.append(node)
        return _LEAF

    return leaves, walk(tree)


def unflatten(structure: Structure, leaves: list[Any]) -> Any:
    """Rebuild the tree of a structure from its leaves.

    >>> leaves, structure = flatten((1, {"a": 2}))
    >>> unflatten(structure, [10, 20])
    (10, {'a': 20})
    """
    rest: Iterator[Any] = iter(leaves)

    def build(s: Structure) -> Any:
        if s[0] == "leaf":
            return next(rest)
        if s[0] == "none":
            return None
        if s[0] == "dict":
            values = [build(child) for child in s[3]]
            return s[1](zip(s[2], values, strict=True))
        children = [build(child) for child in s[2]]
        return s[1](*children) if hasattr(s[1], "_fields") else s[1](children)

    return build(structure)


def map_tree(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to every leaf of one tree, or to the matching leaves of several.

    >>> map_tree(lambda a, b: a + b, [1, (2,)], [10, (20,)])
    [11, (22,)]
    """
    leaves, structure = flatten(tree)
    columns = [leaves]
    for other in others:
        more, other_structure = flatten(other)
        if other_structure != structure:
            raise ArgumentError(f"the trees differ: {structure} and {other_structure}")
        columns.append(more)
    return unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])
