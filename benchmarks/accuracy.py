"""Compare ``thalweg train`` without further options with scikit-learn, on the same rows.

Usage: python benchmarks/accuracy.py [NAME ...] [--seeds 5] [--data FOLDER] [--without boosting]

For each data set and seed, ``thalweg.tasks`` splits the rows, trains and measures; scikit-learn's
models get the training and the validation rows and are measured on the same test rows. Prints mean
and standard deviation over the seeds as a table for docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.tasks import Settings
from thalweg.tasks.appraisal import figures_of_classes, figures_of_numbers
from thalweg.tasks.task import recognise
from thalweg.tasks.training import train

HERE = Path(__file__).resolve().parents[2] / "shared" / "data"
WINE = ["fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides",
        "free sulfur dioxide", "total sulfur dioxide", "density", "pH", "sulphates", "alcohol",
        "quality"]  # fmt: skip
ADULT = ["age", "workclass", "fnlwgt", "education", "education-num", "marital-status",
         "occupation", "relationship", "race", "sex", "capital-gain", "capital-loss",
         "hours-per-week", "native-country", "income"]  # fmt: skip
IRIS = ["sepal length", "sepal width", "petal length", "petal width", "species"]
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "penguins": ("tabular/penguins.csv", {"target": "species"}),
    "iris": ("tabular/iris.csv", {"target": "species", "names": IRIS, "header": False}),
    "adult": ("tabular/adult_train.csv", {"target": "income", "names": ADULT, "header": False}),
    "california": ("tabular/california_housing.csv", {"target": "median_house_value"}),
    "diamonds": ("tabular/diamonds.csv", {"target": "price"}),
    "wine-red": ("tabular/winequality-red.csv",
                 {"target": "quality", "names": WINE, "header": False}),
    "wine-white": ("tabular/winequality-white.csv",
                   {"target": "quality", "names": WINE, "header": False}),
    "spam": ("text/SMSSpamCollection.tsv", {}),
    "speeches": ("text/tinyshakespeare.txt", {}),
    "spoken-digits": ("audio/fsdd_300.tar.gz", {}),
    "cifar10-part": ("cifar10/cifar10_jpeg.tar.gz", {}),
}  # fmt: skip


def speeches(text: str) -> str:
    """Return the speeches of the ten people in a play who have most, as labelled lines."""
    found: dict[str, list[str]] = {}
    for part in text.split("\n\n"):
        who, _, said = part.partition(":\n")
        if said.strip():
            found.setdefault(who, []).append(" ".join(said.split()))
    most = sorted(found, key=lambda who: -len(found[who]))[:10]
    return "".join(f"{who}\t{said}\n" for who in most for said in found[who])


def source_of(name: str, data: Path, room: Path) -> Path:
    """Return the file or folder of a set; archives are unpacked, of CIFAR-10 300 of each class."""
    path = data / SETS[name][0]
    if name == "speeches":
        place = room / "speeches.tsv"
        place.write_text(speeches(path.read_text(encoding="utf-8")), encoding="utf-8")
        return place
    if not path.name.endswith(".tar.gz"):
        return path
    place = room / name
    if not place.exists():
        counts: dict[str, int] = {}
        with tarfile.open(path) as archive:
            for member in archive:
                kind = str(Path(member.name).parent)
                counts[kind] = counts.get(kind, 0) + member.isfile()
                if "cifar" not in name or ("train" in kind and counts[kind] <= 300):
                    archive.extract(member, place, filter="data")
    while len(inside := [p for p in place.iterdir() if not p.name.startswith(".")]) == 1:
        place = inside[0]
    return place


def flat(rows: Any, task: str) -> Any:
    """Return rows as scikit-learn takes them: a frame, texts, or numbers (n, features)."""
    if task == "texts":
        return [str(rows.show(i)["text"]) for i in range(len(rows))]
    if task == "table":
        import pandas

        return pandas.DataFrame([rows.show(i) for i in range(len(rows))])
    x = np.concatenate([np.asarray(x).reshape(len(x), -1) for x in rows.inputs], axis=1)
    return x.astype(np.float32) / (255 if x.dtype == np.uint8 else 1)


def columns(frame: Any, scaled: bool) -> Any:
    """Return the usual preparation of a frame: scaled and one-hot, or ordinal for trees."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numbers = [c for c in frame if frame[c].dtype.kind in "fiu"]
    words = [c for c in frame if c not in numbers]
    if scaled:
        number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        word = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10)
    else:
        number = "passthrough"
        word = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("n", number, numbers), ("w", word, words)], sparse_threshold=0)


def judges(task: str, kind: str, x: Any) -> dict[str, Callable[[], Any]]:
    """Return scikit-learn's models with their usual preparation."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if task == "table":
        def scaled() -> Any:
            return columns(x, True)

        def plain() -> Any:
            return columns(x, False)
    elif task == "texts":
        scaled = plain = lambda: TfidfVectorizer(min_df=2, sublinear_tf=True)
    else:
        scaled, plain = StandardScaler, lambda: "passthrough"
    if kind == "classes":
        made = {
            "linear": lambda: make_pipeline(scaled(), LogisticRegression(max_iter=2000)),
            "MLP": lambda: make_pipeline(scaled(), MLPClassifier(random_state=0)),
            "boosting": lambda: make_pipeline(
                plain(), HistGradientBoostingClassifier(random_state=0)
            ),
        }
    else:
        made = {
            "linear": lambda: make_pipeline(scaled(), RidgeCV()),
            "MLP": lambda: TransformedTargetRegressor(
                make_pipeline(scaled(), MLPRegressor(random_state=0)), transformer=StandardScaler()
            ),
            "boosting": lambda: make_pipeline(
                plain(), HistGradientBoostingRegressor(random_state=0)
            ),
        }
    if task == "texts":
        del made["boosting"]  # it takes no sparse rows
    return made


def one(
    name: str, data: Path, room: Path, seed: int, without: list[str]
) -> tuple[str, dict[str, float]]:
    """Return the name of the figure, and its value for each model, for one seed."""
    settings = Settings.of(SETS[name][1] | {"seed": seed})
    source = source_of(name, data, room)
    began = time.perf_counter()
    made = train(source, settings, Path(tempfile.mkdtemp(dir=room)))
    found = {"seconds": time.perf_counter() - began}
    task = recognise(source, settings)[0]  # the same split again: the seed decides
    problem = task.prepare(source)
    figure = "accuracy" if task.kind == "classes" else "RMSE"
    by_name = {f["name"]: f for f in made.results["figures"]}
    found |= {"thalweg": by_name[figure]["value"], "naive": by_name[figure]["naive"]}
    x, rest = flat(problem.training, task.name), flat(problem.validation, task.name)
    test = flat(problem.test, task.name)
    y = np.concatenate([problem.training.truth, problem.validation.truth])
    truth = np.asarray(problem.test.truth)
    if task.name == "table":
        import pandas

        x = pandas.concat([x, rest], ignore_index=True).drop(columns=list(task.targets))
        test = test.drop(columns=list(task.targets))
    else:
        x = x + rest if isinstance(x, list) else np.concatenate([x, rest])
    if task.kind == "numbers":
        y, truth = task.numbers(y)[:, 0], task.numbers(truth)
    for kind, make in judges(task.name, task.kind, x).items():
        if kind in without:
            continue
        model = make().fit(x, y)
        if task.kind == "classes":
            shares = np.zeros((len(truth), len(task.classes)))
            shares[:, model.classes_] = model.predict_proba(test)
            found[kind] = figures_of_classes(shares, truth)[figure]
        else:
            found[kind] = figures_of_numbers(model.predict(test)[:, None], truth)[figure]
    return figure, found


def main() -> None:
    """Print a line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=HERE)
    parser.add_argument("--without", nargs="*", default=[], help="judges that take too long")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| data | figure | thalweg | scikit-learn's MLP | boosting | linear | naive | seconds |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as place:
        for name in options.names or SETS:
            runs = [one(name, options.data, Path(place), seed, options.without)
                    for seed in range(options.seeds)]  # fmt: skip
            told = {key: [found.get(key) for _, found in runs] for key in runs[0][1]}
            cells = []
            for key in ("thalweg", "MLP", "boosting", "linear", "naive"):
                values = [v for v in told.get(key, []) if v is not None]
                digits = 4 if runs[0][0] == "accuracy" or np.mean(values or [0]) < 10 else 0
                cells.append(
                    f"{np.mean(values):,.{digits}f} ± {np.std(values):,.{digits}f}"
                    if values else ""
                )
            print(f"| {name} | {runs[0][0]} | {' | '.join(cells)} | "
                  f"{np.mean(told['seconds']):.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
