"""The compiled functions of this process, by name: programs that need the same share them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from thalweg.backends.llvm.runtime import cache as disk
from thalweg.backends.llvm.runtime.library import Library


@dataclass(frozen=True)
class Piece:
    """Functions that were compiled together, and the names of those elsewhere that they call.

    ``name``: under which the object code is kept; it follows from what is defined.
    """

    name: str
    defines: tuple[str, ...]
    needs: tuple[str, ...]
    library: Library


class Functions:
    """The functions of one target.

    A name says what is in a function, so one of the same name from another piece is as good. They
    stay: memory of code is returned when the process ends.

    ``key``: what besides the names decides which machine code comes out.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._home: dict[str, Piece] = {}  # by name of a function
        self._pieces: set[str] = set()

    def known(self, name: str) -> bool:
        """Return whether a function is here."""
        return name in self._home

    def add(self, code: bytes, defines: Iterable[str], needs: Iterable[str]) -> Piece:
        """Load object code; what it needs must be here, or be a function of the C library."""
        defines, needs = tuple(defines), tuple(needs)
        library = Library.from_object(code, needs=tuple(p.library for p in self._homes(needs)))
        name = hashlib.sha256(" ".join(defines).encode()).hexdigest()
        piece = Piece(name, defines, needs, library)
        self._pieces.add(name)
        for function in defines:
            self._home.setdefault(function, piece)
        return piece

    def keep(self, piece: Piece, code: bytes) -> None:
        """Write a piece to disk, for other processes."""
        facts = {"defines": piece.defines, "needs": piece.needs}
        disk.store(f"{self.key}|{piece.name}", code, facts)

    def load(self, names: Iterable[str]) -> bool:
        """Load pieces by name from disk, in order; return whether all were there."""
        for name in names:
            if name in self._pieces:
                continue
            found = disk.load(f"{self.key}|{name}")
            if found is None:
                return False
            code, facts = found
            self.add(code, facts["defines"], facts["needs"])
        return True

    def order(self, needs: Iterable[str]) -> list[str]:
        """Return the names of all pieces that calls of these functions lead to, as they load."""
        order: dict[str, None] = {}

        def visit(names: Iterable[str]) -> None:
            for piece in self._homes(names):
                if piece.name not in order:
                    visit(piece.needs)
                    order[piece.name] = None

        visit(needs)
        return list(order)

    def program(self, code: bytes, needs: Iterable[str]) -> Library:
        """Load the calls of a program."""
        return Library.from_object(code, needs=tuple(p.library for p in self._homes(needs)))

    def _homes(self, names: Iterable[str]) -> list[Piece]:
        """Return the pieces that define these names, each once."""
        found = (self._home[name] for name in names if name in self._home)
        return list({id(piece): piece for piece in found}.values())

