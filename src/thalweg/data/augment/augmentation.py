"""``Augmentation``: what all augmentations share, the call and the checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from thalweg.data.augment.draws import Draws
from thalweg.errors import ArgumentError, DTypeError, ShapeError, where
from thalweg.graph.dtype import float32, uint8
from thalweg.graph.node import Node
from thalweg.ops import elementwise as e
from thalweg.ops.record import to_node
from thalweg.tensor.tensor import finish, lift

IMAGES = "images (batch, height, width, channels)"
SPECTROGRAMS = "spectrograms (batch, time, bands) or (batch, time, bands, channels)"


@dataclass(frozen=True)
class Augmentation:
    """Base of all augmentations: a pure function of a key and a batch.

    ``aug(key, x, y)`` returns ``(x, y)``; ``aug(key, batch)`` takes a tuple, inputs then targets,
    and returns one, with the first input changed: so ``Trainer(augment=aug)`` calls it. The same
    key gives the same bits, compiled or not. Each example has parameters of its own, and the dtype
    of ``x`` stays: uint8 is rounded and clipped to 0 to 255; floating numbers are not clipped.
    Values such as ``fill`` are in the units of the input. Targets stay as they are, but for
    ``Mixup`` and ``CutMix``.

    An augmentation does not change once it is made, and is only for training: call none where a
    model is evaluated. ``Augmenter`` has both modes.

    A subclass is a frozen dataclass that gives ``_change(draws, x)``, or ``_apply(draws, x, y)``
    where it changes targets.

    Raises:
        ShapeError: ``x`` has not the axes that the augmentation works on.
        DTypeError: ``x`` is neither uint8 nor of a floating dtype.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.data.augment import HorizontalFlip
        >>> image, label = tw.tensor([[[[1.0], [2.0]]]]), tw.tensor([3])
        >>> x, y = HorizontalFlip(1.0)(tw.random.key(0), image, label)
        >>> x.reshape(-1).tolist(), y.tolist()
        ([2.0, 1.0], [3])
    """

    ranks: ClassVar[tuple[int, ...]] = (4,)
    layout: ClassVar[str] = IMAGES

    def __call__(self, key: Any, x: Any, y: Any = None) -> Any:
        """Return an augmented batch: ``(x, y)``, or a tuple like the one that was given."""
        if isinstance(x, (tuple, list)):
            if y is not None or not x:
                raise ArgumentError(
                    f"{type(self).__name__}: give (key, x, y), or (key, batch) with the batch a "
                    f"tuple of inputs, then targets, not both. {where()}"
                )
            first, *others, y = x if len(x) > 1 else (*x, None)
            changed, target = self(key, first, y)
            return (changed, *others, target) if len(x) > 1 else (changed,)
        source = self._checked(x)
        target = None if y is None else to_node(lift(y), type(self).__name__)
        if target is not None and target.shape[:1] != source.shape[:1]:
            raise ShapeError(
                f"{type(self).__name__}: inputs of shape {source.shape} and targets of shape "
                f"{target.shape}; their first axes must agree. {where()}"
            )
        draws = Draws(to_node(lift(key), "key"), source.shape[0], source.rank)
        image, target = self._apply(draws, source, target)
        return finish(image), None if target is None else finish(target)

    def _checked(self, x: Any) -> Node:
        """Return the node of a batch of the right kind."""
        who = type(self).__name__
        node = to_node(lift(x), who)
        if self.ranks and node.rank not in self.ranks:
            raise ShapeError(f"{who}: got shape {node.shape}, wanted {self.layout}. {where()}")
        if not node.rank or 0 in node.shape:
            raise ShapeError(
                f"{who}: got shape {node.shape}, wanted a batch of at least one example; leave "
                f"empty batches out. {where()}"
            )
        if node.dtype is not uint8 and not node.dtype.is_float:
            raise DTypeError(
                f"{who}: got {node.dtype.name}, wanted uint8 or a floating dtype; convert with "
                f".astype('float32'). {where()}"
            )
        return node

    def _apply(self, draws: Draws, x: Node, y: Node | None) -> tuple[Node, Node | None]:
        return self._change(draws, x), y

    def _change(self, draws: Draws, x: Node) -> Node:
        raise NotImplementedError(f"{type(self).__name__} must give _change or _apply")


def floating(x: Node) -> Node:
    """Return a batch as numbers to reckon with: float32, or float64 as it is."""
    return x if x.dtype.is_float and x.dtype.bits >= 32 else e.astype(x, float32)


def like(changed: Node, x: Node) -> Node:
    """Return a changed batch in the dtype of the one before, rounded and clipped for uint8."""
    if changed.dtype is x.dtype:
        return changed
    if x.dtype is uint8:
        changed = e.clip(e.round(changed), 0.0, 255.0)
    return e.astype(changed, x.dtype)
