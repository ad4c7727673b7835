"""Load on a running server: requests a second, latency, errors, by raw sockets kept alive.

    thalweg serve runs/digits --port 8000 &
    python benchmarks/serve_load.py --port 8000 --seconds 5
    python benchmarks/serve_load.py --port 8000 --seconds 5 --rate 2500   # half load

Without ``--rate`` each connection asks again as soon as it is answered (a closed loop); with it,
requests are due at even times whatever the server does, and latency counts from when one was due,
so that a server that stalls cannot hide it. The body is the first example of the server's own
OpenAPI document, or that of ``--body``. Only the standard library is used; each process waits by
epoll on its share of the connections.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Tally:
    """What one process saw: seconds of each answered request, and counts by status or fault."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


class Connection:
    """One kept-alive connection with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.got = b""
        self.due = 0.0

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was due at a time."""
        self.got, self.due = b"", due
        sent = self.socket.send(request)
        while sent < len(request):  # a full buffer: rare, as there is one request at a time
            time.sleep(0.0002)
            sent += self.socket.send(request[sent:])

    def read(self) -> str | None:
        """Return the status of a whole answer, None while it is not whole.

        Raises:
            ConnectionError: the server closed the connection.
        """
        part = self.socket.recv(65_536)
        if not part:
            raise ConnectionError("closed by the server")
        self.got += part
        head, gap, body = self.got.partition(b"\r\n\r\n")
        if not gap:
            return None
        low = head.lower()
        start = low.index(b"content-length:") + 15
        end = low.find(b"\r\n", start)
        length = int(low[start : end if end > 0 else None])
        return head[9:12].decode() if len(body) >= length else None


def load(
    host: str, port: int, request: bytes, connections: int, seconds: float, rate: float,
    results: Any,
) -> None:  # fmt: skip
    """Ask for some seconds, and put a Tally into the queue ``results``."""
    tally, idle = Tally(), []
    chooser = selectors.SelectSelector()
    for _ in range(connections):
        made = Connection(host, port)
        chooser.register(made.socket, selectors.EVENT_READ, made)
        idle.append(made)
    began = time.perf_counter()
    end, due = began + seconds, began
    asked = 0
    while True:
        now = time.perf_counter()
        while idle and now < end and due <= now:
            idle.pop().ask(request, due if rate else now)
            asked += 1
            due = began + asked / rate if rate else now
        answered = asked <= sum(tally.statuses.values())
        if not chooser.get_map() or (now >= end and (answered or now > end + 10)):
            break
        pause = max(0.0, due - now) if rate and idle and now < end else 0.05
        for key, _ in chooser.select(pause):
            one: Connection = key.data
            try:
                status = one.read()
            except OSError as error:
                tally.statuses[type(error).__name__] += 1
                chooser.unregister(one.socket)
                one.socket.close()
                continue
            if status is not None:
                tally.statuses[status] += 1
                tally.seconds.append(time.perf_counter() - one.due)
                if b"connection: close" in one.got.lower():  # a stopping server says so
                    chooser.unregister(one.socket)
                    one.socket.close()
                else:
                    idle.append(one)
    results.put((tally.seconds, dict(tally.statuses), time.perf_counter() - began, asked))


def example(host: str, port: int, token: str) -> bytes:
    """Return the body of one sample from the server's own document."""
    client = http.client.HTTPConnection(host, port, timeout=10)
    client.request("GET", "/openapi.json", headers=_headers(token))
    told = json.loads(client.getresponse().read())
    content = told["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    made = content["examples"].get("one", content["examples"]["several"])["value"]
    return json.dumps(made, separators=(",", ":")).encode()


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def main() -> None:
    """Load a server as the flags say, and print what came of it."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8000)
    flags.add_argument("--seconds", type=float, default=3.0)
    flags.add_argument("--connections", type=int, default=32)
    flags.add_argument("--processes", type=int, default=1)
    flags.add_argument("--rate", type=float, default=0.0, help="requests a second; 0 for all")
    flags.add_argument("--token", default="")
    flags.add_argument("--body", type=Path, help="a file with the JSON to send")
    flags.add_argument("--json", action="store_true")
    given = flags.parse_args()
    body = given.body.read_bytes() if given.body else example(given.host, given.port, given.token)
    lines = ["POST /predict HTTP/1.1", f"Host: {given.host}", "Content-Type: application/json",
             f"Content-Length: {len(body)}"]  # fmt: skip
    lines += [f"{name}: {value}" for name, value in _headers(given.token).items()]
    request = "\r\n".join([*lines, "", ""]).encode() + body
    results: Any = multiprocessing.Queue()
    share = max(1, given.connections // given.processes)
    workers = [
        multiprocessing.Process(
            target=load, args=(given.host, given.port, request, share, given.seconds,
                               given.rate / given.processes, results),
        ) for _ in range(given.processes)
    ]  # fmt: skip
    for worker in workers:
        worker.start()
    parts = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    seconds = sorted(s for part in parts for s in part[0])
    statuses = sum((Counter(part[1]) for part in parts), Counter())
    asked = sum(part[3] for part in parts)
    told = {
        "requests_per_second": round(len(seconds) / max(part[2] for part in parts), 1),
        "median_ms": _quantile(seconds, 0.5), "p99_ms": _quantile(seconds, 0.99),
        "longest_ms": _quantile(seconds, 1.0), "asked": asked, "statuses": dict(statuses),
        "unanswered": asked - sum(statuses.values()), "body_bytes": len(body),
    }  # fmt: skip
    if given.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name.replace('_', ' '):<20} {value}")


def _quantile(values: list[float], share: float) -> float | None:
    """Return a quantile of sorted seconds, in milliseconds."""
    if not values:
        return None
    return round(1e3 * values[min(len(values) - 1, int(share * len(values)))], 3)


if __name__ == "__main__":
    main()
