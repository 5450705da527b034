"""Multipliers in the forward, as the papers have them, and a transfer's optimizer train alike.

One model has the papers' multipliers in its forward and their factors in its steps, all by hand. The
other is the unmodified model with `Transfer.plan` and `Transfer.optimizer`. All is float64.
"""

import math
from dataclasses import dataclass
from functools import cache

import pytest

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import isoinit.jax as ij  # noqa: E402
from jax_older import List, enable_x64, value_of  # noqa: E402

NEAR = 1e-9
STEPS = 6
WIDER, DEEPER = 4, 2
LR, DECAY, EPS = 1e-2, 0.1, 1e-3
WORDS, LENGTH = 31, 10


@pytest.fixture(autouse=True)
def doubles():
    with enable_x64(True):
        yield


@dataclass(frozen=True)
class Factors:
    """What the papers multiply the settings of one parameter by, beside their multipliers."""

    std: float
    lr: float
    eps: float
    decays: bool = True
    coupled: float = 1.0

    @property
    def decay(self):
        """Learning rate times decay stays: microsoft/mup. Added to a gradient it is its own matter."""
        return DECAY * self.coupled / self.lr * self.decays


# A network of layers: Yang et al. 2022, table 8


def mlp(params, x, readout=1.0):
    x = jax.nn.relu(x @ params["first"] + params["bias"])
    x = jax.nn.relu(x @ params["hidden"])
    return x @ params["last"] * readout + params["last bias"]


def mlp_params(width):
    shapes = {
        "first": (8, width), "bias": (width,), "hidden": (width, width),
        "last": (width, 3), "last bias": (3,),
    }  # fmt: skip
    return {name: jax.ShapeDtypeStruct(shape, jnp.float64) for name, shape in shapes.items()}


X, Y = (np.random.default_rng(0).standard_normal((16, size)) for size in (8, 3))
M = WIDER
# Its output weight is a vector-like one, behind a multiplier of 1/m.
OF_ADAM = {
    "first": Factors(1, 1, 1 / M),
    "bias": Factors(1, 1, 1 / M, decays=False),
    "hidden": Factors(M**-0.5, 1 / M, 1 / M),
    "last": Factors(1, 1, 1 / M),
    "last bias": Factors(1, 1, 1, decays=False),
}
# Its gradient is smaller by m, and it is larger by m, than without the multiplier.
OF_COUPLED = OF_ADAM | {"last": Factors(1, 1, 1 / M, coupled=1 / M)}
# Of plain gradients all that is vector-like wants rates larger by m.
OF_SGD = {
    "first": Factors(1, M, 1),
    "bias": Factors(1, M, 1, decays=False),
    "hidden": Factors(M**-0.5, 1, 1),
    "last": Factors(1, M, 1),
    "last bias": Factors(1, 1, 1, decays=False),
}


# The steps of optimizers, by hand


def adam(g, p, factors, m, v, step, decoupled):
    decay = factors.decay
    g = g if decoupled else g + decay * p
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    moved = (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + EPS * factors.eps)
    return p - LR * factors.lr * (moved + decay * p * decoupled), m, v


def momentum(g, p, factors, m, v):
    m = 0.9 * m + g + factors.decay * p
    return p - LR * factors.lr * m, m, v


def muon(g, p, factors, m, v, step):
    """Jordan's Muon: five steps of Newton and Schulz on Nesterov's momentum."""
    m = 0.95 * m + 0.05 * g
    x = 0.95 * m / (1 - 0.95 ** (step + 1)) + 0.05 * g / (1 - 0.95**step)
    x = x / (jnp.linalg.norm(x) + EPS * factors.eps)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x * math.sqrt(max(1.0, x.shape[1] / x.shape[0]))
    return p - LR * factors.lr * (x + factors.decay * p), m, v


def stepped(kind, name, *args, step):
    if kind == "sgd":
        return momentum(*args)
    if kind == "muon" and name.startswith("blocks") and name.endswith("kernel"):
        return muon(*args, step)
    return adam(*args, step, decoupled=kind != "adam")


def by_hand(kind, table, clip=None):
    """The step of an optimizer with the papers' factors."""

    def update(grads, params, m, v, step):
        if clip is not None:
            norm = jnp.sqrt(sum((g**2).sum() for g in grads.values()))
            grads = {name: g * jnp.minimum(1.0, clip / norm) for name, g in grads.items()}
        found = {
            n: stepped(kind, n, grads[n], params[n], table[n], m[n], v[n], step=step)
            for n in params
        }
        return [{n: one[place] for n, one in found.items()} for place in range(3)]

    return jax.jit(update)


def trained(update, gradients, params):
    """The losses of some steps of a model with the papers' multipliers."""
    m = v = {name: np.zeros(p.shape) for name, p in params.items()}
    losses = []
    for step in range(1, STEPS + 1):
        value, grads = gradients(params, step)
        params, m, v = update(grads, params, m, v, float(step))
        losses.append(float(value))
    return losses


def by_optax(tx, gradients, params):
    """The losses of some steps of the unmodified model."""

    def update(grads, state, params):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    update, state, losses = jax.jit(update), jax.jit(tx.init)(params), []
    for step in range(1, STEPS + 1):
        value, grads = gradients(params, step)
        params, state = update(grads, state, params)
        losses.append(float(value))
    return losses


def differ(first, second):
    assert first[-1] < first[0]
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def started(transfer, base, params, table):
    """The parameters of the model with multipliers: without the gauges that these stand for."""
    found = {}
    for name, value in params.items():
        ours = transfer.factors[name].std
        assert transfer.plan[name].std == pytest.approx(base[name].std * ours), name
        found[name] = np.asarray(value) * (table[name].std / ours)
    return found


@cache
def mlp_gradients():
    def loss(params, readout):
        return ((mlp(params, X, readout) - Y) ** 2).mean()

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize(
    ("kind", "table"), [("adamw", OF_ADAM), ("adam", OF_COUPLED), ("sgd", OF_SGD)]
)
def test_mlp(kind, table):
    models = [(mlp, mlp_params(width)) for width in (16, 16 * M)]
    transfer = ij.transfer(*models, X, optimizer=kind)
    assert transfer.notes == ()
    params = transfer.plan.fill(models[1][1], seed=1)
    tx = transfer.optimizer(LR, DECAY, EPS, **({"momentum": 0.9} if kind == "sgd" else {}))
    start = started(transfer, ij.plan(*models[0], X), params, table)
    update = by_hand(kind, table)
    theirs = trained(update, lambda p, _: mlp_gradients()(p, 1 / M), start)
    ours = by_optax(tx, lambda p, _: mlp_gradients()(p, 1.0), params)
    assert differ(theirs, ours) < NEAR
    without = trained(update, lambda p, _: mlp_gradients()(p, 1.0), start)
    assert differ(theirs, without) > 1e4 * NEAR


# A language model: scores over d, branches over the depth, its tied readout over m


class Block(nnx.Module):
    def __init__(self, width, rngs):
        of = {"rngs": rngs, "param_dtype": jnp.float64}
        self.norm1, self.norm2 = nnx.LayerNorm(width, **of), nnx.LayerNorm(width, **of)
        self.qkv, self.out = nnx.Linear(width, 3 * width, **of), nnx.Linear(width, width, **of)
        self.up, self.down = nnx.Linear(width, 2 * width, **of), nnx.Linear(2 * width, width, **of)

    def __call__(self, x, scores, branch):
        parts = jnp.split(self.qkv(self.norm1(x)), 3, -1)
        q, k, v = (part.reshape(*x.shape[:-1], 2, -1) for part in parts)
        s = jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1]) * scores
        s = jnp.where(jnp.tril(jnp.ones(s.shape[-2:], bool)), s, -1e30)
        y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(s), v).reshape(x.shape)
        x = x + self.out(y) * branch
        return x + self.down(nnx.gelu(self.up(self.norm2(x)))) * branch


class GPT(nnx.Module):
    def __init__(self, width, depth, rngs):
        of = {"rngs": rngs, "param_dtype": jnp.float64}
        self.embed = nnx.Embed(WORDS, width, **of)
        self.places = nnx.Param(jnp.zeros((LENGTH, width), jnp.float64))
        self.blocks = List([Block(width, rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, **of)

    def __call__(self, ids, scores=1.0, branch=1.0, readout=1.0):
        x = self.embed(ids) + self.places
        for block in self.blocks:
            x = block(x, scores, branch)
        return self.embed.attend(self.norm(x)) * readout


def words(step):
    """Sentences that can be learned: each word follows from the one before."""
    return (7 * step + 3 * jnp.arange(4)[:, None] + 3 * jnp.arange(LENGTH)) % WORDS


def gpt(width, depth):
    return nnx.eval_shape(lambda: GPT(width, depth, nnx.Rngs(0)))


SMALL, LARGE = (16, 1), (16 * WIDER, DEEPER)
MULTIPLIERS = {"scores": WIDER**-0.5, "branch": 1 / DEEPER, "readout": 1 / WIDER}
ONES = dict.fromkeys(MULTIPLIERS, 1.0)


def gpt_table(shapes, kind):
    """Yang et al. 2022, table 8, and Dey et al. 2025, table 1, with α = 1."""
    found = {}
    for name, shape in shapes.items():
        kernel, inside = name.endswith("kernel"), name.startswith("blocks")
        sums = WIDER if kernel else 1
        eps = (1 / DEEPER if inside else 1) / WIDER
        if kind == "muon" and kernel:
            found[name] = Factors(sums**-0.5, 1, eps * WIDER)
        else:
            found[name] = Factors(sums**-0.5, 1 / sums, eps, decays=len(shape) > 1)
    return found


@cache
def gpt_gradients():
    """The loss of the larger model and its gradients by parameters of names; and their shapes."""
    graph, state = nnx.split(gpt(*LARGE))
    flat = nnx.to_flat_state(state)
    names = {".".join(map(str, path)): path for path, _ in flat}
    shapes = {".".join(map(str, path)): value_of(leaf).shape for path, leaf in flat}

    def loss(params, step, multipliers):
        values = [(names[name], nnx.Param(value)) for name, value in params.items()]
        model = nnx.merge(graph, nnx.from_flat_state(values))
        made, ids = model(words(step), **multipliers), words(step)
        return optax.softmax_cross_entropy_with_integer_labels(made[:, :-1], ids[:, 1:]).mean()

    return jax.jit(jax.value_and_grad(loss)), shapes


@pytest.mark.parametrize(
    ("kind", "clip"), [("adamw", 0.1), pytest.param("muon", None, marks=pytest.mark.slow)]
)
def test_gpt(kind, clip):
    gradients, shapes = gpt_gradients()
    table = gpt_table(shapes, kind)
    transfer = ij.transfer(gpt(*SMALL), gpt(*LARGE), words(0), optimizer=kind)
    assert transfer.notes == ()
    structs = {name: jax.ShapeDtypeStruct(shape, jnp.float64) for name, shape in shapes.items()}
    params = transfer.plan.fill(structs, seed=1)
    tx = transfer.optimizer(
        LR, DECAY, EPS, **({"adam_weight_decay": DECAY} if kind == "muon" else {})
    )
    if clip is not None:
        tx = optax.chain(transfer.clip_by_global_norm(clip), tx)
    start = {n: np.asarray(value) / transfer.factors[n].gauge for n, value in params.items()}
    update = by_hand(kind, table, clip)

    def explicit(**multipliers):
        given = MULTIPLIERS | multipliers
        return trained(update, lambda p, step: gradients(p, step, given), start)

    theirs = explicit()
    assert differ(theirs, by_optax(tx, lambda p, step: gradients(p, step, ONES), params)) < NEAR
    for one in MULTIPLIERS:  # each of them is seen
        assert differ(theirs, explicit(**{one: 1.0})) > 1e4 * NEAR, one
    for name, factors in transfer.factors.items():
        assert factors.std / factors.gauge == pytest.approx(table[name].std), name
