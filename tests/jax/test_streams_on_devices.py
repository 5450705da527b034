"""Eight devices make the same numbers, each its own shard."""

import subprocess
import sys

import pytest

from compiled import environment

pytest.importorskip("jax")

DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P, SingleDeviceSharding
import isoinit
from isoinit.initializers.scale import fans
from isoinit.jax.streams import in_graph, normal

assert len(jax.devices()) == 8
mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
shape = (256, 96)
layout = fans.contraction(shape, in_=[0], out=[1])
cases = [
    (isoinit.HeNormal(), "float32", (P("x", "y"), P(None, "x"))),
    (isoinit.TruncatedNormal(0.1, 0.02), "bfloat16", (P(("x", "y")), P())),
]
for initializer, dtype, specs in cases:
    expected = np.empty(shape, jnp.dtype(dtype))
    isoinit.fill_slice(expected, initializer, "w", shape, (), 1, layout=layout)
    for spec in specs:
        sharding = NamedSharding(mesh, spec)
        make = in_graph(initializer, layout, "w", 1, dtype, sharding=sharding)
        found = make()
        assert found.sharding.is_equivalent_to(sharding, 2), spec
        assert np.asarray(found).tobytes() == expected.tobytes(), spec

# Inside a program of one's own: no device computes more than its shard, nor waits for another.
sharding = NamedSharding(mesh, P("x", "y"))
program = jax.jit(lambda: normal("w", shape, seed=1), out_shardings=sharding).lower().compile()
text = program.as_text()
assert "[64,48]" in text and "[256,96]" not in text
assert not any(word in text for word in ("all-gather", "all-reduce", "all-to-all", "permute"))
expected = np.empty(shape, np.float32)
isoinit.fill_slice(expected, isoinit.Normal(), "w", shape, (), 1)
assert np.asarray(program()).tobytes() == expected.tobytes()

# Under shard_map, a device says itself where its part begins.
def shard():
    start = jax.lax.axis_index("x") * 64, jax.lax.axis_index("y") * 48
    return normal("w", shape, seed=1, start=start, sizes=(64, 48))

mapping = getattr(jax, "shard_map", None)
if mapping is None:  # JAX 0.6
    from jax.experimental.shard_map import shard_map as mapping
mapped = jax.jit(mapping(shard, mesh=mesh, in_specs=(), out_specs=P("x", "y")))
assert np.asarray(mapped()).tobytes() == expected.tobytes()

# An axis that the devices do not divide: JAX pads within the program.
# What comes out is whole: JAX 0.12 cannot hand over an array in uneven parts.
uneven = jax.jit(lambda: jax.lax.with_sharding_constraint(
    normal("w", (250, 7), seed=1), NamedSharding(mesh, P("x", "y"))
), out_shardings=NamedSharding(mesh, P()))
expected = np.empty((250, 7), np.float32)
isoinit.fill_slice(expected, isoinit.Normal(), "w", (250, 7), (), 1)
assert np.asarray(uneven()).tobytes() == expected.tobytes()

# A plan fills as it would on accelerators: what can be drawn there is, the rest is handed over.
from isoinit._writing.entry import Entry
from isoinit.jax import filling

def entry(name, initializer, dtype="float32", layout=layout):
    return Entry(name, "weight", initializer, layout, dtype, "", "", True)

given = [entry("w", isoinit.HeNormal()), entry("half", isoinit.LeCunUniform(), "bfloat16"),
         entry("turned", isoinit.Orthogonal()), entry("wave", isoinit.Normal(), "complex64")]
plan = isoinit.Plan({one.name: one for one in given})
params = {one.name: jax.ShapeDtypeStruct(shape, one.dtype) for one in given}
sharding = NamedSharding(mesh, P("y", "x"))
expected = plan.fill(params, 1, sharding=sharding)
handed = []
draw = filling._Parts.draw
filling._Parts.draw = lambda self, spans: (handed.append(self.entry.name), draw(self, spans))[1]

def filled(like=params, **asked):
    handed.clear()
    found = plan.fill(like, 1, **asked)
    for name, values in expected.items():
        assert np.asarray(found[name]).tobytes() == np.asarray(values).tobytes(), name
    return found, set(handed)

assert filled(sharding=sharding)[1] == {"w", "half", "turned", "wave"}
filling.PROCESSORS = frozenset()
assert filled(sharding=sharding)[1] == {"w", "half", "turned", "wave"}  # they are small
filling.WORTH = 1
filling.exact_on = lambda device, dtype: True  # a rehearsal compiles five programs: see its own tests
found, by_hand = filled(sharding=sharding)
assert by_hand == {"turned", "wave"}
assert found["w"].sharding == sharding
assert filled(found)[0]["w"].sharding == sharding  # each stays where it was
loose, _ = filled({name: np.zeros(shape, one.dtype) for name, one in params.items()})
assert not loose["w"].committed and loose["w"].devices() == {jax.devices()[0]}
there = SingleDeviceSharding(jax.devices()[3], memory_kind="pinned_host")
assert filled(sharding=there)[1] == {"w", "half", "turned", "wave"}
filling.exact_on = lambda device, dtype: False
assert filled(sharding=sharding)[1] == {"w", "half", "turned", "wave"}
print("done")
"""


def test_eight_devices():
    done = subprocess.run(
        [sys.executable, "-c", DEVICES],
        env=environment(8, quickly=False),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "done\n", done.stderr[-2000:]
