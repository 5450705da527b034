"""Each finder finds its fault, names it, and says nothing of a model without it."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import isoinit
from isoinit._verifying.health.finders import scale
from isoinit.errors import ArgumentError


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = normal(64, 64)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net(depth=6, activation=nn.ReLU, width=64, norm=False):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), *[nn.LayerNorm(width)] * norm, activation()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    isoinit.init(model, X, seed=3)
    return model


def loss(y):
    labels = torch.arange(len(y)) % 10
    return nn.functional.cross_entropy(y, labels)


def said(model, batch=X, **more):
    return {f.name: f for f in isoinit.check(model, batch, **more).findings}


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.SELU])
@pytest.mark.parametrize("norm", [False, True])
def test_planned_models_get_no_finding(activation, norm):
    assert said(net(activation=activation, norm=norm), loss=loss, lr=1e-3) == {}


@pytest.mark.parametrize("factor", [0.1, 10])
def test_a_weight_unlike_its_siblings(factor):
    model = net()
    model[4].weight.data.mul_(factor)
    finding = said(model)["scale stands out"]
    assert finding.severity == "error"
    assert finding.where == ("4.weight",)
    assert finding.value == pytest.approx(factor, rel=0.5)
    assert finding.advice.startswith(
        "isoinit.init(model, batch, only=['4.weight']) fixes it; it sets "
        "4.weight to std 0.177 (Orthogonal)"
    )


def test_depth_scaled_weights_do_not_stand_out():
    model = net(depth=12, norm=True)
    for i, layer in enumerate(m for m in model if isinstance(m, nn.Linear)):
        layer.weight.data /= math.sqrt(i + 1)
    assert "scale stands out" not in said(model)


@pytest.mark.parametrize(
    ("activation", "drawn", "feeds"),
    [(nn.ReLU, "tanh", "relu"), (nn.GELU, "tanh", "gelu"), (nn.Tanh, "relu", "tanh")],
)
def test_weights_drawn_for_another_activation(activation, drawn, feeds):
    model = net(activation=activation)
    for i in (0, 2, 4):
        nn.init.normal_(model[i].weight, 0, nn.init.calculate_gain(drawn) / math.sqrt(64))
    finding = said(model)["wrong gain"]
    assert set(finding.where) <= {"0.weight", "2.weight", "4.weight"}
    assert f"the weights were drawn for {drawn}, but {feeds} follows" in finding.sentence


def test_a_trend_says_for_what_its_weights_were_drawn():
    model = net(depth=30)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, nn.init.calculate_gain("tanh") / math.sqrt(64))
    finding = said(model)["exploding signal"]
    assert "the weights were drawn for tanh, but relu follows" in finding.sentence
    assert finding.advice.startswith("30 weights are off: isoinit.init(model, batch); ")
    assert ", now 0.2" in finding.advice


def test_duplicated_units():
    model = net()
    with torch.no_grad():
        model[6].weight[32:] = model[6].weight[:32]
        model[6].bias[32:] = model[6].bias[:32]
    found = said(model)
    assert found["duplicated units"].where == ("6.weight",)
    assert found["duplicated units"].value == 1.0
    model[6].bias.data = normal(64)  # other functions, but the same weights
    assert "duplicated units" in said(model)


def test_units_that_compute_the_same_though_their_weights_differ():
    class Halved(nn.Module):
        """The inputs come in equal pairs, and the weights of two units are the pair's, swapped."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 6, bias=False), nn.Linear(6, 4, bias=False)
            with torch.no_grad():
                self.a.weight[3:] = self.a.weight[:3].flip(1)
                self.b.weight[:, 3:] = self.b.weight[:, :3]

        def forward(self, x):
            return self.b(torch.tanh(self.a(torch.cat([x, x.flip(1)], 1))))

    finding = said(Halved(), normal(64, 4))["same function"]
    assert finding.where == ("a",)
    assert finding.value == 1.0


def test_sub_pixels_start_alike_by_design():
    class Upscale(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)

        def forward(self, x):
            return nn.functional.pixel_shuffle(self.b(torch.relu(self.a(x))), 2)

    model, batch = Upscale(), normal(4, 3, 8, 8)
    isoinit.init(model, batch, seed=0)
    assert "duplicated units" not in said(model, batch)


def test_a_weight_of_few_directions():
    model = net()
    model[2].weight.data = normal(64, 1) @ normal(1, 64, seed=1) / 4
    assert said(model)["low rank"].where == ("2.weight",)


def test_a_detached_layer_names_what_the_cut_lies_behind():
    model = net()
    model[4].register_forward_hook(lambda _m, _a, out: out.detach())
    finding = said(model)["detached"]
    assert finding.severity == "error"
    assert finding.where[:2] == ("4.weight", "4.bias")
    assert set(finding.where) == {f"{i}.{x}" for i in (0, 2, 4) for x in ("weight", "bias")}


def test_dead_and_saturated_layers():
    model = net()
    model[4].bias.data.fill_(-100)
    found = said(model)
    assert found["dead units"].severity == "error"
    assert found["dead units"].where == ("4",)
    model = net(activation=nn.Tanh)
    model[4].weight.data.mul_(300)
    assert said(model)["saturation"].where == ("4",)


def test_a_scale_of_zero_starves_unless_it_ends_a_branch():
    class Block(nn.Module):
        def __init__(self, residual):
            super().__init__()
            self.a, self.norm, self.head = nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 8)
            self.residual = residual

        def forward(self, x):
            y = self.norm(torch.relu(self.a(x)))
            return self.head(x + y if self.residual else y)

    for residual in (False, True):
        model = Block(residual)
        isoinit.init(model, X, seed=0)
        model.norm.weight.data.zero_()
        found = [f for f in isoinit.check(model, X).findings if "norm.weight" in f.where]
        assert bool(found) is not residual


def test_a_loss_far_from_chance():
    model = net()
    assert isoinit.check(model, X, loss=loss).chance == pytest.approx(math.log(10))
    model[-1].weight.data.mul_(40)
    finding = said(model, loss=loss)["loss above chance"]
    assert finding.severity == "error"
    assert finding.where == ("12",)
    model = net()
    with torch.no_grad():
        model[-1].weight.zero_()
        model[-1].bias.copy_(torch.eye(10)[0] * 20)
    low = said(model, loss=lambda y: nn.functional.cross_entropy(y, torch.zeros(64).long()))
    assert low["loss below chance"].severity == "warning"


def test_chance_is_known_for_mean_cross_entropy_alone():
    def both(y):
        return loss(y) + y.square().mean()

    def summed(y):
        return nn.functional.cross_entropy(y, torch.zeros(64).long(), reduction="sum")

    def binary(y):
        return nn.functional.binary_cross_entropy_with_logits(y, torch.ones_like(y))

    model = net()
    assert isoinit.check(model, X, loss=both).chance is None
    assert isoinit.check(model, X, loss=summed).chance is None
    assert isoinit.check(model, X, loss=binary).chance == pytest.approx(math.log(2))


def test_a_first_step_too_large():
    finding = said(net(), loss=loss, lr=1.0)["first step too large"]
    assert finding.severity == "error"
    assert said(net(), loss=loss, lr=0.1)["first step too large"].severity == "warning"
    assert "first step too small" in said(net(), loss=loss, lr=1e-12)


def test_a_plan_that_is_not_what_was_applied():
    model = net()
    plan = isoinit.plan(model, X)
    assert "not as planned" not in said(model, plan=plan)
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(0.3)
    finding = said(model, plan=plan)["not as planned"]
    assert finding.severity == "remark"  # what is measured trains, if slowly
    assert len(finding.where) >= 5
    assert finding.advice.startswith("7 weights are not as planned: plan.apply(model); ")
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(0.3)
    found = said(model, plan=plan)
    assert found["not as planned"].severity == "error"
    assert found["vanishing signal"].severity == "error"


def test_memory_that_nothing_wrote():
    model = net()
    model[2].weight.data[0, 0] = 3e33
    finding = said(model)["not initialized"]
    assert finding.where == ("2.weight",)
    assert finding.value == pytest.approx(3e33)


class TestCopies:
    """Parameters that start with one draw."""

    def encoder(self):
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)

    def critics(self, change=lambda model: None):
        """Two networks for one input; the second is a copy of the first."""
        model = nn.ModuleList([nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))])
        model.append(copy.deepcopy(model[0]))
        change(model)
        model.forward = lambda x: model[0](x) + model[1](x)
        return model

    def test_layers_of_torchs_encoder(self):
        finding = said(self.encoder(), normal(8, 9, 32))["copies"]
        assert finding.severity == "warning"
        assert finding.value == 6 * 6  # its biases of attention and its norm layers are constants
        assert finding.sentence.startswith("layers.0…5 (self_attn.in_proj_weight, ")
        assert "isoinit.init(model, batch)" in finding.advice
        assert "requires_grad_(False)" in finding.advice

    def test_an_init_parts_them(self):
        model, batch = self.encoder(), normal(8, 9, 32)
        isoinit.init(model, batch, seed=0)
        assert "copies" not in said(model, batch)

    def test_torchs_transformer_copies_biases_alone(self):
        model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True)
        assert "copies" not in said(model, (normal(4, 5, 16), normal(4, 6, 16)))

    def test_twins_of_one_seed(self):
        def draw(model):
            for critic in model:
                isoinit.init(critic, X, seed=0)

        assert said(self.critics(draw))["copies"].where == (
            *("0.0.weight", "1.0.weight"),
            *("0.2.weight", "1.2.weight"),
        )

    @pytest.mark.parametrize(
        "change",
        [
            lambda model: [isoinit.init(critic, X) for critic in model],
            lambda model: model[1].requires_grad_(False),
            lambda model: model.__setitem__(1, model[0]),
            lambda model: [
                setattr(mine, "data", other.data)
                for mine, other in zip(*(critic.parameters() for critic in model), strict=True)
            ],
            lambda model: [nn.init.constant_(p, 0.1) for p in model.parameters()],
            lambda model: [p.data.copy_(table(p)) for p in model.parameters()],
            lambda model: [p.data.flatten()[-1:].add_(1) for p in model[1].parameters()],
        ],
        ids=["drawn", "frozen", "shared", "one memory", "constant", "tables", "one element"],
    )
    def test_what_is_none(self, change):
        assert "copies" not in said(self.critics(change))


def table(parameter):
    return torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape)


class TestBadInput:
    """A clear error or a finding each, and the model as it was."""

    def test_one_example(self):
        assert said(net(), X[:1])["one example"].severity == "warning"

    def test_identical_examples(self):
        found = said(net(), X[:1].expand(32, 64).contiguous())
        assert set(found) == {"identical examples"}

    def test_evaluation_mode(self):
        model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1))
        model.append(nn.Linear(64, 4))
        isoinit.init(model, X, seed=0)
        assert "evaluation mode" not in said(model)
        finding = said(model.eval())["evaluation mode"]
        assert finding.where == ("1", "3")
        assert not model.training

    @pytest.mark.parametrize("kind", ["nested", "dict", "dataclass"])
    def test_nested_outputs(self, kind):
        from dataclasses import dataclass

        @dataclass
        class Out:
            y: torch.Tensor

        class Nested(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(64, 4)

            def forward(self, x):
                y = self.a(x)
                return {"nested": ((y, [y]), None), "dict": {"y": y}, "dataclass": Out(y)}[kind]

        assert isoinit.check(Nested(), X).layers[0].gradient > 0

    def test_nothing_returned(self):
        class Nothing(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(64, 4)

            def forward(self, x):
                self.a(x)

        finding = said(Nothing())["nothing returned"]
        assert finding.severity == "error"
        assert "returned no tensor" in finding.sentence

    def test_an_output_without_a_gradient(self):
        model = net()
        model.register_forward_hook(lambda _m, _a, out: out.detach())
        assert "no tensor with a gradient" in said(model)["nothing returned"].sentence

    def test_frozen_parameters(self):
        model = net()
        model[2].requires_grad_(False)
        assert said(model) == {}
        assert said(model.requires_grad_(False))["nothing trained"].severity == "warning"
        assert not any(p.requires_grad for p in model.parameters())

    def test_losses_that_are_none(self):
        for wrong in (lambda y: y, lambda y: None, lambda y: "x", lambda y: y.detach().mean()):
            with pytest.raises((ArgumentError, isoinit.IsoinitError)):
                said(net(), loss=lambda y, wrong=wrong: wrong(y) if wrong(y) is not None else 3)

    def test_the_model_is_never_copied(self):
        model = nn.Sequential(nn.Linear(1500, 1500), nn.ReLU(), nn.Linear(1500, 2))
        before = {name: p.data_ptr() for name, p in model.named_parameters()}
        copies = []

        class Watch(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                if "clone" in str(func) and args[0].numel() == 1500**2:
                    copies.append(func)
                return func(*args, **(kwargs or {}))

        with Watch():
            isoinit.check(model, normal(8, 1500))
        assert copies == []
        assert before == {name: p.data_ptr() for name, p in model.named_parameters()}


def test_findings_read_as_sentences():
    model = net()
    model[4].weight.data.zero_()
    for finding in isoinit.check(model, X).findings:
        text = str(finding)
        assert text.startswith(f"{finding.severity}: ")
        assert "\n" not in text
        assert finding.where
        assert finding.source
        assert finding.advice


class Step(nn.Module):
    """A step function between two layers; `detached` cuts the gradient by hand in its place."""

    def __init__(self, cut):
        super().__init__()
        self.a, self.b, self.cut = nn.Linear(8, 16), nn.Linear(16, 3), cut

    def forward(self, x):
        return self.b(self.cut(self.a(x)))


def test_units_in_front_of_a_cut_are_not_called_dead_on_top():
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    found = isoinit.check(Step(lambda y: (y > 0).float()), x).findings
    assert {finding.name for finding in found} == {"detached"}
    model = Step(torch.relu)  # whose units are dead, and no gradient is cut off
    with torch.no_grad():
        model.a.bias.fill_(-100)
    assert "dead units" in {finding.name for finding in isoinit.check(model, x).findings}


def test_columns_that_drown_the_others_are_named_and_counts_are_not():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(64, 12, generator=generator) * torch.logspace(-3, 3, 12)
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3))
    isoinit.init(model, table, seed=0)
    (finding,) = [f for f in isoinit.check(model, table).findings if f.name == "uneven columns"]
    assert finding.severity == "warning"
    assert finding.where == ("0.weight",)
    even = (table - table.mean(0)) / table.std(0)
    counts = torch.poisson(torch.logspace(-2, 1, 12).expand(64, 12), generator=generator)
    for batch in (even, counts):
        assert not [f for f in isoinit.check(model, batch).findings if f.name == "uneven columns"]


def test_siblings_are_compared_as_all_pairs_would_be():
    rng = np.random.default_rng(0)
    stds = [*np.exp(rng.normal(scale=1.5, size=40)).tolist(), 0.25, 0.25]
    siblings = scale._Siblings(stds)
    for at, std in enumerate(stds):
        others = stds[:at] + stds[at + 1 :]
        assert siblings.nearest(std) == min(others, key=lambda other: abs(math.log(other / std)))
        near = [other for other in stds if max(other / std, std / other) <= scale.APART]
        assert siblings.is_minority(std) == (len(near) < len(stds) / 2)


def test_units_of_different_sizes_are_not_dead_by_rounding():
    """One unit of size one, and others so small that rises of the function are below rounding."""
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    with torch.no_grad():
        model[0].weight[1:] *= 1e-20
        model[0].bias.zero_()
    assert isoinit.check(model, X).layers[0].dead == 0
