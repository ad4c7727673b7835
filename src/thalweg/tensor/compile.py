"""``compile``: a function captured once per signature and replayed as one program."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg import trees
from thalweg.backends.base import Array, Backend, Bound, Program, Repeated
from thalweg.backends.reference import ReferenceBackend, ReferenceProgram
from thalweg.errors import (
    ArgumentError,
    RecompilationWarning,
    SettingError,
    TraceError,
    nearest,
    where,
)
from thalweg.graph.dtype import as_dtype
from thalweg.graph.node import Graph, Node
from thalweg.graph.rewrite import topological
from thalweg.ops.precision import precision
from thalweg.ops.record import INPUT, leaf, placeholder
from thalweg.settings import BACKENDS, settings
from thalweg.tensor.context import context, storage_epoch, structure_epoch
from thalweg.tensor.finite import check_finite
from thalweg.tensor.outside import Outside, read_outside, same
from thalweg.tensor.recorder import Number, Recorder, result_node
from thalweg.tensor.replay import MISS, Replay, plan_of
from thalweg.tensor.tensor import Tensor, lift

log = logging.getLogger("thalweg.compile")
LIMIT = 8  # signatures of one function after which a warning says that this is unusual


class _Object:
    """An argument that is not data: known by its identity, kept alive."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and other.it is self.it

    def __hash__(self) -> int:
        return id(self.it)

    def __repr__(self) -> str:
        return f"{type(self.it).__name__} object"


@dataclass
class _Trace:
    """One captured signature: the program and where its inputs and outputs belong."""

    program: Program
    graph: Graph
    dynamic: list[int]  # leaves of the call that are inputs, in order
    numbers: dict[int, Any]  # leaves whose value is fixed in this program
    states: list[tuple[int, Tensor]]  # input position, tensor
    arrays: list[Array]  # NumPy arrays from outside, the inputs after the dynamic ones
    written_leaves: list[int]  # arguments that the function assigned to
    structure: Any  # of the result
    plain: list[tuple[int, Any]]  # parts of the result that are not tensors
    results: int
    modules: list[tuple[Any, Any]]  # module, its fingerprint
    outside: Outside
    structure_seen: int = -1
    storage_seen: int = -1
    bound: Bound | None = None
    values: list[Array] = field(default_factory=list)

    def misfit(self, leaves: Sequence[Any]) -> str:
        """Return what keeps the program from standing for a call of this key; empty if nothing."""
        for i, value in self.numbers.items():
            if not same(leaves[i], value):
                return f"number {i} of the arguments was {value} and is {leaves[i]}"
        if self.structure_seen != structure_epoch.count:
            for module, fingerprint in self.modules:
                if module.fingerprint() != fingerprint:
                    return f"an attribute of the {type(module).__name__} changed"
            self.structure_seen = structure_epoch.count
        name = self.outside.changed()
        return f"{name!r}, a name from outside, stands for something else now" if name else ""

    @property
    def single(self) -> bool:
        """Whether the result is one tensor."""
        return self.structure == ("leaf",) and not self.plain

    def bind(self) -> Bound:
        if self.bound is None or self.storage_seen != storage_epoch.count:
            states = {i: t._settled("a compiled call") for i, t in self.states}
            same = [v is w for v, w in zip(states.values(), self.values, strict=False)]
            if self.bound is None or not all(same):
                self.bound = self.program.bind(states)
                self.values = list(states.values())
            self.storage_seen = storage_epoch.count
        return self.bound


def _backend() -> Backend:
    if settings.backend == "reference":
        return ReferenceBackend()
    if settings.backend == "llvm":
        from thalweg.backends.llvm.backend import LLVMBackend

        return LLVMBackend()
    raise SettingError(
        f"there is no backend {settings.backend!r}; {nearest(settings.backend, BACKENDS)}"
    )


class Compiled:
    """A function that runs as one native program for each signature of its arguments.

    Made by ``thalweg.compile``. The signature is: shapes and dtypes of arrays and tensors, the
    values of bools and strings, numbers that Python needed (in shapes, loops, branches), and the
    attributes of the modules and optimisers that run.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function, updated=())  # a model's attributes stay its own
        self._name = getattr(function, "__name__", type(function).__name__)
        self._function = function
        self._traces: dict[Any, list[_Trace]] = {}
        self._keys: list[Any] = []
        self._replay: Replay | None = None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else _Method(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program for these arguments, made first if there is none."""
        if context.recorder is not None or context.gradient_depth:
            return self._function(*args, **kwargs)
        replay = self._replay
        if replay is not None and not kwargs and not context.debug_nans:
            outputs = replay(args)
            if outputs is not MISS:
                trace = replay.trace
                return Tensor(leaf(outputs[0])) if trace.single else self._result(
                    trace, args, outputs
                )
        leaves, structure = trees.flatten((args, kwargs) if kwargs else args)
        trace = self._find(leaves, structure, bool(kwargs))
        result = self._run(trace, leaves)
        self._remember(trace, args, kwargs)
        return result

    def _remember(self, trace: _Trace, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Prepare the short way for the next call of this kind."""
        self._replay = None
        plan = None if kwargs or context.debug_nans else plan_of(args, set(trace.numbers))
        if plan is not None and not trace.written_leaves:
            self._replay = Replay(plan, trace.bind(), trace.arrays, trace.outside, trace)

    # --- signatures -----------------------------------------------------------------------

    def _find(self, leaves: list[Any], structure: Any, named: bool) -> _Trace:
        key = (structure, tuple(_leaf_key(v) for v in leaves), settings.backend,
               settings.team_size() if settings.threads else 0, settings.vector,
               context.debug_nans, precision.contraction)  # fmt: skip
        reason = ""
        for trace in list(self._traces.get(key, ())):
            reason = trace.misfit(leaves)
            if not reason:
                return trace
            if trace.outside.outdated:
                self._traces[key].remove(trace)
        self._note(key, reason)
        trace = self._capture(leaves, structure, named)
        self._traces.setdefault(key, []).insert(0, trace)
        return trace

    def _note(self, key: Any, reason: str) -> None:
        if self._keys:
            reason = reason or _difference(self._keys[-1], key)
            log.info("%s is compiled again: %s", self._name, reason)
        self._keys.append(key)
        if len(self._keys) == LIMIT + 1:
            warnings.warn(
                f"{self._name} was compiled for {LIMIT + 1} signatures; last change: {reason}. "
                "Keep shapes equal (drop or pad the last batch), pass numbers that change as "
                "tensors, and change tensors from outside with .assign(...).",
                RecompilationWarning, stacklevel=4,
            )  # fmt: skip

    def _capture(self, leaves: list[Any], structure: Any, named: bool) -> _Trace:
        recorder = Recorder()
        stand_ins: list[Any] = []
        for i, value in enumerate(leaves):
            kind = _classify(value)
            if kind == "array":
                stand_ins.append(Tensor(placeholder(_shape(value), _dtype(value))))
            elif kind == "number":
                stand_ins.append(Number(value, i))
            else:
                if hasattr(value, "fingerprint"):  # a model may be read without being called
                    recorder.touch(value)
                stand_ins.append(value)
        arguments = trees.unflatten(structure, list(stand_ins))
        args, kwargs = arguments if named else (arguments, {})
        context.recorder = recorder
        try:
            result = self._function(*args, **kwargs)
            return self._finish(recorder, leaves, stand_ins, result)
        finally:
            context.recorder = None

    def _finish(
        self, recorder: Recorder, leaves: list[Any], stand_ins: list[Any], result: Any
    ) -> _Trace:
        outs, structure = trees.flatten(result)
        outputs: list[Node] = []
        plain: list[tuple[int, Any]] = []
        for i, out in enumerate(outs):
            if isinstance(out, Tensor):
                outputs.append(lift(out))
            elif isinstance(out, Number):
                outputs.append(result_node(out))
            else:
                plain.append((i, out))
        count = len(outputs)
        inputs, dynamic, written = [], [], []
        used = {id(n) for n in topological(outputs + list(recorder.current.values()))}
        for i, stand_in in enumerate(stand_ins):
            if isinstance(stand_in, Tensor) and _classify(leaves[i]) == "array":
                dynamic.append(i)
                inputs.append(stand_in._node)
                if id(stand_in) in recorder.written:
                    written.append(i)
                    outputs.append(recorder.current[id(stand_in)])
            elif isinstance(stand_in, Number) and id(stand_in._node) in used:
                dynamic.append(i)
                inputs.append(stand_in._node)
        arrays = [a for a, _ in recorder.arrays.values()]
        inputs += [n for _, n in recorder.arrays.values()]
        aliases, states = {}, []
        for key, (tensor, node) in recorder.states.items():
            states.append((len(inputs), tensor))
            if key in recorder.written and recorder.current[key] is not node:
                aliases[len(outputs)] = len(inputs)
                outputs.append(recorder.current[key])
            inputs.append(node)
        graph = Graph(inputs, outputs, aliases)
        _refuse_leaked(graph)
        outside = self._outside(recorder, leaves)
        program = (
            ReferenceProgram(graph, check_finite) if context.debug_nans
            else _backend().compile(graph)
        )  # fmt: skip
        return _Trace(
            program, graph, dynamic, {i: leaves[i] for i in recorder.statics}, states, arrays,
            written, structure, plain, count,
            [(m, m.fingerprint()) for m in recorder.modules.values()], outside,
        )  # fmt: skip

    def _outside(self, recorder: Recorder, leaves: list[Any]) -> Outside:
        forwards = [getattr(type(m), "forward", None) for m in recorder.modules.values()]
        objects = [v for v in leaves if _classify(v) == "object"]
        outside = read_outside([self._function, *forwards], objects)
        outside.refuse_captured()
        return outside

    # --- running --------------------------------------------------------------------------

    def _run(self, trace: _Trace, leaves: list[Any]) -> Any:
        for i in trace.written_leaves:
            if not isinstance(leaves[i], Tensor):
                raise TraceError(
                    f"the function assigns to argument leaf {i}, which must be a tensor then, "
                    f"got {type(leaves[i]).__name__}. {where()}"
                )
        bound = trace.bind()
        given = [_array(leaves[i]) for i in trace.dynamic]
        outputs = bound(given + trace.arrays if trace.arrays else given)
        return self._result(trace, leaves, outputs)

    def _result(self, trace: _Trace, leaves: Sequence[Any], outputs: list[Array]) -> Any:
        for i, value in zip(trace.written_leaves, outputs[trace.results :], strict=True):
            leaves[i]._replace(value)
        parts: list[Any] = [Tensor(leaf(o)) for o in outputs[: trace.results]]
        for i, value in trace.plain:
            parts.insert(i, value)
        return trees.unflatten(trace.structure, parts)

    def repeat(self, *args: Any, **kwargs: Any) -> Any:
        """Run many steps in one native call; results are stacked along a new first axis.

        Arguments made by ``thalweg.steps`` or ``thalweg.rows`` change from step to step, state
        carries over, all else stays.

        >>> import numpy as np, thalweg as tw
        >>> total = tw.zeros(())
        >>> @tw.compile
        ... def add(x):
        ...     total.assign(total + x.sum())
        ...     return total * 1
        >>> add.repeat(tw.steps(np.ones((3, 2), np.float32)))
        Tensor([2., 4., 6.], dtype=float32)
        """
        leaves, structure = trees.flatten((args, kwargs) if kwargs else args)
        moving = [v for v in leaves if isinstance(v, Varying)]
        counts = {v.count for v in moving}
        if len(counts) != 1:
            raise ArgumentError(
                f"repeat: needs arguments made by thalweg.steps or thalweg.rows with one number "
                f"of steps, got {sorted(counts) or 'none'}. {where()}"
            )
        steps = counts.pop()
        samples = [v.sample() if isinstance(v, Varying) else v for v in leaves]
        trace = self._find(samples, structure, bool(kwargs))
        if trace.written_leaves:
            raise TraceError(
                f"repeat: the function must not assign to its array arguments. {where()}"
            )
        given: list[Array | Repeated] = [
            leaves[i].repeated if isinstance(leaves[i], Varying) else _array(leaves[i])
            for i in trace.dynamic
        ]
        outputs = trace.bind().repeat(steps, [*given, *trace.arrays])
        return self._result(trace, leaves, outputs)

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """Return every stage of the program for these arguments, with measured times."""
        leaves, structure = trees.flatten((args, kwargs) if kwargs else args)
        trace = self._find(leaves, structure, bool(kwargs))
        states = dict(trace.states)
        dynamic = iter([_array(leaves[i]) for i in trace.dynamic] + trace.arrays)
        arrays = [
            np.array(states[i]._value("explain")) if i in states else next(dynamic)
            for i in range(len(trace.graph.inputs))
        ]
        return trace.program.explain(arrays)


class _Method:
    """A compiled function bound to an object, as a method is."""

    def __init__(self, compiled: Compiled, instance: Any) -> None:
        functools.update_wrapper(self, compiled, updated=())
        self._compiled, self._instance = compiled, instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program with the object as its first argument."""
        return self._compiled(self._instance, *args, **kwargs)

    def repeat(self, *args: Any, **kwargs: Any) -> Any:
        """Run many steps in one native call; see ``Compiled.repeat``."""
        return self._compiled.repeat(self._instance, *args, **kwargs)

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """Return every stage of the program; see ``Compiled.explain``."""
        return self._compiled.explain(self._instance, *args, **kwargs)


class Varying:
    """An argument of ``repeat`` that differs from step to step."""

    def __init__(self, repeated: Repeated) -> None:
        self.repeated = repeated
        r = repeated
        self.count = len(r.array) if r.rows is None else len(r.rows)

    def sample(self) -> Array:
        """Return an array of the shape that one step sees."""
        r = self.repeated
        shape = r.array.shape[1:] if r.rows is None else r.rows.shape[1:] + r.array.shape[1:]
        return np.broadcast_to(np.zeros((), r.array.dtype), shape)


def steps(array: Any) -> Varying:
    """Return an argument for ``repeat`` of which step ``s`` sees ``array[s]``."""
    return Varying(Repeated(np.ascontiguousarray(_array(array))))


def rows(array: Any, index: Any) -> Varying:
    """Return an argument for ``repeat`` of which step ``s`` sees ``array[index[s]]``.

    ``index``: whole numbers of shape (steps, batch), all of them row numbers of ``array``.
    """
    data = np.ascontiguousarray(_array(array))
    places = np.ascontiguousarray(np.asarray(index), dtype=np.int64)
    if places.ndim != 2 or (places.size and not 0 <= places.min() <= places.max() < len(data)):
        raise ArgumentError(
            f"rows: the index must have shape (steps, batch) and values from 0 to "
            f"{len(data) - 1}, got shape {places.shape}. {where()}"
        )
    return Varying(Repeated(data, places))


# --- leaves of a call --------------------------------------------------------------------------


def _refuse_leaked(graph: Graph) -> None:
    """Raise a TraceError if the graph reads a placeholder of another capture."""
    known = {id(n) for n in graph.inputs}
    for node in topological(graph.outputs):
        if node.op is INPUT and id(node) not in known and node.value is None:
            raise TraceError(
                f"a tensor of shape {node.shape} was kept from inside another compiled function; "
                f"it has no numbers. Return it from that function instead of storing it. {where()}"
            )


def _classify(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        return "array"
    if isinstance(value, (bool, np.bool_, str, bytes)):
        return "static"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, np.generic):
        return "array"
    return "object"


def _leaf_key(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype)
    if isinstance(value, Tensor):
        return (value.shape, value.dtype.numpy)
    kind = _classify(value)
    if kind == "array":
        return ((), np.asarray(value).dtype)
    if kind == "number":
        return type(value)
    return (kind, value) if kind == "static" else _Object(value)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(np.shape(value)) if not isinstance(value, Tensor) else value.shape


def _dtype(value: Any) -> Any:
    return value.dtype if isinstance(value, Tensor) else as_dtype(np.asarray(value).dtype)


def _array(value: Any) -> Array:
    if isinstance(value, Tensor):
        return value._value("a compiled call")
    if isinstance(value, np.ndarray):
        return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
    if isinstance(value, int) and not isinstance(value, np.generic):
        return np.asarray(value, dtype=np.int64)
    return np.asarray(value)


def _difference(old: Any, new: Any) -> str:
    if old[0] != new[0]:
        return "the structure of the arguments changed"
    for i, (a, b) in enumerate(zip(old[1], new[1], strict=False)):
        if a != b:
            return f"argument leaf {i} was {_say(a)} and is {_say(b)}"
    return f"the settings were {old[2:]} and are {new[2:]}"


def _say(key: Any) -> str:
    if isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], tuple):
        return f"{np.dtype(key[1])}{list(key[0])}"
    return key.__name__ if isinstance(key, type) else str(key)


def compile(function: Callable[..., Any]) -> Compiled:
    """Return a function that is captured once per signature and replayed as one native program.

    Everything that it does with tensors (forward pass, gradients, optimiser) becomes the program;
    other Python code runs only while it is captured. Tensors and NumPy arrays that it closes over,
    parameters, optimiser and random state are inputs, read anew at each call.

    >>> import thalweg as tw
    >>> @tw.compile
    ... def double(x):
    ...     return x * 2
    >>> double(tw.tensor([1.0, 2.0]))
    Tensor([2., 4.], dtype=float32)
    """
    if not callable(function):
        raise ArgumentError(f"compile: wants a function, got {function!r}. {where()}")
    return Compiled(function)
