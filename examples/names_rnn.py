"""A recurrent network spells names: it predicts each letter from those before it.

J. Elman, "Finding structure in time" (1990), doi:10.1207/s15516709cog1402_1; the gated unit is that
of K. Cho et al., arXiv:1406.1078. Data: 32,033 names, as collected for A. Karpathy's makemore.

Seen: the mean surprise per letter (in nats) on names that were set aside, next to that of the
letters' frequencies alone; and names that the network made up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import data_file, run

import thalweg as tw
from thalweg import nn

Array = np.ndarray[Any, Any]
LETTERS = ".abcdefghijklmnopqrstuvwxyz"  # number 0 begins and ends a name
NOTHING = -1  # the target after the end of a name


class CharacterRNN(nn.Module):
    """Letters (batch, time) to logits of the letters after them, (batch, time, 27)."""

    def __init__(self, width: int) -> None:
        self.embedding = nn.Embedding(len(LETTERS), 32)
        self.recurrent = nn.GRU(32, width)
        self.head = nn.Linear(width, len(LETTERS))

    def after(self, letters: Any, state: Any = None) -> tuple[Any, Any]:
        """Return logits, and the state to go on from."""
        hidden, state = self.recurrent(self.embedding(letters), state)
        return self.head(hidden), state

    def forward(self, letters: Any) -> Any:
        """Return the logits."""
        return self.after(letters)[0]


def surprise(logits: Any, targets: Any) -> Any:
    """Return the mean cross-entropy over the letters there are, ends of names included."""
    return nn.losses.cross_entropy(logits, targets, ignore_index=NOTHING)


def load(count: int | None) -> tuple[Array, Array]:
    """Return the names in random order: letters and the letters after them, (names, longest)."""
    names = data_file("text/names.txt").read_text().split()
    names = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:count]]
    longest = max(map(len, names)) + 1
    inputs = np.zeros((len(names), longest), np.int64)
    targets = np.full((len(names), longest), NOTHING)
    for row, name in enumerate(names):
        numbers = [LETTERS.index(letter) for letter in name]
        inputs[row, 1 : len(name) + 1] = numbers
        targets[row, : len(name) + 1] = [*numbers, 0]
    return inputs, targets


def sampled(model: CharacterRNN, count: int, longest: int = 20) -> list[str]:
    """Return new names, letter by letter; each is drawn by its predicted probability."""
    generator = np.random.default_rng(0)
    step = tw.compile(model.after)
    letters = np.zeros((count, 1), np.int64)
    state = np.zeros((1, count, model.recurrent.hidden_size), np.float32)
    made = []
    for _ in range(longest):
        logits, state = step(letters, state)
        # The largest logit plus Gumbel noise is a draw from the softmax.
        noisy = logits.numpy() + generator.gumbel(size=(count, 1, len(LETTERS)))
        letters = noisy.argmax(-1)
        made.append(letters[:, 0])
    return ["".join(LETTERS[i] for i in row).split(".")[0] for row in np.stack(made, 1)]


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Train on most of the names, measure on a tenth, and make up some."""
    inputs, targets = load(3000 if short else None)
    held = len(inputs) // 10
    epochs, batch = (1, 50) if short else (15, 100)
    test, train = (inputs[:held], targets[:held]), (inputs[held:], targets[held:])
    model = CharacterRNN(64 if short else 192).reset_parameters(0)
    steps = epochs * (len(train[0]) // batch)
    optimizer = tw.optim.AdamW(model, learning_rate=tw.optim.cosine(4e-3, steps, warmup=50))
    trainer = tw.Trainer(model, surprise, optimizer, events=[tw.train.Progress()])
    trainer.fit(train, epochs=epochs, batch_size=batch, validation=None)

    share = np.bincount(train[1][train[1] >= 0], minlength=len(LETTERS)) / (train[1] >= 0).sum()
    model.eval()
    names = sampled(model, 20)
    print("made up:", ", ".join(names))
    return {
        "nats_per_letter": trainer.evaluate(test)["loss"],
        "nats_per_letter_by_frequency": float(-np.log(share[test[1][test[1] >= 0]]).mean()),
        "names_made_up": len(set(names)),
    }


if __name__ == "__main__":
    run(main)
