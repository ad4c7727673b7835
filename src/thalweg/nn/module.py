"""``Module``: a layer or model, a mutable object whose attributes hold parameters and layers."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, ShapeError, TraceError, nearest, where
from thalweg.graph.dtype import as_dtype
from thalweg.graph.node import Node, scopes
from thalweg.nn.keys import Key, KeyLike, as_key, derived_key, new_key
from thalweg.nn.tracking import tracked
from thalweg.tensor.context import context, structure_epoch
from thalweg.tensor.tensor import Parameter, Tensor

if TYPE_CHECKING:
    from thalweg.nn.summary import Summary

Array = np.ndarray[Any, Any]
Observer = Callable[["Module", tuple[Any, ...], Any], None]
M = TypeVar("M", bound="Module")
_MISSING = object()
# Attributes by which a module keeps book of itself; no program depends on them.
_BOOKKEEPING = frozenset({"_name", "_named_at", "_drawn"})
_observers: list[Observer] = []


class LoadResult(NamedTuple):
    """What ``load_state_dict`` left out: paths without an entry, entries without a path."""

    missing: list[str]
    unexpected: list[str]


class _Identity:
    """An object known by its identity, kept alive so that no other can take its place."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.it is self.it

    def __hash__(self) -> int:
        return id(self.it)


class Module:
    """A layer or a model: parameters, buffers and other modules, kept in plain attributes.

    A subclass sets attributes in ``__init__`` (no ``super().__init__()`` needed) and writes
    ``forward``. A ``Parameter`` is trained; any other ``Tensor`` is a buffer: state that is saved
    but not trained, such as running statistics. Attributes may be lists, tuples and dicts of all of
    these; a list or dict becomes one that is tracked, a copy of the list that was assigned, so
    change it through the attribute. Compiled functions notice every change of an attribute.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> class Residual(nn.Module):
        ...     def __init__(self, features):
        ...         self.inner = nn.Linear(features, features)
        ...     def forward(self, x):
        ...         return x + self.inner(x)
        >>> model = Residual(3)
        >>> model(tw.ones((2, 3))).shape
        (2, 3)
        >>> list(model.parameters())
        ['inner.weight', 'inner.bias']
    """

    training: bool = True
    flat_attribute: ClassVar[str | None] = None  # left out of paths: "0", not "layers.0"
    _name: str = ""
    _named_at: int = -1  # also tells that the module was never called
    _drawn: tuple[Key, list[tuple[Tensor, Node]]] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result; subclasses write it, users call the module instead."""
        raise ArgumentError(f"{type(self).__name__} defines no forward method. {where()}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` under the module's name, and tell recorder and observers."""
        if self._named_at != structure_epoch.count:
            self._name_children()
        if context.recorder is not None:
            context.recorder.touch(self)
        scopes.append(self._name or type(self).__name__)
        try:
            result = self.forward(*args, **kwargs)
            for observer in _observers:
                observer(self, args, result)
            return result
        finally:
            scopes.pop()

    def _name_children(self) -> None:
        for name, child in self.children().items():
            child.__dict__["_name"] = name
        self.__dict__["_named_at"] = structure_epoch.count

    # --- attributes -----------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__dict__.get(name, _MISSING) is value:
            return
        object.__setattr__(self, name, tracked(value))
        structure_epoch.advance()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        structure_epoch.advance()

    def _attributes(self) -> Iterator[tuple[str, Any]]:
        """Yield path and value of what the attributes hold, seen through lists and dicts."""
        for name, value in self.__dict__.items():
            if name not in _BOOKKEEPING and name != "training":
                yield from _entries("" if name == self.flat_attribute else name, value)

    def children(self) -> dict[str, Module]:
        """Return the modules held directly by this one, each once, by their names."""
        if context.recorder is not None:
            context.recorder.touch(self)  # what is found depends on the attributes
        found: dict[int, tuple[str, Module]] = {}
        for name, value in self._attributes():
            if isinstance(value, Module):
                found.setdefault(id(value), (name, value))
        return dict(found.values())

    def named_modules(self) -> dict[str, Module]:
        """Return this module, whose path is ``""``, and all below it, each once, by their paths.

        >>> from thalweg import nn
        >>> list(nn.Sequential(nn.Linear(2, 2), nn.ReLU()).named_modules())
        ['', '0', '1']
        """
        found: dict[int, tuple[str, Module]] = {}

        def walk(module: Module, path: str) -> None:
            if id(module) in found:
                return
            found[id(module)] = (path, module)
            for name, child in module.children().items():
                walk(child, _joined(path, name))

        walk(self, "")
        return dict(found.values())

    def _tensors(self) -> dict[str, Tensor]:
        """Return every tensor, a shared one once, in the order in which attributes were set."""
        if context.recorder is not None:
            context.recorder.touch(self)  # what is found depends on the attributes
        found: dict[int, tuple[str, Tensor]] = {}
        seen: set[int] = set()

        def walk(module: Module, path: str) -> None:
            seen.add(id(module))
            for name, value in module._attributes():
                if isinstance(value, Tensor):
                    found.setdefault(id(value), (_joined(path, name), value))
                elif isinstance(value, Module) and id(value) not in seen:
                    walk(value, _joined(path, name))

        walk(self, "")
        return dict(found.values())

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters by their paths, a shared one once, in order of definition.

        >>> from thalweg import nn
        >>> list(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).parameters())
        ['0.weight', '0.bias', '2.weight', '2.bias']
        """
        return {k: t for k, t in self._tensors().items() if isinstance(t, Parameter)}

    def trainable_parameters(self) -> dict[str, Parameter]:
        """Return the floating-point parameters that are not frozen: what gradients are taken of."""
        return {k: p for k, p in self.parameters().items() if p.trainable and p.dtype.is_float}

    def buffers(self) -> dict[str, Tensor]:
        """Return the tensors that are not parameters: running statistics, random state."""
        return {k: t for k, t in self._tensors().items() if not isinstance(t, Parameter)}

    def count_parameters(self, trainable_only: bool = False) -> int:
        """Return the number of numbers in all parameters.

        >>> from thalweg import nn
        >>> nn.Linear(3, 2).count_parameters()
        8
        """
        chosen = self.trainable_parameters() if trainable_only else self.parameters()
        return sum(p.size for p in chosen.values())

    def fingerprint(self) -> tuple[Any, ...]:
        """Return everything that a captured program depends on, except the tensors' numbers.

        Attributes are compared by value where they can be hashed, else by identity; tensors by
        identity, dtype and trainable flag.

        >>> from thalweg import nn
        >>> layer = nn.Dropout(0.5)
        >>> before = layer.fingerprint()
        >>> layer.p = 0.25
        >>> layer.fingerprint() == before
        False
        """
        return self._fingerprint({})

    def _fingerprint(self, seen: dict[int, int]) -> tuple[Any, ...]:
        if id(self) in seen:
            return ("seen", seen[id(self)])
        seen[id(self)] = len(seen)
        parts: list[Any] = [type(self), self.training]
        for name, value in self._attributes():
            if isinstance(value, Module):
                parts.append((name, value._fingerprint(seen)))
            elif isinstance(value, Tensor):
                flag = value.trainable if isinstance(value, Parameter) else None
                parts.append((name, _Identity(value), value.dtype.name, value.shape, flag))
            else:
                parts.append((name, type(value), _comparable(value)))
        return tuple(parts)

    # --- modes ----------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Switch this module and all below it to training, or with False to evaluation.

        >>> from thalweg import nn
        >>> nn.Sequential(nn.Dropout(0.5)).eval()[0].training
        False
        """
        for module in self.named_modules().values():
            if module.training != mode:
                module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """Switch to evaluation: no dropout, running instead of batch statistics."""
        return self.train(False)

    def freeze(self: M) -> M:
        """Take all parameters out of training.

        >>> from thalweg import nn
        >>> nn.Linear(2, 2).freeze().trainable_parameters()
        {}
        """
        for parameter in self.parameters().values():
            parameter.trainable = False
        return self

    def unfreeze(self: M) -> M:
        """Take all parameters into training again."""
        for parameter in self.parameters().values():
            parameter.trainable = True
        return self

    def astype(self: M, dtype: Any) -> M:
        """Convert all floating-point parameters and buffers, in place, to another floating type.

        Raises:
            DTypeError: ``dtype`` is not a floating type.
        """
        kind = as_dtype(dtype)
        if not kind.is_float:
            raise DTypeError(
                f"{type(self).__name__}.astype: got {kind.name}, wanted a floating type such as "
                f"float32 or bfloat16. {where()}"
            )
        for tensor in self._tensors().values():
            if tensor.dtype.is_float and tensor.dtype is not kind:
                tensor._replace(tensor.numpy().astype(kind.numpy))
                structure_epoch.advance()
        return self

    # --- values ---------------------------------------------------------------------------

    def draw(self, key: Key) -> None:
        """Draw the initial values of the module's own tensors; subclasses with any write it."""

    def reset_parameters(self: M, key: KeyLike | None = None) -> M:
        """Draw all initial values anew, each module's from a key made of ``key`` and its path.

        ``key``: a key, or a whole number as seed; without one the generator of ``tw.random`` is
        asked. Statistics and random state start anew too.

        >>> from thalweg import nn
        >>> a, b = nn.Linear(2, 2).reset_parameters(7), nn.Linear(2, 2).reset_parameters(7)
        >>> bool((a.weight == b.weight).all())
        True
        """
        if context.recorder is not None:
            raise TraceError(
                f"{type(self).__name__}: initial values cannot be drawn inside of a compiled "
                f"function; make the layer outside of it. {where()}"
            )
        words = new_key() if key is None else as_key(key)
        self.draw(words)
        own = [(t, t._node) for _, t in self._attributes() if isinstance(t, Tensor)]
        for name, child in self.children().items():
            child.reset_parameters(derived_key(words, name))
        self.__dict__["_drawn"] = (words, own)
        return self

    def untouched(self) -> bool:
        """Whether the module's own tensors still hold the values that were drawn for them.

        That is: it was never called, nothing was loaded into it or assigned to it.
        """
        if self._drawn is None or self._named_at != -1:
            return False
        return all(tensor._node is node for tensor, node in self._drawn[1])

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter and buffer as a NumPy array, by path.

        >>> from thalweg import nn
        >>> {k: v.shape for k, v in nn.Linear(3, 2).state_dict().items()}
        {'weight': (3, 2), 'bias': (2,)}
        """
        return {k: t.numpy() for k, t in self._tensors().items()}

    def load_state_dict(self, mapping: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Take over the values of ``state_dict``; nothing is changed if anything is wrong.

        ``strict``: whether missing and unexpected entries are errors; if not, they are returned.

        Raises:
            ArgumentError: entries are missing or unexpected.
            ShapeError: an entry has another shape than its tensor.
            DTypeError: an entry is of another kind of number than its tensor.

        >>> from thalweg import nn
        >>> nn.Linear(3, 2).load_state_dict(nn.Linear(3, 2).state_dict())
        LoadResult(missing=[], unexpected=[])
        """
        own = self._tensors()
        result = LoadResult([k for k in own if k not in mapping],
                            [k for k in mapping if k not in own])  # fmt: skip
        if strict and (result.missing or result.unexpected):
            raise ArgumentError(_wrong_entries(self, own, result))
        given = {k: np.asarray(mapping[k]) for k in own if k in mapping}
        for path, array in given.items():
            _check_entry(self, path, own[path], array)
        for path, array in given.items():
            own[path].assign(array)
        return result

    def copy(self: M) -> M:
        """Return a deep copy with tensors of its own; what is shared inside stays shared."""
        return copying.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in _BOOKKEEPING}

    # --- looking at it --------------------------------------------------------------------

    def arguments(self) -> str:
        """Return the plain attributes as text, for ``repr``."""
        shown = {
            k: v for k, v in self.__dict__.items()
            if not k.startswith("_") and k != "training"
            and isinstance(v, (bool, int, float, str, tuple)) and _is_plain(v)
        }  # fmt: skip
        return ", ".join(f"{k}={v!r}" for k, v in shown.items())

    def __repr__(self) -> str:
        return self._tree(set())

    def _tree(self, above: set[int]) -> str:
        head = f"{type(self).__name__}("
        children = self.children()
        if not children or id(self) in above:
            return f"{head}{self.arguments()})"
        lines = [head + self.arguments()]
        for name, child in children.items():
            text = child._tree(above | {id(self)}).replace("\n", "\n  ")
            lines.append(f"  {name}: {text}")
        return "\n".join(lines) + "\n)"

    def summary(self, example: Any, dtype: Any = None) -> Summary:
        """Return a table of the layers: output shapes, parameters, FLOPs and memory.

        ``example``: the shape of one input without the batch axis, or an example input with it,
        or a list of either for a model with several inputs. ``dtype``: that of inputs given by
        their shape, float32 if left out.

        >>> from thalweg import nn
        >>> nn.Sequential(nn.Linear(4, 3), nn.ReLU()).summary((4,)).parameters
        15
        """
        from thalweg.nn.summary import summarize

        return summarize(self, example, dtype)


_PLAIN: Final = frozenset((bool, int, float, str, type(None)))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _entries(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (list, tuple)) and _PLAIN.issuperset(map(type, value)):
        yield name, tuple(value)  # nothing to look for in thousands of numbers
    elif isinstance(value, (list, tuple)):
        yield f"{name}.length", len(value)
        for i, part in enumerate(value):
            yield from _entries(_joined(name, str(i)), part)
    elif isinstance(value, dict):
        yield f"{name}.keys", tuple(value)
        for key, part in value.items():
            yield from _entries(_joined(name, str(key)), part)
    else:
        yield name, value


def _comparable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return _Identity(value)
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(v) for v in value)
    return isinstance(value, (bool, int, float, str))


def _wrong_entries(module: Module, own: Mapping[str, Tensor], result: LoadResult) -> str:
    name = f"{type(module).__name__}.load_state_dict"
    lines = [f"{name}: the entries do not fit; nothing was loaded."]
    if result.missing:
        lines.append(f"Missing: {', '.join(result.missing)}.")
    for entry in result.unexpected[:10]:
        lines.append(f"Unexpected: {entry!r}; {nearest(entry, own)}.")
    if len(result.unexpected) > 10:
        lines.append(f"And {len(result.unexpected) - 10} more unexpected ones.")
    lines.append(f"Give a state_dict of the same architecture, or strict=False. {where()}")
    return "\n".join(lines)


def _check_entry(module: Module, path: str, tensor: Tensor, array: Array) -> None:
    name = f"{type(module).__name__}.load_state_dict: {path!r}"
    if array.shape != tensor.shape:
        turned = array.ndim == 2 and array.shape[::-1] == tensor.shape
        hint = (" It is transposed: weights are (in_features, out_features) here, "
                "(out_features, in_features) in PyTorch; use .T." if turned else "")  # fmt: skip
        raise ShapeError(
            f"{name} has shape {array.shape}, the module wants {tensor.shape}; "
            f"nothing was loaded.{hint} {where()}"
        )
    kind = as_dtype(array.dtype)
    if kind.is_float != tensor.dtype.is_float:
        raise DTypeError(
            f"{name} has dtype {kind.name}, the module wants {tensor.dtype.name}; "
            f"nothing was loaded. Convert it with .astype. {where()}"
        )


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Call ``observer(module, inputs, output)`` after every module that runs in the block.

    Modules report from the inside out. Only Python calls are seen: a compiled function that was
    captured before runs no module any more.

    >>> import thalweg as tw
    >>> from thalweg import nn
    >>> seen = []
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with observe(lambda module, inputs, output: seen.append(type(module).__name__)):
    ...     y = model(tw.ones((1, 2)))
    >>> seen
    ['Linear', 'ReLU', 'Sequential']
    """
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)
