"""Shapes, walking and rewriting graphs, signatures, printing."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from thalweg.errors import ArgumentError, ShapeError
from thalweg.graph import rewrite, shape
from thalweg.graph.dtype import float32
from thalweg.graph.node import Graph, Node, scopes
from thalweg.graph.printer import print_graph
from thalweg.graph.signature import graph_signature
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.record import placeholder

fast = settings(max_examples=100, deadline=None, derandomize=True)


def x(*size: int) -> Node:
    return placeholder(size, float32)


@fast
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0))
def test_broadcasting_is_that_of_numpy(shapes: hnp.BroadcastableShapes) -> None:
    assert shape.broadcast(*shapes.input_shapes) == shapes.result_shape


@fast
@given(hnp.array_shapes(min_dims=0, min_side=0), hnp.array_shapes(min_dims=0, min_side=0))
def test_what_numpy_does_not_broadcast_is_refused(a: shape.Shape, b: shape.Shape) -> None:
    try:
        wanted = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            shape.broadcast(a, b)
    else:
        assert shape.broadcast(a, b) == wanted


@fast
@given(hnp.array_shapes(min_dims=0, min_side=0, max_side=4), st.data())
def test_reshape_works_out_one_size(size: shape.Shape, data: st.DataObject) -> None:
    wanted = list(data.draw(st.permutations(size)))
    if wanted and data.draw(st.booleans()):
        wanted[0] = -1
    try:
        result = np.zeros(size).reshape(wanted).shape
    except ValueError:  # -1 beside a size of 0
        with pytest.raises(ShapeError):
            shape.resolve_reshape(size, wanted)
    else:
        assert shape.resolve_reshape(size, wanted) == result


def test_axes_are_counted_from_both_ends() -> None:
    assert shape.normalize_axes(None, 3) == (0, 1, 2)
    assert shape.normalize_axes((-1, 0), 3) == (0, 2)
    assert shape.normalize_axes(np.int64(1), 3) == (1,)
    assert shape.reduced((2, 3, 4), (0, 2), True) == (1, 3, 1)
    assert shape.contiguous_strides((2, 3, 4)) == (12, 4, 1)
    for bad, error in ((3, ShapeError), ((0, 0), ShapeError), ("a", ArgumentError)):
        with pytest.raises(error):
            shape.normalize_axes(bad, 3)  # type: ignore[arg-type]


def test_each_node_comes_after_its_inputs_even_in_deep_graphs() -> None:
    node = start = x(2)
    for _ in range(5000):
        node = e.add(node, start)
    order = rewrite.topological([node])
    place = {id(n): i for i, n in enumerate(order)}
    assert len(order) == 5001
    assert all(place[id(i)] < place[id(n)] for n in order for i in n.inputs)
    assert rewrite.topological([node], ends={id(node)}) == [node]


def test_rewriting_keeps_what_does_not_change() -> None:
    a, b = x(2), x(2)
    kept, changed = e.exp(a), e.sin(b)
    out = e.add(kept, changed)
    (new,) = rewrite.rewrite([out], lambda n: e.cos(n.inputs[0]) if n is changed else n)
    assert new is not out
    assert new.inputs[0] is kept
    assert new.inputs[1].op.name == "cos"
    assert rewrite.rewrite([out], lambda n: n) == [out]
    (other,) = rewrite.substitute([out], {id(kept): b})
    assert other.inputs == (b, changed)
    assert [n.op.name for n in rewrite.users([a, kept, changed, out])[id(kept)]] == ["add"]


def test_signatures_tell_programs_apart() -> None:
    def graph(size: int, low: float = 0, alias: bool = False, swap: bool = False) -> Graph:
        a, b = x(size), x(size)
        out = e.maximum(e.subtract(b, a) if swap else e.subtract(a, b), low)
        return Graph([a, b], [out], {0: 0} if alias else {})

    same = graph_signature(graph(3))
    assert same == graph_signature(graph(3))
    others = [graph(4), graph(3, 1.0), graph(3, alias=True), graph(3, swap=True)]
    assert len({same, *map(graph_signature, others)}) == 5


def test_a_graph_is_printed_line_by_line() -> None:
    a = x(2, 3)
    scopes.append("layer")
    try:
        out = mv.permute_dims(e.exp(a), (1, 0))
    finally:
        scopes.pop()
    assert print_graph(Graph([a], [out], {0: 0})).split("\n") == [
        "%0 = input float32[2, 3]",
        "%1 = exp %0  float32[2, 3]  # layer",
        "%2 = transpose %1 axes=(1, 0)  float32[3, 2]  # layer",
        "output %2 -> state %0",
    ]


def test_nodes_know_their_line_and_scopes_belong_to_a_thread() -> None:
    scopes.append("outer")
    try:
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.extend([len(scopes), *scopes]))
        thread.start()
        thread.join()
        node = e.exp(x(2))
    finally:
        scopes.pop()
    assert seen == [0]
    assert node.scope == ("outer",)
    assert node.origin[0] == __file__
    assert (node.rank, node.size) == (1, math.prod(node.shape))
    assert repr(node) == "<exp float32[2]>"
