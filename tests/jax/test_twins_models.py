"""Both twins are the same function, of the same parameters."""

import numpy as np
import pytest
import torch

jax = pytest.importorskip("jax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)

from jax_twins import TWINS  # noqa: E402
from jax_twins.values import parameters, run  # noqa: E402


def drawn(model):
    """Random values for each of a torch model's parameters, by name."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        values = torch.empty(parameter.shape).normal_(0, 0.3, generator=generator)
        parameter.data.copy_(values)
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", TWINS)
def test_same_function(name):
    twin = TWINS[name]
    model, batch = twin.build_torch()
    values = drawn(model)
    arguments, sources = twin.build_jax(), twin.names()
    shapes = {name: leaf.shape for name, leaf in parameters(arguments).items()}
    assert shapes.keys() == sources.keys()
    assert {name for source in sources.values() for name in source.names} == values.keys()
    copied = {
        name: source.make(*(values[part] for part in source.names))
        for name, source in sources.items()
    }
    assert {name: array.shape for name, array in copied.items()} == shapes
    with torch.no_grad():
        expected = model(*batch).numpy()
    found = twin.output(run(arguments, copied))
    assert found.shape == expected.shape
    assert np.ptp(expected, axis=0).max() > 1e-3  # it depends on the input
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
