"""Weights that modules compute from parameters: after a plan they are what was drawn for them."""

import math

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrizations, parametrize

import isoinit
from isoinit.errors import PlanError
from ranks import on_ranks

SEED = 5


class Symmetric(nn.Module):
    """Stores the upper triangle as a vector: fewer numbers than the weight has."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, vector):
        rows, columns = torch.triu_indices(self.size, self.size)
        matrix = vector.new_zeros(self.size, self.size)
        matrix[rows, columns] = vector
        return matrix + matrix.triu(1).mT

    def right_inverse(self, weight):
        rows, columns = torch.triu_indices(self.size, self.size)
        return weight[rows, columns]


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2

    def right_inverse(self, weight):
        return 2 * weight


class Masked(nn.Module):
    def __init__(self, shape):
        super().__init__()
        places = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.25
        self.register_buffer("mask", places.float())

    def forward(self, weight):
        return weight * self.mask

    def right_inverse(self, weight):
        return weight


def registered(layer, *parts, name="weight", unsafe=False):
    for part in parts:
        parametrize.register_parametrization(layer, name, part, unsafe=unsafe)
    return layer


def between(layer):
    """A layer that is fed by ReLU, in a model whose output has not the form of its input."""
    return nn.Sequential(nn.Linear(48, 64), nn.ReLU(), layer)


def orthogonal(of, n, **options):
    return parametrizations.orthogonal(nn.Linear(64, n), orthogonal_map=of, **options)


def batch(rows=2048, n_in=64):
    return torch.randn(rows, n_in, generator=torch.Generator().manual_seed(0))


def standard(rows=2048):
    """A batch for `between`."""
    return batch(rows, 48)


def applied(layer, seed=SEED):
    model = between(layer)
    plan = isoinit.plan(model, standard())
    plan.apply(model, seed=seed)
    return model, plan


def drawn(plan, name, shape=(64, 64)):
    """What the initializer of a weight draws under its parameter's name, by `fill_slice`."""
    initializer = plan[name].initializer
    layout = getattr(initializer, "layout", plan[name].layout)
    initializer = getattr(initializer, "drawn", initializer)
    out = torch.empty(shape)
    return isoinit.fill_slice(out, initializer, name, shape, (), SEED, layout=layout)


WEIGHTS = {
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(64, 64)), "original1"),
    "one norm": (lambda: parametrizations.weight_norm(nn.Linear(64, 64), dim=None), "original1"),
    "norms of columns": (
        lambda: parametrizations.weight_norm(nn.Linear(64, 64), dim=1),
        "original1",
    ),
    "times a number": (lambda: registered(nn.Linear(64, 64), Halved()), "original"),
    "weight norm, then a number": (
        lambda: registered(parametrizations.weight_norm(nn.Linear(64, 64)), Halved()),
        "original1",
    ),
}


@pytest.mark.parametrize(("build", "original"), WEIGHTS.values(), ids=WEIGHTS)
def test_the_weight_is_what_was_drawn(build, original):
    model, plan = applied(build())
    name = f"2.parametrizations.weight.{original}"
    torch.testing.assert_close(model[2].weight, drawn(plan, name))
    # He et al. 2015: 2/64; of 4,096 elements five standard errors of their spread are 5.6 %
    assert model[2].weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.056)
    assert plan[name].std == pytest.approx(math.sqrt(2 / 64), rel=1e-4)
    # 64 outputs over 2,048 rows of one weight: the rms scatters by some percent
    assert model(standard()).square().mean().sqrt().item() == pytest.approx(
        plan[name].expected, rel=0.15
    )
    assert not plan.warnings


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_weight_norm_holds_the_weight_at_once():
    model, plan = applied(nn.utils.weight_norm(nn.Linear(64, 64)))
    torch.testing.assert_close(model[2].weight, drawn(plan, "2.weight_v"))
    torch.testing.assert_close(model[2].weight_g, model[2].weight_v.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("of", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("n", [64, 96, 32])
def test_orthogonal_weights_are_orthogonal(of, n):
    model, plan = applied(orthogonal(of, n))
    weight, name = model[2].weight, "2.parametrizations.weight.original"
    short = weight if n <= 64 else weight.mT
    torch.testing.assert_close(short @ short.mT, torch.eye(len(short)), atol=1e-5, rtol=0)
    torch.testing.assert_close(weight, drawn(plan, name, (n, 64)), atol=1e-5, rtol=0)
    assert plan[name].std == pytest.approx(1 / math.sqrt(max(n, 64)), rel=1e-3)


def test_an_orthogonal_weight_without_a_base():
    model, plan = applied(orthogonal("householder", 64, use_trivialization=False))
    expected = drawn(plan, "2.parametrizations.weight.original")
    torch.testing.assert_close(model[2].weight, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_spectral_norms_are_one_in_evaluation_at_once(norm, dtype):
    model = nn.Sequential(norm(nn.Linear(64, 48)), nn.ReLU(), norm(nn.Linear(48, 1))).to(dtype)
    plan = isoinit.plan(model, batch(8).to(dtype))
    plan.apply(model, seed=SEED).eval()
    rounding = 1e-5 if dtype == torch.float32 else 1e-2  # some 2⁻⁸ of bfloat16
    for layer in (model[0], model[2]):
        largest = torch.linalg.matrix_norm(layer.weight.double(), 2).item()
        assert largest == pytest.approx(1, abs=rounding)


@pytest.mark.parametrize("n", [64, 1100])
def test_the_size_of_a_spectrally_normalized_weight_is_expected(n):
    model, plan = applied(parametrizations.spectral_norm(nn.Linear(64, n)))
    # All singular values of an orthogonal matrix are alike. The largest of an n×m Gaussian one is
    # about √n + √m times its elements' std.
    norm, rel = (8, 1e-3) if n == 64 else (8 + math.sqrt(n), 0.05)
    assert plan["2.parametrizations.weight.original"].std == pytest.approx(1 / norm, rel=rel)
    measured = model.eval()(standard()).square().mean().sqrt().item()
    assert measured == pytest.approx(plan["2.parametrizations.weight.original"].expected, rel=0.15)


def test_what_a_mask_leaves_is_scaled_for_the_rest():
    model, plan = applied(registered(nn.Linear(64, 64), Masked((64, 64))))
    # A quarter of the weights is left: the sum of squares in a row is that of all 64.
    squares = model[2].weight.square().sum(1).mean().item()
    assert squares == pytest.approx(2, rel=0.15)
    assert plan["2.parametrizations.weight.original"].std == pytest.approx(
        math.sqrt(2 / 64), rel=1e-3
    )


def test_a_weight_of_more_numbers_than_its_parameter():
    model, plan = applied(registered(nn.Linear(64, 64), Symmetric(64), unsafe=True))
    entry, weight = plan["2.parametrizations.weight.original"], model[2].weight
    assert entry.shape == (64 * 65 // 2,)
    torch.testing.assert_close(weight, weight.mT)
    # 2,080 independent numbers: five standard errors of their spread are 8 %
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.08)


def test_a_bias_and_a_table():
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Embedding(9, 64, padding_idx=0)),
        registered(nn.Linear(64, 8), Halved(), name="bias"),
    )
    isoinit.init(model, torch.arange(9), seed=SEED)
    table = model[0].weight
    assert not table[0].any()
    assert bool(table[1:].any(1).all())
    assert not model[1].bias.any()


def test_a_row_of_zeros_is_one_by_its_length():
    model = parametrizations.weight_norm(nn.Linear(6, 4))
    plan = isoinit.plan(model, torch.ones(2, 6), overrides={"*original1": isoinit.Zeros()})
    weight = plan.apply(model, seed=SEED).weight
    assert torch.equal(weight, torch.zeros(4, 6))


def test_other_values_for_a_weight_take_its_lengths_along():
    model = parametrizations.weight_norm(nn.Linear(64, 32))
    plan = isoinit.plan(model, batch(2))
    plan["parametrizations.weight.original1"] = isoinit.Normal(std=3.0)
    plan.apply(model, seed=SEED)
    torch.testing.assert_close(model.weight, model.parametrizations.weight.original1)


@pytest.mark.parametrize("shared", ["module", "parameter"])
def test_shared_weights(shared):
    layer, other = orthogonal("cayley", 64), orthogonal("cayley", 64)
    if shared == "module":
        other = layer
    else:
        other.parametrizations.weight.original = layer.parametrizations.weight.original
    model = nn.Sequential(layer, nn.Tanh(), other)
    isoinit.init(model, batch(2), seed=SEED)
    for weight in (layer.weight, other.weight):
        torch.testing.assert_close(weight @ weight.mT, torch.eye(64), atol=1e-5, rtol=0)


def test_weights_that_are_cached():
    model = nn.Sequential(orthogonal("cayley", 64), nn.Tanh())
    with parametrize.cached():
        before = model(batch(2))
        isoinit.init(model, batch(2), seed=SEED)
        assert not torch.equal(model(batch(2)), before)
        assert torch.equal(model(batch(2)), model.eval()(batch(2)))


def build():
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(64, 48)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(48, 48)),
        nn.ReLU(),
        registered(nn.Linear(48, 64), Halved()),
        orthogonal("householder", 30, use_trivialization=False),
    )


@pytest.mark.parametrize(
    "place", [isoinit.deferred, lambda: torch.device("meta")], ids=["deferred", "meta"]
)
def test_models_without_values_are_filled_alike(place):
    model, whole = None, build()
    with place():
        model = build()
    isoinit.plan(whole, batch(2)).apply(whole, seed=SEED)
    isoinit.plan(model, batch(2)).apply(model, seed=SEED)
    expected = whole.state_dict()
    assert {k for k, v in model.state_dict().items() if not torch.equal(v, expected[k])} == set()


def test_nothing_is_changed_by_a_weight_that_is_refused():
    model = nn.Sequential(nn.Linear(64, 64), registered(nn.Linear(64, 64), Halved()))
    plan = isoinit.plan(model, batch(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[1].parametrizations.weight[0].right_inverse = lambda weight: weight * math.nan
    with pytest.raises(PlanError, match=r"1\.parametrizations.*NaN"):
        plan.apply(model, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    parametrize.remove_parametrizations(model[1], "weight")
    with pytest.raises(PlanError, match="no entry"):
        plan.apply(model, seed=0)


def test_a_plan_alone_says_what_it_cannot_know():
    model = between(registered(nn.Linear(64, 64), Halved()))
    plan = isoinit.plan(model, standard(2))
    with pytest.raises(PlanError, match="right_inverse"):
        plan.fingerprint(seed=SEED)


def test_plans_of_normalized_weights_need_no_model():
    model = nn.Sequential(*list(build())[:4])
    plan = isoinit.Plan.from_json(isoinit.plan(model, batch(2)).to_json())
    plan.apply(model, seed=SEED)
    assert isoinit.fingerprint(model) == plan.fingerprint(seed=SEED)


def test_calibration_takes_the_lengths_along():
    model = between(parametrizations.weight_norm(nn.Linear(64, 64)))
    plan = isoinit.plan(model, standard()).calibrate(model, standard(), seed=SEED)
    plan.apply(model, seed=SEED)
    assert model(standard()).std().item() == pytest.approx(1, abs=1e-3)


def sharded(rank):
    mesh = init_device_mesh("cpu", (2,))
    model = build()
    plan = isoinit.plan(model, batch(2))
    for layer in (model[0], model[2], model[4]):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    plan.apply(model, seed=SEED)
    whole = build()
    isoinit.plan(whole, batch(2)).apply(whole, seed=SEED)
    found = {
        name: value.full_tensor() if hasattr(value, "full_tensor") else value
        for name, value in model.state_dict().items()
    }
    return {
        name for name, value in whole.state_dict().items() if not torch.equal(value, found[name])
    }


def test_sharded_over_two_processes():
    assert on_ranks(2, sharded) == [set(), set()]
