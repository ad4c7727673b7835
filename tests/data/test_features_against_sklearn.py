"""Feature transformers give the numbers of scikit-learn's, on the same training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.data import features as f

preprocessing = pytest.importorskip("sklearn.preprocessing")
impute = pytest.importorskip("sklearn.impute")
rng = np.random.default_rng(11)
LAWS = {
    "normal": rng.normal(3, 7, 500),
    "skewed": rng.lognormal(0, 2, 500),
    "ties": rng.integers(0, 5, 500).astype(float),
    "few": rng.normal(size=7),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (f.Standardise(), preprocessing.StandardScaler()),
        (f.Robust(), preprocessing.RobustScaler()),
        (
            f.Quantile(output="uniform", quantiles=100),
            preprocessing.QuantileTransformer(n_quantiles=100),
        ),
        (
            f.Quantile(output="normal", quantiles=100),
            preprocessing.QuantileTransformer(n_quantiles=100, output_distribution="normal"),
        ),
    ],
    ids=["standard", "robust", "uniform", "normal"],
)
@pytest.mark.filterwarnings("ignore:n_quantiles")
def test_numbers(ours: Any, theirs: Any, law: str) -> None:
    """Train on one part, transform another, far values included."""
    train = LAWS[law]
    other = np.concatenate([rng.permutation(train)[:50] + 0.01, [train.min() - 9, train.max() + 9]])
    made = type(ours)(**ours.settings).fit(train).transform(other)
    wanted = theirs.fit(train[:, None]).transform(other[:, None])
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_missing_numbers(strategy: str) -> None:
    """Missing numbers are filled with the training value, and an indicator says where."""
    train = np.where(rng.random(200) < 0.2, np.nan, rng.lognormal(size=200))
    other = np.array([1.0, np.nan, 5.0])
    made = f.Standardise(missing=strategy).fit(train)
    filled = impute.SimpleImputer(strategy=strategy, add_indicator=True).fit(train[:, None])
    scale = preprocessing.StandardScaler().fit(train[~np.isnan(train)][:, None])
    wanted = filled.transform(other[:, None])
    wanted[:, :1] = scale.transform(wanted[:, :1])
    np.testing.assert_allclose(made.transform(other), wanted, rtol=1e-5, atol=1e-6)


def test_categories() -> None:
    """One column a category in the order of the names; all 0 for the unseen."""
    train = np.array(["b", "a", "c", "a"], object)
    other = np.array(["c", "z", "a"], object)
    theirs = preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    wanted = theirs.fit(train[:, None]).transform(other[:, None])
    np.testing.assert_array_equal(f.OneHot().fit(train).transform(other), wanted)
    ordinal = preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    codes = ordinal.fit(train[:, None]).transform(other[:, None]) + 1
    np.testing.assert_array_equal(f.Codes().fit(train).transform(other), codes)


def test_rare_categories() -> None:
    """Categories below a count share one column."""
    train = np.array(["a"] * 5 + ["b"] * 4 + ["c", "d"], object)
    theirs = preprocessing.OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=3, sparse_output=False
    ).fit(train[:, None])
    wanted = theirs.transform(np.array([["a"], ["b"], ["d"]], object))
    made = f.OneHot(rare=3).fit(train).transform(np.array(["a", "b", "d"], object))
    np.testing.assert_array_equal(made, wanted[:, [2, 0, 1]])  # theirs has the rare ones last


def test_class_labels() -> None:
    """Labels in the order of the names, and back."""
    names = np.array(["cat", "ant", "bee", "ant"], object)
    theirs = preprocessing.LabelEncoder().fit(names)
    made = f.ClassTarget().fit(names)
    np.testing.assert_array_equal(made.transform(names), theirs.transform(names))
    assert list(made.classes) == theirs.classes_.tolist()
