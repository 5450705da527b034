"""What parameters get that a module computes a weight of."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

import isoinit
from isoinit import Assigned, HeNormal, LooksLinear, Normal, Norms, Orthogonal
from isoinit.errors import ArgumentError

V, G = "parametrizations.weight.original1", "parametrizations.weight.original0"
ORIGINAL = "parametrizations.weight.original"


class Bounded(nn.Module):
    def forward(self, weight):
        return weight.tanh()

    def right_inverse(self, weight):
        return weight.atanh()


def bounded(size=64):
    layer = nn.Linear(size, size)
    parametrize.register_parametrization(layer, "weight", Bounded())
    return layer


def stack(depth, activation, wrapped):
    layers = [(wrapped(nn.Linear(32, 32)), activation()) for _ in range(depth)]
    return nn.Sequential(*[part for pair in layers for part in pair])


def batch(width=32):
    return torch.randn(64, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.SELU])
@pytest.mark.parametrize("depth", [3, 20])
def test_a_normalized_weight_gets_what_a_plain_one_gets(activation, depth):
    plain = isoinit.plan(stack(depth, activation, lambda layer: layer), batch())
    normed = isoinit.plan(stack(depth, activation, parametrizations.weight_norm), batch())
    for n in range(0, 2 * depth, 2):
        entry, v, g = plain[f"{n}.weight"], normed[f"{n}.{V}"], normed[f"{n}.{G}"]
        assert (v.initializer, v.role, v.rule) == (entry.initializer, entry.role, entry.rule)
        assert v.expected == pytest.approx(entry.expected)
        assert g.initializer == Norms(entry.initializer, f"{n}.{V}", v.layout, 0)
        assert g.role == "length"
    assert not normed.warnings


def test_a_normalized_weight_may_be_zero():
    model = parametrizations.weight_norm(nn.Linear(6, 4))
    plan = isoinit.plan(model, batch(6), method="zero")
    assert (plan[V].std, plan[V].expected) == (0, 0)
    assert plan.apply(model, seed=0).weight.isfinite().all()


def test_a_weight_of_prescribed_size_starts_as_it_comes_out():
    model = stack(2, nn.ReLU, parametrizations.spectral_norm)
    plan = isoinit.plan(model, batch())
    plan.apply(model, seed=0)
    for n in (0, 2):
        held = model[n].parametrizations.weight.original
        # The size is that of another draw: the largest singular values scatter by some percent.
        torch.testing.assert_close(held, model[n].weight, rtol=0.2, atol=0)
        assert "prescribes the size" in plan[f"{n}.{ORIGINAL}"].reason


def test_mirrored_pairs_are_not_asked_of_a_prescribed_size():
    plain = isoinit.plan(stack(20, nn.ReLU, lambda layer: layer), batch())
    assert isinstance(plain["4.weight"].initializer, LooksLinear)
    plan = isoinit.plan(stack(20, nn.ReLU, parametrizations.spectral_norm), batch())
    assert plan[f"4.{ORIGINAL}"].initializer.base == Orthogonal()


def test_a_prescribed_size_cannot_be_zero():
    model = parametrizations.spectral_norm(nn.Linear(32, 4))
    plan = isoinit.plan(model, batch(), method="zero")
    assert plan[ORIGINAL].std > 0
    assert "Zeros" in plan[ORIGINAL].reason


def test_another_initializer_is_that_of_the_weight():
    model = bounded()
    plan = isoinit.plan(model, batch(64), overrides={ORIGINAL: Normal(std=0.05)})
    assert plan[ORIGINAL].std == pytest.approx(0.05)
    plan[ORIGINAL] = Orthogonal(0.5)
    assert isinstance(plan[ORIGINAL].initializer, Assigned)
    weight = plan.apply(model, seed=0).weight
    torch.testing.assert_close(weight @ weight.mT, torch.eye(64) / 4, atol=1e-5, rtol=0)


def test_another_initializer_that_cannot_be_assigned_is_refused():
    with pytest.raises(ArgumentError, match="NaN"):
        isoinit.plan(bounded(), batch(64), overrides={ORIGINAL: Normal(std=3.0)})


def test_another_length_is_taken_as_it_is():
    model = parametrizations.weight_norm(nn.Linear(32, 32))
    plan = isoinit.plan(model, batch(), overrides={G: isoinit.Ones(), V: HeNormal()})
    assert plan[G].initializer == isoinit.Ones()
    plan = isoinit.plan(model, batch(), overrides={V: HeNormal()})
    assert plan[G].initializer.base == HeNormal()


def test_a_published_recipe_reaches_the_weight():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.norm = nn.Embedding(9, 32), nn.LayerNorm(32)
            self.up = parametrizations.weight_norm(nn.Linear(32, 32))
            self.down = nn.Linear(32, 32)

        def forward(self, x):
            x = self.table(x)
            return x + self.down(torch.relu(self.up(self.norm(x))))

    plan = isoinit.plan(Block(), torch.arange(9), recipe="paper:gpt2")
    assert plan[f"up.{V}"].initializer == Normal(std=0.02)
    assert plan[f"up.{G}"].initializer.base == Normal(std=0.02)


def test_a_models_own_recipe_is_its_own():
    model = parametrizations.weight_norm(nn.Linear(32, 32))
    plan = isoinit.plan(model, batch(), recipe="own")
    assert plan[V].initializer is None
    assert plan[G].initializer is None


def test_plans_of_models_that_hold_other_values_are_equal():
    digests = set()
    for seed in range(3):
        torch.manual_seed(seed)
        model = stack(2, nn.ReLU, parametrizations.spectral_norm)
        digests.add(isoinit.plan(model, batch()).digest)
    assert len(digests) == 1


class Positive(nn.Module):
    def forward(self, weight):
        return functional.softplus(weight)

    def right_inverse(self, weight):
        return weight.expm1().log()


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.full((32,), 2.0)), nn.Parameter(torch.ones(32))
        parametrize.register_parametrization(self, "scale", Positive())
        parametrize.register_parametrization(self, "bias", Bounded(), unsafe=True)

    def forward(self, x):
        return self.scale * x + self.bias


def test_scales_and_biases_that_are_computed_start_without_effect():
    model = Scaled()
    plan = isoinit.plan(model, batch())
    assert plan["parametrizations.scale.original"].initializer.base == isoinit.Ones()
    plan.apply(model, seed=0)
    torch.testing.assert_close(model(batch()), batch())


def test_a_bias_that_cannot_start_at_nothing_is_named():
    layer = nn.Linear(32, 4)
    nn.init.constant_(layer.bias, 0.5)
    parametrize.register_parametrization(layer, "bias", Positive())
    plan = isoinit.plan(layer, batch())
    (warning,) = plan.warnings
    assert "parametrizations.bias.original" in warning
    assert "Zeros() draws" in warning
    torch.testing.assert_close(plan.apply(layer, seed=0).bias, torch.full((4,), 0.5))


def test_a_weight_that_cannot_be_assigned_is_left_and_named():
    layer = parametrizations.orthogonal(
        nn.Linear(32, 32), orthogonal_map="matrix_exp", use_trivialization=False
    )
    weight = layer.weight.clone()
    plan = isoinit.plan(layer, batch())
    (warning,) = plan.warnings
    assert ORIGINAL in warning
    assert "not possible to assign" in warning
    assert torch.equal(plan.apply(layer, seed=0).weight, weight)
