"""``thalweg models``: every architecture is listed, and each one's layers can be seen."""

from __future__ import annotations

import json

from typer.testing import CliRunner

import thalweg as tw
from thalweg.app.cli.commands import app
from thalweg.app.cli.models import readable


def thalweg(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_table_has_all_architectures_with_parameters_and_flops() -> None:
    printed = thalweg()
    for told in tw.models.list():
        (line,) = [row for row in printed.splitlines() if row.split()[:1] == [told.name]]
        assert f"{told.parameters:,}" in line
        assert readable(told.flops) in line
    assert "25,557,032  8.18 G  224 x 224 x 3" in printed
    assert f"{len(tw.models.list())} architectures" in printed


def test_json_has_the_exact_numbers() -> None:
    rows = {row["name"]: row for row in json.loads(thalweg("--json"))}
    assert set(rows) == {told.name for told in tw.models.list()}
    assert rows["resnet50"]["parameters"] == 25_557_032
    assert rows["resnet50"]["inputs"] == [[224, 224, 3]]
    assert json.loads(thalweg("lenet5", "--json"))[0]["flops"] == 833_040


def test_one_architecture_is_shown_with_its_layers() -> None:
    printed = thalweg("lenet5")
    assert "doi:10.1109/5.726791" in printed
    assert "conv1" in printed
    assert "61,706 trainable parameters" in printed


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    result = CliRunner().invoke(app, ["models", "lenet"])
    assert result.exit_code == 2
    assert not result.stdout
    assert "did you mean 'lenet5'" in result.stderr
    assert "Traceback" not in result.output


def test_numbers_are_rounded_to_three_digits() -> None:
    found = [readable(n) for n in (0, 999, 1000, 9_994, 9_996, 99_960, 999_499, 999_600, 10**12)]
    assert found == ["0", "999", "1.00 k", "9.99 k", "10.0 k", "100 k", "999 k", "1.00 M", "1.00 T"]
