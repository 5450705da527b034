"""optax gets all factors of a transfer, for the trees of every library."""

import math
from dataclasses import replace

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)

import equinox as eqx  # noqa: E402
import haiku as hk  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import linen, nnx  # noqa: E402

import isoinit  # noqa: E402
import isoinit.jax as ij  # noqa: E402
from isoinit import Plan, Transfer  # noqa: E402
from isoinit.errors import ArgumentError, PlanError  # noqa: E402
from isoinit.jax.spelling import named_leaves  # noqa: E402
from jax_twins.sized import X, build, filled, struct  # noqa: E402
from jax_twins.values import built_equinox, built_nnx  # noqa: E402


@pytest.fixture(scope="module")
def transfer():
    return ij.transfer(build(16, 1), build(64), X)


def moved(tx, params, grads):
    return jax.jit(tx.update)(grads, tx.init(params), params)[0]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_first_step_has_the_planned_ratios(optimizer):
    """One of Adam is as large as its rate, and one of SGD as rate and gradient, whatever ε and p."""
    t = ij.transfer(build(16, 1), build(64), X, optimizer=optimizer)
    params = filled(build(64)[1], 0.0)
    updates = moved(t.optimizer(0.5, eps=0.0), params, filled(params, 0.5))
    size = 0.5 if optimizer == "adamw" else 0.25
    for name, update in named_leaves(updates).items():
        assert np.allclose(update, -size * t.factors[name].lr, rtol=1e-5), name


def test_decay_acts_on_matrices(transfer):
    params = filled(build(64)[1], 2.0)
    for decay_vectors in (False, True):
        tx = transfer.optimizer(0.5, 0.1, decay_vectors=decay_vectors)
        updates = moved(tx, params, filled(params, 0.0))
        for name, update in named_leaves(updates).items():
            factors = transfer.factors[name]
            acts = decay_vectors or name != "layers.bias"  # of two axes, since it is stacked
            assert np.allclose(update, -2.0 * 0.5 * 0.1 * factors.lr * factors.decay * acts), name


def test_eps_inside_and_outside_the_root(transfer):
    params = filled(build(64)[1], 0.0)
    for eps, root in ((0.5, 0.0), (0.0, 0.25)):
        tx = transfer.optimizer(1.0, eps=eps, eps_root=root)
        updates = moved(tx, params, filled(params, 0.5))
        for name, update in named_leaves(updates).items():
            f = transfer.factors[name]
            bottom = math.sqrt(0.25 + root * f.eps**2) + eps * f.eps
            assert np.allclose(update, -f.lr * 0.5 / bottom, rtol=1e-5), name


def test_schedules_keep_the_ratios(transfer):
    params = filled(build(64)[1], 1.0)
    schedules = {"learning_rate": optax.linear_schedule(1.0, 0.0, 4)}
    tx = transfer.optimizer(**schedules, weight_decay=optax.constant_schedule(0.1))
    state, sizes = tx.init(params), []
    update = jax.jit(tx.update)
    for _ in range(3):
        updates, state = update(filled(params, 0.5), state, params)
        sizes.append({n: float(u.ravel()[0]) for n, u in named_leaves(updates).items()})
    for size, rate in zip(sizes, (1.0, 0.75, 0.5), strict=True):
        for name, factors in transfer.factors.items():
            decayed = 0.1 * factors.decay * factors.decays
            assert size[name] == pytest.approx(-rate * factors.lr * (1 + decayed), rel=1e-4)
    count = len(jax.tree.leaves(params))
    seen = []
    optax.tree_map_params(tx, lambda leaf: seen.append(leaf.shape) or leaf, state)
    assert len(seen) == 2 * count  # of both moments: so states are sharded


def test_rates_are_injected(transfer):
    params = filled(build(64)[1], 1.0)
    tx = optax.inject_hyperparams(lambda rate: transfer.optimizer(rate))(rate=0.5)
    updates = moved(tx, params, filled(params, 0.5))
    assert np.allclose(updates["in"], -0.5 * transfer.factors["in"].lr, rtol=1e-5)


def test_clipping_leaves_the_gauge_out(transfer):
    grads = filled(build(64)[1], 0.5)
    gauges = {name: factors.gauge for name, factors in transfer.factors.items()}
    assert len(set(gauges.values())) > 1
    named = named_leaves(grads)
    norm = math.sqrt(sum((0.5 * gauges[n]) ** 2 * leaf.size for n, leaf in named.items()))
    for most in (norm / 4, 2 * norm):
        clipped = moved(transfer.clip_by_global_norm(most), grads, grads)
        for leaf in jax.tree.leaves(clipped):
            assert np.allclose(leaf, 0.5 * min(1.0, most / norm), rtol=1e-5)


def test_muon_takes_heads_for_one_matrix():
    """A kernel of three axes moves as the same kernel with its heads side by side."""

    def heads(p, x):
        y = jnp.einsum("bi,ihd->bhd", jax.nn.relu(x @ p["in"]), p["k"])
        return jax.nn.relu(jnp.einsum("bhd,hdo->bo", y, p["o"])) @ p["out"]

    def flat(p, x):
        return jax.nn.relu(jax.nn.relu(x @ p["in"]) @ p["k"] @ p["o"]) @ p["out"]

    def params(n, three):
        k, o = ((n, 2, n), (2, n, n)) if three else ((n, 2 * n), (2 * n, n))
        return {"in": struct(8, n), "k": struct(*k), "o": struct(*o), "out": struct(n, 2)}

    kind, found = "muon:match_rms_adamw", []
    for function, three in ((heads, True), (flat, False)):
        t = ij.transfer(
            (function, params(4, three)), (function, params(8, three)), X, optimizer=kind
        )
        assert [n for n, f in t.factors.items() if f.optimizer == "muon"] == ["k", "o"]
        random = np.random.default_rng(0)
        grads = {
            n: jnp.asarray(random.standard_normal(s.shape, np.float32))
            for n, s in params(8, three).items()
        }
        tx = t.optimizer(0.1, adam_learning_rate=0.01, adam_b1=0.5)
        found.append(moved(tx, filled(params(8, three), 0.0), grads))
    for name in ("in", "k", "o", "out"):
        assert np.allclose(found[0][name].reshape(found[1][name].shape), found[1][name], atol=1e-6)
    # Steps of Newton and Schulz give singular values of about one, and so a size by the shape.
    size = float(jnp.sqrt((found[1]["k"] ** 2).mean()))
    assert size == pytest.approx(0.1 * 0.2 * t.factors["k"].lr, rel=0.3)


def test_flax_nnx():
    class Model(nnx.Module):
        def __init__(self, n, rngs):
            self.first, self.last = nnx.Linear(8, n, rngs=rngs), nnx.Linear(n, 2, rngs=rngs)
            self.norm = nnx.BatchNorm(n, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.norm(self.first(x))))

    if not hasattr(nnx, "Pytree"):
        pytest.skip("before Flax 0.12, an optimizer held its model")
    t = ij.transfer(lambda n: nnx.eval_shape(lambda: Model(n, nnx.Rngs(0))), X, base=8, target=32)
    model = built_nnx(lambda: Model(32, nnx.Rngs(0)))
    tx = optax.chain(t.clip_by_global_norm(1e6), t.optimizer(0.5, eps=0.0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    grads = filled(nnx.state(model, nnx.Param), 0.5)
    nnx.jit(lambda optimizer, model, grads: optimizer.update(model, grads))(optimizer, model, grads)
    assert np.allclose(model.last.kernel[...], -0.5 / 4, rtol=1e-4)
    tx.init(nnx.state(model, nnx.Param))
    with pytest.raises(PlanError, match=r"no parameter 'norm.mean', 'norm.var'"):
        nnx.Optimizer(model, tx, wrt=nnx.BatchStat)


def test_flax_linen():
    class Model(linen.Module):
        n: int

        @linen.compact
        def __call__(self, x):
            kernel = linen.with_partitioning(linen.initializers.zeros, (None, "model"))
            x = linen.relu(linen.Dense(self.n, kernel_init=kernel)(x))
            return linen.Dense(2)(x)

    def made(n):
        return Model(n), jax.eval_shape(Model(n).init, jax.random.key(0), X)

    t = ij.transfer(made, X, base=8, target=32)
    variables = filled(made(32)[1], 0.0)
    updates = moved(t.optimizer(0.5), variables["params"], filled(variables["params"], 0.5))
    assert np.allclose(updates["Dense_1"]["kernel"], -0.5 / 4, rtol=1e-4)
    with pytest.raises(PlanError, match=r"inside 'params': pass the tree in it"):
        t.optimizer(0.5).init(variables)
    with pytest.raises(ArgumentError, match=r"the base cannot be read: .* a pair of a model"):
        ij.transfer(Model(8), Model(32), X)


def test_equinox():
    class Model(eqx.Module):
        layers: list
        table: jax.Array
        act: object

        def __call__(self, x):
            return jax.vmap(self.layers[1])(self.act(jax.vmap(self.layers[0])(x)))

    def made(n):
        key = jax.random.key(0)
        layers = [eqx.nn.Linear(8, n, key=key), eqx.nn.Linear(n, 2, key=key)]
        return Model(layers, jnp.asarray(np.arange(3)), jax.nn.relu)

    small, model = (built_equinox(lambda n=n: made(n)) for n in (8, 32))
    t = ij.transfer(small, model, X)
    tx, params = t.optimizer(0.5), eqx.filter(model, eqx.is_inexact_array)
    updates = moved(tx, params, filled(params, 0.5))
    assert np.allclose(updates.layers[1].weight, -0.5 / 4, rtol=1e-4)
    jax.eval_shape(tx.init, eqx.filter(model, eqx.is_array))  # the table is not trained
    last, _ = eqx.partition(
        model,
        jax.tree.map(lambda leaf: leaf is model.layers[1].weight, model),
    )
    jax.eval_shape(tx.init, last)  # the others are not trained by it


def test_haiku():
    def made(n):
        transformed = hk.transform(lambda x: hk.nets.MLP([n, 2])(x))
        return transformed, jax.eval_shape(transformed.init, jax.random.key(0), X)

    t, params = ij.transfer(made(8), made(32), X), filled(made(32)[1], 0.0)
    updates = moved(t.optimizer(0.5), params, filled(params, 0.5))
    assert np.allclose(updates["mlp/~/linear_1"]["w"], -0.5 / 4, rtol=1e-4)


def test_a_plan_of_torch_with_a_frozen_layer():
    import torch
    from torch import nn

    def made(n):
        model = nn.Sequential(nn.Linear(8, n), nn.ReLU(), nn.Linear(n, 2))
        model[0].weight.requires_grad_(False)
        return model

    t = isoinit.transfer(made, base=8, target=32, batch=torch.zeros(1, 8))
    t = Transfer(Plan.from_json(t.plan.to_json()))
    params = {str(i): {"weight": struct(*s), "bias": struct(s[0])} for i, s in
              ((0, (32, 8)), (2, (2, 32)))}  # fmt: skip
    params = filled(params, 1.0)
    updates = moved(t.optimizer(0.5, 0.1), params, filled(params, 0.5))
    assert not np.any(updates["0"]["weight"])
    assert np.allclose(updates["0"]["bias"], -0.5, rtol=1e-4)
    assert np.allclose(updates["2"]["weight"], -0.5 / 4 * 1.4, rtol=1e-4)


def test_what_is_tied_in_the_plan_stays_tied(transfer):
    tied = Transfer(replace(transfer.plan, aliases={"last": "out"}))
    params = build(64)[1]
    last = params.pop("out")
    tied.optimizer(0.1).init(filled(params | {"last": last}, 1.0))
    with pytest.raises(
        PlanError, match="'out' was tied to 'last' in the plan, but is not tied now"
    ):
        tied.optimizer(0.1).init(filled({"last": last, "out": last}, 1.0))


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"w": struct(2, 2)}, "no parameter 'w'; it has 'in', 'out'"),
        (
            {"in": struct(8, 32)},
            r"'in' has shape \(8, 32\), but \(8, 64\) in the plan of the transfer",
        ),
        ({}, "holds none of the parameters of the plan"),
        (
            {"in": jax.ShapeDtypeStruct((8, 64), jnp.int32)},
            "holds none of the parameters of the plan",
        ),
    ],
)
def test_other_trees_are_refused(transfer, tree, said):
    tx = transfer.optimizer(0.1)
    with pytest.raises(PlanError, match=said):
        jax.eval_shape(tx.init, tree)
    with pytest.raises(PlanError, match=said):
        jax.eval_shape(transfer.clip_by_global_norm(1.0).update, tree, optax.EmptyState())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rate": 0}, "learning_rate=0: expected a finite number above 0"),
        ({"learning_rate": jnp.nan}, "learning_rate=nan"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0: expected a finite number of 0 or more"),
        ({"eps": "small"}, "eps='small'"),
        ({"eps_root": -1e-8}, "eps_root=-1e-08"),
        ({"momentum": 0.9}, "momentum=0.9: a transfer for 'adamw' takes b1, b2, eps_root"),
    ],
)
def test_other_settings_are_refused(transfer, settings, said):
    with pytest.raises(ArgumentError, match=said):
        transfer.optimizer(**{"learning_rate": 0.1} | settings)


def test_another_norm_is_refused(transfer):
    with pytest.raises(ArgumentError, match="max_norm=-1"):
        transfer.clip_by_global_norm(-1)
