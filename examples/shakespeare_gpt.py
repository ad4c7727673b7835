"""A small GPT writes like Shakespeare, character by character.

A. Radford et al., "Language models are unsupervised multitask learners" (2019), at the size and
with the training of the CPU configuration of A. Karpathy's nanoGPT: 4 layers, 4 heads, 128
features, a context of 64 characters, 2000 steps of 12 sequences, no dropout. Its documentation
gives a validation loss of 1.88.

Seen: the loss (nats per character) over the whole last tenth of tiny shakespeare, which the model
never saw, and some lines that it writes. nanoGPT estimates its loss from 20 batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _gallery import data_file, run

import thalweg as tw
from thalweg import nn

Array = np.ndarray[Any, Any]
CONTEXT, BATCH = 64, 12


def load() -> tuple[list[str], Array]:
    """Return the 65 characters, and the text as their numbers."""
    text = data_file("text/tinyshakespeare.txt").read_text()
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    return characters, np.array([number[character] for character in text], np.int64)


def mean_loss(model: nn.Module, text: Array) -> float:
    """Return the mean loss over a text, cut into sequences that do not overlap."""
    count = (len(text) - 1) // CONTEXT
    inputs = text[: count * CONTEXT].reshape(count, CONTEXT)
    targets = text[1 : count * CONTEXT + 1].reshape(count, CONTEXT)
    return tw.evaluate(model, (inputs, targets), loss="cross_entropy")["loss"]


def main(short: bool = False, out: Path | None = None) -> dict[str, float]:
    """Train on nine tenths of the text, measure on the last, and write 500 characters."""
    characters, text = load()
    cut = int(0.9 * len(text))
    train, validation = text[:cut], text[cut:]
    steps, layers, width, told = 2000, 4, 128, 250
    if short:
        steps, layers, width, told = 40, 1, 32, 20
        validation = validation[:10_000]
    model = tw.models.GPT2(
        len(characters), CONTEXT, layers=layers, heads=4, width=width, dropout=0.0
    ).reset_parameters(1337)
    optimizer = tw.optim.AdamW(
        model, learning_rate=tw.optim.cosine(1e-3, steps, warmup=min(100, steps // 4), final=1e-4),
        betas=(0.9, 0.99), clip_global_norm=1.0, weight_decay=0.1,
        groups=[{"match": ["*bias", "*norm*"], "weight_decay": 0.0}],
    )  # fmt: skip

    @tw.compile
    def step(sequences: Any) -> Any:
        def loss(model: nn.Module) -> Any:
            return nn.losses.cross_entropy(model(sequences[:, :-1]), sequences[:, 1:])

        value, gradients = tw.value_and_grad(loss)(model)
        optimizer.update(gradients)
        return value

    generator = np.random.default_rng(1337)
    for done in range(0, steps, told):
        starts = generator.integers(0, len(train) - CONTEXT, (told, BATCH, 1))
        # Many steps in one native call; each sees its own sequences of 64 characters and the next.
        losses = step.repeat(tw.steps(train[starts + np.arange(CONTEXT + 1)]))
        print(f"step {done + told:4}: training loss {float(losses.mean()):.4f}")

    model.eval()
    prompt = np.array([characters.index("\n")])
    # The context is the model's longest text: continue from its second half where it is full.
    written = prompt
    while len(written) < (60 if short else 500):
        known = written[-CONTEXT // 2 :]
        written = np.concatenate(
            [written, model.generate(known, CONTEXT // 2, 0.8, seed=len(written))[len(known) :]]
        )
    print("".join(characters[i] for i in written))
    return {
        "validation_loss": mean_loss(model, validation),
        "parameters": model.count_parameters(),
    }


if __name__ == "__main__":
    run(main)
