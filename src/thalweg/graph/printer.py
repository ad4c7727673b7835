"""Printing a graph as text for people."""

from __future__ import annotations

import numpy as np

from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import topological


def _attrs(node: Node) -> str:
    shown = []
    for key, value in node.attrs.items():
        if key.startswith("_"):
            continue
        text = f"array{list(value.shape)}" if isinstance(value, np.ndarray) else str(value)
        shown.append(f"{key}={text}")
    return " ".join(shown)


def print_graph(graph: Graph) -> str:
    """Return one line a node: number, operation, inputs, attributes, type, and the layer it is in.

    State that is updated in place is marked ``-> state`` with the input that it replaces.
    """
    number = {id(n): i for i, n in enumerate(graph.inputs)}
    lines = [f"%{i} = input {n.dtype.name}{list(n.shape)}" for i, n in enumerate(graph.inputs)]
    for node in topological(graph.outputs):
        if id(node) in number:
            continue
        number[id(node)] = len(number)
        inputs = " ".join(f"%{number[id(i)]}" for i in node.inputs)
        line = f"%{number[id(node)]} = {node.op.name} {inputs} {_attrs(node)}".rstrip()
        line += f"  {node.dtype.name}{list(node.shape)}"
        lines.append(line + (f"  # {'.'.join(node.scope)}" if node.scope else ""))
    for i, out in enumerate(graph.outputs):
        target = f" -> state %{graph.aliases[i]}" if i in graph.aliases else ""
        lines.append(f"output %{number[id(out)]}{target}")
    return "\n".join(lines)
