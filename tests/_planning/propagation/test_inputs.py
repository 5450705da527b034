"""Inputs count as they reach a weight: behind constant scalings, from tables, as one-hot vectors."""

import math

import pytest
import torch
from torch import nn

import isoinit

WIDE = 256


def rms(tensor):
    return tensor.detach().square().mean().sqrt().item()


class Scaled(nn.Module):
    """A convolution behind what a function makes of the input."""

    def __init__(self, function):
        super().__init__()
        self.map, self.function = nn.Conv2d(3, WIDE, 3), function
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x):
        self.made = self.map(self.function(self, x))
        return self.made


PIXELS = torch.randint(0, 256, (16, 3, 12, 12), generator=torch.Generator().manual_seed(0))
SCALINGS = {
    "divided": lambda _, x: x / 255,
    "cast and divided": lambda _, x: x.float() / 255,
    "in place": lambda _, x: x.float().div_(255),
    "centred": lambda _, x: x.to(torch.float32).div(127.5).sub(1),
    "centred first": lambda _, x: (x - 127.5) * (1 / 127.5),
    "turned over": lambda _, x: 1 - x / 255,
    "standardized": lambda s, x: (x.float() / 255 - s.mean) / s.spread,
    "clamped first": lambda _, x: x.float().clamp(0, 255) / 255,
    "clamped behind": lambda _, x: (x / 255).clamp(0, 1),
    "channels last": lambda _, x: x.transpose(2, 3).contiguous() / 255,
}


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_pixels_count_as_they_reach_the_weight(name, kind):
    model, pixels = Scaled(SCALINGS[name]), PIXELS.to(kind)
    plan = isoinit.plan(model, pixels)
    plan.apply(model, seed=0)
    model(pixels)
    # 256 channels that share the mean of the pixels: a relative error of about 1/√512 = 4 % at most.
    assert rms(model.made) == pytest.approx(1, rel=0.2)
    assert plan["map.weight"].expected == pytest.approx(rms(model.made), rel=0.2)
    assert not plan.warnings


class Columns(nn.Module):
    """A weight behind a raw table, whose columns are scaled each by its own number."""

    def __init__(self, function):
        super().__init__()
        self.map, self.function = nn.Linear(10, WIDE), function
        self.register_buffer("spread", 10.0 ** torch.linspace(-2, 4, 10))

    def forward(self, x):
        self.made = self.map(self.function(self, x))
        return self.made


def halves(model, x):
    """The first columns divided by their sizes, the others as if they had none."""
    return torch.cat([x[:, :5] / model.spread[:5], x[:, 5:] / 1e4], 1)


COLUMNS = {
    "standardized": lambda s, x: (x - 3 * s.spread) / s.spread,
    "multiplied": lambda s, x: x * (1 / s.spread),
    "in parts": halves,
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("examples", [4, 128])
def test_columns_of_different_sizes_meet_each_its_own_constant(name, examples):
    model = Columns(COLUMNS[name])
    table = torch.randn(examples, 10, generator=torch.Generator().manual_seed(1)) * model.spread
    plan = isoinit.plan(model, table + 3 * model.spread * (name == "standardized"))
    assert not plan.warnings
    plan.apply(model, seed=0)
    model(table + 3 * model.spread * (name == "standardized"))
    # 256 units of one Gaussian each about the size of the examples: 1/√512 = 4 %, rounding 2 %.
    assert plan["map.weight"].expected == pytest.approx(rms(model.made), rel=0.25)


def test_an_input_without_scaling_counts_as_standardized_unless_it_is_large():
    x = PIXELS.float()
    stds = [
        isoinit.plan(Scaled(lambda _, x: x * 1.0), x * k)["map.weight"].std for k in (1, 1 / 255)
    ]
    assert stds == [27**-0.5 / 128, 27**-0.5]  # pixels of 0 to 255 have the root mean square 147


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(2, 3, 12, 12),
        torch.zeros(2, 3, 12, 12, dtype=torch.uint8),
        torch.ones(1, 3, 9, 9),
    ],
)
def test_an_example_of_shapes_alone_counts_as_standardized(x):
    plan = isoinit.plan(Scaled(SCALINGS["cast and divided"]), x)
    assert plan["map.weight"].std == pytest.approx(27**-0.5, rel=0.02)
    assert not plan.warnings


def test_no_example_counts_as_standardized():
    plan = isoinit.plan(Scaled(SCALINGS["divided"]))
    assert plan["map.weight"].std == pytest.approx(27**-0.5, rel=0.02)
    assert not plan.warnings


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (SCALINGS["divided"], torch.randn(2, 3, 12, 12)),  # standardized already
        (SCALINGS["divided"], torch.rand(2, 3, 12, 12)),
        (lambda _, x: x * 255, PIXELS / 255),  # and the other way about
    ],
)
def test_an_example_that_is_hardly_meant_is_named(function, x):
    plan = isoinit.plan(Scaled(function), x)
    assert plan["map.weight"].std == pytest.approx(27**-0.5, rel=0.02)
    (warning,) = plan.warnings
    assert "'map.weight'" in warning


class Table(nn.Module):
    """A linear layer on rows of a table that is not learned."""

    def __init__(self, look):
        super().__init__()
        self.register_buffer("rows", torch.randn(500, 32) * 3 + 1)
        self.map, self.look = nn.Linear(32, WIDE), look

    def forward(self, index):
        self.made = self.map(self.look(self.rows, index))
        return self.made


@pytest.mark.parametrize(
    "look",
    [
        lambda rows, index: rows[index],
        lambda rows, index: rows.index_select(0, index),
        lambda rows, index: nn.functional.embedding(index, rows),
        lambda _rows, index: nn.functional.one_hot(index % 32, 32).float(),
        lambda rows, _index: rows,
        lambda rows, index: rows[:100] + 0 * index.float().mean(),
    ],
)
def test_a_fixed_table_counts_as_what_it_holds(look):
    model, index = Table(look), torch.randint(0, 500, (512,))
    isoinit.plan(model, index).apply(model, seed=0)
    model(index)
    assert rms(model.made) == pytest.approx(1, rel=0.2)


class Beside(nn.Module):
    """Coordinates beside the channels of an image, and a fixed table added to tokens."""

    def __init__(self):
        super().__init__()
        self.register_buffer("grid", torch.linspace(-9, 9, 64).view(1, 1, 8, 8).repeat(1, 2, 1, 1))
        self.register_buffer("table", 4 * torch.randn(1, 64, WIDE))
        self.map, self.out = nn.Conv2d(5, WIDE, 1), nn.Linear(WIDE, WIDE)

    def forward(self, image):
        both = torch.cat([image, self.grid.expand(len(image), -1, -1, -1)], 1)
        self.first = self.map(both)
        self.last = self.out(self.first.flatten(2).mT + self.table)
        return self.last


def test_buffers_beside_the_signal_count_as_what_they_hold():
    model, image = Beside(), torch.randn(16, 3, 8, 8)
    plan = isoinit.plan(model, image)
    plan.apply(model, seed=0)
    model(image)
    second = 3 / 5 + 2 / 5 * model.grid.square().mean().item()
    assert plan["map.weight"].std == pytest.approx(1 / math.sqrt(5 * second), rel=0.03)
    # The grid is linear, so a channel's mean square has a spread of √2: over 256 of them 9 %.
    assert rms(model.first) == pytest.approx(1, rel=0.4)
    assert rms(model.last) == pytest.approx(1, rel=0.1)


def table(count, *sizes):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, len(sizes), generator=generator) * torch.tensor(sizes)


def dense(n_in):
    return nn.Sequential(nn.Linear(n_in, WIDE), nn.ReLU(), nn.Linear(WIDE, 1))


@pytest.mark.parametrize("size", [7.0, 50.0, 300.0])
def test_an_input_of_large_size_counts_by_the_next_power_of_two(size):
    x = table(200, *[size] * 48)
    model = dense(48)
    plan = isoinit.init(model, x, seed=0)
    # √2 for the rounding, and a relative standard error of about 2 % for the rest.
    assert 0.65 < rms(model[0](x)) < 1.53
    assert "0.weight" in plan.warnings[0]
    assert "depends on the example" in plan.warnings[0]
    again = isoinit.plan(dense(48), table(100, *[size * 1.1] * 48))
    assert again["0.weight"].std == plan["0.weight"].std


USUAL = [table(64, *[1.0] * 48), torch.rand(64, 48), 3 * table(64, *[1.0] * 48), torch.eye(48)]


@pytest.mark.parametrize("x", USUAL)
def test_inputs_of_usual_sizes_give_one_plan_and_no_warning(x):
    plan = isoinit.plan(dense(48), x)
    assert plan["0.weight"].std == pytest.approx(48**-0.5)
    assert not plan.warnings


def test_a_tiny_input_is_named_and_its_weights_stay_of_a_size_that_steps_change():
    plan = isoinit.plan(dense(48), table(64, *[1e-3] * 48))
    assert plan["0.weight"].std == pytest.approx(48**-0.5)
    assert "0.001" in plan.warnings[0]
    assert "'0.weight'" in plan.warnings[0]


def test_columns_of_very_different_sizes_are_named():
    plan = isoinit.plan(dense(48), table(200, *[1.0, 0.3, 0.1, 0.01, 8.0, 0.02, 0.5, 0.2] * 6))
    assert any("columns" in note and "'0.weight'" in note for note in plan.warnings)
    assert plan["0.weight"].std == pytest.approx(48**-0.5)


def test_pixels_of_an_edge_that_is_always_dark_drown_nothing():
    edges = table(200, *[1.0, 0.8, 0.01, 0.02, 1.2, 0.9, 0.7, 0.001] * 6)
    assert not isoinit.plan(dense(48), edges).warnings


class Forecast(nn.Module):
    """The last value and what two layers add to it; the next block sees what is left."""

    def __init__(self, carried=True):
        super().__init__()
        self.first, self.last, self.carried = nn.Linear(48, 32), nn.Linear(32, 4), carried

    def forward(self, x):
        added = self.last(torch.relu(self.first(x)))
        return x[:, -1:] + added if self.carried else added


@pytest.mark.parametrize("carried", [True, False])
def test_large_inputs_that_the_output_shares_count_as_standardized(carried):
    x = 1000 * torch.randn(64, 48, generator=torch.Generator().manual_seed(0))
    plan = isoinit.plan(Forecast(carried), x)
    size = 1.0 if carried else 1024.0
    assert plan["first.weight"].std == pytest.approx(48**-0.5 / size, rel=0.01)
    told = "which the output shares" if carried else "that for inputs of 1024"
    assert [w for w in plan.warnings if "'first.weight'" in w and told in w]


def test_columns_of_different_sizes_that_are_taken_apart_are_not_known():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(8, WIDE)

        def forward(self, x):
            return self.map(torch.cat(x.chunk(2, -1)[::-1], -1))

    x = table(64, 1.0, 100.0, *[1.0] * 6)
    assert isoinit.plan(Halves(), x)["map.weight"].std > 0
