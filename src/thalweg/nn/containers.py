"""Sequential: layers run one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, overload

from thalweg.errors import ArgumentError, where
from thalweg.nn.activations import Activation
from thalweg.nn.dropout import Dropout
from thalweg.nn.keys import KeyLike
from thalweg.nn.layers import Flatten, Identity, Weighted
from thalweg.nn.module import Module
from thalweg.nn.normalization import BatchNorm1d, LayerNorm, RMSNorm

# Layers between weights and their activation that do not change which initial weights suit it.
_TRANSPARENT = (BatchNorm1d, Dropout, Flatten, Identity, LayerNorm, RMSNorm)


class Sequential(Module):
    """Layers run one after the other, each on the result of the one before.

    Weights that were not chosen or used yet are drawn to suit the activation that follows them.
    Indexing gives a layer, slicing a Sequential that shares the layers; ``append`` adds one.

    Args:
        *layers: modules.
        seed: draws the initial parameters of all layers, and their random state, anew, each from
            the seed and its path: the same seed gives the same model. Without a seed the layers
            keep the values that they were made with.

    Shape:
        that of the first layer's input to that of the last layer's output.

    Raises:
        ArgumentError: a layer is not a Module; or a seed is given although a layer was already
            called or loaded, whose values would be lost.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), seed=0)
        >>> model(tw.ones((5, 4))).shape
        (5, 2)
        >>> model[0]
        Linear(in_features=4, out_features=3)
        >>> len(model[:2])
        2
    """

    flat_attribute: ClassVar[str | None] = "layers"

    def __init__(self, *layers: Module, seed: KeyLike | None = None) -> None:
        for i, layer in enumerate(layers):
            _check(i, layer)
        self.layers: list[Module] = list(layers)
        if seed is not None:
            self._check_untouched()
            self._hint(redraw=False)
            self.reset_parameters(seed)
        else:
            self._hint(redraw=True)

    def forward(self, x: Any) -> Any:
        """Run the layers in order."""
        for layer in self.layers:
            x = layer(x)
        return x

    def _check_untouched(self) -> None:
        for path, module in self.named_modules().items():
            own = any(True for _, v in module._attributes() if hasattr(v, "trainable"))
            if own and type(module).draw is not Module.draw and not module.untouched():
                raise ArgumentError(
                    f"Sequential(seed=...): layer {path} ({type(module).__name__}) was already "
                    "called, loaded or copied, and drawing its parameters anew would lose them. "
                    f"Leave the seed out, or call reset_parameters(seed) if you mean it. {where()}"
                )

    def _hint(self, redraw: bool) -> None:
        """Tell each weighted layer which activation follows it."""
        waiting: Weighted | None = None
        for layer in self.layers:
            if isinstance(layer, Activation):
                if waiting is not None and redraw:
                    waiting.suit(layer.name)
                elif waiting is not None and waiting.activation_hint is None:
                    waiting.activation_hint = layer.name
                waiting = None
            elif isinstance(layer, Weighted):
                waiting = layer
            elif not isinstance(layer, _TRANSPARENT):
                waiting = None

    def append(self, layer: Module) -> Sequential:
        """Add a layer at the end, and return the model."""
        _check(len(self.layers), layer)
        self.layers.append(layer)
        self._hint(redraw=True)
        return self

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            part = Sequential()
            part.layers = list(self.layers[index])
            return part
        if not -len(self.layers) <= index < len(self.layers):
            raise IndexError(f"layer {index} of a Sequential of {len(self.layers)}. {where()}")
        return self.layers[index]

    def __setitem__(self, index: int, layer: Module) -> None:
        _check(index, layer)
        self.layers[index] = layer


def _check(position: int, layer: object) -> None:
    if not isinstance(layer, Module):
        what = f"the class {layer.__name__}; make an object of it: {layer.__name__}(...)" if (
            isinstance(layer, type)) else f"{layer!r}; wrap a function in a Module"  # fmt: skip
        raise ArgumentError(f"Sequential: layer {position} is {what}. {where()}")
