"""SparseOrthogonal: an exact isometry with few weights, on any layout, mirrored or not."""

import numpy as np
import pytest
import torch

from isoinit.errors import ArgumentError
from isoinit.initializers import SparseOrthogonal
from isoinit.initializers.scale import fans


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(200, 200), (100, 200), (200, 100)])
def test_the_shorter_side_is_orthonormal(shape, density, draw):
    weight = draw(SparseOrthogonal(density, gain=2.0), fans.linear(shape)).astype(np.float64)
    gram = weight @ weight.T if shape[0] <= shape[1] else weight.T @ weight
    assert np.abs(gram - 4 * np.eye(len(gram))).max() < 1e-6
    assert np.count_nonzero(weight) / weight.size == pytest.approx(density, rel=0.15)


def test_each_gate_has_a_matrix_of_its_own(draw):
    weight = draw(SparseOrthogonal(0.1), fans.linear((400, 100), 4)).reshape(4, 100, 100)
    for block in weight.astype(np.float64):
        assert np.abs(block @ block.T - np.eye(100)).max() < 1e-6
    assert (weight[0] != weight[1]).any()


@pytest.mark.parametrize(
    ("mirror", "shape"), [("both", (60, 40)), ("out", (60, 40)), ("in", (40, 60))]
)
def test_mirrors(mirror, shape, draw):
    weight = draw(SparseOrthogonal(0.2, mirror=mirror), fans.linear(shape))
    rows, columns = shape
    if mirror in ("both", "out"):
        assert (weight[: rows // 2] == -weight[rows // 2 :]).all()
    if mirror in ("both", "in"):
        assert (weight[:, : columns // 2] == -weight[:, columns // 2 :]).all()


def test_a_mirrored_stack_is_an_isometry_of_a_relu_network(draw):
    """Fifty layers with ten weights a unit keep every length, to rounding."""
    mirrors = ["out", *["both"] * 48, "in"]
    x = torch.randn(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x
    for layer, mirror in enumerate(mirrors):
        sides = (128 if mirror != "in" else 64, 128 if mirror != "out" else 64)
        weight = draw(SparseOrthogonal(0.08, mirror=mirror), fans.linear(sides), seed=layer)
        y = torch.from_numpy(weight).double() @ (torch.relu(y) if layer else y)
    assert torch.allclose(y.norm(dim=0), x.norm(dim=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "layout", "message"),
    [
        ({"density": 0}, None, "density=0"),
        ({"gain": -1}, None, "gain=-1"),
        ({"mirror": "left"}, None, "mirror='left'"),
        ({"mirror": "both"}, fans.linear((5, 4)), "even number"),
        ({}, fans.vector((4,)), "needs a weight with inputs and outputs"),
        ({}, fans.embedding((4, 4)), "Use Sparse"),
    ],
)
def test_bad_input(options, layout, message):
    with pytest.raises(ArgumentError, match=message):
        SparseOrthogonal(**options).std_for(layout)
