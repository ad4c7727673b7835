"""``Augmenter``: a policy with its random state, for training loops of your own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.data.augment.augmentation import Augmentation
from thalweg.errors import ArgumentError, FormatError, where
from thalweg.tensor.context import context, structure_epoch
from thalweg.tensor.random import Generator

Array = np.ndarray[Any, Any]


class Augmenter:
    """A policy that takes a new key for each batch, and does nothing in evaluation.

    The state is a key and the count of calls, tensors that a compiled step updates, as those of
    ``Dropout`` are. Call ``augmenter(x, y)`` inside of the step.

    Args:
        policy: an augmentation.
        seed: a whole number from 0 to 2**64 - 1.

    Raises:
        ArgumentError: the policy is not an augmentation, or the seed out of range.

    Example:
        >>> import thalweg as tw
        >>> from thalweg.data.augment import Augmenter, HorizontalFlip
        >>> augment = Augmenter(HorizontalFlip(), seed=1)
        >>> step = tw.compile(lambda x: augment(x)[0])
        >>> step(tw.ones((2, 4, 4, 1))).shape, augment.state_dict()["count"].item()
        ((2, 4, 4, 1), 1)
    """

    def __init__(self, policy: Augmentation, seed: int = 0) -> None:
        if not isinstance(policy, Augmentation):
            raise ArgumentError(
                f"Augmenter: got {policy!r} as the policy, wanted an augmentation such as "
                f"Compose(...). {where()}"
            )
        self._policy = policy
        self._training = True
        self._generator = Generator(seed)

    @property
    def policy(self) -> Augmentation:
        """The augmentation; make another Augmenter for another one."""
        return self._policy

    @property
    def training(self) -> bool:
        """Whether batches are changed."""
        return self._training

    def __repr__(self) -> str:
        return f"Augmenter({self.policy!r})"

    def __call__(self, x: Any, y: Any = None) -> Any:
        """Return an augmented batch, as the policy does; in evaluation what was given."""
        if context.recorder is not None:
            context.recorder.touch(self)
        if not self._training:
            return tuple(x) if isinstance(x, (tuple, list)) else (x, y)
        return self._policy(self._generator.next_key(), x, y)

    def fingerprint(self) -> tuple[Any, ...]:
        """Return what a compiled step depends on: policy and mode."""
        return (type(self), self._policy, self._training)

    def train(self, mode: bool = True) -> Augmenter:
        """Change batches, or with False do not; return the augmenter."""
        if self._training != bool(mode):
            self._training = bool(mode)
            structure_epoch.advance()
        return self

    def eval(self) -> Augmenter:
        """Leave batches as they are; return the augmenter."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Return the random state: ``key`` (2,) and ``count`` (), uint32 arrays of their own."""
        parts = {"key": self._generator.key, "count": self._generator.count}
        return {name: np.array(t.numpy()) for name, t in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a random state that ``state_dict`` returned.

        Raises:
            FormatError: names, shapes or dtypes are others; nothing is changed then.
        """
        wanted = self.state_dict()
        arrays = {name: np.asarray(value) for name, value in state.items()}
        if arrays.keys() != wanted.keys() or any(
            arrays[n].shape != w.shape or arrays[n].dtype != w.dtype for n, w in wanted.items()
        ):
            got = {n: f"{a.dtype}{a.shape}" for n, a in arrays.items()}
            raise FormatError(
                "Augmenter: wanted a state of key uint32(2,) and count uint32(), got "
                f"{got}; give what state_dict() returned. {where()}"
            )
        self._generator.key.assign(arrays["key"])
        self._generator.count.assign(arrays["count"])
