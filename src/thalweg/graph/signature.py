"""Signatures: a text that is equal for two graphs exactly when they are the same program."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import topological


def _attr(value: Any) -> str:
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array({value.dtype},{value.shape},{digest})"
    if isinstance(value, Graph):
        return "{" + graph_signature(value) + "}"
    return repr(value)


def describe(node: Node, number: dict[int, int]) -> str:
    """Return one line for a node whose inputs are already numbered."""
    inputs = ",".join(f"%{number[id(i)]}" for i in node.inputs)
    attrs = ",".join(
        f"{k}={_attr(v)}" for k, v in sorted(node.attrs.items()) if not k.startswith("_")
    )
    shape = "x".join(map(str, node.shape))
    return f"{node.op.name}({inputs}){{{attrs}}}:{node.dtype.name}[{shape}]"


def graph_signature(graph: Graph) -> str:
    """Return the text that identifies a graph: the key of compiled programs."""
    number: dict[int, int] = {}
    lines = []
    for i, node in enumerate(graph.inputs):
        number[id(node)] = i
        lines.append(f"%{i}=input{i}:{node.dtype.name}{list(node.shape)}")
    for node in topological(graph.outputs):
        if id(node) in number:
            continue
        number[id(node)] = len(number)
        lines.append(f"%{number[id(node)]}={describe(node, number)}")
    lines.append("outputs " + ",".join(f"%{number[id(o)]}" for o in graph.outputs))
    lines.append(f"aliases {sorted(graph.aliases.items())}")
    return "\n".join(lines)
