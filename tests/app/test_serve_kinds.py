"""Images, sounds, texts and time series are served from their run folders."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="serving needs the extra 'serve'")

from tests.app.serving import Running, one_thread, running

from thalweg.app.serve.limits import Limits
from thalweg.app.serve.readers.choice import READERS
from thalweg.tasks import TASKS, Run, Settings, train
from thalweg.tasks.language import LanguageTask

LIMITS = Limits(batch_size=2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def test_each_kind_of_data_has_a_reader() -> None:
    assert set(TASKS) == set(READERS)


def check_examples(made: Running) -> None:
    """The examples of the document are answered as it says."""
    told = made.ask("GET", "/openapi.json")[1]
    content = told["paths"]["/predict"]["post"]["requestBody"]["content"]
    wanted = told["components"]["schemas"]["Prediction"]["required"]
    for example in content["application/json"]["examples"].values():
        status, answer, _ = made.ask("POST", "/predict", example["value"])
        assert status == 200, answer
        assert all(set(wanted) <= set(one) for one in answer["predictions"])


def shares(answer: Any, name: str) -> list[float]:
    return [one["probabilities"][name] for one in answer["predictions"]]


def test_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            pixels = random.integers(0, 80, (16, 16, 3)).astype(np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    train(tmp_path / "data", Settings(task="images", epochs=1), tmp_path / "run")
    file = tmp_path / "data" / "red" / "0.png"
    raw = file.read_bytes()
    wanted = Run.load(tmp_path / "run").predict(file)["probability of red"]
    with running(tmp_path / "run", LIMITS) as made:
        check_examples(made)
        forms: list[tuple[Any, str]] = [
            (raw, "image/png"), ({"image": base64.b64encode(raw).decode()}, "application/json"),
            ({"image": np.array(Image.open(file)).tolist()}, "application/json"),
        ]  # fmt: skip
        for body, kind in forms:
            status, answer, _ = made.ask("POST", "/predict", body, {"Content-Type": kind})
            assert status == 200, answer
            np.testing.assert_allclose(shares(answer, "red"), wanted, atol=2e-5)
        clear = io.BytesIO()
        Image.new("RGBA", (50, 33), (255, 0, 0, 128)).save(clear, "PNG")
        sent = {"images": [base64.b64encode(clear.getvalue()).decode(), [[0] * 9] * 5]}
        assert len(made.ask("POST", "/predict", sent)[1]["predictions"]) == 2  # of other sizes
        assert "decoded" in made.refused(422, b"no image", content_type="image/jpeg")
        for bad in ([[1, 2], [3]], [[1.5]], [[True, 1]], [[300]], [[[1, 2]]], [], [[]], "?"):
            assert "images[0]" in made.refused(422, {"image": bad})


def test_sounds(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    random = np.random.default_rng(0)
    time = np.arange(2_000) / 8_000
    for pitch, name in ((300, "low"), (1_500, "high")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            wave = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * random.standard_normal(2_000)
            soundfile.write(tmp_path / "data" / name / f"{i}.wav", wave, 8_000)
    train(tmp_path / "data", Settings(task="sounds", epochs=1), tmp_path / "run")
    file = tmp_path / "data" / "low" / "0.wav"
    raw = file.read_bytes()
    wanted = Run.load(tmp_path / "run").predict(file)["probability of low"]
    with running(tmp_path / "run", LIMITS) as made:
        check_examples(made)
        status, answer, _ = made.ask("POST", "/predict", raw, {"Content-Type": "audio/wav"})
        assert status == 200, answer
        np.testing.assert_allclose(shares(answer, "low"), wanted, atol=2e-5)
        assert "decoded" in made.refused(422, b"no sound", content_type="audio/wav")
        assert "sounds[0]" in made.refused(422, {"sounds": [7]})


def test_texts(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = {"good": ["nice", "fine", "lovely"], "bad": ["awful", "poor", "sad"]}
    lines = [
        f"{name}\t{' '.join(random.choice(words[name], 5))}" for name in words for _ in range(40)
    ]
    (tmp_path / "data.tsv").write_text("\n".join(lines) + "\n")
    train(tmp_path / "data.tsv", Settings(task="texts", epochs=1), tmp_path / "run")
    texts = ["nice fine nice", "sad", "\N{GRINNING FACE}"]
    run = Run.load(tmp_path / "run")
    wanted = run.task.columns(run.outputs(run.task.read(texts)))["probability of good"]
    with running(tmp_path / "run", LIMITS) as made:
        check_examples(made)
        answer = made.ask("POST", "/predict", {"texts": texts})[1]
        np.testing.assert_allclose(shares(answer, "good"), wanted, atol=2e-5)
        plain = made.ask("POST", "/predict", b"sad", {"Content-Type": "text/plain"})[1]
        np.testing.assert_allclose(shares(plain, "good"), wanted[1:2], atol=2e-5)
        assert "texts[1]: got null" in made.refused(422, {"texts": ["a", None]})


def test_series(tmp_path: Path) -> None:
    days = np.datetime64("2024-01-01") + np.arange(200)
    values = np.sin(2 * np.pi * np.arange(200) / 7)
    lines = [f"{day},{value:.4f}" for day, value in zip(days, values, strict=True)]
    (tmp_path / "data.csv").write_text("day,x\n" + "\n".join(lines) + "\n")
    chosen = Settings(task="series", horizon=3, epochs=1)
    train(tmp_path / "data.csv", chosen, tmp_path / "run")
    wanted = Run.load(tmp_path / "run").predict(tmp_path / "data.csv")["x"]
    rows = [{"day": str(day), "x": round(float(v), 4)}
            for day, v in zip(days, values, strict=True)][-60:]  # fmt: skip
    with running(tmp_path / "run", LIMITS) as made:
        check_examples(made)
        answer = made.ask("POST", "/predict", {"rows": rows})[1]["predictions"]
        assert [one["date"] for one in answer] == ["2024-07-19", "2024-07-20", "2024-07-21"]
        np.testing.assert_allclose([one["x"] for one in answer], wanted, atol=1e-4)
        assert "steps" in made.refused(422, {"rows": rows[:2]})
        assert "'x'" in made.refused(422, {"rows": [{"day": "2024-01-01", "x": "a"}]})


def test_language_models_continue_prompts(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("the cat sat on the mat and the dog sat on the log\n" * 60)
    train(book, Settings(epochs=1, hidden=(16,), length=32), tmp_path / "run")
    run = Run.load(tmp_path / "run")
    task: Any = run.task
    assert isinstance(task, LanguageTask)
    wanted = task.generate(run.model, "the cat", 20, 0.8, None, None, 3)  # type: ignore[arg-type]
    with running(tmp_path / "run", LIMITS) as made:
        check_examples(made)
        given = {"text": "the cat", "length": 20, "seed": 3}
        answer = made.ask("POST", "/predict", {"prompt": given})[1]
        assert answer == {"predictions": [{"prediction": wanted}]}
        several = {"prompts": ["the dog", given, given | {"temperature": 0, "top_k": 2.0}]}
        told = made.ask("POST", "/predict", several)[1]["predictions"]
        texts = [one["prediction"] for one in told]
        assert 50 < len(texts[0]) <= 100  # a token may stand for nothing
        assert texts[1] == wanted
        assert 10 < len(texts[2]) <= 20
        status, answer, _ = made.ask("POST", "/predict", b"the ", {"Content-Type": "text/plain"})
        assert status == 200
        assert 50 < len(answer["predictions"][0]["prediction"]) <= 100
        assert "'Z'" in made.refused(422, {"prompt": "Z"})
        for bad, says in (
            ({"text": "a", "length": 0}, "length is the number 0"),
            ({"text": "a", "length": 5000}, "from 1 to 1,000"),
            ({"text": "a", "top_p": 0}, "above 0"),
            ({"text": "a", "top_k": True}, "top_k is true"),
            ({"text": "a", "words": 3}, "no option 'words'"),
            ({"length": 3}, "an object with a"), (3, "a text"),
        ):  # fmt: skip
            assert says in made.refused(422, {"prompt": bad})
