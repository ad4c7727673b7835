"""Every example of the gallery runs in its short form, and shows what it says."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from thalweg.app.cli.commands import app
from thalweg.app.cli.examples import example_scripts

FOLDER = Path(__file__).parents[2] / "examples"
NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Examples import what they share by its name, as scripts of one folder do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in [*NAMES, "_gallery"]:
        sys.modules.pop(name, None)


def short(name: str, out: Path | None = None) -> tuple[ModuleType, dict[str, float]]:
    """Return an example's module and its figures; skip the test where its data is not there."""
    missing = importlib.import_module("_gallery").MissingDataError
    module = importlib.import_module(name)
    try:
        return module, module.main(short=True, out=out)
    except missing as error:
        pytest.skip(str(error))


# What must hold in the short form already, where chance or a broken part would not do.
CLAIMS = {
    "cifar_resnet": lambda f: f["training_images"] == 600,
    "dcgan_digits": lambda f: 0 < f["entropy_of_digits"] <= 1,
    "digits_lenet": lambda f: f["test_accuracy"] > 0.85,
    "digits_remedies": lambda f: (
        f["test_accuracy_all_images"] > f["test_accuracy_none"] - 0.05 > 0.5
    ),
    "forecast_etth1": lambda f: max(f["mse_lstm"], f["mse_gru"]) < 1.2 * f["mse_last_value"],
    "grid_search": lambda f: min(f["test_accuracy"], f["test_accuracy_scikit_learn"]) > 0.6,
    "linear_stack": lambda f: (
        f["collapse_error"] < 1e-5
        and f["accuracy_linear_stack"] < 0.6
        and f["accuracy_relu_stack"] > 0.9
    ),
    "names_rnn": lambda f: f["nats_per_letter"] < f["nats_per_letter_by_frequency"] - 0.2,
    "rumelhart_1986": lambda f: (
        f["symmetry_right_of_64"] == 64
        and f["symmetry_unevenness"] < 0.01
        and f["family_facts"] == 104
        and f["family_right_of_100"] >= 99
    ),
    "shakespeare_gpt": lambda f: f["validation_loss"] < math.log(65) - 0.3,
    "single_neuron": lambda f: (
        f["gradient_of_step"] == 0 < f["gradient_of_sigmoid"]
        and f["descent_accuracy_sigmoid"] > f["best_line_accuracy"] - 0.02
        and f["descent_accuracy_step"] < 0.5
    ),
    "spam_transformer": lambda f: f["accuracy"] > f["accuracy_always_wanted"],
    "spoken_digits": lambda f: f["test_accuracy"] > 0.4,
    "universal_approximation": lambda f: (
        f["rms_error_width_16"] < f["rms_error_width_4"] / 2 < f["rms_error_width_1"] / 2
    ),
    "vae_digits": lambda f: 0 < f["nats_for_code"] < f["nats_for_pixels"] < 260,
}
DRAWN = ("dcgan_digits", "vae_digits")


def test_every_example_makes_a_claim_here() -> None:
    assert sorted(CLAIMS) == NAMES


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("name", NAMES)
def test_the_short_form_runs_and_its_claim_holds(name: str, tmp_path: Path) -> None:
    module, figures = short(name, tmp_path if name in DRAWN else None)
    assert all(math.isfinite(value) for value in figures.values()), figures
    assert CLAIMS[name](figures), figures
    assert (tmp_path / f"{name}.png").is_file() == (name in DRAWN)
    assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 150
    assert "Seen:" in (module.__doc__ or "")
    assert any(mark in (module.__doc__ or "") for mark in ("doi:", "arXiv:", "(19", "(20"))


@pytest.mark.usefixtures("importable")
def test_missing_data_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    gallery = importlib.import_module("_gallery")
    with pytest.raises(gallery.MissingDataError, match="THALWEG_DATA"):
        importlib.import_module("names_rnn").main(short=True)


def test_the_command_lists_all_examples_with_a_line_each() -> None:
    result = CliRunner().invoke(app, ["examples", "list"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == NAMES == list(example_scripts())
    assert all(line.endswith(".") for line in lines)


def test_the_command_runs_an_example_and_passes_its_exit_code_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    result = CliRunner().invoke(app, ["examples", "run", "names-rnn", "--short"])
    assert result.exit_code == 2  # its data is not there


def test_an_unknown_example_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(app, ["examples", "run", "digits_lenett"])
    assert result.exit_code == 2
    assert "'digits_lenet'" in result.stderr
    assert "Traceback" not in result.output


def test_without_the_source_the_command_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = importlib.import_module("thalweg.app.cli.examples")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "a/b/c/d/examples.py"))
    result = CliRunner().invoke(app, ["examples", "list"])
    assert result.exit_code == 2
    assert "get the source" in result.stderr
