"""Each rule for what is no weight fires where its source says, and not beside it."""

import pytest
import torch
from torch import nn

import isoinit


def test_recurrent_networks():
    lstm = isoinit.plan(nn.LSTM(8, 16, 2), torch.randn(5, 3, 8))
    for layer in (0, 1):
        assert lstm[f"weight_hh_l{layer}"].initializer == isoinit.Orthogonal()
        assert lstm[f"weight_ih_l{layer}"].initializer == isoinit.LeCunNormal()
        assert lstm[f"bias_ih_l{layer}"].initializer == isoinit.GateBias()
        assert lstm[f"bias_hh_l{layer}"].initializer == isoinit.Zeros()
    gru = isoinit.plan(nn.GRU(8, 16), torch.randn(5, 3, 8))
    assert gru["weight_hh_l0"].initializer == isoinit.Orthogonal()
    assert gru["bias_ih_l0"].initializer == isoinit.Zeros()
    relu = isoinit.plan(nn.RNN(8, 16, nonlinearity="relu"), torch.randn(5, 3, 8))
    assert isinstance(relu["weight_ih_l0"].initializer, isoinit.HeNormal)


def test_the_forget_gate_starts_at_one_and_each_gate_is_orthogonal():
    lstm = nn.LSTM(8, 16)
    isoinit.init(lstm, torch.randn(5, 3, 8), seed=0)
    total = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    expected = torch.zeros(64)
    expected[16:32] = 1  # torch's order: input, forget, cell, output
    assert torch.equal(total, expected)
    for gate in lstm.weight_hh_l0.detach().double().split(16):
        torch.testing.assert_close(
            gate @ gate.T, torch.eye(16, dtype=torch.double), atol=1e-6, rtol=0
        )


def test_the_identity_for_recurrent_weights_under_relu_alone():
    relu = isoinit.plan(nn.RNN(8, 16, nonlinearity="relu"), torch.randn(5, 3, 8))
    assert relu["weight_hh_l0"].initializer == isoinit.Identity()
    tanh = isoinit.plan(nn.RNN(8, 16), torch.randn(5, 3, 8))
    assert tanh["weight_hh_l0"].initializer == isoinit.Orthogonal()


def test_norms_biases_slopes_and_embeddings():
    model = nn.Sequential(
        nn.Embedding(10, 16, padding_idx=0),
        nn.Linear(16, 16),
        nn.LayerNorm(16),
        nn.PReLU(),
        nn.Linear(16, 2),
    )
    plan = isoinit.init(model, torch.tensor([[1, 2, 0]]), seed=0)
    assert plan["0.weight"].initializer == isoinit.Normal(std=16**-0.25)
    assert plan["2.weight"].initializer == isoinit.Ones()
    assert plan["2.bias"].initializer == plan["1.bias"].initializer == isoinit.Zeros()
    assert plan["3.weight"].initializer == isoinit.Constant(0.25)
    assert not model[0].weight[0].any()
    assert model[0].weight[1].all()


class Residual(nn.Module):
    def __init__(self, branch, **extra):
        super().__init__()
        self.branch = branch
        for name, value in extra.items():
            setattr(self, name, value)

    def forward(self, x):
        return x + self.branch(x)


def conv_block(last_norm=True):
    layers = [
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
    ]
    return Residual(nn.Sequential(*layers, *[nn.BatchNorm2d(8)] * last_norm))


def test_the_last_norm_of_a_residual_branch_starts_at_zero_and_no_other():
    plan = isoinit.plan(nn.Sequential(conv_block(), nn.BatchNorm2d(8)), torch.randn(2, 8, 6, 6))
    assert plan["0.branch.4.weight"].initializer == isoinit.Zeros()
    assert "Goyal" in plan["0.branch.4.weight"].source
    assert plan["0.branch.1.weight"].initializer == isoinit.Ones()
    assert plan["1.weight"].initializer == isoinit.Ones()
    encoder = isoinit.plan(nn.TransformerEncoderLayer(16, 2, 32), torch.randn(3, 2, 16))
    assert encoder["norm2.weight"].initializer == isoinit.Ones()  # behind the sum, not before it


def test_a_network_of_zeroed_branches_is_healthy():
    model, x = nn.Sequential(*[conv_block() for _ in range(6)]), torch.randn(4, 8, 6, 6)
    isoinit.init(model, x, seed=0)
    assert isoinit.check(model, x).ok


class Scaled(nn.Module):
    """A residual block with a learned scale at the end of its branch."""

    def __init__(self, shape):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.full(shape, 7.0))

    def forward(self, x):
        return x + self.scale * self.linear(self.norm(x))


@pytest.mark.parametrize(("blocks", "value"), [(2, 0.1), (40, 1e-5), (60, 1e-6)])
def test_layer_scale_by_depth(blocks, value):
    plan = isoinit.plan(nn.Sequential(*[Scaled((8,)) for _ in range(blocks)]), torch.randn(2, 8))
    assert plan["0.scale"].initializer == isoinit.Constant(value)


def test_rezero_is_one_number():
    plan = isoinit.plan(nn.Sequential(Scaled((1,)), Scaled(())), torch.randn(2, 8))
    assert plan["0.scale"].initializer == plan["1.scale"].initializer == isoinit.Zeros()


def test_mambas_state_space():
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, state_size=8)
    model, ids = MambaForCausalLM(config), torch.randint(3, 99, (2, 6))
    plan = isoinit.init(model, {"input_ids": ids}, seed=0)
    mixer = model.backbone.layers[0].mixer
    rows = torch.log(torch.arange(1.0, 9)).expand(64, 8)
    assert torch.allclose(mixer.A_log, rows)
    assert torch.equal(mixer.D, torch.ones(64))
    steps = torch.nn.functional.softplus(mixer.dt_proj.bias)
    assert 1e-3 <= steps.min() < 2e-3
    assert 0.05 < steps.max() <= 0.1
    rank = mixer.dt_proj.weight.shape[1]
    assert plan["backbone.layers.0.mixer.dt_proj.weight"].initializer == isoinit.Uniform(
        -(rank**-0.5), rank**-0.5
    )


def test_positions_and_tokens_are_as_large_as_what_they_join():
    from transformers import BertConfig, BertModel, ViTConfig, ViTModel

    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    vit = isoinit.plan(ViTModel(ViTConfig(image_size=16, patch_size=8, **size)), None)
    for name in ("cls_token", "position_embeddings"):
        assert vit[f"embeddings.{name}"].std == pytest.approx(1, rel=0.05)
    bert = isoinit.plan(BertModel(BertConfig(vocab_size=99, **size)), None)
    assert bert["embeddings.position_embeddings.weight"].std == pytest.approx(32**-0.25)


def test_the_output_bias_from_class_frequencies():
    plan = isoinit.plan(nn.Linear(8, 3), torch.randn(2, 8))
    plan["bias"] = isoinit.LogFrequencies([50, 30, 20])
    model = plan.apply(nn.Linear(8, 3), seed=0)
    assert torch.allclose(torch.softmax(model.bias, 0), torch.tensor([0.5, 0.3, 0.2]))
    plan["bias"] = isoinit.PriorBias(0.01)
    model = plan.apply(nn.Linear(8, 3), seed=0)
    assert torch.allclose(torch.sigmoid(model.bias), torch.full((3,), 0.01))


class Folded(nn.Module):
    """A convolution with its norm folded in, as training for quantization does."""

    def __init__(self, width, divide):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm, self.divide = nn.BatchNorm2d(width), divide

    def forward(self, x):
        factor = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        weight = self.conv.weight * factor[:, None, None, None]
        y = nn.functional.conv2d(x, weight, padding=1)
        return self.norm(y / factor[:, None, None] if self.divide else y)


class Divided(nn.Module):
    """A branch whose last scale is divided by: by itself, behind a norm, or once more elsewhere."""

    def __init__(self, way):
        super().__init__()
        self.map, self.norm = nn.Linear(16, 16), nn.LayerNorm(16, elementwise_affine=False)
        self.scale = nn.Parameter(torch.ones(1 if way == "a number" else 16))
        self.way = way

    def forward(self, x):
        y = self.norm(self.map(x))
        if self.way == "twice":
            return x / self.scale.abs() + y * self.scale
        return x + y / self.scale


class Block(nn.Module):
    """A residual branch."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return x + self.branch(x)


IMAGE = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Block(Folded(8, divide=True)), IMAGE),
        (Block(Folded(8, divide=False)), IMAGE),
        (Divided("a number"), torch.randn(4, 16)),
        (Divided("a vector"), torch.randn(4, 16)),
        (Divided("twice"), torch.randn(4, 16)),
    ],
)
def test_a_scale_that_is_used_in_another_way_too_does_not_start_at_zero(model, x):
    plan = isoinit.plan(model, x)
    plan.apply(model, seed=0)
    (scale,) = [e for e in plan if "scale" in e.role]
    assert scale.initializer == isoinit.Ones()
    loss = model(x).square().mean()
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert loss.isfinite()


class Shared(nn.Module):
    """A bias that is divided by: as it is, or as a line of itself."""

    def __init__(self, divide):
        super().__init__()
        self.map, self.divide = nn.Linear(4, 4, bias=False), divide
        self.bias = nn.Parameter(torch.full((4,), 0.5))

    def forward(self, x):
        y = self.map(x) + self.bias
        return y / self.bias if self.divide else y * (1 + self.bias / 3)


def test_a_bias_that_is_divided_by_is_left_and_named():
    plan = isoinit.plan(Shared(divide=True), torch.randn(8, 4), keep="frozen")
    assert plan["bias"].initializer is None
    assert any("'bias'" in warning and "divides by" in warning for warning in plan.warnings)
    assert isoinit.plan(Shared(divide=False), torch.randn(8, 4))["bias"].std == 0


class Memory(nn.Module):
    """An LSTM by hand: its gates in one weight, in any order, or each in one of its own."""

    def __init__(self, order, apart):
        super().__init__()
        sizes = [16] * 4 if apart else [64]
        self.x = nn.ModuleList(nn.Linear(8, size) for size in sizes)
        self.h = nn.ModuleList(nn.Linear(16, size, bias=False) for size in sizes)
        self.order, self.out = order, nn.Linear(16, 3)

    def gates(self, x, h):
        made = [a(x) + b(h) for a, b in zip(self.x, self.h, strict=True)]
        return dict(zip(self.order, made[0].chunk(4, -1) if len(made) == 1 else made, strict=True))

    def forward(self, x):
        h = c = x.new_zeros(len(x), 16)
        for step in range(5):
            gate = self.gates(x[:, step], h)
            c = torch.sigmoid(gate["f"]) * c + torch.sigmoid(gate["i"]) * torch.tanh(gate["g"])
            h = torch.sigmoid(gate["o"]) * torch.tanh(c)
        return self.out(h)


@pytest.mark.parametrize("order", ["ifgo", "fgoi"])
def test_the_forget_gate_of_a_cell_by_hand_starts_open(order):
    plan = isoinit.plan(Memory(order, apart=False), torch.randn(4, 5, 8))
    assert plan["x.0.bias"].initializer == isoinit.GateBias(gate=order.index("f"))
    plan = isoinit.plan(Memory(order, apart=True), torch.randn(4, 5, 8))
    ones = [e.name for e in plan if e.initializer == isoinit.Ones()]
    assert ones == [f"x.{order.index('f')}.bias"]


def test_the_update_gate_of_a_gru_and_a_highway_are_no_forget_gates():
    class Update(Memory):
        def forward(self, x):
            h = x.new_zeros(len(x), 16)
            for step in range(5):
                gate = self.gates(x[:, step], h)
                z = torch.sigmoid(gate["f"])
                h = z * h + (1 - z) * torch.tanh(gate["g"])
            return self.out(h)

    plan = isoinit.plan(Update("ifgo", apart=False), torch.randn(4, 5, 8))
    assert plan["x.0.bias"].initializer == isoinit.Zeros()


class Tied(nn.Module):
    """A table that is also the output layer, with a constant before or behind that."""

    def __init__(self, before=1.0, behind=1.0):
        super().__init__()
        self.table, self.norm = nn.Embedding(50, 64), nn.LayerNorm(64)
        self.before, self.behind = before, behind

    def forward(self, ids):
        seen = self.norm(self.table(ids)) * self.before
        return nn.functional.linear(seen, self.table.weight) * self.behind


@pytest.mark.parametrize(("before", "behind"), [(1, 1), (64**-0.5, 1), (1, 0.25), (0.5, 2)])
def test_a_tied_table_gives_logits_of_unit_size_whatever_constant_stands_beside_it(before, behind):
    model, ids = Tied(before, behind), torch.randint(50, (32, 8))
    plan = isoinit.plan(model, ids)
    assert plan["table.weight"].std == pytest.approx(1 / (8 * before * behind), rel=1e-6)
    plan.apply(model, seed=0)
    # Of 3,200 numbers; a token's own logit is larger than the others.
    assert model(ids).detach().square().median().sqrt().item() == pytest.approx(0.67, rel=0.15)
