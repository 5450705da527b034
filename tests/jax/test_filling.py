"""A plan fills trees of JAX arrays: any sharding and any number of processes give the same bits."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402
from jax.sharding import (  # noqa: E402
    Mesh,
    NamedSharding,
    PartitionSpec,
    SingleDeviceSharding,
)

import isoinit  # noqa: E402
from compiled import environment  # noqa: E402
from isoinit._writing.entry import Entry  # noqa: E402
from isoinit.errors import ArgumentError, PlanError  # noqa: E402
from isoinit.initializers.scale import fans  # noqa: E402
from jax_older import enable_x64  # noqa: E402

HERE = Path(__file__).parent
LAYOUT = fans.linear((6, 4))
ONE = NamedSharding(Mesh(np.array(jax.devices()[:1]), ("x",)), PartitionSpec("x"))


def entry(name, initializer, layout=LAYOUT, dtype="float32", **given):
    return Entry(name, "weight", initializer, layout, dtype, "a reason", "", False, **given)


def planned(*entries):
    return isoinit.Plan({each.name: each for each in entries})


def struct(shape=(6, 4), dtype="float32", sharding=None):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def whole(one, seed):
    out = np.empty(one.shape, jnp.dtype(one.dtype))
    return isoinit.fill_slice(out, one.initializer, one.key, one.shape, (), seed, layout=one.layout)


def started(script, *arguments, devices):
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env=environment(devices, quickly=True),
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.split()


class TestOnSeveralDevices:
    def test_every_initializer_under_every_sharding_is_the_whole_and_torchs(self):
        """See the program: 39 cases, 2 types, 7 to 10 shardings."""
        devices, arrays, *different = said(started("eight_devices.py", devices=8))
        assert (devices, different) == ("8", ["[]"])
        assert int(arrays) > 700

    def test_two_processes_without_torch_fill_one_tree_and_hold_their_shards_alone(self):
        with socket.socket() as found:
            found.bind(("localhost", 0))
            port = found.getsockname()[1]
        both = [started("two_processes.py", port, index, devices=2) for index in range(2)]
        for process in both:
            processes, devices, compared, size, grown, loaded = said(process)
            assert (processes, devices) == ("2", "4")
            assert int(compared) == 4 * 2 * 6 * 2
            assert float(grown) < 1.1 * float(size) / 2
            assert loaded == "[]"


class TestValues:
    def test_those_of_every_type(self):
        """Without x64: float64 and complex128 are refused; the others are filled."""
        types = ["float32", "bfloat16", "float16", "complex64"]
        plan = planned(*(entry(dtype, isoinit.HeNormal(), dtype=dtype) for dtype in types))
        filled = plan.fill({dtype: struct(dtype=dtype) for dtype in types}, seed=7)
        for dtype in types:
            assert filled[dtype].dtype.name == dtype
            assert np.asarray(filled[dtype]).tobytes() == whole(plan[dtype], 7).tobytes()
        assert plan.seed == 7

    def test_doubles_under_x64(self):
        plan = planned(*(entry(d, isoinit.HeNormal(), dtype=d) for d in ("float64", "complex128")))
        params = {name: np.zeros((6, 4), name) for name in plan.entries}
        with pytest.raises(PlanError, match=r"'complex128' is .*jax_enable_x64.*; 'float64'"):
            plan.fill(params)
        with enable_x64(True):
            filled = plan.fill(params, seed=2)
        for name in plan.entries:
            assert np.asarray(filled[name]).tobytes() == whole(plan[name], 2).tobytes()

    def test_a_scalar_and_an_empty_array(self):
        plan = planned(
            entry("scale", isoinit.Constant(2.0), fans.vector(())),
            entry("none", isoinit.Zeros(), fans.vector((0,))),
        )
        filled = plan.fill({"scale": struct(()), "none": struct((0,))})
        assert filled["scale"] == 2
        assert filled["none"].shape == (0,)

    def test_a_copy_and_a_tied_name_get_the_values_of_the_other(self):
        plan = planned(
            entry("w", isoinit.HeNormal()),
            entry("target", isoinit.HeNormal(), kept="copy", copies="w"),
        )
        plan.aliases["tied"] = "w"
        filled = plan.fill({name: struct() for name in ("w", "target", "tied")}, seed=1)
        assert (filled["w"] == filled["target"]).all()
        assert (filled["w"] == filled["tied"]).all()

    def test_what_is_no_planned_array_is_kept(self):
        held, counts = jnp.arange(4.0), np.arange(256, dtype="i4")
        params = {
            "w": struct(),
            "kept": held,
            "mask": counts,
            "key": jax.random.key(0),
            "act": jnp.tanh,
            "eps": 1e-5,
            "none": None,
        }
        plan = planned(entry("w", isoinit.HeNormal()), entry("kept", None, fans.vector((4,))))
        filled = plan.fill(params)
        assert {n: filled[n] is params[n] for n in params if n != "w"} == dict.fromkeys(
            ["kept", "mask", "key", "act", "eps", "none"], True
        )
        moved = plan.fill(params, sharding=lambda name, leaf: ONE if leaf.shape else None)
        assert [moved[name].sharding for name in ("w", "kept", "mask")] == [ONE] * 3
        np.testing.assert_array_equal(moved["kept"], held)
        counts += 1
        np.testing.assert_array_equal(moved["mask"], np.arange(256))

    def test_an_equinox_module_is_filled_as_it_is(self):
        eqx = pytest.importorskip("equinox")
        model = eqx.nn.MLP(4, 3, 5, depth=1, key=jax.random.key(0))
        shapes = {
            f"layers.{n}.{what}": getattr(model.layers[n], what).shape
            for n in (0, 1)
            for what in ("weight", "bias")
        }
        plan = planned(
            *(
                entry(name, isoinit.Normal(), fans.of_tensor(shape))
                for name, shape in shapes.items()
            )
        )
        filled = plan.fill(model, seed=1)
        assert filled.activation is model.activation
        assert filled(jnp.ones(4)).shape == (3,)
        expected = whole(plan["layers.1.weight"], 1)
        np.testing.assert_array_equal(filled.layers[1].weight, expected)
        spread = jax.tree.map(lambda leaf: ONE if eqx.is_array(leaf) else None, model)
        placed = plan.fill(model, sharding=spread)  # a tree that may be called, and is no function
        assert placed.layers[0].bias.sharding == ONE

    def test_none_draws_a_seed_and_tells_it(self):
        plan = planned(entry("w", isoinit.HeNormal()))
        first = plan.fill({"w": struct()}, None)["w"]
        seed = plan.seed
        second = plan.fill({"w": struct()}, None)["w"]
        assert seed != plan.seed
        assert not (first == second).all()
        assert (plan.fill({"w": struct()}, seed)["w"] == first).all()

    def test_donating_a_filled_tree_changes_no_other(self):
        """The memory of a shard is NumPy's at first: it must not be written in place."""
        plan = planned(entry("w", isoinit.HeNormal()))
        first, second = (plan.fill({"w": struct()}, sharding=ONE)["w"] for _ in range(2))
        step = jax.jit(lambda w: w + 1, donate_argnums=0)
        np.testing.assert_array_equal(step(step(first)), whole(plan["w"], 0) + 1 + 1)
        np.testing.assert_array_equal(second, whole(plan["w"], 0))


class TestShardings:
    plan = planned(entry("a.w", isoinit.HeNormal()), entry("b", isoinit.Zeros(), fans.vector((4,))))
    params = {"a": {"w": struct()}, "b": struct((4,))}  # noqa: RUF012
    device = SingleDeviceSharding(jax.devices()[0])

    def of(self, sharding, params=None):
        filled = self.plan.fill(params or self.params, sharding=sharding)
        return filled["a"]["w"].sharding, filled["b"].sharding

    def test_one_for_all_a_tree_a_prefix_and_a_function(self):
        other = self.device
        assert self.of(ONE) == (ONE, ONE)
        assert self.of({"a": {"w": ONE}, "b": other}) == (ONE, other)
        assert self.of({"a": ONE, "b": other}) == (ONE, other)
        assert self.of(lambda name, leaf: ONE if name == "a.w" else other) == (ONE, other)

    def test_without_one_it_is_the_leafs(self):
        params = {"a": {"w": struct(sharding=ONE)}, "b": jax.device_put(jnp.ones(4), ONE)}
        assert self.of(None, params) == (ONE, ONE)
        assert self.of({"a": None, "b": self.device}, params) == (ONE, self.device)

    def test_without_any_it_is_jaxs_default_and_moves_as_what_jax_places(self):
        params = {"a": {"w": jnp.ones((6, 4))}, "b": np.ones(4, "f4")}
        for given in (params, self.params):
            filled = self.plan.fill(given)
            leaves = jax.tree_util.tree_leaves(filled)
            assert [leaf.committed for leaf in leaves] == [False, False]

    @pytest.mark.parametrize(
        ("sharding", "error", "match"),
        [
            (PartitionSpec("x"), ArgumentError, r"for 'a\.w' is P.*expected a jax\.sharding"),
            (lambda name, leaf: "x", ArgumentError, r"for 'a\.w' is 'x'"),
            ({"a": ONE}, ArgumentError, r"tree of shardings .* JAX says: "),
            (
                NamedSharding(ONE.mesh, PartitionSpec(None, "x")),
                PlanError,
                r"does not fit 'b' of shape \(4,\) \(.*needs a rank of 2",
            ),
        ],
        ids=["spec", "function", "tree", "axes"],
    )
    def test_what_does_not_fit_is_refused(self, sharding, error, match):
        with pytest.raises(error, match=match):
            self.plan.fill(self.params, sharding=sharding)


GONE = jnp.ones((6, 4))
GONE.delete()


class TestBadInput:
    @pytest.mark.parametrize(
        ("entries", "params", "match"),
        [
            (
                [
                    entry("w", isoinit.Ones()),
                    entry("gone", isoinit.Ones()),
                    entry("v", isoinit.Ones()),
                ],
                {"w": struct((4, 6)), "new": struct(), "v": struct(dtype="bfloat16")},
                r"no array called 'gone'; the plan has no entry for 'new'; 'v' is bfloat16, but the "
                r"plan expects float32; 'w' has shape \(4, 6\), but the plan expects \(6, 4\)\. Make",
            ),
            ([entry("w", isoinit.Ones())], {"w": [[1.0]]}, "no array called 'w'"),
            ([entry("w", isoinit.Ones())], {"w": 1.0}, "'w' is a float, not an array of JAX"),
            (
                [entry("w", isoinit.Ones(), dtype="int32")],
                {"w": struct(dtype="int32")},
                "'w' is int32; expected float32",
            ),
            (
                [entry("w", None, dtype="int32", kept="type"), entry("v", None)],
                {"w": struct(dtype="int32"), "v": struct()},
                r"'v' is kept unchanged \(a reason\), but is a ShapeDtypeStruct .*; 'w' is kept",
            ),
            ([entry("w", None)], {"w": GONE}, "'w' is kept .* deleted, or donated"),
            ([entry("w", isoinit.Dirac())], {"w": struct()}, "'w' cannot be filled: .*kernel"),
            (
                [entry("w", isoinit.initializers.Assigned(isoinit.HeNormal(), "w", LAYOUT))],
                {"w": struct()},
                "'w' cannot be filled: .*right_inverse",
            ),
        ],
        ids=["changed", "lists", "number", "integer", "abstract", "deleted", "misfit", "assigned"],
    )
    def test_it_is_named_before_anything_is_drawn(self, entries, params, match):
        plan = planned(*entries)
        with pytest.raises(PlanError, match=f"^nothing was drawn: .*{match}"):
            plan.fill(params)
        assert plan.seed is None

    def test_names_that_meet(self):
        params = {"a.b": struct(), "a": {"b": struct()}}
        message = re.escape("both named 'a.b': ['a']['b'] and ['a.b']")
        with pytest.raises(ArgumentError, match=message):
            planned(entry("a.b", isoinit.Ones())).fill(params)

    def test_seeds(self):
        plan = planned(entry("w", isoinit.Ones()))
        for seed in (1.5, "one", jax.random.key(0)):
            with pytest.raises(ArgumentError, match=r"(?s)seed=.* expected an integer"):
                plan.fill({"w": struct()}, seed)

    def test_a_traced_tree(self):
        plan = planned(entry("w", isoinit.Ones()))
        with pytest.raises(ArgumentError, match=r"'w' is traced. Fill outside jit"):
            jax.jit(plan.fill)({"w": jnp.ones((6, 4))})

    def test_a_torch_model(self):
        torch = pytest.importorskip("torch")
        layer = torch.nn.Linear(4, 6)
        plan = isoinit.plan(layer)
        with pytest.raises(PlanError, match=r"'weight' is a Parameter, .* plan\.apply"):
            plan.fill(dict(layer.named_parameters()))
        with pytest.raises(PlanError, match=r"no array called 'weight'.*no entry for 'Dense_0'"):
            plan.fill({"Dense_0": struct()})
