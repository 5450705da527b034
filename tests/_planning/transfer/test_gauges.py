"""Where the multipliers of the papers' forward go, against closed forms."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import isoinit

GROWN = 4.0  # of the width, and of the heads
SEQUENCE = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


def scores(mode, q, k, temperature):
    """The scores of attention in one of several forms, each with its own scale."""
    d = q.shape[-1]
    if mode == "root":
        return q @ k.transpose(-1, -2) / math.sqrt(d)
    if mode == "before":
        return (q * d**-0.25) @ (k * d**-0.25).transpose(-1, -2)
    if mode == "linear":
        return q @ k.transpose(-1, -2) / d
    if mode == "none":
        return q @ k.transpose(-1, -2)
    if mode == "spelled":
        return (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) / math.sqrt(d)
    if mode == "einsum":
        return torch.einsum("bhnd,bhmd->bhnm", q, k) * d**-0.5
    if mode == "three":
        return torch.einsum("bhnd,bhmd,d->bhnm", q, k, torch.full((d,), d**-0.5))
    if mode == "distance":
        return -torch.cdist(q, k)
    if mode == "normed":
        return F.rms_norm(q, (d,)) @ F.rms_norm(k, (d,)).transpose(-1, -2) / math.sqrt(d)
    if mode == "cosine":
        return 10 * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
    if mode == "length":
        unit = [z / z.norm(dim=-1, keepdim=True) for z in (q, k)]
        return unit[0] @ unit[1].transpose(-1, -2) * temperature
    raise AssertionError(mode)


class Attention(nn.Module):
    def __init__(self, width, heads, mode):
        super().__init__()
        self.heads, self.mode = heads, mode
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1)) if mode == "length" else None

    def forward(self, x):
        q, k, v = (
            z(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in (self.q, self.k, self.v)
        )
        if self.mode == "torch":
            found = F.scaled_dot_product_attention(q, k, v)
        else:
            found = scores(self.mode, q, k, self.temperature).softmax(-1) @ v
        return self.o(found.transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Blocks with a norm before each branch; `times(blocks)` multiplies a branch in the forward."""

    def __init__(
        self, width, blocks=2, heads=2, mode="torch", times=None, affine=True, scaled=False
    ):
        super().__init__()
        self.first = nn.Linear(8, width)
        self.attentions = nn.ModuleList(Attention(width, heads, mode) for _ in range(blocks))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.scales = nn.ParameterList(
            [nn.Parameter(torch.full((width,), 1e-4)) for _ in range(blocks * scaled)]
        )
        self.norm = nn.LayerNorm(width, elementwise_affine=affine)
        self.readout = nn.Linear(width, 3)
        self.times = None if times is None else times(blocks)

    def forward(self, x):
        x = self.first(x)
        for at, (norm, attention) in enumerate(zip(self.norms, self.attentions, strict=True)):
            branch = attention(norm(x))
            if self.times is not None:
                branch = branch * self.times
            if len(self.scales):
                branch = branch * self.scales[at]
            x = x + branch
        return self.readout(self.norm(x).mean(1))


def grown(mode, **options):
    models = (Transformer(width, mode=mode, **options) for width in (16, 64))
    return isoinit.transfer(*models, SEQUENCE)


# θ of queries and keys, c = θ², for heads that grow by r = 4: what the model's own scale lacks to 1/r.
THETA = {
    "torch": GROWN**-0.25,
    "root": GROWN**-0.25,
    "before": GROWN**-0.25,
    "linear": 1.0,
    "none": GROWN**-0.5,
    "spelled": GROWN**-0.25,
    "einsum": GROWN**-0.25,
    "three": GROWN**-0.25,
    "distance": GROWN**-0.5,  # |q - k| grows as √d and goes with θ, not with θ²
    "cosine": 1.0,  # of unit length: products stay as they are
    "length": 1.0,
}


@pytest.mark.parametrize("mode", THETA)
def test_scores_follow_one_over_d(mode):
    t = grown(mode)
    for name in "qk":
        for part in ("weight", "bias"):
            factors = t.factors[f"attentions.0.{name}.{part}"]
            assert factors.gauge == pytest.approx(THETA[mode], rel=1e-9)
    assert t.factors["attentions.1.v.weight"].gauge == 1
    assert t.factors["attentions.1.o.weight"].gauge == 1
    assert t.notes == ()


def test_norms_without_a_gain_leave_it_to_the_forward():
    t = grown("normed")
    (note,) = t.notes
    assert "no parameter can take a multiplier of 0.5" in note
    assert "'attentions.0.q.weight'" in note
    assert t.plan.warnings == list(t.notes)
    assert all(factors.gauge == 1 for factors in t.factors.values())


def test_more_heads_of_one_width_need_nothing():
    t = isoinit.transfer(Transformer(16, heads=2), Transformer(64, heads=8), SEQUENCE)
    assert {factors.gauge for factors in t.factors.values()} == {1.0}


@pytest.mark.parametrize(
    ("depth", "times", "theta"),
    [
        ("completep", None, 1 / 4),
        ("mup", None, 1 / 2),
        (None, None, 1.0),
        ("completep", lambda n: 1 / n, 1.0),  # the model does it already
        ("completep", lambda n: n**-0.5, 1 / 2),
        ("mup", lambda n: n**-0.5, 1.0),
        (None, lambda n: n**-0.5, 1.0),
    ],
)
def test_branches_are_divided_once(depth, times, theta):
    models = (Transformer(16, blocks, times=times) for blocks in (2, 8))
    t = isoinit.transfer(*models, SEQUENCE, depth=depth)
    if depth is None and times is not None:
        theta = 8**0.5 / 2**0.5  # the base's constant is what was tuned
    for at in range(8):
        for part in ("weight", "bias"):
            assert t.factors[f"attentions.{at}.o.{part}"].gauge == pytest.approx(theta)
        assert t.factors[f"attentions.{at}.q.weight"].gauge == 1
    assert t.notes == ()


def test_a_scale_at_the_end_of_a_branch_takes_its_multiplier():
    base, target = (Transformer(16, blocks, scaled=True) for blocks in (2, 8))
    t = isoinit.transfer(base, target, SEQUENCE)
    tuned = isoinit.plan(base, SEQUENCE)["scales.1"]
    assert t.factors["scales.7"].gauge == pytest.approx(1 / 4)
    assert t.factors["attentions.7.o.weight"].gauge == 1
    before, after = (
        entry.initializer.mean_for(entry.layout) for entry in (tuned, t.plan["scales.7"])
    )
    assert after == pytest.approx(before / 4)


class Tied(nn.Module):
    """A language model whose table is the readout, behind one of several ends."""

    def __init__(self, width, end="norm", times=1.0, packed=False):
        super().__init__()
        self.table, self.end, self.times = nn.Embedding(11, width), end, times
        self.before = nn.Identity() if end == "open" else nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        if end == "norm":
            self.norm = nn.LayerNorm(width)
        elif end == "shifted":
            self.gain = nn.Parameter(torch.zeros(width))

    def forward(self, tokens):
        x = self.table(tokens)
        x = x if self.times == 1.0 else x * self.times
        x = x + self.down(F.gelu(self.up(self.before(x))))
        if self.end == "norm":
            x = self.norm(x)
        elif self.end == "shifted":
            x = F.rms_norm(x, x.shape[-1:]) * (1 + self.gain)
        elif self.end == "bare":
            x = F.rms_norm(x, x.shape[-1:])
        return x @ self.table.weight.T


TOKENS = torch.tensor([[1, 2, 3]])


def tied(**options):
    roots = options.get("times") == "root"
    rest = {k: v for k, v in options.items() if not roots or k != "times"}
    models = (Tied(w, times=w**0.5 if roots else 1.0, **rest) for w in (16, 64))
    return isoinit.transfer(*models, TOKENS)


def test_the_gain_before_a_tied_readout_takes_its_multiplier():
    t = tied()
    assert t.factors["norm.weight"].gauge == t.factors["norm.bias"].gauge == pytest.approx(1 / 4)
    assert t.factors["table.weight"].gauge == 1
    assert t.plan["norm.weight"].initializer == isoinit.Constant(0.25)
    assert t.notes == ()


def test_a_gain_of_one_plus_w_starts_below_zero():
    t = tied(end="shifted")
    assert t.factors["gain"].gauge == pytest.approx(1 / 4)
    assert t.plan["gain"].initializer == isoinit.Constant(-0.75)  # 1 + w = 1/4
    assert t.notes == ()


def test_a_table_times_the_root_of_its_width_makes_up_for_it():
    t = tied(times="root")
    assert t.factors["table.weight"].gauge == pytest.approx(1 / 2)
    assert t.factors["norm.weight"].gauge == pytest.approx(1 / 2)


def test_without_a_gain_the_whole_stream_is_stored_smaller():
    t = tied(end="bare")
    for name in ("table.weight", "down.weight", "down.bias"):
        assert t.factors[name].gauge == pytest.approx(1 / 4)
    (note,) = t.notes
    assert "all that writes to a residual stream is stored ×0.25" in note
    assert "multiply their eps by the square" in note


def test_without_a_norm_at_the_end_table_and_stream_share_it():
    t = tied(end="plain")
    for name in ("table.weight", "down.weight", "down.bias"):
        assert t.factors[name].gauge == pytest.approx(
            1 / 2
        )  # ½ of the signal times ½ of the readout


def test_where_all_reads_the_signal_as_it_is_only_the_forward_can():
    t = tied(end="open")
    (note,) = t.notes
    assert "multiply the result of matmul behind" in note
    assert "by it in the forward" in note
    assert {factors.gauge for factors in t.factors.values()} == {1.0}


class Packed(nn.Module):
    """Queries, keys and values in one weight."""

    def __init__(self, width):
        super().__init__()
        self.first, self.qkv = nn.Linear(8, width), nn.Linear(width, 3 * width)
        self.o, self.readout = nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x):
        q, k, v = self.qkv(self.first(x)).chunk(3, -1)
        return self.readout(torch.tanh(self.o(F.scaled_dot_product_attention(q, k, v))))


def test_what_reads_packed_values_gives_back_what_they_lack():
    t = isoinit.transfer(Packed(16), Packed(64), SEQUENCE)
    theta = GROWN**-0.25
    assert t.factors["qkv.weight"].gauge == t.factors["qkv.bias"].gauge == pytest.approx(theta)
    assert t.factors["o.weight"].gauge == pytest.approx(1 / theta)
    assert t.factors["o.bias"].gauge == 1


def test_torch_own_attention_is_packed():
    def build(width):
        layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        return nn.Sequential(nn.Linear(8, width), encoder, nn.Linear(width, 3))

    t = isoinit.transfer(build, base=16, target=64, batch=SEQUENCE)
    theta = GROWN**-0.25
    assert "heads grow from 8 to 32" in t.factors["1.layers.0.self_attn.in_proj_weight"].reason
    assert t.factors["1.layers.0.self_attn.in_proj_weight"].gauge == pytest.approx(theta)
    assert t.factors["1.layers.0.self_attn.in_proj_bias"].gauge == pytest.approx(theta)
    assert t.factors["1.layers.1.self_attn.out_proj.weight"].gauge == pytest.approx(1 / theta)


def test_more_heads_of_torch_own_attention_need_nothing():
    def build(width):
        layer = nn.TransformerEncoderLayer(
            width, width // 8, 2 * width, dropout=0.0, batch_first=True
        )
        return nn.Sequential(nn.Linear(8, width), layer, nn.Linear(width, 3))

    t = isoinit.transfer(build, base=16, target=64, batch=SEQUENCE)
    assert {factors.gauge for factors in t.factors.values()} == {1.0}


class TwoTowers(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.users, self.items = nn.Embedding(7, width), nn.Embedding(9, width)

    def forward(self, users, items):
        return (self.users(users) * self.items(items)).sum(-1)


def test_the_score_of_two_tables_is_divided_by_their_width():
    ids = torch.tensor([1, 2]), torch.tensor([3, 4])
    t = isoinit.transfer(TwoTowers(8), TwoTowers(32), ids)
    assert (
        t.factors["users.weight"].gauge == t.factors["items.weight"].gauge == pytest.approx(1 / 2)
    )


@pytest.mark.parametrize(("pool", "theta"), [("sum", 1 / 4), ("mean", 1.0), ("amax", 1.0)])
def test_a_sum_over_units_is_divided_by_their_number(pool, theta):
    class Pooled(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.a, self.b = nn.Linear(8, width), nn.Linear(width, width)

        def forward(self, x):
            return getattr(torch.relu(self.b(torch.relu(self.a(x)))), pool)(-1)

    t = isoinit.transfer(Pooled(16), Pooled(64), torch.zeros(3, 8))
    assert t.factors["b.weight"].gauge == t.factors["b.bias"].gauge == pytest.approx(theta)


@pytest.mark.parametrize(("function", "theta"), [(torch.relu, 1 / 2), (torch.tanh, 1.0)])
def test_a_weight_that_is_used_twice(function, theta):
    class Mirrored(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight, self.bias = (
                nn.Parameter(torch.zeros(width, 8)),
                nn.Parameter(torch.zeros(width)),
            )

        def forward(self, x):
            return F.linear(function(F.linear(x, self.weight, self.bias)), self.weight.T)

    t = isoinit.transfer(Mirrored(16), Mirrored(64), torch.zeros(3, 8))
    assert t.factors["weight"].gauge == t.factors["bias"].gauge == theta
    said = ["'weight' is used twice: here its result is to be divided by 4" in n for n in t.notes]
    assert said == ([True] if theta == 1 else [])


def test_what_is_not_understood_is_told():
    class Signed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k):
            return torch.einsum("bnd,bmd->bnm", q, k)

        @staticmethod
        def backward(ctx, gradient):
            return None, None

    class Custom(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(8, width) for _ in range(3))
            self.readout = nn.Linear(width, 3)

        def forward(self, x):
            found = Signed.apply(self.q(x), self.k(x)).softmax(-1)
            return self.readout(found @ self.v(x))

    t = isoinit.transfer(Custom(16), Custom(64), SEQUENCE)
    theta = GROWN**-0.5  # or it is said that it is not known
    known = t.factors["q.weight"].gauge == pytest.approx(theta)
    assert known or any("not understood" in note and "q" in note for note in t.notes)


def test_heads_in_a_list_of_modules_are_width():
    class Listed(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.first = nn.Linear(8, width)
            self.heads = nn.ModuleList(
                nn.ModuleDict({n: nn.Linear(width, 8) for n in "qkv"}) for _ in range(width // 8)
            )
            self.o = nn.Linear(width, width)

        def forward(self, x):
            x = torch.tanh(self.first(x))
            parts = [
                F.scaled_dot_product_attention(h["q"](x), h["k"](x), h["v"](x)) for h in self.heads
            ]
            return self.o(torch.cat(parts, -1))

    t = isoinit.transfer(Listed(16), Listed(64), SEQUENCE)
    factors = t.factors["heads.7.q.weight"]
    assert (factors.kind, factors.std, factors.lr) == ("hidden weight", 0.5, 0.25)
    assert factors.gauge == 1
