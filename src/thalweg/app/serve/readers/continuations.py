"""Language models: a list of prompts, each continued, for a run folder of the task ``language``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.app.serve.limits import Refusal, message_of
from thalweg.app.serve.readers.reader import TaskReader, shown
from thalweg.errors import ArgumentError
from thalweg.models.gpt import GPT2
from thalweg.tasks import Run
from thalweg.tasks.language import LanguageTask

__all__ = ["ContinuationsReader"]

Array = np.ndarray[Any, Any]
_LONGEST: Final = 1000  # tokens that one prompt is continued by
_LARGEST: Final = 2**31 - 1
_DEFAULTS: Final[dict[str, Any]] = {
    "length": 100, "temperature": 0.8, "top_k": None, "top_p": None, "seed": 0,
}  # fmt: skip
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "length": {"type": "integer", "minimum": 1, "maximum": _LONGEST,
               "description": "tokens to add: letters, or pieces of words"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 100,
                    "description": "divides the logits; 0 takes the likeliest token"},
    "top_k": {"type": ["integer", "null"], "minimum": 1, "maximum": _LARGEST,
              "description": "draw from so many of the likeliest tokens only"},
    "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1,
              "description": "draw from the likeliest tokens that add up to this probability"},
    "seed": {"type": "integer", "minimum": 0, "maximum": _LARGEST,
             "description": "the same seed gives the same text"},
}  # fmt: skip


class ContinuationsReader(TaskReader):
    """Prompts for a run folder: texts, or objects of a text and how it is to be continued."""

    many: ClassVar[str] = "prompts"
    one: ClassVar[str] = "prompt"
    files: ClassVar[tuple[str, ...]] = ("text/plain",)
    even: ClassVar[bool] = False
    task: LanguageTask
    model: GPT2

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.model.eval()

    def schema(self) -> dict[str, Any]:
        """Return the schema of a prompt: a text, or an object with it."""
        options = {name: schema | ({"default": default} if default is not None else {})
                   for (name, schema), default in zip(_OPTIONS.items(), _DEFAULTS.values(),
                                                      strict=True)}  # fmt: skip
        return {"oneOf": [
            {"type": "string"},
            {"type": "object", "required": ["text"], "additionalProperties": False,
             "properties": {"text": {"type": "string"}} | options},
        ]}  # fmt: skip

    def answer_schema(self) -> dict[str, Any]:
        """Return the schema of what follows a prompt."""
        text = {"type": "string", "description": "what follows the prompt"}
        return {"type": "object", "required": ["prediction"], "properties": {"prediction": text}}

    def example(self) -> Any:
        """Return a prompt that every network knows: the beginning of a line."""
        return {"text": "", "length": 40}

    def parse(self, value: Any, number: int, truths: bool = True) -> Any:
        """Return text and options."""
        if isinstance(value, str):
            value = {"text": value}
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise self.wrong(number, value, 'a text, or an object with a "text"')
        try:
            self.task.check_prompt(value["text"])
        except ArgumentError as error:
            raise Refusal(422, f"{self.many}[{number}]: {message_of(error)}") from error
        for name, given in value.items():
            if name == "text" or (given is None and name in _OPTIONS and _DEFAULTS[name] is None):
                continue
            if name not in _OPTIONS:
                raise Refusal(
                    422, f"{self.many}[{number}]: there is no option {name[:40]!r}; there is text, "
                    f"{', '.join(_OPTIONS)}"
                )  # fmt: skip
            self._check(number, name, given)
        return _DEFAULTS | value

    def _check(self, number: int, name: str, given: Any) -> None:
        told = _OPTIONS[name]
        whole = "integer" in told["type"]
        low, high = told.get("minimum", 0), told["maximum"]
        right = isinstance(given, (int, float)) and not isinstance(given, bool)
        right = right and low <= given <= high and (not whole or float(given).is_integer())
        if not right or ("exclusiveMinimum" in told and given == 0):
            above = "above 0" if "exclusiveMinimum" in told else f"from {low}"
            kind = "a whole number" if whole else "a number"
            raise Refusal(
                422, f"{self.many}[{number}]: {name} is {shown(given)}, wanted {kind} {above} to "
                f"{high:,}"
            )  # fmt: skip

    def open(self, raw: bytes) -> Any:
        """Return the prompt of a file."""
        return {"text": raw.decode("utf-8", "replace")} | _DEFAULTS

    def inputs(self, samples: Sequence[Any]) -> tuple[Array, ...]:
        """Return no arrays: a text is written token by token."""
        return ()

    def predict(
        self, samples: Sequence[Any], run: Callable[[tuple[Array, ...]], Array]
    ) -> list[Any]:
        """Return what follows each prompt.

        Raises:
            ArgumentError: a prompt holds letters that the training text never had.
        """
        return [{"prediction": self._continued(**sample)} for sample in samples]

    def _continued(self, text: str, length: int, seed: int, **options: Any) -> str:
        if options["top_k"] is not None:
            options["top_k"] = int(options["top_k"])
        return self.task.generate(self.model, text, int(length), seed=int(seed), **options)
