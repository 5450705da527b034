"""What a plan gives queries and keys, however a model spells its attention."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import isoinit

WIDTH, HEADS, WIDE = 32, 4, 16  # of the signal, and of each head
PLACES = 12


def rotated(x):
    """Return queries or keys with rotary positions: a rotation, which keeps their size."""
    one, two = x.chunk(2, -1)
    angles = torch.arange(PLACES)[:, None] * 0.3 ** torch.arange(WIDE // 2)
    angles = torch.cat([angles, angles], -1)
    return x * angles.cos() + torch.cat([-two, one], -1) * angles.sin()


def fused(scale=None):
    return lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, scale=scale)


def written(change=lambda scores: scores, product=lambda q, k: q @ k.transpose(-1, -2)):
    return lambda q, k, v: change(product(q, k)).softmax(-1) @ v


def on_queries(attend, scale=WIDE**-0.5):
    return lambda q, k, v: attend(q * scale, k, v)


def on_both(attend):
    return lambda q, k, v: attend(q * WIDE**-0.25, k / WIDE**0.25, v)


def rotary(attend):
    return lambda q, k, v: attend(rotated(q), rotated(k), v)


def causal(scores):
    return scores.masked_fill(torch.ones(PLACES, PLACES).triu(1).bool(), -torch.inf)


def causal_by_numbers(scores):
    """As GPT-1: what is seen times one, and what is not a large negative number."""
    seen = torch.ones(PLACES, PLACES).tril()
    return scores * seen - 1e9 * (1 - seen)


def causal_by_choice(scores):
    """As GPT-Neo, whose mask of 2048 places squared is too large to be kept."""
    seen = torch.ones(2048, 2048).tril().bool()[:PLACES, :PLACES]
    return torch.where(seen, scores, torch.finfo(scores.dtype).min)


def without_zeros(scores):
    """A mask that is made of the scores themselves."""
    return scores.masked_fill(scores == 0, -torch.inf)


def einsum(q, k):
    return torch.einsum("bhqd,bhkd->bhqk", q, k)


def by_hand(q, k):
    return (q[:, :, :, None] * k[:, :, None]).sum(-1)


def capped(scores):
    return torch.tanh(scores / 50) * 50


def in_three(q, k):
    """As DeBERTa: the scores are a sum of three products, and each has a third of the variance."""
    return (q @ k.mT + q.flip(-2) @ k.mT + q @ k.flip(-2).mT) / math.sqrt(3)


def divided(scores):
    return scores / math.sqrt(WIDE)


def cached(attend, shape=(0,)):
    """As decoders of transformers, whose cache is empty at first."""
    return lambda q, k, v: attend(*(torch.cat([torch.zeros(shape), x], -2) for x in (q, k, v)))


UNIT = {
    "fused": fused(),
    "on the scores": written(divided),
    "on the queries": on_queries(written()),
    "on both sides": on_both(written()),
    "on the queries of fused attention": on_queries(fused(1.0)),
    "on both sides of fused attention": on_both(fused(1.0)),
    "rotary": rotary(written(divided)),
    "rotary on scaled queries": on_queries(rotary(fused(1.0))),
    "causal": written(lambda scores: causal(divided(scores))),
    "causal by numbers": written(lambda scores: causal_by_numbers(divided(scores))),
    "causal by choice": written(lambda scores: causal_by_choice(divided(scores))),
    "without zeros": written(lambda scores: without_zeros(divided(scores))),
    "einsum": written(divided, einsum),
    "by hand": written(divided, by_hand),
    "capped": written(lambda scores: capped(divided(scores))),
    "three products": written(divided, in_three),
    "cached": cached(written(divided)),
    "small scores start even": written(lambda scores: scores / WIDE),
    "small fused scores": fused(1 / WIDE),
}
LARGE = {
    "fused": fused(1.0),
    "by half": on_queries(fused(1.0), 2 / math.sqrt(WIDE)),
    "product": written(),
    "rotary": rotary(written()),
    "fused rotary": rotary(fused(1.0)),
    "causal": written(causal),
    "causal by numbers": written(causal_by_numbers),
    "causal by choice": written(causal_by_choice),
    "without zeros": written(without_zeros),
    "einsum": written(product=einsum),
    "by hand": written(product=by_hand),
    "capped": written(capped),
    "three products": written(product=in_three),
    "cached": cached(written()),
    "fused and cached": cached(fused(1.0)),
    "beside zeros": cached(written(lambda scores: scores[..., 2:, :]), (8, HEADS, 2, WIDE)),
}
SECOND = {"by half": 4.0}  # of the scores, where it is not the width of a head


class Attention(nn.Module):
    """A branch of attention behind a norm layer; it keeps its queries and keys."""

    def __init__(self, attend):
        super().__init__()
        self.attend, self.norm = attend, nn.LayerNorm(WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, HEADS * WIDE, bias=False) for _ in range(3))
        self.o = nn.Linear(HEADS * WIDE, WIDTH, bias=False)

    def forward(self, x):
        y = self.norm(x)
        split = (layer(y).unflatten(-1, (HEADS, WIDE)) for layer in (self.q, self.k, self.v))
        attended = self.attend(*(part.transpose(1, 2) for part in split))
        return x + self.o(attended.transpose(1, 2).flatten(2))


def variances(model):
    """The variances of queries, keys and values for a signal of unit variance."""
    plan = isoinit.plan(model, torch.randn(8, PLACES, WIDTH))
    assert plan.warnings == []
    return [plan[f"{name}.weight"].std ** 2 * WIDTH for name in "qkv"]


@pytest.mark.parametrize("name", UNIT)
def test_scores_of_unit_size_leave_queries_and_keys(name):
    assert variances(Attention(UNIT[name])) == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("name", LARGE)
def test_large_scores_make_queries_and_keys_smaller(name):
    """Var(q) = Var(k) = s^(-1/2), and scores of second moment s come to one."""
    expected = SECOND.get(name, WIDE) ** -0.5
    assert variances(Attention(LARGE[name])) == pytest.approx([expected, expected, 1], rel=0.01)


def test_every_attention_of_t5():
    """It never divides its scores: in the encoder, in the decoder with its cache, and across."""
    transformers = pytest.importorskip("transformers")
    size = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_heads": 4, "num_layers": 2}
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=50, decoder_start_token_id=0, **size)
    )
    ids = torch.arange(24).reshape(2, 12)
    plan = isoinit.plan(model, {"input_ids": ids, "decoder_input_ids": ids})
    scores = [e for e in plan if e.name.endswith((".q.weight", ".k.weight"))]
    assert len(scores) == 12
    for entry in scores:
        assert entry.std**2 * 32 == pytest.approx(16**-0.5, rel=0.01)


def test_scores_that_were_large_start_at_unit_size():
    """Of 4 heads of 12² scores of 64 examples the variance is known to some percent."""
    seen = []

    def attend(q, k, v):
        seen.append(q @ k.mT)
        return seen[-1].softmax(-1) @ v

    model = Attention(attend)
    x = torch.randn(64, PLACES, WIDTH, generator=torch.Generator().manual_seed(0))
    isoinit.plan(model, x).apply(model, seed=0)
    model(x)
    assert seen[-1].var().item() == pytest.approx(1, abs=0.25)


class Biased(Attention):
    """As Transformer-XL: learned biases, which start at zero, are added to the queries."""

    def __init__(self, scale):
        super().__init__(None)
        self.scale, self.bias = scale, nn.Parameter(torch.randn(HEADS, 1, WIDE))

    def forward(self, x):
        y = self.norm(x)
        split = (layer(y).unflatten(-1, (HEADS, WIDE)) for layer in (self.q, self.k, self.v))
        q, k, v = (part.transpose(1, 2) for part in split)
        scores = (q * self.scale + self.bias) @ k.mT
        return x + self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize(("scale", "expected"), [(WIDE**-0.5, 1), (1.0, WIDE**-0.5)])
def test_biases_of_queries(scale, expected):
    assert variances(Biased(scale)) == pytest.approx([expected, expected, 1], rel=0.01)


class Packed(nn.Module):
    """One layer makes queries, keys and values, which keep their size."""

    def __init__(self):
        super().__init__()
        self.make = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, x):
        q, k, v = self.make(x).chunk(3, -1)
        return x + (q @ k.mT).softmax(-1) @ v


def test_a_layer_that_makes_the_values_too_keeps_its_size():
    """Its scores are sums of 32 products, and the plan says so."""
    plan = isoinit.plan(Packed(), torch.randn(8, PLACES, WIDTH))
    assert plan["make.weight"].std ** 2 == pytest.approx(1 / WIDTH)
    (warning,) = plan.warnings
    assert "'make.weight' makes queries, keys and values" in warning
    assert "a variance of 32" in warning


class Normed(Attention):
    """Queries and keys are normed: the layers before do not set the size of the scores."""

    def forward(self, x):
        q, k, v = (layer(self.norm(x)) for layer in (self.q, self.k, self.v))
        q, k = (functional.rms_norm(part, part.shape[-1:]) for part in (q, k))
        return x + self.o((q @ k.mT).softmax(-1) @ v)


def test_normed_queries_are_left():
    assert variances(Normed(None)) == pytest.approx([1, 1, 1])


class OneSide(Attention):
    """The queries are vectors of length one: their products with keys are no larger than these."""

    def forward(self, x):
        y = self.norm(x)
        scores = functional.normalize(self.q(y), dim=-1) @ self.k(y).mT
        return x + self.o(scores.softmax(-1) @ self.v(y))


def test_keys_beside_queries_of_another_size_are_left():
    assert variances(OneSide(None)) == pytest.approx([1, 1, 1])


class Seeds(nn.Module):
    """Vectors that are learned attend to places, with scores over a number."""

    def __init__(self, over, form="matmul"):
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(4, 64))
        self.k, self.v = nn.Linear(32, 64, bias=False), nn.Linear(32, 64, bias=False)
        self.out, self.over, self.form = nn.Linear(64, 5), over, form

    def forward(self, x):
        k = self.k(x)
        if self.form == "matmul":
            scores = self.seeds @ k.mT / self.over
        elif self.form == "einsum":
            scores = torch.einsum("nd,btd->bnt", self.seeds, k) * (1 / self.over)
        else:  # pooling by a linear layer
            scores = (functional.linear(k, self.seeds) / self.over).mT
        mask = torch.arange(x.shape[1]) < x.shape[1] - 2
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        return self.out((weights @ self.v(x)).flatten(1)[:, :64])


@pytest.mark.parametrize("form", ["matmul", "einsum", "linear"])
def test_queries_that_are_learned_make_scores_of_unit_size(form):
    """A sum of 64 products of unit size, over the root of 64; before, its size was 1/8."""
    x = torch.randn(64, 20, 32, generator=torch.Generator().manual_seed(0))
    model = Seeds(8.0, form)
    plan = isoinit.plan(model, x)
    assert plan["seeds"].std == pytest.approx(1.0, rel=0.01)
    assert plan["seeds"].reason.startswith("it is a query")
    plan.apply(model, seed=0)
    scores = model.seeds @ model.k(x).mT / 8
    assert scores.pow(2).mean().sqrt().item() == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("over", [1.0, 2.0, 0.1])
def test_a_temperature_is_left_as_it_is(over):
    x = torch.randn(8, 20, 32)
    assert isoinit.plan(Seeds(over), x)["seeds"].std == pytest.approx(1 / 8, rel=0.01)


@pytest.mark.parametrize("std", [1.0, 0.02])
def test_no_alarm_of_seeds_as_their_authors_draw_them(std):
    x = torch.randn(64, 20, 32)
    model = Seeds(8.0)
    nn.init.normal_(model.seeds, 0, std)
    assert "scale stands out" not in {f.name for f in isoinit.check(model, x).findings}
