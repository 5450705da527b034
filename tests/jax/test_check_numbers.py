"""What NumPy measures of layers and weights is what torch measures of the same arrays."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from isoinit._verifying.health.arrays import layers as arrays
from isoinit._verifying.health.arrays import weights as array_weights
from isoinit._verifying.health.records import LayerHealth
from isoinit._verifying.health.torch import layers, units, weights
from isoinit._verifying.health.torch.ahead import _step
from isoinit.initializers.scale import fans

DRAW = np.random.default_rng(0)
TWINS = DRAW.standard_normal((32, 10)).astype(np.float32)
TWINS[:, 4] = TWINS[:, 1]
TWINS[:, 7] = TWINS[:, 1] * (1 + 1e-7)
OUTPUTS = {
    "rows": (DRAW.standard_normal((64, 12)), -1),
    "places": (DRAW.standard_normal((7, 50, 6)) + 3, -1),
    "images": (DRAW.standard_normal((8, 5, 9, 9)) * 1e-3, 1),
    "twins": (TWINS, -1),
    "the same": (np.ones((6, 4)), -1),
    "one example": (DRAW.standard_normal((1, 9)), -1),
    "huge": (DRAW.standard_normal((6, 9)) * 1e17, -1),
    "infinite": (np.where(np.eye(6) > 0, np.inf, 1.0), -1),
    "complex": (DRAW.standard_normal((6, 9)) + 1j * DRAW.standard_normal((6, 9)), -1),
    "a vector": (DRAW.standard_normal(20), -1),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", OUTPUTS)
def test_layers(name):
    array, axis = OUTPUTS[name]
    array = array.astype(np.complex64 if np.iscomplexobj(array) else np.float32)
    gradient = array[::-1] * 2
    theirs, ours = LayerHealth("w", 0), LayerHealth("w", 0)
    probe = layers.Probe(theirs, axis)
    probe.forward(torch.from_numpy(array))
    probe.backward(torch.from_numpy(gradient.copy()))
    alike = arrays.measure_output(ours, array, axis)
    arrays.measure_gradient(ours, gradient, axis, alike)
    for field in fields(LayerHealth):
        got, expected = getattr(ours, field.name), getattr(theirs, field.name)
        if isinstance(expected, float):
            near = pytest.approx(expected, rel=2e-5, abs=1e-6 * theirs.rms, nan_ok=True)
            assert got == near, field.name
        else:
            assert got == expected, field.name
    if name == "twins":
        assert ours.twins == 0.3
    if not np.iscomplexobj(array):
        got, expected = arrays.ranges(array, axis), layers.ranges(torch.from_numpy(array), axis)
        np.testing.assert_array_equal(got.low, expected.low)
        np.testing.assert_array_equal(got.high, expected.high)
        np.testing.assert_array_equal(got.some, expected.some)


@pytest.mark.parametrize("shape", [(64, 64), (100, 300), (300, 40)])
def test_effective_rank(shape):
    values = DRAW.standard_normal(shape).astype(np.float32)
    squares = np.linalg.svd(values, compute_uv=False) ** 2
    rank, full = array_weights.effective_rank(values, fans.linear(shape))
    assert rank == pytest.approx(squares.sum() ** 2 / (squares**2).sum(), rel=0.15)
    assert full == pytest.approx(shape[0] * shape[1] / sum(shape))
    one = np.outer(values[:, 0], values[0])
    assert array_weights.effective_rank(one, fans.linear(shape))[0] == pytest.approx(1, rel=0.5)
    zero = array_weights.effective_rank(np.zeros(shape, np.float32), fans.linear(shape))
    assert math.isnan(zero[0])


@pytest.mark.parametrize("layout", [fans.linear((12, 20)), fans.linear((12, 20), transposed=True)])
def test_units_that_are_the_same(layout):
    values = DRAW.standard_normal((12, 20)).astype(np.float32)
    gradient = DRAW.standard_normal((12, 20)).astype(np.float32)
    values[6:] = values[:6]
    values[:, 15:] = values[:, 5:10]
    gradient[7] = gradient[1]
    gradient[:, 16] = gradient[:, 6] * np.float32(1 + 1e-6)
    ours, theirs = values, torch.from_numpy(values)
    twins = units.share_of_twins(theirs, layout)
    assert array_weights.share_of_twins(ours, layout) == twins > 0
    expected = units.agreeing(theirs, torch.from_numpy(gradient), layout)
    assert array_weights.agreeing(ours, gradient, layout) == expected > 0
    assert not array_weights.all_identical(ours, layout)
    assert array_weights.all_identical(np.full((12, 20), 0.3, np.float32), layout)
    short = torch.finfo(torch.bfloat16)
    assert array_weights._digits(torch.zeros(1, dtype=torch.float16).numpy()) == 11
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert 2.0 ** (1 - array_weights._digits(np.zeros(1, ml_dtypes.bfloat16))) == short.eps


@pytest.mark.parametrize("size", [1, 500, 40000])
def test_histograms(size):
    values = DRAW.standard_normal(size)
    got = array_weights.histogram(values)
    expected = weights.histogram(torch.from_numpy(values))
    assert (got.low, got.high) == (expected.low, expected.high)
    assert np.abs(np.subtract(got.counts, expected.counts)).sum() <= 2  # on the edge of two bins
    assert array_weights.histogram(np.array([1.0, np.inf])) is None


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_first_steps(optimizer):
    parameters = {n: DRAW.standard_normal((5, 4)).astype(np.float32) for n in "ab"}
    slopes = {n: DRAW.standard_normal((5, 4)).astype(np.float32) for n in "ab"}
    slopes["a"][0, 0] = 1e-9  # no more than rounding
    theirs = {n: torch.nn.Parameter(torch.from_numpy(v.copy())) for n, v in parameters.items()}
    _step(theirs, {n: torch.from_numpy(g) for n, g in slopes.items()}, optimizer)
    for name, step in array_weights.step_of(slopes, parameters, optimizer).items():
        expected = theirs[name].detach().numpy()
        np.testing.assert_allclose(parameters[name] - step, expected, rtol=1e-6, atol=1e-7)


def test_copies_are_equal_and_random():
    drawn = DRAW.standard_normal((30, 30)).astype(np.float32)
    held = {"a": drawn, "b": drawn.copy(), "c": drawn + 1, "d": drawn.astype(np.float64)}
    held |= {"e": np.eye(30, dtype=np.float32), "f": np.eye(30, dtype=np.float32)}
    assert array_weights.equal_groups(held, [*held]) == [["a", "b"]]
