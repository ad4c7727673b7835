"""Containers: layers run one after the other, around a branch, or kept in a list or dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, overload

from thalweg.errors import ArgumentError, ShapeError, where
from thalweg.nn.activations import Activation
from thalweg.nn.batch_normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
)
from thalweg.nn.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d
from thalweg.nn.inputs import label
from thalweg.nn.keys import KeyLike
from thalweg.nn.layers import Flatten, Identity, Weighted
from thalweg.nn.module import Module
from thalweg.nn.normalization import GroupNorm, LayerNorm, RMSNorm
from thalweg.nn.pooling import AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from thalweg.tensor.context import context

M = TypeVar("M", bound=Module)
# Layers between weights and their activation that do not change which initial weights suit it.
_TRANSPARENT = (
    AlphaDropout, AvgPool1d, AvgPool2d, AvgPool3d, BatchNorm1d, BatchNorm2d, BatchNorm3d, Dropout,
    Dropout1d, Dropout2d, Flatten, GroupNorm, Identity, InstanceNorm1d, InstanceNorm2d, LayerNorm,
    MaxPool1d, MaxPool2d, MaxPool3d, RMSNorm,
)  # fmt: skip


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
        return len(_read(self).layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(_read(self).layers)

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        _read(self)
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


class ModuleList(Module):
    """Modules in a list; the model that holds it calls them.

    A plain list as an attribute does the same; this one has PyTorch's name, and its modules have
    the same paths.

    Args:
        modules: the first modules.

    Raises:
        ArgumentError: an element is not a Module.

    Example:
        >>> from thalweg import nn
        >>> blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        >>> blocks.append(nn.Linear(4, 2))
        >>> len(blocks), list(blocks.parameters())[:2]
        (4, ['0.weight', '0.bias'])
    """

    flat_attribute: ClassVar[str | None] = "modules"

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.modules: list[Module] = []
        self.extend(modules)

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        _check(len(self.modules), module, "ModuleList")
        self.modules.append(module)

    def extend(self, modules: Iterable[Module]) -> None:
        """Add several modules at the end."""
        for module in modules:
            self.append(module)

    def insert(self, index: int, module: Module) -> None:
        """Put a module before a position."""
        _check(index, module, "ModuleList")
        self.modules.insert(index, module)

    def __len__(self) -> int:
        return len(_read(self).modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(_read(self).modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...

    def __getitem__(self, index: int | slice) -> Module:
        _read(self)
        if isinstance(index, slice):
            return ModuleList(self.modules[index])
        if not -len(self.modules) <= index < len(self.modules):
            raise IndexError(f"module {index} of a ModuleList of {len(self.modules)}. {where()}")
        return self.modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        _check(index, module, "ModuleList")
        self.modules[index] = module


class ModuleDict(Module):
    """Modules by name; the model that holds it calls them.

    Args:
        modules: the first modules, by name.

    Raises:
        ArgumentError: a value is not a Module, or a name is empty or has a dot.

    Example:
        >>> from thalweg import nn
        >>> heads = nn.ModuleDict({"mean": nn.Linear(8, 2), "variance": nn.Linear(8, 2)})
        >>> heads["mean"]
        Linear(in_features=8, out_features=2)
        >>> list(heads.parameters())[0]
        'mean.weight'
    """

    flat_attribute: ClassVar[str | None] = "modules"

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self.modules: dict[str, Module] = {}
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not name or "." in str(name):
            raise ArgumentError(
                f"ModuleDict: a name must be text without dots, because paths are made of it; "
                f"got {name!r}. {where()}"
            )
        _check(name, module, "ModuleDict")
        self.modules[name] = module

    def __getitem__(self, name: str) -> Module:
        return _read(self).modules[name]

    def __delitem__(self, name: str) -> None:
        del self.modules[name]

    def __contains__(self, name: object) -> bool:
        return name in _read(self).modules

    def __len__(self) -> int:
        return len(_read(self).modules)

    def __iter__(self) -> Iterator[str]:
        return iter(_read(self).modules)

    def keys(self) -> Iterable[str]:
        """Return the names."""
        return _read(self).modules.keys()

    def values(self) -> Iterable[Module]:
        """Return the modules."""
        return _read(self).modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Return names and modules."""
        return _read(self).modules.items()


class Residual(Module):
    """The input plus what a branch makes of it.

    .. math:: y = s(x) + f(x)

    Args:
        inner: the branch ``f``.
        shortcut: what the input goes through, such as a 1x1 convolution where the branch changes
            its shape; the input itself if None.

    Shape:
        that of the input of ``inner``; its output and the shortcut have the same shape.

    Raises:
        ArgumentError: ``inner`` or ``shortcut`` is not a Module.
        ShapeError: branch and shortcut have different shapes.

    Example:
        >>> import thalweg as tw
        >>> from thalweg import nn
        >>> nn.Residual(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))(tw.ones((2, 4))).shape
        (2, 4)

    K. He et al., arXiv:1512.03385.
    """

    def __init__(self, inner: Module, shortcut: Module | None = None) -> None:
        _check("inner", inner, "Residual")
        if shortcut is not None:
            _check("shortcut", shortcut, "Residual")
        self.inner, self.shortcut = inner, shortcut

    def forward(self, x: Any) -> Any:
        """Return the sum of branch and shortcut."""
        y = self.inner(x)
        kept = x if self.shortcut is None else self.shortcut(x)
        if y.shape != kept.shape:
            what = "the shortcut" if self.shortcut is not None else "the input"
            raise ShapeError(
                f"{label(self)}: the branch gives shape {y.shape} and {what} has {kept.shape}; "
                f"they must be equal. Give a shortcut that changes the shape alike. {where()}"
            )
        return y + kept


def _read(container: M) -> M:
    """Return a container that is read without a call; a program captured now depends on it."""
    if context.recorder is not None:
        context.recorder.touch(container)
    return container


def _check(position: int | str, layer: object, owner: str = "Sequential") -> None:
    if not isinstance(layer, Module):
        what = f"the class {layer.__name__}; make an object of it: {layer.__name__}(...)" if (
            isinstance(layer, type)) else f"{layer!r}; wrap a function in a Module"  # fmt: skip
        raise ArgumentError(f"{owner}: layer {position} is {what}. {where()}")
