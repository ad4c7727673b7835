"""The server at work: batches, limits of time and number, and a stop that loses nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="serving needs the extra 'serve'")

from tests.app.serving import (
    PIXELS,
    ROW,
    WAIT,
    Held,
    Running,
    in_thread,
    make_digits,
    make_table,
    one_thread,
    running,
    until,
)

from thalweg.app.serve.limits import Limits
from thalweg.app.serve.run import _allow_files, open_socket, serve
from thalweg.errors import ThalwegError


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_digits(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_table(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def shop(table: Path) -> Iterator[Running]:
    with running(table) as made:
        yield made


def connection(made: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", made.port), timeout=WAIT)


def test_a_full_queue_refuses_and_says_when_to_come_again(table: Path) -> None:
    with running(table, Limits(batch_size=2, queue=2)) as made:
        held, results = Held(made.service), []  # type: ignore[var-annotated]
        first = in_thread(made, results)
        assert held.asked.wait(WAIT)
        waiting = [in_thread(made, results) for _ in range(2)]
        until(lambda: made.service.batcher.queued == 2)
        status, told, headers = made.ask("POST", "/predict", {"row": ROW})
        assert (status, headers["retry-after"]) == (503, "1")
        assert "queue is full" in told["error"]
        held.go.set()
        for one in (first, *waiting):
            one.join(WAIT)
        assert [status for status, _, _ in results] == [200] * 3


def test_an_answer_that_is_not_ready_in_time_is_a_504_and_is_not_run(table: Path) -> None:
    with running(table, Limits(timeout=0.3, batch_size=1)) as made:
        held, results = Held(made.service), []  # type: ignore[var-annotated]
        threads = [in_thread(made, results)]
        assert held.asked.wait(WAIT)
        threads.append(in_thread(made, results))
        for one in threads:
            one.join(WAIT)
        assert [status for status, _, _ in results] == [504, 504]
        assert "0.3 s" in results[0][1]["error"]
        held.go.set()
        assert made.ask("POST", "/predict", {"row": ROW})[0] == 200
        counts = made.service.metrics.batches
        assert sum(counts.counts) == 2  # the one whose time was over while it waited never ran


def test_a_body_that_does_not_arrive_is_a_408_and_blocks_nobody(table: Path) -> None:
    with running(table, Limits(timeout=0.4, batch_size=1)) as made, connection(made) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{")
        assert made.ask("POST", "/predict", {"row": ROW})[0] == 200
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_connection_that_asks_nothing_is_closed(table: Path) -> None:
    with running(table, Limits(idle=0.2, batch_size=1)) as made, connection(made) as idle:
        idle.sendall(b"GET /health HT")
        assert idle.recv(100) == b""


def test_a_thousand_open_connections_block_nobody(shop: Running) -> None:
    _allow_files()  # both ends of each are in this process
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 1000 if soft > 2400 else (soft - 400) // 2
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(connection(shop))
            one.sendall(b"POST /predict HTTP/1.1\r\n")
        assert shop.ask("POST", "/predict", {"row": ROW})[0] == 200
        text = shop.ask("GET", "/metrics")[1].decode()
        assert float(next(line.split()[1] for line in text.splitlines()
                          if line.startswith("thalweg_connections "))) >= count  # fmt: skip


def test_a_fault_of_the_server_is_told_without_its_insides(table: Path, capfd: Any) -> None:
    with running(table) as made:
        inner = made.service.batcher.predictor

        def broken(samples: Any) -> Any:
            raise RuntimeError("/secret/path went wrong")

        broken.reader = inner.reader  # type: ignore[attr-defined]
        made.service.batcher.predictor = broken  # type: ignore[assignment]
        assert "secret" not in made.refused(500, {"row": ROW})
        made.service.batcher.predictor = inner
        assert made.ask("POST", "/predict", {"row": ROW})[0] == 200
    assert "RuntimeError: /secret/path" in capfd.readouterr().err


# --- batches and metrics ------------------------------------------------------------------


def test_requests_that_wait_together_run_together(table: Path) -> None:
    with running(table, Limits(batch_size=8)) as made:
        held, results = Held(made.service), []  # type: ignore[var-annotated]
        threads = [in_thread(made, results)]
        assert held.asked.wait(WAIT)
        threads += [in_thread(made, results) for _ in range(8)]
        until(lambda: made.service.batcher.queued == 8)
        held.go.set()
        for one in threads:
            one.join(WAIT)
        counts = made.service.metrics.batches
        assert (sum(counts.counts), counts.total) == (2, 9)


def test_nothing_is_compiled_while_serving(digits: Path, caplog: Any) -> None:
    with running(digits) as made:
        caplog.set_level("DEBUG", "thalweg.compile")
        for count in (1, 2, 3, 4, 5, 20):
            assert made.ask("POST", "/predict", {"images": [PIXELS] * count})[0] == 200
    assert not caplog.records
    programs = made.service.batcher.predictor._programs
    assert [len(p._traces) for p in programs.values()] == [1, 1, 1]


def test_metrics_count_what_was_asked(table: Path) -> None:
    with running(table) as made:
        made.ask("POST", "/predict", {"rows": [ROW] * 3})
        made.ask("POST", "/predict", b"{")
        made.ask("GET", "/a/path/of/nobody")
        status, raw, headers = made.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = raw.decode().splitlines()
    for line in (
        'thalweg_requests_total{path="/predict",status="200"} 1',
        'thalweg_requests_total{path="/predict",status="400"} 1',
        'thalweg_requests_total{path="other",status="404"} 1',
        "thalweg_predict_seconds_count 2", 'thalweg_batch_rows_bucket{le="2"} 0',
        'thalweg_batch_rows_bucket{le="4"} 1', "thalweg_queue_rows 0", "thalweg_in_flight 1",
    ):  # fmt: skip
        assert line in lines
    assert all(line.startswith("#") or len(line.split()) == 2 for line in lines)


# --- start and stop -----------------------------------------------------------------------


def test_a_stop_answers_what_was_accepted_and_refuses_what_is_new(table: Path) -> None:
    made = Running(table)
    held, results = Held(made.service), []  # type: ignore[var-annotated]
    threads = [in_thread(made, results) for _ in range(5)]
    assert held.asked.wait(WAIT)
    until(lambda: made.service.metrics.in_flight == 5)
    kept = http.client.HTTPConnection("127.0.0.1", made.port, timeout=WAIT)
    kept.request("GET", "/health")
    assert json.loads(kept.getresponse().read())["status"] == "ok"
    made.stop()
    until(lambda: made.service.application.stopping)
    kept.request("GET", "/health")
    answer = kept.getresponse()
    assert (answer.status, answer.getheader("connection")) == (503, "close")
    assert json.loads(answer.read())["status"] == "stopping"
    time.sleep(0.8)  # longer than connections linger: as long as a request is open, so is the port
    assert "stopping" in made.refused(503, {"row": ROW})
    assert made.thread.is_alive()
    held.go.set()
    made.join()
    for one in threads:
        one.join(WAIT)
    assert [status for status, _, _ in results] == [200] * 5


SERVE = """
import sys
from pathlib import Path
from thalweg.app.serve import serve
sys.exit(serve(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), None, 8, 1.0, 100000, 10.0))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request_and_ends_with_0(digits: Path, one: int) -> None:
    with open_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(digits.parent), str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert f"at http://127.0.0.1:{port}" in process.stdout.readline()
        statuses: list[list[int]] = [[] for _ in range(6)]

        def ask(own: list[int]) -> None:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
            body = json.dumps({"image": PIXELS})
            while 503 not in own:
                client.request("POST", "/predict", body)
                answer = client.getresponse()  # raises if the connection ends without an answer
                answer.read()
                own.append(answer.status)

        threads = [threading.Thread(target=ask, args=(own,)) for own in statuses]
        for thread in threads:
            thread.start()
        until(lambda: all(len(own) > 3 for own in statuses))
        process.send_signal(one)
        for thread in threads:
            thread.join(WAIT)
        out, error = process.communicate(timeout=WAIT)
        assert (process.returncode, error) == (0, "")
        assert "stopped" in out
        assert all(set(own[:-1]) == {200} and own[-1] == 503 for own in statuses)
    finally:
        process.kill()
        process.wait()


def call(model: Path, host: str = "127.0.0.1", port: int = 0, **more: Any) -> int:
    given: dict[str, Any] = {
        "token": None, "batch_size": 4, "wait": 1.0, "max_body": 1000, "timeout": 5.0
    } | more
    return serve(model, host, port, **given)


def test_a_port_in_use_is_one_line_and_code_2(digits: Path, capsys: Any) -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert call(digits, port=port) == 2
    error = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 is in use" in error
    assert error.count("\n") == 1


def test_a_host_that_is_not_here_is_one_line_and_code_2(digits: Path, capsys: Any) -> None:
    assert call(digits, host="203.0.113.7") == 2
    assert "no address '203.0.113.7'" in capsys.readouterr().err


def test_models_and_settings_that_cannot_be_served(digits: Path, tmp_path: Path) -> None:
    for model, more, words in (
        (tmp_path / "none", {}, "does not exist"), (tmp_path, {}, "model.safetensors"),
        (digits, {"batch_size": 0}, "batch_size=0"), (digits, {"timeout": 0.0}, "timeout=0"),
        (digits, {"wait": -1.0}, "wait=-1"), (digits, {"max_body": 0}, "max_body=0"),
        (digits, {"token": ""}, "token"), (digits, {"token": "a\nb"}, "token"),
    ):  # fmt: skip
        with pytest.raises(ThalwegError) as fault:
            call(model, **more)
        assert words in str(fault.value)
