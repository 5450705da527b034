"""Language: a byte-level model, sentiment, dates, numbers spelled out."""

from __future__ import annotations

import os
from functools import cache
from random import Random
from typing import Any

import torch
from evidence.contest.fresh.drawing import HELD, rows
from evidence.contest.task import Step, Task
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_linnerud,
    load_wine,
)
from torch import nn
from torch.nn.functional import cross_entropy, max_pool1d, relu

os.environ["HF_HUB_OFFLINE"] = "1"
from transformers import T5Config, T5ForConditionalGeneration


def tokens(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of logits (batch, length, classes); targets of -100 do not count."""
    return cross_entropy(output.flatten(0, 1), target.flatten())


# Bytes


@cache
def described() -> torch.Tensor:
    """Return the bytes of the descriptions of scikit-learn's data sets."""
    sets = (load_breast_cancer, load_diabetes, load_digits, load_wine, load_linnerud, load_iris)
    text = "\n".join(load().DESCR for load in sets).encode()
    return torch.tensor(list(text))


class RNNModel(nn.Module):
    """A recurrent language model: embedding, two layers of LSTM, and a decoder."""

    def __init__(self, size: int = 48, hidden: int = 96) -> None:
        super().__init__()
        self.encoder = nn.Embedding(256, size)
        self.rnn = nn.LSTM(size, hidden, 2, batch_first=True)
        self.decoder = nn.Linear(hidden, 256)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next byte, of shape (batch, length, 256)."""
        return self.decoder(self.rnn(self.encoder(ids))[0])


def word_language_model(model: nn.Module) -> None:
    """Fill as PyTorch's example: embedding and decoder uniform in ±0.1, the decoder's bias zero."""
    for name in ("encoder.weight", "decoder.weight"):
        nn.init.uniform_(model.get_parameter(name), -0.1, 0.1)
    nn.init.zeros_(model.get_parameter("decoder.bias"))


def read(step: int, held: bool = False, batch: int = 8, length: int = 24) -> Step:
    """Return pieces of a text, each byte to be predicted from those before it."""
    text, split = described(), 13000
    part = text[split:] if held else text[:split]
    starts = rows(step, len(part) - length - 1, batch)
    ids = part[starts[:, None] + torch.arange(length + 1)]
    return ids[:, :-1], lambda output: tokens(output, ids[:, 1:])


# Sentiment

GOOD = "good great fine lovely superb brilliant warm witty moving fresh".split()
BAD = "bad poor dull awful boring stupid weak flat clumsy stale".split()
THINGS = "film plot cast script ending music camera story hero dialogue pace humour".split()
FILLERS = "the a this that and but very quite really rather somewhat of with in its was is".split()
WORDS = ["<pad>", *GOOD, *BAD, *THINGS, *FILLERS, "not", "never", "hardly", "I", "found"]


@cache
def reviews(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return reviews of 20 words as ids, and whether praise outweighs blame; a seventh is held out."""
    random, known = Random(seed), {word: i for i, word in enumerate(WORDS)}
    texts: list[list[int]] = []
    labels: list[int] = []
    while len(texts) < count:
        words, score = [], 0
        for _ in range(random.randint(1, 3)):
            words += ["the", random.choice(THINGS), random.choice(["was", "is"])]
            sign = random.choice([1, -1])
            turn = random.random() < 0.3
            words += [random.choice(["not", "never", "hardly"])] if turn else []
            words += random.sample(FILLERS, random.randint(0, 1))
            words += [random.choice(GOOD if sign > 0 else BAD)]
            score += -sign if turn else sign
        held = (len(words) + sum(known[word] for word in words)) % 7 == 0
        if score and held == (seed > HELD):
            words = words[:20] + ["<pad>"] * (20 - len(words))
            texts.append([known[word] for word in words])
            labels.append(int(score > 0))
    return torch.tensor(texts), torch.tensor(labels)


class TextCNN(nn.Module):
    """Convolutions over three, four and five words, and their largest outputs."""

    def __init__(self, size: int = 48, maps: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(len(WORDS), size, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(size, maps, width) for width in (3, 4, 5))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(3 * maps, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits of two classes."""
        x = self.embed(ids).transpose(1, 2)
        maps = [relu(conv(x)) for conv in self.convs]
        x = torch.cat([max_pool1d(m, m.shape[2]).squeeze(2) for m in maps], dim=1)
        return self.fc(self.dropout(x))


def kim(model: nn.Module) -> None:
    """Fill as Kim's code: words uniform in ±0.25, filters in ±0.01, zero biases and zero output."""
    for name, parameter in model.named_parameters():
        if name.startswith("embed"):
            nn.init.uniform_(parameter, -0.25, 0.25)
            nn.init.zeros_(parameter.data[0])
        elif name.startswith("convs") and parameter.dim() > 1:
            nn.init.uniform_(parameter, -0.01, 0.01)
        else:
            nn.init.zeros_(parameter)


def judged(step: int, seed: int = 11, count: int = 2000, batch: int = 50) -> Step:
    """Return reviews, to be called good or bad."""
    x, y = reviews(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: cross_entropy(output, y[at])


# Dates, for T5

MONTHS = (
    "january february march april may june july august september october november december".split()
)
LETTERS = {c: i + 2 for i, c in enumerate("abcdefghijklmnopqrstuvwxyz 0123456789-,/")}


def spelled(texts: list[str], length: int, fill: int) -> torch.Tensor:
    """Return texts as ids of characters, ended by 1 and filled up to `length`."""
    ids = [[*(LETTERS[c] for c in text), 1] for text in texts]
    return torch.tensor([line + [fill] * (length - len(line)) for line in ids])


@cache
def dates(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return dates as people write them, and as a machine does; a seventh of all days is held out."""
    random = Random(seed)
    given: list[str] = []
    wanted: list[str] = []
    while len(given) < count:
        year, month, day = random.randint(1900, 2029), random.randint(1, 12), random.randint(1, 28)
        if ((year + 3 * month + 5 * day) % 7 == 0) != (seed > HELD):
            continue
        name = MONTHS[month - 1]
        forms = [f"{day} {name} {year}", f"{name} {day}, {year}", f"{day}/{month}/{year}"]
        given.append(random.choice([*forms, f"{name[:3]} {day} {year}"]))
        wanted.append(f"{year}-{month:02}-{day:02}")
    return spelled(given, 20, 0), spelled(wanted, 11, -100)


def t5() -> nn.Module:
    """Return a small T5 of transformers."""
    sizes: dict[str, Any] = {"d_model": 48, "d_kv": 12, "d_ff": 96, "num_heads": 4}
    sizes |= {"num_layers": 2, "num_decoder_layers": 1}
    ends: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=48, dropout_rate=0.0, **sizes, **ends))


def dated(step: int, seed: int = 12, count: int = 2000, batch: int = 4) -> Step:
    """Return dates to be rewritten, for a model that works out its own loss."""
    x, y = dates(seed, count)
    at = rows(step, count, batch)
    return {"input_ids": x[at], "labels": y[at]}, None


# Numbers, for a recurrent translator with attention

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SPOKEN = ["<pad>", "<end>", "hundred", "thousand", "and", *ONES, *TENS]


def said(number: int) -> list[str]:
    """Return how a number below ten thousand is said."""
    if number >= 1000:
        return [*said(number // 1000), "thousand", *(said(number % 1000) if number % 1000 else [])]
    if number >= 100:
        rest = ["and", *said(number % 100)] if number % 100 else []
        return [ONES[number // 100], "hundred", *rest]
    if number >= 20:
        return [TENS[number // 10 - 2], *([ONES[number % 10]] if number % 10 else [])]
    return [ONES[number]]


@cache
def numbers(held: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return spoken numbers, and their digits between a start (10) and an end (11)."""
    chosen = [n for n in range(1, 10000) if (n % 7 == 0) == held]
    known = {word: i for i, word in enumerate(SPOKEN)}
    words = [[*(known[w] for w in said(n)), 1] for n in chosen]
    digits = [[10, *map(int, str(n)), 11] for n in chosen]
    x = torch.tensor([line + [0] * (10 - len(line)) for line in words])
    return x, torch.tensor([line + [-100] * (6 - len(line)) for line in digits])


class Bahdanau(nn.Module):
    """A translator: a GRU both ways, additive attention, and a GRU that writes."""

    def __init__(self, size: int = 32, hidden: int = 48) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(len(SPOKEN), size), nn.Embedding(12, size)
        self.encoder = nn.GRU(size, hidden, batch_first=True, bidirectional=True)
        self.start = nn.Linear(hidden, hidden)
        self.decoder = nn.GRUCell(size + 2 * hidden, hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(2 * hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.output = nn.Linear(3 * hidden + size, 12)

    def forward(self, words: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
        """Return the logits of each next digit, of shape (batch, length, 12)."""
        states, _ = self.encoder(self.source(words))
        keys, mask = self.key(states), words == 0
        state = torch.tanh(self.start(states[:, 0, states.shape[2] // 2 :]))
        given, outputs = self.target(digits), []
        for place in range(digits.shape[1]):
            scores = self.score(torch.tanh(self.query(state)[:, None] + keys)).squeeze(2)
            weights = torch.softmax(scores.masked_fill(mask, -1e9), dim=1)
            context = (weights[:, :, None] * states).sum(1)
            state = self.decoder(torch.cat([given[:, place], context], dim=1), state)
            outputs.append(self.output(torch.cat([state, context, given[:, place]], dim=1)))
        return torch.stack(outputs, dim=1)


def appendix(model: nn.Module) -> None:
    """Fill as appendix B.1: orthogonal recurrences, attention N(0, 0.001), others N(0, 0.01)."""
    for name, parameter in model.named_parameters():
        if "bias" in name or name.startswith("score"):
            nn.init.zeros_(parameter)
        elif "weight_hh" in name:
            for gate in parameter.data.chunk(3):
                nn.init.orthogonal_(gate)
        else:
            nn.init.normal_(parameter, std=0.001 if name.startswith(("query", "key")) else 0.01)


def heard(step: int, held: bool = False, batch: int = 16) -> Step:
    """Return spoken numbers, to be written as digits."""
    x, y = numbers(held)
    at = rows(step, len(x), batch)
    inputs = {"words": x[at], "digits": y[at, :-1].clamp(min=0)}
    return inputs, lambda output: tokens(output, y[at, 1:])


LANGUAGE = {
    "LSTM, bytes": Task(
        RNNModel,
        read,
        lambda: read(HELD, held=True, batch=64),
        word_language_model,
        "pytorch/examples, word_language_model: embedding and decoder U(-0.1, 0.1), zero bias",
    ),
    "text convolutions, reviews": Task(
        TextCNN,
        judged,
        lambda: judged(0, HELD + 11, 256, 256),
        kim,
        "Kim 2014 and its code: words U(-0.25, 0.25), filters U(-0.01, 0.01), zero output",
    ),
    "T5, dates": Task(
        t5,
        dated,
        lambda: dated(0, HELD + 12, 256, 256),
        None,
        "transformers' T5 fills itself: N(0, 1) words, N(0, 1 / sqrt(d)) and others by width",
    ),
    "attention of Bahdanau, spoken numbers": Task(
        Bahdanau,
        heard,
        lambda: heard(0, held=True, batch=256),
        appendix,
        "Bahdanau et al. 2015, appendix B.1: orthogonal, N(0, 0.001), N(0, 0.01), zeros",
    ),
}
