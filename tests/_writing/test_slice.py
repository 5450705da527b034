"""Parts of a parameter for engines that keep them in a way of their own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import isoinit
from isoinit.errors import ArgumentError, PlanError

METHODS = [isoinit.HeNormal(), isoinit.Orthogonal(), isoinit.Sparse(density=0.3), isoinit.Zeros()]
SHAPE = (12, 10)
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def whole(initializer, dtype=torch.float32):
    out = torch.empty(SHAPE, dtype=dtype)
    return isoinit.fill_slice(out, initializer, "w", SHAPE, (), seed=4)


@settings(deadline=None)
@given(st.data())
def test_any_slice_is_that_of_the_whole(data):
    initializer = data.draw(st.sampled_from(METHODS))
    dtype = data.draw(st.sampled_from(TYPES))
    here = tuple(
        slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in SHAPE
    )
    expected = whole(initializer, dtype)
    part = torch.empty(expected[here].shape, dtype=dtype)
    assert isoinit.fill_slice(part, initializer, "w", SHAPE, here, 4) is part
    assert torch.equal(part, expected[here])
    flat = slice(*sorted(data.draw(st.tuples(st.integers(0, 120), st.integers(0, 120)))))
    run = torch.empty(flat.stop - flat.start, dtype=dtype)
    isoinit.fill_slice(run, initializer, "w", SHAPE, flat, 4)
    assert torch.equal(run, expected.view(-1)[flat])


def test_the_same_as_a_plan():
    layer = nn.MultiheadAttention(8, 2)
    x = torch.zeros(1, 3, 8)
    plan = isoinit.plan(layer, (x, x, x), method="orthogonal")
    plan.apply(layer, 4)
    entry = plan["in_proj_weight"]
    part = torch.empty(24, 4)
    here = (slice(None), slice(4, 8))
    isoinit.fill_slice(
        part, entry.initializer, entry.name, entry.shape, here, 4, layout=entry.layout
    )
    assert torch.equal(part, layer.in_proj_weight[here])


def test_arrays_and_strides():
    expected = whole(isoinit.HeNormal())
    array = np.empty((5, 12), np.float32).T
    isoinit.fill_slice(array, isoinit.HeNormal(), "w", SHAPE, (slice(None), slice(5, 10)), 4)
    np.testing.assert_array_equal(array, expected[:, 5:])
    bits = np.empty(SHAPE, np.uint16)
    isoinit.fill_slice(bits, isoinit.HeNormal(), "w", SHAPE, (), 4)
    shorter = whole(isoinit.HeNormal(), torch.bfloat16)
    np.testing.assert_array_equal(bits.view(np.int16), shorter.view(torch.int16))


OUT = torch.full(SHAPE, 3.0)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"out": OUT[:3]}, ArgumentError, r"out has shape \(3, 10\), .* have shape \(12, 10\)"),
        ({"out": OUT.long()}, PlanError, "dtype int64"),
        ({"out": OUT.to("meta")}, PlanError, "is on the meta device"),
        ({"out": np.broadcast_to(np.float32(3), SHAPE)}, ArgumentError, "writable NumPy array"),
        ({"initializer": "he"}, ArgumentError, "initializer is a str"),
        ({"slices": (slice(None, None, 2),)}, ArgumentError, "without a step"),
        ({"slices": (slice(None),) * 3}, ArgumentError, "3 for a tensor of shape"),
        ({"seed": 1.5}, ArgumentError, "seed=1.5"),
        (
            {"layout": isoinit.initializers.scale.fans.linear((4, 4))},
            ArgumentError,
            r"layout has shape \(4, 4\)",
        ),
        ({"initializer": isoinit.Dirac()}, ArgumentError, "needs a convolution kernel"),
    ],
    ids=lambda value: None if not isinstance(value, dict) else "-".join(value),
)
def test_bad_input_writes_nothing(change, error, match):
    given = {"out": OUT, "initializer": isoinit.HeNormal(), "name": "w", "global_shape": SHAPE}
    with pytest.raises(error, match=match):
        isoinit.fill_slice(**(given | {"slices": (), "seed": 0} | change))
    assert (OUT == 3).all()
