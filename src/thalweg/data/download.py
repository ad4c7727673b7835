"""Downloads: resumed where they broke off, checked by SHA-256, in place only when whole."""

from __future__ import annotations

import contextlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from thalweg.data.checksums import sha256_of
from thalweg.errors import DataError, where

__all__ = ["download"]

_SCHEMES: Final = ("https", "file")
_CHUNK: Final = 1 << 18
_PAUSE: Final = 0.5  # seconds before the second attempt, doubled before each further one
_PASSING: Final = (408, 416, 429)  # answers below 500 after which another attempt can succeed
# What a connection that breaks off can raise.
_BREAKS: Final = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    limit: int = 1 << 31,
    schemes: tuple[str, ...] = _SCHEMES,
    attempts: int = 3,
    timeout: float = 30.0,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Bring a file from a URL to a path, and return the path; nothing is done if it is there.

    What has arrived is kept beside the path, under its name with ``.part``. A later call goes on
    from there, if the server can and the SHA-256 is known, without which a mixture of two versions
    could not be noticed. The file takes its name only when it is whole and has this SHA-256.

    ``limit``: the most bytes to accept. ``schemes``: kinds of URL to accept, also of those that a
    server sends one on to. ``attempts``: how often to try before giving up. ``timeout``: seconds
    without an answer. ``progress(done, total)``: called now and then, ``total`` None if unknown.

    Raises:
        DataError: the URL is of another kind, the network or server does not answer, the file is
            larger than the limit or has another SHA-256, or it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.txt").write_text("text")
        >>> download((folder / "a.txt").as_uri(), folder / "b.txt").read_text()
        'text'
    """
    target = Path(path)
    _check_scheme(url, schemes)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        with _locked(part):
            if target.exists() and (sha256 is None or sha256_of(target) == sha256):
                return target
            _fetch(url, part, sha256, limit, schemes, attempts, timeout, progress)
            os.replace(part, target)
    except OSError as error:  # the network's errors are caught in _fetch
        raise DataError(
            f"{target} cannot be written ({error.strerror or error}); make room or free the folder "
            f"for writing, or give another one with THALWEG_CACHE_DIR. {where()}"
        ) from error
    return target


def _fetch(
    url: str,
    part: Path,
    sha256: str | None,
    limit: int,
    schemes: tuple[str, ...],
    attempts: int,
    timeout: float,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Fill the file ``part`` from the URL, in several attempts if need be."""
    if sha256 is None:
        part.unlink(missing_ok=True)
    opener = urllib.request.build_opener(_SameSchemes(schemes))
    for attempt in range(1, attempts + 1):
        try:
            _receive(opener, url, part, limit, timeout, progress)
        except _BREAKS as error:
            code = error.code if isinstance(error, urllib.error.HTTPError) else None
            if code == 416:  # what is there is longer than the file: start again
                part.unlink(missing_ok=True)
            final = code is not None and code < 500 and code not in _PASSING
            if final or attempt == attempts:
                raise DataError(
                    f"{url} could not be downloaded ({_told(error)}), in {attempt} attempts. Check "
                    f"the network, or bring the file here by other means. {where()}"
                ) from error
            time.sleep(_PAUSE * 2 ** (attempt - 1))
            continue
        found = sha256_of(part)
        if sha256 is None or found == sha256:
            return
        part.unlink()
        if attempt == attempts:
            raise DataError(
                f"{url} has the SHA-256 {found}, wanted {sha256}; the file was changed or damaged "
                f"on its way, and was removed. Try again, or bring the right file here by other "
                f"means. {where()}"
            )


def _receive(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    limit: int,
    timeout: float,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Add to the file what it lacks, or write it anew if the server sends the whole."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "thalweg"})
    if have and url.startswith("http"):
        request.add_header("Range", f"bytes={have}-")
    with opener.open(request, timeout=timeout) as answer:
        if getattr(answer, "status", None) != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else None
        _check_limit(url, total or 0, limit)
        with part.open("ab" if have else "wb") as file:
            while chunk := _read(answer):
                have += len(chunk)
                _check_limit(url, have, limit)
                file.write(chunk)
                if progress is not None:
                    progress(have, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have < total:
        raise ConnectionError(f"it broke off after {have:,} of {total:,} bytes")


def _read(answer: Any) -> bytes:
    """Return the next bytes; a fault of the network is told from one of the disk."""
    try:
        return bytes(answer.read(_CHUNK))
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _check_limit(url: str, size: int, limit: int) -> None:
    if size > limit:
        raise DataError(
            f"{url} has {size:,} bytes or more, which is over the limit of {limit:,}; check the "
            f"address, or give a larger limit. {where()}"
        )


def _check_scheme(url: str, schemes: tuple[str, ...]) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in schemes:
        raise DataError(
            f"the address {url!r} is of kind {scheme!r}, wanted {' or '.join(schemes)}; give "
            f"schemes=({scheme!r},) if you trust the way to it. {where()}"
        )


class _SameSchemes(urllib.request.HTTPRedirectHandler):
    """Follows a server elsewhere only by the kinds of URL that are accepted, and never to files."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self.schemes = tuple(scheme for scheme in schemes if scheme != "file")

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        _check_scheme(newurl, self.schemes)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Let one process at a time write a file; the others wait and then find it there."""
    try:
        import fcntl
    except ImportError:  # Windows: two downloads at once are then caught by the SHA-256
        yield
        return
    lock = part.with_name(part.name + ".lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _told(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__
