"""Tables and recommendations: a diagnosis, a physical formula, clicks, a graph of knowledge."""

from __future__ import annotations

import math
from functools import cache

import torch
from evidence.contest.fresh.drawing import HELD, rows, seeded, standardized, uniform
from evidence.contest.task import Step, Task
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    relu,
)

# A diagnosis by a transformer of features


@cache
def tumours() -> tuple[torch.Tensor, torch.Tensor]:
    """Return 569 tumours of 30 features, standardized, shuffled, and whether each is benign."""
    data = load_breast_cancer()
    order = torch.randperm(569, generator=seeded(31))
    x = torch.tensor(data.data, dtype=torch.float32)[order]
    return standardized(x, x[:400]), torch.tensor(data.target)[order].float()


class Tokens(nn.Module):
    """A token for each feature, and one that is read out."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        bound = size**-0.5
        self.weight = nn.Parameter(torch.empty(features + 1, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, size).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tokens, of shape (batch, features + 1, size)."""
        x = torch.cat([torch.ones(len(x), 1), x], dim=1)
        bias = torch.cat([torch.zeros(1, self.bias.shape[1]), self.bias])
        return self.weight * x[:, :, None] + bias


class Block(nn.Module):
    """Attention and a ReGLU network, each behind a layer norm."""

    def __init__(self, size: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.w_q, self.w_k, self.w_v = (nn.Linear(size, size) for _ in range(3))
        self.w_out = nn.Linear(size, size)
        self.linear1 = nn.Linear(size, 2 * size)
        self.linear2 = nn.Linear(size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tokens after one block."""
        h = self.norm1(x)
        q, k, v = (
            w(h).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for w in (self.w_q, self.w_k, self.w_v)
        )
        scores = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), dim=3)
        x = x + self.w_out((scores @ v).transpose(1, 2).flatten(2))
        a, b = self.linear1(self.norm2(x)).chunk(2, dim=2)
        return x + self.linear2(a * relu(b))


class FTTransformer(nn.Module):
    """A transformer over the features of a table."""

    def __init__(self, features: int = 30, size: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.tokenizer = Tokens(features, size)
        self.layers = nn.ModuleList(Block(size) for _ in range(depth))
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logit of each row."""
        x = self.tokenizer(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(relu(self.norm(x[:, 0]))).squeeze(1)


def gorishniy(model: nn.Module) -> None:
    """Fill queries, keys and values by Xavier / sqrt(2), and attention's biases with 0."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ".w_" in name:
            nn.init.zeros_(module.bias)
            if not name.endswith("w_out"):
                nn.init.xavier_uniform_(module.weight, gain=1 / math.sqrt(2))


def diagnosed(step: int, held: bool = False, batch: int = 16) -> Step:
    """Return tumours, to be called benign or not."""
    x, y = tumours()
    at = torch.arange(400, 569) if held else rows(step, 400, batch)
    return x[at], lambda output: binary_cross_entropy_with_logits(output, y[at])


# Friedman's function by a self-normalizing network


@cache
def friedman(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ten uniform columns and Friedman's first function of five, standardized."""
    g = seeded(seed)
    x = uniform(g, count, 10)
    y = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y = y + 10 * x[:, 3] + 5 * x[:, 4] + torch.randn(count, generator=g)
    return (x - 0.5) * math.sqrt(12), ((y - 14.4) / 4.9)[:, None]


def snn() -> nn.Module:
    """Return twelve layers of SELU with alpha dropout."""
    layers: list[nn.Module] = [nn.Linear(10, 96), nn.SELU()]
    for _ in range(11):
        layers += [nn.Linear(96, 96), nn.SELU()]
    return nn.Sequential(*layers, nn.AlphaDropout(0.05), nn.Linear(96, 1))


def klambauer(model: nn.Module) -> None:
    """Fill weights with N(0, 1 / inputs), and biases with 0."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)


def fitted(step: int, seed: int = 32, count: int = 4000, batch: int = 64) -> Step:
    """Return rows of a table, and the value to be predicted."""
    x, y = friedman(seed, count)
    at = rows(step, count, batch)
    return x[at], lambda output: mse_loss(output, y[at])


# Clicks by a recommendation model

COUNTS = (400, 150, 40, 12)


@cache
def tastes() -> list[torch.Tensor]:
    """Return what is true of each user, item, shop and hour: a vector of three."""
    return [torch.randn(count, 3, generator=seeded(count)) for count in COUNTS]


@cache
def clicks(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return categories (by popularity), logarithms of counts, and clicks."""
    g = seeded(seed)
    popular = uniform(g, count, 4) ** 2
    ids = (popular * torch.tensor(COUNTS)).long()
    dense = torch.log1p(torch.exp(torch.randn(count, 6, generator=g) + 1))
    user, item, shop, hour = (table[ids[:, i]] for i, table in enumerate(tastes()))
    logit = 2 * (user * item).sum(1) + (user * hour).sum(1) + (item * shop).sum(1)
    logit = 1.5 * (logit + 2 * (dense[:, 0] - dense[:, 1]) * dense[:, 2]) - 1
    return ids, dense, (uniform(g, count) < torch.sigmoid(logit)).float()


class DLRM(nn.Module):
    """Embeddings of categories, a network for counts, all their products, and a network on top."""

    pairs: torch.Tensor

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.emb_l = nn.ModuleList(nn.Embedding(count, size) for count in COUNTS)
        self.bot_l = nn.Sequential(nn.Linear(6, 128), nn.ReLU(), nn.Linear(128, size), nn.ReLU())
        pairs = torch.tril_indices(len(COUNTS) + 1, len(COUNTS) + 1, offset=-1)
        self.register_buffer("pairs", pairs, persistent=False)
        top = [nn.Linear(size + pairs.shape[1], 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU()]
        self.top_l = nn.Sequential(*top, nn.Linear(64, 1))

    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return the logit of a click."""
        x = self.bot_l(dense)
        vectors = [emb(ids[:, i]) for i, emb in enumerate(self.emb_l)]
        every = torch.stack([x, *vectors], dim=1)
        products = torch.bmm(every, every.transpose(1, 2))
        flat = products[:, self.pairs[0], self.pairs[1]]
        return self.top_l(torch.cat([x, flat], dim=1)).squeeze(1)


def naumov(model: nn.Module) -> None:
    """Fill as DLRM's code: U(±1 / sqrt(rows)), N(0, 2 / (in + out)), biases N(0, 1 / out)."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            bound = module.num_embeddings**-0.5
            nn.init.uniform_(module.weight, -bound, bound)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.normal_(module.bias, std=module.out_features**-0.5)


def clicked(step: int, seed: int = 33, count: int = 20000, batch: int = 256) -> Step:
    """Return what was shown to whom, clicks to be predicted."""
    ids, dense, y = clicks(seed, count)
    at = rows(step, count, batch)
    inputs = {"dense": dense[at], "ids": ids[at]}
    return inputs, lambda output: binary_cross_entropy_with_logits(output, y[at])


# Knowledge, by complex embeddings


TOWNS = 200


@cache
def facts() -> tuple[torch.Tensor, torch.Tensor]:
    """Return facts (subject, relation, object) of a ring of towns, shuffled; a fifth is held out.

    Relations: a town one on, one back, opposite, ten on, ten back, seventy on, mirrored two ways.
    """
    town = torch.arange(TOWNS)
    shifts = [town + by for by in (1, -1, TOWNS // 2, 10, -10, 70)]
    objects = [*shifts, -town, 59 - town]
    kinds = [
        torch.stack([town, torch.full_like(town, r), o % TOWNS]) for r, o in enumerate(objects)
    ]
    triples = torch.cat(kinds, dim=1).T
    triples = triples[torch.randperm(len(triples), generator=seeded(34))]
    return triples[320:], triples[:320]


class ComplEx(nn.Module):
    """Scores of all objects: the real part of a product of three complex embeddings."""

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        self.entities = nn.Embedding(TOWNS, 2 * size)
        self.relations = nn.Embedding(8, 2 * size)

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        """Return the logits of each object, of shape (batch, towns)."""
        s_re, s_im = self.entities(queries[:, 0]).chunk(2, dim=1)
        r_re, r_im = self.relations(queries[:, 1]).chunk(2, dim=1)
        e_re, e_im = self.entities.weight.chunk(2, dim=1)
        return (s_re * r_re - s_im * r_im) @ e_re.T + (s_re * r_im + s_im * r_re) @ e_im.T


def lacroix(model: nn.Module) -> None:
    """Fill as facebookresearch/kbc: embeddings of 1e-3 times their default, N(0, 1)."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=1e-3)


def known(step: int, held: bool = False, batch: int = 256) -> Step:
    """Return questions of subject and relation, the object to be found."""
    triples = facts()[held]
    at = torch.arange(len(triples)) if held else rows(step, len(triples), batch)
    return triples[at, :2], lambda output: cross_entropy(output, triples[at, 2])


TABLES = {
    "FT-Transformer, tumours": Task(
        FTTransformer,
        diagnosed,
        lambda: diagnosed(0, held=True),
        gorishniy,
        "Gorishniy et al. 2021 and its code: tokens U(±1 / sqrt(d)), Xavier / sqrt(2)",
    ),
    "SELU network, Friedman's function": Task(
        snn,
        fitted,
        lambda: fitted(0, HELD + 32, 256, 256),
        klambauer,
        "Klambauer et al. 2017: N(0, 1 / inputs), zero biases",
        floor=0.02,  # half of the noise's variance
    ),
    "DLRM, clicks": Task(
        DLRM,
        clicked,
        lambda: clicked(0, HELD + 33, 1024, 1024),
        naumov,
        "Naumov et al. 2019, facebookresearch/dlrm: U(±1 / sqrt(rows)), Xavier normal",
    ),
    "ComplEx, towns on a ring": Task(
        ComplEx,
        known,
        lambda: known(0, held=True),
        lacroix,
        "Lacroix et al. 2018, facebookresearch/kbc: N(0, 1) times 1e-3",
    ),
}
