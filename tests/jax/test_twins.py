"""The plan of a JAX model is the plan of its torch twin."""

from dataclasses import replace

import pytest

pytest.importorskip("jax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)

from jax_twins import TWINS  # noqa: E402
from jax_twins.__main__ import line  # noqa: E402
from jax_twins.differences import differences  # noqa: E402

# Of a loop over time, what is expected is not compared: torch's own layers are followed gate by gate,
# and where gates stand in one vector of biases, a loop is followed with the mean of them.
LOOPS = {"lstm", "gru", "rnn"}


def counts(name, row):
    return row.what != "expected" or name.split()[0] not in LOOPS


@pytest.mark.parametrize("name", TWINS)
def test_same_plan(name):
    rows = [row for row in differences(TWINS[name]) if counts(name, row)]
    assert not rows, "\n".join(map(line, rows))


def test_another_plan_is_noticed():
    """Before tanh, a weight has another role and gain than before ReLU."""
    other = replace(TWINS["mlp relu"], build_torch=TWINS["mlp tanh"].build_torch)
    found = {(row.name, row.what) for row in differences(other)}
    assert ("layers.1.kernel", "role") in found
    assert ("head.kernel", "gain") in found


def test_other_layers_of_a_stack_are_noticed():
    """The torch twin has other activations than the layers that are stacked in JAX."""
    relu = TWINS["stack nnx"]
    other = replace(relu, names=lambda: exchanged(relu.names()))
    found = {(row.name, row.what) for row in differences(other)}
    assert ("blocks.up.kernel", "role") in found
    assert ("blocks.norm.scale", "values") in found


def exchanged(names):
    """The names of a stack with its `up` taken for its `down`, and its scales for its shifts."""
    pairs = (("blocks.up.kernel", "blocks.down.kernel"), ("blocks.norm.scale", "blocks.norm.bias"))
    changed = dict(names)
    for one, other in pairs:
        changed[one], changed[other] = names[other], names[one]
    return changed
