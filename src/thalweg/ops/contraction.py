"""Contractions: one operation behind matmul, einsum and tensordot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from thalweg.errors import ArgumentError, ShapeError
from thalweg.errors import where as at
from thalweg.graph.dtype import DType, bool_, float32
from thalweg.graph.node import Node
from thalweg.graph.shape import Shape, broadcast
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv
from thalweg.ops.precision import precision
from thalweg.ops.record import cast_node, define, operands, require
from thalweg.ops.reductions import sum as sum_

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def sizes(a: Node, b: Node, spec: tuple[str, str, str]) -> dict[str, int]:
    """Return the size of each label of a contraction."""
    found: dict[str, int] = {}
    for node, labels in ((a, spec[0]), (b, spec[1])):
        for label, size in zip(labels, node.shape, strict=True):
            if found.setdefault(label, size) != size:
                raise ShapeError(
                    f"contraction {spec[0]},{spec[1]}->{spec[2]}: index {label!r} has size "
                    f"{found[label]} in {a.shape} and {size} in {b.shape}; "
                    f"they must be equal. {at()}"
                )
    return found


def roles(spec: tuple[str, str, str]) -> tuple[str, str, str, str]:
    """Return the labels of batch, rows (only in a), columns (only in b) and the summed ones."""
    a, b, out = spec
    return (
        "".join(c for c in out if c in a and c in b),
        "".join(c for c in out if c in a and c not in b),
        "".join(c for c in out if c in b and c not in a),
        "".join(c for c in a if c not in out),
    )


def _infer(a: Node, b: Node, *, spec: tuple[str, str, str]) -> tuple[Shape, DType]:
    require(a, a.dtype is not bool_, "contraction", "a number type")
    size = sizes(a, b, spec)
    return tuple(size[c] for c in spec[2]), a.dtype


def _meaning(xp: Any, a: Any, b: Any, *, spec: tuple[str, str, str]) -> Any:
    batch, rows, columns, summed = roles(spec)
    size = dict(zip(spec[0] + spec[1], a.shape + b.shape, strict=True))

    def count(labels: str) -> int:
        return math.prod(size[c] for c in labels)

    lead = tuple(size[c] for c in batch)
    left = xp.transpose(a, [spec[0].index(c) for c in batch + rows + summed])
    right = xp.transpose(b, [spec[1].index(c) for c in batch + summed + columns])
    left = left.reshape((*lead, count(rows), count(summed)))
    right = right.reshape((*lead, count(summed), count(columns)))
    if left.dtype.itemsize == 2 and left.dtype.kind in "fV":  # accumulate in float32
        product = xp.matmul(left.astype("float32"), right.astype("float32")).astype(a.dtype)
    else:
        product = xp.matmul(left, right)
    made = batch + rows + columns
    product = product.reshape(tuple(size[c] for c in made))
    return xp.transpose(product, [made.index(c) for c in spec[2]])


def _rule(node: Node, g: Node) -> Sequence[Node | None]:
    a, b = node.inputs
    la, lb, out = node.attrs["spec"]
    return contract(g, b, (out, lb, la)), contract(a, g, (la, out, lb))


CONTRACT = define(
    "contract", "contraction",
    "Sum of products of two tensors over the indices that the result does not name.",
    _infer, _meaning, _rule, domain=("real", "real"),
)  # fmt: skip


def contract(a: Node, b: Node, spec: tuple[str, str, str]) -> Node:
    """Apply a contraction whose every label is in at least two of the three terms."""
    low = precision.contraction
    if low is not None and a.dtype is float32:
        return cast_node(CONTRACT(cast_node(a, low), cast_node(b, low), spec=spec), float32)
    return CONTRACT(a, b, spec=spec)


def _mismatch(name: str, a: Node, b: Node, what: str) -> ShapeError:
    return ShapeError(f"{name}: shapes {a.shape} and {b.shape} do not fit: {what}. {at()}")


def matmul(a: Node, b: Node) -> Node:
    """Matrix product over the last two axes; axes before them broadcast; vectors as in NumPy.

    ``(..., m, k) @ (..., k, n)`` gives ``(..., m, n)``.
    """
    a, b = operands(a, b, name="matmul")
    if not a.rank or not b.rank:
        raise _mismatch("matmul", a, b, "a number has no rows or columns; use * instead")
    inner_b = b.shape[-2] if b.rank > 1 else b.shape[0]
    if a.shape[-1] != inner_b:
        raise _mismatch(
            "matmul", a, b,
            f"the last axis of the first has {a.shape[-1]} elements, and the "
            f"{'second-to-last' if b.rank > 1 else 'only'} axis of the second {inner_b}; "
            "they must be equal (is one of them to be transposed?)",
        )  # fmt: skip
    lead_a, lead_b = a.shape[:-2], b.shape[:-2]
    lead = broadcast(lead_a, lead_b, name="matmul")
    names = _LETTERS[3 : 3 + len(lead)]
    a, own_a = _drop_ones(a, lead, names, 2 if a.rank > 1 else 1)
    b, own_b = _drop_ones(b, lead, names, 2 if b.rank > 1 else 1)
    row, column = "a" if len(a.shape) - len(own_a) == 2 else "", ""
    column = "c" if len(b.shape) - len(own_b) == 2 else ""
    used = "".join(c for c in names if c in own_a + own_b)
    y = contract(a, b, (own_a + row + "b", own_b + "b" + column, used + row + column))
    if len(used) == len(names):
        return y
    tail = y.shape[len(used) :]
    return mv.reshape(y, (*lead, *tail))


def _drop_ones(x: Node, lead: Shape, names: str, matrix: int) -> tuple[Node, str]:
    """Leave out leading axes of size 1, which broadcast, and name the others."""
    own = x.shape[:-matrix] if x.rank > matrix else ()
    labels = names[len(names) - len(own) :]
    kept = [i for i, n in enumerate(own) if n != 1]
    shape = tuple(own[i] for i in kept) + x.shape[x.rank - matrix :]
    return mv.reshape(x, shape), "".join(labels[i] for i in kept)


def tensordot(a: Node, b: Node, axes: int | Sequence[Any] = 2) -> Node:
    """Sum of products over several axes: the last and first ``axes``, or two lists of them."""
    a, b = operands(a, b, name="tensordot")
    if isinstance(axes, int):
        left, right = list(range(a.rank - axes, a.rank)), list(range(axes))
    else:
        left = [axes[0]] if isinstance(axes[0], int) else list(axes[0])
        right = [axes[1]] if isinstance(axes[1], int) else list(axes[1])
    left = [i % max(a.rank, 1) for i in left]
    right = [i % max(b.rank, 1) for i in right]
    if len(left) != len(right) or any(
        a.shape[i] != b.shape[j] for i, j in zip(left, right, strict=False)
    ):
        raise _mismatch("tensordot", a, b, f"axes {axes} must pair axes of equal size")
    la = list(_LETTERS[: a.rank])
    lb = list(_LETTERS[a.rank : a.rank + b.rank])
    for i, j in zip(left, right, strict=True):
        lb[j] = la[i]
    out = [c for i, c in enumerate(la) if i not in left]
    out += [c for j, c in enumerate(lb) if j not in right]
    return contract(a, b, ("".join(la), "".join(lb), "".join(out)))


def outer(a: Node, b: Node) -> Node:
    """Every element of the first tensor, flattened, times every one of the second."""
    return tensordot(mv.reshape(a, (a.size,)), mv.reshape(b, (b.size,)), 0)


def vecdot(a: Node, b: Node, axis: int = -1) -> Node:
    """Sum of products along one axis; the other axes broadcast."""
    return sum_(e.multiply(a, b), axis=axis)


def _parse(subscripts: str, nodes: Sequence[Node]) -> tuple[list[str], str]:
    text = subscripts.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(nodes):
        raise ArgumentError(
            f"einsum: {subscripts!r} names {len(terms)} operands, got {len(nodes)}. {at()}"
        )
    free = [c for c in reversed(_LETTERS) if c not in text]
    longest = 0
    for i, (term, node) in enumerate(zip(terms, nodes, strict=True)):
        if "..." in term:
            extra = node.rank - (len(term) - 3)
            longest = max(longest, extra)
            terms[i] = term.replace("...", "".join(free[:extra][::-1]))
        if len(terms[i]) != node.rank:
            raise ShapeError(
                f"einsum: {term!r} names {len(terms[i])} axes, the operand has shape "
                f"{node.shape}. {at()}"
            )
    dots = "".join(free[:longest][::-1])
    if not arrow:
        letters = "".join(terms)
        out = dots + "".join(sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1))
    else:
        out = out.replace("...", dots)
    unknown = [c for c in out if c not in "".join(terms)]
    if unknown or len(set(out)) != len(out):
        raise ArgumentError(f"einsum: bad output indices {out!r} in {subscripts!r}. {at()}")
    return terms, out


def _diagonal(x: Node, labels: str) -> tuple[Node, str]:
    """Replace a repeated label by its diagonal."""
    for label in labels:
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            n = x.shape[i]
            if x.shape[j] != n:
                raise ShapeError(f"einsum: index {label!r} has two sizes in {x.shape}. {at()}")
            order = [k for k in range(x.rank) if k not in (i, j)] + [i, j]
            lead = tuple(x.shape[k] for k in order[:-2])
            flat = mv.reshape(mv.permute_dims(x, order), (*lead, n * n))
            stops = [*lead, n * n]
            x = mv.slice_(flat, [0] * flat.rank, stops, [1] * len(lead) + [n + 1])
            labels = "".join(labels[k] for k in order[:-1])
    return x, labels


def _reduce_alone(x: Node, labels: str, needed: set[str]) -> tuple[Node, str]:
    """Sum over the labels that nothing else names."""
    axes = [i for i, c in enumerate(labels) if c not in needed]
    if not axes:
        return x, labels
    return sum_(x, axis=axes), "".join(c for c in labels if c in needed)


def einsum(subscripts: str, *tensors: Node) -> Node:
    """Einstein summation, as ``numpy.einsum`` writes it, over any number of tensors.

    Operands are contracted from left to right.
    """
    nodes = list(operands(*tensors, name="einsum"))
    terms, out = _parse(subscripts, nodes)
    pairs = [_diagonal(n, t) for n, t in zip(nodes, terms, strict=True)]
    x, labels = pairs.pop(0)
    while pairs:
        y, other = pairs.pop(0)
        later = set(out).union(*(t for _, t in pairs))
        x, labels = _reduce_alone(x, labels, later | set(other))
        y, other = _reduce_alone(y, other, later | set(labels))
        made = "".join(dict.fromkeys(c for c in labels + other if c in later))
        x, y, labels, other = _broadcast_ones(x, y, labels, other)
        made = "".join(c for c in made if c in labels + other)
        x, labels = contract(x, y, (labels, other, made)), made
    x, labels = _reduce_alone(x, labels, set(out))
    return mv.permute_dims(x, [labels.index(c) for c in out])


def _broadcast_ones(x: Node, y: Node, a: str, b: str) -> tuple[Node, Node, str, str]:
    """Repeat an axis of size 1 whose label has another size in the other operand."""
    size = dict(zip(a, x.shape, strict=True))
    for c, n in zip(b, y.shape, strict=True):
        if n != 1:
            size[c] = n if size.get(c, 1) == 1 else size[c]
    x = mv.broadcast_to(x, [size[c] if n == 1 else n for c, n in zip(a, x.shape, strict=True)])
    y = mv.broadcast_to(y, [size.get(c, n) if n == 1 else n
                            for c, n in zip(b, y.shape, strict=True)])  # fmt: skip
    return x, y, a, b
