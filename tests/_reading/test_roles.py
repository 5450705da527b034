"""Roles, worked out by hand for models that people write."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
)

import isoinit
from older_transformers import unless_older


def roles(model, batch):
    return {entry.name: entry.role for entry in isoinit.plan(model, batch)}


class Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


def test_residual_block_with_batch_norm():
    plan = isoinit.plan(Block(), torch.randn(2, 4, 8, 8))
    assert plan["conv1.weight"].role == "weight before relu"
    assert "a norm layer follows" in plan["conv1.weight"].reason
    assert plan["bn2.weight"].role == "norm scale"
    assert plan["conv2.bias"].role == "bias"


class Scaled(nn.Module):
    """A residual branch with a learned scale at its end."""

    def __init__(self, size):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 8)
        self.gamma = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x + self.gamma * self.b(F.gelu(self.a(x)))


def test_a_single_number_at_a_branch_end_is_rezero_and_a_vector_layerscale():
    x = torch.randn(2, 8)
    assert isoinit.plan(Scaled(1), x)["gamma"].initializer == isoinit.Zeros()
    assert isoinit.plan(Scaled(8), x)["gamma"].initializer == isoinit.Constant(0.1)


class Branch(nn.Module):
    """The last weight of a branch writes to the residual stream."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(x + F.dropout(self.b(torch.tanh(self.a(x))), 0.1))


def test_the_end_of_a_residual_branch():
    found = roles(Branch(), torch.randn(2, 8))
    assert found["a.weight"] == "weight before tanh"
    assert found["b.weight"] == "weight ending a residual branch"
    assert found["head.weight"] == "weight of the output"


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
IDS = torch.randint(3, 90, (2, 7), generator=torch.Generator().manual_seed(0))


def gpt2():
    config = GPT2Config(
        n_layer=2, n_embd=32, n_head=4, vocab_size=99, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config), {"input_ids": IDS}


def llama():
    return LlamaForCausalLM(LlamaConfig(vocab_size=99, **SMALL)), {"input_ids": IDS}


def bert():
    return BertModel(BertConfig(vocab_size=99, **SMALL)), {"input_ids": IDS}


def vit():
    return ViTModel(ViTConfig(image_size=16, patch_size=8, **SMALL)), torch.randn(2, 3, 16, 16)


def t5():
    config = T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return T5ForConditionalGeneration(config), {"input_ids": IDS, "decoder_input_ids": IDS}


def mamba():
    return MambaForCausalLM(MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=2)), {
        "input_ids": IDS
    }


# By hand, from the published architectures: for each model some names and the role of each.
BY_HAND = [
    (
        gpt2,
        {
            "transformer.wte.weight": "embedding, tied to an output weight",
            "transformer.wpe.weight": "position",
            "transformer.h.1.attn.c_proj.weight": "weight ending a residual branch",
            "transformer.h.1.mlp.c_fc.weight": "weight before gelu_tanh",
            "transformer.h.1.mlp.c_proj.weight": "weight ending a residual branch",
            "transformer.h.1.ln_2.weight": "norm scale",
            "transformer.h.1.ln_2.bias": "norm shift",
        },
    ),
    (
        llama,
        {
            "model.embed_tokens.weight": "embedding",
            "model.layers.1.self_attn.q_proj.weight": "weight",
            "model.layers.1.self_attn.o_proj.weight": "weight ending a residual branch",
            "model.layers.1.mlp.gate_proj.weight": "weight before silu",
            "model.layers.1.mlp.up_proj.weight": "weight",
            "model.layers.1.mlp.down_proj.weight": "weight ending a residual branch",
            "model.layers.1.input_layernorm.weight": "norm scale",
            "lm_head.weight": "weight of the output",
        },
    ),
    (
        bert,
        {
            "embeddings.word_embeddings.weight": "embedding",
            "encoder.layer.1.intermediate.dense.weight": "weight before gelu",
            "encoder.layer.1.output.dense.weight": "weight ending a residual branch",
            "pooler.dense.weight": "weight before tanh",
        },
    ),
    (
        vit,
        {
            "embeddings.cls_token": "token",
            "embeddings.position_embeddings": "position",
            "layers.1.mlp.fc1.weight": "weight before gelu",
            "layers.1.mlp.fc2.weight": "weight ending a residual branch",
        },
    ),
    (
        t5,
        {
            "shared.weight": "embedding, tied to an output weight",
            "encoder.block.1.layer.1.DenseReluDense.wi.weight": "weight before relu",
            "encoder.block.1.layer.1.DenseReluDense.wo.weight": "weight ending a residual branch",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": "position",
        },
    ),
    (
        mamba,
        {
            "backbone.layers.1.mixer.conv1d.weight": "weight before silu",
            "backbone.layers.1.mixer.out_proj.weight": "weight ending a residual branch",
        },
    ),
]


@pytest.mark.parametrize(
    ("build", "expected"),
    [unless_older(*row) if row[0] is vit else row for row in BY_HAND],
    ids=[row[0].__name__ for row in BY_HAND],
)
def test_transformers_read_as_published(build, expected):
    model, batch = build()
    plan = isoinit.plan(model.eval(), batch)
    assert plan.how == "fake"
    assert {name: plan[name].role for name in expected} == expected
    assert [e.name for e in plan] == [name for name, _ in model.named_parameters()]


class Loop(nn.Module):
    """A recurrent network written by hand: plain, or with an LSTM's gates in one weight."""

    def __init__(self, gates):
        super().__init__()
        self.gates = gates
        self.w = nn.Linear(8, 16 * gates)
        self.u = nn.Linear(16, 16 * gates, bias=False)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], 16)
        for t in range(x.shape[1]):
            z = self.w(x[:, t]) + self.u(h)
            if self.gates == 1:
                h = torch.tanh(z)
            else:
                i, f, g, o = z.chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
        return h


@pytest.mark.parametrize("gates", [1, 4])
def test_a_recurrent_weight_in_a_loop_by_hand(gates):
    plan = isoinit.plan(Loop(gates), torch.randn(2, 5, 8))
    assert plan["u.weight"].role == "recurrent weight"
    assert plan["u.weight"].initializer == isoinit.Orthogonal()
    assert plan["u.weight"].layout.maps_shape == (gates, 16, 16, 1)
    assert plan["w.weight"].role == "input weight"
    assert plan["w.weight"].initializer == isoinit.LeCunNormal()  # as torch's own layers
    assert plan["w.weight"].layout.maps_shape == (gates, 16, 8, 1)


def test_a_loop_under_relu_starts_as_torchs_own_layer_does():
    class Relu(Loop):
        def forward(self, x):
            h = x.new_zeros(x.shape[0], 16)
            for t in range(x.shape[1]):
                h = torch.relu(self.w(x[:, t]) + self.u(h))
            return h

    plan, own = (
        isoinit.plan(model, torch.randn(2, 5, 8))
        for model in (Relu(1), nn.RNN(8, 16, nonlinearity="relu", batch_first=True))
    )
    for name, theirs in (("w.weight", "weight_ih_l0"), ("u.weight", "weight_hh_l0")):
        assert plan[name].initializer == own[theirs].initializer


def test_a_state_that_a_gate_resets_first_is_recurrent():
    """The candidate of a GRU whose gates are layers of their own (Cho et al. 2014)."""

    class Candidate(nn.Module):
        def __init__(self):
            super().__init__()
            self.names = [f"{way}{gate}" for way in "ih" for gate in "rzn"]
            for name in self.names:
                self.add_module(name, nn.Linear(8 if name[0] == "i" else 16, 16))

        def forward(self, x):
            h = x.new_zeros(x.shape[0], 16)
            for step in x.unbind(1):
                r = torch.sigmoid(self.ir(step) + self.hr(h))
                z = torch.sigmoid(self.iz(step) + self.hz(h))
                h = z * h + (1 - z) * torch.tanh(self.get_submodule("in")(step) + r * self.hn(h))
            return h

    found = roles(Candidate(), torch.randn(2, 5, 8))
    assert {found[f"i{gate}.weight"] for gate in "rzn"} == {"input weight"}
    assert {found[f"h{gate}.weight"] for gate in "rzn"} == {"recurrent weight"}


def test_a_layer_shared_through_depth_is_not_recurrent():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            for _ in range(4):
                x = x + self.b(torch.relu(self.a(x)))
            return x

    found = roles(Shared(), torch.randn(2, 8))
    assert found["a.weight"] == "weight before relu"
    assert found["b.weight"] == "weight ending a residual branch"


def test_a_parameter_that_the_run_never_uses_is_read_from_its_layer():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 2), nn.Linear(4, 2)
            self.odd = nn.Parameter(torch.zeros(3))

        def forward(self, x):
            return self.used(x)

    plan = isoinit.plan(Idle(), torch.randn(2, 4))
    assert "guess" in plan["idle.weight"].reason
    assert "guess" not in plan["used.weight"].reason
    assert plan["odd"].initializer is None
    assert plan["odd"].role == "unknown"
    assert any("'odd' keeps its values" in warning for warning in plan.warnings)


def test_without_a_batch_every_entry_is_a_guess():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4), nn.Tanh())
    plan = isoinit.plan(model)
    assert plan.how == "structure"
    assert plan["0.weight"].role == "weight before relu"
    assert plan["3.weight"].role == "weight before tanh"
    assert all("guess" in entry.reason for entry in plan)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_without_a_batch_a_model_of_any_type_is_read(dtype):
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.LayerNorm(4)).to(dtype)
    plan = isoinit.plan(model)
    assert [entry.role for entry in plan] == [
        "weight before tanh",
        "bias",
        "norm scale",
        "norm shift",
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", [torch.log, torch.reciprocal, torch.sqrt, torch.acos])
def test_a_function_without_a_gain_counts_as_no_activation(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(function(self.a(x)))

    plan = isoinit.plan(Net(), torch.rand(2, 4))
    assert plan["a.weight"].role == "weight"
    assert plan["a.weight"].std == pytest.approx(1 / 2, rel=1e-9)
    assert plan["a.weight"].rule == "unit signal"


class Through(nn.Module):
    """Parameters that act through a function of themselves."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 8)
        self.offset, self.factor, self.log, self.shift = (
            nn.Parameter(torch.full((8,), 0.3)) for _ in range(4)
        )
        self.q, self.v = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))

    def forward(self, x):
        x = self.a(x)
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * (1 + self.offset.float())
        x = torch.tanh(x) * (0.5 * self.factor)
        x = torch.tanh(x) * -torch.exp(self.log) + 2 * self.shift
        return F.linear(x, self.b.weight, torch.cat([self.q, self.v]))


def test_parameters_that_act_through_a_function_of_themselves():
    plan = isoinit.plan(Through(), torch.randn(3, 4), keep="frozen")
    # 1 + w and w / 2 change nothing at w = 0 and w = 2; of exp(w) only the model knows
    assert (plan["offset"].role, plan["offset"].initializer) == (
        "norm scale through add",
        isoinit.Zeros(),
    )
    assert plan["factor"].initializer == isoinit.Constant(2.0)
    assert plan["shift"].initializer == isoinit.Zeros()
    assert plan["log"].role == "scale through exp·neg"
    assert plan["log"].initializer is None
    assert plan["q"].role == plan["v"].role == "bias"
    model = plan.apply(Through(), seed=0)
    assert torch.equal(model.log, torch.full((8,), 0.3))
    assert torch.equal(model.offset, torch.zeros(8))


def test_a_layer_of_one_network_among_several_streams_counts_its_own_branches():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
            self.between = nn.Linear(8, 8)
            self.second = nn.ModuleList(nn.Linear(8, 8) for _ in range(9))

        def forward(self, x):
            for layer in self.first:
                x = x + layer(x)
            x = torch.tanh(self.between(x))
            for layer in self.second:
                x = x + layer(x)
            return x

    plan = isoinit.plan(Two(), torch.randn(3, 8))
    assert plan["first.0.weight"].std == pytest.approx(1 / 2 / math.sqrt(8), rel=1e-9)
    # the second stream starts with tanh of what the first one adds up to
    assert plan["second.8.weight"].std < plan["second.0.weight"].std


def test_a_slice_of_the_examples_indices_still_comes_from_the_example():
    class Slices(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(9, 4), nn.Embedding(9, 4)

        def forward(self, ids):
            return self.words(ids[:, 1:]) + self.places(torch.cumsum(ids[:, :-1] != 0, 1))

    plan = isoinit.plan(Slices(), torch.randint(9, (2, 5)))
    assert {entry.role for entry in plan} == {"embedding"}


def test_a_layer_whose_size_is_a_tensor_is_guessed_too():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 2), nn.Linear(4, 2)
            self.idle.in_features = torch.tensor(4)

        def forward(self, x):
            return self.used(x)

    plan = isoinit.plan(Odd(), torch.randn(2, 4))
    assert plan["used.weight"].role == "weight of the output"
    assert "idle.weight" in plan.notes[0]


def test_a_norm_layer_of_its_own_kind_is_guessed_whatever_stands_before_it():
    class RMS(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, x):
            return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))

    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.patches, self.norm = nn.Linear(4, 2), nn.Conv2d(3, 6, 2), RMS()

        def forward(self, x):
            return self.used(x)

    entry = isoinit.plan(Tower(), torch.randn(2, 4))["norm.weight"]
    assert entry.role == "norm scale"
    assert entry.initializer == isoinit.Ones()


def test_gates_that_are_taken_apart_before_the_sum_are_a_recurrent_layer():
    class Gated(nn.Module):
        """A GRU whose gates stand in two matrices (Cho et al. 2014)."""

        def __init__(self):
            super().__init__()
            self.w, self.u = nn.Parameter(torch.randn(8, 96)), nn.Parameter(torch.randn(32, 96))
            self.out = nn.Linear(32, 4)

        def forward(self, x):
            h = torch.zeros(len(x), 32)
            for step in x.unbind(1):
                (a, b, c), (d, e, f) = ((p).chunk(3, -1) for p in (step @ self.w, h @ self.u))
                keep = torch.sigmoid(b + e)
                h = keep * h + (1 - keep) * torch.tanh(c + torch.sigmoid(a + d) * f)
            return self.out(h)

    model, batch = Gated(), torch.randn(64, 10, 8)
    plan = isoinit.init(model, batch, seed=0)
    assert plan["u"].role == "recurrent weight"
    assert isinstance(plan["u"].initializer, isoinit.Orthogonal)
    assert "not as planned" not in {f.name for f in isoinit.check(model, batch, plan=plan).findings}


def test_a_state_of_zeros_does_not_hide_what_a_weight_that_is_made_is_for():
    """A skew recurrent matrix (Chang et al. 2019): at the first step it is applied to zeros."""

    class Skew(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.u = nn.Parameter(torch.randn(8, 32)), nn.Parameter(torch.randn(32, 32))

        def forward(self, x):
            h, u = torch.zeros(len(x), 32), self.u - self.u.T
            for step in x.unbind(1):
                h = torch.tanh(step @ self.w + h @ u)
            return h

    plan = isoinit.plan(Skew(), torch.randn(16, 10, 8))
    assert plan["u"].role == "recurrent weight"
    assert plan["u"].std == pytest.approx((2 * 32) ** -0.5, rel=0.03)
    assert not plan.warnings


def test_what_is_added_to_a_signal_may_be_zero_for_equal_weights():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.last = nn.Parameter(torch.randn(32, 32)), nn.Linear(32, 4)

        def forward(self, x):
            return self.last(x + (self.u - self.u.T))

    plan = isoinit.plan(Added(), torch.randn(16, 32, 32))
    assert (plan["u"].role, plan["u"].std > 0) == ("position", True)
