"""Bodies of requests: JSON and files out of bytes, and answers into bytes."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Callable
from typing import Any, Final

from thalweg.app.serve.limits import Refusal

__all__ = ["dump", "parse_json", "split_parts"]

_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)

_FILE: Final = re.compile(rb"content-disposition:[^\r\n]*(\bfilename\*?=|\bname=\"?file\b)", re.I)


def _codec() -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    """Return what reads and writes JSON: orjson where it is installed, which is faster."""
    if importlib.util.find_spec("orjson") is not None:
        quick: Any = importlib.import_module("orjson")
        return quick.loads, quick.dumps

    def no_constant(word: str) -> Any:
        raise ValueError(f"{word} is no JSON; use null")

    def loads(body: bytes) -> Any:
        return json.loads(body.decode("utf-8"), parse_constant=no_constant)

    def dumps(value: Any) -> bytes:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()

    return loads, dumps


_loads, dump = _codec()


def parse_json(body: bytes) -> Any:
    """Return what a body says in JSON.

    Raises:
        Refusal: 400, it is no JSON; says where.

    >>> parse_json(b'{"texts": ["a"]}')
    {'texts': ['a']}
    """
    try:
        return _loads(body)
    except RecursionError:
        raise Refusal(400, "the body is JSON nested too deeply; send it flat") from None
    except ValueError as error:
        got = f"the body cannot be read as JSON: {error}" if body else "the body is empty"
        raise Refusal(400, f"{got}; wanted a JSON object, see /openapi.json") from None


def split_parts(content_type: str, body: bytes) -> list[bytes]:
    r"""Return the files of a multipart/form-data body.

    RFC 7578: the parts that have a file name, or the name ``file``; other fields are passed over.

    Raises:
        Refusal: 400, it is no such body, or has no file.

    >>> body = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n'
    >>> split_parts("multipart/form-data; boundary=x", body)
    [b'abc']
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Refusal(
            400, "the content type multipart/form-data names no boundary; most clients write it "
            "themselves if you do not set the header"
        )  # fmt: skip
    mark = b"--" + (found[1] or found[2]).encode("latin-1")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    files = []
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            break
        head, gap, content = piece.partition(b"\r\n\r\n")
        if gap and _FILE.search(head):
            files.append(content)
    if not files:
        raise Refusal(
            400, "the body has no file between its boundaries; send one as curl -F file=@NAME does"
        )  # fmt: skip
    return files
