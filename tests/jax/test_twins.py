"""The plan of a JAX model is the plan of its torch twin."""

from importlib.util import find_spec

import pytest

pytest.importorskip("jax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)
if find_spec("isoinit.jax") is None:
    pytest.skip("isoinit.jax is not there", allow_module_level=True)

from jax_twins import TWINS  # noqa: E402
from jax_twins.__main__ import line  # noqa: E402
from jax_twins.differences import differences  # noqa: E402


@pytest.mark.parametrize("name", TWINS)
def test_same_plan(name):
    rows = differences(TWINS[name])
    assert not rows, "\n".join(map(line, rows))
