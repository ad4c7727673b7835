"""Mixing: each example gets a part of its neighbour in the batch, and of that one's target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from thalweg.data.augment.arguments import number, whole
from thalweg.data.augment.augmentation import Augmentation, floating, like
from thalweg.data.augment.draws import Draws
from thalweg.data.augment.erasing import within
from thalweg.errors import ArgumentError, where
from thalweg.graph.dtype import float32
from thalweg.graph.node import Node
from thalweg.ops import creation, indexing
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv


def symmetric_beta(draws: Draws, alpha: float) -> Node:
    """Return numbers of the Beta(alpha, alpha) distribution, one an example: (batch, 1, ...).

    Student's t with 2 alpha degrees of freedom, drawn by Bailey's polar formula, mapped to 0 to 1.

    R. W. Bailey, "Polar generation of random variates with the t-distribution", Mathematics of
    Computation 62 (1994).
    """
    radius = e.power(e.subtract(1.0, draws.uniform()), 1 / alpha)
    side = e.cos(e.multiply(draws.uniform(), 2 * math.pi))
    far = e.multiply(e.subtract(1.0, radius), e.multiply(side, side))
    # For small alpha the radius underflows to 0: the tiny number keeps 0 / 0 from being a NaN.
    share = e.divide(far, e.add(e.add(far, radius), 1e-30))
    return e.multiply(e.add(e.multiply(e.sign(side), e.sqrt(share)), 1.0), 0.5)


def soft_targets(who: str, y: Node, classes: int | None) -> Node:
    """Return targets that can be mixed: labels (batch,) become one-hot (batch, classes) float32.

    Raises:
        ArgumentError: labels without a number of classes.
    """
    if y.dtype.is_float:
        return y
    if classes is None:
        raise ArgumentError(
            f"{who}: targets are {y.dtype.name} labels, and labels cannot be mixed; give "
            f"{who}(classes=...) to turn them into soft targets, or give soft targets. {where()}"
        )
    # A row of the unit matrix rather than a comparison, so that a label out of range is reported;
    # a negative one would count from the end.
    label = e.where(e.less(y, 0), classes, y) if y.dtype.name.startswith("int") else y
    return indexing.take(creation.eye(classes, dtype=float32), label, 0)


@dataclass(frozen=True)
class _Mixing(Augmentation):
    alpha: float
    classes: int | None

    def __post_init__(self) -> None:
        who = type(self).__name__
        number(who, "alpha", self.alpha, 1e-3)
        if self.classes is not None:
            whole(who, "classes", self.classes, 1)

    def _apply(self, draws: Draws, x: Node, y: Node | None) -> tuple[Node, Node | None]:
        # The rows of a batch are in random order already, so that the row before is a random one.
        mixed, kept = self._mixed(draws, x, mv.roll(x, 1, 0))
        if y is None:
            return mixed, None
        own = soft_targets(type(self).__name__, y, self.classes)
        kept = e.astype(mv.reshape(kept, (x.shape[0], *(1,) * (own.rank - 1))), own.dtype)
        other = mv.roll(own, 1, 0)
        return mixed, e.add(other, e.multiply(kept, e.subtract(own, other)))

    def _mixed(self, draws: Draws, x: Node, other: Node) -> tuple[Node, Node]:
        """Return mixed inputs, and the share that each kept of its own: (batch, 1, ...)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Mixup(_Mixing):
    r"""Each example becomes a weighted mean of itself and the row before it in the batch.

    .. math:: x'_i = \lambda_i x_i + (1 - \lambda_i) x_{i-1}, \quad
        \lambda_i \sim \mathrm{Beta}(\alpha, \alpha)

    and so do the targets. This changes targets: labels become soft targets, which the losses take.

    Args:
        alpha: how evenly is mixed; near 0 hardly at all, 1 by a uniform share.
        classes: number of classes, needed where targets are labels (whole numbers).

    Shape:
        (batch, ...) to the same; targets (batch,) of labels to (batch, classes), float32; floating
        targets to the same.

    Raises:
        ArgumentError: an argument is outside of its legal values; labels without ``classes``.
        IndexError: a label is not below ``classes``.

    Example:
        >>> import thalweg as tw
        >>> x, y = Mixup(classes=3)(tw.random.key(0), tw.ones((2, 4)), tw.tensor([0, 2]))
        >>> y.shape, bool((abs(y.sum(axis=1) - 1) < 1e-6).all())
        ((2, 3), True)

    H. Zhang et al., "mixup: beyond empirical risk minimization", arXiv:1710.09412.
    """

    ranks: ClassVar[tuple[int, ...]] = ()
    layout: ClassVar[str] = "a batch of any axes"
    alpha: float = 0.2
    classes: int | None = None

    def _mixed(self, draws: Draws, x: Node, other: Node) -> tuple[Node, Node]:
        kept = symmetric_beta(draws, self.alpha)
        wide, added = floating(x), floating(other)
        mixed = e.add(added, e.multiply(e.astype(kept, wide.dtype), e.subtract(wide, added)))
        return like(mixed, x), kept


@dataclass(frozen=True)
class CutMix(_Mixing):
    r"""A rectangle of each image is that of the row before it in the batch; so are the targets.

    The rectangle has the share :math:`1 - \lambda`, :math:`\lambda \sim \mathrm{Beta}(\alpha,
    \alpha)`, the shape of the image and a random centre, and is cut at the border. Targets are
    mixed by the area that was in fact replaced. This changes targets: labels become soft targets,
    which the losses take.

    Args:
        alpha: how evenly is mixed; 1 draws a uniform share.
        classes: number of classes, needed where targets are labels (whole numbers).

    Shape:
        (batch, height, width, channels) to the same; targets as for ``Mixup``.

    Raises:
        ArgumentError: an argument is outside of its legal values; labels without ``classes``.
        IndexError: a label is not below ``classes``.

    Example:
        >>> import thalweg as tw
        >>> x = tw.tensor([0.0, 1.0]).reshape((2, 1, 1, 1)) * tw.ones((2, 8, 8, 1))
        >>> mixed, y = CutMix(classes=2)(tw.random.key(1), x, tw.tensor([0, 1]))
        >>> bool((abs(mixed.mean(axis=(1, 2, 3)) - y[:, 1]) < 1e-6).all())
        True

    S. Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable
    features", arXiv:1905.04899.
    """

    alpha: float = 1.0
    classes: int | None = None

    def _mixed(self, draws: Draws, x: Node, other: Node) -> tuple[Node, Node]:
        _, height, width, _ = x.shape
        side = e.sqrt(e.subtract(1.0, symmetric_beta(draws, self.alpha)))
        starts, lengths = [], []
        for size in (height, width):
            half = e.multiply(side, size / 2)
            centre = e.multiply(draws.uniform(), float(size))
            first = e.maximum(e.round(e.subtract(centre, half)), 0.0)
            last = e.minimum(e.round(e.add(centre, half)), float(size))
            starts.append(first)
            lengths.append(e.subtract(last, first))
        cut = e.bitwise_and(
            within(starts[0], lengths[0], height, 1, 4), within(starts[1], lengths[1], width, 2, 4)
        )
        replaced = e.multiply(e.multiply(lengths[0], lengths[1]), 1 / (height * width))
        return e.where(cut, other, x), e.subtract(1.0, replaced)
