"""A model that looks trained is named before it is drawn anew; a new one never is."""

import copy
import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

import isoinit
from isoinit._planning.trained import SPIKE, _stands_out, looks_trained
from isoinit._reading.roles import Role
from isoinit.errors import IsoinitWarning
from isoinit.initializers.scale.fans import vector

SAID = "the model looks trained"
IDS = torch.randint(50, (64, 12), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(256, 16, generator=torch.Generator().manual_seed(1))
IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(2))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.blocks, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 50)

    def forward(self, x):
        return self.head(self.blocks(self.table(x)))


def mlp(width=64):
    hidden = [nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def convolutions():
    blocks = [
        m
        for i, o in ((3, 16), (16, 32), (32, 32))
        for m in (nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


MODELS = {
    "mlp": (mlp, ROWS, ROWS[:, :10].argmax(1)),
    "convolutions": (convolutions, IMAGES, IMAGES.mean((2, 3)).argmax(1)),
    "transformer": (Transformer, IDS, IDS.roll(1, 1)),
}


def warnings_of(model, batch, **more):
    return [said for said in isoinit.plan(model, batch, **more).warnings if said.startswith(SAID)]


def trained(name, *, planned=False, steps=100):
    """A trained model and an example; those who write into it train one of their own."""
    torch.manual_seed(0)
    build, x, y = MODELS[name]
    model = build()
    if planned:
        isoinit.init(model, x[:8])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(steps):
        rows = torch.arange(32) + 32 * (step % (len(x) // 32))
        out = model(x[rows])
        loss = functional.cross_entropy(out.reshape(-1, out.shape[-1]), y[rows].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, x[:8]


known = functools.cache(trained)


class TestTrained:
    @pytest.mark.parametrize("planned", [False, True], ids=["torch's", "planned"])
    @pytest.mark.parametrize("name", MODELS)
    def test_a_hundred_steps_are_seen_in_the_same_process(self, name, planned):
        model, x = known(name, planned=planned)
        (said,) = warnings_of(model, x)
        assert "written 32 times or more" in said
        assert "only=" in said
        assert "requires_grad_(False)" in said

    @pytest.mark.parametrize("name", MODELS)
    def test_they_are_seen_in_the_values_of_a_copy(self, name):
        model, x = known(name, planned=False)
        (said,) = warnings_of(copy.deepcopy(model), x)
        assert "norm layers" in said if name != "mlp" else "no known random fill" in said

    def test_norm_layers_tell_of_it_whatever_the_weights_came_from(self):
        model, x = known("transformer", planned=True)
        (said,) = warnings_of(copy.deepcopy(model), x)
        assert "4 of 4 norm layers scale and shift each unit differently" in said

    def test_init_warns_before_it_writes(self):
        model, x = known("transformer", planned=False)
        before = model.head.weight.clone()
        with pytest.raises(IsoinitWarning, match=SAID):  # as pytest is told to
            isoinit.init(model, x)
        assert torch.equal(model.head.weight, before)

    @pytest.mark.parametrize(
        "more",
        [{"only": "head.*"}, {"only_missing": ["table.weight"]}, {"keep": "nothing"}],
        ids=["only", "only missing", "nothing"],
    )
    def test_who_says_what_to_keep_is_not_warned(self, more):
        model, x = known("transformer", planned=False)
        assert warnings_of(model, x, **more) == []

    def test_what_was_trained_can_be_drawn_anew(self):
        model, x = trained("mlp")
        plan = isoinit.init(model, x, only="4.*")
        assert {entry.name for entry in plan if not entry.kept} == {"4.weight", "4.bias"}
        assert not model[4].bias.any()

    def test_nor_is_one_whose_model_is_not_trained_on(self):
        model, x = trained("mlp", steps=40)
        model.requires_grad_(False)
        assert warnings_of(model, x) == []

    def test_a_plan_starts_anew(self):
        model, x = trained("mlp", steps=40)
        isoinit.init(model, x, keep="nothing")
        assert warnings_of(model, x) == []


def orthogonal(p):
    return nn.init.orthogonal_(p) if p.dim() > 1 else nn.init.zeros_(p)


def shifted(p):
    """As a DCGAN's: norm scales vary about one."""
    return nn.init.normal_(p, 0.0, 0.02) if p.dim() > 1 else nn.init.normal_(p, 1.0, 0.02)


FILLS = {
    "kaiming": lambda p: nn.init.kaiming_normal_(p) if p.dim() > 1 else nn.init.zeros_(p),
    "truncated": lambda p: nn.init.trunc_normal_(p, std=0.02),
    "orthogonal": orthogonal,
    "uniform": lambda p: nn.init.uniform_(p, -0.1, 0.1),
    "normal": lambda p: nn.init.normal_(p, 0.0, 0.02),
    "sparse": lambda p: nn.init.sparse_(p, 0.9) if p.dim() == 2 else nn.init.zeros_(p),
    "tiny biases": lambda p: nn.init.normal_(p, std=1e-6) if p.dim() < 2 else p,
}


class TestNew:
    """What is made by hand is in the zoo, whose plans have no notes (`test_zoo`)."""

    @pytest.mark.parametrize("fill", FILLS)
    @pytest.mark.parametrize("name", MODELS)
    def test_fills_of_ones_own(self, name, fill):
        torch.manual_seed(0)
        build, x, _ = MODELS[name]
        model = build()
        for parameter in model.parameters():
            FILLS[fill](parameter.data)
        assert warnings_of(model, x[:8]) == []

    def test_norm_scales_about_one_with_shifts_of_zero(self):
        torch.manual_seed(0)
        model = convolutions()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
        assert warnings_of(model, IMAGES[:8]) == []

    def test_parts_of_a_weight_with_sizes_of_their_own(self):
        torch.manual_seed(0)
        model = Transformer()
        for layer in model.blocks.layers:
            for bound, part in enumerate(layer.self_attn.in_proj_weight.data.chunk(3), 1):
                part.uniform_(-bound, bound)
        assert warnings_of(model, IDS[:8]) == []

    @pytest.mark.parametrize("method", ["auto", "orthogonal", "sparse", "variational"])
    @pytest.mark.parametrize("name", ["mlp", "convolutions"])
    def test_what_isoinit_has_just_initialized(self, name, method):
        build, x, _ = MODELS[name]
        model, x = build(), x[:8]
        isoinit.init(model, x, method=method)
        assert warnings_of(model, x) == []

    def test_initialized_time_and_again(self):
        model = mlp()
        plan = isoinit.plan(model, ROWS)
        for seed in range(40):
            plan.apply(model, seed)
        assert warnings_of(model, ROWS) == []

    def test_fills_that_are_postponed(self):
        """Their memory may hold what a trained model left there."""
        with isoinit.deferred():
            model = mlp()
        for parameter in model.parameters():  # as a write that torch does not count
            parameter.data.view(-1).copy_(torch.arange(parameter.numel()).sin().cumsum(0))
        assert warnings_of(model, ROWS[:8]) == []

    @pytest.mark.parametrize("size", [1e-300, 1e300])
    def test_numbers_that_cannot_be_squared(self, size):
        model = mlp().double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter[: len(parameter) // 2] *= size
        held = dict(model.named_parameters())
        roles = {n: Role(n, "weight", vector(p.shape), "") for n, p in held.items()}
        assert looks_trained(roles, held) == ""

    def test_parameters_without_elements(self):
        model = nn.ModuleList([nn.Linear(4, 4), nn.Module()])
        model[1].register_parameter("none", nn.Parameter(torch.zeros(0, 4)))
        model.forward = lambda x: model[0](x)
        assert warnings_of(model, torch.zeros(2, 4)) == []

    @pytest.mark.parametrize(
        ("kind", "config"),
        [
            (BertModel, BertConfig(hidden_size=32, intermediate_size=64, num_attention_heads=2)),
            (GPT2Model, GPT2Config(n_embd=32, n_layer=2, n_head=2)),
            (LlamaModel, LlamaConfig(hidden_size=32, intermediate_size=64, num_attention_heads=2)),
        ],
    )
    def test_of_transformers(self, kind, config):
        config.num_hidden_layers, config.vocab_size = 2, 50
        assert warnings_of(kind(config), {"input_ids": IDS[:2]}) == []


@pytest.mark.parametrize("shape", [(96, 128), (128, 128), (128, 40)])
def test_a_direction_stands_out_where_the_largest_eigenvalue_exceeds_that_of_draws(shape):
    rng = np.random.default_rng(0)
    told = set()
    for strength in np.linspace(0, 6, 25):
        left, right = (rng.normal(size=n) / np.sqrt(n) for n in shape)
        values = rng.normal(size=shape) + strength * max(shape) ** 0.5 * np.outer(left, right)
        size = np.sqrt(max(shape) - 1) + np.sqrt(min(shape))
        unit = size * (1 / np.sqrt(max(shape) - 1) + 1 / np.sqrt(min(shape))) ** (1 / 3)
        above = np.linalg.svd(values, compute_uv=False)[0] ** 2 > size**2 + SPIKE * unit
        assert _stands_out(values) == above
        told.add(bool(above))
    assert told == {True, False}
