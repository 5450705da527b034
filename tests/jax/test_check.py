"""`isoinit.jax.check`: what it measures is what torch and `jax.grad` give; each fault is found."""

import json
import math
from functools import partial

import numpy as np
import pytest

jax = pytest.importorskip("jax")
for library in ("flax", "equinox", "haiku"):
    pytest.importorskip(library)

import jax.numpy as jnp  # noqa: E402
from flax import nnx  # noqa: E402

import isoinit  # noqa: E402
import isoinit.jax as ij  # noqa: E402
from isoinit.errors import ArgumentError, PlanError, TraceError  # noqa: E402
from isoinit.jax.models import model_of  # noqa: E402
from isoinit.jax.spelling import with_leaves  # noqa: E402
from jax_older import put_value  # noqa: E402
from jax_twins import TWINS  # noqa: E402
from jax_twins.values import built_nnx  # noqa: E402

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((16, 32)).astype(np.float32)
Y = np.arange(16) % 5


def weight(*shape, std=None):
    values = DRAW.standard_normal(shape) * (std or (2 / shape[-2]) ** 0.5)
    return values.astype(np.float32)


P = {"a": weight(32, 48), "b": np.zeros(48, np.float32), "c": weight(48, 48), "d": weight(48, 5)}


def net(p, x):
    h = jax.nn.relu(x @ p["a"] + p["b"])
    return jax.nn.relu(h @ p["c"]) @ p["d"]


def cross_entropy(output, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(output), labels[:, None], 1).mean()


def squares(output):
    return (output**2).mean()


def names(health):
    return {finding.name for finding in health.findings}


def rms(array):
    return float(np.sqrt(np.square(np.asarray(array, np.float64)).mean()))


# The twin in torch


def with_values(arguments, values):
    """What `check` takes, with these values as parameters."""
    model = model_of(*arguments)
    tree = with_leaves(model.params, {name: values[name] for name in model.names})
    if model.form.assign is not None:
        model.assign(tree)
        return arguments
    new = model.replaced(tree)
    return (
        (new, *arguments[1:]) if model.library == "equinox" else (arguments[0], new, *arguments[2:])
    )


def both(twin, loss):
    """The checks of a model in torch and in JAX with the same weights, and the names of these."""
    model, batch = twin.build_torch()
    isoinit.init(model, batch, seed=1)
    values = {name: p.detach().numpy() for name, p in model.named_parameters()}
    sources = twin.names()
    copied = {n: s.make(*(values[part] for part in s.names)) for n, s in sources.items()}
    theirs = isoinit.check(model, batch, loss=loss)
    ours = ij.check(*with_values(twin.build_jax(), copied), loss=loss)
    return theirs, ours, {name: source.names[0] for name, source in sources.items()}


@pytest.mark.parametrize(("name", "loss"), [("mlp relu", None), ("depthwise cnn", squares)])
def test_a_twin_in_torch_measures_the_same(name, loss):
    """Without a loss both send back the same random gradient."""
    theirs, ours, sources = both(TWINS[name], loss)
    expected = {layer.name: layer for layer in theirs.layers}
    assert len(ours.layers) == len(theirs.layers)
    for layer in ours.layers:
        named = sources[layer.name if layer.name in sources else f"{layer.name}.weight"]
        other = expected[named.removesuffix(".weight")]
        for what in ("mean", "std", "rms", "spread", "correlation", "rank", "units", "elements",
                     "dead", "saturated", "gradient", "gradient_std"):  # fmt: skip
            near = pytest.approx(getattr(other, what), rel=1e-4, abs=1e-6, nan_ok=True)
            assert getattr(layer, what) == near, (layer.name, what)
    gradients = {w.name: w.gradient for w in theirs.weights}
    for one in ours.weights:
        assert one.gradient == pytest.approx(gradients[sources[one.name]], rel=1e-4), one.name
    assert ours.loss is None if loss is None else ours.loss == pytest.approx(theirs.loss, rel=1e-5)
    assert [f.name for f in ours.findings] == [f.name for f in theirs.findings]


# The gradient that training sees


@jax.custom_vjp
def rounded(w):
    """A straight-through estimator: its body has no gradient."""
    return jnp.round(w * 8) / 8


rounded.defvjp(lambda w: (rounded(w), None), lambda _, g: (g,))


@jax.custom_vjp
def hidden(x, w):
    """A layer whose output does not come out, with half the gradient of its body."""
    return jnp.tanh(jnp.tanh(x @ w) * 2)


def hidden_back(saved, g):
    return tuple(0.5 * part for part in jax.vjp(hidden.fun, *saved)[1](g))


hidden.defvjp(lambda x, w: (hidden(x, w), (x, w)), hidden_back)


@partial(jax.checkpoint, static_argnums=())
def block(h, w):
    return jnp.tanh(h @ w["w"] + w["b"])


def ruled(p, x):
    h = hidden(jax.nn.silu(x @ rounded(p["a"]) + p["b"]), p["c"])
    h, _ = jax.lax.scan(lambda h, w: (block(h, w), None), h, p["blocks"])
    return h @ p["d"]


BLOCKS = {"w": weight(3, 48, 48), "b": weight(3, 1, 48, std=0.1)[:, 0]}


def test_gradients_are_those_of_training():
    params = {**P, "blocks": BLOCKS}
    health = ij.check(ruled, params, (X, Y), loss=cross_entropy)
    expected = jax.jit(jax.grad(lambda p: cross_entropy(ruled(p, X), Y)))(params)
    given = {one.name: one.gradient for one in health.weights}
    for name in "abcd":
        assert given[name] == pytest.approx(rms(expected[name]), rel=1e-5), name
    for part in range(3):
        for kind in "wb":
            one = expected["blocks"][kind][part]
            assert given[f"blocks.{kind}[{part}]"] == pytest.approx(rms(one), rel=1e-5)
    layers = {layer.name: layer for layer in health.layers}
    assert [*layers] == ["a", "c", *(f"blocks.w[{i}]" for i in range(3)), "d"]
    inside = jax.nn.silu(X @ rounded(P["a"]) + P["b"]) @ P["c"]
    assert layers["c"].std == pytest.approx(float(inside.std()), rel=1e-5)
    assert math.isnan(layers["c"].gradient)
    (finding,) = (f for f in health.findings if f.name == "gradient not measured")
    assert (finding.severity, finding.where) == ("remark", ("c",))
    assert "jax.custom_vjp" in finding.sentence


def test_layers_of_a_scan_are_told_one_by_one():
    def scanned(p, x):
        return (
            jax.lax.scan(lambda h, w: (jnp.tanh(h @ w["w"] + w["b"]), None), x, p["s"])[0] @ p["d"]
        )

    x, params = weight(16, 48), {"s": BLOCKS, "d": P["d"]}
    health = ij.check(scanned, params, x, loss=squares, plan=ij.plan(scanned, params, x))
    before = []  # the outputs of the layers, before tanh
    for w, b in zip(BLOCKS["w"], BLOCKS["b"], strict=True):
        before.append((np.tanh(before[-1]) if before else x) @ w + b)
    out = np.tanh(before[-1]) @ P["d"]
    gradient = 2 * out / out.size
    expected = [(rms(out), rms(gradient))]
    gradient = gradient @ P["d"].T
    for w, output in zip(BLOCKS["w"][::-1], before[::-1], strict=True):
        gradient = gradient / np.cosh(output) ** 2
        expected.insert(0, (rms(output), rms(gradient)))
        gradient = gradient @ w.T
    assert [layer.name for layer in health.layers] == ["s.w[0]", "s.w[1]", "s.w[2]", "d"]
    for layer, (size, slope) in zip(health.layers, expected, strict=True):
        assert layer.rms == pytest.approx(size, rel=1e-4)
        assert layer.gradient == pytest.approx(slope, rel=1e-4)
        assert layer.expected is not None
    assert health.chance is None
    assert "s.w[0…2]" in health.show()


def test_a_branch_that_data_choose_keeps_its_own_gradient():
    def chosen(p, x):
        h = x @ p["a"]
        h = jax.lax.cond(h.sum() > 1e9, lambda h: jnp.tanh(h @ p["c"]) @ p["c"], jnp.tanh, h)
        return h @ p["d"]

    params = {name: P[name] for name in "acd"}
    health = ij.check(chosen, params, X, loss=squares)
    expected = jax.jit(jax.grad(lambda p: squares(chosen(p, X))))(params)
    for one in health.weights:
        assert one.gradient == pytest.approx(rms(expected[one.name]), rel=1e-5)
    (finding,) = (f for f in health.findings if f.name == "not measured")
    assert (finding.severity, finding.where) == ("remark", ("c",))


# What is found


def linear(p, x):
    for w in p["layers"]:
        x = x @ w
    return x


def stopped(p, x):
    return jax.lax.stop_gradient(jax.nn.relu(x @ p["a"] + p["b"])) @ p["c"]


def normed(p, x):
    x = x @ p["a"]
    x = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
    return jax.nn.relu(x) @ p["c"]


DEEP = {"layers": [DRAW.uniform(-1, 1, (32, 32)).astype(np.float32) / 32**0.5 for _ in range(20)]}
NAN = P["c"].copy()
NAN[0, 0] = np.nan
COPIES = {"layers": [DEEP["layers"][0]] * 2}
FAULTS = {
    "vanishing": (linear, DEEP, {"vanishing signal", "vanishing gradient"}),
    "dead": (net, P | {"b": np.full(48, -99, np.float32)}, {"dead units", "no signal"}),
    "stays alike": (
        net,
        P | {"c": np.full((48, 48), 0.1, np.float32), "d": np.full((48, 5), 0.1, np.float32)},
        {"symmetry"},
    ),
    "nan": (net, P | {"c": NAN}, {"not finite"}),
    "two zeros": (net, {n: w * (n in "ab") for n, w in P.items()}, {"dead part", "symmetry"}),
    "cut": (stopped, {n: P[n] for n in "abc"}, {"detached"}),
    "unused": (net, P | {"z": weight(4, 4)}, {"unused parameter"}),
    "copies": (linear, COPIES, {"copies"}),
    "eps": (normed, {"a": 1e-7 * P["a"], "c": P["c"]}, {"below epsilon"}),
    "root": (
        lambda p, x: jnp.sqrt(jnp.maximum(x @ p["a"], 0)) @ p["c"],
        {n: P[n] for n in "ac"},
        {"not finite"},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(name):
    apply, params, expected = FAULTS[name]
    loss = cross_entropy if name in ("two zeros", "stays alike") else None
    health = ij.check(apply, params, (X, Y) if loss else X, loss=loss)
    assert expected <= names(health), health
    assert all("model, batch" not in finding.advice for finding in health.findings)
    trouble = {
        "nan": "matmul at c makes the first NaN in the forward pass, from c",
        "root": "sqrt at a makes the first NaN or infinity in the backward pass",
    }
    assert trouble.get(name, "") in str(health)


def test_zeros_that_recipes_start_with_are_no_fault():
    health = ij.check(net, P | {"d": P["d"] * 0}, (X, Y), loss=cross_entropy)
    assert health.findings == []
    assert health.loss == pytest.approx(math.log(5))
    assert health.chance == math.log(5)


def test_healthy_after_init_and_as_planned():
    plan = ij.plan(net, P, X)
    params = plan.fill(P, seed=0)
    health = ij.check(net, params, X, plan=plan, jacobian=True)
    assert health.ok
    assert all(0.5 < one.rms / one.expected < 2 for one in health.layers)
    first = np.asarray(jax.jit(jax.jacobian(lambda x: net(params, x)))(X[0]))
    assert health.jacobian == pytest.approx(np.linalg.svd(first)[1], rel=1e-4)
    found = json.loads(health.to_json())
    assert [layer["name"] for layer in found["layers"]] == ["a", "c", "d"]
    assert "healthy" in health.show()
    assert health._repr_html_()
    wrong = ij.check(net, {**params, "c": params["c"] * 30}, X, plan=plan)
    assert any("params = plan.fill(params)" in finding.advice for finding in wrong.findings)


def test_chance_of_two_classes():
    one = {n: P[n] for n in "abc"} | {"d": P["d"][:, :1]}

    def logistic(output, labels):
        return jnp.logaddexp(0, jnp.where(labels > 2, -1, 1) * output[:, 0]).mean()

    assert ij.check(net, one, (X, Y), loss=logistic).chance == math.log(2)


class Norms(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(32, 24, rngs=rngs), nnx.Linear(24, 3, rngs=rngs)
        self.norm, self.drop = nnx.BatchNorm(24, rngs=rngs), nnx.Dropout(0.2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(nnx.relu(self.norm(self.first(x)))))


def arrays(model):
    """All that a module holds, but for keys."""
    return [np.array(x) for x in jax.tree_util.tree_leaves(nnx.state(model, nnx.Not(nnx.RngKey)))]


def test_a_module_with_state_is_as_before():
    model = built_nnx(Norms)  # its last layer is zero, so that steps are tried
    put_value(model.first.kernel, jnp.asarray(weight(32, 24)))
    put_value(model.norm.scale, jnp.asarray(np.ones(24, np.float32)))
    before = arrays(model)
    health = ij.check(model, (X, Y % 3), loss=cross_entropy)
    assert health.ok
    for one, other in zip(before, arrays(model), strict=True):
        np.testing.assert_array_equal(one, other)
    normed = X @ np.asarray(model.first.kernel[...])
    assert health.layers[0].std == pytest.approx(float(normed.std()), rel=1e-5)


def test_the_models_own_loss_and_keys_among_the_inputs():
    def apply(p, x, key):
        h = jax.nn.relu(x @ p["a"])
        y = jnp.where(jax.random.bernoulli(key, 0.5, h.shape), 2 * h, 0) @ p["d"]
        return {"y": y, "loss": cross_entropy(y, jnp.asarray(Y)), "count": jnp.arange(3)}

    params, key = {n: P[n] for n in "ad"}, jax.random.key(5)
    health = ij.check(apply, params, X, key)
    loss, expected = jax.jit(jax.value_and_grad(lambda p: apply(p, X, key)["loss"]))(params)
    assert health.loss == pytest.approx(float(loss), rel=1e-6)
    for one in health.weights:
        assert one.gradient == pytest.approx(rms(expected[one.name]), rel=1e-5)
    assert health.ok


def test_short_floats():
    short = {name: jnp.asarray(w, jnp.bfloat16) for name, w in P.items()}
    health = ij.check(net, short, jnp.asarray(X, jnp.bfloat16), lr=1e-3)
    hidden = np.maximum(X @ P["a"], 0)
    expected = [X @ P["a"], hidden @ P["c"], np.maximum(hidden @ P["c"], 0) @ P["d"]]
    for layer, output in zip(health.layers, expected, strict=True):
        assert layer.rms == pytest.approx(rms(output), rel=0.03)
    steps = {one.name: one.update for one in health.weights}
    assert steps["c"] == pytest.approx(1e-3 / rms(P["c"]), rel=0.01)
    assert health.ok


# What is refused

ABSTRACT = {name: jax.ShapeDtypeStruct(w.shape, w.dtype) for name, w in P.items()}


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: ij.check(net, ABSTRACT, X), PlanError, "'a', 'b', 'c' and 1 more of net have no"),
        (
            lambda: ij.check(net, P, jax.ShapeDtypeStruct(X.shape, X.dtype)),
            ArgumentError,
            "the inputs have no values here",
        ),
        (lambda: ij.check(net, {"a": Y}, X), ArgumentError, "net has no parameters"),
        (
            lambda: ij.check(net, P, X, loss=jnp.square),
            ArgumentError,
            r"loss returned float32\[16, 5\]",
        ),
        (lambda: ij.check(net, P, X, loss=lambda y: "no"), ArgumentError, "loss returned a str"),
        (lambda: ij.check(net, P, X, loss="mse"), ArgumentError, "loss is 'mse', a str"),
        (lambda: ij.check(net, P, X, loss=cross_entropy), ArgumentError, "without targets"),
        (lambda: ij.check(net, P, X, loss=lambda y: y.no), TraceError, "loss failed on the output"),
        (
            lambda: ij.check(net, P, X, loss=lambda y: jax.lax.stop_gradient(y).sum()),
            ArgumentError,
            "loss does not depend on a trainable parameter",
        ),
        (
            lambda: ij.check(
                lambda p, x: jax.lax.while_loop(lambda h: h.sum() > 1, lambda h: h @ p["w"], x),
                {"w": P["c"][:32, :32]},
                X,
            ),
            TraceError,
            "has no gradient: ValueError: Reverse-mode differentiation does not work",
        ),
        (lambda: ij.check(net, P, X, lr=0.0), ArgumentError, "lr=0.0"),
        (lambda: ij.check(net, P, X, optimizer="adagrad"), ArgumentError, "optimizer='adagrad'"),
        (
            lambda: ij.check(lambda p, i: p["t"][i], {"t": P["a"]}, Y, jacobian=True),
            ArgumentError,
            "no floating-point array of examples",
        ),
    ],
)
def test_what_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call()
