"""Parameters to and from PyTorch: its names and layouts, as NumPy arrays.

Each layer states where it is written how PyTorch lays it out:

* ``torch_axes``: for a tensor, its axes in PyTorch's order (a class attribute);
* ``torch_names``: for a tensor, PyTorch's name, or None where PyTorch has no such tensor;
* ``to_torch_state()`` and ``from_torch_state(state)``: for a layer whose parameters PyTorch packs
  in another way. They give and take all entries of the layer and of what is inside of it, under
  PyTorch's names without the layer's path; ``torch_aliases`` names older names of entries.

All else keeps its path and its shape.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.errors import ArgumentError, DTypeError, ShapeError, where
from thalweg.graph.dtype import as_dtype
from thalweg.nn.module import LoadResult, Module
from thalweg.tensor.tensor import Tensor

__all__ = ["from_torch", "to_torch"]

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]
_LATER = "num_batches_tracked"  # files from before PyTorch 0.4.1 lack it, and PyTorch allows that
_SHOWN = 10


@dataclass(frozen=True)
class _Entry:
    """One tensor of a module that PyTorch has too."""

    tensor: Tensor
    axes: Axes | None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in PyTorch."""
        own = self.tensor.shape
        return own if self.axes is None else tuple(own[a] for a in self.axes)

    def get(self) -> Array:
        """Return the values in PyTorch's layout."""
        values = self.tensor.numpy()
        return values if self.axes is None else np.ascontiguousarray(values.transpose(self.axes))

    def put(self, values: Array) -> None:
        """Take values in PyTorch's layout."""
        if self.axes is not None:
            values = np.ascontiguousarray(values.transpose(np.argsort(self.axes)))
        self.tensor.assign(values)


def _parts(module: Module, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """Yield path and entry, or path and module where a module has hooks of its own.

    What is shared comes once for each of its paths, as in PyTorch.
    """
    if hasattr(module, "to_torch_state"):
        yield path, module
        return
    axes: Mapping[str, Axes] = getattr(module, "torch_axes", {})
    names: Mapping[str, str | None] = getattr(module, "torch_names", {})
    for name, value in module._attributes():
        if isinstance(value, Module) and id(value) not in above:
            yield from _parts(value, _joined(path, name), (*above, id(value)))
        elif isinstance(value, Tensor):
            theirs = names.get(name, name)
            if theirs is not None:
                yield _joined(path, theirs), _Entry(value, axes.get(name))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def to_torch(module: Module) -> dict[str, Array]:
    """Return all parameters and buffers under PyTorch's names and in its layouts.

    ``torch_model.load_state_dict({k: torch.tensor(v) for k, v in to_torch(model).items()})`` loads
    them into the same architecture in PyTorch: weights of ``Linear`` transposed, of convolutions
    ``(out, in, ...kernel)``, of transposed ones ``(in, out, ...kernel)``; the layers of a
    ``Sequential`` have its numbers as names. A parameter at several paths comes at each of them.

    A ``Linear`` after a ``Flatten`` of images is the one thing that a layout cannot tell: PyTorch
    flattens channels first. Build the model so that it does too (``thalweg.models`` do), by moving
    the channels to axis 1 before flattening.

    >>> from thalweg import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.BatchNorm2d(8))
    >>> {name: array.shape for name, array in nn.to_torch(model).items()}["0.weight"]
    (8, 3, 5, 5)
    """
    state: dict[str, Array] = {}
    for path, part in _parts(module, "", (id(module),)):
        if isinstance(part, _Entry):
            state[path] = part.get()
        else:
            state |= {_joined(path, k): v for k, v in part.to_torch_state().items()}
    return state


def from_torch(module: Module, state: Mapping[str, Any], strict: bool = True) -> LoadResult:
    """Take over a PyTorch ``state_dict``; nothing is changed if anything is wrong.

    The inverse of ``to_torch``. Values are arrays, or tensors of PyTorch. The prefix ``module.``
    that ``DataParallel`` puts before every name is left out, and ``num_batches_tracked`` may be
    missing. ``strict``: whether missing and unexpected entries are errors; if not, they are
    returned.

    Raises:
        ArgumentError: entries are missing or unexpected, or two entries for one shared tensor
            differ.
        ShapeError: entries have another shape than their tensors; all are named.
        DTypeError: an entry is of another kind of number than its tensor.

    >>> from thalweg import nn
    >>> nn.from_torch(nn.Linear(3, 2), {"weight": np.ones((2, 3)), "bias": np.zeros(2)})
    LoadResult(missing=[], unexpected=[])
    """
    parts = list(_parts(module, "", (id(module),)))
    given = _renamed(parts, state)
    entries = {path: part for path, part in parts if isinstance(part, _Entry)}
    hooked = {path: (part, part.to_torch_state())
              for path, part in parts if not isinstance(part, _Entry)}  # fmt: skip
    wanted = {path: entry.shape for path, entry in entries.items()}
    kinds = {path: entry.tensor.dtype.is_float for path, entry in entries.items()}
    for path, (_, own) in hooked.items():
        for name, array in own.items():
            wanted[_joined(path, name)] = array.shape
            kinds[_joined(path, name)] = as_dtype(array.dtype).is_float
    result = _result(entries, wanted, given)
    arrays = {k: _array(k, v) for k, v in given.items() if k in wanted}
    _check(module, wanted, kinds, arrays, result, strict)
    _check_shared(module, entries, arrays)
    for path, entry in entries.items():
        if path in arrays:
            entry.put(arrays[path])
    for path, (part, own) in hooked.items():
        names = [name for name in own if _joined(path, name) in arrays]
        if names:
            part.from_torch_state(own | {n: arrays[_joined(path, n)] for n in names})
    return result


def _renamed(parts: list[tuple[str, Any]], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries under the names that ``to_torch`` gives them."""
    prefix = "module."
    own = any(path.startswith(prefix) for path, _ in parts)
    given = dict(state)
    if given and not own and all(str(k).startswith(prefix) for k in given):
        given = {k.removeprefix(prefix): v for k, v in given.items()}
    for path, part in parts:
        for old, new in getattr(part, "torch_aliases", {}).items():
            if _joined(path, old) in given:
                given[_joined(path, new)] = given.pop(_joined(path, old))
    return given


def _result(
    entries: Mapping[str, _Entry], wanted: Mapping[str, Any], given: Mapping[str, Any]
) -> LoadResult:
    """Return what is missing and what is unexpected; one path of a shared tensor is enough."""
    there = {id(e.tensor) for path, e in entries.items() if path in given}
    missing = [
        path for path in wanted if path not in given
        and not (path in entries and id(entries[path].tensor) in there)
        and path.rpartition(".")[2] != _LATER
    ]  # fmt: skip
    return LoadResult(missing, [path for path in given if path not in wanted])


def _array(path: str, value: Any) -> Array:
    """Return an entry as an array."""
    if hasattr(value, "detach"):  # a tensor of PyTorch, which need not be imported for that
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
        as_dtype(array.dtype)
    except (TypeError, ValueError) as error:
        raise DTypeError(
            f"from_torch: the entry {path!r} is {type(value).__name__} and makes no array of "
            f"numbers ({error}); wanted arrays or tensors, bfloat16 ones as .float(). {where()}"
        ) from error
    return array


def _check(
    module: Module, wanted: Mapping[str, tuple[int, ...]], kinds: Mapping[str, bool],
    arrays: Mapping[str, Array], result: LoadResult, strict: bool,
) -> None:  # fmt: skip
    """Raise one error that lists everything that does not fit."""
    wrong = [path for path, array in arrays.items() if array.shape != wanted[path]]
    absent = strict and bool(result.missing or result.unexpected)
    name = f"from_torch({type(module).__name__})"
    if wrong or absent:
        lines = [f"{name}: the entries do not fit; nothing was loaded."]
        if strict:
            lines += _listed("Missing", [repr(m) for m in result.missing])
            free = result.missing or list(wanted)
            lines += _listed("Unexpected", [
                repr(u) + (_closest(u, free) if i < _SHOWN else "")
                for i, u in enumerate(result.unexpected)
            ])  # fmt: skip
        lines += _listed("Of another shape", [
            f"{w!r} has {arrays[w].shape}, wanted {wanted[w]}" for w in wrong
        ])  # fmt: skip
        lines.append(
            "Give the state_dict of the same architecture"
            + (", or strict=False to leave out what is missing or unexpected" if absent else "")
            + f". {where()}"
        )
        raise (ArgumentError if absent else ShapeError)("\n".join(lines))
    for path, array in arrays.items():
        if as_dtype(array.dtype).is_float != kinds[path]:
            kind = "floating-point" if kinds[path] else "whole"
            raise DTypeError(
                f"{name}: {path!r} has dtype {array.dtype}, wanted {kind} numbers; nothing was "
                f"loaded. Convert it with .astype. {where()}"
            )


def _closest(name: str, known: Iterable[str]) -> str:
    """Return what the name may be meant for, if there is something like it."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _listed(title: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = [f"  and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return [f"{title}:", *(f"  {item}" for item in items[:_SHOWN]), *more]


def _check_shared(
    module: Module, entries: Mapping[str, _Entry], arrays: Mapping[str, Array]
) -> None:
    """Raise where entries for the same tensor differ."""
    first: dict[tuple[int, Axes | None], str] = {}
    for path, entry in entries.items():
        if path not in arrays:
            continue
        before = first.setdefault((id(entry.tensor), entry.axes), path)
        if before != path and not np.array_equal(arrays[before], arrays[path]):
            raise ArgumentError(
                f"from_torch({type(module).__name__}): {before!r} and {path!r} are one tensor in "
                f"the module, but two different ones in the state; nothing was loaded. Untie them, "
                f"or give one of them alone with strict=False. {where()}"
            )
