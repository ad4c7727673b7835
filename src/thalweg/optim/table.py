"""The table of optimisers by name."""

from __future__ import annotations

from thalweg.errors import ArgumentError, nearest, where
from thalweg.optim.adadelta import Adadelta
from thalweg.optim.adagrad import Adagrad
from thalweg.optim.adam import Adam, AdamW, NAdam
from thalweg.optim.lbfgs import LBFGS
from thalweg.optim.lion import Lion
from thalweg.optim.muon import Muon
from thalweg.optim.optimizer import Optimizer
from thalweg.optim.rmsprop import RMSprop
from thalweg.optim.sgd import SGD, GradientDescent, Momentum, Nesterov

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adadelta": Adadelta, "adagrad": Adagrad, "adam": Adam, "adamw": AdamW,
    "gradient_descent": GradientDescent, "lbfgs": LBFGS, "lion": Lion, "momentum": Momentum,
    "muon": Muon, "nadam": NAdam, "nesterov": Nesterov, "rmsprop": RMSprop, "sgd": SGD,
}  # fmt: skip


def get(given: str | type[Optimizer]) -> type[Optimizer]:
    """Return an optimiser's class for its name; a class is returned as it is.

    Raises:
        ArgumentError: the name is unknown.

    >>> import thalweg as tw
    >>> tw.optim.get("adamw") is tw.optim.AdamW
    True
    """
    if isinstance(given, type) and issubclass(given, Optimizer):
        return given
    if str(given) not in OPTIMIZERS:
        raise ArgumentError(
            f"the optimiser {given!r} is unknown; {nearest(str(given), OPTIMIZERS)}. {where()}"
        )
    return OPTIMIZERS[str(given)]
