"""Initial parameters of a tree straight to a file; and what JAX's own checkpoints make of a tree."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from jax import numpy as jnp  # noqa: E402
from safetensors import numpy as safetensors  # noqa: E402

import isoinit  # noqa: E402
from compiled import environment  # noqa: E402
from isoinit._writing.entry import Entry  # noqa: E402
from isoinit.errors import PlanError  # noqa: E402
from isoinit.initializers.scale import fans  # noqa: E402
from isoinit.jax import checkpoints  # noqa: E402

LAYOUT = fans.contraction((40, 24), in_=[0], out=[1])


def entry(name, initializer, layout=LAYOUT, dtype="float32", **given):
    return Entry(name, "weight", initializer, layout, dtype, "a reason", "", False, **given)


def planned(*entries):
    return isoinit.Plan({each.name: each for each in entries})


def struct(shape=(40, 24), dtype="float32"):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_a_file_holds_what_fill_gives(tmp_path, monkeypatch):
    """In pieces, too: of 1000 bytes, which divide no array."""
    monkeypatch.setattr(checkpoints, "PIECE", 1000)
    plan = planned(
        entry("half", isoinit.HeNormal(), dtype="float16"),
        entry("body.normal", isoinit.HeNormal()),
        entry("body.orthogonal", isoinit.Orthogonal()),
        entry("body.scale", isoinit.Ones(), fans.vector((24,))),
        entry("empty", isoinit.Zeros(), fans.vector((0,))),
        entry("kept", None, fans.vector((3,))),
        entry("table", isoinit.Normal(), fans.embedding((40, 24), padding=3)),
    )
    params = {
        "half": struct(dtype="float16"),
        "body": {"normal": struct(), "orthogonal": struct(), "scale": struct((24,))},
        "empty": struct((0,)),
        "kept": jnp.arange(3.0),
        "steps": np.array(7),
        "table": struct(),
        "act": jnp.tanh,
    }
    path = tmp_path / "model.safetensors"
    checkpoints.write_checkpoint(plan, params, path, seed=4)
    assert plan.seed == 4
    filled = plan.fill(params, seed=4)
    loaded = safetensors.load_file(path)
    expected = {**{f"body.{k}": v for k, v in filled["body"].items()}, **filled}
    del expected["body"], expected["act"]
    assert loaded.keys() == expected.keys()
    for name, array in expected.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert loaded[name].tobytes() == np.asarray(array).tobytes()


def test_bfloat16_is_read_by_the_reader_for_jax(tmp_path):
    flax = pytest.importorskip("safetensors.flax")
    plan = planned(entry("w", isoinit.HeNormal(), dtype="bfloat16"))
    params = {"w": struct(dtype="bfloat16")}
    checkpoints.write_checkpoint(plan, params, tmp_path / "w.safetensors")
    loaded = flax.load_file(tmp_path / "w.safetensors")["w"]
    assert loaded.dtype == jnp.bfloat16
    assert np.asarray(loaded).tobytes() == np.asarray(plan.fill(params)["w"]).tobytes()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"key": jax.random.key(0)}, "'key' is key<fry>, a type that safetensors cannot hold"),
        ({"__metadata__": np.arange(3)}, "cannot hold an array called '__metadata__'"),
        ({"steps": struct((), "int32")}, "'steps' is kept unchanged, but is a ShapeDtypeStruct"),
    ],
    ids=["key", "name", "abstract"],
)
def test_what_it_cannot_hold_is_refused_and_nothing_written(tmp_path, params, match):
    plan = planned(entry("w", isoinit.HeNormal()))
    with pytest.raises(PlanError, match=f"nothing was written: .*{match}"):
        checkpoints.write_checkpoint(plan, {"w": struct(), **params}, tmp_path / "new.safetensors")
    assert not list(tmp_path.iterdir())


ORBAX = """
import sys
import jax, numpy as np, orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import isoinit
from isoinit._writing.entry import Entry
from isoinit.initializers.scale import fans

mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
rows, both = NamedSharding(mesh, P("x")), NamedSharding(mesh, P("x", "y"))
entries = [
    Entry("w", "", isoinit.Orthogonal(), fans.linear((32, 16)), "bfloat16", "", "", False),
    Entry("b", "", isoinit.Normal(), fans.vector((32,)), "float32", "", "", False),
]
plan = isoinit.Plan({e.name: e for e in entries})
params = {e.name: jax.ShapeDtypeStruct(e.shape, e.dtype) for e in entries}
filled = plan.fill(params, seed=3, sharding={"w": both, "b": rows})
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(sys.argv[1] + "/tree", filled)
    checkpointer.wait_until_finished()
    shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows)
    back = checkpointer.restore(sys.argv[1] + "/tree", jax.tree.map(shape, filled))
assert back["w"].sharding == rows and filled["w"].sharding == both
assert all(np.asarray(back[n]).tobytes() == np.asarray(filled[n]).tobytes() for n in filled)
again = plan.fill(back, seed=3)
assert again["w"].sharding == rows
assert np.asarray(again["w"]).tobytes() == np.asarray(back["w"]).tobytes()
print("restored")
"""


def test_orbax_saves_and_restores_a_filled_tree_with_its_shardings(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    run = subprocess.run(
        [sys.executable, "-c", ORBAX, str(tmp_path)],
        env=environment(8, quickly=True),
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "restored", run.stderr
    assert Path(tmp_path, "tree").is_dir()
