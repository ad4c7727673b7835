"""Combining: augmentations one after the other, and only for some examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thalweg.data.augment.arguments import probability
from thalweg.data.augment.augmentation import Augmentation
from thalweg.data.augment.draws import Draws
from thalweg.data.augment.mixing import soft_targets
from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops import movement as mv


def _check(who: str, member: object) -> None:
    if not isinstance(member, Augmentation):
        made = f"{member.__name__}()" if isinstance(member, type) else "an augmentation"
        raise ArgumentError(f"{who}: got {member!r}, wanted {made}. {where()}")


@dataclass(frozen=True, init=False, repr=False)
class Compose(Augmentation):
    """Augmentations one after the other, each with random numbers of its own.

    Args:
        members: augmentations in their order.

    Shape:
        what the first takes to what the last returns.

    Raises:
        ArgumentError: a member is not an augmentation.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.data.augment import HorizontalFlip, RandomCrop
        >>> policy = Compose(HorizontalFlip(), RandomCrop(padding=4))
        >>> policy(tw.random.key(0), tw.zeros((2, 32, 32, 3)))[0].shape
        (2, 32, 32, 3)
    """

    ranks: ClassVar[tuple[int, ...]] = ()
    layout: ClassVar[str] = "what its members take"
    members: tuple[Augmentation, ...]

    def __init__(self, *members: Augmentation) -> None:
        for member in members:
            _check("Compose", member)
        object.__setattr__(self, "members", members)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.members))})"

    def _apply(self, draws: Draws, x: Node, y: Node | None) -> tuple[Node, Node | None]:
        for member in self.members:
            x, y = member._apply(draws, member._checked(x), y)
        return x, y


@dataclass(frozen=True)
class Sometimes(Augmentation):
    """An augmentation that each example has with probability ``p``.

    If the augmentation turns labels into soft targets, those of the other examples are one-hot.

    Args:
        member: an augmentation that keeps the shape.
        p: probability from 0 to 1.

    Shape:
        that of the member.

    Raises:
        ArgumentError: the member is not an augmentation, or ``p`` not a probability.
        ShapeError: the member changes the shape, which must be the same for all examples.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.data.augment import Brightness
        >>> x, _ = Sometimes(Brightness((2.0, 2.0)), 0.5)(tw.random.key(0), tw.ones((99, 1, 1, 1)))
        >>> sorted(set(x.reshape(-1).tolist()))
        [1.0, 2.0]
    """

    ranks: ClassVar[tuple[int, ...]] = ()
    layout: ClassVar[str] = "what its member takes"
    member: Augmentation
    p: float = 0.5

    def __post_init__(self) -> None:
        _check("Sometimes", self.member)
        probability("Sometimes", self.p)

    def _apply(self, draws: Draws, x: Node, y: Node | None) -> tuple[Node, Node | None]:
        chosen = draws.chosen(self.p)
        changed, target = self.member._apply(draws, self.member._checked(x), y)
        if changed.shape != x.shape:
            raise ShapeError(
                f"Sometimes: {self.member!r} makes {changed.shape} of {x.shape}, and all examples "
                f"must have one shape; put it outside of Sometimes. {where()}"
            )
        if y is None or target is None or target is y:
            return e.where(chosen, changed, x), target
        # Only mixing changes targets, and what it makes of labels has the classes last.
        own = soft_targets("Sometimes", y, target.shape[-1])
        rows = mv.reshape(chosen, (x.shape[0], *(1,) * (target.rank - 1)))
        return e.where(chosen, changed, x), e.where(rows, target, own)
