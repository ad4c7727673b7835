"""Tables larger than memory: read in blocks of rows, and drawn from at random."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thalweg.data.column_kinds import Kind
from thalweg.data.delimited import Delimited, parse_delimited
from thalweg.data.tables import (
    Table,
    filled_lines,
    format_of,
    frame_of_delimited,
    frame_of_typed,
    separator_of,
    table_of_frame,
)
from thalweg.data.text_files import decode
from thalweg.errors import DataError, where

__all__ = ["TableBlocks", "is_large_table"]

Array = np.ndarray[Any, Any]
LARGE: Final = 128 << 20  # bytes of text from which on a table is not read whole
BLOCK: Final = 8 << 20  # bytes of a block
VALUES: Final = 12_000_000  # of a sample; words take about a hundred bytes each
_PACKED: Final = 4  # times that Parquet is smaller than the same as text
_LONGEST: Final = 32  # blocks that one record may take before its quotes are taken for a fault


@dataclass(frozen=True)
class _Block:
    """A part of a file: a Polars frame, and the number of each row in the file."""

    frame: Any
    numbers: Array


@dataclass(frozen=True)
class TableBlocks:
    r"""A file of a table, read a block of rows at a time: memory holds one block.

    ``path``: CSV, TSV, JSON lines or Parquet. ``size``: bytes of text of a block. The others as for
    ``read_table``. Nothing is read before one of the methods is called.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = file.write_text("x,y\n1,a\n2,b\n3,c\n")
        >>> blocks = TableBlocks(file, size=8)
        >>> sample, chosen = blocks.sample(2, seed=0)
        >>> [len(table) for table in blocks.tables(sample.schema)]
        [1, 2]
    """

    path: Path
    size: int = BLOCK
    separator: str | None = None
    encoding: str = "utf-8"
    header: bool | None = None
    names: Sequence[str] | None = None
    missing: Sequence[str] = ()
    drop: Sequence[str] = ()

    def tables(
        self, like: Mapping[str, Mapping[str, str]], leave: Sequence[Array] = (),
        only_like: bool = False,
    ) -> Iterator[Table]:  # fmt: skip
        """Yield the rows of the file, block by block, as tables of the kinds of ``like``.

        ``leave``: what ``sample`` has chosen, to be left out. ``only_like``: as for ``read_table``.

        Raises:
            DataError: what ``read_table`` says, of the first block that has a fault.
        """
        absent = self._sometimes_absent(like)
        for place, block in enumerate(self._blocks()):
            frame, numbers = block.frame, block.numbers
            if absent:
                import polars as pl

                missing = [name for name in absent if name not in frame.columns]
                frame = frame.with_columns(pl.lit(None).alias(name) for name in missing)
            if leave:
                rest = np.ones(len(numbers), bool)
                rest[leave[place]] = False
                frame, numbers = frame.filter(rest), numbers[rest]
            if len(numbers):
                yield self._table(frame, numbers, {}, like, only_like)

    def sample(
        self, rows: int, seed: int, kinds: Mapping[str, Kind] | None = None
    ) -> tuple[Table, list[Array]]:
        """Return a table of about ``rows`` rows drawn at random, and which of each block they are.

        Of a wide table they are fewer, so that memory holds them: 12 million values. The same seed
        draws the same rows. ``kinds``: as for ``read_table``.

        Raises:
            DataError: what ``read_table`` says of the file.
        """
        import polars as pl

        frames, numbers, chosen = [], [], []
        share = 1.0
        for place, block in enumerate(self._blocks()):
            if not place:
                rows = min(rows, max(1, VALUES // block.frame.width))
                share = min(1.0, rows / max(1, self._about(len(block.numbers))))
            drawn = np.random.default_rng([seed, place]).random(len(block.numbers)) < share
            if not place:
                drawn[0] = True  # a small file must not give none
            chosen.append(np.flatnonzero(drawn))
            frames.append(block.frame.filter(drawn))
            numbers.append(block.numbers[drawn])
        if not frames:
            raise DataError(f"{self.path} has 0 rows; give a file with data. {where()}")
        whole = pl.concat(frames, how="diagonal_relaxed")
        return self._table(whole, np.concatenate(numbers), kinds or {}, {}), chosen

    def _table(
        self, frame: Any, numbers: Array, kinds: Mapping[str, Kind],
        like: Mapping[str, Mapping[str, str]], only_like: bool = False,
    ) -> Table:  # fmt: skip
        form = format_of(self.path)
        untyped = set(frame.columns) if form == "csv" else set()
        drop = self.drop
        if like:  # a block may lack a column of JSON lines
            drop = [n for n in drop if n in frame.columns and (n in like or not only_like)]
        told = _place(self.path, "row" if form == "parquet" else "line", numbers)
        return table_of_frame(
            frame, untyped, told, kinds, {}, like, only_like, drop, self.missing
        )

    def _sometimes_absent(self, like: Mapping[str, Any]) -> list[str]:
        """Return the columns that some blocks have: lines of JSON may leave out what is missing."""
        if format_of(self.path) != "jsonl":
            return []
        found = {name for block in self._blocks() for name in block.frame.columns}
        return [name for name in like if name in found]

    def _about(self, first: int) -> float:
        """Return about how many rows the file has, ``first`` of them in the first block."""
        size = self.path.stat().st_size
        if format_of(self.path) == "parquet":
            import polars as pl

            return float(pl.scan_parquet(self.path).select(pl.len()).collect().item())
        return first * max(1.0, size / self.size)

    def _blocks(self) -> Iterator[_Block]:
        form = format_of(self.path)
        if form == "parquet":
            yield from self._of_parquet()
        elif form == "jsonl":
            yield from self._of_lines()
        else:
            for found in self._of_text():
                yield _Block(frame_of_delimited(found), found.lines)

    def _of_text(self) -> Iterator[Delimited]:
        first: Delimited | None = None
        line = 1
        separator = separator_of(self.path, self.separator)
        for piece in _pieces(self.path, self.size, quotes=True):
            text = _decoded(piece, self.encoding, self.path, line)
            lines = text.count("\n")
            if first is None:
                first = parse_delimited(
                    self.path, text, separator, self.header, self.names, line=line
                )
                yield first
            elif text.strip("\r\n"):
                yield parse_delimited(
                    self.path, text, first.separator, False, first.names, line=line
                )
            line += lines

    def _of_lines(self) -> Iterator[_Block]:
        line = 1
        for piece in _pieces(self.path, self.size, quotes=False):
            if piece.strip():
                frame = frame_of_typed(io.BytesIO(piece), "jsonl", self.path)
                yield _Block(frame, line - 1 + filled_lines(piece))
            line += piece.count(b"\n")

    def _of_parquet(self) -> Iterator[_Block]:
        import polars as pl

        try:
            scan = pl.scan_parquet(self.path)
            rows = int(scan.select(pl.len()).collect().item())
            width = len(scan.collect_schema())
            step = max(1, self.size // (8 * max(1, width)))
            for start in range(0, rows, step):
                frame = scan.slice(start, step).collect()
                yield _Block(frame, np.arange(start, start + frame.height))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{self.path} is no file of Parquet that can be read: {error}. It may be damaged, "
                f"or of another format. {where()}"
            ) from error


def is_large_table(path: Path, encoding: str = "utf-8") -> bool:
    """Return whether a file of a table is better read in blocks than whole.

    Text in two or four bytes a character is read whole: its lines are not found by their bytes.

    >>> is_large_table(Path("missing.csv"))
    False
    """
    if not path.is_file() or not _lines_by_bytes(encoding):
        return False
    parquet = path.suffix.lower() in (".parquet", ".pq")
    return path.stat().st_size * (_PACKED if parquet else 1) > LARGE


def _lines_by_bytes(encoding: str) -> bool:
    try:
        return "a\n".encode(encoding).endswith(b"a\n")
    except (LookupError, UnicodeError):
        return False  # reading it whole says what is wrong


def _place(path: Path, word: str, numbers: Array) -> Callable[[int], str]:
    """Return what tells where a row is, and holds on to nothing but the numbers."""
    return lambda row: f"{path}: {word} {int(numbers[row])}"


def _decoded(piece: bytes, encoding: str, path: Path, line: int) -> str:
    try:
        return piece.decode(encoding).removeprefix("\ufeff" if line == 1 else "")
    except (UnicodeDecodeError, LookupError):
        # The message counts lines from the start of what it is given.
        return decode(b"\n" * (line - 1) + piece, encoding, path)


def _pieces(path: Path, size: int, quotes: bool) -> Iterator[bytes]:
    """Yield a file in parts that end where a line does; with ``quotes``, one outside of quotes."""
    rest = b""
    try:
        with open(path, "rb") as file:
            while new := file.read(size):
                rest += new
                end = _end(rest, quotes and len(rest) < _LONGEST * size)
                if end:
                    yield rest[:end]
                    rest = rest[end:]
    except OSError as error:
        raise DataError(
            f"the file {path} cannot be read ({error.strerror}); check its path. {where()}"
        ) from error
    if rest:
        yield rest


def _end(data: bytes, quotes: bool) -> int:
    """Return where the last whole record of some text ends, 0 if none does."""
    end = data.rfind(b"\n") + 1
    open_quotes = data.count(b'"', 0, end) % 2 if quotes else 0
    while end and open_quotes:
        before = data.rfind(b"\n", 0, end - 1) + 1
        open_quotes ^= data.count(b'"', before, end) % 2
        end = before
    return end
