"""Tables: what is learned is kept to the bit, and predictions need what they need and no more."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tasks.small_tables import FLAGS, SMALL, mixed, refused, run_of, thalweg, write

from thalweg.data import read_table
from thalweg.errors import DataError
from thalweg.formats.checkpoint import find_checkpoints
from thalweg.settings import settings
from thalweg.tasks import Run, Settings, TableTask, Trained, train
from thalweg.tasks.parts import split_labels, split_rows
from thalweg.train import Events

HEAD = "size,kind,code,day,words\n"
ROW = "0.5,p,m3,2015-04-05,it is warm\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place = tmp_path_factory.mktemp("table")
    return run_of(mixed(place / "t.csv", 400), place / "run", epochs=30)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


# --- what is learned -----------------------------------------------------------------------------


def test_it_learns_what_can_be_learned(trained: Trained) -> None:
    figures = {figure["name"]: figure for figure in trained.results["figures"]}
    assert figures["accuracy"]["value"] > 0.9
    assert figures["accuracy"]["naive"] < 0.65
    assert figures["log loss"]["value"] < figures["log loss"]["naive"]
    importance = {entry["name"]: entry["worse"] for entry in trained.results["importance"]}
    assert set(importance) == {"size", "kind", "code", "day", "words"}
    assert min(importance["size"], importance["words"]) > max(importance["kind"],
                                                              importance["code"])  # fmt: skip


def test_each_column_has_its_own_reason(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3, 2000))
    source = write(tmp_path / "t.csv", {
        "a": x[0].tolist(), "a b": lambda i: "pq"[i % 2], "a b c": x[1].tolist(),
        "answer": x[2].tolist(),
    }, 2000)  # fmt: skip
    task = TableTask(Settings.of({"target": "answer"}))
    reasons = task.prepare(source).reasons
    assert sum(reason.startswith("a is encoded piece by piece") for reason in reasons) == 1
    assert sum(reason.startswith("a b c is encoded piece by piece") for reason in reasons) == 1
    assert sum(reason.startswith("a b is one-hot") for reason in reasons) == 1
    assert len(reasons) == 4 + 3


def test_columns_that_were_left_out_may_be_there_later(trained: Trained, tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv")
    run = run_of(source, tmp_path / "run", drop=("day", "words")).run
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(run.predict(source)["prediction"]) == 160


def test_a_column_that_cannot_be_read_is_not_needed_later(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", {
        "id": lambda i: f"A{i}" if i == 37 else i, "x": lambda i: i % 7,
        "answer": lambda i: "yes" if i % 7 > 3 else "no",
    }, 200)  # fmt: skip
    run = run_of(source, tmp_path / "run", drop=("id",)).run
    assert len(run.predict(source)["prediction"]) == 200


@pytest.mark.parametrize("targets", [["y"], ["y", "z"]])
def test_numbers_come_back_in_their_own_unit(targets: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=300)
    source = write(tmp_path / "t.csv", {
        "x": [f"{v:.4f}" for v in x], "y": [f"{1e6 + 5e4 * v:.3f}" for v in x],
        "z": [f"{1e-3 * v * v:.8f}" for v in x],
    }, 300)  # fmt: skip
    made = run_of(source, tmp_path / "run", target=targets, epochs=60, hidden=[32],
                  drop=[name for name in ("y", "z") if name not in targets])  # fmt: skip
    assert made.run.task.kind == "numbers"
    columns = made.run.predict({"x": np.array([-1.0, 0.0, 1.0])})
    assert set(columns) == ({"prediction"} if len(targets) == 1 else {"y", "z"})
    y = columns["prediction" if len(targets) == 1 else "y"]
    assert y == pytest.approx([950_000, 1_000_000, 1_050_000], abs=12_000)
    r2 = {figure["name"]: figure["value"] for figure in made.results["figures"]}["R2"]
    assert r2 > 0.8
    assert made.results["targets"] == targets
    assert np.asarray(made.results["points"]["truth"]).shape[1] == len(targets)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (lambda i: i % 2, "classes", (0, 1)),
        (lambda i: [-1.5, 2][i % 2], "classes", (-1.5, 2.0)),
        (lambda i: i % 3, "classes", (0, 1, 2)),  # 0, 1, 2 often: names of classes
        (lambda i: i % 3 + 1.5, "numbers", ()),
        (lambda i: i % 60, "numbers", ()),
        (lambda i: ["no", "yes"][i % 2], "classes", ("no", "yes")),
        (lambda i: ["true", "false"][i % 2], "classes", ("false", "true")),
    ],
)
def test_kind_of_target(values: Any, kind: str, classes: tuple[Any, ...], tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", {"x": lambda i: i * 0.7 % 3, "answer": values}, 180)
    task = TableTask(Settings.of({"target": "answer"}))
    task.prepare(source)
    assert task.kind == kind
    assert task.classes == classes
    if kind == "numbers":
        named = TableTask(Settings.of({"target": "answer", "categories": ["answer"]}))
        named.prepare(source)
        assert named.kind == "classes"


# --- the same bits -------------------------------------------------------------------------------


def test_seed_decides_all_bits_and_threads_none(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv")
    found = {}
    before = settings.threads
    try:
        for name, threads, seed in (("a", 1, 3), ("b", 2, 3), ("c", 1, 3), ("d", 1, 4)):
            settings.threads = threads
            made = run_of(source, tmp_path / name, seed=seed, members=8, hidden=[96, 96])
            timed = ("seconds", "history", "finished")
            results = {k: v for k, v in made.results.items() if k not in timed}
            found[name] = (digest(tmp_path / name), json.dumps(results, default=str))
    finally:
        settings.threads = before
    assert found["a"] == found["b"] == found["c"]
    assert found["a"][0] != found["d"][0]


class Killed(Events):
    """Ends the process in the middle of training, as a power cut does."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints

    def on_epoch_end(self, run: Any) -> None:
        if run.epoch == 3:
            while not find_checkpoints(self.checkpoints):  # another thread writes them
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 100)
    chosen = Settings.of({"target": "answer", **SMALL, "epochs": 6})
    whole = train(source, chosen, tmp_path / "whole")
    script = (
        "from pathlib import Path; import sys\n"
        "from tests.tasks.test_table import Killed\n"
        "from thalweg.tasks import Settings, train\n"
        "chosen = Settings.read(Path(sys.argv[1]) / 'whole' / 'config.toml')\n"
        "train(Path(sys.argv[1]) / 't.csv', Settings.of(chosen), Path(sys.argv[1]) / 'cut',\n"
        "      events=[Killed(Path(sys.argv[1]) / 'cut' / 'checkpoints')])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False,
                           cwd=Path(__file__).parents[2], capture_output=True)  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    with pytest.raises(Exception, match="holds a run already"):
        train(source, chosen, tmp_path / "cut")
    # The command line goes on with the settings of the folder; none has to be said again.
    done = thalweg("train", source, "--output", tmp_path / "cut", "--resume", "--quiet")
    assert done.exit_code == 0, done.output
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    loaded = Run.load(tmp_path / "cut")
    assert loaded.predict(source) == whole.run.predict(source)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no SIGINT of this kind")
def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 300)
    running = subprocess.Popen(
        [sys.executable, "-m", "thalweg", "train", str(source), "--target", "answer", "--epochs",
         "100000", "--patience", "100000", "--hidden", "8", "--quiet", "--output",
         str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = tmp_path / "run" / "metrics.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and (not log.exists() or log.read_text().count("\n") < 10):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "the best network so far" in err
    assert "Traceback" not in err
    assert "accuracy" in out
    Run.load(tmp_path / "run").predict(source)


def test_a_budget_ends_a_run_with_a_network(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 300)
    began = time.monotonic()
    made = run_of(source, tmp_path / "run", epochs=10**6, patience=10**6, seconds=1.5)
    assert time.monotonic() - began < 30
    assert not made.history.interrupted
    assert made.history.best_epoch
    assert Run.load(tmp_path / "run").predict(source)["prediction"]


# --- predictions ---------------------------------------------------------------------------------


def predicted(trained: Trained, text: str, tmp_path: Path) -> dict[str, list[Any]]:
    (tmp_path / "new.csv").write_text(text)
    return Run.load(trained.run.folder.place).predict(tmp_path / "new.csv")


def test_targets_are_not_needed_and_do_not_matter(trained: Trained, tmp_path: Path) -> None:
    bare = predicted(trained, HEAD + ROW, tmp_path)
    assert set(bare) == {"prediction", "probability", "probability of no", "probability of yes"}
    assert bare["prediction"] == ["yes"]
    head = HEAD.replace("\n", ",answer\n")
    for answer in ("yes", "no", "", "maybe"):
        text = head + ROW.replace("\n", f",{answer}\n")
        assert predicted(trained, text, tmp_path) == bare


def test_order_of_columns_does_not_matter(trained: Trained, tmp_path: Path) -> None:
    other = "words,day,code,kind,size\nit is warm,2015-04-05,m3,p,0.5\n"
    assert predicted(trained, other, tmp_path) == predicted(trained, HEAD + ROW, tmp_path)


def test_rows_do_not_depend_on_each_other(trained: Trained, tmp_path: Path) -> None:
    rows = [ROW, ROW.replace("0.5", "-2"), ROW.replace("warm", "cold"), ROW.replace("m3", "m7")]
    together = predicted(trained, HEAD + "".join(rows), tmp_path)
    for i, row in enumerate(rows):
        alone = predicted(trained, HEAD + row, tmp_path)
        assert alone["probability"] == pytest.approx(together["probability"][i : i + 1], abs=1e-6)


@pytest.mark.parametrize(
    "row",
    ["0.5,never seen,m999,2050-01-01,\n", ",,,,\n", "NA,?,null,,nan\n", "1e30,p,m3,0001-01-01,x\n",
     "0.5,p,m3,2015-04-05,日本語 😀 " + "long " * 500 + "\n"],
)  # fmt: skip
def test_unseen_and_missing_values_give_a_prediction(
    row: str, trained: Trained, tmp_path: Path
) -> None:
    made = predicted(trained, HEAD + row, tmp_path)
    assert np.isfinite(made["probability"]).all()
    assert sum(v[0] for k, v in made.items() if k.startswith("probability of")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size,kind,code,words\n0.5,p,m3,warm\n", "has no column 'day'"),
        ("sizes,kind,code,day,words\n" + ROW, "no column 'size'.*did you mean 'sizes'"),
        (HEAD + ROW + "much,p,m3,2015-04-05,x\n", "column 'size'.*line 3: 'much' is no number"),
        (HEAD + ROW + "inf,p,m3,2015-04-05,x\n", "column 'size'.*line 3.*inf"),
        (HEAD + ROW + "1,p,m3,05.04.2015,x\n", "column 'day'.*line 3: '05.04.2015' is no date"),
        (HEAD, "names but no rows"), ("", "empty"), (HEAD + "1,2\n", "line 2 has 2 fields"),
        ("answer\nyes\n", "no column but 'answer'"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:columns .* were not in the training table")
def test_what_cannot_be_predicted(
    text: str, message: str, trained: Trained, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        predicted(trained, text, tmp_path)


def test_a_column_too_many_is_told(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("more," + HEAD + "7," + ROW)
    result = thalweg("predict", trained.run.folder.place, tmp_path / "new.csv")
    assert result.exit_code == 0
    assert result.stderr == (
        "note: columns ['more'] were not in the training table; they are left out.\n"
    )
    assert len(result.stdout.splitlines()) == 2


def test_predictions_of_frames_and_dicts(trained: Trained, tmp_path: Path) -> None:
    import pandas

    (tmp_path / "new.csv").write_text(HEAD + ROW)
    frame = pandas.read_csv(tmp_path / "new.csv")
    expected = predicted(trained, HEAD + ROW, tmp_path)
    assert trained.run.predict(frame) == expected
    task: Any = trained.run.task
    table = read_table(tmp_path / "new.csv", like=task.pipeline.schema)
    assert trained.run.predict(table) == expected


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_predictions_as_files(suffix: str, trained: Trained, tmp_path: Path) -> None:
    source = trained.run.folder.place.parent / "t.csv"
    out = tmp_path / f"p{suffix}"
    result = thalweg("predict", trained.run.folder.place, source, "--output", out)
    assert result.exit_code == 0
    columns = trained.run.predict(source)
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["prediction"] for row in rows] == columns["prediction"]
        assert [row["probability"] for row in rows] == columns["probability"]
    else:
        table = read_table(out)
        assert table.column("prediction").tolist() == columns["prediction"]
        assert table.column("probability").tolist() == pytest.approx(columns["probability"],
                                                                     rel=1e-5)  # fmt: skip


def test_output_that_cannot_be_written_is_found_before_the_work(
    trained: Trained, tmp_path: Path
) -> None:
    run, source = trained.run.folder.place, trained.run.folder.place.parent / "t.csv"
    assert "ends in .csv or .jsonl" in refused("predict", run, source, "--output", tmp_path / "p")
    out = tmp_path / "none" / "p.csv"
    assert f"its folder {out.parent} does not exist" in refused("predict", run, source,
                                                                "--output", out)  # fmt: skip
    (tmp_path / "d.csv").mkdir()
    assert "is a folder" in refused("predict", run, source, "--output", tmp_path / "d.csv")


def test_evaluate_gives_the_figures_of_the_test_rows(trained: Trained, tmp_path: Path) -> None:
    source = trained.run.folder.place.parent / "t.csv"
    task = TableTask(Settings.of(Settings.read(trained.run.folder.config)))
    test = task.prepare(source).test
    lines = source.read_text().splitlines()
    places = [int(test.place(i).rsplit(" ", 1)[1]) - 1 for i in range(len(test))]
    (tmp_path / "held.csv").write_text("\n".join([lines[0], *(lines[p] for p in places)]))
    result = thalweg("evaluate", trained.run.folder.place, tmp_path / "held.csv", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    wanted = {figure["name"]: figure["value"] for figure in trained.results["figures"]}
    assert told["rows"] == len(test)
    assert told["figures"] == pytest.approx(wanted, abs=1e-6)
    message = refused("evaluate", trained.run.folder.place, _without(source, tmp_path))
    assert "has no 'answer' to compare with" in message


def _without(source: Path, tmp_path: Path) -> Path:
    lines = source.read_text().splitlines()
    made = tmp_path / "bare.csv"
    made.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    return made


# --- the split -----------------------------------------------------------------------------------


def test_groups_stay_together_and_time_comes_last(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", {
        "x": lambda i: i * 0.7 % 3, "who": lambda i: f"g{i % 14}", "when": lambda i: 500 - i,
        "answer": lambda i: i % 2,
    }, 140)  # fmt: skip
    table = read_table(source)
    for given in ({"group": "who"}, {"time": "when"}):
        chosen = Settings.of({"target": "answer", **given})
        task = TableTask(chosen)
        problem = task.prepare(source)
        parts = [[int(p.place(i).rsplit(" ", 1)[1]) - 2 for i in range(len(p))]
                 for p in (problem.training, problem.validation, problem.test)]  # fmt: skip
        assert sorted(np.concatenate(parts).tolist()) == list(range(140))
        if "group" in given:
            groups = [set(table.column("who")[part]) for part in parts]
            assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
            assert "who" not in task.pipeline.columns
        else:
            times = [table.column("when")[part] for part in parts]
            assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()


def test_classes_are_in_all_parts_and_rare_ones_only_train() -> None:
    labels = np.array(["a"] * 80 + ["b"] * 15 + ["c"] * 2 + ["d"])
    notes: list[str] = []
    parts = split_labels(labels, Settings(), notes)
    assert sorted(np.concatenate(parts).tolist()) == list(range(98))
    assert [set(labels[part]) for part in parts] == [{"a", "b", "c", "d"}, {"a", "b"}, {"a", "b"}]
    assert "c, d" in notes[0]


def test_rows_of_a_class_that_only_comes_later_are_left_out_and_told(tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", {
        "x": lambda i: i * 0.7 % 3, "when": lambda i: i,
        "answer": lambda i: "new" if i > 95 else "ab"[i % 2],
    }, 100)  # fmt: skip
    task = TableTask(Settings.of({"target": "answer", "time": "when"}))
    problem = task.prepare(source)
    assert task.classes == ("a", "b")
    assert len(problem.test) == 11
    assert any("4 rows of the test part are left out" in note and "new" in note
               for note in problem.notes)  # fmt: skip
    late = write(tmp_path / "late.csv", {
        "x": lambda i: i * 0.7 % 3, "when": lambda i: i,
        "answer": lambda i: f"n{i % 3}" if i >= 70 else "ab"[i % 2],
    }, 100)  # fmt: skip
    with pytest.raises(DataError, match="no row of the validation part is of a class that"):
        TableTask(Settings.of({"target": "answer", "time": "when"})).prepare(late)


def test_no_row_is_in_two_parts_whatever_the_shares() -> None:
    table = read_table({"x": np.arange(57.0), "y": np.arange(57.0) % 7})
    from thalweg.data.features import NumberTarget

    for test, held in ((0.15, 0.15), (0.5, 0.1), (0.02, 0.9)):
        parts = split_rows(table, Settings(test=test, validation=held, target=("y",)),
                           NumberTarget(), [])  # fmt: skip
        assert sorted(np.concatenate(parts).tolist()) == list(range(57))


# --- the command line ----------------------------------------------------------------------------


def test_hidden_none_is_no_hidden_layer(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 60)
    result = thalweg("train", source, "--target", "answer", "--epochs", 1, "--hidden", "none",
                     "--json", "--output", tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["task"] == "table"
    assert Settings.read(tmp_path / "run" / "config.toml")["hidden"] == []


def test_flags_come_before_the_file_of_settings(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 60)
    (tmp_path / "c.toml").write_text('target = "kind"\nepochs = 1\nmembers = 2\nhidden = [4]\n')
    result = thalweg("train", source, "--config", tmp_path / "c.toml", "--target", "answer",
                     "--set", "members=3", "--output", tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    told = Settings.read(tmp_path / "run" / "config.toml")
    assert (told["target"], told["members"], told["hidden"]) == (["answer"], 3, [4])
    # What is written says all: it gives the same network.
    again = thalweg("train", source, "--config", tmp_path / "run" / "config.toml", "--quiet",
                    "--output", tmp_path / "again")  # fmt: skip
    assert again.exit_code == 0, again.output
    assert digest(tmp_path / "again") == digest(tmp_path / "run")


def test_other_optimisers(tmp_path: Path) -> None:
    source = mixed(tmp_path / "t.csv", 60)
    for name in ("sgd", "lion", "lbfgs"):
        result = thalweg("train", source, "--target", "answer", *FLAGS, "--optimizer", name,
                         "--output", tmp_path / name)  # fmt: skip
        assert result.exit_code == 0, result.output


def test_names_of_any_letters(tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    rows = [f"{i * 0.7 % 3},{'ä😀'[i % 2]}" for i in range(60)]
    source.write_text("größe \"m\",ziel 😀\x7f\n".replace('"', "'") + "\n".join(rows), "utf-8")
    result = thalweg("train", source, "--target", "ziel 😀\x7f", *FLAGS, "--output",
                     tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    made = thalweg("predict", tmp_path / "run", source)
    assert "probability of 😀" in made.stdout
    shutil.rmtree(tmp_path / "run")
