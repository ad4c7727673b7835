"""Files that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from thalweg.errors import FormatError

Part = bytes | memoryview


def write_whole(path: str | os.PathLike[str], parts: Iterable[Part]) -> None:
    """Write a file that is either complete under its name or leaves the old one as it was.

    The bytes go to a temporary file in the same folder, to the disk, and then take the name in one
    step, which a crash cannot cut in half.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.

    >>> import pathlib, tempfile
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> write_whole(place, [b"all ", b"of it"])
    >>> place.read_bytes()
    b'all of it'
    """

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())

    write_through(path, write)


def write_through(path: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    """Let ``write`` make a temporary file in the folder of ``path``, then rename it to ``path``.

    For writers that take a file name; the name given to ``write`` ends as ``path`` does. If
    ``write`` fails, ``path`` stays as it was and the temporary file is removed.

    Raises:
        OSError: the folder is missing or not writable; and whatever ``write`` raises.

    >>> import pathlib, tempfile
    >>> place = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> write_through(place, lambda name: name.write_text("done") and None)
    >>> place.read_text()
    'done'
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only the user may read
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Return the process's mask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Make a folder if it is missing, and prove that files can be written in it.

    Meant to be called before hours of training, not after.

    Raises:
        FormatError: the folder cannot be made or written in; says why.

    >>> import tempfile
    >>> check_writable(tempfile.mkdtemp()).is_dir()
    True
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"x")
    except OSError as error:
        reason = error.strerror or str(error)
        raise FormatError(
            f"the output folder {str(place)!r} cannot be written to: {reason}. Nothing was "
            "started; give a folder that you may write in."
        ) from error
    return place
