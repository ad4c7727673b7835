"""``thalweg serve MODEL``: a socket, the server around it, and its graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib
import importlib.util
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from thalweg.app.cli.reporting import WRONG, fail, say
from thalweg.app.serve.app import Application
from thalweg.app.serve.batching import Batcher
from thalweg.app.serve.limits import Limits
from thalweg.app.serve.metrics import Metrics
from thalweg.app.serve.predictor import Predictor
from thalweg.app.serve.readers.choice import reader_of
from thalweg.errors import ArgumentError, where

__all__ = ["Service", "open_socket", "serve"]

_BACKLOG: Final = 2048  # connections that the system holds until they are accepted
_LINGER: Final = 0.5  # seconds that open connections get, when stopping, to hear that it is so
_TICK: Final = 0.05  # seconds between looks at whether all is answered
_SWEEP: Final = 20  # ticks between looks for connections that ask nothing
_SWITCH: Final = 0.0005  # seconds; at Python's 5 ms a ready batch would wait longer than it runs
_FILES: Final = 65_536  # open connections to allow, where the system does
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


def serve(
    model: Path, host: str, port: int, token: str | None, batch_size: int, wait: float,
    max_body: int, timeout: float,
) -> int:  # fmt: skip
    """Serve a run folder, or a model of digits, until SIGTERM or Ctrl-C; return the exit code.

    The port is taken first, then the network is loaded and compiled for all batch sizes, and only
    then is a request accepted. ``wait``: milliseconds, see ``Limits``. Exit code 0 after a graceful
    stop, 2 if the port cannot be had.

    Raises:
        ThalwegError: the model cannot be used, a limit lets nothing through, or uvicorn is missing.
    """
    limits = Limits(batch_size=batch_size, wait=wait, max_body=max_body, timeout=timeout)
    _check_token(token)
    _check_installed()
    try:
        listening = open_socket(host, port)
    except OSError as error:
        fail(_told_of_socket(error, host, port))
        return WRONG
    try:
        _use_some_threads()
        _allow_files()
        sys.setswitchinterval(_SWITCH)
        service = Service(model, limits, token)
        gc.collect()
        gc.freeze()  # what lives as long as the server need not be looked through again
        say(f"serving {service.application.name} at {_address(listening)} (Ctrl-C stops)")
        if host not in _LOOPBACK and token is None:
            say("note    everybody who reaches this address can ask; --token keeps others out")
        with _loop_runner() as runner:
            runner.run(service.run(listening))
    finally:
        listening.close()
    say(f"stopped; {service.answered:,} requests were answered")
    return 0


class Service:
    """A server of one model: made ready to answer, then run in an event loop.

    ``application``: the ASGI application. ``stop`` may be called from the loop's thread at any
    time; ``run`` then ends when every accepted request is answered.

    Raises:
        ThalwegError: the model cannot be used.
    """

    def __init__(self, model: Path, limits: Limits, token: str | None = None) -> None:
        from thalweg import __version__

        self.limits, self.metrics = limits, Metrics()
        reader = reader_of(model)
        predictor = Predictor(reader, limits.sizes)
        predictor.warm()
        self.batcher = Batcher(predictor, limits, self.metrics, self._open)
        name = (model if model.is_dir() else model.resolve().parent).resolve().name
        self.application = Application(
            name, __version__, reader, self.batcher, limits, self.metrics, token
        )
        self.metrics.gauge("thalweg_connections", "Open connections.", self._open)
        self._server: Any = None
        self._stopped = 0.0
        self._seen: dict[int, tuple[Any, float]] = {}

    @property
    def answered(self) -> int:
        """How many requests were answered."""
        return sum(self.metrics.requests.values())

    async def run(self, listening: socket.socket, *, signals: bool = True) -> None:
        """Answer requests until ``stop`` is called, or a signal says so."""
        import uvicorn

        config = uvicorn.Config(
            self.application, lifespan="off", ws="none", access_log=False, log_config=None,
            log_level="critical", server_header=False, backlog=_BACKLOG,
            timeout_keep_alive=max(1, int(self.limits.idle)),
            http="httptools" if importlib.util.find_spec("httptools") else "h11",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        # uvicorn would stop at once, and end the process by the signal instead of with exit code 0.
        self._server.capture_signals = contextlib.nullcontext
        loop = asyncio.get_running_loop()
        restore = _on_signals(loop, self.stop) if signals else None
        self.batcher.start()
        watcher = asyncio.create_task(self._watch())
        try:
            await self._server.serve(sockets=[listening])
        finally:
            watcher.cancel()
            if restore is not None:
                restore()
            self.batcher.stop()

    def stop(self) -> None:
        """Refuse new requests, answer the accepted ones, then end; a second time, end at once."""
        if self.application.stopping and self._server is not None:
            self._server.should_exit = self._server.force_exit = True
        self.application.stopping = True
        self._stopped = time.monotonic()

    def _open(self) -> int:
        return 0 if self._server is None else len(self._server.server_state.connections)

    async def _watch(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(_TICK)
            ticks += 1
            if self.application.stopping and not self.metrics.in_flight:
                # Whoever keeps a connection open still hears of the stop on its next request.
                if not self._open() or time.monotonic() > self._stopped + _LINGER:
                    self._server.should_exit = True
            elif ticks % _SWEEP == 0:
                self._sweep()

    def _sweep(self) -> None:
        """Close connections that send no request, or its head too slowly.

        uvicorn does so between two requests only; a thousand such connections would use up the
        files that the process may open.
        """
        now, seen = time.monotonic(), {}
        for connection in list(self._server.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                continue
            known, since = self._seen.get(id(connection), (None, now))
            since = since if known is cycle else now
            if now - since > self.limits.idle:
                connection.transport.close()
            else:
                seen[id(connection)] = (cycle, since)
        self._seen = seen


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has a port, but does not listen yet.

    Raises:
        OSError: there is no such host, or the port is in use or not allowed.

    >>> with open_socket("127.0.0.1", 0) as made:
    ...     made.getsockname()[0]
    '127.0.0.1'
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        # A bound port that nobody listens to can be bound again; listening keeps others out.
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    made.setblocking(False)
    return made


def _told_of_socket(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what uses it, or give another (--port)"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} may not be opened by this user; give one above 1023 (--port)"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {host!r}; give 127.0.0.1, or 0.0.0.0 for all (--host)"
    return f"port {port} of {host} cannot be opened: {error.strerror or error}"


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_token(token: str | None) -> None:
    if token is not None and (not token.strip() or not token.isascii() or not token.isprintable()):
        raise ArgumentError(
            f"the token is empty or has signs that no header can hold; wanted printable ASCII "
            f"without spaces around it. {where()}"
        )


def _check_installed() -> None:
    if importlib.util.find_spec("uvicorn") is None:
        raise ArgumentError(
            f"serving needs uvicorn, which is not installed: pip install 'thalweg[serve]'. "
            f"{where()}"
        )


def _use_some_threads() -> None:
    """Leave half of the cores to the event loop and to others, if the user did not say how many."""
    from thalweg.settings import settings

    if not settings.threads:
        settings.threads = max(1, settings.team_size() // 2)


def _allow_files() -> None:
    """Let the process open as many connections as the system allows."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        if wanted > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_runner() -> asyncio.Runner:
    """Return what runs an event loop: uvloop's where it is installed, which is faster."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop)


def _on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Callable[[], None]:
    """Call ``stop`` on SIGTERM and SIGINT; return what gives the signals back."""
    both = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(one) for one in both]

    def restore() -> None:
        for one, handler in zip(both, before, strict=True):
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(one)
            signal.signal(one, handler)

    for one in both:
        try:
            loop.add_signal_handler(one, stop)
        except NotImplementedError:  # Windows
            signal.signal(one, lambda *_: loop.call_soon_threadsafe(stop))
    return restore
