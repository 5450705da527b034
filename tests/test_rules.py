"""Each rule fires where its source says, and not beside it."""

import itertools
import math

import pytest
import torch
from torch import nn

import isoinit
from isoinit.rules import METHODS


def mlp(activation):
    return nn.Sequential(nn.Linear(16, 32), activation, nn.Linear(32, 4))


def first(activation):
    return isoinit.plan(mlp(activation), torch.randn(2, 16))["0.weight"]


def second(activation):
    return isoinit.plan(mlp(activation), torch.randn(2, 16))["2.weight"]


@pytest.mark.parametrize(
    "activation", [nn.Tanh(), nn.Sigmoid(), nn.Softsign(), nn.Hardtanh(), nn.Hardsigmoid()]
)
def test_xavier_before_saturating_functions(activation):
    entry = first(activation)
    assert entry.initializer == isoinit.XavierNormal()
    assert entry.std == pytest.approx(math.sqrt(2 / 48))
    assert "Glorot" in entry.source


def test_xavier_between_saturating_functions_has_the_papers_gain():
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    assert isoinit.plan(model, torch.randn(2, 16))["2.weight"].initializer == isoinit.XavierNormal()


def test_he_after_relu():
    entry = second(nn.ReLU())
    assert isinstance(entry.initializer, isoinit.HeNormal)
    assert entry.std == pytest.approx(math.sqrt(2 / 32))
    assert entry.gain == pytest.approx(math.sqrt(2))
    assert (entry.fan_in, entry.fan_out) == (32, 4)
    assert "He et al. 2015" in entry.source


def test_no_relu_feeds_a_first_layer():
    entry = first(nn.ReLU())  # He et al. 2015, section 2.2: "the ReLU activation does not apply on
    assert entry.initializer == isoinit.LeCunNormal()  # the input signal" of the first layer
    assert entry.std == pytest.approx(1 / 4)


def test_he_after_leaky_relu_counts_the_slope():
    entry = second(nn.LeakyReLU(0.2))
    assert entry.initializer == isoinit.HeNormal(a=0.2)
    assert entry.gain == pytest.approx(math.sqrt(2 / 1.04))


def test_a_first_layer_one_behind_a_norm_and_one_behind_a_relu_differ():
    model = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64)
    )
    plan = isoinit.plan(model, torch.randn(2, 16))
    variances = [plan[f"{i}.weight"].std ** 2 * plan[f"{i}.weight"].fan_in for i in (0, 2, 4)]
    assert variances == pytest.approx([1, 2, 1])


def test_lecun_before_selu():
    entry = first(nn.SELU())
    assert entry.initializer == isoinit.LeCunNormal()
    assert entry.std == pytest.approx(1 / 4)
    assert "Klambauer" in entry.source


# E[φ(z)²]^(-1/2), computed by fine quadrature outside this library.
GAINS = [
    (nn.GELU(), 1.533530),
    (nn.SiLU(), 1.676532),
    (nn.Mish(), 1.486848),
    (nn.ELU(), 1.245198),
    (nn.Softplus(), 1.041867),
]


@pytest.mark.parametrize(("activation", "gain"), GAINS)
def test_he_by_the_exact_gain_after_any_other(activation, gain):
    entry = second(activation)
    assert isinstance(entry.initializer, isoinit.HeNormal)
    assert entry.gain == pytest.approx(gain, abs=1e-6)
    assert entry.std == pytest.approx(gain / math.sqrt(32), rel=1e-6)


def test_an_activation_of_the_users_own_is_measured():
    class Quick(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(1.702 * x)

    entry = second(Quick())
    assert entry.gain == pytest.approx(isoinit.gain(Quick()), rel=1e-9)
    assert "was measured" in entry.reason


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


def test_recurrent_networks():
    lstm = isoinit.plan(nn.LSTM(8, 16, 2), torch.randn(5, 3, 8))
    for layer in (0, 1):
        assert lstm[f"weight_hh_l{layer}"].initializer == isoinit.Orthogonal()
        assert lstm[f"weight_ih_l{layer}"].initializer == isoinit.XavierNormal()
        assert lstm[f"bias_ih_l{layer}"].initializer == isoinit.GateBias()
        assert lstm[f"bias_hh_l{layer}"].initializer == isoinit.Zeros()
    gru = isoinit.plan(nn.GRU(8, 16), torch.randn(5, 3, 8))
    assert gru["weight_hh_l0"].initializer == isoinit.Orthogonal()
    assert gru["bias_ih_l0"].initializer == isoinit.Zeros()
    relu = isoinit.plan(nn.RNN(8, 16, nonlinearity="relu"), torch.randn(5, 3, 8))
    assert isinstance(relu["weight_ih_l0"].initializer, isoinit.HeNormal)


def test_the_forget_gate_starts_at_one_and_each_gate_is_orthogonal():
    lstm = nn.LSTM(8, 16)
    isoinit.init(lstm, torch.randn(5, 3, 8))
    total = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    expected = torch.zeros(64)
    expected[16:32] = 1  # torch's order: input, forget, cell, output
    assert torch.equal(total, expected)
    for gate in lstm.weight_hh_l0.detach().double().split(16):
        torch.testing.assert_close(
            gate @ gate.T, torch.eye(16, dtype=torch.double), atol=1e-6, rtol=0
        )


def test_norms_biases_slopes_and_embeddings():
    model = nn.Sequential(
        nn.Embedding(10, 16, padding_idx=0),
        nn.Linear(16, 16),
        nn.LayerNorm(16),
        nn.PReLU(),
        nn.Linear(16, 2),
    )
    plan = isoinit.init(model, torch.tensor([[1, 2, 0]]))
    assert plan["0.weight"].initializer == isoinit.Normal(std=1.0)
    assert plan["2.weight"].initializer == isoinit.Ones()
    assert plan["2.bias"].initializer == plan["1.bias"].initializer == isoinit.Zeros()
    assert plan["3.weight"].initializer == isoinit.Constant(0.25)
    assert not model[0].weight[0].any()
    assert model[0].weight[1].all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_asked_for_by_name(method):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))
    plan = isoinit.init(model, torch.randn(2, 3, 3, 3), seed=3, method=method)
    where = "3.weight" if method == "auto" else "0.weight"
    kind = {
        "auto": isoinit.HeNormal,
        "zero": isoinit.Zeros,
        "random": isoinit.Normal,
        "xavier": isoinit.XavierNormal,
        "he": isoinit.HeNormal,
        "lecun": isoinit.LeCunNormal,
        "orthogonal": isoinit.Orthogonal,
        "sparse": isoinit.Sparse,
        "variational": isoinit.Variational,
    }[method]
    assert isinstance(plan[where].initializer, kind)
    assert plan["0.bias"].initializer == isoinit.Zeros()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert bool(plan.warnings) == (method == "zero")


def test_a_method_leaves_embeddings_and_norms_to_their_rules():
    model = nn.Sequential(nn.Embedding(10, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    plan = isoinit.plan(model, torch.tensor([[1]]), method="orthogonal")
    assert plan["0.weight"].initializer == isoinit.Normal()
    assert plan["1.weight"].initializer == isoinit.Ones()
    assert plan["2.weight"].initializer == isoinit.Orthogonal()


def test_every_entry_has_a_reason_and_a_source():
    model = nn.TransformerEncoderLayer(16, 2, 32)
    for entry in isoinit.plan(model, torch.randn(3, 2, 16)):
        assert entry.reason
        assert entry.source


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
    plan = isoinit.init(model, x)
    assert plan["0.down.weight"].std == pytest.approx(math.sqrt(2 / 64 / 40), rel=0.01)
    ups = [plan[f"{block}.up.weight"] for block in (0, 20, 39)]
    stream = [1, 1 + 20 / 40, 1 + 39 / 40]  # each branch adds a fortieth of what it starts with
    assert [u.std**2 * 64 for u in ups] == pytest.approx([1 / q for q in stream], rel=0.05)
    assert isoinit.check(model, x).findings == []


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_orthogonal_everywhere_keeps_the_signal(activation):
    layers = [x for _ in range(50) for x in (nn.Linear(128, 128), activation())]
    model, x = nn.Sequential(nn.Linear(32, 128), activation(), *layers), torch.randn(64, 32)
    plan = isoinit.init(model, x, method="orthogonal")
    gain = math.sqrt(2) if activation is nn.ReLU else 1.0
    assert plan["0.weight"].std == pytest.approx(1 / math.sqrt(32))  # 128 units from 32 inputs
    assert plan["2.weight"].std == pytest.approx(gain / math.sqrt(128), rel=0.01)
    assert isoinit.check(model, x).ok


def test_sparse_keeps_ten_connections_a_unit():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 200), nn.Linear(200, 4))
    isoinit.init(model, torch.randn(2, 8), method="sparse")
    counts = [set((model[i].weight != 0).sum(1).tolist()) for i in (0, 2, 3)]
    assert counts == [{8}, {10}, {20}]


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
    assert isinstance(planned(nn.ReLU, depth=8)["4.weight"].initializer, isoinit.HeNormal)
    layers = [p for _ in range(20) for p in (nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU())]
    plan = isoinit.plan(nn.Sequential(*layers), torch.randn(2, 32))
    assert isinstance(plan["30.weight"].initializer, isoinit.HeNormal)
    plan = isoinit.plan(residual_network(20), torch.randn(2, 64))
    assert isinstance(plan["5.up.weight"].initializer, isoinit.HeNormal)


def test_deep_stacks_of_selu_stay_lecuns_and_linear_ones_are_orthogonal():
    assert planned(nn.SELU)["50.weight"].initializer == isoinit.LeCunNormal()
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


def test_a_plan_does_not_depend_on_the_numbers_or_the_length_of_the_example():
    model = nn.TransformerEncoderLayer(16, 2, 32)
    plans = [isoinit.plan(model, torch.randn(length, 2, 16) * 9 + 5) for length in (3, 50)]
    plans.append(isoinit.plan(model, torch.zeros(4, 1, 16)))
    assert len({tuple(str(entry.initializer) for entry in plan) for plan in plans}) == 1
