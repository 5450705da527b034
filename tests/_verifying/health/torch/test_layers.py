"""The numbers of a layer, against closed forms and against what they are by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from torch import nn

import isoinit
from isoinit._verifying.health.torch.layers import (
    Ranges,
    _same_columns,
    _some_rows,
    dead_and_saturated,
    moments,
    participation,
    ranges,
)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    st.floats(-20, 20),
    st.floats(0.1, 8),
)
def test_moments(shape, dtype, mean, std):
    values = (normal(*shape).double() * std + mean).to(dtype)
    exact = values.double()
    got = moments(values)
    assert got[0] == pytest.approx(exact.mean().item(), rel=1e-4, abs=1e-4)
    # What rounding to float32 leaves of the difference of two squares.
    assert got[1] == pytest.approx(exact.std(correction=0).item(), rel=1e-3, abs=2e-2)
    assert got[2] == pytest.approx(exact.square().mean().sqrt().item(), rel=1e-5)
    assert got[3] == exact.abs().max().item()


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_moments_beyond_the_squares_of_float32(scale):
    values = normal(1000) * scale
    assert moments(values)[2] == pytest.approx(values.double().square().mean().sqrt().item())


def test_moments_of_what_is_not_finite():
    assert math.isnan(moments(torch.tensor([1.0, math.nan]))[3])
    assert moments(torch.tensor([1.0, -math.inf]))[3] == math.inf
    assert moments(torch.empty(0)) == (0.0, 0.0, 0.0, 0.0)


def test_participation_of_known_spectra():
    orthogonal, _ = torch.linalg.qr(normal(40, 40))
    assert participation(orthogonal[:10]) == pytest.approx(10, rel=1e-5)
    assert participation(normal(30, 1) @ normal(1, 50)) == pytest.approx(1, rel=1e-5)
    values = torch.tensor([3.0, 2.0, 1.0])
    expected = values.square().sum().item() ** 2 / values.pow(4).sum().item()
    assert participation(torch.diag(values)) == pytest.approx(expected)
    # Independent entries: mn/(m + n), to within some percent at this size.
    assert participation(normal(200, 600)) == pytest.approx(150, rel=0.05)
    assert math.isnan(participation(torch.zeros(3, 3)))


def test_rows_are_places_whatever_axis_the_units_lie_along():
    images = normal(4, 3, 5, 5)
    rows = _some_rows(images, 1)
    assert rows.shape == (100, 3)
    assert torch.equal(rows, images.permute(0, 2, 3, 1).reshape(100, 3))
    many = _some_rows(normal(64, 100, 8), -1)
    assert many.shape[1] == 8
    assert 250 <= many.shape[0] <= 256
    assert _some_rows(normal(7), -1).shape == (1, 7)


def test_columns_that_are_the_same_are_grouped():
    rows = normal(50, 6)
    rows[:, 4] = rows[:, 1]
    rows[:, 5] = rows[:, 1] * (1 + 1e-7)
    groups = _same_columns(rows).tolist()
    assert groups[1] == groups[4] == groups[5] >= 0
    assert [groups[i] for i in (0, 2, 3)] == [-1, -1, -1]


def test_columns_that_differ_in_few_rows_are_told_apart():
    rows = normal(250, 40)
    rows[:, 7] = rows[:, 3]
    for at in range(8, 40, 2):  # as column 3, but for one place
        rows[:, at] = rows[:, 3]
        rows[at * 5 + 1, at] += 1.0
    groups = _same_columns(rows).tolist()
    assert groups[3] == groups[7] >= 0
    assert [g for i, g in enumerate(groups) if i not in (3, 7)] == [-1] * 38


def test_columns_of_one_number_are_one_group_and_others_none():
    assert len({*_same_columns(torch.full((20, 5), -0.3)).tolist()}) == 1
    assert _same_columns(normal(20, 5)) is None
    assert _same_columns(normal(20, 1)) is None
    assert _same_columns(torch.full((20, 5), math.nan)) is None


def test_ranges_of_images_and_rows():
    images = normal(4, 3, 5, 6)
    kept = ranges(images, 1)
    assert np.array_equal(kept.low, images.double().amin((0, 2, 3)).numpy())
    assert np.array_equal(kept.high, images.double().amax((0, 2, 3)).numpy())
    rows = normal(4, 7, 3)
    assert np.array_equal(ranges(rows, -1).high, rows.double().amax((0, 1)).numpy())


def relu(z):
    return np.maximum(z, 0.0)


def gelu(z):
    return z * (1 + erf(z / math.sqrt(2))) / 2


def of(low, high, some=(0.0,)):
    return Ranges(np.array(low, float), np.array(high, float), np.array(some, float))


def test_a_jump_kills_no_unit():
    # One unit left of the jump, one right of it, one across it: each slope is 0.1 or 1.
    found = dead_and_saturated(of([-2, 1, -2], [0, 3, 3]), lambda z: np.where(z > 0.5, z, 0.1 * z))
    assert found[0] == 0
    # A step is nothing but a jump: no gradient passes.
    step = dead_and_saturated(of([-2, 1], [3, 3]), lambda z: np.where(z > 0.5, 1.0, 0.0))
    assert step[0] == 1


def test_dead_units():
    low, high = [-3, -3, 0.5, -9], [-0.1, 0.2, 0.7, -8]
    assert dead_and_saturated(of(low, high), relu)[0] == 0.5
    assert dead_and_saturated(of(low, high), gelu)[0] == 0.25  # it is flat far from zero alone
    assert dead_and_saturated(of(low, high), lambda z: np.where(z > 0, z, 0.1 * z))[0] == 0
    assert dead_and_saturated(of([6.0], [9.0]), np.tanh)[0] == 1.0
    assert dead_and_saturated(of([-1.0], [-1.0]), relu)[0] == 1.0  # a unit of one value


def test_saturated_values_are_those_of_the_normal_law():
    some = normal(200_000).double().numpy()
    share = dead_and_saturated(of([-3.0], [3.0], 2 * some), np.tanh)[1]
    # 1 - tanh² < 0.05 beyond artanh(√0.95), of a normal of standard deviation 2.
    edge = math.atanh(math.sqrt(0.95)) / 2
    assert share == pytest.approx(1 - erf(edge / math.sqrt(2)), abs=0.005)
    assert math.isnan(dead_and_saturated(of([-3.0], [3.0], some), relu)[1])


@pytest.mark.parametrize("inplace", [False, True])
def test_dead_units_of_a_model(inplace):
    model = nn.Sequential(nn.Linear(8, 10), nn.ReLU(inplace=inplace), nn.Linear(10, 2))
    with torch.no_grad():
        model[0].bias[:4] = -100.0
    layer = isoinit.check(model, normal(32, 8)).layers[0]
    by_hand = (model[0](normal(32, 8)) <= 0).all(0).float().mean().item()
    assert layer.dead == pytest.approx(by_hand)
    assert layer.dead >= 0.4


def test_dead_units_behind_batch_norm():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(4 * 36, 2))
    with torch.no_grad():
        model[1].bias[0] = -100.0
    assert isoinit.check(model, normal(8, 3, 8, 8)).layers[0].dead == 0.25


def test_correlation_of_known_examples():
    shared, own = normal(1, 4000, seed=1), normal(64, 4000, seed=2)
    batch = math.sqrt(0.7) * shared + math.sqrt(0.3) * own  # any two correlate by 0.7
    model = nn.Linear(4000, 4000, bias=False)
    isoinit.functional.orthogonal_(model.weight)
    layer = isoinit.check(model, batch).layers[0]
    assert layer.correlation == pytest.approx(0.7, abs=0.02)
    assert layer.spread == pytest.approx(math.sqrt(0.3), rel=0.02)


def test_gradients_against_autograd():
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    batch = normal(16, 6)
    layer = isoinit.check(model, batch, loss=lambda y: y.square().mean()).layers[0]
    hidden = model[0](batch).detach().requires_grad_()
    model[2](torch.tanh(hidden)).square().mean().backward()
    exact = hidden.grad.double()
    assert layer.gradient == pytest.approx(exact.square().mean().sqrt().item(), rel=1e-5)
    assert layer.gradient_mean == pytest.approx(exact.mean().item(), rel=1e-4)
    assert layer.gradient_std == pytest.approx(exact.std(correction=0).item(), rel=1e-4)
    assert layer.gradient_largest == pytest.approx(exact.abs().max().item(), rel=1e-6)


def test_units_before_an_exponential_are_not_dead():
    """Exp is steep where no signal comes, which says nothing of the slope where signals are."""

    class Exp(nn.Module):
        def forward(self, x):
            return x.exp()

    model, batch = (
        nn.Sequential(nn.Linear(32, 64), Exp(), nn.Linear(64, 8)),
        torch.randn(256, 32, generator=torch.Generator().manual_seed(0)),
    )
    plan = isoinit.init(model, batch, seed=0)
    assert isoinit.check(model, batch, plan=plan).layers[0].dead == 0
