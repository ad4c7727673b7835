"""What every reader says of one kind of data: its JSON, its files, its arrays, its answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.app.serve.limits import Refusal
from thalweg.nn import Module
from thalweg.tasks import Run
from thalweg.tasks.task import probabilities

__all__ = ["Reader", "TaskReader", "told_of_classes"]

Array = np.ndarray[Any, Any]
_SHOWN: Final = 20  # classes up to which an answer has the probability of each
_DIGITS: Final = 6  # decimals of a probability


class Reader(ABC):
    """One kind of data for the server.

    ``many``, ``one``: the keys of a JSON body for a list of samples and for one. ``files``: media
    types of a body that is one sample. ``whole``: whether the list in a request is one sample, and
    its prediction a list; there is no ``one`` then. ``even``: whether as many samples take as long
    each time. ``fewest``: samples of a request. ``model``, ``transform``: what runs. ``parse`` and
    ``open`` run in the event loop and must be quick; ``predict`` runs in the worker.
    """

    many: ClassVar[str]
    one: ClassVar[str]
    files: ClassVar[tuple[str, ...]] = ()
    whole: ClassVar[bool] = False
    even: ClassVar[bool] = True
    fewest: int = 1
    model: Module
    transform: Any = None

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of one sample."""

    @abstractmethod
    def answer_schema(self) -> dict[str, Any]:
        """Return the JSON schema of the prediction for one sample."""

    @abstractmethod
    def example(self) -> Any:
        """Return one sample in JSON."""

    @abstractmethod
    def parse(self, value: Any, number: int, truths: bool = True) -> Any:
        """Return one sample of JSON, checked.

        ``truths``: whether true or false may stand in it, where Python takes them for 1 and 0; if
        the body has neither word, long lists of numbers need not be looked through for them.

        Raises:
            Refusal: 422, it is not what is wanted; names the sample and what was wanted.
        """

    def open(self, raw: bytes) -> Any:
        """Return the sample of a file."""
        raise NotImplementedError(f"{type(self).__name__} takes no files")

    @abstractmethod
    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return arrays (n, ...) of samples, as the network takes them.

        Raises:
            ThalwegError: a sample that the network cannot take.
        """

    @abstractmethod
    def answers(self, outputs: Array) -> list[Any]:
        """Return what JSON can hold for outputs (n, ...): one prediction a sample."""

    def predict(
        self, samples: Sequence[Any], run: Callable[[tuple[Array, ...]], Array]
    ) -> list[Any]:
        """Return what JSON can hold for each sample; ``run`` is the network, inputs to outputs."""
        return self.answers(run(self.inputs(samples)))

    def notes(self, samples: Sequence[Any]) -> list[str]:
        """Return sentences on what is odd about samples that are answered all the same."""
        return []

    def wrong(self, number: int, got: Any, wanted: str) -> Refusal:
        """Return the refusal of a sample."""
        return Refusal(422, f"{self.many}[{number}]: got {shown(got)}, wanted {wanted}")


def shown(value: Any) -> str:
    """Return a JSON value for an error, short.

    >>> shown("a" * 100), shown([1, 2]), shown(None)
    ("text 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'", 'a list of 2', 'null')
    """
    if isinstance(value, str):
        return f"text {value[:30] + '...' * (len(value) > 30)!r}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} entries"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"the number {value!r:.30}"


def told_of_classes(shares: Array, names: Sequence[Any]) -> list[Any]:
    """Return predictions of probabilities (n, classes): the best class, and how sure each is.

    >>> told_of_classes(np.array([[0.25, 0.75]]), ["no", "yes"])[0]["prediction"]
    'yes'
    """
    words = [str(name) for name in names]
    best = shares.argmax(axis=1).tolist()
    if len(words) <= _SHOWN:
        rows = np.round(shares, _DIGITS).tolist()
        return [
            {"prediction": names[b], "probability": row[b],
             "probabilities": dict(zip(words, row, strict=True))}
            for b, row in zip(best, rows, strict=True)
        ]  # fmt: skip
    made = []
    for b, row in zip(best, shares, strict=True):
        first = np.argsort(-row, kind="stable")[:_SHOWN]
        likely = {words[i]: round(float(row[i]), _DIGITS) for i in first}
        made.append({"prediction": names[b], "probability": likely[words[b]],
                     "probabilities": likely})  # fmt: skip
    return made


def schema_of_classes(names: Sequence[Any]) -> dict[str, Any]:
    """Return the schema of what ``told_of_classes`` returns.

    >>> schema_of_classes(["no", "yes"])["properties"]["prediction"]["enum"]
    ['no', 'yes']
    """
    share = {"type": "number", "minimum": 0, "maximum": 1}
    few = len(names) <= _SHOWN
    told = "each class" if few else f"the {_SHOWN} likeliest classes"
    return {
        "type": "object",
        "required": ["prediction", "probability", "probabilities"],
        "properties": {
            "prediction": {"description": "the likeliest class", "enum": list(names)},
            "probability": share | {"description": "of the likeliest class"},
            "probabilities": {
                "type": "object", "description": f"of {told}, by name",
                "additionalProperties": share,
            },
        },
    }  # fmt: skip


class TaskReader(Reader):
    """A reader of what a run folder holds; answers in the words of its task."""

    def __init__(self, run: Run) -> None:
        self.run, self.task = run, run.task
        self.model, self.transform = run.model, run.task.transform
        self.classes = [plain(c) for c in run.task.classes]

    def answers(self, outputs: Array) -> list[Any]:
        """Return classes with probabilities, or numbers."""
        if self.task.kind == "classes":
            return told_of_classes(probabilities(outputs), self.classes)
        numbers = self.task.numbers(outputs).tolist()
        names = self.task.targets
        if len(names) == 1:
            return [{"prediction": finite(row[0])} for row in numbers]
        return [{"prediction": dict(zip(names, map(finite, row), strict=True))} for row in numbers]

    def answer_schema(self) -> dict[str, Any]:
        """Return the schema of classes with probabilities, or of numbers."""
        if self.task.kind == "classes":
            return schema_of_classes(self.classes)
        names, number = self.task.targets, {"type": ["number", "null"]}
        made: dict[str, Any] = number | {"description": f"of {names[0]}"}
        if len(names) > 1:
            made = {"type": "object", "required": list(names),
                    "properties": dict.fromkeys(names, number)}  # fmt: skip
        return {"type": "object", "required": ["prediction"], "properties": {"prediction": made}}


def finite(value: float) -> float | None:
    """Return a number, or None for one that JSON has no word for.

    >>> finite(1.5), finite(float("nan"))
    (1.5, None)
    """
    return value if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Return a NumPy scalar as a Python one.

    >>> plain(np.int64(3))
    3
    """
    return value.item() if isinstance(value, np.generic) else value
