"""Initializers called on tensors and on modules, in torch's idiom."""

import math
from functools import partial

import pytest
import torch
from scipy.stats import kstest
from torch import nn

import isoinit
from isoinit import HeNormal, Normal, Orthogonal, XavierUniform, Zeros
from isoinit.errors import ArgumentError


def std(tensor):
    return float(tensor.detach().double().square().mean().sqrt())


def seeded(function, seed=0):
    torch.manual_seed(seed)
    return function()


def test_a_tensor_gets_what_torch_takes_from_its_shape():
    weight = seeded(lambda: HeNormal()(torch.empty(400, 500)))
    z = weight.double().numpy().ravel() / math.sqrt(2 / 500)
    assert kstest(z, "norm").pvalue > 1e-6
    kernel = seeded(lambda: XavierUniform()(torch.empty(64, 32, 3, 3)))
    assert std(kernel) == pytest.approx(math.sqrt(2 / (9 * (32 + 64))), rel=0.02)
    assert Zeros()(weight) is weight
    assert not weight.any()


def test_the_idiom_of_torch_fills_a_model():
    model = nn.Sequential(nn.Linear(300, 400), nn.LayerNorm(400), nn.Linear(400, 400))
    for module in model:
        nn.init.constant_(module.bias, 7.0)
    found = seeded(lambda: model.apply(HeNormal()))
    assert found is model
    assert std(model[0].weight) == pytest.approx(math.sqrt(2 / 300), rel=0.02)
    assert not model[0].bias.any()
    assert (model[1].weight == 1).all()
    assert (model[1].bias == 7).all()  # of a norm: left


def test_layers_of_one_shape_get_values_of_their_own():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    model.apply(Orthogonal())
    one, other = (layer.weight.detach().double() for layer in model)
    for weight in (one, other):
        torch.testing.assert_close(
            weight @ weight.T, torch.eye(64, dtype=torch.float64), atol=1e-5, rtol=0
        )
    assert abs(float((one * other).sum())) / 64 < 0.1  # cosine; 1 for copies


def test_the_seed_governs_and_a_generator_may_be_given():
    def filled(**options):
        return nn.Linear(8, 8).apply(partial(HeNormal(), **options)).weight

    layer = nn.Linear(8, 8)
    values = [seeded(lambda: HeNormal()(layer).weight.clone(), seed) for seed in (1, 1, 2)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    given = [filled(generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*given)
    state = torch.get_rng_state()
    HeNormal()(layer, generator=torch.Generator())
    Zeros()(layer)
    assert torch.equal(torch.get_rng_state(), state)  # torch's own stream has not moved


@pytest.mark.parametrize(
    ("layer", "fans"),
    [
        (nn.Conv2d(64, 64, 3, groups=4), {"weight": 9 * 16}),
        (nn.ConvTranspose2d(64, 32, 4, stride=2), {"weight": 64 * 16 / 4}),
        (nn.LSTM(100, 64), {"weight_ih_l0": 100, "weight_hh_l0": 64}),
        (nn.MultiheadAttention(96, 4), {"in_proj_weight": 96}),
    ],
)
def test_a_layer_tells_its_fans(layer, fans):
    seeded(lambda: HeNormal()(layer))
    for name, fan_in in fans.items():
        assert std(getattr(layer, name)) == pytest.approx(math.sqrt(2 / fan_in), rel=0.03), name
    biases = [p for n, p in layer.named_parameters(recurse=False) if "bias" in n]
    assert biases
    assert not any(bias.any() for bias in biases)


def test_tables_are_for_initializers_that_need_no_fans():
    table = nn.Embedding(500, 200, padding_idx=3)
    before = table.weight.detach().clone()
    assert torch.equal(HeNormal()(table).weight, before)
    Normal(std=0.02)(table)
    assert std(table.weight) == pytest.approx(0.02, rel=0.02)
    assert not table.weight[3].any()


class Wrapping(nn.Module):
    """A container with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.token, self.inner = nn.Parameter(torch.full((1, 8), 3.0)), nn.Linear(8, 8)

    def forward(self, x):
        return self.inner(x + self.token)


@pytest.mark.parametrize("module", [Wrapping(), nn.ReLU(), nn.BatchNorm1d(4), nn.Sequential()])
def test_what_it_is_not_meant_for_is_left(module):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    assert HeNormal()(module) is module
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_on_the_meta_device_nothing_is_drawn():
    with torch.device("meta"):
        model = nn.Linear(4, 4)
    state = torch.get_rng_state()
    assert model.apply(HeNormal()).weight.is_meta
    assert torch.equal(torch.get_rng_state(), state)


def test_deferred_blocks_postpone_it_and_give_the_same_values():
    plain = seeded(lambda: nn.Linear(6, 5).apply(HeNormal()))
    torch.manual_seed(0)
    with isoinit.deferred():
        layer = nn.Linear(6, 5).apply(HeNormal())
    from isoinit._writing.postponed import unfilled

    assert unfilled(dict(layer.named_parameters())) == ["weight"]
    assert not layer.bias.any()  # a fixed value is written at once
    assert std(plain.weight) == pytest.approx(math.sqrt(2 / 6), rel=0.4)
    isoinit.init(layer, torch.randn(8, 6), seed=0)
    assert not unfilled(dict(layer.named_parameters()))


def test_an_audit_sees_what_it_wrote():
    class Model(nn.Module):
        def __init__(self, skipped):
            super().__init__()
            self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
            self.skipped = skipped
            self.init_weights()

        def init_weights(self):
            (self.body if self.skipped else self).apply(HeNormal())

    assert isoinit.audit(lambda: Model(False)).findings == []
    found = isoinit.audit(lambda: Model(True))
    assert {name for finding in found.findings for name in finding.where} == {
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ([1.0, 2.0], r"HeNormal\(.*\) was called on a list.*fill_slice"),
        (torch.empty(3), "needs a weight with inputs and outputs"),
        (torch.empty(3, 3, dtype=torch.long), "has dtype int64"),
        (nn.LazyLinear(3), "lazy"),
    ],
)
def test_what_cannot_be_filled_is_refused(target, match):
    state = torch.get_rng_state()
    with pytest.raises(ArgumentError, match=match):
        HeNormal()(target)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_generator_of_another_kind_is_refused():
    with pytest.raises(ArgumentError, match=r"expected a torch\.Generator"):
        HeNormal()(torch.empty(3, 3), generator=5)
