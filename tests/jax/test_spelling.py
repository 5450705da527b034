"""Names of leaves, spelled as the documentation of `isoinit.jax.spelling` says for each library."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402

from isoinit.errors import ArgumentError, UnknownParameterError  # noqa: E402
from isoinit.jax.spelling import named_leaves, with_leaves  # noqa: E402
from jax_older import List, batch_norm, value_of  # noqa: E402

Pair = namedtuple("Pair", "left right")


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    weight: object
    value: object


@jax.tree_util.register_pytree_node_class
class Unkeyed:
    """A node as people registered them before there were keys."""

    def __init__(self, *parts):
        self.parts = parts

    def tree_flatten(self):
        return self.parts, None

    @classmethod
    def tree_unflatten(cls, _, parts):
        return cls(*parts)


def ones(*shape):
    return np.ones(shape, np.float32)


def test_keys_attributes_and_indices_are_joined_by_dots():
    tree = {
        "b": [ones(1), (ones(2), Pair(ones(3), {"x": ones(4)}))],
        "a": Layer(ones(5), ones(6)),
        "c": Unkeyed(ones(7), [ones(8)]),
        "d": {0: ones(9)},
    }
    assert {name: leaf.size for name, leaf in named_leaves(tree).items()} == {
        "a.weight": 5,
        "a.value": 6,  # an attribute like any other: only Flax's own boxes are left out
        "b.0": 1,
        "b.1.0": 2,
        "b.1.1.left": 3,
        "b.1.1.right.x": 4,
        "c.0": 7,
        "c.1.0": 8,
        "d.0": 9,
    }


def test_the_order_is_that_of_jax():
    tree = {
        "b": [ones(1)],
        "a": {"z": ones(2), "y": ones(3)},
        "layers": [ones(4) for _ in range(12)],
    }
    mine = [leaf.size for leaf in named_leaves(tree).values()]
    assert mine == [leaf.size for _, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def test_what_is_no_array_is_skipped_and_stays():
    tree = {
        "a": jax.nn.relu,
        "b": 3,
        "c": "text",
        "d": None,
        "e": np.array(["text"]),
        "f": np.float32,
        "g": 1.5,
        "h": ones(2),
        "i": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16),
        "j": jax.core.ShapedArray((4,), np.dtype("int32")),
        "k": jax.random.key(0),
        "l": np.float32(2),
        "m": jnp.zeros(3, jnp.float8_e4m3fn),
    }
    assert list(named_leaves(tree)) == ["h", "i", "j", "k", "l", "m"]
    other = with_leaves(tree, {"h": ones(1), "l": 7})
    assert other["h"].shape == (1,)
    assert other["l"] == 7
    assert all(other[key] is tree[key] for key in tree if key not in "hl")
    assert tree["h"].shape == (2,)


def test_torch_tensors_are_no_arrays_of_jax():
    torch = pytest.importorskip("torch")
    assert named_leaves({"a": torch.zeros(2), "b": ones(1)}).keys() == {"b"}


def test_one_array_alone_has_a_name():
    assert list(named_leaves(ones(2))) == ["params"]
    assert with_leaves(ones(2), {"params": 5}) == 5
    assert named_leaves({}) == {}


def test_two_leaves_of_one_name_are_refused_with_both_paths():
    with pytest.raises(ArgumentError) as caught:
        named_leaves({"a.b": ones(1), "a": {"b": ones(2)}})
    assert "['a.b']" in str(caught.value)
    assert "['a']['b']" in str(caught.value)
    assert named_leaves({"a.b": "a setting", "a": {"b": ones(2)}}).keys() == {"a.b"}


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UnknownParameterError, match=r"'layer\.w'"):
        with_leaves({"layer": {"w": ones(1)}}, {"layer.v": ones(1)})


def test_nnx():
    nnx = pytest.importorskip("flax.nnx")
    if not hasattr(nnx, "Pytree"):
        pytest.skip("modules are trees since Flax 0.12")

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.attn = nnx.MultiHeadAttention(2, 4, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.blocks = List([Block(rngs) for _ in range(11)])
            self.table = nnx.Param({"a": jnp.zeros(2), "b": jnp.zeros(3)})

    net = Net(nnx.Rngs(0))
    params = nnx.split(net, nnx.Param, ...)[1]
    names = named_leaves(params)
    assert names["blocks.0.attn.query.kernel"].shape == (4, 2, 2)
    assert names["blocks.10.norm.scale"].shape == (4,)
    assert names["table.a"].shape == (2,)
    assert len(names) == 11 * (4 * 2 + 2) + 2
    # The module itself is a tree whose leaves have the same names, running statistics besides.
    assert names.keys() | {f"blocks.{n}.norm.{s}" for n in range(11) for s in ("mean", "var")} == (
        named_leaves(net).keys() - {name for name in named_leaves(net) if "rngs" in name}
    )
    other = with_leaves(params, {"table.a": jnp.ones(2)})
    assert isinstance(other["table"], nnx.Param)
    assert type(other) is type(params)
    assert value_of(other["table"])["a"].sum() == 2
    assert value_of(net.table)["a"].sum() == 0


def test_linen_partitioned_and_frozen():
    nn = pytest.importorskip("flax.linen")
    from flax.core import freeze

    init = nn.with_partitioning(nn.initializers.ones, ("in", "out"))
    net = nn.Sequential([nn.Dense(3, kernel_init=init), nn.Dense(2)])
    params = net.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    wanted = ["layers_0.bias", "layers_0.kernel", "layers_1.bias", "layers_1.kernel"]
    assert list(named_leaves(params)) == wanted
    assert list(named_leaves(freeze(params))) == wanted
    other = with_leaves(freeze(params), {"layers_0.kernel": jnp.zeros((4, 3))})
    assert type(other) is type(freeze(params))
    assert other["layers_0"]["kernel"].names == ("in", "out")  # the box is kept
    assert other["layers_0"]["kernel"].value.sum() == 0


def test_equinox():
    eqx = pytest.importorskip("equinox")
    mlp = eqx.nn.MLP(3, 2, 4, depth=1, key=jax.random.key(0))
    assert list(named_leaves(mlp)) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    ]
    other = with_leaves(mlp, {"layers.0.weight": jnp.zeros((4, 3))})
    assert other.activation is mlp.activation
    assert other.layers[0].weight.sum() == 0
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(2, "batch", **batch_norm("ema"))
    assert list(named_leaves(norm)) == ["weight", "bias"]
    assert len(named_leaves(state)) == 3


def test_haiku():
    hk = pytest.importorskip("haiku")
    net = hk.transform(lambda x: hk.nets.MLP([4, 2])(x))
    params = net.init(jax.random.key(0), jnp.zeros((1, 3)))
    assert list(named_leaves(params)) == [
        "mlp/~/linear_0.b",
        "mlp/~/linear_0.w",
        "mlp/~/linear_1.b",
        "mlp/~/linear_1.w",
    ]
