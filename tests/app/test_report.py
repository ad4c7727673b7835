"""The report: one page that stands alone, tells what was measured, and takes nothing for markup."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from thalweg.app.report import write_report
from thalweg.app.report.facts import Facts
from thalweg.app.report.page import render
from thalweg.errors import FormatError
from thalweg.tasks import Settings, train

EVIL = "</td><script>alert('x')</script>\"'&"
ENDLESS = {"br", "img", "meta"}  # HTML's elements without an end that the report uses


class Page(HTMLParser):
    """A page read strictly: what opens is closed in order, and addresses are gathered."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ENDLESS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).replace("\xa0", " ").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def sections(self) -> list[str]:
        return [str(a["id"]) for a in self.all("section")]


def read(page: str) -> Page:
    """Return a page that has passed what every page must."""
    made = Page(page)
    for tag, attributes in made.tags:
        assert tag not in ("script", "link", "iframe", "object", "use", "image"), tag
        assert not any(name.startswith("on") for name in attributes), attributes
        for name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:image/png;base64,")), address
        if tag == "img":
            assert attributes.get("alt")
        if tag == "svg":
            assert attributes.get("role") == "img"
            assert attributes.get("aria-label")
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    names = [a["id"] for _, a in made.tags if a.get("id")]
    assert len(names) == len(set(names))
    for link in made.all("a"):
        assert str(link["href"]).removeprefix("#") in names
    assert len(made.all("h1")) == 1
    assert len(made.all("table")) == len(made.all("caption"))
    assert all(a.get("scope") in ("row", "col") for a in made.all("th"))
    for coordinate in re.findall(r'(?:points|cx|cy|x1|y1|width|height)="([^"]*)"', page):
        assert "nan" not in coordinate
        assert "inf" not in coordinate
    return made


def figure(name: str, value: float, low: float, high: float, naive: float | None) -> dict[str, Any]:
    return {"name": name, "value": value, "low": low, "high": high, "naive": naive}


def of_classes(**more: Any) -> dict[str, Any]:
    return {
        "kind": "classes", "task": "table", "classes": ["a", "b"], "targets": ["kind"],
        "source": "data/things.csv", "why": "things.csv ends in .csv: a table",
        "rows": {"training": 700, "validation": 150, "test": 150},
        "figures": [figure("accuracy", 0.9, 0.85, 0.95, 0.6),
                    figure("log loss", 0.3, 0.2, 0.4, 0.69)],
        "naive": "the shares of the classes in the training rows, for every row",
        "confusion": [[80, 10], [5, 55]], "counts": [500, 200],
        "calibration": {"count": [0, 50, 100], "sure": [0.0, 0.5, 0.9], "right": [0.0, 0.4, 0.92],
                        "error": 0.047},
        "importance": [{"name": "size", "worse": 0.5}, {"name": "colour", "worse": -0.01}],
        "worst": [{"place": "data/things.csv: line 7", "truth": 0, "prediction": 1,
                   "probability": 0.013, "shown": {"size": 3.5, "colour": "red", "kind": "a"}}],
        "history": {"metrics": {"loss": [1.0, 0.5, 0.3], "validation_loss": [1.1, 0.6, 0.7]},
                    "monitor": "validation_loss", "restored": True, "stopped_early": True},
        "verdict": {"kind": "overfitting", "text": "overfitting: it got worse\nnoticed: a jump"},
        "notes": ["column 'size' is missing in 40% of the rows"],
        "reasons": ["kind: category (2 distinct values)", "size: number (all are numbers)",
                    "size is standardised: it holds numbers."],
        "seconds": 12.3, "parameters": 4321, "settings": "seed = 0\n", **more,
    }  # fmt: skip


def of_numbers(**more: Any) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    truth = chance.normal(size=(50, 1))
    return {
        "kind": "numbers", "task": "table", "targets": ["price"], "source": "houses.csv",
        "rows": {"training": 70, "validation": 15, "test": 50},
        "figures": [figure("RMSE", 2.0, 1.5, 2.5, 4.0), figure("MAE", 1.25, 1.0, 1.5, 3.0),
                    figure("R2", 0.75, 0.6, 0.8, -0.001)],
        "naive": "the mean of the training rows, for every row",
        "points": {"truth": truth.tolist(), "prediction": (truth + 0.1).tolist()},
        "worst": [{"place": "row 3", "truth": [1.0], "prediction": [9.5], "shown": {"size": None}}],
        **more,
    }  # fmt: skip


def page(results: dict[str, Any]) -> Page:
    told = json.loads(json.dumps(results))  # JSON has no word for some numbers
    history = told.get("history")
    curves = history.get("metrics", {}) if isinstance(history, dict) else {}
    return read(render(Facts(told, curves=curves)))


# --- a run as it is made ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    chance = np.random.default_rng(0)
    lines = ["size,<b>colour</b>,kind"]
    for _ in range(120):
        size = chance.normal()
        colour = chance.choice(["red", "blue & green"])
        lines.append(f"{size:.3f},{colour},{'<i>big</i>' if size > 0 else 'small'}")
    source = folder / "things.csv"
    source.write_text("\n".join(lines) + "\n")
    train(source, Settings(target=("kind",), epochs=3, hidden=(8,)), folder / "made")
    return folder / "made"


def test_a_run_becomes_a_page_that_stands_alone(run: Path) -> None:
    place = write_report(run)
    assert place == run / "report.html"
    text = place.read_text(encoding="utf-8")
    made = read(text)
    assert set(made.sections) == {"data", "figures", "learning", "confusion", "calibration",
                                  "importance", "worst", "card"} & set(made.sections)  # fmt: skip
    assert {"data", "figures", "learning", "confusion", "card"} <= set(made.sections)
    assert "kind from things.csv" in made.text
    assert "<i>big</i>" in made.text
    assert "<i>big" not in text
    assert "<b>colour</b>" in made.text
    assert "<b>colour" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "Left out" not in made.text


def test_the_page_is_the_same_each_time_and_replaces_the_old_one(run: Path) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_the_command_of_the_card_repeats_the_run(run: Path) -> None:
    made = Page(write_report(run).read_text(encoding="utf-8"))
    assert f"thalweg train {run.parent / 'things.csv'} --config {run / 'config.toml'}" in made.text
    again = Settings.of(Settings.read(run / "config.toml"))
    assert again.epochs == 3
    assert again.seed == 0
    assert "TabularNetwork" in made.text


def test_what_is_no_run_is_refused_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
    for name in ("model.safetensors", "pipeline.safetensors", "config.toml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(FormatError, match="cannot be read"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(FormatError, match="cannot be read"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    read(write_report(tmp_path).read_text(encoding="utf-8"))


def test_the_log_gives_the_curves_when_the_results_have_none(run: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "pipeline.safetensors", "config.toml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text(
        '{"epoch": 1, "loss": 2.0, "validation_loss": 2.5}\n{"epoch": 2, "loss": 1.0, "valid'
    )
    made = read(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "learning" in made.sections


# --- what it says -----------------------------------------------------------------------------


def test_the_headline_says_how_good_it_is_beside_the_naive_answer() -> None:
    made = page(of_classes())
    assert "On 150 rows that it never saw, it is right in 90.0 % of the cases" in made.text
    assert "95 % interval: 85.0 % to 95.0 %" in made.text
    assert "most frequent class is right in 60.0 %" in made.text
    assert "clearly better" in made.text
    made = page(of_numbers())
    assert "it is off by 1.250 on average" in made.text
    assert "It tells 75.0 % of the variation" in made.text


@pytest.mark.parametrize(
    ("name", "value", "low", "high", "naive", "words"),
    [
        ("accuracy", 0.7, 0.5, 0.8, 0.6, "may be chance"),
        ("accuracy", 0.5, 0.4, 0.6, 0.6, "do not use this network"),
        ("MAE", 1.0, 0.8, 1.2, 1.1, "may be chance"),
        ("MAE", 1.0, 0.8, 1.2, 0.9, "do not use this network"),
        ("MAE", 1.0, 0.8, 1.2, 1.3, "clearly better"),
    ],
)
def test_a_network_that_is_not_better_is_called_so(
    name: str, value: float, low: float, high: float, naive: float, words: str
) -> None:
    assert words in page(of_classes(figures=[figure(name, value, low, high, naive)])).text


def test_problems_come_first_and_columns_tell_what_was_done() -> None:
    text = page(of_classes()).text
    assert text.index("Look at this first") < text.index("never seen before")
    assert "Column 'size' is missing in 40% of the rows." in text
    assert "Is standardised: it holds numbers." in text
    assert "It is what is predicted." in text
    assert "Nothing odd" in page(of_classes(notes=[])).text


def test_a_faultless_test_is_not_called_proof() -> None:
    text = page(of_classes(figures=[figure("accuracy", 1.0, 1.0, 1.0, 0.5)])).text
    assert "up to 2.0 % mistakes would still fit this test" in text
    assert "up to 2.0 % mistakes would be no surprise" in text
    assert "rule of three" not in page(of_classes()).text


def test_the_best_epoch_is_marked_and_the_verdict_says_what_to_try() -> None:
    made = page(of_classes())
    assert "best: epoch 2" in made.text
    assert "Verdict: overfitting" in made.text
    assert "It got worse." in made.text
    assert "--dropout" in made.text
    assert "a jump" in made.text


def test_confusion_is_a_matrix_of_few_classes_and_pairs_of_many() -> None:
    few = page(of_classes())
    cells = [a for a in few.all("td") if a.get("class") in ("right", "wrong")]
    assert [c["class"] for c in cells] == ["right", "wrong", "wrong", "right"]
    assert cells[1]["style"] == "--share:0.111"
    counts = np.diag(np.full(30, 5))
    counts[3, 17] = 4
    many = page(of_classes(classes=[f"c{i}" for i in range(30)], confusion=counts.tolist()))
    assert "Confused most" in many.text
    assert "c3 c17 4 44.4 %" in " ".join(many.words).replace("\xa0", " ")
    assert not [a for a in many.all("td") if a.get("class") in ("right", "wrong")]


def test_calibration_says_which_way_it_errs() -> None:
    assert "The same as a table" in page(of_classes()).text
    sure = {"count": [100], "sure": [0.9], "right": [0.5], "error": 0.4}
    assert "surer than it may be" in page(of_classes(calibration=sure)).text
    modest = {"count": [100], "sure": [0.5], "right": [0.9], "error": 0.4}
    assert "more often than it claims" in page(of_classes(calibration=modest)).text


def test_each_of_several_targets_has_its_drawings() -> None:
    made = page(of_numbers(targets=["x", "y"], points={
        "truth": [[1.0, 10.0], [2.0, 20.0], [3.0, math.nan]],
        "prediction": [[1.5, 11.0], [2.5, 19.0], [3.5, 31.0]],
    }))  # fmt: skip
    names = [str(a["aria-label"]) for a in made.all("svg")]
    assert "Predicted over true x" in names
    assert "Predicted over true y" in names
    assert len([a for a in made.all("circle") if a.get("class") == "point"]) == 5


def test_importance_is_ordered_and_never_negative_in_width() -> None:
    told = [{"name": "zinc", "worse": -0.01}, {"name": "iron", "worse": 2.0}]
    made = page(of_classes(importance=told, counts=None))
    fills = [a["style"] for a in made.all("span") if a.get("class") == "fill"]
    assert fills == ["width:100.0%", "width:0.0%"]
    assert made.text.index("iron") < made.text.index("zinc")


def test_worst_errors_are_rows_without_the_path_that_all_share() -> None:
    text = page(of_classes()).text
    assert "line 7" in text
    assert "things.csv: line 7" not in text
    assert "1.3 %" in text
    assert "missing" in page(of_numbers()).text


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (300, 20, 3)])
def test_worst_images_are_inside_of_the_page(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape)
    shown = {"image": image.tolist(), "file": "a.png"}
    made = page(of_classes(worst=[{"place": "a.png", "truth": 0, "prediction": 1, "shown": shown}]))
    address = str(made.all("img")[0]["src"])
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
    assert max(back.shape) <= 256
    if shape[0] == 5:
        assert np.array_equal(back, image.reshape(5, 4) if shape[-1] != 3 else image)
    assert "a.png: a, told as b" in str(made.all("img")[0]["alt"])


def test_a_picture_that_is_none_leaves_the_others() -> None:
    bad = {"place": "x", "truth": 0, "prediction": 1, "shown": {"image": [["a"]]}}
    good = {"place": "y", "truth": 1, "prediction": 0, "shown": {"image": [[0, 255]]}}
    made = page(of_classes(worst=[bad, good]))
    assert len(made.all("img")) == 1
    assert "no picture" in made.text


def test_worst_texts_are_quoted_and_cut() -> None:
    made = page(of_classes(worst=[{"place": "row 1", "truth": 0, "prediction": 1,
                                   "shown": {"text": "word " * 1000}}]))  # fmt: skip
    assert len(made.all("blockquote")) == 1
    assert made.text.count("word") < 200


@pytest.mark.parametrize("form", ["by target", "list", "steps", "plain"])
def test_a_forecast_is_drawn_with_the_naive_one(form: str) -> None:
    lines: dict[str, list[Any]] = {
        "truth": [1.0, 2.0, 3.0], "prediction": [1.1, 2.1, None], "naive": [1.0, 1.0, 1.0],
        "dates": ["2020-01-01T00:00", "2020-01-02T00:00", "2020-01-03T00:00"],
    }  # fmt: skip
    told: Any = {
        "by target": {"price": lines}, "list": [{"target": "price", **lines}], "plain": lines,
        "steps": {k: [[v] for v in c] for k, c in lines.items() if k != "dates"},
    }[form]  # fmt: skip
    made = page(of_numbers(forecast=told, season=12))
    assert "forecast" in made.sections
    kinds = [a["class"] for a in made.all("polyline") if "curve" in str(a["class"])]
    assert kinds == ["curve first", "curve second", "curve third"]
    assert "Forecast of price over 3 steps" in [a["aria-label"] for a in made.all("svg")]
    assert ("2020-01-01" in made.text) == (form != "steps")


def test_a_forecast_begins_where_the_past_ends() -> None:
    lines = {"target": "x", "past": [5.0] * 9, "truth": [1.0, 2.0], "prediction": [1.1, 2.1],
             "naive": [5.0, 5.0], "dates": ["2020-01-01", "2020-01-02"]}  # fmt: skip
    made = page(of_numbers(forecast=[lines]))
    drawn = {str(a["class"]): str(a["points"]).split() for a in made.all("polyline")}
    assert [len(p) for p in drawn.values()] == [6, 2, 2]  # of the past twice the steps
    assert drawn["curve first"][4].split(",")[0] == drawn["curve second"][0].split(",")[0]
    assert "forecast from here" in made.text


def test_each_target_of_a_forecast_has_its_figures() -> None:
    told = [{"target": name, "figures": {"MAE": 1.5}, "naive": {"MAE": 2.5}} for name in "xy"]
    assert "y1.500 (2.500)" in page(of_numbers(by_target=told)).text


def test_texts_that_were_continued_badly_are_shown_with_their_loss() -> None:
    worst = [{"place": "a.txt: character 9", "shown": {"text": "zzz"}, "loss": 7.25}]
    made = page({"kind": "tokens", "task": "language", "worst": worst})
    assert "zzz" in made.text
    assert "loss 7.25 a token" in made.text


def test_samples_are_shown_as_they_are_written() -> None:
    made = page({"kind": "tokens", "samples": ["To be\nor <not>", {"prompt": "A", "text": "A b"}]})
    assert "To be\nor <not>" in "".join(made.words)
    assert made.sections[0] == "samples"


def test_the_card_says_what_it_must_not_be_used_for() -> None:
    made = page(of_classes())
    for words in ("another place, time or group of people", "not what causes what", "4,321",
                  "12 s", "150 test rows", "seed = 0"):  # fmt: skip
        assert words in made.text, words
    told = page(of_classes(versions={"thalweg": "9.8.7"}))
    assert "thalweg 9.8.7" in told.text


# --- what it must survive ---------------------------------------------------------------------


def test_nothing_of_the_data_is_taken_for_markup() -> None:
    results = of_classes(
        classes=[EVIL, "b"], targets=[EVIL], source=f"data/{EVIL}.csv", why=EVIL, naive=EVIL,
        notes=[EVIL], reasons=[f"{EVIL}: number ({EVIL})", EVIL],
        importance=[{"name": EVIL, "worse": 1.0}], samples=[EVIL, {"prompt": EVIL, "text": EVIL}],
        forecast={EVIL: {"truth": [1.0, 2.0], "prediction": [1.0, 2.0]}},
        verdict={"kind": EVIL, "text": EVIL}, settings=EVIL, task=EVIL,
        worst=[{"place": EVIL, "truth": 0, "prediction": 1, "shown": {EVIL: EVIL}},
               {"place": EVIL, "truth": 0, "prediction": 1, "shown": {"text": EVIL}}],
        points={"truth": [[1.0]], "prediction": [[2.0]]},
    )  # fmt: skip
    made = page(results)
    assert EVIL in made.text
    assert "<script" not in render(Facts(results))


def test_very_long_words_are_cut() -> None:
    long = "x" * 100_000
    results = of_classes(classes=[long, "b"], targets=[long], notes=[long], reasons=[long],
                         importance=[{"name": long, "worse": 1.0}],
                         worst=[{"place": long, "truth": 0, "shown": {long: long}}])  # fmt: skip
    assert len(render(Facts(results))) < 60_000


def test_many_columns_and_notes_stay_a_page() -> None:
    names = [f"column{i}" for i in range(10_000)]
    results = of_classes(
        notes=names, reasons=[f"{n}: number (all are numbers)" for n in names],
        importance=[{"name": n, "worse": 0.1} for n in names],
        worst=[{"place": "row 1", "truth": 0, "prediction": 1, "shown": dict.fromkeys(names, 1.0)}],
    )  # fmt: skip
    text = render(Facts(results))
    assert len(text) < 200_000
    assert "9,800 more" in read(text).text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_a_word(value: float | None) -> None:
    made = page(of_classes(
        figures=[{"name": "log loss", "value": value, "low": value, "high": 1.0, "naive": value}],
        history={"metrics": {"loss": [1.0, value, 0.5], "validation_loss": [value] * 3}},
        importance=[{"name": "a", "worse": value}, {"name": "b", "worse": 1.0}],
        seconds=value, parameters=value,
    ))  # fmt: skip
    assert {"figures", "learning", "importance"} <= set(made.sections)
    assert not re.search(r"\b(nan|NaN|inf|None)\b", made.text)
    if value is not None:
        word = "not a number" if math.isnan(value) else "infinite"
        assert word in made.text


@pytest.mark.parametrize("make", [of_classes, of_numbers])
def test_any_key_may_be_missing_or_of_another_form(make: Callable[[], dict[str, Any]]) -> None:
    for key in make():
        whole = make()
        del whole[key]
        page(whole)
        odd: list[Any] = [None, [], {}, "odd", 7, [1, "x", None], {"a": {"b": []}}, [[]], [{}]]
        for value in odd:
            page({**make(), key: value})
    assert page({}).sections == ["card"]


def test_what_could_not_be_told_is_named() -> None:
    made = page(of_classes(calibration={"count": [1]}))
    assert "calibration" not in made.sections
    assert "in an unknown form: How far to trust its probabilities." in made.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["truth", "prediction", "name", "worse", "value", "count",
                                       "sure", "right", "error", "metrics", "loss", "shown",
                                       "image", "text", "low", "naive", "test"]), inner,
                      max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*of_classes(), *of_numbers(), "forecast", "samples"]),
                       json_values, max_size=4))  # fmt: skip
def test_a_page_is_made_of_whatever_json_holds(odd: dict[str, Any]) -> None:
    Page(render(Facts({**of_classes(), **odd})))
