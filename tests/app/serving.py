"""A server in a thread, and ways to ask it: what the tests of ``serve`` share."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.app.cli.digits_network import make_network
from thalweg.app.cli.train_digits import PREPROCESSING
from thalweg.app.serve.limits import Limits
from thalweg.app.serve.run import Service, open_socket
from thalweg.formats import save
from thalweg.settings import settings
from thalweg.tasks import Settings, train

WAIT = 20  # seconds after which a test gives up
SMALL = Limits(batch_size=4, wait=1, max_body=200_000, timeout=10, rows=20)
ROW = {"size": 7.5, "colour": "red", "bought": "03.04.2024", "shop": 2}
PIXELS = [[(7 * x * y) % 256 for x in range(28)] for y in range(28)]


class Running:
    """A service in a thread of its own, and ways to ask it."""

    def __init__(self, model: Path, limits: Limits = SMALL, token: str | None = None) -> None:
        self.service = Service(model, limits, token)
        listening = open_socket("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.loop: asyncio.AbstractEventLoop | None = None
        ready = threading.Event()

        async def run() -> None:
            self.loop = asyncio.get_running_loop()
            ready.set()
            await self.service.run(listening, signals=False)

        self.thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        self.thread.start()
        assert ready.wait(WAIT)

    def stop(self) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.service.stop)

    def join(self) -> None:
        self.thread.join(WAIT)
        assert not self.thread.is_alive()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Return status, body (JSON if it is) and headers of an answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        client.request(method, path, body, headers or {})
        answer = client.getresponse()
        raw, told = answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        client.close()
        is_json = told.get("content-type") == "application/json"
        return answer.status, json.loads(raw) if is_json and raw else raw, told

    def refused(self, status: int, body: Any, **headers: str) -> str:
        """Return the error of a request that must be refused with a status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        got, told, _ = self.ask("POST", "/predict", body, named)
        assert got == status, told
        assert set(told) == {"error"}
        for leak in ("Traceback", ".py", str(Path.home()), "/tmp"):
            assert leak not in told["error"]
        return str(told["error"])


@contextlib.contextmanager
def running(*given: Any, **named: Any) -> Iterator[Running]:
    made = Running(*given, **named)
    try:
        yield made
    finally:
        made.stop()
        made.join()


class Held:
    """Holds a service's network back until it is let go."""

    def __init__(self, service: Service) -> None:
        self.go, self.asked = threading.Event(), threading.Event()
        inner = service.batcher.predictor

        def slow(samples: Any) -> list[Any]:
            self.asked.set()
            assert self.go.wait(WAIT)
            return inner(samples)

        slow.reader = inner.reader  # type: ignore[attr-defined]
        service.batcher.predictor = slow  # type: ignore[assignment]


def in_thread(made: Running, results: list[Any], body: Any = None) -> threading.Thread:
    thread = threading.Thread(
        target=lambda: results.append(made.ask("POST", "/predict", body or {"row": ROW}))
    )
    thread.start()
    return thread


def until(holds: Any) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def make_digits(place: Path) -> Path:
    """Return a file with a small network of digits, not trained."""
    place.mkdir()
    return save(make_network("8", 0.0, seed=3), place / "model.safetensors", classes=range(10),
                preprocessing=PREPROCESSING)  # fmt: skip


def make_table(place: Path) -> Path:
    """Return the run folder of a small table with a column of each kind."""
    random = np.random.default_rng(0)
    lines = ["size,colour,bought,shop,kind"]
    for i in range(120):
        size = random.uniform(1, 9)
        colour = random.choice(["red", "blue", ""])
        lines.append(f"{size:.3f},{colour},{1 + i % 28:02}.{1 + i % 12:02}.2024,{i % 3},"
                     f"{'large' if size > 5 else 'small'}")  # fmt: skip
    (place / "things.csv").write_text("\n".join(lines) + "\n")
    chosen = Settings(target=("kind",), epochs=3, hidden=(8,), members=2, categories=("shop",))
    train(place / "things.csv", chosen, place / "run")
    return place / "run"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Leave the other core to whoever asks."""
    before = settings.threads
    settings.threads = 1
    try:
        yield
    finally:
        settings.threads = before
