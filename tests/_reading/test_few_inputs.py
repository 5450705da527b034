"""A layer that reads a few numbers, or columns of the example, gets directions and kinks there."""

import math

import pytest
import torch
from torch import nn

import isoinit

HALF = math.sqrt(0.5)


def network(n_in, activation=nn.ReLU, width=64):
    return nn.Sequential(
        nn.Linear(n_in, width),
        activation(),
        nn.Linear(width, width),
        activation(),
        nn.Linear(width, 1),
    )


def uniform(count, *ranges):
    columns = [torch.linspace(low, high, count)[torch.randperm(count)] for low, high in ranges]
    return torch.stack(columns, 1)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.Softplus])
@pytest.mark.parametrize("n_in", [1, 2, 3])
def test_few_inputs_get_directions_and_kinks(n_in, activation):
    plan = isoinit.plan(network(n_in, activation), torch.randn(64, n_in))
    assert plan["0.weight"].initializer == isoinit.Spherical(HALF)
    assert isinstance(plan["0.bias"].initializer, isoinit.KinkBias)
    assert "Steinwart" in plan["0.bias"].source
    assert plan["2.bias"].std == 0


COLUMNS = {
    "standardized": lambda n: torch.randn(64, n),
    "a few rows": lambda n: torch.randn(4, n),
    "zeros": lambda n: torch.zeros(4, n),
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("n_in", [4, 32])
@pytest.mark.parametrize("x", COLUMNS)
def test_columns_of_the_example_get_them_too(x, n_in):
    torch.manual_seed(0)
    plan = isoinit.plan(network(n_in), COLUMNS[x](n_in))
    assert plan["0.weight"].initializer == isoinit.Spherical(HALF)
    assert isinstance(plan["0.bias"].initializer, isoinit.KinkBias)
    assert plan["2.bias"].std == 0
    assert f"reads only {n_in} columns" in plan["0.bias"].reason
    assert not plan.warnings


def test_columns_of_a_raw_table_are_each_divided_by_their_deviation():
    sizes = [1000.0, 8.0, 1.0, 1 / 4, 1 / 64]
    x = uniform(200, *[(size, 4.4 * size) for size in sizes])  # a deviation of 0.98 sizes
    model = network(5, width=400)
    plan = isoinit.init(model, x, seed=0)
    assert plan["0.weight"].initializer.sizes == (1024.0, 8.0, 1.0, 1 / 4, 1 / 64)
    (warning,) = plan.warnings
    assert "'0.weight'" in warning
    assert "standardize the columns" in warning
    shares = [model[0].weight[:, i].detach().std().item() * size for i, size in enumerate(sizes)]
    assert shares == pytest.approx([math.sqrt(0.5 / 5)] * 5, rel=0.2)
    assert "deviation 0.015625 to 1024" in plan["0.bias"].reason


def test_classes_that_are_written_out_get_no_kinks():
    x = torch.eye(8)[torch.randint(8, (64,), generator=torch.Generator().manual_seed(0))]
    plan = isoinit.plan(network(8), x)
    assert plan["0.weight"].rule == "unit signal"
    assert plan["0.bias"].rule == "bias"


class Moved(nn.Module):
    """A network behind something that moves its input."""

    def __init__(self, move, n_in=8):
        super().__init__()
        self.move, self.net = move, network(n_in)

    def forward(self, x):
        return self.net(self.move(x))


UNEVEN = torch.tensor([1.0, 100.0, 1, 1, 1, 1, 1, 1])
TOLD = {
    "folded": lambda x: x.reshape(-1, 8),
    "an axis more": lambda x: x[:, None],
    "scaled": lambda x: 2 * x,
}
MIXED = {
    "turned over": lambda x: x.flip(-1),
    "in another order": lambda x: x[:, torch.arange(7, -1, -1)],
}


def sizes_of(move, x, n_in=8):
    return isoinit.plan(Moved(move, n_in), x)["net.0.bias"].initializer.sizes


@pytest.mark.parametrize("move", TOLD | MIXED)
def test_columns_are_told_apart_only_where_they_stay_in_order(move):
    torch.manual_seed(0)
    sizes = sizes_of((TOLD | MIXED)[move], torch.randn(200, 8) * UNEVEN)
    one = 2.0 if move == "scaled" else 1.0
    assert sizes == ((one, 128 * one, *[one] * 6) if move in TOLD else (32.0,) * 8)


@pytest.mark.parametrize("function", [torch.sin, lambda x: x.sort(-1).values])
def test_a_function_of_columns_is_no_column(function):
    plan = isoinit.plan(Moved(function), torch.randn(200, 8))
    assert plan["net.0.bias"].rule == "bias"


def test_a_column_that_is_the_same_everywhere_does_not_switch_it_off():
    x = torch.cat([torch.randn(200, 7), torch.ones(200, 1)], 1)
    assert isoinit.plan(network(8), x)["0.bias"].rule == "kinks"


@pytest.mark.parametrize("shape", [(70, 1, 4, 4), (70, 4, 4), (70, 16, 1)])
def test_pixels_in_a_row_have_the_moments_of_all(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert sizes_of(lambda x: x.flatten(1), x, 16) == (0.25,) * 16


@pytest.mark.parametrize("length", [8, 5])
def test_channels_that_are_moved_last_have_the_moments_of_all(length):
    torch.manual_seed(0)
    x = torch.randn(200, 8, length) * UNEVEN[:, None]
    assert sizes_of(lambda x: x.transpose(1, 2), x) == (32.0,) * 8


class Forecast(nn.Module):
    """The last value, and what a network adds to it."""

    def __init__(self):
        super().__init__()
        self.net = network(8)

    def forward(self, x):
        return x[:, -1:] + self.net(x)


@pytest.mark.parametrize(("size", "rule"), [(1.0, "kinks"), (1000.0, "bias")])
def test_large_columns_that_the_output_shares_get_none(size, rule):
    torch.manual_seed(0)
    assert isoinit.plan(Forecast(), size * torch.randn(64, 8))["net.0.bias"].rule == rule


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(30 * x)


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.value = nn.Linear(2, 8), nn.Linear(2, 8)

    def forward(self, x):
        return torch.sigmoid(self.gate(x)) * self.value(x)


OTHERS = {
    "many columns": (network(33), 33),
    "four numbers inside": (nn.Sequential(nn.Linear(40, 4), nn.Linear(4, 8), nn.ReLU()), 40),
    "no function": (nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1)), 2),
    "a sine of its own rule": (network(2, Sine), 2),
    "no bias": (nn.Sequential(nn.Linear(2, 8, bias=False), nn.ReLU(), nn.Linear(8, 1)), 2),
    "a norm between": (
        nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)),
        2,
    ),
    "a gate": (Gate(), 2),
}


@pytest.mark.parametrize("case", OTHERS)
def test_no_other_layer_does(case):
    model, n_in = OTHERS[case]
    plan = isoinit.plan(model, torch.randn(16, n_in))
    assert not [e.name for e in plan if isinstance(e.initializer, isoinit.Spherical)]
    assert not [e.name for e in plan if isinstance(e.initializer, isoinit.KinkBias)]


def test_a_narrow_layer_inside_is_one_too():
    model = nn.Sequential(nn.Linear(16, 2), nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 16))
    plan = isoinit.plan(model, torch.randn(8, 16))
    assert isinstance(plan["1.weight"].initializer, isoinit.Spherical)
    assert isinstance(plan["1.bias"].initializer, isoinit.KinkBias)


@pytest.mark.parametrize("ranges", [[(0, 1)], [(0, 100), (-1, 1)], [(5, 6), (0, 8), (-2, 2)]])
def test_kinks_lie_where_the_inputs_are_whatever_their_ranges(ranges):
    torch.manual_seed(0)
    x = uniform(1000, *ranges)
    model = network(len(ranges), width=400)
    plan = isoinit.init(model, x, seed=0)
    before = model[0](x).detach()
    share = (before > 0).double().mean(0)
    # Reach is √3 deviations, by powers of two: a kink is inside the range of the unit's projection
    # for most units, so that both sides of it are seen.
    assert ((share > 0) & (share < 1)).double().mean() > 0.6
    assert before.square().mean().sqrt().item() == pytest.approx(plan["0.weight"].expected, rel=0.1)
    assert 0.6 < before.square().mean().sqrt().item() < 1.5
    means = [f"{mean:g}" for mean in plan["0.bias"].initializer.centre]
    assert ", ".join(means) in plan["0.bias"].reason


def test_another_batch_and_another_seed_of_the_data_give_the_same_plan():
    plans = []
    for seed in range(4):
        torch.manual_seed(seed)
        plans.append(isoinit.plan(network(2), torch.rand(256, 2) * 4 - 1))
    assert len({(p["0.weight"].initializer, p["0.bias"].initializer) for p in plans}) == 1


class Physics(nn.Module):
    """Coordinates and time, scaled by constants and put side by side."""

    def __init__(self):
        super().__init__()
        self.net = network(2, nn.Tanh)

    def forward(self, x, t):
        return self.net(torch.cat([2 * x - 1, t / 10], -1))


def test_scaled_and_joined_inputs_count_as_they_reach_the_layer():
    torch.manual_seed(0)
    plan = isoinit.plan(Physics(), (torch.rand(512, 1), torch.rand(512, 1) * 100))
    assert plan["net.0.bias"].initializer.sizes == (0.5, 4.0)
    assert plan["net.0.bias"].initializer.centre[0] == 0


@pytest.mark.parametrize("x", [torch.zeros(4, 2), torch.ones(4, 2), None])
def test_an_example_that_tells_nothing_counts_as_standardized(x):
    plan = isoinit.plan(network(2), x)
    assert plan["0.weight"].initializer == isoinit.Spherical(HALF)
    assert plan["0.bias"].initializer.centre == (0.0, 0.0)


def test_a_saved_plan_and_a_changed_weight_keep_the_kinks_in_step(tmp_path):
    x = uniform(100, (0, 1))
    plan = isoinit.plan(network(1), x, overrides={"0.weight": isoinit.Normal(std=2.0)})
    assert isinstance(plan["0.bias"].initializer, isoinit.KinkBias)
    plan.save(tmp_path / "plan.json")
    first, second = network(1), network(1)
    plan.apply(first, seed=3)
    isoinit.Plan.load(tmp_path / "plan.json").apply(second, seed=3)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    weight, bias = first[0].weight[:, 0], first[0].bias
    kinks = plan["0.bias"].initializer
    assert ((-bias / weight - kinks.centre[0]).abs() <= kinks.reach * kinks.sizes[0] * 1.001).all()


def test_kinks_help_where_one_number_is_read():
    """The mechanism, not a score: with biases of zero the first layer spans two functions."""
    x = uniform(200, (-1, 1))
    model = network(1, width=32)
    plan = isoinit.init(model, x, seed=0)
    hidden = torch.relu(model[0](x))
    assert torch.linalg.matrix_rank(hidden.detach(), rtol=1e-4) > 8
    plan.override({"0.bias": isoinit.Zeros()})
    plan.apply(model, seed=0)
    assert torch.linalg.matrix_rank(torch.relu(model[0](x)).detach(), rtol=1e-4) == 2


def test_what_chance_makes_of_a_small_example_is_not_its_mean():
    """Of 32 rows a mean is off by 0.18; six deviations are none that chance makes."""
    layers = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 1))
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(32, 3, generator=generator) for _ in range(40)]
    centres = [isoinit.plan(layers, x)["0.bias"].initializer.centre for x in batches]
    assert sum(any(found) for found in centres) <= 1
    shifted = batches[0] + torch.tensor([1.0, 0.0, 0.0])
    assert isoinit.plan(layers, shifted)["0.bias"].initializer.centre == (1.0, 0.0, 0.0)
