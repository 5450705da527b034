"""Both twins are the same function, of the same parameters."""

from dataclasses import replace

import numpy as np
import pytest
import torch

jax = pytest.importorskip("jax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)

from jax_twins import TWINS  # noqa: E402
from jax_twins.twin import together  # noqa: E402
from jax_twins.values import parameters, run  # noqa: E402


def drawn(model):
    """Random values for each of a torch model's parameters, by name."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        values = torch.empty(parameter.shape).normal_(0, 0.3, generator=generator)
        parameter.data.copy_(values)
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def outputs(twin):
    """What both twins give for one batch, with the same values as parameters."""
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
    return expected, twin.output(run(arguments, copied))


def apart(expected, found):
    """The largest difference, relative to the largest output."""
    return np.abs(found - expected).max() / np.abs(expected).max()


# One of each library here; the others with the slow tests, since only a change of a twin can break it.
QUICK = ("mlp gelu deep", "gpt tied", "stack equinox", "lstm haiku", "gpt scanned")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TWINS]


@pytest.mark.parametrize("name", NAMES)
def test_same_function(name):
    expected, found = outputs(TWINS[name])
    assert found.shape == expected.shape
    assert np.ptp(expected, axis=0).max() > 1e-3  # it depends on the input
    assert apart(expected, found) < 1e-4


def test_another_function_is_noticed():
    other = replace(TWINS["mlp relu"], build_torch=TWINS["mlp tanh"].build_torch)
    assert apart(*outputs(other)) > 0.1


def test_a_parameter_has_one_source():
    names = TWINS["mlp relu"].names()
    with pytest.raises(ValueError, match=r"two sources: \['head.bias', "):
        together(names, names)
