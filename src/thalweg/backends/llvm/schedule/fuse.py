"""Fusion: decides what is computed together in one kernel, and what goes to memory.

Nodes are taken in topological order. Contractions, reductions and structured operations open a
kernel. An element-wise node joins the kernel of what it reads if it runs over the same space;
otherwise it waits, and is computed inside of whoever needs it, or in a kernel of its own if it must
be stored.
"""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.backends.llvm.loops import (
    Affine,
    Index,
    Kernel,
    Part,
    identity_index,
    is_view,
    reshape_index,
    source_index,
)
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import topological, users
from thalweg.graph.shape import Shape

COSTLY = frozenset(
    [
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sigmoid", "erf", "erfc",
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
        "atan2", "power", "random_bits", "floor_divide", "remainder", "divide", "sqrt", "rsqrt",
    ]
)  # fmt: skip
WIDE = 8  # nodes of a column kernel from which no reduction joins it
NEAR = 16  # kernels back to which unrelated work over the same space is joined
OPEN_KINDS = ("map", "rows", "columns", "contraction")


class Fusion:
    """The state of the walk: kernels, and which kernel computes which node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order = topological(graph.outputs)
        self.readers = users(self.order)
        self.inputs = {id(n) for n in graph.inputs}
        self.inputs |= {id(n) for n in self.order if n.op.name == "constant"}
        self.must_store = {id(o) for o in graph.outputs if id(o) not in self.inputs}
        self.kernels: list[Kernel] = []
        self.kernel_of: dict[int, Kernel] = {}
        self.before: dict[int, set[int]] = {}  # kernel id -> ids of kernels that it reads from
        self._mark()

    def run(self) -> list[Kernel]:
        """Return the kernels, in an order in which each comes after what it reads."""
        for node in self.order:
            if id(node) in self.inputs or node.op.kind == "leaf":
                if id(node) in self.must_store:
                    self._open("map", node, node.shape)
                continue
            self._place(node)
        return self.kernels

    # --- what must be stored --------------------------------------------------------------

    def _mark(self) -> None:
        """Mark the nodes that their readers take from memory."""
        for node in reversed(self.order):
            name = node.op.name
            if node.op.kind == "loop":
                self.must_store |= {id(i) for i in node.inputs} - self.inputs
                continue
            if name == "contract" or node.op.kind == "structured":
                for i in node.inputs:
                    if name != "scatter_add" or i.op.name != "full":  # zeros are written down
                        self._store_behind(i)
            elif name == "reshape" and not _affine_reshape(node):
                self._store(node.inputs[0])
        for node in self.order:
            readers = self.readers.get(id(node), ())
            several = self.is_costly(node) and len(readers) > 1 and node.size > 1
            each = node.op.kind == "elementwise" and any(r.size > 1 for r in readers)
            if several or (each and node.size == 1):  # a number that every element needs: once
                self.must_store.add(id(node))

    def is_costly(self, node: Node) -> bool:
        """Whether a node is better stored than computed twice."""
        return node.op.kind == "elementwise" and node.op.name in COSTLY

    def _store(self, node: Node) -> None:
        while node.op.name == "reshape":
            node = node.inputs[0]
        if id(node) not in self.inputs and node.op.name not in ("iota", "full"):
            self.must_store.add(id(node))

    def _store_behind(self, node: Node) -> None:
        """Store the node behind views that memory can be read through."""
        start = node
        index: Index | None = identity_index(node.shape)
        while is_view(node) and index is not None:
            if node.op.name == "reshape" and not _affine_reshape(node):
                if start is node:  # read as it lies in memory
                    self._store(node)
                    return
                break
            index = source_index(node, index)
            node = node.inputs[0]
        if is_view(node) or (node.op.kind == "leaf" and id(node) not in self.inputs):
            if node.op.kind == "leaf":
                self.must_store.add(id(node))
            else:
                self._store(node.inputs[0])
                if node.op.name != "reshape":
                    self.must_store.add(id(node))
            return
        if id(node) not in self.inputs:
            self.must_store.add(id(node))

    # --- placing one node -----------------------------------------------------------------

    def _place(self, node: Node) -> None:
        name, kind = node.op.name, node.op.kind
        if name == "contract":
            self._open("contraction", node, node.shape)
        elif kind == "reduction":
            self._place_reduction(node)
        elif kind == "structured" or name in ("concatenate", "pad"):
            self._place_structured(node)
        elif name == "scan":
            self._open("scan", node, node.shape)
        elif name == "part":
            self._add(self.kernel_of[id(node.inputs[0])], node)
        elif kind == "elementwise":
            if not self._join(node) and id(node) in self.must_store:
                self._open_map(node)
        elif id(node) in self.must_store:  # a view that someone wants as it is
            self._open("map", node, node.shape)

    def _place_structured(self, node: Node) -> None:
        name = node.op.name
        if name == "concatenate":
            if not self._is_within(node):
                for x, starts in self._pieces(node, (0,) * node.rank):
                    self._part(node, x, Part(starts, (1,) * node.rank))
        elif name == "pad":
            x, steps = node.inputs[0], tuple(i + 1 for i in node.attrs["interior"])
            self._open("fill", node, node.shape)
            self._part(node, x, Part(node.attrs["low"], steps))
        else:
            self._open(name, node, node.shape)

    def _is_within(self, node: Node) -> bool:
        """Whether a concatenation is only a part of another one, which places its parts."""
        readers = self.readers[id(node)] if id(node) not in self.must_store else []
        return len(readers) == 1 and readers[0].op.name == "concatenate"

    def _pieces(self, node: Node, starts: Shape) -> Iterator[tuple[Node, Shape]]:
        """Yield what lies side by side in a concatenation, and where each begins."""
        axis, start = node.attrs["axis"], starts[node.attrs["axis"]]
        for x in node.inputs:
            here = (*starts[:axis], start, *starts[axis + 1 :])
            if x.op.name == "concatenate" and self._is_within(x):
                yield from self._pieces(x, here)
            else:
                yield x, here
            start += x.shape[axis]

    def _part(self, whole: Node, x: Node, part: Part) -> None:
        """Compute one tensor in, or copy it into, a part of a larger one.

        What a contraction leaves for nobody else, it puts there itself. What nobody else stores
        is computed on the way, by one kernel for all parts of one shape.
        """
        home, earlier = self.kernel_of.get(id(x)), self.kernel_of.get(id(whole))
        alone = len(self.readers[id(x)]) == 1 and id(x) not in self.must_store
        if (
            alone and home is not None and home.kind == "contraction"
            and x.shape == home.space != whole.shape
        ):  # fmt: skip
            if earlier is not None and earlier.kind == "fill":  # borders come first
                self.kernels.remove(earlier)
                self.kernels.insert(self.kernels.index(home), earlier)
            home.placed[id(x)] = (whole, part)
            self._follow(whole, home)
            return
        fresh = home is None and x.op.kind != "leaf" and x.shape != whole.shape
        fresh = fresh and id(x) not in self.must_store and id(x) not in self.inputs
        if fresh and earlier is not None and self._takes(earlier, x):
            kernel = earlier
        else:
            kernel = self._open("map", whole, x.shape)
            kernel.members, kernel.inside = [], set()
        if fresh:
            kernel.add(x)
            kernel.placed[id(x)] = (whole, part)
        else:
            kernel.part, kernel.members = part, [x]
        self._note_reads(kernel, x)

    def _takes(self, kernel: Kernel, x: Node) -> bool:
        """Whether a kernel that places parts of a tensor can place one more."""
        alike = kernel.kind == "map" and kernel.placed and kernel.space == x.shape
        others = (self.kernel_of.get(id(read)) for read, _ in self._reads(x, None))
        return bool(alike) and id(x) not in kernel.placed and not any(
            other is not None and self._reaches(other, kernel) for other in others
        )  # fmt: skip

    def _follow(self, whole: Node, home: Kernel) -> None:
        """Note that a tensor made part by part is ready after the last of its kernels."""
        earlier = self.kernel_of.get(id(whole))
        if earlier is None or self.kernels.index(earlier) < self.kernels.index(home):
            self.kernel_of[id(whole)] = home
        if earlier is not None:
            last = self.kernel_of[id(whole)]
            self.before[id(last)].add(id(earlier if last is home else home))

    def _open(self, kind: str, node: Node, space: tuple[int, ...]) -> Kernel:
        kernel = Kernel(kind, space, node)
        kernel.add(node)
        self.kernels.append(kernel)
        previous = self.kernel_of.get(id(node))
        self.before[id(kernel)] = {id(previous)} if previous is not None else set()
        self.kernel_of[id(node)] = kernel
        self._note_reads(kernel, node)
        return kernel

    def _open_map(self, node: Node) -> None:
        """Open an element-wise kernel, or join one of the same space that reads the same data."""
        reads = {id(n) for n, _ in self._reads(node, None) if n.rank}
        for kernel in reversed(self.kernels[-NEAR:]):
            if kernel.kind != "map" or kernel.part or kernel.space != node.shape or not reads:
                continue
            known = {id(n) for m in kernel.members
                     for n, _ in self._reads(m, None, inside=False)}  # fmt: skip
            if reads & known and self._may_join(kernel, node, identity_index(node.shape)):
                self._add(kernel, node)
                return
        self._open("map", node, node.shape)

    def _add(self, kernel: Kernel, node: Node) -> None:
        kernel.add(node)
        self.kernel_of[id(node)] = kernel
        self._note_reads(kernel, node)

    def _note_reads(self, kernel: Kernel, node: Node) -> None:
        for source in node.inputs:
            for read, _ in self._reads(source, None):
                other = self.kernel_of.get(id(read))
                if other is not None and other is not kernel:
                    self.before[id(kernel)].add(id(other))
        if not node.inputs or kernel.part is not None:
            for read, _ in self._reads(node, None):
                other = self.kernel_of.get(id(read))
                if other is not None and other is not kernel:
                    self.before[id(kernel)].add(id(other))

    # --- joining --------------------------------------------------------------------------

    def _reads(
        self, node: Node, index: Index | None, inside: bool = True
    ) -> Iterator[tuple[Node, Index | None]]:
        """Yield the computed or given nodes that a node's value is made of, with their index.

        Without an index, which takes time to follow, only the nodes.
        """
        seen: set[tuple[int, Index | None]] = set()
        stack: list[tuple[Node, Index | None]] = [(node, index)]
        first = True
        while stack:
            at, where = stack.pop()
            if (id(at), where) in seen:
                continue
            seen.add((id(at), where))
            known = id(at) in self.inputs or id(at) in self.kernel_of
            if known and (not first or inside):
                yield at, where
                continue
            first = False
            for i, source in enumerate(at.inputs):
                moved = source_index(at, where, i) if where is not None else None
                stack.append((source, moved))

    def _join(self, node: Node) -> bool:
        """Add an element-wise node to the kernel of something that it reads, if that can be."""
        tried: set[int] = set()
        for read, _ in self._reads(node, None):
            kernel = self.kernel_of.get(id(read))
            if kernel is None or id(kernel) in tried or kernel.kind not in OPEN_KINDS:
                continue
            tried.add(id(kernel))
            index = self._index_in(kernel, node)
            if index is not None and kernel.part is None and self._may_join(kernel, node, index):
                self._add(kernel, node)
                return True
        return False

    def _index_in(self, kernel: Kernel, node: Node) -> Index | None:
        """Return how a node of this shape is indexed by a kernel's loops; None if it is not."""
        if node.shape == kernel.space:
            return identity_index(kernel.space)
        if kernel.kind == "rows":
            return row_level(kernel, node.shape)
        return None

    def _may_join(self, kernel: Kernel, node: Node, index: Index) -> bool:
        for read, where in self._reads(node, index):
            other = self.kernel_of.get(id(read))
            if other is kernel:
                if where is None or where != self._index_in(kernel, read):
                    return False
            elif (where is None and read.rank) or (
                other is not None and self._reaches(other, kernel)
            ):
                return False
        return True

    def _large(self, node: Node) -> list[Node]:
        """Return the tensors of a node's size that its value is made of."""
        return [n for n, _ in self._reads(node, None) if n.size == node.size]

    def _reaches(self, later: Kernel, earlier: Kernel) -> bool:
        """Whether ``later`` needs the result of ``earlier``, directly or through others."""
        stack, seen = [id(later)], set()
        while stack:
            k = stack.pop()
            if k == id(earlier):
                return True
            if k not in seen:
                seen.add(k)
                stack.extend(self.before[k])
        return False

    # --- reductions -----------------------------------------------------------------------

    def _join_columns(self, node: Node) -> bool:
        """Add a reduction to a kernel that reads the same data over the same columns."""
        source, axes = node.inputs[0], node.attrs["axes"]
        index = identity_index(source.shape)
        for kernel in reversed(self.kernels[-NEAR:]):
            if kernel.kind != "columns" or len(kernel.members) >= WIDE:
                continue
            first = kernel.anchor
            assert first is not None
            if first.attrs["axes"] != axes or first.inputs[0].shape != source.shape:
                continue
            known = {id(n) for m in kernel.members if m.op.kind == "reduction"
                     for n in self._large(m.inputs[0])}  # fmt: skip
            shares = any(id(n) in known for n in self._large(source))
            if shares and self._may_join(kernel, source, index):
                self._add(kernel, node)
                return True
        return False

    def _place_reduction(self, node: Node) -> None:
        source, axes = node.inputs[0], node.attrs["axes"]
        last = source.rank - 1
        index = identity_index(source.shape)
        if last not in axes:
            if not self._join_columns(node):
                self._open("columns", node, node.shape)
            return
        for read, _ in self._reads(source, index):
            kernel = self.kernel_of.get(id(read))
            if kernel is None or kernel.kind not in ("map", "rows"):
                continue
            if kernel.part is not None or kernel.placed:
                continue
            if kernel.space != source.shape or (kernel.kind == "rows" and kernel.reduced != axes):
                continue
            if not self._may_join(kernel, source, index):
                continue
            kernel.kind, kernel.reduced = "rows", axes
            self._add(kernel, node)
            return
        for kernel in reversed(self.kernels[-NEAR:]):  # another one over the same rows
            same = kernel.kind == "rows" and kernel.space == source.shape
            if same and kernel.reduced == axes and self._may_join(kernel, source, index):
                self._add(kernel, node)
                return
        kernel = Kernel("rows", source.shape, node, reduced=axes)
        kernel.add(node)
        self.kernels.append(kernel)
        self.before[id(kernel)] = set()
        self.kernel_of[id(node)] = kernel
        self._note_reads(kernel, node)


def row_level(kernel: Kernel, shape: tuple[int, ...]) -> Index | None:
    """Return the index of a node that has one value a row, None if the shape is another one."""
    full = identity_index(kernel.space)
    zero = Affine(0, (0,) * len(kernel.space))
    kept = tuple(n for d, n in enumerate(kernel.space) if d not in kernel.reduced)
    if shape == kept:
        return tuple(a for d, a in enumerate(full) if d not in kernel.reduced)
    ones = tuple(1 if d in kernel.reduced else n for d, n in enumerate(kernel.space))
    if shape == ones:
        return tuple(zero if d in kernel.reduced else a for d, a in enumerate(full))
    return None


def _affine_reshape(node: Node) -> bool:
    source = node.inputs[0]
    return reshape_index(source.shape, node.shape, identity_index(node.shape)) is not None
