"""Schedules: learning rates as functions of the number of updates made so far.

A schedule is written with tensor functions, so that it runs inside the compiled program. Number 0
is the first update.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from thalweg.errors import ArgumentError, where
from thalweg.graph.dtype import float32
from thalweg.ops.record import cast_node, to_node
from thalweg.optim.hyperparameters import FRACTION, NON_NEGATIVE, POSITIVE, Interval, checked
from thalweg.tensor.conversion import asarray
from thalweg.tensor.functions import FUNCTIONS
from thalweg.tensor.tensor import Tensor, finish, lift

Rule = Callable[[Tensor], Any]
choose, clip, cosine_of = FUNCTIONS["where"], FUNCTIONS["clip"], FUNCTIONS["cos"]
floor, full_like, maximum = FUNCTIONS["floor"], FUNCTIONS["full_like"], FUNCTIONS["maximum"]
power = FUNCTIONS["power"]
COUNT = Interval(1)


@dataclass(frozen=True)
class Schedule:
    """A learning rate that depends on the number of updates made so far.

    Call it with a number, or with an array of them to see its curve. Two schedules of the same kind
    and numbers are equal.

    >>> import thalweg as tw
    >>> linear_warmup(0.1, steps=4)(tw.arange(6))
    Tensor([0.   , 0.025, 0.05 , 0.075, 0.1  , 0.1  ], dtype=float32)
    """

    text: str
    rule: Rule = field(compare=False, repr=False)

    def __call__(self, step: Any) -> Tensor:
        """Return the learning rate for update number ``step``, counted from 0, in float32."""
        rate = self.rule(_float32(step))
        return _float32(rate)

    def __repr__(self) -> str:
        return self.text


def _float32(value: Any) -> Tensor:
    if isinstance(value, (list, tuple)):
        value = asarray(value)
    return finish(cast_node(to_node(lift(value), "schedule"), float32))


def _made(name: str, rule: Rule, **arguments: Any) -> Schedule:
    return Schedule(f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})", rule)


def constant(learning_rate: float) -> Schedule:
    r"""Return a schedule that stays the same.

    .. math:: \eta_t = \eta

    Raises:
        ArgumentError: the learning rate is negative.

    >>> constant(0.5)(7)
    Tensor(0.5, dtype=float32)
    """
    rate = checked("constant", "learning_rate", learning_rate, NON_NEGATIVE)
    return _made("constant", lambda t: full_like(t, rate), learning_rate=rate)


def step(learning_rate: float, every: int, factor: float = 0.1) -> Schedule:
    r"""Return a schedule that is multiplied by ``factor`` after every so many updates.

    .. math:: \eta_t = \eta f^{\lfloor t / n \rfloor}

    Raises:
        ArgumentError: an argument outside of its legal values.

    >>> step(8.0, every=2, factor=0.5)([0, 1, 2, 3, 4])
    Tensor([8., 8., 4., 4., 2.], dtype=float32)
    """
    rate = checked("step", "learning_rate", learning_rate, NON_NEGATIVE)
    n, f = checked("step", "every", every, COUNT), checked("step", "factor", factor, POSITIVE)
    # Half an update more, so that a quotient rounded below a whole number does no harm.
    return _made("step", lambda t: rate * power(f, floor((t + 0.5) / n)),
                 learning_rate=rate, every=n, factor=f)  # fmt: skip


def exponential(learning_rate: float, factor: float) -> Schedule:
    r"""Return a schedule that is multiplied by ``factor`` after each update.

    .. math:: \eta_t = \eta f^t

    Raises:
        ArgumentError: an argument outside of its legal values.

    >>> exponential(8.0, factor=0.5)([0, 1, 2])
    Tensor([8., 4., 2.], dtype=float32)
    """
    rate = checked("exponential", "learning_rate", learning_rate, NON_NEGATIVE)
    f = checked("exponential", "factor", factor, POSITIVE)
    return _made("exponential", lambda t: rate * power(f, t), learning_rate=rate, factor=f)


def cosine(
    learning_rate: float, steps: int, warmup: int = 0, final: float = 0.0
) -> Schedule:
    r"""Return a schedule that falls along half a cosine, after a linear rise from 0.

    .. math:: \eta_t = \begin{cases} \eta t / w & t < w \\
              \eta_T + \frac{1}{2} (\eta - \eta_T)
              \left(1 + \cos \pi \frac{\min(t, T) - w}{T - w}\right) & t \ge w \end{cases}

    Args:
        learning_rate: the largest one.
        steps: updates until it is ``final``, those of the rise included; it stays there.
        warmup: updates of the rise.
        final: the last learning rate.

    Raises:
        ArgumentError: an argument outside of its legal values, or ``warmup >= steps``.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts",
    arXiv:1608.03983.

    >>> cosine(2.0, steps=6, warmup=2)([0, 1, 2, 4, 6, 9]).round()
    Tensor([0., 1., 2., 1., 0., 0.], dtype=float32)
    """
    rate = checked("cosine", "learning_rate", learning_rate, NON_NEGATIVE)
    count = checked("cosine", "steps", steps, COUNT)
    rise = checked("cosine", "warmup", warmup, NON_NEGATIVE)
    last = checked("cosine", "final", final, NON_NEGATIVE)
    if rise >= count:
        raise ArgumentError(
            f"cosine: warmup={rise} leaves none of steps={count} to fall in; steps counts those of "
            f"the warmup too. {where()}"
        )

    def rule(t: Tensor) -> Any:
        falling = _falling_cosine(clip((t - rise) / (count - rise), 0.0, 1.0))
        fall = last + (rate - last) * falling
        return choose(t < rise, t * (rate / rise), fall) if rise else fall

    return _made("cosine", rule, learning_rate=rate, steps=count, warmup=rise, final=last)


def _falling_cosine(progress: Any) -> Any:
    """Return 1 at progress 0 and 0 at progress 1."""
    return 0.5 + 0.5 * cosine_of(progress * math.pi)


def linear_warmup(learning_rate: float, steps: int, start: float = 0.0) -> Schedule:
    r"""Return a schedule that rises linearly and then stays.

    .. math:: \eta_t = \eta_0 + (\eta - \eta_0) \min(t / n, 1)

    Goyal et al., "Accurate, large minibatch SGD", arXiv:1706.02677.

    Raises:
        ArgumentError: an argument outside of its legal values.

    >>> linear_warmup(1.0, steps=4)([0, 1, 4, 5])
    Tensor([0.  , 0.25, 1.  , 1.  ], dtype=float32)
    """
    rate = checked("linear_warmup", "learning_rate", learning_rate, NON_NEGATIVE)
    count = checked("linear_warmup", "steps", steps, COUNT)
    first = checked("linear_warmup", "start", start, NON_NEGATIVE)
    return _made("linear_warmup",
                 lambda t: first + (rate - first) * clip(t / count, 0.0, 1.0),
                 learning_rate=rate, steps=count, start=first)  # fmt: skip


def polynomial(
    learning_rate: float, steps: int, power: float = 1.0, final: float = 0.0
) -> Schedule:
    r"""Return a schedule that falls as a power of the updates that are left; 1 is linear.

    .. math:: \eta_t = \eta_T + (\eta - \eta_T) (1 - \min(t, T) / T)^p

    Raises:
        ArgumentError: an argument outside of its legal values.

    >>> polynomial(1.0, steps=4, power=2)([0, 2, 4, 5])
    Tensor([1.  , 0.25, 0.  , 0.  ], dtype=float32)
    """
    rate = checked("polynomial", "learning_rate", learning_rate, NON_NEGATIVE)
    count = checked("polynomial", "steps", steps, COUNT)
    exponent = checked("polynomial", "power", power, POSITIVE)
    last = checked("polynomial", "final", final, NON_NEGATIVE)

    def rule(t: Tensor) -> Any:
        return last + (rate - last) * clip(1 - t / count, 0.0, 1.0) ** exponent

    return _made("polynomial", rule, learning_rate=rate, steps=count, power=exponent, final=last)


def one_cycle(
    learning_rate: float, steps: int, warmup_fraction: float = 0.3,
    start_divisor: float = 25.0, final_divisor: float = 1e4,
) -> Schedule:  # fmt: skip
    """Return a schedule that rises and falls once, along cosines; as PyTorch's OneCycleLR.

    It starts at ``learning_rate / start_divisor``, is largest at update number
    ``warmup_fraction * steps - 1``, and from number ``steps - 1`` on is the first rate divided by
    ``final_divisor``.

    Args:
        learning_rate: the largest one.
        steps: updates in all.
        warmup_fraction: part of them in which it rises.
        start_divisor: the largest rate over the first.
        final_divisor: the first rate over the last.

    Raises:
        ArgumentError: an argument outside of its legal values, or there are too few steps to rise.

    Smith and Topin, "Super-convergence", arXiv:1708.07120.

    >>> one_cycle(1.0, steps=20, warmup_fraction=0.25, start_divisor=4.0)([0, 4, 19])
    Tensor([2.5e-01, 1.0e+00, 2.5e-05], dtype=float32)
    """
    name = "one_cycle"
    rate = checked(name, "learning_rate", learning_rate, NON_NEGATIVE)
    count = checked(name, "steps", steps, COUNT)
    part = checked(name, "warmup_fraction", warmup_fraction, FRACTION)
    divisors = (checked(name, "start_divisor", start_divisor, POSITIVE),
                checked(name, "final_divisor", final_divisor, POSITIVE))  # fmt: skip
    first = rate / divisors[0]
    last = first / divisors[1]
    top = part * count - 1
    if top <= 0:
        raise ArgumentError(
            f"one_cycle: warmup_fraction={part} of steps={count} is not more than 1 update; "
            f"raise one of them. {where()}"
        )

    def rule(t: Tensor) -> Any:
        rise = rate + (first - rate) * _falling_cosine(clip(t / top, 0.0, 1.0))
        done = clip((t - top) / (count - 1 - top), 0.0, 1.0)
        return choose(t <= top, rise, last + (rate - last) * _falling_cosine(done))

    return _made(name, rule, learning_rate=rate, steps=count, warmup_fraction=part,
                 start_divisor=divisors[0], final_divisor=divisors[1])  # fmt: skip


def piecewise(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    r"""Return a schedule that is constant between boundaries.

    .. math:: \eta_t = v_i \quad \text{for} \quad b_{i-1} \le t < b_i

    Raises:
        ArgumentError: there is not one value more than boundaries, or they do not ascend.

    >>> piecewise([2, 4], [1.0, 0.5, 0.25])([0, 1, 2, 3, 4])
    Tensor([1.  , 1.  , 0.5 , 0.5 , 0.25], dtype=float32)
    """
    rates = tuple(checked("piecewise", "value", v, NON_NEGATIVE) for v in values)
    places = _ascending("piecewise", boundaries, len(rates), "values")

    def rule(t: Tensor) -> Any:
        result = full_like(t, rates[0])
        for place, rate in zip(places, rates[1:], strict=True):
            result = choose(t >= place, rate, result)
        return result

    return _made("piecewise", rule, boundaries=places, values=rates)


def join(schedules: Sequence[Rule], boundaries: Sequence[int]) -> Schedule:
    """Return a schedule that follows one schedule after the other.

    Each counts its updates from its own beginning.

    Raises:
        ArgumentError: there is not one schedule more than boundaries, or they do not ascend.

    >>> join([linear_warmup(1.0, 2), exponential(1.0, 0.5)], [2])([0, 1, 2, 3])
    Tensor([0. , 0.5, 1. , 0.5], dtype=float32)
    """
    parts = tuple(schedules)
    places = _ascending("join", boundaries, len(parts), "schedules")

    def rule(t: Tensor) -> Any:
        result = parts[0](t)
        for place, part in zip(places, parts[1:], strict=True):
            result = choose(t >= place, part(maximum(t - place, 0.0)), result)
        return result

    return _made("join", rule, schedules=parts, boundaries=places)


def _ascending(name: str, boundaries: Sequence[int], parts: int, what: str) -> tuple[int, ...]:
    places = tuple(checked(name, "boundary", b, COUNT) for b in boundaries)
    if len(places) != parts - 1:
        raise ArgumentError(
            f"{name}: {parts} {what} and {len(places)} boundaries; there must be one boundary "
            f"between each two. {where()}"
        )
    if any(a >= b for a, b in pairwise(places)):
        raise ArgumentError(f"{name}: the boundaries {places} do not ascend; sort them. {where()}")
    return places


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    f.__name__: f for f in (
        constant, cosine, exponential, join, linear_warmup, one_cycle, piecewise, polynomial, step,
    )
}  # fmt: skip
