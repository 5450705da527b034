"""JAX's x64 mode changes no number, and adds those of float64."""

import subprocess
import sys

import pytest

from compiled import environment

pytest.importorskip("jax")

WIDE = """
import sys
import jax, jax.numpy as jnp, numpy as np
import isoinit
from isoinit.initializers.scale import fans
from isoinit.jax.rehearsal import exact_on
from isoinit.jax.streams import in_graph, normal

assert not {"torch", "numba", "flax"} & set(sys.modules)

assert jnp.zeros(1).dtype == "float64"
assert exact_on(jax.devices()[0], "float64")
for dtype in ("float32", "float64"):
    for start in (0, np.int64(3), jnp.int64(3)):
        found = normal("w", (1000, 9), dtype, mean=0.1, std=0.3, start=(start, 0), sizes=(500, 9))
        first = int(start)
        expected = np.empty((500, 9), dtype)
        part = slice(first, first + 500)
        isoinit.fill_slice(expected, isoinit.Normal(0.1, 0.3), "w", (1000, 9), (part,))
        assert found.dtype == dtype and np.asarray(found).tobytes() == expected.tobytes()
expected = np.empty(1000)
isoinit.fill_slice(expected, isoinit.Normal(std=1e-300), "w", (1000,), ())
assert np.asarray(normal("w", (1000,), "float64", std=1e-300)).tobytes() == expected.tobytes()
initializer, layout = isoinit.TruncatedNormal(0.1, 1e-9, -5.0, 5.0), fans.vector((1000,))
isoinit.fill_slice(expected, initializer, "w", (1000,), (), 2)
found = in_graph(initializer, layout, "w", 2, "float64")()
assert np.asarray(found).tobytes() == expected.tobytes()
assert "torch" not in sys.modules
print("done")
"""


def test_in_a_process_of_its_own():
    done = subprocess.run(
        [sys.executable, "-c", WIDE],
        env=environment(quickly=False, JAX_ENABLE_X64="1"),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "done\n", done.stderr[-2000:]
