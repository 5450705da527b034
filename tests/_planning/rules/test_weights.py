"""Each rule for a weight fires where its source says, and not beside it."""

import itertools
import math

import pytest
import torch
from torch import nn

import isoinit


def mlp(activation):
    return nn.Sequential(nn.Linear(36, 32), activation, nn.Linear(32, 4))


def first(activation):
    return isoinit.plan(mlp(activation), torch.randn(2, 36))["0.weight"]


def second(activation):
    return isoinit.plan(mlp(activation), torch.randn(2, 36))["2.weight"]


SATURATING = [nn.Tanh(), nn.Sigmoid(), nn.Softsign(), nn.Hardtanh(), nn.Hardsigmoid()]


@pytest.mark.parametrize("activation", SATURATING)
def test_xavier_before_saturating_functions_where_both_fans_are_one(activation):
    model = nn.Sequential(nn.Linear(300, 300), activation, nn.Linear(300, 4))
    entry = isoinit.plan(model, torch.randn(2, 300))["0.weight"]
    assert entry.initializer == isoinit.XavierNormal()
    assert entry.std == pytest.approx(math.sqrt(2 / 600))
    assert "Glorot" in entry.source


@pytest.mark.parametrize("activation", SATURATING)
@pytest.mark.parametrize(("n_in", "n_out"), [(36, 72), (48, 8), (70, 1000), (1000, 70)])
def test_the_forward_signal_alone_before_saturating_functions_of_unequal_fans(
    activation, n_in, n_out
):
    model = nn.Sequential(nn.Linear(n_in, n_out), activation, nn.Linear(n_out, 4))
    entry = isoinit.plan(model, torch.randn(2, n_in))["0.weight"]
    assert entry.rule == "saturating"
    assert entry.std == pytest.approx(1 / math.sqrt(n_in), rel=1e-9)


def test_the_gain_counts_before_saturating_functions_too():
    for width in (64, 32):  # fed by ReLU: twice the variance, whether the fans are one or not
        model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, width), nn.Tanh())
        entry = isoinit.plan(model, torch.randn(2, 16))["2.weight"]
        assert entry.rule == "saturating"
        assert entry.std == pytest.approx(math.sqrt(2 / 64), rel=1e-9)


def test_xavier_between_saturating_functions_has_the_papers_gain():
    for width in (32, 24):
        model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, width), nn.Tanh())
        entry = isoinit.plan(model, torch.randn(2, 16))["2.weight"]
        assert entry.std == pytest.approx(1 / math.sqrt(32), rel=1e-9)  # 1, and not tanh's 1.59


def test_he_after_relu():
    entry = second(nn.ReLU())
    assert entry.rule == "ReLU"
    assert entry.std == pytest.approx(math.sqrt(2 / 32))
    assert "gain 1.414 " in entry.reason
    assert (entry.fan_in, entry.fan_out) == (32, 4)
    assert "He et al. 2015" in entry.source


def test_no_relu_feeds_a_first_layer():
    entry = first(nn.ReLU())  # He et al. 2015, section 2.2: "the ReLU activation does not apply on
    assert entry.rule == "unit signal"  # the input signal" of the first layer
    assert entry.std == pytest.approx(1 / 6)


def test_he_after_leaky_relu_counts_the_slope():
    entry = second(nn.LeakyReLU(0.2))
    assert entry.rule == "ReLU"
    assert entry.std == pytest.approx(math.sqrt(2 / 1.04 / 32))


def test_a_first_layer_one_behind_a_norm_and_one_behind_a_relu_differ():
    model = nn.Sequential(
        nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64)
    )
    plan = isoinit.plan(model, torch.randn(2, 36))
    variances = [plan[f"{i}.weight"].std ** 2 * plan[f"{i}.weight"].fan_in for i in (0, 2, 4)]
    assert variances == pytest.approx([1, 2, 1])


def test_lecun_before_selu():
    entry = first(nn.SELU())
    assert entry.rule == "SELU"
    assert entry.std == pytest.approx(1 / 6)
    assert "Klambauer" in entry.source


# E[φ(z)²]^(-1/2), computed by fine quadrature outside this library.
GAINS = [
    (nn.GELU(), 1.533530),
    (nn.SiLU(), 1.676532),
    (nn.Mish(), 1.486848),
    (nn.ELU(), 1.245198),
]


@pytest.mark.parametrize(("activation", "gain"), GAINS)
def test_he_by_the_exact_gain_after_any_other(activation, gain):
    entry = second(activation)
    assert entry.rule == "any activation"
    assert f"gain {gain:.4g} " in entry.reason
    assert entry.std == pytest.approx(gain / math.sqrt(32), rel=1e-6)


class Absolute(nn.Module):
    def forward(self, x):
        return x.abs()


# E[φ]² and E[φ²] of z ~ N(0, 1), by closed forms and fine quadrature outside this library.
DROWNED = [
    (nn.Sigmoid(), 1 / 4, 0.293379),
    (nn.Softplus(), 0.806059**2, 0.921246),
    (Absolute(), 2 / math.pi, 1.0),
]


def share_of_mean(y):
    """How much of the second moment is what all examples share, unit by unit."""
    return (y.mean(0).square().mean() / y.square().mean()).item()


@pytest.mark.parametrize(
    ("activation", "mean", "second"), DROWNED, ids=["sigmoid", "softplus", "|x|"]
)
@pytest.mark.parametrize("width", [48, 400])
def test_a_mean_that_drowns_the_rest_is_taken_out(activation, mean, second, width):
    model = nn.Sequential(nn.Linear(64, 256), activation, nn.Linear(256, width))
    torch.manual_seed(0)
    x = torch.randn(2048, 64)
    plan = isoinit.init(model, x, seed=0)
    entry = plan["2.weight"]
    assert entry.rule == "mean taken out"
    assert isinstance(entry.initializer, isoinit.Centred)
    assert entry.std == pytest.approx(1 / math.sqrt(256 * (second - mean)), rel=0.01)
    assert model[2].weight.sum(1).abs().max() < 1e-5
    made = model(x).detach()
    assert made.square().mean().sqrt().item() == pytest.approx(1, rel=0.1)
    assert entry.expected == pytest.approx(1, rel=0.02)
    assert share_of_mean(made) < 0.03
    isoinit.init(model, x, seed=0, method="he")
    assert share_of_mean(model(x).detach()) > 0.5


def test_a_mean_is_taken_out_of_maps_too():
    model = nn.Sequential(nn.Conv2d(8, 64, 3), nn.Sigmoid(), nn.Conv2d(64, 48, 3))
    torch.manual_seed(0)
    x = torch.randn(64, 8, 9, 9)
    assert isoinit.init(model, x, seed=0)["2.weight"].rule == "mean taken out"
    made = model(x).detach().movedim(1, -1).reshape(-1, 48)
    assert made.square().mean().sqrt().item() == pytest.approx(1, rel=0.1)
    assert share_of_mean(made) < 0.03


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.5), nn.ELU()]
)
def test_a_mean_that_drowns_nothing_stays(activation):
    assert second(activation).rule in ("ReLU", "any activation")


def test_a_mean_stays_that_a_norm_takes_out_or_that_is_all_there_is():
    layers = nn.Linear(16, 32), nn.Sigmoid(), nn.LayerNorm(32), nn.Linear(32, 4)
    assert (
        isoinit.plan(nn.Sequential(*layers), torch.randn(2, 16))["3.weight"].rule == "unit signal"
    )
    one = nn.Sequential(nn.Linear(16, 1), nn.Sigmoid(), nn.Linear(1, 4))
    assert isoinit.plan(one, torch.randn(2, 16))["2.weight"].rule == "any activation"
    gated = isoinit.plan(mlp(nn.Sigmoid()), torch.randn(2, 36))["0.weight"]
    assert gated.rule == "saturating"  # what feeds it is the input


def test_an_activation_of_the_users_own_is_measured():
    class Quick(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(1.702 * x)

    entry = second(Quick())
    assert entry.gain == pytest.approx(isoinit.gain(Quick()), rel=1e-9)
    assert "was computed" in entry.reason


def test_a_product_of_two_signals_has_the_product_of_their_moments():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(32)
            self.gate, self.up, self.down = nn.Linear(32, 64), nn.Linear(32, 64), nn.Linear(64, 8)

        def forward(self, x):
            x = self.norm(x)
            return self.down(nn.functional.silu(self.gate(x)) * self.up(x))

    entry = isoinit.plan(Gated(), torch.randn(2, 5, 32))["down.weight"]
    assert entry.gain == pytest.approx(1.676532, rel=1e-3)  # E[silu(z)²] · E[z²]
    assert entry.expected == pytest.approx(1, rel=0.05)


def test_relu_is_known_by_its_values_not_its_name():
    class Clamp(nn.Module):
        def forward(self, x):
            return x.clamp(min=0)

    assert first(Clamp()).role == "weight before relu"


def residual_network(depth):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            return x + self.down(torch.relu(self.up(x)))

    return nn.Sequential(*[Block() for _ in range(depth)])


def test_weights_that_write_to_a_residual_stream_shrink_with_its_branches():
    model, x = residual_network(40), torch.randn(64, 64)
    plan = isoinit.init(model, x, seed=0)
    assert plan["0.down.weight"].std == pytest.approx(math.sqrt(2 / 64 / 40), rel=0.01)
    ups = [plan[f"{block}.up.weight"] for block in (0, 20, 39)]
    stream = [1, 1 + 20 / 40, 1 + 39 / 40]  # each branch adds a fortieth of what it starts with
    assert [u.std**2 * 64 for u in ups] == pytest.approx([1 / q for q in stream], rel=0.05)
    assert isoinit.check(model, x).findings == []


def deep(activation, depth=50, width=128):
    sizes = [32, *[width] * depth]
    pairs = itertools.pairwise(sizes)
    layers = [part for a, b in pairs for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def planned(activation, **size):
    model = deep(activation, **size)
    return isoinit.plan(model, torch.randn(2, 32))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Softplus, nn.Hardswish])
def test_deep_plain_stacks_are_mirrored_where_that_makes_them_linear(activation):
    plan = planned(activation)
    assert plan["0.weight"].initializer == isoinit.LooksLinear(mirror="out")
    assert plan["50.weight"].initializer.mirror == "both"
    assert plan["50.weight"].gain == pytest.approx(1, abs=1e-6)  # φ(z) - φ(-z) = z
    assert plan["100.weight"].initializer.mirror == "in"
    assert "Balduzzi" in plan["50.weight"].source
    assert plan["50.bias"].initializer == isoinit.Zeros()


def test_deep_tanh_stacks_rest_on_the_edge_of_chaos():
    plan = planned(nn.Tanh)
    assert isinstance(plan["50.weight"].initializer, isoinit.Orthogonal)
    # σ_w² = 1.3940 and σ_b² = 0.0081 at q = 0.25: computed by fine quadrature elsewhere
    assert plan["50.weight"].gain ** 2 == pytest.approx(1.3940, abs=5e-3)
    assert plan["50.bias"].std ** 2 == pytest.approx(0.0081, abs=1e-4)
    assert plan["100.bias"].initializer == isoinit.Zeros()
    assert plan["50.weight"].expected == pytest.approx(0.5, rel=0.02)


def test_shallow_stacks_and_those_with_norms_or_skips_are_no_deep_chains():
    assert planned(nn.ReLU, depth=8)["4.weight"].rule == "ReLU"
    layers = [p for _ in range(20) for p in (nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU())]
    plan = isoinit.plan(nn.Sequential(*layers), torch.randn(2, 32))
    assert plan["30.weight"].rule == "ReLU"
    plan = isoinit.plan(residual_network(20), torch.randn(2, 64))
    assert plan["5.up.weight"].rule == "measured signal"


def test_deep_stacks_of_selu_stay_lecuns_and_linear_ones_are_orthogonal():
    selu = planned(nn.SELU)["50.weight"]
    assert selu.rule == "SELU"
    assert selu.std == pytest.approx(1 / math.sqrt(128), rel=1e-9)
    assert planned(nn.Identity)["50.weight"].initializer == isoinit.Orthogonal()


def test_a_stack_that_nothing_keeps_alive_says_so_and_what_would():
    class Squared(nn.Module):
        def forward(self, x):
            return torch.relu(x) ** 2

    plan = planned(Squared, depth=20)
    (note,) = plan.notes
    assert "relu·pow" in note
    assert "norm layer" in note
    assert planned(Squared, depth=4).notes == ()


def test_units_of_an_odd_number_cannot_be_mirrored():
    plan = planned(nn.ReLU, width=127)
    assert isinstance(plan["50.weight"].initializer, isoinit.Orthogonal)
    assert plan["50.weight"].gain == pytest.approx(math.sqrt(2), rel=0.01)


class Post(nn.Module):
    """A block under a norm layer, with a scaled skip."""

    def __init__(self, alpha):
        super().__init__()
        self.alpha, self.norm = alpha, nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return self.norm(self.alpha * x + self.down(torch.relu(self.up(x))))


def test_deepnorm_where_the_skip_is_scaled_up():
    plan = isoinit.plan(nn.Sequential(*[Post(2.0) for _ in range(8)]), torch.randn(2, 8))
    # Eight branches are four layers of two: β = (8·4)^(-1/4)
    for name in ("3.up.weight", "3.down.weight"):
        assert isinstance(plan[name].initializer, isoinit.XavierNormal)
        assert plan[name].gain == pytest.approx(32**-0.25)
        assert "Wang" in plan[name].source
    beside = isoinit.plan(nn.Sequential(*[Post(1.0) for _ in range(8)]), torch.randn(2, 8))
    assert "Wang" not in beside["3.up.weight"].source


class PostAttention(nn.Module):
    """Attention under a norm layer, with a scaled skip, in torch's function or written out."""

    def __init__(self, written):
        super().__init__()
        self.written, self.norm = written, nn.LayerNorm(8)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.written:
            found = (q @ k.mT / math.sqrt(8)).softmax(-1) @ v
        else:
            found = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.norm(2.0 * x + self.o(found))


@pytest.mark.parametrize("written", [False, True])
def test_deepnorm_leaves_queries_and_keys(written):
    """β is for values, the output and the feed-forward weights (Wang et al. 2022, figure 2)."""
    plan = isoinit.plan(
        nn.Sequential(*[PostAttention(written) for _ in range(8)]), torch.ones(2, 5, 8)
    )
    for name in "qkvo":
        assert ("Wang" in plan[f"3.{name}.weight"].source) == (name in "vo")


class Sine(nn.Module):
    def __init__(self, frequency):
        super().__init__()
        self.frequency = frequency

    def forward(self, x):
        return torch.sin(self.frequency * x)


def siren(frequency):
    sine = Sine(frequency)
    return nn.Sequential(nn.Linear(2, 64), sine, nn.Linear(64, 64), sine, nn.Linear(64, 3))


def test_siren_before_fast_sines_and_not_before_slow_ones():
    plan = isoinit.plan(siren(30.0), torch.rand(8, 2))
    assert plan["0.weight"].initializer == isoinit.Uniform(-1 / 2, 1 / 2)
    bound = math.sqrt(6 / 64) / 30
    assert plan["2.weight"].initializer == isoinit.Uniform(-bound, bound)
    assert plan["4.weight"].initializer == isoinit.Uniform(-bound, bound)  # its code's last layer
    beside = isoinit.plan(siren(1.0), torch.rand(8, 2))
    assert not isinstance(beside["2.weight"].initializer, isoinit.Uniform)


def test_icnr_before_a_pixel_shuffle():
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.PixelShuffle(2), nn.Conv2d(3, 12, 3))
    plan = isoinit.init(model, torch.randn(2, 3, 8, 8), seed=0)
    assert plan["0.weight"].initializer == isoinit.ICNR(4, isoinit.LeCunNormal())
    assert not isinstance(plan["2.weight"].initializer, isoinit.ICNR)
    with torch.no_grad():
        image = model[1](model[0](torch.randn(1, 3, 8, 8)))
    assert torch.equal(image[..., ::2, ::2], image[..., 1::2, 1::2])


class Adapted(nn.Module):
    """Hu et al. 2021: a weight, and two factors of low rank beside it."""

    def __init__(self, rank):
        super().__init__()
        self.base = nn.Linear(16, 16)
        self.a, self.b = nn.Linear(16, rank, bias=False), nn.Linear(rank, 16, bias=False)

    def forward(self, x):
        return self.base(x) + 2.0 * self.b(self.a(x))


def test_lora_starts_as_the_model_without_it():
    plan = isoinit.plan(Adapted(4), torch.randn(2, 16))
    assert plan["b.weight"].initializer == isoinit.Zeros()
    assert plan["a.weight"].initializer == isoinit.HeUniform(a=math.sqrt(5))
    assert plan["base.weight"].rule == "unit signal"
    assert plan["base.weight"].std == pytest.approx(1 / 4)
    assert not plan.warnings
    wide = isoinit.plan(Adapted(16), torch.randn(2, 16))
    assert wide["b.weight"].initializer != isoinit.Zeros()


class Routed(nn.Module):
    def __init__(self, *, ranked):
        super().__init__()
        self.router, self.ranked = nn.Linear(16, 4), ranked

    def forward(self, x):
        weights = torch.softmax(self.router(x), -1)
        return torch.topk(weights, 2, -1).values if self.ranked else weights


def test_a_router_is_what_is_ranked_and_no_plain_classifier():
    router = isoinit.plan(Routed(ranked=True), torch.randn(5, 16))["router.weight"]
    assert router.std == pytest.approx(math.sqrt(0.1 / 16))
    assert "Fedus" in router.source
    classifier = isoinit.plan(Routed(ranked=False), torch.randn(5, 16))["router.weight"]
    assert classifier.std == pytest.approx(math.sqrt(1 / 16))


class Winners(nn.Module):
    """Only the largest four units live on: an activation, and no router."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(36, 32), nn.Linear(32, 36)

    def forward(self, x):
        values, places = self.encoder(x).relu().topk(4)
        return self.decoder(torch.zeros(len(x), 32).scatter(-1, places, values))


def test_the_largest_units_alone_are_an_activation():
    encoder = isoinit.plan(Winners(), torch.randn(64, 36))["encoder.weight"]
    assert encoder.std == pytest.approx(math.sqrt(1 / 36))


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    size = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4}
    ids = torch.randint(3, 99, (2, 6))
    return T5ForConditionalGeneration(T5Config(vocab_size=99, **size)), {
        "input_ids": ids,
        "decoder_input_ids": ids,
    }


def test_queries_and_keys_of_attention_that_does_not_divide_its_scores():
    plan = isoinit.plan(*t5())
    attention = "encoder.block.0.layer.0.SelfAttention"
    for name in "qk":  # Var = 1/(√8 · 32): the scores, sums of eight products, have unit variance
        assert plan[f"{attention}.{name}.weight"].std ** 2 == pytest.approx(1 / (32 * math.sqrt(8)))
    assert plan[f"{attention}.v.weight"].std ** 2 == pytest.approx(1 / 32)


def test_a_bias_of_attention_scores_starts_small():
    plan = isoinit.plan(*t5())
    bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    assert plan[bias].initializer == isoinit.Normal(std=0.02)


class Recurrent(nn.Module):
    """A recurrent layer, of torch's or by hand, and a head on its last state."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        if kind == "loop":
            self.into, self.back = nn.Linear(8, 96), nn.Linear(32, 96)
        else:
            self.memory = getattr(nn, kind)(8, 32)
        self.head = nn.Linear(32, 5)

    def step(self, x, h):
        into, back = self.into(x).split(32, -1), self.back(h).split(32, -1)
        update, reset = (torch.sigmoid(i + b) for i, b in zip(into[:2], back[:2], strict=True))
        return update * h + (1 - update) * torch.tanh(into[2] + reset * back[2])

    def forward(self, x):
        if self.kind == "loop":
            h = x.new_zeros(x.shape[1], 32)
            for now in x:
                h = self.step(now, h)
            return self.head(h)
        if self.kind == "GRUCell":
            h = None
            for now in x:
                h = self.memory(now, h)
            return self.head(h)
        return self.head(self.memory(x)[0][-1])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "GRUCell", "loop"])
def test_what_reads_a_state_is_sized_for_one_that_has_grown(kind):
    x = torch.randn(10, 4, 8)
    plan = isoinit.plan(Recurrent(kind), x)
    entry = plan["head.weight"]
    assert entry.rule == "state"
    assert entry.std == pytest.approx(32**-0.5, rel=1e-6)


class Between(Recurrent):
    """The same with a layer between state and output: what follows makes up for a small state."""

    def __init__(self):
        super().__init__("GRU")
        self.hidden = nn.Linear(32, 32)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(self.memory(x)[0][-1])))


def test_only_what_gives_the_output_reads_a_state_as_if_it_had_grown():
    plan = isoinit.plan(Between(), torch.randn(10, 4, 8))
    assert "state" not in {plan["hidden.weight"].rule, plan["head.weight"].rule}
    assert plan["hidden.weight"].std > 2 * 32**-0.5


class Collected(Recurrent):
    """The same at each step, put side by side at the end."""

    def forward(self, x):
        h, made = None, []
        for now in x:
            h = self.memory(now, h)
            made.append(self.head(h))
        return torch.stack(made, 1)


def test_outputs_that_are_put_side_by_side_are_outputs():
    entry = isoinit.plan(Collected("GRUCell"), torch.randn(10, 4, 8))["head.weight"]
    assert (entry.rule, entry.feeds) == ("state", "output")
