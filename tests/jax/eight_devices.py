"""A program on eight devices: all initializers and shardings, beside the whole and torch."""

import jax
import numpy as np
import torch
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from torch import nn

import isoinit
import isoinit.jax
from isoinit import initializers as i
from isoinit._writing.entry import Entry
from isoinit.initializers.scale import fans

LINEAR, VECTOR, CONV = fans.linear((32, 16)), fans.vector((32,)), fans.conv((32, 4, 3, 3))
FEW = fans.linear((32, 4))
TOP, BOTTOM = fans.linear((20, 16)), fans.linear((12, 16))
DENSE = fans.linear((16, 32), transposed=True)  # a Dense kernel of Flax
HEADS = fans.contraction((32, 4, 8), in_=[0], out=[1, 2])  # an attention kernel of Flax
STACK = fans.contraction((8, 16, 32), in_=[1], out=[2], stack=[0])  # a scan over eight layers
KINKS = {"of": "weight", "layout": FEW, "centre": (3.0, -50.0, 1.0, 0.0), "sizes": (0.5, 2.0, 1, 1)}
CASES = [
    (i.Zeros(), LINEAR),
    (i.Ones(), VECTOR),
    (i.Constant(0.5), STACK),
    (i.GateBias(-1.0), VECTOR),
    (i.Identity(), LINEAR),
    (i.Dirac(), CONV),
    (i.Uniform(-0.5, 1.0), LINEAR),
    (i.Normal(0.5, 1.0), LINEAR),
    (i.Normal(0.0, 0.02), VECTOR),
    (i.TruncatedNormal(0.5, 1.0, -1, 7), DENSE),
    (i.XavierNormal(), CONV),
    (i.XavierUniform(), HEADS),
    (i.HeNormal(), STACK),
    (i.HeUniform(), CONV),
    (i.LeCunNormal(), DENSE),
    (i.LeCunUniform(), LINEAR),
    (i.Orthogonal(), LINEAR),
    (i.Orthogonal(), DENSE),
    (i.Orthogonal(), HEADS),
    (i.Orthogonal(), STACK),
    (i.DeltaOrthogonal(), CONV),
    (i.Blocks(0, (i.HeNormal(), i.Orthogonal()), (TOP, BOTTOM)), LINEAR),
    (i.Centred(), LINEAR),
    (i.Centred(taps="centre"), CONV),
    (i.LooksLinear(), DENSE),
    (i.Sparse(connections=3), LINEAR),
    (i.Sparse(density=0.2, pattern="random"), STACK),
    (i.SparseOrthogonal(density=0.3), LINEAR),
    (i.ICNR(4), CONV),
    (i.Variational(), LINEAR),
    (i.Variational(i.Orthogonal()), DENSE),
    (i.Spherical(), FEW),
    (i.Directions(i.HeNormal()), LINEAR),
    (i.Assigned(i.HeNormal(), "weight", LINEAR, direct=True), LINEAR),
    (i.Norms(i.HeNormal(), "weight", LINEAR), VECTOR),
    (i.KinkBias(i.HeNormal(), **KINKS), VECTOR),
    (i.LogFrequencies([1] * 31 + [500]), VECTOR),
    (i.PriorBias(1e-6), VECTOR),
    (i.DecayRates(), LINEAR),
    (i.TimeSteps(1e-3, 0.1), VECTOR),
]
ABSTRACT = {"Initializer", "SparseInitializer", "bare"}
SEED = 3


def shardings(rank):
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
    specs = [(), ("x",), ("y",), (("x", "y"),), (("y", "x"),)]
    specs += [("x", "y"), (None, "x"), (None, "y")] if rank > 1 else []
    several = [NamedSharding(mesh, PartitionSpec(*spec)) for spec in specs]
    return [None, SingleDeviceSharding(jax.devices()[5]), *several]


def bits(array):
    return np.ascontiguousarray(array).view(np.uint8)


def of_torch(plan, entry):
    """The bytes that the plan gives a torch parameter of the same name."""
    module = nn.Module()
    dtype = getattr(torch, entry.dtype)
    module.register_parameter(entry.name, nn.Parameter(torch.empty(entry.shape, dtype=dtype)))
    if isinstance(entry.initializer, i.Assigned):  # which asks the module for its right_inverse
        value = getattr(module, entry.name).data
        part = entry.initializer, entry.name, entry.shape, ()
        isoinit.fill_slice(value, *part, SEED, layout=entry.layout)
    else:
        plan.apply(module, SEED)
    return getattr(module, entry.name).detach().view(torch.uint8).numpy()


def checked():
    """What differs in the check of a model whose weights lie on eight devices, and on one."""
    draw = np.random.default_rng(0)
    x, params = draw.standard_normal((4, 16)), {"a": draw.standard_normal((16, 32))}
    params["b"] = np.zeros((32, 32))  # so that steps are tried
    params, x = ({n: w.astype("f4") for n, w in params.items()}, x.astype("f4"))

    def apply(p, x):
        return jax.nn.relu(x @ p["a"]) @ p["b"]

    expected = isoinit.jax.check(apply, params, x)
    by_type = jax.make_mesh((8,), ("x",))  # of explicit axes, from jax 0.9 on
    different = []
    for mesh in (by_type, Mesh(np.array(jax.devices()), ("x",))):
        sharding = NamedSharding(mesh, PartitionSpec(None, "x"))
        found = isoinit.jax.check(apply, jax.device_put(params, sharding), x)
        for one, other in zip(found.layers, expected.layers, strict=True):
            if not np.allclose([one.rms, one.gradient], [other.rms, other.gradient], rtol=1e-5):
                different.append(f"check {one.name}")
        if found.findings != expected.findings:
            different.append("findings")
    return different


def main():
    assert {type(made).__name__ for made, _ in CASES} == set(i.__all__) - ABSTRACT
    arrays, different = 0, []
    for made, layout in CASES:
        for dtype in ("float32", "bfloat16"):
            entry = Entry("w", "weight", made, layout, dtype, "", "", False)
            plan = isoinit.Plan({"w": entry})
            params = {"w": jax.ShapeDtypeStruct(layout.shape, dtype)}
            whole = np.empty(layout.shape, params["w"].dtype)
            isoinit.fill_slice(whole, made, "w", layout.shape, (), SEED, layout=layout)
            expected = bits(whole)
            if not np.array_equal(expected, of_torch(plan, entry)):
                different.append(f"torch {made} {dtype}")
            for sharding in shardings(len(layout.shape)):
                array = plan.fill(params, SEED, sharding=sharding)["w"]
                arrays += 1
                assert array.dtype == params["w"].dtype
                assert sharding is None or array.sharding == sharding
                shards = all(
                    np.array_equal(bits(shard.data), bits(whole[shard.index]))
                    for shard in array.addressable_shards
                )
                if not (shards and np.array_equal(bits(array), expected)):
                    different.append(f"{made} {dtype} {sharding}")
    different += checked()
    print(len(jax.devices()), arrays, different)


if __name__ == "__main__":
    main()
