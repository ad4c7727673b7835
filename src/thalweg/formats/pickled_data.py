"""The data of a pickle, read by an interpreter that can build containers and run nothing.

A pickle is a program for a small stack machine, and two of its instructions name and call any
Python function; that is why files are never unpickled here. This machine knows the instructions
that build numbers, text and containers. A name in the file is looked up in a table that the caller
gives, and nowhere else; only what stands in that table can be called. Python's ``pickle`` is not
imported: ``pickletools`` only splits the bytes into instructions.

https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final, NoReturn

from thalweg.errors import FormatError, where

__all__ = ["PickledData", "read_pickled_data"]

_MARK: Final = object()
_PUSHED: Final = frozenset({
    "BINBYTES", "BINBYTES8", "BINFLOAT", "BININT", "BININT1", "BININT2", "BINSTRING", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES", "SHORT_BINSTRING",
    "SHORT_BINUNICODE", "STRING", "UNICODE",
})  # fmt: skip
_CONSTANTS: Final[dict[str, Callable[[], Any]]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set, "EMPTY_TUPLE": tuple,
}  # fmt: skip
_IGNORED: Final = frozenset({"FRAME", "PROTO"})
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# A tuple can hold one tuple twice, and that one another twice: its hash would take for ever.
_HASHED: Final = (bool, bytes, float, int, str, type(None))
_GETS: Final = frozenset({"BINGET", "GET", "LONG_BINGET"})
_PUTS: Final = frozenset({"BINPUT", "LONG_BINPUT", "PUT"})



class PickledData:
    """The stack machine, with the names that a file may use and what they stand for here.

    Args:
        names: by ``"module name"``, what a global of the file stands for: a function that the file
            may call, or a value.
        persistent: makes an object of a persistent id, by which a file points to what lies outside
            of the pickle; None if the file may have none.

    Raises:
        FormatError: while reading: the file names something else, uses an instruction that runs
            code, or makes no sense.
    """

    def __init__(
        self, names: Mapping[str, Any], persistent: Callable[[Any], Any] | None = None
    ) -> None:
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, file: BinaryIO) -> Any:
        """Return the object of the pickle that begins here; the file then stands behind it."""
        self.stack, self.memo = [], {}
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name != "STOP":  # with which genops ends, too
                    self._run(opcode.name, argument)
            return self._pop()
        except FormatError:
            raise
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            self._damaged(str(error) or type(error).__name__)

    def _run(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PUSHED:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _TUPLES:
            parts = [self._pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(parts)))
        elif name in _GETS:
            if int(argument) not in self.memo:
                self._damaged(f"it refers to object {int(argument)}, which it never made")
            stack.append(self.memo[int(argument)])
        elif name in _PUTS:
            self.memo[int(argument)] = self._top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top()
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _IGNORED:
            self._refuse(f"the instruction {name}, which can run code")

    # --- the stack ------------------------------------------------------------------------

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            self._damaged("an instruction finds no object to work on")
        return self.stack.pop()

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            self._damaged("an instruction finds no object to work on")
        return self.stack[-1]

    def _since_mark(self) -> list[Any]:
        found: list[Any] = []
        while self.stack and self.stack[-1] is not _MARK:
            found.append(self.stack.pop())
        if not self.stack:
            self._damaged("a mark is missing")
        self.stack.pop()
        found.reverse()
        return found

    # --- containers -----------------------------------------------------------------------

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _dict(self, _: Any) -> None:
        found = self._since_mark()
        self.stack.append(dict(zip(self._keys(found[::2]), found[1::2], strict=True)))

    def _container(self, kind: type) -> Any:
        """Return the container on top; only the plain ones, whose methods run nothing else."""
        container = self._top()
        if type(container) is not kind:
            self._damaged(f"a {type(container).__name__} stands where a {kind.__name__} belongs")
        return container

    @staticmethod
    def _keys(values: list[Any]) -> list[Any]:
        """Return what becomes a key or an element of a set, whose hash is taken: plain values."""
        for value in values:
            if type(value) not in _HASHED:
                PickledData._damaged(f"a {type(value).__name__} is a key, wanted text or a number")
        return values

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._container(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._since_mark()
        self._container(list).extend(values)

    def _additems(self, _: Any) -> None:
        values = self._since_mark()
        self._container(set).update(self._keys(values))

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._container(dict).update(zip(self._keys([key]), [value], strict=True))

    def _setitems(self, _: Any) -> None:
        found = self._since_mark()
        keys = self._keys(found[::2])
        self._container(dict).update(zip(keys, found[1::2], strict=True))

    def _drop(self, _: Any) -> None:
        if not self.stack:
            self._damaged("an instruction finds no object to work on")
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self._top())

    # --- names and what they make ---------------------------------------------------------

    def _global(self, argument: Any) -> None:
        self.stack.append(self._named(str(argument)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self.stack.append(self._named(f"{module} {name}"))

    def _inst(self, argument: Any) -> None:
        self._named(str(argument))
        self._refuse(f"an object of {str(argument).replace(' ', '.')}")

    def _named(self, name: str) -> Any:
        if name not in self.names:
            self._refuse(f"the name {name.replace(' ', '.')}")
        return self.names[name]

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        # The table is the only source of callables, but text, say, could stand here as well.
        allowed = any(function is value for value in self.names.values())
        if not (allowed and callable(function) and type(arguments) is tuple):
            self._refuse(f"a call of {function!r}")
        self.stack.append(function(*arguments))

    def _build(self, _: Any) -> None:
        """Set an object's attributes; an ordered dict has some, which no data depends on."""
        self._pop()
        self._container(dict)

    def _persistent(self, _: Any) -> None:
        identity = self._pop()
        if self.persistent is None:
            self._refuse("a pointer to an object outside of the pickle")
        self.stack.append(self.persistent(identity))

    # --- errors ---------------------------------------------------------------------------

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise FormatError(
            f"it uses {what}. Only tensors, numbers, text, dicts, lists and tuples are read, and "
            "no code is run. If you trust the file, save its numbers where it came from: "
            f"torch.save(model.state_dict(), path). {where()}"
        )

    @staticmethod
    def _damaged(reason: str) -> NoReturn:
        raise FormatError(
            f"its pickle makes no sense ({reason}). Give a file that torch.save wrote, or fetch it "
            f"again if it was one. {where()}"
        )


_ACTIONS: Final[dict[str, Callable[[PickledData, Any], None]]] = {
    "ADDITEMS": PickledData._additems, "APPEND": PickledData._append,
    "APPENDS": PickledData._appends, "BINPERSID": PickledData._persistent,
    "BUILD": PickledData._build, "DICT": PickledData._dict, "DUP": PickledData._dup,
    "GLOBAL": PickledData._global, "INST": PickledData._inst, "LIST": PickledData._list,
    "POP": PickledData._drop, "POP_MARK": PickledData._pop_mark, "REDUCE": PickledData._reduce,
    "SETITEM": PickledData._setitem, "SETITEMS": PickledData._setitems,
    "STACK_GLOBAL": PickledData._stack_global, "TUPLE": PickledData._tuple,
}  # fmt: skip


def read_pickled_data(
    file: BinaryIO, names: Mapping[str, Any], persistent: Callable[[Any], Any] | None = None
) -> Any:
    r"""Return the object of the pickle at the file's position, with ``names`` alone to call.

    Raises:
        FormatError: the pickle names something else, could run code, or is damaged.

    >>> import io
    >>> read_pickled_data(io.BytesIO(b"(lp0\nI7\na."), {})
    [7]
    >>> read_pickled_data(  # doctest: +ELLIPSIS
    ...     io.BytesIO(b"cos\nsystem\n(Vls\ntR."), {})
    Traceback (most recent call last):
    ...
    thalweg.errors.FormatError: it uses the name os.system. Only ...
    """
    return PickledData(names, persistent).read(file)
