"""The server's answers and refusals, its document and its page."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import doctest
import http.client
import importlib
import io
import pkgutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="serving needs the extra 'serve'")

from tests.app.serving import (
    PIXELS,
    ROW,
    WAIT,
    Running,
    make_digits,
    make_table,
    one_thread,
    running,
)

import thalweg.app.serve as room
from thalweg.app.cli.digits_network import unit_range
from thalweg.app.serve.limits import Refusal
from thalweg.formats import load
from thalweg.tasks import Run, Settings, train
from thalweg.train import predict


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


@pytest.fixture(scope="module")
def post(digits: Path) -> Iterator[Running]:
    with running(digits) as made:
        yield made


def expected(model: Path, images: Any) -> np.ndarray[Any, Any]:
    logits = predict(load(model), np.asarray(images, np.float32), transform=unit_range)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


# --- answers ------------------------------------------------------------------------------


def test_rows_of_a_table_get_what_predict_gives(shop: Running, table: Path, tmp_path: Path) -> None:
    rows = [ROW, ROW | {"size": None, "colour": None}, ROW | {"size": 1, "shop": "1"}]
    file = tmp_path / "new.csv"
    file.write_text("size,colour,bought,shop\n7.5,red,03.04.2024,2\n,,03.04.2024,2\n"
                    "1,red,03.04.2024,1\n")  # fmt: skip
    wanted = Run.load(table).predict(file)
    status, told, _ = shop.ask("POST", "/predict", {"rows": rows})
    assert status == 200
    for i, one in enumerate(told["predictions"]):
        assert one["prediction"] == wanted["prediction"][i]
        assert one["probability"] == pytest.approx(wanted["probability"][i], abs=1e-5)
        assert one["probabilities"]["small"] == pytest.approx(
            wanted["probability of small"][i], abs=1e-5
        )
    single = shop.ask("POST", "/predict", {"row": ROW})[1]
    assert single["predictions"] == told["predictions"][:1]
    assert "notes" not in single


def test_the_target_may_be_sent_along_and_an_unseen_category_is_told(shop: Running) -> None:
    status, told, _ = shop.ask("POST", "/predict", {"row": ROW | {"kind": "large"}})
    assert status == 200
    told = shop.ask("POST", "/predict", {"row": ROW | {"colour": "mauve"}})[1]
    assert "'colour'" in told["notes"][0]
    assert "'mauve'" in told["notes"][0]


def test_all_forms_of_an_image_get_the_same_answer(post: Running, digits: Path) -> None:
    image = Image.new("L", (28, 28), 0)
    image.paste(255, (12, 6, 16, 22))  # a light stroke on an empty border is taken as it is
    file = io.BytesIO()
    image.save(file, "PNG")
    raw, pixels = file.getvalue(), np.asarray(image).tolist()
    wanted = expected(digits, [pixels])[0]
    parts = (b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n'
             b"Content-Type: image/png\r\n\r\n" + raw + b"\r\n--b--\r\n")  # fmt: skip
    forms: list[tuple[Any, str]] = [
        ({"images": [pixels]}, "application/json"),
        ({"image": np.ravel(pixels).tolist()}, "application/json; charset=utf-8"),
        ({"image": [[v + 0.0 for v in row] for row in pixels]}, "application/json"),
        ({"images": [base64.b64encode(raw).decode()]}, "application/json"),
        ({"image": "data:image/png;base64," + base64.b64encode(raw).decode()}, "application/json"),
        (raw, "image/png"), (raw, "image/jpeg"), (parts, "multipart/form-data; boundary=b"),
    ]  # fmt: skip
    for body, kind in forms:
        status, told, _ = post.ask("POST", "/predict", body, {"Content-Type": kind})
        assert status == 200, told
        shares = list(told["predictions"][0]["probabilities"].values())
        np.testing.assert_allclose(shares, wanted, atol=2e-6)


def test_an_empty_image_is_answered_with_a_note(post: Running) -> None:
    told = post.ask("POST", "/predict", {"images": [PIXELS, [0] * 784]})[1]
    assert told["notes"] == ["images[1] shows nothing: all of it has one shade"]
    assert len(told["predictions"]) == 2


def test_many_requests_at_once_each_get_their_own_answer(post: Running, digits: Path) -> None:
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (60, 28, 28))
    wanted = expected(digits, images)
    got: dict[int, Any] = {}

    def ask(start: int) -> None:
        for i in range(start, 60, 12):
            count = 1 + i % 3  # several samples in one request, across batches of four
            many = [images[(i + j) % 60].tolist() for j in range(count)]
            got[i] = post.ask("POST", "/predict", {"images": many})

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(WAIT)
    assert len(got) == 60
    for i, (status, told, _) in got.items():
        assert status == 200
        assert len(told["predictions"]) == 1 + i % 3
        for j, one in enumerate(told["predictions"]):
            np.testing.assert_allclose(
                list(one["probabilities"].values()), wanted[(i + j) % 60], atol=2e-6
            )


def test_a_request_of_more_rows_than_a_batch_is_answered_in_order(
    post: Running, digits: Path
) -> None:
    images = np.random.default_rng(2).integers(0, 256, (19, 28, 28))
    told = post.ask("POST", "/predict", {"images": images.tolist()})[1]
    shares = [list(one["probabilities"].values()) for one in told["predictions"]]
    np.testing.assert_allclose(shares, expected(digits, images), atol=2e-6)


def test_one_broken_image_spoils_no_other_request_of_its_batch(post: Running) -> None:
    service = post.service
    entries = []

    async def both() -> list[Any]:
        for body in (b"\x89PNG broken", b"", None):
            sample = (service.application.reader.open(body) if body is not None
                      else service.application.reader.parse(PIXELS, 0))  # fmt: skip
            entries.append(service.batcher.submit([sample]))
        return await asyncio.gather(*entries, return_exceptions=True)

    assert post.loop is not None
    broken, _, whole = asyncio.run_coroutine_threadsafe(both(), post.loop).result(WAIT)
    assert isinstance(broken, Refusal)
    assert broken.status == 422
    assert isinstance(whole, bytes)


# --- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ROW | {"size": "large"}, ["rows[0]", "'size'", "text 'large'", "a number or null"]),
        (ROW | {"size": True}, ["'size'", "true", "a number or null"]),
        (ROW | {"size": 1e300}, ["'size'", "a number"]),
        (ROW | {"size": 10**40}, ["'size'", "a number"]),
        (ROW | {"colour": ["red"]}, ["'colour'", "a list of 1", "a text"]),
        (ROW | {"bought": "2024-04-03"}, ["'bought'", "a date like %d.%m.%Y"]),
        (ROW | {"bought": "31.02.2024"}, ["'bought'", "a date like"]),
        (ROW | {"bought": 5}, ["'bought'", "the number 5"]),
        (ROW | {"colr": "red"}, ["no column 'colr'", "did you mean 'colour'"]),
        ({k: v for k, v in ROW.items() if k != "size"}, ["no column 'size'", "a number or null"]),
        ([1, 2], ["rows[0]", "a list of 2", "an object"]),
        (None, ["null", "an object"]),
    ],
)
def test_wrong_values_are_named_with_what_was_wanted(
    shop: Running, row: Any, words: list[str]
) -> None:
    error = shop.refused(422, {"row": row}, content_type="application/json")
    for word in words:
        assert word in error


def test_wrong_rows_are_numbered(shop: Running) -> None:
    assert "rows[1]" in shop.refused(422, {"rows": [ROW, ROW | {"size": []}]})


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([0] * 783, ["a list of 783", "784 numbers"]),
        ([[0] * 28] * 27 + [[0] * 27], ["28 rows of 28"]),
        ([0] * 783 + [256], ["the number 256", "0 (paper) to 255"]),
        ([0] * 783 + [-0.5], ["the number -0.5"]),
        ([0] * 783 + [True], ["true", "numbers"]),
        ([0] * 783 + ["1"], ["text '1'"]),
        ([0] * 783 + [None], ["null"]),
        ([0] * 783 + [10**40], ["the number"]),
        ("?", ["base64"]),
        (base64.b64encode(b"no image").decode(), ["image", "PNG"]),
        ({}, ["an object"]),
    ],
)
def test_wrong_images_are_named(post: Running, image: Any, words: list[str]) -> None:
    error = post.refused(422, {"images": [image]})
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "empty"), (b"{", 400, "JSON"), (b'{"row": NaN}', 400, "JSON"),
        (b"\xff\xfe", 400, "JSON"), (b"[" * 100_000, 400, "JSON"), (b"3", 422, "an object"),
        (b"{}", 422, '"rows"'), (b'{"rows": []}', 422, "one or more"),
        (b'{"rows": 1}', 422, "a list"), (b'{"texts": ["a"]}', 422, "'texts'"),
        (b'{"rows": [], "row": {}}', 422, "one key"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_request_are_refused(
    shop: Running, body: bytes, status: int, word: str
) -> None:
    assert word in shop.refused(status, body)


def test_other_media_types_are_refused_with_those_that_are_taken(
    shop: Running, post: Running
) -> None:
    assert "application/json" in shop.refused(415, b"a,b", content_type="text/csv")
    assert "image/png" in post.refused(415, b"a,b", content_type="audio/wav")
    assert "compressed" in post.refused(415, b"", content_encoding="gzip")
    assert "no boundary" in post.refused(400, b"x", content_type="multipart/form-data")
    assert "no file" in post.refused(400, b"x", content_type="multipart/form-data; boundary=q")
    assert "empty" in post.refused(422, b"", content_type="image/png")
    assert "PNG" in post.refused(422, b"GIF89a", content_type="image/png")


def test_an_image_that_unfolds_into_gigabytes_is_refused(post: Running) -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    assert len(file.getvalue()) < 200_000
    assert "pixels" in post.refused(422, file.getvalue(), content_type="image/png")


def test_paths_and_methods(shop: Running) -> None:
    assert shop.ask("GET", "/nothing")[0] == 404
    for method, path, allowed in (
        ("GET", "/predict", "POST"), ("DELETE", "/health", "GET, HEAD"), ("POST", "/", "GET, HEAD"),
    ):  # fmt: skip
        status, told, headers = shop.ask(method, path)
        assert (status, headers["allow"]) == (405, allowed)
        assert method in told["error"]
    assert shop.ask("HEAD", "/health")[0] == 200


def test_too_many_rows_and_too_large_bodies_are_refused(shop: Running) -> None:
    assert "at most 20" in shop.refused(413, {"rows": [ROW] * 21})
    assert "200,000" in shop.refused(413, b" " * 200_001)
    client = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=WAIT)
    with contextlib.closing(client):
        client.request("POST", "/predict", iter([b" " * 150_000] * 4),
                       encode_chunked=True, headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert client.getresponse().status == 413  # no length was told before


def test_a_token_is_wanted_where_one_is_set(table: Path) -> None:
    with running(table, token="s3cret") as guarded:
        for word in (None, "Bearer wrong", "Basic s3cret", "Bearer", "Bearer s3cret2"):
            given = {} if word is None else {"Authorization": word}
            for method, path in (("POST", "/predict"), ("GET", "/metrics"),
                                 ("GET", "/openapi.json")):  # fmt: skip
                status, told, headers = guarded.ask(method, path, None, given)
                assert status == 401
                assert headers["www-authenticate"].startswith("Bearer")
                assert "s3cret" not in told["error"]
        right = {"Authorization": "Bearer s3cret"}
        assert guarded.ask("POST", "/predict", {"row": ROW}, right)[0] == 200
        assert guarded.ask("GET", "/metrics", None, right)[0] == 200
        assert guarded.ask("GET", "/health")[0] == 200
        page = guarded.ask("GET", "/")
        assert page[0] == 200
        assert b"colour" not in page[1].replace(b"colours", b"")  # no names of the data


# --- document and page --------------------------------------------------------------------


def test_the_document_describes_the_columns(shop: Running) -> None:
    status, told, _ = shop.ask("GET", "/openapi.json")
    assert (status, told["openapi"]) == (200, "3.1.0")
    row = told["components"]["schemas"]["Sample"]
    assert sorted(row["required"]) == sorted(ROW)
    assert row["properties"]["size"]["type"] == ["number", "null"]
    assert row["properties"]["colour"]["examples"] == ["blue", "red"]
    assert "pattern" in row["properties"]["bought"]
    assert row["additionalProperties"] is False
    answer = told["components"]["schemas"]["Prediction"]
    assert answer["properties"]["prediction"]["enum"] == ["large", "small"]
    body = told["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        assert shop.ask("POST", "/predict", example["value"])[0] == 200


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.addresses += [v for k, v in attrs if k in ("src", "href", "action") and v]
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_form_page_stands_alone(shop: Running) -> None:
    status, raw, headers = shop.ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    tags = Tags()
    tags.feed(raw.decode())
    assert not tags.open
    assert tags.addresses == ["data:,", "openapi.json", "metrics"]
    assert b"http:" not in raw
    assert b"https:" not in raw
    assert b"prefers-color-scheme: dark" in raw


def test_a_table_of_numbers_answers_numbers(tmp_path: Path) -> None:
    rows = [f"{x / 10},{x / 5 + 1}" for x in range(60)]
    (tmp_path / "line.csv").write_text("x,y\n" + "\n".join(rows) + "\n")
    chosen = Settings(target=("y",), epochs=2, hidden=(4,), members=2)
    train(tmp_path / "line.csv", chosen, tmp_path / "run")
    with running(tmp_path / "run") as made:
        told = made.ask("POST", "/predict", {"rows": [{"x": 1.5}, {"x": None}]})[1]
        assert [set(one) for one in told["predictions"]] == [{"prediction"}] * 2
        assert all(isinstance(one["prediction"], float) for one in told["predictions"])
        assert "'x'" in made.refused(422, {"row": {"x": 1e31}})


def test_docstrings() -> None:
    for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        found = doctest.testmod(importlib.import_module(module.name))
        assert not found.failed, module.name
