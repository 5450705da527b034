"""Mirrored weights: the structure, the isometry that they are for, and what they refuse."""

import math

import numpy as np
import pytest

from isoinit._drawing.streams import Stream
from isoinit.errors import ArgumentError
from isoinit.initializers import LooksLinear
from isoinit.initializers.scale import fans

STREAM = Stream(0, "w")


def drawn(mirror, layout, gain=1.0):
    return LooksLinear(gain, mirror).draw(STREAM, layout)


def test_units_and_inputs_come_in_opposite_pairs():
    both = drawn("both", fans.linear((8, 6)))
    assert np.array_equal(both[:4], -both[4:])
    assert np.array_equal(both[:, :3], -both[:, 3:])
    out = drawn("out", fans.linear((8, 5)))
    assert np.array_equal(out[:4], -out[4:])
    last = drawn("in", fans.linear((3, 6)))
    assert np.array_equal(last[:, :3], -last[:, 3:])


@pytest.mark.parametrize(
    "function",
    [
        lambda z: np.maximum(z, 0),
        lambda z: z / (1 + np.exp(-z)),
        lambda z: np.logaddexp(0, z),
        lambda z: np.where(z > 0, z, 0.0),
    ],
)
def test_a_deep_network_starts_as_an_isometry(function):
    x = np.random.default_rng(1).standard_normal((7, 16))
    h = x @ LooksLinear(mirror="out").draw(Stream(0, "first"), fans.linear((64, 16))).T
    for layer in range(60):
        weight = LooksLinear().draw(Stream(0, f"{layer}"), fans.linear((64, 64)))
        h = function(h) @ weight.T
    # Sixteen inputs became two times thirty-two units of the same variance: four times the length.
    np.testing.assert_allclose(np.sum(h**2, 1), 4 * np.sum(x**2, 1), rtol=1e-4)


def test_a_convolution_mirrors_channels_at_the_centre_tap():
    kernel = drawn("both", fans.conv((8, 8, 3, 3)))
    assert np.count_nonzero(kernel.sum((0, 1))) == 1
    centre = kernel[:, :, 1, 1]
    assert np.array_equal(centre[:4], -centre[4:])
    np.testing.assert_allclose(centre[:4, :4] @ centre[:4, :4].T, np.eye(4), atol=1e-6)


@pytest.mark.parametrize(("shape", "mirror"), [((8, 6), "both"), ((16, 4), "out"), ((2, 8), "in")])
def test_the_standard_deviation_is_the_root_mean_square(shape, mirror):
    initializer, layout = LooksLinear(1.3, mirror), fans.linear(shape)
    rms = math.sqrt(np.square(initializer.draw(STREAM, layout)).mean())
    assert rms == pytest.approx(initializer.std_for(layout), rel=1e-5)


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ArgumentError, match=r"even number.*7 outputs.*Orthogonal"):
        LooksLinear().std_for(fans.linear((7, 6)))
    with pytest.raises(ArgumentError, match="expected one of both, out, in"):
        LooksLinear(mirror="left")
    with pytest.raises(ArgumentError, match="vector"):
        LooksLinear().std_for(fans.vector((4,)))
