"""``ConvClassifier``: a convolutional network as a classifier of images."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import HasMethods

from thalweg import models, nn
from thalweg.errors import ShapeError, where
from thalweg.estimators.classification import Classifier
from thalweg.estimators.neural import _Neural, made_module
from thalweg.estimators.parameters import CLASS_WEIGHT, SHARED, Constraints

__all__ = ["ConvClassifier", "small_lenet"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, int, int]


def small_lenet(shape: Shape, outputs: int) -> nn.Sequential:
    """Return LeNet-5's layers for images (height, width, channels) of any size.

    >>> small_lenet((8, 8, 1), 10).count_parameters()
    21386

    Y. LeCun et al., doi:10.1109/5.726791.
    """
    height, width, channels = shape
    layers: list[nn.Module] = []
    for before, after in ((channels, 6), (6, 16)):
        pool = (2 if height > 1 else 1, 2 if width > 1 else 1)
        layers += [nn.Conv2d(before, after, 5, padding=2, activation_hint="relu"), nn.ReLU()]
        if pool != (1, 1):
            layers.append(nn.MaxPool2d(pool))
        height, width = height // pool[0], width // pool[1]
    sizes = (16 * height * width, 120, 84, outputs)
    layers.append(nn.Flatten())
    for place in range(3):
        layers.append(nn.Linear(sizes[place], sizes[place + 1]))
        if place < 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class ConvClassifier(_Neural, Classifier):
    """A convolutional network that tells the class of an image.

    Images are arrays (n, height, width, channels), or (n, height, width) with one channel; or rows
    (n, pixels), as tables and scikit-learn's data sets hold them. Bytes are divided by 255.

    Args:
        module: a function of the shape (height, width, channels) and the number of classes that
            makes a Module; or a Module; or the name of an architecture of ``thalweg.models``, such
            as ``"resnet20"``. Left out: the layers of LeNet-5, for images of any size.
        image_shape: (height, width) or (height, width, channels) of images in rows. Left out: a
            square if the number of pixels is one, else an image of one line.
        solver, learning_rate_init, alpha, batch_size, max_iter, shuffle, random_state: as for
            ``NeuralClassifier``.
        tol, verbose, warm_start, early_stopping, validation_fraction, n_iter_no_change: as there.
        class_weight, dtype: as there.

    Attributes: those of ``NeuralClassifier``, and ``image_shape_``.

    Raises:
        ValueError: ``fit`` was given an illegal parameter, or data that cannot be trained on.
        ShapeError: images of another shape than ``image_shape`` or than in training.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = ConvClassifier(max_iter=4, batch_size=32, random_state=0, tol=1.0)
        >>> model.fit(X[:500] / 16, y[:500]).score(X[500:700] / 16, y[500:700]) > 0.5
        True

    Y. LeCun et al., "Gradient-based learning applied to document recognition" (1998),
    doi:10.1109/5.726791.
    """

    _parameter_constraints: ClassVar[Constraints] = {
        **SHARED, "module": [callable, HasMethods(["forward", "parameters"]), str, None],
        "image_shape": ["array-like", None], "class_weight": CLASS_WEIGHT,
    }  # fmt: skip

    def __init__(
        self, module: Any = None, *, image_shape: Any = None, solver: str = "adam",
        learning_rate_init: float = 0.001, alpha: float = 0.0, batch_size: int | str = "auto",
        max_iter: int = 50, shuffle: bool = True, random_state: Any = None, tol: float = 1e-4,
        verbose: bool = False, warm_start: bool = False, early_stopping: bool = False,
        validation_fraction: float = 0.1, n_iter_no_change: float = 10, class_weight: Any = None,
        dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.module, self.image_shape, self.solver = module, image_shape, solver
        self.learning_rate_init, self.alpha = learning_rate_init, alpha
        self.batch_size, self.max_iter, self.shuffle = batch_size, max_iter, shuffle
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.early_stopping = warm_start, early_stopping
        self.validation_fraction, self.n_iter_no_change = validation_fraction, n_iter_no_change
        self.class_weight, self.dtype = class_weight, dtype

    def _make_model(self, inputs: tuple[Array, ...], outputs: int) -> nn.Module:
        self.image_shape_: Shape = inputs[0].shape[1:]
        if isinstance(self.module, str):
            return models.create(self.module, classes=outputs)
        return made_module(
            self.module, self.image_shape_, outputs,
            lambda: small_lenet(self.image_shape_, outputs),
        )  # fmt: skip

    def _accepted(self) -> dict[str, Any]:
        return {**super()._accepted(), "dtype": (np.float64, np.float32, np.uint8)}

    def _inputs(self, X: Any) -> tuple[Array, ...]:
        scale = 255 if X.dtype == np.uint8 else 1
        images = X.reshape(len(X), *self._shape_of(X))
        return (np.ascontiguousarray(images / scale if scale > 1 else images, dtype=self.dtype),)

    def _shape_of(self, X: Array) -> Shape:
        if X.ndim == 4:
            return X.shape[1], X.shape[2], X.shape[3]
        if X.ndim == 3:
            return X.shape[1], X.shape[2], 1
        pixels = X.shape[1]
        if self.image_shape is not None:
            given = tuple(int(s) for s in self.image_shape)
            shape = (*given, 1) if len(given) == 2 else given
            if len(shape) != 3 or math.prod(shape) != pixels:
                raise ShapeError(
                    f"{type(self).__name__}: rows of {pixels} pixels are no images of "
                    f"image_shape={given}; give (height, width) or (height, width, channels) with "
                    f"that product. {where()}"
                )
            return shape[0], shape[1], shape[2]
        side = math.isqrt(pixels)
        return (side, side, 1) if side * side == pixels else (1, pixels, 1)
