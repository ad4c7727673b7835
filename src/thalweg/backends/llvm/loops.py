"""The small loop language between schedule and code generation: buffers, indices, kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from thalweg.graph.dtype import DType
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import topological
from thalweg.graph.shape import Shape, contiguous_strides


class Affine(NamedTuple):
    """A whole number that depends linearly on the loop variables: ``base + sum(factor * loop)``."""

    base: int
    factors: tuple[int, ...]

    def factor(self, loop: int | None) -> int:
        """Return the factor of one loop variable; an index of no axes has none."""
        return self.factors[loop] if loop is not None and loop < len(self.factors) else 0

    def times(self, factor: int, plus: int = 0) -> Affine:
        """Return ``factor * self + plus``."""
        if factor == 1 and not plus:
            return self
        return Affine(self.base * factor + plus, tuple(f * factor for f in self.factors))

    def plus(self, other: Affine) -> Affine:
        """Return the sum of two."""
        pairs = zip_longest(self.factors, other.factors, fillvalue=0)
        return Affine(self.base + other.base, tuple(a + b for a, b in pairs))


Index = tuple[Affine, ...]


@lru_cache(maxsize=1 << 12)
def identity_index(space: Shape) -> Index:
    """Return the index whose every axis is the loop of the same position."""
    rank = len(space)
    return tuple(Affine(0, tuple(int(i == d) for i in range(rank))) for d in range(rank))


@lru_cache(maxsize=1 << 12)  # layers that are alike ask the same
def linear(index: Index, shape: Shape, loops: int) -> Affine:
    """Return the position of an element in a row-major array."""
    total = Affine(0, (0,) * loops)
    for axis, stride in zip(index, contiguous_strides(shape), strict=True):
        total = total.plus(axis.times(stride))
    return total


def lane_axis(space: Shape) -> int:
    """Return the axis along which the lanes of an element-wise kernel run."""
    return max((d for d, n in enumerate(space) if n > 1), default=len(space) - 1)


@dataclass(eq=False)
class Buffer:
    """A row-major array in memory.

    ``place``: ``input`` or ``output`` (``number`` is the position in the call), ``arena``
    (``offset`` in bytes), or ``constant`` (``data``). With ``slice_bytes``, a thread keeps only the
    slice that its chain of kernels is at, and ``slot_bytes`` lie from one thread to the next.
    """

    name: str
    dtype: DType
    shape: Shape
    place: str
    number: int = 0
    offset: int = 0
    data: np.ndarray[Any, Any] | None = None
    slice_bytes: int = 0
    slot_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def room(self, threads: int) -> int:
        """Return the bytes that the arena holds for it."""
        return self.slot_bytes * threads or self.nbytes

    def __repr__(self) -> str:
        return f"{self.name}:{self.dtype.name}{list(self.shape)}"


@dataclass(eq=False)
class Kernel:
    """Work that runs between two barriers: an anchor and the element-wise work fused with it.

    ``kind``: ``map`` (element-wise over ``space``), ``rows`` (with reductions over the axes
    ``reduced`` of ``space``), ``columns`` (reductions whose vector lanes are kept axes),
    ``contraction``, or the name of a structured operation. ``members`` are computed here;
    ``stores`` say which of them go to memory, and where: with ``part`` (a copy) or if the node is
    ``placed`` (by ``id``), into a part of a larger tensor.
    """

    kind: str
    space: Shape
    anchor: Node | None = None
    members: list[Node] = field(default_factory=list)
    stores: list[tuple[Node, Buffer]] = field(default_factory=list)
    reduced: tuple[int, ...] = ()
    part: Part | None = None
    placed: dict[int, tuple[Node, Part]] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    name: str = ""

    def add(self, node: Node) -> None:
        """Compute one more node in this kernel."""
        self.members.append(node)
        self.inside.add(id(node))

    def place(self, node: Node, buffer: Buffer, index: Index, loops: int) -> Affine:
        """Return where an element of a store goes: into its own buffer, or a part of a larger."""
        part = self.placed[id(node)][1] if id(node) in self.placed else self.part
        if part is None:
            return linear(index, node.shape, loops)
        place = Affine(0, (0,) * loops)
        strides = contiguous_strides(buffer.shape)
        for axis, stride, start, step in zip(index, strides, part.starts, part.steps, strict=True):
            place = place.plus(axis.times(stride * step, stride * start))
        return place

    def __repr__(self) -> str:
        ops = " ".join(m.op.name for m in self.members)
        outs = ", ".join(f"{b!r}" for _, b in self.stores)
        reduced = f" reduce{list(self.reduced)}" if self.reduced else ""
        return f"{self.kind}{list(self.space)}{reduced} [{ops}] -> {outs}"


@dataclass(frozen=True)
class Part:
    """Where in a larger buffer a copy goes: start and step of each axis."""

    starts: Shape
    steps: Shape


# --- contractions -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """One loop of a contraction: its labels, size, and strides (in elements) in A, B and C."""

    labels: str
    size: int
    a: int
    b: int
    c: int


@dataclass(frozen=True)
class Border:
    """A summed loop that meets rows of zeros around A at some positions of an outer loop.

    Row ``start + outer * step + summed * stride`` holds zeros unless it lies from ``low`` up to
    ``high``: those terms of the sum are left out. ``place`` is the position of the loop in
    ``outer``.
    """

    place: int
    summed: Axis
    start: int
    step: int
    stride: int
    low: int
    high: int


@dataclass
class Plan:
    """How one contraction runs.

    ``outer`` loops are around everything; ``m`` (rows), ``n`` (vector lanes) and ``k`` (summed) are
    the matrix product; ``taps`` are further summed loops. ``rows`` by ``vectors * lanes`` is the
    register tile. With ``packed`` the operand B is copied first, into panels of the tile's width.

    With ``copied``, the rows of A that all tiles side by side read are copied to the stack. With
    ``dots``, vectors run along k.

    Long sums are cut, to read again from a near cache: all tiles do one part (of the ``chunks``,
    which are taps, or ``block`` elements of k) before the next; their sums wait in memory.
    """

    a: Node
    b: Node
    a_base: int
    b_base: int
    outer: list[Axis]
    m: Axis
    n: Axis
    k: Axis
    taps: list[Axis]
    lanes: int
    rows: int = 1
    vectors: int = 1
    packed: bool = False
    order: str = "blocks"  # where the next tile is: "blocks" below, "panels" beside, "outer" around
    pack_axes: list[Axis] = field(default_factory=list)
    chunks: list[Axis] = field(default_factory=list)
    block: int = 0  # elements of k in one part, 0: all
    over: Axis | None = None  # a tile has all of m at ``whole`` positions of this loop
    whole: int = 0
    streamed: bool = False  # B comes from far memory, few times: it is asked for ahead
    updates: bool = False  # whether state is updated after each tile
    group: int = 0  # blocks of rows that all panels pass before the next ones, 0: all
    border: Border | None = None
    copied: bool = False  # the rows of A that a tile reads are first copied beside each other
    dots: bool = False  # the lanes run along k

    @property
    def align(self) -> int:
        """Bytes to which elements are aligned."""
        return self.a.dtype.itemsize

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes

    @property
    def panels(self) -> int:
        """Number of tiles along n."""
        return -(-self.n.size // self.width)

    @property
    def row_axes(self) -> list[Axis]:
        """The loops that make up the rows of a tile."""
        return [self.m] if self.over is None else [self.over, self.m]

    @property
    def row_step(self) -> int:
        """Positions of the first of these loops in one tile."""
        return self.rows if self.over is None else self.whole

    @property
    def height(self) -> int:
        """Number of all rows."""
        return math.prod(x.size for x in self.row_axes)

    @property
    def blocks(self) -> int:
        """Number of tiles below each other."""
        return -(-self.row_axes[0].size // self.row_step)

    @property
    def last_rows(self) -> int:
        """Rows of the last tile."""
        axis, *rest = self.row_axes
        left = axis.size - (self.blocks - 1) * self.row_step
        return left * math.prod(x.size for x in rest)

    @property
    def loops(self) -> list[Axis]:
        """All loops."""
        return [*self.outer, *self.row_axes, self.n, self.k, *self.all_taps]

    @property
    def all_taps(self) -> list[Axis]:
        """All summed loops but k."""
        return [*self.chunks, *self.taps]

    @property
    def k_parts(self) -> int:
        """Number of parts of k."""
        return -(-self.k.size // self.block) if self.block else 1

    @property
    def parts(self) -> int:
        """Number of parts of the sum."""
        return math.prod(c.size for c in self.chunks) * self.k_parts

    @property
    def tiles(self) -> int:
        """Number of tiles of the result."""
        return math.prod(x.size for x in self.outer) * self.panels * self.blocks

    @property
    def panel_size(self) -> int:
        """Elements of one packed panel of B, all taps included."""
        return self.k.size * math.prod(t.size for t in self.all_taps) * self.width

    @property
    def packed_size(self) -> int:
        """Elements of packed B."""
        return math.prod(x.size for x in self.pack_axes) * self.panels * self.panel_size


# --- schedules ----------------------------------------------------------------------------------


@dataclass
class Step:
    """One kernel of the program, what it reads and writes, and its plan if it is a contraction.

    ``level``: steps of one level do not depend on each other; threads wait between levels. Only
    those of one ``chain`` do: they follow each other, one of ``slices`` of the batch at a time.
    """

    kernel: Kernel
    reads: list[Buffer] = field(default_factory=list)
    writes: list[Buffer] = field(default_factory=list)
    plan: Plan | None = None
    packed: Buffer | None = None
    sums: Buffer | None = None  # partial sums of a contraction that is done in parts
    loop: Loop | None = None  # the schedule of a loop's body
    packs: bool = False  # this step fills ``packed``
    old: set[int] = field(default_factory=set)  # ids of state buffers read before their update
    new: set[int] = field(default_factory=set)  # and of those read after it
    checks: bool = False  # this step may find an index out of range
    level: int = 0
    chain: int = 0
    slices: int = 0

    def fills_part(self, key: int) -> bool:
        """Whether this step writes only a part of a buffer, of that ``id``."""
        kernel = self.kernel
        return kernel.part is not None or any(
            id(n) in kernel.placed for n, b in kernel.stores if id(b) == key
        )


@dataclass
class Loop:
    """A loop in time: the schedule of its body, and where each step's values lie.

    ``inputs`` and ``outputs`` belong to those of the body, in its order. A ``Slot`` says which
    buffer, and how it is walked.
    """

    schedule: Schedule
    length: int
    reverse: bool
    arena: Buffer
    inputs: list[Slot]
    outputs: list[Slot]


@dataclass
class Slot:
    """Where a loop's step finds or puts a value.

    ``buffer``: read or written as a whole (``shared``), or row by row (``rows``), or by turns in
    its two halves (``turns``: the step before wrote what this one reads). ``first`` is what the
    first step reads in place of it, ``last`` what the last step writes.
    """

    kind: str
    buffer: Buffer
    nbytes: int
    first: Buffer | None = None
    last: Buffer | None = None


@dataclass
class Schedule:
    """Everything that code generation needs.

    ``buffers`` by ``id`` of the node that they hold; ``arena_size`` in bytes.
    """

    graph: Graph
    steps: list[Step]
    buffers: dict[int, Buffer]
    outputs: list[Buffer]
    arena_size: int = 0
    constants: list[Buffer] = field(default_factory=list)
    before: list[Step] = field(default_factory=list)  # of a loop's body: done once, in front of it


def passes_of(kernel: Kernel) -> list[list[Node]]:
    """Return the reductions of a row kernel, pass by pass: each needs only earlier ones."""
    level: dict[int, int] = {}

    def depth(node: Node) -> int:
        if id(node) not in level:
            below = max((depth(i) for i in node.inputs), default=0)
            mine = node.op.kind == "reduction" and id(node) in kernel.inside
            level[id(node)] = below + mine
        return level[id(node)]

    members = topological(kernel.members)
    for node in members:
        depth(node)
    rounds: dict[int, list[Node]] = {}
    for node in kernel.members:
        if node.op.kind == "reduction":
            rounds.setdefault(level[id(node)], []).append(node)
    return [rounds[k] for k in sorted(rounds)]


# --- how views read their source ---------------------------------------------------------------


@lru_cache(maxsize=1 << 12)
def reshape_index(source: Shape, result: Shape, index: Index) -> Index | None:
    """Return the index into the source of a reshape, None where it is not affine."""
    loops = len(index[0].factors) if index else 0
    zero = Affine(0, (0,) * loops)
    if 0 in source or 0 in result:
        return (zero,) * len(source)
    out: list[Affine] = []
    i = j = 0
    while i < len(source) or j < len(result):
        a, b, first_i, first_j = 1, 1, i, j
        while i < len(source) and source[i] == 1 and a == b == 1 and first_i == i:
            out.append(zero)
            i += 1
            first_i = i
        while j < len(result) and result[j] == 1 and first_j == j:
            j += 1
            first_j = j
        if i >= len(source) or j >= len(result):
            continue
        a, b = source[i], result[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b and i < len(source):
                a *= source[i]
                i += 1
            elif j < len(result):
                b *= result[j]
                j += 1
            else:
                return None
        wide = [k for k in range(first_i, i) if source[k] != 1]
        if len(wide) > 1:
            return None
        total, stride = zero, 1
        for d in reversed(range(first_j, j)):
            total = total.plus(index[d].times(stride))
            stride *= result[d]
        out += [total if [k] == wide else zero for k in range(first_i, i)]
    return tuple(out)


def source_index(node: Node, index: Index, position: int = 0) -> Index | None:
    """Return where an element-wise, view or identity node reads its input, None if not affine."""
    source = node.inputs[position]
    name = node.op.name
    if node.op.kind == "identity" or (node.op.kind == "elementwise" and source.shape == node.shape):
        return index
    if node.op.kind == "elementwise" or name == "broadcast_to":
        kept = index[len(index) - source.rank :]
        zero = Affine(0, (0,) * len(index[0].factors)) if index else None
        return tuple(
            zero if n == 1 and node.shape[d - source.rank] != 1 else i  # type: ignore[misc]
            for d, (i, n) in enumerate(zip(kept, source.shape, strict=True))
        )
    if name == "transpose":
        return tuple(index[node.attrs["axes"].index(d)] for d in range(source.rank))
    if name == "slice":
        rows = zip(index, node.attrs["starts"], node.attrs["steps"], strict=True)
        return tuple(i.times(step, start) for i, start, step in rows)
    if name == "flip":
        flipped = node.attrs["axes"]
        return tuple(
            i.times(-1, source.shape[d] - 1) if d in flipped else i for d, i in enumerate(index)
        )
    if name == "reshape":
        return reshape_index(source.shape, node.shape, index)
    if name == "windows":
        return _windows_index(node, index)
    return None


def _windows_index(node: Node, index: Index) -> Index:
    """Return where a view through windows reads: number of the window, and place in it."""
    a, out, at = node.attrs, [], 0
    for d in range(node.inputs[0].rank):
        if d in a["axes"]:
            i = a["axes"].index(d)
            place = index[at + 1].times(a["dilations"][i])
            out.append(index[at].times(a["strides"][i]).plus(place))
            at += 2
        else:
            out.append(index[at])
            at += 1
    return tuple(out)


VIEWS = frozenset({"reshape", "transpose", "broadcast_to", "slice", "flip", "windows"})


def is_view(node: Node) -> bool:
    """Whether a node only rearranges what it reads."""
    return node.op.name in VIEWS or node.op.kind == "identity"
