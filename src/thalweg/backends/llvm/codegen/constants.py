"""Constant vectors in short spellings: llvmlite would write each element."""

from __future__ import annotations

from typing import Any

from llvmlite import ir


class _Spelt(ir.Constant):
    """A constant with a spelling of its own."""

    def __init__(self, kind: ir.Type, value: Any, text: str) -> None:
        super().__init__(kind, value)
        self._text = text

    def _get_reference(self) -> str:
        return self._text


def zeros(kind: ir.VectorType) -> ir.Constant:
    """Return a vector of zeros."""
    return _Spelt(kind, [0] * kind.count, "zeroinitializer")


def anything(kind: ir.VectorType) -> ir.Constant:
    """Return a vector of which no element is used."""
    return _Spelt(kind, ir.Undefined, "poison")


def in_all(x: ir.Constant, lanes: int) -> ir.Constant:
    """Return a number in every lane."""
    text = f"splat ({x.type} {x.get_reference()})"
    return _Spelt(ir.VectorType(x.type, lanes), [x.constant] * lanes, text)
