"""Models of each library: what comes out is what the library computes itself."""

from __future__ import annotations

import pytest

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")
nn = pytest.importorskip("flax.linen")
eqx = pytest.importorskip("equinox")
hk = pytest.importorskip("haiku")

import jax.numpy as jnp  # noqa: E402

from isoinit.errors import ArgumentError, PlanError, TraceError  # noqa: E402
from isoinit.jax.models import model_of, traced  # noqa: E402
from jax_older import List, batch_norm, put_value, value_of  # noqa: E402
from jaxprs import KEY, X, applied, bits, equal, same_reading  # noqa: E402

# Flax NNX


class Net(nnx.Module):
    def __init__(self, rngs, fail=False):
        self.first = nnx.Linear(8, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.blocks = List([nnx.Linear(8, 8, rngs=rngs) for _ in range(2)])
        self.tied = self.first.kernel
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))
        self.fail = fail

    def __call__(self, x):
        put_value(self.calls, value_of(self.calls) + 1)
        x = self.drop(self.norm(self.first(x)))
        for block in self.blocks:
            x = block(x)
        if self.fail:
            raise KeyError("a fault of the model")
        return x @ value_of(self.tied)


NET = [
    "blocks.0.bias",
    "blocks.0.kernel",
    "blocks.1.bias",
    "blocks.1.kernel",
    "first.bias",
    "first.kernel",
    "norm.bias",
    "norm.scale",
]


def test_nnx():
    net = Net(nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.state(net))
    model = model_of(net, X)
    assert (model.library, model.name, list(model.names)) == ("nnx", "Net", NET)
    assert model.aliases == {"tied": "first.kernel"}
    assert len(jax.tree.leaves(model.state)) == 5  # mean, var, calls, the key and its count
    jaxpr = same_reading(model, (5, 8))
    assert len(jaxpr.jaxpr.constvars) == 0
    first, again = applied(model), applied(model)
    assert equal(first, again)
    assert equal(nnx.state(net), before)  # bit for bit, statistics and counters too
    assert equal(first, net(X))  # which changes the net
    assert not equal(nnx.state(net), before)


def test_nnx_is_as_it_was_when_the_call_raises():
    net = Net(nnx.Rngs(0), fail=True)
    before = jax.tree.map(jnp.copy, nnx.state(net))
    model = model_of(net, X)
    with pytest.raises(TraceError, match="KeyError: 'a fault of the model'"):
        traced(model)
    with pytest.raises(KeyError):
        applied(model)
    assert equal(nnx.state(net), before)


def test_nnx_assign_and_replaced():
    net = Net(nnx.Rngs(0))
    statistics = bits(value_of(net.norm.mean))
    model = model_of(net, X)
    other = jax.tree.map(lambda leaf: leaf + 1, model.params)
    new = model.replaced(other)
    assert isinstance(new, Net)
    assert new.tied is new.first.kernel
    assert new.first is not net.first
    assert equal(nnx.state(new, nnx.Param), other)
    wrong = jax.tree.map(lambda leaf: leaf, other)
    wrong["first"]["kernel"] = nnx.Param(jnp.zeros((8, 9), jnp.float32))
    before = jax.tree.map(jnp.copy, nnx.state(net))
    with pytest.raises(
        PlanError, match=r"'first.kernel' of Net is float32\[8, 8\], .* float32\[8, 9\]"
    ):
        model.assign(wrong)
    with pytest.raises(PlanError, match=r"'first\.bias' is missing"):
        model.assign({name: other[name] for name in ("blocks", "norm")})
    assert equal(nnx.state(net), before)
    model.assign(other)
    assert equal(nnx.state(net, nnx.Param), other)
    assert net.tied is net.first.kernel
    assert bits(value_of(net.norm.mean)) == statistics


def test_nnx_abstract():
    net = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    model = model_of(net, jax.ShapeDtypeStruct((5, 8), jnp.float32))
    assert list(model.names) == NET
    assert model.aliases == {"tied": "first.kernel"}
    wanted = same_reading(model_of(Net(nnx.Rngs(0)), X), (5, 8))
    assert str(same_reading(model, (5, 8))) == str(wanted)
    other = nnx.state(Net(nnx.Rngs(3)), nnx.Param)
    model.assign(other)
    assert equal(nnx.state(net, nnx.Param), other)


def test_nnx_subclasses_of_param_and_shared_modules_in_a_circle():
    class Shared(nnx.Module):
        def __init__(self, rngs):
            self.lora = nnx.LoRA(8, 2, 8, rngs=rngs)
            self.layers = List([nnx.Linear(8, 8, rngs=rngs)] * 2)
            self.me = self

        def __call__(self, x):
            return self.layers[1](self.layers[0](self.lora(x)))

    net = Shared(nnx.Rngs(0))
    model = model_of(net, X)
    assert list(model.names) == ["layers.0.bias", "layers.0.kernel", "lora.lora_a", "lora.lora_b"]
    assert model.aliases == {
        "layers.1.bias": "layers.0.bias",
        "layers.1.kernel": "layers.0.kernel",
    }
    same_reading(model, (5, 8))
    assert equal(applied(model), net(X))


@pytest.mark.skipif(not hasattr(nnx, "Pytree"), reason="modules are trees since Flax 0.12")
def test_nnx_module_or_state_as_a_functions_tree():
    net = Net(nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.state(net))
    model = model_of(lambda net, x: net(x), net, X)
    assert [name for name in model.names if name != "tied"] == NET
    assert model.kept == ()
    same_reading(model, (5, 8))
    graph, state = nnx.split(net)
    model = model_of(lambda state, x: nnx.merge(graph, state)(x), state, X)
    assert list(model.names) == NET
    same_reading(model, (5, 8))
    applied(model)
    assert equal(nnx.state(net), before)


# Flax Linen


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = True):
        x = nn.Dense(8)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.MultiHeadDotProductAttention(2)(x[None])[0]
        return x + jax.random.normal(self.make_rng("noise"), x.shape) if train else x


@pytest.fixture(scope="module")
def variables():
    return Linen().init({"params": KEY, "noise": KEY, "dropout": KEY}, X)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("abstract", [True, False])
def test_linen(variables, train, abstract):
    before = jax.tree.map(jnp.copy, variables)
    given = jax.eval_shape(lambda: variables) if abstract else variables
    model = model_of(Linen(), given, X, kwargs={"train": train})
    assert (model.library, model.name) == ("linen", "Linen")
    assert "Dense_0.kernel" in model.names
    assert len(model.names) == 12
    same_reading(model, (5, 8))
    if not abstract:
        rngs = {"params": jax.random.key(0)}
        own = Linen().apply(variables, X, train, rngs=rngs, mutable=["batch_stats"])[0]
        assert equal(applied(model), own)
    assert equal(variables, before)


def test_linen_variables_of_each_kind(variables):
    from flax.core import FrozenDict, freeze

    zeros = jax.tree.map(jnp.zeros_like, variables["params"])
    new = model_of(Linen(), variables, X).replaced(zeros)
    assert list(new) == list(variables)
    assert equal(new["params"], zeros)
    assert new["batch_stats"] is variables["batch_stats"]
    model = model_of(Linen().apply, freeze(variables), X)  # the bound method means the module
    assert model.library == "linen"
    assert isinstance(model.replaced(freeze(zeros)), FrozenDict)
    same_reading(model, (5, 8))
    dense = nn.Dense(3)
    bare = dense.init(KEY, X)["params"]
    model = model_of(dense, bare, X)
    assert list(model.names) == ["bias", "kernel"]
    assert equal(model.replaced(bare), bare)
    assert equal(applied(model), X @ bare["kernel"] + bare["bias"])


def test_linen_without_variables(variables):
    with pytest.raises(
        ArgumentError, match=r"the Linen module Linen needs its variables .* missing"
    ):
        model_of(Linen())
    with pytest.raises(ArgumentError, match="the Linen module Linen needs its variables"):
        model_of(Linen(), X)
    with pytest.raises(ArgumentError, match='no collection "params": they hold batch_stats'):
        model_of(Linen(), {"batch_stats": variables["batch_stats"]}, X)
    with pytest.raises(ArgumentError, match='no collection "params"'):
        model_of(nn.Dense(3), nn.Dense(4).init(KEY, X)["params"], X)
    with pytest.raises(ArgumentError, match="Linen has no parameters"):
        model_of(Linen(), {"params": {}}, X)


def test_linen_numbers_among_the_variables_are_settings():
    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            turns = self.variable("settings", "turns", lambda: 2)
            return nn.Dense(8, name="one")(x) * turns.value

    given = Counted().init(KEY, X)
    assert given["settings"]["turns"] == 2  # no array
    model = model_of(Counted(), given, X)
    assert equal(applied(model), Counted().apply(given, X))
    same_reading(model, (5, 8))


# Equinox


class Stack(eqx.Module):
    layers: list
    table: jax.Array
    act: object
    drop: eqx.nn.Dropout

    def __init__(self, key):
        self.layers = [eqx.nn.Linear(8, 8, key=key), eqx.nn.LayerNorm(8)]
        self.table = jnp.arange(8)
        self.act = jax.nn.gelu
        self.drop = eqx.nn.Dropout(0.5)

    def __call__(self, x, key=None):
        for layer in self.layers:
            x = self.act(layer(x))
        return self.drop(x, key=key, inference=key is None)[self.table]


def test_equinox():
    net = Stack(KEY)
    before = jax.tree.map(jnp.copy, eqx.filter(net, eqx.is_array))
    model = model_of(net, X[0])
    assert (model.library, model.name, model.state) == ("equinox", "Stack", {})
    inexact = eqx.filter(net, eqx.is_inexact_array)
    assert len(jax.tree.leaves(inexact)) == len(model.names) - len(model.kept)
    assert model.kept == ("table",)
    assert equal(applied(model), net(X[0]))
    same_reading(model, (8,))
    new = model.replaced(jax.tree.map(lambda leaf: leaf * 0, model.params))
    assert isinstance(new, Stack)
    assert new.act is net.act
    assert not new.layers[0].weight.any()
    assert equal(eqx.filter(net, eqx.is_array), before)
    with_key = model_of(net, X[0], kwargs={"key": KEY})
    same_reading(with_key, (8,))
    assert equal(applied(with_key), net(X[0], key=KEY))


def test_equinox_abstract_and_mapped():
    net = eqx.filter_eval_shape(Stack, KEY)
    x = jax.ShapeDtypeStruct((5, 8), jnp.float32)
    model = model_of(lambda net, x: jax.vmap(net)(x), net, x)
    assert list(model.names) == list(model_of(Stack(KEY), X[0]).names)
    same_reading(model, (5, 8))
    same_reading(model_of(net, jax.ShapeDtypeStruct((8,), jnp.float32)), (8,))


def test_equinox_attention_and_a_state_that_is_used_once():
    class Normed(eqx.Module):
        attention: eqx.nn.MultiheadAttention
        norm: eqx.nn.BatchNorm

        def __init__(self, key):
            self.attention = eqx.nn.MultiheadAttention(2, 8, key=key)
            self.norm = eqx.nn.BatchNorm(8, "batch", **batch_norm("batch"))

        def __call__(self, x, state):
            x, state = jax.vmap(
                self.norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None)
            )(x, state)
            return self.attention(x, x, x), state

    net, state = eqx.nn.make_with_state(Normed)(KEY)
    model = model_of(lambda net, x, state: net(x, state)[0], net, X, state)
    assert "attention.query_proj.weight" in model.names
    assert "norm.weight" in model.names
    same_reading(model, (5, 8))
    first = applied(model)
    assert equal(applied(model), first)  # the user's state is not used up
    assert equal(net(X, state)[0], first)


# Haiku


def test_haiku():
    def net(x, train=True):
        x = hk.nets.MLP([8, 8])(x)
        x = hk.MultiHeadAttention(2, 4, w_init=hk.initializers.RandomNormal())(x, x, x)
        return hk.dropout(hk.next_rng_key(), 0.5, x) if train else x

    transformed = hk.transform(net)
    params = transformed.init(KEY, X)
    model = model_of(transformed, params, X)
    assert (model.library, model.name) == ("haiku", "net")
    assert next(iter(model.names)) == "mlp/~/linear_0.b"
    same_reading(model, (5, 8))
    assert equal(applied(model), transformed.apply(params, jax.random.key(0), X))
    zeros = jax.tree.map(jnp.zeros_like, params)
    assert equal(model.replaced(zeros), zeros)
    plain = hk.without_apply_rng(transformed)
    model = model_of(plain, params, X, kwargs={"train": False})
    assert model.state == {}
    same_reading(model, (5, 8))
    assert equal(applied(model), plain.apply(params, X, train=False))


def test_haiku_with_state():
    transformed = hk.transform_with_state(
        lambda x: hk.BatchNorm(True, True, 0.9)(x, is_training=True)
    )
    pair = transformed.init(KEY, X)
    before = jax.tree.map(jnp.copy, pair)
    for each in (transformed, hk.without_apply_rng(transformed)):
        model = model_of(each, pair, X)
        assert list(model.names) == ["batch_norm.offset", "batch_norm.scale"]
        same_reading(model, (5, 8))
        assert equal(applied(model), transformed.apply(*pair, KEY, X)[0])
        new = model.replaced(pair[0])
        assert isinstance(new, tuple)
        assert equal(new, before)
    abstract = jax.eval_shape(transformed.init, KEY, X)
    same_reading(model_of(transformed, abstract, X), (5, 8))
    with pytest.raises(ArgumentError, match=r"needs \(params, state\)"):
        model_of(transformed, pair[0], X)
