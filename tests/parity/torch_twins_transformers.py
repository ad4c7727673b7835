"""Transformers in PyTorch under the published names, of the sizes of a model of ours."""

from __future__ import annotations

import math
from typing import Any

from tests.parity.torch_twins_parts import F, Net, T, torch


def attention(q: Any, k: Any, v: Any, heads: int, keep: Any = None, causal: bool = False) -> Any:
    """Return softmax(q k') v of each head; ``keep`` tells which keys count."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    if keep is not None:
        scores = scores.masked_fill(~keep[:, None, None, :], -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def counted(lengths: Any, longest: int) -> Any:
    """Return which elements of each sequence count, (batch, longest)."""
    return torch.arange(longest) < lengths[:, None]


def gpt2(ours: Any) -> Any:
    assert ours.dropout == 0
    assert ours.kv_heads is None
    width, heads = ours.width, ours.heads

    def projection(before: int, after: int) -> Any:
        weight, bias = torch.zeros(before, after), torch.zeros(after)
        return Net(lambda m, x: x @ m.weight + m.bias, weight=T.Parameter(weight),
                   bias=T.Parameter(bias))  # fmt: skip

    def mixed(m: Any, x: Any) -> Any:
        return m.c_proj(attention(*m.c_attn(x).chunk(3, -1), heads, causal=True))

    def fed(m: Any, x: Any) -> Any:
        return m.c_proj(F.gelu(m.c_fc(x), approximate="tanh"))

    def block(m: Any, x: Any) -> Any:
        x = x + m.attn(m.ln_1(x))
        return x + m.mlp(m.ln_2(x))

    def run(m: Any, ids: Any) -> Any:
        x = m.wte(ids) + m.wpe.weight[: ids.shape[1]]
        for layer in m.h:
            x = layer(x)
        return m.ln_f(x) @ m.wte.weight.T

    layers = [
        Net(block, ln_1=T.LayerNorm(width), ln_2=T.LayerNorm(width),
            attn=Net(mixed, c_attn=projection(width, 3 * width), c_proj=projection(width, width)),
            mlp=Net(fed, c_fc=projection(width, 4 * width), c_proj=projection(4 * width, width)))
        for _ in range(ours.layers)
    ]  # fmt: skip
    return Net(run, wte=T.Embedding(ours.vocabulary, width), wpe=T.Embedding(ours.context, width),
               h=T.ModuleList(layers), ln_f=T.LayerNorm(width))  # fmt: skip


def bert_layer(width: int, heads: int, ffn: int) -> Any:
    def run(m: Any, x: Any, keep: Any) -> Any:
        at, end = m.attention, m.attention.output
        packed = [at.self.get_submodule(n)(x) for n in ("query", "key", "value")]
        x = end.LayerNorm(x + end.dense(attention(*packed, heads, keep)))
        return m.output.LayerNorm(x + m.output.dense(F.gelu(m.intermediate.dense(x))))

    def ending(before: int) -> Any:
        return Net(dense=T.Linear(before, width), LayerNorm=T.LayerNorm(width, 1e-12))

    projections = {n: T.Linear(width, width) for n in ("query", "key", "value")}
    parts = {"self": Net(**projections), "output": ending(width)}
    return Net(run, attention=Net(None, **parts), intermediate=Net(dense=T.Linear(width, ffn)),
               output=ending(ffn))  # fmt: skip


def bert(ours: Any) -> Any:
    """Called with tokens, segments and lengths, gives the vectors of all tokens."""
    assert ours.dropout == 0
    width = ours.width

    def run(m: Any, ids: Any, kinds: Any, lengths: Any) -> Any:
        e = m.embeddings
        x = e.word_embeddings(ids) + e.position_embeddings.weight[: ids.shape[1]]
        x = e.LayerNorm(x + e.token_type_embeddings(kinds))
        for layer in m.encoder.layer:
            x = layer(x, counted(lengths, ids.shape[1]))
        return x

    embeddings = Net(
        word_embeddings=T.Embedding(ours.vocabulary, width),
        position_embeddings=T.Embedding(ours.context, width),
        token_type_embeddings=T.Embedding(ours.segments, width),
        LayerNorm=T.LayerNorm(width, 1e-12),
    )
    layers = [bert_layer(width, ours.heads, ours.ffn) for _ in range(ours.layers)]
    parts = {"pooler": Net(dense=T.Linear(width, width))} if ours.pooler else {}
    return Net(run, embeddings=embeddings, encoder=Net(layer=T.ModuleList(layers)), **parts)


def pooled(m: Any, hidden: Any) -> Any:
    return torch.tanh(m.pooler.dense(hidden[:, 0]))


def bert_masked_lm(ours: Any) -> Any:
    size, width = ours.bert.vocabulary, ours.bert.width

    def run(m: Any, *inputs: Any) -> Any:
        head = m.cls.predictions
        x = head.transform.LayerNorm(F.gelu(head.transform.dense(m.bert(*inputs))))
        return x @ m.bert.embeddings.word_embeddings.weight.T + head.bias

    transform = Net(dense=T.Linear(width, width), LayerNorm=T.LayerNorm(width, 1e-12))
    head = Net(transform=transform, bias=T.Parameter(torch.zeros(size)))
    return Net(run, bert=bert(ours.bert), cls=Net(predictions=head))


def bert_classifier(ours: Any) -> Any:
    head = T.Linear(ours.bert.width, ours.classes)
    return Net(lambda m, *inputs: m.classifier(pooled(m.bert, m.bert(*inputs))),
               bert=bert(ours.bert), classifier=head)  # fmt: skip


def vit(ours: Any) -> Any:
    assert ours.dropout == 0
    width, ffn = ours.width, 4 * ours.width if ours.ffn is None else ours.ffn

    def block(m: Any, x: Any) -> Any:
        y = m.ln_1(x)
        x = x + m.self_attention(y, y, y, need_weights=False)[0]
        return x + m.mlp(m.ln_2(x))

    def run(m: Any, x: Any) -> Any:
        x = m.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([m.class_token.expand(len(x), -1, -1), x], 1)
        return m.heads.head(m.encoder.ln(m.encoder.layers(x + m.encoder.pos_embedding))[:, 0])

    layers = T.Sequential()
    for i in range(ours.layers):
        layers.add_module(f"encoder_layer_{i}", Net(
            block, ln_1=T.LayerNorm(width, 1e-6), ln_2=T.LayerNorm(width, 1e-6),
            self_attention=T.MultiheadAttention(width, ours.heads, batch_first=True),
            mlp=T.Sequential(T.Linear(width, ffn), T.GELU(), T.Dropout(0), T.Linear(ffn, width),
                             T.Dropout(0)),
        ))  # fmt: skip
    places = torch.zeros(1, ours.patches.patches + 1, width)
    encoder = Net(pos_embedding=T.Parameter(places), layers=layers, ln=T.LayerNorm(width, 1e-6))
    patch = ours.patch_size
    return Net(
        run, class_token=T.Parameter(torch.zeros(1, 1, width)), encoder=encoder,
        conv_proj=T.Conv2d(ours.channels, width, patch, patch),
        heads=Net(head=T.Linear(width, ours.classes)),
    )  # fmt: skip


def transformer(ours: Any) -> Any:
    """Called with source, target and the lengths of the sources."""
    assert ours.dropout == 0
    width, sizes = ours.width, (ours.width, ours.heads, ours.ffn, 0.0)

    def embedded(m: Any, ids: Any) -> Any:
        x = m.embedding(ids) * math.sqrt(width)
        steps = 10_000.0 ** (torch.arange(0, width, 2, dtype=x.dtype) / width)
        angles = torch.arange(ids.shape[1], dtype=x.dtype)[:, None] / steps
        return x + torch.stack([angles.sin(), angles.cos()], -1).flatten(1)

    def run(m: Any, source: Any, target: Any, lengths: Any) -> Any:
        over = ~counted(lengths, source.shape[1])
        later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        memory = m.encoder(embedded(m, source), src_key_padding_mask=over)
        y = m.decoder(embedded(m, target), memory, tgt_mask=later, memory_key_padding_mask=over)
        return y @ m.embedding.weight.T

    reads = T.TransformerEncoderLayer(*sizes, batch_first=True)
    writes = T.TransformerDecoderLayer(*sizes, batch_first=True)
    return Net(
        run, embedding=T.Embedding(ours.vocabulary, width),
        encoder=T.TransformerEncoder(reads, ours.layers, enable_nested_tensor=False),
        decoder=T.TransformerDecoder(writes, ours.layers),
    )  # fmt: skip
