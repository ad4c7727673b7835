"""The referee suite's networks in Thalweg: names as in its PyTorch models, channels last."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import thalweg as tw
from thalweg import nn

ACTIVATIONS = {
    "mlp-nielsen": ("Sigmoid", "Sigmoid"),
    "mlp-small": ("ReLU", None),
    "mlp-large": ("ReLU", "ReLU", None),
    "mlp-tabular": ("ReLU", "ReLU", None),
    "autoencoder": ("ReLU", "ReLU", "ReLU", "Sigmoid"),
}


def mlp(name: str, given: dict[str, np.ndarray]) -> nn.Module:
    """Linear layers with the activations of a workload."""
    layers: list[Any] = []
    for activation in ACTIVATIONS[name]:
        out_features, in_features = given[f"{len(layers)}.weight"].shape
        layers.append(nn.Linear(in_features, out_features))
        if activation:
            layers.append(getattr(nn, activation)())
    return nn.Sequential(*layers)


def channels_first_flat(x: Any) -> Any:
    """(batch, height, width, channels) flattened in PyTorch's order."""
    return tw.reshape(tw.permute_dims(x, (0, 3, 1, 2)), (x.shape[0], -1))


class LeNet(nn.Module):
    """LeNet-5 with max pooling and ReLU."""

    def __init__(self) -> None:
        self.c1, self.c2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.f1, self.f2, self.f3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        x = tw.max_pool(tw.relu(self.c1(x)), 2)
        x = tw.max_pool(tw.relu(self.c2(x)), 2)
        x = channels_first_flat(x)
        return self.f3(tw.relu(self.f2(tw.relu(self.f1(x)))))


class CNN(nn.Module):
    """Six 3x3 convolutions with batch normalisation."""

    def __init__(self) -> None:
        sizes = (3, 64, 64, 128, 128, 256, 256)
        self.convs = nn.ModuleList(
            [nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in itertools.pairwise(sizes)]
        )
        self.bns = nn.ModuleList([nn.BatchNorm2d(c) for c in sizes[1:]])
        self.fc = nn.Linear(4096, 10)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        for i, (conv, bn) in enumerate(zip(self.convs, self.bns, strict=True)):
            x = tw.relu(bn(conv(x)))
            if i % 2:
                x = tw.max_pool(x, 2)
        return self.fc(channels_first_flat(x))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, cin: int, c: int, stride: int) -> None:
        self.c1 = nn.Conv2d(cin, c, 3, stride, 1, bias=False)
        self.c2 = nn.Conv2d(c, c, 3, 1, 1, bias=False)
        self.b1, self.b2 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)
        self.stride = stride
        if stride != 1:
            self.cs, self.bs = nn.Conv2d(cin, c, 1, stride, bias=False), nn.BatchNorm2d(c)

    def forward(self, x: Any) -> Any:
        """Return the block's output."""
        y = self.b2(self.c2(tw.relu(self.b1(self.c1(x)))))
        return tw.relu(y + (self.bs(self.cs(x)) if self.stride != 1 else x))


class ResNet18(nn.Module):
    """ResNet-18 for 32x32 images."""

    def __init__(self) -> None:
        self.stem, self.bn = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        blocks, cin = [], 64
        for i, c in enumerate((64, 128, 256, 512)):
            for k in range(2):
                blocks.append(Block(cin, c, 2 if i and not k else 1))
                cin = c
        self.blocks = nn.ModuleList(blocks)
        self.fc = nn.Linear(512, 10)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        x = tw.relu(self.bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.fc(tw.mean(x, axis=(1, 2)))


class Recurrent(nn.Module):
    """A recurrent layer and a linear one on its last output."""

    def __init__(self, kind: str) -> None:
        self.rnn = (nn.LSTM if kind == "lstm" else nn.GRU)(64, 256)
        self.fc = nn.Linear(256, 10)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        return self.fc(self.rnn(x)[0][:, -1])


class TBlock(nn.Module):
    """A pre-norm Transformer block."""

    def __init__(self, d: int, heads: int, bias: bool, causal: bool) -> None:
        self.heads, self.causal = heads, causal
        self.ln1, self.ln2 = (nn.LayerNorm(d, bias=bias) for _ in range(2))
        self.qkv, self.proj = nn.Linear(d, 3 * d, bias=bias), nn.Linear(d, d, bias=bias)
        self.fc, self.fc2 = nn.Linear(d, 4 * d, bias=bias), nn.Linear(4 * d, d, bias=bias)

    def forward(self, x: Any) -> Any:
        """Return the block's output."""
        b, t, d = x.shape
        q, k, v = (
            tw.reshape(part, (b, t, self.heads, d // self.heads))
            for part in tw.split(self.qkv(self.ln1(x)), 3, axis=2)
        )
        y = tw.scaled_dot_product_attention(q, k, v, causal=self.causal)
        x = x + self.proj(tw.reshape(y, (b, t, d)))
        return x + self.fc2(tw.gelu(self.fc(self.ln2(x))))


class GPT(nn.Module):
    """A GPT with tied embeddings."""

    def __init__(self, L: int, H: int, D: int, T: int, V: int) -> None:
        self.wte, self.wpe = nn.Embedding(V, D), nn.Embedding(T, D)
        self.blocks = nn.ModuleList([TBlock(D, H, False, True) for _ in range(L)])
        self.lnf = nn.LayerNorm(D, bias=False)

    def forward(self, tokens: Any) -> Any:
        """Return the logits of every next token."""
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.lnf(x) @ self.wte.weight.T


class Decoder(nn.Module):
    """One token after the other, with the keys and values of those before kept."""

    def __init__(self, gpt: GPT, cfg: dict[str, int]) -> None:
        shape = (1, cfg["T"], cfg["H"], cfg["D"] // cfg["H"])
        self.gpt = gpt
        self.keys = [tw.zeros(shape) for _ in gpt.blocks]
        self.values = [tw.zeros(shape) for _ in gpt.blocks]

    def forward(self, token: Any, place: Any) -> Any:
        """Return the logits that follow a token (1, 1) at a place."""
        gpt, length = self.gpt, self.keys[0].shape[1]
        numbers = tw.arange(length)
        here = tw.reshape(numbers == place, (1, length, 1, 1))
        mask = tw.reshape(numbers <= place, (1, 1, 1, length))
        x = gpt.wte(token) + tw.take(gpt.wpe.weight, tw.reshape(place, (1,)), axis=0)
        for block, keys, values in zip(gpt.blocks, self.keys, self.values, strict=True):
            d = x.shape[-1]
            q, k, v = (
                tw.reshape(part, (1, 1, block.heads, d // block.heads))
                for part in tw.split(block.qkv(block.ln1(x)), 3, axis=2)
            )
            keys.assign(tw.where(here, k, keys))
            values.assign(tw.where(here, v, values))
            y = tw.scaled_dot_product_attention(q, keys, values, mask)
            x = x + block.proj(tw.reshape(y, (1, 1, d)))
            x = x + block.fc2(tw.gelu(block.fc(block.ln2(x))))
        return gpt.lnf(x) @ gpt.wte.weight.T


class ViT(nn.Module):
    """A vision Transformer."""

    def __init__(self, L: int, H: int, D: int, P: int) -> None:
        self.patch = nn.Conv2d(3, D, P, P)
        self.cls = tw.Parameter.of(np.zeros((1, 1, D), np.float32))
        self.pos = tw.Parameter.of(np.zeros((1, 65, D), np.float32))
        self.blocks = nn.ModuleList([TBlock(D, H, True, False) for _ in range(L)])
        self.lnf, self.head = nn.LayerNorm(D), nn.Linear(D, 10)

    def forward(self, x: Any) -> Any:
        """Return the logits."""
        x = self.patch(x)
        x = tw.reshape(x, (x.shape[0], -1, x.shape[-1]))
        first = tw.broadcast_to(self.cls, (x.shape[0], 1, x.shape[-1]))
        x = tw.concatenate([first, x], axis=1) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.lnf(x[:, 0]))


class Generator(nn.Module):
    """DCGAN's generator."""

    def __init__(self) -> None:
        self.t1 = nn.ConvTranspose2d(100, 128, 7, bias=False)
        self.t2 = nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False)
        self.t3 = nn.ConvTranspose2d(64, 1, 4, 2, 1)
        self.b1, self.b2 = nn.BatchNorm2d(128), nn.BatchNorm2d(64)

    def forward(self, z: Any) -> Any:
        """Return images."""
        x = tw.relu(self.b1(self.t1(tw.reshape(z, (z.shape[0], 1, 1, z.shape[1])))))
        return tw.tanh(self.t3(tw.relu(self.b2(self.t2(x)))))


class Discriminator(nn.Module):
    """DCGAN's discriminator."""

    def __init__(self) -> None:
        self.c1, self.c2 = nn.Conv2d(1, 64, 4, 2, 1), nn.Conv2d(64, 128, 4, 2, 1, bias=False)
        self.b2, self.fc = nn.BatchNorm2d(128), nn.Linear(6272, 1)

    def forward(self, x: Any) -> Any:
        """Return logits."""
        x = tw.leaky_relu(self.c1(x), 0.2)
        x = tw.leaky_relu(self.b2(self.c2(x)), 0.2)
        return self.fc(channels_first_flat(x))


class GAN(nn.Module):
    """Both networks."""

    def __init__(self) -> None:
        self.G, self.D = Generator(), Discriminator()


def model_of(w: Any) -> nn.Module:
    """Return a workload's network with the shared initial parameters."""
    given, name = w.init(), w.name.removeprefix("inf-")
    if name in ACTIVATIONS:
        model = mlp(name, given)
    else:
        model = {
            "lenet": LeNet, "cnn-cifar": CNN, "resnet18-cifar": ResNet18, "resnet18": ResNet18,
            "lstm": lambda: Recurrent("lstm"), "gru": lambda: Recurrent("gru"),
            "gpt-mini": lambda: GPT(**w.cfg), "gpt-small": lambda: GPT(**w.cfg),
            "gpt-decode": lambda: GPT(**w.cfg),
            "vit-tiny": lambda: ViT(**w.cfg), "dcgan-28": GAN,
        }[name]()  # fmt: skip
    nn.interchange.from_torch(model, given)
    return model


def channels_last(x: np.ndarray) -> np.ndarray:
    """Images (..., channels, height, width) with the channels last."""
    return np.ascontiguousarray(np.moveaxis(x, -3, -1))
