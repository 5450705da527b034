"""A program of two processes, with two devices each and no torch, that fill one tree together."""

import resource
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import isoinit
from isoinit._writing.entry import Entry
from isoinit.errors import ArgumentError
from isoinit.initializers.scale import fans

SHAPE = (32, 16)
BIG = (2**13, 2**12)  # 128 MiB
CASES = [isoinit.HeNormal(), isoinit.Orthogonal(), isoinit.Sparse(density=0.25), isoinit.Zeros()]
SPECS = [(), ("x",), ("y",), ("x", "y"), (None, ("x", "y")), (("y", "x"),)]


def planned(initializer, shape, dtype):
    entry = Entry("w", "weight", initializer, fans.linear(shape), dtype, "", "", False)
    return isoinit.Plan({"w": entry}), {"w": jax.ShapeDtypeStruct(shape, dtype)}


def mebibytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main(port, index):
    sys.modules["torch"] = None  # as where it is not installed
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=index)
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "y"))  # x: the processes
    compared = 0
    for made in CASES:
        for dtype in ("float32", "bfloat16"):
            plan, params = planned(made, SHAPE, dtype)
            whole = np.empty(SHAPE, params["w"].dtype)
            isoinit.fill_slice(whole, made, "w", SHAPE, (), 5, layout=plan["w"].layout)
            for spec in SPECS:
                asked = NamedSharding(mesh, PartitionSpec(*spec))
                array = plan.fill(params, 5, sharding=asked)["w"]
                assert array.shape == SHAPE
                assert array.sharding == asked
                for shard in array.addressable_shards:
                    assert np.asarray(shard.data).tobytes() == whole[shard.index].tobytes()
                    compared += 1
    plan, params = planned(isoinit.HeNormal(), BIG, "float32")
    before = mebibytes()
    held = plan.fill(params, 5, sharding=NamedSharding(mesh, PartitionSpec("x", "y")))["w"]
    grown = mebibytes() - before
    kept = isoinit.Plan({"w": replace(plan["w"], initializer=None, layout=fans.vector((4,)))})
    moved = kept.fill(
        {"w": np.arange(4, dtype="f4")}, sharding=NamedSharding(mesh, PartitionSpec("x"))
    )
    rows = [shard.data.tolist() for shard in moved["w"].addressable_shards]
    assert rows == [[2 * index, 2 * index + 1]] * 2
    with pytest.raises(ArgumentError, match="seed=None would give each of 2 processes"):
        plan.fill(params, None)
    loaded = [name for name in ("flax", "equinox", "haiku", "optax") if name in sys.modules]
    print(jax.process_count(), len(jax.devices()), compared, held.nbytes / 2**20, grown, loaded)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
