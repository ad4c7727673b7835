"""A grid search over perceptrons in two processes, ours beside scikit-learn's.

F. Pedregosa et al., "Scikit-learn: machine learning in Python", Journal of Machine Learning
Research 12 (2011): the interface, and the search. Data: the MNIST digits of Y. LeCun et al. (1998).

Seen: accuracy on test images of the best of four settings, and the seconds of the whole search, of
both in the same run.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

from _gallery import run
from joblib import Parallel, delayed
from sklearn import neural_network as judge
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import thalweg as tw
from thalweg.estimators import MLPClassifier

GRID = {"hidden_layer_sizes": [(64,), (128, 64)], "alpha": [1e-4, 1e-1]}


def searched(estimator: Any, train: Any, test: Any) -> tuple[float, float]:
    """Return accuracy on the test images, and seconds of the search."""
    began = time.perf_counter()
    search = GridSearchCV(estimator, GRID, cv=3, n_jobs=2).fit(*train)
    seconds = time.perf_counter() - began
    print(f"{type(estimator).__module__.split('.')[0]}: best {search.best_params_}, "
          f"{search.best_score_:.4f} in cross-validation, {seconds:.1f} s")  # fmt: skip
    return float(search.score(*test)), seconds


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Search with both, and measure the best networks on the test images."""
    count, epochs = (600, 8) if short else (10_000, 30)
    parts = []
    for part, limit in (("train", count), ("test", count // 2)):
        images, labels = tw.data.load("digits", part)
        parts.append((images[:limit].reshape(limit, -1).astype("float32") / 255, labels[:limit]))
    # Two processes that have imported both, so that neither search waits for them to start.
    both = [MLPClassifier(max_iter=1), judge.MLPClassifier(max_iter=1)]
    few = (parts[0][0][:40], parts[0][1][:40])
    options: dict[str, Any] = {"max_iter": epochs, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are few on purpose
        warnings.simplefilter("ignore", UserWarning)
        Parallel(n_jobs=2)(delayed(estimator.fit)(*few) for estimator in both * 2)
        ours, our_seconds = searched(MLPClassifier(**options), *parts)
        theirs, their_seconds = searched(judge.MLPClassifier(**options), *parts)
    return {
        "test_accuracy": ours, "test_accuracy_scikit_learn": theirs,
        "seconds_of_search": our_seconds, "seconds_of_search_scikit_learn": their_seconds,
    }  # fmt: skip


if __name__ == "__main__":
    run(main)
