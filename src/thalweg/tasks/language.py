"""Language models: a text is continued, token by token, as the text that was learned from."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from thalweg.data.features import Tokens, Transformer, Values
from thalweg.data.features.texts import UNKNOWN
from thalweg.data.text_files import read_text
from thalweg.errors import ArgumentError, DataError, where
from thalweg.models.gpt import GPT2
from thalweg.tasks.parts import shares
from thalweg.tasks.settings import Settings
from thalweg.tasks.task import Problem, Rows, Task
from thalweg.tasks.text_sources import text_reason

if TYPE_CHECKING:
    from thalweg.tasks.run import Run
    from thalweg.train import History

__all__ = ["LanguageTask", "appraise_tokens", "figures_of_tokens"]

Array = np.ndarray[Any, Any]
ENDINGS: Final = (".txt", ".md", ".text", ".rst", ".tex", ".log", "")
_FEWEST: Final = 400  # tokens of the whole text
_LENGTH: Final = 128  # tokens of a window
_BY_LETTER: Final = 5_000_000  # characters below which a text is learned letter by letter
_PIECES: Final = 4096  # tokens of byte pairs
_HELD: Final = 100_000_000  # logits of the validation part that are held at once
_BLOCK: Final = 8_000_000  # logits of one block that is measured
_SEEN: Final = 2_000_000  # tokens that a network sees in training, those of all epochs
_DRAWS: Final = 500  # bootstrap samples
_SAMPLE: Final = 200  # tokens of a sample
_WORST: Final = 5  # windows shown


class LanguageTask(Task):
    """Learns to continue a text file, or the text files of a folder, with a small GPT.

    The text is cut by position: its beginning trains, then comes what validates, and the end tests.
    Below 5 MB it is learned letter by letter, above in byte pairs.

    >>> LanguageTask.name
    'language'
    """

    name = "language"
    turn = 60
    kind = "tokens"

    @classmethod
    def recognises(cls, source: Path, settings: Settings) -> str:
        """Text files are told by their ending; those that hold labels too are another task."""
        if settings.target or text_reason(source, settings):
            return ""
        if source.is_dir():
            files = text_files(source)
            return f"{source.name} is a folder of {len(files):,} text files" if files else ""
        if not source.is_file() or source.suffix.lower() not in ENDINGS:
            return ""
        with source.open("rb") as file:
            return "" if b"\0" in file.read(1 << 16) else f"{source.name} is a file of text"

    @property
    def loss(self) -> str:
        """The loss that the network learns by."""
        return "cross_entropy"

    def prepare(self, source: Path) -> Problem:
        """Read the text, cut it, learn its tokens from the first part, make a network."""
        settings, notes = self.settings, list[str]()
        text = _read(source, settings.encoding)
        _check(text, source)
        ends = np.round(np.cumsum(shares(settings)) * len(text)).astype(int)
        parts = [text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :]]
        self._fit(parts[0], len(text))
        tokens = [self._encode(part) for part in parts]
        length = settings.length or _window(sum(map(len, tokens)))
        fewest = min(map(len, tokens))
        if sum(map(len, tokens)) < _FEWEST or fewest <= length:
            raise DataError(
                f"{source} has {sum(map(len, tokens)):,} tokens, of which a part has {fewest:,}; "
                f"wanted {_FEWEST:,}, and windows of {length} tokens to fit in each part. Give "
                f"more text, or a smaller length (--set length=N). {where()}"
            )
        for part, own in zip(("validation", "test"), tokens[1:], strict=True):
            new = float((own == UNKNOWN).mean())
            if new:
                notes.append(f"{new:.2%} of the {part} part are letters that the training part "
                             "does not have; none of them can be predicted")  # fmt: skip
        self._learn_counts(tokens[0], length)
        filled = _chosen(settings, self.tokens, length, len(tokens[0]))
        training, validation, test = (
            self._windows(own, length, source.name, int(start))
            for own, start in zip(tokens, (0, *np.cumsum([len(t) for t in tokens])), strict=False)
        )
        validation = _bounded(validation, self.tokens.size, notes)
        reasons = [
            f"{len(text):,} characters, read by {self.tokens.settings['level']}: "
            f"{self.tokens.size:,} different tokens; windows of {length} tokens",
            "cut by position: the beginning trains, the middle validates, the end tests",
        ]
        return Problem(
            self._network(filled), self.loss, training, validation, test, filled,
            reasons=reasons, notes=notes,
        )  # fmt: skip

    def read_inputs(self, source: Any) -> Rows:
        """Refuse: what a language model predicts is text.

        Raises:
            ArgumentError: always; names the command that continues a text.
        """
        raise ArgumentError(
            f"a language model continues a text: thalweg generate RUN PROMPT; its figures on other "
            f"text are those of thalweg evaluate. {where()}"
        )

    def read(self, source: Any) -> Rows:
        """Return the windows of a file, a folder of text files, or a list of texts.

        A text that is shorter than a window is one, whole; what does not fill a last window is left
        out.
        """
        length = int(self.length)
        if isinstance(source, (str, Path)):
            name, texts = Path(source).name, [_read(Path(source), self.settings.encoding)]
        else:
            name, texts = "the texts", [str(text) for text in source]
        tokens = self._encode("\n".join(texts))
        if len(tokens) < 2:
            raise DataError(
                f"{name} holds {len(tokens)} tokens; at least 2 are needed to see how well one "
                f"follows the other. {where()}"
            )
        return self._windows(tokens, min(length, len(tokens) - 1), name, 0)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return the tokens, how often each came, and the length of the windows."""
        told, arrays = self.tokens.state()
        facts = {"tokens": told, "length": self.length, "start": self.start}
        return facts, {"counts": self.counts} | {f"tokens.{k}": a for k, a in arrays.items()}

    def restore(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take over tokens, their counts and the length."""
        own = {k.removeprefix("tokens."): a for k, a in arrays.items() if k.startswith("tokens.")}
        made = Transformer.from_state(facts["tokens"], own)
        assert isinstance(made, Tokens)
        self.tokens, self.counts = made, np.asarray(arrays["counts"])
        self.length, self.start = int(facts["length"]), int(facts["start"])
        self._name_targets()

    def columns(self, outputs: Array) -> dict[str, list[Any]]:
        """Return what follows each window: the likeliest token as text, and its probability.

        A window ends before the last token of its text, which is the truth to compare with.
        """
        last = outputs[:, -1].astype(np.float64)
        shares = np.exp(last - last.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        best = shares.argmax(axis=1)
        return {
            "prediction": self.tokens.decode(best[:, None]),
            "probability": shares.max(axis=1).tolist(),
        }

    def appraise(self, run: Any, problem: Problem, history: Any) -> dict[str, Any]:
        """Return figures beside the naive answer, samples, the worst windows, and the history."""
        return appraise_tokens(run, problem, history)

    def figures(self, run: Any, source: Any) -> tuple[int, dict[str, float]]:
        """Return the number of windows of a source, and the figures of a run on them."""
        rows = self.read(source)
        return len(rows), figures_of_tokens(run, rows)

    def generate(
        self, model: GPT2, prompt: str, length: int, temperature: float = 0.8,
        top_k: int | None = None, top_p: float | None = None, seed: int = 0,
    ) -> str:  # fmt: skip
        """Return the ``length`` tokens that follow a prompt, as text.

        An empty prompt is the beginning of a line. Where the text outgrows the network's context,
        its last half is read again.

        Args:
            model: the network of the run.
            prompt: a text.
            length: how many tokens to add: letters, or pieces of words.
            temperature: divides the logits; 0 takes the likeliest token.
            top_k: only so many of the likeliest tokens are drawn.
            top_p: only the fewest likeliest tokens whose probabilities add up to this are drawn.
            seed: the same seed gives the same text.

        Raises:
            ArgumentError: the length is not from 1 on, or letters that the network does not know.
        """
        if length < 1:
            raise ArgumentError(f"length={length}, wanted a whole number from 1 on. {where()}")
        written = self._prompt(prompt)
        begin, context = len(written), model.context
        while len(written) < begin + length:
            left = begin + length - len(written)
            known = written[-context:] if len(written) + left <= context else (
                written[-max(context // 2, 1) :])  # fmt: skip
            new = min(left, context - len(known))
            made = model.generate(known, new, temperature, top_k, top_p, seed=seed + len(written))
            written = np.concatenate([written, made[len(known) :]])
        return self.tokens.decode([written[begin:]])[0]

    # --- parts ----------------------------------------------------------------------------

    def _fit(self, training: str, size: int) -> None:
        level = self.settings.level
        if level == "wordpiece":
            raise ArgumentError(
                "level='wordpiece' drops capitals and spaces, so that no text can be written; "
                f"take 'character', 'byte' or 'bpe'. {where()}"
            )
        if level is None:
            small = size < _BY_LETTER or importlib.util.find_spec("tokenizers") is None
            level = "character" if small else "bpe"
        pieces = {"size": _PIECES} if level == "bpe" else {}
        self.tokens = Tokens(level=level, length=1, **pieces)
        self.tokens.fit(Values("text", _lines(training)))
        self._name_targets()

    def _learn_counts(self, training: Array, length: int) -> None:
        self.length = length
        self.counts = np.bincount(training, minlength=self.tokens.size)
        line = self._encode("\n")
        known = len(line) == 1 and self.counts[line[0]] > 0
        self.start = int(line[0] if known else training[0])

    def _name_targets(self) -> None:
        letters = self.tokens.settings["level"] == "character"
        self.targets = ("the next letter" if letters else "the next token",)

    def _encode(self, text: str) -> Array:
        return np.concatenate(
            [np.zeros(0, np.int64), *self.tokens.encode(Values("text", _lines(text)))]
        )

    def _windows(self, tokens: Array, length: int, name: str, begin: int) -> Rows:
        count = (len(tokens) - 1) // length
        inputs = tokens[: count * length].reshape(count, length)
        truth = tokens[1 : count * length + 1].reshape(count, length)
        return Rows(
            (inputs,), truth, lambda row: f"{name}: token {begin + row * length:,}",
            lambda row: {"text": self.tokens.decode([inputs[row]])[0]},
        )  # fmt: skip

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt that cannot be continued.

        Raises:
            ArgumentError: it holds letters that the training text never had.
        """
        self._prompt(prompt)

    def _prompt(self, prompt: str) -> Array:
        tokens = self._encode(prompt.replace("\r\n", "\n"))
        if (tokens == UNKNOWN).any():
            letters = dict.fromkeys(c for c in prompt if (self._encode(c) == UNKNOWN).any())
            raise ArgumentError(
                f"the prompt holds {', '.join(map(repr, letters))}, which the training text never "
                f"had; write it without. {where()}"
            )
        return tokens if len(tokens) else np.array([self.start], np.int64)

    def _network(self, settings: Settings) -> GPT2:
        layers = settings.hidden or (128,)
        width = layers[0]
        if len(set(layers)) > 1:
            raise ArgumentError(
                f"hidden={layers}: the layers of a language model are of one width, such as "
                f"128,128,128,128. {where()}"
            )
        heads = next(n for n in range(max(1, width // 32), 0, -1) if width % n == 0)
        model = GPT2(self.tokens.size, self.length, layers=len(layers), heads=heads, width=width,
                     dropout=settings.dropout or 0.0)  # fmt: skip
        return model.reset_parameters(settings.seed)


def figures_of_tokens(run: Run, rows: Rows) -> dict[str, float]:
    """Return loss in nats a token, perplexity and bits a character of windows of tokens.

    Raises:
        DataError: there are no rows.
    """
    letters = _characters(_language(run), rows)
    tokens = np.full(len(rows), rows.inputs[0].shape[1])
    return _figures(_window_losses(run, rows), tokens, letters, np.arange(len(rows)))


def appraise_tokens(run: Run, problem: Problem, history: History) -> dict[str, Any]:
    """Return what ``results.json`` tells of a run, as JSON can hold it.

    ``figures``: with the interval that holds 95 % of bootstrap samples of windows, and the figure
    of the naive answer, how often each token comes in the training part. ``samples``: two texts,
    each with the beginning that was given, of the test part, and what the network wrote.
    """
    task, test = _language(run), problem.test
    truth = np.asarray(test.truth)
    tokens, letters = np.full(len(test), truth.shape[1]), _characters(task, test)
    losses = _window_losses(run, test)
    shares = (task.counts + 1) / (task.counts + 1).sum()
    naive = _figures(-np.log(shares[truth]).sum(axis=1), tokens, letters, np.arange(len(test)))
    source = np.random.default_rng(0)
    draws = [_figures(losses, tokens, letters, source.integers(0, len(test), len(test)))
             for _ in range(_DRAWS)]  # fmt: skip
    told = []
    for name, value in _figures(losses, tokens, letters, np.arange(len(test))).items():
        low, high = np.quantile([d[name] for d in draws], [0.025, 0.975])
        told.append({"name": name, "value": value, "low": float(low), "high": float(high),
                     "naive": naive[name]})  # fmt: skip
    worst = np.argsort(-losses, kind="stable")[:_WORST]
    parts = {"training": problem.training, "validation": problem.validation, "test": test}
    verdict = history.verdict()
    return {
        "kind": task.kind, "classes": [], "targets": list(task.targets),
        "rows": {name: len(rows) for name, rows in parts.items()},
        "history": asdict(history), "verdict": {"kind": verdict.kind, "text": str(verdict)},
        "figures": told,
        "naive": "how often each token comes in the training part, whatever stands before it",
        "samples": list(_samples(run, test)),
        "worst": [
            {"place": test.place(int(i)), "shown": test.show(int(i)),
             "loss": float(losses[i] / tokens[i])}
            for i in worst
        ],
        "importance": [],
    }  # fmt: skip


def text_files(source: Path) -> list[Path]:
    """Return the text files of a folder and those in it, by name.

    >>> text_files(Path(__file__).parent)
    []
    """
    return sorted(
        p for p in source.rglob("*")
        if p.is_file() and p.suffix and p.suffix.lower() in ENDINGS and not p.name.startswith(".")
    )  # fmt: skip


def _read(source: Path, encoding: str) -> str:
    if not source.is_dir():
        return read_text(source, encoding).replace("\r\n", "\n")
    files = text_files(source)
    if not files:
        raise DataError(f"{source} holds no text files; give another folder. {where()}")
    texts = [read_text(file, encoding) for file in files if file.stat().st_size]
    return "\n".join(text.replace("\r\n", "\n") for text in texts)


def _check(text: str, source: Path) -> None:
    kinds = set(text)
    if not text.strip():
        raise DataError(f"{source} holds nothing but white space; give another file. {where()}")
    if len(kinds - {"\n"}) < 2:
        raise DataError(
            f"{source} holds one character only, {text.strip()[0]!r}, {len(text):,} times: there "
            f"is nothing to learn; give another file. {where()}"
        )
    if "\0" in kinds:
        raise DataError(
            f"{source} holds bytes of 0: it is no text, or of another encoding (--set "
            f"encoding=utf-16). {where()}"
        )


def _lines(text: str) -> Array:
    """Return the lines of a text with their ends, as objects."""
    lines = text.split("\n")
    whole = [line + "\n" for line in lines[:-1]] + lines[-1:]
    made = np.empty(len(whole), object)
    made[:] = whole
    return made


def _window(tokens: int) -> int:
    """Return the length of windows: 128 tokens, or less where that leaves few of them."""
    return min(_LENGTH, max(8, tokens // 40))


def _bounded(rows: Rows, vocabulary: int, notes: list[str]) -> Rows:
    """Return as many of the windows as can be measured at once."""
    most = max(8, _HELD // (vocabulary * rows.inputs[0].shape[1]))
    if len(rows) <= most:
        return rows
    notes.append(f"{most:,} of {len(rows):,} windows validate, evenly spaced")
    return rows.take(np.linspace(0, len(rows) - 1, most).astype(int))


def _chosen(settings: Settings, tokens: Tokens, length: int, count: int) -> Settings:
    """Return the settings with every choice made by the number of training tokens."""
    small, large = count < 100_000, count >= 5_000_000

    def one(given: Any, else_: Any) -> Any:
        return else_ if given is None else given

    hidden = one(settings.hidden, (64,) * 2 if small else (256,) * 4 if large else (128,) * 4)
    epochs = int(np.clip(round(_SEEN / count), 1, 60))
    return replace(
        settings,
        network="gpt",
        level=tokens.settings["level"],
        length=length,
        hidden=hidden,
        dropout=one(settings.dropout, 0.1 if epochs > 10 else 0.0),
        batch_size=one(settings.batch_size, 8),
        learning_rate=one(settings.learning_rate, 5e-4 if hidden[0] > 128 else 1e-3),
        weight_decay=one(settings.weight_decay, 0.1),
        epochs=one(settings.epochs, epochs if settings.seconds is None else 100),
        patience=one(settings.patience, 5),
        ema=one(settings.ema, 0.99),
    )


def _language(run: Run) -> LanguageTask:
    if not isinstance(run.task, LanguageTask):
        raise ArgumentError(
            f"{str(run.folder.place)!r} is a run of the task {run.task.name!r}; wanted one of a "
            f"language model, trained on a text file. {where()}"
        )
    return run.task


def _window_losses(run: Run, rows: Rows) -> Array:
    """Return the summed loss of each window, (n,) in nats, block by block."""
    truth = np.asarray(rows.truth)
    size = int(np.clip(_BLOCK // (truth.shape[1] * _language(run).tokens.size), 1, 64))
    made = []
    for start in range(0, len(rows), size):
        # A last block that is not full is filled with its own rows: one program does for all.
        block = np.resize(np.arange(start, min(start + size, len(rows))), min(size, len(rows)))
        logits = run.outputs(rows.take(block), batch_size=size)
        logits = logits - logits.max(axis=-1, keepdims=True)
        total = np.log(np.exp(logits).sum(axis=-1, dtype=np.float64))
        own = np.take_along_axis(logits, truth[block][..., None], -1)[..., 0]
        made.append((total - own).sum(axis=1)[: len(rows) - start])
    return np.concatenate(made)


def _characters(task: LanguageTask, rows: Rows) -> Array:
    """Return how many characters the tokens of each window stand for; unknown ones are one."""
    truth = np.asarray(rows.truth)
    if task.tokens.settings["level"] == "character":
        return np.full(len(truth), truth.shape[1])
    return np.array([max(len(text), 1) for text in task.tokens.decode(truth)])


def _figures(losses: Array, tokens: Array, characters: Array, rows: Array) -> dict[str, float]:
    total = float(losses[rows].sum())
    loss = total / float(tokens[rows].sum())
    return {
        "loss": loss,
        "perplexity": float(np.exp(loss)),
        "bits per character": total / float(characters[rows].sum()) / float(np.log(2)),
    }


def _samples(run: Run, rows: Rows) -> Iterator[dict[str, str]]:
    """Yield two texts: beginnings from the test part, and what the network wrote after them."""
    task, length = _language(run), rows.inputs[0].shape[1]
    for i, row in enumerate((0, len(rows) // 2)):
        tokens: Sequence[Any] = rows.inputs[0][row][: max(1, length // 4)]
        prompt = task.tokens.decode([[t for t in tokens if t != UNKNOWN] or [task.start]])[0]
        model = run.model
        assert isinstance(model, GPT2)
        yield {"prompt": prompt, "text": task.generate(model, prompt, _SAMPLE, seed=i)}
