"""Texts as rows of token numbers: bytes, characters, byte pairs (BPE) or word pieces."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from thalweg.data.features.transformer import (
    Group,
    Transformer,
    Values,
    as_values,
    checked_choice,
    checked_count,
    words_of,
)
from thalweg.errors import ArgumentError, DataError, where

__all__ = ["LEVELS", "PAD", "UNKNOWN", "Tokens"]

Array = np.ndarray[Any, Any]
LEVELS: Final = ("byte", "character", "bpe", "wordpiece")
PAD, UNKNOWN = 0, 1
_SPECIAL: Final = ("[PAD]", "[UNK]")
_WHOLE: Final = 0.99  # the share of training texts that the learned length holds whole
_LONGEST: Final = 512  # a learned length never exceeds it
_STEP: Final = 8  # and is a multiple of it


class Tokens(Transformer):
    """Rows of token numbers; 0 fills the row up, 1 stands for what the training texts never had.

    ``level``: ``"byte"`` (UTF-8, nothing to learn, nothing unknown), ``"character"``, ``"bpe"``
    (byte pairs: nothing is unknown) or ``"wordpiece"`` (as BERT has it, lower case). ``size``: the
    most tokens to tell apart, for the last three. ``length``: tokens a row, later ones are cut off;
    left out, what 99 % of the training texts need, and at most 512. A missing text is a row of 0.

    BPE and word pieces need ``pip install 'thalweg[text]'``. P. Gage, "A new algorithm for data
    compression", 1994; R. Sennrich et al., arXiv:1508.07909; Y. Wu et al., arXiv:1609.08144.

    Shapes: (n,) str to (n, length) int64.

    Raises:
        ArgumentError: a level that does not exist, a size or length that is no whole number.
        DataError: values that are no text, or no training text that holds anything.

    Example:
        >>> made = Tokens(level="character", length=6).fit(["abba", "cab"])
        >>> made.transform(["bad", ""]).tolist(), made.size
        ([[3, 2, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], 5)
        >>> made.decode([[3, 2, 4]])
        ['bac']
    """

    group: ClassVar[Group] = "own"
    kinds: ClassVar[tuple[str, ...]] = ("text", "category")

    def __init__(
        self, *, level: str = "wordpiece", size: int = 8192, length: int | None = None
    ) -> None:
        checked_choice("level", level, LEVELS)
        checked_count("size", size, least=256 + len(_SPECIAL) if level == "bpe" else 3)
        if length is not None:
            checked_count("length", length)
        if level in ("bpe", "wordpiece") and importlib.util.find_spec("tokenizers") is None:
            raise ArgumentError(
                f"level={level!r} needs tokenizers, which is not installed: pip install "
                f"'thalweg[text]'; or take level=\"character\". {where()}"
            )
        super().__init__(level=level, size=size, length=length)
        self._made: Any = None

    @property
    def size(self) -> int:
        """How many tokens there are, with the two special ones: rows of an embedding."""
        self._check_fitted()
        return int(self.facts["size"])

    @property
    def length(self) -> int:
        """How many tokens a row has."""
        self._check_fitted()
        return int(self.facts["length"])

    def encode(self, texts: Any) -> list[Array]:
        """Return the tokens (length of the text,) int64 of each text, neither cut nor filled up.

        Raises:
            ArgumentError: it is not fitted.
            DataError: values that are no text.
        """
        self._check_fitted()
        return self._encode(_texts(as_values(texts)))

    def decode(self, tokens: Iterable[Any]) -> list[str]:
        """Return the text of each row of tokens; the special ones are left out.

        Raises:
            DataError: a number that no token has.
        """
        self._check_fitted()
        return [self._text(_checked(row, self.size)) for row in tokens]

    def describe(self) -> str:
        """Say in a line what was learned."""
        if not self.fitted:
            return super().describe()
        return (
            f"Tokens: {self.size:,} {self.settings['level']} tokens, rows of {self.length}, which "
            f"hold {self.facts['whole']:.1%} of the training texts whole"
        )

    def _learn(self, column: Values) -> None:
        texts = _texts(column)
        if not any(texts):
            raise DataError(
                f"column {column.name!r}: none of the {len(texts):,} training texts holds "
                f"anything; leave the column out. {where()}"
            )
        level, size = self.settings["level"], self.settings["size"]
        if level == "byte":
            self.facts["size"] = 256 + len(_SPECIAL)
        elif level == "character":
            counts = Counter(letter for text in texts for letter in text)
            often = sorted(counts, key=lambda c: (-counts[c], c))[: size - len(_SPECIAL)]
            self.facts["letters"] = "".join(sorted(often))
            self.facts["size"] = len(often) + len(_SPECIAL)
        else:
            trained = _trained(level, size, texts)
            self.facts["tokenizer"] = json.loads(trained.to_str())
            self.facts["size"] = trained.get_vocab_size()
        lengths = np.array([len(row) for row in self._encode(texts)])
        wanted = self.settings["length"]
        if wanted is None:
            needed = int(np.quantile(lengths, _WHOLE, method="inverted_cdf"))
            wanted = min(_LONGEST, max(1, -(-needed // _STEP)) * _STEP)
        self.facts["length"] = int(wanted)
        self.facts["whole"] = float((lengths <= wanted).mean())

    def _apply(self, column: Values) -> Array:
        rows = self._encode(_texts(column))
        made = np.full((len(rows), self.facts["length"]), PAD, np.int64)
        for place, row in zip(made, rows, strict=True):
            place[: len(row)] = row[: len(place)]
        return made

    def _encode(self, texts: Sequence[str]) -> list[Array]:
        level, first = self.settings["level"], len(_SPECIAL)
        if level == "byte":
            raw = [np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8) for text in texts]
            return [row.astype(np.int64) + first for row in raw]
        if level == "character":
            number = {letter: i for i, letter in enumerate(self.facts["letters"], first)}
            return [np.array([number.get(c, UNKNOWN) for c in text], np.int64) for text in texts]
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # no half pairs
        found = self._tokenizer().encode_batch(clean, add_special_tokens=False)
        return [np.array(row.ids, np.int64) for row in found]

    def _text(self, row: Array) -> str:
        level, kept = self.settings["level"], row[row >= len(_SPECIAL)]
        if level == "byte":
            return (kept - len(_SPECIAL)).astype(np.uint8).tobytes().decode("utf-8", "replace")
        if level == "character":
            return "".join(self.facts["letters"][i - len(_SPECIAL)] for i in kept)
        return str(self._tokenizer().decode(kept.tolist()))

    def _tokenizer(self) -> Any:
        if self._made is None:
            from tokenizers import Tokenizer

            self._made = Tokenizer.from_str(json.dumps(self.facts["tokenizer"]))
        return self._made

    def __deepcopy__(self, memo: dict[int, Any]) -> Tokens:
        made = Tokens(**self.settings)
        made.facts, made.arrays, made.fitted = dict(self.facts), dict(self.arrays), self.fitted
        return made


def _texts(column: Values) -> list[str]:
    """Return texts, empty where missing."""
    kind = column.values.dtype.kind
    if kind not in "OUS" or any(isinstance(v, (bytes, np.ndarray)) for v in column.values.flat):
        raise DataError(
            f"column {column.name!r} holds values of type {column.values.dtype}, wanted texts (n,) "
            f"of str. {where()}"
        )
    return [word or "" for word in words_of(column)]


def _checked(row: Any, size: int) -> Array:
    tokens = np.asarray(row)
    if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
        raise DataError(
            f"decode: got a row of shape {tokens.shape} and dtype {tokens.dtype}, wanted whole "
            f"numbers (length,). {where()}"
        )
    wrong = tokens[(tokens < 0) | (tokens >= size)]
    if wrong.size:
        raise DataError(f"decode: token {int(wrong[0])} is not from 0 to {size - 1}. {where()}")
    return tokens.astype(np.int64)


def _trained(level: str, size: int, texts: Sequence[str]) -> Any:
    """Return a tokenizer that has learned its pieces from some texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    if level == "wordpiece":
        return _word_pieces(size, clean)
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), min_frequency=2,
        vocab_size=size, special_tokens=list(_SPECIAL), show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(clean, trainer, length=len(clean))
    return made


def _word_pieces(size: int, texts: Sequence[str]) -> Any:
    """Return a tokenizer of word pieces, the same for the same texts.

    The library numbers letters as its hash tables list them, and breaks ties by these numbers; so
    the letters, as beginnings and as continuations of words, are numbered before.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    normal = normalizers.BertNormalizer(lowercase=True)
    counts = Counter(letter for text in texts for letter in normal.normalize_str(text))
    often = sorted(counts, key=lambda c: (-counts[c], c))[: (size - len(_SPECIAL)) // 2]
    letters = sorted(c for c in often if not c.isspace())
    first = [*_SPECIAL, *letters, *(f"##{c}" for c in letters)]

    def tokenizer(model: Any) -> Any:
        made = Tokenizer(model)
        made.normalizer, made.decoder = normal, decoders.WordPiece()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return made

    trained = tokenizer(models.WordPiece(unk_token=_SPECIAL[UNKNOWN]))
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=first, limit_alphabet=0, min_frequency=2,
        show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator(texts, trainer, length=len(texts))
    vocabulary = dict(sorted(trained.get_vocab().items(), key=lambda entry: entry[1]))
    return tokenizer(models.WordPiece(vocabulary, unk_token=_SPECIAL[UNKNOWN]))
