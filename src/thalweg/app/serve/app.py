"""The ASGI application: paths, methods, token, bodies; errors as JSON for people."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from thalweg.app.serve.batching import Batcher
from thalweg.app.serve.bodies import dump, parse_json, split_parts
from thalweg.app.serve.limits import Limits, Refusal
from thalweg.app.serve.metrics import Metrics
from thalweg.app.serve.openapi import document
from thalweg.app.serve.page import PAGE, POLICY
from thalweg.app.serve.readers.reader import Reader, shown

__all__ = ["Application"]

Headers = tuple[tuple[bytes, bytes], ...]
Answer = tuple[int, bytes, bytes, Headers]  # status, body, media type, further headers
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_JSON: Final = b"application/json"
_HTML: Final = b"text/html; charset=utf-8"
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
_CLOSE: Final = ((b"connection", b"close"),)
_POURED: Final = 4  # times the largest body that is taken and thrown away
_POURING: Final = 2.0  # seconds
_NO_SNIFF: Final = (b"x-content-type-options", b"nosniff")
_PAGE_HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()), (b"referrer-policy", b"no-referrer"),
)  # fmt: skip


class Application:
    """Answers requests; a plain ASGI 3 application, without a framework on the way.

    ``token``: what ``Authorization: Bearer`` must hold for predictions, metrics and the document,
    or None. ``stopping``: set it, and every new request is refused with 503.

    https://asgi.readthedocs.io/en/latest/specs/www.html
    """

    def __init__(
        self, name: str, version: str, reader: Reader, batcher: Batcher, limits: Limits,
        metrics: Metrics, token: str | None = None,
    ) -> None:  # fmt: skip
        self.name, self.reader, self.batcher = name, reader, batcher
        self.limits, self.metrics = limits, metrics
        self.stopping = False
        self._token = None if token is None else token.encode()
        self._document = dump(document(name, version, reader, limits, token is not None))
        self._gets: dict[str, Callable[[], Answer]] = {
            "/": lambda: (200, PAGE, _HTML, _PAGE_HEADERS),
            "/health": self._health,
            "/metrics": lambda: (200, metrics.text().encode(), _TEXT, ()),
            "/openapi.json": lambda: (200, self._document, _JSON, ()),
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        path = scope["path"]
        known = path == "/predict" or path in self._gets
        self.metrics.in_flight += 1
        try:
            status, body, kind, headers = await self._answer(scope, path, receive)
        except Refusal as refusal:
            status, kind, headers = refusal.status, _JSON, refusal.headers
            body = dump({"error": refusal.message})
        except Exception as error:
            # Whatever it is, the client gets JSON, and the log one line.
            print(f"error: {path}: {type(error).__name__}: {error}", file=sys.stderr)
            status, kind, headers = 500, _JSON, ()
            body = dump({"error": "the server failed on this request, and its log says how"})
        finally:
            self.metrics.in_flight -= 1
        self.metrics.answered(path if known else "other", status, time.perf_counter() - began)
        told = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), _NO_SNIFF]
        await send({"type": "http.response.start", "status": status, "headers": [*told, *headers]})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: dict[str, Any], path: str, receive: Receive) -> Answer:
        method = scope["method"]
        if self.stopping:
            if path == "/health" and method in ("GET", "HEAD"):
                return self._health()
            raise Refusal(503, "the server is stopping; ask another one", _CLOSE)
        if path == "/predict":
            if method != "POST":
                raise _wrong_method(method, path, "POST")
            return 200, await self._predict(scope["headers"], receive), _JSON, ()
        if path not in self._gets:
            paths = ", ".join(("/predict", *self._gets))
            raise Refusal(404, f"there is nothing at {path[:100]!r}; there is {paths}")
        if method not in ("GET", "HEAD"):
            raise _wrong_method(method, path, "GET, HEAD")
        if path not in ("/", "/health"):
            self._check_token(dict(scope["headers"]).get(b"authorization"))
        return self._gets[path]()

    async def _predict(self, headers: list[tuple[bytes, bytes]], receive: Receive) -> bytes:
        kind, length, given, coding = _JSON, b"", None, b""
        for name, value in headers:
            if name == b"content-type":
                kind = value
            elif name == b"content-length":
                length = value
            elif name == b"authorization":
                given = value
            elif name == b"content-encoding":
                coding = value
        self._check_token(given)
        if coding not in (b"", b"identity"):
            raise Refusal(415, "the body is compressed; send it as it is")
        if length and int(length) > self.limits.max_body:
            await self._pour_away(receive)
            raise self._too_large(f"{int(length):,}")
        arrived = False
        try:
            async with asyncio.timeout(self.limits.timeout):
                body = await self._body(receive)
                arrived = True
                return await self.batcher.submit(self._samples(kind, body))
        except TimeoutError:
            seconds = f"{self.limits.timeout:g} s"
            if arrived:
                raise Refusal(504, f"no answer was ready in {seconds}; send fewer samples, or try "
                              "again later") from None  # fmt: skip
            raise Refusal(408, f"the body did not arrive in {seconds}", _CLOSE) from None

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        if not message.get("more_body"):
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the client went away before its body arrived", _CLOSE)
            whole = message["body"]
            if len(whole) > self.limits.max_body:
                raise self._too_large(f"{len(whole):,}")
            return bytes(whole)
        parts, size = [message["body"]], len(message["body"])
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the client went away before its body arrived", _CLOSE)
            size += len(message["body"])
            if size > self.limits.max_body:
                await self._pour_away(receive, message)
                raise self._too_large(f"more than {self.limits.max_body:,}")
            parts.append(message["body"])
        return b"".join(parts)

    async def _pour_away(self, receive: Receive, message: Any = None) -> None:
        """Take the rest of a body that is too large, for a while.

        A connection that is closed while its client still sends is reset, and the answer that says
        why is lost with it.
        """
        left = _POURED * self.limits.max_body
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POURING):
                while left > 0 and (message is None or message.get("more_body")):
                    message = await receive()
                    left -= len(message.get("body", b""))

    def _samples(self, kind: bytes, body: bytes) -> list[Any]:
        """Return the checked samples of a body."""
        media = kind.partition(b";")[0].strip().lower()
        reader = self.reader
        if media == _JSON or media.endswith(b"+json"):
            truths = b"true" in body or b"false" in body
            return self._of_json(parse_json(body), truths)
        told = media.decode("latin-1")
        if reader.files and media == b"multipart/form-data":
            files = split_parts(kind.decode("latin-1"), body)
            self._check_count(len(files))
        elif told in reader.files:
            files = [body]
        else:
            others = "".join(f", {name}" for name in reader.files)
            more = ", multipart/form-data" if reader.files else ""
            raise Refusal(
                415, f"the body is of type {told[:100]!r}; wanted application/json{others}{more}"
            )
        if not all(files) and "text/plain" not in reader.files:
            raise Refusal(422, "the file is empty, it has no bytes")
        return [reader.open(raw) for raw in files]

    def _of_json(self, value: Any, truths: bool) -> list[Any]:
        reader = self.reader
        many, one = reader.many, reader.one
        if not isinstance(value, dict):
            raise Refusal(
                422, f'the body is {shown(value)}; wanted an object, {{"{many}": [...]}}'
            )
        if len(value) != 1 or not (many in value or (one and one in value)):
            keys = ", ".join(repr(str(key)[:40]) for key in list(value)[:5]) or "none"
            other = f', or "{one}" for one' * bool(one)
            raise Refusal(
                422, f'the body has the keys {keys}; wanted one key, "{many}" for a list{other}'
            )
        if one in value:
            return [reader.parse(value[one], 0, truths)]
        samples = value[many]
        if not isinstance(samples, list) or not samples:
            raise Refusal(422, f"{many}: got {shown(samples)}, wanted a list of one or more")
        self._check_count(len(samples))
        made = [reader.parse(sample, i, truths) for i, sample in enumerate(samples)]
        return [made] if reader.whole else made

    def _check_count(self, samples: int) -> None:
        if samples > self.limits.rows:
            raise Refusal(
                413, f"the request has {samples:,} samples; wanted at most {self.limits.rows:,}: "
                "send several requests"
            )  # fmt: skip

    def _check_token(self, given: bytes | None) -> None:
        if self._token is None:
            return
        scheme, _, token = (given or b"").partition(b" ")
        right = hmac.compare_digest(token.strip(), self._token)
        if scheme.lower() != b"bearer" or not right:
            what = "no token was given" if given is None else "the token is wrong"
            raise Refusal(
                401, f"{what}; send the header Authorization: Bearer TOKEN",
                ((b"www-authenticate", b'Bearer realm="thalweg"'),),
            )  # fmt: skip

    def _too_large(self, size: str) -> Refusal:
        return Refusal(
            413, f"the body has {size} bytes; wanted at most {self.limits.max_body:,}: send "
            "several requests, or a smaller file", _CLOSE,
        )  # fmt: skip

    def _health(self) -> Answer:
        status = "stopping" if self.stopping else "ok"
        body = dump({"status": status, "model": self.name})
        return (503, body, _JSON, _CLOSE) if self.stopping else (200, body, _JSON, ())


def _wrong_method(method: str, path: str, allowed: str) -> Refusal:
    return Refusal(
        405, f"{path} does not take {method[:20]}, but {allowed}", ((b"allow", allowed.encode()),)
    )
