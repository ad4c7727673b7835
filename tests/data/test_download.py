"""Downloads against a server on this machine: resumed, checked, limited, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from thalweg.data.download import download
from thalweg.errors import DataError

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HTTP = ("http",)


class Server:
    """What the server on this machine does, and what it was asked for."""

    def __init__(self) -> None:
        self.content, self.break_after, self.ranges = CONTENT, [], True
        self.asked: list[str | None] = []
        self.redirect: str | None = None
        self.status: list[int] = []
        self.url = ""


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.asked.append(asked)
            if server.redirect:
                self.send_response(302)
                self.send_header("Location", server.redirect)
                self.end_headers()
                return
            if server.status:
                self.send_error(server.status.pop(0))
                return
            start = int(asked.split("=")[1].rstrip("-")) if asked and server.ranges else 0
            if start >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            body = server.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: server.break_after.pop(0)] if server.break_after else body)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    made = Server()
    real = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    made.url = f"http://127.0.0.1:{real.server_port}/file.bin"
    thread = threading.Thread(target=real.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    real.shutdown()
    thread.join()
    real.server_close()


def test_a_file_arrives_whole_and_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = tmp_path / "deep" / "a.bin"
    for _ in range(2):
        download(server.url, path, sha256=SHA256, schemes=HTTP,
                 progress=lambda done, total: told.append((done, total)))  # fmt: skip
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert not list(path.parent.glob("*.part"))


def test_a_broken_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 200_000]
    path = download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000]
    with pytest.raises(DataError, match="broke off after 300,000 of 1,024,000 bytes"):
        download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP, attempts=1)
    assert not (tmp_path / "a.bin").exists()
    download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert server.asked[-1] == "bytes=300000-"
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_without_a_checksum_nothing_is_pieced_together(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"of another version")
    download(server.url, tmp_path / "a.bin", schemes=HTTP)
    assert server.asked == [None]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [1000, len(CONTENT), len(CONTENT) + 5])
def test_a_wrong_beginning_is_noticed_and_fetched_anew(
    server: Server, tmp_path: Path, length: int
) -> None:
    (tmp_path / "a.bin.part").write_bytes(bytes(length))
    download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_the_whole(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(server.asked) == 1  # the whole replaced the part at once


def test_a_changed_file_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match=f"wanted {SHA256}; the file was changed or damaged"):
        download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_damaged_file_that_is_there_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"damaged")
    download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_file_over_the_limit_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="over the limit of 1,000"):
        download(server.url, tmp_path / "a.bin", limit=1000, schemes=HTTP)
    assert not (tmp_path / "a.bin").exists()


def test_answers_of_the_server(server: Server, tmp_path: Path) -> None:
    server.status = [503, 503]
    download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert len(server.asked) == 3
    server.status = [404]
    with pytest.raises(DataError, match=r"answered 404 Not Found.*in 1 attempts"):
        download(server.url, tmp_path / "b.bin", schemes=HTTP)


def test_only_kinds_of_url_that_are_accepted(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of kind 'http', wanted https or file"):
        download(server.url, tmp_path / "a.bin")
    assert not server.asked
    (tmp_path / "secret").write_text("secret")
    server.redirect = (tmp_path / "secret").as_uri()
    with pytest.raises(DataError, match=r"could not be downloaded .*in 1 attempts"):
        download(server.url, tmp_path / "a.bin", schemes=("http", "file"))
    server.redirect = "https://127.0.0.1:9/a"
    with pytest.raises(DataError, match="of kind 'https', wanted http"):
        download(server.url, tmp_path / "a.bin", schemes=HTTP)
    assert not (tmp_path / "a.bin").exists()


def test_no_server_and_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(DataError, match=r"could not be downloaded .*Check the network"):
        download("http://127.0.0.1:9/a", tmp_path / "a", schemes=HTTP)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        download(tmp_path.as_uri() + "/file", tmp_path / "file" / "a")
    with pytest.raises(DataError, match="could not be downloaded"):
        download(tmp_path.as_uri() + "/gone", tmp_path / "b")


def test_a_full_disk_is_told_and_leaves_what_was_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.bin").write_bytes(b"older")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left.*make room"):
        download(server.url, tmp_path / "a.bin", sha256=SHA256, schemes=HTTP)
    assert (tmp_path / "a.bin").read_bytes() == b"older"
    assert len(server.asked) == 1  # asking again would not make room


def test_two_downloads_at_once_bring_one_file(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    threads = [
        threading.Thread(target=download, args=(server.url, tmp_path / "a.bin"),
                         kwargs={"sha256": SHA256, "schemes": HTTP})
        for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(server.asked) == 1
