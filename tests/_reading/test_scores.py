"""Scores start at one, whichever way the inner product is written, and attention is none."""

import math

import pytest
import torch
from torch import nn

import isoinit

D = 64


class Factors(nn.Module):
    """Users and items, each with a bias (matrix factorization)."""

    def __init__(self, way, norm=False):
        super().__init__()
        self.way, self.norm = way, nn.LayerNorm(D) if norm else None
        self.users, self.items = nn.Embedding(500, D), nn.Embedding(400, D)
        self.user_bias, self.item_bias = nn.Embedding(500, 1), nn.Embedding(400, 1)

    def forward(self, user, item):
        u, v = self.users(user), self.items(item)
        u = u if self.norm is None else self.norm(u)
        if self.way == "sum":
            score = (u * v).sum(-1)
        elif self.way == "einsum":
            score = torch.einsum("bd,bd->b", u, v)
        elif self.way == "matmul":
            score = (u[:, None] @ v[:, :, None])[:, 0, 0]
        else:
            score = (u * v).sum(-1) / math.sqrt(D)
        return torch.sigmoid(score + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0])


def pairs(count=2000):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randint(n, (count,), generator=generator) for n in (500, 400))


@pytest.mark.parametrize("way", ["sum", "einsum", "matmul"])
def test_rows_that_are_multiplied_share_the_terms(way):
    model = Factors(way)
    plan = isoinit.init(model, pairs(), seed=0)
    for name in ("users.weight", "items.weight"):
        assert plan[name].std == pytest.approx(D**-0.25)
        assert plan[name].rule == "embedding of a score"
    for name in ("user_bias.weight", "item_bias.weight"):
        assert plan[name].initializer == isoinit.Zeros()
    # 2000 pairs, each user in four: a relative standard error of a few percent.
    assert torch.logit(model(*pairs())).std().item() == pytest.approx(1, rel=0.15)
    assert not [f for f in isoinit.check(model, pairs()).findings if f.severity == "error"]


def test_a_product_that_the_model_scales_is_left():
    plan = isoinit.plan(Factors("scaled"), pairs())
    assert plan["users.weight"].std == plan["items.weight"].std == D**-0.25


def test_beside_a_normalized_vector_the_rows_take_all():
    plan = isoinit.plan(Factors("sum", norm=True), pairs())
    assert plan["items.weight"].std == pytest.approx(D**-0.5)
    assert plan["users.weight"].std == D**-0.25


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = (
            nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, D)) for _ in range(2)
        )

    def forward(self, x, y):
        return self.left(x) @ self.right(y).T


def test_two_towers_share_the_terms_of_their_product():
    model, x = Towers(), torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    plan = isoinit.init(model, (x, x.flip(0)), seed=0)
    for name in ("left.2.weight", "right.2.weight"):
        assert plan[name].rule == "score"
        assert plan[name].std == pytest.approx(math.sqrt(2 / 48) * D**-0.25, rel=0.02)
    assert model(x, x.flip(0)).std().item() == pytest.approx(1, rel=0.15)


class Attention(nn.Module):
    """Queries and keys by hand: a softmax follows, and then a layer."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.out = nn.Linear(16, D), nn.Linear(16, D), nn.Linear(16, 4)

    def forward(self, x):
        scores = self.query(x) @ self.key(x).mT / math.sqrt(D)
        return self.out(scores.softmax(-1) @ x)


def test_attention_is_no_score_and_a_table_of_one_number_alone_no_bias():
    plan = isoinit.plan(Attention(), torch.randn(4, 9, 16))
    assert plan["query.weight"].std == pytest.approx(1 / 4)
    alone = nn.Sequential(nn.Embedding(9, 1), nn.Flatten(), nn.Linear(5, 2))
    assert isoinit.plan(alone, torch.randint(9, (3, 5)))["0.weight"].std == 1


def test_a_weighted_sum_of_vectors_is_no_score():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.router, self.up = nn.Linear(8, 4), nn.Parameter(torch.randn(4, 8, 16))

        def forward(self, x):
            gates = self.router(x).softmax(-1)
            return torch.einsum("be,bei->bi", gates, torch.einsum("bj,eji->bei", x, self.up))

    assert isoinit.plan(Experts(), torch.randn(5, 8))["up"].rule != "score"
