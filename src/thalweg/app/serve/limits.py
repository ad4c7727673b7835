"""What a server takes on: sizes, times and counts; and how it says no."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from thalweg.errors import ArgumentError, where

__all__ = ["Limits", "Refusal", "message_of"]

# Errors end with the line of the user's code, "at file.py:12: source"; here that is the server's.
_PLACE: Final = re.compile(r"\s*\bat \S+:\d+(: .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    ``batch_size``: most rows that run together. ``wait``: the least time from the start of one
    batch to the start of the next, in milliseconds, unless the next is full or nobody is left to
    wait for: the longest that a request is held back. ``max_body``: bytes. ``timeout``: seconds for
    a request to arrive, and for its answer. ``rows``: of one request. ``queue``: rows that wait.
    ``idle``: seconds after which a connection that asks nothing is closed.

    Raises:
        ArgumentError: a limit that lets nothing through.

    >>> Limits(batch_size=8).sizes
    (1, 2, 4, 8)
    """

    batch_size: int = 64
    wait: float = 1.0
    max_body: int = 16 << 20
    timeout: float = 30.0
    rows: int = 1024
    queue: int = 4096
    idle: float = 30.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_body", "timeout", "rows", "queue", "idle"):
            value = getattr(self, name)
            if not value > 0:
                raise ArgumentError(f"{name}={value!r}, wanted a number above 0. {where()}")
        if not 0 <= self.wait <= 10_000:
            raise ArgumentError(
                f"wait={self.wait!r}, wanted milliseconds from 0 to 10000. {where()}"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of rows that programs are made for; others are filled up to the next.

        Twofold steps, so that less than half of a batch is filling.
        """
        made = [1]
        while made[-1] * 2 < self.batch_size:
            made.append(made[-1] * 2)
        return tuple(made) if self.batch_size == 1 else (*made, self.batch_size)


class Refusal(Exception):
    """A request that is not answered with predictions: a status, and a message for people."""

    def __init__(
        self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


def message_of(error: BaseException) -> str:
    r"""Return an error's message without the place in the server's own code.

    >>> message_of(ValueError("too long. at /home/me/a.py:3: f()"))
    'too long.'
    """
    return _PLACE.sub("", str(error)).strip()
