"""The cores of a machine shared between the worker processes of scikit-learn's searches."""

from __future__ import annotations

import multiprocessing
import os

from thalweg.settings import settings

__all__ = ["share_cores"]


def share_cores() -> bool:
    """In a worker process of joblib run on this worker's share of the cores; return whether it did.

    joblib tells each worker its share as it tells libraries of linear algebra, by
    ``OMP_NUM_THREADS``; ``THALWEG_THREADS`` or ``thalweg.settings.threads`` go before it. The
    number of threads decides no bit of a result.

    >>> share_cores()
    False
    """
    share = os.environ.get("OMP_NUM_THREADS", "")
    worker = multiprocessing.current_process().name.startswith("LokyProcess")
    if not worker or settings.threads or not share.isdigit() or not int(share):
        return False
    settings.threads = int(share)
    return True
