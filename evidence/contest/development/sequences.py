"""Language models, transformers of other kinds, and recurrent networks."""

from __future__ import annotations

import math
import os
from functools import cache, partial
from typing import Any

import torch
from evidence.contest.development.batches import (
    HELD_OUT,
    classified,
    drawn,
    generated,
    labelled,
    passages,
)
from evidence.contest.development.recipes import fill
from evidence.contest.task import Step, Task
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, softmax

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

LENGTH, SYMBOLS, WORD, CHAINS = 24, 16, 12, 8
ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}


def gpt2() -> nn.Module:
    """Return a small GPT-2."""
    sizes: dict[str, Any] = {"n_positions": LENGTH, "n_embd": 48, "n_layer": 3, "n_head": 4}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=100, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **sizes, **ENDS)
    )


def llama() -> nn.Module:
    """Return a small Llama."""
    sizes: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 128, "num_hidden_layers": 3}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=100, num_attention_heads=4, num_key_value_heads=2, **sizes)
    )


def torchtitan(model: nn.Module) -> None:
    """Fill as torchtitan's Llama 3: what ends a branch by its depth, the head by its width."""
    assert isinstance(model, LlamaForCausalLM)
    nn.init.normal_(model.model.embed_tokens.weight)
    for depth, layer in enumerate(model.model.layers):
        std = 0.02 / math.sqrt(2 * (depth + 1))
        attention, mlp = layer.self_attn, layer.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj):
            nn.init.trunc_normal_(linear.weight, std=0.02)
        for linear in (attention.o_proj, mlp.up_proj, mlp.down_proj):
            nn.init.trunc_normal_(linear.weight, std=std)
    std = model.config.hidden_size**-0.5
    nn.init.trunc_normal_(model.lm_head.weight, std=std, a=-3 * std, b=3 * std)


def read(step: int, count: int) -> Step:
    """Return pieces of a text, each character to be told from those before it."""
    return labelled(passages(step, count, LENGTH)), None


class Reverser(nn.Module):
    """An encoder that says a string backwards; positions are learned."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.positions = nn.Embedding(WORD, width)
        self.tokens = nn.Embedding(SYMBOLS, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, 2, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Linear(width, SYMBOLS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of each place."""
        places = self.positions(torch.arange(ids.shape[1], device=ids.device))
        x = places + self.tokens(ids)
        return self.head(self.encoder(x))


def xavier_matrices(model: nn.Module) -> None:
    """Fill as the annotated transformer: each matrix by both fans."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def reversed_words(seed: int, count: int) -> Step:
    """Return strings, and the cross entropy of their symbols from the last to the first."""
    ids = torch.randint(SYMBOLS, (count, WORD), generator=drawn(seed))
    return ids, lambda output: cross_entropy(output.flatten(0, 1), ids.flip(1).flatten())


class Pair(nn.Module):
    """An encoder of two segments in BERT's manner: a class token, segment types, norm after."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(SYMBOLS + 1, width)
        self.positions = nn.Embedding(1 + WORD, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, activation="gelu", batch_first=True, layer_norm_eps=1e-12
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 2)

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of a pair."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.tokens(input_ids) + self.segments(token_type_ids) + self.positions(places)
        x = self.encoder(self.dropout(self.norm(x)))
        return self.classifier(self.dropout(torch.tanh(self.pooler(x[:, 0]))))


def bert(model: nn.Module) -> None:
    """Fill as BERT: each matrix and table of truncated normal numbers, biases of zero."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def compared(seed: int, count: int) -> Step:
    """Return pairs of segments, and the cross entropy of which holds the larger sum."""
    words = torch.randint(SYMBOLS, (count, WORD), generator=drawn(seed))
    half = WORD // 2
    answer = (words[:, :half].sum(1) < words[:, half:].sum(1)).long()
    ids = torch.cat([torch.full((count, 1), SYMBOLS), words], dim=1)
    types = (torch.arange(1 + WORD) > half).long().expand(count, -1)
    batch = {"input_ids": ids, "token_type_ids": types}
    return batch, lambda output: cross_entropy(output, answer)


def feed_forward(width: int) -> nn.Module:
    """Return two linear layers with GELU."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Experts(nn.Module):
    """A mixture of experts: each token goes to the two that a router finds best."""

    def __init__(self, width: int, count: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(width, count, bias=False)
        self.experts = nn.ModuleList(feed_forward(width) for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of two experts at each token."""
        flat = x.flatten(0, -2)
        weights, chosen = softmax(self.router(flat), dim=-1).topk(2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            row, place = torch.where(chosen == index)
            out.index_add_(0, row, weights[row, place, None] * expert(flat[row]))
        return out.view_as(x)


class Block(nn.Module):
    """Attention to what came before, then `feed`; norms before both."""

    def __init__(self, width: int, feed: nn.Module, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.feed = heads, feed
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        b, t, d = x.shape
        parts = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.feed(self.norm2(x))


class Mixture(nn.Module):
    """A language model of two blocks, the second with experts."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(SYMBOLS, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(Block(width, feed_forward(width)), Block(width, Experts(width)))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, SYMBOLS, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next symbol at each place."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


def switch(model: nn.Module) -> None:
    """Fill as Switch transformers: small truncated normal weights by the fan-in."""

    def weight(w: torch.Tensor) -> None:
        std = math.sqrt(0.1 / w.shape[1])
        nn.init.trunc_normal_(w, std=std, a=-2 * std, b=2 * std)

    fill(model, weight)


@cache
def chains() -> torch.Tensor:
    """Return how likely each symbol follows another in each of several chains."""
    return softmax(3 * torch.randn(CHAINS, SYMBOLS, SYMBOLS, generator=drawn(7)), dim=-1)


def chained(seed: int, count: int) -> Step:
    """Return strings of unknown chains, and the cross entropy of each symbol after the first."""
    random = drawn(seed)
    kind = torch.randint(CHAINS, (count,), generator=random)
    ids = [torch.randint(SYMBOLS, (count,), generator=random)]
    for _ in range(LENGTH):
        likely = chains()[kind, ids[-1]]
        ids.append(torch.multinomial(likely, 1, generator=random)[:, 0])
    text = torch.stack(ids, dim=1)
    target = text[:, 1:].flatten()
    return text[:, :-1], lambda output: cross_entropy(output.flatten(0, 1), target)


class Reader(nn.Module):
    """A recurrent network that sees a digit two pixels at a time, and tells it at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(2, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.memory(x)[0][:, -1])


def open_memory(model: nn.Module) -> None:
    """Fill as Keras's LSTM: inputs by both fans, memory orthogonal by gate, forget biases of one."""
    assert isinstance(model, Reader)
    for name, parameter in model.memory.named_parameters():
        if "weight_ih" in name:
            nn.init.xavier_uniform_(parameter)
        elif "weight_hh" in name:
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
        if name == "bias_ih_l0":
            nn.init.ones_(parameter.chunk(4)[1])
    fill(model.head, nn.init.xavier_uniform_)


class Recaller(nn.Module):
    """A recurrent network that says, after a sign, what it heard before."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(10, 32)
        self.memory = nn.GRU(32, 128, batch_first=True)
        self.head = nn.Linear(128, 8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits at the last four places."""
        out, _ = self.memory(self.tokens(ids))
        return self.head(out[:, -4:])


def encoder_decoder(model: nn.Module) -> None:
    """Fill as the paper of the gated unit: memory orthogonal, all else small."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0, 0.01)
        else:
            nn.init.zeros_(parameter)
        if "weight_hh" in name:
            for gate in parameter.chunk(3):
                nn.init.orthogonal_(gate)


def recalled(seed: int, count: int) -> Step:
    """Return four symbols, a pause and signs, and the cross entropy of the symbols again."""
    said = torch.randint(8, (count, 4), generator=drawn(seed))
    pause, sign = torch.full((count, 4), 8), torch.full((count, 4), 9)
    ids = torch.cat([said, pause, sign], dim=1)
    return ids, lambda output: cross_entropy(output.flatten(0, 1), said.flatten())


TASKS = {
    "GPT-2": Task(
        gpt2,
        partial(read, count=6),
        partial(read, HELD_OUT, 64),
        None,
        "Radford et al. 2019, section 2.3; its code, which transformers' constructor follows: "
        "N(0, 0.02), what ends a branch / sqrt(2 layers), biases of zero",
    ),
    "Llama": Task(
        llama,
        partial(read, count=6),
        partial(read, HELD_OUT, 64),
        torchtitan,
        "torchtitan's Llama 3 (Meta): 0.02, ends of branches 0.02 / sqrt(2 depth), head width^-0.5",
    ),
    "reversal by an encoder": Task(
        Reverser,
        *generated(reversed_words, 32),
        xavier_matrices,
        "Rush 2018 (The Annotated Transformer), full model: each matrix uniform by both fans",
    ),
    "BERT, which sum is larger": Task(
        Pair,
        *generated(compared, 24),
        bert,
        "Devlin et al. 2019, its code: normal of 0.02 cut at two deviations, biases of zero",
    ),
    "mixture of experts": Task(
        Mixture,
        *generated(chained, 12),
        switch,
        "Fedus, Zoph & Shazeer 2021 (Switch), section 2.4: cut normal of variance 0.1 / fan-in",
        floor=0.8,  # the chains' own entropy is 1.17, and 0.82 in the least batch of 200
    ),
    "LSTM": Task(
        Reader,
        *classified((32, 2), 64),
        open_memory,
        "Keras's LSTM; Jozefowicz et al. 2015: uniform by both fans, orthogonal, forget bias of one",
    ),
    "GRU, recall": Task(
        Recaller,
        *generated(recalled, 64),
        encoder_decoder,
        "Cho et al. 2014, section 4.1.1: recurrent weights orthogonal, all others N(0, 0.01)",
    ),
}
