"""What the architectures written in PyTorch are put together from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
T, F = torch.nn, torch.nn.functional
Array = np.ndarray[Any, Any]


class Net(T.Module):  # type: ignore[misc, name-defined]
    """Named parts and a function that puts them together."""

    def __init__(self, run: Callable[..., Any] | None = None, /, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *inputs: Any) -> Any:
        assert self.run is not None
        return self.run(self, *inputs)


def first(x: Array) -> Any:
    """Return an array as PyTorch has it: the channels of images are axis 1."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1) if x.ndim == 4 else x))


def last(x: Any) -> Array:
    """Return the inverse of ``first``."""
    values: Array = x.detach().numpy()
    return np.moveaxis(values, 1, -1) if values.ndim == 4 else values


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On small tensors PyTorch's threads only wait for one another; a test module imports this."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
