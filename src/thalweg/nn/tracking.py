"""Lists and dicts that notice when they change, so that compiled programs notice it too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from thalweg.tensor.context import structure_epoch


class TrackedList(list[Any]):
    """A list that advances the structure epoch with every change.

    >>> before = structure_epoch.count
    >>> TrackedList([1]).append(2)
    >>> structure_epoch.count > before
    True
    """

    def __setitem__(self, index: Any, value: Any) -> None:
        new = [tracked(v) for v in value] if isinstance(index, slice) else tracked(value)
        super().__setitem__(index, new)
        structure_epoch.advance()

    def append(self, value: Any) -> None:
        """Add one element at the end."""
        super().append(tracked(value))
        structure_epoch.advance()

    def extend(self, values: Iterable[Any]) -> None:
        """Add elements at the end."""
        super().extend(tracked(v) for v in values)
        structure_epoch.advance()

    def insert(self, index: Any, value: Any) -> None:
        """Put one element before a position."""
        super().insert(index, tracked(value))
        structure_epoch.advance()

    def __iadd__(self, values: Iterable[Any]) -> TrackedList:  # type: ignore[misc]
        self.extend(values)
        return self


class TrackedDict(dict[Any, Any]):
    """A dict that advances the structure epoch with every change.

    >>> before = structure_epoch.count
    >>> TrackedDict()["a"] = 1
    >>> structure_epoch.count > before
    True
    """

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, tracked(value))
        structure_epoch.advance()

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several entries."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return an entry, setting it first where it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> TrackedDict:  # type: ignore[misc]
        self.update(other)
        return self


def _noticing(kind: type, name: str) -> Callable[..., Any]:
    plain = getattr(kind, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = plain(self, *args, **kwargs)
        structure_epoch.advance()
        return result

    method.__name__, method.__doc__ = name, plain.__doc__
    return method


for _name in ("__delitem__", "__imul__", "clear", "pop", "remove", "reverse", "sort"):
    setattr(TrackedList, _name, _noticing(list, _name))
for _name in ("__delitem__", "clear", "pop", "popitem"):
    setattr(TrackedDict, _name, _noticing(dict, _name))


def tracked(value: Any) -> Any:
    """Return a list or dict, also inside of lists, dicts and tuples, as one that is tracked.

    >>> type(tracked([1, {}])[1]).__name__
    'TrackedDict'
    """
    if isinstance(value, (TrackedList, TrackedDict)):
        return value
    if isinstance(value, list):
        return TrackedList(tracked(v) for v in value)
    if isinstance(value, dict):
        return TrackedDict((k, tracked(v)) for k, v in value.items())
    if type(value) is tuple and any(isinstance(v, (list, dict, tuple)) for v in value):
        return tuple(tracked(v) for v in value)
    return value
