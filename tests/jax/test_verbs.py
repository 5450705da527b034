"""Plans of JAX models, as a user makes them."""

import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")

import jax.numpy as jnp  # noqa: E402

import isoinit  # noqa: E402
import isoinit.jax as ij  # noqa: E402
from isoinit.errors import TraceError  # noqa: E402
from jax_older import shard_map  # noqa: E402

X = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)


def shapes(**sizes):
    return {name: jax.ShapeDtypeStruct(size, jnp.float32) for name, size in sizes.items()}


def residual(depth, width):
    """Residual blocks, unrolled or scanned over stacked weights."""

    def block(x, up, down):
        return x + jax.nn.relu(x @ up) @ down

    def unrolled(params, x):
        for i in range(depth):
            x = block(x, params[f"up{i}"], params[f"down{i}"])
        return x

    def scanned(params, x):
        def step(x, layer):
            return block(x, layer["up"], layer["down"]), None

        return jax.lax.scan(jax.checkpoint(step), x, params)[0]

    apart = {f"up{i}": (width, 2 * width) for i in range(depth)}
    apart |= {f"down{i}": (2 * width, width) for i in range(depth)}
    stacked = {"up": (depth, width, 2 * width), "down": (depth, 2 * width, width)}
    return (unrolled, shapes(**apart)), (scanned, shapes(**stacked))


def test_a_scan_over_layers_is_planned_as_the_loop_that_it_stands_for():
    one, other = residual(5, 16)
    apart, stacked = ij.plan(*one, X), ij.plan(*other, X)
    for name in ("up", "down"):
        entry = stacked[name]
        alone = [apart[f"{name}{i}"] for i in range(5)]
        drawn = stacked.fill(other[1], seed=0)[name]
        for i, layer in enumerate(alone):
            assert np.std(drawn[i]) == pytest.approx(layer.std, rel=0.1)
            assert layer.role in entry.role


def test_layers_of_several_sizes_get_a_block_each_and_survive_json():
    _, other = residual(5, 16)
    plan = ij.plan(*other, X)
    again = isoinit.Plan.from_json(plan.to_json())
    assert again.digest == plan.digest
    first, second = (p.fill(other[1], seed=3) for p in (plan, again))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_blocks_of_several_initializers_survive_json():
    def apply(params, x):
        def step(h, x):
            return jnp.tanh(jnp.concatenate([x, h], -1) @ params["w"]), None

        return jax.lax.scan(step, jnp.zeros((8, 12)), x)[0]

    tree = shapes(w=(28, 12))
    plan = ij.plan(apply, tree, X.reshape(8, 8, 16))
    assert isinstance(plan["w"].initializer, isoinit.Blocks)
    again = isoinit.Plan.from_json(plan.to_json())
    first, second = plan.fill(tree, seed=1)["w"], again.fill(tree, seed=1)["w"]
    assert np.array_equal(first, second)
    assert np.allclose(first[16:].T @ first[16:], np.eye(12), atol=1e-5)


def test_what_is_not_understood_is_named_with_its_parameter():
    def apply(params, x):
        q, _ = jnp.linalg.qr(params["odd"] + 0 * x[:8, :8])
        return jnp.tanh(x[:, :8] @ params["w"]) @ q

    plan = ij.plan(apply, shapes(odd=(8, 8), w=(8, 8)), X)
    assert any("'qr'" in note for note in plan.notes)


def test_a_parameter_that_nothing_uses_is_named():
    plan = ij.plan(lambda p, x: x @ p["w"], shapes(w=(16, 4), idle=(3,)), X)
    assert any("'idle'" in note for note in plan.notes)
    assert plan["idle"].initializer is None


def test_weight_normalization_and_adapters_are_told_by_what_is_made_of_them():
    def apply(params, x):
        w = params["v"] / jnp.linalg.norm(params["v"], axis=0) * params["g"]
        return jax.nn.relu(x @ w) @ (params["base"] + params["down"] @ params["up"])

    sizes = {"v": (16, 32), "g": (32,), "base": (32, 32), "down": (32, 2), "up": (2, 32)}
    plan = ij.plan(apply, shapes(**sizes), X)
    assert str(plan["g"].initializer) == "Ones()"
    assert str(plan["up"].initializer) == "Zeros()"
    assert plan["down"].std > 0


def test_dropout_is_seen_as_such():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.up = nnx.Linear(64, 128, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.out = nnx.Linear(128, 4, rngs=rngs)

        def __call__(self, x):
            return self.out(self.drop(jax.nn.relu(self.up(x))))

    model = Net(nnx.Rngs(0))
    plan = ij.plan(model, np.repeat(X, 4, axis=1))
    assert plan["up.kernel"].role == "weight before relu"
    filled = ij.init(model, np.repeat(X, 4, axis=1), seed=0)
    assert filled is model
    whole = np.empty((64, 128), np.float32)
    entry = plan["up.kernel"]
    isoinit.fill_slice(whole, entry.initializer, "up.kernel", (64, 128), (), 0, layout=entry.layout)
    assert np.array_equal(np.asarray(model.up.kernel[...]), whole)


def test_the_signal_that_is_expected_is_the_signal_that_is_measured():
    one, _ = residual(4, 256)
    x = np.random.default_rng(1).standard_normal((256, 256)).astype(np.float32)
    plan = ij.plan(*one, x)
    params = plan.fill(one[1], seed=0)
    h = x
    for i in range(4):
        up = h @ params[f"up{i}"]
        down = jax.nn.relu(up) @ params[f"down{i}"]
        for name, made in ((f"up{i}", up), (f"down{i}", down)):
            assert float(jnp.sqrt(jnp.mean(made**2))) == pytest.approx(plan[name].expected, rel=0.2)
        h = h + down


def test_a_signal_that_cannot_be_worked_out_is_measured():
    def apply(params, x):
        x = x @ params["w"]
        return jnp.sort(x, axis=-1)[:, :8] @ params["out"]

    plan = ij.plan(apply, shapes(w=(16, 16), out=(8, 2)), X)
    assert "in a run on the example" in plan["out"].reason


def test_an_apply_that_does_not_trace_is_quoted():
    def apply(params, x):
        return x @ params["w"] if x.sum() > 0 else x

    with pytest.raises(TraceError, match=r"TracerBoolConversionError.*jax.lax.cond"):
        ij.plan(apply, shapes(w=(16, 16)), X)


def test_apply_is_for_torch():
    tree = shapes(w=(16, 4))
    plan = ij.plan(lambda p, x: x @ p["w"], tree, X)
    with pytest.raises(isoinit.errors.ArgumentError, match=r"model is a dict; .* plan\.fill"):
        plan.apply(tree)


def test_it_needs_no_torch_no_library_and_no_memory_for_parameters():
    program = """
import resource, sys
sys.modules["torch"] = None
import jax, jax.numpy as jnp, isoinit.jax as ij
struct = lambda *size: jax.ShapeDtypeStruct(size, jnp.bfloat16)
params = [{"up": struct(8192, 32768), "down": struct(32768, 8192)} for _ in range(12)]
def apply(params, x):
    for layer in params:
        x = x + jax.nn.gelu(x @ layer["up"]) @ layer["down"]
    return x
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
plan = ij.plan(apply, params, struct(4, 8192))
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
assert len(plan.entries) == 24 and not plan.notes, plan.notes
assert grown < 500, grown
libraries = {"flax", "equinox", "haiku", "optax", "keras", "numba"}
assert not libraries & set(sys.modules), libraries & set(sys.modules)
small = ij.plan(lambda p, x: x @ p["w"], {"w": jnp.zeros((8, 4))}, jnp.ones((2, 8)))
assert small.fill({"w": jnp.zeros((8, 4))})["w"].std() > 0
t = ij.transfer(lambda p, x: x @ p["w"], {"w": struct(8, 4)}, struct(2, 8), unit=4)
assert not libraries - {"numba"} & set(sys.modules)  # numbers are drawn with Numba
t.optimizer(0.1), t.clip_by_global_norm(1.0)
same = {"w": jnp.ones((8, 4)), "v": jnp.ones((4, 4))}
assert not ij.check(lambda p, x: x @ p["w"] @ p["v"], same, jnp.eye(8), loss=jnp.sum).ok
assert not any(name.split(".")[0] == "torch" and module for name, module in sys.modules.items())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["jit", "custom_vjp", "cond", "vmap", "while"])
def test_calls_and_branches_are_read_through(name):
    @jax.custom_vjp
    def act(x):
        return jnp.maximum(x, 0.0)

    act.defvjp(lambda x: (act(x), x), lambda x, g: (g * (x > 0),))

    def apply(params, x):
        if name == "jit":
            return jax.jit(lambda x: jax.nn.relu(x @ params["w"]))(x) @ params["out"]
        if name == "custom_vjp":
            return act(x @ params["w"]) @ params["out"]
        if name == "cond":
            h = jax.lax.cond(True, lambda x: jax.nn.relu(x @ params["w"]), lambda x: x[:, :8], x)
            return h @ params["out"]
        if name == "vmap":
            return jax.vmap(lambda row: jax.nn.relu(params["w"].T @ row) @ params["out"])(x)
        body = lambda c: (c[0] + 1, jax.nn.relu(x @ params["w"]))  # noqa: E731
        h = jax.lax.while_loop(lambda c: c[0] < 3, body, (0, jnp.zeros((64, 8))))[1]
        return h @ params["out"]

    plan = ij.plan(apply, shapes(w=(16, 8), out=(8, 2)), X)
    assert plan["w"].role == "weight before relu"
    assert plan["out"].role == "weight of the output"
    assert bool(plan.notes) == (name == "while")


def test_a_weight_that_is_divided_by_its_spectral_norm_is_not_known_and_said_so():
    """What reads constants alone measures the weight; its size has no effect on the signal."""
    u = np.full(64, 1 / 8, np.float32)

    def apply(p, x):
        v = u @ p["w"]
        return jax.nn.relu(x @ (p["w"] / (v @ v / jnp.linalg.norm(v)))) @ p["out"]

    params = {"w": jnp.zeros((64, 32)), "out": jnp.zeros((32, 4))}
    plan = ij.plan(apply, params, jnp.ones((8, 64)))
    assert plan["w"].role == "unknown"
    assert plan["w"].initializer is None
    assert any("'w' keeps its values" in warning for warning in plan.warnings)
    plan["w"] = isoinit.Orthogonal()
    assert plan["w"].std == 1 / 8


def test_what_is_mapped_over_shards_of_the_batch_is_read_as_if_it_were_not():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    whole, rows = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("data")

    def apply(p, x):
        return jax.nn.relu(x @ p["up"]) @ p["out"]

    mapped = shard_map(apply, mesh=mesh, in_specs=(whole, rows), out_specs=rows)
    params = {"up": jnp.zeros((64, 256)), "out": jnp.zeros((256, 8))}
    assert ij.plan(mapped, params, jnp.ones((16, 64))) == ij.plan(apply, params, jnp.ones((16, 64)))


def test_what_leaves_parameters_as_they_are_makes_no_weight_of_them():
    """Where they lie, when they are computed, and a barrier around all of a tree."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))

    def apply(p, x):
        return jax.nn.relu(x @ p["up"]) @ p["out"]

    def guarded(p, x):
        p = jax.lax.with_sharding_constraint(p, sharding)
        return apply(jax.lax.optimization_barrier(p), x)

    params = {"up": jnp.zeros((64, 256)), "out": jnp.zeros((256, 8))}
    assert ij.plan(guarded, params, jnp.ones((16, 64))) == ij.plan(
        apply, params, jnp.ones((16, 64))
    )
