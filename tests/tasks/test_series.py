"""Time series: mended and cut by time, forecast better than by what needs no learning."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg as tw
from thalweg.data.tables import read_table
from thalweg.errors import ArgumentError, DataError, ShapeError
from thalweg.models.series_network import SeriesNetwork
from thalweg.optim import AdamW
from thalweg.tasks.folder import RunFolder
from thalweg.tasks.run import Run
from thalweg.tasks.series import SeriesTask, appraise_series
from thalweg.tasks.series_appraisal import figures_of_series
from thalweg.tasks.series_frequency import Frequency, calendar, find_frequency, find_season
from thalweg.tasks.series_layout import find_layout
from thalweg.tasks.series_mending import Piece, mend
from thalweg.tasks.series_windows import SeriesRows, Windows
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import Problem
from thalweg.train import Trainer

Array = np.ndarray[Any, Any]
HOUSE = Path(__file__).parents[3]
DATA = Path(os.environ.get("THALWEG_SHARED_DATA", HOUSE / "shared" / "data")) / "timeseries"
with_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the series are not in {DATA}; set THALWEG_SHARED_DATA"
)


def wave(steps: int, season: int = 24, seed: int = 0, noise: float = 0.2) -> Array:
    """Return a season, a trend and noise, (steps,)."""
    time = np.arange(steps)
    drawn = np.random.default_rng(seed).normal(size=steps)
    return 20 + 3 * np.sin(2 * np.pi * time / season) + 6 * time / steps + noise * drawn


def dates(steps: int, unit: str = "h", first: str = "2024-01-01") -> Array:
    return np.datetime64(first, unit) + np.arange(steps)


def write(path: Path, **columns: Any) -> Path:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join("" if v is None else str(v) for v in row) for row in rows]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n", encoding="utf-8")
    return path


def hourly(tmp_path: Path, steps: int = 400, **more: Any) -> Path:
    return write(tmp_path / "hourly.csv", when=dates(steps).astype("M8[s]"), load=wave(steps),
                 **more)  # fmt: skip


def prepared(source: Path, **given: Any) -> tuple[SeriesTask, Problem]:
    task = SeriesTask(Settings.of({"task": "series", "horizon": 6, **given}))
    return task, task.prepare(source)


def trained(source: Path, folder: Path, **given: Any) -> tuple[Run, dict[str, Any]]:
    """Return a run that is kept in a folder, and what was measured."""
    task, problem = prepared(source, **given)
    chosen = problem.settings
    optimizer = AdamW(problem.model, learning_rate=chosen.learning_rate,
                      weight_decay=chosen.weight_decay or 0.0)  # fmt: skip
    history = Trainer(problem.model, problem.loss, optimizer, metrics=(), clip_norm=5.0).fit(
        (*problem.training.inputs, problem.training.truth), epochs=chosen.epochs or 1,
        batch_size=min(chosen.batch_size or 32, len(problem.training)),
        validation=(*problem.validation.inputs, problem.validation.truth),
        seed=chosen.seed, early_stopping=chosen.patience,
    )  # fmt: skip
    place = RunFolder.new(folder)
    facts, arrays = task.state()
    place.write_pipeline(
        {"task": task.name, "settings": task.settings.to_toml(), "facts": facts}, arrays
    )
    place.write_text(place.config, chosen.to_toml())
    place.write_model(problem.model)
    run = Run(place, task, problem.model)
    return run, appraise_series(run, problem, history)


def value_of(results: dict[str, Any], name: str) -> tuple[float, float]:
    """Return a figure, and that of the naive forecast."""
    found = next(f for f in results["figures"] if f["name"] == name)
    return found["value"], found["naive"]


# --- reading ------------------------------------------------------------------------------------

FREQUENCIES: list[tuple[Any, str, str]] = [
    (dates(5, "M").astype("M8[us]"), "every month", "2024-06-01"),
    (["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"], "every month", "2024-05-31"),
    (["2024-01-03", "2024-02-01", "2024-03-03", "2024-04-03"], "every month", "2024-05-03"),
    (["2023-01-01", "2023-04-01", "2023-07-01", "2024-01-01"], "every quarter", "2024-04-01"),
    (["2020-01-01", "2021-01-01", "2022-01-01"], "every year", "2023-01-01"),
    (["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-12"], "every working day",
     "2024-01-15"),
    (dates(20, "D"), "every day", "2024-01-21"),
    (dates(5, "W"), "every week", "2024-02-01"),
    (dates(5, "h"), "every hour", "2024-01-01 05:00:00"),
    (np.datetime64("2024-01-01T00:00") + 15 * np.arange(4), "every 15 minutes",
     "2024-01-01 01:00:00"),
    ([1.0, 2.0, 4.0, 5.0], "every 1", "6"),
]  # fmt: skip


@pytest.mark.parametrize(("times", "words", "following"), FREQUENCIES)
def test_frequency_and_the_date_that_follows(times: Any, words: str, following: str) -> None:
    given = np.asarray(times)
    given = given if given.dtype.kind == "f" else given.astype("M8[us]")
    found = find_frequency(given[::-1])
    steps = found.steps(given)
    assert found.words == words
    assert Frequency.of(found.to_facts()) == found
    assert (np.diff(steps) >= 1).all()
    assert str(found.told(steps[-1:] + 1, None)[0]) == following


def test_what_is_mended_is_told_with_count_and_place(tmp_path: Path) -> None:
    when = dates(60).astype("M8[s]").astype(object)
    x: list[Any] = [float(i) for i in range(60)]
    rows = [(w, v) for w, v in zip(when, x, strict=True)]
    del rows[50]  # a gap of one step
    del rows[20:23]  # a gap of three
    rows[5] = (rows[5][0], None)
    rows.insert(10, (rows[10][0], 12.0))  # a date again: the mean is 11
    rows[1], rows[2] = rows[2], rows[1]
    source = write(tmp_path / "odd.csv", when=[r[0] for r in rows], x=[r[1] for r in rows])
    table = read_table(source)
    layout, frequency, _, _ = find_layout(table, Settings(), str(source))
    pieces, notes = mend(table, layout.columns, frequency, layout.time, layout.group)
    expected = np.arange(60.0)
    expected[10] = 11
    assert [p.first for p in pieces] == [0]
    np.testing.assert_allclose(pieces[0].values[:, 0], expected)
    assert len(notes) == 4
    assert "rows out of order in time, now sorted: 1 (first" in notes[0]
    assert "line 4" in notes[0]
    assert "rows with the date of another, averaged: 1 (first" in notes[1]
    assert "line 13" in notes[1]
    assert "missing steps, interpolated: 4; gaps: 2 (first" in notes[2]
    assert "2024-01-01 19:00:00" in notes[2]
    assert "missing values, interpolated: 1 (first" in notes[3]
    assert "'x' at 2024-01-01 05:00:00" in notes[3]


def test_long_gaps_cut_the_series_and_no_window_crosses_them(tmp_path: Path) -> None:
    steps = np.delete(np.arange(700), [*range(200, 230), *range(600, 625)])
    source = write(tmp_path / "gaps.csv", when=(dates(1)[0] + steps).astype("M8[s]"), x=steps % 97)
    task, problem = prepared(source, length=12)
    assert any("longer than 24 steps" in note and "them: 2 (" in note for note in problem.notes)
    seen = 0
    for rows in (problem.training, problem.validation, problem.test):
        past = rows.inputs[0][:, :, 0] * task.learned.deviation + task.learned.mean
        ahead = task.numbers(np.asarray(rows.truth))
        whole = np.concatenate([past, ahead], axis=1)
        apart = np.rint(np.diff(whole, axis=1)).astype(int) % 97
        assert (apart == 1).all()
        seen += len(whole)
    assert seen == (200 - 17) + (370 - 17) + (75 - 17) - 2 * 5  # 5 windows lost at each cut


def test_long_runs_of_missing_values_cut_too_and_the_ends_are_left_out() -> None:
    x = np.arange(50.0)
    x[[0, 1, 49]] = np.nan
    x[10:15] = np.nan  # five, filled
    x[30:36] = np.nan  # six, not
    pieces, notes = mend(read_table({"x": x}), ["x"], Frequency(), None, None)
    assert [(p.first, len(p)) for p in pieces] == [(2, 28), (36, 13)]
    for piece in pieces:
        np.testing.assert_allclose(piece.values[:, 0], piece.first + np.arange(len(piece)))
    assert [note.split(": ")[1].split(" ")[0] for note in notes] == ["5", "1", "3"]


def test_numbers_that_count_rows_are_the_time_and_words_are_told(tmp_path: Path) -> None:
    source = write(tmp_path / "years.csv", year=range(1900, 2000), x=wave(100, 11),
                   who=["a", "b"] * 50)  # fmt: skip
    task, problem = prepared(source)
    assert task.targets == ("x",)
    assert any("'year' tells the time" in r for r in problem.reasons)
    assert any("hold words: who" in r for r in problem.reasons)
    made = task.columns_of(rows := task.read(source), np.zeros((len(rows), 6), np.float32))
    assert made["year"] == [2000, 2001, 2002, 2003, 2004, 2005]


# --- splits and scales --------------------------------------------------------------------------


def test_parts_follow_in_time_and_share_no_target(tmp_path: Path) -> None:
    _, problem = prepared(hourly(tmp_path))
    parts = []
    for rows in (problem.training, problem.validation, problem.test):
        assert isinstance(rows, SeriesRows)
        parts.append({date for row in range(len(rows)) for date in rows.dates(row)})
    assert max(parts[0]) < min(parts[1])
    assert max(parts[1]) < min(parts[2])
    assert max(parts[2]) == "2024-01-17T15:00:00"


def test_nothing_is_learned_from_later_parts(tmp_path: Path) -> None:
    x = wave(400)
    first, _ = prepared(write(tmp_path / "a.csv", when=dates(400).astype("M8[s]"), x=x))
    x[300:] = 1000 * np.arange(100)
    second, _ = prepared(write(tmp_path / "b.csv", when=dates(400).astype("M8[s]"), x=x))
    for name in ("mean", "deviation", "naive", "season", "length"):
        assert getattr(first.learned, name) == getattr(second.learned, name), name


@pytest.mark.parametrize("season", [7, 12, 24])
@pytest.mark.parametrize("likely", [True, False])
def test_season_is_found_under_trend_and_noise(season: int, likely: bool) -> None:
    values = wave(30 * season, season, noise=1.0)[:, None]
    assert find_season([values], [season] if likely else [])[0] == season


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_random_walks_have_no_season(seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(size=(1500, 1))
    assert find_season([drawn], [24, 168])[0] == 1
    assert find_season([drawn.cumsum(axis=0)], [24, 168])[0] == 1


def test_weeks_beat_days_where_they_matter() -> None:
    time = np.arange(24 * 7 * 8)
    weekend = (time // 24 % 7 >= 5) * 1.0
    values = (np.sin(2 * np.pi * time / 24) * (1 - weekend) + 2 * weekend)[:, None]
    assert find_season([values], [24, 168])[0] == 168


def test_windows_are_drawn_evenly_and_keep_the_last() -> None:
    windows = Windows(np.zeros(1000, int), np.arange(1000))
    drawn = windows.at_most(100, seed=0)
    assert len(drawn) == len(np.unique(drawn.starts)) == 100
    assert drawn.starts[-1] == 999
    assert len(np.unique(np.diff(drawn.starts))) > 1


# --- the network --------------------------------------------------------------------------------


def test_network_follows_scale_and_level_of_its_window() -> None:
    source = np.random.default_rng(0)
    network = SeriesNetwork(12, 4, 2, (0, 1), season=4, hidden=8, members=2).reset_parameters(1)
    for parameter in (network.heads, network.own.weight):
        parameter.assign(source.normal(size=parameter.shape).astype(np.float32))
    network.eval()
    past = source.normal(size=(3, 12, 2)).astype(np.float32)
    before = network(past).numpy().reshape(3, 4, 2)
    after = network(past * 5 - 7).numpy().reshape(3, 4, 2)
    np.testing.assert_allclose(after, before * 5 - 7, rtol=1e-3, atol=1e-2)
    assert np.ptp(before) > 0.1


def test_linear_part_is_solved_exactly_where_the_series_is_linear() -> None:
    time = np.arange(300)
    x = np.sin(time / 3) + np.cos(time / 7) + time / 50  # each step is a sum of the steps before
    past = np.lib.stride_tricks.sliding_window_view(x[:-5], 20)[:, :, None]
    future = np.lib.stride_tricks.sliding_window_view(x[20:], 5)
    network = SeriesNetwork(20, 5, season=1, hidden=4, members=1)
    network.solve((past[:150], future[:150]), (past[180:220], future[180:220]))
    made = network.eval()(past[240:].astype(np.float32)).numpy()
    naive = np.abs(past[240:, -1] - future[240:]).mean()
    assert np.abs(made - future[240:]).mean() < 0.02 * naive


def test_linear_part_stays_simple_on_noise() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 25))
    past, future = noise[:, :20, None], noise[:, 20:]
    network = SeriesNetwork(20, 5, season=4, hidden=4, members=1)
    told = network.solve((past[:40], future[:40]), (past[40:80], future[40:80]))
    made = network.eval()(past[100:].astype(np.float32)).numpy()
    assert "the mean" in told
    assert np.square(made - future[100:]).mean() < 1.1


def test_network_refuses_what_does_not_fit() -> None:
    with pytest.raises(ArgumentError, match=r"targets=\(2,\) of 2 columns.*test_series"):
        SeriesNetwork(8, 2, 2, (2,))
    network = SeriesNetwork(8, 2, 1, calendar=4)
    with pytest.raises(ShapeError, match=r"wanted \(batch, 8, 1\)"):
        network(tw.zeros((3, 9, 1)), tw.zeros((3, 2, 4)))
    with pytest.raises(ShapeError, match=r"calendar of shape None.*wanted \(batch, 2, 4\)"):
        network(tw.zeros((3, 8, 1)))


# --- whole runs ---------------------------------------------------------------------------------


def test_figures_by_hand() -> None:
    truth = np.array([[[1.0, 10.0], [2.0, 20.0]]])
    figures = figures_of_series(truth + [[[1.0, -4.0]]], truth, np.array([2.0, 8.0]))
    assert figures["MAE"] == pytest.approx(2.5)
    assert figures["RMSE"] == pytest.approx(np.sqrt(8.5))
    assert figures["MASE"] == pytest.approx(0.5)
    assert figures["R2"] == pytest.approx(np.mean([1 - 1 / 0.25, 1 - 16 / 25]))


def test_a_run_beats_the_naive_forecasts_and_is_the_same_after_loading(tmp_path: Path) -> None:
    source = hourly(tmp_path, temperature=wave(400, 24, seed=3))
    run, results = trained(source, tmp_path / "run", target="load")
    assert run.task.targets == ("load",)
    assert results["season"] == 24
    for name in ("RMSE", "MAE", "MASE"):
        value, naive = value_of(results, name)
        assert value < naive
    assert "one season (24 steps) before" in results["naive"]
    assert min(b["RMSE"] for b in results["baselines"].values()) == value_of(results, "RMSE")[1]
    assert all(f["low"] <= f["value"] <= f["high"] for f in results["figures"])
    shown = results["forecast"][0]
    np.testing.assert_allclose(shown["naive"], wave(400)[-30:-24], atol=1e-4)
    np.testing.assert_allclose(shown["past"][-3:], wave(400)[-9:-6], atol=1e-4)
    assert [len(shown[key]) for key in ("dates", "truth", "prediction", "naive")] == [6] * 4
    assert shown["dates"][-1] == "2024-01-17T15:00:00"
    np.testing.assert_allclose(shown["truth"], wave(400)[-6:], atol=1e-4)
    assert results["importance"][0]["name"] == "load"
    assert len(results["points"]["truth"]) == len(results["points"]["prediction"])
    run.folder.write_results(results)

    again = Run.load(tmp_path / "run")
    rows, known = run.task.read(source), again.task.read(source)
    outputs = run.outputs(rows)
    np.testing.assert_array_equal(outputs, again.outputs(known))
    task: Any = again.task
    made = task.columns_of(known, outputs)
    assert list(made) == ["date", "load"]
    assert made["date"][0] == "2024-01-17T16:00:00"
    ahead = 20 + 3 * np.sin(2 * np.pi * np.arange(400, 406) / 24) + 6
    np.testing.assert_allclose(made["load"], ahead, atol=1.2)
    assert list(again.task.columns(outputs)) == ["step", "load"]


def test_all_windows_of_other_data_can_be_measured(tmp_path: Path) -> None:
    task, _ = prepared(hourly(tmp_path))
    rows = task.read_windows(hourly(tmp_path, 100))
    assert len(rows) == 100 - task.learned.length - 6 + 1
    np.testing.assert_allclose(task.numbers(np.asarray(rows.truth))[0],
                               wave(100)[task.learned.length :][:6], atol=1e-4)  # fmt: skip


def test_several_series_in_one_file(tmp_path: Path) -> None:
    steps, shops = 150, ["north", "south"]
    when = np.tile(dates(steps, "D"), 2)
    columns = {"day": when, "shop": np.repeat(shops, steps),
               "sold": np.concatenate([wave(steps, 7), 3 * wave(steps, 7, seed=1)])}  # fmt: skip
    source = write(tmp_path / "shops.csv", **columns)
    with pytest.raises(DataError, match=r"each date comes 2 times.*--group shop"):
        prepared(source)
    task, problem = prepared(source, group="shop")
    assert {problem.test.show(i)["shop"] for i in range(len(problem.test))} == {*shops}
    rows = task.read(source)
    made = task.columns_of(rows, np.zeros((len(rows), 6), np.float32))
    assert made["shop"] == ["north"] * 6 + ["south"] * 6
    assert made["date"][:6] == made["date"][6:]
    assert made["date"][0] == "2024-05-30"


def test_calendar_is_that_of_the_forecast_steps(tmp_path: Path) -> None:
    task, problem = prepared(hourly(tmp_path, 24 * 40), length=12)
    assert task.learned.parts == ("hour", "weekday")
    rows = problem.test
    assert isinstance(rows, SeriesRows)
    when = np.array(rows.dates(3), "M8[us]")
    np.testing.assert_array_equal(rows.inputs[1][3], calendar(when, ("hour", "weekday")))


def test_settings_and_seed_decide_everything(tmp_path: Path) -> None:
    source = hourly(tmp_path, 200)
    one, two, other = (prepared(source, seed=seed)[1].model for seed in (1, 1, 2))
    same = [(one.state_dict()[k] == two.state_dict()[k]).all() for k in one.state_dict()]
    assert all(same)
    assert any((one.state_dict()[k] != other.state_dict()[k]).any() for k in one.state_dict())


def test_without_a_horizon_one_season_is_forecast(tmp_path: Path) -> None:
    task, problem = prepared(hourly(tmp_path), horizon=None)
    assert task.learned.horizon == 24 == problem.settings.horizon
    assert SeriesTask.recognises(hourly(tmp_path), Settings()) == ""
    assert "horizon of 3" in SeriesTask.recognises(hourly(tmp_path), Settings(horizon=3))


# --- what cannot be forecast --------------------------------------------------------------------


def test_short_series_shrink_the_window_and_then_say_how_much_is_wanted(tmp_path: Path) -> None:
    task, problem = prepared(hourly(tmp_path, 40))
    assert task.learned.length >= 4
    assert any("short for a horizon of 6" in note for note in problem.notes)
    assert min(map(len, (problem.training, problem.validation, problem.test))) >= 3
    with pytest.raises(DataError, match=r"20 steps.*to forecast 6 steps at least 28 are needed"):
        prepared(hourly(tmp_path, 20))
    prepared(hourly(tmp_path, 28))
    with pytest.raises(DataError, match=r"40 steps.*to forecast 100 steps at least 310"):
        prepared(hourly(tmp_path, 40), horizon=100)


def test_refusals(tmp_path: Path) -> None:
    source = hourly(tmp_path, 100, still=[3] * 100, who=["x", "y"] * 50)
    with pytest.raises(DataError, match=r"'still' is 3 in all \d+ training steps"):
        prepared(source, target="still")
    _, problem = prepared(source)
    assert any("never change in the training part: still" in note for note in problem.notes)
    for given, words in (
        ({"target": "lod"}, "did you mean 'load'"),
        ({"target": "who"}, "holds no numbers to forecast"),
        ({"time": "who"}, "holds no dates"),
        ({"time": "load", "target": "still"}, "is 3 in all"),
        ({"length": 90}, "does not fit into"),
        ({"drop": ("load", "still")}, "no column of numbers"),
    ):
        with pytest.raises(DataError, match=words):
            prepared(source, **given)
    with pytest.raises(DataError, match="fewer than two different dates"):
        prepared(write(tmp_path / "one.csv", when=["2024-01-01"] * 30, x=range(30)))


def test_broken_dates_name_the_row(tmp_path: Path) -> None:
    when = [str(d) for d in dates(60, "D")]
    when[7] = "2024-13-40"
    with pytest.raises(DataError, match=r"line 9: '2024-13-40' is no date"):
        prepared(write(tmp_path / "broken.csv", day=when, x=range(60)))
    when = [f"0{1 + i % 9}/0{1 + i // 9}/2024" for i in range(60)]
    with pytest.raises(DataError, match=r"day and month cannot be told apart.*bring them to one"):
        prepared(write(tmp_path / "both.csv", day=when, x=range(60)))


def test_predictions_need_the_columns_and_enough_steps(tmp_path: Path) -> None:
    task, _ = prepared(hourly(tmp_path, other=wave(400, 9)))
    short = hourly(tmp_path, task.learned.length - 1, other=wave(task.learned.length - 1, 9))
    with pytest.raises(DataError, match=rf"the network reads {task.learned.length}"):
        task.read(short)
    with pytest.raises(DataError, match=r"no column 'other', which the network was trained on"):
        task.read(hourly(tmp_path, 400))
    kept = replace(task.learned, frequency=find_frequency(dates(10).astype("M8[us]")))
    assert kept.frequency == task.learned.frequency
    assert len(Piece("", 0, np.zeros((3, 1)))) == 3


# --- real series --------------------------------------------------------------------------------


@with_data
@pytest.mark.parametrize("name", ["airline-passengers", "monthly-sunspots"])
def test_known_series_are_forecast_better_than_naively(name: str, tmp_path: Path) -> None:
    _, results = trained(DATA / f"{name}.csv", tmp_path / name, horizon=12)
    value, naive = value_of(results, "RMSE")
    assert value < 0.9 * naive
